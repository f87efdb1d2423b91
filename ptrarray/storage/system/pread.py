"""Rows that are read when asked for: what takes the place of a mapping of the data file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ptrarray.format.checksum import crc32
from ptrarray.format.index import corrupt
from ptrarray.rows.copying import copy_ranges, cut
from ptrarray.rows.indexing import split_index
from ptrarray.storage.system.files import File
from ptrarray.storage.system.mapping import Rows, check_size

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]

# Ranges closer together than this are read in one go. A system call costs about as much as
# copying 4 kB from the page cache; to a server on the network, far more is cheaper than asking
# twice.
GAP_NBYTES = 16 << 10
# Ranges read in one go are copied apart from a buffer of this size, or twice.
BUFFER_NBYTES = 1 << 20


class PreadRows:
    """The flat array of a data file that is not mapped. Never changes.

    Answers what readers ask of an ndarray of rows; what it hands out are
    writable copies. Holds one descriptor, which threads and children of a fork
    share: reading at a place moves no offset.

    Parameters
    ----------
    file : File
        The data file, open in children of a fork, too.
    dtype, row_shape
        What the rows are.
    n_rows : int
        How many there are; the file is at least that long.
    start_byte : int
        Where they begin in the file.
    """

    def __init__(
        self, file: File, dtype: np.dtype[Any], shape: tuple[int, ...], start_byte: int = 0
    ) -> None:
        self.file = file
        self.dtype = dtype
        self.shape = shape
        self.ndim = len(shape)
        self.itemsize = dtype.itemsize
        self.size = math.prod(shape)
        self.nbytes = self.size * self.itemsize
        self._row_nbytes = math.prod(shape[1:]) * self.itemsize
        self.start_byte = start_byte
        # Of no size in memory; numpy's own errors for what is no index of such an array.
        self._like = np.broadcast_to(np.zeros((), dtype if dtype.names else np.bool_), shape)

    def head(self, n_rows: int) -> PreadRows:
        """Return the first rows, of the same file."""
        return PreadRows(self.file, self.dtype, (n_rows, *self.shape[1:]), self.start_byte)

    def viewed(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Rows:
        """Return the bytes of the file as rows of another dtype."""
        return cast(Rows, PreadRows(self.file, dtype, shape, self.start_byte))

    def touch(self, byte: int) -> object:
        """Read one byte of the file."""
        return self.file.pread(1, byte)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        """Return what numpy gives for this index, read from the file."""
        if type(key) is slice and key.step is None:
            start, end, _ = key.indices(self.shape[0])
            return self.read(start, max(start, end))
        rows, key = self.split(key)
        return self.read_rows(rows)[key]

    def split(self, key: Any) -> tuple[range | Int64s, Any]:
        """Return the rows that an index asks for, and the index into those."""
        self._like[key]
        return split_index(key, self.shape)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        """Read all rows."""
        if copy is False:
            raise ValueError(f"rows of {self.file.path} are read, which is a copy: copy=False")
        return np.asarray(self.read(0, len(self)), dtype)

    def read(self, start: int, end: int) -> Array:
        """Read rows ``start <= row < end``, which have to be there."""
        raw = np.empty((end - start) * self._row_nbytes, np.uint8)
        if not len(raw):
            return np.empty((end - start, *self.shape[1:]), self.dtype)
        self._read_bytes(raw, start)
        rows = raw.view(self.dtype)
        return rows if self.ndim == 1 else rows.reshape(-1, *self.shape[1:])

    def _read_bytes(self, raw: Array, start: int) -> None:
        """Fill a buffer with the bytes of the rows from `start` on.

        Raises
        ------
        CorruptStoreError
            If the file ends before. Of a mapping this would kill the process.
        """
        at = self.start_byte + start * self._row_nbytes
        n_read = self.file.preadv(raw, at)
        if n_read < len(raw):
            n_there = self.file.stat().st_size
            what = f"has {n_there} bytes, rows up to byte {at + len(raw)} are wanted"
            raise corrupt(self.file.path, f"{what}: it was cut short since it was opened")

    def crc32(self, start: int, end: int) -> int:
        """CRC-32 of rows, read block by block."""
        checksum = 0
        block_rows = max(1, BUFFER_NBYTES // max(1, self._row_nbytes))
        for at in range(start, end, block_rows):
            block = self.read(at, min(at + block_rows, end))
            checksum = crc32(block.reshape(-1).view(np.uint8), checksum)
        return checksum

    def read_rows(self, wanted: range | Int64s) -> Array:
        """Read single rows, rising."""
        if isinstance(wanted, range) and wanted.step == 1:
            return self.read(wanted.start, max(wanted.start, wanted.stop))
        rows = np.asarray(wanted, np.int64)
        edges = np.flatnonzero(np.diff(rows, prepend=-2) != 1)  # where runs begin
        starts = rows[edges]
        lengths = np.diff(edges, append=len(rows))
        return self.copy_ranges(starts, starts + lengths, np.append(edges, len(rows)))

    def copy_ranges(self, starts: Int64s, ends: Int64s, offsets: Int64s) -> Array:
        """Read ranges of rows end to end, as `ptrarray.rows.copying.copy_ranges` copies them.

        Reads in the order of the file, and neighbours in one go.
        """
        values = np.empty((int(offsets[-1]), *self.shape[1:]), self.dtype)
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
            block = self.read(first, int(ends[group].max()))
            if is_rising:
                part = slice(int(offsets[low]), int(offsets[high]))
                within = starts[low:high] - first, ends[low:high] - first
                values[part] = copy_ranges(block, *within, offsets[low : high + 1] - offsets[low])
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


def open_rows(
    path: str | Path,
    dtype: np.dtype[Any],
    row_shape: tuple[int, ...],
    n_rows: int,
    span: tuple[int, int] | None = None,
) -> Rows:
    """Open a data file, or a part of one, to read rows of it, as `map_rows` maps them.

    Raises
    ------
    CorruptStoreError
        If the file is shorter.
    """
    file = File(path)
    file.keep_in_child()
    first_byte, nbytes = span or (0, file.as_opened.st_size)
    check_size(file.path, nbytes, n_rows, dtype.itemsize * math.prod(row_shape))
    return cast(Rows, PreadRows(file, dtype, (n_rows, *row_shape), first_byte))


def head(rows: Rows, n_rows: int) -> Rows:
    """Return the first rows, without reading any."""
    return cast(Rows, rows.head(n_rows)) if isinstance(rows, PreadRows) else rows[:n_rows]


class MaskedPreadRows:
    """As `PreadRows`, of a data file with a mask file: hands out masked arrays."""

    def __init__(self, data: PreadRows, mask: PreadRows) -> None:
        self.data, self.mask = data, mask
        self.dtype, self.shape, self.ndim = data.dtype, data.shape, data.ndim
        self.itemsize, self.size, self.nbytes = data.itemsize, data.size, data.nbytes

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, key: Any) -> Any:
        """Return what numpy gives for this index of a masked array, read from the files."""
        rows, key = self.data.split(key)
        return np.ma.MaskedArray(self.data.read_rows(rows), self.mask.read_rows(rows))[key]

    def copy_ranges(self, starts: Int64s, ends: Int64s, offsets: Int64s) -> Array:
        """Read ranges of rows end to end."""
        columns = starts, ends, offsets
        return np.ma.MaskedArray(self.data.copy_ranges(*columns), self.mask.copy_ranges(*columns))


def masked_rows(data: Rows, mask: Rows) -> Rows:
    """Return the flat array with its mask."""
    if isinstance(data, PreadRows) and isinstance(mask, PreadRows):
        return cast(Rows, MaskedPreadRows(data, mask))
    # To keep a mask means to copy it where there are fields.
    return cast(Rows, np.ma.MaskedArray(data, mask, keep_mask=False))
