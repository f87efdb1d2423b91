"""Telling the system which rows will be read soon, so that it fetches many at a time.

Left alone, it fetches what is touched, one page fault or read after the other. Advice changes
nothing but the time; where a system takes none, no advice is given.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np

from ptrarray.rows.pointers import merge_runs
from ptrarray.rows.types import Int64s
from ptrarray.storage.system import files
from ptrarray.storage.system.pread import FileRows, PreadRows

PAGE_NBYTES = mmap.PAGESIZE
# What Linux reads ahead on one advice may be as little as this; the rest it would not hear.
PIECE_NBYTES = 128 << 10
# Touching a page takes less than this if it is in memory, and more if it has to be fetched.
SLOW_NANOSECONDS = 40_000
# Touched to find out, before a batch: of half a batch on disk, one of four tells with 15 in 16.
N_TOUCHED = 4
# A batch of fewer ranges is read as it is.
MIN_RANGES = 8
# A disk that reads less ahead by itself gains from advice, also about what comes in order.
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

    def pages(self, starts: Int64s, ends: Int64s) -> tuple[list[int], list[int]]:
        """Return starts and ends of the runs of pages that ranges of rows lie on."""
        first, last = (
            self.first_byte + self.row_nbytes * np.clip(rows - self.first_row, 0, self.n_rows)
            for rows in (starts, ends)
        )
        # An empty range lies on none: its end is put before its start.
        past = np.where(first < last, -(-last // PAGE_NBYTES), 0)
        firsts, pasts = merge_runs(first // PAGE_NBYTES, past)
        return firsts.tolist(), pasts.tolist()


def source_of(rows: FileRows) -> Source | None:
    """Return the file that rows lie in, mapped or not; None if there is nothing to tell."""
    if not rows.nbytes:
        return None
    row_nbytes = rows.nbytes // len(rows)
    if isinstance(rows, PreadRows):
        if rows.ahead_nbytes:  # what lies elsewhere is asked for at once, in any case
            return None
        file = rows.file
        touch = partial(file.pread, 1)
        return Source(0, len(rows), row_nbytes, rows.start_byte, touch, file.advise)
    root: Any = rows
    while isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root, np.memmap) or not hasattr(mmap, "MADV_WILLNEED"):
        return None
    mapped: Any = root.base
    # A memmap begins at its offset in a mapping that begins at a page.
    start = root.ctypes.data - root.offset % mmap.ALLOCATIONGRANULARITY
    advise = partial(mapped.madvise, mmap.MADV_WILLNEED)
    return Source(0, len(rows), row_nbytes, rows.ctypes.data - start, mapped.__getitem__, advise)


def prefetch(
    sources: Iterable[Source], starts: Int64s, ends: Int64s, limit_nbytes: int = sys.maxsize
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
        n_left = limit_nbytes // PAGE_NBYTES
        for start, end in zip(*source.pages(starts, ends), strict=True):
            end = min(end, start + n_left)
            n_left -= end - start
            for at in range(start * PAGE_NBYTES, end * PAGE_NBYTES, PIECE_NBYTES):
                source.advise(at, min(PIECE_NBYTES, end * PAGE_NBYTES - at))
            if n_left <= 0:
                break


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
    """Tell whether reading from front to end gains from advice about what comes.

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
