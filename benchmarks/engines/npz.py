"""numpy's own `savez`: a zip archive with a member a name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.engines import Engine
from benchmarks.workloads import Array, Layout, Source


class Npz(Engine[Path, Any]):
    """An archive."""

    name = "npz"
    caps: ClassVar = {"all": 10_000}
    n_lookups = 2_000
    notes: ClassVar = {"lookups_rss": "npz was asked for 2,000"}

    def create(self, path: Path, source: Source) -> Path:
        """Begin nothing: one call makes the file."""
        return path

    def write(self, path: Path, part: Source) -> None:
        """Write all arrays in one call, the only way there is."""
        with path.open("xb") as file:
            arrays: dict[str, Any] = dict(zip(part.names, part.arrays, strict=True))
            np.savez(file, **arrays)

    def open(self, path: Path, layout: Layout) -> Any:
        """Read the list of members."""
        return np.load(path)

    def shut(self, archive: Any) -> None:
        """Close the archive."""
        archive.close()

    def get(self, archive: Any, names: list[str]) -> list[Array]:
        """Read a member a name."""
        return [archive[name] for name in names]

    def walk(self, archive: Any) -> Iterator[Array]:
        """Read all members."""
        return (archive[name] for name in archive.files)
