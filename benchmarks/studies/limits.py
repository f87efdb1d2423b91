"""What a write cannot do without, step by step and without ptrarray; what a second process gains.

The arrays are N tokens. A second process or thread is measured where nothing is shared but the
machine.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from multiprocessing import Process
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib

from benchmarks.harness.system import settle, timed
from benchmarks.measures.fill import features
from benchmarks.report.tables import spread
from benchmarks.workloads import BATCH, Array, grouped, speech, tokens

N = 300_000
REPEAT = 7
N_CALLS = 20_000
N_TASKS = 1_000
IOV_MAX = os.sysconf("SC_IOV_MAX")

# What is done, the unit of its cost, how to do it, and how often that does it, in this unit.
Step = tuple[str, str, Callable[[], Any], float]


def many_a_call(folder: Path, n: int) -> Iterator[Step]:
    """Do what each of many arrays in a call costs, step by step."""
    source = tokens(n)
    batches = [list(batch.values()) for batch in source.batches]
    names = list(grouped(source.names, BATCH))
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

    def step(what: str, function: Callable[[Any], Any], parts: list[Any]) -> Step:
        return what, "µs/array", lambda: [function(part) for part in parts], n / 1e6

    yield "`pwritev`, 1,024 arrays a call", "µs/array", write, n / 1e6
    yield step("CRC-32 by zlib", lambda some: array("I", map(zlib.crc32, some)), batches)
    yield step("CRC-32 by isal", lambda some: array("I", map(isal_zlib.crc32, some)), batches)
    yield step("type, dtype, shape, contiguity", check, batches)
    yield step("where arrays end", lambda some: array("Q", accumulate(map(len, some))), batches)
    yield step("names to UTF-8", lambda some: list(map(str.encode, some)), names)
    yield step("CRC-32 of names", lambda some: array("I", map(isal_zlib.crc32, some)), encoded)
    yield step("where names end", lambda some: array("Q", accumulate(map(len, some))), encoded)
    os.close(fd)


def one_a_call(folder: Path, n_calls: int) -> Iterator[Step]:
    """Make the system calls of a write of one array, and nothing else."""
    path = str(folder / "limits.bin")
    fd, raw = os.open(path, os.O_RDWR), bytes(400)

    def calls() -> None:
        for at in range(0, n_calls * 400, 400):
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.stat(path)  # noqa: PTH116
            os.pwritev(fd, [raw], at)
            os.pwrite(fd, raw[:61], at)
            os.pwrite(fd, raw[:87], 0)
            fcntl.flock(fd, fcntl.LOCK_UN)

    yield "the six system calls of one array a call", "µs/call", calls, n_calls / 1e6
    os.close(fd)


def compute(n_tasks: int) -> None:
    """Do the work of `fill`'s tasks, and write nothing."""
    for seed in range(n_tasks):
        features(seed)


def sum_parts(pool: ThreadPoolExecutor, parts: list[Array]) -> list[Any]:
    """Sum each part in a thread of its own."""
    return list(pool.map(np.sum, parts))


def two_at_once(n: int) -> Iterator[Step]:
    """Do in two processes, and in two threads, what shares nothing but the machine."""
    n_tasks = min(N_TASKS, n)

    def in_two() -> None:
        workers = [Process(target=compute, args=(n_tasks // 2,)) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    yield (
        f"computing {n_tasks:,} of `fill`'s tasks, 1 process",
        "ms",
        partial(compute, n_tasks),
        1e-3,
    )
    yield "the same, 2 processes", "ms", in_two, 1e-3
    for name, rows in (
        ("tokens", tokens(n * 10 // 3).values),
        ("speech", speech(n // 15 or 1).values),
    ):
        with ThreadPoolExecutor(2) as pool:
            gb = rows.nbytes / 1e12
            halves = partial(sum_parts, pool, np.array_split(rows, 2))
            yield f"`np.sum` of {name}", "ms/GB", partial(np.sum, rows), gb
            yield "the same, a half in each of two threads", "ms/GB", halves, gb


def study(folder: Path, n: int, repeat: int) -> Iterator[str]:
    """Time one step after the other."""
    yield f"| step | unit | median of {repeat} (least to most) |"
    yield "|---|---|---|"
    parts = many_a_call(folder, n), one_a_call(folder, min(N_CALLS, n)), two_at_once(n)
    for what, unit, action, size in (step for part in parts for step in part):
        settle()
        costs = [timed(action)[0] / size for _ in range(repeat)]
        yield f"| {what} | {unit} | {spread(costs)} |"
