"""Checking all of a store: every checksum, every pointer, every name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ptrarray.errors import CorruptStoreError, Damage, StoreNotFoundError
from ptrarray.format import infos, metadata
from ptrarray.format.helpers import digest, references
from ptrarray.format.index import entry_dtype
from ptrarray.format.names import hash_all
from ptrarray.progress import bar
from ptrarray.rows.copying import in_blocks
from ptrarray.rows.types import Int64s, UInt8s
from ptrarray.storage.lifecycle.naming import finds_all
from ptrarray.storage.lifecycle.sums import summed
from ptrarray.storage.remote.paths import RemotePath
from ptrarray.storage.store.compared import check_in_place
from ptrarray.storage.store.index import Index, pieces
from ptrarray.storage.store.merging import MEMORY_NBYTES
from ptrarray.storage.store.opened import OpenedStore
from ptrarray.storage.store.pointers import falling, outside
from ptrarray.storage.store.snapshot import StoreSnapshot

_SHARES = 4  # of the memory: what is read, what is made of it, and all else
_NAMES = 1 << 16  # names looked up in one go
_HASH_NBYTES = 4


def check(opened: OpenedStore, helpers: OpenedStore | None = None) -> None:
    """Check everything, and raise `CorruptStoreError` with all the damage there is."""
    damage = find_damage(opened) or find_helper_damage(helpers, [opened.snapshot])
    if damage:
        raise damaged(str(opened.snapshot.directory), damage)


def find_damage(
    opened: OpenedStore, *, progress: bool = False, memory: int = MEMORY_NBYTES
) -> list[Damage]:
    """Check everything, and return all that is wrong.

    Takes so many bytes of memory at the most, pages of the store's files among them, beside what
    the journal takes.
    """
    snapshot, share = opened.snapshot, memory // _SHARES
    try:
        opened.check_whole()
    except CorruptStoreError as error:
        return [Damage(error.path, str(error))]
    damage = [*_damaged_journal(snapshot), *_damaged_columns(snapshot, share)]
    if not damage:
        damage.extend(_damaged_infos(opened))
    if not damage:
        damage.extend(_damaged_arrays(opened, share // 4, progress=progress))
    if damage and isinstance(snapshot.directory, RemotePath):  # or is it of another store?
        check_in_place(snapshot)
    return damage


def array_damage(file: str, name: bytes, start: int, end: int, clause: str) -> Damage:
    """Return what is wrong with one array, in words such as "that has a damaged pointer"."""
    text = name.decode(errors="backslashreplace")
    problem = f"has array {text!r:.80}, rows {start} to {end}, {clause}"
    return Damage(file, problem, text, start, end)


def damaged(path: str, damage: list[Damage]) -> CorruptStoreError:
    """Return the error for a store with all that is wrong with it."""
    return CorruptStoreError(
        f"{path} is damaged in {len(damage)} places, the first: "
        f"{damage[0].file} {damage[0].problem}",
        path=damage[0].file,
        damage=tuple(damage),
    )


def _damaged_journal(snapshot: StoreSnapshot) -> Iterator[Damage]:
    """Read what came to the journal, each record against its checksum, as those before were read."""
    try:
        snapshot.refreshed()
    except CorruptStoreError as error:
        yield Damage(error.path, str(error))
    except StoreNotFoundError:
        # Of a store that was replaced or removed since it was opened, each record was compared then.
        if isinstance(snapshot.directory, RemotePath):
            check_in_place(snapshot)
            raise


def _damaged_columns(snapshot: StoreSnapshot, memory: int) -> Iterator[Damage]:
    """Find what is wrong with the index, and with the journal's pointers."""
    index = snapshot.index
    try:
        index.check()
    except CorruptStoreError as error:
        yield Damage(error.path, str(error))
        return  # nothing that follows from it can be trusted
    try:
        if not finds_all(index, memory):
            yield from _damaged_names(index, memory)
    except CorruptStoreError as error:
        yield Damage(error.path, str(error))
    yield from _unlike(index)
    yield from _astray(snapshot)
    fallen = list(_out_of_order(snapshot))
    yield from fallen or _overlapping(snapshot)


def _unlike(index: Index) -> Iterator[Damage]:
    """Find arrays of which another number is kept side by side with others than in its column."""
    if "entry" not in index.columns:
        return
    dtype = entry_dtype(index.columns)
    records = index.column("entry").view(dtype)
    columns = {name: index.column(name) for name in dtype.names or ()}
    for some in pieces(index.header.n_arrays):
        for name, column in columns.items():
            for at in np.flatnonzero(records[name][some] != column[some])[:1].tolist():
                position = some.start + at
                what = f"{records[name][position]} as {name!r} of array {position}"
                whose = f"in column 'entry', where that column has {column[position]}"
                yield Damage(index.path, f"has {what} {whose}")
        index.forget()


def _astray(snapshot: StoreSnapshot) -> Iterator[Damage]:
    """Find arrays that lead out of the rows there are."""
    n_rows = snapshot.n_rows
    for first, (starts, ends) in _walked(snapshot, "starts", "ends"):
        for at in np.flatnonzero(outside(starts, ends, n_rows)).tolist():
            yield _damage(snapshot, first + at, f"that does not lie in its {n_rows} rows")


def _out_of_order(snapshot: StoreSnapshot) -> Iterator[Damage]:
    """Find arrays that begin before the one before them: an index has them by their starts."""
    before = np.empty(0, np.int64)  # the last one of the block before
    for first, (starts, ends) in _walked(snapshot, "starts", "ends"):
        n_before, both = len(before), np.concatenate([before, starts])
        for at in falling(both).tolist():
            clause = f"that is out of order: the array before it begins at row {both[at - 1]}"
            position, pointer = first + at - n_before, (int(both[at]), int(ends[at - n_before]))
            yield array_damage(snapshot.index.path, snapshot.name(position), *pointer, clause)
        before = both[-1:]


def _overlapping(snapshot: StoreSnapshot) -> Iterator[Damage]:
    """Find arrays that run into rows of another one, though nobody pointed them there."""
    reached = None
    for first, (starts, ends, pointed) in _walked(snapshot, "starts", "ends", "pointed"):
        found, reached = running_into(starts, ends, pointed, reached)
        for at in found.tolist():
            yield _damage(snapshot, first + at, "that runs into rows of the array before it")


def running_into(
    starts: Int64s, ends: Int64s, pointed: UInt8s, reached: int | None
) -> tuple[Int64s, int | None]:
    """Return which arrays have rows of one before, though none was pointed, and the row all reach to.

    Of arrays sorted by start, some at a time: `reached` is that row of those before, None at first.
    """
    own = np.flatnonzero((pointed == 0) & (starts < ends))
    if not len(own):
        return own, reached
    lowest = np.iinfo(np.int64).min if reached is None else reached
    reaching = np.maximum.accumulate(np.concatenate([[lowest], ends[own]]))
    return own[starts[own] < reaching[:-1]], int(reaching[-1])


def _damaged_names(index: Index, memory: int) -> Iterator[Damage]:
    """Find names that the table does not lead to, or that others have."""
    step = max(memory // _HASH_NBYTES // _NAMES, 1) * _NAMES
    for start in range(0, max(index.header.n_arrays, 1), step):
        hashes = index.hashes(start, min(start + step, index.header.n_arrays))
        for first in range(start, start + len(hashes), _NAMES):
            names = index.split_names(first, min(first + _NAMES, start + len(hashes)))
            positions = np.arange(first, first + len(names))
            actual = np.frombuffer(hash_all(names), np.uint32)
            is_right = actual == hashes[positions - start]
            is_right &= index.are_found(names, actual, positions)
            for position in positions[~is_right].tolist():
                name = names[position - first][:80]
                yield Damage(index.path, f"does not find name {name!r} at position {position}")
            index.forget()


def _damaged_infos(opened: OpenedStore) -> Iterator[Damage]:
    """Find arrays whose dtype, shape or metadata makes no sense."""
    snapshot = opened.snapshot
    index, overlay = snapshot.index, snapshot.overlay
    if index.infos is None and index.metas is None and not (overlay.has_infos or overlay.has_metas):
        return
    for position in _each(snapshot):
        address = snapshot.locate_position(position)
        try:
            start, end = snapshot.pointer_at(address)
            infos.check(opened.layout, end - start, snapshot.info_at(address))
            metadata.decode(snapshot.meta_at(address))
        except ValueError as error:
            yield _damage(snapshot, position, f"that cannot be read: {error}")


def _damaged_arrays(opened: OpenedStore, memory: int, *, progress: bool) -> Iterator[Damage]:
    """Find arrays whose bytes do not match their checksum, read on all cores."""
    snapshot = opened.snapshot
    with bar(total=len(snapshot), unit=" arrays", progress=progress) as counter:
        for some in summed(opened, memory):
            counter.update(len(some.kept))
            for at in np.flatnonzero(some.actual != some.kept).tolist():
                actual, kept = some.actual[at], some.kept[at]
                clause = f"that has CRC-32 {actual:08x}, its pointer says {kept:08x}"
                yield _damage(snapshot, some.first + at, clause)


def _walked(snapshot: StoreSnapshot, *names: str) -> Iterator[tuple[int, list[Any]]]:
    """Yield columns in blocks, and let go of what was read."""
    for block in snapshot.in_blocks(*names):
        yield block
        snapshot.index.forget()


def _each(snapshot: StoreSnapshot) -> Iterator[int]:
    """Yield all positions, and let go now and then of what was read."""
    for block in in_blocks(0, len(snapshot)):
        yield from range(block.start, block.stop)
        snapshot.index.forget()


def find_helper_damage(
    helpers: OpenedStore | None,
    referring: Iterable[StoreSnapshot],
    *,
    progress: bool = False,
    memory: int = MEMORY_NBYTES,
) -> list[Damage]:
    """Check all helper arrays of a store, and that those are there that it refers to."""
    damage = [] if helpers is None else find_damage(helpers, progress=progress, memory=memory)
    if damage:
        return damage
    stores = [*referring, *([] if helpers is None else [helpers.snapshot])]
    for store in stores:
        damage.extend(_without_helpers(store, None if helpers is None else helpers.snapshot))
    if helpers is not None:
        damage.extend(_misnamed(helpers))
    return damage


def _without_helpers(store: StoreSnapshot, helpers: StoreSnapshot | None) -> Iterator[Damage]:
    """Find arrays that refer to helper arrays which are not there."""
    for position in _each(store) if store.has_metas else ():
        try:
            meta = metadata.decode(store.meta_at(store.locate_position(position)))
        except ValueError:
            continue  # which is found elsewhere
        for name in references(meta):
            if helpers is None or helpers.find(name.encode(errors="replace")) is None:
                yield _damage(store, position, f"that refers to no helper array: {name!r:.80}")


def _misnamed(helpers: OpenedStore) -> Iterator[Damage]:
    """Find helper arrays that are not called after their content."""
    snapshot = helpers.snapshot
    for position, name in enumerate(snapshot.names()):
        address = snapshot.locate_position(position)
        if digest(helpers.array_at(address), snapshot.meta_at(address)) != name.decode():
            yield _damage(snapshot, position, "whose name is not that of its content")


def _damage(snapshot: StoreSnapshot, position: int, clause: str) -> Damage:
    start, end = snapshot.kept_at(snapshot.locate_position(position))
    return array_damage(snapshot.data_path, snapshot.name(position), start, end, clause)
