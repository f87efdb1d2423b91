"""The steps with ptrarray, each in a process of its own: generators that `steps.Step` runs.

The first answer says that all is imported and made ready, the second what the step came to.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import Any

import ptrarray
from benchmarks.harness.case import expect
from benchmarks.hundred_million import source

Answers = Iterator[dict[str, Any]]


def create(path: str) -> Answers:
    """Make an empty store."""
    yield {}
    ptrarray.create(path, dtype=source.DTYPE).close()
    yield {}


def write(path: str, first: int, last: int) -> Answers:
    """Write a part of the arrays, in batches."""
    yield {}
    began = perf_counter()
    with ptrarray.append(path) as writer:
        for batch in source.batches(first, last):
            writer.write_ragged(source.texts(batch.names), batch.values, batch.offsets)
    yield {"seconds": perf_counter() - began}


def checkpoint(path: str) -> Answers:
    """Fold the journal into the index, on the disk."""
    yield {}
    began = perf_counter()
    ptrarray.checkpoint(path)
    yield {"seconds": perf_counter() - began}


def open_store(path: str, n_names: int) -> Answers:
    """Open a reader, and take one array."""
    name = source.texts(source.names_of(source.drawn(n_names, 1, seed=1)))[0]
    yield {}
    began = perf_counter()
    store = ptrarray.open(path)
    array = store[name]
    seconds = perf_counter() - began
    source.check([array], source.drawn(n_names, 1, seed=1))
    expect(len(store) == n_names, "the number of names")
    yield {"seconds": seconds}


def look_up(path: str, n_names: int, n_drawn: int) -> Answers:
    """Take arrays by name, one after the other, in any order."""
    numbers = source.drawn(n_names, n_drawn, seed=2)
    names, store = source.texts(source.names_of(numbers)), ptrarray.open(path)
    yield {}
    began = perf_counter()
    arrays = [store[name] for name in names]
    seconds = perf_counter() - began
    source.check(arrays, numbers)
    yield {"seconds": seconds}


def refresh(path: str, n_names: int, n_more: int) -> Answers:
    """Open a reader, and see later what others have added by then."""
    store = ptrarray.open(path)
    yield {}
    began = perf_counter()
    store.refresh()
    seconds = perf_counter() - began
    numbers = n_names + source.drawn(n_more, min(n_more, 1000), seed=3)
    source.check([store[name] for name in source.texts(source.names_of(numbers))], numbers)
    expect(len(store) == n_names + n_more, "the number of names")
    yield {"seconds": seconds}


def append(path: str, first: int, last: int) -> Answers:
    """Add arrays to a store that is there, on the disk."""
    yield {}
    began = perf_counter()
    with ptrarray.append(path) as writer:
        for batch in source.batches(first, last):
            writer.write_ragged(source.texts(batch.names), batch.values, batch.offsets)
        writer.flush()
    yield {"seconds": perf_counter() - began}


def verify(path: str) -> Answers:
    """Check all names, pointers and checksums."""
    yield {}
    began = perf_counter()
    ptrarray.verify(path)
    yield {"seconds": perf_counter() - began}
