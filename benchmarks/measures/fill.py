"""Computing arrays in worker processes: what the second one gains."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.case import Case, discard, expect, opened
from benchmarks.engines import Engine
from benchmarks.measures import Figure, Measure, one
from benchmarks.system import timed
from benchmarks.workloads import Array, Source

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


def fill(n_processes: int, engine: Engine, case: Case) -> float:
    """Compute and write the arrays of all tasks."""
    tasks = {f"utt{seed}": seed for seed in range(min(N_TASKS, len(case.source)))}
    path = case.scratch(engine)
    seconds, _ = timed(engine.fill, path, features, tasks, n_processes)
    if case.once(engine, f"fill {n_processes}"):
        wanted = Source(features(0), np.array([0, N_ROWS]))
        with opened(engine, path, wanted) as store:
            array = engine.get(store, ["utt0"])[0]
            expect(np.array_equal(array, wanted[0]), f"utt0 of {path}")
    discard(path)
    return seconds / len(tasks) * 1e6


def _measure(key: str, words: str, n_processes: int) -> Measure:
    figure = Figure(key, f"compute and write {N_TASKS:,} arrays, {words}", "µs/array")
    return one(figure, ("fill",), partial(fill, n_processes))


MEASURES = [_measure("fill", "1 process", 1), _measure("fill_2", "2 processes", 2)]
