"""Reading in this process, from files in the page cache."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.case import Case, expect, keys_of
from benchmarks.engines import Engine
from benchmarks.fresh import N_TAKE
from benchmarks.measures import Figure, one
from benchmarks.system import settle, timed
from benchmarks.workloads import Array, Source, lookups

N_SLICES = 100_000
SLICE_ROWS = 256
N_BATCHES = 50
GROUP = 1_000


def iterate(engine: Engine, case: Case) -> float:
    """Ask for all arrays, one after the other, and look at none."""
    source, store = case.stored(engine), case.reader(engine)
    if case.once(engine, "walk"):
        _check_all(engine, source, store)
    settle()
    return timed(lambda: deque(engine.walk(store), maxlen=0))[0] / len(source) * 1e6


def read_all(engine: Engine, case: Case) -> float:
    """Copy the bytes of all arrays, one after the other, to one place."""
    source, store = case.stored(engine), case.reader(engine)
    if case.once(engine, "walk"):
        _check_all(engine, source, store)
    room = np.empty_like(source.values, shape=(_longest(source), *source.layout.row_shape))
    settle()

    def run() -> None:
        for array in engine.walk(store):
            room[: len(array)] = array

    return timed(run)[0] / len(source) * 1e6


def _longest(source: Source) -> int:
    return int(np.diff(source.offsets).max())


def _check_all(engine: Engine, source: Source, store: Any) -> None:
    """Compare each array that a walk gives with the rows it should be."""
    at = 0
    for array in engine.walk(store):
        end = at + len(array)
        expect(bool((array == source.values[at:end]).all()), f"rows {at} to {end} of {engine.name}")
        at = end
    expect(at == len(source.values), f"the number of rows of {engine.name}")


def slices(engine: Engine, case: Case) -> float:
    """Slice the flat array at random."""
    source, store = case.stored(engine), case.reader(engine)
    n_rows = min(SLICE_ROWS, len(source.values))
    starts = lookups(len(source.values) - n_rows + 1, N_SLICES)
    if case.once(engine, "slices"):
        for start, rows in zip(
            starts[:GROUP], engine.slices(store, starts[:GROUP], n_rows), strict=True
        ):
            wanted = source.values[start : start + n_rows]
            expect(np.array_equal(rows, wanted), f"a slice of {engine.name}")
    groups = [starts[at : at + GROUP] for at in range(0, len(starts), GROUP)]
    settle()

    def run() -> None:
        for group in groups:
            engine.slices(store, group, n_rows)

    return timed(run)[0] / len(starts) * 1e6


def take(engine: Engine, case: Case) -> float:
    """Gather random batches."""
    source, store = case.stored(engine), case.reader(engine)
    n_batches = min(N_BATCHES, max(engine.n_lookups // N_TAKE, 1))
    numbers = lookups(len(source), N_TAKE * n_batches)
    batches = [numbers[at : at + N_TAKE] for at in range(0, len(numbers), N_TAKE)]
    keys = [keys_of(engine, source, batch) for batch in batches]
    if case.once(engine, "take"):
        values, offsets = engine.take(store, keys[0])
        wanted = [source[number] for number in batches[0]]
        expect(np.array_equal(values, np.concatenate(wanted)), f"a batch of {engine.name}")
        expect(np.diff(offsets).tolist() == list(map(len, wanted)), f"offsets of {engine.name}")
    settle()

    def run() -> None:
        for batch in keys:
            engine.take(store, batch)

    return timed(run)[0] / n_batches * 1e6


def whole(function: Callable[[Any], Any], engine: Engine, case: Case, how: str = "whole") -> float:
    """Reduce everything to one number."""
    source, store = case.stored(engine), case.reader(engine)
    settle()
    seconds, result = timed(getattr(engine, how), store, function)
    if case.once(engine, f"{how} {function.__name__}"):
        # A float32 sum of so many numbers depends on their order.
        close = np.isclose(float(result), float(function(source.values)), rtol=1e-3)
        expect(bool(close), f"{function.__name__} of {engine.name}, {result},")
    return _ms_per_gb(seconds, source.values)


def each(engine: Engine, case: Case) -> float:
    """Sum each array."""
    source, store = case.stored(engine), case.reader(engine)
    settle()
    seconds, result = timed(engine.each, store)
    if case.once(engine, "sums_each"):
        wanted = np.add.reduceat(source.values, source.offsets[:-1])
        expect(np.allclose(result, wanted, rtol=1e-3), f"sums of {engine.name}")
    return _ms_per_gb(seconds, source.values)


def _ms_per_gb(seconds: float, values: Array) -> float:
    return seconds * 1e3 / (values.nbytes / 1e9)


MEASURES = [
    one(Figure("iterate", "iterate over all arrays", "µs/array"), ("walk",), iterate),
    one(Figure("read_all", "iterate, copying every byte", "µs/array"), ("walk",), read_all),
    one(Figure("slices", f"flat slice of {SLICE_ROWS} rows", "µs"), ("slices",), slices),
    one(Figure("take", f"batch of {N_TAKE} random names", "µs"), ("take",), take),
    one(Figure("sum", "sum of everything", "ms/GB"), ("whole",), partial(whole, np.sum)),
    one(
        Figure("sum_in_threads", "the same by numpy in a thread a core", "ms/GB"),
        ("whole_in_threads",),
        partial(whole, np.sum, how="whole_in_threads"),
    ),
    one(Figure("mean", "mean of everything", "ms/GB"), ("whole",), partial(whole, np.mean)),
    one(Figure("max", "maximum of everything", "ms/GB"), ("whole",), partial(whole, np.max)),
    one(Figure("sums_each", "sum of each array", "ms/GB"), ("each",), each),
]
