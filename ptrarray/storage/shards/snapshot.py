"""One state of a store of shards: a snapshot of each, all of the same moment."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.errors import CorruptStoreError, StoreNotFoundError
from ptrarray.format.index import IndexHeader, corrupt
from ptrarray.format.layouts import Layout
from ptrarray.format.shards import Notes, decode_notes
from ptrarray.storage.shards.finder import Finder, without
from ptrarray.storage.shards.marker import Marker
from ptrarray.storage.store.snapshot import Snapshot, open_snapshot
from ptrarray.storage.system.mapping import Backend

Int64s = npt.NDArray[np.int64]

_ATTEMPTS = 100
# Older shards seldom change, so all of one moment are seldom missed twice.
_SETTLED_ATTEMPTS = 10


class ShardedSnapshot:
    """Everything about a store of shards but its rows, unchanging.

    Rows are numbered through: those of a shard come after all of the shards
    before it. Positions, too.

    Parameters
    ----------
    marker : Marker
        Of the store.
    found : sequence of Snapshot
        Of each shard, as it is.

    Attributes
    ----------
    shards : tuple of Snapshot
        Of each shard, less the names that are to be deleted there.
    first_rows, first_positions : list of int, one more than shards
        Rows and arrays of all shards before each.
    """

    def __init__(self, marker: Marker, found: Sequence[Snapshot]) -> None:
        self.marker = marker
        self.directory: Path = marker.directory
        self.found = tuple(found)
        self.backend = found[0].index.backend
        outdated = self._outdated()
        self.shards = tuple(
            without(one, outdated[number]) if number in outdated else one
            for number, one in enumerate(found)
        )
        for shard in self.shards:
            self._check_layout(shard)
        self.first_rows = [0, *accumulate(shard.n_rows for shard in self.shards)]
        self.first_positions = [0, *accumulate(map(len, self.shards))]

    def _check_layout(self, shard: Snapshot) -> None:
        found, wanted = shard.header.layout, self.marker.header.layout
        if found != wanted:
            raise corrupt(
                str(shard.directory),
                f"has {found.describe()}, not {wanted.describe()} as the store of which it is a shard",
            )

    def _outdated(self) -> dict[int, list[bytes]]:
        """Names of which another shard has the array now, by the shard that has the old one."""
        outdated: dict[int, list[bytes]] = {}
        for old, new, name in notes_of(self.found).replaced:
            there = max(old, new) < len(self.found)
            if there and self.found[new].find(name) and self.found[old].find(name):
                outdated.setdefault(old, []).append(name)
        return outdated

    @cached_property
    def _finder(self) -> Finder:
        return Finder(self.shards)

    def _divided(self, place: int) -> tuple[Snapshot, int, int]:
        """Return the shard that a place is in, its first row, and the place in it."""
        # Places of shards are numbers of either sign, and so are these.
        place, number = divmod(place, len(self.shards))
        return self.shards[number], self.first_rows[number], place

    # what a snapshot tells -----------------------------------------------------------------

    @property
    def header(self) -> IndexHeader:
        """Facts of the first shard."""
        return self.shards[0].header

    @property
    def layout(self) -> Layout:
        """What the arrays are made of."""
        return self.marker.header.layout

    @property
    def limit_nbytes(self) -> int | None:
        """Bytes that a shard has at the most."""
        return self.marker.header.shard_nbytes

    @property
    def n_rows(self) -> int:
        """Rows of all shards."""
        return self.first_rows[-1]

    @property
    def attrs(self) -> dict[str, Any]:
        """The user's attrs, which the first shard keeps."""
        return self.shards[0].attrs

    def __len__(self) -> int:
        return self.first_positions[-1]

    def find(self, name: bytes) -> tuple[int, int] | None:
        """Pointer of a name, or None."""
        hit = self._finder.find(name)
        if hit is None:
            return None
        number, (start, end) = hit
        first_row = self.first_rows[number]
        return start + first_row, end + first_row

    def find_all(self, names: Sequence[bytes]) -> Int64s:
        """Pointers of several names, shape (n_names, 2); starts of -1 for those not there."""
        return self._finder.pointers(names, self.first_rows)

    def number_of(self, name: bytes) -> int:
        """Return the number of the shard that has a name, or -1."""
        hit = self._finder.find(name)
        return -1 if hit is None else hit[0]

    def locate(self, name: bytes) -> int | None:
        """Where a name is told of: a number that only `pointer_at` and its like understand."""
        number = self.number_of(name)
        place = None if number < 0 else self.shards[number].locate(name)
        return None if place is None else place * len(self.shards) + number

    def locate_all(self, names: Iterable[bytes]) -> Iterator[int]:
        """Yield where each of several names, all there, is told of."""
        for name in names:
            place = self.locate(name)
            assert place is not None
            yield place

    def located(self, position: int) -> int:
        """Return as `locate` where the array at a position is told of."""
        number = bisect_right(self.first_positions, position) - 1
        place = self.shards[number].located(position - self.first_positions[number])
        return place * len(self.shards) + number

    def pointer_at(self, place: int) -> tuple[int, int]:
        """Pointer of what was located."""
        shard, first_row, place = self._divided(place)
        start, end = shard.pointer_at(place)
        return start + first_row, end + first_row

    def info_at(self, place: int) -> bytes:
        """How what was located differs from plain rows."""
        shard, _, place = self._divided(place)
        return shard.info_at(place)

    def meta(self, name: bytes) -> dict[str, Any] | None:
        """Metadata of a name, or None if it is not there."""
        number = self.number_of(name)
        return None if number < 0 else self.shards[number].meta(name)

    def item_columns(self) -> tuple[memoryview, memoryview]:
        """Return starts and ends as memoryviews, if there is only one shard; else empty."""
        starts, ends = self.shards[0].item_columns()
        return (starts, ends) if len(self.shards) == 1 else (starts[:0], ends[:0])

    def name(self, position: int) -> bytes:
        """Name of the array at a position, ``0 <= position < len``."""
        number = bisect_right(self.first_positions, position) - 1
        return self.shards[number].name(position - self.first_positions[number])

    def names(self) -> Iterator[bytes]:
        """Yield all names, shard by shard in data order."""
        return chain.from_iterable(shard.names() for shard in self.shards)

    @cached_property
    def starts(self) -> Int64s:
        """First rows, shard by shard in data order: a view of the only shard's, or a copy."""
        return self._joined([shard.starts for shard in self.shards])

    @cached_property
    def ends(self) -> Int64s:
        """Rows after the last ones; as `starts`."""
        return self._joined([shard.ends for shard in self.shards])

    def _joined(self, columns: list[Int64s]) -> Int64s:
        if len(columns) == 1:
            return columns[0]
        moved = [column + row for column, row in zip(columns, self.first_rows, strict=False)]
        joined = np.concatenate(moved)
        joined.flags.writeable = False
        return joined

    # later ---------------------------------------------------------------------------------

    def refreshed(self) -> ShardedSnapshot:
        """Return what the store is now; itself if nothing changed."""
        if not self.marker.is_in_place():
            return open_shards(self.directory, self.backend)
        try:
            found = _collected(self.marker, self.found, self.backend)
        except CorruptStoreError:
            if self.marker.is_in_place():
                raise
            return open_shards(self.directory, self.backend)
        is_same = len(found) == len(self.found) and all(map(_is_same, found, self.found))
        return self if is_same else ShardedSnapshot(self.marker, found)


def _is_same(one: Snapshot, other: Snapshot) -> bool:
    return one is other


def notes_of(found: Sequence[Snapshot]) -> Notes:
    """Return what the last of some shards notes about the others."""
    if len(found) < 2:  # what the first has there is the user's
        return Notes()
    return decode_notes(found[-1].attrs, str(found[-1].directory))


def open_shards(directory: Path, backend: Backend = "mmap") -> ShardedSnapshot:
    """Read the state of a store of shards that other processes may be changing.

    Raises
    ------
    StoreNotFoundError
        If there is no store.
    CorruptStoreError
        If what is there is damaged.
    """
    for _ in range(_ATTEMPTS):
        marker = Marker(directory)
        try:
            return ShardedSnapshot(marker, _collected(marker, (), backend))
        except CorruptStoreError:
            if marker.is_in_place():
                raise
    raise CorruptStoreError(f"{directory} is replaced again and again", path=str(directory))


def _collected(marker: Marker, known: Sequence[Snapshot], backend: Backend) -> list[Snapshot]:
    """Read every shard, going on from what is known of it.

    From the first to the last, since arrays only move to later shards; and until none but the
    last, which was read at one moment, has changed since it was read: then all are as they
    were at that moment.
    """
    found = _read_all(marker, known, len(known) or marker.count(), backend)
    for _ in range(_SETTLED_ATTEMPTS):
        again = [read_shard(marker, number, found, backend) for number in range(len(found) - 1)]
        if all(map(_is_same, again, found)):
            break
        found = _read_all(marker, [*again, found[-1]], len(found), backend)
    return found


def _read_all(
    marker: Marker, known: Sequence[Snapshot], n_shards: int, backend: Backend
) -> list[Snapshot]:
    found: list[Snapshot] = []
    while len(found) < n_shards or marker.has_shard(len(found)):
        found.append(read_shard(marker, len(found), known, backend))
    return found


def read_shard(
    marker: Marker, number: int, known: Sequence[Snapshot], backend: Backend = "mmap"
) -> Snapshot:
    """Read a shard as it is now, going on from what is known of it, if anything."""
    try:
        if number < len(known):
            return known[number].refreshed()
        return open_snapshot(marker.shard(number), backend)
    except StoreNotFoundError as error:
        raise marker.missing(number) from error
