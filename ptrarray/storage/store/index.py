"""The checkpointed index: mapped, its columns viewed in place, and how a new one is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

from ptrarray import native
from ptrarray.format import attrs, infos, table
from ptrarray.format import index as index_format
from ptrarray.format.checksum import crc32
from ptrarray.format.entries import Entries, Entry, RaggedColumn
from ptrarray.format.index import IndexHeader, corrupt
from ptrarray.format.names import hash_all
from ptrarray.native import Finder
from ptrarray.rows.copying import in_blocks
from ptrarray.rows.types import Int64s, UInt32s
from ptrarray.storage.remote.file import RemoteFile
from ptrarray.storage.remote.sparse import SparseBytes
from ptrarray.storage.store.blocks import Contents, write_contents
from ptrarray.storage.system import mapping
from ptrarray.storage.system.building import replacing
from ptrarray.storage.system.files import AnyFile, AnyIdentity, StrPath
from ptrarray.storage.system.mapping import Backend, CannotMapError, MappedBytes, forget, map_file
from ptrarray.storage.system.parts import open_part
from ptrarray.storage.system.rights import Rights

FILE_NAME = "index.msgpack"
NEW_FILE_NAME = "index.msgpack.new"
# Up to here, comparing all columns with their checksums goes unnoticed in an open.
CHECKED_NBYTES = 1 << 20
# The same, for one store of many, of which most may be opened for one name.
HELD_CHECKED_NBYTES = 1 << 16
# Names that are decoded in one go, so that memory stays small where they are long.
_NAMES_NBYTES = 1 << 20
_SLOTS = 1 << 18  # of the name table that are looked at in one go
# An index of this size may be in memory as a whole. Of a larger one that is gone through from front
# to back, so many bytes are, and those of so many names that are looked for.
PASSED_NBYTES = 1 << 22
_PASSED_NAMES = 1 << 15

Item = TypeVar("Item", bytes, str)


class HeldIndex(NamedTuple):
    """An index that is mapped."""

    path: str
    identity: AnyIdentity
    mapped: MappedBytes


class Index:
    """An index file, mapped, or read whole with the backend ``pread``.

    Opening reads its header, and checks the columns of a small one; every
    access after that checks what it finds, so that a damaged file is an error
    and never a wild read.

    Attributes
    ----------
    header : IndexHeader
        What the file says of itself.
    starts, ends : ndarray of int64, shape (n_arrays,)
        Pointers in data order, views of the file.
    crcs : ndarray of uint32, shape (n_arrays,)
        CRC-32 of each array's bytes, a view of the file.
    place : str or Path
        Where the file lies.
    identity : Identity
        Tells it from the one that replaces it.
    pack : Pack or None
        The pack it lies in, if it does.
    is_partial : bool
        Whether columns are better not asked for as a whole: it lies elsewhere.
    backend : {'mmap', 'pread'}
        How it is read: as `asked_backend` says, or, where that is None, as it can be.
    """

    place: StrPath
    is_partial = False

    def __init__(
        self,
        directory: Path,
        *,
        checked: bool = True,
        backend: Backend | None = None,
        file: AnyFile | None = None,
        held: HeldIndex | None = None,
        content: tuple[Any, int, AnyFile | None, Backend] | None = None,
    ) -> None:
        self.asked_backend, self.pack = backend, None
        if held is None:
            if file is None:  # else one that is not in place, or is open already
                file, self.pack = open_part(directory, FILE_NAME)
            self.path, self.place, self.identity = file.path, file.place, file.identity
            content = content or content_of(file, backend)
            self._mapped, self._base, self._file, self.backend = content
        else:
            self.path, self.identity, self._mapped = held
            self.place, self._base, self._file, self.backend = self.path, 0, None, "mmap"
        raw = memoryview(self._mapped)[self._base :]
        self.header, self.columns = index_format.decode(raw, self.path)
        if checked and len(raw) <= (CHECKED_NBYTES if held is None else HELD_CHECKED_NBYTES):
            index_format.check_sums(raw, self.columns, self.path)
        self.nbytes = len(raw)
        self._n_homes = self.header.n_homes
        self._names_at = self._base + self.columns["names"].start_byte
        self.starts: Int64s = self.column("start").view(np.int64)
        self.ends: Int64s = self.column("end").view(np.int64)
        self.crcs: UInt32s = self.column("crc")
        # memoryview items are ints, at a third of the cost of ndarray items.
        self.start_items = memoryview(self.starts)
        self.end_items = memoryview(self.ends)
        self._table = self.column("slot")
        self.slots = memoryview(self._table)
        name_ends, names = self.column("name_end"), self.column("names")
        self._name_ends, self._names = memoryview(name_ends), memoryview(names)
        self.names = RaggedColumn(name_ends.view(np.int64), names)
        self.infos = self._extras("info")
        self.metas = self._extras("meta")
        # No `cached_property`: on an object that has one, Python takes longer for every attribute.
        self._finder = self.finder()

    def finder(self, rows: Any = None) -> Finder | None:
        """Return what finds names of the index, and gives views of rows, by the native core."""
        if native.core is None:
            return None
        columns = self.names.ends, self.names.joined, self.starts, self.ends
        return native.core.finder(self._table, self._n_homes, *columns, rows)

    @property
    def native_finder(self) -> Finder | None:
        """Finds names by the native core, if there is that."""
        return self._finder

    def check(self) -> None:
        """Compare every column with its checksum.

        Raises
        ------
        CorruptStoreError
            At the first one that differs.
        """
        raw = memoryview(self._mapped)[self._base :]
        index_format.check_sums(raw, self.columns, self.path, self.pass_on)

    def check_whole(self) -> None:
        """Raise `CorruptStoreError` if the file was cut short while it is mapped."""
        if self.backend == "mmap":
            mapping.check_not_cut(self.place, self.identity, len(self._mapped))

    def forget(self) -> None:
        """Let go of the memory that what was read of the file takes; it is read again when needed."""
        forget(self._mapped)

    def pass_on(self) -> None:
        """Let go of the memory that what was read of the file takes, for who goes through all of it."""
        if self.nbytes > PASSED_NBYTES:
            forget(self._mapped)

    def passed(self, positions: Int64s) -> Iterator[slice]:
        """Yield rising positions in slices, each of a part of the file; `pass_on` after each."""
        n_arrays = self.header.n_arrays
        size = max(1, PASSED_NBYTES * n_arrays // max(self.nbytes, 1))
        edges = np.searchsorted(positions, np.arange(size, n_arrays + size, size)).tolist()
        for low, high in pairwise([0, *edges]):
            for some in pieces(high - low):
                yield slice(low + some.start, low + some.stop)
                self.pass_on()

    def n_from(self, rows: Int64s) -> Int64s:
        """Return how many arrays begin at each of some rising rows, or before."""
        n_arrays = self.header.n_arrays
        before, low = np.full(len(rows), n_arrays, np.int64), 0
        for some in pieces(n_arrays):
            block = self.starts[some]
            high = low + int(np.searchsorted(rows[low:], block[-1]))
            before[low:high] = some.start + np.searchsorted(block, rows[low:high], side="right")
            low = high
            if low == len(rows):
                break
            self.pass_on()
        return before

    def find_passing(self, names: RaggedColumn, hashes: UInt32s) -> Int64s:
        """Return what `find_many` does, in memory that grows with the names and not with the index."""
        if self.nbytes <= PASSED_NBYTES:
            return self.find_many(names, hashes)
        try:
            return self._found_passing(names, hashes)
        except IndexError:
            self._fail_table()
        except ValueError as error:
            self._fail(f"a name {error}")

    def _found_passing(self, names: RaggedColumn, hashes: UInt32s) -> Int64s:
        order = table.argsort(hashes)
        rising, found = hashes[order], [(np.empty(0, np.int64),) * 2]
        n_passes = -(-self._table.nbytes // PASSED_NBYTES)
        edges = [(at << 32) // n_passes for at in range(1, n_passes)]
        bounds = np.searchsorted(rising, np.array(edges, np.uint32)).tolist()
        for first, last in pairwise([0, *bounds, len(order)]):
            for some in pieces(last - first):
                asked = slice(first + some.start, first + some.stop)
                queries, positions = self._candidates(rising[asked])
                found.append((order[asked][queries], positions))
                self.pass_on()
        del rising, order
        queries, positions = map(np.concatenate, zip(*found, strict=True))
        found.clear()
        return self._same(names, queries, positions)

    def _same(self, names: RaggedColumn, queries: Int64s, candidates: Int64s) -> Int64s:
        """Return the position of each name, or -1, of pairs of names and positions to compare."""
        positions = np.full(len(names), -1, np.int64)
        order = np.argsort(candidates)
        queries, candidates = queries[order], candidates[order]
        for some in self.passed(candidates):
            is_same = self.names.are_same(candidates[some], names, queries[some])
            positions[queries[some][is_same]] = candidates[some][is_same]
        return positions

    def entries(self) -> Entries:
        """Return all columns, views but for the hashes.

        Raises
        ------
        CorruptStoreError
            If names, infos or metadata do not lie in their columns.
        """
        for what, column in (("name", self.names), ("info", self.infos), ("meta", self.metas)):
            if column is not None and not column.is_sound:
                self._fail(f"{what} ends that fall, or lead out of the column")
        columns = self.starts, self.ends, self.crcs, self.pointed
        return Entries(self.names, self.hashes(), *columns, self.infos, self.metas)

    def sound_names(self) -> RaggedColumn:
        """Return all names; raises `CorruptStoreError` if they do not lie in their column."""
        if not self.names.is_sound:
            self._fail("name ends that fall, or lead out of the column")
        return self.names

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return one column as a read-only view of the file."""
        column = self.columns[name]
        dtype = np.dtype(column.type)
        count = column.nbytes // dtype.itemsize
        return np.frombuffer(self._mapped, dtype, count, self._base + column.start_byte)

    @cached_property
    def pointed(self) -> npt.NDArray[np.uint8]:
        """1 where `point` gave the name to rows that may have others, too, shape (n_arrays,)."""
        if "pointed" in self.columns:
            return self.column("pointed")
        return np.broadcast_to(np.uint8(0), (self.header.n_arrays,))

    def _extras(self, name: str) -> RaggedColumn | None:
        """Return the column of infos or metadata; None where nothing is kept."""
        if name not in self.columns:
            return None
        return RaggedColumn(self.column(f"{name}_end").view(np.int64), self.column(name))

    def info(self, position: int) -> bytes:
        """Return how the array at a position differs from plain rows, packed."""
        return self._item("info", self.infos, position, infos.LIMIT_NBYTES)

    def meta(self, position: int) -> bytes:
        """Return the metadata of the array at a position, packed."""
        return self._item("meta", self.metas, position, attrs.LIMIT_NBYTES)

    def _item(self, what: str, column: RaggedColumn | None, position: int, limit: int) -> bytes:
        if column is None:
            return b""
        try:
            return column.item(position, limit)
        except ValueError as error:
            self._fail(f"{what} {position} {error}")

    def entry(self, position: int, name: bytes) -> Entry:
        """Return all that is kept of the array at a position, which has this name."""
        columns = self.starts, self.ends, self.crcs, self.pointed
        numbers = [int(column[position]) for column in columns]
        return Entry._make([name, *numbers, self.info(position), self.meta(position)])

    def pointers_at(self, positions: Any) -> tuple[Int64s, Int64s]:
        """Return starts and ends of arrays at some positions."""
        return self.starts[positions], self.ends[positions]

    def crcs_at(self, positions: Int64s) -> UInt32s:
        """Return the CRC-32 of arrays at some positions."""
        return self.crcs[positions]

    def infos_at(self, positions: Int64s) -> list[bytes]:
        """Return how arrays at some positions differ from plain rows, packed."""
        return list(map(self.info, positions.tolist()))

    def name(self, position: int) -> bytes:
        """Return the name of the array at a position."""
        start = self._name_ends[position - 1] if position else 0
        end = self._name_ends[position]
        if not start <= end <= len(self._names):
            self._fail(f"name {position} at bytes {start} to {end} of {len(self._names)}")
        return self._names[start:end].tobytes()

    def find(self, name: bytes) -> int:
        """Return the position of a name, or -1; about four reads of the mapping."""
        # All in one piece, for this is what a reader does all day. An example: of 8 home slots,
        # a hash of 0x60000000 has number 0x60000000 * 8 >> 32 = 3. Slots hold a hash and a
        # position: if slot 3 is (0x60000000, 5) and name 5 is another one, and slot 4 is
        # (0x68000000, 2), whose home is 3, too, and slot 5 is empty, the name is not there.
        if self._finder is not None:
            found = self._finder.find(name)
            if found is not None:
                return found
        name_hash = crc32(name)
        slots, name_ends, names_at = self.slots, self._name_ends, self._names_at
        at = (name_hash * self._n_homes >> 32) * 2
        try:
            while True:
                position = slots[at + 1]
                if slots[at] == name_hash and position != table.EMPTY:
                    start = names_at + (name_ends[position - 1] if position else 0)
                    if self._mapped[start : names_at + name_ends[position]] == name:
                        return position
                elif position == table.EMPTY:
                    return -1
                at += 2
        except IndexError:
            self._fail_table()

    def find_all(self, names: Sequence[bytes]) -> Int64s:
        """Return the position of each name, or -1; for names of which most are there.

        `find` for each, but as a whole: looks at the table once, and compares
        all names with what is there in one go.
        """
        found = self._found(names)
        if found is not None:
            return found
        if self.header.n_arrays and names:
            hashes = np.frombuffer(hash_all(names), np.uint32)
            slots = self.column("slot").reshape(-1, 2)
            positions = table.nearest(slots, self._n_homes, hashes)
            # Of 100 million names one in 86 comes behind another one of the same hash.
            for at in np.flatnonzero(~self._are_names(positions, names)).tolist():
                positions[at] = self.find(names[at])
            return positions
        return np.array([self.find(name) for name in names], np.int64)

    def _are_names(self, positions: Int64s, names: Sequence[bytes]) -> npt.NDArray[np.bool_]:
        """Tell for each position whether it is that of the name; False where anything is wrong."""
        is_right = positions < self.header.n_arrays
        some = np.flatnonzero(is_right)
        try:
            is_right[some] = self.names.are_same(positions[some], RaggedColumn.of(names), some)
        except ValueError:
            is_right[:] = False
        return is_right

    def are_same(
        self, positions: Int64s, names: RaggedColumn, numbers: Int64s
    ) -> npt.NDArray[np.bool_]:
        """Tell for each position whether its name is that of a number among others. Vectorised."""
        try:
            return self.names.are_same(positions, names, numbers)
        except ValueError as error:
            self._fail(f"a name {error}")

    def find_many(self, names: Sequence[bytes], hashes: UInt32s) -> Int64s:
        """Return the position of each name, or -1. Vectorised."""
        if not self.header.n_arrays:
            return np.full(len(names), -1, np.int64)
        found = self._found(names, hashes)
        if found is not None:
            return found
        positions = np.full(len(names), -1, np.int64)
        try:
            queries, found = self._candidates(hashes)
            if len(queries):
                wanted = names if isinstance(names, RaggedColumn) else RaggedColumn.of(names)
                is_same = self.names.are_same(found, wanted, queries)
                positions[queries[is_same]] = found[is_same]
        except IndexError:
            self._fail_table()
        except ValueError as error:
            self._fail(f"a name {error}")
        return positions

    def _found(self, names: Sequence[bytes], hashes: UInt32s | None = None) -> Int64s | None:
        """Return the position of each name, or -1, by the native core; None if it is not for that."""
        finder = self._finder
        if finder is None:
            return None
        if hashes is not None and isinstance(names, RaggedColumn):
            return finder.find_many(names.joined, names.ends, hashes)
        return finder.find_many(list(names), None, None)

    def are_found(
        self, names: Sequence[bytes], hashes: UInt32s, positions: Int64s
    ) -> npt.NDArray[np.bool_]:
        """Tell whether `find` leads from each name to its position. Vectorised."""
        try:
            queries, found = self._candidates(hashes)
        except IndexError:
            self._fail_table()
        is_found = np.zeros(len(names), np.bool_)
        is_found[queries[found == positions[queries]]] = True
        # Another name may have the hash, or the same name be there twice.
        for query in np.flatnonzero(np.bincount(queries, minlength=len(names)) > 1).tolist():
            is_found[query] = self.find(names[query]) == positions[query]
        return is_found

    def _candidates(self, hashes: UInt32s) -> tuple[Int64s, Int64s]:
        slots = self.column("slot").reshape(-1, 2)
        return table.candidates(slots, self.header.n_homes, hashes)

    def _fail_table(self) -> NoReturn:
        self._fail("a name table that leads out of the file")

    def _fail(self, what: str) -> NoReturn:
        raise corrupt(self.path, f"is damaged: it has {what}")

    def split_names(self, first: int, last: int) -> list[bytes]:
        """Return the names of the arrays at positions ``first <= p < last``."""
        names = self.names[first:last]
        if not names.is_sound:
            self._fail(f"names {first} to {last} that do not lie in their column")
        split: list[bytes] = names.split()
        return split

    def some_names(
        self, first: int, last: int, unpack: Callable[[RaggedColumn], list[Item]], removed: Int64s
    ) -> Iterator[Item]:
        """Yield the names of the arrays at positions ``first <= p < last``.

        Parameters
        ----------
        first, last : int
            The positions.
        unpack : callable
            `RaggedColumn.split` or `RaggedColumn.texts`.
        removed : ndarray of int64
            Positions that are left out, in rising order.

        Yields
        ------
        bytes or str
            As `unpack` gives them, which is called with some thousand names, or a megabyte, at
            a time.
        """
        blocks = in_blocks(first, last)
        return chain.from_iterable(self._unpacked(block, unpack, removed) for block in blocks)

    def _unpacked(
        self, block: slice, unpack: Callable[[RaggedColumn], list[Item]], removed: Int64s
    ) -> Iterable[Item]:
        gone = _between(removed, block) if len(removed) else []
        column = self.column_of_names(block)
        if column is None:  # one by one, up to the one that is wrong, or too large for one go
            kept = sorted({*range(block.start, block.stop)}.difference(gone))
            return chain.from_iterable(unpack(RaggedColumn.of([self.name(at)])) for at in kept)
        names = unpack(column)
        for at in reversed(gone):
            del names[at - block.start]
        return names

    def column_of_names(
        self, block: slice, names: RaggedColumn | None = None
    ) -> RaggedColumn | None:
        """Return names that follow each other; None if they are damaged, or very long."""
        names = self.names if names is None else names
        ends = names.ends[block]
        start = int(names.ends[block.start - 1]) if block.start else 0
        end = int(ends[-1])
        is_sound = 0 <= start <= end <= len(names.joined) and bool((ends[:-1] <= ends[1:]).all())
        if not is_sound or start > ends[0] or end - start > _NAMES_NBYTES:
            return None
        return RaggedColumn(ends - start, names.joined[start:end])

    def hashes(self, first: int = 0, last: int | None = None) -> UInt32s:
        """Return the hash of the name at each position, read back from the name table.

        Of all positions, or of ``first <= p < last``, which takes a walk through the table, too.
        """
        n_arrays, n_found, is_astray = self.header.n_arrays, 0, False
        last = n_arrays if last is None else last
        hashes = np.zeros(last - first, np.uint32)
        slots = self.column("slot").reshape(-1, 2)
        for at in range(0, len(slots), _SLOTS):
            some = slots[at : at + _SLOTS]
            full = some[some[:, 1] != table.EMPTY]
            n_found += len(full)
            is_astray = is_astray or bool((full[:, 1] >= n_arrays).any())
            full = full[(full[:, 1] >= first) & (full[:, 1] < last)]
            hashes[full[:, 1] - first] = full[:, 0]
        if n_found != n_arrays or is_astray:
            self._fail(f"{n_found} names in its table, not {n_arrays}")
        return hashes


def pieces(n_entries: int) -> Iterator[slice]:
    """Yield slices of a long column, some thousand entries each."""
    for at in range(0, n_entries, _PASSED_NAMES):
        yield slice(at, min(at + _PASSED_NAMES, n_entries))


def _between(positions: Int64s, block: slice) -> list[int]:
    low, high = np.searchsorted(positions, (block.start, block.stop)).tolist()
    found: list[int] = positions[low:high].tolist()
    return found


def content_of(file: AnyFile, backend: Backend | None) -> tuple[Any, int, AnyFile | None, Backend]:
    """Return the bytes of an index, where it begins in them, what keeps the file open, and how.

    While a file is mapped or open, no other one gets its identity.
    """
    if isinstance(file, RemoteFile):
        content = SparseBytes(file)
        return content[:], 0, file, "pread"
    if backend != "pread":
        try:
            mapped = map_file(file)
        except CannotMapError:
            if backend is not None:
                raise
        else:
            file.close()
            return mapped, file.start_byte, None, "mmap"
    file.keep_in_child()
    return file.pread(file.opened_nbytes or file.nbytes, 0), 0, file, "pread"


def write_index(
    directory: Path,
    header: IndexHeader,
    columns: Entries | Contents,
    like: Rights | None = None,
    *,
    sync: bool = True,
) -> None:
    """Put a new index in the place of the old one, atomically, and on the disk.

    Parameters
    ----------
    directory : Path
        The store.
    header : IndexHeader
        The number of arrays and of home slots is filled in here.
    columns : Entries or Contents
        Of all arrays, in data order: in memory, or block by block.
    like : Rights, optional
        What has the rights that it gets where there is no old one.
    sync : bool
        Whether to wait for the disk.
    """
    contents = columns if isinstance(columns, Contents) else Contents.of(columns)
    with replacing(directory / FILE_NAME, like, sync=sync) as file:
        write_contents(file, header, contents)


def column_bytes(
    header: IndexHeader, columns: Entries
) -> tuple[IndexHeader, dict[str, bytes | memoryview]]:
    """Return what an index is encoded from: its header, filled in, and its columns by name."""
    n_arrays = columns.n_names
    optional = {"pointed": _bytes(columns.pointed)} if columns.pointed.any() else {}
    for name, column in (("info", columns.infos), ("meta", columns.metas)):
        if column is not None and len(column.joined):
            optional |= {f"{name}_end": _bytes(column.ends), name: _bytes(column.joined)}
    return replace(header, n_arrays=n_arrays, n_homes=table.count_homes(n_arrays)), {
        "start": _bytes(columns.starts),
        "end": _bytes(columns.ends),
        "name_end": _bytes(columns.names.ends),
        "names": _bytes(columns.names.joined),
        "crc": _bytes(columns.crcs),
        "slot": _bytes(table.build(columns.hashes)),
        **optional,
    }


def _bytes(column: npt.NDArray[Any]) -> memoryview:
    return memoryview(column.reshape(-1).view(np.uint8))
