"""Names that are in several stores, found by hashes in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ptrarray.format.names import hash_all
from ptrarray.format.table import EMPTY
from ptrarray.storage.store.snapshot import StoreSnapshot

Hashes = npt.NDArray[np.uint32]

_NBYTES = 32  # that a name takes while the hashes of a range are compared
_WINDOW = 1 << 12  # slots
_END = 1 << 32


def find_doubles(stores: Sequence[StoreSnapshot], memory: int) -> Iterator[dict[bytes, list[int]]]:
    """Yield the names that several stores have, each with the numbers of those.

    Hashes are compared range by range, so many at a time as fit in some memory. Those of an index
    lie sorted in its name table. Only of names with the same hash the bytes are compared.
    """
    lists = [_Hashes(store) for store in stores]
    n_names = sum(map(len, lists))
    n_ranges = max(1, -(-n_names * _NBYTES // memory))
    bounds = [_END * at // n_ranges for at in range(n_ranges + 1)]
    for low, high in pairwise(bounds):
        found = [each.between(low, high) for each in lists]
        joined = np.concatenate([hashes for hashes, _ in found])
        joined.sort(kind="stable")  # which merges runs that are sorted
        doubtful = np.unique(joined[1:][joined[1:] == joined[:-1]])
        del joined
        if len(doubtful):
            yield _same_names(lists, found, doubtful)


def _same_names(
    lists: Sequence[_Hashes], found: Sequence[tuple[Hashes, Hashes]], doubtful: Hashes
) -> dict[bytes, list[int]]:
    """Return the names of doubtful hashes that are the same in several stores."""
    having: dict[bytes, list[int]] = {}
    for number, (each, (hashes, positions)) in enumerate(zip(lists, found, strict=True)):
        at = np.minimum(np.searchsorted(doubtful, hashes), len(doubtful) - 1)
        for name in each.names(positions[doubtful[at] == hashes]):
            having.setdefault(name, []).append(number)
    return {name: numbers for name, numbers in having.items() if len(numbers) > 1}


class _Hashes:
    """The hashes of a store's names: those of its index, then those that its journal has added."""

    def __init__(self, store: StoreSnapshot) -> None:
        self._store = store
        self._slots = store.index.column("slot").view(np.uint64)  # the hash in the lower half
        self._n_homes = store.header.n_homes
        self._n_indexed = store.header.n_arrays
        self._added = [name for name, entry in store.overlay.entries.items() if entry >= 0]
        self._added_hashes = np.array(hash_all(self._added), np.uint32)

    def __len__(self) -> int:
        return self._n_indexed + len(self._added)

    def between(self, low: int, high: int) -> tuple[Hashes, Hashes]:
        """Return the hashes ``low <= hash < high``, and at which positions their names are."""
        pairs = self._slots_of(low, high)
        hashes, positions = pairs.astype(np.uint32), (pairs >> np.uint64(32)).astype(np.uint32)
        is_there = (positions != EMPTY) & (hashes >= low) & (hashes <= high - 1)
        added = self._added_hashes
        of_added = np.flatnonzero((added >= low) & (added <= high - 1))
        return (
            np.concatenate([hashes[is_there], added[of_added]]),
            np.concatenate([positions[is_there], (of_added + self._n_indexed).astype(np.uint32)]),
        )

    def _slots_of(self, low: int, high: int) -> npt.NDArray[np.uint64]:
        """Return the slots in which hashes of a range can be: up to the first behind that has none."""
        first, last = (bound * self._n_homes >> 32 for bound in (low, high))
        while True:
            # Hashes never fall from one full slot to the next.
            some = self._slots[last : last + _WINDOW]
            ended = (some >> np.uint64(32) == EMPTY) | (some.astype(np.uint32) > high - 1)
            if ended.any() or not len(some):
                return self._slots[first : last + (int(ended.argmax()) if len(some) else 0)]
            last += len(some)

    def names(self, positions: Hashes) -> Iterator[bytes]:
        """Yield the names at positions that the store still has."""
        overlaid = self._store.overlay.entries
        for position in positions.tolist():
            if position >= self._n_indexed:
                yield self._added[position - self._n_indexed]
            else:
                name = self._store.index.name(position)
                if name not in overlaid:
                    yield name
