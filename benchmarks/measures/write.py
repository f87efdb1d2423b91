"""Writing: until every other process can read the arrays, by one or several processes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.case import Case, check, discard
from benchmarks.engines import Engine
from benchmarks.measures import Figure, Measure, one
from benchmarks.processes import together
from benchmarks.system import settle, sync_files, timed
from benchmarks.workloads import Source

N_EACH = 20_000  # arrays written one a call


def write(
    function: str, n_processes: int, engine: Engine, case: Case, durable: bool = False
) -> float:
    """Write a store with a function of the peer; return microseconds an array."""
    source = _source(function, engine, case)
    path = case.scratch(engine)
    if n_processes == 1:
        _ = source.batches, source.names
    settle()
    seconds, handle = timed(engine.create, path, source)
    work = partial(getattr(engine, function), handle)
    if n_processes == 1:
        seconds += timed(work, source)[0]
    else:
        seconds += together(work, source.parts(n_processes))
    if engine.can("finish"):
        seconds += timed(engine.finish, handle)[0]
    if durable:
        seconds += timed(_until_durable, engine, handle, path)[0]
    if engine.can("close"):
        engine.close(handle)
    if case.once(engine, f"{function} {n_processes} {durable}"):
        if engine.can("complete"):
            engine.complete(path, source)
        check(engine, path, source)
    discard(path)
    return seconds / len(source) * 1e6


def _until_durable(engine: Engine, handle: Any, path: Path) -> None:
    if engine.can("sync"):
        engine.sync(handle)
    else:
        sync_files(path)


def _source(function: str, engine: Engine, case: Case) -> Source:
    caps = [engine.cap(function), N_EACH if function == "write_each" else None]
    return case.first(min((cap for cap in caps if cap), default=None))


def _measure(key: str, title: str, function: str, n_processes: int) -> Measure:
    needs = ("create", function, *(("PARALLEL",) if n_processes > 1 else ()))
    run = partial(write, function, n_processes)
    return one(Figure(key, title, "µs/array"), needs, run, kind=function)


MEASURES = [
    _measure("write", "write, many arrays a call", "write", 1),
    _measure("write_2", "write, many arrays a call, 2 processes", "write", 2),
    one(
        Figure("write_durable", "write, until on the disk and closed", "µs/array"),
        ("create", "write"),
        partial(write, "write", 1, durable=True),
        kind="write",
    ),
    _measure("write_ragged", "write, one buffer with offsets", "write_ragged", 1),
    _measure("write_ragged_2", "write, one buffer with offsets, 2 processes", "write_ragged", 2),
    _measure("write_each", f"write, one array a call ({N_EACH:,})", "write_each", 1),
    _measure("write_each_2", "write, one array a call, 2 processes", "write_each", 2),
    _measure("write_each_4", "write, one array a call, 4 processes", "write_each", 4),
]
