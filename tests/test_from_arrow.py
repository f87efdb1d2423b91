"""`Ragged.from_arrow`: columns of libraries that speak Arrow as ragged batches, on their memory."""

from __future__ import annotations

import gc
import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import nanoarrow
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray import Ragged
from ptrarray.errors import BadInputError
from tests.support import strategies

LISTS = [[1, 2, 3], [], [4], [5, 6]]
KINDS = (
    pa.list_(pa.int32()),
    pa.large_list(pa.int32()),
    pa.list_view(pa.int32()),
    pa.large_list_view(pa.int32()),
)


def address_of(values: Any) -> int:
    return int(values.__array_interface__["data"][0])


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_lists_are_on_the_memory_of_pyarrow(kind: Any) -> None:
    lists = pa.array([[0, 0, 0], *LISTS, [9]], kind)
    found = Ragged.from_arrow(lists.slice(1, 4))
    assert [array.tolist() for array in found] == LISTS
    assert address_of(found.values) == lists.values.buffers()[1].address + 3 * 4
    assert not found.values.flags.writeable
    assert found.values.dtype == np.dtype("i4")


def test_offsets_of_64_bits_are_shared_too() -> None:
    lists = pa.array(LISTS, pa.large_list(pa.int32()))
    found = Ragged.from_arrow(lists)
    assert address_of(found.offsets) == lists.buffers()[1].address


def test_the_memory_stays_as_long_as_the_batch_and_its_views() -> None:
    gc.collect()
    before = pa.total_allocated_bytes()
    values = Ragged.from_arrow(pa.array([list(range(100_000))])).values[5:9]
    gc.collect()
    assert pa.total_allocated_bytes() - before >= 800_000
    assert values.tolist() == [5, 6, 7, 8]
    del values
    gc.collect()
    assert pa.total_allocated_bytes() - before < 800_000


def test_lists_in_several_pieces_or_in_another_order_are_copied() -> None:
    pieces = pa.chunked_array([[[1, 2, 3]], [[], [4]], [[5, 6]]])
    assert [array.tolist() for array in Ragged.from_arrow(pieces)] == LISTS
    views = pa.ListViewArray.from_arrays(
        pa.array([3, 0, 0], pa.int32()), pa.array([2, 0, 4], pa.int32()), pa.array([1, 2, 3, 4, 5])
    )
    found = Ragged.from_arrow(views)
    assert [array.tolist() for array in found] == [[4, 5], [], [1, 2, 3, 4]]
    assert found.values.flags.writeable
    nothing = Ragged.from_arrow(pa.chunked_array([], pa.list_(pa.list_(pa.float32(), 3))))
    assert (len(nothing), nothing.values.dtype, nothing.values.shape) == (0, np.dtype("f4"), (0, 3))


def test_columns_of_others() -> None:
    table = pa.table({"x": LISTS})
    columns = {
        "polars": pl.Series(LISTS),
        "polars, one column": pl.DataFrame({"x": LISTS}),
        "DuckDB": duckdb.from_arrow(table).select("x"),
        "nanoarrow": nanoarrow.Array(table["x"].chunk(0)),
        "pandas": pd.DataFrame({"x": LISTS}),
        "pandas, ArrowDtype": pd.Series(LISTS, dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
        "struct": table.to_struct_array(),
    }
    for what, column in columns.items():
        if what == "pandas, ArrowDtype" and not hasattr(column, "__arrow_c_stream__"):
            continue
        found = [array.tolist() for array in Ragged.from_arrow(column)]
        assert (what, found) == (what, LISTS)


def test_arrays_of_duckdb_and_polars_are_lists_of_a_fixed_size() -> None:
    for column in (
        duckdb.sql("select [[1, 2], [3, 4]]::int[2][2] union all select [[5, 6], [7, 8]]"),
        pl.Series([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], dtype=pl.Array(pl.Int32, (2, 2))),
    ):
        found = Ragged.from_arrow(column)
        assert found.values.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]
        assert found.offsets.tolist() == [0, 2, 4]


def test_nulls_in_lists_are_masked_and_leave_the_rest_as_it_is() -> None:
    found = Ragged.from_arrow(pa.chunked_array([[[1, 2**60 + 1]], [[None]]]))
    assert found.values.dtype == np.dtype("i8")  # and not float64, as pyarrow has it
    assert [array.tolist() for array in found] == [[1, 2**60 + 1], [None]]
    masked = Ragged.from_arrow(pa.array([[1, None], [3]])).values
    assert isinstance(masked, np.ma.MaskedArray)
    # Only those that are used count.
    assert not np.ma.isMaskedArray(Ragged.from_arrow(pa.array([[None], [3]])[1:]).values)


def test_a_batch_of_arrow_is_a_batch_like_others(tmp_path: Path) -> None:
    found = Ragged.from_arrow(pa.array(LISTS))
    assert [array.tolist() for array in pickle.loads(pickle.dumps(found))] == LISTS
    assert found[[3, 0]].values.tolist() == [5, 6, 1, 2, 3]
    assert found.to_padded()[0].tolist()[3] == [5, 6, 0]
    with ptrarray.create(tmp_path / "a.ptr", dtype="i8") as writer:
        writer.write_ragged(list("abcd"), found.values, found.offsets)
        assert [writer[name].tolist() for name in "abcd"] == LISTS


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (pa.array([1]), "int64; expected lists"),
        (pa.array(["a"]), "string; expected lists"),
        (pa.array([[1], None]), "null at 1, where a list"),
        (pa.table({"a": [[1]], "b": [[2]]}), "'a', 'b'; expected one of lists"),
        (pa.table({"a": pa.array([[{"x": 1}]])}), "of struct<int64>"),
        (pa.array([[1]], pa.list_(pa.decimal128(3, 1))), "of decimal"),
        (pl.DataFrame({"x": [[1]]}).lazy(), "LazyFrame hands over no Arrow data"),
    ],
    ids=str,
)
def test_what_is_no_column_of_lists_is_refused(x: Any, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        Ragged.from_arrow(x)


# round trips --------------------------------------------------------------------------------------


@given(
    arrays=st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5), max_size=6),
    names=st.lists(strategies.names(), min_size=8, max_size=8, unique=True),
    kind=st.sampled_from(KINDS),
    text=st.sampled_from(
        [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
    ),
    cuts=st.lists(st.integers(0, 8), max_size=3),
    skipped=st.integers(0, 2),
)
def test_any_table_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    arrays: list[list[int]],
    names: list[str],
    kind: Any,
    text: Any,
    cuts: list[int],
    skipped: int,
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.ptr"
    names, arrays = names[: len(arrays) + skipped], [[1]] * skipped + arrays
    whole = pa.table({"name": pa.array(names, text), "values": pa.array(arrays, kind)})
    bounds = sorted([skipped, *(min(max(cut, skipped), len(arrays)) for cut in cuts), len(arrays)])
    pieces = [whole.slice(i, j - i) for i, j in pairwise(bounds)]
    table = pa.concat_tables([*pieces, whole.slice(0, 0)])
    wanted = dict(zip(names[skipped:], arrays[skipped:], strict=True))
    with ptrarray.create(path, dtype="i8") as writer:
        assert writer.write_arrow(table) == len(wanted)
        assert {name: array.tolist() for name, array in writer.items()} == wanted
    found = Ragged.from_arrow(table["values"])
    assert [array.tolist() for array in found] == arrays[skipped:]
