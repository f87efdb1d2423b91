"""Computing arrays in worker processes: what the second one gains.

In a fresh process, whose workers find the library that is measured by whatever way they start.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.engines import AnyEngine, Engine, load
from benchmarks.harness.case import Case, discard, expect
from benchmarks.harness.measure import Figure, Measure, one
from benchmarks.harness.processes import Steps, in_fresh
from benchmarks.harness.system import timed
from benchmarks.workloads import Array, Layout

N_TASKS = 4_000
N_SAMPLES = 24_000  # of a made-up recording: about a millisecond of work
N_ROWS = 150


def features(seed: int) -> Array:
    """Return the spectra of a made-up recording, float32 rows of 80."""
    signal = np.random.default_rng(seed).standard_normal(N_SAMPLES)
    frames = signal.reshape(N_ROWS, -1)
    power = np.abs(np.fft.rfft(frames * np.hanning(frames.shape[1]))[:, :80]) ** 2
    rows: Array = np.log1p(power).astype(np.float32)
    return rows


def filling(name: str, path: str, n_tasks: int, n_processes: int) -> Steps:
    """Compute and write the arrays of all tasks, from this process."""
    tasks = {f"utt{seed}": seed for seed in range(n_tasks)}
    yield {"seconds": timed(load(name).fill, Path(path), features, tasks, n_processes)[0]}


def fill(n_processes: int, engine: AnyEngine, case: Case) -> float:
    """Compute and write the arrays of all tasks."""
    n_tasks, path = min(N_TASKS, len(case.source)), case.scratch(engine)
    answer = in_fresh(engine, filling, path, n_tasks, n_processes)
    if case.once(engine, f"fill {n_processes}"):
        wanted = features(0)
        with engine.opened(path, Layout(wanted.dtype, wanted.shape[1:])) as store:
            array = engine.get(store, ["utt0"])[0]
            expect(np.array_equal(array, wanted), f"utt0 of {path}")
    discard(path)
    seconds: float = answer["seconds"]
    return seconds / n_tasks * 1e6


def _measure(key: str, words: str, n_processes: int) -> Measure:
    figure = Figure(key, f"compute and write {N_TASKS:,} arrays, {words}", "µs/array")
    return one(figure, (Engine.fill,), partial(fill, n_processes), is_fresh=True)


MEASURES = [_measure("fill", "1 process", 1), _measure("fill_2", "2 processes", 2)]
