"""Looking after a store that is there: append, delete, compact, checkpoint, verify."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from time import process_time

import numpy as np

from benchmarks.engines import AnyEngine, Engine, Method, load
from benchmarks.harness.case import Case, check, discard, expect
from benchmarks.harness.measure import Cost, Figure, Measure, one, several
from benchmarks.harness.processes import Steps, in_fresh
from benchmarks.harness.system import peak_kib, resident_kib, settle, timed
from benchmarks.workloads import BATCH, Source

SHARE = 100  # one in so many arrays is appended, or deleted


def _more(engine: AnyEngine, case: Case) -> Source:
    """Return some of the arrays under names that are not in the store.

    What earlier rounds left to be folded is, as each would otherwise begin with more of it.
    """
    source, path = case.stored(engine, "upkeep"), case.store(engine, "upkeep")
    if engine.can(Engine.checkpoint):
        engine.checkpoint(path)
    some = source.part(0, max(len(source) // SHARE, 1)).renamed(f"more{next(case.serial)}")
    _ = some.batches
    return some


def append(engine: AnyEngine, case: Case) -> tuple[float, ...]:
    """Append, and open again to the first array of the new ones."""
    path, part = case.store(engine, "upkeep"), _more(engine, case)
    last = len(case.stored(engine, "upkeep"))
    settle()
    append_s, _ = timed(engine.append, path, part)
    engine.complete(path, part)
    open_s, store = timed(engine.open, path, part.layout)
    keys = part.names[:1] if engine.can(Engine.get) else [last]
    find_s, arrays = timed(engine.find, store, keys)
    # Positions move on with each round.
    if engine.can(Engine.get) or case.once(engine, "append"):
        expect(np.array_equal(arrays[0], part[0]), f"what was appended to {path}")
    del arrays
    engine.shut(store)
    return tuple(each / len(part) * 1e6 for each in (append_s + open_s + find_s, append_s))


def delete(kind: str, engine: AnyEngine, case: Case) -> Cost:
    """Delete what was appended before, with a method of the engine."""
    path, part = case.store(engine, "upkeep"), _more(engine, case)
    names = part.names
    engine.append(path, part)
    handle = engine.change(path)
    settle()
    cpu = process_time()
    seconds, _ = timed(getattr(engine, kind), handle, names)
    cpu = process_time() - cpu
    closing, _ = timed(engine.close, handle)
    if case.once(engine, kind):
        expect(not _finds(engine, path, part), f"what was deleted from {path}")
        check(engine, path, case.stored(engine, "upkeep"))
    return Cost(*(each / len(part) * 1e6 for each in (seconds, cpu, seconds + closing)))


def _finds(engine: AnyEngine, path: Path, part: Source) -> bool:
    with engine.opened(path, part.layout) as store:
        try:
            engine.get(store, part.names[:1])
        except (KeyError, TypeError):  # LMDB finds None, which is no buffer
            return False
    return True


def compact(engine: AnyEngine, case: Case) -> float:
    """Compact after something was deleted."""
    path, part = case.store(engine, "upkeep"), _more(engine, case)
    engine.append(path, part)
    handle = engine.change(path)
    engine.delete_each(handle, part.names)
    engine.close(handle)
    settle()
    seconds, _ = timed(engine.compact, path)
    source = case.stored(engine, "upkeep")
    if case.once(engine, "compact"):
        check(engine, path, source)
    return seconds / len(source) * 1e6


def checkpointing(name: str, path: str) -> Steps:
    """Checkpoint, and tell by how much memory rose at most; in a fresh process."""
    engine, before = load(name), resident_kib()
    seconds, _ = timed(engine.checkpoint, Path(path))
    yield {"checkpoint": seconds, "checkpoint_peak": peak_kib() - before}


def checkpoint(engine: AnyEngine, case: Case) -> tuple[float | None, ...]:
    """Fold the names of all arrays into an index, in a fresh process."""
    source = case.stored(engine, "upkeep")
    path = case.scratch(engine)
    handle = engine.create(path, source)
    for chunk in source.chunks(BATCH):
        engine.write_ragged(handle, chunk)
    answer = in_fresh(engine, checkpointing, path)
    index_nbytes = engine.index_nbytes(path)
    engine.close(handle)
    if case.once(engine, "checkpoint"):
        check(engine, path, source)
    discard(path)
    peak = answer["checkpoint_peak"] * 1024 / index_nbytes
    return answer["checkpoint"] / len(source) * 1e6, peak


def verify(engine: AnyEngine, case: Case) -> float:
    """Check everything."""
    source = case.stored(engine)
    settle()
    seconds, _ = timed(engine.verify, case.store(engine))
    return seconds * 1e3 / (source.values.nbytes / 1e9)


def _delete(key: str, title: str, method: Method) -> Measure:
    figure, needs = Figure(key, title, "µs/name"), (Engine.append, Engine.change, method)
    more = {"cpu": "processor time of that"}
    return several(figure, needs, partial(delete, method.__name__), more, kind="upkeep")


APPEND = (
    Figure("append", "append 1 % and open to the first of it", "µs/array"),
    Figure("append_alone", "append 1 %", "µs/array"),
)
CHECKPOINT = (
    Figure("checkpoint", "checkpoint of all names", "µs/array"),
    Figure("checkpoint_peak", "memory it takes at most, in sizes of the index", "indexes"),
)
MEASURES = [
    Measure(APPEND, (Engine.append,), append, kind="upkeep"),
    _delete("delete_each", "delete 1 %, one name at a time", Engine.delete_each),
    _delete("delete", "delete 1 % in one step", Engine.delete),
    one(
        Figure("compact", "compact after that, a name that stays", "µs/array"),
        (Engine.append, Engine.delete_each, Engine.compact),
        compact,
        kind="upkeep",
    ),
    Measure(CHECKPOINT, (Engine.checkpoint,), checkpoint, kind="upkeep", is_fresh=True),
    one(Figure("verify", "verify", "ms/GB"), (Engine.verify,), verify),
]
