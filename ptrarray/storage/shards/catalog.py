"""The catalog of a store of shards: which of them may have a name, found by one look.

It repeats what the name tables of the shards say, and says of which indexes: a shard that has
another index by now is asked itself. So nothing depends on a catalog, and it is made and replaced
without any lock. What is wrong with one costs time: it is left aside.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self

import numpy as np
import numpy.typing as npt

from ptrarray.errors import CorruptStoreError, StoreError
from ptrarray.format import catalog as marks
from ptrarray.format import index as index_format
from ptrarray.format.checksum import crc32
from ptrarray.format.index import STORE_ID_NBYTES, Column, IndexHeader, corrupt
from ptrarray.format.table import EMPTY, argsort, candidates, count_homes, home_slots
from ptrarray.rows.types import Int64s, UInt32s
from ptrarray.storage.lifecycle.verify import Damage
from ptrarray.storage.shards.marker import Marker
from ptrarray.storage.store.index import FILE_NAME as INDEX_FILE
from ptrarray.storage.store.index import content_of
from ptrarray.storage.store.snapshot import StoreSnapshot
from ptrarray.storage.system import files
from ptrarray.storage.system.building import new_file
from ptrarray.storage.system.files import File, Identity
from ptrarray.storage.system.mapping import Backend, CannotMapError, map_file

MEMORY_NBYTES = 512 * 10**6  # what making a catalog may take
# Of memory, while a part of the table is made; more names in one go would not be faster.
_NAME_NBYTES = 128
_NAMES_LIMIT = 1 << 21
_FEW_SHARDS = 8  # are asked in two microseconds
_WINDOW = 64  # slots that are read behind where the last one should be
_HOMES_LIMIT = marks.SLOT_LIMIT - (1 << 16)  # less what may come behind the last home slot
_FULL = np.uint64(EMPTY << 32)  # pairs of hash and position below this are no empty slots
_CHECKED_NBYTES = 1 << 20  # up to here, comparing the table with its checksum goes unnoticed

Pairs = npt.NDArray[np.uint64]  # the hash in the lower half, the position in the upper


class Covered(NamedTuple):
    """The index that a catalog has the names of, as far as another one differs from it."""

    store_id: bytes
    generation: int
    n_arrays: int

    @classmethod
    def of(cls, header: IndexHeader) -> Self:
        """Return that of an index."""
        return cls(header.store_id, header.generation, header.n_arrays)


class Catalog:
    """A catalog, mapped, or read whole with the backend ``pread``.

    Attributes
    ----------
    covered : list of Covered
        The indexes of the shards from the first on.
    identity : Identity
        Tells this file from the one that replaces it.

    Raises
    ------
    CorruptStoreError
        If it is damaged.
    """

    def __init__(self, directory: Path, backend: Backend | None) -> None:
        file = File(f"{directory}/{marks.FILE_NAME}")
        self.path, self.identity = file.path, file.identity
        self._mapped, _, self._file, _ = content_of(file, backend)
        raw = memoryview(self._mapped)
        self.header, self.columns = marks.decode(raw, self.path)
        is_small = len(raw) <= _CHECKED_NBYTES
        checked = [*self.columns] if is_small else [*marks.SHARD_NBYTES]
        index_format.check_sums(raw, {name: self.columns[name] for name in checked}, self.path)
        ids = self._column("store_id").tobytes()
        self.covered = [
            Covered(ids[at : at + STORE_ID_NBYTES], *numbers)
            for at, *numbers in zip(
                range(0, len(ids), STORE_ID_NBYTES),
                self._column("generation").tolist(),
                self._column("n_arrays").tolist(),
                strict=True,
            )
        ]
        self._ends = [*accumulate(one.n_arrays for one in self.covered)]
        if self._ends[-1:] != [self.header.n_arrays]:
            self.fail(f"{self._ends[-1:]} arrays of shards, and {self.header.n_arrays} in all")
        self._table: UInt32s = self._column("slot")
        self._slots = memoryview(self._table)
        self._n_homes = self.header.n_homes

    def _column(self, name: str) -> npt.NDArray[Any]:
        column = self.columns[name]
        dtype = np.dtype(column.type)
        return np.frombuffer(
            self._mapped, dtype, column.nbytes // dtype.itemsize, column.start_byte
        )

    def is_of(self, marker: Marker) -> bool:
        """Tell whether it is of the store that has this marker, and not of one that was there before."""
        found = self.header.store_id, self.header.generation
        return found == (marker.header.store_id, marker.header.generation)

    def as_table(self) -> Table:
        """Return where its name table lies."""
        every = Covered(self.header.store_id, 0, self.header.n_arrays)
        return Table(self.path, self.identity, every, self._n_homes, self.columns["slot"])

    def check(self) -> None:
        """Compare every column with its checksum; raises CorruptStoreError."""
        index_format.check_sums(memoryview(self._mapped), self.columns, self.path)

    def find(self, name_hash: int) -> list[tuple[int, int]]:
        """Return which shards have a name of this hash, the first one first, and its position there.

        As `Index.find`, but a larger hash ends the search.
        """
        slots, ends, at = self._slots, self._ends, (name_hash * self._n_homes >> 32) * 2
        found = []
        try:
            while slots[at] <= name_hash and (position := slots[at + 1]) != EMPTY:
                if slots[at] == name_hash:
                    number = bisect_right(ends, position)
                    found.append((number, position - (ends[number - 1] if number else 0)))
                    self._check_end(number)
                at += 2
        except IndexError:
            self.fail("a name table that leads out of the file")
        return found

    def known_of(self, snapshots: Sequence[StoreSnapshot]) -> Iterator[int]:
        """Yield the numbers of the snapshots of which it has all names there are, and no others."""
        for number, (one, snapshot) in enumerate(zip(self.covered, snapshots, strict=False)):
            if one == Covered.of(snapshot.header) and not snapshot.overlay.entries:
                yield number

    def _check_end(self, last: int) -> None:
        if last >= len(self.covered):
            self.fail("positions beyond those of all shards")

    def find_many(self, hashes: UInt32s) -> tuple[Int64s, Int64s]:
        """Return every pair of a query and a shard that has a name of this hash. Vectorised."""
        try:
            queries, positions = candidates(self._table.reshape(-1, 2), self._n_homes, hashes)
        except IndexError:
            self.fail("a name table that leads out of the file")
        numbers = np.searchsorted(self._ends, positions, "right")
        self._check_end(int(numbers.max(initial=0)))
        return queries, numbers

    def fail(self, what: str) -> NoReturn:
        """Raise the error for a catalog that is damaged."""
        raise corrupt(self.path, f"is damaged: it has {what}")


def open_catalog(marker: Marker, backend: Backend | None) -> Catalog | None:
    """Open the catalog of a store; None if there is none that is of use."""
    try:
        catalog = Catalog(marker.directory, backend)
    except (FileNotFoundError, CorruptStoreError, CannotMapError):
        return None
    return catalog if catalog.is_of(marker) else None


# Making one ---------------------------------------------------------------------------------------


class Table(NamedTuple):
    """Where a name table lies, of a shard or of a catalog: what is read of it is not mapped."""

    path: str
    identity: Identity
    covered: Covered
    n_homes: int
    column: Column

    @classmethod
    def of(cls, shard: Path) -> Self:
        """Read where that of a shard is."""
        with File(shard / INDEX_FILE) as file:
            raw = memoryview(map_file(file))  # of which no more is read than the header
            header, columns = index_format.decode(raw, file.path)
            covered, column = Covered.of(header), columns["slot"]
            return cls(file.path, file.identity, covered, header.n_homes, column)

    @property
    def n_slots(self) -> int:
        """How many slots it has."""
        return self.column.nbytes // marks.SLOT_NBYTES

    def pairs(self, low: int, high: int) -> Pairs:
        """Return the pairs of hash and position with ``low <= hash < high``, rising.

        They lie from the home slot of `low` on, up to a larger hash or an empty slot, which may
        come behind the home slot of `high`.
        """
        n_slots = self.n_slots
        first, last = (bound * self.n_homes >> 32 for bound in (low, high))
        with File(self.path) as file:
            if file.identity != self.identity:
                raise corrupt(self.path, "was replaced")
            while True:
                last = min(last + _WINDOW, n_slots)
                pairs = self.slots(file, first, last)
                end = pairs[-1:]
                if last == n_slots or (end >= _FULL).all() or (end.astype(np.uint32) >= high).all():
                    break
                last += len(pairs)
        pairs = pairs[pairs < _FULL]
        if pairs.max(initial=0) >> np.uint64(32) >= max(self.covered.n_arrays, 1):
            raise corrupt(self.path, "has positions beyond its arrays")
        hashes = pairs.astype(np.uint32)
        start = hashes.searchsorted(np.uint32(low), "left")
        return pairs[start : hashes.searchsorted(np.uint32(high - 1), "right")]

    def slots(self, file: File, first: int, last: int) -> Pairs:
        """Read slots, hash and position in one number."""
        start_byte = self.column.start_byte + first * marks.SLOT_NBYTES
        raw = file.pread((last - first) * marks.SLOT_NBYTES, start_byte)
        return np.frombuffer(raw, "<u8").astype(np.uint64, copy=False)


def renew(directory: Path, memory: int = MEMORY_NBYTES, *, least_part: float = 0) -> None:
    """Make the catalog of a store of shards as it is now, unless that is there.

    Without any lock, as it says itself of which indexes it is. What fails is no error, as nothing
    depends on it.

    Parameters
    ----------
    directory : Path
        The store.
    memory : int
        Bytes that this may take, whatever the number of names.
    least_part : float
        Part of all names that have to be in shards which the one that is there does not cover,
        the last shard aside, which may grow. If it is above 0, a few shards get no catalog.
    """
    try:
        marker = Marker(directory)
        tables = _tables(marker)
        if _is_needed(marker, tables, least_part):
            path, rights = directory / marks.FILE_NAME, files.rights(marker.path)
            with new_file(path, _taken, overwrite=True, like=rights) as file:
                _write(file, marker, tables, memory)
    except StoreError:
        pass  # damaged, or replaced by now
    except OSError as error:  # a full disk, say
        files.check_system(error)


def _is_needed(marker: Marker, tables: Sequence[Table], least_part: float) -> bool:
    if len(tables) < (_FEW_SHARDS if least_part else 2):
        return False
    catalog = open_catalog(marker, None)
    found = [] if catalog is None else catalog.covered
    wanted = [table.covered for table in tables]
    if not least_part:
        return found != wanted
    missing = sum(one.n_arrays for one in set(wanted[:-1]).difference(found))
    return missing > least_part * sum(one.n_arrays for one in wanted)


def _taken(path: Path) -> StoreError:
    return corrupt(str(path), "is no file")


def _tables(marker: Marker) -> list[Table]:
    """Return the name tables of the shards from the first on, as many as one table has space for."""
    tables: list[Table] = []
    n_arrays = 0
    for number in range(marker.count()):
        tables.append(Table.of(marker.shard(number)))
        n_arrays += tables[-1].covered.n_arrays
        if count_homes(n_arrays) > _HOMES_LIMIT:
            return tables[:-1]
    return tables


def _write(file: File, marker: Marker, tables: Sequence[Table], memory: int) -> None:
    covered = [table.covered for table in tables]
    n_arrays = sum(one.n_arrays for one in covered)
    columns: dict[str, Column] = {}
    at = marks.places(len(tables))
    contents = {
        "store_id": b"".join(one.store_id for one in covered),
        "generation": np.array([one.generation for one in covered], "<u8").tobytes(),
        "n_arrays": np.array([one.n_arrays for one in covered], "<u8").tobytes(),
    }
    for name, raw in contents.items():
        columns[name] = Column(marks.COLUMN_TYPES[name], at[name], len(raw), crc32(raw))
        file.pwrite(raw, at[name])
    crc = nbytes = 0
    for slots in _slots(tables, n_arrays, memory):
        block = memoryview(slots.astype("<u8", copy=False)).cast("B")
        file.pwrite(block, at["slot"] + nbytes)
        crc, nbytes = crc32(block, crc), nbytes + len(block)
    columns["slot"] = Column(marks.COLUMN_TYPES["slot"], at["slot"], nbytes, crc)
    header = marks.CatalogHeader(
        store_id=marker.header.store_id,
        generation=marker.header.generation,
        n_arrays=n_arrays,
        n_homes=count_homes(n_arrays),
    )
    for start_byte, piece in marks.encode(header, columns):
        file.pwrite(piece, start_byte)


def _slots(tables: Sequence[Table], n_arrays: int, memory: int) -> Iterator[Pairs]:
    """Yield the name table of all names together, from its first slot to its last.

    Lays each part out as `table.build` does all of it, where the part before has ended.
    """
    n_homes, at, n_left = count_homes(n_arrays), 0, n_arrays
    bases = [0, *accumulate(table.covered.n_arrays for table in tables)]
    for last_home, low, high in _parts(n_homes, n_arrays, memory):
        pairs = _merged(tables, bases, low, high)
        ranks = np.arange(len(pairs))
        slots = home_slots(pairs.astype(np.uint32), n_homes) - ranks
        np.maximum(np.maximum.accumulate(slots, out=slots), at, out=slots)
        slots += ranks
        end = max(last_home, int(slots[-1]) + 1 if len(slots) else 0)
        block = np.full(end - at, _FULL)
        block[slots - at] = pairs
        yield block
        at, n_left = end, n_left - len(pairs)
    if n_left:
        raise corrupt(tables[0].path, "or that of another shard has a name table of fewer names")
    yield np.full(1, _FULL)  # ends every search


def _parts(n_homes: int, n_arrays: int, memory: int) -> Iterator[tuple[int, int, int]]:
    """Cut home slots into parts whose names fit in memory.

    Yields for each the home slot behind it, and which hashes belong to it: ``low <= hash < high``.
    """
    n_names = min(_NAMES_LIMIT, max(1, memory // _NAME_NBYTES))
    step = max(1, n_names * n_homes // max(1, n_arrays))
    for first_home in range(0, n_homes, step):
        last_home = min(first_home + step, n_homes)
        yield last_home, -(-(first_home << 32) // n_homes), -(-(last_home << 32) // n_homes)


def _merged(tables: Sequence[Table], bases: Sequence[int], low: int, high: int) -> Pairs:
    """Return the pairs of several tables with ``low <= hash < high``, rising.

    Positions of each table count from its base on. Of equal hashes, smaller ones come first.
    """
    pairs = [
        table.pairs(low, high) + np.uint64(base << 32)
        for table, base in zip(tables, bases, strict=False)
    ]
    joined = np.concatenate([np.empty(0, np.uint64), *pairs])
    del pairs
    return joined[argsort(joined.astype(np.uint32))]


# Checking one -------------------------------------------------------------------------------------


def find_catalog_damage(directory: Path, memory: int = MEMORY_NBYTES) -> Iterator[Damage]:
    """Compare the catalog of a store with its checksums, and with the indexes of the shards.

    That it is missing, or of other indexes, is no damage.
    """
    try:
        marker, catalog = Marker(directory), Catalog(directory, None)
        if catalog.is_of(marker):
            catalog.check()
            _check_searches(catalog.as_table())
            _compare(catalog, marker, memory)
    except FileNotFoundError:
        return
    except CorruptStoreError as error:
        yield Damage(error.path, str(error))


def _check_searches(table: Table) -> None:
    """Raise `CorruptStoreError` if a search for a hash would not come to all of its slots."""
    n_slots, last_empty, last_hash = table.n_slots, -1, 0
    with File(table.path) as file:
        for first in range(0, n_slots, _NAMES_LIMIT):
            pairs = table.slots(file, first, min(first + _NAMES_LIMIT, n_slots))
            numbers, is_full = np.arange(first, first + len(pairs)), pairs < _FULL
            empties = np.maximum.accumulate(np.where(is_full, last_empty, numbers))
            last_empty = int(empties[-1])
            hashes = pairs[is_full].astype(np.uint32)
            homes = home_slots(hashes, table.n_homes)
            is_beside = (homes <= empties[is_full]) | (homes > numbers[is_full])
            steps = np.diff(hashes.astype(np.int64), prepend=last_hash)
            if is_beside.any() or (steps < 0).any():
                raise corrupt(table.path, "is damaged: it has names where no search comes")
            last_hash = int(hashes[-1]) if len(hashes) else last_hash
    if last_empty != n_slots - 1:
        raise corrupt(table.path, "is damaged: its name table does not end with an empty slot")


def _compare(catalog: Catalog, marker: Marker, memory: int) -> None:
    """Compare what a catalog says of shards with their indexes, as far as it is of these."""
    own, ends = catalog.as_table(), [0, *accumulate(one.n_arrays for one in catalog.covered)]
    tables = [Table.of(marker.shard(number)) for number in range(marker.count())]
    pairs_of = zip(catalog.covered, (table.covered for table in tables), strict=False)
    same = [at for at, (said, found) in enumerate(pairs_of) if said == found]
    n_found = 0
    for _, low, high in _parts(own.n_homes, ends[-1], memory):
        pairs = own.pairs(low, high)
        n_found += len(pairs)
        numbers = np.searchsorted(ends[1:], pairs >> np.uint64(32), "right")
        known = pairs[np.isin(numbers, same)]
        wanted = _merged([tables[at] for at in same], [ends[at] for at in same], low, high)
        if not np.array_equal(np.sort(known), np.sort(wanted)):
            what = (
                f"for hashes from {low:#x} to {high:#x} other names than the indexes of the shards"
            )
            raise corrupt(own.path, f"is damaged: it has {what}")
    if n_found != ends[-1]:
        raise corrupt(own.path, f"is damaged: it has {n_found} names in its table, not {ends[-1]}")
