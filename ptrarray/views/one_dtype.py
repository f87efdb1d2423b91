"""The arrays of one dtype in a store of several, as what can be reduced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import compress, count
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ptrarray import reductions
from ptrarray.errors import BadInputError
from ptrarray.format import infos
from ptrarray.format.index import corrupt
from ptrarray.format.layouts import MIXED
from ptrarray.rows.chained import ChainedRows
from ptrarray.rows.copying import copy_ranges, in_blocks
from ptrarray.rows.pointers import numbered
from ptrarray.rows.ragged import gather
from ptrarray.rows.types import AnyRows, Array, Bools, Int64s, Rows
from ptrarray.rows.widened import widened
from ptrarray.storage.store.opened import Opened, OpenedStore
from ptrarray.storage.system.pread import viewed
from ptrarray.storage.writing.transactions import unknown
from ptrarray.views.alike import Alike, alike
from ptrarray.views.arrays import Arrays
from ptrarray.views.mappings import encoded
from ptrarray.views.reducible import Reducible
from ptrarray.views.tabular import Tabular

if TYPE_CHECKING:
    from ptrarray.views.spread import Spread

DType = np.dtype[Any]
_REDUCE = "reduce those of one, as np.sum(store.of_dtype({}))"
ONE_AWKWARD = "those of one are an array of awkward: store.of_dtype({}).awkward()"
ONE_TABLE = "those of one are a table of Arrow: store.of_dtype({}).arrow()"


class OneDtype(Reducible, Tabular):
    """The arrays of one dtype by name, in data order, as of one moment.

    Parameters
    ----------
    arrays : Arrays
        All arrays of the store.
    dtype : numpy.dtype
        Of those that are in this mapping.
    """

    def __init__(self, arrays: Arrays, dtype: DType) -> None:
        self._arrays, self.dtype = arrays, dtype
        self._opened: Opened = arrays.opened
        self._found: Bools | None = None

    @property
    def path(self) -> str:
        """Absolute path of the store."""
        return str(self._opened.snapshot.directory)

    @property
    def names(self) -> Sequence[str]:
        """Names by position among these, in data order; a list."""
        return list(self)

    @property
    def _is_one(self) -> Bools:
        """Whether each array of the store is one of these."""
        if self._found is None:
            found, numbers = dtypes_of(self._opened)
            number = found.index(self.dtype) if self.dtype in found else -1
            self._found = numbers == number
        return self._found

    def __len__(self) -> int:
        return int(np.count_nonzero(self._is_one))

    def __iter__(self) -> Iterator[str]:
        return compress(self._opened.snapshot.texts(), self._is_one)

    def __getitem__(self, name: str) -> Array:
        """Return an array, as the store does; a `KeyError` for one of another dtype, too."""
        raw = encoded(name)
        address = None if raw is None else self._opened.snapshot.locate(raw)
        array = None if address is None else self._arrays.at(address)
        if array is None or array.dtype != self.dtype:
            raise unknown(name, self.path)
        return array

    def __repr__(self) -> str:
        return f"<{len(self)} arrays of {self.dtype} of {self.path}>"

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        """Return to numpy the elements of all of these end to end, a copy, without their masks."""
        if copy is False:
            raise ValueError(f"reading {self!r} as one array copies, which copy=False forbids")
        rows, starts, ends = self._reducible()
        return np.asarray(np.ma.getdata(gather(rows, starts, ends).values), dtype)

    def _tabular(self) -> tuple[Opened, DType, Bools]:
        return self._opened, self.dtype, self._is_one

    def _reducible(self) -> reductions.Living:
        layout = self._opened.layout
        if layout.kind != MIXED and layout.dtype == self.dtype:
            return living(self._opened)
        rows, starts, ends = self._ranges()
        return reductions.Living(widened(rows), starts, ends)

    def _spread(self) -> Spread:
        return self._opened, partial(living_of, self.dtype), np.flatnonzero(self._is_one)

    def _alike(self) -> Alike:
        return alike(self._opened, *self._ranges(), np.flatnonzero(self._is_one))

    def _ranges(self) -> reductions.Living:
        """Return what these are ranges of, and the ranges."""
        opened = self._opened
        if opened.layout.kind == MIXED:
            return _mixed(opened, self.dtype, np.flatnonzero(self._is_one))
        if opened.layout.dtype == self.dtype:
            return as_ranges(opened)
        nothing = np.empty(0, np.int64)
        return reductions.Living(np.empty(0, self.dtype), nothing, nothing)


def living(opened: Opened) -> reductions.Living:
    """Return the rows of a store of one dtype, and the ranges of them that are arrays."""
    rows = reductions.MaskedRows(*opened.parts()) if opened.layout.masked else opened.rows
    return reductions.Living(widened(rows), *opened.columns())


def living_of(dtype: DType | None, opened: Opened) -> reductions.Living:
    """Return the rows of a store, and the ranges of them that are arrays, or those of one dtype."""
    if dtype is None and opened.layout.kind != MIXED:
        return living(opened)
    return OneDtype(Arrays(opened, None), dtype or the_only_dtype(opened))._reducible()


def as_ranges(opened: Opened) -> reductions.Living:
    """Return the same, but the rows as they are: none in a wider dtype."""
    return reductions.Living(opened.rows, *opened.columns())


def the_only_dtype(opened: Opened, then: str = _REDUCE) -> DType:
    """Return the dtype that all arrays of a mixed store have; that of its rows without arrays.

    Parameters
    ----------
    opened : Opened
        The store.
    then : str
        What the message of the error says to do, with braces for a dtype.

    Raises
    ------
    BadInputError
        If they have several.
    """
    found, numbers = dtypes_of(opened)
    if len(found) < 2:
        return found[0] if found else opened.layout.dtype
    counts = np.bincount(numbers).tolist()
    has = ", ".join(f"{n} of {dtype}" for n, dtype in zip(counts[:8], found, strict=False))
    path = str(opened.snapshot.directory)
    raise BadInputError(
        f"{path} keeps arrays of {len(found)} dtypes ({has}{', …' * (len(found) > 8)}): "
        + then.format(repr(found[0].str)),
        path=path,
        found=tuple(found),
        expected="one dtype",
    )


def dtypes_of(opened: Opened) -> tuple[list[DType], Int64s]:
    """Return the dtypes that arrays have, and which of them each has, in data order."""
    snapshot, layout = opened.snapshot, opened.layout
    if layout.kind != MIXED:
        return [layout.dtype], np.zeros(len(snapshot), np.int64)
    known: dict[DType, int] = {}
    numbers = np.empty(len(snapshot), np.int64)
    try:
        for block in in_blocks(0, len(numbers)):
            found = [infos.decode(raw).dtype or layout.dtype for raw in snapshot.infos[block]]
            numbers[block] = [known.setdefault(dtype, len(known)) for dtype in found]
    except ValueError as error:
        raise corrupt(str(snapshot.directory), f"has {error}") from error
    return list(known), numbers


def _mixed(opened: Opened, dtype: DType, positions: Int64s) -> reductions.Living:
    """Return rows of a mixed store as of one dtype, and the ranges that arrays of it are."""
    width = dtype.itemsize
    parts, starts, ends = [], [], []
    first_row = first = 0
    for store in opened.stores:
        stop = first + len(store.snapshot)
        chosen = positions[(first <= positions) & (positions < stop)] - first
        local = [column[chosen] for column in store.columns()]
        # Empty ones may be anywhere.
        if not width or ((local[0] % width | local[1] % width) * (local[0] < local[1])).any():
            raise _astray(opened, dtype)
        rows = viewed(store.data, dtype, (len(store.data) // width,))
        parts.append(rows)
        starts.append(local[0] // width + first_row)
        ends.append(local[1] // width + first_row)
        first, first_row = stop, first_row + len(rows)
    data: AnyRows = parts[0] if len(parts) == 1 else ChainedRows(parts)
    bounds = np.concatenate(starts), np.concatenate(ends)
    if opened.layout.masked:
        masks = [store.mask for store in opened.stores if store.mask is not None]
        chained = masks[0] if len(masks) == 1 else ChainedRows(masks)
        firsts = _mask_starts(opened, positions)
        mask = _MaskRows(len(data), *bounds, chained, firsts)
        data = reductions.MaskedRows(data, mask)
    return reductions.Living(data, *bounds)


def _astray(opened: Opened, dtype: DType) -> BadInputError:
    path = str(opened.snapshot.directory)
    what = f"arrays of {path} do not begin and end at multiples of {dtype.itemsize} bytes"
    return BadInputError(
        f"{what}, so that those of {dtype} are not reduced as a whole: reduce them one by one",
        path=path,
        found=dtype,
    )


def _mask_starts(opened: Opened, positions: Int64s) -> Int64s:
    """Return where masks begin in all mask files laid end to end; -1 where nothing is masked."""
    found = np.empty(len(positions), np.int64)
    first = first_byte = 0
    for store in opened.stores:
        stop = first + len(store.snapshot)
        low, high = np.searchsorted(positions, [first, stop]).tolist()
        n_bytes = 0 if store.mask is None else len(store.mask)
        starts, ends = _mask_spans(store, positions[low:high] - first)
        # Where the file ends before, as nothing is masked.
        found[low:high] = np.where(ends <= n_bytes, first_byte + starts, -1)
        first, first_byte = stop, first_byte + n_bytes
    return found


def _mask_spans(store: OpenedStore, positions: Int64s) -> Int64s:
    """Return which bytes of the mask file are the masks of some arrays, as starts and ends."""
    columns, raws = store.columns(), store.snapshot.infos
    spans = np.empty((2, len(positions)), np.int64)
    try:
        for block in in_blocks(0, len(positions), grow=False):
            some = positions[block]
            first, last = int(some[0]), int(some[-1]) + 1
            infos_of = list(raws[first:last])
            rows = (column[some].tolist() for column in columns)
            for at, position, start, end in zip(
                count(block.start), some.tolist(), *rows, strict=False
            ):
                raw = infos_of[position - first]
                spans[:, at] = infos.mask_span(store.layout, start, end, raw)
    except ValueError as error:
        raise corrupt(str(store.snapshot.directory), f"has {error}") from error
    return spans


class _MaskRows(Rows):
    """The masks of arrays as if each lay where its elements do.

    Parameters
    ----------
    n_rows : int
        Elements of all.
    starts, ends : ndarray of int64
        Where the elements of each array are, by rising starts.
    masks : ndarray or Rows of uint8
        The mask files, end to end.
    firsts : ndarray of int64
        Byte of them at which the mask of each array begins; -1 if nothing in it is masked.
    """

    def __init__(
        self, n_rows: int, starts: Int64s, ends: Int64s, masks: AnyRows, firsts: Int64s
    ) -> None:
        self.dtype, self.shape = np.dtype(np.bool_), (n_rows,)
        numbers = np.flatnonzero(starts < ends)
        self._starts, self._ends, self._firsts = starts[numbers], ends[numbers], firsts[numbers]
        self._masks = masks

    def __getitem__(self, key: Any) -> Any:
        """Return the mask of a slice of the elements."""
        start, stop, _ = key.indices(self.shape[0])
        offsets = np.array([0, max(0, stop - start)])
        return self.copy_ranges(offsets[:1] + start, offsets[1:] + start, offsets)

    def copy_ranges(
        self, starts: Int64s, ends: Int64s, offsets: Int64s, out: Array | None = None
    ) -> Array:
        """Copy the masks of ranges of elements end to end."""
        copy = np.empty(int(offsets[-1]), np.bool_) if out is None else out
        copy[...] = False
        low = np.maximum(np.searchsorted(self._starts, starts, side="right") - 1, 0)
        high = np.searchsorted(self._starts, ends, side="left")
        owners, nth = numbered(np.maximum(high - low, 0))
        numbers = low[owners] + nth
        begins, firsts = self._starts[numbers], self._firsts[numbers]
        at = np.maximum(begins, starts[owners])
        lengths = np.minimum(self._ends[numbers], ends[owners]) - at
        some = np.flatnonzero((lengths > 0) & (firsts >= 0))
        places = (at + (offsets[:-1] - starts)[owners])[some]
        firsts, lengths = (firsts + at - begins)[some], lengths[some]
        to = np.append(0, np.cumsum(lengths))
        masks = copy_ranges(self._masks, firsts, firsts + lengths, to)
        copy[np.repeat(places - to[:-1], lengths) + np.arange(len(masks))] = masks.view(np.bool_)
        return copy
