"""Several arrays of rows that are read as if they lay end to end."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from ptrarray.rows.copying import (
    INDEX_BELOW_ROWS,
    INDEX_ROWS,
    copy_at_once,
    copy_ranges,
    cut,
)
from ptrarray.rows.indexing import split_index
from ptrarray.rows.pointers import numbered
from ptrarray.rows.types import AnyRows, Array, Int64s, Read, Rows, ahead_nbytes

# From so few ranges on between changes of part, copying part by part and then into order is
# faster than copying run by run.
_RUN_RANGES = 8
# Of more ranges in a run, what there is to do for the run is not much beside them.
_SHORT_RANGES = 1 << 10
_FEW_NUMBERS = 1 << 15  # are sorted as numbers of two bytes, in a tenth of the time


class ChainedRows(Rows):
    """Rows laid end to end, without a copy until rows of several parts are asked for.

    Parameters
    ----------
    parts : sequence of ndarray or Rows
        At least one, all of one dtype and shape but for the first axis, none
        with a mask: rows and their masks are chained each for themselves.

    Attributes
    ----------
    parts : tuple of ndarray or Rows
        As given.
    first_rows : list of int, one more than parts
        Rows of all parts before each.

    Examples
    --------
    >>> rows = ChainedRows([np.array([1, 2, 3]), np.array([4, 5])])
    >>> rows[1:3], rows[2:4], int(rows[-1])
    (array([2, 3]), array([3, 4]), 5)
    >>> rows[1:3].base is rows.parts[0]
    True
    """

    def __init__(self, parts: Sequence[AnyRows]) -> None:
        self.parts: tuple[Any, ...] = tuple(parts)
        self.first_rows = [0, *accumulate(map(len, self.parts))]
        self._starts = self.first_rows[:-1]
        self._borders = np.array(self.first_rows)
        self.dtype = self.parts[0].dtype
        self.shape = (self.first_rows[-1], *self.parts[0].shape[1:])
        self.ahead_nbytes = ahead_nbytes(parts[0])  # all are of one kind

    def __repr__(self) -> str:
        return f"<{len(self.parts)} parts of {self.dtype}, together of shape {self.shape}>"

    def __getitem__(self, key: Any) -> Any:
        """Index as numpy does: a view where a slice of one part is enough, else a copy.

        What was copied from several parts is read-only where numpy would give
        a view: what is written to it would be lost.
        """
        if type(key) is slice and key.step is None:
            start, stop, _ = key.indices(self.shape[0])
            number = bisect_right(self._starts, start) - 1
            if start <= stop <= self.first_rows[number + 1]:
                first_row = self.first_rows[number]
                return self.parts[number][start - first_row : stop - first_row]
        if type(key) is int and 0 <= key < self.shape[0]:
            number = bisect_right(self._starts, key) - 1
            return self.parts[number][key - self.first_rows[number]]
        wanted, rest = split_index(key, self.shape, self.dtype)
        return self._picked(wanted)[rest]

    def _picked(self, wanted: range | Int64s) -> Array:
        """Return rows, rising: a view where they are a slice of one part, else a copy."""
        rows = (wanted[0], wanted[-1]) if len(wanted) else (0, 0)
        first, last = (bisect_right(self._starts, row) - 1 for row in rows)
        if self.ahead_nbytes and first < last:
            return self._picked_at_once(wanted)
        pieces: list[Array] = []
        for number in range(first, last + 1):
            first_row, end = self.first_rows[number : number + 2]
            some = wanted[bisect_left(wanted, first_row) : bisect_left(wanted, end)]
            if isinstance(some, range):
                local: Any = slice(some.start - first_row, some.stop - first_row, some.step)
            else:
                local = some - first_row
            pieces.append(self.parts[number][local])
        if len(pieces) == 1:
            return pieces[0]
        # By itself, concatenate may change the byte order or the padding of a dtype.
        copy = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        np.concatenate(pieces, out=copy)
        copy.flags.writeable = False
        return copy

    def _picked_at_once(self, wanted: range | Int64s) -> Array:
        """Return a copy of rows, rising: all parts are asked at once."""
        if isinstance(wanted, range) and wanted.step == 1:
            starts, ends = np.array([wanted.start]), np.array([wanted.stop])
        else:
            starts = np.asarray(wanted)
            ends = starts + 1
        copy = self.copy_ranges(starts, ends, np.append(0, np.cumsum(ends - starts)))
        copy.flags.writeable = False
        return copy

    def copy_ranges(
        self, starts: Int64s, ends: Int64s, offsets: Int64s, out: Array | None = None
    ) -> Array:
        """Copy ranges of rows end to end: of neighbours in one part in one go."""
        if self.ahead_nbytes:
            return copy_at_once(self, starts, ends, offsets, out)
        starts, ends, offsets, numbers = self._cut(starts, ends, offsets)
        changes = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
        if len(changes) > len(self.parts) and len(changes) * _RUN_RANGES > len(starts):
            return self._copy_sorted(order_of(numbers), starts, ends, offsets, out)
        first_rows = self._borders[numbers]
        starts, ends = starts - first_rows, ends - first_rows
        if not len(changes):
            number = int(numbers[0]) if len(numbers) else 0
            return copy_ranges(self.parts[number], starts, ends, offsets, out)
        values = np.empty((int(offsets[-1]), *self.shape[1:]), self.dtype) if out is None else out
        edges = [0, *changes.tolist(), len(starts)]
        if self._are_short(ends - starts, len(edges)):
            self._copy_short(starts, ends, offsets, numbers, values)
            return values
        for low, high in pairwise(edges):
            some, at = slice(low, high), offsets[low : high + 1]
            part = self.parts[numbers[low]]
            copy_ranges(part, starts[some], ends[some], at - at[0], values[at[0] : at[-1]])
        return values

    def reads(
        self, starts: Int64s, ends: Int64s, places: Int64s, out: Array, *, is_ours: bool = False
    ) -> Iterator[Read]:
        """Return what copies ranges of rows, each to its place in `out`: part by part."""
        starts, ends, places, numbers = self._cut(starts, ends, places)
        order = np.argsort(numbers, kind="stable")
        changes = np.flatnonzero(np.diff(numbers[order])) + 1
        for low, high in pairwise([0, *changes.tolist(), len(order)]):
            some = order[low:high]
            number = int(numbers[some[0]]) if len(some) else 0
            ranges = (column[some] - self.first_rows[number] for column in (starts, ends))
            yield from self.parts[number].reads(*ranges, places[some], out, is_ours=is_ours)

    def in_turn(self, reads: Iterable[Read], *, grow: bool = False) -> Iterator[Any]:
        """Yield what is made of reads, in their order."""
        turns: Iterator[Any] = self.parts[0].in_turn(reads, grow=grow)
        return turns

    def _are_short(self, lengths: Int64s, n_runs: int) -> bool:
        """Tell whether copying ranges row by row is faster than what there is to do for each run of them."""
        return bool(
            len(lengths) < n_runs * _SHORT_RANGES
            and lengths.sum() < len(lengths) * INDEX_BELOW_ROWS
            and lengths.max() <= INDEX_ROWS
            and self._are_arrays
        )

    @cached_property
    def _are_arrays(self) -> bool:
        """Whether `take` copies rows of each part at once."""
        flags = [part.flags for part in self.parts if isinstance(part, np.ndarray)]
        are_fit = all(one.c_contiguous and one.aligned for one in flags)
        return are_fit and len(flags) == len(self.parts)

    def _copy_short(
        self, starts: Int64s, ends: Int64s, offsets: Int64s, numbers: Int64s, values: Array
    ) -> None:
        """Copy ranges, counted from the first rows of their parts, with one call for each run of a part."""
        lengths, shifts = ends - starts, starts - offsets[:-1]
        for low, high in cut(lengths, INDEX_ROWS):
            first, last = offsets[low], offsets[high]
            index = np.repeat(shifts[low:high], lengths[low:high])
            index += np.arange(first, last)
            runs = numbers[low:high]
            changes = np.flatnonzero(runs[1:] != runs[:-1]) + 1
            heads = np.append(0, changes)
            rows = np.append(offsets[low + heads] - first, last - first).tolist()
            copied = values[first:last]
            for number, (row, end) in zip(runs[heads].tolist(), pairwise(rows), strict=True):
                if row < end:  # any mode but "raise", which buffers its output
                    some = index[row:end]
                    self.parts[number].take(some, axis=0, out=copied[row:end], mode="clip")

    def _cut(
        self, starts: Int64s, ends: Int64s, offsets: Int64s
    ) -> tuple[Int64s, Int64s, Int64s, Int64s]:
        """Cut ranges where a part ends; return starts, ends and offsets, and the part of each.

        With parts of 5 rows, [3, 12) becomes [3, 5), [5, 10) and [10, 12), of parts 0, 1 and 2.
        """
        first_rows = self._borders
        first = np.searchsorted(first_rows[1:-1], starts, side="right")
        if (ends <= first_rows[first + 1]).all():
            return starts, ends, offsets, first
        last = np.maximum(first, np.searchsorted(first_rows[1:-1], ends, side="left"))
        owners, nth = numbered(last - first + 1)
        numbers = first[owners] + nth
        firsts = np.maximum(starts[owners], first_rows[numbers])
        ends = np.minimum(ends[owners], first_rows[numbers + 1])
        places = offsets[owners] + firsts - starts[owners]
        return firsts, ends, np.append(places, offsets[-1:]), numbers

    def _copy_sorted(
        self, order: Int64s, starts: Int64s, ends: Int64s, offsets: Int64s, out: Array | None
    ) -> Array:
        """Copy ranges of many parts in turn: part by part, and then into order."""
        bounds = np.append(0, np.cumsum((ends - starts)[order]))
        values = self.copy_ranges(starts[order], ends[order], bounds)
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        return copy_ranges(values, bounds[places], bounds[1:][places], offsets, out)


def order_of(numbers: Int64s) -> Int64s:
    """Return what sorts numbers of parts, those of the same one in the order they have.

    Examples
    --------
    >>> order_of(np.array([1, 0, -1, 1, 0]))
    array([2, 1, 4, 0, 3])
    """
    is_few = numbers.max(initial=0) < _FEW_NUMBERS
    order: Int64s = np.argsort(numbers.astype(np.int16) if is_few else numbers, kind="stable")
    return order
