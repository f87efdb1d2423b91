"""`write_arrow`: tables of libraries that speak Arrow, in stores of each layout, whole or absent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import nanoarrow
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import ptrarray
from ptrarray.errors import BadInputError, DuplicateNameError
from tests.support.checks import check_exactly, check_same

ARRAYS = {
    "a": np.array([1.5, -2.0], "f4"),
    "größe": np.array([], "f4"),
    "a longer name than fits": np.arange(7, dtype="f4"),
    "": np.array([np.inf], "f4"),
}
NAMES = list(ARRAYS)
LISTS = [array.tolist() for array in ARRAYS.values()]


def arrow(kind: Any = None, names: Any = None) -> pa.Table:
    kind = kind or pa.list_(pa.float32())
    return pa.table(
        {"name": pa.array(NAMES, names or pa.string()), "values": pa.array(LISTS, kind)}
    )


def with_more(table: pa.Table) -> pa.Table:
    """The rows in the middle of a table, in pieces, with others before and behind."""
    whole = pa.concat_tables([table.slice(0, 1), table, table.slice(1, 3)])
    return pa.concat_tables([whole.slice(1, 1), whole.slice(2, 3)])


def by_duckdb(*settings: str) -> Any:
    connection = duckdb.connect()
    for setting in settings:
        connection.execute(f"set {setting}")
    connection.register("given", arrow())
    return connection.sql("select name, values from given")


TABLES: dict[str, Callable[[], Any]] = {
    **{
        f"pyarrow, {kind}": partial(arrow, kind)
        for kind in (
            pa.list_(pa.float32()),
            pa.large_list(pa.float32()),
            pa.list_view(pa.float32()),
            pa.large_list_view(pa.float32()),
            pa.list_(pa.float64()),
        )
    },
    **{
        f"pyarrow, {kind} names": partial(arrow, names=kind)
        for kind in (
            pa.large_string(),
            pa.string_view(),
            pa.dictionary(pa.int8(), pa.string()),
            pa.dictionary(pa.uint64(), pa.large_string()),
        )
    },
    "pyarrow, in pieces": lambda: with_more(arrow()),
    "pyarrow, views in pieces": lambda: with_more(
        arrow(pa.list_view(pa.float32()), pa.string_view())
    ),
    "pyarrow, batch": lambda: arrow().to_batches()[0],
    "pyarrow, struct": lambda: arrow().to_struct_array().combine_chunks(),
    "pyarrow, reader": lambda: pa.RecordBatchReader.from_batches(
        arrow().schema, arrow().to_batches(max_chunksize=1)
    ),
    "nanoarrow": lambda: nanoarrow.ArrayStream(with_more(arrow())),
    "polars": lambda: pl.DataFrame(arrow()),
    "polars, categories": lambda: pl.DataFrame(arrow()).with_columns(
        pl.col("name").cast(pl.Categorical)
    ),
    "DuckDB": by_duckdb,
    "DuckDB, views": lambda: by_duckdb(
        "arrow_output_list_view=true", "produce_arrow_string_view=true"
    ),
    "pandas": lambda: pd.DataFrame({"name": NAMES, "values": list(ARRAYS.values())}),
    "pandas, ArrowDtype": lambda: arrow().to_pandas(types_mapper=pd.ArrowDtype),
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "rows": {"dtype": "f4"},
    "shaped": {"dtype": "f4", "row_shape": None},
    "mixed": {},
    "masked": {"dtype": "f4", "masked": True},
    "sharded": {"dtype": "f4", "shard_size": 2**16},
}


@pytest.mark.parametrize("what", TABLES)
def test_tables_of_others_are_written(tmp_path: Path, what: str) -> None:
    with ptrarray.create(tmp_path / "a.ptr", dtype="f4") as writer:
        writer["before"] = [7]
        assert writer.write_arrow(TABLES[what]()) == len(ARRAYS)
    check_exactly(tmp_path / "a.ptr", {"before": np.array([7], "f4"), **ARRAYS})


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("what", ["pyarrow, in pieces", "polars", "DuckDB, views"])
def test_every_layout_is_written(tmp_path: Path, layout: str, what: str) -> None:
    with ptrarray.create(tmp_path / "a.ptr", **LAYOUTS[layout]) as writer:
        writer.write_arrow(TABLES[what]())
    with ptrarray.open(tmp_path / "a.ptr") as store:
        assert sorted(store) == sorted(ARRAYS)
        for name, array in ARRAYS.items():
            assert store[name].dtype == np.dtype("f4")
            np.testing.assert_array_equal(store[name], array)
        store.verify()


def check_all(path: Path, wanted: dict[str, Any]) -> None:
    """Check what a store of any dtype holds."""
    with ptrarray.open(path) as store:
        assert sorted(store) == sorted(wanted)
        for name, array in wanted.items():
            check_same(store[name], array)
        store.verify()


# values -------------------------------------------------------------------------------------------

DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]


@pytest.mark.parametrize("dtype", [*DTYPES, "M8[s]", "M8[ns]", "m8[ms]", "m8[us]"])
def test_dtypes_are_those_of_numpy(tmp_path: Path, dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 2, 50).astype(dtype)
    lists = pa.ListArray.from_arrays(pa.array([0, 3, 20, 50], pa.int32()), pa.array(values))
    table = pa.table({"name": ["a", "b", "c"], "values": lists}).slice(1)
    each: tuple[dict[str, Any], ...] = ({"dtype": dtype}, {})
    for options in each:
        with ptrarray.create(tmp_path / "a.ptr", mode="w", **options) as writer:
            writer.write_arrow(table)
        check_all(tmp_path / "a.ptr", {"b": values[3:20], "c": values[20:]})


def test_days_and_bytes_of_one_width_have_dtypes_too(tmp_path: Path) -> None:
    days, raw = np.array([18000, -1], "M8[D]"), np.array([b"ab\0", b"\0\0c"], "S3")
    fixed = pa.Array.from_buffers(pa.binary(3), 2, [None, pa.py_buffer(raw)])
    offsets = pa.array([0, 2], pa.int32())
    with ptrarray.create(tmp_path / "a.ptr") as writer:
        for name, values in ("days", pa.array(days)), ("raw", fixed):
            lists = pa.ListArray.from_arrays(offsets, values)
            writer.write_arrow(pa.table({"name": [name], "values": lists}))
    check_all(tmp_path / "a.ptr", {"days": days, "raw": raw})
    with ptrarray.create(tmp_path / "v.ptr", dtype="V3") as writer:
        writer.write_arrow(
            pa.table({"name": ["raw"], "values": pa.ListArray.from_arrays(offsets, fixed)})
        )
    check_exactly(tmp_path / "v.ptr", {"raw": raw.view("V3")})


def test_lists_of_a_fixed_size_are_rows_with_axes(tmp_path: Path) -> None:
    values = np.arange(30, dtype="i4").reshape(5, 2, 3)
    inner = pa.array(values.reshape(-1))
    for size in (3, 2):
        inner = pa.FixedSizeListArray.from_arrays(inner, size)
    lists = pa.LargeListArray.from_arrays(pa.array([0, 1, 1, 5]), inner)
    table = pa.table({"name": ["a", "b", "c"], "values": lists})
    wanted = {"b": values[1:1], "c": values[1:]}
    for options in ({"dtype": "i4", "row_shape": (2, 3)}, {"dtype": "i4", "row_shape": None}, {}):
        for given in (table.slice(1), pl.DataFrame(table.slice(1))):
            with ptrarray.create(tmp_path / "a.ptr", mode="w", **options) as writer:
                writer.write_arrow(given)
            with ptrarray.open(tmp_path / "a.ptr") as store:
                assert {name: store[name].tolist() for name in store} == {
                    name: array.tolist() for name, array in wanted.items()
                }
                assert store["b"].shape == (0, 2, 3)
    whole = pa.table({"name": ["a"] * 2, "values": pa.FixedSizeListArray.from_arrays(inner[:4], 2)})
    with ptrarray.create(tmp_path / "a.ptr", mode="w") as writer:
        writer.write_arrow(whole.slice(1))
        assert writer["a"].tolist() == values[2:4].tolist()


def test_values_are_cast_as_by_write_and_none_changes(tmp_path: Path) -> None:
    table = pa.table({"name": ["a", "b"], "values": [[1, 2], [3, 70_000]]})
    for options in ({"dtype": "u2"}, {"dtype": "u2", "masked": True}):
        with ptrarray.create(tmp_path / "a.ptr", mode="w", **options) as writer:
            with pytest.raises(BadInputError, match="'b' holds values from 3 to 70000"):
                writer.write_arrow(table)
            assert writer.write_arrow(table.slice(0, 1)) == 1
            assert dict(writer)["a"].tolist() == [1, 2]
    with ptrarray.create(tmp_path / "b.ptr", dtype="i4") as writer:
        with pytest.raises(BadInputError, match="'a' has dtype float64"):
            writer.write_arrow(pa.table({"name": ["a"], "values": [[1.0]]}))
        with pytest.raises(BadInputError, match="'a' has shape"):
            writer.write_arrow(
                pa.table(
                    {"name": ["a"], "values": pa.array([[[1]]], pa.list_(pa.list_(pa.int8(), 1)))}
                )
            )


def test_lists_of_nothing_have_the_dtype_of_the_store(tmp_path: Path) -> None:
    table = pa.table({"name": ["a", "b"], "values": [[], []]})
    for options in ({"dtype": "i4"}, {"dtype": "M8[s]", "row_shape": (2,)}):
        with ptrarray.create(tmp_path / "a.ptr", mode="w", **options) as writer:
            assert writer.write_arrow(table) == 2
            assert writer["b"].shape == (0, *options.get("row_shape", ()))


# nulls --------------------------------------------------------------------------------------------


def test_nulls_are_refused_and_named(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "a.ptr", dtype="i4") as writer:
        for lists, message in (
            ([[1], None], "array 'b' is null"),
            ([[1], [2, None]], "array 'b' has a null in row 1"),
        ):
            for kind in (pa.list_(pa.int32()), pa.list_view(pa.int32())):
                table = pa.table({"name": ["a", "b"], "values": pa.array(lists, kind)})
                with pytest.raises(BadInputError, match=message):
                    writer.write_arrow(table)
                writer.write_arrow(table.slice(0, 1), overwrite=True)
        with pytest.raises(BadInputError, match="'name' has a null at 1"):
            writer.write_arrow(pa.table({"name": ["a", None], "values": [[1], [2]]}))
        hidden = pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int8()), ["a", None])
        with pytest.raises(BadInputError, match="'name' has a null at 0"):
            writer.write_arrow(pa.table({"name": hidden, "values": [[1], [2]]}))
        assert list(writer) == ["a"]


def test_nulls_are_masked_in_a_store_that_keeps_masks(tmp_path: Path) -> None:
    lists = [[[1, None], [2, 3]], [None, [4, 5]], [[6, 7]]]
    table = pa.table(
        {"name": ["a", "b", "c"], "values": pa.array(lists, pa.list_(pa.list_(pa.int32(), 2)))}
    )
    options: tuple[dict[str, Any], ...] = (
        {"dtype": "i4", "row_shape": (2,)},
        {"dtype": "i4", "row_shape": None},
        {},
    )
    for option in options:
        with ptrarray.create(tmp_path / "a.ptr", mode="w", masked=True, **option) as writer:
            writer.write_arrow(table.slice(1))
            writer.write_arrow(pl.DataFrame(table.slice(0, 1)))
        with ptrarray.open(tmp_path / "a.ptr") as store:
            assert store["a"].tolist() == [[1, None], [2, 3]]
            assert store["b"].tolist() == [[None, None], [4, 5]]
            assert store["c"].tolist() == [[6, 7]]
            # What lay under the nulls is nobody's.
            assert np.ma.getdata(store["b"])[0].tolist() == [0, 0]
            store.verify()


def test_pandas_hands_over_nan_in_lists_as_nulls(tmp_path: Path) -> None:
    frame = pd.DataFrame({"name": ["a"], "values": [np.array([1.5, np.nan])]})
    with ptrarray.create(tmp_path / "a.ptr", dtype="f8") as writer:
        assert "'a' has a null in row 1" in refused(writer, frame)
        writer.write_arrow(pl.DataFrame({"name": ["a"], "values": [[1.5, np.nan]]}))
        assert np.isnan(writer["a"][1])


def test_moments_that_are_null_are_no_times(tmp_path: Path) -> None:
    table = pa.table({"name": ["a"], "values": pa.array([[1, None]], pa.list_(pa.timestamp("s")))})
    with ptrarray.create(tmp_path / "a.ptr", dtype="M8[s]") as writer:
        writer.write_arrow(table)
        assert writer["a"].astype(str).tolist() == ["1970-01-01T00:00:01", "NaT"]


# columns ------------------------------------------------------------------------------------------


def refused(writer: ptrarray.PointerArrayWriter, table: Any, **options: Any) -> str:
    with pytest.raises(BadInputError) as caught:
        writer.write_arrow(table, **options)
    return str(caught.value)


def test_columns_are_asked_for_by_name_and_none_is_dropped(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "x": [[1], [2]], "speaker": ["Ann", None], "n": [3, 4]})
    with ptrarray.create(tmp_path / "a.ptr", dtype="i8") as writer:
        assert "no columns 'name'" in refused(writer, table)
        message = refused(writer, table, names="id", values="x")
        assert "'speaker', 'n'" in message
        assert "meta=['speaker', 'n']" in message
        assert "'n'" in refused(writer, table, names="id", values="x", meta=["speaker"])
        for meta in ([3], 3, True):
            assert "expected their names" in refused(
                writer, table, names="id", values="x", meta=meta
            )
        assert "'speaker'" in refused(writer, table, names="id", values="x", meta="n")
        assert "no columns 'm'" in refused(writer, table, names="id", values="x", meta=["m"])
        assert "2 columns 'a'" in refused(
            writer, pa.table([["a"], [[1]]], names=["a", "a"]), names="a", values="a"
        )
        assert writer.write_arrow(table, "id", "x", ["n", "speaker"]) == 2
        assert dict(writer.meta) == {"a": {"speaker": "Ann", "n": 3}, "b": {"n": 4}}


def test_metadata_are_plain_values(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {
            "name": "a",
            "values": [1],
            "b": True,
            "f": 1.5,
            "t": "größe",
            "r": b"\xff",
            "l": [1, None],
        },
        {"name": "b", "values": [2], "s": {"x": ["y"], "z": None}, "l": []},
    ]
    table = pa.Table.from_pylist(rows, pa.Table.from_pylist([rows[1] | rows[0]]).schema)
    kept = [name for name in table.column_names if name not in ("name", "values")]
    with ptrarray.create(tmp_path / "a.ptr", dtype="i8") as writer:
        writer.write_arrow(table, meta=kept)
        assert dict(writer.meta) == {
            row["name"]: {key: row[key] for key in row if key in kept} for row in rows
        }
        writer.write_arrow(pl.DataFrame(table), meta=kept, overwrite=True)
        assert writer.meta["a"] == {key: rows[0][key] for key in rows[0] if key in kept}
        for chosen in (["x", None, "y"], [None] * 3):
            some = pa.array(chosen, pa.string()).dictionary_encode()
            coded = pa.table({"name": NAMES[:3], "values": [[1]] * 3, "c": some})
            writer.write_arrow(coded.slice(1), meta="c", overwrite=True)
            assert [writer.meta[name].get("c") for name in NAMES[1:3]] == chosen[1:]
        empty = pa.array([{}, None, {}], pa.struct([])).slice(1)
        writer.write_arrow(
            pa.table({"name": NAMES[:2], "values": [[1]] * 2, "e": empty}), meta="e", overwrite=True
        )
        assert [writer.meta[name] for name in NAMES[:2]] == [{}, {"e": {}}]
        twice = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["x", "x"])
        twice = pa.table({"name": ["c"], "values": [[1]], "s": twice})
        assert "names of their own, not ['x', 'x']" in refused(writer, twice, meta="s")
        dated = pa.table({"name": ["c"], "values": [[1]], "day": pa.array([1], pa.date32())})
        assert "'day' is of date[D]" in refused(writer, dated, meta=["day"])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"name": [1], "values": [[1]]}), "'name' is of int64; expected names as text"),
        (pa.table({"name": [b"a"], "values": [[1]]}), "of binary; expected names as text"),
        (pa.table({"name": ["a"], "values": [1]}), "int64; expected lists, one for each array"),
        (pa.table({"name": ["a"], "values": [["x"]]}), "'values' is of string; expected numbers"),
        (
            pa.table(
                {"name": ["a"], "values": pa.array([[["x"]]], pa.list_(pa.list_(pa.string(), 1)))}
            ),
            "'values' is of string; expected numbers",
        ),
        (pa.table({"name": ["a"], "values": [[[1], [2]]]}), "as fixed_size_list"),
        (pa.table({"name": ["a"], "values": [[{"x": 1}]]}), "of struct<int64>; expected numbers"),
        (
            pa.table(
                {
                    "name": ["a"],
                    "values": pa.array([[1]], pa.list_(pa.timestamp("s", "Europe/Berlin"))),
                }
            ),
            "moments in UTC",
        ),
        (
            pa.table({"name": ["a"], "values": pa.array([[1]], pa.list_(pa.time32("s")))}),
            r"of time\[s\]; expected numbers",
        ),
        (
            pa.table(
                {
                    "name": ["a"],
                    "values": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((1, 2, 3))),
                }
            ),
            "fixed_shape_tensor.*expected lists of lists",
        ),
        (pa.array([[1]]), "expected a table"),
        (pa.chunked_array([[1]]), "expected a table"),
    ],
    ids=str,
)
def test_other_columns_are_refused_by_their_type(tmp_path: Path, table: Any, message: str) -> None:
    with (
        ptrarray.create(tmp_path / "a.ptr") as writer,
        pytest.raises(BadInputError, match=message),
    ):
        writer.write_arrow(table)


# names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shard_size", [None, 2**20])
def test_names_are_checked_as_by_write(tmp_path: Path, shard_size: int | None) -> None:
    def table(*names: str) -> pa.Table:
        return pa.table({"name": list(names), "values": [[1]] * len(names)})

    def pieces(*names: str) -> pa.Table:
        return pa.concat_tables([table(name) for name in names])

    with ptrarray.create(tmp_path / "a.ptr", dtype="i4", shard_size=shard_size) as writer:
        writer["a"] = [0]
        for given in (table("b", "c", "b"), pieces("b", "c", "b")):
            assert f"'b' is given twice (for {writer.path})" in refused(writer, given)
            assert "'b' is given twice" in refused(writer, given, overwrite=True)
        for given in (table("b", "a"), pieces("b", "c", "a")):
            with pytest.raises(DuplicateNameError, match="'a'"):
                writer.write_arrow(given)
        assert "at most" in refused(writer, table("b", "x" * 70_000))
        assert len(writer) == 1
        assert shard_size or writer.reserve(0) == 1
        assert writer.write_arrow(pieces("b", "a"), overwrite=True) == 2
        assert writer["a"].tolist() == [1]
        assert (
            writer.write_arrow(
                pa.table(
                    {"name": pa.array([], "string"), "values": pa.array([], pa.list_(pa.int8()))}
                )
            )
            == 0
        )
