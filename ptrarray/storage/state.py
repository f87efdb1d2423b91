"""A snapshot together with its rows: what an open reader stands on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Never

import numpy as np
import numpy.typing as npt

from ptrarray.errors import ClosedStoreError
from ptrarray.format.index import corrupt
from ptrarray.storage.index import index_inode
from ptrarray.storage.mapping import Mode, Rows, map_rows
from ptrarray.storage.pread import head, open_rows
from ptrarray.storage.snapshot import Snapshot, open_snapshot

Int64s = npt.NDArray[np.int64]


class State:
    """A snapshot and the rows it points to; replaced as one, never changed.

    Attributes
    ----------
    snapshot : Snapshot
        Names and pointers.
    rows : ndarray, shape (n_rows, *row_shape)
        The flat array, mapped, or a `PreadRows` in its place.
    """

    def __init__(self, snapshot: Snapshot, mapped: Rows) -> None:
        self.snapshot = snapshot
        self.mapped = mapped  # may be longer: another process has gone on
        self.rows = head(mapped, snapshot.n_rows)
        self._columns: tuple[Int64s, Int64s] | None = None

    def columns(self) -> tuple[Int64s, Int64s]:
        """Return starts and ends of all arrays, made sure once to lie in the flat array.

        Empty arrays, which may lie past its end, are put there.
        """
        if self._columns is None:
            self.snapshot.check_pointers()
            starts, ends = self.snapshot.starts, self.snapshot.ends
            if (ends > len(self.rows)).any():
                starts, ends = (np.minimum(column, len(self.rows)) for column in (starts, ends))
            self._columns = starts, ends
        return self._columns


class Closed:
    """Takes the place of the state of a reader or writer that was closed."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Never:
        raise ClosedStoreError(f"{self._path} was closed here: open it again", path=self._path)


def load(snapshot: Snapshot, mode: Mode, previous: State | Closed | None = None) -> State:
    """Map the rows of a snapshot, or go on with the mapping of the previous state.

    Takes a later snapshot where the data file was replaced meanwhile.
    """
    while True:
        header = snapshot.header
        if isinstance(previous, State) and _can_go_on(previous, snapshot):
            return State(snapshot, previous.mapped)
        try:
            layout = snapshot.data_path, header.dtype, header.row_shape, snapshot.n_rows
            is_mapped = snapshot.index.backend == "mmap"
            return State(snapshot, map_rows(*layout, mode) if is_mapped else open_rows(*layout))
        except FileNotFoundError as error:
            if index_inode(snapshot.index.path) == snapshot.index.inode:
                raise corrupt(snapshot.data_path, "is missing") from error
            snapshot = open_snapshot(snapshot.directory, snapshot.index.backend)


def _can_go_on(previous: State, snapshot: Snapshot) -> bool:
    old, new = previous.snapshot.header, snapshot.header
    is_same_file = (old.store_id, old.data_file) == (new.store_id, new.data_file)
    return is_same_file and snapshot.n_rows <= len(previous.mapped)


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path that stays right when the working directory changes."""
    text: Any = os.fspath(path)
    return Path(os.path.abspath(os.fsdecode(text)))  # noqa: PTH100
