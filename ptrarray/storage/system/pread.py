"""Rows that are read when asked for: what takes the place of a mapping of the data file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.format.checksum import crc32
from ptrarray.format.index import corrupt
from ptrarray.rows.copying import copy_at_once, copy_ranges, cut
from ptrarray.rows.indexing import split_index
from ptrarray.rows.types import Array, Int64s, Read, Rows, UInt8s, ahead_nbytes
from ptrarray.storage.remote.file import RemoteFile
from ptrarray.storage.remote.paths import RemotePath
from ptrarray.storage.system import files
from ptrarray.storage.system.files import AnyFile
from ptrarray.storage.system.mapping import check_size
from ptrarray.storage.system.parts import opened_pack

# Ranges closer together than this are read in one go. A system call costs about as much as
# copying 4 kB from the page cache; to a server on the network, far more is cheaper than asking
# twice.
GAP_NBYTES = 16 << 10
# Ranges read in one go are copied apart from a buffer of this size, or twice.
BUFFER_NBYTES = 1 << 20
# Of what is best asked for at once, what a thread asks for that is one of several.
_SHARES = 16


class PreadRows(Rows):
    """The flat array of a data file that is not mapped. Never changes.

    Answers what readers ask of an ndarray of rows; what it hands out are
    writable copies. Holds one descriptor, which threads and children of a fork
    share: reading at a place moves no offset.

    Parameters
    ----------
    file : File or RemoteFile
        The data file, open in children of a fork, too.
    dtype, shape
        What the rows are; the file is at least that long.
    start_byte : int
        Where they begin in the file.
    """

    def __init__(
        self, file: AnyFile, dtype: np.dtype[Any], shape: tuple[int, ...], start_byte: int = 0
    ) -> None:
        self.file = file
        self.dtype = dtype
        self.shape = shape
        self.start_byte = start_byte
        self._row_nbytes = math.prod(shape[1:]) * dtype.itemsize

    def __getitem__(self, key: Any) -> Any:
        """Return what numpy gives for this index, read from the file."""
        if type(key) is slice and key.step in (None, 1):
            start, end, _ = key.indices(self.shape[0])
            return self._read(start, max(start, end))
        rows, rest = split_index(key, self.shape, self.dtype)
        return self._read_rows(rows)[rest]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        """Read all rows."""
        if copy is False:
            raise ValueError(f"rows of {self.file.path} are read, which is a copy: copy=False")
        return np.asarray(self[:], dtype)

    def _read(self, start: int, end: int) -> Array:
        """Read rows ``start <= row < end``, which have to be there."""
        values = np.empty((end - start, *self.shape[1:]), self.dtype)
        if values.nbytes:
            self._read_bytes(values.reshape(-1).view(np.uint8), start)
        return values

    def _read_rows(self, rows: range | Int64s) -> Array:
        """Read single rows, rising: each run of neighbours as one range."""
        if isinstance(rows, range):
            if rows.step == 1:
                return self[rows.start : rows.stop]  # type: ignore[no-any-return]
            rows = np.arange(rows.start, rows.stop, rows.step)
        # Of [3, 4, 7, 8, 9], runs begin at items 0 and 2: the ranges [3, 5) and [7, 10).
        is_first = np.ones(len(rows) + 1, np.bool_)
        is_first[1:-1] = rows[1:] - rows[:-1] != 1
        offsets = np.flatnonzero(is_first)
        starts = rows[offsets[:-1]]
        return self.copy_ranges(starts, starts + offsets[1:] - offsets[:-1], offsets)

    def _read_bytes(self, raw: UInt8s, start: int) -> None:
        """Fill a buffer with the bytes of the rows from `start` on.

        Raises
        ------
        CorruptStoreError
            If the file ends before. Of a mapping this would kill the process.
        """
        at = self.start_byte + start * self._row_nbytes
        n_read = self.file.preadv(raw, at)
        if n_read < len(raw):
            n_there = self.file.nbytes
            what = f"has {n_there} bytes, rows up to byte {at + len(raw)} are wanted"
            raise corrupt(self.file.path, f"{what}: it was cut short since it was opened")

    def copy_ranges(
        self, starts: Int64s, ends: Int64s, offsets: Int64s, out: Array | None = None
    ) -> Array:
        """Read ranges of rows end to end, as `ptrarray.rows.copying.copy_ranges` copies them.

        Reads in the order of the file, and neighbours in one go.
        """
        values = np.empty((int(offsets[-1]), *self.shape[1:]), self.dtype) if out is None else out
        if not values.nbytes:
            return values
        raw, width = values.reshape(-1).view(np.uint8), self._row_nbytes
        if ends[-1] - starts[0] == len(values) and (ends[:-1] == starts[1:]).all():
            self._read_bytes(raw, int(starts[0]))
            return values
        is_rising = bool((starts[:-1] <= starts[1:]).all())
        order = np.arange(len(starts)) if is_rising else np.argsort(starts, kind="stable")
        for low, high in self._groups(starts[order], ends[order]):
            group = order[low:high]
            first = int(starts[group[0]])
            if high - low == 1:
                at = int(offsets[group[0]])
                self._read_bytes(raw[at * width : int(offsets[group[0] + 1]) * width], first)
                continue
            block = self._read(first, int(ends[group].max()))
            if is_rising:
                part = slice(int(offsets[low]), int(offsets[high]))
                within = starts[low:high] - first, ends[low:high] - first
                to = offsets[low : high + 1] - offsets[low]
                copy_ranges(block, *within, to, values[part])
                continue
            ranges = (column[group].tolist() for column in (starts - first, ends - first, offsets))
            for start, end, at in zip(*ranges, strict=True):
                values[at : at + end - start] = block[start:end]
        return values

    def _groups(self, starts: Int64s, ends: Int64s) -> list[tuple[int, int]]:
        """Cut sorted ranges into groups that are read in one go."""
        reach = np.maximum.accumulate(ends)
        gaps = np.maximum(starts[1:] - reach[:-1], 0)
        # What a group reads: its rows and the gaps between them.
        spans = ends - starts
        spans[1:] += np.where(gaps * self._row_nbytes < GAP_NBYTES, gaps, 0)
        cuts = [low for low, _ in cut(spans * self._row_nbytes, BUFFER_NBYTES)]
        far = 1 + np.flatnonzero(gaps * self._row_nbytes >= GAP_NBYTES)
        edges = np.union1d(cuts, far).tolist()
        return list(zip(edges, [*edges[1:], len(starts)], strict=True))


class RemoteRows(PreadRows):
    """The same of a data file that lies elsewhere: what is far apart is asked for at once."""

    file: RemoteFile

    def __init__(
        self, file: RemoteFile, dtype: np.dtype[Any], shape: tuple[int, ...], start_byte: int = 0
    ) -> None:
        super().__init__(file, dtype, shape, start_byte)
        self.ahead_nbytes = file.ahead_nbytes

    def copy_ranges(
        self, starts: Int64s, ends: Int64s, offsets: Int64s, out: Array | None = None
    ) -> Array:
        """Read ranges of rows end to end, all at once, and neighbours as one."""
        return copy_at_once(self, starts, ends, offsets, out)

    def reads(
        self,
        starts: Int64s,
        ends: Int64s,
        places: Int64s,
        out: Array,
        *,
        is_ours: bool = False,
        is_compared: bool = False,
    ) -> Iterator[Read]:
        """Return what copies ranges of rows, each to its place in `out`."""
        width = self._row_nbytes
        first, last = (self.start_byte + width * rows for rows in (starts, ends))
        raw = out.reshape(-1).view(np.uint8)
        flags = {"is_ours": is_ours, "is_compared": is_compared}
        return self.file.reads(raw, first, last, width * places, **flags)

    def in_turn(self, reads: Iterable[Read], *, grow: bool = False) -> Iterator[Any]:
        """Yield what is made of reads, in their order."""
        return self.file.in_turn(reads, grow=grow)


def open_rows(
    path: str | Path,
    dtype: np.dtype[Any],
    row_shape: tuple[int, ...],
    n_rows: int,
    span: tuple[int, int] | None = None,
) -> PreadRows:
    """Open a data file, or a part of one, to read rows of it, as `map_rows` maps them.

    Raises
    ------
    CorruptStoreError
        If the file is shorter.
    """
    file = files.opened(path) if span is None else opened_pack(path, str(span))
    file.keep_in_child()
    if isinstance(file, RemoteFile):
        file.keep(is_data=True)
    first_byte, nbytes = span or (0, file.opened_nbytes)
    check_size(file.path, nbytes, n_rows, dtype.itemsize * math.prod(row_shape))
    made: Any = RemoteRows if isinstance(file, RemoteFile) else PreadRows
    return made(file, dtype, (n_rows, *row_shape), first_byte)  # type: ignore[no-any-return]


def rows_later(
    path: RemotePath,
    dtype: np.dtype[Any],
    row_shape: tuple[int, ...],
    n_rows: int,
    settle: Callable[[], object],
) -> RemoteRows:
    """Return the rows of a data file that lies elsewhere, of which nobody was asked yet.

    Parameters
    ----------
    settle : callable
        As for `RemoteFile.expect`.
    """
    file = path.open_later()
    file.expect(n_rows * dtype.itemsize * math.prod(row_shape), settle)
    return RemoteRows(file, dtype, (n_rows, *row_shape))


FileRows = Array | PreadRows  # rows of one file, mapped or not


def viewed(rows: FileRows, dtype: np.dtype[Any], shape: tuple[int, ...]) -> FileRows:
    """Return the first bytes that rows consist of as rows of another dtype and shape, no copy."""
    if not isinstance(rows, np.ndarray):  # which is asked sooner than a Protocol
        return type(rows)(rows.file, dtype, shape, rows.start_byte)
    raw = rows.reshape(-1).view(np.uint8)
    return raw[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)


def checksum_of(rows: FileRows) -> Callable[[int, int], int]:
    """Return what computes the CRC-32 of a range of rows, block by block where it is long."""
    width = math.prod(rows.shape[1:]) * rows.itemsize
    raw: Any = viewed(rows, np.dtype(np.uint8), (rows.nbytes,))
    if isinstance(raw, np.ndarray):
        raw = memoryview(raw)  # whose slices are the cheapest

    # Some threads do this at once, each for another range.
    size = max(BUFFER_NBYTES, ahead_nbytes(rows) // _SHARES)

    def checksum(start: int, end: int) -> int:
        at, end_byte, crc = start * width, end * width, 0
        while end_byte - at > size:
            crc = crc32(raw[at : at + size], crc)
            at += size
        return crc32(raw[at:end_byte], crc)

    return checksum
