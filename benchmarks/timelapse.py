"""A time-lapse appended frame by frame while another process looks on, beside mmappickle.

Run ``python -m benchmarks.timelapse [--frames 500] [--repeat 5]``. One process appends frames of
64 x 64 x 16 float32, one a call; another one asks every millisecond for what is new and reads it,
checking what it reads. Told are the time to append them all, and how old a frame was when it had
been read (median over all frames). The two take turns.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Protocol

import numpy as np

import ptrarray

SHAPE = (64, 64, 16)
PAUSE_SECONDS = 0.001


class Writer(Protocol):
    """What appends a frame."""

    def __setitem__(self, name: str, frame: Any) -> None: ...


class Ours:
    """ptrarray: a row is a frame."""

    @staticmethod
    def create(path: str) -> None:
        """Make an empty store."""
        ptrarray.create(path, dtype="f4", row_shape=SHAPE).close()

    @staticmethod
    def writer(path: str) -> Writer:
        """Open it to append."""
        return ptrarray.append(path)

    @staticmethod
    def viewer(path: str) -> Callable[[int], list[Any]]:
        """Return what gives the frames from a number on."""
        store = ptrarray.open(path)

        def since(n_seen: int) -> list[Any]:
            store.refresh()
            return [store[name] for name in store.names[n_seen:]]

        return since


class Mmappickle:
    """mmappickle: a dict in a file."""

    @staticmethod
    def create(path: str) -> None:
        """Make an empty dict."""
        _mmapdict()(path)

    @staticmethod
    def writer(path: str) -> Writer:
        """Open it to append."""
        opened: Writer = _mmapdict()(path)
        return opened

    @staticmethod
    def viewer(path: str) -> Callable[[int], list[Any]]:
        """Return what gives the frames from a number on."""
        found = _mmapdict()(path, readonly=True)
        return lambda n_seen: [found[name] for name in list(found.keys())[n_seen:]]


def _mmapdict() -> Any:
    vars(np)["float"] = float  # which mmappickle still asks for
    return importlib.import_module("mmappickle").mmapdict


ENGINES: dict[str, Any] = {"ptrarray": Ours, "mmappickle": Mmappickle}


def append(engine: str, path: str, n_frames: int, ready: Any, results: Any) -> None:
    """Append frames, and tell when each was committed."""
    writer = ENGINES[engine].writer(path)
    frames = np.random.default_rng(0).random((8, 1, *SHAPE), np.float32)
    ready.wait()
    times = [monotonic()]
    for n in range(n_frames):
        frame = frames[n % 8]
        frame.flat[0] = n
        writer[f"frame{n:06}"] = frame
        times.append(monotonic())
    results.put(times)


def view(engine: str, path: str, n_frames: int, ready: Any, results: Any) -> None:
    """Follow the frames, and tell when each was read."""
    since = ENGINES[engine].viewer(path)
    ready.wait()
    times: list[float] = []
    while len(times) < n_frames:
        for frame in since(len(times)):
            assert frame.reshape(-1)[0] == len(times)
            frame.sum()
            times.append(monotonic())
        sleep(PAUSE_SECONDS)
    results.put(times)


def measure(engine: str, n_frames: int, *, is_viewed: bool) -> tuple[float, float]:
    """Return the seconds to append all frames, and the median age of a frame once read."""
    context = multiprocessing.get_context("spawn")
    jobs = [append, view] if is_viewed else [append]
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "lapse")
        ENGINES[engine].create(path)
        ready = context.Barrier(len(jobs))
        queues = [context.Queue() for _ in jobs]
        processes = [
            context.Process(target=job, args=(engine, path, n_frames, ready, results))
            for job, results in zip(jobs, queues, strict=True)
        ]
        for process in processes:
            process.start()
        found = [np.array(results.get()) for results in queues]
        for process in processes:
            process.join()
    elapsed = float(found[0][-1] - found[0][0])
    age = float(np.median(found[1] - found[0][1:])) if is_viewed else 0.0
    return elapsed, age


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    rounds: dict[str, list[tuple[float, float, float]]] = {engine: [] for engine in ENGINES}
    for n_round in range(options.repeat):
        for engine in sorted(ENGINES, reverse=bool(n_round % 2)):
            alone, _ = measure(engine, options.frames, is_viewed=False)
            viewed, age = measure(engine, options.frames, is_viewed=True)
            rounds[engine].append((alone, viewed, age))
    print(f"{options.frames} frames of {np.prod(SHAPE) * 4 // 1024} KiB, medians of "
          f"{options.repeat} (least to most)")  # fmt: skip
    print("| what | ptrarray | mmappickle | ratio |")
    print("|---|---|---|---|")
    labels = ("append all, ms", "append all under a viewer, ms", "age of a frame once read, ms")
    for column, label in enumerate(labels):
        ours, theirs = ([each[column] for each in rounds[engine]] for engine in ENGINES)
        ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
        print(f"| {label} | {spread(ours)} | {spread(theirs)} | {ratio:.1f} |")


def spread(times: list[float]) -> str:
    """Median, least and most, in milliseconds."""
    median, least, most = (f(times) * 1e3 for f in (statistics.median, min, max))
    return f"{median:.2f} ({least:.2f} to {most:.2f})"


if __name__ == "__main__":
    main()
