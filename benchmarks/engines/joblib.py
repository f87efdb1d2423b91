"""joblib: a pickled dict, loaded whole.

Its `mmap_mode` takes a file descriptor an array, of which a process usually
has 1,024.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import joblib

from benchmarks.engines import Engine
from benchmarks.workloads import Array, Layout, Source

Arrays = dict[str, Array]


class Joblib(Engine[Path, Arrays]):
    """A pickle of a dict of arrays."""

    name = "joblib"
    package = "joblib"
    caps: ClassVar = {"all": 20_000, "readers": 5_000}
    notes: ClassVar = {"open": "joblib loads all arrays; mapped, each would take a file descriptor"}

    def create(self, path: Path, source: Source) -> Path:
        """Begin nothing: one call makes the file."""
        return path

    def write(self, path: Path, part: Source) -> None:
        """Write all arrays in one call, the only way there is."""
        joblib.dump(dict(zip(part.names, part.arrays, strict=True)), path)

    def open(self, path: Path, layout: Layout) -> Arrays:
        """Load the dict and all arrays."""
        arrays: Arrays = joblib.load(path)
        return arrays

    def get(self, arrays: Arrays, names: list[str]) -> list[Array]:
        """Ask the dict."""
        return [arrays[name] for name in names]

    def walk(self, arrays: Arrays) -> Iterator[Array]:
        """Iterate over the dict."""
        return iter(arrays.values())
