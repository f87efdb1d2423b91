"""Arrays out to Arrow: what libraries that know it are given, on the store's memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import ptrarray
from ptrarray import Ragged

pytestmark = pytest.mark.usefixtures("no_syncs")


def address(values: Any) -> int:
    """Return where the numbers in lists of pyarrow lie."""
    while hasattr(values, "flatten") and not isinstance(values, pa.NumericArray):
        values = values.values
    data: int = values.buffers()[1].address
    return data + int(values.offset) * int(values.type.bit_width) // 8


def test_a_store_is_a_table(path: Path) -> None:
    arrays = {"a": np.arange(6.0), "größe": np.empty(0), "": np.ones(2)}
    with ptrarray.create(path, dtype="f8") as writer:
        writer.write(arrays)
    store = ptrarray.open(path)
    table = pa.table(store)
    table.validate(full=True)
    assert table.schema == pa.schema(
        {"name": pa.large_string(), "values": pa.large_list(pa.float64())}
    )
    assert table["values"].num_chunks == 1
    assert address(table["values"].chunk(0)) == store.rows.ctypes.data
    expected = [(name, array.tolist()) for name, array in arrays.items()]
    assert [(row["name"], row["values"]) for row in table.to_pylist()] == expected
    assert pl.DataFrame(store.arrow()).rows() == expected
    assert duckdb.execute("select * from store").fetchall() == expected


def test_a_ragged_is_an_array() -> None:
    batch = Ragged([1, 2, 3, 4], [1, 3, 3, 4])
    array = pa.array(batch)
    array.validate(full=True)
    assert array.to_pylist() == [[2, 3], [], [4]]
    assert address(array) == batch.values[1:].ctypes.data
    assert pl.Series(batch).to_list() == [[2, 3], [], [4]]
