"""A file that lies elsewhere as memory, in which only those blocks are that were asked for."""

from __future__ import annotations

import mmap
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Any

import numpy as np

from ptrarray.errors import RemoteError
from ptrarray.format.index import COLUMN_LIMIT_NBYTES, corrupt
from ptrarray.rows.types import Int64s
from ptrarray.storage.remote.file import HEAD_NBYTES, RemoteFile
from ptrarray.storage.remote.objects import BLOCK_NBYTES

# What no index or catalog can have: each column up to its limit. There is memory for each block, and
# a server may say that it has any number.
_LIMIT_NBYTES = 16 * COLUMN_LIMIT_NBYTES
# What is read one block after the other is asked for ahead: twice as much each time, up to this.
AHEAD_NBYTES = 8 << 20

# Reads from front to end that are remembered at once, and runs of one call that may be part of one.
_STREAMS = 16

Run = tuple[int, int]  # blocks that follow each other, the second one not among them


class SparseBytes:
    """The bytes of a file that lies elsewhere, as a buffer that has some of its blocks.

    Threads may share it: two that need the same block at once may both read it.

    Parameters
    ----------
    file : RemoteFile
        The file, or the part of one.

    Attributes
    ----------
    memory : memoryview
        As many bytes as the file has. Those that were not needed yet are zeros.
    ends : sequence of int
        Rising bytes beyond which nothing is read ahead from before them.
    """

    def __init__(self, file: RemoteFile) -> None:
        self.file, self.nbytes = file, file.nbytes
        if self.nbytes > _LIMIT_NBYTES:
            raise corrupt(file.path, f"has {self.nbytes} bytes, which is more than an index can")
        file.keep()
        self.ends: Sequence[int] = [self.nbytes]
        self._room = _memory(self.nbytes, file.path)
        self.memory = self._room.toreadonly()
        self._size = BLOCK_NBYTES
        # The same twice: for one block a look at bytes is faster, for many an array is.
        self._is_there = bytearray(-(-self.nbytes // self._size))
        self._there = np.frombuffer(self._is_there, np.bool_)
        self._streams: dict[int, int] = {}  # the block that comes next, and how many came last
        self._lock = Lock()
        self._take_head()

    def _take_head(self) -> None:
        """Take over what came of the file when it was opened."""
        head = self.file.pread(min(HEAD_NBYTES, self.file.n_here), 0)
        self._room[: len(head)] = head
        n_whole = len(head) // self._size if len(head) < self.nbytes else len(self._is_there)
        self._there[:n_whole] = True

    def __len__(self) -> int:
        return self.nbytes

    def __getitem__(self, key: slice) -> memoryview:
        """Return some bytes that follow each other."""
        start, end, _ = key.indices(self.nbytes)
        self.need([(start, end)])
        return self.memory[start:end]

    def has(self, start: int, end: int) -> bool:
        """Tell whether a range of bytes is in memory."""
        return (
            start >= end or self._is_there.find(0, start // self._size, -(-end // self._size)) < 0
        )

    def need(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Have a few ranges of bytes in memory; all that is missing is asked for at once."""
        size, runs = self._size, []
        for start, end in ranges:
            first, past = start // size, -(-end // size)
            if start < end and self._is_there.find(0, first, past) >= 0:
                runs.append((first, past))
        if runs:
            columns = np.array(runs, np.int64).T
            self._fetch(self._missing(*columns))

    def need_all(self, starts: Int64s, ends: Int64s) -> None:
        """Have many ranges of bytes in memory; all that is missing is asked for at once."""
        some = starts < ends
        firsts, pasts = starts[some] // self._size, -(-ends[some] // self._size)
        is_short = bool((pasts - firsts <= 2).all())
        if is_short and self._there[firsts].all() and self._there[pasts - 1].all():
            return
        runs = self._missing(firsts, pasts)
        if runs:
            self._fetch(runs)

    def _missing(self, firsts: Int64s, pasts: Int64s) -> list[Run]:
        """Return the runs of blocks that are not here of some, with what little is between them."""
        is_edge = np.zeros(len(self._there) + 1, np.int64)
        np.add.at(is_edge, firsts, 1)
        np.subtract.at(is_edge, pasts, 1)
        blocks = np.flatnonzero((np.cumsum(is_edge[:-1]) > 0) & ~self._there)
        if not len(blocks):
            return []
        gap = 1 + max(self.file.gap_nbytes // self._size, 0)
        last = np.flatnonzero(np.diff(blocks) > gap)
        starts, stops = blocks[[0, *(last + 1)]], blocks[[*last, len(blocks) - 1]] + 1
        return list(zip(starts.tolist(), stops.tolist(), strict=True))

    def _fetch(self, runs: list[Run]) -> None:
        if len(runs) <= _STREAMS:
            runs = [self._with_next(*run) for run in runs]
        asked = []
        for first, past in runs:
            start, end = first * self._size, min(past * self._size, self.nbytes)
            asked.append((self._room[start:end], self.file.start_byte + start))
        n_asked = sum(len(buffer) for buffer, _ in asked)
        n_read = self.file.preadv_all(asked)
        if n_read < n_asked:
            what = f"{n_read} bytes of {n_asked} came: it ends before {self.nbytes} bytes"
            raise RemoteError(f"{self.file.path} cannot be read: {what}", path=self.file.path)
        for first, past in runs:
            self._there[first:past] = True

    def _with_next(self, first: int, past: int) -> Run:
        """Add what will be needed next to a run, if it goes on where one before ended."""
        with self._lock:
            n_before = self._streams.pop(first, 0)
            limit = bisect_right(self.ends, first * self._size)
            end_byte = self.ends[limit] if limit < len(self.ends) else self.nbytes
            n_ahead = min(2 * n_before, AHEAD_NBYTES // self._size)
            past = max(past, min(first + n_ahead, -(-end_byte // self._size)))
            while len(self._streams) >= _STREAMS:
                del self._streams[next(iter(self._streams))]
            self._streams[past] = past - first
        return first, past


def _memory(nbytes: int, path: str) -> memoryview:
    """Return so many zeros, of which those take memory that are written to."""
    # Not a promise of the system to have them, where it makes any.
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    try:
        mapped: Any = mmap.mmap(-1, max(nbytes, 1), flags)
    except (OSError, OverflowError, ValueError) as error:
        what = f"there is no room in memory for {nbytes} bytes of it ({error})"
        raise RemoteError(f"{path} cannot be read: {what}", path=path) from error
    return memoryview(mapped)[:nbytes]
