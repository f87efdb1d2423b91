"""`fill` on engines with two workers, beside the same engine running the function alone.

The function makes features of a second of speech. Beside it, the same engine runs the same chunks
of tasks and throws the arrays away. Each engine is a program of its own, and takes its rounds in
turns.

A task takes 0.4 ms and gives an array of 31 KB. Keeping it takes 40 µs more in a worker: 20 for the
copy that waits, its checksum and its pages of the file, and 20 for what is done in Python for each.
Each chunk opens the store anew, which takes about 1 ms, and the first chunks have few tasks. A
function that takes longer for as many bytes comes closer to the engine alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.cluster.fill import MODULES, N_WORKERS
from benchmarks.harness.system import ROOT
from benchmarks.report.results import OURS
from benchmarks.users.asking import CLOCK, CPU, Question

N = 4000
REPEAT = 3
THROWN = "thrown away"
SHARE = 0.9

Rounds = dict[str, list[tuple[float, float]]]


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Ask for each way of each engine."""
    for engine in MODULES:
        rounds = taken(engine, n, folder)
        for way in rounds:
            if way != THROWN:
                yield from about(f"{n:,} tasks on {engine}, {way}", rounds[way], rounds[THROWN])


def about(
    title: str, ours: list[tuple[float, float]], thrown: list[tuple[float, float]]
) -> Iterator[Question]:
    """Ask for the time by the clock, and for that of all processors."""
    for number, (unit, what) in enumerate(((CLOCK, "the clock"), (CPU, "processors"))):
        each = {OURS: iter(ours), THROWN: iter(thrown)}
        ways = {who: partial(following, costs, number) for who, costs in each.items()}
        # A title of its own: entries are compared by their titles.
        yield Question(f"{title}, by {what}", ways, {THROWN: SHARE}, unit=unit, returns_cost=True)


def following(costs: Iterator[tuple[float, float]], number: int) -> float:
    """Return the next cost in milliseconds."""
    return next(costs)[number] * 1e3


def taken(engine: str, n: int, folder: Path) -> Rounds:
    """Return the seconds of each round of each way, by the clock and of processors."""
    command = [sys.executable, "-m", "benchmarks.cluster.fill", engine, str(n), str(REPEAT)]
    if engine == "mpi4py":
        mpiexec = shutil.which("mpiexec") or str(Path(sys.executable).with_name("mpiexec"))
        started = [mpiexec, "--oversubscribe", "--allow-run-as-root", "-n", str(N_WORKERS + 1)]
        command = [*started, sys.executable, "-m", "mpi4py.futures", *command[1:]]
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended {done.returncode}:\n{done.stderr}")
    found: Rounds = json.loads(done.stdout.splitlines()[-1])
    return found
