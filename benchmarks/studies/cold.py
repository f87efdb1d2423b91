"""What it gains to tell the system about reads to come, with the files not in memory, and warm.

Reads 256 random arrays of N tokens (int32, mean length 100), and the same rows from front to end as
arrays of 64 KiB, with the page cache dropped for the data file before each reading
(``posix_fadvise``), and warm. Each reading is done with and without advice, in turns, of a store
opened anew. What a cold read costs depends on how much the disk reads ahead by itself, so that is
printed, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import ptrarray
from benchmarks import workloads
from benchmarks.engines.ptrarray import PtrArray, modules_with
from benchmarks.harness.case import expect
from benchmarks.harness.run import turns
from benchmarks.harness.system import drop_cache, timed
from benchmarks.report.tables import spread

N = 1_000_000
REPEAT = 9
LONG_ROWS = 1 << 14  # of the arrays that are read in order
SLOW = "SLOW_NANOSECONDS"  # what takes longer is not in memory
USUAL = getattr(modules_with(SLOW)[0], SLOW)
NEVER = 10**18  # nanoseconds: nothing is that slow, so nothing seems to be cold

Reading = Callable[[ptrarray.PointerArray, list[str]], Any]


def take(store: ptrarray.PointerArray, names: list[str]) -> Any:
    """Copy all into one batch."""
    return store.take(names).values


def one_by_one(store: ptrarray.PointerArray, names: list[str]) -> Any:
    """Look up one name after the other, and copy."""
    return np.concatenate([store[name] for name in names])


def prefetched(store: ptrarray.PointerArray, names: list[str]) -> Any:
    """Announce all of them, then look up one after the other."""
    store.prefetch(names)
    return one_by_one(store, names)


def values(store: ptrarray.PointerArray, names: list[str]) -> Any:
    """Sum all arrays in order."""
    return sum(int(array.sum()) for array in store.values())


def walk(store: ptrarray.PointerArray, names: list[str]) -> Any:
    """Sum all arrays in order with `walk`, which reads ahead."""
    return sum(int(array.sum()) for array in store.walk())


# How it is read without advice, and with it.
READINGS: dict[str, tuple[Reading, Reading]] = {
    "take(256)": (take, take),
    "256 by name": (one_by_one, prefetched),
    "all in order": (values, walk),
}


class Case:
    """A store, read over and over through one backend."""

    def __init__(self, path: Path, source: workloads.Source, backend: Any) -> None:
        self.path, self.source, self.backend = path, source, backend
        self.rng = np.random.default_rng(workloads.SEED)

    def seconds(self, reading: Reading, *, is_advised: bool, is_cold: bool) -> float:
        """Time one reading of a store opened for it; check what was read."""
        numbers = self.rng.integers(0, len(self.source), workloads.N_TAKE).tolist()
        names = [self.source.names[number] for number in numbers]
        with ptrarray.open(self.path, backend=self.backend) as store:
            # The index is not what is asked here, so it is read before.
            expect(store.starts.sum() + store.ends.sum() > 0, "the index")
            expect(all(name in store for name in names), "the index")
        data = self.path / "data.bin"
        if is_cold:
            drop_cache(data)
        else:
            data.read_bytes()
        for module in modules_with(SLOW):
            vars(module)[SLOW] = USUAL if is_advised else NEVER
        with ptrarray.open(self.path, backend=self.backend) as store:
            elapsed, found = timed(reading, store, names)
        if reading in (values, walk):
            expect(found == int(self.source.values.sum(dtype=np.int64)), "the sum")
        else:
            wanted = np.concatenate([self.source[number] for number in numbers])
            expect(np.array_equal(found, wanted), "a batch")
        return elapsed

    def line(self, what: str, *, is_cold: bool, repeat: int) -> str:
        """Return a row of the table."""

        def act(is_advised: bool) -> float:
            reading = READINGS[what][is_advised]
            return self.seconds(reading, is_advised=is_advised, is_cold=is_cold)

        found = turns([False, True], act, repeat)
        gain = median(a / b for a, b in zip(found[False], found[True], strict=True))
        spreads = [spread(seconds, 1e3) for seconds in found.values()]
        cells = [what, self.backend, "cold" if is_cold else "warm", *spreads, f"{gain:.2f}"]
        return f"| {' | '.join(cells)} |"


def make(path: Path, source: workloads.Source) -> tuple[Path, workloads.Source]:
    """Make a store of a source."""
    PtrArray().make(path, source)
    return path, source


def read_ahead(path: Path) -> str:
    """Return how much the disk reads ahead by itself, as the system says."""
    device = path.stat().st_dev
    file = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    return f"{file.read_text().strip()} KiB" if file.exists() else "unknown"


def study(folder: Path, n: int, repeat: int) -> Iterator[str]:
    """Measure both backends."""
    source = workloads.tokens(n)
    cuts = np.append(np.arange(0, len(source.values), LONG_ROWS), len(source.values))
    short = make(folder / "tokens.ptr", source)
    long = make(folder / "long.ptr", replace(source, offsets=cuts))
    ahead = read_ahead(folder)
    yield f"{source.values.nbytes / 1e6:.0f} MB; the disk reads {ahead} ahead"
    yield ""
    yield "| reading | backend | cache | without advice, ms | with, ms | gain |"
    yield "|---|---|---|---|---|---|"
    for backend in ("mmap", "pread"):
        for what in READINGS:
            case = Case(*(long if "all" in what else short), backend)
            for is_cold in (True, False):
                yield case.line(what, is_cold=is_cold, repeat=repeat)
