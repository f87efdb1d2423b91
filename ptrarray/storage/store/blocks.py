"""Writing an index block by block, in memory that does not grow with the number of names.

Where each column begins follows from `Sizes`, so every block goes to where it belongs: each column
has a cursor. The name table is the last column, for how many slots it has shows at its end. The
header, which has all checksums, is written at last: a file without it is no index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.format import index as index_format
from ptrarray.format import table
from ptrarray.format.checksum import crc32
from ptrarray.format.entries import Entries, RaggedColumn
from ptrarray.format.index import COLUMN_LIMIT_NBYTES, Column, IndexHeader, corrupt, entry_dtype
from ptrarray.format.table import Keys, Slots, SortedRun
from ptrarray.reductions.blocks import count_cores, in_parallel
from ptrarray.rows.types import UInt32s
from ptrarray.storage.system.building import nameless
from ptrarray.storage.system.files import File
from ptrarray.storage.system.mapping import forget, map_or_read

# What waits to be written. A small index is written by one call, as nothing was before its end.
_PENDING_NBYTES = 1 << 20

# A file that is needed while an index is written, and has no name but for a moment.
SCRATCH_FILE_NAME = "scratch.new"
_KEY_NBYTES = 32  # of memory for each key of a run, while they are sorted
_SHARE_KEYS = 1 << 18  # of which sorting takes longer than a thread

Piece = tuple[int, memoryview]  # where in the file, and what


class Sizes(NamedTuple):
    """How much there is in an index, known before the first block is written.

    Attributes
    ----------
    n_arrays : int
        Arrays, of all blocks together.
    names, infos, metas : int
        Bytes of all of these; without any, there is no column of infos, or metadata.
    pointed : bool
        Whether any array is pointed.
    entry : bool
        Whether numbers are kept side by side, too.
    """

    n_arrays: int
    names: int
    infos: int = 0
    metas: int = 0
    pointed: bool = False
    entry: bool = False

    @classmethod
    def of(cls, entries: Entries) -> Sizes:
        """Return those of a table of entries."""
        infos, metas = (
            0 if column is None else len(column.joined) for column in (entries.infos, entries.metas)
        )
        pointed = bool(entries.pointed.any())
        return cls(entries.n_names, len(entries.names.joined), infos, metas, pointed)

    @property
    def columns(self) -> dict[str, int]:
        """Bytes of each column but the name table, in the order of the file."""
        n_arrays = self.n_arrays
        sizes = {"start": 8 * n_arrays, "end": 8 * n_arrays, "name_end": 8 * n_arrays}
        sizes |= {"names": self.names, "crc": 4 * n_arrays}
        if self.pointed:
            sizes["pointed"] = n_arrays
        for name, nbytes in (("info", self.infos), ("meta", self.metas)):
            if nbytes:
                sizes |= {f"{name}_end": 8 * n_arrays, name: nbytes}
        if self.entry:
            sizes["entry"] = entry_dtype(sizes).itemsize * n_arrays
        return sizes

    def with_entry(self) -> Sizes:
        """Return the same with numbers side by side, too, if they fit in a column."""
        sizes = self._replace(entry=True)
        return sizes if sizes.columns["entry"] <= COLUMN_LIMIT_NBYTES else self


class Contents(NamedTuple):
    """What an index is written from.

    Attributes
    ----------
    sizes : Sizes
        What all blocks have together, exactly.
    blocks : iterable of Entries
        All arrays in data order, some at a time. Nobody looks at their hashes.
    slots : iterable of ndarray of uint32, shape (n, 2)
        The name table, piece by piece: `table.build`, or `table.in_parts`. Asked for when all
        blocks were written.
    """

    sizes: Sizes
    blocks: Iterable[Entries]
    slots: Iterable[Slots]

    @classmethod
    def of(cls, entries: Entries) -> Contents:
        """Return the contents of an index of entries that are in memory."""
        tables = map(table.build, [entries.hashes])  # built when it is asked for
        return cls(Sizes.of(entries), [entries], tables)

    @classmethod
    def hashed(
        cls, sizes: Sizes, blocks: Iterable[Entries], directory: Path, memory: int
    ) -> Contents:
        """Return the contents of an index of blocks that have their hashes.

        The name table is made of these. What does not fit in so many bytes of memory waits in a
        file without a name in the directory.
        """
        limit = min(memory // _KEY_NBYTES, sizes.n_arrays)
        runs = _Runs(directory / SCRATCH_FILE_NAME, max(limit, 1))
        return cls(sizes, runs.noted(blocks), runs.slots())


class _Runs:
    """Keys of the names of blocks: sorted piece by piece, the pieces on the disk but for the last."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._keys: Keys = np.empty(limit, np.uint64)  # of which some wait, from the first on
        self._n_waiting = 0
        self._ends = [0]  # of each piece, in the file
        self._file: File | None = None

    def noted(self, blocks: Iterable[Entries]) -> Iterator[Entries]:
        """Pass blocks on, and keep their hashes."""
        for block in blocks:
            self._add(block.hashes)
            yield block

    def _add(self, hashes: UInt32s) -> None:
        while len(hashes):
            if self._n_waiting == len(self._keys):
                self._put_aside()
            at, first = self._n_waiting, self._ends[-1] + self._n_waiting
            some = hashes[: len(self._keys) - at]
            keys = table.keys_of(some, np.arange(first, first + len(some)))
            self._keys[at : at + len(some)] = keys
            self._n_waiting += len(some)
            hashes = hashes[len(some) :]

    def _put_aside(self) -> None:
        """Write what waits to the file, as one run."""
        keys = self._keys
        keys.sort()
        self._file = self._file or nameless(self._path)
        self._file.pwrite(keys, self._ends[-1] * keys.itemsize, keys.nbytes)
        self._ends.append(self._ends[-1] + len(keys))
        self._n_waiting = 0

    def slots(self) -> Iterator[Slots]:
        """Yield the name table of all that was noted, piece by piece."""
        last = self._keys[: self._n_waiting]
        if self._file is None:
            n_runs = min(count_cores(), -(-len(last) // _SHARE_KEYS))  # each sorted in a thread
            runs = np.array_split(last, max(n_runs, 1))
            for _ in in_parallel(np.ndarray.sort, runs):
                pass
            yield from table.in_parts(list(map(SortedRun, runs)), len(last))
            return
        last.sort()
        content = map_or_read(self._file)
        keys = np.frombuffer(content, np.uint64)
        on_disk = [SortedRun(keys[start:end]) for start, end in pairwise(self._ends)]
        for part in table.in_parts([*on_disk, SortedRun(last)], len(keys) + len(last)):
            yield part
            forget(content)
        self._file.close()


def write_contents(file: File, header: IndexHeader, contents: Contents) -> IndexHeader:
    """Write an index to a new file, front to back but for the header.

    Parameters
    ----------
    file : File
        An empty file.
    header : IndexHeader
        The number of arrays and of home slots is filled in here.
    contents : Contents
        What goes into it. Its blocks and slots are each taken once, and let go when they were
        written, before the next ones are asked for.

    Returns
    -------
    IndexHeader
        As it was written.

    Raises
    ------
    BadInputError
        If a column is larger than the 4 GiB that a msgpack ``bin`` holds.
    CorruptStoreError
        If the blocks do not have what the sizes say, which only a damaged store they come from
        allows. The file is no index then.
    """
    n_arrays = contents.sizes.n_arrays
    header = replace(header, n_arrays=n_arrays, n_homes=table.count_homes(n_arrays))
    writer = _Writer(file, header, contents.sizes)
    for block in contents.blocks:
        writer.add(block)
    for slots in contents.slots:
        writer.add_column("slot", slots)
    writer.finish()
    return header


class _Writer:
    """The columns of an index, each written up to some byte."""

    def __init__(self, file: File, header: IndexHeader, sizes: Sizes) -> None:
        self._file, self._header, self._sizes = file, header, sizes
        # How long the header gets depends on the numbers in it, so there is room for large ones.
        nbytes = sizes.columns | {"slot": COLUMN_LIMIT_NBYTES}
        self._columns = index_format.place(header, nbytes, {})
        self._nbytes = dict.fromkeys(nbytes, 0)
        self._crcs = dict.fromkeys(nbytes, 0)
        self._pending: dict[str, list[memoryview]] = {name: [] for name in nbytes}
        self._n_pending = 0

    def add(self, block: Entries) -> None:
        """Add the arrays of the next block."""
        numbers: dict[str, npt.NDArray[Any]] = {}
        numbers["start"] = self.add_column("start", block.starts)
        numbers["end"] = self.add_column("end", block.ends)
        numbers["name_end"] = self._add_items("name_end", "names", block.names)
        numbers["crc"] = self.add_column("crc", block.crcs)
        n_arrays = len(block.starts)
        if self._sizes.pointed:
            self.add_column("pointed", np.asarray(block.pointed))
        for name, items in (("info", block.infos), ("meta", block.metas)):
            if name in self._columns:
                column = RaggedColumn.blank(n_arrays) if items is None else items
                numbers[f"{name}_end"] = self._add_items(f"{name}_end", name, column)
        if self._sizes.entry:
            records = np.empty(n_arrays, entry_dtype(numbers))
            for name in records.dtype.names or ():
                records[name] = numbers[name]
            self.add_column("entry", records)

    def _add_items(self, ends: str, name: str, items: RaggedColumn) -> npt.NDArray[Any]:
        before = self._nbytes[name]
        self.add_column(name, items.joined)
        return self.add_column(ends, items.ends + before if before else items.ends)

    def add_column(self, name: str, some: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Add what comes next in a column, and return it."""
        piece = memoryview(np.ascontiguousarray(some).reshape(-1).view(np.uint8))
        self._nbytes[name] += len(piece)
        self._crcs[name] = crc32(piece, self._crcs[name])
        self._pending[name].append(piece)
        self._n_pending += len(piece)
        if self._n_pending > _PENDING_NBYTES:
            self._write(list(self._taken()))
        return some

    def _taken(self) -> Iterator[Piece]:
        """Take what waits to be written, in the order of the file."""
        for name, pieces in self._pending.items():
            nbytes = self._nbytes[name]
            at = self._columns[name].start_byte + nbytes - sum(map(len, pieces))
            for piece in pieces:
                yield at, piece
                at += len(piece)
            pieces.clear()
        self._n_pending = 0

    def finish(self) -> None:
        """Write what is left, and what makes an index of the file."""
        sizes = self._sizes.columns
        if {name: self._nbytes[name] for name in sizes} != sizes:
            what = f"would have columns of {self._nbytes} bytes, not {sizes}"
            raise corrupt(self._file.path, f"{what}: the index that it comes from is damaged")
        columns: dict[str, Column] = {}
        for name, column in self._columns.items():
            column = column._replace(nbytes=self._nbytes[name], crc=self._crcs[name])
            columns[name] = column
        index_format.check_size("slot", columns["slot"].nbytes)
        head = index_format.encode_header(self._header, columns)
        frames: list[Piece] = [(0, memoryview(head))]
        at = len(head)
        for column in columns.values():
            frames.append((at, memoryview(index_format.frame(column, at))))
            at = column.start_byte + column.nbytes
        pieces = frames + [piece for piece in self._taken() if len(piece[1])]
        self._write(sorted(pieces, key=itemgetter(0)))

    def _write(self, pieces: list[Piece]) -> None:
        """Write pieces in the order of the file, those that follow each other by one call."""
        some: list[memoryview] = []
        first = end = 0
        for at, piece in pieces:
            if at != end and some:
                self._file.pwritev(some, first)
                some = []
            if not some:
                first = at
            some.append(piece)
            end = at + len(piece)
        if some:
            self._file.pwritev(some, first)
