"""A store that is held open as it is now, of which no more was read than its headers.

Of many stores that are open at once, a reader asks few at a time. What is held stays as it is,
whatever others do to the files, and becomes a `StoreSnapshot` or an `OpenedStore` when that is
first needed. Only where the journal has no records: a store that has some is read at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ptrarray.errors import CorruptStoreError
from ptrarray.format import index as index_format
from ptrarray.format import journal as journal_format
from ptrarray.format.index import Glance
from ptrarray.rows.types import Array
from ptrarray.storage.store import journal
from ptrarray.storage.store.index import FILE_NAME as INDEX_FILE
from ptrarray.storage.store.index import HeldIndex, Index
from ptrarray.storage.store.opened import Mapped, OpenedStore, load
from ptrarray.storage.store.overlay import Overlay
from ptrarray.storage.store.snapshot import StoreSnapshot, open_snapshot
from ptrarray.storage.system import files
from ptrarray.storage.system.mapping import Backend, Mode, held_bytes, hold_file
from ptrarray.storage.system.mapping import Held as HeldFile

_HEAD_NBYTES = 4096  # in which the header of an index has to end; attrs may make it longer
_NOTHING: Mapping[bytes, int] = MappingProxyType({})


class Held:
    """A store without records in its journal, with its index mapped; as `StoreSnapshot`.

    `hold` looks at the index alone, `refreshed` at the journal: if the first call of that returns
    this object, the store was what the index says from before until after `hold`, and still is.

    Attributes
    ----------
    header : Glance
        What the index says of itself.
    n_rows : int
        Rows of the flat array.
    """

    __slots__ = ("_index", "_live", "_path", "_whole", "asked_backend", "header", "n_rows")
    backend: Backend = "mmap"
    entries = _NOTHING  # of an overlay
    is_in_order = True  # without one

    def __init__(
        self, path: str, header: Glance, index: HeldIndex, backend: Backend | None
    ) -> None:
        self._path, self._index = path, index
        self._live: bytes | None = None  # of the journal, once that was looked at
        self._whole: StoreSnapshot | None = None
        self.asked_backend = backend
        self.header = header
        self.n_rows = header.n_rows

    @property
    def directory(self) -> Path:
        """The store."""
        return Path(self._path)

    @property
    def attrs(self) -> dict[str, Any]:
        """The user's attrs."""
        return self.header.attrs

    @property
    def version(self) -> tuple[int, ...]:
        """As that of `StoreSnapshot`."""
        return self.header.generation, journal_format.RECORDS_START

    @property
    def has_metas(self) -> bool:
        """Whether any array may have metadata."""
        return self.header.has_metas

    def __len__(self) -> int:
        return self.header.n_arrays

    @property
    def slots(self) -> memoryview:
        """The name table, two numbers a slot."""
        return self.complete().slots

    @property
    def n_homes(self) -> int:
        """Home slots of that."""
        return self.complete().n_homes

    def locate_file(self, name: str) -> tuple[str, None]:
        """Return the path of a file of the store."""
        return f"{self._path}/{name}", None

    def complete(self) -> StoreSnapshot:
        """Return the same as a `StoreSnapshot`; made once.

        Raises
        ------
        CorruptStoreError
            If what was not read yet is damaged.
        """
        if self._whole is None:
            index = Index(self.directory, backend=self.asked_backend, held=self._index)
            overlay = Overlay(index, journal_format.RECORDS_START)
            self._whole = StoreSnapshot(self.directory, index, overlay)
        return self._whole

    def refreshed(self) -> Held | StoreSnapshot:
        """Return what the store is now; itself if nothing changed."""
        try:
            raw = files.head(f"{self._path}/{journal.FILE_NAME}", journal_format.RECORDS_START)
        except OSError as error:
            files.check_system(error)
            raw = b""
        if self._live is None:
            return self._begun(raw)
        if raw[: journal_format.LIVE_NBYTES] == self._live:
            return self
        found = self.complete().refreshed()
        return self if found is self._whole else found

    def _begun(self, raw: bytes) -> Held | StoreSnapshot:
        """Return what the store is by the head of its journal, which was not looked at before."""
        # In one generation, records are only added. So where there are none, there were none.
        if not journal_format.is_at_rest(raw, self.header.store_id, self.header.generation):
            return open_snapshot(self.directory, self.asked_backend)
        self._live = raw[: journal_format.LIVE_NBYTES]
        return self


class HeldRows:
    """A store that is held with its files mapped; as `OpenedStore`.

    Attributes
    ----------
    snapshot : Held
        Names and pointers.
    """

    __slots__ = ("_data", "_mode", "_whole", "snapshot")

    def __init__(self, snapshot: Held, data: HeldFile, mode: Mode) -> None:
        self.snapshot, self._data, self._mode = snapshot, data, mode
        self._whole: OpenedStore | None = None

    @property
    def data(self) -> Array:
        """The flat array."""
        layout = self.snapshot.header.layout
        raw = held_bytes(self._data, self._mode)
        return raw.view(layout.dtype).reshape(self.snapshot.n_rows, *layout.row_shape)

    def complete(self) -> OpenedStore:
        """Return the same as an `OpenedStore`; made once."""
        if self._whole is None:
            mapped = Mapped(self.data, None, self._data.identity, is_written=False)
            self._whole = OpenedStore(self.snapshot.complete(), mapped)
        return self._whole


def hold(path: str, backend: Backend | None) -> Held | None:
    """Hold a store as its index says; None where that takes more than a look, or something is wrong.

    Whoever is answered None has to open it as any store, and others have to ask for what it is by
    its journal, too: `Held.refreshed`.
    """
    file = hold_file(f"{path}/{INDEX_FILE}", n_head=_HEAD_NBYTES) if backend != "pread" else None
    if file is None:
        return None
    try:
        header = index_format.glance(file.head, file.path, file.nbytes)
    except (CorruptStoreError, *index_format.SENSELESS):
        return None
    return Held(path, header, HeldIndex(file.path, file.identity, file.mapped), backend)


def hold_rows(
    snapshot: Held | StoreSnapshot, mode: Mode, known: HeldRows | OpenedStore | None
) -> HeldRows | OpenedStore:
    """Map the rows of a store, or go on with what was mapped before; as `load`."""
    if known is not None and known.snapshot is snapshot:
        return known
    if isinstance(snapshot, Held) and mode != "r+":
        layout, (path, _) = snapshot.header.layout, snapshot.locate_file(snapshot.header.data_file)
        nbytes = snapshot.n_rows * layout.width
        file = hold_file(path, mode, nbytes=nbytes) if nbytes and not layout.masked else None
        if file is not None:
            return HeldRows(snapshot, file, mode)
    return load(snapshot.complete(), mode, None if known is None else known.complete())
