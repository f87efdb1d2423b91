"""The catalog of a store of shards: which of them may have a name, found by one look.

It repeats what the name tables of the shards say, and says of which indexes: a shard that has
another index by now is asked itself. So nothing depends on a catalog, and it is made and replaced
without any lock. One that is found to be wrong is left aside. Its table, as that of an index, is
compared with its checksum only where it is small, and by `verify`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self

import numpy as np
import numpy.typing as npt

from ptrarray import native
from ptrarray.errors import CorruptStoreError, Damage, StoreError
from ptrarray.format import catalog as marks
from ptrarray.format import index as index_format
from ptrarray.format.checksum import crc32
from ptrarray.format.index import STORE_ID_NBYTES, Column, Glance, IndexHeader, corrupt
from ptrarray.format.table import (
    EMPTY,
    Keys,
    candidates,
    count_homes,
    home_slots,
    in_parts,
    n_below,
)
from ptrarray.native import Finder as NativeFinder
from ptrarray.rows.types import Int64s, UInt32s
from ptrarray.storage.remote.file import RemoteFile
from ptrarray.storage.remote.sparse import SparseBytes
from ptrarray.storage.shards.marker import Marker
from ptrarray.storage.store.held import Held
from ptrarray.storage.store.index import FILE_NAME as INDEX_FILE
from ptrarray.storage.store.index import content_of
from ptrarray.storage.store.merging import MEMORY_NBYTES
from ptrarray.storage.store.probed import WHOLE_NBYTES, Slots, need_runs
from ptrarray.storage.store.snapshot import StoreSnapshot
from ptrarray.storage.system import files
from ptrarray.storage.system.building import new_file
from ptrarray.storage.system.files import AnyFile, File, Identity
from ptrarray.storage.system.mapping import Backend, forget, map_file

# Of memory, while a part of the table is made; more names in one go would not be faster.
_NAME_NBYTES = 128
_NAMES_LIMIT = 1 << 21
_FEW_SHARDS = 8  # are asked in two microseconds
_MOST_SHARDS = 1 << 12  # are asked for at once
_WINDOW = 64  # slots that are read behind where the last one should be
_HOMES_LIMIT = marks.SLOT_LIMIT - (1 << 16)  # less what may come behind the last home slot
_HASHES = 1 << 32
_HALF, _LOWER = np.uint64(32), np.uint64(0xFFFF_FFFF)  # of a key: hash above, position below
_COMPARISONS = 4  # of a store whose indexes are replaced meanwhile
_CHECKED_NBYTES = 1 << 20  # up to here, comparing the table with its checksum goes unnoticed


class Covered(NamedTuple):
    """The index that a catalog has the names of, as far as another one differs from it."""

    store_id: bytes
    generation: int
    n_arrays: int
    crc: int  # of its header, which has the checksums of all columns

    @classmethod
    def of(cls, header: IndexHeader | Glance) -> Self:
        """Return that of an index."""
        return cls(header.store_id, header.generation, header.n_arrays, header.crc)


class Catalog:
    """A catalog, mapped, or read whole with the backend ``pread``; if large and elsewhere, as asked.

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
        file = files.opened(directory / marks.FILE_NAME)
        self.path, self.identity = file.path, file.identity
        self._file: AnyFile | None = file
        self._content: SparseBytes | None = None  # of a large one that lies elsewhere
        if isinstance(file, RemoteFile) and file.nbytes > WHOLE_NBYTES:
            self._content = SparseBytes(file)
            self._mapped: Any = self._content.memory
        else:
            self._mapped, _, self._file, _ = content_of(file, backend)
        raw: Any = memoryview(self._mapped) if self._content is None else self._content
        self.header, self.columns = marks.decode(raw, self.path)
        is_small = len(raw) <= _CHECKED_NBYTES
        names = [*self.columns] if is_small else [*marks.SHARD_NBYTES]
        checked = {name: self.columns[name] for name in names}
        if self._content is not None:
            spans = [(one.start_byte, one.start_byte + one.nbytes) for one in checked.values()]
            self._content.need(spans)
        index_format.check_sums(memoryview(self._mapped), checked, self.path)
        ids = self._column("store_id").tobytes()
        self.covered = [
            Covered(ids[at : at + STORE_ID_NBYTES], *numbers)
            for at, *numbers in zip(
                range(0, len(ids), STORE_ID_NBYTES),
                self._column("generation").tolist(),
                self._column("n_arrays").tolist(),
                self._column("crc").tolist(),
                strict=True,
            )
        ]
        self._ends = [*accumulate(one.n_arrays for one in self.covered)]
        if self._ends[-1:] != [self.header.n_arrays]:
            self.fail(f"{self._ends[-1:]} arrays of shards, and {self.header.n_arrays} in all")
        self._table: UInt32s = self._column("slot")
        self._slots: Any = memoryview(self._table)
        if self._content is not None:
            self._slots = Slots(self._content, self.columns["slot"])
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
        every = Covered(self.header.store_id, 0, self.header.n_arrays, 0)
        return Table(self.path, self.identity, every, self._n_homes, self.columns["slot"])

    def check(self) -> None:
        """Compare every column with its checksum; raises CorruptStoreError."""
        if self._content is not None:
            self._content[:]  # all at once
        passed = partial(forget, self._mapped)
        index_format.check_sums(memoryview(self._mapped), self.columns, self.path, passed)

    def is_sound(self) -> bool:
        """Tell whether every column is as it was written."""
        try:
            self.check()
        except CorruptStoreError:
            return False
        return True

    def finder(self, parts: list[NativeFinder | None]) -> NativeFinder | None:
        """Return what finds names in the indexes of shards, by the native core."""
        if native.core is None or self._content is not None:
            return None
        return native.core.catalog(self._table, self._n_homes, np.array(self._ends), parts)

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
                    if number == len(ends):
                        self._check_end(number)
                    found.append((number, position - (ends[number - 1] if number else 0)))
                at += 2
        except IndexError:
            self.fail("a name table that leads out of the file")
        return found

    def known_of(self, parts: Sequence[Held | StoreSnapshot]) -> Iterator[int]:
        """Yield the numbers of the snapshots of which it has all names there are, and no others."""
        for number, (one, part) in enumerate(zip(self.covered, parts, strict=False)):
            if one == Covered.of(part.header) and not part.entries:
                yield number

    def _check_end(self, last: int) -> None:
        if last >= len(self.covered):
            self.fail("positions beyond those of all shards")

    def find_many(self, hashes: UInt32s) -> tuple[Int64s, Int64s, Int64s]:
        """Return queries, and the shards that have names of their hashes, and positions there. Vectorised."""
        try:
            if self._content is not None:
                need_runs(self._content, self.columns["slot"], self._n_homes, hashes)
            queries, positions = candidates(self._table.reshape(-1, 2), self._n_homes, hashes)
        except IndexError:
            self.fail("a name table that leads out of the file")
        numbers = np.searchsorted(self._ends, positions, "right")
        self._check_end(int(numbers.max(initial=0)))
        return queries, numbers, positions - np.array([0, *self._ends])[numbers]

    def fail(self, what: str) -> NoReturn:
        """Raise the error for a catalog that is damaged."""
        raise corrupt(self.path, f"is damaged: it has {what}")


def open_catalog(marker: Marker, backend: Backend | None) -> Catalog | None:
    """Open the catalog of a store; None if there is none that is of use."""
    try:
        catalog = Catalog(marker.directory, backend)
    except CorruptStoreError:
        return None
    except OSError as error:  # not there, or not to be read by this process
        files.check_system(error)
        return None
    return catalog if catalog.is_of(marker) else None


def n_covered(marker: Marker) -> int:
    """Return of how many shards a store has a catalog: there are at least about as many.

    Not more than are asked for at once, as nobody has checked yet that they are there.
    """
    try:
        file = files.opened(marker.directory / marks.FILE_NAME)
        raw: Any = SparseBytes(file)  # type: ignore[arg-type] # of one that lies elsewhere
        _, columns = marks.decode(raw, file.path)
    except (CorruptStoreError, FileNotFoundError):
        return 0
    return min(columns["generation"].nbytes // marks.SHARD_NBYTES["generation"], _MOST_SHARDS)


# Making one ---------------------------------------------------------------------------------------


class _Replaced(StoreError):
    """A file is not the one any more whose header was read."""


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

    def keys(self, low: int, high: int) -> Keys:
        """Return the keys of all names with ``low <= hash < high``, rising.

        They lie from the home slot of `low` on, up to a larger hash or an empty slot, which may
        come behind the home slot of `high`.
        """
        first, last = (bound * self.n_homes >> 32 for bound in (low, high))
        with self.opened() as file:
            while True:
                last = min(last + _WINDOW, self.n_slots)
                keys = self.slots(file, first, last)
                end = keys[-1:]
                if last == self.n_slots or (_is_empty(end) | (end >> _HALF >= high)).all():
                    break
                last += len(keys)
        keys = keys[~_is_empty(keys)]
        if (keys & _LOWER).max(initial=0) >= max(self.covered.n_arrays, 1):
            raise corrupt(self.path, "has positions beyond its arrays")
        return keys[n_below(keys, low) if low else 0 : n_below(keys, high)]

    def opened(self) -> File:
        """Open its file once more, which must be the one whose header was read."""
        file = File(self.path)
        if file.identity != self.identity:
            file.close()
            raise _Replaced(f"{self.path} was replaced", path=self.path)
        return file

    def slots(self, file: File, first: int, last: int) -> Keys:
        """Read slots as keys, empty ones among them."""
        start_byte = self.column.start_byte + first * marks.SLOT_NBYTES
        raw = file.pread((last - first) * marks.SLOT_NBYTES, start_byte)
        pairs = np.frombuffer(raw, "<u8")
        return (pairs << _HALF | pairs >> _HALF).astype(np.uint64, copy=False)


def _is_empty(keys: Keys) -> npt.NDArray[np.bool_]:
    is_empty: npt.NDArray[np.bool_] = keys & _LOWER == EMPTY
    return is_empty


def renew(directory: Path, memory: int = MEMORY_NBYTES, *, least_part: float = 0) -> None:
    """Make the catalog of a store of shards as it is now, unless that is there and sound.

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
        return found != wanted or (catalog is not None and not catalog.is_sound())
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
        "crc": np.array([one.crc for one in covered], "<u4").tobytes(),
    }
    for name, raw in contents.items():
        columns[name] = Column(marks.COLUMN_TYPES[name], at[name], len(raw), crc32(raw))
        file.pwrite(raw, at[name])
    crc = nbytes = 0
    runs = _runs(tables, accumulate((one.n_arrays for one in covered), initial=0))
    for slots in in_parts(runs, n_arrays, _part_names(memory)):
        block = memoryview(slots.astype("<u4", copy=False).reshape(-1).view(np.uint8))
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


class _Run:
    """The keys of a shard's name table as a `Run`, with positions counted from a base on."""

    def __init__(self, table: Table, base: int) -> None:
        self._table, self._base, self._next = table, np.uint64(base), 0
        self._n_left = table.covered.n_arrays

    def until(self, end: int) -> Keys:
        """Return those of the keys that are left whose hashes are below `end`."""
        keys, self._next = self._table.keys(self._next, end), end
        self._n_left -= len(keys)
        if self._n_left < 0 or (self._n_left and end == _HASHES):
            what = f"a name table without {self._n_left} of its names"
            raise corrupt(self._table.path, f"is damaged: it has {what}")
        keys += self._base
        return keys


def _runs(tables: Iterable[Table], bases: Iterable[int]) -> list[_Run]:
    return [_Run(table, base) for table, base in zip(tables, bases, strict=False)]


def _part_names(memory: int) -> int:
    """Return how many names there may be in a part of the table that is made at a time."""
    return min(_NAMES_LIMIT, max(1, memory // _NAME_NBYTES))


# Checking one -------------------------------------------------------------------------------------


def find_catalog_damage(directory: Path, memory: int = MEMORY_NBYTES) -> Iterator[Damage]:
    """Compare the catalog of a store with its checksums, and with the indexes of the shards.

    That it is missing, or of other indexes, is no damage. Indexes that are replaced meanwhile are
    other ones, as are all files of a store that is: what is compared then is what is there by then, a few times.
    """
    for _ in range(_COMPARISONS):
        try:
            _check(directory, memory)
        except _Replaced:
            continue
        except FileNotFoundError:
            pass
        except CorruptStoreError as error:
            yield Damage(error.path, str(error))
        return


def _check(directory: Path, memory: int) -> None:
    """Raise `CorruptStoreError` for damage, and `_Replaced` for what may be none."""
    marker = Marker(directory)
    try:
        catalog = Catalog(directory, None)
        if catalog.is_of(marker):
            catalog.check()
            _check_searches(catalog.as_table())
            _compare(catalog, marker, memory)
    except CorruptStoreError:
        if marker.is_in_place():
            raise
        raise _Replaced(f"{directory} was replaced", path=str(directory)) from None


def _check_searches(table: Table) -> None:
    """Raise `CorruptStoreError` if a search for a hash would not come to all of its slots."""
    n_slots, last_empty, last_hash = table.n_slots, -1, 0
    with table.opened() as file:
        for first in range(0, n_slots, _NAMES_LIMIT):
            keys = table.slots(file, first, min(first + _NAMES_LIMIT, n_slots))
            numbers, is_full = np.arange(first, first + len(keys)), ~_is_empty(keys)
            empties = np.maximum.accumulate(np.where(is_full, last_empty, numbers))
            last_empty = int(empties[-1])
            hashes = (keys[is_full] >> _HALF).astype(np.uint32)
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
    own, firsts = catalog.as_table(), [0, *accumulate(one.n_arrays for one in catalog.covered)]
    tables = [Table.of(marker.shard(number)) for number in range(marker.count())]
    pairs = zip(catalog.covered, (table.covered for table in tables), strict=False)
    same = [number for number, (said, found) in enumerate(pairs) if said == found]
    runs = _runs([tables[number] for number in same], [firsts[number] for number in same])
    every, step = _Run(own, 0), max(1, _part_names(memory) * _HASHES // max(firsts[-1], 1))
    for low in range(0, _HASHES, step):
        high = min(low + step, _HASHES)
        keys = every.until(high)
        numbers = np.searchsorted(firsts[1:], keys & _LOWER, "right")
        known = keys[np.isin(numbers, same)]
        wanted = np.concatenate([known[:0], *(run.until(high) for run in runs)])
        if not np.array_equal(np.sort(known), np.sort(wanted)):
            what = (
                f"for hashes from {low:#x} to {high:#x} other names than the indexes of the shards"
            )
            raise corrupt(own.path, f"is damaged: it has {what}")
