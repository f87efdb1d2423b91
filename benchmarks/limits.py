"""What the targets that are missed are limited by: ``python -m benchmarks.limits FOLDER``.

Times, one by one and without ptrarray, the steps that a write cannot do without; and what a second
process or thread gains on this machine where nothing is shared.
"""

from __future__ import annotations

import fcntl
import os
import sys
import zlib
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from multiprocessing import Process
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from isal import isal_zlib

from benchmarks.measures.fill import features
from benchmarks.system import settle, timed
from benchmarks.workloads import BATCH, Array, speech, tokens

N_ARRAYS = 300_000
N_CALLS = 20_000
N_ROUNDS = 7
IOV_MAX = os.sysconf("SC_IOV_MAX")


def shown(what: str, unit: str, action: Callable[[], Any], n: float) -> None:
    """Print the median, with the smallest and the largest, of some rounds."""
    settle()
    costs = sorted(timed(action)[0] / n for _ in range(N_ROUNDS))
    print(f"| {what} | {unit} | {median(costs):.3g} ({costs[0]:.3g} to {costs[-1]:.3g}) |")


def many_a_call(folder: Path) -> None:
    """Time what each of many arrays in a call costs, step by step."""
    source = tokens(N_ARRAYS)
    batches = [list(batch.values()) for batch in source.batches]
    names = [source.names[at : at + BATCH] for at in range(0, len(source), BATCH)]
    encoded = [list(map(str.encode, some)) for some in names]
    dtype = source.layout.dtype
    fd = os.open(folder / "limits.bin", os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def write() -> None:
        os.ftruncate(fd, 0)
        at = 0
        for arrays in batches:
            for first in range(0, len(arrays), IOV_MAX):
                at += os.pwritev(fd, arrays[first : first + IOV_MAX], at)

    def check(arrays: list[Array]) -> bool:
        types = list(map(type, arrays)).count(np.ndarray)
        dtypes = [each.dtype for each in arrays].count(dtype)
        dimensions = [each.ndim for each in arrays].count(1)
        return types == dtypes == dimensions and all([each.flags.c_contiguous for each in arrays])  # noqa: C419 as the code it stands for

    def step(what: str, function: Callable[[Any], Any], parts: list[Any]) -> None:
        shown(what, "µs/array", lambda: [function(part) for part in parts], N_ARRAYS / 1e6)

    shown("`pwritev`, 1,024 arrays a call", "µs/array", write, N_ARRAYS / 1e6)
    step("CRC-32 by zlib", lambda some: array("I", map(zlib.crc32, some)), batches)
    step("CRC-32 by isal", lambda some: array("I", map(isal_zlib.crc32, some)), batches)
    step("type, dtype, shape, contiguity", check, batches)
    step("where arrays end", lambda some: array("Q", accumulate(map(len, some))), batches)
    step("names to UTF-8", lambda some: list(map(str.encode, some)), names)
    step("CRC-32 of names", lambda some: array("I", map(isal_zlib.crc32, some)), encoded)
    step("where names end", lambda some: array("Q", accumulate(map(len, some))), encoded)
    os.close(fd)


def one_a_call(folder: Path) -> None:
    """Time the system calls of a write of one array, and nothing else."""
    path = str(folder / "limits.bin")
    fd, raw = os.open(path, os.O_RDWR), bytes(400)

    def calls() -> None:
        for at in range(0, N_CALLS * 400, 400):
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.stat(path)  # noqa: PTH116
            os.pwritev(fd, [raw], at)
            os.pwrite(fd, raw[:61], at)
            os.pwrite(fd, raw[:87], 0)
            fcntl.flock(fd, fcntl.LOCK_UN)

    shown("the six system calls of one array a call", "µs/call", calls, N_CALLS / 1e6)
    os.close(fd)


def compute(n_tasks: int) -> None:
    """Do the work of `fill`'s tasks, and write nothing."""
    for seed in range(n_tasks):
        features(seed)


def sum_parts(pool: ThreadPoolExecutor, parts: list[Array]) -> list[Any]:
    """Sum each part in a thread of its own."""
    return list(pool.map(np.sum, parts))


def two_at_once() -> None:
    """Time what a second process and a second thread gain where nothing is shared but the machine."""

    def in_two() -> None:
        workers = [Process(target=compute, args=(500,)) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    shown("computing 1,000 of `fill`'s tasks, 1 process", "ms", lambda: compute(1000), 1e-3)
    shown("the same, 2 processes", "ms", in_two, 1e-3)
    for name, rows in (("tokens", tokens(1_000_000).values), ("speech", speech(20_000).values)):
        parts = np.array_split(rows, 2)
        with ThreadPoolExecutor(2) as pool:
            gb = rows.nbytes / 1e12
            shown(f"`np.sum` of {name}", "ms/GB", partial(np.sum, rows), gb)
            halves = partial(sum_parts, pool, parts)
            shown("the same, a half in each of two threads", "ms/GB", halves, gb)


def main() -> None:
    """Print a table."""
    folder = Path(sys.argv[1])
    print("| step | unit | median of 7 (least to most) |\n|---|---|---|")
    many_a_call(folder)
    one_a_call(folder)
    two_at_once()
    (folder / "limits.bin").unlink()


if __name__ == "__main__":
    main()
