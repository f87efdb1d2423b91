"""A store in polars, DuckDB, pandas and pyarrow, as docs/bridges.md has it: values, addresses, lifetime."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import ptrarray
from tests.support.layouts import filled
from tests.support.strategies import hidden

ARRAYS: dict[str, Any] = {
    "a": np.arange(4, dtype="i4"),
    "é": np.empty(0, "i4"),
    "b": np.array([7, 8], "i4"),
    "c": np.array([9], "i4"),
}
ROWS = {"a": np.arange(6, dtype="f4").reshape(2, 3), "b": np.ones((1, 3), "f4")}


# each library: its object, what it has by name, and as a table of pyarrow where the memory is to be seen ---


def as_pandas(store: Any) -> Any:
    return pa.table(store).to_pandas(types_mapper=pd.ArrowDtype)


def pandas_table(frame: Any) -> Any:
    return pa.table({name: frame[name].array.__arrow_array__() for name in frame.columns})


def as_polars(store: Any) -> Any:
    """Make a frame of a store; it would take the mapping that a store is for one of columns."""
    return pl.DataFrame(store.arrow() if isinstance(store, ptrarray.PointerArray) else store)


def as_duckdb(store: Any) -> Any:
    connection = duckdb.connect()
    connection.register("arrays", store)
    return connection


LIBRARIES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "pyarrow": (pa.table, lambda table: table),
    "polars": (as_polars, lambda frame: frame.to_arrow()),
    "pandas": (as_pandas, pandas_table),
    "duckdb": (as_duckdb, lambda found: found.sql("SELECT * FROM arrays").to_arrow_table()),
}
SHARING = [name for name in LIBRARIES if name != "duckdb"]  # whose memory can be seen


def found_in(library: str, had: Any) -> dict[str, Any]:
    table = LIBRARIES[library][1](had)
    return dict(zip(table["name"].to_pylist(), table["values"].to_pylist(), strict=True))


def addresses(library: str, had: Any) -> set[int]:
    """Return where the values of each chunk begin."""
    found = set()
    for chunk in LIBRARIES[library][1](had)["values"].chunks:
        values = chunk.values[chunk.offsets[0].as_py() :]
        while pa.types.is_fixed_size_list(values.type):
            values = values.flatten() if not values.null_count else values.values
        found.add(values.buffers()[1].address + values.offset * values.type.bit_width // 8)
    return found


def address(array: Any) -> int:
    return int(np.ma.getdata(array).__array_interface__["data"][0])


def expected(store: ptrarray.PointerArray) -> dict[str, Any]:
    return {name: array.tolist() for name, array in store.items()}


# stores of every kind -------------------------------------------------------------------------------


def plain(path: Path) -> bool:
    filled(path, ARRAYS, dtype="i4")
    return True


def rows(path: Path) -> bool:
    filled(path, ROWS, dtype="f4", row_shape=(3,))
    return True


def masked(path: Path) -> bool:
    filled(
        path, {name: hidden(array, 3) for name, array in ARRAYS.items()}, dtype="i4", masked=True
    )
    return True


def shaped(path: Path) -> bool:
    filled(path, ROWS, dtype="f4", row_shape=None)
    return True


def overlaid(path: Path) -> bool:
    filled(path, {}, dtype="i4")
    ptrarray.checkpoint(path)
    writer = ptrarray.append(path)
    writer.write(ARRAYS)
    return True


def holed(path: Path) -> bool:
    filled(path, ARRAYS | {"z": np.array([1], "i4")}, dtype="i4")
    with ptrarray.append(path) as writer:
        del writer["b"]
        writer["a"] = [5]
    return False


def mixed(path: Path) -> bool:
    filled(path, ARRAYS)
    return False  # arrays begin at multiples of 64 bytes


def empty(path: Path) -> bool:
    filled(path, {}, dtype="i4")
    return False


KINDS = [plain, rows, masked, shaped, overlaid, holed, mixed, empty]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_values_are_the_same_and_where_they_were(path: Path, kind: Any, library: str) -> None:
    lies_end_to_end = kind(path)
    with ptrarray.open(path) as store:
        had = LIBRARIES[library][0](store)
        wanted = expected(store)
        if library == "duckdb":  # which has tuples for arrays of fixed size
            wanted = {name: [*map(as_list, array)] for name, array in wanted.items()}
        assert found_in(library, had) == wanted
        if lies_end_to_end and library in SHARING:
            assert addresses(library, had) == {address(store.rows)}


def as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_shard_is_a_batch_on_its_own_mapping(path: Path, library: str) -> None:
    arrays = {f"n{i}": np.arange(i * 30, dtype="i4") for i in range(1, 12)}
    filled(path, {}, dtype="i4", shard_size=4096)
    with ptrarray.append(path) as writer:
        for name, array in arrays.items():
            writer[name] = array
    with ptrarray.open(path) as store:
        assert len(store.shards) > 1
        had = LIBRARIES[library][0](store)
        assert found_in(library, had) == expected(store)
        if library in SHARING:
            first = {address(store[name]) for name in store}
            assert addresses(library, had) <= first
            assert len(addresses(library, had)) == len(store.shards)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("after", ["close", "refresh", "compact", "replace"])
def test_tables_outlive_what_they_came_from(path: Path, library: str, after: str) -> None:
    plain(path)
    store = ptrarray.open(path)
    had, wanted = LIBRARIES[library][0](store.arrow()), expected(store)
    with ptrarray.append(path) as writer:
        del writer["a"]
        writer["new"] = np.arange(1000)
    if after == "compact":
        ptrarray.compact(path)
    if after == "replace":
        ptrarray.create(path, dtype="f8", mode="w").close()
    if after == "close":
        store.close()
    else:
        store.refresh()
    del store
    gc.collect()
    assert found_in(library, had) == wanted


def test_a_store_that_is_registered_is_read_with_each_query(path: Path) -> None:
    """Its table shows it as it was."""
    plain(path)
    with ptrarray.open(path) as store, ptrarray.append(path) as writer:
        live, still = as_duckdb(store), as_duckdb(store.arrow())
        del writer["a"]
        store.refresh()
        assert "a" not in found_in("duckdb", live)
        assert "a" in found_in("duckdb", still)


# what users do --------------------------------------------------------------------------------------


@pytest.fixture
def numbers(path: Path) -> ptrarray.PointerArray:
    plain(path)
    return ptrarray.open(path)


def test_sql_over_a_store(numbers: ptrarray.PointerArray) -> None:
    """A variable is a table, as is what is registered, as often as it is asked for."""
    words = numbers
    query = "SELECT name, len(values), list_sum(values) FROM words ORDER BY name"
    wanted = [("a", 4, 6), ("b", 2, 15), ("c", 1, 9), ("é", 0, None)]
    assert duckdb.sql(query).fetchall() == wanted
    connection = duckdb.connect()
    connection.register("arrays", words.arrow())
    for _ in range(2):
        found = connection.sql("SELECT name FROM arrays WHERE list_contains(values, 8)").fetchall()
        assert found == [("b",)]
    numbers.close()
    assert connection.sql("SELECT count(*) FROM arrays").fetchall() == [(4,)]
    unnested = "SELECT sum(v) FROM (SELECT unnest(values) AS v FROM arrays)"
    assert connection.sql(unnested).fetchall() == [(30,)]


def test_expressions_of_polars(numbers: ptrarray.PointerArray) -> None:
    frame = pl.DataFrame(numbers.arrow())
    found = frame.select("name", pl.col("values").list.max(), n=pl.col("values").list.len())
    assert found.rows() == [("a", 3, 4), ("é", None, 0), ("b", 8, 2), ("c", 9, 1)]
    lazy = frame.lazy().filter(pl.col("values").list.contains(8)).select("name")
    assert lazy.collect()["name"].to_list() == ["b"]


def test_pandas_on_the_memory_of_a_store(numbers: ptrarray.PointerArray) -> None:
    frame = as_pandas(numbers).set_index("name")
    assert frame["values"].list.len().to_dict() == {"a": 4, "é": 0, "b": 2, "c": 1}
    means = frame["values"].list.flatten().groupby(level=0).mean()
    assert means.to_dict() == {"a": 1.5, "b": 7.5, "c": 9.0}


def test_list_views_are_for_pyarrow_and_duckdb(path: Path) -> None:
    holed(path)
    with ptrarray.open(path) as store:
        views = store.arrow(layout="view")
        found = duckdb.sql("SELECT name, values FROM views").fetchall()
        assert dict(found) == expected(store)
        column = pa.table(views)["values"]
        assert column.to_pylist() == list(expected(store).values())
        values = column.chunk(0).values
        assert values.buffers()[1].address == address(store.rows)


def test_slices_with_nulls_are_right_in_arrays_of_awkward(path: Path) -> None:
    """`ak.from_arrow` of a slice of a table would have others."""
    masked(path)
    with ptrarray.open(path) as store:
        wanted = list(expected(store).values())
        for first in range(4):
            assert store.awkward()[first:].to_list() == wanted[first:]
