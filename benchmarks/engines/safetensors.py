"""safetensors: a JSON of all names, then the bytes; written once, from memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from safetensors import safe_open
from safetensors.numpy import save_file

from benchmarks.engines import Engine
from benchmarks.workloads import Array, Layout, Source


class Safetensors(Engine[Path, Any]):
    """A file of tensors."""

    name = "safetensors"
    package = "safetensors"
    caps: ClassVar = {"all": 100_000}  # its JSON may have 100 MB

    def create(self, path: Path, source: Source) -> Path:
        """Begin nothing: one call makes the file."""
        return path

    def write(self, path: Path, part: Source) -> None:
        """Write all arrays in one call, the only way there is."""
        save_file(dict(zip(part.names, part.arrays, strict=True)), path)

    def open(self, path: Path, layout: Layout) -> Any:
        """Read the JSON."""
        return safe_open(path, framework="np")

    def get(self, file: Any, names: list[str]) -> list[Array]:
        """Copy a tensor a name."""
        return [file.get_tensor(name) for name in names]

    def walk(self, file: Any) -> Iterator[Array]:
        """Copy all tensors, in the order of the file."""
        return (file.get_tensor(name) for name in file.offset_keys())
