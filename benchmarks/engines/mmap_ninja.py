"""mmap_ninja's `RaggedMmap`: one mapped file and three of pointers; arrays have no names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from mmap_ninja.ragged import RaggedMmap

from benchmarks.engines import Engine
from benchmarks.workloads import Array, Int64s, Layout, Source, concatenated


class MmapNinja(Engine[Path, RaggedMmap]):
    """A `RaggedMmap`."""

    name = "mmap_ninja"
    package = "mmap_ninja"
    # More only takes longer: it loops over arrays in Python, and each append maps all files anew.
    caps: ClassVar = {"all": 200_000, "write_each": 500}
    notes: ClassVar = {"take": "mmap_ninja has no names and is asked by position"}

    def create(self, path: Path, source: Source) -> Path:
        """Begin nothing: the first arrays make the store."""
        return path

    def write(self, path: Path, part: Source) -> None:
        """Write many arrays a call."""
        first, *others = [list(batch.values()) for batch in part.batches]
        store = RaggedMmap.from_lists(path, first)
        for arrays in others:
            store.extend(arrays)

    def write_each(self, path: Path, part: Source) -> None:
        """Write one array a call."""
        first, *others = part.arrays
        store = RaggedMmap.from_lists(path, [first])
        for array in others:
            store.append(array)

    def open(self, path: Path, layout: Layout) -> RaggedMmap:
        """Map the files."""
        return RaggedMmap(path, mode="r")

    def at(self, store: RaggedMmap, positions: list[int]) -> list[Array]:
        """Look up by position."""
        return [store[position] for position in positions]

    def walk(self, store: RaggedMmap) -> Iterator[Array]:
        """Look up each position."""
        return (store[position] for position in range(len(store)))

    def take(self, store: RaggedMmap, positions: list[int]) -> tuple[Array, Int64s]:
        """Look up all in one call, and concatenate."""
        arrays = store[positions]
        return concatenated(arrays)

    def append(self, path: Path, part: Source) -> None:
        """Extend the files."""
        store = RaggedMmap(path, mode="r+")
        for batch in part.batches:
            store.extend(list(batch.values()))
