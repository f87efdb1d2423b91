"""Processes that work on one store until they are killed, and what they can have left behind.

Each writer goes through a sequence of changes that follows from its number and the seed, so that
what its part of the store holds after any of them can be told without asking it. Most changes
write the number of the change along, in the same commit; the others tell by what they change.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

import ptrarray

Ints = NDArray[np.int64]
Part = dict[int, tuple[int, int]]  # by name: as which name and by which change it was written

N_NAMES = 12
N_LARGE = 10_000  # rows of 8 bytes: written outside the lock
N_VIEWS = 20


class Change(NamedTuple):
    """The k-th change of a writer: names that it writes, one that it deletes, or old and new."""

    kind: str
    names: tuple[int, ...]


def change(seed: int, who: int, k: int) -> Change:
    rng = random.Random(f"{seed}/{who}/{k}")
    kinds = ["write", "large", "planned", "delete", "rename", "allocate"]
    kind = rng.choices(kinds, [9, 2, 2, 3, 3, 1])[0]
    n_names = rng.randint(1, 4) if kind == "write" else 2 if kind == "rename" else 1
    return Change(kind, tuple(rng.sample(range(N_NAMES), n_names)))


def is_silent(kind: str) -> bool:
    """Tell whether a change does not write its number."""
    return kind in ("delete", "rename", "allocate")


def after(part: Part, k: int, done: Change) -> Part:
    """Return what a writer's part holds after one more change."""
    if done.kind == "delete":
        return {name: at for name, at in part.items() if name not in done.names}
    if done.kind == "rename":
        old, new = done.names
        return {name: at for name, at in part.items() if name != old} | (
            {new: part[old]} if old in part else {}
        )
    return part | {name: (name, k) for name in done.names}


def content(who: int, name: int, k: int) -> Ints:
    rng = random.Random(f"{who}/{name}/{k}")
    return np.full(rng.choice([0, 1, 7, rng.randrange(60)]), 1000 * k + who)


def large(who: int, k: int) -> Ints:
    return np.arange(N_LARGE) + 1000 * k + who


def array_of(seed: int, who: int, name: int, k: int) -> Ints:
    """Return what a writer wrote under a name at its k-th change."""
    kind = change(seed, who, k).kind
    return large(who, k) if kind in ("large", "allocate") else content(who, name, k)


# telling a store's state -------------------------------------------------------------------


class Parts:
    """What the parts of all writers hold after each of their changes."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._known: dict[int, list[Part]] = {}

    def after(self, who: int, k: int) -> Part:
        known = self._known.setdefault(who, [{}])
        while len(known) <= k:
            number = len(known)
            known.append(after(known[-1], number, change(self._seed, who, number)))
        return known[k]

    def find(self, store: ptrarray.PointerArray, who: int, at_least: int) -> int:
        """Return after how many changes a writer's part is; raise if it is no such state."""
        told = store.get(str(who))
        k = 0 if told is None else int(told[0])
        names = {n for n in range(N_NAMES) if f"{who}/{n}" in store}
        while not (k >= at_least and self._is_after(store, who, k, names)):
            k += 1
            if not is_silent(change(self._seed, who, k).kind):
                raise AssertionError(
                    f"writer {who} told of {told} changes, {at_least} were seen before; "
                    f"the names {sorted(names)} are those of no state that it had"
                )
        return k

    def _is_after(self, store: ptrarray.PointerArray, who: int, k: int, names: set[int]) -> bool:
        part = self.after(who, k)
        return part.keys() == names and all(
            np.array_equal(store[f"{who}/{name}"], array_of(self._seed, who, *written))
            for name, written in part.items()
        )


# processes ---------------------------------------------------------------------------------


def write_until_killed(path: Path, seed: int, who: int, log: Path) -> NoReturn:
    """Go on where a killed writer of this number was, and log each change when it has returned."""
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    writer = ptrarray.append(path)
    with ptrarray.open(path) as store:
        k = Parts(seed).find(store, who, acknowledged(log))
    while True:
        k += 1
        make_change(writer, who, k, change(seed, who, k))
        os.write(fd, f"{k}\n".encode())
        if k % 10 == 0:
            writer.flush()
        if k % 40 == 0:
            writer.close()
            writer = ptrarray.append(path)


def make_change(writer: ptrarray.PointerArrayWriter, who: int, k: int, todo: Change) -> None:
    arrays = {f"{who}/{name}": content(who, name, k) for name in todo.names}
    match todo.kind:
        case "delete":
            for name in arrays.keys() & set(writer):
                del writer[name]
        case "rename":
            old, new = arrays
            with suppress(ptrarray.UnknownNameError):
                writer.rename(old, new, overwrite=True)
        case "allocate":
            for name in arrays:
                with writer.allocate(name, N_LARGE, overwrite=True) as rows:
                    rows[...] = large(who, k)
        case "planned":
            plan(writer, arrays | {str(who): np.array([k])})
        case kind:
            if kind == "large":
                arrays = dict.fromkeys(arrays, large(who, k))
            writer.write(arrays | {str(who): np.array([k])}, overwrite=True)


def plan(writer: ptrarray.PointerArrayWriter, arrays: dict[str, Ints]) -> None:
    """Write to reserved rows, unless a compaction has given them to others, or shards choose."""
    try:
        start = writer.reserve(sum(map(len, arrays.values())))
        writer.write(arrays, start=start, overwrite=True)
    except (ptrarray.OverlapError, ptrarray.BadInputError):
        writer.write(arrays, overwrite=True)


def acknowledged(log: Path) -> int:
    """Return the last change that a writer's log tells of as returned."""
    lines = log.read_text("ascii").splitlines() if log.exists() else []
    return int(lines[-1]) if lines else 0


def checkpoint_until_killed(path: Path) -> NoReturn:
    while True:
        ptrarray.checkpoint(path)


def compact_until_killed(path: Path) -> NoReturn:
    changes = cycle((ptrarray.compact, ptrarray.publish))
    while True:
        try:
            next(changes)(path)
        except ptrarray.CorruptStoreError:
            raise
        except ptrarray.StoreError:  # a writer is filling rows: try again
            continue


def read_until_killed(path: Path, seed: int, n_writers: int) -> NoReturn:
    """Refresh, and check that each state that is seen existed and came after the one before."""
    parts, seen = Parts(seed), [0] * n_writers
    store = ptrarray.open(path)
    views: list[tuple[Ints, Ints]] = []
    while True:
        store.refresh()
        for who in range(n_writers):
            seen[who] = parts.find(store, who, seen[who])
        for view, copy in views:
            assert np.array_equal(view, copy), "a view has changed"
        views = [(store[name], store[name].copy()) for name in some_names(store)]


def some_names(store: ptrarray.PointerArray) -> Iterator[str]:
    for position in range(min(len(store), N_VIEWS)):
        yield store.names[position]
