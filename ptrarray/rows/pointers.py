"""Half-open row ranges: one pointer, unions of many, and a set of runs that grows.

A *run* is a range of rows without a gap. Runs of a union are disjoint, ascending and never
touch, so that every row is counted once however many names share it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.rows.types import Array, Bools, Int64s


class Pointer(NamedTuple):
    """The half-open range of rows ``[start, end)`` that a name stands for.

    Attributes
    ----------
    start : int
        First row.
    end : int
        Row after the last one.

    Examples
    --------
    >>> Pointer(10, 25).length
    15
    """

    start: int
    end: int

    @property
    def length(self) -> int:
        """Number of rows."""
        return self.end - self.start


def merge_runs(starts: npt.ArrayLike, ends: npt.ArrayLike) -> tuple[Int64s, Int64s]:
    """Unite half-open ranges into disjoint, ascending runs that do not touch.

    Parameters
    ----------
    starts, ends : array_like of int, shape (n,)
        Ranges of rows in any order; they may overlap. A range whose end is not
        above its start is empty and is dropped.

    Returns
    -------
    starts, ends : ndarray of int64, shape (n_runs,)
        New arrays. Ranges that overlap or touch are one run.

    Notes
    -----
    Time O(n log n) for the sort, memory O(n); no Python loop.

    Examples
    --------
    >>> merge_runs([20, 0, 5, 9, 4], [30, 5, 8, 9, 6])
    (array([ 0, 20]), array([ 8, 30]))
    """
    starts, ends = _filled(starts, ends)
    order = np.argsort(starts)
    return _join(starts[order], ends[order])


def iter_runs(
    starts: Array, ends: Array, block: int = 1 << 20, longest: int = 0
) -> Iterator[tuple[Int64s, Int64s]]:
    """Unite ranges that are sorted by start, a block of them at a time.

    Parameters
    ----------
    starts, ends : ndarray of int, shape (n,)
        Ranges sorted by start, as a store's columns are; the ends need not
        ascend, since names may share rows. May be memory-mapped: each element
        is read once, in order.
    block : int
        Ranges looked at a time.
    longest : int
        Rows of a run that goes on past its block from which on it is cut
        rather than held back; 0 for never.

    Yields
    ------
    starts, ends : ndarray of int64
        The next runs of the union, never empty. A run that goes on past its
        block is held back until its end is known, so runs of different blocks
        do not overlap, or touch where none is cut.

    Notes
    -----
    Time O(n), memory O(block).

    Examples
    --------
    >>> starts, ends = np.array([0, 5, 7, 20]), np.array([5, 9, 8, 30])
    >>> list(iter_runs(starts, ends, block=2))
    [(array([0]), array([9])), (array([20]), array([30]))]
    """
    open_start = open_end = np.empty(0, np.int64)
    for at in range(0, len(starts), block):
        block_starts, block_ends = _filled(starts[at : at + block], ends[at : at + block])
        run_starts, run_ends = _join(
            np.concatenate((open_start, block_starts)), np.concatenate((open_end, block_ends))
        )
        open_start, open_end = run_starts[-1:], run_ends[-1:]
        if len(run_starts) > 1:
            yield run_starts[:-1], run_ends[:-1]
        if longest and len(open_start):
            # What comes begins no earlier than the last range of this block.
            known = min(int(open_end[0]), int(starts[at : at + block][-1])) - int(open_start[0])
            n_whole = max(0, known - 1) // longest * longest
            if n_whole:
                yield open_start, open_start + n_whole
                open_start = open_start + n_whole
    if len(open_start):
        yield open_start, open_end


def numbered(counts: Int64s) -> tuple[Int64s, Int64s]:
    """Return for each piece of things that are cut whose it is, and which of its pieces.

    Parameters
    ----------
    counts : ndarray of int64, shape (n,)
        Pieces of each thing.

    Examples
    --------
    >>> numbered(np.array([2, 1, 3]))
    (array([0, 0, 1, 2, 2, 2]), array([0, 1, 0, 0, 1, 2]))
    """
    owners = np.repeat(np.arange(len(counts)), counts)
    return owners, np.arange(len(owners)) - (np.cumsum(counts) - counts)[owners]


class Runs:
    """A set of rows that grows, kept as sorted, disjoint runs.

    ======================  ==============================================
    ``add(starts, ends)``   put ranges of rows into the set
    ``overlaps``            is any row of one range in the set
    ``overlaps_any``        the same for many ranges
    ``starts``, ``ends``    the runs as columns
    ``len(runs)``           number of runs
    ======================  ==============================================

    Examples
    --------
    >>> runs = Runs()
    >>> runs.add([0, 8], [5, 10])
    >>> runs.overlaps(5, 8)
    False
    >>> runs.add([5], [8])
    >>> runs
    Runs([(0, 10)])
    """

    __slots__ = ("_columns", "_n_runs")

    def __init__(self) -> None:
        self._columns: Int64s = np.empty((2, 8), np.int64)
        self._n_runs = 0

    def __len__(self) -> int:
        return self._n_runs

    def __repr__(self) -> str:
        shown = list(zip(self.starts[:3].tolist(), self.ends[:3].tolist(), strict=True))
        more = f", {len(self) - 3} more" if len(self) > 3 else ""
        return f"Runs({shown}{more})"

    @property
    def starts(self) -> Int64s:
        """First row of each run; a view that the next `add` may change."""
        return self._columns[0, : self._n_runs]

    @property
    def ends(self) -> Int64s:
        """Row after the last of each run; a view that the next `add` may change."""
        return self._columns[1, : self._n_runs]

    def add(self, starts: npt.ArrayLike, ends: npt.ArrayLike) -> None:
        """Put ranges of rows into the set.

        Parameters
        ----------
        starts, ends : array_like of int, shape (n,)
            In any order; empty ranges add nothing.

        Notes
        -----
        Time O(n log n) plus the runs from the lowest range added to the end of
        the set: adding at the end costs the same however many runs there are.

        Examples
        --------
        >>> runs = Runs()
        >>> runs.add([3, 1], [4, 2])
        >>> runs.starts, runs.ends
        (array([1, 3]), array([2, 4]))
        """
        starts, ends = merge_runs(starts, ends)
        if not len(starts):
            return
        # The runs that what is added can touch: none below low, none from high on.
        low = int(np.searchsorted(self.ends, starts[0], side="left"))
        high = int(np.searchsorted(self.starts, ends[-1], side="right"))
        if low < high:
            starts, ends = merge_runs(
                np.concatenate((self.starts[low:high], starts)),
                np.concatenate((self.ends[low:high], ends)),
            )
        self._replace(low, high, starts, ends)

    def _replace(self, low: int, high: int, starts: Int64s, ends: Int64s) -> None:
        n_runs = self._n_runs + len(starts) - (high - low)
        after = low + len(starts)
        old = self._columns
        if n_runs > old.shape[1]:
            self._columns = np.empty((2, 2 * n_runs), np.int64)
            self._columns[:, :low] = old[:, :low]
        self._columns[:, after:n_runs] = old[:, high : self._n_runs]
        self._columns[0, low:after] = starts
        self._columns[1, low:after] = ends
        self._n_runs = n_runs

    def overlaps(self, start: int, end: int) -> bool:
        """Tell whether any row of ``[start, end)`` is in the set.

        An empty range overlaps nothing. Time O(log n_runs).

        Examples
        --------
        >>> runs = Runs()
        >>> runs.add([10], [20])
        >>> runs.overlaps(0, 10), runs.overlaps(0, 11), runs.overlaps(12, 12)
        (False, True, False)
        """
        at = int(np.searchsorted(self.ends, start, side="right"))
        return start < end and at < self._n_runs and bool(self.starts[at] < end)

    def overlaps_any(self, starts: npt.ArrayLike, ends: npt.ArrayLike) -> Bools:
        """Tell for each range whether any of its rows is in the set.

        Parameters
        ----------
        starts, ends : array_like of int, shape (n,)
            In any order.

        Returns
        -------
        ndarray of bool, shape (n,)
            False for an empty range.

        Notes
        -----
        Time O(n log n_runs), no Python loop.

        Examples
        --------
        >>> runs = Runs()
        >>> runs.add([10], [20])
        >>> runs.overlaps_any([0, 0, 12], [10, 11, 12])
        array([False,  True, False])
        """
        starts, ends = np.asarray(starts, np.int64), np.asarray(ends, np.int64)
        if not self._n_runs:
            return np.zeros(len(starts), np.bool_)
        at = np.searchsorted(self.ends, starts, side="right")
        inside = at < self._n_runs
        reached = self.starts[np.where(inside, at, 0)] < ends
        return inside & reached & (starts < ends)


def _filled(starts: npt.ArrayLike, ends: npt.ArrayLike) -> tuple[Int64s, Int64s]:
    """Return the ranges that hold rows, as int64."""
    starts, ends = np.asarray(starts, np.int64), np.asarray(ends, np.int64)
    filled = starts < ends
    return (starts, ends) if filled.all() else (starts[filled], ends[filled])


def _join(starts: Int64s, ends: Int64s) -> tuple[Int64s, Int64s]:
    """Unite ranges that are filled and sorted by start."""
    if not len(starts):
        return starts, ends
    reach = np.maximum.accumulate(ends)
    # A run begins where a range starts above all that came before it.
    first = np.flatnonzero(starts[1:] > reach[:-1]) + 1
    return starts[np.concatenate(([0], first))], reach[np.concatenate((first - 1, [-1]))]
