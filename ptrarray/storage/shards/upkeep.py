"""Checkpoint, compaction, repair and check of a store, shard by shard where it has shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from operator import itemgetter, methodcaller
from pathlib import Path

from ptrarray.errors import CorruptStoreError, Damage, StoreNotFoundError
from ptrarray.format.helpers import FOLDER
from ptrarray.format.layouts import Layout
from ptrarray.format.shards import shard_name, shard_number, without_notes
from ptrarray.storage.lifecycle import compaction
from ptrarray.storage.lifecycle.create import create_store, new_header, taken
from ptrarray.storage.lifecycle.salvage import salvage, salvage_helpers
from ptrarray.storage.lifecycle.sums import forget
from ptrarray.storage.lifecycle.verify import (
    array_damage,
    damaged,
    find_damage,
    find_helper_damage,
)
from ptrarray.storage.shards.catalog import find_catalog_damage, renew
from ptrarray.storage.shards.create import new_marker, write_marker
from ptrarray.storage.shards.doubles import find_doubles
from ptrarray.storage.shards.helpers import flush, referred_to, with_those_they_refer_to
from ptrarray.storage.shards.marker import Marker, is_sharded
from ptrarray.storage.shards.opened import open_any
from ptrarray.storage.shards.session import Shards
from ptrarray.storage.store.index import Index
from ptrarray.storage.store.merging import MEMORY_NBYTES
from ptrarray.storage.store.opened import Opened, OpenedStore
from ptrarray.storage.store.snapshot import StoreSnapshot, locate_found
from ptrarray.storage.system import files
from ptrarray.storage.system.building import new_directory
from ptrarray.storage.system.files import File
from ptrarray.storage.system.lock import try_lock_whole, whole
from ptrarray.storage.writing.session import Session


def checkpoint(directory: Path, memory: int) -> None:
    """Fold the journal of a store, or of each of its shards, into a new index."""
    change = methodcaller("checkpoint", memory)
    _in_each(directory, change, memory)
    with suppress(StoreNotFoundError):
        _in_one(files.no_link(directory / FOLDER), change)


def compact(directory: Path, memory: int, *, progress: bool = False) -> None:
    """Rewrite the data file of a store, or of each of its shards, without holes."""
    change = partial(compaction.compact, progress=progress, memory=memory)
    _in_each(directory, change, memory)
    drop_unneeded(directory, memory, progress=progress)


def publish(directory: Path, memory: int, *, progress: bool = False) -> None:
    """Bring a store, or each of its shards, to what is best read from elsewhere."""
    change = partial(compaction.publish, progress=progress, memory=memory)
    _in_each(directory, change, memory, is_last_twice=True)
    drop_unneeded(directory, memory, progress=progress, entry=True)


@whole
def _in_each(
    directory: Path,
    change: Callable[[Session], None],
    memory: int,
    *,
    is_last_twice: bool = False,
) -> None:
    """Change a store, or each of its shards; the last one twice, if nothing may be noted behind it."""
    if not is_sharded(directory):
        _in_one(directory, change)
        return
    with closing(Shards(directory)) as shards, shards.while_in_place():
        # So that nobody who holds the store's lock has to wait for one of them to be flushed.
        shards.flush()
        numbers = range(shards.last.number + 1)
        paths = [files.no_link(shards.marker.shard(number)) for number in numbers]
        is_changed = True
        try:
            changes = [_in_one(path, change) for path in paths]
            is_changed = any(changes)
        finally:
            if is_changed:
                with shards.locked():
                    shards.announce_change()
        if is_changed and is_last_twice:
            _in_one(paths[-1], change)
    renew(directory, memory)


@whole
def _in_one(directory: Path, change: Callable[[Session], None]) -> bool:
    """Change one store; return whether that has changed anything."""
    with closing(Session(directory)) as session:
        with session.locked():
            before = session.version
        change(session)
        with session.locked():
            return session.version != before


def drop_unneeded(
    directory: Path,
    memory: int = MEMORY_NBYTES,
    *,
    progress: bool = False,
    entry: bool = False,
) -> None:
    """Drop helper arrays that nothing refers to, and rewrite the others without holes.

    Does nothing while a writer is open that has helper arrays, for it may be about to refer to
    them: the next one to compact the store does it.
    """
    place = directory / FOLDER
    if not files.is_directory(place):
        return
    with File(files.no_link(place), files.DIRECTORY) as lock:
        if not try_lock_whole(lock):
            return
        needed = referred_to(open_any(directory))
        flush(directory)
        with closing(Session(place)) as session:
            keep = _kept(session, needed)
            if entry and keep.issuperset(session.snapshot().names()):
                compaction.publish(session, progress=progress, memory=memory)
                return
            compaction.compact(session, progress=progress, names=keep, memory=memory, entry=entry)


@whole
def _kept(session: Session, names: set[str]) -> set[bytes]:
    with session.locked():
        return with_those_they_refer_to(session.sound_snapshot(), names)


def repair(source: Path, to: Path, memory: int, *, progress: bool = False) -> list[Damage]:
    """Copy what is intact of a store, of shards or not, into a new one; return what was left out."""
    found = _found_shards(source)
    if not found:
        return salvage(source, to, memory, progress=progress)
    with new_directory(to, taken) as building:
        return _salvage_shards(source, found, building, memory, progress=progress)


def _found_shards(directory: Path) -> list[Path]:
    """Return the paths of all shards that there should be; none if it is no store of shards."""
    names = files.list_directory(directory)
    keys = [key for key in map(shard_number, names) if key is not None]
    if not keys or not (is_sharded(directory) or "index.msgpack" not in names):
        return []
    generation, last = max(keys)
    with suppress(CorruptStoreError, StoreNotFoundError):
        generation = Marker(directory).header.generation
        last = max((number for part, number in keys if part == generation), default=0)
    return [directory / shard_name(generation, number) for number in range(last + 1)]


def _salvage_shards(
    source: Path, found: list[Path], building: Path, memory: int, *, progress: bool
) -> list[Damage]:
    """Copy shard by shard; one of which nothing can be read becomes an empty one."""
    left_out: list[Damage] = []
    layout, shard_nbytes = _facts(source, found, left_out)
    attrs = next(_attrs(found), {})
    for number, path in enumerate(found):
        target = building / shard_name(1, number)
        try:
            if Index(path, checked=False).header.layout != layout:
                raise CorruptStoreError(f"{path} has not {layout.describe()}", path=str(path))
            left_out += salvage(path, target, memory, progress=progress)
        except (CorruptStoreError, FileNotFoundError) as error:
            left_out.append(Damage(str(path), f"cannot be read, all of it is left out: {error}"))
            create_store(target, new_header(layout, 0, attrs))
    salvage_helpers(source, building, memory, left_out=left_out, progress=progress)
    write_marker(building, new_marker(layout, shard_nbytes))
    renew(building, memory)
    return left_out


def _facts(source: Path, found: list[Path], left_out: list[Damage]) -> tuple[Layout, int]:
    """Return what the marker says, or without it what the shards are like."""
    try:
        header = Marker(source).header
    except (CorruptStoreError, StoreNotFoundError) as error:
        left_out.append(Damage(str(source), str(error)))
    else:
        return header.layout, header.shard_nbytes
    layouts = [index.header.layout for index in _indexes(found)]
    if not layouts:
        raise CorruptStoreError(
            f"{source} has neither a marker nor a shard that can be read", path=str(source)
        )
    return layouts[0], max(map(files.size, found))


def _attrs(found: list[Path]) -> Iterator[dict[str, object]]:
    """Yield the user's attrs as the shards have them, each since it was made."""
    return (without_notes(index.header.attrs) for index in _indexes(found))


def _indexes(found: list[Path]) -> Iterator[Index]:
    for path in found:
        with suppress(CorruptStoreError, FileNotFoundError):
            yield Index(path, checked=False)


def check_any(
    opened: Opened,
    helpers: OpenedStore | None = None,
    *,
    progress: bool = False,
    memory: int = MEMORY_NBYTES,
) -> None:
    """Check all of a store, and raise `CorruptStoreError` with all the damage there is."""
    stores = opened.stores
    damage: list[Damage] = []
    for store in stores:
        damage += find_damage(store, progress=progress, memory=memory)
        forget(store)
    snapshots = [store.snapshot for store in stores]
    if not damage and len(stores) > 1:
        share = max(memory // 4, 1)
        damage += _doubled(snapshots, share)
        damage += find_catalog_damage(opened.snapshot.directory, share)
    referring = [] if damage else snapshots
    damage += find_helper_damage(helpers, referring, progress=progress, memory=memory)
    if damage:
        raise damaged(str(opened.snapshot.directory), damage)


def _doubled(shards: Sequence[StoreSnapshot], memory: int) -> list[Damage]:
    """Find names that are in several shards, though none of them was replaced."""
    found = []
    for doubles in find_doubles(shards, memory):
        for name, numbers in doubles.items():
            clause = f"which is in {shards[numbers[-1]].directory}, too"
            for number in numbers[:-1]:
                shard = shards[number]
                address = locate_found(shard, name)
                pointer = shard.pointer_at(address)
                # In data order: of equal starts, arrays of the index come first.
                at = (number, pointer[0], address < 0, abs(address))
                found.append((at, array_damage(str(shard.directory), name, *pointer, clause)))
        for shard in shards:
            shard.index.forget()
    return [damage for _, damage in sorted(found, key=itemgetter(0))]
