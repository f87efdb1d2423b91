"""HDF5 by h5py: a dataset a name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import h5py

from benchmarks.engines import Engine
from benchmarks.workloads import Array, Layout, Source


class H5py(Engine[h5py.File, h5py.File]):
    """A file with a dataset a name."""

    name = "h5py"
    package = "h5py"
    caps: ClassVar = {"all": 10_000}
    n_lookups = 2_000
    notes: ClassVar = {"lookups_rss": "h5py was asked for 2,000"}

    def create(self, path: Path, source: Source) -> h5py.File:
        """Make a file of the newest format, which is the fastest."""
        return h5py.File(path, "x", libver="latest")

    def write(self, file: h5py.File, part: Source) -> None:
        """Write a dataset a name; there is no call for many."""
        for batch in part.batches:
            for name, array in batch.items():
                file.create_dataset(name, data=array)

    def finish(self, file: h5py.File) -> None:
        """Close the file, before which nobody can read it."""
        file.close()

    def open(self, path: Path, layout: Layout) -> h5py.File:
        """Open the file."""
        return h5py.File(path, "r")

    def shut(self, file: h5py.File) -> None:
        """Close the file."""
        file.close()

    def get(self, file: h5py.File, names: list[str]) -> list[Array]:
        """Read a dataset a name."""
        return [file[name][()] for name in names]

    def walk(self, file: h5py.File) -> Iterator[Array]:
        """Read all datasets, in the order of the names."""
        return (file[name][()] for name in file)

    def append(self, path: Path, part: Source) -> None:
        """Write more datasets."""
        with h5py.File(path, "a", libver="latest") as file:
            self.write(file, part)

    def change(self, path: Path) -> h5py.File:
        """Open for writing."""
        return h5py.File(path, "a", libver="latest")

    def delete(self, file: h5py.File, names: list[str]) -> None:
        """Unlink datasets, which others see when the file is written."""
        for name in names:
            del file[name]
        file.flush()

    def close(self, file: h5py.File) -> None:
        """Close the file; closing twice does nothing."""
        file.close()
