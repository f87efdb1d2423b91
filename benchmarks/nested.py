"""What it takes to dump and load a nested object of 1 GB: seconds, and memory beside the object.

Run ``python -m benchmarks.nested [--mib 1024] [--repeat 3] [--folder DIR]``. Each
measurement is a fresh process. A first round warms up, and in each round another one
begins. Memory is the peak of resident memory during the call over what was resident
before it, so pages of a mapped file count as soon as they are touched. What is loaded is
summed and compared. joblib and pickle return before anything is on the disk; the figures
with "on disk" wait for that, too, as `ptrarray.dump` does by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import ptrarray
from benchmarks.system import ROOT, machine, peak_kib, resident_kib, sync_files, timed

MEBI = 2**20


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


def joblib_dump(obj: Any, path: Path) -> None:
    """Dump with joblib."""
    import joblib

    joblib.dump(obj, path)


def joblib_load(path: Path, **options: Any) -> Any:
    """Load with joblib."""
    import joblib

    return joblib.load(path, **options)


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
    "joblib": joblib_dump,
    "joblib, on disk": on_disk(joblib_dump),
    "pickle 5": pickle_dump,
    "pickle 5, on disk": on_disk(pickle_dump),
}
LOADS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "ptrarray": ("ptrarray", ptrarray.load),
    "joblib": ("joblib", joblib_load),
    "joblib, mmap_mode='r'": ("joblib", lambda path: joblib_load(path, mmap_mode="r")),
    "pickle 5": ("pickle 5", pickle_load),
}


def measure(what: str, who: str, kind: str, mib: int, folder: Path) -> dict[str, float]:
    """Dump or load in this process, which should be a fresh one."""
    path = folder / (who if what == "dump" else LOADS[who][0])
    if what == "load":
        LOADS[who][1](warm_up(DUMPS[LOADS[who][0]], folder))
        return loaded(LOADS[who][1], path)
    obj = OBJECTS[kind](mib * MEBI)
    warm_up(DUMPS[who], folder)
    before = reset_peak()
    seconds, _ = timed(DUMPS[who], obj, path)
    return {"seconds": seconds, "mib": (peak_kib() - before) / 1024, "total": total(obj)}


def loaded(load: Callable[[Path], Any], path: Path) -> dict[str, float]:
    """Load, then use all of it."""
    before = reset_peak()
    seconds, obj = timed(load, path)
    mib = (peak_kib() - before) / 1024
    more_seconds, result = timed(total, obj)
    return {"seconds": seconds, "mib": mib, "total": result, "summed": seconds + more_seconds}


def warm_up(dump: Callable[[Any, Path], None], folder: Path) -> Path:
    """Have everything imported before it is measured."""
    path = folder / f"first {os.getpid()}"
    dump([np.zeros(1)], path)
    return path


def reset_peak() -> int:
    """Begin to look for a new peak of resident memory; return the memory now, in KiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident_kib()


def run(*arguments: object) -> dict[str, float]:
    """Measure in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.nested", "--one", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        return {"failed": 1}
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def turns(turn: int) -> list[tuple[str, str]]:
    """Return who does what in a round: each time another one begins."""
    dumps, loads = [("dump", who) for who in DUMPS], [("load", who) for who in LOADS]
    first = turn % len(dumps)
    return dumps[first:] + dumps[:first] + loads


def compared(kind: str, mib: int, repeat: int, folder: Path) -> list[str]:
    """Measure everybody with one object, taking turns; return rows of a table."""
    figures: dict[tuple[str, str], list[dict[str, float]]] = {}
    for turn in range(repeat + 1):
        for what, who in turns(turn):
            if what == "dump":
                subprocess.run(["rm", "-rf", folder / who], check=True)
            measured = run(what, who, kind, mib, folder)
            # The first pages of a page cache cost more, whoever writes them.
            if turn:
                figures.setdefault((what, who), []).append(measured)
    rows = [
        f"{kind} | {what} | {who} | fails |  |  | "
        for (what, who), each in figures.items()
        if any("failed" in one for one in each)
    ]
    figures = {key: each for key, each in figures.items() if "failed" not in each[0]}
    totals = {one["total"] for each in figures.values() for one in each}
    if max(totals) - min(totals) > 1e-6 * max(totals):
        raise AssertionError(f"not all summed to the same: {totals}")
    for (what, who), each in figures.items():
        seconds, mebi = ([one[key] for one in each] for key in ("seconds", "mib"))
        summed = statistics.median(one["summed"] for one in each) if what == "load" else 0
        cells = [
            *(kind, what, who, f"{statistics.median(seconds):.3f}"),
            f"{min(seconds):.3f} to {max(seconds):.3f}",
            f"{summed:.2f}" if summed else "",
            f"{max(mebi):.0f}",
        ]
        rows.append(" | ".join(cells))
    return rows


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nested", description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="of the arrays in each object")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--kinds", default=",".join(OBJECTS))
    parser.add_argument("--folder", type=Path, help="on a disk, not in memory")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        what, who, kind, mib, folder = options.one
        print(json.dumps(measure(what, who, kind, int(mib), Path(folder))))
        return
    print(json.dumps(machine()))
    print(
        "| object | call | by | seconds, median | range | with a sum of all | MiB more, at most |"
    )
    print("|---|---|---|---|---|---|---|")
    for kind in options.kinds.split(","):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for row in compared(kind, options.mib, options.repeat, Path(folder)):
                print(f"| {row} |", flush=True)


if __name__ == "__main__":
    main()
