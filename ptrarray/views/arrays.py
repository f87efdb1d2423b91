"""The arrays of an open store by position, and one after the other."""

from __future__ import annotations

import operator
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from contextlib import suppress
from itertools import chain, islice
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError
from ptrarray.format.layouts import ROWS
from ptrarray.format.names import encode_all
from ptrarray.rows.copying import cut, in_blocks
from ptrarray.rows.ragged import Ragged, end_to_end, gather, kinds_of
from ptrarray.rows.types import Array, Int64s
from ptrarray.storage.store.compared import read_ahead
from ptrarray.storage.store.opened import Opened
from ptrarray.storage.system.advice import is_cold, prefetch, prefetch_cold, reads_little_ahead
from ptrarray.storage.writing.transactions import unknown
from ptrarray.views.mappings import Names

Note = Callable[[int, int], None]  # called with rows that are handed out writable

# What the system is asked to fetch in one go; of small arrays, at most so many.
_WINDOW_NBYTES = 32 << 20
_WINDOW = 1 << 16
# What is read in one go where nothing is mapped. One array that is kept keeps all of it.
_READ_NBYTES = 256 << 10
# Names that are looked for in one go.
_NAMES = 1 << 14


def walk(opened: Opened, note: Note | None, *, ahead: bool = False) -> Iterator[Array]:
    """Yield all arrays in data order, as views.

    With `ahead`, the system is asked for rows that seem not to be in memory before they are
    needed.
    """
    if opened.is_compared:
        yield from read_ahead(opened.data, opened.in_batches())
        return
    starts, ends = opened.columns()
    is_mapped = opened.snapshot.backend == "mmap"
    # Where nothing is mapped, the system sees that the file is read in order, and reads ahead.
    whole = slice(0, len(starts))
    windows = _windows(opened, starts, ends) if ahead and is_mapped else [whole]
    blocks = chain.from_iterable(
        in_blocks(window.start, window.stop, grow=is_mapped) for window in windows
    )
    if not opened.is_plain:
        yield from _walk_shaped(opened, note, blocks)
        return
    rows = opened.rows
    for block in blocks:
        if not is_mapped:
            yield from _read(rows, starts[block], ends[block])
            continue
        pairs = zip(starts[block].tolist(), ends[block].tolist(), strict=True)
        if note is None:
            for start, end in pairs:
                yield rows[start:end]
        else:
            for start, end in pairs:
                note(start, end)
                yield rows[start:end]


def _windows(opened: Opened, starts: Int64s, ends: Int64s) -> Iterator[slice]:
    """Yield all positions in windows of some 32 MB of rows.

    Before a window is yielded, the system is asked to fetch the rows of the one after it if
    they seem not to be in memory. So the first window is empty: nothing is read while the
    second, which has the first rows, is on its way.
    """
    window_rows = max(1, _WINDOW_NBYTES // max(1, opened.layout.width))
    sources = opened.sources
    block = slice(0, 0)
    while block.stop < len(starts):
        at, before = block.stop, block
        end = int(np.searchsorted(starts, starts[at] + window_rows))
        block = slice(at, min(max(at + 1, end), at + _WINDOW))
        first, last = starts[at : at + 1], ends[block].max(keepdims=True)
        # The system is fetching the first rows by itself, as the ones before were read.
        if is_cold(sources, int(last[0]) - 1):
            if not reads_little_ahead(opened.snapshot.directory):
                sources = []  # of a disk that advice only disturbs
            prefetch(sources, first, last, 2 * _WINDOW_NBYTES)  # the last may reach beyond
        yield before
    yield block


def _read(rows: Any, starts: Int64s, ends: Int64s) -> Iterator[Array]:
    """Read arrays that are not mapped, many small ones in one go."""
    row_nbytes = rows.nbytes // max(1, len(rows))
    for low, high in cut((ends - starts) * row_nbytes, _READ_NBYTES):
        yield from gather(rows, starts[low:high], ends[low:high])


def _walk_shaped(opened: Opened, note: Note | None, blocks: Iterable[slice]) -> Iterator[Array]:
    snapshot = opened.snapshot
    for position in chain.from_iterable(range(block.start, block.stop) for block in blocks):
        address = snapshot.locate_position(position)
        if note is not None:
            note(*snapshot.pointer_at(address))
        yield opened.array_at(address)


def joined(
    opened: Opened,
    starts: Int64s,
    ends: Int64s,
    addresses: Callable[[], Iterable[int]],
    out: Array | None = None,
) -> Ragged:
    """Copy arrays into one contiguous batch.

    Parameters
    ----------
    opened : Opened
        The store.
    starts, ends : ndarray of int64
        Rows of the arrays.
    addresses : callable
        Returns the addresses of the arrays, which are needed where an array is more than rows.
    out : ndarray, optional
        Where to copy to.

    Raises
    ------
    BadInputError
        If they are not of one dtype and one shape but for the first axis, or `out` does not
        fit or is memory of the store.
    """
    if out is None:
        return _joined(opened, starts, ends, addresses)
    path = str(opened.snapshot.directory)
    _check_apart(opened, out)
    try:
        return _joined(opened, starts, ends, addresses, out)
    except BadInputError as error:
        raise error if error.path else error.at(path) from None


def _check_apart(opened: Opened, out: Array) -> None:
    """Refuse memory that is mapped for a reader that may write to it."""
    mapped = [rows for store in opened.stores for rows in (store.data, store.mask)]
    for part in (np.ma.getdata(out), np.ma.getmask(out)):
        for rows in mapped:
            if isinstance(rows, np.ndarray) and np.may_share_memory(rows, part):
                path = str(opened.snapshot.directory)
                raise BadInputError(
                    f"out is memory of {path} itself: use an array of your own",
                    path=path,
                    found="rows of the store",
                    expected="memory apart from it",
                )


def _joined(
    opened: Opened,
    starts: Int64s,
    ends: Int64s,
    addresses: Callable[[], Iterable[int]],
    out: Array | None = None,
) -> Ragged:
    prefetch_cold(opened.sources, starts, ends)
    if opened.layout.kind == ROWS:
        batch = gather(opened.rows, starts, ends, out)
        if opened.is_compared:
            opened.compare(addresses(), batch)
        return batch
    arrays = opened.arrays_at(list(addresses()))
    if not arrays and out is None:
        return gather(opened.rows, starts, ends)
    ragged = end_to_end(arrays, out)
    if ragged is None:
        found = kinds_of(arrays)
        raise BadInputError(
            f"arrays of {opened.snapshot.directory} cannot be laid end to end, which needs one dtype "
            f"and one shape but for the first axis: {found}; read them one by one",
            path=str(opened.snapshot.directory),
            found=found,
            expected="one dtype and one shape of rows",
        )
    return ragged


def positions_of(opened: Opened, names: Iterable[str]) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Return the positions of arrays by name, in the smallest dtype that holds all.

    Raises
    ------
    UnknownNameError
        A `KeyError`: no array has one of the names.

    Notes
    -----
    Time O(names), and O(log n_arrays) for each. Takes some thousand names at a time, so that
    no more of an iterator are in memory.
    """
    snapshot = opened.snapshot
    dtype = np.min_scalar_type(len(snapshot))
    remaining, parts = iter(names), [np.empty(0, dtype)]
    beginning: dict[tuple[int, int], dict[bytes, int]] = {}
    while some := list(islice(remaining, _NAMES)):
        encoded = encode_all(some)
        starts = snapshot.find_all(encoded).reshape(-1, 2)[:, 0]
        first = np.searchsorted(snapshot.starts, starts, "left")
        last = np.searchsorted(snapshot.starts, starts, "right")
        # Where several arrays begin, as empty ones do, or none, the name decides.
        for at in np.flatnonzero(last - first != 1).tolist():
            there = (int(first[at]), int(last[at]))
            if there not in beginning:
                beginning[there] = {snapshot.name(each): each for each in range(*there)}
            if encoded[at] not in beginning[there]:
                snapshot.find(encoded[at])  # which refuses a damaged pointer
                raise unknown(some[at], str(snapshot.directory))
            first[at] = beginning[there][encoded[at]]
        parts.append(first.astype(dtype))
    return np.concatenate(parts)


class Arrays:
    """The arrays of a store by position, in data order.

    Parameters
    ----------
    opened : Opened
        What the reader had open when it was asked for its arrays.
    note : callable or None
        Called with rows that are handed out writable.
    """

    def __init__(self, opened: Opened, note: Note | None) -> None:
        self.opened = opened
        self._note = note
        self._rows = opened.rows
        # Columns in which a position finds its pointer; empty where that takes more.
        starts, self._ends = opened.snapshot.item_columns()
        self._starts = starts if opened.is_plain and note is None else starts[:0]
        self._finder = opened.finder if note is None else None

    def __len__(self) -> int:
        return len(self.opened.snapshot)

    @overload
    def __getitem__(self, key: int) -> Array: ...
    @overload
    def __getitem__(self, key: slice | Sequence[int] | Array) -> Ragged: ...
    def __getitem__(self, key: Any) -> Any:
        """Return one array as a view, or several as a `Ragged`, a copy.

        Parameters
        ----------
        key : int, or slice, integer array or mask over positions
        """
        array = None if self._finder is None else self._finder.at(key)
        if array is not None:
            return array
        if type(key) is int and 0 <= key < len(self._starts):
            start, end = self._starts[key], self._ends[key]
            if 0 <= start <= end <= len(self._rows):
                return self._rows[start:end]
        return self._others(key)

    def _others(self, key: Any) -> Any:
        """Return an array that has to be looked for, or several."""
        position = None
        if not isinstance(key, bool | np.bool_) and not getattr(key, "ndim", 0):
            with suppress(TypeError):  # it is no whole number
                position = operator.index(key)
        if position is None:
            return self.take(key)
        address = self.opened.snapshot.locate_position(self._position(position))
        return self.at(address) if self._note else self.opened.array_at(address)

    def take(self, positions: slice | npt.ArrayLike, out: Array | None = None) -> Ragged:
        """Copy several arrays into one contiguous batch, if need be into memory that is there.

        Parameters
        ----------
        positions : slice, integer array or mask over positions
            As for an index; batches of `ptrarray.sampling.LengthBatches` among
            them.
        out : ndarray, optional
            As for `PointerArray.take`.

        Examples
        --------
        >>> store.arrays.take([2, 1], out=np.empty(100, "f4")).values
        array([6., 4., 5.], dtype=float32)
        """
        index = positions if isinstance(positions, slice) else _positions(positions)
        starts, ends = self.opened.columns_at(index)

        def addresses() -> Iterable[int]:
            chosen = np.arange(len(self))[index].tolist()
            return map(self.opened.snapshot.locate_position, chosen)

        return joined(self.opened, starts, ends, addresses, out)

    def all_at(self, addresses: Sequence[int]) -> Iterable[Array]:
        """Return the arrays at some addresses, one after the other: of those elsewhere, many are on their way."""
        opened = self.opened
        if not opened.is_compared:
            return map(self.at, addresses)
        return read_ahead(opened.data, opened.in_batches(np.array(addresses, np.int64)))

    def at(self, address: int) -> Array:
        """Return the array at an address of the snapshot, as a view."""
        if self._note is not None:
            self._note(*self.opened.snapshot.pointer_at(address))
        return self.opened.array_at(address)

    def _position(self, key: int) -> int:
        position = key + len(self) if key < 0 else key
        if not 0 <= position < len(self):
            raise IndexError(f"position {key} is out of range for {self!r}")
        return position

    def __iter__(self) -> Iterator[Array]:
        if self._finder is None:
            return walk(self.opened, self._note)
        self.opened.columns()  # which are checked once
        return self._finder.iterate(False, self.__getitem__)

    def items(self) -> Iterator[tuple[str, Array]]:
        """Yield the name and the array of each position."""
        names = Names(self.opened.snapshot)
        if self._finder is None:
            return zip(names, self, strict=True)
        self.opened.columns()
        return self._finder.iterate(True, lambda at: (names[at], self[at]))

    def __repr__(self) -> str:
        return f"<{len(self)} arrays of {self.opened.snapshot.directory}>"


def _positions(key: npt.ArrayLike) -> npt.NDArray[Any]:
    positions = np.asarray(key)
    if positions.size == 0 and positions.ndim == 1:
        return positions.astype(np.int64)
    if positions.ndim != 1 or positions.dtype.kind not in "iub":
        raise IndexError(
            f"arrays are indexed by an int, a slice, or a list or mask of positions, not {key!r:.80}"
        )
    return positions


class Values(ValuesView[Array]):
    """The arrays of a store in data order, read without looking up names."""

    def __init__(self, store: Mapping[str, Array], arrays: Callable[[], Arrays]) -> None:
        super().__init__(store)
        self._arrays = arrays

    def __iter__(self) -> Iterator[Array]:
        return iter(self._arrays())


class Items(ItemsView[str, Array]):
    """Pairs of name and array in data order, read without looking up names."""

    def __init__(self, store: Mapping[str, Array], arrays: Callable[[], Arrays]) -> None:
        super().__init__(store)
        self._arrays = arrays

    def __iter__(self) -> Iterator[tuple[str, Array]]:
        return self._arrays().items()
