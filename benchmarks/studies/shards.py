"""What shards cost and spare: files of 50 MB beside tar archives, lookups in 1, 10 and 100 shards.

Packs simulation outputs of 10 B to 3 MB into files of about 50 MB, as shards and as tar archives of
pickles, and reads 20 of them by id; then looks names up, N of them in all, 400 for each output. The
figures are CPU seconds of this process, system calls included, the least of several runs: other
processes disturb them less.
"""

from __future__ import annotations

import io
import pickle
import random
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import ptrarray
from benchmarks.harness.case import discard, expect
from benchmarks.report.tables import grid, number
from benchmarks.workloads import grouped

N = 200_000
REPEAT = 7
NAMES_PER_OUTPUT, SMALLEST_NBYTES, LARGEST_NBYTES = 400, 10, 3_000_000
N_READS = 20
N_LOOKUPS = 2_000
TARGET_NBYTES = 50_000_000
N_SHARDS = (0, 1, 10, 100)  # none: not a store of shards
NAMES_PER_SHARD = 100  # at least
N_WRITES = 200
SEED = 1

Action = Callable[[], Any]
Groups = list[list[str]]
Arrays = dict[str, np.ndarray[Any, Any]]


def least_seconds(action: Action, n_runs: int) -> float:
    """Return the CPU time of the fastest of several runs."""
    times = []
    for _ in range(n_runs):
        began = time.process_time()
        action()
        times.append(time.process_time() - began)
    return min(times)


def outputs(n_outputs: int) -> Arrays:
    """Return arrays of very different sizes."""
    rng = np.random.default_rng(SEED)
    bounds = np.log(SMALLEST_NBYTES), np.log(LARGEST_NBYTES)
    sizes = np.exp(rng.uniform(*bounds, n_outputs)).astype(int)
    return {
        f"run{n:04d}": rng.integers(0, 9, max(1, size // 4), "i4") for n, size in enumerate(sizes)
    }


# one tar for each 50 MB, and where each id is --------------------------------------------------------


def groups(arrays: Arrays) -> Groups:
    """Cut the outputs into groups of the target size."""
    found: Groups = [[]]
    nbytes = 0
    for name, array in arrays.items():
        if found[-1] and nbytes + array.nbytes > TARGET_NBYTES:
            found.append([])
            nbytes = 0
        found[-1].append(name)
        nbytes += array.nbytes
    return found


def pack_tars(arrays: Arrays, folder: Path) -> None:
    """Write the archives, and where each id is."""
    folder.mkdir()
    where: dict[str, int] = {}
    for i_tar, names in enumerate(groups(arrays)):
        with tarfile.open(folder / f"{i_tar}.tar", "w") as tar:
            for name in names:
                raw = pickle.dumps(arrays[name], 5)
                info = tarfile.TarInfo(name)
                info.size = len(raw)
                tar.addfile(info, io.BytesIO(raw))
        where |= dict.fromkeys(names, i_tar)
    (folder / "where.pkl").write_bytes(pickle.dumps(where))


def read_tars(folder: Path, names: list[str]) -> int:
    """Return the sum of some outputs, from archives that are opened once."""
    where: dict[str, int] = pickle.loads((folder / "where.pkl").read_bytes())
    total = 0
    with ExitStack() as stack:
        opened: dict[int, tarfile.TarFile] = {}
        for name in names:
            i_tar = where[name]
            if i_tar not in opened:
                opened[i_tar] = stack.enter_context(tarfile.open(folder / f"{i_tar}.tar"))
            member = opened[i_tar].extractfile(name)
            assert member is not None  # which says so to mypy
            total += int(pickle.load(member).sum())
    return total


def read_shards(path: Path, names: list[str]) -> int:
    """Return the same from a store that is opened once."""
    with ptrarray.open(path) as store:
        return sum(int(store[name].sum()) for name in names)


def pack_shards(arrays: Arrays, path: Path) -> None:
    """Write the outputs one by one, as they come."""
    with ptrarray.create(path, dtype="i4", shard_size=TARGET_NBYTES) as writer:
        for name, array in arrays.items():
            writer.write({name: array})


def compare_packs(folder: Path, n_outputs: int, repeat: int) -> Iterator[str]:
    """Pack in both ways, and read some back by id."""
    arrays = outputs(n_outputs)
    names = random.Random(SEED).sample(list(arrays), min(N_READS, n_outputs))
    path, tars = folder / "outputs.ptr", folder / "tars"

    def row(what: str, ours: Action, theirs: Action, n: int = 1) -> list[str]:
        seconds = [least_seconds(action, repeat) / n for action in (ours, theirs)]
        return [what, *(number(each * 1e3) for each in seconds), number(seconds[1] / seconds[0])]

    def packing(pack: Callable[[Arrays, Path], None], target: Path) -> Action:
        def run() -> None:
            discard(target)
            pack(arrays, target)

        return run

    def reading(read: Callable[[Path, list[str]], int], source: Path, some: Groups) -> Action:
        return lambda: sum(read(source, each) for each in some)

    what = f"pack {sum(array.nbytes for array in arrays.values()) / 1e6:.0f} MB, ms"
    rows = [row(what, packing(pack_shards, path), packing(pack_tars, tars))]
    for what, some in (("each opened anew", [[name] for name in names]), ("opened once", [names])):
        both = reading(read_shards, path, some), reading(read_tars, tars, some)
        expect(both[0]() == both[1](), "the sum of outputs")
        rows.append(row(f"read by id, {what}, ms", *both, len(names)))
    yield grid(["", "shards", "tar", "tar / shards"], rows)
    with ptrarray.open(path) as store:
        sizes = [sum(f.stat().st_size for f in Path(s).iterdir()) / 1e6 for s in store.shards]
    yield f"\nMB of each shard: {', '.join(map(number, sizes))}\n"


# looking names up ------------------------------------------------------------------------------------


def lookups(folder: Path, n_names: int, repeat: int) -> Iterator[str]:
    """Make the same store of different numbers of shards, and look names up."""
    names = [f"name{n:07d}" for n in range(n_names)]
    asked = random.Random(SEED).sample(names, min(N_LOOKUPS, n_names))
    rows = []
    for n_shards in (n for n in N_SHARDS if n * NAMES_PER_SHARD <= n_names):
        path = folder / f"{n_shards}.ptr"
        # Four calls fill a shard: rows of 40 bytes, names and their entries.
        size = {0: None, 1: "1GB"}.get(n_shards, n_names * 100 // max(1, n_shards))
        n_together = max(1, n_names // max(1, n_shards) // 4)
        with ptrarray.create(path, dtype="f4", shard_size=size) as writer:
            for some in grouped(names, n_together):
                writer.write_ragged(some, np.zeros(10 * len(some)), np.arange(len(some) + 1) * 10)
        ptrarray.checkpoint(path)
        rows.append([str(n_shards or "no"), *map(number, costs(path, asked, repeat))])
    units = ("get, µs", "miss, µs", "take, µs", "open, µs", "refresh, µs", "write one, µs")
    yield grid(["shards", *units], rows)


def costs(path: Path, asked: list[str], repeat: int) -> list[float]:
    """Return what it costs to look in a store, to open it, and to add to it."""
    store = ptrarray.open(path)
    batch = asked[:256]
    seconds = [
        least_seconds(lambda: [store[name] for name in asked], repeat) / len(asked),
        least_seconds(lambda: ["x" + name in store for name in asked], repeat) / len(asked),
        least_seconds(lambda: store.take(batch), repeat) / len(batch),
        least_seconds(lambda: ptrarray.open(path).close(), repeat),
        least_seconds(store.refresh, repeat),
    ]
    with ptrarray.append(path) as writer:
        new = iter(range(10**9))
        array = np.zeros(10, "f4")
        write = least_seconds(
            lambda: [writer.write({f"new{next(new)}": array}) for _ in asked[:N_WRITES]], 3
        )
    return [*(each * 1e6 for each in seconds), write / len(asked[:N_WRITES]) * 1e6]


def study(folder: Path, n: int, repeat: int) -> Iterator[str]:
    """Pack and read, then look up."""
    yield from compare_packs(folder, max(n // NAMES_PER_OUTPUT, 1), repeat)
    yield from lookups(folder, n, repeat)
