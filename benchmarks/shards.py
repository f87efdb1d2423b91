"""What shards cost and spare: ``python -m benchmarks.shards FOLDER``.

Packs 500 simulation outputs of 10 B to 3 MB into files of about 50 MB, as shards and as tar archives
of pickles, and reads 20 of them by id; then looks names up in 1, 10 and 100 shards. CPU seconds of
this process, system calls included, the least of several runs: other processes disturb them less.
"""

from __future__ import annotations

import io
import pickle
import random
import shutil
import sys
import tarfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import ptrarray

N_OUTPUTS, SMALLEST_NBYTES, LARGEST_NBYTES = 500, 10, 3_000_000
N_READS = 20
TARGET = "50MB"
TARGET_NBYTES = 50_000_000
N_NAMES = 200_000
N_SHARDS = (1, 10, 100)
SEED = 1

Arrays = dict[str, np.ndarray[Any, Any]]


def least_seconds(action: Callable[[], Any], n_runs: int = 7) -> float:
    """Return the CPU time of the fastest of several runs."""
    times = []
    for _ in range(n_runs):
        began = time.process_time()
        action()
        times.append(time.process_time() - began)
    return min(times)


def outputs() -> Arrays:
    """Return arrays of very different sizes."""
    rng = np.random.default_rng(SEED)
    bounds = np.log(SMALLEST_NBYTES), np.log(LARGEST_NBYTES)
    sizes = np.exp(rng.uniform(*bounds, N_OUTPUTS)).astype(int)
    return {
        f"run{n:04d}": rng.integers(0, 9, max(1, size // 4), "i4") for n, size in enumerate(sizes)
    }


# one tar for each 50 MB, and where each id is --------------------------------------------------------


def groups(arrays: Arrays) -> list[list[str]]:
    """Cut the outputs into groups of the target size."""
    found: list[list[str]] = [[]]
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
    for number, names in enumerate(groups(arrays)):
        with tarfile.open(folder / f"{number}.tar", "w") as tar:
            for name in names:
                raw = pickle.dumps(arrays[name], 5)
                info = tarfile.TarInfo(name)
                info.size = len(raw)
                tar.addfile(info, io.BytesIO(raw))
        where |= dict.fromkeys(names, number)
    (folder / "where.pkl").write_bytes(pickle.dumps(where))


def read_tars(folder: Path, names: list[str], *, anew: bool) -> int:
    """Return the sum of some outputs, from archives that are opened once or each time."""
    where: dict[str, int] = pickle.loads((folder / "where.pkl").read_bytes())
    total = 0
    with ExitStack() as stack:
        opened: dict[int, tarfile.TarFile] = {}
        for name in names:
            if anew:
                stack.close()
                opened.clear()
                where = pickle.loads((folder / "where.pkl").read_bytes())
            number = where[name]
            if number not in opened:
                opened[number] = stack.enter_context(tarfile.open(folder / f"{number}.tar"))
            member = opened[number].extractfile(name)
            assert member is not None
            total += int(pickle.load(member).sum())
    return total


def pack_shards(arrays: Arrays, path: Path) -> None:
    """Write the outputs one by one, as they come."""
    with ptrarray.create(path, dtype="i4", shard_size=TARGET) as writer:
        for name, array in arrays.items():
            writer.write({name: array})


def compare_packs(folder: Path) -> None:
    """Pack in both ways, and read some back by id."""
    arrays = outputs()
    names = random.Random(SEED).sample(list(arrays), N_READS)
    path, tars = folder / "outputs.ptr", folder / "tars"

    def again(pack: Callable[[Arrays, Path], None], target: Path) -> Callable[[], None]:
        def run() -> None:
            shutil.rmtree(target, ignore_errors=True)
            pack(arrays, target)

        return run

    ours, theirs = least_seconds(again(pack_shards, path)), least_seconds(again(pack_tars, tars))
    print(
        f"pack {sum(a.nbytes for a in arrays.values()) / 1e6:.0f} MB: {ours:.2f} s, tar {theirs:.2f} s"
    )
    with ptrarray.open(path) as store:
        sizes = [sum(f.stat().st_size for f in Path(s).iterdir()) / 1e6 for s in store.shards]
    print("MB of each shard:", [round(size, 1) for size in sizes])

    def fresh() -> int:
        total = 0
        for name in names:
            with ptrarray.open(path) as store:
                total += int(store[name].sum())
        return total

    def at_once() -> int:
        with ptrarray.open(path) as store:
            return sum(int(store[name].sum()) for name in names)

    ways = {"each opened anew": (fresh, True), "opened once": (at_once, False)}
    for what, (read, anew) in ways.items():
        assert read() == read_tars(tars, names, anew=anew)
        ours = least_seconds(read) / N_READS
        theirs = least_seconds(lambda anew=anew: read_tars(tars, names, anew=anew)) / N_READS
        ratio = f"{theirs / ours:.0f} times"
        print(f"read by id, {what}: {ours * 1e3:.2f} ms, tar {theirs * 1e3:.2f} ms, {ratio}")


# looking names up ------------------------------------------------------------------------------------


def measure_lookups(folder: Path) -> None:
    """Make the same store of different numbers of shards."""
    names = [f"name{n:07d}" for n in range(N_NAMES)]
    asked = random.Random(SEED).sample(names, 2000)
    for n_shards in (0, *N_SHARDS):
        path = folder / f"{n_shards}.ptr"
        # Four calls fill a shard: rows of 40 bytes, names and their entries.
        size = {0: None, 1: "1GB"}.get(n_shards, N_NAMES * 100 // max(1, n_shards))
        n_together = N_NAMES // max(1, n_shards) // 4
        with ptrarray.create(path, dtype="f4", shard_size=size) as writer:
            for at in range(0, N_NAMES, n_together):
                some = names[at : at + n_together]
                writer.write_ragged(some, np.zeros(10 * len(some)), np.arange(len(some) + 1) * 10)
        ptrarray.checkpoint(path)
        report_lookups(path, asked, "no" if not n_shards else "")


def report_lookups(path: Path, asked: list[str], label: str) -> None:
    """Print what it costs to open one, to look in it, and to add to it."""
    store = ptrarray.open(path)
    n_asked = len(asked)
    get = least_seconds(lambda: [store[name] for name in asked]) / n_asked
    miss = least_seconds(lambda: ["x" + name in store for name in asked]) / n_asked
    take = least_seconds(lambda: store.take(asked[:256])) / 256
    opened = least_seconds(lambda: ptrarray.open(path).close())
    refreshed = least_seconds(store.refresh)
    with ptrarray.append(path) as writer:
        new = iter(range(10**9))
        write = least_seconds(
            lambda: [writer.write({f"new{next(new)}": np.zeros(10, "f4")}) for _ in range(200)], 3
        )
    print(
        f"{label or len(store.shards)} shards: get {get * 1e6:.1f} us, miss {miss * 1e6:.1f} us, "
        f"take {take * 1e6:.1f} us, open {opened * 1e3:.2f} ms, refresh {refreshed * 1e3:.2f} ms, "
        f"write one {write / 200 * 1e6:.0f} us"
    )


def main() -> None:
    """Measure in a new folder, and remove it."""
    folder = Path(sys.argv[1])
    folder.mkdir()
    try:
        compare_packs(folder)
        measure_lookups(folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
