"""Rows: which belong to arrays, and which a living writer has claimed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Self

import numpy as np

from ptrarray.errors import OverlapError
from ptrarray.format.journal import POINT, PUT, Record
from ptrarray.pointers import Runs, iter_runs
from ptrarray.storage.files import Buffer, File
from ptrarray.storage.index import Index
from ptrarray.storage.lock import try_lock_range
from ptrarray.storage.snapshot import Snapshot


class Space:
    """Rows that some committed array has, or had before it was deleted.

    Made when a caller first chooses rows itself: memory grows with the number
    of runs, not of arrays.
    """

    def __init__(self, index: Index) -> None:
        self._runs = Runs()
        for starts, ends in iter_runs(index.starts, index.ends):
            self._runs.add(starts, ends)

    def note(self, records: Iterable[Record]) -> None:
        """Add the rows of arrays that were committed since."""
        for record in records:
            if record.kind in (PUT, POINT):
                self._runs.add(record.starts, record.ends)

    def may_belong(self, start: int, end: int) -> bool:
        """Tell whether any of these rows ever belonged to an array of this index or journal."""
        return start < end and self._runs.overlaps(start, end)


def belongs(snapshot: Snapshot, start: int, end: int) -> bool:
    """Tell whether any of these rows belongs to an array that is there. O(names)."""
    starts, ends = snapshot.starts, snapshot.ends
    return bool(np.any((starts < end) & (ends > start) & (starts < ends)))


class Claim:
    """Rows locked by an open file of their own.

    The lock goes with the file: after the writer's death, or `close`, the
    rows can be claimed again.

    Raises
    ------
    OverlapError
        If a living writer has claimed some of the rows.
    """

    def __init__(self, data_path: str, start: int, end: int, width: int, name: str) -> None:
        self.file = File(data_path, os.O_RDWR)
        self.start = start
        self.end = end
        self._width = width
        if not try_lock_range(self.file, start, end):
            self.file.close()
            raise OverlapError(
                f"rows {start} to {end} for {name!r:.80} in {data_path} are being written by "
                "another writer",
                path=data_path,
                name=name,
                start=start,
                end=end,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, buffers: list[Buffer]) -> None:
        """Write all of the rows."""
        self.file.pwritev(buffers, self.start * self._width)

    def allocate(self) -> None:
        """Have the disk set the rows aside, so that writing to a mapping cannot fail.

        Clears what a writer that failed there may have left.
        """
        start_byte, end_byte = self.start * self._width, self.end * self._width
        if start_byte < end_byte:
            used_end = min(self.file.stat().st_size, end_byte)
            self.file.write_zeros(start_byte, used_end - start_byte)
            self.file.allocate(start_byte, end_byte - start_byte)
