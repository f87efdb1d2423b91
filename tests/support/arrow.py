"""Stores of many kinds for libraries that know Arrow, and what these make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import nanoarrow
import numpy as np
import polars as pl
import pyarrow as pa

import ptrarray

Arrays = dict[str, Any]

NAMES = ("a", "größe", "", "long name \N{SNOWMAN}" * 3, "b")


def _arrays(row_shape: tuple[int, ...] = (), dtype: Any = "f8") -> Arrays:
    """Return arrays of several lengths, an empty one among them."""
    lengths = (5, 3, 0, 1, 7)
    values = np.arange(sum(lengths) * int(np.prod(row_shape))).reshape(-1, *row_shape)
    parts = np.split(values.astype(dtype), np.cumsum(lengths)[:-1])
    return dict(zip(NAMES, parts, strict=True))


def plain(path: Path) -> tuple[Path, Arrays]:
    return _written(path, _arrays(), dtype="f8")


def wide(path: Path) -> tuple[Path, Arrays]:
    """Rows of more than one number."""
    return _written(path, _arrays((2, 3), "i2"), dtype="i2", row_shape=(2, 3))


def sharded(path: Path) -> tuple[Path, Arrays]:
    with ptrarray.create(path, dtype="f8", shard_size=64) as writer:
        for name, array in _arrays().items():
            writer[name] = array
    assert len(ptrarray.open(path).shards) > 2
    return path, _arrays()


def masked(path: Path) -> tuple[Path, Arrays]:
    arrays = {name: np.ma.masked_equal(a, 4) for name, a in _arrays().items()}
    return _written(path, arrays, dtype="f8", masked=True)


def masked_shards(path: Path) -> tuple[Path, Arrays]:
    arrays = {name: np.ma.masked_equal(a, 4) for name, a in _arrays().items()}
    with ptrarray.create(path, dtype="f8", masked=True, shard_size=64) as writer:
        for name, array in arrays.items():
            writer[name] = array
    return path, arrays


def shaped(path: Path) -> tuple[Path, Arrays]:
    return _written(path, _arrays((3,), "f4"), dtype="f4", row_shape=None)


def mixed(path: Path) -> tuple[Path, Arrays]:
    return _written(path, _arrays((3,), "f4"))


def mixed_masked(path: Path) -> tuple[Path, Arrays]:
    arrays = {name: np.ma.masked_equal(a, 4) for name, a in _arrays((3,), "f4").items()}
    return _written(path, arrays, masked=True)


def turned(path: Path) -> tuple[Path, Arrays]:
    """Arrays in Fortran order."""
    arrays = {name: np.asfortranarray(a) for name, a in _arrays((3,), "f4").items()}
    return _written(path, arrays, dtype="f4", row_shape=None)


def images(path: Path) -> tuple[Path, Arrays]:
    """Arrays of two axes, each with a shape of its own."""
    shapes = ((2, 3), (1, 4), (0, 2), (3, 1), (2, 0))
    arrays = {
        name: np.arange(np.prod(shape), dtype="u1").reshape(shape)
        for name, shape in zip(NAMES, shapes, strict=True)
    }
    return _written(path, arrays, dtype="u1", row_shape=None)


def empty(path: Path) -> tuple[Path, Arrays]:
    return _written(path, {}, dtype="f8")


def only_empty(path: Path) -> tuple[Path, Arrays]:
    return _written(path, {"a": [], "b": []}, dtype="f8")


def holed(path: Path) -> tuple[Path, Arrays]:
    """Rows before, between and after the arrays belong to none."""
    first = {"gone": np.ones(4), **_arrays(), "gone, too": np.ones(3)}
    with ptrarray.create(path, dtype="f8") as writer:
        writer.write(first)
        for name in ("gone", "größe", "gone, too"):
            del writer[name]
    ptrarray.checkpoint(path)
    return path, {name: array for name, array in _arrays().items() if name != "größe"}


def pointed(path: Path) -> tuple[Path, Arrays]:
    """Names that share rows."""
    arrays = _arrays()
    with ptrarray.create(path, dtype="f8") as writer:
        writer.write(arrays)
        writer.point("part", 1, 3)
        writer.point("all", 0, 16)
    return path, {**arrays, "part": np.arange(1.0, 3.0), "all": np.arange(16.0)}


def overlaid(path: Path) -> tuple[Path, Arrays]:
    """Changes lie in the journal."""
    arrays = _arrays()
    with ptrarray.create(path, dtype="f8") as writer:
        writer.write(arrays)
    ptrarray.checkpoint(path)
    with ptrarray.append(path) as writer:
        writer["a"] = arrays["a"] = np.array([9.0, 8.0])
        writer["neu"] = arrays["neu"] = np.array([7.0])
        del writer["b"], arrays["b"]
        assert ptrarray.open(path)._opened.snapshot.item_columns()[0].nbytes == 0  # in the journal
    return path, arrays


def packed(path: Path) -> tuple[Path, Arrays]:
    plain(path)
    pack = path.with_suffix(".tar")
    ptrarray.pack(path, pack)
    return pack, _arrays()


KINDS: dict[str, Callable[[Path], tuple[Path, Arrays]]] = {
    function.__name__: function
    for function in (
        *(plain, wide, sharded, masked, masked_shards, shaped, mixed, mixed_masked, turned, images),
        *(empty, only_empty, holed, pointed, overlaid, packed),
    )
}
# Whose arrays lie end to end, so that nothing is copied of them.
ORDERED = (
    "plain",
    "wide",
    "sharded",
    "masked",
    "masked_shards",
    "shaped",
    "only_empty",
    "packed",
    "images",
)


def _written(path: Path, arrays: Arrays, **options: Any) -> tuple[Path, Arrays]:
    with ptrarray.create(path, **options) as writer:
        writer.write(arrays)
    return path, arrays


def listed(value: Any) -> Any:
    """Return arrays, tuples and lists as lists."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [listed(one) for one in value] if isinstance(value, list | tuple) else value


def in_lists(arrays: Arrays) -> dict[str, Any]:
    return {name: listed(array) for name, array in arrays.items()}


def by_pyarrow(table: Any) -> dict[str, Any]:
    found = pa.table(table)
    found.validate(full=True)
    return {row["name"]: row["values"] for row in found.to_pylist()}


def by_polars(table: Any) -> dict[str, Any]:
    return {name: listed(values) for name, values in pl.DataFrame(table).rows()}


def by_duckdb(shown: Any) -> dict[str, Any]:
    rows = duckdb.execute("select name, values from shown").fetchall()
    return {name: listed(values) for name, values in rows}


def by_nanoarrow(table: Any) -> dict[str, Any]:
    found = nanoarrow.ArrayStream(table).read_all()
    return {row["name"]: row["values"] for row in found.to_pylist()}


CONSUMERS = {"pyarrow": by_pyarrow, "polars": by_polars, "duckdb": by_duckdb}
CONSUMERS["nanoarrow"] = by_nanoarrow


def addresses(column: Any) -> Iterator[tuple[int, int]]:
    """Yield where the numbers of each batch of a column of pyarrow lie: first byte and size."""
    for chunk in column.chunks:
        values = chunk
        while pa.types.is_nested(values.type):
            values = values.values
        data = values.buffers()[1]
        yield data.address + values.offset * values.type.bit_width // 8, data.size


def mappings(store: ptrarray.PointerArray) -> list[tuple[int, int]]:
    """Return where the rows of each shard are mapped: first byte and size."""
    parts = [part.data for part in store._opened.stores]
    return [(part.ctypes.data, part.nbytes) for part in parts if isinstance(part, np.ndarray)]


def is_mapped(store: ptrarray.PointerArray, column: Any) -> bool:
    """Tell whether all numbers of a column lie in the mappings of a store."""
    spans = mappings(store)
    return all(
        not size or any(first <= at and at + size <= first + n for first, n in spans)
        for at, size in addresses(column)
    )
