"""A snapshot together with its rows: what an open reader stands on."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Never

import numpy as np

from ptrarray.errors import ClosedStoreError
from ptrarray.format import infos
from ptrarray.format.checksum import crc32
from ptrarray.format.index import corrupt
from ptrarray.format.layouts import MIXED
from ptrarray.rows.masked import with_mask
from ptrarray.rows.types import AnyRows, Array, Int64s
from ptrarray.storage.store.index import index_inode
from ptrarray.storage.store.snapshot import Snapshot, open_snapshot
from ptrarray.storage.system import files
from ptrarray.storage.system.advice import Source, source_of
from ptrarray.storage.system.mapping import Mode, map_rows
from ptrarray.storage.system.parts import why_not
from ptrarray.storage.system.pread import FileRows, checksum_of, open_rows, viewed


class Mapped(NamedTuple):
    """The files of a store as memory."""

    data: FileRows
    mask: FileRows | None
    inode: int  # of the data file


class State:
    """A snapshot and the rows it points to; replaced as one, never changed.

    Attributes
    ----------
    snapshot : Snapshot
        Names and pointers.
    layout : Layout
        What its arrays are made of.
    is_plain : bool
        Whether an array is nothing but a slice of `rows`.
    data : ndarray, shape (n_rows, *row_shape)
        The flat array, mapped, without its mask; a `PreadRows` with the backend ``pread``.
    mask : ndarray of uint8 or None
        Bytes of the mask file, the same.
    """

    def __init__(self, snapshot: Snapshot, mapped: Mapped) -> None:
        self.snapshot = snapshot
        self.layout = snapshot.header.layout
        self.is_plain = self.layout.is_plain
        self.mapped = mapped  # may be longer: another process has gone on
        shape = (snapshot.n_rows, *self.layout.row_shape)
        self.data = viewed(mapped.data, self.layout.dtype, shape)
        self.mask = mapped.mask
        self.rows = self._rows()
        self._columns: tuple[Int64s, Int64s] | None = None

    def _rows(self) -> AnyRows:
        """Return the flat array; masked where each element has a mask of its own."""
        if self.mask is None or self.layout.kind == MIXED:
            return self.data
        return with_mask(*self.parts())

    def parts(self) -> tuple[FileRows, FileRows]:
        """Return data and mask of the flat array, in a store with masks that is not mixed."""
        assert self.mask is not None
        return self.data, viewed(self.mask, self.layout.mask_dtype, self.data.shape)

    def array_at(self, place: int) -> Array:
        """Return the array that a snapshot has located, a view."""
        start, end = self.snapshot.pointer_at(place)
        if self.is_plain:
            return self.data[start:end]
        info = self.snapshot.info_at(place)
        try:
            mask = self._mask(start, end, info)
            array: Array = infos.view(self.layout, self.data[start:end], mask, info)
        except ValueError as error:
            path = self.snapshot.index.path
            raise corrupt(path, f"has for rows {start} to {end} {error}") from error
        return array

    def _mask(self, start: int, end: int, info: bytes) -> Array | None:
        if self.mask is None:
            return None
        first = start * self.layout.mask_width
        return self.mask[first : first + infos.mask_nbytes(self.layout, end - start, info)]

    def crc(self, start: int, end: int, position: int) -> int:
        """CRC-32 of the rows of the array at a position, and of its mask."""
        crc = self._checksum(start, end)
        if self.mask is None:
            return crc
        info = self.snapshot.info_at(self.snapshot.located(position))
        mask = self._mask(start, end, info)
        assert mask is not None
        return crc32(mask, crc)

    @cached_property
    def sources(self) -> list[Source]:
        """The files that arrays are read from, to tell the system what comes."""
        data = source_of(self.data)
        mask = None if self.mask is None else source_of(self.mask)
        if mask is not None:  # counted in rows of the data, too
            mask = mask._replace(n_rows=len(self.data), row_nbytes=self.layout.mask_width)
        return [source for source in (data, mask) if source is not None]

    @cached_property
    def _checksum(self) -> Callable[[int, int], int]:
        return checksum_of(self.data)

    def columns(self) -> tuple[Int64s, Int64s]:
        """Return starts and ends of all arrays, made sure once to lie in the flat array.

        Empty arrays, which may lie past its end, are put there.
        """
        if self._columns is None:
            self.snapshot.check_pointers()
            starts, ends = self.snapshot.starts, self.snapshot.ends
            if (ends > len(self.data)).any():
                starts, ends = (np.minimum(column, len(self.data)) for column in (starts, ends))
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
        if isinstance(previous, State) and _can_go_on(previous, snapshot):
            return State(snapshot, previous.mapped)
        is_packed = snapshot.index.pack is not None
        if is_packed and mode == "r+":
            raise why_not(snapshot.directory)
        try:
            mapped = _map(snapshot, mode)
            if not is_packed or _is_in_place(snapshot):
                return State(snapshot, mapped)
        except FileNotFoundError as error:
            if _is_in_place(snapshot):
                raise corrupt(str(error.filename), "is missing") from error
        snapshot = open_snapshot(snapshot.directory, snapshot.index.backend)


def _is_in_place(snapshot: Snapshot) -> bool:
    return index_inode(snapshot.index.path) == snapshot.index.inode


def _map(snapshot: Snapshot, mode: Mode) -> Mapped:
    layout, n_rows = snapshot.header.layout, snapshot.n_rows
    opened = partial(map_rows, mode=mode) if snapshot.index.backend == "mmap" else open_rows
    path, span = snapshot.place_of(snapshot.header.data_file)
    inode = files.stat(path).st_ino
    data = opened(path, layout.dtype, layout.row_shape, n_rows, span=span)
    mask = None
    if snapshot.header.mask_file is not None:
        path, span = snapshot.place_of(snapshot.header.mask_file)
        mask = opened(path, np.dtype(np.uint8), (), n_rows * layout.mask_width, span=span)
    return Mapped(data, mask, inode)


def _can_go_on(previous: State, snapshot: Snapshot) -> bool:
    if snapshot is previous.snapshot:
        return True
    old, new = previous.snapshot.header, snapshot.header
    is_same_file = (old.store_id, old.data_file) == (new.store_id, new.data_file)
    if not is_same_file or snapshot.n_rows > len(previous.mapped.data):
        return False
    # A store that was copied, or unpacked twice, has the same id as the other.
    with suppress(FileNotFoundError):
        return files.stat(snapshot.data_path).st_ino == previous.mapped.inode
    return False


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path that stays right when the working directory changes."""
    text: Any = os.fspath(path)
    return Path(os.path.abspath(os.fsdecode(text)))  # noqa: PTH100
