"""What an open and a lookup cost against the number of names.

Run ``python -m benchmarks.names [--names 10 1000000 …] [--repeat 5]``. Each
measurement is a fresh process, the sizes take turns, and the answer of every
lookup is compared with its source before anything is timed. Beside it stands
the least a Python program can do: a dict of pointers made beforehand and a
slice of one mapped array (up to a million names; a larger dict takes longer
to make than all the rest).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

import ptrarray

NAMES = (10, 1_000, 100_000, 1_000_000, 10_000_000)
N_LOOKUPS = 100_000
CHUNK = 1_000_000
SEED = 1


def name_of(number: int) -> str:
    """Name of the array that holds `number`."""
    return f"utt-{number:09d}"


def make(path: Path, n_names: int) -> None:
    """Make a store of so many arrays of one row, each holding its number."""
    with ptrarray.create(path, dtype="i8") as writer:
        for first in range(0, n_names, CHUNK):
            numbers = np.arange(first, min(first + CHUNK, n_names))
            names = [name_of(number) for number in numbers.tolist()]
            writer.write_ragged(names, numbers, np.arange(len(numbers) + 1))
    ptrarray.checkpoint(path)


def private_kib() -> int:
    """Memory of this process alone, in KiB: pages of mapped files are the system's cache."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def measure(path: str, n_names: int) -> dict[str, float]:
    """Open and look up in this process, which should be a fresh one."""
    rng = random.Random(SEED)
    numbers = [rng.randrange(n_names) for _ in range(N_LOOKUPS)]
    names = [name_of(number) for number in numbers]
    before = private_kib()
    start = perf_counter()
    store = ptrarray.open(path)
    first = store[names[0]]
    open_ms = (perf_counter() - start) * 1e3
    after_open = private_kib()
    if first.tolist() != numbers[:1] or len(store) != n_names:
        raise AssertionError(f"{path} does not hold what was written")
    for name, number in zip(names, numbers, strict=True):
        if store[name][0] != number:
            raise AssertionError(f"{name} is not {number}")
    after_lookups = private_kib()
    lookup_us = _microseconds(lambda: [store[name] for name in names])
    position_us = _microseconds(lambda: [store.arrays[number] for number in numbers])
    pointers = {name: store.pointers[name] for name in store} if n_names <= CHUNK else None
    rows = store.rows
    dict_us = float("nan")
    if pointers is not None:
        dict_us = _microseconds(lambda: [rows[slice(*pointers[name])] for name in names])
    return {
        "open_ms": open_ms,
        "open_kib": after_open - before,
        "lookups_kib": after_lookups - before,
        "lookup_us": lookup_us,
        "position_us": position_us,
        "dict_us": dict_us,
    }


def _microseconds(run: object) -> float:
    assert callable(run)
    start = perf_counter()
    run()
    return (perf_counter() - start) / N_LOOKUPS * 1e6


def in_fresh_process(path: Path, n_names: int) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.names", "--measure", str(path), str(n_names)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(answer.stdout)
    return result


def main() -> None:
    """Make the stores, measure them in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, nargs="+", default=NAMES)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--measure", nargs=2, metavar=("STORE", "N"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], int(options.measure[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = {n_names: Path(folder) / f"{n_names}.ptr" for n_names in options.names}
        for n_names, path in paths.items():
            make(path, n_names)
        rounds = [
            {n_names: in_fresh_process(path, n_names) for n_names, path in paths.items()}
            for _ in range(options.repeat)
        ]
    report(rounds)


def report(rounds: list[dict[int, dict[str, float]]]) -> None:
    """Print the medians, with the smallest and the largest."""
    print(f"Python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}, ")
    print(f"{os.cpu_count()} cores, median of {len(rounds)} (min to max)\n")
    columns = list(next(iter(rounds[0].values())))
    print("| names | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for n_names in rounds[0]:
        cells = []
        for column in columns:
            values = [each[n_names][column] for each in rounds]
            low, high = min(values), max(values)
            cells.append(f"{statistics.median(values):.3g} ({low:.3g} to {high:.3g})")
        print(f"| {n_names:,} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
