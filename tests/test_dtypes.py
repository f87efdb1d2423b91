"""Arrays of any dtype, row shape and name come back as they were written, plain and read-only."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray.format import dtypes
from tests.support import strategies
from tests.support.checks import check_at, check_store, unchanged

FURTHER_DTYPES: tuple[Any, ...] = (
    "e",
    "G",
    "M8",
    "m8",
    "<M8[25s]",
    np.dtype([(("a title", "a"), "<i4")]),
    np.dtype({"names": ["a"], "formats": ["<i4"], "offsets": [4], "itemsize": 12}),
    [("a", "<f4", (0,)), ("b", "i1")],
)


@pytest.mark.parametrize("row_shape", strategies.ROW_SHAPES, ids=repr)
@pytest.mark.parametrize("dtype", [*strategies.DTYPES, *FURTHER_DTYPES], ids=repr)
def test_all_dtypes(path: Path, dtype: Any, row_shape: tuple[int, ...]) -> None:
    with ptrarray.create(path, dtype=dtype, row_shape=row_shape) as writer:
        layout = (writer.dtype, (3, *(writer.row_shape or ())))
        assert writer.dtype == np.dtype(dtype).base
        arrays = {name: strategies.filled(*layout, seed) for seed, name in enumerate("abcde")}
        writer["a"] = arrays["a"]
        writer.write({"b": arrays["b"], "empty": arrays["b"][:0]})
        writer.write_ragged(["c", "d"], np.concatenate([arrays["c"], arrays["d"]]), [0, 3, 6])
        with writer.allocate("e", 3) as rows:
            rows[...] = arrays["e"]
    arrays["empty"] = arrays["b"][:0]
    with ptrarray.open(path) as store:
        check_store(store, arrays)


@given(data=st.data(), layout=st.tuples(strategies.dtypes(), strategies.row_shapes()))
def test_any_arrays_under_any_names(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, layout: tuple[Any, Any]
) -> None:
    path = tmp_path_factory.mktemp("any") / "any.ptr"
    with ptrarray.create(path, dtype=layout[0], row_shape=layout[1]) as writer:
        layout = (writer.dtype, writer.row_shape or ())
        arrays = data.draw(st.dictionaries(strategies.names(), strategies.arrays(*layout)))
        writer.write(arrays)
    with ptrarray.open(path) as store:
        check_store(store, arrays, in_order=True)


def test_a_store_of_empty_arrays(path: Path) -> None:
    arrays = {name: np.zeros((0, 3), "f4") for name in ("", "a", "b")}
    with ptrarray.create(path, dtype="f4", row_shape=3) as writer:
        writer.write(arrays)
        for _ in range(2):
            with ptrarray.open(path) as store:
                check_store(store, arrays, in_order=True)
                assert store.shape == (0, 3)
            ptrarray.checkpoint(path)


@pytest.mark.parametrize("dtype", ["<U5", "S5", "V7", [("a", "i4"), ("b", ">f8")]])
def test_a_store_of_any_dtype_is_appended_to(path: Path, dtype: Any) -> None:
    expected = np.zeros(3, dtype)
    with ptrarray.create(path, dtype=dtype) as writer:
        writer["a"] = expected
    with ptrarray.append(path) as writer:
        writer["b"] = expected
    check_at(path, {"a": expected, "b": expected})


def test_byte_order_stays_when_the_store_grows(path: Path) -> None:
    with ptrarray.create(path, dtype=">f8") as writer:
        writer["a"] = np.array([1.0, 2.0, 3.0], ">f8")
    with ptrarray.append(path) as writer:
        writer["b"] = np.array([4.0], "<f8")
    with ptrarray.open(path) as store:
        assert store.dtype == np.dtype(">f8")
        assert store.rows.tolist() == [1, 2, 3, 4]
        assert store.rows.tobytes() == np.array([1.0, 2.0, 3.0, 4.0], ">f8").tobytes()


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_byte_order_does_not_depend_on_the_mode(path: Path, mode: Any) -> None:
    with ptrarray.create(path, dtype=">f8") as writer:
        writer["a"] = [1.5]
    with ptrarray.open(path, mode=mode) as store:
        assert store["a"].dtype == np.dtype(">f8")
        assert store["a"].tolist() == [1.5]


@pytest.mark.parametrize("dtype", ["u1", "f2", "c16", "V7", "S5"])
def test_rows_are_aligned_for_any_dtype(path: Path, dtype: str) -> None:
    with ptrarray.create(path, dtype=dtype) as writer:
        writer["a"] = np.zeros(100, dtype)
        with writer.allocate("b", 3) as rows:
            assert rows.ctypes.data % np.dtype(dtype).alignment == 0
    with ptrarray.open(path) as store:
        assert store.rows.ctypes.data % 64 == 0


def test_arrays_are_plain_and_readers_are_pickled_small(path: Path) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        writer["a"] = np.arange(10**5)
    with ptrarray.open(path) as store:
        assert type(store["a"]) is np.ndarray
        assert "a" in store
        assert len(store) == 1
        assert len(pickle.dumps(store)) < 2000
        with pickle.loads(pickle.dumps(store)) as copy:
            assert list(copy) == ["a"]


def test_subclasses_come_back_as_plain_arrays(path: Path) -> None:
    records = np.rec.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")])
    with ptrarray.create(path, dtype=records.dtype) as writer:
        writer["a"] = records
    with ptrarray.open(path) as store:
        assert type(store["a"]) is np.ndarray
        assert store["a"].tolist() == [(1, 2.5)]


def test_an_array_of_a_reader_cannot_be_written_to(path: Path) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        writer["a"] = [1]
    with ptrarray.open(path) as store:
        with unchanged(path), pytest.raises(ValueError, match="read-only"):
            store["a"][:] = 0
        assert store["a"].tolist() == [1]


def test_dtypes_that_differ_in_names_alone_are_described_each() -> None:
    """numpy takes them for one, so what is kept of one must not be given for the other."""
    plain = np.dtype("V2")
    named = np.dtype(plain, metadata={"ptrarray": "bfloat16"})
    assert plain == named
    for dtype, names in ((plain, {}), (named, {"dtype_names": "bfloat16"})) * 2:
        described = dtypes.fields_of(dtype)
        assert described == {"dtype": "|V2"} | names
        described["more"] = 1  # to whoever asked alone


@pytest.mark.parametrize("code", sorted(np.typecodes["All"]))
def test_dtypes_of_numpy_are_described_as_it_does(code: str) -> None:
    """Those that need no look at fields and metadata."""
    dtype = np.dtype(code)
    for each in (dtype, dtype.newbyteorder(), np.dtype(dtype, metadata={"unit": "m"})):
        with warnings.catch_warnings(action="ignore"):
            assert dtypes.encode(each) == np.lib.format.dtype_to_descr(each)
