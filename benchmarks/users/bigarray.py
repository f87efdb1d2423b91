"""The program of bigarray's README, larger: two processes write at rows of their own, and read.

It runs as a whole, with bigarray, with the classes of the same names on a store, and written anew
for stores; then the parts of reading by themselves. N is the number of arrays.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bigarray import PointerArray

import ptrarray
from benchmarks.harness.case import discard, expect
from benchmarks.harness.processes import environment
from benchmarks.report.results import OURS
from benchmarks.users.asking import Question, Ways

N = 20_000
REPEAT = 5
PEER = "bigarray"
CLASSES = "ptrarray.bigarray"

# With bigarray's own words, but for the numbers. Its writer is global, as is usual under fork.
ITS_PROGRAM = """
import multiprocessing
from multiprocessing import Pool

import numpy as np
from {module} import PointerArray, PointerArrayWriter

multiprocessing.set_start_method("fork")
n_arrays, path = {n}, {path!r}
jobs = [(i, min(i + 100, n_arrays)) for i in range(0, n_arrays, 100)]
writer = PointerArrayWriter(path, shape=(n_arrays * 10,), dtype="int32", remove_exist=True)


def fn_write(job):
    start, end = job
    # it is crucial to write at different position for different process
    writer.write(
        {{"name%i" % i: np.arange(i * 10, i * 10 + 10) for i in range(start, end)}},
        start_position=start * 10,
    )


with Pool(2) as p:
    p.map(fn_write, jobs)
writer.flush()
writer.close()

x = PointerArray(path)
for name, (start, end) in x.indices.items():
    data = x[start:end]
    data = x[name]


def fn_read(job):
    start, end = job
    return sum(np.sum(x["name%d" % i]) for i in range(start, end))


with Pool(2) as p:
    total_sum = sum(p.map(fn_read, jobs))
print(np.sum(x), total_sum)
"""

OUR_PROGRAM = """
import multiprocessing
from multiprocessing import Pool

import numpy as np
import ptrarray

multiprocessing.set_start_method("fork")
n_arrays, path = {n}, {path!r}
jobs = [(i, min(i + 100, n_arrays)) for i in range(0, n_arrays, 100)]
writer = ptrarray.create(path, rows=n_arrays * 10, dtype="int32", mode="w")


def fn_write(job):
    start, end = job
    arrays = {{f"name{{i}}": np.arange(i * 10, i * 10 + 10) for i in range(start, end)}}
    writer.write(arrays, start=start * 10)


with Pool(2) as p:
    p.map(fn_write, jobs)
writer.close()

x = ptrarray.open(path)
for name, (start, end) in x.pointers.items():
    data = x[start:end]
    data = x[name]


def fn_read(job):
    start, end = job
    return sum(np.sum(x[f"name{{i}}"]) for i in range(start, end))


with Pool(2) as p:
    total_sum = sum(p.map(fn_read, jobs))
print(np.sum(x), total_sum)
"""


def printed(program: str, path: Path, n: int, module: str = "") -> str:
    """Run a program in a process of its own; return what it prints."""
    discard(path)
    code = program.format(n=n, path=str(path), module=module)
    script = path.with_suffix(".py")
    script.write_text(code, encoding="utf-8")
    command = [sys.executable, "-W", "ignore", str(script)]
    done = subprocess.run(
        command, env=environment(None), capture_output=True, text=True, check=False
    )
    expect(done.returncode == 0, f"{done.stderr}: what {module or OURS} printed")
    return done.stdout


def same(ours: Any, theirs: Any) -> None:
    """Compare what came out."""
    expect(ours == theirs, f"{theirs}, beside {ours},")


def read_theirs(path: Path, names: list[str]) -> int:
    """Open, and sum what is looked up by name."""
    x = PointerArray(str(path), mode="r")
    return sum(int(x[name].sum()) for name in names)


def read_ours(path: Path, names: list[str]) -> int:
    """Do the same with a store."""
    with ptrarray.open(path) as x:
        return sum(int(x[name].sum()) for name in names)


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Run the programs; then read what they wrote."""
    paths = {who: folder / name for who, name in ((OURS, "a.ptr"), (CLASSES, "b"), (PEER, "c"))}
    its = {who: partial(printed, ITS_PROGRAM, paths[who], n, who) for who in (CLASSES, PEER)}
    ours = partial(printed, OUR_PROGRAM, paths[OURS], n)
    title = "the program of its README"
    yield Question(f"{title}, written anew", {OURS: ours, PEER: its[PEER]}, {PEER: 1}, same)
    ways: Ways = {OURS: its[CLASSES], PEER: its[PEER]}
    yield Question(f"{title}, one import changed", ways, {PEER: 1}, same)
    rng = np.random.default_rng(1)
    some = [f"name{number}" for number in rng.integers(0, n, min(n, 1000)).tolist()]
    reads = {OURS: read_ours, PEER: read_theirs}
    for words, names in (("1 array", some[:1]), (f"{len(some):,} arrays", some)):
        ways = {who: partial(read, paths[who], names) for who, read in reads.items()}
        yield Question(f"open, and sum {words} by name", ways, {PEER: 1}, same)
