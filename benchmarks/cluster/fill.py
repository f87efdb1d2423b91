"""`fill` on engines, beside the same engine running the function and throwing its arrays away.

Both send the same chunks of tasks, so what differs is that arrays are written, and parts joined.
One process runs one engine, as a program of its own::

    python -m benchmarks.cluster.fill loky
    OPENBLAS_NUM_THREADS=1 mpiexec -n 3 python -m mpi4py.futures -m benchmarks.cluster.fill mpi4py
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

import ptrarray
from ptrarray.executors import RayExecutor
from ptrarray.jobs.run import run_job
from ptrarray.jobs.worker import Report, Task

MODULES = {"dask": "dask.distributed", "ray": "ray", "mpi4py": "mpi4py.futures", "loky": "loky"}
N_WORKERS = 2
N_SAMPLES = 16_000  # a second of speech


WINDOW = np.hanning(400).astype("f4")
BANDS = np.abs(np.random.default_rng(0).standard_normal((257, 80), "f4"))


def features(n: int) -> Any:
    """Return what is made of a second of speech for a recogniser, shape (98, 80): 31 KB."""
    signal = np.random.default_rng(n).standard_normal(N_SAMPLES, np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(signal, 400)[::160] * WINDOW
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    return np.log1p(power @ BANDS).astype(np.float32)


class Thrown(NamedTuple):
    """A job that calls a function for each task, and keeps nothing."""

    path: str

    def run(self, chunk: list[Task]) -> Report:
        """Do a chunk of tasks."""
        began, nbytes = time.perf_counter(), 0
        for task in chunk:
            nbytes += features(task.argument).nbytes
        return Report(len(chunk), len(chunk), nbytes, time.perf_counter() - began, None)


def throw_away(executor: Executor, tasks: dict[str, int], folder: Path) -> None:
    """Have an engine call the function for each task."""
    each = (Task(name, n) for name, n in tasks.items())
    run_job(
        Thrown(str(folder / "none")),
        each,
        N_WORKERS,
        executor,
        total=len(tasks),
        progress=False,
        any_host=True,
    )


def fill(executor: Executor, tasks: dict[str, int], folder: Path, parts: Any) -> None:
    """Have an engine fill a store, and check how many arrays it has."""
    path = folder / "store.ptr"
    ptrarray.fill(
        path,
        features,
        tasks,
        dtype="f4",
        row_shape=80,
        executor=executor,
        processes=N_WORKERS,
        progress=False,
        parts=parts,
    )
    with ptrarray.open(path) as store:
        assert len(store) == len(tasks)
    shutil.rmtree(path)


def cpu_seconds(root: int) -> float:
    """Return the time that a process and all that it has started have had on processors."""
    ticks: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = file.read_text().rpartition(")")[2].split()
            ticks[int(file.parent.name)] = sum(map(int, fields[11:15]))
            children.setdefault(int(fields[1]), []).append(int(file.parent.name))
    total, left = 0, [root]
    while left:
        process = left.pop()
        total += ticks.get(process, 0)
        left += children.get(process, [])
    return total / os.sysconf("SC_CLK_TCK")


def measure(
    executor: Executor, n_tasks: int, repeat: int, folder: Path, root: int
) -> Iterator[dict[str, list[tuple[float, float]]]]:
    """Yield the seconds that each way took in each round so far, by the clock and on processors.

    The ways take turns. Those of the process `root`, and of all that it has started.
    """
    tasks = {f"utt{n:06}": n for n in range(n_tasks)}
    ways: dict[str, Any] = {
        "thrown away": lambda: throw_away(executor, tasks, folder),
        "one store": lambda: fill(executor, tasks, folder, None),
        "parts of hosts": lambda: fill(executor, tasks, folder, "host"),
        "parts of workers": lambda: fill(executor, tasks, folder, "worker"),
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for n_round in range(repeat + 1):
        for name, run in ways.items():
            began = time.perf_counter(), cpu_seconds(root)
            run()
            ended = time.perf_counter(), cpu_seconds(root)
            if n_round:  # the first one imports what is needed
                seconds[name].append((ended[0] - began[0], ended[1] - began[1]))
        yield seconds


@contextmanager
def engine(name: str) -> Iterator[Executor]:
    """Start an engine with two workers, of one thread each."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    package = import_module(MODULES[name])
    if name == "dask":
        cluster = package.LocalCluster(
            n_workers=N_WORKERS, threads_per_worker=1, dashboard_address=None, silence_logs=50
        )
        with cluster, package.Client(cluster) as client:
            yield client.get_executor()
    elif name == "ray":
        os.environ["PYTHONPATH"] = str(Path(__file__).parent.parent.parent)  # for the workers
        package.init(num_cpus=N_WORKERS, include_dashboard=False, log_to_driver=False)
        with RayExecutor() as executor:
            yield executor
        package.shutdown()
    elif name == "mpi4py":
        with package.MPIPoolExecutor() as executor:
            yield executor
    else:
        yield package.get_reusable_executor(max_workers=N_WORKERS)


def main(name: str, n_tasks: str = "4000", repeat: str = "5") -> None:
    """Measure one engine, and print the seconds as JSON after each round; the last one counts."""
    with TemporaryDirectory() as folder, engine(name) as executor:
        root = os.getppid() if name == "mpi4py" else os.getpid()  # its workers are no children
        for seconds in measure(executor, int(n_tasks), int(repeat), Path(folder), root):
            print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
