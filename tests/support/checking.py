"""What `verify` has to find in a store of one dtype, found in the plainest way."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np

from ptrarray.errors import CorruptStoreError, Damage
from ptrarray.storage.store.opened import OpenedStore, load
from ptrarray.storage.store.snapshot import StoreSnapshot, open_snapshot


def wanted_damage(path: Path) -> list[Damage]:
    """Return all that is wrong with a store of plain rows that can be opened."""
    opened = load(open_snapshot(path), "r")
    snapshot = opened.snapshot
    try:
        snapshot.index.check()
    except CorruptStoreError as error:
        return [Damage(error.path, str(error))]
    return [*names(snapshot), *pointers(snapshot)] or arrays(opened)


def names(snapshot: StoreSnapshot) -> list[Damage]:
    """Look each name up, and compare its hash."""
    index, found = snapshot.index, []
    try:
        hashes = index.hashes()
        for first in range(0, len(hashes), 1 << 16):
            some = index.split_names(first, min(first + (1 << 16), len(hashes)))
            for position, name in enumerate(some, first):
                one = np.array([crc32(name)], np.uint32)
                is_found = index.are_found([name], one, np.array([position]))[0]
                if not is_found or hashes[position] != one[0]:
                    problem = f"does not find name {name[:80]!r} at position {position}"
                    found.append(Damage(index.path, problem))
    except CorruptStoreError as error:
        found.append(Damage(error.path, str(error)))
    return found


def pointers(snapshot: StoreSnapshot) -> list[Damage]:
    """Look at one pointer after the other."""
    n_rows, data, index = snapshot.n_rows, snapshot.data_path, snapshot.index.path
    columns = (snapshot.starts, snapshot.ends, snapshot.pointed)
    all_of = list(zip(*(column.tolist() for column in columns), strict=True))
    outside, fallen, overlapping = [], [], []
    before = reached = None
    for position, (start, end, pointed) in enumerate(all_of):
        name = snapshot.name(position).decode(errors="backslashreplace")

        def damage(file: str, clause: str, *about: object) -> Damage:
            name, start, end = about
            problem = f"has array {name!r:.80}, rows {start} to {end}, {clause}"
            return Damage(file, problem, name, start, end)  # type: ignore[arg-type]

        about = name, start, end
        if start < 0 or start > end or (end > n_rows and start != end):
            outside.append(damage(data, f"that does not lie in its {n_rows} rows", *about))
        if before is not None and start < before:
            clause = f"that is out of order: the array before it begins at row {before}"
            fallen.append(damage(index, clause, *about))
        before = start
        if not pointed and start < end:
            if reached is not None and start < reached:
                clause = "that runs into rows of the array before it"
                overlapping.append(damage(data, clause, *about))
            reached = end if reached is None else max(reached, end)
    return outside + (fallen or overlapping)


def arrays(opened: OpenedStore) -> list[Damage]:
    """Sum one array after the other."""
    snapshot, found = opened.snapshot, []
    columns = (snapshot.starts, snapshot.ends, snapshot.crcs)
    for position, (start, end, crc) in enumerate(zip(*columns, strict=True)):
        actual = crc32(opened.data[start:end].tobytes())
        if actual != crc:
            name = snapshot.name(position).decode(errors="backslashreplace")
            clause = f"that has CRC-32 {actual:08x}, its pointer says {crc:08x}"
            problem = f"has array {name!r:.80}, rows {start} to {end}, {clause}"
            found.append(Damage(snapshot.data_path, problem, name, int(start), int(end)))
    return found
