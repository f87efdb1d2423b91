"""Reading in fresh processes: opening, memory, lookups, and from a cold page cache."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from benchmarks.case import Case, expect
from benchmarks.engines import N_LOOKUPS, Engine
from benchmarks.fresh import N_TAKE, checksum
from benchmarks.measures import Figure, Measure
from benchmarks.processes import Fresh, in_fresh
from benchmarks.system import drop_cache
from benchmarks.workloads import Source, lookups

N_READERS = 4


def _arguments(task: str, engine: Engine, case: Case, kind: str = "store") -> tuple[Any, ...]:
    n_arrays = len(case.stored(engine, kind))
    return task, engine.name, case.store(engine, kind), case.workload, n_arrays


def _check_lookups(answer: dict[str, Any], engine: Engine, source: Source) -> None:
    arrays = [source[number] for number in lookups(len(source), engine.n_lookups)]
    expect(answer["checksum"] == checksum(arrays), f"what {engine.name} finds")


def reader(engine: Engine, case: Case) -> tuple[float | None, ...]:
    """Open a store in one process."""
    process = Fresh(*_arguments("reader", engine, case))
    answer = process.asked()
    if case.once(engine, "reader"):
        _check_lookups(answer, engine, case.stored(engine))
    answer |= process.asked() | process.asked()
    process.end()
    return tuple(answer[figure.key] for figure in READER.figures)


def readers(engine: Engine, case: Case) -> tuple[float | None, ...]:
    """Open a store in several processes that live at the same time; return the mean of each."""
    arguments = _arguments("reader", engine, case, "readers")
    processes = [Fresh(*arguments) for _ in range(N_READERS)]
    for process in processes:
        process.ask()
    answers = [process.answer() for process in processes]
    if case.once(engine, "readers"):
        _check_lookups(answers[0], engine, case.stored(engine, "readers"))
    private = [process.asked()["private"] for process in processes]
    for process in processes:
        process.end()
    return (sum(private) / N_READERS,)


def cold(engine: Engine, case: Case) -> tuple[float | None, ...]:
    """Open a store that is not in the page cache."""
    source = case.stored(engine)
    if drop_cache(case.store(engine)) > 0.05:
        return None, None  # a file system in memory, say
    answer = in_fresh(*_arguments("cold", engine, case))
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
    fresh=True,
)

READERS = Measure(
    (Figure("private_4", f"the same of each of {N_READERS} readers at once", "KiB"),),
    (),
    readers,
    kind="readers",
    rounds=1,
    fresh=True,
)

COLD = Measure(
    (
        Figure("open_cold", "open with a cold page cache", "ms"),
        Figure("take_cold", f"then a batch of {N_TAKE} random names", "ms"),
    ),
    ("take",),
    cold,
    fresh=True,
)
