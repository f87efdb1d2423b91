"""A time-lapse appended frame by frame while another process looks on, beside mmappickle.

One process appends N frames of 64 x 64 x 16 float32, one a call; another one asks every millisecond
for what is new and reads it, checking what it reads. The figures are the time to append them all,
and how old a frame was when it had been read (median over all frames).
"""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import Any

import numpy as np

import ptrarray
from benchmarks.harness.case import discard, expect
from benchmarks.harness.run import turns
from benchmarks.report.tables import spread

N = 500
REPEAT = 5
SHAPE = (64, 64, 16)
PAUSE_SECONDS = 0.001


ENGINES = ("ptrarray", "mmappickle")


def mmapdict(path: str, **options: Any) -> Any:
    """Open a dict of mmappickle's, made if it is not there."""
    vars(np)["float"] = float  # which mmappickle still asks for
    return importlib.import_module("mmappickle").mmapdict(path, **options)


def writer(engine: str, path: str) -> Any:
    """Open what a frame is appended to by its name."""
    return ptrarray.append(path) if engine == "ptrarray" else mmapdict(path)


def viewer(engine: str, path: str) -> Callable[[int], list[Any]]:
    """Return what gives the frames from a number on."""
    if engine == "mmappickle":
        found = mmapdict(path, readonly=True)
        return lambda n_seen: [found[name] for name in list(found.keys())[n_seen:]]
    store = ptrarray.open(path)

    def since(n_seen: int) -> list[Any]:
        store.refresh()
        return [store[name] for name in store.names[n_seen:]]

    return since


def append(engine: str, path: str, n_frames: int, ready: Any, results: Any) -> None:
    """Append frames, and tell when each was committed."""
    frames_by_name = writer(engine, path)
    frames = np.random.default_rng(0).random((8, 1, *SHAPE), np.float32)
    ready.wait()
    times = [monotonic()]
    for n in range(n_frames):
        frame = frames[n % 8]
        frame.flat[0] = n
        frames_by_name[f"frame{n:06}"] = frame
        times.append(monotonic())
    results.put(times)


def view(engine: str, path: str, n_frames: int, ready: Any, results: Any) -> None:
    """Follow the frames, and tell when each was read."""
    since = viewer(engine, path)
    ready.wait()
    times: list[float] = []
    while len(times) < n_frames:
        for frame in since(len(times)):
            expect(frame.reshape(-1)[0] == len(times), f"frame {len(times)}")
            frame.sum()
            times.append(monotonic())
        sleep(PAUSE_SECONDS)
    results.put(times)


def measure(engine: str, n_frames: int, path: Path, jobs: list[Any]) -> tuple[float, float]:
    """Return the milliseconds to append all frames, and the median age of a frame once read."""
    context = multiprocessing.get_context("spawn")
    discard(path)
    if engine == "ptrarray":
        ptrarray.create(path, dtype="f4", row_shape=SHAPE).close()
    else:
        mmapdict(str(path))
    ready = context.Barrier(len(jobs))
    queues = [context.Queue() for _ in jobs]
    processes = [
        context.Process(target=job, args=(engine, str(path), n_frames, ready, results))
        for job, results in zip(jobs, queues, strict=True)
    ]
    for process in processes:
        process.start()
    found = [np.array(results.get()) * 1e3 for results in queues]
    for process in processes:
        process.join()
    elapsed = float(found[0][-1] - found[0][0])
    return elapsed, float(np.median(found[-1] - found[0][1:])) if len(jobs) > 1 else 0


def study(folder: Path, n: int, repeat: int) -> Iterator[str]:
    """Measure both engines, alone and with a viewer."""

    def act(engine: str) -> tuple[float, float, float]:
        alone, _ = measure(engine, n, folder / "lapse", [append])
        return alone, *measure(engine, n, folder / "lapse", [append, view])

    rounds = turns(ENGINES, act, repeat)
    yield f"{n} frames of {np.prod(SHAPE) * 4 // 1024} KiB, medians of {repeat} (least to most)"
    yield ""
    yield "| what | ptrarray | mmappickle | ratio |"
    yield "|---|---|---|---|"
    labels = ("append all, ms", "append all under a viewer, ms", "age of a frame once read, ms")
    for i_cost, label in enumerate(labels):
        ours, theirs = ([each[i_cost] for each in found] for found in rounds.values())
        ratio = median(b / a for a, b in zip(ours, theirs, strict=True))
        yield f"| {label} | {spread(ours)} | {spread(theirs)} | {ratio:.1f} |"
