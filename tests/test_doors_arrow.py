"""Lists in tables of Arrow as arrays: of every kind, what is null, names, metadata.

What pyarrow 26.0.1 and polars 2.1.0 give was seen before it was written down here.
"""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ptrarray.errors import BadInputError
from tests.support.imports import check_content, content
from tests.support.tables import ARRAYS, KINDS, X, good, metas, run


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


# Lists -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("part", [slice(None), slice(1, 3), slice(0, 0)], ids=str)
def test_lists_of_every_kind(store: Path, kind: Any, part: slice) -> None:
    column = pa.array(X, kind)[part]
    report = good(pa.table({"x": column}), store)
    n = len(column)
    assert report.converted == n
    if n:
        check_content(store, {str(i): a for i, a in enumerate(list(ARRAYS.values())[part])})


def test_views_that_overlap_and_go_back(store: Path) -> None:
    views = pa.ListViewArray.from_arrays(
        [2, 0, 1, 3], [2, 3, 0, 1], pa.array([1, 2, 3, 4], pa.int8())
    )
    good(pa.table({"v": views}), store)
    expected = {"0": [3, 4], "1": [1, 2, 3], "2": [], "3": [4]}
    check_content(store, {name: np.array(row, "i1") for name, row in expected.items()})


def test_lists_of_one_length_are_arrays_or_rows(store: Path) -> None:
    rows = pa.array([[[1, 2], [3, 4]], []], pa.list_(pa.list_(pa.int16(), 2)))
    table = pa.table(
        {"name": ["a", "b"], "w": pa.array([[1, 2], [3, 4]], pa.list_(pa.int8(), 2)), "r": rows}
    )
    good(table, store)
    expected = {
        "a/w": np.array([1, 2], "i1"),
        "b/w": np.array([3, 4], "i1"),
        "a/r": np.array([[1, 2], [3, 4]], "i2"),
        "b/r": np.empty((0, 2), "i2"),
    }
    check_content(store, expected)


@pytest.mark.parametrize("dtype", ["?", "u1", "i8", "f2", "f8", "M8[us]", "m8[ns]", "M8[D]"])
def test_every_dtype_comes_bit_for_bit(store: Path, dtype: str) -> None:
    numbers = np.array([0, 1, 2**7 + 1, 5]).astype(dtype)
    column = pa.ListArray.from_arrays([0, 3, 3, 4], pa.array(numbers))
    good(pa.table({"x": column}), store)
    check_content(store, {"0": numbers[:3], "1": numbers[:0], "2": numbers[3:]})


def test_integers_beyond_floats_and_bytes_of_one_width(store: Path) -> None:
    table = pa.table({
        "i": [[2**53 + 1, None]],  # which becomes a float64 by to_numpy, and by datasets a float32
        "u": pa.array([[2**64 - 1]], pa.list_(pa.uint64())),
        "b": pa.array([[b"ab\0", b"\0\0\0"]], pa.list_(pa.binary(3))),
    })  # fmt: skip
    report = good(table, store, masked=True)
    found = content(store)
    assert report.converted == 3
    assert found["0/i"].tolist() == [2**53 + 1, None]
    assert found["0/u"].tolist() == [2**64 - 1]
    assert np.asarray(found["0/b"]).tobytes() == b"ab\0\0\0\0"


# Lists in lists, and tensors ---------------------------------------------------------------------------


def test_lists_in_lists_of_one_length_in_each_row(store: Path) -> None:
    rows = [[[1, 2], [3, 4]], [[5]], [[[]], [[]]][:0], [[1], [2, 3]], [[], []], [[7, 8]]]
    report = run(pa.table({"m": pa.array(rows, pa.large_list(pa.list_(pa.int32())))}), store)
    expected = {"0": rows[0], "1": rows[1], "5": rows[5]}
    arrays = {name: np.array(row, "i4") for name, row in expected.items()}
    check_content(store, arrays | {"4": np.empty((2, 0), "i4")})
    assert [
        (label.rpartition(":")[2], problem.split(":")[0]) for label, problem in report.failures
    ] == [
        ("2", "it has no lists in it, and nothing says how long they would be"),
        ("3", "the lists in it have several lengths, so it is no array"),
    ]


def test_how_long_lists_would_be_can_be_said(store: Path) -> None:
    table = pa.table({"m": pa.array([[], [[1, 2]]], pa.list_(pa.list_(pa.int8())))})
    good(table, store, dtype="i1", row_shape=2)
    check_content(store, {"0": np.empty((0, 2), "i1"), "1": np.array([[1, 2]], "i1")})


def test_array2d_of_hugging_face_says_its_width_as_plain_lists(store: Path) -> None:
    # As datasets 5.2.0 writes Array2D((None, 3), "float32"), read where it is not imported.
    said = {
        "ARROW:extension:name": "datasets.features.features.Array2DExtensionType",
        "ARROW:extension:metadata": json.dumps([[None, 3], "float32"]),
    }
    kind = pa.list_(pa.list_(pa.float32()))
    schema = pa.schema([pa.field("m", kind, metadata=said)])
    good(pa.table({"m": pa.array([[], [[1, 2, 3]]], kind)}, schema=schema), store)
    check_content(store, {"0": np.empty((0, 3), "f4"), "1": np.array([[1, 2, 3]], "f4")})


def test_three_levels_of_lists(store: Path) -> None:
    arrays = [
        np.arange(12).reshape(2, 3, 2),
        np.arange(4).reshape(4, 1, 1),
        np.zeros((1, 0, 0), int),
    ]
    table = pa.table({"m": pa.array([array.tolist() for array in arrays[:2]])})
    good(table, store)
    check_content(store, {str(i): array for i, array in enumerate(arrays[:2])})


@pytest.mark.parametrize("shape", [(4,), (2, 3), (0, 3), (2, 0)], ids=str)
def test_tensors(store: Path, shape: tuple[int, ...]) -> None:
    n, size = 3, int(np.prod(shape))
    storage = pa.FixedSizeListArray.from_arrays(pa.array(range(n * size), pa.int64()), size) if size else (
        pa.array([[]] * n, pa.list_(pa.int64(), 0))
    )  # fmt: skip
    column = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.int64(), shape), storage)
    good(pa.table({"t": column}).slice(1), store)
    whole = np.arange(n * size).reshape(n, *shape)[1:]
    check_content(store, {str(i): array for i, array in enumerate(whole)})


@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 1, 0)], ids=str)
def test_tensors_that_lie_in_another_order(store: Path, axes: tuple[int, ...]) -> None:
    # The storage is row-major in what `shape` says; `permutation` turns it: as to_numpy_ndarray.
    whole = np.arange(48, dtype="i2").reshape(2, 2, 3, 4).transpose(0, *(axis + 1 for axis in axes))
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(whole)
    assert column.type.shape == [2, 3, 4]
    good(pa.table({"t": column}), store)
    check_content(store, {"0": whole[0], "1": whole[1]})


def test_tensors_of_which_pyarrow_reads_another_order_than_it_writes(store: Path) -> None:
    # pyarrow 26.0.1: axes (1, 2, 0) are written as the permutation [2, 0, 1], of which
    # to_numpy_ndarray makes the shape (2, 4, 2, 3), and one item's to_numpy has other strides again.
    whole = np.arange(48, dtype="i2").reshape(2, 2, 3, 4).transpose(0, 2, 3, 1)
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(whole)
    assert column.to_numpy_ndarray().shape != whole.shape
    report = good(pa.table({"t": column, "x": [[1], [2]]}), store)
    assert "left out" in report.notes[0]
    assert list(content(store)) == ["0", "1"]
    assert metas(store)["0"] == {}


def test_tensors_in_lists_are_rows(store: Path) -> None:
    kind = pa.fixed_shape_tensor(pa.int8(), (2, 2), permutation=[1, 0])
    flat = pa.FixedSizeListArray.from_arrays(pa.array(range(12), pa.int8()), 4)
    column = pa.ListArray.from_arrays([0, 1, 1, 3], pa.ExtensionArray.from_storage(kind, flat))
    good(pa.table({"t": column}), store)
    whole = np.arange(12, dtype="i1").reshape(3, 2, 2).transpose(0, 2, 1)
    check_content(store, {"0": whole[:1], "1": whole[:0], "2": whole[1:]})


# What is null -----------------------------------------------------------------------------------------


def test_a_null_is_a_failure_of_its_row_only(store: Path) -> None:
    rows = [[1], None, [2, None], [], *([i] for i in range(20))]
    report = run(pa.table({"x": pa.array(rows, pa.list_(pa.int64()))}), store)
    assert [label[-1] for label, _ in report.failures] == ["1", "2"]
    assert "it is null" in report.failures[0].problem
    assert "masked=True" in report.failures[1].problem
    kept = {str(i): np.array(row, "i8") for i, row in enumerate(rows) if i not in (1, 2)}
    check_content(store, kept)


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.int64()), pa.list_view(pa.int64()), pa.list_(pa.int64(), 2)]
)
def test_what_is_null_is_masked_where_the_store_has_masks(store: Path, kind: Any) -> None:
    rows = [[1, 2], [3, None], None, [None, None]]
    report = run(pa.table({"x": pa.array(rows, kind)}), store, masked=True, dtype="i8")
    assert [label[-1] for label, _ in report.failures] == ["2"]
    found = content(store)
    assert {name: array.tolist() for name, array in found.items()} == {
        "0": [1, 2], "1": [3, None], "3": [None, None]
    }  # fmt: skip


def test_what_lies_under_a_null_is_not_kept(store: Path) -> None:
    values = pa.array(np.array([3, 77]), mask=np.array([False, True]))
    assert np.frombuffer(values.buffers()[1], "i8").tolist() == [3, 77]
    good(pa.table({"x": pa.ListArray.from_arrays([0, 2], values)}), store, masked=True)
    assert np.ma.getdata(content(store)["0"]).tolist() == [3, 0]


def test_null_times_are_no_times(store: Path) -> None:
    rows = [[0, None], [5]]
    table = pa.table(
        {
            "t": pa.array(rows, pa.list_(pa.timestamp("ms"))),
            "d": pa.array(rows, pa.list_(pa.duration("s"))),
        }
    )
    good(table, store)
    check_content(store, {
        "0/t": np.array([0, "NaT"], "M8[ms]"), "1/t": np.array([5], "M8[ms]"),
        "0/d": np.array([0, "NaT"], "m8[s]"), "1/d": np.array([5], "m8[s]"),
    })  # fmt: skip


def test_null_lists_in_lists(store: Path) -> None:
    kind = pa.list_(pa.list_(pa.int8()))
    report = run(pa.table({"m": pa.array([[[1], None], None, [[2], [3]]], kind)}), store)
    assert [label[-1] for label, _ in report.failures] == ["0", "1"]
    check_content(store, {"2": np.array([[2], [3]], "i1")})


# Names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
    ids=str,
)
def test_names_are_text_of_any_kind(store: Path, kind: Any) -> None:
    names = ["größe", "a name longer than twelve bytes", "b\0", "☃"]
    column = pa.array(["", *names, "behind"], kind)[1:-1]
    table = pa.table({"name": column, "x": pa.array(X, KINDS["list"])})
    good(table, store)
    check_content(store, dict(zip(names, ARRAYS.values(), strict=True)))


def test_names_may_be_integers_or_numbers_of_rows(store: Path, tmp_path: Path) -> None:
    table = pa.table({"id": pa.array([7, 0, 2**64 - 1], pa.uint64()), "x": [[1], [2], [3]]})
    good(table, store, names="id")
    assert list(content(store)) == ["7", "0", str(2**64 - 1)]
    good(table, tmp_path / "t.ptr", names="")
    assert metas(tmp_path / "t.ptr")["2"] == {"id": 2**64 - 1}


def test_a_column_that_is_called_name_can_be_something_else(store: Path) -> None:
    table = pa.table({"name": ["cat", "cat"], "values": [[1], [2]], "x": [[3], [4]]})
    good(table, store, names="", values=["values", "x"])
    assert metas(store) == {key: {"name": "cat"} for key in ("0/values", "1/values", "0/x", "1/x")}


def test_null_and_double_names_are_failures_of_their_rows(store: Path) -> None:
    names = ["a", None, "a", *map(str, range(12))]
    report = run(pa.table({"name": names, "x": [[i] for i in range(15)]}), store)
    assert [(label.rpartition(":")[2], problem[:20]) for label, problem in report.failures] == [
        ("1", "its name is null"),
        ("a", "'a' was there first,"),
    ]
    assert report.converted == 13
    assert content(store)["a"].tolist() == [0]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"names": "nope"}, "it has no columns 'nope'; there are 'd', 'd', 's', 'x'"),
        ({"names": "x"}, "column 'x' is of list<int64>; expected names"),
        ({"values": "d"}, "it has 2 columns 'd'"),
        ({"values": ["x", "s"]}, "it has no arrays in 's' of string"),
        ({"meta": "nope"}, "it has no columns 'nope'"),
        ({"values": ()}, "it has no arrays in no columns"),
        ({"values": "x", "meta": "x"}, "'x' is asked for as metadata, and is that of the arrays"),
        ({"names": "s", "meta": "s"}, "'s' is asked for as metadata, and is that of the names"),
    ],
    ids=str,
)
def test_columns_that_are_not_there(store: Path, options: dict[str, Any], problem: str) -> None:
    table = pa.Table.from_arrays(
        [pa.array(["a"]), pa.array([[1]]), pa.array(["b"]), pa.array([[1]])], ["d", "d", "s", "x"]
    )
    report = run(table, store, **options)
    assert problem in report.failures[0].problem
    assert not store.exists()


def test_columns_are_called_by_text(store: Path) -> None:
    with pytest.raises(BadInputError, match="expected text"):
        run(pa.table({"x": [[1]]}), store, values=[1])


def test_a_name_of_several_columns_is_left_out(store: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([[1]])], ["d", "d", "x"])
    assert "which are left out" in good(table, store).notes[0]
    assert metas(store) == {"0": {}}


# Metadata ----------------------------------------------------------------------------------------------


def test_metadata_is_exact_or_said(store: Path) -> None:
    day = datetime.datetime(2024, 1, 2, 3, 4, 5, 678901)
    table = pa.table({
        "x": [[1]], "b": [True], "i": [-(2**63)], "u": pa.array([2**64 - 1], pa.uint64()),
        "f": pa.array([0.1], pa.float32()), "g": [float("nan")], "s": ["ä"], "raw": [b"\0\xff"],
        "fixed": pa.array([b"a\0"], pa.binary(2)), "words": [["p", None]], "struct": [{"a": 1}],
        "cat": pa.array(["c"]).dictionary_encode(), "none": pa.nulls(1), "null": pa.array([None], pa.int8()),
        "run": pa.RunEndEncodedArray.from_arrays([1], ["r"]),
        "t": pa.array([day], pa.timestamp("us", "UTC")), "day": pa.array([day.date()]),
        "ms": pa.array([86_400_001], pa.date64()),  # which is no whole day, as it should be
        "time": [day.time()], "dec": [decimal.Decimal("1.50")], "span": pa.array([7], pa.duration("us")),
        "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        "pandas": ["what ptrarray keeps of pandas is called so"],
    })  # fmt: skip
    report = good(table, store)
    (meta,) = metas(store).values()
    assert np.isnan(meta.pop("g"))
    assert meta == {
        "b": True, "i": -(2**63), "u": 2**64 - 1, "f": float(np.float32(0.1)), "s": "ä",
        "raw": b"\0\xff", "fixed": b"a\0", "words": ["p", None], "struct": {"a": 1}, "cat": "c", "run": "r",
        "t": "2024-01-02 03:04:05.678901Z", "day": "2024-01-02", "ms": "1970-01-02 00:00:00.001",
        "time": "03:04:05.678901", "dec": "1.50", "span": 7,
    }  # fmt: skip
    noted = {note.rpartition(":")[2]: note for note in report.notes}
    assert {"t", "day", "ms", "time", "dec", "span", "map", "pandas"} == noted.keys()
    assert "are text in metadata" in noted["dec"]
    assert "whole numbers of that unit" in noted["span"]
    assert all("left out" in noted[key] for key in ("map", "pandas"))


def test_metadata_can_be_chosen(store: Path, tmp_path: Path) -> None:
    table = pa.table(
        {
            "x": [[1]],
            "y": [[2]],
            "a": [1],
            "m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        }
    )
    assert not good(table, store, values="x", meta=["a", "y"]).notes
    assert metas(store) == {"0": {"a": 1, "y": [2]}}
    good(table, tmp_path / "t.ptr", meta="y")  # so that it is no array
    assert metas(tmp_path / "t.ptr") == {"0": {"y": [2]}}
    good(table, tmp_path / "u.ptr", values="y", meta=())
    assert metas(tmp_path / "u.ptr") == {"0": {}}
