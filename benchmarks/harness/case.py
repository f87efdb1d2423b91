"""A workload under way: its source, and the stores that the engines made of it."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engines import AnyEngine
from benchmarks.harness.processes import apart
from benchmarks.workloads import WORKLOADS, Source, lookups

N_SAMPLE = 200


class Case:
    """Source, folder, and each engine's stores to read from, made when first asked for."""

    def __init__(self, workload: str, n_arrays: int | None, folder: Path) -> None:
        self.workload = workload
        kind = WORKLOADS[workload]
        self.source: Source = kind.make(n_arrays or kind.n_arrays)
        self.folder = folder
        self.serial = count()  # makes names that were not there before
        self._readers: dict[str, tuple[AnyEngine, Any]] = {}
        self._firsts: dict[int, Source] = {len(self.source): self.source}
        self._once: set[tuple[str, str]] = set()

    def first(self, n_arrays: int | None) -> Source:
        """Return the first so many arrays, the same object each time."""
        n_arrays = min(n_arrays or len(self.source), len(self.source))
        if n_arrays not in self._firsts:
            self._firsts[n_arrays] = self.source.part(0, n_arrays)
        return self._firsts[n_arrays]

    def stored(self, engine: AnyEngine, kind: str = "store") -> Source:
        """Return the arrays that are in an engine's store: fewer for one that takes no more."""
        return self.first(engine.cap(kind))

    def path(self, engine: AnyEngine, kind: str = "store") -> Path:
        """Return where an engine's store is, or will be: one to read from, one to change."""
        purpose = "change" if kind == "upkeep" else "read"
        return self.folder / f"{engine.name}-{purpose}-{len(self.stored(engine, kind))}.store"

    def store(self, engine: AnyEngine, kind: str = "store") -> Path:
        """Return where an engine's store is, made and checked if it was not there."""
        path, source = self.path(engine, kind), self.stored(engine, kind)
        if not path.exists():
            apart(engine.make, path, source)  # as the memory this takes is not given back
            check(engine, path, source)
        return path

    def scratch(self, engine: AnyEngine) -> Path:
        """Return a path where there is nothing."""
        path = self.folder / f"{engine.name}.scratch"
        discard(path)
        return path

    def reader(self, engine: AnyEngine) -> Any:
        """Return an engine's store, open; the same one until `close_readers`."""
        if engine.name not in self._readers:
            store = engine.open(self.store(engine), self.source.layout)
            self._readers[engine.name] = engine, store
        return self._readers[engine.name][1]

    def close_readers(self) -> None:
        """Let go of all stores, so that nothing of theirs is mapped."""
        while self._readers:
            engine, store = self._readers.popitem()[1]
            engine.shut(store)

    def once(self, engine: AnyEngine, figure: str) -> bool:
        """Tell whether this is the first time, when answers are checked in full."""
        key = (engine.name, figure)
        new = key not in self._once
        self._once.add(key)
        return new


def check(engine: AnyEngine, path: Path, source: Source) -> None:
    """Compare some arrays of a store with their source."""
    numbers = [0, len(source) - 1, *lookups(len(source), N_SAMPLE)]
    with engine.opened(path, source.layout) as store:
        arrays = engine.find(store, engine.keys(source, numbers))
        for number, array in zip(numbers, arrays, strict=True):
            expect(np.array_equal(array, source[number]), f"array {number} of {path}")
        del array, arrays


def expect(right: bool, what: str) -> None:
    """Stop a measurement whose answer is wrong."""
    if not right:
        raise AssertionError(f"{what} is not what was written")


def discard(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
