"""An index that lies elsewhere and is too large to be fetched: what is asked of it is.

A name is found in three rounds, many names in as many: where the name table may have their hashes; what
is kept of the arrays that have them; their names. Columns that are asked for as a whole are fetched as a
whole, and compared with their checksums.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.format import attrs, infos, table
from ptrarray.format import index as index_format
from ptrarray.format.checksum import crc32
from ptrarray.format.entries import Entry, RaggedColumn
from ptrarray.format.index import Column
from ptrarray.format.names import NAME_LIMIT_NBYTES, hash_all
from ptrarray.native import Finder
from ptrarray.rows.types import Int64s, UInt32s
from ptrarray.storage.remote.file import RemoteFile
from ptrarray.storage.remote.paths import RemotePath
from ptrarray.storage.remote.sparse import SparseBytes
from ptrarray.storage.store.index import FILE_NAME, Index
from ptrarray.storage.system.mapping import Backend
from ptrarray.storage.system.parts import Pack, open_part

# An index of this size is fetched as a whole, in one round.
WHOLE_NBYTES = 64 << 20
# Slots of the name table that are asked for at first where a name is looked for.
_WINDOW = 64


def open_index(directory: Path, backend: Backend | None) -> Index:
    """Open the index of a store, be it here or elsewhere."""
    if not isinstance(directory, RemotePath):
        return Index(directory, backend=backend)
    file, pack = open_part(directory, FILE_NAME)
    if isinstance(file, RemoteFile) and file.nbytes > WHOLE_NBYTES:
        index = ProbedIndex(file, pack)
        return index.fetched() if index.least_nbytes <= WHOLE_NBYTES else index
    whole = Index(directory, backend="pread", file=file)
    whole.pack = pack
    return whole


class ProbedIndex(Index):
    """An index of which only those blocks are in memory that were needed.

    Parameters
    ----------
    file : RemoteFile
        The file.
    pack : Pack or None
        The pack it lies in, if it does.
    """

    is_partial = True

    def __init__(self, file: RemoteFile, pack: Pack | None) -> None:
        self.asked_backend = self.backend = "pread"
        self.pack, self._file = pack, file
        self.path, self.place, self.identity = file.path, file.place, file.identity
        self._content = content = SparseBytes(file)
        raw: Any = content  # which is cut, and asked for its length, as bytes are
        self.header, self.columns = index_format.decode(raw, self.path)
        content.ends = sorted(one.start_byte + one.nbytes for one in self.columns.values())
        self.nbytes = len(content)
        self._n_homes = self.header.n_homes
        self._finder = None
        self._whole: set[str] = set()  # columns that are here
        self._records = _Records(content, self.columns, self.header.n_arrays)
        self.start_items: Any = _Items(self._records, "start")
        self.end_items: Any = _Items(self._records, "end")
        names = self.columns["names"]
        self._names = content.memory[names.start_byte : names.start_byte + names.nbytes]
        self.slots: Any = Slots(content, self.columns["slot"])

    def _view(self, name: str) -> npt.NDArray[Any]:
        """Return a column as a view of memory, whatever of it is there."""
        return _viewed(self._content, self.columns[name])

    @property
    def least_nbytes(self) -> int:
        """Bytes of the file but for those that are there twice."""
        return self.nbytes - (self.columns["entry"].nbytes if "entry" in self.columns else 0)

    def fetched(self) -> Index:
        """Return the same with all of it fetched, but for what is there twice."""
        columns = {name: column for name, column in self.columns.items() if name != "entry"}
        ranges = [(one.start_byte, one.start_byte + one.nbytes) for one in columns.values()]
        self._content.need(ranges)
        content = self._content.memory, 0, self._file, self.backend
        index = Index(Path(), checked=False, file=self._file, content=content)
        index.asked_backend, index.pack, index.columns = self.backend, self.pack, columns
        return index

    def finder(self, rows: Any = None) -> Finder | None:
        """Return None: the native core needs all of an index."""
        return None

    def forget(self) -> None:
        """Do nothing: what came is not let go of, for views of it would have zeros."""

    pass_on = forget

    # all of a column ------------------------------------------------------------------------

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return one column, all of it fetched, and compared with its checksum once."""
        if name not in self._whole:
            column, content = self.columns[name], self._content
            content.need([(column.start_byte, column.start_byte + column.nbytes)])
            index_format.check_sums(content.memory, {name: column}, self.path)
            self._whole.add(name)
        return self._view(name)

    def check(self) -> None:
        """Compare every column with its checksum."""
        self._content[:]  # all at once
        for name in self.columns:
            self.column(name)

    @property
    def starts(self) -> Int64s:  # type: ignore[override]
        """First rows, in data order."""
        return self.column("start").view(np.int64)

    @property
    def ends(self) -> Int64s:  # type: ignore[override]
        """Rows after the last ones, in data order."""
        return self.column("end").view(np.int64)

    @property
    def crcs(self) -> UInt32s:  # type: ignore[override]
        """CRC-32 of each array's bytes, in data order."""
        return self.column("crc")

    @property
    def names(self) -> RaggedColumn:  # type: ignore[override]
        """All names."""
        return RaggedColumn(self.column("name_end").view(np.int64), self.column("names"))

    @property
    def infos(self) -> RaggedColumn | None:  # type: ignore[override]
        """All infos."""
        return self._extras("info")

    @property
    def metas(self) -> RaggedColumn | None:  # type: ignore[override]
        """All metadata."""
        return self._extras("meta")

    @property
    def _table(self) -> UInt32s:  # type: ignore[override]
        return self.column("slot")

    # some of it -----------------------------------------------------------------------------

    def _items_at(self, what: str, positions: Int64s) -> RaggedColumn:
        """Return the column that has items, those at some positions fetched."""
        self._records.need(positions)
        self._content.need_all(*self._spans(what, positions))
        if len(positions) and positions[-1] == self.header.n_arrays - 1:
            self._check_items(what)
        return self._column_of(what)

    def _spans(self, what: str, positions: Int64s) -> tuple[Int64s, Int64s]:
        """Return where items lie, of which the numbers are here."""
        (name, limit), column = _ITEMS[what], self._column_of(what)
        try:
            starts, lengths = column.spans(positions)
            is_long = bool(lengths.max(initial=0) > limit)
        except ValueError:
            is_long = True
        for position in positions.tolist() if is_long else ():  # which of them it is
            self._item(what, column, position, limit)
        at = self.columns[name].start_byte + starts
        return at, at + lengths

    def _column_of(self, what: str) -> RaggedColumn:
        ends = self._records.views[f"{what}_end"]
        return RaggedColumn(ends.view(np.int64), self._view(_ITEMS[what][0]))

    def _one(self, what: str, position: int) -> bytes:
        if f"{what}_end" not in self.columns:
            return b""
        return self._items_at(what, np.array([position])).item(position)

    def name(self, position: int) -> bytes:
        """Return the name of the array at a position."""
        return self._one("name", position)

    def info(self, position: int) -> bytes:
        """Return how the array at a position differs from plain rows, packed."""
        return self._one("info", position)

    def meta(self, position: int) -> bytes:
        """Return the metadata of the array at a position, packed."""
        return self._one("meta", position)

    def entry(self, position: int, name: bytes) -> Entry:
        """Return all that is kept of the array at a position, which has this name."""
        start, end, crc = (self._records.item(which, position) for which in ("start", "end", "crc"))
        pointed = int(self.pointed[position])
        return Entry(name, start, end, crc, pointed, self.info(position), self.meta(position))

    def pointers_at(self, positions: Int64s) -> tuple[Int64s, Int64s]:
        """Return starts and ends of arrays at some positions; -1 where the position is."""
        there = positions >= 0
        at = positions[there]
        self._records.need(at)
        pointers = np.full((2, len(positions)), -1, np.int64)
        for column, which in zip(pointers, ("start", "end"), strict=True):
            column[there] = self._records.views[which][at]
        return pointers[0], pointers[1]

    def crcs_at(self, positions: Int64s) -> UInt32s:
        """Return the CRC-32 of arrays at some positions."""
        self._records.need(positions)
        crcs: UInt32s = self._records.views["crc"][positions]
        return crcs

    def infos_at(self, positions: Int64s) -> list[bytes]:
        """Return how arrays at some positions differ from plain rows, packed."""
        if "info" not in self.columns:
            return [b""] * len(positions)
        column = self._items_at("info", positions)
        return list(map(column.item, positions.tolist()))

    # names ------------------------------------------------------------------------------------

    def find(self, name: bytes) -> int:
        """Return the position of a name, or -1."""
        name_hash = crc32(name)
        at = name_hash * self._n_homes >> 32
        slots, first = self.slots, self.columns["slot"].start_byte
        end = min(at + _WINDOW, len(slots) // 2)
        self._content.need([(first + 8 * at, first + 8 * end)])
        try:
            while (position := slots[2 * at + 1]) != table.EMPTY and slots[2 * at] <= name_hash:
                if slots[2 * at] == name_hash and self._is_named(position, name):
                    return int(position)
                if slots[2 * at] == name_hash:
                    self._check_hashes(np.array([position]), np.array([name_hash], np.uint32))
                at += 1
        except IndexError:
            self._fail_table()
        return -1

    def _is_named(self, position: int, name: bytes) -> bool:
        """Tell whether the array at a position has a name."""
        self._records.need_one(position)
        ends = self._records.views["name_end"]
        start, end = int(ends[position - 1]) if position else 0, int(ends[position])
        if end - start != len(name):
            return False
        self._need_names(np.array([position]))
        return bool(self._names[start:end] == name)

    def find_all(self, names: Sequence[bytes]) -> Int64s:
        """Return the position of each name, or -1; three rounds for all of them."""
        return self.find_many(names, np.frombuffer(hash_all(names), np.uint32))

    def find_many(self, names: Sequence[bytes], hashes: UInt32s) -> Int64s:
        """Return the position of each name, or -1."""
        found = np.full(len(names), -1, np.int64)
        if not self.header.n_arrays or not len(names):
            return found
        wanted = names if isinstance(names, RaggedColumn) else RaggedColumn.of(names)
        try:
            queries, positions = self._candidates(hashes)
            self._records.need(positions)
        except IndexError:
            self._fail_table()
        # Of another name with the same hash, mostly the length is another one, too.
        column, lengths = self._column_of("name"), wanted.lengths[queries]
        try:
            is_alike = column.lengths_at(positions) == lengths
        except ValueError as error:
            self._fail(f"a name {error}")
        some, others = queries[is_alike], positions[is_alike]
        self._need_names(others)
        is_same = column.are_same(others, wanted, some)
        found[some[is_same]] = others[is_same]
        is_alike[is_alike] = is_same
        self._check_hashes(positions[~is_alike], hashes[queries[~is_alike]])
        return found

    def _check_hashes(self, positions: Int64s, hashes: UInt32s) -> None:
        """Check names that have the hash of others, as few do, but many that are damaged would."""
        if not len(positions):
            return
        column = self._items_at("name", positions)
        for position, name_hash in zip(positions.tolist(), hashes.tolist(), strict=True):
            if crc32(column.item(position)) != name_hash:
                self._fail(f"a name at position {position} with another hash than its slot")

    def _need_names(self, positions: Int64s) -> None:
        """Have names here, and with them what is needed next to read the arrays."""
        spans = [self._spans("name", positions)]
        if "info" in self.columns:
            spans.append(self._spans("info", positions))
        starts, ends = map(np.concatenate, zip(*spans, strict=True))
        self._content.need_all(starts, ends)

    def find_passing(self, names: RaggedColumn, hashes: UInt32s) -> Int64s:
        """Return what `find_many` does."""
        return self.find_many(names, hashes)

    def _candidates(self, hashes: UInt32s) -> tuple[Int64s, Int64s]:
        need_runs(self._content, self.columns["slot"], self.header.n_homes, hashes)
        slots = self._view("slot").reshape(-1, 2)
        return table.candidates(slots, self.header.n_homes, hashes)

    def column_of_names(
        self, block: slice, names: RaggedColumn | None = None
    ) -> RaggedColumn | None:
        """Return names that follow each other; None if they are damaged, or very long."""
        ends = self.columns["name_end"].start_byte
        self._content.need([(ends + 8 * max(block.start - 1, 0), ends + 8 * block.stop)])
        names = RaggedColumn(self._view("name_end").view(np.int64), self._view("names"))
        column = super().column_of_names(block, names)
        if column is not None:
            start = int(names.ends[block.start - 1]) if block.start else 0
            at = self.columns["names"].start_byte + start
            self._content.need([(at, at + len(column.joined))])
        if block.stop == self.header.n_arrays:
            self._check_items("name")
        return column

    def _check_items(self, what: str) -> None:
        """Compare items, and where they end, with their checksums, if all of them came."""
        for name in (f"{what}_end", _ITEMS[what][0]):
            column = self.columns[name]
            if self._content.has(column.start_byte, column.start_byte + column.nbytes):
                self.column(name)


def need_runs(content: SparseBytes, column: Column, n_homes: int, hashes: UInt32s) -> None:
    """Have those slots of a name table here that are looked at for some hashes."""
    pairs = _viewed(content, column).view(np.uint64)
    first, width, n_slots = column.start_byte, _WINDOW, len(pairs)
    slots = table.home_slots(hashes, n_homes)
    while len(slots):
        pasts = np.minimum(slots + width, n_slots)
        content.need_all(first + 8 * slots, first + 8 * pasts)
        # Runs of full slots are short: the last one of these tells whether a search may go on.
        last = pairs[pasts - 1]
        is_on = (last >> np.uint64(32) != table.EMPTY) & (last.astype(np.uint32) <= hashes)
        is_on &= pasts < n_slots
        slots, hashes, width = pasts[is_on], hashes[is_on], 8 * width


# What lies end to end: in which column, and bytes of one at the most.
_ITEMS = {
    "name": ("names", NAME_LIMIT_NBYTES),
    "info": ("info", infos.LIMIT_NBYTES),
    "meta": ("meta", attrs.LIMIT_NBYTES),
}


def _viewed(content: SparseBytes, column: Column) -> npt.NDArray[Any]:
    dtype = np.dtype(column.type)
    count = column.nbytes // dtype.itemsize
    return np.frombuffer(content.memory, dtype, count, column.start_byte)


class _Records:
    """What is kept of each array in numbers: side by side where the index has that, else in columns.

    Attributes
    ----------
    views : dict of str to ndarray
        By column; right where it was needed.
    """

    def __init__(self, content: SparseBytes, columns: dict[str, Column], n_arrays: int) -> None:
        self._content, self.n_arrays = content, n_arrays
        dtype = index_format.entry_dtype(columns)
        if "entry" in columns:
            records = _viewed(content, columns["entry"]).view(dtype)
            self.views = {name: records[name] for name in dtype.names or ()}
            self._spans = [(columns["entry"].start_byte, dtype.itemsize)]
            return
        self.views = {name: _viewed(content, columns[name]) for name in dtype.names or ()}
        self._spans = [
            (columns[name].start_byte, view.itemsize) for name, view in self.views.items()
        ]

    def need(self, positions: Int64s) -> None:
        """Have all of some arrays here, and where the items of those before them end.

        Raises
        ------
        IndexError
            If there are fewer arrays.
        """
        if len(positions) and not 0 <= positions.min() <= positions.max() < self.n_arrays:
            raise IndexError(f"position {positions.max()} of {self.n_arrays}")
        before = np.maximum(positions - 1, 0)
        starts = [at + width * before for at, width in self._spans]
        ends = [at + width * (positions + 1) for at, width in self._spans]
        self._content.need_all(np.concatenate(starts), np.concatenate(ends))

    def need_one(self, position: int) -> None:
        """Have one array here, as `need`."""
        if not 0 <= position < self.n_arrays:
            raise IndexError(f"position {position} of {self.n_arrays}")
        before = max(position - 1, 0)
        self._content.need(
            [(at + width * before, at + width * (position + 1)) for at, width in self._spans]
        )

    def item(self, which: str, position: int) -> int:
        """Return one number of an array."""
        self.need_one(position)
        return int(self.views[which][position])


class _Items:
    """A column of numbers that is fetched as it is asked, item by item."""

    def __init__(self, records: _Records, which: str) -> None:
        self._records, self._which = records, which

    def __len__(self) -> int:
        return self._records.n_arrays

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, slice):
            return self._records.item(self._which, key)
        positions = np.arange(len(self))[key]
        self._records.need(positions)
        return memoryview(self._records.views[self._which][positions].view(np.int64))


class Slots:
    """The numbers of the name table, fetched as they are asked."""

    def __init__(self, content: SparseBytes, column: Column) -> None:
        self._content, self._column = content, column
        self._view = memoryview(_viewed(content, column))

    def __len__(self) -> int:
        return len(self._view)

    def __getitem__(self, at: int) -> int:
        start = self._column.start_byte + 4 * at
        if 0 <= at < len(self._view):
            self._content.need([(start, start + 4)])
        return self._view[at]
