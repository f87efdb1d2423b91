"""A workload under way: its source, and the stores that the peers made of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engines import Engine
from benchmarks.processes import apart
from benchmarks.workloads import WORKLOADS, Source, lookups

N_SAMPLE = 200


class Case:
    """Source, folder, and each peer's store to read from, made when first asked for."""

    def __init__(self, workload: str, n_arrays: int | None, folder: Path) -> None:
        self.workload = workload
        make, usual = WORKLOADS[workload]
        self.source: Source = make(n_arrays or usual)
        self.folder = folder
        self._readers: dict[str, Any] = {}
        self._parts: dict[int, Source] = {len(self.source): self.source}
        self._once: set[tuple[str, str]] = set()

    def first(self, n_arrays: int | None) -> Source:
        """Return the first so many arrays, the same object each time."""
        n_arrays = min(n_arrays or len(self.source), len(self.source))
        if n_arrays not in self._parts:
            self._parts[n_arrays] = self.source.part(0, n_arrays)
        return self._parts[n_arrays]

    def capped(self, cap: int | None) -> int | None:
        """Return a cap on the number of arrays if it holds here."""
        return cap if cap and cap < len(self.source) else None

    def stored(self, engine: Engine) -> Source:
        """Return the arrays that are in a peer's store: fewer for one that takes no more."""
        return self.first(engine.cap("store"))

    def store(self, engine: Engine) -> Path:
        """Return a peer's store, made and checked if it is not there."""
        path = self.folder / f"{engine.name}.store"
        if not path.exists():
            source = self.stored(engine)
            apart(_make, engine, path, source)
            check(engine, path, source)
        return path

    def scratch(self, engine: Engine) -> Path:
        """Return a path where there is nothing."""
        path = self.folder / f"{engine.name}.scratch"
        discard(path)
        return path

    def reader(self, engine: Engine) -> Any:
        """Return a peer's store, open; the same one until `close_readers`."""
        if engine.name not in self._readers:
            self._readers[engine.name] = engine.open(self.store(engine), self.source.layout)
        return self._readers[engine.name]

    def close_readers(self) -> None:
        """Let go of all stores, so that nothing of theirs is mapped."""
        self._readers.clear()

    def once(self, engine: Engine, figure: str) -> bool:
        """Tell whether this is the first time, when answers are checked in full."""
        key = (engine.name, figure)
        new = key not in self._once
        self._once.add(key)
        return new


def _make(engine: Engine, path: Path, source: Source) -> None:
    if engine.can("make"):
        engine.make(path, source)
        return
    handle = engine.create(path, source)
    engine.write(handle, source)
    if engine.can("finish"):
        engine.finish(handle)
    if engine.can("close"):
        engine.close(handle)


def check(engine: Engine, path: Path, source: Source) -> None:
    """Compare some arrays of a store with their source."""
    numbers = [0, len(source) - 1, *lookups(len(source), N_SAMPLE)]
    store = engine.open(path, source.layout)
    if engine.can("get"):
        arrays = engine.get(store, [source.part(number, number + 1).names[0] for number in numbers])
    else:
        arrays = engine.at(store, numbers)
    for number, array in zip(numbers, arrays, strict=True):
        expect(np.array_equal(array, source[number]), f"array {number} of {path}")


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
