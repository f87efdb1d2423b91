"""Writing: until every other process can read the arrays, by one or several processes."""

from __future__ import annotations

from functools import partial
from time import process_time

from benchmarks.engines import AnyEngine, Engine, Method
from benchmarks.harness.case import Case, check, discard
from benchmarks.harness.measure import Cost, Figure, Measure, several
from benchmarks.harness.processes import together
from benchmarks.harness.system import settle, timed
from benchmarks.workloads import Source

N_EACH = 20_000  # arrays written one a call


def write(
    kind: str, n_processes: int, engine: AnyEngine, case: Case, is_durable: bool = False
) -> Cost:
    """Write a store with a method of the engine; return microseconds an array."""
    source = _source(kind, engine, case)
    path = case.scratch(engine)
    if n_processes == 1:
        _ = source.batches, source.names
    settle()
    cpu = process_time()
    seconds, handle = timed(engine.create, path, source)
    work = partial(getattr(engine, kind), handle)
    if n_processes == 1:
        seconds += timed(work, source)[0]
    else:
        seconds += together(work, source.parts(n_processes))
    seconds += timed(engine.finish, handle)[0]
    if is_durable:
        seconds += timed(engine.sync, handle, path)[0]
    cpu = process_time() - cpu
    closing, _ = timed(engine.close, handle)
    if case.once(engine, f"{kind} {n_processes} {is_durable}"):
        engine.complete(path, source)
        check(engine, path, source)
    discard(path)
    return Cost(*(each / len(source) * 1e6 for each in (seconds, cpu, seconds + closing)))


def _source(kind: str, engine: AnyEngine, case: Case) -> Source:
    caps = [engine.cap(kind), N_EACH if kind == "write_each" else None]
    return case.first(min((cap for cap in caps if cap), default=None))


def _measure(
    key: str,
    title: str,
    method: Method,
    n_processes: int = 1,
    is_durable: bool = False,
    **more: str,
) -> Measure:
    kind = method.__name__
    run = partial(write, kind, n_processes, is_durable=is_durable)
    figure = Figure(key, title, "µs/array")
    return several(figure, (method,), run, more, kind=kind, is_parallel=n_processes > 1)


MEASURES = [
    _measure("write", "write, many arrays a call", Engine.write, closed="the same, and close"),
    _measure("write_2", "write, many arrays a call, 2 processes", Engine.write, 2),
    _measure("write_durable", "write, until on the disk and closed", Engine.write, is_durable=True),
    _measure("write_ragged", "write, one buffer with offsets", Engine.write_ragged),
    _measure(
        "write_ragged_2", "write, one buffer with offsets, 2 processes", Engine.write_ragged, 2
    ),
    _measure(
        "write_each",
        f"write, one array a call ({N_EACH:,})",
        Engine.write_each,
        cpu="processor time of that",
    ),
    _measure("write_each_2", "write, one array a call, 2 processes", Engine.write_each, 2),
    _measure("write_each_4", "write, one array a call, 4 processes", Engine.write_each, 4),
]
