"""The same steps with LMDB: one writer, large transactions, keys in rising order, put at the end."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from time import perf_counter
from typing import Any

import lmdb
import numpy as np

from benchmarks.harness.case import expect
from benchmarks.hundred_million import source

Answers = Iterator[dict[str, Any]]

MAP_NBYTES = 1 << 37  # room in the address space, not on the disk
N_BATCHES = 10  # in a transaction


def opened(path: str, **options: Any) -> Any:
    """Open a database; nothing waits for the disk until it is asked to."""
    return lmdb.open(path, map_size=MAP_NBYTES, sync=False, **options)


def create(path: str) -> Answers:
    """Make an empty database."""
    yield {}
    opened(path).close()
    yield {}


def items(batch: source.Batch) -> Iterator[tuple[bytes, bytes]]:
    """Yield names and the bytes of arrays."""
    raw = batch.values.tobytes()
    offsets = (batch.offsets * source.DTYPE.itemsize).tolist()
    values = [raw[start:end] for start, end in pairwise(offsets)]
    return zip(source.keys(batch.names), values, strict=True)


def write(path: str, first: int, last: int) -> Answers:
    """Write the arrays, in batches."""
    yield {}
    began = perf_counter()
    with opened(path) as environment:
        put(environment, first, last)
    yield {"seconds": perf_counter() - began}


def put(environment: Any, first: int, last: int) -> None:
    """Write arrays, a million a transaction."""
    step = source.BATCH * N_BATCHES
    for start in range(first, last, step):
        with environment.begin(write=True) as transaction:
            for batch in source.batches(start, min(start + step, last)):
                transaction.cursor().putmulti(items(batch), append=True)


def checkpoint(path: str) -> Answers:
    """Wait for the disk."""
    with opened(path) as environment:
        yield {}
        began = perf_counter()
        environment.sync(True)
        yield {"seconds": perf_counter() - began}


def open_store(path: str, n_names: int) -> Answers:
    """Open the database, and take one array."""
    key = source.names_of(source.drawn(n_names, 1, seed=1))
    yield {}
    began = perf_counter()
    environment = opened(path, readonly=True)
    transaction = environment.begin(buffers=True)
    array = np.frombuffer(transaction.get(key), source.DTYPE)
    seconds = perf_counter() - began
    source.check([array], source.drawn(n_names, 1, seed=1))
    expect(environment.stat()["entries"] == n_names, "the number of names")
    yield {"seconds": seconds}


def look_up(path: str, n_names: int, n_drawn: int) -> Answers:
    """Take arrays by name, one after the other, in any order."""
    numbers = source.drawn(n_names, n_drawn, seed=2)
    names = source.texts(source.names_of(numbers))
    transaction = opened(path, readonly=True).begin(buffers=True)
    find, view = transaction.get, np.frombuffer
    yield {}
    began = perf_counter()
    arrays = [view(find(name.encode()), source.DTYPE) for name in names]
    seconds = perf_counter() - began
    source.check(arrays, numbers)
    yield {"seconds": seconds}


def refresh(path: str, n_names: int, n_more: int) -> Answers:
    """Begin to read, and begin anew later, when others have added something."""
    environment = opened(path, readonly=True)
    transaction = environment.begin(buffers=True)
    yield {}
    began = perf_counter()
    transaction.abort()
    transaction = environment.begin(buffers=True)
    seconds = perf_counter() - began
    numbers = n_names + source.drawn(n_more, min(n_more, 1000), seed=3)
    found = map(transaction.get, source.keys(source.names_of(numbers)))
    source.check([np.frombuffer(raw, source.DTYPE) for raw in found], numbers)
    expect(transaction.stat()["entries"] == n_names + n_more, "the number of names")
    yield {"seconds": seconds}


def append(path: str, first: int, last: int) -> Answers:
    """Add arrays to a database that is there, on the disk."""
    yield {}
    began = perf_counter()
    with opened(path) as environment:
        put(environment, first, last)
        environment.sync(True)
    yield {"seconds": perf_counter() - began}


def verify(path: str, n_names: int) -> Answers:
    """Read all that there is: LMDB has no checksums."""
    yield {}
    began = perf_counter()
    with opened(path, readonly=True) as environment, environment.begin(buffers=True) as reading:
        n_found = sum(1 for key, value in reading.cursor() if key and value)
    seconds = perf_counter() - began
    expect(n_found == n_names, "the number of names")
    yield {"seconds": seconds}
