"""Names that are in several stores, found by hashes in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ptrarray.format.index import corrupt
from ptrarray.format.names import hash_all
from ptrarray.format.table import EMPTY
from ptrarray.storage.store.snapshot import StoreSnapshot

Hashes = npt.NDArray[np.uint32]
Keys = npt.NDArray[np.uint64]  # each a position above a hash

_NBYTES = 64  # that a name takes while the hashes of a range are compared
_NAME_NBYTES = 400  # that one takes which is compared itself
_WINDOW = 1 << 12  # slots
_END = 1 << 32
_HALF = np.uint64(32)
_NO_KEY = np.uint64(EMPTY << 32)


def find_doubles(stores: Sequence[StoreSnapshot], memory: int) -> Iterator[dict[bytes, list[int]]]:
    """Yield the names that several stores have, each with the numbers of those.

    Hashes are compared range by range, so many at a time as fit in some memory. Those of an index
    lie sorted in its name table. Only of names with the same hash the bytes are compared.
    """
    lists = [_Names(store) for store in stores]
    n_names = sum(map(len, lists))
    n_ranges = max(1, -(-n_names * _NBYTES // memory))
    bounds = [_END * at // n_ranges for at in range(n_ranges + 1)]
    for low, high in pairwise(bounds):
        found = [each.between(low, high) for each in lists]
        joined = np.concatenate([keys.astype(np.uint32) for keys in found])
        joined.sort(kind="stable")  # which merges runs that are sorted
        again = joined[1:][joined[1:] == joined[:-1]]
        doubtful = np.unique(again)
        del joined
        n_parts = -(-(len(again) + len(doubtful)) * _NAME_NBYTES // memory)
        n_parts = min(n_parts, len(doubtful))  # else some would have none
        for some in np.array_split(doubtful, n_parts) if n_parts else ():
            yield _same_names(lists, found, some)


def _same_names(
    lists: Sequence[_Names], found: Sequence[Keys], doubtful: Hashes
) -> dict[bytes, list[int]]:
    """Return the names of doubtful hashes that are the same in several stores."""
    having: dict[bytes, list[int]] = {}
    for number, (each, keys) in enumerate(zip(lists, found, strict=True)):
        hashes = keys.astype(np.uint32)
        at = np.minimum(np.searchsorted(doubtful, hashes), len(doubtful) - 1)
        for name in each.names(keys[doubtful[at] == hashes] >> _HALF):
            having.setdefault(name, []).append(number)
    return {name: numbers for name, numbers in having.items() if len(numbers) > 1}


class _Names:
    """The names of a store, by hash: those of its index, then those that its journal has added."""

    def __init__(self, store: StoreSnapshot) -> None:
        self._store = store
        self._slots = store.index.column("slot").view(np.uint64)  # the hash in the lower half
        self._n_homes = store.header.n_homes
        self._n_indexed = store.header.n_arrays
        self._added = [name for name, entry in store.overlay.entries.items() if entry >= 0]
        hashes = np.array(hash_all(self._added), np.uint64)
        positions = np.arange(self._n_indexed, self._n_indexed + len(self._added), dtype=np.uint64)
        self._added_keys = positions << _HALF | hashes

    def __len__(self) -> int:
        return self._n_indexed + len(self._added)

    def between(self, low: int, high: int) -> Keys:
        """Return the keys of the names whose hashes are ``low <= hash < high``."""
        slots = self._slots_of(low, high)
        keys = [slots[slots < _NO_KEY], self._added_keys]
        if high - low < _END:
            # Without the position, and as far above the lowest as the highest may be.
            n_hashes = np.uint32(high - low - 1)
            keys = [some[some.astype(np.uint32) - np.uint32(low) <= n_hashes] for some in keys]
        found = np.concatenate(keys)
        self._store.index.forget()
        return found

    def _slots_of(self, low: int, high: int) -> npt.NDArray[np.uint64]:
        """Return the slots in which hashes of a range can be: up to the first behind that has none."""
        first, last = (bound * self._n_homes >> 32 for bound in (low, high))
        while True:
            # Hashes never fall from one full slot to the next.
            some = self._slots[last : last + _WINDOW]
            ended = (some >= _NO_KEY) | (some.astype(np.uint32) > high - 1)
            if ended.any() or not len(some):
                return self._slots[first : last + (int(ended.argmax()) if len(some) else 0)]
            last += len(some)

    def names(self, positions: Keys) -> Iterator[bytes]:
        """Yield the names at positions that the store still has."""
        overlaid = self._store.overlay.entries
        for position in positions.tolist():
            if position >= len(self):
                index = self._store.index
                raise corrupt(index.path, f"has array {position} in its name table, of {len(self)}")
            if position >= self._n_indexed:
                yield self._added[position - self._n_indexed]
            else:
                name = self._store.index.name(position)
                if name not in overlaid:
                    yield name
