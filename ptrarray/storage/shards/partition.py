"""Parts of a store that travel between processes: a path, a commit, and positions in data order.

A part is opened where it is needed, and shows the arrays of the commit that it was cut from, or
is an error: never others that have come to the same positions since.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ptrarray.errors import CorruptStoreError, StoreError, StoreNotFoundError
from ptrarray.format.journal import RECORDS_START
from ptrarray.rows.types import Int64s
from ptrarray.storage.shards.finder import Completed
from ptrarray.storage.shards.helpers import open_helpers
from ptrarray.storage.shards.marker import Marker, check_descriptors, is_sharded
from ptrarray.storage.shards.opened import OpenedShards, load_any, load_shards
from ptrarray.storage.shards.snapshot import ShardedSnapshot
from ptrarray.storage.store.held import Held, HeldRows, hold
from ptrarray.storage.store.opened import Opened, OpenedStore, load
from ptrarray.storage.store.partition import OpenedPart
from ptrarray.storage.store.snapshot import StoreSnapshot, open_snapshot
from ptrarray.storage.system.mapping import Backend, Mode

_DIGEST_NBYTES = 16


class _HeldPart:
    """Arrays of a shard with their rows mapped; opened when that is first needed, as `HeldRows`."""

    def __init__(self, held: HeldRows | OpenedStore, low: int, high: int) -> None:
        self.held, self.low, self.high = held, low, high
        self._whole: OpenedPart | None = None

    @property
    def data(self) -> Any:
        """The flat array of the shard."""
        return self.held.data

    def complete(self) -> OpenedPart:
        """Return the same as an `OpenedStore`; made once."""
        if self._whole is None:
            self._whole = OpenedPart(self.held.complete(), self.low, self.high)
        return self._whole


class _HeldNames:
    """The same without its rows, as `Held`."""

    is_in_order = True  # by whoever knew the positions

    def __init__(self, part: _HeldPart, snapshot: Held | StoreSnapshot) -> None:
        self._part, self._snapshot = part, snapshot
        self.n_rows = snapshot.n_rows

    def __len__(self) -> int:
        return self._part.high - self._part.low

    @property
    def has_metas(self) -> bool:
        """Whether any array may have metadata."""
        return self._snapshot.has_metas

    @property
    def attrs(self) -> dict[str, Any]:
        """The attrs of the shard."""
        return self._snapshot.attrs

    def complete(self) -> StoreSnapshot:
        """Return the same as a `StoreSnapshot`."""
        return self._part.complete().snapshot


class PartOfShards(ShardedSnapshot):
    """The arrays at some positions of a store of shards, as a `Snapshot`.

    Has all shards, those without such an array as empty ones, so that rows and addresses are
    those of the origin.

    Parameters
    ----------
    origin : ShardedSnapshot
        The store.
    parts : sequence of _HeldNames
        What is left of each shard.
    """

    def __init__(self, origin: ShardedSnapshot, parts: Sequence[Any]) -> None:
        self._origin = origin
        self.marker, self.directory, self.found = origin.marker, origin.directory, origin.found
        self.backend, self.asked_backend = origin.backend, origin.asked_backend
        self.first_rows, self.last_rows = origin.first_rows, origin.last_rows
        self.parts = tuple(parts)
        self.shards = Completed(self.parts)

    @property
    def n_known(self) -> int:
        """Of how many shards a catalog has all names."""
        return self._origin.n_known

    def number_of(self, name: bytes) -> int:
        """Return the number of the shard that has a name, or -1."""
        number = self._origin.number_of(name)
        return number if number >= 0 and self.shards[number].locate(name) is not None else -1

    def find(self, name: bytes) -> tuple[int, int] | None:
        """Pointer of a name, or None."""
        return None if self.number_of(name) < 0 else self._origin.find(name)

    def find_all(self, names: Sequence[bytes]) -> Int64s:
        """Pointers of several names, shape (n_names, 2); starts of -1 for those not there."""
        return np.array([self.find(name) or (-1, -1) for name in names], np.int64)

    def refreshed(self) -> PartOfShards:
        """Return itself: what these are was said of one snapshot."""
        return self


class OpenedPartOfShards(OpenedShards):
    """The same with its rows mapped, as `Opened`.

    Parameters
    ----------
    origin : OpenedShards
        The store.
    low, high : int
        The positions of the arrays.
    """

    def __init__(self, origin: OpenedShards, low: int, high: int) -> None:
        self.origin, self.low = origin, low
        firsts = origin.snapshot.first_positions
        bounds = pairwise(np.clip(firsts, low, high).tolist())
        parts: list[Any] = [
            _HeldPart(held, start - first, end - first)
            for held, first, (start, end) in zip(origin.held, firsts, bounds, strict=False)
        ]
        names = list(map(_HeldNames, parts, origin.snapshot.parts))
        super().__init__(PartOfShards(origin.snapshot, names), parts)

    def get(self, name: str) -> None:
        """Return None: the snapshot has to tell, for only that knows which these are."""

    def refreshed(self, mode: Mode) -> OpenedPartOfShards:
        """Return itself, as the snapshot does."""
        return self


def part_of(opened: Opened, low: int, high: int) -> Opened:
    """Return the arrays of a store at the positions ``low <= p < high``, as `Opened`."""
    if isinstance(opened, OpenedShards):
        return OpenedPartOfShards(opened, low, high)
    return OpenedPart(opened.stores[0], low, high)


class Moment(NamedTuple):
    """A commit of a store: what is needed to open it as of then.

    Attributes
    ----------
    n_stores : int
        Of how many stores it consists.
    n_arrays : int
        How many arrays it has.
    digest : bytes
        Of the ids, generations and checksums of the indexes of these stores.
    ends : dict of int to (int, bytes)
        Bytes up to which their journals were read, of those that had records, and digests of
        what these have.
    """

    n_stores: int
    n_arrays: int
    digest: bytes
    ends: dict[int, tuple[int, bytes]]


def moment_of(opened: Opened) -> Moment:
    """Return which commit of a store is open."""
    snapshot = opened.snapshot
    parts: Sequence[Held | StoreSnapshot] = [opened.stores[0].snapshot]
    if isinstance(snapshot, ShardedSnapshot):
        parts = snapshot.found
    digest, ends = blake2b(digest_size=_DIGEST_NBYTES), dict[int, tuple[int, bytes]]()
    for number, part in enumerate(parts):
        header, end = part.header, part.version[1]
        # The checksums, too: what was put back from a backup and went on is another store.
        digest.update(b"%b %d %d " % (header.store_id, header.generation, header.crc))
        if end != RECORDS_START:
            ends[number] = end, part.complete().journal_digest
    return Moment(len(parts), len(snapshot), digest.digest(), ends)


def load_at(directory: Path, backend: Backend | None, moment: Moment) -> Opened:
    """Open a store as of a commit, with what was committed since left out.

    Raises
    ------
    StoreError
        If that is not to be had any more: a checkpoint or a compaction has put other files in
        the place of those, or the store is another one.
    StoreNotFoundError
        If there is no store any more.
    """
    try:
        opened = _loaded(directory, backend, moment)
        if moment_of(opened) == moment:
            return opened
    except CorruptStoreError:
        load_any(directory, "r", backend)  # or what is wrong with the store as it is
    except StoreNotFoundError:
        if not is_sharded(directory):
            raise
    raise StoreError(
        f"{directory} is not what it was when it was cut into partitions: it was checkpointed, "
        "compacted, repaired or replaced since. Open it and cut it anew",
        path=str(directory),
    )


def _loaded(directory: Path, backend: Backend | None, moment: Moment) -> Opened:
    at_rest = RECORDS_START, b""
    ends = [moment.ends.get(number, at_rest)[0] for number in range(moment.n_stores)]
    if not is_sharded(directory):
        return load(open_snapshot(directory, backend, ends[0]), "r")
    marker = Marker(directory)
    try:
        found = [_held_at(marker, number, backend, end) for number, end in enumerate(ends)]
    except OSError as error:
        check_descriptors(error, marker, moment.n_stores)
        raise
    return load_shards(ShardedSnapshot(marker, found), "r")


def _held_at(
    marker: Marker, number: int, backend: Backend | None, end: int
) -> Held | StoreSnapshot:
    held = hold(marker.shard_path(number), backend) if end == RECORDS_START else None
    return open_snapshot(marker.shard(number), backend, end) if held is None else held


class Portion:
    """Arrays of one commit of a store that follow each other in data order.

    Pickled, it is a path, the commit and two numbers.

    Parameters
    ----------
    opened : Opened
        The store, or a part of it.
    low, high : int
        The positions ``low <= p < high`` of the arrays in it.

    Attributes
    ----------
    path : Path
        The store.
    backend : {'mmap', 'pread'} or None
        How it is opened in other processes.
    low, high : int
        The positions in the whole store.
    """

    def __init__(self, opened: Opened, low: int, high: int) -> None:
        self.path = opened.snapshot.directory
        # As it was asked for, where it was; of all shards, the first one says it.
        self.backend: Backend | None = opened.stores[0].snapshot.asked_backend
        first = 0
        if isinstance(opened, OpenedPart | OpenedPartOfShards):
            first, opened = opened.low, opened.origin
        self.low, self.high = first + low, first + high
        self._whole: Opened | None = opened
        self._moment: Moment | None = None
        self._part: Opened | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_moment": self.moment, "_whole": None, "_part": None}

    @property
    def moment(self) -> Moment:
        """Which commit of the store it is."""
        if self._moment is None:
            self._moment = moment_of(self.whole)
        return self._moment

    @property
    def whole(self) -> Opened:
        """The store as of this commit; opened when it is first needed.

        Raises
        ------
        StoreError
            As `load_at`.
        """
        if self._whole is None:
            assert self._moment is not None
            self._whole = load_at(self.path, self.backend, self._moment)
        return self._whole

    @property
    def is_open(self) -> bool:
        """Whether the store is open already."""
        return self._whole is not None

    @property
    def opened(self) -> Opened:
        """The arrays; raises as `whole`."""
        if self._part is None:
            self._part = part_of(self.whole, self.low, self.high)
        return self._part

    def helpers(self) -> OpenedStore | None:
        """Open the helper arrays that these refer to; raises as `whole`."""
        beside = open_helpers(self.path, self.backend)
        # What drops helper arrays has compacted the store before: where this commit of it is still
        # to be had, all that it refers to was there.
        load_at(self.path, self.backend, self.moment)
        return beside

    def part(self, low: int, high: int) -> Portion:
        """Return some of these arrays, by positions among these."""
        return Portion(self.whole, self.low + low, self.low + high)
