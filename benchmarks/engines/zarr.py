"""zarr 3: a group with an array a name, each of one chunk that is not compressed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import zarr

from benchmarks.engines import Engine
from benchmarks.workloads import Array, Layout, Source


class Zarr(Engine[Any, Any]):
    """A group."""

    name = "zarr"
    package = "zarr"
    caps: ClassVar = {"all": 500}  # two files and a folder an array, some milliseconds each
    n_lookups = 200
    notes: ClassVar = {"lookups_rss": "zarr was asked for 200"}

    def create(self, path: Path, source: Source) -> Any:
        """Make an empty group."""
        return zarr.create_group(path)

    def write(self, group: Any, part: Source) -> None:
        """Write an array a name; there is no call for many."""
        for batch in part.batches:
            for name, array in batch.items():
                group.create_array(name, data=array, chunks=array.shape, compressors=None)

    def open(self, path: Path, layout: Layout) -> Any:
        """Open the group."""
        return zarr.open_group(path, mode="r")

    def get(self, group: Any, names: list[str]) -> list[Array]:
        """Read an array a name."""
        return [group[name][...] for name in names]

    def walk(self, group: Any) -> Iterator[Array]:
        """Read all arrays, in the order of the names."""
        return (group[name][...] for name in sorted(group.array_keys()))

    def append(self, path: Path, part: Source) -> None:
        """Write more arrays."""
        self.write(zarr.open_group(path, mode="r+"), part)

    def change(self, path: Path) -> Any:
        """Open the group for writing."""
        return zarr.open_group(path, mode="r+")

    def delete_each(self, group: Any, names: list[str]) -> None:
        """Delete arrays."""
        for name in names:
            del group[name]
