"""Which records of the journal a name is in, in eight bytes for each."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ptrarray.format import table
from ptrarray.rows.types import UInt64s

Hashes = Sequence[int] | npt.NDArray[np.uint32]

_SHIFT = np.uint64(32)
_FRESH_LIMIT = 4096
_UNSORTED_LIMIT = 16  # records
_GROWTH = 4


class RecentNames:
    """Where names were committed since the last checkpoint, by hash.

    A writer looks here for duplicates. It keeps neither names nor pointers:
    where a hash is found, the record has the rest. Each entry is one
    integer, the hash above the byte of the journal where the record begins.

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
    # 40 < 4 * 12. A name of hash 0xC0FFEE in the record at byte 0x2000 is 0x00C0FFEE_00002000
    # there. All entries of that hash lie together, from 0x00C0FFEE_00000000 on, so one bisection
    # of each run finds them.

    def __init__(self) -> None:
        self._runs: list[memoryview] = []
        self._fresh: dict[int, list[int]] = {}
        # Records of many names, until somebody looks for one: a writer of few may never do.
        self._unsorted: list[tuple[Hashes, int]] = []
        # What was looked for last, and its entries in order: mostly what is added next.
        self._sought: tuple[Hashes, UInt64s] = (), np.empty(0, np.uint64)

    def add(self, hashes: Hashes, record_at: int) -> None:
        """Note the names of the record at a byte of the journal."""
        if len(hashes) == 1:  # one array a call: keep that cheap, and sort now and then
            self._fresh.setdefault(int(hashes[0]), []).append(record_at)
            if len(self._fresh) > _FRESH_LIMIT:
                self._sort_fresh()
        elif len(hashes):
            sought, lowest = self._sought
            if hashes is sought:
                self._add_run(lowest | np.uint64(record_at))
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
        """Sort what nobody has looked through so far."""
        while self._unsorted:
            hashes, record_at = self._unsorted[0]
            self._add_run(_sorted(hashes)[1] | np.uint64(record_at))
            self._unsorted = self._unsorted[1:]

    def _add_run(self, run: UInt64s) -> None:
        runs = self._runs.copy()
        while runs and len(runs[-1]) < _GROWTH * len(run):
            run = np.concatenate([runs.pop(), run])
            run.sort(kind="stable")  # a merge, as both parts are sorted
        self._runs = [*runs, memoryview(run)]

    def records(self, name_hash: int) -> list[int]:
        """Return the bytes where records with a name of this hash begin, the newest first."""
        if self._unsorted:
            self._sort_all()
        found = list(self._fresh.get(name_hash, ()))
        for run in self._runs:
            at = bisect_left(run, name_hash << 32)
            while at < len(run) and run[at] >> 32 == name_hash:
                found.append(run[at] & 0xFFFF_FFFF)
                at += 1
        return sorted(found, reverse=True)

    def seen(self, hashes: Hashes) -> npt.NDArray[np.int64]:
        """Return the indices of those `hashes` that are in some record. Vectorised."""
        if self._fresh:
            self._sort_fresh()
        self._sort_all()
        if not self._runs:
            return np.empty(0, np.int64)
        is_seen = np.zeros(len(hashes), np.bool_)
        # In order, so that searches walk through memory.
        order, wanted = _sorted(hashes)
        self._sought = hashes, wanted
        for run in map(np.asarray, self._runs):
            found = np.searchsorted(run, wanted)
            inside = np.searchsorted(found, len(run))  # what is found rises
            same = run[found[:inside]] >> _SHIFT == wanted[:inside] >> _SHIFT
            is_seen[order[:inside][same]] = True
        return np.flatnonzero(is_seen)


def _sorted(hashes: Hashes) -> tuple[npt.NDArray[np.int64], UInt64s]:
    """Return the order of hashes, and in it the lowest entry of each."""
    column = np.asarray(hashes, np.uint32)
    order = table.argsort(column)
    return order, column[order].astype(np.uint64) << _SHIFT
