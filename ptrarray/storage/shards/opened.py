"""Shards with their rows mapped: what an open reader of a store of shards stands on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from itertools import chain, pairwise, repeat
from pathlib import Path
from typing import Any

import numpy as np

from ptrarray.errors import StoreNotFoundError
from ptrarray.format.index import corrupt
from ptrarray.format.layouts import MIXED
from ptrarray.native import Finder as NativeFinder
from ptrarray.rows.chained import ChainedRows
from ptrarray.rows.masked import with_mask
from ptrarray.rows.ragged import Ragged
from ptrarray.rows.types import AnyRows, Array, Int64s
from ptrarray.storage.remote.paths import RemotePath
from ptrarray.storage.shards.finder import Completed, Finder
from ptrarray.storage.shards.marker import Marker, check_descriptors, is_sharded
from ptrarray.storage.shards.snapshot import ShardedSnapshot, open_shards
from ptrarray.storage.store import journal
from ptrarray.storage.store.absent import not_found, not_there
from ptrarray.storage.store.compared import Batch, compare, crcs_of_batch, read_all
from ptrarray.storage.store.held import Held, HeldRows, hold_rows
from ptrarray.storage.store.opened import Opened, OpenedStore, load
from ptrarray.storage.store.snapshot import (
    Snapshot,
    StoreSnapshot,
    locate_found,
    open_snapshot,
)
from ptrarray.storage.system import files
from ptrarray.storage.system.advice import Source
from ptrarray.storage.system.mapping import Backend, Mode

Ranges = list[tuple[int, int]]


class OpenedShards:
    """All shards of a store with their rows, as `Opened`.

    Attributes
    ----------
    data, rows : ndarray or Rows, shape (n_rows, *row_shape)
        The flat array, mapped, without and with its mask.
    """

    finder = None  # positions lie in different shards

    def __init__(self, snapshot: ShardedSnapshot, held: Sequence[HeldRows | OpenedStore]) -> None:
        self.snapshot = snapshot
        self.held = held
        self.stores: Sequence[OpenedStore] = Completed(held)
        self.limit_nbytes: int | None = snapshot.marker.header.shard_nbytes
        self.layout = snapshot.layout
        self.is_compared = isinstance(snapshot.directory, RemotePath)
        self.is_plain = self.layout.is_plain and not self.is_compared
        self._data: AnyRows | None = None
        self._rows: AnyRows | None = None
        self._views: Views | None = None
        self._columns: tuple[Int64s, Int64s] | None = None

    def get(self, name: str) -> Array | None:
        """Return the array of a name, a view, or None where the snapshot has to tell."""
        if self._views is None:
            self._views = Views(self.snapshot.finder, self.stores if self.is_plain else ())
        view = self._views.view(name)
        return view if view is not None or self._views.is_idle else self._views.looked_for(name)

    @property
    def data(self) -> AnyRows:
        """The flat array without its mask."""
        if self._data is None:
            self._data = _chained([one.data for one in self.held])
        return self._data

    @property
    def rows(self) -> AnyRows:
        """The flat array, masked where each element has a mask of its own."""
        if self._rows is None:
            is_masked = self.layout.masked and self.layout.kind != MIXED
            self._rows = with_mask(*self.parts()) if is_masked else self.data
        return self._rows

    def array_at(self, address: int) -> Array:
        """Return the array at an address of the snapshot, a view."""
        store, address = self.holding(address)
        return store.array_at(address)

    def holding(self, address: int) -> tuple[OpenedStore, int]:
        """Return which of the stores has what is at an address, and its address there."""
        address, number = divmod(address, len(self.held))  # as `ShardedSnapshot` made it
        return self.held[number].complete(), address

    def addresses_of(self, names: Sequence[bytes]) -> Iterable[int]:
        """Return the address of each of some names that the snapshot has found."""
        return map(partial(locate_found, self.snapshot), names)

    def arrays_at(self, addresses: Sequence[int]) -> list[Array]:
        """Return the arrays at some addresses: of what lies elsewhere, read in one go."""
        if not self.is_compared:
            return list(map(self.array_at, addresses))
        divided = list(self._divided(addresses))
        batches = [self.stores[number].batch(local) for number, _, local in divided]
        arrays: list[Any] = [None] * len(addresses)
        for (_, which, _), some in zip(divided, read_all(self.data, batches), strict=True):
            for at, array in zip(which.tolist(), some, strict=True):
                arrays[at] = array
        return arrays

    def compare(self, addresses: Iterable[int], batch: Ragged) -> None:
        """Raise `CorruptStoreError` if what was copied of some arrays is not what it has to be."""
        actual = crcs_of_batch(batch)
        for number, which, local in self._divided(addresses):
            compare(self.stores[number].snapshot, local, actual[which])

    def _divided(self, addresses: Iterable[int]) -> Iterator[tuple[int, Int64s, Int64s]]:
        """Yield the number of each shard that has some of the addresses, which, and what they are there."""
        local, numbers = np.divmod(np.fromiter(addresses, np.int64), len(self.held))
        for number in np.unique(numbers).tolist():
            which = np.flatnonzero(numbers == number)
            yield number, which, local[which]

    def in_batches(self, addresses: Int64s | None = None) -> Iterator[Batch]:
        """Yield all arrays in data order, or those at some addresses, some at a time."""
        if addresses is None:
            yield from chain.from_iterable(store.in_batches() for store in self.stores)
            return
        local, numbers = np.divmod(addresses, len(self.held))
        edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        for low, high in pairwise(edges if len(numbers) else ()):
            yield from self.stores[int(numbers[low])].in_batches(local[low:high])

    def parts(self) -> tuple[AnyRows, AnyRows]:
        """Return data and mask of the flat array, in a store with masks that is not mixed."""
        return self.data, _chained([shard.parts()[1] for shard in self.stores])

    @cached_property
    def sources(self) -> list[Source]:
        """The files that arrays are read from, for advice on what comes."""
        return [
            source._replace(first_row=first_row)
            for shard, first_row in zip(self.stores, self.snapshot.first_rows, strict=False)
            for source in shard.sources
        ]

    def columns(self) -> tuple[Int64s, Int64s]:
        """Return starts and ends of all arrays, checked once to lie in the flat array."""
        if self._columns is None:
            starts, ends = [], []
            for shard, first_row in zip(self.stores, self.snapshot.first_rows, strict=False):
                local = shard.columns()
                starts.append(local[0] + first_row)
                ends.append(local[1] + first_row)
            self._columns = np.concatenate(starts), np.concatenate(ends)
        return self._columns

    def columns_at(self, index: Any) -> tuple[Int64s, Int64s]:
        """Return what `columns` have at an index as numpy takes it: a slice, positions or a mask."""
        starts, ends = self.columns()
        return starts[index], ends[index]

    def refreshed(self, mode: Mode) -> OpenedShards:
        """Return what the store is now; itself if nothing changed."""
        snapshot = self.snapshot.refreshed()
        if snapshot is self.snapshot:
            if not snapshot.marker.is_remote or self._is_in_place():
                return self
            snapshot = open_shards(snapshot.directory, snapshot.asked_backend)
        return load_shards(snapshot, mode, self)

    def _is_in_place(self) -> bool:
        """Tell whether files that lie elsewhere are still those that were opened."""
        look: Any = self.snapshot.marker.each
        return all(look(lambda number: self.stores[number].is_in_place(), range(len(self.held))))


View = Callable[[str], Array | None]
_NOTHING: dict[str, Array] = {}


class Views:
    """Views of arrays by name, in those shards that a catalog knows, with the native core or without.

    Parameters
    ----------
    finder : Finder
        Of the shards.
    stores : sequence of OpenedStore
        The shards; none if arrays are more than views.

    Attributes
    ----------
    view : callable
        Returns the array of a name that the native core finds at once, else None.
    is_idle : bool
        Whether there is nothing to be found.
    """

    def __init__(self, finder: Finder, stores: Sequence[OpenedStore]) -> None:
        self._finder, self._stores = finder, stores
        self._parts: list[NativeFinder | None] = [None] * len(stores)  # those that were asked
        # Where the catalog does not know all, a shard that it does not know may have the name.
        catalog = None if finder.is_asked or not stores else finder.catalog
        native = None if catalog is None else catalog.finder(self._parts)
        self.is_idle = catalog is None
        self.view: View = _NOTHING.get if native is None else native.get

    def looked_for(self, name: str) -> Array | None:
        """Return the array of a name in a shard that was not asked before."""
        try:
            hit = self._finder.find(name.encode())
        except UnicodeEncodeError:
            return None
        if hit is None:
            return None
        number, (start, end) = hit
        store = self._stores[number]
        self._parts[number] = store.finder
        return store.data[start:end]


def _chained(parts: Sequence[AnyRows]) -> AnyRows:
    return parts[0] if len(parts) == 1 else ChainedRows(parts)


def load_any(directory: Path, mode: Mode, backend: Backend | None = None) -> Opened:
    """Open a store, of shards or not, with its rows mapped; without a backend, as it can be."""
    if isinstance(directory, RemotePath):  # where asking for what is seldom there takes long
        try:
            return load(open_snapshot(directory, backend), mode)
        except StoreNotFoundError:
            try:
                return load_shards(open_shards(directory, backend), mode)
            except StoreNotFoundError as error:
                raise not_found(directory) from error
    if is_sharded(directory):
        return load_shards(open_shards(directory, backend), mode)
    return load(open_snapshot(directory, backend), mode)


def mapped_anew(opened: Opened, mode: Mode) -> Opened:
    """Return the same snapshot, mapped once more, as its mask files have become longer."""
    if isinstance(opened, OpenedShards):
        return load_shards(opened.snapshot, mode)
    return load(opened.stores[0].snapshot, mode)


def to_be_read_nbytes(directory: Path) -> int:
    """Return the bytes of journals that opening a store reads: at least some for each shard."""
    try:
        shards = [str(directory)]
        if is_sharded(directory):
            marker = Marker(directory)
            shards = list(map(marker.shard_path, range(marker.count())))
        return sum(files.n_bytes(f"{shard}/{journal.FILE_NAME}") for shard in shards)
    except FileNotFoundError as error:
        raise not_there(directory) from error


def open_any(directory: Path) -> Snapshot:
    """Read the names and pointers of a store, of shards or not."""
    return open_shards(directory) if is_sharded(directory) else open_snapshot(directory)


def _held(
    pairs: Sequence[tuple[Held | StoreSnapshot, HeldRows | OpenedStore | None]],
    mode: Mode,
    number: int,
) -> HeldRows | OpenedStore:
    part, opened = pairs[number]
    if mode == "r+":
        files.no_link(part.directory)
    return hold_rows(part, mode, opened)


def _is_of(opened: HeldRows | OpenedStore, part: Held | StoreSnapshot) -> bool:
    return opened.snapshot is part or opened.snapshot is part.complete()


def load_shards(
    snapshot: ShardedSnapshot,
    mode: Mode,
    previous: Opened | None = None,
    *,
    is_locked: bool = False,
) -> OpenedShards:
    """Map the rows of all shards, or go on with what was mapped before for the same store.

    Takes a later snapshot where a data file, or without the store's lock all of it, was replaced
    meanwhile.
    """
    known: Sequence[HeldRows | OpenedStore] = ()
    if isinstance(previous, OpenedShards):
        known = previous.held
    while True:
        try:
            pairs = [*zip(snapshot.parts, chain(known, repeat(None)), strict=False)]
            known = snapshot.marker.each(partial(_held, pairs, mode), range(len(pairs)))
            # Another store that was put here meanwhile may have data files of the same names.
            is_here = is_locked or snapshot.marker.is_in_place()
            if is_here and all(map(_is_of, known, snapshot.parts)):
                return OpenedShards(snapshot, known)
        except FileNotFoundError:
            pass  # the store was replaced
        except OSError as error:
            check_descriptors(error, snapshot.marker, len(snapshot.shards))
            raise
        later = snapshot.refreshed()
        if later is snapshot:
            raise corrupt(str(snapshot.directory), "has a shard without its data file")
        snapshot = later


def divided(stores: Sequence[OpenedStore], ranges: Ranges) -> list[tuple[OpenedStore, Ranges]]:
    """Return which ranges of rows lie in each of several stores, counted from its first row."""
    parts = []
    first = 0
    for store in stores:
        last = first + store.snapshot.n_rows
        inside = [
            (max(start, first) - first, min(end, last) - first)
            for start, end in ranges
            if start < last and first < end
        ]
        if inside:
            parts.append((store, inside))
        first = last
    return parts
