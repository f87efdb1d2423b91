"""What telling the system about reads to come is worth, with the files not in memory.

Run ``python -m benchmarks.cold [--folder DIR] [--arrays 1000000] [--repeat 9]``. Reads 256 random
arrays of tokens (int32, mean length 100), and the same rows from front to end as arrays of 64 KiB,
with the page cache dropped for the data file before each reading (``posix_fadvise``), and warm.
Each reading is done with and without advice, in turns, of a store opened anew; every answer is
compared with its source. What a cold read costs depends on how much the disk reads ahead by
itself, so that is printed, too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import ptrarray
from benchmarks import workloads
from benchmarks.system import timed
from ptrarray.storage.system import advice

N_NAMES = 256
LONG_ROWS = 1 << 14  # of the arrays that are read in order
NEVER = 10**18  # nanoseconds: nothing is that slow, so nothing seems to be cold

Reading = Callable[[ptrarray.PointerArray, list[str]], Any]


def take(store: ptrarray.PointerArray, names: list[str]) -> Any:
    """Copy all into one batch."""
    return store.take(names).values


def one_by_one(store: ptrarray.PointerArray, names: list[str]) -> Any:
    """Look up one name after the other, and copy."""
    return np.concatenate([store[name] for name in names])


def prefetched(store: ptrarray.PointerArray, names: list[str]) -> Any:
    """Do so after telling of all of them."""
    store.prefetch(names)
    return one_by_one(store, names)


def values(store: ptrarray.PointerArray, names: list[str]) -> Any:
    """Sum all arrays in order."""
    return sum(int(array.sum()) for array in store.values())


def walk(store: ptrarray.PointerArray, names: list[str]) -> Any:
    """Do so with `walk`, which reads ahead."""
    return sum(int(array.sum()) for array in store.walk())


# How it is read without advice, and with it.
READINGS: dict[str, tuple[Reading, Reading]] = {
    "take(256)": (take, take),
    "256 by name": (one_by_one, prefetched),
    "all in order": (values, walk),
}


def make(path: Path, source: workloads.Source) -> tuple[Path, workloads.Source]:
    """Make a store of a source."""
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write_ragged(source.names, source.values, source.offsets)
    ptrarray.checkpoint(path)
    return path, source


def drop(path: Path) -> None:
    """Have the system forget a file, which no process may have mapped."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_ahead(path: Path) -> str:
    """How much the disk reads ahead by itself, as the system tells."""
    device = path.stat().st_dev
    place = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    return f"{place.read_text().strip()} KiB" if place.exists() else "unknown"


class Case:
    """One reading, done over and over."""

    def __init__(self, path: Path, source: workloads.Source, backend: Any) -> None:
        self.path, self.source, self.backend = path, source, backend
        self.rng = np.random.default_rng(workloads.SEED)

    def seconds(self, reading: Reading, *, is_advised: bool, is_cold: bool) -> float:
        """Time one reading of a store opened for it; check what was read."""
        numbers = self.rng.integers(0, len(self.source), N_NAMES).tolist()
        names = [self.source.names[number] for number in numbers]
        with ptrarray.open(self.path, backend=self.backend) as store:
            assert store.starts.sum() + store.ends.sum() > 0  # the index is not what is asked here
            assert all(name in store for name in names)
        data = self.path / "data.bin"
        if is_cold:
            drop(data)
        else:
            data.read_bytes()
        slow = advice.SLOW_NANOSECONDS
        advice.SLOW_NANOSECONDS = slow if is_advised else NEVER
        try:
            with ptrarray.open(self.path, backend=self.backend) as store:
                elapsed, found = timed(reading, store, names)
        finally:
            advice.SLOW_NANOSECONDS = slow
        if reading in (values, walk):
            assert found == int(self.source.values.sum(dtype=np.int64))
        else:
            expected = np.concatenate([self.source[number] for number in numbers])
            assert np.array_equal(found, expected)
        return elapsed

    def line(self, what: str, *, is_cold: bool, n_rounds: int) -> str:
        """Return a row of the table: medians with least and most, and the ratio of the medians."""
        plain, advised = READINGS[what]
        rounds = [
            (
                self.seconds(plain, is_advised=False, is_cold=is_cold),
                self.seconds(advised, is_advised=True, is_cold=is_cold),
            )
            for _ in range(n_rounds)
        ]
        ratio = statistics.median(without / told for without, told in rounds)
        without, told = (spread(times) for times in zip(*rounds, strict=True))
        cache = "cold" if is_cold else "warm"
        return f"| {what} | {self.backend} | {cache} | {without} | {told} | {ratio:.2f} |"


def spread(times: tuple[float, ...]) -> str:
    """Median, least and most, in milliseconds."""
    median, least, most = (f(times) * 1e3 for f in (statistics.median, min, max))
    return f"{median:.2f} ({least:.2f} to {most:.2f})"


def main() -> None:
    """Make a store, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="on the disk to read from")
    parser.add_argument("--arrays", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=9)
    options = parser.parse_args()
    if not hasattr(os, "posix_fadvise"):
        sys.exit("this system cannot be told to forget a file")
    source = workloads.tokens(options.arrays)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        cuts = np.append(np.arange(0, len(source.values), LONG_ROWS), len(source.values))
        tokens = make(Path(folder) / "tokens.ptr", source)
        long = make(Path(folder) / "long.ptr", replace(source, offsets=cuts))
        path = tokens[0]
        print(f"{source.values.nbytes / 1e6:.0f} MB; the disk reads {read_ahead(path)} ahead\n")
        print("| reading | backend | cache | without advice, ms | with, ms | gain |")
        print("|---|---|---|---|---|---|")
        for backend in ("mmap", "pread"):
            for what in READINGS:
                case = Case(*(long if "all" in what else tokens), backend)
                for is_cold in (True, False):
                    print(case.line(what, is_cold=is_cold, n_rounds=options.repeat), flush=True)


if __name__ == "__main__":
    main()
