"""The store of this repository, as its README says to use it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import ptrarray
from benchmarks.workloads import Array, Int64s, Layout, Source
from ptrarray.format import checksum

PACKAGE = "ptrarray"
PARALLEL = True
NOTES = {"write": f"ptrarray's checksums are computed by {checksum.crc32.__module__}"}

Store = ptrarray.PointerArray
Writer = ptrarray.PointerArrayWriter


def make(path: Path, source: Source) -> None:
    """Write in large pieces, and checkpoint."""
    with create(path, source) as writer:
        for chunk in source.chunks():
            write_ragged(writer, chunk)
    ptrarray.checkpoint(path)


def create(path: Path, source: Source) -> Writer:
    """Make an empty store."""
    return ptrarray.create(path, **source.layout._asdict())


def write(writer: Writer, part: Source) -> None:
    """Write many arrays a call."""
    for batch in part.batches:
        writer.write(batch)


def write_each(writer: Writer, part: Source) -> None:
    """Write one array a call, as to a dict."""
    for batch in part.batches:
        for name, array in batch.items():
            writer[name] = array


def write_ragged(writer: Writer, part: Source) -> None:
    """Write arrays that lie end to end."""
    writer.write_ragged(part.names, part.values, part.offsets)


def sync(writer: Writer) -> None:
    """Close, which checkpoints what is worth it, and wait for the disk."""
    writer.flush()
    writer.close()


def close(writer: Writer) -> None:
    """Close the writer; closing twice does nothing."""
    writer.close()


def fill(path: Path, function: Any, tasks: dict[str, Any], n_processes: int) -> None:
    """Compute arrays in worker processes, which write them."""
    layout: dict[str, Any] = {"dtype": "f4", "row_shape": (80,)}
    ptrarray.fill(path, function, tasks, **layout, processes=n_processes, progress=False)


def open(path: Path, layout: Layout) -> Store:
    """Open for reading."""
    return ptrarray.open(path)


def get(store: Store, names: list[str]) -> list[Array]:
    """Look up by name."""
    return [store[name] for name in names]


def at(store: Store, positions: list[int]) -> list[Array]:
    """Look up by position."""
    arrays = store.arrays
    return [arrays[position] for position in positions]


def walk(store: Store) -> Iterator[Array]:
    """Walk the file."""
    return store.walk()


def slices(store: Store, starts: list[int], n_rows: int) -> list[Array]:
    """Slice the flat array."""
    return [store[start : start + n_rows] for start in starts]


def take(store: Store, names: list[str]) -> tuple[Array, Int64s]:
    """Gather a batch."""
    batch = store.take(names)
    return batch.values, batch.offsets


def whole(store: Store, function: Any) -> Any:
    """Reduce with numpy's function, which the store answers."""
    return function(store)


def each(store: Store) -> Array:
    """Sum each array."""
    return store.reduce_each(np.add)


def append(path: Path, part: Source) -> None:
    """Write to a store that is there."""
    with ptrarray.append(path) as writer:
        for batch in part.batches:
            writer.write(batch)


def delete(path: Path, names: list[str]) -> None:
    """Delete one name at a time."""
    with ptrarray.append(path) as writer:
        for name in names:
            del writer[name]


def compact(path: Path) -> None:
    """Rewrite without holes."""
    ptrarray.compact(path)


def checkpoint(path: Path) -> None:
    """Fold the journal into the index."""
    ptrarray.checkpoint(path)


def verify(path: Path) -> None:
    """Compare everything with its checksums."""
    ptrarray.verify(path)


def index_nbytes(path: Path) -> int:
    """Return the size of the index."""
    return (path / "index.msgpack").stat().st_size
