"""A store of shards as of one moment: a snapshot of each shard, read as one."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate, chain
from operator import is_
from pathlib import Path
from typing import Any

import numpy as np

from ptrarray.errors import CorruptStoreError, StoreNotFoundError
from ptrarray.format.entries import RaggedColumn
from ptrarray.format.index import corrupt
from ptrarray.format.layouts import Layout
from ptrarray.format.shards import Notes, decode_notes
from ptrarray.rows.types import Int64s
from ptrarray.storage.shards.catalog import n_covered, open_catalog
from ptrarray.storage.shards.finder import NO_ROW, Completed, Finder, placed, without
from ptrarray.storage.shards.marker import Marker, check_descriptors
from ptrarray.storage.store.absent import never_at_rest
from ptrarray.storage.store.held import Held, hold
from ptrarray.storage.store.snapshot import StoreSnapshot, open_snapshot
from ptrarray.storage.system.mapping import Backend

_ATTEMPTS = 100
# So many shards are looked for at once where nobody tells how many there are.
FEW_SHARDS = 8
# Older shards seldom change, so all of one moment are seldom missed twice.
_SETTLED_ATTEMPTS = 10
# Up to here, looking for names one by one is faster than as a whole, which costs some 50 us a
# shard and 0.2 us a name, instead of 0.25 us a name.
_FEW = 256


class ShardedSnapshot:
    """The `Snapshot` of a store of shards: a snapshot of each, all of the same moment.

    Rows are numbered through: those of a shard come after all of the shards
    before it. Positions, too.

    An address is ``address * n_shards + number``, of the address in a shard and the number of
    that: of 3 shards, 7 in shard 1 becomes 22, and ``divmod(22, 3)`` gives both back. So it does
    where an address is negative: -2 in shard 1 becomes -5, and ``divmod(-5, 3)`` is (-2, 1).

    Parameters
    ----------
    marker : Marker
        Of the store.
    found : sequence of Held or StoreSnapshot
        Of each shard, as it lies on the disk.

    Attributes
    ----------
    parts : tuple of Held or StoreSnapshot
        Of each shard, without the names that are to be deleted there.
    shards : sequence of StoreSnapshot
        The same; what is only held becomes one when it is asked for.
    first_rows : list of int, one more than shards
        Rows of all shards before each.
    last_rows : list of int, as many as shards
        Up to where the arrays of each lie; of the last `NO_ROW`: see `placed`.
    """

    def __init__(self, marker: Marker, found: Sequence[Held | StoreSnapshot]) -> None:
        self.marker = marker
        self.directory: Path = marker.directory
        self.found = tuple(found)
        self.backend: Backend = found[0].backend
        self.asked_backend = found[0].asked_backend
        outdated = self._outdated()
        self.parts = tuple(
            without(one.complete(), outdated[number]) if number in outdated else one
            for number, one in enumerate(found)
        )
        self.shards: Sequence[StoreSnapshot] = Completed(self.parts)
        self._check_layouts()
        self.first_rows = [0, *accumulate(part.n_rows for part in self.parts)]
        self.last_rows = [*self.first_rows[1:-1], NO_ROW]

    @cached_property
    def first_positions(self) -> list[int]:
        """Arrays of all shards before each, and of all."""
        # Later, as this puts what was deleted in order, which looking a name up need not.
        return [0, *accumulate(map(len, self.parts))]

    def _check_layouts(self) -> None:
        wanted = same = self.layout
        for part in self.parts:
            found = part.header.layout
            if found is not same and found != wanted:
                what = f"has {found.describe()}, not {wanted.describe()}"
                raise corrupt(str(part.directory), f"{what} as the store of which it is a shard")
            same = found

    def _outdated(self) -> dict[int, list[bytes]]:
        """Names of which another shard has the array now, by the shard that has the old one."""
        outdated: dict[int, list[bytes]] = {}
        for old, new, name in notes_of(self.found).replaced:
            there = max(old, new) < len(self.found)
            if there and all(self.found[at].complete().find(name) for at in (new, old)):
                outdated.setdefault(old, []).append(name)
        return outdated

    @cached_property
    def finder(self) -> Finder:
        """Looks names up in all shards."""
        is_one = len(self.parts) == 1
        return Finder(self.parts, None if is_one else open_catalog(self.marker, self.asked_backend))

    @cached_property
    def n_known(self) -> int:
        """Of how many shards a catalog has all names. Opens none of the others, as `finder` does."""
        catalog = open_catalog(self.marker, self.asked_backend) if len(self.parts) > 1 else None
        return 0 if catalog is None else sum(1 for _ in catalog.known_of(self.parts))

    # what any snapshot answers -------------------------------------------------------------

    @property
    def layout(self) -> Layout:
        """What the arrays are made of."""
        return self.marker.header.layout

    @property
    def n_rows(self) -> int:
        """Rows of all shards."""
        return self.first_rows[-1]

    @property
    def version(self) -> tuple[int, ...]:
        """Generation of the marker, and the versions of all shards."""
        versions = (number for shard in self.found for number in shard.version)
        return self.marker.header.generation, *versions

    @property
    def attrs(self) -> dict[str, Any]:
        """The user's attrs, which the first shard keeps."""
        return self.parts[0].attrs

    def __len__(self) -> int:
        return self.first_positions[-1]

    def find(self, name: bytes) -> tuple[int, int] | None:
        """Pointer of a name, or None."""
        hit = self.finder.find(name)
        if hit is None:
            return None
        number, (start, end) = hit
        first_row = self.first_rows[number]
        if start < end:
            return start + first_row, end + first_row
        return placed((start, end), first_row, self.last_rows[number])

    def find_all(self, names: Sequence[bytes]) -> Int64s:
        """Pointers of several names, shape (n_names, 2); starts of -1 for those not there."""
        if len(names) <= (_FEW if self.backend == "mmap" else 1):
            return np.array([self.find(name) or (-1, -1) for name in names], np.int64)
        return self.finder.pointers(names, self.first_rows, self.last_rows)

    def number_of(self, name: bytes) -> int:
        """Return the number of the shard that has a name, or -1."""
        hit = self.finder.find(name)
        return -1 if hit is None else hit[0]

    def locate(self, name: bytes) -> int | None:
        """Address of a name, or None."""
        number = self.number_of(name)
        address = None if number < 0 else self.parts[number].complete().locate(name)
        return None if address is None else address * len(self.parts) + number

    def locate_position(self, position: int) -> int:
        """Address of the array at a position, ``0 <= position < len``."""
        number = bisect_right(self.first_positions, position) - 1
        address = (
            self.parts[number].complete().locate_position(position - self.first_positions[number])
        )
        return address * len(self.parts) + number

    def pointer_at(self, address: int) -> tuple[int, int]:
        """Pointer of the array at an address."""
        address, number = divmod(address, len(self.parts))
        pointer = self.parts[number].complete().pointer_at(address)
        return placed(pointer, self.first_rows[number], self.last_rows[number])

    def pointers_at(self, addresses: Int64s) -> tuple[Int64s, Int64s]:
        """Pointers of the arrays at some addresses, as starts and ends."""
        pointers = np.empty((len(addresses), 2), np.int64)
        local, numbers = np.divmod(addresses, len(self.parts))
        for number in np.unique(numbers).tolist():
            which = np.flatnonzero(numbers == number)
            found = np.transpose(self.shards[number].pointers_at(local[which]))
            rows = self.first_rows[number], self.last_rows[number]
            pointers[which] = [placed(one, *rows) for one in map(tuple, found.tolist())]
        return pointers[:, 0], pointers[:, 1]

    def shard_of(self, start: int, end: int) -> tuple[int, int, int]:
        """Return the number of the shard that has these rows, and their range in it.

        Where several shards meet, arrays without rows may be in each: that of the first is returned.
        The range ends behind the shard's rows if they are not all in one.
        """
        last = bisect_right(self.first_rows, start, hi=len(self.parts)) - 1
        for number in range(bisect_left(self.last_rows, start), last + 1 if start == end else 0):
            shard, row = self.shards[number], start - self.first_rows[number]
            is_end = start == self.last_rows[number]
            address = shard.locate_from(row) if is_end else shard.locate_pointer(row, row)
            if address is not None:
                return number, *shard.pointer_at(address)
        return last, start - self.first_rows[last], end - self.first_rows[last]

    @property
    def has_metas(self) -> bool:
        """Whether any array may have metadata."""
        return any(part.has_metas for part in self.parts)

    def meta(self, name: bytes) -> dict[str, Any] | None:
        """Metadata of a name, or None if it is not there."""
        number = self.number_of(name)
        return None if number < 0 else self.parts[number].complete().meta(name)

    def meta_at(self, address: int) -> bytes:
        """Metadata of the array at an address, packed."""
        address, number = divmod(address, len(self.parts))
        return self.parts[number].complete().meta_at(address)

    @cached_property
    def metas(self) -> RaggedColumn:
        """Metadata of all arrays, shard by shard in data order, packed."""
        return RaggedColumn.chained([shard.metas for shard in self.shards])

    @cached_property
    def infos(self) -> RaggedColumn:
        """How each array differs from plain rows, shard by shard in data order, packed."""
        return RaggedColumn.chained([shard.infos for shard in self.shards])

    def item_columns(self) -> tuple[memoryview, memoryview]:
        """Return starts and ends as memoryviews, if there is only one shard; else empty."""
        starts, ends = self.shards[0].item_columns()
        return (starts, ends) if len(self.parts) == 1 else (starts[:0], ends[:0])

    def name(self, position: int) -> bytes:
        """Name of the array at a position, ``0 <= position < len``."""
        number = bisect_right(self.first_positions, position) - 1
        return self.parts[number].complete().name(position - self.first_positions[number])

    def names(self) -> Iterator[bytes]:
        """Yield all names, shard by shard in data order."""
        return chain.from_iterable(shard.names() for shard in self.shards)

    def texts(self, first: int = 0, last: int | None = None) -> Iterator[str]:
        """Yield names as text, or those of the positions ``first <= p < last``."""
        last = len(self) if last is None else last
        return chain.from_iterable(
            shard.texts(max(first - before, 0), min(last - before, len(shard)))
            for shard, before in zip(self.shards, self.first_positions, strict=False)
            if before < last and first < before + len(shard)
        )

    def newest_names(self) -> Iterator[bytes]:
        """Yield all names, those that were committed last first, from the last shard on."""
        return chain.from_iterable(shard.newest_names() for shard in reversed(self.shards))

    @cached_property
    def starts(self) -> Int64s:
        """First rows, shard by shard in data order: a view of the only shard's, or a copy."""
        return self._joined("starts")

    @cached_property
    def ends(self) -> Int64s:
        """Rows after the last ones; as `starts`."""
        return self._joined("ends")

    def _joined(self, name: str) -> Int64s:
        if len(self.parts) == 1:
            column: Int64s = getattr(self.shards[0], name)
            return column
        bounds = zip(self.shards, self.first_rows, self.last_rows, strict=False)
        joined = np.concatenate([_column(shard, name, *rows) for shard, *rows in bounds])
        joined.flags.writeable = False
        return joined

    # later ---------------------------------------------------------------------------------

    def refreshed(self) -> ShardedSnapshot:
        """Return what the store is now; itself if nothing changed."""
        if not self.marker.is_in_place():
            return open_shards(self.directory, self.asked_backend)
        try:
            found = _collected(self.marker, self.found, self.asked_backend)
        except CorruptStoreError:
            if self.marker.is_in_place():
                raise
            return open_shards(self.directory, self.asked_backend)
        is_same = len(found) == len(self.found) and all(map(is_, found, self.found))
        return self if is_same else ShardedSnapshot(self.marker, found)


def _column(shard: StoreSnapshot, name: str, first_row: int, last_row: int) -> Int64s:
    """Return a copy of the starts or ends of a shard, each as by `placed`."""
    column: Int64s = getattr(shard, name) + first_row
    beyond = slice(int(np.searchsorted(shard.starts, shard.n_rows, "right")), None)
    # What is damaged stays as it is.
    is_empty = shard.starts[beyond] == shard.ends[beyond]
    np.minimum(column[beyond], last_row, out=column[beyond], where=is_empty)
    return column


def notes_of(found: Sequence[Held | StoreSnapshot]) -> Notes:
    """Return the notes about the others that the last of several shards keeps in its attrs."""
    if len(found) < 2:  # those of the first are the user's
        return Notes()
    return decode_notes(found[-1].attrs, str(found[-1].directory))


def open_shards(directory: Path, backend: Backend | None = None) -> ShardedSnapshot:
    """Read the names and pointers of a store of shards that other processes may be changing.

    Raises
    ------
    StoreNotFoundError
        If there is no store.
    CorruptStoreError
        If what is there is damaged.
    StoreError
        If it is replaced again and again.
    """
    for _ in range(_ATTEMPTS):
        marker = Marker(directory)
        try:
            return ShardedSnapshot(marker, _collected(marker, (), backend))
        except CorruptStoreError:
            if marker.is_in_place():
                raise
    raise never_at_rest(directory)


def _collected(
    marker: Marker, known: Sequence[Held | StoreSnapshot], backend: Backend | None
) -> list[Held | StoreSnapshot]:
    """Read every shard, going on from what is known of it.

    From the first to the last, since arrays only move to later shards; and until none but the
    last, which was read at one moment, has changed since it was read: then all are as they
    were at that moment. So they are if none at all differs from what was known.
    """
    if marker.is_remote:
        return _collected_elsewhere(marker, known, backend)
    n_shards = len(known) or marker.count()
    try:
        found = _read_all(marker, known, n_shards, backend)
        for _ in range(_SETTLED_ATTEMPTS):
            if len(found) == len(known) and all(map(is_, found, known)):
                break
            again = [read_shard(marker, number, found, backend) for number in range(len(found) - 1)]
            if all(map(is_, again, found)):
                break
            known = [*again, found[-1]]
            found = _read_all(marker, known, len(found), backend)
    except OSError as error:
        check_descriptors(error, marker, n_shards)
        raise
    return found


def _collected_elsewhere(
    marker: Marker, known: Sequence[Held | StoreSnapshot], backend: Backend | None
) -> list[Held | StoreSnapshot]:
    """Do as `_collected`, with all shards asked at once.

    If none has changed from one look to the next, all are as they were between the two. Else the
    last one, which may change again and again, is read once more before the others are.
    """
    found, n_growing = _read_at_once(marker, known, backend), 0
    for _ in range(_SETTLED_ATTEMPTS):
        if len(found) == len(known) and all(map(is_, found, known)):
            break
        again = _read_at_once(marker, found, backend)
        if len(again) == len(found) and all(map(is_, again[: len(again) - n_growing], found)):
            break
        found, n_growing = [*again[:-1], again[-1].refreshed()], 1
    return found


def check_ends(marker: Marker, number: int, ids: Sequence[bytes]) -> None:
    """Raise an error if shards up to this one are the same: who has an answer to any name never ends."""
    if len({*ids}) < len(ids):
        what = "is the same as another shard: does the server answer for files that are not there?"
        raise corrupt(str(marker.shard(number)), what)


def _is_there(found: object) -> bool:
    return found is not None


def _is_end(marker: Marker, number: int, behind: list[Any], is_expected: bool) -> bool:
    """Tell whether a shard that was not there is the end, and not one that is missing.

    Parameters
    ----------
    behind : list
        What was read of shards behind it. If none was asked for, one is looked for, unless the
        end was expected there.
    """
    is_looked = bool(behind) or is_expected
    if not any(map(_is_there, behind)) and (is_looked or not marker.has_index(number + 1)):
        return True
    if not marker.has_index(number):  # it was not made just now, either
        raise marker.missing(number)
    return False


def _read_at_once(
    marker: Marker, known: Sequence[Held | StoreSnapshot], backend: Backend | None
) -> list[Held | StoreSnapshot]:
    """Read every shard, and what is behind those that are known, where nobody tells what there is."""

    def read(number: int) -> Held | StoreSnapshot | None:
        try:
            return read_shard(marker, number, known, backend)
        except CorruptStoreError as error:
            if number < len(known) or not isinstance(error.__cause__, StoreNotFoundError):
                raise
            return None

    found: list[Held | StoreSnapshot] = []
    n_expected = len(known) or n_covered(marker)
    n_asked = n_expected + 1 if n_expected else FEW_SHARDS
    while True:
        more: list[Any] = marker.each(read, range(len(found), len(found) + n_asked))
        n_more = more.index(None) if None in more else len(more)
        found += more[:n_more]
        behind = more[n_more + 1 :]
        if n_more < len(more) and _is_end(marker, len(found), behind, len(found) >= n_expected > 0):
            break
        check_ends(marker, len(found) - 1, [one.header.store_id for one in found])
        n_asked = max(FEW_SHARDS, len(found))
    if not found:
        raise marker.missing(0)
    return found


def _read_all(
    marker: Marker, known: Sequence[Held | StoreSnapshot], n_shards: int, backend: Backend | None
) -> list[Held | StoreSnapshot]:
    """Read every shard; of those that are not known yet, the last one excepted, only the index."""
    found: list[Held | StoreSnapshot] = []
    while len(found) < n_shards or marker.has_shard(len(found)):
        is_whole = len(found) >= n_shards - 1
        found.append(read_shard(marker, len(found), known, backend, is_whole=is_whole))
    return found


def read_shard(
    marker: Marker,
    number: int,
    known: Sequence[Held | StoreSnapshot],
    backend: Backend | None = None,
    *,
    is_whole: bool = True,
) -> Held | StoreSnapshot:
    """Read a shard as it is now, going on from what is known of it, if anything.

    If it is not to be read whole, what is not known may be what its index says, whatever its
    journal does: to be asked once more, as `Held` tells.
    """
    try:
        if number < len(known):
            return known[number].refreshed()
        held = hold(marker.shard_path(number), backend)
        if held is None:
            return open_snapshot(marker.shard(number), backend)
        return held.refreshed() if is_whole else held
    except StoreNotFoundError as error:
        raise marker.missing(number) from error
