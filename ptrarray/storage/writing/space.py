"""Rows: which belong to arrays, and which a living writer has claimed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import numpy as np

from ptrarray.errors import OverlapError
from ptrarray.format.entries import Entries
from ptrarray.intake.batch import Batch
from ptrarray.rows.pointers import Runs, iter_runs
from ptrarray.storage.store.content import Content, clear
from ptrarray.storage.store.index import Index
from ptrarray.storage.store.snapshot import Snapshot
from ptrarray.storage.system.files import CHANGE, File
from ptrarray.storage.system.lock import try_lock_range


class Space:
    """Rows that some committed array has, or had before it was deleted.

    Made when a caller first chooses rows itself: memory grows with the number
    of runs, not of arrays.
    """

    def __init__(self, index: Index) -> None:
        self._runs = Runs()
        for starts, ends in iter_runs(index.starts, index.ends):
            self._runs.add(starts, ends)

    def note(self, records: Iterable[Entries]) -> None:
        """Add the rows of arrays that were committed since."""
        for entries in records:
            self._runs.add(entries.starts, entries.ends)

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

    `file` is that of another claim of this operation, for both to be held by one.

    Raises
    ------
    OverlapError
        If a living writer has claimed some of the rows.
    """

    def __init__(
        self, content: Content, start: int, end: int, name: str, file: File | None = None
    ) -> None:
        self.file = file or File(content.data.path, CHANGE)
        self.start = self.end = start
        self._content = content
        self.grow(end, name)

    def grow(self, end: int, name: str) -> None:
        """Claim the rows that follow, too."""
        start = self.end
        if not try_lock_range(self.file, start, end):
            self.file.close()
            raise OverlapError(
                f"rows {start} to {end} for {name!r:.80} in {self.file.path} are being written by "
                "another writer",
                path=self.file.path,
                name=name,
                start=start,
                end=end,
            )
        self.end = end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def release(self) -> None:
        """Let go of rows that are an array's by now, which keeps others off them. Under the lock.

        Who finds the array must not find its rows claimed: they may get another name, or be moved.
        """
        self.file.close()

    def write(self, batch: Batch, start: int) -> None:
        """Write the rows of a batch, and their masks, from a row on."""
        self._content.write(self.file, batch, start)

    def allocate(self) -> None:
        """Have the disk set the rows aside, and clear what a writer that failed there left."""
        width = self._content.layout.width
        clear(self.file, self.start * width, self.end * width)
        self._content.clear_masks(self.start, self.end)

    def check_can_be_mapped(self) -> None:
        """Raise `OSError` where the disk may be full for a mapping of rows that were set aside."""
        widths = sum(width for _, width in self._content.files)
        self.file.check_can_be_mapped((self.end - self.start) * widths)
