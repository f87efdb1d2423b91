"""Which records of the journal a name is in, in eight bytes for each."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from heapq import merge
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.format import table
from ptrarray.rows.types import Int64s, UInt64s

Hashes = Sequence[int] | npt.NDArray[np.uint32]

_SHIFT = np.uint64(32)
_LOWER = 0xFFFF_FFFF
# The last byte that an entry can name. What lies behind is there, and nobody knows where.
FAR = _LOWER
_FRESH_LIMIT = 4096
_UNSORTED_LIMIT = 16  # records
_TOGETHER = 4096  # names of records that are sorted at once
_GROWTH = 4


class Found(NamedTuple):
    """Where a name with a hash was committed.

    Attributes
    ----------
    record_at : int
        Byte of the journal where the record begins; `FAR` where that is not known.
    position : int
        Which of the names of the record it is.
    n_names : int
        Names of the record.
    """

    record_at: int
    position: int
    n_names: int


class RecentNames:
    """Where names were committed since the last checkpoint, by hash.

    A writer looks here for duplicates. It keeps neither names nor pointers:
    where a hash is found, the record has the rest. Each entry is one
    integer, the hash above the byte of the journal where the record begins, plus the position of
    the name in the record, which is smaller than the record.

    Notes
    -----
    Entries are in sorted runs, each at least `_GROWTH` times as long as the
    next, so that adding n of them costs O(n log n) in all; as in a
    log-structured merge tree (O'Neil et al., 1996).
    """

    # Records of 40, 5, 3 and 4 names, one after the other, leave runs of these lengths:
    #
    #     [40]   [40, 5]   [40, 8]   [52]
    #
    # as 5 and 3 are merged because 5 < 4 * 3, and 40, 8 and 4 because 8 < 4 * 4 and then
    # 40 < 4 * 12. The third name, of hash 0xC0FFEE, in the record at byte 0x2000 is
    # 0x00C0FFEE_00002002 there. All entries of that hash lie together, from 0x00C0FFEE_00000000 on,
    # so one bisection of each run finds them; and one of `_records` what record byte 0x2002 is in.

    def __init__(self) -> None:
        self._runs: list[memoryview] = []
        self._fresh: dict[int, list[int]] = {}
        # Records of many names, until somebody looks for one: a writer of few may never do.
        self._unsorted: list[tuple[Hashes, int]] = []
        # What was looked for last, and its entries in order: mostly what is added next.
        self._sought: tuple[Hashes, Int64s, UInt64s] = (), np.empty(0, np.int64), np.empty(0, "u8")
        # Of records with several names, the byte above the number of names, rising.
        self._records = array("Q")

    def add(self, hashes: Hashes, record_at: int) -> None:
        """Note the names of the record at a byte of the journal, which rises."""
        if len(hashes) == 1:  # one array a call: keep that cheap, and sort now and then
            self._fresh.setdefault(int(hashes[0]), []).append(min(record_at, FAR))
            if len(self._fresh) > _FRESH_LIMIT:
                self._sort_fresh()
        elif len(hashes):
            record = record_at << 32 | len(hashes)
            # After an interrupt the same ones may come again.
            is_new = not self._records or self._records[-1] < record
            if is_new and record_at + len(hashes) <= FAR:
                self._records.append(record)
            sought, order, lowest = self._sought
            if hashes is sought:
                self._add_run(_entries(order, lowest, record_at))
                return
            self._unsorted = [*self._unsorted, (hashes, record_at)]
            if len(self._unsorted) > _UNSORTED_LIMIT:
                self._sort_all()

    def _sort_fresh(self) -> None:
        fresh = [name_hash << 32 | at for name_hash, ats in self._fresh.items() for at in ats]
        # Interrupted before both are set, they are in two places, which is no harm.
        self._add_run(np.sort(np.array(fresh, np.uint64)))
        self._fresh = {}

    def _sort_all(self) -> None:
        """Sort what nobody has looked through so far; of small records many at once."""
        while self._unsorted:
            n_names = accumulate(len(hashes) for hashes, _ in self._unsorted)
            n_records = max(1, bisect_right(list(n_names), _TOGETHER))
            # Interrupted before both are set, they are in two places, which is no harm.
            self._add_run(_run(self._unsorted[:n_records]))
            self._unsorted = self._unsorted[n_records:]

    def _add_run(self, run: UInt64s) -> None:
        runs = self._runs.copy()
        while runs and len(runs[-1]) < _GROWTH * len(run):
            run = np.concatenate([runs.pop(), run])
            run.sort(kind="stable")  # a merge, as both parts are sorted
        self._runs = [*runs, memoryview(run)]

    def records(self, name_hash: int) -> Iterable[Found]:
        """Return where names of this hash were committed, the newest first.

        Looks at no more of them than are asked for: of a name that is written and deleted over and
        over, the newest says all.
        """
        if self._unsorted:
            self._sort_all()
        fresh = self._fresh.get(name_hash)
        found: list[Iterable[int]] = [] if fresh is None else [reversed(fresh)]
        for run in self._runs:
            low = bisect_left(run, name_hash << 32)
            if low < len(run) and run[low] >> 32 == name_hash:
                high = bisect_right(run, name_hash << 32 | _LOWER, low)
                found.append(map(_LOWER.__and__, reversed(run[low:high])))
        return map(self._found, merge(*found, reverse=True)) if found else ()

    def _found(self, at: int) -> Found:
        before = bisect_right(self._records, at << 32 | _LOWER)
        if before:
            record_at, n_names = divmod(self._records[before - 1], 1 << 32)
            if at < record_at + n_names:
                return Found(record_at, at - record_at, n_names)
        return Found(at, 0, 1)

    def seen(self, hashes: Hashes) -> Int64s:
        """Return the indices of those `hashes` that are in some record. Vectorised."""
        if self._fresh:
            self._sort_fresh()
        self._sort_all()
        if not self._runs:
            return np.empty(0, np.int64)
        is_seen = np.zeros(len(hashes), np.bool_)
        # In order, so that searches walk through memory.
        order, wanted = _sorted(hashes)
        self._sought = hashes, order, wanted
        for run in map(np.asarray, self._runs):
            found = np.searchsorted(run, wanted)
            inside = np.searchsorted(found, len(run))  # what is found rises
            same = run[found[:inside]] >> _SHIFT == wanted[:inside] >> _SHIFT
            is_seen[order[:inside][same]] = True
        return np.flatnonzero(is_seen)


def _run(records: Sequence[tuple[Hashes, int]]) -> UInt64s:
    """Return the entries of the names of records, in order."""
    if len(records) == 1:
        ((hashes, record_at),) = records
        return _entries(*_sorted(hashes), record_at)
    parts = []
    for hashes, record_at in records:
        lowest = np.asarray(hashes, np.uint32).astype(np.uint64) << _SHIFT
        parts.append(_entries(np.arange(len(hashes)), lowest, record_at))
    return np.sort(np.concatenate(parts))


def _sorted(hashes: Hashes) -> tuple[Int64s, UInt64s]:
    """Return the order of hashes, and in it the lowest entry of each."""
    column = np.asarray(hashes, np.uint32)
    order = table.argsort(column)
    return order, column[order].astype(np.uint64) << _SHIFT


def _entries(order: Int64s, lowest: UInt64s, record_at: int) -> UInt64s:
    """Return the entries of a record's names, whose hashes were sorted. Equal ones keep their order."""
    if record_at + len(order) > FAR:
        return lowest | np.uint64(FAR)
    return lowest | (order.view(np.uint64) + np.uint64(record_at))
