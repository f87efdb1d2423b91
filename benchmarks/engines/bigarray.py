"""bigarray 0.2: one mapped file, with a pickled dict of all names at its end."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from bigarray import MmapArrayWriter, PointerArray, PointerArrayWriter

from benchmarks.engines import Engine
from benchmarks.workloads import Array, Layout, Source


class BigArray(Engine[PointerArrayWriter, PointerArray]):
    """A store as bigarray's README makes one."""

    name = "bigarray"
    package = "bigarray"
    is_parallel = True
    # Its names live in a manager process while it writes, which is asked for each of them at the end.
    caps: ClassVar = {"write": 20_000, "write_each": 5_000, "upkeep": 20_000, "readers": 1_000_000}
    notes: ClassVar = {
        "write": "bigarray's `flush()`, without which nothing can be read, waits for the disk"
    }

    def make(self, path: Path, source: Source) -> None:
        """Write the file as its own writer does, but with a plain dict of the names."""
        writer = MmapArrayWriter(str(path), source.values.shape, source.values.dtype)
        writer.write([source.values], start_position=0)
        writer.close()
        indices: dict[str, tuple[int, int]] = {}
        for chunk in source.chunks():
            bounds = (chunk.offsets + chunk.first_row).tolist()
            indices.update(zip(chunk.names, pairwise(bounds), strict=True))
        raw = pickle.dumps(indices)
        with path.open("ab") as file:
            file.write(raw + len(raw).to_bytes(8, "big"))

    def create(self, path: Path, source: Source) -> PointerArrayWriter:
        """Make a file of the size that will be needed, as writing in parallel wants it."""
        return PointerArrayWriter(str(path), source.values.shape, source.values.dtype)

    def write(self, writer: PointerArrayWriter, part: Source) -> None:
        """Write many arrays a call, at rows of the caller's choosing."""
        start = part.first_row
        for batch in part.batches:
            writer.write(batch, start_position=start)
            start += sum(map(len, batch.values()))

    def write_each(self, writer: PointerArrayWriter, part: Source) -> None:
        """Write one array a call."""
        start = part.first_row
        for batch in part.batches:
            for name, array in batch.items():
                writer.write({name: array}, start_position=start)
                start += len(array)

    def finish(self, writer: PointerArrayWriter) -> None:
        """Write the names."""
        writer.flush()

    def close(self, writer: PointerArrayWriter) -> None:
        """Close the file."""
        writer.close()

    def open(self, path: Path, layout: Layout) -> PointerArray:
        """Map the file, load the names."""
        return PointerArray(str(path), mode="r")

    def get(self, store: PointerArray, names: list[str]) -> list[Array]:
        """Look up by name."""
        return [store[name] for name in names]

    def walk(self, store: PointerArray) -> Iterator[Array]:
        """Iterate as its README does."""
        return (store[start:end] for start, end in store.indices.values())

    def slices(self, store: PointerArray, starts: list[int], n_rows: int) -> list[Array]:
        """Slice the flat array."""
        return [store[start : start + n_rows] for start in starts]

    def whole(self, store: PointerArray, function: Any) -> Any:
        """Reduce with numpy."""
        return function(store)

    def append(self, path: Path, part: Source) -> None:
        """Extend the file and write all names anew."""
        writer = PointerArrayWriter(str(path))
        for batch in part.batches:
            writer.write(batch)
        writer.flush()
        writer.close()
