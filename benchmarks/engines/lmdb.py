"""LMDB: a B+tree in one mapped file, bytes by key; nobody waits for the disk here either."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import lmdb
import numpy as np

from benchmarks.engines import Engine
from benchmarks.workloads import Array, Int64s, Layout, Source, concatenated

MAP_NBYTES = 1 << 37  # room in the address space, not on the disk


class Opened(NamedTuple):
    """An environment and a transaction that reads, whose values are views."""

    environment: Any
    transaction: Any
    layout: Layout

    def view(self, raw: Any) -> Array:
        """Return what the bytes of a value mean."""
        array = np.frombuffer(raw, self.layout.dtype)
        return array.reshape(-1, *self.layout.row_shape) if self.layout.row_shape else array


def _environment(path: Path) -> Any:
    return lmdb.open(str(path), map_size=MAP_NBYTES, sync=False)


def _items(batch: dict[str, Array]) -> Iterator[tuple[bytes, Any]]:
    return ((name.encode(), array.data) for name, array in batch.items())


class Lmdb(Engine[Path, Opened]):
    """A database whose values are the bytes of arrays."""

    name = "lmdb"
    package = "lmdb"
    is_parallel = True
    notes: ClassVar = {"write": "LMDB has one writer at a time, and is opened with `sync=False`"}

    def make(self, path: Path, source: Source) -> None:
        """Write in large transactions."""
        for chunk in source.chunks(100_000):
            self.write(path, chunk)
        self.sync(path, path)

    def create(self, path: Path, source: Source) -> Path:
        """Make an empty database; each process opens it for itself."""
        _environment(path).close()
        return path

    def write(self, path: Path, part: Source) -> None:
        """Write many arrays a transaction."""
        with _environment(path) as environment:
            for batch in part.batches:
                with environment.begin(write=True) as transaction:
                    transaction.cursor().putmulti(_items(batch))

    def write_each(self, path: Path, part: Source) -> None:
        """Write one array a transaction."""
        with _environment(path) as environment:
            for batch in part.batches:
                for name, array in batch.items():
                    with environment.begin(write=True) as transaction:
                        transaction.put(name.encode(), array.data)

    def sync(self, handle: Path, path: Path) -> None:
        """Wait for the disk."""
        with _environment(path) as environment:
            environment.sync(True)

    def open(self, path: Path, layout: Layout) -> Opened:
        """Map the file and begin to read."""
        environment = lmdb.open(str(path), map_size=MAP_NBYTES, readonly=True)
        return Opened(environment, environment.begin(buffers=True), layout)

    def shut(self, store: Opened) -> None:
        """End the transaction; a process must not open a database twice."""
        store.transaction.abort()
        store.environment.close()

    def get(self, store: Opened, names: list[str]) -> list[Array]:
        """Look up by name, as views that live as long as the transaction."""
        find, view = store.transaction.get, store.view
        return [view(find(name.encode())) for name in names]

    def walk(self, store: Opened) -> Iterator[Array]:
        """Iterate in the order of the keys."""
        return map(store.view, store.transaction.cursor().iternext(keys=False, values=True))

    def items(self, store: Opened) -> Iterable[tuple[str, Array]]:
        """Iterate in the order of the keys, which are bytes."""
        view, found = store.view, store.transaction.cursor().iternext()
        return ((str(key, "utf-8"), view(raw)) for key, raw in found)

    def take(self, store: Opened, names: list[str]) -> tuple[Array, Int64s]:
        """Look up all in one call, and concatenate."""
        found = store.transaction.cursor().getmulti([name.encode() for name in names])
        arrays = [store.view(raw) for _, raw in found]
        return concatenated(arrays)

    def totals(self, store: Opened) -> Array:
        """Sum one array after the other."""
        return np.array([array.sum() for array in self.walk(store)])

    def append(self, path: Path, part: Source) -> None:
        """Write to a database that is there."""
        self.write(path, part)

    def change(self, path: Path) -> Path:
        """Leave it to each method to open the database."""
        return path

    def delete_each(self, path: Path, names: list[str]) -> None:
        """Delete one name a transaction."""
        with _environment(path) as environment:
            for name in names:
                with environment.begin(write=True) as transaction:
                    transaction.delete(name.encode())

    def delete(self, path: Path, names: list[str]) -> None:
        """Delete in one transaction."""
        with _environment(path) as environment, environment.begin(write=True) as transaction:
            for name in names:
                transaction.delete(name.encode())

    def compact(self, path: Path) -> None:
        """Copy without what is free, and put the copy in place."""
        copy = path.with_suffix(".copy")
        copy.mkdir()
        with _environment(path) as environment:
            environment.copy(str(copy), compact=True)
        shutil.rmtree(path)
        copy.rename(path)
