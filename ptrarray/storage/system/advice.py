"""Telling the system which rows will be read soon, so that it fetches many at a time.

Left alone, it fetches what is touched, one page fault or read after the other. Advice changes
nothing but the time; where a system takes none, nothing is told.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.rows.pointers import merge_runs
from ptrarray.storage.system import files
from ptrarray.storage.system.mapping import Rows
from ptrarray.storage.system.pread import PreadRows

Int64s = npt.NDArray[np.int64]

PAGE_NBYTES = mmap.PAGESIZE
# What Linux reads ahead on one advice may be as little as this; the rest it would not hear.
PIECE_NBYTES = 128 << 10
# Touching a page takes less than this if it is in memory, and more if it has to be fetched.
SLOW_NANOSECONDS = 40_000
# Touched to find out, before a batch: of half a batch on disk, one of four tells with 15 in 16.
N_TOUCHED = 4
# A batch of fewer ranges is read as it is.
MIN_RANGES = 8
# A disk that reads less ahead by itself can do with being told, also of what comes in order.
AHEAD_NBYTES = 2 << 20
# Fetched for one batch at the most: its first part is read before the last is needed.
BATCH_NBYTES = 64 << 20


class Source(NamedTuple):
    """The file that rows lie in, by byte of the first row on.

    Attributes
    ----------
    first_row, n_rows, row_nbytes : int
        Which rows of the store it has, and the bytes of one.
    first_byte : int
        Of the first row, counted from the start of a page.
    touch : callable
        Reads at a byte, counted from there.
    advise : callable
        Told of a first byte, at the start of a page, and a number of bytes.
    """

    first_row: int
    n_rows: int
    row_nbytes: int
    first_byte: int
    touch: Callable[[int], object]
    advise: Callable[[int, int], object]


def source_of(rows: Rows | PreadRows) -> Source | None:
    """Return the file that rows lie in, mapped or not; None if there is nothing to tell."""
    if not rows.nbytes:
        return None
    row_nbytes = rows.nbytes // len(rows)
    if isinstance(rows, PreadRows):
        return Source(0, len(rows), row_nbytes, rows.start_byte, rows.touch, rows.file.advise)
    root: Any = rows
    while isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root, np.memmap) or not hasattr(mmap, "MADV_WILLNEED"):
        return None
    mapped: Any = root.base
    # A memmap begins at its offset in a mapping that begins at a page.
    start = root.ctypes.data - root.offset % mmap.ALLOCATIONGRANULARITY
    first_byte = rows.ctypes.data - start

    def advise(start_byte: int, nbytes: int) -> None:
        mapped.madvise(mmap.MADV_WILLNEED, start_byte, nbytes)

    return Source(0, len(rows), row_nbytes, first_byte, mapped.__getitem__, advise)


def prefetch(
    sources: Iterable[Source], starts: Int64s, ends: Int64s, limit_nbytes: int = 0
) -> None:
    """Have the system fetch ranges of rows, without waiting for them.

    Parameters
    ----------
    sources : iterable of Source
        Where the rows lie.
    starts, ends : ndarray of int64
        Ranges of rows, in any order.
    limit_nbytes : int
        What is past so many bytes of a file, in its order, is left out.
    """
    for source in sources:
        first, last = (
            source.first_byte
            + source.row_nbytes * np.clip(rows - source.first_row, 0, source.n_rows)
            for rows in (starts, ends)
        )
        filled = first < last
        if filled.any():
            _prefetch_bytes(source, first[filled], last[filled], limit_nbytes)


def _prefetch_bytes(source: Source, first: Int64s, last: Int64s, limit_nbytes: int) -> None:
    pages = merge_runs(first // PAGE_NBYTES, -(-last // PAGE_NBYTES))
    n_left = limit_nbytes // PAGE_NBYTES if limit_nbytes else int((pages[1] - pages[0]).sum())
    for start, end in zip(*(column.tolist() for column in pages), strict=True):
        end = min(end, start + n_left)
        for at in range(start * PAGE_NBYTES, end * PAGE_NBYTES, PIECE_NBYTES):
            source.advise(at, min(PIECE_NBYTES, end * PAGE_NBYTES - at))
        n_left -= end - start
        if n_left <= 0:
            return


def prefetch_cold(sources: Sequence[Source], starts: Int64s, ends: Int64s) -> None:
    """`prefetch` a batch of ranges if some of them seem not to be in memory.

    Costs a few microseconds if they are.
    """
    if len(starts) < MIN_RANGES or (ends[:-1] == starts[1:]).all():  # one run is read in one go
        return
    sample = starts[:: -(-len(starts) // N_TOUCHED)].tolist()
    if any(is_cold(sources, start) for start in sample):
        prefetch(sources, starts, ends, BATCH_NBYTES)


def reads_little_ahead(path: str | Path) -> bool:
    """Tell whether reading from front to end gains from being told of what comes.

    Measured, cold: 1.4 times as fast where the disk reads 128 KiB ahead, which
    is Linux's default, and 0.7 times where it reads 8 MiB.
    """
    try:
        return files.read_ahead_nbytes(path) < AHEAD_NBYTES
    except OSError:  # removed meanwhile, which keeps nobody from reading what is open
        return False


def is_cold(sources: Iterable[Source], row: int) -> bool:
    """Tell by the time that touching a row takes whether it had to be fetched.

    A process that was interrupted meanwhile errs, which costs some advice and nothing else.
    """
    for source in sources:
        local = row - source.first_row
        if 0 <= local < source.n_rows:  # an empty array may lie at the very end
            before = perf_counter_ns()
            source.touch(source.first_byte + local * source.row_nbytes)
            if perf_counter_ns() - before > SLOW_NANOSECONDS:
                return True
    return False
