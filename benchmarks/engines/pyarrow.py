"""An Arrow IPC file, memory-mapped: a column of names, a column of lists; no search by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.engines import Engine
from benchmarks.workloads import Array, Int64s, Layout, Source

REDUCE = {"sum": pc.sum, "mean": pc.mean, "max": pc.max}

pa.array([0]).to_numpy()  # imports pandas where it is installed; no import is timed here


class Opened(NamedTuple):
    """The columns of names and of lists, and the shape of a row."""

    names: pa.ChunkedArray
    column: pa.ChunkedArray
    row_shape: tuple[int, ...]

    def view(self, values: pa.Array) -> Array:
        """Return the rows of one list."""
        for _ in self.row_shape:
            values = values.flatten()
        array: Array = values.to_numpy()
        return array.reshape(-1, *self.row_shape) if self.row_shape else array


def _write(writer: Any, names: list[str], values: Array, offsets: Array) -> None:
    rows = pa.array(values.reshape(-1))
    for length in values.shape[1:]:
        rows = pa.FixedSizeListArray.from_arrays(rows, length)
    lists = pa.ListArray.from_arrays(pa.array(offsets), rows)
    writer.write_batch(pa.record_batch({"name": names, "array": lists}))


class PyArrow(Engine[Any, Opened]):
    """A file of record batches."""

    name = "pyarrow"
    package = "pyarrow"
    notes: ClassVar = {"take": "pyarrow has no search by name and is asked by position"}

    def create(self, path: Path, source: Source) -> Any:
        """Begin a file."""
        kind = pa.from_numpy_dtype(source.values.dtype)
        for length in source.layout.row_shape:
            kind = pa.list_(kind, length)
        return pa.ipc.new_file(path, pa.schema({"name": pa.string(), "array": pa.list_(kind)}))

    def write(self, writer: Any, part: Source) -> None:
        """Write a record batch a call, of arrays laid end to end."""
        for batch in part.batches:
            arrays = list(batch.values())
            offsets = np.zeros(len(arrays) + 1, np.int32)
            np.cumsum([len(array) for array in arrays], out=offsets[1:])
            _write(writer, list(batch), np.concatenate(arrays), offsets)

    def write_ragged(self, writer: Any, part: Source) -> None:
        """Write one record batch."""
        _write(writer, part.names, part.values, part.offsets.astype(np.int32))

    def finish(self, writer: Any) -> None:
        """Write the end of the file, before which nobody can read it."""
        writer.close()

    def open(self, path: Path, layout: Layout) -> Opened:
        """Map the file."""
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        return Opened(table["name"], table["array"], layout.row_shape)

    def at(self, store: Opened, positions: list[int]) -> list[Array]:
        """Look up by position."""
        column, view = store.column, store.view
        return [view(column[position].values) for position in positions]

    def walk(self, store: Opened) -> Iterator[Array]:
        """Iterate over the column."""
        return (store.view(scalar.values) for scalar in store.column)

    def items(self, store: Opened) -> Iterable[tuple[str, Array]]:
        """Iterate over both columns."""
        return zip(store.names.to_pylist(), self.walk(store), strict=True)

    def take(self, store: Opened, positions: list[int]) -> tuple[Array, Int64s]:
        """Take from the column."""
        lists = store.column.take(pa.array(positions)).combine_chunks()
        return store.view(lists.flatten()), lists.offsets.to_numpy().astype(np.int64)

    def whole(self, store: Opened, function: Any) -> Any:
        """Reduce the flattened column."""
        flat = pc.list_flatten(store.column)
        for _ in store.row_shape:
            flat = pc.list_flatten(flat)
        return REDUCE[function.__name__](flat).as_py()
