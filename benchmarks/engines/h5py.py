"""HDF5 by h5py: a dataset a name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py

from benchmarks.workloads import Array, Int64s, Layout, Source, concatenated

PACKAGE = "h5py"
CAPS = {"all": 10_000}
N_LOOKUPS = 2_000
NOTES = {"lookups_rss": "h5py was asked for 2,000"}


def create(path: Path, source: Source) -> h5py.File:
    """Make a file of the newest format, which is the fastest."""
    return h5py.File(path, "x", libver="latest")


def write(file: h5py.File, part: Source) -> None:
    """Write a dataset a name; there is no call for many."""
    for batch in part.batches:
        for name, array in batch.items():
            file.create_dataset(name, data=array)


def finish(file: h5py.File) -> None:
    """Close the file, before which nobody can read it."""
    file.close()


def open(path: Path, layout: Layout) -> h5py.File:
    """Open the file."""
    return h5py.File(path, "r")


def shut(file: h5py.File) -> None:
    """Close the file."""
    file.close()


def get(file: h5py.File, names: list[str]) -> list[Array]:
    """Read a dataset a name."""
    return [file[name][()] for name in names]


def walk(file: h5py.File) -> Iterator[Array]:
    """Read all datasets, in the order of the names."""
    return (file[name][()] for name in file)


def take(file: h5py.File, names: list[str]) -> tuple[Array, Int64s]:
    """Read each, and concatenate."""
    return concatenated(get(file, names))


def append(path: Path, part: Source) -> None:
    """Write more datasets."""
    with h5py.File(path, "a", libver="latest") as file:
        write(file, part)


def delete(path: Path, names: list[str]) -> None:
    """Unlink datasets."""
    with h5py.File(path, "a", libver="latest") as file:
        for name in names:
            del file[name]
