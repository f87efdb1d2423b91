"""The helper arrays of a store, of shards or not: a store of their own inside of it.

A helper array is called after its content (`ptrarray.format.helpers`), never changed, and found
by metadata of arrays that refer to it. What they refer to is there, because of this order:

1. Whoever is about to refer to one holds a lock on the directory of helper arrays, shared with
   others, until it closes. It looks under this lock which are there, writes those that are not,
   and waits until all of them are on the disk. Only then it commits what refers to them. Killed
   before, it leaves helper arrays that nothing refers to, which do no harm.
2. Helper arrays go in one way: `upkeep.drop_unneeded` has the lock for itself, so that nobody is about
   to refer to one. It sees what the store refers to, and waits until this state of the store is
   on the disk: no power cut brings back what referred to more. Then it puts an index without the
   others in place, of a new generation.
3. A reader keeps the index and rows of helper arrays that it has mapped, whatever becomes of the
   files: see `open_beside`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ptrarray.errors import (
    CorruptStoreError,
    DuplicateNameError,
    StoreExistsError,
    StoreNotFoundError,
)
from ptrarray.format import metadata
from ptrarray.format.helpers import FOLDER, references
from ptrarray.format.layouts import MIXED, Layout
from ptrarray.intake.batch import from_mapping
from ptrarray.rows.types import Array
from ptrarray.storage.lifecycle.create import create_store, new_header
from ptrarray.storage.shards.marker import Marker, is_sharded
from ptrarray.storage.shards.session import Shards
from ptrarray.storage.shards.snapshot import ShardedSnapshot
from ptrarray.storage.store.opened import Opened, OpenedStore, load
from ptrarray.storage.store.snapshot import Snapshot, StoreSnapshot, open_snapshot
from ptrarray.storage.system import files
from ptrarray.storage.system.files import File
from ptrarray.storage.system.lock import share_whole, whole
from ptrarray.storage.system.mapping import Backend, Mode
from ptrarray.storage.writing import transactions
from ptrarray.storage.writing.session import bring_to_disk
from ptrarray.storage.writing.target import WritableStore

_LAYOUT = Layout(MIXED, np.dtype(np.uint8), (), masked=False)

Meta = Mapping[str, Any]


class HelperWriter:
    """Keeps helper arrays of a store; opened, and made, when there is one to keep.

    Parameters
    ----------
    directory : Path
        The store that they belong to.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._opened: tuple[File, WritableStore] | None = None
        self._known: set[str] = set()  # what is there, and on the disk, as long as this is open

    @whole
    def keep(self, helpers: Mapping[str, tuple[Array, Meta]]) -> None:
        """Have helper arrays, each with its metadata, on the disk; those that are there stay."""
        opened = self._opened
        if opened is not None and opened[1].pid != files.process_id():
            self._opened, self._known = None, set()  # the lock is the parent's
        new = {name: helper for name, helper in helpers.items() if name not in self._known}
        if not new:
            return
        if self._opened is None:
            self._opened = _opened_for_writing(self._directory)
        store = self._opened[1]
        while not _put(store, new):
            pass  # somebody else has written some of them meanwhile
        with store.locked():
            header = store.journal_header
        if header.synced_end < header.committed_end:
            store.flush()
        self._known.update(new)

    def close(self) -> None:
        """Close the store of helper arrays, and let others drop what nothing refers to."""
        opened, self._opened, self._known = self._opened, None, set()
        if opened is not None:
            file, store = opened
            with file:
                store.close()


def _opened_for_writing(directory: Path) -> tuple[File, WritableStore]:
    place = directory / FOLDER
    if not files.exists(place):
        like = Marker(directory).shard(0) if is_sharded(directory) else directory
        with suppress(StoreExistsError):  # by another process, just now
            create_store(place, new_header(_LAYOUT, 0, {}), like=like)
    lock = File(files.no_link(place), files.DIRECTORY)
    try:
        share_whole(lock)
        return lock, WritableStore(place)
    except BaseException:
        lock.close()
        raise


def _put(store: WritableStore, helpers: Mapping[str, tuple[Array, Meta]]) -> bool:
    """Write those that are not there; return whether all of them are."""

    def missing() -> list[str]:
        found = store.snapshot().find_all([name.encode() for name in helpers])
        return [name for name, (start, _) in zip(helpers, found.tolist(), strict=True) if start < 0]

    names = transactions.asked(store, missing)
    if not names:
        return True
    arrays = {name: helpers[name][0] for name in names}
    metas = {name: helpers[name][1] for name in names if helpers[name][1]}
    try:
        transactions.put(store, from_mapping(arrays, _LAYOUT, metas), None, overwrite=False)
    except DuplicateNameError:
        return False
    return True


# Reading ------------------------------------------------------------------------------------------


def open_beside(
    opened: Opened, mode: Mode, backend: Backend | None, known: OpenedStore | None = None
) -> tuple[Opened, OpenedStore | None]:
    """Open the helper arrays that a store refers to; return the store, as it is by now, and them.

    Parameters
    ----------
    opened : Opened
        The store.
    mode, backend
        With which it was opened; helper arrays are only read.
    known : OpenedStore, optional
        What was opened before.

    Notes
    -----
    A store without metadata refers to none, and costs nothing. Else all that it refers to is in
    what is returned, for ever. Both are read in turn: helper arrays, the store, helper arrays.
    Those that the store refers to were there before it did, so the second look at them finds
    them, unless they were dropped between both looks, which gives them another generation: then
    begin again.
    """
    directory = opened.snapshot.directory
    while opened.snapshot.has_metas:
        first = open_helpers(directory, backend, known)
        if first is None:  # so there was none before, to which the store could refer
            return opened, None
        opened, known = opened.refreshed(mode), first.refreshed("r")
        if _generation(first) == _generation(known):
            return opened, known
    return opened, known


def open_helpers(
    directory: Path, backend: Backend | None, known: OpenedStore | None = None
) -> OpenedStore | None:
    """Open the helper arrays of a store as they are; None if it has none."""
    if known is not None:
        return known.refreshed("r")
    try:
        return load(open_snapshot(directory / FOLDER, backend), "r")
    except StoreNotFoundError:
        return None


def _generation(opened: OpenedStore) -> tuple[bytes, int]:
    header = opened.snapshot.header
    return header.store_id, header.generation


def referred_to(snapshot: Snapshot) -> set[str]:
    """Return the names of all helper arrays that a store refers to by itself."""
    found: set[str] = set()
    for store in stores_of(snapshot):
        if store.has_metas:
            found.update(*map(references, _metas(store)))
    return found


def stores_of(snapshot: Snapshot) -> Iterable[StoreSnapshot]:
    """Return the snapshots of the stores that a store consists of."""
    if isinstance(snapshot, ShardedSnapshot):
        return snapshot.shards
    assert isinstance(snapshot, StoreSnapshot)
    return (snapshot,)


def _metas(store: StoreSnapshot) -> Iterator[Meta]:
    for position in range(len(store)):
        raw = store.meta_at(store.locate_position(position))
        try:
            yield metadata.decode(raw)
        except ValueError as error:
            path = store.index.path
            raise CorruptStoreError(f"{path} has {error}", path=path) from error


# Dropping -----------------------------------------------------------------------------------------


def flush(directory: Path) -> None:
    """Wait until all that is committed to a store, of shards or not, is on the disk."""
    if not is_sharded(directory):
        bring_to_disk(directory)
        return
    with closing(Shards(directory)) as shards:
        shards.flush()


def with_those_they_refer_to(helpers: Snapshot, names: set[str]) -> set[bytes]:
    """Return names, and those of all helper arrays that these need themselves."""
    needed: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in needed:
            needed.add(name)
            left += references(helpers.meta(name.encode()))
    return {name.encode() for name in needed}
