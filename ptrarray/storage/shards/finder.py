"""Looking names up in several stores at once, and snapshots without some of their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ptrarray.errors import CorruptStoreError
from ptrarray.format.checksum import crc32
from ptrarray.format.entries import Entries
from ptrarray.format.journal import Changes
from ptrarray.format.names import Hashes, hash_all
from ptrarray.format.table import EMPTY
from ptrarray.rows.types import Int64s, UInt32s
from ptrarray.storage.shards.catalog import Catalog
from ptrarray.storage.store.snapshot import StoreSnapshot, outside

T = TypeVar("T")
Asked = TypeVar("Asked")

Hit = tuple[int, tuple[int, int]]  # number of a snapshot, and the pointer it has for a name


class Finder:
    """Looks names up in several snapshots at once.

    Hashes a name once. The catalog tells which of the snapshots that it knows may have it; the
    mapped name tables of all others are probed, the last one's first. Whatever the catalog says,
    a snapshot has what its own index says. One that contradicts an index is left aside.

    Parameters
    ----------
    snapshots : sequence of StoreSnapshot
        Numbered from 0.
    catalog : Catalog, optional
        Of the store that they are the shards of.
    """

    def __init__(self, snapshots: Sequence[StoreSnapshot], catalog: Catalog | None = None) -> None:
        self._snapshots = snapshots
        self._use(catalog)

    def _use(self, catalog: Catalog | None) -> None:
        known = set() if catalog is None else set(catalog.known_of(self._snapshots))
        tables = [
            (number, memoryview(one.index.column("slot")), one.header.n_homes, one.overlay.entries)
            for number, one in enumerate(self._snapshots)
            if number not in known
        ]
        # In this order, for other threads: what they may find twice does no harm.
        self._newest_first = tables[::-1]
        self._known, self._catalog = known, catalog if known else None

    def find(self, name: bytes) -> Hit | None:
        """Return the last snapshot that has a name, and the pointer there, or None."""
        hits = self.find_all(name, 1)
        return hits[0] if hits else None

    def find_all(self, name: bytes, n_most: int) -> list[Hit]:
        """Return the snapshots that have a name, the last first, and at most `n_most`.

        Probes a table as `Index.find` does, but stops at the first hash that is
        not smaller. Say a table has 4 homes, and slots 1 and 2 have the hashes
        0x50000000 and 0x70000000. A name of hash 0x60000000 has its home at
        ``0x60000000 * 4 >> 32``, slot 1. There the hash is smaller, in slot 2 it
        is larger: the name is not there, and nothing else was read.
        """
        name_hash = crc32(name)
        known = self._hits(name, name_hash) if self._catalog is not None else []
        hits: list[Hit] = []
        number = -1
        try:
            for number, slots, n_homes, entries in self._newest_first:
                at = (name_hash * n_homes >> 32) * 2
                # Along a run of full slots, hashes never fall.
                while slots[at] < name_hash and slots[at + 1] != EMPTY:
                    at += 2
                if slots[at] == name_hash or name in entries:
                    pointer = self._snapshots[number].find(name)
                    if pointer is not None:
                        hits.append((number, pointer))
                        if len(hits) == n_most:
                            break
        except IndexError:
            self._snapshots[number].find(name)  # says which file is damaged
            raise
        return sorted({*hits, *known}, reverse=True)[:n_most] if known else hits

    def _hits(self, name: bytes, name_hash: int) -> list[Hit]:
        """Return those of the snapshots that the catalog knows which have a name."""
        hits = []
        for number, position in self._entries(Catalog.find, name_hash) or ():
            if number in self._known:
                pointer = self._snapshots[number].find(name)
                if pointer is not None:
                    hits.append((number, pointer))
                elif self._is_refuted(number, position, name_hash):
                    return []
        return hits

    def _entries(self, ask: Callable[[Catalog, Asked], T], asked: Asked) -> T | None:
        """Return what the catalog answers; None without one, or if it is damaged."""
        try:
            return None if self._catalog is None else ask(self._catalog, asked)
        except CorruptStoreError:
            self._use(None)
            return None

    def _is_refuted(self, number: int, position: int, name_hash: int) -> bool:
        """Tell whether an index has not what the catalog says, and then leave that aside."""
        if crc32(self._snapshots[number].index.name(position)) == name_hash:
            return False  # of another name of this hash
        self._use(None)
        return True

    def where(self, names: Sequence[bytes], hashes: Hashes) -> dict[int, Int64s]:
        """Return which of many names each snapshot has, the last one first. Vectorised."""
        wanted = np.asarray(hashes, np.uint32)
        found: dict[int, Int64s] = {}
        for number, asked in self._asked(wanted):
            there = is_in(self._snapshots[number], [names[at] for at in asked], wanted[asked])
            if number in self._known and not there.all():
                missed = set(wanted[asked[~there]].tolist())
                for name_hash, (of, position) in self._all_entries(missed):
                    if of == number and self._is_refuted(number, position, name_hash):
                        return self.where(names, hashes)
            if there.any():
                found[number] = asked[there]
        return found

    def _all_entries(self, hashes: Iterable[int]) -> Iterator[tuple[int, tuple[int, int]]]:
        for name_hash in hashes:
            for entry in self._entries(Catalog.find, name_hash) or ():
                yield name_hash, entry

    def _asked(self, hashes: UInt32s) -> list[tuple[int, Int64s]]:
        """Return which of many names each snapshot may have, the last one first."""
        entries = self._entries(Catalog.find_many, hashes)
        everything = np.arange(len(hashes))
        asked = [(number, everything) for number, *_ in self._newest_first]
        if entries is not None:
            queries, numbers = entries
            order = np.lexsort((queries, numbers))
            queries, numbers = queries[order], numbers[order]
            firsts = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
            for first, last in pairwise([*firsts, len(numbers)]):
                if int(numbers[first]) in self._known:
                    asked.append((int(numbers[first]), np.unique(queries[first:last])))
        return sorted(asked, key=itemgetter(0), reverse=True)

    def pointers(self, names: Sequence[bytes], first_rows: Sequence[int]) -> Int64s:
        """Return pointers of many names, shape (n_names, 2); starts of -1 for those not there.

        Parameters
        ----------
        names : sequence of bytes
            Encoded names.
        first_rows : sequence of int
            What to add to the pointers of each snapshot.
        """
        pointers = np.full((len(names), 2), -1, np.int64)
        is_left = np.ones(len(names), np.bool_)
        for number, there in self.where(names, hash_all(names)).items():
            left = there[is_left[there]]
            if not len(left):
                continue
            some = [names[at] for at in left.tolist()]
            found = self._snapshots[number].find_all(some)
            # Beyond the rows of a shard there are those of the next.
            astray = outside(found[:, 0], found[:, 1], self._snapshots[number].n_rows)
            for at in np.flatnonzero(astray).tolist():
                self._snapshots[number].find(some[at])  # which refuses a damaged pointer
            pointers[left] = found + first_rows[number]
            is_left[left] = False
        return pointers


def is_in(
    snapshot: StoreSnapshot, names: Sequence[bytes], hashes: npt.NDArray[np.uint32]
) -> npt.NDArray[np.bool_]:
    """Return for each name whether a snapshot has it. Vectorised but for names that are there."""
    there: npt.NDArray[np.bool_] = snapshot.index.find_many(names, hashes) >= 0
    if snapshot.overlay.entries:
        overlaid = snapshot.overlay.entries.keys() & set(names)
        for at, name in enumerate(names) if overlaid else ():
            if name in overlaid:
                there[at] = snapshot.find(name) is not None
    return there


def without(snapshot: StoreSnapshot, names: Sequence[bytes]) -> StoreSnapshot:
    """Return a snapshot as it will be when some of its names are deleted."""
    overlay = snapshot.overlay.extended(Changes([Entries.of(names)]), snapshot.overlay.end_byte)
    return StoreSnapshot(snapshot.directory, snapshot.index, overlay)
