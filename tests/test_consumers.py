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
from tests.support.arrow import KINDS, ORDERED, by_pyarrow, in_lists, is_mapped
from tests.support.layouts import filled

ARRAYS: dict[str, Any] = {
    "a": np.arange(4, dtype="i4"),
    "é": np.empty(0, "i4"),
    "b": np.array([7, 8], "i4"),
    "c": np.array([9], "i4"),
}


# each library: its object, and that as a table of pyarrow, where the memory is to be seen --------------------


def as_pandas(store: Any) -> Any:
    return pa.table(store).to_pandas(types_mapper=pd.ArrowDtype)


def pandas_table(frame: Any) -> Any:
    return pa.table({name: frame[name].array.__arrow_array__() for name in frame.columns})


def as_duckdb(store: Any) -> Any:
    connection = duckdb.connect()
    connection.register("arrays", store)
    return connection


LIBRARIES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "pyarrow": (pa.table, lambda table: table),
    "polars": (pl.DataFrame, lambda frame: frame.to_arrow()),
    "pandas": (as_pandas, pandas_table),
    "duckdb": (as_duckdb, lambda found: found.sql("SELECT * FROM arrays").to_arrow_table()),
}


def found_in(library: str, had: Any) -> dict[str, Any]:
    return by_pyarrow(LIBRARIES[library][1](had))


@pytest.mark.parametrize("kind", KINDS)
def test_pandas_has_the_mapping(path: Path, kind: str) -> None:
    where, arrays = KINDS[kind](path)
    with ptrarray.open(where) as store:
        table = pandas_table(as_pandas(store))
        assert by_pyarrow(table) == in_lists(arrays)
        assert is_mapped(store, table["values"]) == (kind in ORDERED or not arrays)


@pytest.mark.parametrize("kind", ORDERED)
def test_polars_has_the_mapping(path: Path, kind: str) -> None:
    where, _ = KINDS[kind](path)
    with ptrarray.open(where) as store:
        assert is_mapped(store, pl.DataFrame(store.arrow()).to_arrow()["values"])


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("after", ["close", "refresh", "compact", "replace"])
def test_tables_outlive_what_they_came_from(path: Path, library: str, after: str) -> None:
    filled(path, ARRAYS, dtype="i4")
    store = ptrarray.open(path)
    had, wanted = LIBRARIES[library][0](store.arrow()), in_lists(dict(store))
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
    filled(path, ARRAYS, dtype="i4")
    with ptrarray.open(path) as store, ptrarray.append(path) as writer:
        live, still = as_duckdb(store), as_duckdb(store.arrow())
        del writer["a"]
        store.refresh()
        assert "a" not in found_in("duckdb", live)
        assert "a" in found_in("duckdb", still)


# what users do --------------------------------------------------------------------------------------


@pytest.fixture
def numbers(path: Path) -> ptrarray.PointerArray:
    filled(path, ARRAYS, dtype="i4")
    return ptrarray.open(path)


def test_sql_over_a_store(numbers: ptrarray.PointerArray) -> None:
    """A variable is a table, as is what is registered, as often as it is asked for."""
    words = numbers
    query = "SELECT name, len(values), list_sum(values) FROM words ORDER BY name"
    wanted = [("a", 4, 6), ("b", 2, 15), ("c", 1, 9), ("é", 0, None)]
    assert duckdb.execute(query).fetchall() == wanted
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
    frame = as_pandas(numbers)
    assert frame["values"].list.len().to_list() == [4, 0, 2, 1]
    values = frame["values"].list.flatten()
    # Before 3.0 what comes out has an index of its own.
    means = values.groupby(np.repeat(frame["name"].to_numpy(), [4, 0, 2, 1])).mean()
    assert means.to_dict() == {"a": 1.5, "b": 7.5, "c": 9.0}
