"""zarr 3: a group with an array a name, each of one chunk that is not compressed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zarr

from benchmarks.workloads import Array, Int64s, Layout, Source, concatenated

PACKAGE = "zarr"
CAPS = {"all": 500}  # two files and a folder an array, some milliseconds each
N_LOOKUPS = 200
NOTES = {"lookups_rss": "zarr was asked for 200"}


def create(path: Path, source: Source) -> Any:
    """Make an empty group."""
    return zarr.create_group(path)


def write(group: Any, part: Source) -> None:
    """Write an array a name; there is no call for many."""
    for batch in part.batches:
        for name, array in batch.items():
            group.create_array(name, data=array, chunks=array.shape, compressors=None)


def open(path: Path, layout: Layout) -> Any:
    """Open the group."""
    return zarr.open_group(path, mode="r")


def get(group: Any, names: list[str]) -> list[Array]:
    """Read an array a name."""
    return [group[name][...] for name in names]


def walk(group: Any) -> Iterator[Array]:
    """Read all arrays, in the order of the names."""
    return (group[name][...] for name in sorted(group.array_keys()))


def take(group: Any, names: list[str]) -> tuple[Array, Int64s]:
    """Read each, and concatenate."""
    return concatenated(get(group, names))


def append(path: Path, part: Source) -> None:
    """Write more arrays."""
    write(zarr.open_group(path, mode="r+"), part)


def delete(path: Path, names: list[str]) -> None:
    """Delete arrays."""
    group = zarr.open_group(path, mode="r+")
    for name in names:
        del group[name]
