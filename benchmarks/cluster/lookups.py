"""Lookups by name, and opening: a thousand shards beside one store of the same names.

Names have 20 bytes and are asked for in a random order.

To open a shard takes twenty system calls: its index and its data file are opened, mapped and closed, as
another process may replace them, and its journal is read. In C these alone take some 30 µs of processor time
a shard, half of what opening takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

import ptrarray
from benchmarks.bridges.limits import at_most
from benchmarks.cluster import stores
from benchmarks.harness.case import expect
from benchmarks.report.results import OURS
from benchmarks.users.asking import CPU, Question

N = 10_000_000
REPEAT = 9
N_SHARDS = 1000
N_ASKED = 100_000
ONE = "one store of the same names"
OPEN_MS, TIMES = 60, 2


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Ask for lookups, of one name and of many, and for opening."""
    stores.many_files()
    n_shards = min(N_SHARDS, max(2, n // 10))
    many, one = sharded(folder, n, n_shards), stores.made(folder / "one.ptr", 0, n)
    paths = {OURS: many, ONE: one}
    what = f"{n_shards:,} shards of {n // n_shards:,} names"
    readers = {who: ptrarray.open(path) for who, path in paths.items()}
    wanted = np.random.default_rng(1).integers(0, n, min(n, N_ASKED)).tolist()
    asked = [stores.names(at, at + 1)[0] for at in wanted]
    yield Question(
        f"{len(asked):,} lookups by name in {what}",
        {who: partial(looked_up, reader, asked) for who, reader in readers.items()},
        {ONE: 1 / TIMES},
        same=lambda ours, theirs: expect(ours == theirs, "the same arrays"),
    )
    yield Question(
        f"take of {len(asked):,} names from {what}",
        {who: partial(taken, reader, asked) for who, reader in readers.items()},
        same=lambda ours, theirs: expect(ours == theirs, "the same arrays"),
    )
    opened = {who: partial(open_ms, path, asked[0]) for who, path in paths.items()}
    yield at_most(
        f"open of {what}",
        OPEN_MS,
        CPU,
        opened[OURS],
        {ONE: opened[ONE]},
        warms_up=True,
    )


def sharded(folder: Path, n: int, n_shards: int) -> Path:
    """Make many stores, and join them."""
    bounds = np.linspace(0, n, n_shards + 1).astype(int).tolist()
    parts = [
        stores.made(folder / f"part{at:04}.ptr", first, last)
        for at, (first, last) in enumerate(pairwise(bounds))
    ]
    ptrarray.join(folder / "many.ptr", parts, progress=False)
    return folder / "many.ptr"


def looked_up(store: ptrarray.PointerArray, asked: list[str]) -> Callable[[], list[int]]:
    """Look names up, each by itself; return what tells what was there."""
    found = [store[name] for name in asked]
    return lambda: [int(array[0]) for array in found]


def taken(store: ptrarray.PointerArray, asked: list[str]) -> Callable[[], list[int]]:
    """Copy many arrays by name; return what tells which."""
    batch = store.take(asked)
    return lambda: batch.values[batch.offsets[:-1]].tolist()


def open_ms(path: Path, name: str) -> float:
    """Return the time on a processor that it takes to open a store, and to read an array."""
    began = time.process_time()
    with ptrarray.open(path) as store:
        found = len(store[name])
    milliseconds = (time.process_time() - began) * 1e3
    expect(found > 0, "an array")
    return milliseconds
