"""What a store hands out as Arrow, another takes: the same arrays, in every layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import ptrarray
from ptrarray import Ragged
from tests.support import strategies
from tests.support.checks import check_same_elements

KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"row_shape": None},
    {"masked": True},
    {"shard_size": 2**13},
    {"row_shape": None, "masked": True},
)
DTYPES = [
    *("?", "i1", "u1", "<i2", "u4", "i8", "u8", "f2", ">f4", "f8", "M8[s]", "m8[ns]", "S5", "V3")
]


def with_masks(draw: st.DrawFn, array: Any) -> Any:
    mask = draw(npst.arrays(np.bool_, array.shape))
    return np.ma.MaskedArray(array, mask)


@st.composite
def stores(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw what a store is made with, and its arrays."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    row_shape = draw(st.sampled_from([(), (1,), (3,), (2, 3)]))
    options = dict(draw(st.sampled_from(KINDS)))
    # What is no time comes back masked, and is one case by itself.
    elements: Any = npst.from_dtype(dtype, allow_nan=False) if dtype.kind in "mM" else None
    if dtype.kind == "V":
        elements = st.binary(min_size=dtype.itemsize, max_size=dtype.itemsize).map(np.void)
    arrays = {}
    for name in draw(st.lists(strategies.names(), max_size=6, unique=True)):
        shape = (draw(st.integers(0, 4)), *row_shape)
        arrays[name] = draw(npst.arrays(dtype, shape, elements=elements))
        if options.get("masked"):
            arrays[name] = with_masks(draw, arrays[name])
    return {"dtype": dtype, "row_shape": row_shape} | options, arrays


@settings(max_examples=50)
@given(
    drawn=stores(),
    layout=st.sampled_from(["list", "view"]),
    by=st.sampled_from([lambda x: x, pa.table, lambda x: pa.table(x).to_reader(2)]),
)
def test_a_store_written_from_a_store_is_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[dict[str, Any], dict[str, Any]],
    layout: Any,
    by: Any,
) -> None:
    options, arrays = drawn
    path = tmp_path_factory.mktemp("both")
    with ptrarray.create(path / "a.ptr", **options) as writer:
        for name, array in arrays.items():
            writer.write({name: array})
        for name in list(arrays)[::3]:  # holes
            del writer[name], arrays[name]
    with (
        ptrarray.open(path / "a.ptr") as store,
        ptrarray.create(path / "b.ptr", **options) as writer,
    ):
        assert writer.write_arrow(by(store.arrow(layout=layout))) == len(arrays)
    with ptrarray.open(path / "b.ptr") as copy:
        assert sorted(copy) == sorted(arrays)
        for name, array in arrays.items():
            mask = np.ma.getmaskarray(array)
            assert np.array_equal(np.ma.getmaskarray(copy[name]), mask)
            plain, found = np.ma.getdata(array).copy(), np.ma.getdata(copy[name])
            plain[mask] = np.zeros((), plain.dtype) if plain.dtype.kind not in "mM" else "NaT"
            check_same_elements(found, plain)
        copy.verify()


def test_a_mixed_store_of_one_dtype_comes_back(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype="i2").reshape(3, 2), "b": np.ones((1, 2), "i2")}
    with ptrarray.create(tmp_path / "a.ptr") as writer:
        writer.write(arrays)
    with (
        ptrarray.open(tmp_path / "a.ptr") as store,
        ptrarray.create(tmp_path / "b.ptr") as writer,
    ):
        writer.write_arrow(store)
        assert {name: array.tolist() for name, array in writer.items()} == {
            name: array.tolist() for name, array in arrays.items()
        }
        assert writer["a"].dtype == np.dtype("i2")


def test_metadata_go_both_ways(tmp_path: Path) -> None:
    metas: dict[str, Any] = {
        "a": {"speaker": "Ann", "n": 1, "x": 0.5, "raw": b"\0\xff"},
        "b": {"n": -3, "yes": True},
    }
    with ptrarray.create(tmp_path / "a.ptr", dtype="f4") as writer:
        writer.write({"a": [1, 2], "b": [3]}, meta=metas)
    keys = ["speaker", "n", "x", "raw", "yes"]
    with ptrarray.open(tmp_path / "a.ptr") as store:
        for number, table in enumerate(
            (store.arrow(meta=keys), pl.DataFrame(store.arrow(meta=keys)))
        ):
            with ptrarray.create(tmp_path / f"b{number}.ptr", dtype="f4") as writer:
                writer.write_arrow(table, meta=keys)
                assert dict(writer.meta) == metas


def test_a_query_over_a_store_becomes_a_store(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "a.ptr", dtype="f4") as writer:
        writer.write({f"{n}": np.arange(n) for n in range(100)})
    with (
        ptrarray.open(tmp_path / "a.ptr") as store,
        ptrarray.create(tmp_path / "b.ptr", dtype="f4") as writer,
    ):
        table = store.arrow()
        duckdb.register("given", table)
        query = "select name, list_transform(values, lambda x: 2 * x) as values from given where len(values) > 90"
        assert writer.write_arrow(duckdb.sql(query)) == 9
        assert writer["95"].tolist() == (2 * np.arange(95)).tolist()
        assert writer.write_arrow(store, overwrite=True) == 100  # onto itself, but for the path


def test_a_store_takes_its_own_arrays(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "a.ptr", dtype="f4") as writer:
        writer.write({"a": [1, 2], "b": [3]})
        with ptrarray.open(tmp_path / "a.ptr") as store:
            writer.write_arrow(store, overwrite=True)
        assert {name: array.tolist() for name, array in writer.items()} == {"a": [1, 2], "b": [3]}
        assert writer.pointers["b"] == (5, 6)


@given(
    st.lists(st.lists(st.integers(-9, 9) | st.none(), max_size=4), max_size=5),
    st.sampled_from(["<i2", ">i4", "f8", "M8[ms]"]),
)
def test_a_batch_comes_back(lists: list[list[int | None]], dtype: str) -> None:
    values = [value for one in lists for value in one]
    offsets = np.cumsum([0, *map(len, lists)])
    data = np.array([value or 0 for value in values], dtype)
    mask = np.array([value is None for value in values], bool)
    batch = Ragged(np.ma.MaskedArray(data, mask) if mask.any() else data, offsets)
    found = Ragged.from_arrow(batch)
    assert found.offsets.tolist() == offsets.tolist()
    assert np.array_equal(np.ma.getmaskarray(found.values), mask)
    assert np.array_equal(np.ma.getdata(found.values)[~mask], data[~mask])
    assert not data.size or dtype[0] == ">" or np.shares_memory(np.ma.getdata(found.values), data)
