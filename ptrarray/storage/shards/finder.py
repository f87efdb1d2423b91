"""Looking names up in several stores at once, and snapshots without some of their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from ptrarray.errors import CorruptStoreError
from ptrarray.format.checksum import crc32
from ptrarray.format.entries import Entries, RaggedColumn
from ptrarray.format.journal import Changes
from ptrarray.format.names import Hashes, hash_all
from ptrarray.format.table import EMPTY
from ptrarray.native import Finder as NativeFinder
from ptrarray.rows.chained import order_of
from ptrarray.rows.types import Int64s, UInt32s
from ptrarray.storage.shards.catalog import Catalog
from ptrarray.storage.store.held import Held
from ptrarray.storage.store.opened import OpenedStore
from ptrarray.storage.store.pointers import outside
from ptrarray.storage.store.snapshot import StoreSnapshot

T = TypeVar("T")
Asked = TypeVar("Asked")

Complete = TypeVar("Complete", StoreSnapshot, OpenedStore)

NO_ROW = np.iinfo(np.int64).max  # beyond all rows
_FEW = 8  # names that are found one by one in less time than as a whole
_PART = 1 << 32  # numbers of parts in what the native core finds

Hit = tuple[int, tuple[int, int]]  # number of a snapshot, and the pointer it has for a name


class Completed(Sequence[Complete]):
    """Snapshots of stores that are only held, or what is open of them: each made when it is asked for."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, number: int) -> Complete: ...
    @overload
    def __getitem__(self, number: slice) -> list[Complete]: ...
    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [part.complete() for part in self._parts[number]]
        return self._parts[number].complete()


class Finder:
    """Looks names up in several snapshots at once.

    Hashes a name once. The catalog tells which of the snapshots that it knows may have it; the
    mapped name tables of all others are probed, the last one's first. Whatever the catalog says,
    a snapshot has what its own index says. One that contradicts an index is left aside.

    Parameters
    ----------
    parts : sequence of Held or StoreSnapshot
        Numbered from 0.
    catalog : Catalog, optional
        Of the store that they are the shards of.
    """

    def __init__(
        self, parts: Sequence[Held | StoreSnapshot], catalog: Catalog | None = None
    ) -> None:
        self._parts = parts
        self._use(catalog)

    def _use(self, catalog: Catalog | None) -> None:
        known = set() if catalog is None else set(catalog.known_of(self._parts))
        tables = [
            (number, one.slots, one.n_homes, one.entries, one.complete())
            for number, one in enumerate(self._parts)
            if number not in known
        ]
        # In this order, for other threads: what they may find twice does no harm.
        self._newest_first = tables[::-1]
        self._known, self.catalog = known, catalog if known else None
        self.is_asked = bool(tables)
        self._native_parts: list[NativeFinder | None] = [None] * len(self._parts)
        self._native = None if self.catalog is None else self.catalog.finder(self._native_parts)

    def find(self, name: bytes) -> Hit | None:
        """Return the last snapshot that has a name, and the pointer there, or None."""
        found = None if self._native is None else self._native.find(name)
        if found is None:
            hits = self.find_all(name, 1)
            if hits and self._native is not None:
                self._note(hits[0][0])
            return hits[0] if hits else None
        hits = self._probed(name, crc32(name), 1) if self.is_asked else []
        number, position = divmod(found, _PART)
        if found < 0 or (hits and hits[0][0] > number):
            return hits[0] if hits else None
        return number, self._parts[number].complete().pointer_at(position)

    def _note(self, number: int) -> None:
        """Have the native core find names in a snapshot from now on."""
        if number in self._known:
            self._native_parts[number] = self._parts[number].complete().index.native_finder

    def find_all(self, name: bytes, n_most: int) -> list[Hit]:
        """Return the snapshots that have a name, the last first, and at most `n_most`."""
        name_hash = crc32(name)
        known = self._hits(name, name_hash) if self.catalog is not None else []
        if not self.is_asked:
            return known[::-1][:n_most]
        hits = self._probed(name, name_hash, n_most)
        return sorted({*hits, *known}, reverse=True)[:n_most] if known else hits

    def _probed(self, name: bytes, name_hash: int, n_most: int) -> list[Hit]:
        """Return those that the catalog does not know which have a name, the last first.

        Probes a table as `Index.find` does, but stops at the first hash that is
        not smaller. Say a table has 4 homes, and slots 1 and 2 have the hashes
        0x50000000 and 0x70000000. A name of hash 0x60000000 has its home at
        ``0x60000000 * 4 >> 32``, slot 1. There the hash is smaller, in slot 2 it
        is larger: the name is not there, and nothing else was read.
        """
        hits: list[Hit] = []
        number = -1
        try:
            for number, slots, n_homes, entries, snapshot in self._newest_first:
                at = (name_hash * n_homes >> 32) * 2
                # Along a run of full slots, hashes never fall.
                while slots[at] < name_hash and slots[at + 1] != EMPTY:
                    at += 2
                if slots[at] == name_hash or name in entries:
                    pointer = snapshot.find(name)
                    if pointer is not None:
                        hits.append((number, pointer))
                        if len(hits) == n_most:
                            break
        except IndexError:
            self._parts[number].complete().find(name)  # says which file is damaged
            raise
        return hits

    def _hits(self, name: bytes, name_hash: int) -> list[Hit]:
        """Return those of the snapshots that the catalog knows which have a name, the first one first."""
        hits = []
        for number, position in self._entries(Catalog.find, name_hash) or ():
            if number in self._known:
                snapshot = self._parts[number].complete()
                found = snapshot.index.name(position)
                if found == name:
                    hits.append((number, snapshot.pointer_at(position)))
                elif crc32(found) != name_hash:  # else one of several names of this hash
                    self._use(None)
                    return []
        return hits

    def _entries(self, ask: Callable[[Catalog, Asked], T], asked: Asked) -> T | None:
        """Return what the catalog answers; None without one, or if it is damaged."""
        try:
            return None if self.catalog is None else ask(self.catalog, asked)
        except CorruptStoreError:
            self._use(None)
            return None

    def _is_refuted(self, number: int, position: int, name_hash: int) -> bool:
        """Tell whether an index has not what the catalog says, and then leave that aside."""
        if crc32(self._parts[number].complete().index.name(position)) == name_hash:
            return False  # of another name of this hash
        self._use(None)
        return True

    def where(self, names: Sequence[bytes], hashes: Hashes) -> dict[int, Int64s]:
        """Return which of many names each snapshot has, the last one first. Vectorised."""
        wanted = np.asarray(hashes, np.uint32)
        found: dict[int, Int64s] = {}
        for number, asked in self._asked(wanted):
            there = is_in(
                self._parts[number].complete(), [names[at] for at in asked], wanted[asked]
            )
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
            asked += [
                (number, np.unique(some))
                for number, some in _groups(*entries[:2])
                if number in self._known
            ]
        return sorted(asked, key=itemgetter(0), reverse=True)

    def pointers(
        self, names: Sequence[bytes], first_rows: Sequence[int], last_rows: Sequence[int]
    ) -> Int64s:
        """Return pointers of many names, shape (n_names, 2); starts of -1 for those not there.

        Parameters
        ----------
        names : sequence of bytes
            Encoded names.
        first_rows, last_rows : sequence of int
            Of a `ShardedSnapshot`.
        """
        found = self._found(names)
        if found is not None:
            return self._pointers_of(found, np.asarray(first_rows), np.asarray(last_rows))
        pointers = np.full((len(names), 2), -1, np.int64)
        is_left = np.ones(len(names), np.bool_)
        for number, there in self.where(names, hash_all(names)).items():
            left = there[is_left[there]]
            if not len(left):
                continue
            some = [names[at] for at in left.tolist()]
            pointed = _pointers_in(self._parts[number].complete(), some)
            self._check(number, pointed[:, 0], pointed[:, 1])
            pointers[left] = np.minimum(pointed + first_rows[number], last_rows[number])
            is_left[left] = False
        return pointers

    def _pointers_of(self, found: Int64s, first_rows: Int64s, last_rows: Int64s) -> Int64s:
        """Return the pointers of what the native core has found."""
        numbers, positions = found >> 32, found & (_PART - 1)
        starts, ends = np.full((2, len(found)), -1, np.int64)
        for number, there in _groups(np.arange(len(found)), numbers):
            if number >= 0:
                index, local = self._parts[number].complete().index, positions[there]
                starts[there], ends[there] = index.pointers_at(local)
        first, is_found = first_rows[numbers], numbers >= 0
        astray = is_found & outside(starts, ends, first_rows[numbers + 1] - first)
        for at in np.flatnonzero(astray).tolist():
            self._parts[int(numbers[at])].complete().checked(int(starts[at]), int(ends[at]))
        first[~is_found] = 0
        pointers: Int64s = np.stack([starts + first, ends + first], axis=1)
        np.minimum(pointers, last_rows[numbers][:, None], out=pointers)
        return pointers

    def _check(self, number: int, starts: Int64s, ends: Int64s) -> None:
        """Refuse pointers that lead out of a shard: beyond its rows there are those of the next."""
        snapshot = self._parts[number].complete()
        for at in np.flatnonzero(outside(starts, ends, snapshot.n_rows)).tolist():
            snapshot.checked(int(starts[at]), int(ends[at]))

    def _found(self, names: Sequence[bytes]) -> Int64s | None:
        """Return where names are, as the native core does; None if some have to be asked for elsewhere."""
        if self.catalog is None or self.is_asked:
            return None
        if self._native is None:
            return self._compared(names)
        found = self._native.find_many(list(names), None, None)
        if found is None:  # some of the snapshots were not asked before
            hashes = np.frombuffer(hash_all(names), np.uint32)
            for number in np.unique((self._entries(Catalog.find_many, hashes) or (0, ()))[1]):
                self._note(int(number))
            found = self._native.find_many(list(names), None, None) if self._native else None
        return found

    def _compared(self, names: Sequence[bytes]) -> Int64s | None:
        """Return where names are by the catalog, compared with the indexes. Vectorised."""
        hashes = np.frombuffer(hash_all(names), np.uint32)
        entries = self._entries(Catalog.find_many, hashes)
        if entries is None:
            return None
        queries, numbers, positions = entries
        found, wanted = np.full(len(names), -1, np.int64), RaggedColumn.of(names)
        is_astray = np.zeros(len(names), np.bool_)
        for number, group in _groups(np.arange(len(queries)), numbers):
            if number not in self._known:
                continue
            asked, local = queries[group], positions[group]
            is_same = self._parts[number].complete().index.are_same(local, wanted, asked)
            found[asked[is_same]] = number << 32 | local[is_same]
            is_astray[asked[~is_same]] = True
        # Led to other names, of the same hash or not, and to none that is right.
        return None if (is_astray & (found < 0)).any() else found


def placed(pointer: tuple[int, int], first_row: int, last_row: int) -> tuple[int, int]:
    """Return a pointer of a shard as one of the store.

    An array without rows may begin anywhere in a shard. In the store it begins no later than the
    next shard, or starts would fall. Those of the last shard stay, as more rows may come there.

    Parameters
    ----------
    pointer : tuple of int
        The pointer in the shard.
    first_row : int
        Rows of the shards before it.
    last_row : int
        The same with its own; of the last shard `NO_ROW`.
    """
    start, end = pointer[0] + first_row, pointer[1] + first_row
    return (start, end) if end <= last_row else (last_row, last_row)


def _pointers_in(snapshot: StoreSnapshot, names: Sequence[bytes]) -> Int64s:
    """Return pointers of names in one snapshot, as `find_all` of that."""
    if len(names) > _FEW or snapshot.index.is_partial:
        return snapshot.find_all(names)
    return np.array([snapshot.find(name) or (-1, -1) for name in names], np.int64)


def _groups(queries: Int64s, numbers: Int64s) -> Iterator[tuple[int, Int64s]]:
    """Yield each number, and the queries that have it."""
    order = order_of(numbers)
    queries, numbers = queries[order], numbers[order]
    firsts = np.flatnonzero(np.diff(numbers, prepend=-2)).tolist()
    for first, last in pairwise([*firsts, len(numbers)]):
        yield int(numbers[first]), queries[first:last]


def is_in(
    snapshot: StoreSnapshot, names: Sequence[bytes], hashes: npt.NDArray[np.uint32]
) -> npt.NDArray[np.bool_]:
    """Return for each name whether a snapshot has it. Vectorised but for names that are there."""
    if len(names) <= _FEW and not snapshot.index.is_partial:
        return np.array([snapshot.find(name) is not None for name in names], np.bool_)
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
