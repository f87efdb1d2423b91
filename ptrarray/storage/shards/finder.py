"""Looking names up in several stores at once, and snapshots without some of their names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ptrarray.format.checksum import crc32
from ptrarray.format.entries import Entries
from ptrarray.format.journal import Changes
from ptrarray.format.names import hash_all
from ptrarray.format.table import EMPTY
from ptrarray.rows.types import Int64s
from ptrarray.storage.store.snapshot import StoreSnapshot, outside

Hit = tuple[int, tuple[int, int]]  # number of a snapshot, and the pointer it has for a name


class Finder:
    """Looks names up in several snapshots at once.

    Hashes a name once, and probes the mapped name table of each snapshot, the
    last one's first.

    Parameters
    ----------
    snapshots : sequence of StoreSnapshot
        Numbered from 0.
    """

    def __init__(self, snapshots: Sequence[StoreSnapshot]) -> None:
        self._snapshots = snapshots
        tables = [
            (number, memoryview(one.index.column("slot")), one.header.n_homes, one.overlay.entries)
            for number, one in enumerate(snapshots)
        ]
        self._newest_first = tables[::-1]

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
        return hits

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
        hashes = np.frombuffer(hash_all(names), np.uint32)
        left = np.arange(len(names))
        for number, *_ in self._newest_first:
            asked = [names[at] for at in left.tolist()]
            there = is_in(self._snapshots[number], asked, hashes[left])
            some = [asked[at] for at in np.flatnonzero(there).tolist()]
            if some:
                found = self._snapshots[number].find_all(some)
                # Beyond the rows of a shard there are those of the next.
                astray = outside(found[:, 0], found[:, 1], self._snapshots[number].n_rows)
                for at in np.flatnonzero(astray).tolist():
                    self._snapshots[number].find(some[at])  # which refuses a damaged pointer
                pointers[left[there]] = found + first_rows[number]
            left = left[~there]
            if not len(left):
                break
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
