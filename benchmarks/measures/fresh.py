"""Reading in fresh processes: opening, memory, lookups, and from a cold page cache."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engines import N_LOOKUPS, AnyEngine, Engine, load
from benchmarks.harness.case import Case, expect
from benchmarks.harness.measure import Figure, Measure, one
from benchmarks.harness.processes import Fresh, Steps, environment, in_fresh
from benchmarks.harness.system import (
    anonymous_kib,
    drop_cache,
    private_kib,
    settle,
    timed,
    timed_each,
)
from benchmarks.workloads import N_TAKE, WORKLOADS, Array, grouped, lookups

N_READERS = 4


def checksum(arrays: list[Array], value: int = 0) -> int:
    """Return a checksum of the length and the first row of each array."""
    for array in arrays:
        value = zlib.crc32(array[:1].tobytes(), value + len(array))
    return value


# In the fresh process ------------------------------------------------------------------------------


def reading(name: str, path: str, workload: str, n_arrays: int) -> Steps:
    """Open, look up, tell memory in between; then time lookups."""
    engine, sample = load(name), WORKLOADS[workload].make(1)
    numbers = lookups(n_arrays, engine.n_lookups)
    keys = engine.keys(sample, numbers)
    settle()
    anonymous, private = anonymous_kib(), private_kib()
    open_s, (store, first) = timed(
        lambda: (opened := engine.open(Path(path), sample.layout), engine.find(opened, keys[:1]))
    )
    answer = {"open": open_s * 1e3, "open_rss": anonymous_kib() - anonymous}
    del first
    value = 0
    for group in grouped(keys):
        value = checksum(engine.find(store, group), value)
    answer |= {"checksum": value, "lookups_rss": anonymous_kib() - anonymous}
    yield answer
    yield {"private": private_kib() - private}
    yield {
        "lookup": _each_us(engine.get, store, keys) if engine.can(Engine.get) else None,
        "position": _each_us(engine.at, store, numbers) if engine.can(Engine.at) else None,
    }


def _each_us(get: Callable[..., Any], store: Any, keys: list[Any]) -> float:
    groups = list(grouped(keys))
    timed_each(partial(get, store), groups)
    return timed_each(partial(get, store), groups) / len(keys) * 1e6


def reading_cold(name: str, path: str, workload: str, n_arrays: int) -> Steps:
    """Open, and take a batch."""
    engine, sample = load(name), WORKLOADS[workload].make(1)
    keys = engine.keys(sample, lookups(n_arrays, N_TAKE))
    open_s, store = timed(engine.open, Path(path), sample.layout)
    take_s, (values, offsets) = timed(engine.take, store, keys)
    yield {
        "open_cold": open_s * 1e3,
        "take_cold": take_s * 1e3,
        "checksum": zlib.crc32(values.tobytes(), len(offsets)),
    }


# In a process without the harness, which imports much of what a library may import.
IMPORTING = """
import sys, numpy
from time import process_time
start = process_time()
__import__(sys.argv[1])
print(process_time() - start)
"""

# In this process -----------------------------------------------------------------------------------


def reader(engine: AnyEngine, case: Case) -> tuple[float | None, ...]:
    """Open a store in one process."""
    process = _start(engine, case)
    answer = process.asked()
    _check_lookups(answer, engine, case)
    answer |= process.asked() | process.asked()
    process.end()
    return tuple(answer[figure.key] for figure in READER.figures)


def readers(engine: AnyEngine, case: Case) -> tuple[float | None, ...]:
    """Open a store in several processes that live at the same time; return the mean of each."""
    processes = [_start(engine, case, "readers") for _ in range(N_READERS)]
    for process in processes:
        process.ask()
    answers = [process.answer() for process in processes]
    _check_lookups(answers[0], engine, case, "readers")
    private = [process.asked()["private"] for process in processes]
    for process in processes:
        process.end()
    return (sum(private) / N_READERS,)


def _start(engine: AnyEngine, case: Case, kind: str = "store") -> Fresh:
    n_arrays = len(case.stored(engine, kind))
    return Fresh(engine, reading, case.store(engine, kind), case.workload, n_arrays)


def _check_lookups(
    answer: dict[str, Any], engine: AnyEngine, case: Case, kind: str = "store"
) -> None:
    if case.once(engine, f"reader {kind}"):
        source = case.stored(engine, kind)
        arrays = [source[number] for number in lookups(len(source), engine.n_lookups)]
        expect(answer["checksum"] == checksum(arrays), f"what {engine.name} finds")


def importing(engine: AnyEngine, case: Case) -> float | None:
    """Import the library, whose bytecode is there."""
    if not engine.package:
        return None
    command = [sys.executable, "-P", "-c", IMPORTING, engine.package]
    variables = environment(engine) | {"PYTHONDONTWRITEBYTECODE": ""}
    n_runs = 2 if case.once(engine, "import") else 1  # the first one may have to compile it
    for _ in range(n_runs):
        done = subprocess.run(command, env=variables, capture_output=True, check=True)
    return float(done.stdout) * 1e3


def cold(engine: AnyEngine, case: Case) -> tuple[float | None, ...]:
    """Open a store that is not in the page cache."""
    path, source = case.store(engine), case.stored(engine)
    if drop_cache(path) > 0.05:
        return None, None  # a file system in memory, say
    answer = in_fresh(engine, reading_cold, path, case.workload, len(source))
    if case.once(engine, "cold"):
        arrays = [source[number] for number in lookups(len(source), N_TAKE)]
        wanted = zlib.crc32(np.concatenate(arrays).tobytes(), N_TAKE + 1)
        expect(answer["checksum"] == wanted, f"a batch of {engine.name}")
    return answer["open_cold"], answer["take_cold"]


READER = Measure(
    (
        Figure("open", "open in a fresh process, to the first array", "ms"),
        Figure("open_rss", "memory of its own after that", "KiB"),
        Figure("lookups_rss", f"memory of its own after {N_LOOKUPS:,} lookups", "KiB"),
        Figure("private", "memory only it has mapped, file pages included", "KiB"),
        Figure("lookup", "lookup by name", "µs"),
        Figure("position", "lookup by position", "µs"),
    ),
    (),
    reader,
    is_fresh=True,
)
READERS = Measure(
    (Figure("private_4", f"the same of each of {N_READERS} readers at once", "KiB"),),
    (),
    readers,
    kind="readers",
    rounds=1,
    is_fresh=True,
)
COLD = Measure(
    (
        Figure("open_cold", "open with a cold page cache", "ms"),
        Figure("take_cold", f"then a batch of {N_TAKE} random names", "ms"),
    ),
    (),
    cold,
    is_fresh=True,
)
IMPORT = one(
    Figure("import", "import, processor time beyond numpy's", "ms"), (), importing, is_fresh=True
)
MEASURES = [READER, READERS, IMPORT]
