"""What it takes to dump and load a nested object: seconds, and memory beside the object.

Objects have N MiB of arrays. Each measurement is a fresh process; a first round warms up. Memory is
the peak of resident memory during the call over what was resident before it, so pages of a mapped
file count as soon as they are touched. What is loaded is summed and compared. joblib and pickle
return before anything is on the disk; the figures with "on disk" wait for that, too, as
`ptrarray.dump` does by itself.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import joblib
import numpy as np

import ptrarray
from benchmarks.harness.case import discard
from benchmarks.harness.processes import Steps, in_fresh
from benchmarks.harness.run import turns
from benchmarks.harness.system import peak_kib, resident_kib, sync_files, timed

N = 1024
REPEAT = 3
MEBI = 2**20

Key = tuple[str, str]  # "dump" or "load", and by what
Costs = dict[str, float]


def layers(nbytes: int) -> dict[str, Any]:
    """Model-like: arrays of some MB in dicts in a list, with small ones beside them."""
    rng = np.random.default_rng(1)
    width = 1024
    return {
        "name": "model",
        "layers": [
            {"weights": rng.random((width, width)), "bias": rng.random(width), "rate": 0.1, "n": n}
            for n in range(nbytes // (width * width * 8))
        ],
    }


def strided(nbytes: int) -> dict[str, Any]:
    """Make the same amount of arrays that do not lie end to end: every second column."""
    rng = np.random.default_rng(1)
    rows = nbytes // (4 * 1024 * 8)
    return {"parts": [{"columns": rng.random((rows, 2048))[:, ::2]} for _ in range(4)]}


def small(nbytes: int) -> list[dict[str, Any]]:
    """Many records with an array of 128 numbers each."""
    values = np.random.default_rng(1).random((nbytes // 1024, 128))
    return [{"id": n, "name": f"record {n}", "values": row} for n, row in enumerate(values)]


OBJECTS: dict[str, Callable[[int], Any]] = {"layers": layers, "strided": strided, "small": small}


def total(obj: Any) -> float:
    """Sum all arrays in an object."""
    left, result = [obj], 0.0
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list):
            left += value
        elif isinstance(value, np.ndarray):
            result += float(value.sum())
    return result


def pickle_dump(obj: Any, path: Path) -> None:
    """Dump with pickle's protocol 5, buffers in band."""
    with path.open("wb") as file:
        pickle.dump(obj, file, protocol=5)


def pickle_load(path: Path) -> Any:
    """Load with pickle."""
    with path.open("rb") as file:
        return pickle.load(file)


def on_disk(dump: Callable[[Any, Path], None]) -> Callable[[Any, Path], None]:
    """Make a dump wait until all is on the disk."""

    def dump_and_wait(obj: Any, path: Path) -> None:
        dump(obj, path)
        sync_files(path)

    return dump_and_wait


DUMPS: dict[str, Callable[[Any, Path], None]] = {
    "ptrarray": ptrarray.dump,
    "joblib": joblib.dump,
    "joblib, on disk": on_disk(joblib.dump),
    "pickle 5": pickle_dump,
    "pickle 5, on disk": on_disk(pickle_dump),
}
LOADS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "ptrarray": ("ptrarray", ptrarray.load),
    "joblib": ("joblib", joblib.load),
    "joblib, mmap_mode='r'": ("joblib", lambda path: joblib.load(path, mmap_mode="r")),
    "pickle 5": ("pickle 5", pickle_load),
}


def measuring(what: str, who: str, kind: str, mib: int, folder: str) -> Steps:
    """Dump or load, then use all of it, in a fresh process."""
    by, load = (who, None) if what == "dump" else LOADS[who]
    path, first = Path(folder) / by, warm_up(DUMPS[by], Path(folder))
    if load:
        load(first)
        action = partial(load, path)
    else:
        obj = OBJECTS[kind](mib * MEBI)
        action = partial(DUMPS[by], obj, path)
    before = reset_peak()
    seconds, found = timed(action)
    more_mib = (peak_kib() - before) / 1024
    sum_seconds, result = timed(total, found if load else obj)
    yield {"seconds": seconds, "mib": more_mib, "total": result, "summed": seconds + sum_seconds}


def warm_up(dump: Callable[[Any, Path], None], folder: Path) -> Path:
    """Have everything imported before it is measured."""
    path = folder / f"first {os.getpid()}"
    dump([np.zeros(1)], path)
    return path


def reset_peak() -> int:
    """Begin to look for a new peak of resident memory; return the memory now, in KiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident_kib()


def measure(kind: str, mib: int, folder: Path, key: Key) -> Costs | None:
    """Measure in a fresh process; return nothing if it fails."""
    if key[0] == "dump":
        discard(folder / key[1])
    try:
        return in_fresh(None, measuring, *key, kind, mib, folder)
    except RuntimeError:
        return None


def compared(kind: str, mib: int, repeat: int, folder: Path) -> Iterator[str]:
    """Measure everybody with one object, in turns; yield rows of a table."""
    act = partial(measure, kind, mib, folder)
    found: dict[Key, list[Costs | None]] = {}
    for what, by in (("dump", DUMPS), ("load", LOADS)):
        found |= turns([(what, who) for who in by], act, repeat, n_warm_up=1)
    totals = [costs["total"] for each in found.values() for costs in each if costs]
    if max(totals) - min(totals) > 1e-6 * max(totals):
        raise AssertionError(f"not all summed to the same: {totals}")
    for key, each in found.items():
        cells = (
            _cells(key, [costs for costs in each if costs]) if all(each) else ["fails", "", "", ""]
        )
        yield f"| {' | '.join([kind, *key, *cells])} |"


def _cells(key: Key, each: list[Costs]) -> list[str]:
    seconds = [costs["seconds"] for costs in each]
    return [
        f"{median(seconds):.3f}",
        f"{min(seconds):.3f} to {max(seconds):.3f}",
        f"{median(costs['summed'] for costs in each):.2f}" if key[0] == "load" else "",
        f"{max(costs['mib'] for costs in each):.0f}",
    ]


def study(folder: Path, n: int, repeat: int) -> Iterator[str]:
    """Measure three kinds of objects."""
    yield "| object | call | by | seconds, median | range | with a sum of all | MiB more, at most |"
    yield "|---|---|---|---|---|---|---|"
    for kind in OBJECTS:
        yield from compared(kind, n, repeat, folder)
        for path in folder.iterdir():
            discard(path)
