"""Which record of the journal last told of a name, in eight bytes a name."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

UInt64s = npt.NDArray[np.uint64]

_SHIFT = np.uint64(32)
_FRESH_LIMIT = 4096


class RecentNames:
    """Where names were committed since the last checkpoint, by hash.

    A writer looks here for duplicates. It keeps neither names nor pointers:
    where a hash is found, the record tells the rest. Each entry is one
    integer, the hash above the byte of the journal where the record begins.
    """

    def __init__(self) -> None:
        self._sorted: UInt64s = np.empty(0, np.uint64)
        self._view = memoryview(self._sorted)
        self._fresh: dict[int, list[int]] = {}
        self._unsorted: list[UInt64s] = []

    def add(self, hashes: npt.NDArray[np.uint32] | Sequence[int], record_at: int) -> None:
        """Note the names of the record at a byte of the journal."""
        if len(hashes) == 1:  # one array a call: keep that cheap, and merge now and then
            self._fresh.setdefault(int(hashes[0]), []).append(record_at)
            if len(self._fresh) > max(_FRESH_LIMIT, len(self._sorted) // 32):
                self._merge()
        elif len(hashes):
            wide = np.asarray(hashes).astype(np.uint64)
            self._unsorted.append((wide << _SHIFT) | np.uint64(record_at))

    def _merge(self) -> None:
        fresh = [name_hash << 32 | at for name_hash, ats in self._fresh.items() for at in ats]
        merged = np.concatenate([self._sorted, np.array(fresh, np.uint64), *self._unsorted])
        merged.sort(kind="stable")  # a merge, as most of it is sorted
        self._sorted, self._fresh, self._unsorted = merged, {}, []
        self._view = memoryview(merged)

    def records(self, name_hash: int) -> list[int]:
        """Bytes of the records that tell of a name with this hash, the newest first."""
        if self._unsorted:
            self._merge()
        found = []
        view = self._view
        at = bisect_left(view, name_hash << 32)
        while at < len(view) and view[at] >> 32 == name_hash:
            found.append(view[at] & 0xFFFF_FFFF)
            at += 1
        if name_hash in self._fresh:
            found += self._fresh[name_hash]
        return sorted(found, reverse=True) if found else found

    def seen(self, hashes: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
        """Return the indices of those `hashes` that some record tells of. Vectorised."""
        if self._fresh or self._unsorted:
            self._merge()
        wanted = hashes.astype(np.uint64) << _SHIFT
        places = np.searchsorted(self._sorted, wanted)
        inside = np.flatnonzero(places < len(self._sorted))
        same = self._sorted[places[inside]] >> _SHIFT == hashes[inside]
        found: npt.NDArray[np.int64] = inside[same]
        return found
