"""Looking after a store that is there: append, delete, compact, checkpoint, verify."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.case import Case, check, discard, expect, opened, shut
from benchmarks.engines import Engine
from benchmarks.measures import Figure, Measure, one
from benchmarks.processes import in_fresh
from benchmarks.system import settle, timed
from benchmarks.workloads import BATCH, Source

SHARE = 100  # one in so many arrays is appended, or deleted


def _more(engine: Engine, case: Case) -> Source:
    """Return some of the arrays under names that are not in the store."""
    source = case.stored(engine, "upkeep")
    some = source.part(0, max(len(source) // SHARE, 1)).renamed(f"more{next(case.serial)}")
    _ = some.batches
    return some


def append(engine: Engine, case: Case) -> float:
    """Append, and open again to the first array of the new ones."""
    path, part = case.store(engine, "upkeep"), _more(engine, case)
    last = len(case.stored(engine, "upkeep"))
    settle()
    append_s, _ = timed(engine.append, path, part)
    open_s, store = timed(engine.open, path, part.layout)
    find = (engine.get, part.names[:1]) if engine.can("get") else (engine.at, [last])
    find_s, arrays = timed(find[0], store, find[1])
    wanted = part[0]
    if engine.can("get") or case.once(engine, "append"):  # positions move on with each round
        expect(np.array_equal(arrays[0], wanted), f"what was appended to {path}")
    del arrays
    shut(engine, store)
    return (append_s + open_s + find_s) / len(part) * 1e6


def delete(engine: Engine, case: Case) -> float:
    """Delete what was appended before."""
    path, part = case.store(engine, "upkeep"), _more(engine, case)
    engine.append(path, part)
    settle()
    seconds, _ = timed(engine.delete, path, part.names)
    if case.once(engine, "delete"):
        expect(not _finds(engine, path, part), f"what was deleted from {path}")
        check(engine, path, case.stored(engine, "upkeep"))
    return seconds / len(part) * 1e6


def _finds(engine: Engine, path: Path, part: Source) -> bool:
    with opened(engine, path, part) as store:
        try:
            engine.get(store, part.names[:1])
        except (KeyError, TypeError):  # LMDB finds None, which is no buffer
            return False
    return True


def compact(engine: Engine, case: Case) -> float:
    """Compact after something was deleted."""
    path, part = case.store(engine, "upkeep"), _more(engine, case)
    engine.append(path, part)
    engine.delete(path, part.names)
    settle()
    seconds, _ = timed(engine.compact, path)
    source = case.stored(engine, "upkeep")
    if case.once(engine, "compact"):
        check(engine, path, source)
    return seconds / len(source) * 1e6


def checkpoint(engine: Engine, case: Case) -> tuple[float | None, ...]:
    """Fold the names of all arrays into an index, in a fresh process."""
    source = case.stored(engine, "upkeep")
    path = case.scratch(engine)
    handle = engine.create(path, source)
    for chunk in source.chunks(BATCH):
        engine.write_ragged(handle, chunk)
    arguments = (engine.name, path, case.workload, len(source))
    answer = in_fresh("checkpoint", *arguments)
    index_nbytes = engine.index_nbytes(path)
    engine.close(handle)
    if case.once(engine, "checkpoint"):
        check(engine, path, source)
    discard(path)
    peak = answer["checkpoint_peak"] * 1024 / index_nbytes
    return answer["checkpoint"] / len(source) * 1e6, peak


def verify(engine: Engine, case: Case) -> float:
    """Check everything."""
    source = case.stored(engine)
    settle()
    seconds, _ = timed(engine.verify, case.store(engine))
    return seconds * 1e3 / (source.values.nbytes / 1e9)


MEASURES = [
    one(
        Figure("append", "append 1 % and open to the first of it", "µs/array"),
        ("append",),
        append,
        kind="upkeep",
    ),
    one(Figure("delete", "delete 1 %", "µs/array"), ("append", "delete"), delete, kind="upkeep"),
    one(
        Figure("compact", "compact after that, a name that stays", "µs/array"),
        ("append", "delete", "compact"),
        compact,
        kind="upkeep",
    ),
    Measure(
        (
            Figure("checkpoint", "checkpoint of all names", "µs/array"),
            Figure("checkpoint_peak", "memory it takes at most, in sizes of the index", "indexes"),
        ),
        ("checkpoint",),
        checkpoint,
        kind="upkeep",
        fresh=True,
    ),
    one(Figure("verify", "verify", "ms/GB"), ("verify",), verify),
]
