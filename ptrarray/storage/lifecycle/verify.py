"""Checking all of a store: every checksum, every pointer, every name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np

from ptrarray.errors import CorruptStoreError
from ptrarray.format import metadata
from ptrarray.format.helpers import digest, references
from ptrarray.format.names import hash_all
from ptrarray.progress import bar
from ptrarray.rows.types import Int64s, UInt8s
from ptrarray.storage.store.opened import OpenedStore
from ptrarray.storage.store.snapshot import StoreSnapshot, falling

_BLOCK = 1 << 10  # arrays a thread checks in one go
_NAMES = 1 << 16  # names looked up in one go


class Damage(NamedTuple):
    """One thing that is wrong with a store.

    Attributes
    ----------
    file : str
        Path of the damaged file.
    problem : str
        What was found and what was expected.
    name : str or None
        The array it is about, if it is about one.
    start, end : int or None
        Rows of that array.
    """

    file: str
    problem: str
    name: str | None = None
    start: int | None = None
    end: int | None = None


def check(opened: OpenedStore, helpers: OpenedStore | None = None) -> None:
    """Check everything, and raise `CorruptStoreError` with all the damage there is."""
    damage = find_damage(opened) or find_helper_damage(helpers, [opened.snapshot])
    if damage:
        raise damaged(str(opened.snapshot.directory), damage)


def find_damage(opened: OpenedStore, *, progress: bool = False) -> list[Damage]:
    """Check everything, and return all that is wrong."""
    snapshot = opened.snapshot
    damage = [*_damaged_journal(snapshot), *_damaged_columns(snapshot)]
    if not damage:
        damage.extend(_damaged_infos(opened))
    if not damage:
        damage.extend(_damaged_arrays(opened, progress=progress))
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
    """Read the journal once more, each record against its checksum."""
    try:
        snapshot.refreshed()
    except CorruptStoreError as error:
        yield Damage(error.path, str(error))


def _damaged_columns(snapshot: StoreSnapshot) -> Iterator[Damage]:
    """Find what is wrong with the index, and with the journal's pointers."""
    index = snapshot.index
    try:
        index.check()
    except CorruptStoreError as error:
        yield Damage(error.path, str(error))
        return  # nothing that follows from it can be trusted
    try:
        yield from _damaged_names(snapshot)
    except CorruptStoreError as error:
        yield Damage(error.path, str(error))
    for position in np.flatnonzero(snapshot.outside()).tolist():
        yield _damage(snapshot, position, f"that does not lie in its {snapshot.n_rows} rows")
    fallen = list(_out_of_order(snapshot))
    yield from fallen or _overlapping(snapshot)


def _out_of_order(snapshot: StoreSnapshot) -> Iterator[Damage]:
    """Find arrays that begin before the one before them: an index has them by their starts."""
    starts, ends = snapshot.starts, snapshot.ends
    for at in falling(starts).tolist():
        clause = f"that is out of order: the array before it begins at row {starts[at - 1]}"
        start, end = int(starts[at]), int(ends[at])
        yield array_damage(snapshot.index.path, snapshot.name(at), start, end, clause)


def _overlapping(snapshot: StoreSnapshot) -> Iterator[Damage]:
    """Find arrays that run into rows of another one, though nobody pointed them there."""
    for position in run_into(snapshot.starts, snapshot.ends, snapshot.pointed).tolist():
        yield _damage(snapshot, position, "that runs into rows of the array before it")


def run_into(starts: Int64s, ends: Int64s, pointed: UInt8s) -> Int64s:
    """Return which arrays, sorted by start, have rows of one before, though none was pointed."""
    own = np.flatnonzero((pointed == 0) & (starts < ends))
    if not len(own):
        return own
    reached = np.maximum.accumulate(ends[own])
    return own[1:][starts[own][1:] < reached[:-1]]


def _damaged_names(snapshot: StoreSnapshot) -> Iterator[Damage]:
    index = snapshot.index
    hashes = index.hashes()
    for first in range(0, len(hashes), _NAMES):
        names = index.split_names(first, min(first + _NAMES, len(hashes)))
        positions = np.arange(first, first + len(names))
        actual = np.frombuffer(hash_all(names), np.uint32)
        is_right = (actual == hashes[positions]) & index.are_found(names, actual, positions)
        for position in positions[~is_right].tolist():
            name = names[position - first][:80]
            yield Damage(index.path, f"does not find name {name!r} at position {position}")


def _damaged_infos(opened: OpenedStore) -> Iterator[Damage]:
    """Find arrays whose dtype, shape or metadata makes no sense."""
    snapshot = opened.snapshot
    index, overlay = snapshot.index, snapshot.overlay
    if index.infos is None and index.metas is None and not (overlay.infos or overlay.metas):
        return
    for position in range(len(snapshot)):
        address = snapshot.locate_position(position)
        try:
            opened.array_at(address)
            metadata.decode(snapshot.meta_at(address))
        except ValueError as error:
            yield _damage(snapshot, position, f"that cannot be read: {error}")


def _damaged_arrays(opened: OpenedStore, *, progress: bool) -> Iterator[Damage]:
    """Find arrays whose bytes do not match their checksum, read on all cores."""
    snapshot = opened.snapshot
    starts, ends, crcs = snapshot.starts, snapshot.ends, snapshot.crcs

    def damaged_in(first: int) -> tuple[int, list[tuple[int, int]]]:
        block = slice(first, first + _BLOCK)
        columns = (starts[block].tolist(), ends[block].tolist(), crcs[block].tolist())
        found = []
        for at, (start, end, crc) in enumerate(zip(*columns, strict=True), first):
            actual = opened.crc(start, end, at)
            if actual != crc:
                found.append((at, actual))
        return len(columns[0]), found

    blocks = range(0, len(starts), _BLOCK)
    each: Callable[..., Iterator[tuple[int, list[tuple[int, int]]]]] = map
    with ExitStack() as stack:
        counter = stack.enter_context(bar(total=len(starts), unit=" arrays", progress=progress))
        if len(blocks) > 1:  # else another thread would do no more than this one
            each = stack.enter_context(ThreadPoolExecutor()).map
        for n_checked, found in each(damaged_in, blocks):
            counter.update(n_checked)
            for position, actual in found:
                clause = f"that has CRC-32 {actual:08x}, its pointer says {crcs[position]:08x}"
                yield _damage(snapshot, position, clause)


def find_helper_damage(
    helpers: OpenedStore | None, referring: Iterable[StoreSnapshot], *, progress: bool = False
) -> list[Damage]:
    """Check all helper arrays of a store, and that those are there that it refers to."""
    damage = [] if helpers is None else find_damage(helpers, progress=progress)
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
    for position in range(len(store) if store.has_metas else 0):
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
        if not is_right(helpers, snapshot.locate_position(position), name.decode()):
            yield _damage(snapshot, position, "whose name is not that of its content")


def is_right(helpers: OpenedStore, address: int, name: str) -> bool:
    """Tell whether the helper array at an address is called after its content."""
    return digest(helpers.array_at(address), helpers.snapshot.meta_at(address)) == name


def _damage(snapshot: StoreSnapshot, position: int, clause: str) -> Damage:
    start, end = int(snapshot.starts[position]), int(snapshot.ends[position])
    return array_damage(snapshot.data_path, snapshot.name(position), start, end, clause)
