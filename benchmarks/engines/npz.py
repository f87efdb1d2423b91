"""numpy's own `savez`: a zip archive with a member a name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workloads import Array, Int64s, Layout, Source, concatenated

CAPS = {"all": 10_000}
N_LOOKUPS = 2_000
NOTES = {"lookups_rss": "npz was asked for 2,000"}


def create(path: Path, source: Source) -> Path:
    """Begin nothing: one call makes the file."""
    return path


def write(path: Path, part: Source) -> None:
    """Write all arrays in one call, the only way there is."""
    with path.open("xb") as file:
        np.savez(file, **dict(zip(part.names, part.arrays, strict=True)))


def open(path: Path, layout: Layout) -> Any:
    """Read the list of members."""
    return np.load(path)


def shut(archive: Any) -> None:
    """Close the archive."""
    archive.close()


def get(archive: Any, names: list[str]) -> list[Array]:
    """Read a member a name."""
    return [archive[name] for name in names]


def walk(archive: Any) -> Iterator[Array]:
    """Read all members."""
    return (archive[name] for name in archive.files)


def take(archive: Any, names: list[str]) -> tuple[Array, Int64s]:
    """Read each, and concatenate."""
    return concatenated(get(archive, names))
