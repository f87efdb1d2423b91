"""Names and pointers of a store as of one moment: an index with the journal laid over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ptrarray.errors import CorruptStoreError, StoreChangedError
from ptrarray.format import journal as journal_format
from ptrarray.format import metadata
from ptrarray.format.entries import DELETED, Entry, RaggedColumn
from ptrarray.format.index import IndexHeader, corrupt
from ptrarray.format.names import is_text
from ptrarray.rows.types import Int64s, UInt32s
from ptrarray.storage.remote.paths import RemotePath
from ptrarray.storage.store import journal
from ptrarray.storage.store.absent import never_at_rest, not_found, not_there
from ptrarray.storage.store.index import Index, Item
from ptrarray.storage.store.journal import Journal
from ptrarray.storage.store.overlay import Overlay
from ptrarray.storage.store.pointers import BLOCK, astray, check_columns, outside, scattered
from ptrarray.storage.store.probed import open_index
from ptrarray.storage.store.recovery import surviving
from ptrarray.storage.system import files
from ptrarray.storage.system.files import StrPath
from ptrarray.storage.system.mapping import Backend
from ptrarray.storage.system.parts import Span, span_of

_ATTEMPTS = 100
# So often, what lies elsewhere and makes no sense is read once more: a journal that was asked for
# together with an index may be that of an older one, and of one that grows a server may take the
# size before its first bytes, which then promise more.
_DOUBTS = 3
_NONE = np.empty(0, np.int64)


class Snapshot(Protocol):
    """Everything about a store but its rows, as of one moment, unchanging.

    The face that a reader sees, of one store or of several that are read as one.

    Attributes
    ----------
    directory : Path
        The store.
    backend : {'mmap', 'pread'}
        How its files are read.

    Notes
    -----
    A *position* counts the arrays in data order, from 0.

    An *address* is where the snapshot keeps what it knows of an array; only the
    snapshot that gave it understands it. In one store it is a position in the
    index or, negative, ``~entry`` for an entry of the overlay. So with
    ``a, b, c`` in the index, and ``b`` replaced since by the first record of the
    journal, the addresses of ``a`` and ``c`` are 0 and 2, and that of ``b`` is -1.
    """

    directory: Path
    backend: Backend

    @property
    def attrs(self) -> dict[str, Any]:
        """The user's attrs."""

    @property
    def n_rows(self) -> int:
        """Rows of the flat array."""

    @property
    def version(self) -> tuple[int, ...]:
        """Numbers of which any later snapshot has the same or greater ones."""

    def __len__(self) -> int: ...

    def find(self, name: bytes) -> tuple[int, int] | None:
        """Pointer of a name, or None."""

    def find_all(self, names: Sequence[bytes]) -> Int64s:
        """Pointers of several names, shape (n_names, 2); starts of -1 for those not there."""

    @property
    def has_metas(self) -> bool:
        """Whether any array may have metadata."""

    def meta(self, name: bytes) -> dict[str, Any] | None:
        """Metadata of a name, or None if it is not there."""

    def meta_at(self, address: int) -> bytes:
        """Metadata of the array at an address, packed."""

    @property
    def metas(self) -> RaggedColumn:
        """Metadata of all arrays in data order, packed."""

    @property
    def infos(self) -> RaggedColumn:
        """How each array differs from plain rows, in data order, packed."""

    def locate(self, name: bytes) -> int | None:
        """Address of a name, or None."""

    def locate_position(self, position: int) -> int:
        """Address of the array at a position, ``0 <= position < len``."""

    def pointer_at(self, address: int) -> tuple[int, int]:
        """Pointer of the array at an address."""

    def pointers_at(self, addresses: Int64s) -> tuple[Int64s, Int64s]:
        """Pointers of the arrays at some addresses, as starts and ends."""

    def name(self, position: int) -> bytes:
        """Name of the array at a position, ``0 <= position < len``."""

    def names(self) -> Iterator[bytes]:
        """Yield all names in data order."""

    def texts(self, first: int = 0, last: int | None = None) -> Iterator[str]:
        """Yield names in data order as text, or those of the positions ``first <= p < last``."""

    def newest_names(self) -> Iterator[bytes]:
        """Yield all names, those that were committed last first."""

    @property
    def starts(self) -> Int64s:
        """First rows, in data order."""

    @property
    def ends(self) -> Int64s:
        """Rows after the last ones, in data order."""

    def item_columns(self) -> tuple[memoryview, memoryview]:
        """Return starts and ends as memoryviews of an index; empty where that is not all there is."""


def locate_found(snapshot: Snapshot, name: bytes) -> int:
    """Return the address of a name that the same snapshot has found."""
    address = snapshot.locate(name)
    assert address is not None  # a snapshot never changes
    return address


class StoreSnapshot:
    """The `Snapshot` of one store: an index with the journal laid over it.

    Parameters
    ----------
    directory : Path
        The store.
    index : Index
        Its index, mapped.
    overlay : Overlay
        What the journal changed since.
    """

    def __init__(self, directory: Path, index: Index, overlay: Overlay) -> None:
        self.directory = directory
        self.backend: Backend = index.backend
        self.index = index
        self.overlay = overlay
        self.header: IndexHeader = index.header
        self.n_rows = overlay.n_rows  # pre-sized, or committed at the highest
        self._overlaid = overlay.entries
        self._few = overlay.few  # whose columns are looked at without a call

    @property
    def asked_backend(self) -> Backend | None:
        """How its files were to be read."""
        return self.index.asked_backend

    @property
    def entries(self) -> Mapping[bytes, int]:
        """What is laid over the index, by name."""
        return self.overlay.entries

    @property
    def slots(self) -> memoryview:
        """The name table of the index, two numbers a slot."""
        return self.index.slots

    @property
    def n_homes(self) -> int:
        """Home slots of that."""
        return self.header.n_homes

    def complete(self) -> StoreSnapshot:
        """Return the snapshot itself, which was not only held."""
        return self

    @property
    def data_path(self) -> str:
        """Path of the data file, or of the pack it is in."""
        return str(self.locate_file(self.header.data_file)[0])

    def locate_file(self, name: str) -> tuple[StrPath, Span | None]:
        """Return the path of a file of the store; in a pack, that of the pack, and the span in it."""
        pack = self.index.pack
        if pack is None:
            return self.directory / name, None
        return self.index.place, span_of(pack, name, self.index.path)

    @property
    def version(self) -> tuple[int, ...]:
        """Generation of the index, and the byte up to which the journal was read."""
        return self.header.generation, self.overlay.end_byte

    @cached_property
    def journal_digest(self) -> bytes:
        """Tells what the journal changed from anything else that might end at the same byte."""
        return self.overlay.digest()

    @property
    def attrs(self) -> dict[str, Any]:
        """The user's attrs."""
        return self.header.attrs if self.overlay.attrs is None else self.overlay.attrs

    def __len__(self) -> int:
        return len(self.overlay.order) if self.overlay.entries else self.header.n_arrays

    def find(self, name: bytes) -> tuple[int, int] | None:
        """Pointer of a name, or None."""
        entry = self._overlaid.get(name)
        if entry is not None:
            return None if entry < 0 else self.pointer_at(~entry)
        index = self.index
        position = index.find(name)
        if position < 0:
            return None
        start, end = index.start_items[position], index.end_items[position]
        return (start, end) if 0 <= start <= end <= self.n_rows else self.checked(start, end)

    def locate(self, name: bytes) -> int | None:
        """Address of a name, or None."""
        entry = self._overlaid.get(name)
        if entry is not None:
            return None if entry < 0 else ~entry
        position = self.index.find(name)
        return None if position < 0 else position

    def locate_position(self, position: int) -> int:
        """Address of the array at a position, ``0 <= position < len``."""
        if not self._overlaid:
            return position
        in_overlay, at = self.overlay.order.locate(position)
        return ~at if in_overlay else at

    @property
    def is_in_order(self) -> bool:
        """Whether positions are known; else a long journal is put in order when one is asked for."""
        return self.overlay.is_in_order

    def spread(self, n: int) -> tuple[Int64s, int]:
        """Return addresses of at most `n` arrays, here and there, and how many there may be.

        Puts nothing in order, and looks no name up: there may be arrays among them that were
        deleted or replaced since.
        """
        n_indexed, overlay = self.header.n_arrays, self.overlay
        changed = [at for at in scattered(n // 2, overlay.n_entries) if not overlay.is_deletion(at)]
        addresses = [*scattered(n // 2, n_indexed), *(~entry for entry in changed)]
        return np.array(addresses, np.int64), n_indexed + overlay.n_entries

    def beginning(self, n: int) -> list[int]:
        """Return addresses of the first `n` arrays; where a long journal is not in order, of the newest."""
        if self.is_in_order:
            return list(map(self.locate_position, range(min(n, len(self)))))
        return [~entry for entry in self.overlay.newest_entries(n)]

    def locate_pointer(self, start: int, end: int) -> int | None:
        """Address of the first array in data order that has this pointer, or None."""
        index = self.index
        low, high = (int(index.starts.searchsorted(start, side)) for side in ("left", "right"))
        for position in (low + np.flatnonzero(index.ends[low:high] == end)).tolist():
            if index.name(position) not in self._overlaid:
                return position
        first = self.overlay.first_of(start, end)
        return None if first is None else ~first

    def locate_from(self, row: int) -> int | None:
        """Address of the first array in data order that starts at a row or after it, or None."""
        position = int(np.searchsorted(self.starts, row))
        return None if position == len(self) else self.locate_position(position)

    def pointer_at(self, address: int) -> tuple[int, int]:
        """Pointer of the array at an address."""
        few, index = self._few, self.index
        if address < 0 and few is not None:
            return self.checked(few.starts[~address], few.ends[~address])
        if address < 0:
            return self.checked(*self.overlay.pointer(~address))
        return self.checked(index.start_items[address], index.end_items[address])

    def kept_at(self, address: int) -> tuple[int, int]:
        """Return what is kept as the pointer of the array at an address, which may be damaged."""
        if address < 0:
            return self.overlay.pointer(~address)
        return self.index.start_items[address], self.index.end_items[address]

    def pointers_at(self, addresses: Int64s) -> tuple[Int64s, Int64s]:
        """Pointers of the arrays at some addresses, as starts and ends."""
        starts, ends = (np.empty(len(addresses), np.int64) for _ in range(2))
        indexed = addresses >= 0
        starts[indexed], ends[indexed] = self.index.pointers_at(addresses[indexed])
        for at in np.flatnonzero(~indexed).tolist():
            starts[at], ends[at] = self.overlay.pointer(~int(addresses[at]))
        for at in np.flatnonzero(outside(starts, ends, self.n_rows))[:1].tolist():
            self.checked(int(starts[at]), int(ends[at]))
        return starts, ends

    def crcs_at(self, addresses: Int64s) -> UInt32s:
        """CRC-32 of the bytes of the arrays at some addresses."""
        crcs, indexed = np.empty(len(addresses), np.uint32), addresses >= 0
        crcs[indexed] = self.index.crcs_at(addresses[indexed])
        for at in np.flatnonzero(~indexed).tolist():
            crcs[at] = self.overlay.entry(~int(addresses[at]), b"").crc
        return crcs

    def infos_at(self, addresses: Int64s) -> list[bytes]:
        """Infos of the arrays at some addresses."""
        found = iter(self.index.infos_at(addresses[addresses >= 0]))
        return [self.overlay.info(~at) if at < 0 else next(found) for at in addresses.tolist()]

    def name_at(self, address: int) -> bytes:
        """Name of the array at an address."""
        return self.overlay.name(~address) if address < 0 else self.index.name(address)

    def info_at(self, address: int) -> bytes:
        """Info of the array at an address: how it differs from plain rows."""
        return self.overlay.info(~address) if address < 0 else self.index.info(address)

    def meta_at(self, address: int) -> bytes:
        """Metadata of the array at an address, packed."""
        return self.overlay.meta(~address) if address < 0 else self.index.meta(address)

    def entry(self, place: int, name: bytes) -> Entry:
        """Return all that is kept of what was located."""
        entry = self.overlay.entry(~place, name) if place < 0 else self.index.entry(place, name)
        self.checked(entry.start, entry.end)
        return entry

    @property
    def has_metas(self) -> bool:
        """Whether any array may have metadata."""
        return "meta" in self.index.columns or self.overlay.has_metas

    def meta(self, name: bytes) -> dict[str, Any] | None:
        """Metadata of a name, or None if it is not there."""
        address = self.locate(name)
        if address is None:
            return None
        try:
            return metadata.decode(self.meta_at(address))
        except ValueError as error:
            raise corrupt(self.index.path, f"has for {name[:80]!r} {error}") from error

    def find_all(self, names: Sequence[bytes]) -> Int64s:
        """Pointers of several names, shape (n_names, 2); starts of -1 for those not there."""
        overlaid = self._overlaid
        if not isinstance(overlaid, dict):
            return self._find_in_both(names)
        if not overlaid or overlaid.keys().isdisjoint(names):
            return self._find_in_index(names)
        pointers = np.full((len(names), 2), -1, np.int64, order="F")  # as those of the index
        is_left = np.array([name not in overlaid for name in names])
        left = [name for name in names if name not in overlaid]
        pointers[is_left] = self._find_in_index(left)
        pointers[~is_left] = [self.find(name) or (-1, -1) for name in names if name in overlaid]
        return pointers

    def _find_in_both(self, names: Sequence[bytes]) -> Int64s:
        """Do as `find_all` where much is laid over the index."""
        entries, starts, ends = self.overlay.last_of_each(list(names))
        astray = outside(starts, ends, self.n_rows) & (starts != DELETED)
        for at in np.flatnonzero(astray)[:1].tolist():
            self.checked(int(starts[at]), int(ends[at]))
        pointers = np.empty((len(names), 2), np.int64, order="F")  # as those of the index
        pointers[:, 0], pointers[:, 1] = starts, ends
        left = np.flatnonzero(entries < 0).tolist()
        if left:
            pointers[left] = self._find_in_index([names[at] for at in left])
        return pointers

    def _find_in_index(self, names: Sequence[bytes]) -> Int64s:
        if not self.header.n_arrays:
            return np.full((len(names), 2), -1, np.int64)
        index = self.index
        positions = index.find_all(names)
        pointers = np.empty((len(names), 2), np.int64, order="F")  # each column is contiguous
        if index.is_partial:
            pointers[:, 0], pointers[:, 1] = index.pointers_at(positions)
        else:
            pointers[:, 0], pointers[:, 1] = index.starts[positions], index.ends[positions]
        pointers[positions < 0] = -1
        return pointers

    def checked(self, start: int, end: int) -> tuple[int, int]:
        """Return a pointer that lies in the flat array; raise `CorruptStoreError` for any other."""
        # An empty array may have been written past the rows there are.
        if 0 <= start <= end and (end <= self.n_rows or start == end):
            return start, end
        raise astray(self.index.path, start, end, self.n_rows)

    def check_pointers(self) -> int:
        """Return the greatest end; raise `CorruptStoreError` for a pointer astray or out of order. O(names)."""
        return check_columns(self.index.path, self.starts, self.ends, self.n_rows)

    def outside(self) -> npt.NDArray[np.bool_]:
        """Return for each array whether its pointer leads out of the flat array."""
        return outside(self.starts, self.ends, self.n_rows)

    def pointer(self, position: int) -> tuple[int, int]:
        """Pointer of the array at a position, ``0 <= position < len``."""
        return self.pointer_at(self.locate_position(position))

    def name(self, position: int) -> bytes:
        """Name of the array at a position, ``0 <= position < len``."""
        if self.overlay.entries:
            in_overlay, position = self.overlay.order.locate(position)
            if in_overlay:
                overlaid: bytes = self.overlay.order.names[position]
                return overlaid
        return self.index.name(position)

    def names(self) -> Iterator[bytes]:
        """Yield all names in data order."""
        return self._some_names(0, len(self), RaggedColumn.split)

    def texts(self, first: int = 0, last: int | None = None) -> Iterator[str]:
        """Yield names in data order as text, or those of the positions ``first <= p < last``."""
        return self._some_names(first, len(self) if last is None else last, RaggedColumn.texts)

    def _some_names(
        self, first: int, last: int, unpack: Callable[[RaggedColumn], list[Item]]
    ) -> Iterator[Item]:
        if self._overlaid:
            return self.overlay.order.some_names(first, last, unpack)
        return self.index.some_names(first, last, unpack, _NONE)

    def name_blocks(self, first: int, last: int) -> Iterator[RaggedColumn]:
        """Yield the names at positions ``first <= p < last`` in columns that follow each other.

        Of some ten thousand names each, or up to a megabyte; raises `CorruptStoreError` at the first
        one that does not lie in its column.
        """
        return self.overlay.name_blocks(first, last)

    def newest_names(self) -> Iterator[bytes]:
        """Yield all names, those that were committed last first; those of the index from its end."""
        index = self.index
        yield from self.overlay.newest()
        indexed = map(index.name, reversed(range(index.header.n_arrays)))
        yield from (name for name in indexed if name not in self._overlaid)

    def committed(self) -> Int64s | slice:
        """Return positions in the order of commits, as `newest_names` takes it, the oldest first."""
        return self.overlay.committed()

    @cached_property
    def starts(self) -> Int64s:
        """First rows, in data order: a view of the index, or a copy if it has an overlay."""
        return _read_only(self.overlay.merged("starts"))

    @cached_property
    def ends(self) -> Int64s:
        """Rows after the last ones, in data order; as `starts`."""
        return _read_only(self.overlay.merged("ends"))

    def in_blocks(
        self, *names: str, size: int = BLOCK
    ) -> Iterator[tuple[int, list[npt.NDArray[Any]]]]:
        """Yield columns such as `starts` in blocks, each with its first position.

        Memory for what the journal has changed and for one block.
        """
        return self.overlay.merged_blocks(names, size)

    def item_columns(self) -> tuple[memoryview, memoryview]:
        """Return starts and ends as memoryviews of the index; empty if it has an overlay."""
        index = self.index
        if self.overlay.entries or index.is_partial:
            return index.start_items[:0], index.end_items[:0]
        return index.start_items, index.end_items

    @cached_property
    def name_column(self) -> RaggedColumn:
        """Names in data order, end to end, found to be text; as `starts`."""
        names = self.overlay.merged_names()
        if not is_text(names.joined, names.ends):
            raise corrupt(self.index.path, "has names that are no UTF-8")
        return names

    @cached_property
    def metas(self) -> RaggedColumn:
        """Metadata of all arrays in data order, packed; as `starts`."""
        return self.overlay.merged_items("metas")

    @cached_property
    def infos(self) -> RaggedColumn:
        """How each array differs from plain rows, in data order, packed; as `starts`."""
        return self.overlay.merged_items("infos")

    @property
    def crcs(self) -> npt.NDArray[np.uint32]:
        """CRC-32 of each array's bytes, in data order; as `starts`."""
        return self.overlay.merged("crcs")

    @property
    def pointed(self) -> npt.NDArray[np.uint8]:
        """1 where `point` gave the name to rows that may have others, too; as `starts`."""
        return self.overlay.merged("pointed")

    def refreshed(self) -> StoreSnapshot:
        """Return what the store is now; itself if nothing changed. A pack never does."""
        if self.index.pack is not None:
            return self
        try:
            with Journal(self.directory, writable=False) as log:
                overlay = _replay(log, self.index, self.overlay)
        except FileNotFoundError as error:
            raise not_found(self.directory) from error
        except StoreChangedError:
            overlay = None  # it grew between two requests
        except CorruptStoreError:
            # Elsewhere, what tells files from each other may be the second of their last change.
            if not isinstance(self.directory, RemotePath) and self.is_in_place():
                raise
            overlay = None  # of another store by now
        if overlay is None or not self.is_in_place():
            return open_snapshot(self.directory, self.index.asked_backend)
        return (
            self if overlay is self.overlay else StoreSnapshot(self.directory, self.index, overlay)
        )

    def is_in_place(self) -> bool:
        """Tell whether its index is still there, and no other one in its place."""
        # Who goes on looks for it once more; a pack may have taken the directory's place.
        with suppress(FileNotFoundError, NotADirectoryError):
            return files.identity(self.index.place) == self.index.identity
        return False


def _read_only(column: Int64s) -> Int64s:
    column.flags.writeable = False
    return column


def open_snapshot(
    directory: Path, backend: Backend | None = None, end_byte: int | None = None
) -> StoreSnapshot:
    """Read the names and pointers of a store that other processes may be changing.

    Without a backend, maps what can be mapped, and reads what cannot. With a byte of the journal,
    leaves out what was committed behind it.

    Raises
    ------
    StoreNotFoundError
        If there is no store.
    CorruptStoreError
        If what is there is damaged.
    StoreError
        If it is replaced again and again.
    """
    previous = None
    n_doubts = _DOUBTS if isinstance(directory, RemotePath) else 0
    for _ in range(_ATTEMPTS):
        try:
            index, overlay = _looked(directory, backend, end_byte, at_once=n_doubts == _DOUBTS)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise not_there(directory) from error
        except StoreChangedError:  # between two requests
            continue
        except CorruptStoreError:
            if not n_doubts:
                raise
            n_doubts -= 1
            continue
        if overlay is not None:
            return StoreSnapshot(directory, index, overlay)
        if index.identity == previous:
            why = "belongs to a later index than the one that is there"
            raise corrupt(str(directory / journal.FILE_NAME), why)
        previous = index.identity
    raise never_at_rest(directory)


def _looked(
    directory: Path, backend: Backend | None, end_byte: int | None, *, at_once: bool
) -> tuple[Index, Overlay | None]:
    """Read an index, and what its journal lays over it; None where the two do not go together."""
    index, opened = _opened(directory, backend, at_once=at_once)
    with opened as log:
        if index.pack is not None and log.identity != index.identity:
            return index, None  # another pack was put in place of this one
        return index, _replay(log, index, None, end_byte)


def _opened(
    directory: Path, backend: Backend | None, *, at_once: bool = False
) -> tuple[Index, Journal]:
    """Open an index and a journal, one after the other, or elsewhere both at once."""
    if at_once and isinstance(directory, RemotePath):
        with (directory / journal.FILE_NAME).asked_ahead():
            return _opened(directory, backend)
    return open_index(directory, backend), Journal(directory, writable=False)


def _replay(
    log: Journal, index: Index, known: Overlay | None, end_byte: int | None = None
) -> Overlay | None:
    """Lay a journal over an index, going on from what is known of it, up to a byte if one is given.

    Returns None if the index was replaced by a later one.
    """
    header = log.read_header()
    if header.generation < index.header.generation:
        return known or Overlay(index, journal_format.RECORDS_START)  # a checkpoint absorbed it
    if header.generation > index.header.generation:
        return None
    if header.store_id != index.header.store_id:
        raise corrupt(log.path, "belongs to another store")
    header = surviving(log, header, index.header)
    if end_byte is not None:
        header = header._replace(committed_end=min(end_byte, header.committed_end))
    overlay = known or Overlay(index, journal_format.RECORDS_START)
    if header.committed_end == overlay.end_byte:
        return overlay
    try:
        return overlay.extended_by(log.pieces(header, overlay.end_byte))
    except CorruptStoreError:
        if log.read_header().generation != header.generation:
            return None
        raise
