"""joblib: a pickled dict, loaded whole.

Its `mmap_mode` takes a file descriptor an array, of which a process usually
has 1,024.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import joblib

from benchmarks.workloads import Array, Int64s, Layout, Source, concatenated

PACKAGE = "joblib"
CAPS = {"all": 20_000, "readers": 5_000}
NOTES = {"open": "joblib loads all arrays; mapped, each would take a file descriptor"}

Arrays = dict[str, Array]


def create(path: Path, source: Source) -> Path:
    """Begin nothing: one call makes the file."""
    return path


def write(path: Path, part: Source) -> None:
    """Write all arrays in one call, the only way there is."""
    joblib.dump(dict(zip(part.names, part.arrays, strict=True)), path)


def open(path: Path, layout: Layout) -> Arrays:
    """Load the dict and all arrays."""
    arrays: Arrays = joblib.load(path)
    return arrays


def get(arrays: Arrays, names: list[str]) -> list[Array]:
    """Ask the dict."""
    return [arrays[name] for name in names]


def walk(arrays: Arrays) -> Iterator[Array]:
    """Iterate over the dict."""
    return iter(arrays.values())


def take(arrays: Arrays, names: list[str]) -> tuple[Array, Int64s]:
    """Ask the dict, and concatenate."""
    return concatenated(get(arrays, names))
