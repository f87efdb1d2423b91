"""The arrays of a store as a data set of PyTorch, and batches of them as tensors.

::

    data = Arrays("corpus.ptr")
    batches = LengthBatches(data.lengths, rows=16_000, seed=0)
    loader = DataLoader(data, batch_sampler=batches, collate_fn=padded(fill=0), num_workers=4)

Needs PyTorch, the extra ``torch``. Who has none gets the same batches from
``store.arrays[positions]``, in the order of `ptrarray.sampling`.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError, StoreError, import_extra
from ptrarray.format.checksum import crc32
from ptrarray.intake.choices import several
from ptrarray.intake.numbers import count
from ptrarray.reader import PointerArray, open, open_readable
from ptrarray.rows.ragged import Ragged, end_to_end, kinds_of
from ptrarray.rows.types import Array, Int64s
from ptrarray.rows.widened import is_named
from ptrarray.sampling import LengthBatches
from ptrarray.storage.store.opened import Opened
from ptrarray.views.arrays import Arrays as ArraysByPosition
from ptrarray.views.arrays import positions_of

torch = import_extra(
    "torch", "ptrarray.torch needs PyTorch, which is not installed: pip install 'ptrarray[torch]'"
)

__all__ = ["Arrays", "Batches", "LengthBatches", "Padded", "nested", "padded"]

_Dataset: Any = torch.utils.data.Dataset
Tensor: TypeAlias = Any  # of torch, which who checks types need not have
Collate: TypeAlias = Callable[[Any], Any]

# From this size on, a tensor in memory that two processes share is faster than a pipe.
_SHARED_NBYTES = 1 << 20
# Those of ml_dtypes that torch has, too, and what it takes their bits for.
_NARROW = re.compile("bfloat16|float8_.*")
_BITS = {1: torch.uint8, 2: torch.int16}


class Arrays(_Dataset):  # type: ignore[misc] # of a library that may be missing
    """The arrays of a store as a map-style data set.

    ``data[i]`` is an array. A batch is one `Ragged`: a `DataLoader` asks for
    it in one call of ``__getitems__``, and hands it to its ``collate_fn``.

    Parameters
    ----------
    path_or_store : path-like or PointerArray
        The store, or one that is open.
    names : iterable of str, optional
        Which arrays, in which order; a name may come twice. Without, all in
        data order.
    transform : callable, optional
        Called with each array, a writable copy; returns an array in its place.
        Those of one batch need one dtype and one shape but for the first axis.
        For workers that are spawned, a function at the top level of a module.

    Raises
    ------
    StoreNotFoundError, CorruptStoreError
        As from `ptrarray.open`.
    UnknownNameError
        A `KeyError`: no array has one of the names.

    Notes
    -----
    Shows the store as it was when this was made, whatever is committed or
    refreshed later. Pickled by path: workers that are spawned open the store
    once, and those that are forked not at all. What was added to the store
    meanwhile they leave out; where arrays were moved or removed, by a
    compaction say, or the store is another one by now, that is a `StoreError`.

    Memory: eight bytes for each of `names`, or less; nothing without. What
    travels to a worker is the same.

    In a store whose arrays have shapes of their own, a batch has to have one
    shape of rows, if need be by `transform`. For lists of arrays of any shape,
    derive a class with ``__getitems__ = None``. Whoever derives a class to hand
    out more than arrays overrides ``__getitems__``: loaders ask for batches.

    Examples
    --------
    >>> data = Arrays("corpus.ptr", names=["utt3", "utt1"])
    >>> len(data), data.lengths, data[0]
    (2, array([1, 3]), array([6.], dtype=float32))
    >>> loader = torch.utils.data.DataLoader(data, batch_size=2, collate_fn=padded(fill=-1))
    >>> for values, lengths, mask in loader:
    ...     values
    tensor([[ 6., -1., -1.],
            [ 1.,  2.,  3.]])
    """

    def __init__(
        self,
        path_or_store: str | os.PathLike[str] | PointerArray,
        names: Iterable[str] | None = None,
        transform: Callable[[Array], Any] | None = None,
    ) -> None:
        if isinstance(path_or_store, PointerArray):
            store = path_or_store
        else:
            store = open_readable(path_or_store)
        self._where = (store.path, store.mode, store.backend)
        # Rows are copied, so that in mode "r+" none count as handed out to be changed.
        self._arrays = ArraysByPosition(store.arrays.opened, None)
        self._n_arrays = len(self._arrays)
        self._positions: npt.NDArray[Any] | None = None
        if names is not None:
            self._positions = positions_of(self._arrays.opened, several(names, "Arrays"))
        self.transform = transform

    def __getstate__(self) -> dict[str, Any]:
        opened = self._arrays.opened
        seen = (_files(opened), opened.snapshot.version, _checksum(*opened.columns()))
        return {**self.__dict__, "_arrays": seen}

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        self.__dict__.update(attributes)
        opened, (files, version, checksum) = open(*self._where).arrays.opened, attributes["_arrays"]
        is_same = _files(opened)[: len(files)] == files
        if is_same and opened.snapshot.version != version:
            starts, ends = (column[: self._n_arrays] for column in opened.columns())
            is_same = len(starts) == self._n_arrays and _checksum(starts, ends) == checksum
        if not is_same:
            raise _are_others(self._where[0])
        self._arrays = ArraysByPosition(opened, None)

    def __len__(self) -> int:
        return self._n_arrays if self._positions is None else len(self._positions)

    def __repr__(self) -> str:
        return f"<{len(self)} arrays of {self._where[0]} for torch>"

    def __getitem__(self, position: int) -> Any:
        """Return an array as a writable copy, or what `transform` makes of it."""
        return self._one(self._checked([position])[0])

    def _one(self, position: int) -> Any:
        array = self._arrays[int(position)].copy()
        return array if self.transform is None else self.transform(array)

    def __getitems__(self, positions: Sequence[int]) -> Ragged:
        """Return several arrays, transformed, as one batch; a copy.

        Raises
        ------
        BadInputError
            If they have not one dtype and one shape but for the first axis.
        """
        checked = self._checked(positions)
        if self.transform is None:
            batch: Ragged = self._arrays[checked]
            return batch
        return _joined([self._one(position) for position in checked.tolist()])

    def _checked(self, positions: Sequence[int]) -> Int64s:
        """Return positions in the store."""
        given, n = np.asarray(positions), len(self)
        if given.ndim != 1 or (len(given) and given.dtype.kind not in "iu"):
            found = f"{given.dtype}" if given.ndim == 1 else f"{given.dtype} of shape {given.shape}"
            raise IndexError(f"positions of {found} for {self!r}; expected integers along one axis")
        if len(given) and not -n <= int(given.min()) <= int(given.max()) < n:
            outside = next(one for one in given.tolist() if not -n <= one < n)
            raise IndexError(f"position {outside} is out of range for {self!r}")
        checked = given.astype(np.int64)
        if self._positions is not None:
            return self._positions[checked].astype(np.int64)
        return np.where(checked < 0, checked + n, checked)

    @property
    def lengths(self) -> Int64s:
        """Length of each array, int64; a new array, made of the mapped index.

        Counts what ``store.lengths`` counts: rows, elements where each array
        has its own shape, bytes in a mixed store. Before `transform`.
        """
        starts, ends = (column[: self._n_arrays] for column in self._arrays.opened.columns())
        chosen = slice(None) if self._positions is None else self._positions
        return ends[chosen] - starts[chosen]

    def batches(
        self,
        batch_sampler: Iterable[Sequence[int]],
        collate_fn: Collate | None = None,
        prefetch: int = 1,
    ) -> Batches:
        """Return batches made in this process, by threads: without workers and their queue.

        Parameters
        ----------
        batch_sampler : iterable of sequences of int
            Which arrays each batch has: a `LengthBatches`, or a
            `torch.utils.data.BatchSampler`.
        collate_fn : callable, optional
            Called with the `Ragged` of a batch: `nested`, ``padded(fill=0)``, or
            a function that may be called by several threads. Without, batches
            are `Ragged`.
        prefetch : int
            How many batches are made ahead, each by a thread of its own; with 0
            each is made when it is asked for.

        Returns
        -------
        Batches
            May be iterated over once an epoch.

        Notes
        -----
        Copying rows lets other threads run, so this is faster than workers
        unless `transform` or `collate_fn` are long work in Python.

        Examples
        --------
        >>> order = torch.utils.data.BatchSampler(range(3), batch_size=2, drop_last=False)
        >>> for batch in Arrays("corpus.ptr").batches(order, nested):
        ...     len(batch), int(batch.values().sum())
        (2, 15)
        (1, 6)
        """
        return Batches(self, batch_sampler, collate_fn, count("prefetch", prefetch))


class Batches:
    """Batches that threads make; see `Arrays.batches`.

    Parameters
    ----------
    arrays : Arrays
        What they are made of.
    batch_sampler, collate_fn, prefetch
        As for `Arrays.batches`.
    """

    def __init__(
        self,
        arrays: Arrays,
        batch_sampler: Iterable[Sequence[int]],
        collate_fn: Collate | None,
        prefetch: int,
    ) -> None:
        self._arrays = arrays
        self._sampler: Any = batch_sampler
        self._collate = collate_fn
        self._prefetch = prefetch
        self._after: Any = None  # what the sampler said after the batch handed out last

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[Any]:
        run = iter(self._sampler)
        source = next((one for one in (run, self._sampler) if hasattr(one, "state_dict")), None)
        self._after = source and source.state_dict()
        threads = ThreadPoolExecutor(max(1, self._prefetch), "ptrarray-batches")
        waiting: deque[tuple[Future[Any], Any]] = deque()
        try:
            for positions in run:
                after = source and source.state_dict()
                waiting.append((threads.submit(self._made, positions), after))
                if len(waiting) > self._prefetch:
                    yield self._handed_out(*waiting.popleft())
            while waiting:
                yield self._handed_out(*waiting.popleft())
            self._after = None
        finally:
            threads.shutdown(cancel_futures=True)

    def _made(self, positions: Sequence[int]) -> Any:
        batch = self._arrays.__getitems__(positions)
        return batch if self._collate is None else self._collate(batch)

    def _handed_out(self, batch: Future[Any], after: Any) -> Any:
        made = batch.result()
        self._after = after
        return made

    def state_dict(self) -> Any:
        """Return what the sampler needs to go on after the batch that was handed out last.

        The sampler itself is ahead, by the batches that are being made.
        """
        return self._sampler.state_dict() if self._after is None else self._after

    def load_state_dict(self, state: Any) -> None:
        """Go on from there with the next iteration."""
        self._sampler.load_state_dict(state)
        self._after = None


class Padded(NamedTuple):
    """A batch of arrays as one tensor, the short ones filled up.

    Attributes
    ----------
    values : torch.Tensor, shape (n_arrays, longest, *row_shape)
        The arrays.
    lengths : torch.Tensor of int64, shape (n_arrays,)
        Rows of each.
    mask : torch.Tensor of bool, shape (n_arrays, longest)
        True where there is data. Of arrays with masks, of the shape of
        `values`, and False where an element is masked, too.

    Notes
    -----
    A batch of less than a megabyte goes through the queue of a worker as it
    is, which costs a third of what tensors cost there; of a larger one, the
    values go by shared memory.
    """

    values: Tensor
    lengths: Tensor
    mask: Tensor

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, tuple(map(_packed, self))


def padded(fill: Any = 0) -> Callable[[Ragged | Sequence[Array]], Padded]:
    """Return a ``collate_fn`` that makes a `Padded` of a batch.

    Parameters
    ----------
    fill : scalar
        What stands behind the end of an array, and in place of masked
        elements. As for `Ragged.to_padded`, a fill that the dtype would change
        is an error, when a batch is made.

    Returns
    -------
    callable
        Takes a `Ragged`, or a list of arrays with one dtype and one shape but
        for the first axis. Can be pickled. Raises `BadInputError` for a dtype
        that torch has not; it has the numbers of numpy (big-endian and
        longdouble ones apart), bool, and of ml_dtypes bfloat16 and float8.

    Examples
    --------
    >>> values, lengths, mask = padded(fill=-1)(ptrarray.Ragged([1, 2, 3], [0, 2, 3]))
    >>> values, lengths
    (tensor([[ 1,  2],
            [ 3, -1]]), tensor([2, 1]))
    >>> mask
    tensor([[ True,  True],
            [ True, False]])
    """
    if isinstance(fill, Ragged | list | tuple):
        raise BadInputError(
            f"fill is a {type(fill).__name__}; expected a scalar: collate_fn=padded(fill=0)",
            found=type(fill).__name__,
            expected="a scalar",
        )
    return partial(_padded, fill=fill)


def _padded(batch: Ragged | Sequence[Array], fill: Any) -> Padded:
    ragged = _joined(batch)
    _tensor(np.ma.getdata(ragged.values)[:0])  # which refuses a dtype, whatever the fill
    values, mask = ragged.to_padded(fill)
    if isinstance(values, np.ma.MaskedArray):
        values, mask = values.filled(fill), ~np.ma.getmaskarray(values)
    return Padded(_tensor(values), _tensor(ragged.lengths), _tensor(mask))


def nested(batch: Ragged | Sequence[Array]) -> Tensor:
    """Make a nested tensor of a batch: a ``collate_fn``.

    Parameters
    ----------
    batch : Ragged, or sequence of ndarray
        Arrays of one dtype and one shape but for the first axis.

    Returns
    -------
    torch.Tensor, shape (n_arrays, *, *row_shape)
        Nested, of the layout ``torch.jagged``, on the memory of the batch unless
        that is a store's. It has the shortest and longest length, without
        which ``to_padded_tensor`` pads to the sum of all.

    Raises
    ------
    BadInputError
        If torch has not this dtype, or arrays have masks.

    Notes
    -----
    torch 2.13 logs a line about tracing when the first is made, and has no
    ``to_padded_tensor`` for unsigned integers of more than 8 bits and complex
    numbers. Its maxima and minima along the ragged axis, and their positions,
    take in what stands behind the end of an array: use `padded` there.

    Examples
    --------
    >>> tensor = nested(ptrarray.Ragged([1.0, 2.0, 3.0], [0, 2, 3]))
    >>> [len(array) for array in tensor.unbind()]
    [2, 1]
    >>> tensor.to_padded_tensor(-1.0)
    tensor([[ 1.,  2.],
            [ 3., -1.]], dtype=torch.float64)
    """
    ragged = _joined(batch)
    if isinstance(ragged.values, np.ma.MaskedArray):
        raise BadInputError(
            "a nested tensor has no mask, and these arrays have: use padded, whose mask has it, or "
            "Arrays(transform=...) to fill them",
            found="arrays with masks",
            expected="arrays without",
        )
    first, last = int(ragged.offsets[0]), int(ragged.offsets[-1])
    values, offsets = _tensor(ragged.values[first:last]), _tensor(ragged.offsets - first)
    made = _jagged(values, offsets)
    if torch.utils.data.get_worker_info() is not None:
        # In a worker this is pickled as a whole, for the queue. The class is torch's.
        made.__reduce_ex__ = partial(_reduced, values, offsets)
    return made


def _jagged(values: Tensor, offsets: Tensor) -> Tensor:
    lengths = np.diff(offsets.numpy())
    shortest, longest = (int(lengths.min()), int(lengths.max())) if len(lengths) else (0, 0)
    return torch.nested.nested_tensor_from_jagged(
        values, offsets, min_seqlen=shortest, max_seqlen=longest
    )


# on the way from a worker ----------------------------------------------------------------------


def _packed(part: Any) -> tuple[Any, str]:
    """Return a small tensor as an array, for a pipe; anything else as it is.

    Large ones go by shared memory. Where a gradient or another device goes along, torch has to see
    to it.
    """
    with suppress(AttributeError, RuntimeError, TypeError):
        if part.nbytes < _SHARED_NBYTES and not part.requires_grad:
            name = _name(part.dtype)
            bits = part.view(_BITS[part.itemsize]) if _NARROW.fullmatch(name) else part
            return bits.numpy(), name
    return part, ""


def _unpacked(*parts: tuple[Any, str]) -> Padded:
    return Padded(*(_again(*part) for part in parts))


def _reduced(values: Tensor, offsets: Tensor, _: Any) -> tuple[Any, ...]:
    return _jagged_again, (_packed(values), _packed(offsets))


def _jagged_again(values: tuple[Any, str], offsets: tuple[Any, str]) -> Tensor:
    return _jagged(_again(*values), _again(*offsets))


def _again(packed: Any, name: str) -> Tensor:
    if not name:
        return packed
    tensor = torch.from_numpy(packed)
    return tensor.view(getattr(torch, name)) if _NARROW.fullmatch(name) else tensor


# from arrays to tensors ------------------------------------------------------------------------


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _tensor(array: Array) -> Tensor:
    """Return a tensor on an array, or on a copy where others see the memory."""
    array = _private(array)
    dtype, name = array.dtype, array.dtype.name
    try:
        if is_named(dtype) and _NARROW.fullmatch(name):
            bits = torch.from_numpy(array.view(f"i{dtype.itemsize}"))
            return bits.view(getattr(torch, name))
        return torch.from_numpy(array)
    except (AttributeError, TypeError, ValueError) as error:
        raise BadInputError(
            f"torch has no dtype for arrays of {dtype}; expected numbers in the byte order of this "
            "machine or bool: convert them with Arrays(transform=...)",
            found=str(dtype),
            expected="numbers or bool",
        ) from error


def _private(array: Array) -> Array:
    """Return an array that is writable and this process's own, a copy if need be.

    Of read-only memory torch makes tensors, too; writing to one ends the process.
    """
    root: Any = array
    while isinstance(root.base, np.ndarray) and not isinstance(root, np.memmap):
        root = root.base
    is_shared = isinstance(root, np.memmap) and root.mode != "c"
    is_taken = array.flags.c_contiguous and array.flags.writeable and not is_shared
    return array if is_taken else array.copy()


def _joined(batch: Ragged | Sequence[Array]) -> Ragged:
    """Return a batch as one `Ragged`: what a loader has that asks for arrays one by one."""
    if isinstance(batch, Ragged):
        return batch
    arrays = [array if isinstance(array, np.ndarray) else np.asarray(array) for array in batch]
    ragged = end_to_end(arrays)
    if ragged is None:
        found = kinds_of(arrays)
        raise BadInputError(
            f"arrays of a batch cannot be laid end to end, which needs one dtype and one shape but "
            f"for the first axis: {found}; see to it with Arrays(transform=...)",
            found=found,
            expected="one dtype and one shape of rows",
        )
    return ragged


# a store in another process --------------------------------------------------------------------


def _checksum(starts: Int64s, ends: Int64s) -> int:
    """Return a checksum of where arrays are, the same in every process."""
    return crc32(np.ascontiguousarray(ends), crc32(np.ascontiguousarray(starts)))


def _files(opened: Opened) -> tuple[tuple[bytes, str], ...]:
    """Return which files have the rows: arrays that are moved go to others."""
    headers = (one.snapshot.header for one in opened.stores)
    return tuple((header.store_id, header.data_file) for header in headers)


def _are_others(path: str) -> StoreError:
    return StoreError(
        f"arrays of {path} were moved or removed since this data set was made, or the store is another "
        "one, so that positions are those of others: make it anew",
        path=path,
    )
