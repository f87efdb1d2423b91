"""Reading in this process, from files in the page cache."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from benchmarks.engines import AnyEngine, Engine
from benchmarks.harness.case import Case, expect
from benchmarks.harness.measure import Figure, one
from benchmarks.harness.system import settle, timed, timed_each
from benchmarks.workloads import GROUP, N_TAKE, Array, Source, grouped, lookups

N_SLICES = 100_000
SLICE_ROWS = 256
N_BATCHES = 50
N_CHECKED = 10_000  # names whose arrays are compared


def iterate(engine: AnyEngine, case: Case) -> float:
    """Ask for all arrays, one after the other, and look at none."""
    source, store = _walked(engine, case)
    return timed(lambda: deque(engine.walk(store), maxlen=0))[0] / len(source) * 1e6


def items(engine: AnyEngine, case: Case) -> float:
    """Ask for all names and arrays, and look at none."""
    source, store = case.stored(engine), case.reader(engine)
    if case.once(engine, "items"):
        for name, array in islice(engine.items(store), N_CHECKED):
            number = int(name.rpartition("-")[2])
            expect(np.array_equal(array, source[number]), f"{name} of {engine.name}")
        n_names = sum(1 for _ in engine.items(store))
        expect(n_names == len(source), f"the number of names of {engine.name}")
    settle()
    seconds, _ = timed(lambda: deque(engine.items(store), maxlen=0))
    return seconds / len(source) * 1e6


def read_all(engine: AnyEngine, case: Case) -> float:
    """Copy the bytes of all arrays, one after the other, to the same memory."""
    source, store = _walked(engine, case)
    longest = int(np.diff(source.offsets).max())
    copied = np.empty_like(source.values, shape=(longest, *source.layout.row_shape))

    def run() -> None:
        for array in engine.walk(store):
            copied[: len(array)] = array

    return timed(run)[0] / len(source) * 1e6


def _walked(engine: AnyEngine, case: Case) -> tuple[Source, Any]:
    """Return what is in a store, and the store open, with a walk compared the first time."""
    source, store = case.stored(engine), case.reader(engine)
    if case.once(engine, "walk"):
        _check_all(engine, source, store)
    settle()
    return source, store


def _check_all(engine: AnyEngine, source: Source, store: Any) -> None:
    """Compare each array that a walk gives with the rows it should be."""
    at = 0
    for array in engine.walk(store):
        end = at + len(array)
        expect(bool((array == source.values[at:end]).all()), f"rows {at} to {end} of {engine.name}")
        at = end
    expect(at == len(source.values), f"the number of rows of {engine.name}")


def slices(engine: AnyEngine, case: Case) -> float:
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
    groups = list(grouped(starts))
    settle()
    seconds = timed_each(lambda group: engine.slices(store, group, n_rows), groups)
    return seconds / len(starts) * 1e6


def take(engine: AnyEngine, case: Case) -> float:
    """Gather random batches."""
    source, store = case.stored(engine), case.reader(engine)
    n_batches = min(N_BATCHES, max(engine.n_lookups // N_TAKE, 1))
    numbers = lookups(len(source), N_TAKE * n_batches)
    batches = list(grouped(numbers, N_TAKE))
    keys = [engine.keys(source, batch) for batch in batches]
    if case.once(engine, "take"):
        values, offsets = engine.take(store, keys[0])
        wanted = [source[number] for number in batches[0]]
        expect(np.array_equal(values, np.concatenate(wanted)), f"a batch of {engine.name}")
        expect(np.diff(offsets).tolist() == list(map(len, wanted)), f"offsets of {engine.name}")
    settle()
    return timed_each(partial(engine.take, store), keys) / n_batches * 1e6


def whole(
    function: Callable[[Any], Any], engine: AnyEngine, case: Case, how: str = "whole"
) -> float:
    """Reduce everything to one number."""
    source, store = case.stored(engine), case.reader(engine)
    settle()
    seconds, result = timed(getattr(engine, how), store, function)
    if case.once(engine, f"{how} {function.__name__}"):
        # A float32 sum of so many numbers depends on their order.
        close = np.isclose(float(result), float(function(source.values)), rtol=1e-3)
        expect(bool(close), f"{function.__name__} of {engine.name}, {result},")
    return _ms_per_gb(seconds, source.values)


def each(engine: AnyEngine, case: Case) -> float:
    """Sum each array."""
    source, store = case.stored(engine), case.reader(engine)
    settle()
    seconds, result = timed(engine.each, store)
    if case.once(engine, "sums_each"):
        wanted = np.add.reduceat(source.values, source.offsets[:-1])
        expect(np.allclose(result, wanted, rtol=1e-3), f"sums of {engine.name}")
    return _ms_per_gb(seconds, source.values)


def totals(engine: AnyEngine, case: Case) -> float:
    """Sum each array to one number."""
    source, store = case.stored(engine), case.reader(engine)
    settle()
    seconds, result = timed(engine.totals, store)
    if case.once(engine, "totals"):
        wanted = np.add.reduceat(source.values, source.offsets[:-1])
        wanted = wanted.reshape(len(source), -1).sum(axis=1)
        expect(np.allclose(result, wanted, rtol=1e-3), f"sums of {engine.name}")
    return _ms_per_gb(seconds, source.values)


def _ms_per_gb(seconds: float, values: Array) -> float:
    return seconds * 1e3 / (values.nbytes / 1e9)


MEASURES = [
    one(Figure("iterate", "iterate over all arrays", "µs/array"), (), iterate),
    one(Figure("items", "iterate over all names and arrays", "µs/array"), (Engine.items,), items),
    one(Figure("read_all", "iterate, copying every byte", "µs/array"), (), read_all),
    one(Figure("slices", f"flat slice of {SLICE_ROWS} rows", "µs"), (Engine.slices,), slices),
    one(Figure("take", f"batch of {N_TAKE} random names", "µs"), (), take),
    one(Figure("sum", "sum of everything", "ms/GB"), (Engine.whole,), partial(whole, np.sum)),
    one(
        Figure("sum_in_threads", "the same by numpy in a thread a core", "ms/GB"),
        (Engine.whole_in_threads,),
        partial(whole, np.sum, how="whole_in_threads"),
    ),
    one(Figure("mean", "mean of everything", "ms/GB"), (Engine.whole,), partial(whole, np.mean)),
    one(Figure("max", "maximum of everything", "ms/GB"), (Engine.whole,), partial(whole, np.max)),
    one(Figure("sums_each", "sum of each array", "ms/GB"), (Engine.each,), each),
    one(Figure("totals", "sum of each array as one number", "ms/GB"), (Engine.totals,), totals),
]
