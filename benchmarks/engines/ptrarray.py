"""The store of this repository, as its README says to use it; or that of another checkout."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.engines import Engine, Method
from benchmarks.workloads import Array, Int64s, Layout, Source

if TYPE_CHECKING:
    from ptrarray import PointerArray, PointerArrayWriter


class PtrArray(Engine["PointerArrayWriter", "PointerArray"]):
    """A store of the `ptrarray` that is imported when the engine is made."""

    name = "ptrarray"
    package = "ptrarray"
    is_parallel = True

    def __init__(self) -> None:
        self.library: Any = import_module("ptrarray")
        self.summing = modules_with("crc32")
        self._makers = {module.crc32.__module__ for module in self.summing}
        native = sys.modules.get("ptrarray.native")
        self._has_core = getattr(native, "core", None) is not None

    def can(self, *methods: Method) -> bool:
        """Tell whether the class defines all of these, and the library is new enough for them."""
        reduces = signature(self.library.PointerArray.reduce_each).parameters
        known: dict[Method, bool] = {
            Engine.totals: "axis" in reduces,
            Engine.delete: hasattr(self.library.PointerArrayWriter, "delete"),
        }
        return super().can(*methods) and all(known.get(each, True) for each in methods)

    def note(self, figure: str) -> str:
        """Return what computes checksums, and whether the core in C takes part."""
        made = f"{self.name}'s checksums are computed by {' and '.join(sorted(self._makers))}"
        core = "with the core in C" if self._has_core else "without the core in C"
        return f"{made}, {core}" if figure == "write" else ""

    @property
    def version(self) -> str:
        """Version of the package."""
        return str(self.library.__version__)

    def make(self, path: Path, source: Source) -> None:
        """Write in large pieces, and checkpoint."""
        with self.create(path, source) as writer:
            for chunk in source.chunks():
                self.write_ragged(writer, chunk)
        self.checkpoint(path)

    def create(self, path: Path, source: Source) -> PointerArrayWriter:
        """Make an empty store."""
        writer: PointerArrayWriter = self.library.create(path, **source.layout._asdict())
        return writer

    def write(self, writer: PointerArrayWriter, part: Source) -> None:
        """Write many arrays a call."""
        for batch in part.batches:
            writer.write(batch)

    def write_each(self, writer: PointerArrayWriter, part: Source) -> None:
        """Write one array a call, as to a dict."""
        for batch in part.batches:
            for name, array in batch.items():
                writer[name] = array

    def write_ragged(self, writer: PointerArrayWriter, part: Source) -> None:
        """Write arrays that lie end to end."""
        writer.write_ragged(part.names, part.values, part.offsets)

    def sync(self, writer: PointerArrayWriter, path: Path) -> None:
        """Close, which checkpoints what is worth it, and wait for the disk."""
        writer.flush()
        writer.close()

    def close(self, writer: PointerArrayWriter) -> None:
        """Close the writer; closing twice does nothing."""
        writer.close()

    def fill(
        self, path: Path, function: Callable[[Any], Array], tasks: dict[str, Any], n_processes: int
    ) -> None:
        """Compute arrays in worker processes, which write them."""
        layout: dict[str, Any] = {"dtype": "f4", "row_shape": (80,)}
        self.library.fill(path, function, tasks, **layout, processes=n_processes, progress=False)

    def open(self, path: Path, layout: Layout) -> PointerArray:
        """Open for reading."""
        store: PointerArray = self.library.open(path)
        return store

    def get(self, store: PointerArray, names: list[str]) -> list[Array]:
        """Look up by name."""
        return [store[name] for name in names]

    def at(self, store: PointerArray, positions: list[int]) -> list[Array]:
        """Look up by position."""
        arrays = store.arrays
        return [arrays[position] for position in positions]

    def walk(self, store: PointerArray) -> Iterator[Array]:
        """Walk the file."""
        return store.walk()

    def items(self, store: PointerArray) -> Iterable[tuple[str, Array]]:
        """Iterate as over a dict."""
        return store.items()

    def slices(self, store: PointerArray, starts: list[int], n_rows: int) -> list[Array]:
        """Slice the flat array."""
        return [store[start : start + n_rows] for start in starts]

    def take(self, store: PointerArray, keys: list[Any]) -> tuple[Array, Int64s]:
        """Gather a batch."""
        batch = store.take(keys)
        return batch.values, batch.offsets

    def whole(self, store: PointerArray, function: Method) -> Any:
        """Reduce with numpy's function, which the store answers."""
        return function(store)

    def each(self, store: PointerArray) -> Array:
        """Sum each array."""
        return store.reduce_each(np.add)

    def totals(self, store: PointerArray) -> Array:
        """Sum each array, over all of its axes."""
        sums: Array = self.library.PointerArray.reduce_each(store, np.add, axis=None)
        return sums

    def append(self, path: Path, part: Source) -> None:
        """Write to a store that is there."""
        with self.library.append(path) as writer:
            self.write(writer, part)

    def change(self, path: Path) -> PointerArrayWriter:
        """Open for writing."""
        writer: PointerArrayWriter = self.library.append(path)
        return writer

    def delete(self, writer: Any, names: list[str]) -> None:
        """Delete all in one commit."""
        writer.delete(names)

    def delete_each(self, writer: PointerArrayWriter, names: list[str]) -> None:
        """Delete as from a dict."""
        for name in names:
            del writer[name]

    def compact(self, path: Path) -> None:
        """Rewrite without holes."""
        self.library.compact(path)

    def checkpoint(self, path: Path) -> None:
        """Fold the journal into the index."""
        self.library.checkpoint(path)

    def verify(self, path: Path) -> None:
        """Compare everything with its checksums."""
        self.library.verify(path)

    def index_nbytes(self, path: Path) -> int:
        """Return the size of the index."""
        return (path / "index.msgpack").stat().st_size


def modules_with(attribute: str) -> list[ModuleType]:
    """Return the modules of the `ptrarray` imported now that have an attribute.

    Where in the package they lie is not asked, as that differs between versions.
    """
    return [
        module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == "ptrarray" and hasattr(module, attribute)
    ]
