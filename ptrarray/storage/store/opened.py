"""A snapshot together with its rows: what an open reader stands on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Never, Protocol

import numpy as np

from ptrarray.errors import ClosedStoreError, CorruptStoreError
from ptrarray.format import infos
from ptrarray.format.checksum import crc32
from ptrarray.format.index import corrupt
from ptrarray.format.layouts import MIXED, Layout
from ptrarray.native import Finder
from ptrarray.rows.masked import with_mask
from ptrarray.rows.ragged import Ragged
from ptrarray.rows.types import AnyRows, Array, Int64s
from ptrarray.storage.remote.file import RemoteFile
from ptrarray.storage.remote.paths import RemotePath
from ptrarray.storage.store.absent import sealed_error
from ptrarray.storage.store.compared import (
    Batch,
    check_in_place,
    clipped,
    compare,
    crcs_of_batch,
    in_batches,
    read_all,
    some_in_batches,
)
from ptrarray.storage.store.overlay import Laid, Overlay
from ptrarray.storage.store.snapshot import Snapshot, StoreSnapshot, open_snapshot
from ptrarray.storage.system import files
from ptrarray.storage.system.advice import Source, source_of
from ptrarray.storage.system.files import AnyIdentity
from ptrarray.storage.system.mapping import (
    CannotMapError,
    Mode,
    check_whole,
    hold_while_mapped,
    map_rows,
)
from ptrarray.storage.system.parts import why_not
from ptrarray.storage.system.pread import (
    FileRows,
    PreadRows,
    checksum_of,
    open_rows,
    rows_later,
    viewed,
)

# Of an index that lies elsewhere, less than one of so many pointers is asked for one by one.
_PART = 64


class Mapped(NamedTuple):
    """The files of a store as memory."""

    data: FileRows
    mask: FileRows | None
    identity: AnyIdentity | None  # of the data file, if it may be gone on with
    is_written: bool  # whether it is known to have been open for writing before


class Opened(Protocol):
    """A snapshot and the rows it points to: what an open reader stands on.

    Replaced as one, never changed. Of one store or of several that are read as one.

    Attributes
    ----------
    limit_nbytes : int or None
        Bytes that each of the stores has at the most; None where there is no limit.
    layout : Layout
        What the arrays are made of.
    is_plain : bool
        Whether an array is nothing but a slice of `rows`.
    is_compared : bool
        Whether each array that comes whole is compared with its checksum: of what lies elsewhere.
    """

    limit_nbytes: int | None
    layout: Layout
    is_plain: bool
    is_compared: bool

    @property
    def rows(self) -> AnyRows:
        """The flat array, masked where each element has a mask of its own."""

    @property
    def get(self) -> Callable[[str], Array | None] | None:
        """Gives the array of a name, a view, or None where the snapshot has to tell; if there is it.

        By the native core, where arrays are slices of a mapping.
        """

    @property
    def finder(self) -> Finder | None:
        """The same for arrays by position, where nothing is laid over the index."""

    @property
    def data(self) -> AnyRows:
        """The flat array without its mask, shape ``(n_rows, *row_shape)``."""

    @property
    def snapshot(self) -> Snapshot:
        """Names and pointers."""

    @property
    def stores(self) -> Sequence[OpenedStore]:
        """The stores that it consists of, each opened."""

    def parts(self) -> tuple[Any, Any]:
        """Return data and mask of the flat array, in a store with masks that is not mixed."""

    def array_at(self, address: int) -> Array:
        """Return the array at an address of the snapshot, a view."""

    def holding(self, address: int) -> tuple[OpenedStore, int]:
        """Return which of the stores has what is at an address, and its address there."""

    def addresses_of(self, names: Sequence[bytes]) -> Iterable[int]:
        """Return the address of each of some names that the snapshot has found."""

    def arrays_at(self, addresses: Sequence[int]) -> list[Array]:
        """Return the arrays at some addresses: of what lies elsewhere, read in one go."""

    def compare(self, addresses: Iterable[int], batch: Ragged) -> None:
        """Raise `CorruptStoreError` if what was copied of some arrays is not what it has to be.

        Looks at what `is_compared` and of which an array is rows.
        """

    def in_batches(self, addresses: Int64s | None = None) -> Iterator[Batch]:
        """Yield all arrays in data order, or those at some addresses, some at a time.

        Of what `is_compared`.
        """

    def columns(self) -> tuple[Int64s, Int64s]:
        """Return starts and ends of all arrays, checked to lie in the flat array.

        Empty arrays, which may lie past its end, are put there.
        """

    def columns_at(self, index: Any) -> tuple[Int64s, Int64s]:
        """Return what `columns` have at an index as numpy takes it: a slice, positions or a mask."""

    @property
    def sources(self) -> list[Source]:
        """The files that arrays are read from, for advice on what comes."""

    def refreshed(self, mode: Mode) -> Opened:
        """Return what the store is now; itself if nothing changed."""


class OpenedStore:
    """A snapshot of one store and its rows, as `Opened`.

    Attributes
    ----------
    mapped : Mapped
        The files, which may have more rows by now: another process has gone on.
    data : ndarray, shape (n_rows, *row_shape)
        The flat array, mapped, without its mask; a `PreadRows` with the backend ``pread``.
    mask : ndarray of uint8 or None
        Bytes of the mask file, the same.
    """

    limit_nbytes: int | None = None

    def __init__(self, snapshot: StoreSnapshot, mapped: Mapped) -> None:
        self.snapshot = snapshot
        self.layout = snapshot.header.layout
        self.is_compared = isinstance(snapshot.directory, RemotePath)
        self.is_plain = self.layout.is_plain and not self.is_compared
        self.mapped = mapped
        shape = (snapshot.n_rows, *self.layout.row_shape)
        self.data = viewed(mapped.data, self.layout.dtype, shape)
        self.mask = mapped.mask
        self.rows = self._rows()
        finder = snapshot.index.finder(self.data) if self.is_plain else None
        overlay = snapshot.overlay
        # Neither has a reference to this object, which would keep the mapping.
        self.get = None if finder is None else _beside(overlay, finder, self.data)
        self.finder = None if overlay.entries else finder
        self._columns: tuple[Int64s, Int64s] | None = None

    @property
    def stores(self) -> tuple[OpenedStore, ...]:
        """The store itself."""
        return (self,)

    def complete(self) -> OpenedStore:
        """Return the store itself, which was not only held."""
        return self

    def _rows(self) -> AnyRows:
        """Return the flat array; masked where each element has a mask of its own."""
        if self.mask is None or self.layout.kind == MIXED:
            return self.data
        return with_mask(*self.parts())

    def parts(self) -> tuple[FileRows, FileRows]:
        """Return data and mask of the flat array, in a store with masks that is not mixed."""
        assert self.mask is not None
        return self.data, viewed(self.mask, self.layout.mask_dtype, self.data.shape)

    def addresses_of(self, names: Sequence[bytes]) -> Iterable[int]:
        """Return the address of each of some names that the snapshot has found."""
        entries = list(map(self.snapshot.entries.get, names))
        left = [name for name, entry in zip(names, entries, strict=True) if entry is None]
        positions = iter(self.snapshot.index.find_all(left).tolist() if left else ())
        return [next(positions) if entry is None else ~entry for entry in entries]

    def batch(self, addresses: Int64s) -> Batch:
        """Return some arrays to be read in one go."""
        return Batch(self.snapshot, self.data, self.mask, addresses)

    def in_batches(self, addresses: Int64s | None = None) -> Iterator[Batch]:
        """Yield all arrays in data order, or those at some addresses, some at a time."""
        if addresses is not None:
            return some_in_batches(self.snapshot, self.data, self.mask, addresses)
        starts, ends = self.columns()
        return in_batches(self.snapshot, self.data, self.mask, ends - starts)

    def arrays_at(self, addresses: Sequence[int]) -> list[Array]:
        """Return the arrays at some addresses: of what lies elsewhere, read in one go."""
        if not self.is_compared:
            return list(map(self.array_at, addresses))
        return read_all(self.data, [self.batch(np.array(addresses, np.int64))])[0]

    def compare(self, addresses: Iterable[int], batch: Ragged) -> None:
        """Raise `CorruptStoreError` if what was copied of some arrays is not what it has to be."""
        compare(self.snapshot, np.fromiter(addresses, np.int64), crcs_of_batch(batch))

    def holding(self, address: int) -> tuple[OpenedStore, int]:
        """Return the store itself, and an address as it is."""
        return self, address

    def array_at(self, address: int) -> Array:
        """Return the array at an address of the snapshot, a view."""
        if self.is_compared:
            return self.arrays_at([address])[0]
        start, end = self.snapshot.pointer_at(address)
        if self.is_plain:
            return self.data[start:end]
        info = self.snapshot.info_at(address)
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
        mask: Array = infos.mask_of(self.layout, self.mask, start, end, info)
        return mask

    @property
    def lacks_masks(self) -> bool:
        """Whether the mask file has only masks that lie end to end, or had when it was mapped."""
        layout = self.layout
        n_bytes = layout.mask_start + self.snapshot.n_rows * layout.mask_width
        return self.mask is not None and len(self.mask) < n_bytes

    def crc(self, start: int, end: int, position: int) -> int:
        """CRC-32 of the rows of the array at a position, and of its mask."""
        crc = self._checksum(start, end)
        if self.mask is None:
            return crc
        info = self.snapshot.info_at(self.snapshot.locate_position(position))
        mask = self._mask(start, end, info)
        assert mask is not None
        return crc32(mask, crc)

    def check_whole(self) -> None:
        """Raise `CorruptStoreError` if a file that is mapped was cut short since it was opened."""
        self.snapshot.index.check_whole()
        for rows in (self.data, self.mask):
            if isinstance(rows, np.ndarray):
                check_whole(rows)

    @cached_property
    def sources(self) -> list[Source]:
        """The files that arrays are read from, for advice on what comes."""
        data = source_of(self.data)
        mask = None if self.mask is None else source_of(self.mask)
        if self.layout.packed_masks is not None:
            mask = None  # they are few, and not where the rows are
        if mask is not None:  # counted in rows of the data, too
            mask = mask._replace(n_rows=len(self.data), row_nbytes=self.layout.mask_width)
        return [source for source in (data, mask) if source is not None]

    @cached_property
    def _checksum(self) -> Callable[[int, int], int]:
        return checksum_of(self.data)

    def columns(self) -> tuple[Int64s, Int64s]:
        """Return starts and ends of all arrays, checked once to lie in the flat array."""
        if self._columns is None:
            last = self.snapshot.check_pointers()
            starts, ends = self.snapshot.starts, self.snapshot.ends
            if last > len(self.data):  # of an empty array
                starts, ends = (np.minimum(column, len(self.data)) for column in (starts, ends))
            self._columns = starts, ends
        return self._columns

    def columns_at(self, index: Any) -> tuple[Int64s, Int64s]:
        """Return what `columns` have at an index as numpy takes it: a slice, positions or a mask."""
        snapshot, n_arrays = self.snapshot, len(self.snapshot)
        if snapshot.index.is_partial and self._columns is None:
            positions = np.arange(n_arrays)[index]
            if len(positions) * _PART < n_arrays:
                located = map(snapshot.locate_position, positions.tolist())
                addresses = np.fromiter(located, np.int64, len(positions))
                return clipped(snapshot.pointers_at(addresses), len(self.data))
        starts, ends = self.columns()
        return starts[index], ends[index]

    def refreshed(self, mode: Mode) -> OpenedStore:
        """Return what the store is now; itself if nothing changed."""
        snapshot = self.snapshot.refreshed()
        if self.is_compared and snapshot is self.snapshot and not self.is_in_place():
            snapshot = open_snapshot(snapshot.directory, snapshot.asked_backend)
        return load(snapshot, mode, self)

    def is_in_place(self) -> bool:
        """Tell whether files that lie elsewhere are still those that were opened."""
        rows = (self.mapped.data, self.mapped.mask)
        files = [one.file for one in rows if isinstance(one, PreadRows)]
        return all(one.is_in_place() for one in files if isinstance(one, RemoteFile))


def _beside(overlay: Overlay, finder: Finder, rows: Any) -> Callable[[str], Array | None]:
    """Return what gives the array of a name, or None where the snapshot has to tell."""
    if overlay.few is None:
        return _beside_many(overlay.laid, finder, rows)
    overlaid = overlay.few.entries

    def get(name: str) -> Array | None:
        try:
            return None if name.encode() in overlaid else finder.get(name)
        except UnicodeEncodeError:
            return None

    return get if overlaid else finder.get


def _beside_many(laid: Laid, finder: Finder, rows: Any) -> Callable[[str], Array | None]:
    n_rows = len(rows)

    def get(name: str) -> Array | None:
        try:
            encoded = name.encode()
        except UnicodeEncodeError:
            return None
        runs, fresh = laid.parts
        if encoded in fresh.entries:
            return None
        for run in reversed(runs):
            at = run.find(encoded)
            if at >= 0:
                start, end = run.starts[at], run.ends[at]
                return rows[start:end] if 0 <= start <= end <= n_rows else None
        return finder.get(name)

    return get


class Closed:
    """Stands in for what a reader had open before it was closed, and refuses everything."""

    def __init__(self, path: str) -> None:
        self._path = path

    def _refuse(self) -> Never:
        raise ClosedStoreError(f"{self._path} was closed here: open it again", path=self._path)

    # Properties that raise cost a reader that is open nothing, unlike a look before each call.
    snapshot = stores = limit_nbytes = layout = is_plain = property(_refuse)
    get = finder = data = rows = parts = array_at = columns = sources = refreshed = property(
        _refuse
    )
    is_compared = holding = addresses_of = arrays_at = compare = in_batches = columns_at = property(
        _refuse
    )


def load(snapshot: StoreSnapshot, mode: Mode, previous: Opened | None = None) -> OpenedStore:
    """Map the rows of a snapshot, or go on with what was mapped before for the same store.

    Takes a later snapshot where the data file was replaced meanwhile.
    """
    known = previous.stores[0] if previous else None
    while True:
        if known is not None and known.snapshot is snapshot:
            return known
        if mode == "r+":
            _check_changeable(snapshot)
        if known is not None and _can_go_on(known, snapshot):
            return OpenedStore(snapshot, known.mapped)
        is_written = mode == "r+" or (known is not None and _is_same_file(known, snapshot))
        mapped = _fitting(snapshot, mode, is_written=is_written)
        if mapped is not None:
            return OpenedStore(snapshot, mapped)
        snapshot = open_snapshot(snapshot.directory, snapshot.index.asked_backend)


def _fitting(snapshot: StoreSnapshot, mode: Mode, *, is_written: bool) -> Mapped | None:
    """Map the rows of a snapshot; None if the store was replaced meanwhile."""
    try:
        mapped = _map(snapshot, mode, is_written=is_written)
        if _is_known_to_fit(snapshot) or snapshot.is_in_place():
            return mapped
    except FileNotFoundError as error:
        if snapshot.is_in_place():
            raise corrupt(str(error.filename), "is missing") from error
    except CorruptStoreError:  # as a shorter file of another store is for this index
        if snapshot.is_in_place():
            raise
    return None


def _is_known_to_fit(snapshot: StoreSnapshot) -> bool:
    """Tell whether files that were mapped are those of a snapshot, whatever was replaced meanwhile."""
    if snapshot.index.pack is None and not isinstance(snapshot.directory, RemotePath):
        return True
    # Elsewhere, files of another store may have the names of those that they replace.
    return _is_read_later(snapshot)


def _check_changeable(snapshot: StoreSnapshot) -> None:
    """Raise an error if rows of a store must not be changed."""
    if snapshot.index.pack is not None:
        raise why_not(snapshot.directory)
    if snapshot.header.sealed:
        raise sealed_error(snapshot.directory)


def load_readable(directory: Path) -> OpenedStore:
    """Open a store with its rows mapped, or to be read where they cannot be mapped."""
    try:
        return load(open_snapshot(directory), "r")
    except CannotMapError:
        return load(open_snapshot(directory, "pread"), "r")


def _is_read_later(snapshot: StoreSnapshot) -> bool:
    """Tell whether a data file is not asked for before rows of it are: each request counts then."""
    directory, index = snapshot.directory, snapshot.index
    if not isinstance(directory, RemotePath) or not index.is_partial or index.pack is not None:
        return False
    cache = directory.transfer.cache
    return snapshot.header.mask_file is None and (cache is None or not cache.has_data)


def _map(snapshot: StoreSnapshot, mode: Mode, *, is_written: bool) -> Mapped:
    layout, n_rows = snapshot.header.layout, snapshot.n_rows
    opened = partial(map_rows, mode=mode) if snapshot.index.backend == "mmap" else open_rows
    path, span = snapshot.locate_file(snapshot.header.data_file)
    identity = None if isinstance(path, RemotePath) else files.identity(path)
    if isinstance(path, RemotePath) and _is_read_later(snapshot):
        settle = partial(check_in_place, snapshot)
        later = rows_later(path, layout.dtype, layout.row_shape, n_rows, settle)
        return Mapped(later, None, None, is_written)
    data = opened(path, layout.dtype, layout.row_shape, n_rows, span=span)
    if mode == "r+" and isinstance(data, np.ndarray):
        hold_while_mapped(str(path), data)
    mask = None
    if snapshot.header.mask_file is not None:
        path, span = snapshot.locate_file(snapshot.header.mask_file)
        nbytes = files.n_bytes(path) if span is None else span.nbytes
        n_bytes = layout.n_mask_rows(n_rows, nbytes) * layout.mask_width
        mask = opened(path, np.dtype(np.uint8), (), n_bytes, span=span)
        is_early = layout.ends_early(n_rows, nbytes)
        if mode == "c" and is_early and isinstance(mask, np.ndarray):
            packed, mask = mask, np.zeros(n_bytes + n_rows, np.uint8)  # to be changed, too
            mask[:n_bytes] = packed
    return Mapped(data, mask, identity, is_written)


def _can_go_on(known: OpenedStore, snapshot: StoreSnapshot) -> bool:
    """Return whether the mapped files have the rows of a later snapshot.

    When a file of a lower layer of an overlay file system is first opened for writing, the system
    makes a copy of it, and goes on with that under the same number; a mapping made before shows
    the old one for ever. Once something was committed that cannot come any more.
    """
    if not known.mapped.is_written or not _is_same_file(known, snapshot):
        return False
    if snapshot.n_rows > len(known.mapped.data) or snapshot.backend != known.snapshot.backend:
        return False
    if known.lacks_masks:  # which may be there by now
        return False
    if isinstance(snapshot.directory, RemotePath):  # where a file has another tag when it grows
        return False
    # A store that was copied, or unpacked twice, has the same id as the other.
    with suppress(FileNotFoundError):
        path, _ = snapshot.locate_file(snapshot.header.data_file)
        return files.identity(path) == known.mapped.identity
    return False


def _is_same_file(known: OpenedStore, snapshot: StoreSnapshot) -> bool:
    old, new = known.snapshot.header, snapshot.header
    return (old.store_id, old.data_file) == (new.store_id, new.data_file)
