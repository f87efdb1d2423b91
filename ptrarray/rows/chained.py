"""Several arrays of rows that are read as if they lay end to end."""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.rows.copying import copy_ranges

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]

# From so few ranges on between changes of part, copying part by part and then into order is
# faster than copying run by run.
_RUN_RANGES = 8


class ChainedRows:
    """Arrays of rows laid end to end, without a copy until rows of several are asked for.

    Parameters
    ----------
    parts : sequence of ndarray
        At least one, all of one dtype and shape but for the first axis.

    Attributes
    ----------
    parts : tuple of ndarray
        As given.
    first_rows : list of int, one more than parts
        Rows of all parts before each.
    dtype, shape
        Of all of it.

    Examples
    --------
    >>> rows = ChainedRows([np.array([1, 2, 3]), np.array([4, 5])])
    >>> rows[1:3], rows[2:4], int(rows[-1])
    (array([2, 3]), array([3, 4]), 5)
    >>> rows[1:3].base is rows.parts[0]
    True
    """

    def __init__(self, parts: Sequence[Array]) -> None:
        self.parts = tuple(parts)
        self.first_rows = [0, *accumulate(map(len, self.parts))]
        self.dtype: np.dtype[Any] = self.parts[0].dtype
        self.shape: tuple[int, ...] = (self.first_rows[-1], *self.parts[0].shape[1:])
        self.is_masked = hasattr(self.parts[0], "mask")

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<{len(self.parts)} parts of {self.dtype}, together of shape {self.shape}>"

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    def size(self) -> int:
        """Number of elements."""
        return sum(part.size for part in self.parts)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.itemsize

    @cached_property
    def data(self) -> ChainedRows:
        """The rows without their mask."""
        return ChainedRows([part.data for part in self._masked_parts()])

    @cached_property
    def mask(self) -> ChainedRows:
        """The mask of masked rows."""
        return ChainedRows([part.mask for part in self._masked_parts()])

    def _masked_parts(self) -> Iterator[Any]:
        """Yield the parts as what has data and a mask of the same shape."""
        for part in self.parts:
            is_read = not isinstance(part, np.ma.MaskedArray)
            yield part if is_read else np.ma.MaskedArray(part, np.ma.getmaskarray(part))

    def __getitem__(self, key: Any) -> Any:
        """Index as numpy does: a view where all is in one part, else a copy that is read-only.

        A slice or an integer copies only the rows it asks for. An index by
        `None` or an ellipsis first copies all.
        """
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) and key else (key, ())
        if isinstance(first, slice):
            start, stop, step = first.indices(len(self))
            if step == 1:
                return self._between(start, max(start, stop), rest)
            return self._stepped(range(start, stop, step), rest)
        if hasattr(first, "__index__") and not isinstance(first, (bool, np.bool_, np.ndarray)):
            return self._at(operator.index(first), rest)
        if isinstance(first, (list, np.ndarray)):
            return self._chosen(np.asarray(first), rest)
        return self.joined()[key]

    def joined(self) -> Array:
        """Return all rows: a view of the only part, or a copy."""
        whole: Array = self._between(0, len(self), ())
        return whole

    def _part_of(self, row: int) -> int:
        return bisect_right(self.first_rows, row, hi=len(self.parts)) - 1

    def _between(self, start: int, stop: int, rest: tuple[Any, ...]) -> Any:
        number = self._part_of(start)
        first_row = self.first_rows[number]
        if stop <= self.first_rows[number + 1]:
            rows = slice(start - first_row, stop - first_row)
            return self.parts[number][(rows, *rest) if rest else rows]
        pieces = [
            self.parts[at][max(start - first, 0) : stop - first]
            for at, first in enumerate(self.first_rows[:-1])
            if first < stop and start < self.first_rows[at + 1]
        ]
        return self._copied(pieces, rest)

    def _stepped(self, positions: range, rest: tuple[Any, ...]) -> Any:
        rising = positions if positions.step > 0 else positions[::-1]
        pieces = [self.parts[at][rows] for at, rows in self._cut(rising)]
        if len(pieces) == 1 and positions.step > 0:
            ((at, rows),) = self._cut(rising)
            return self.parts[at][(rows, *rest) if rest else rows]
        if positions.step < 0:
            pieces = [piece[::-1] for piece in pieces[::-1]]
        return self._copied(pieces, rest)

    def _cut(self, rising: range) -> Iterator[tuple[int, slice]]:
        """Yield which rows of which parts the positions are."""
        for at, (first, last) in enumerate(pairwise(self.first_rows)):
            # The first position that is not before this part, and the first after it.
            low, high = (
                min(max(-(-(row - rising.start) // rising.step), 0), len(rising))
                for row in (first, last)
            )
            if low < high:
                start, stop = rising[low] - first, rising[high - 1] - first + 1
                yield at, slice(start, stop, rising.step)

    def _at(self, row: int, rest: tuple[Any, ...]) -> Any:
        position = row + len(self) if row < 0 else row
        if not 0 <= position < len(self):
            raise IndexError(f"index {row} is out of bounds for axis 0 with size {len(self)}")
        number = self._part_of(position)
        local = position - self.first_rows[number]
        return self.parts[number][(local, *rest) if rest else local]

    def _chosen(self, chosen: Array, rest: tuple[Any, ...]) -> Any:
        """Index by a mask or by integers: copy each row that is asked for once."""
        if chosen.dtype.kind == "b":
            if chosen.shape != self.shape[: chosen.ndim] or not chosen.ndim:
                raise IndexError(
                    f"boolean index of shape {chosen.shape} does not match rows of {self.shape}"
                )
            chosen, *others = chosen.nonzero()
            rest = (*others, *rest)
        elif chosen.size and chosen.dtype.kind not in "iu":
            raise IndexError("arrays used as indices must be of integer (or boolean) type")
        rows = np.where(chosen < 0, chosen + len(self), chosen).astype(np.int64)
        outside = (rows < 0) | (rows >= len(self))
        if outside.any():
            row = int(chosen[outside].flat[0])
            raise IndexError(f"index {row} is out of bounds for axis 0 with size {len(self)}")
        unique, places = np.unique(rows, return_inverse=True)
        some = self._copied(
            [
                self.parts[at][unique[low:high] - self.first_rows[at]]
                for at, low, high in self._grouped(unique)
            ],
            (),
        )
        return some[(places.reshape(chosen.shape), *rest)]

    def _grouped(self, rising: Int64s) -> Iterator[tuple[int, int, int]]:
        """Yield each part that has some of the rows, and where these begin and end."""
        bounds = np.searchsorted(rising, self.first_rows).tolist()
        for at, (low, high) in enumerate(pairwise(bounds)):
            if low < high:
                yield at, low, high

    def _copied(self, pieces: list[Array], rest: tuple[Any, ...]) -> Any:
        """Copy pieces end to end, read-only: what is written to a copy would be lost."""
        if self.is_masked:
            data = self.data._copied([np.ma.getdata(piece) for piece in pieces], rest)
            mask = self.mask._copied([np.ma.getmaskarray(piece) for piece in pieces], rest)
            return np.ma.MaskedArray(data, mask)
        # Not concatenate, which may change the byte order or the padding of a dtype.
        copy = np.empty((sum(map(len, pieces)), *self.shape[1:]), self.dtype)
        at = 0
        for piece in pieces:
            copy[at : at + len(piece)] = piece
            at += len(piece)
        copy.flags.writeable = False
        return copy[(slice(None), *rest)] if rest else copy

    def copy_ranges(self, starts: Int64s, ends: Int64s, offsets: Int64s) -> Array:
        """Copy ranges of rows end to end, as `ptrarray.rows.copying.copy_ranges` does.

        `ptrarray.rows.ragged.gather` asks for it.
        """
        if self.is_masked:
            data, mask = (
                rows.copy_ranges(starts, ends, offsets) for rows in (self.data, self.mask)
            )
            return np.ma.MaskedArray(data, mask)
        numbers = np.searchsorted(self.first_rows[1:-1], starts, side="right")
        first_rows = np.array(self.first_rows, np.int64)
        if (ends > first_rows[numbers + 1]).any():
            return self._copy_one_by_one(starts, ends, offsets)
        changes = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
        if len(changes) > len(self.parts) and len(changes) * _RUN_RANGES > len(starts):
            return self._copy_sorted(numbers, starts, ends, offsets)
        local_starts, local_ends = starts - first_rows[numbers], ends - first_rows[numbers]
        bounds = list(pairwise([0, *changes.tolist(), len(starts)]))
        if len(bounds) == 1:
            number = int(numbers[0]) if len(numbers) else 0
            return copy_ranges(self.parts[number], local_starts, local_ends, offsets)
        values = np.empty((int(offsets[-1]), *self.shape[1:]), self.dtype)
        for low, high in bounds:
            some = slice(low, high)
            part = self.parts[numbers[low]]
            where = offsets[low : high + 1] - offsets[low]
            values[offsets[low] : offsets[high]] = copy_ranges(
                part, local_starts[some], local_ends[some], where
            )
        return values

    def _copy_sorted(
        self, numbers: npt.NDArray[np.intp], starts: Int64s, ends: Int64s, offsets: Int64s
    ) -> Array:
        """Copy ranges of many parts in turn: part by part, and then into order."""
        order = np.argsort(numbers, kind="stable")
        sorted_offsets = np.concatenate([[0], np.cumsum((ends - starts)[order])])
        values = self.copy_ranges(starts[order], ends[order], sorted_offsets)
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        return copy_ranges(values, sorted_offsets[places], sorted_offsets[1:][places], offsets)

    def _copy_one_by_one(self, starts: Int64s, ends: Int64s, offsets: Int64s) -> Array:
        """Copy ranges some of which go from one part into the next."""
        values = np.empty((int(offsets[-1]), *self.shape[1:]), self.dtype)
        ranges = zip(starts.tolist(), ends.tolist(), pairwise(offsets.tolist()), strict=True)
        for start, end, (first, last) in ranges:
            values[first:last] = self[start:end]
        return values
