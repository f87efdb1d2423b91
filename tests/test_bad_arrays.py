"""Arrays that a store cannot hold as they are: an error says why; those that fit are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray import BadInputError, PointerArrayWriter
from tests.support.checks import check_same, unchanged
from tests.support.refusals import check_refused, make


def check_array_refused(writer: PointerArrayWriter, value: Any, *parts: str) -> None:
    """Check that an array is refused in all ways to write it, also behind a good one."""
    good = writer["there"]
    calls: tuple[Callable[[], object], ...] = (
        lambda: writer.__setitem__("bad", value),
        lambda: writer.update(bad=value),
        lambda: writer.write({"good": good, "bad": value}),
        lambda: writer.write({"bad": value, "good": good}, start=100),
        lambda: writer.write({**dict.fromkeys("abcdefgh", good), "bad": value}),
        lambda: writer.write({"bad": value, **dict.fromkeys("abcdefgh", good)}),
    )
    for call in calls:
        with unchanged(Path(writer.path)), pytest.raises(BadInputError) as raised:
            call()
        assert raised.value.name.startswith("bad")
    check_refused(writer, lambda: writer.write({"bad": value}, overwrite=True), "bad", *parts)


# shapes -------------------------------------------------------------------------------------------

SHAPES: dict[str, tuple[tuple[int, ...], Any, str, str]] = {
    "0-d": ((), np.int32(5), "()", "(n,)"),
    "a number": ((), 5, "()", "(n,)"),
    "0-d into rows": ((2,), np.array(5), "()", "(n, 2)"),
    "one axis too many": ((), np.zeros((3, 1), "i4"), "(3, 1)", "(n,)"),
    "one axis too few": ((2,), np.zeros(4, "i4"), "(4,)", "(n, 2)"),
    "another width": ((2,), np.zeros((3, 3), "i4"), "(3, 3)", "(n, 2)"),
    "swapped": ((2, 3), np.zeros((1, 3, 2), "i4"), "(1, 3, 2)", "(n, 2, 3)"),
    "empty of another width": ((2,), np.zeros((0, 3), "i4"), "(0, 3)", "(n, 2)"),
    "zero width": ((2,), np.zeros((3, 0), "i4"), "(3, 0)", "(n, 2)"),
    "something into zero width": ((0,), np.zeros((3, 1), "i4"), "(3, 1)", "(n, 0)"),
}


@pytest.mark.parametrize(("row_shape", "value", "found", "expected"), SHAPES.values(), ids=SHAPES)
def test_shapes(
    path: Path, row_shape: tuple[int, ...], value: Any, found: str, expected: str
) -> None:
    check_array_refused(make(path, "i4", row_shape), value, f"shape {found}", expected)


# values that would change -------------------------------------------------------------------------

VALUES: dict[str, tuple[Any, Any, str, str]] = {
    "fraction to int": ("i4", np.array([3.7]), "float64", "int32"),
    "float to int": ("i4", np.array([3.0]), "float64", "int32"),
    "large to int32": ("i4", np.array([2**40]), "1099511627776", "int32"),
    "list, large": ("i4", [1, 2**40], "1099511627776", "int32"),
    "negative to unsigned": ("u8", np.array([1, -1]), "-1", "uint64"),
    "unsigned to signed": ("i8", np.array([2**64 - 1], "u8"), "18446744073709551615", "int64"),
    "int to bool": ("?", np.array([2]), "int64", "bool"),
    "float that becomes infinite": ("f4", np.array([1.0, 1e300]), "float64", "float32"),
    "half that becomes infinite": ("f2", np.array([70000.0]), "float64", "float16"),
    "int past a float's digits": ("f4", np.array([2**24 + 1]), "int64", "float32"),
    "int past a double's digits": ("f8", np.array([2**53 + 1]), "int64", "float64"),
    "largest int": ("f8", np.array([2**63 - 1]), "int64", "float64"),
    "complex to real": ("f8", np.array([1 + 0j]), "complex128", "float64"),
    "complex that becomes infinite": ("c8", np.array([1e300j]), "complex128", "complex64"),
    "longer str": ("U2", np.array(["abc"]), "<U3", "<U2"),
    "longer bytes": ("S2", np.array([b"abc"]), "|S3", "|S2"),
    "str to bytes": ("S8", np.array(["abc"]), "<U3", "|S8"),
    "number to str": ("U21", np.array([5]), "int64", "<U21"),
    "str to number": ("f8", np.array(["5"]), "<U1", "float64"),
    "time to date": ("M8[D]", np.array(["2000-01-01T12"], "M8[s]"), "[s]", "[D]"),
    "date past nanoseconds": ("M8[ns]", np.array(["9999-01-01"], "M8[D]"), "[D]", "[ns]"),
    "date to number": ("i8", np.array(["2000-01-01"], "M8[D]"), "datetime64", "int64"),
    "number to date": ("M8[D]", np.array([1]), "int64", "datetime64"),
    "void to shorter": ("V3", np.array([b"abcde"], "V5"), "|V5", "|V3"),
    "number to void": ("V8", np.array([5]), "int64", "|V8"),
    "other fields": ([("x", "f4")], np.zeros(1, [("y", "f4")]), "'y'", "'x'"),
    "fields to none": ("f4", np.zeros(1, [("y", "f4")]), "'y'", "float32"),
    "none to fields": ([("x", "f4")], np.zeros(1), "float64", "'x'"),
    "field too large": ([("x", "i2")], np.array([(70000,)], [("x", "i8")]), "70000", "int16"),
    "infinite field": ([("x", "f4")], np.array([(1e300,)], [("x", "f8")]), "float64", "float32"),
}


@pytest.mark.parametrize(("dtype", "value", "found", "expected"), VALUES.values(), ids=VALUES)
def test_values_that_would_change(
    path: Path, dtype: Any, value: Any, found: str, expected: str
) -> None:
    check_array_refused(make(path, dtype), value, found, expected)


FITTING: dict[str, tuple[Any, Any, Any]] = {
    "token ids": ("u2", np.array([0, 65535]), [0, 65535]),
    "int to smaller": ("i1", np.array([-128, 127]), [-128, 127]),
    "list": ("f4", [1, 2.5], [1, 2.5]),
    "range": ("i4", range(3), [0, 1, 2]),
    "tuple": ("i4", (1, 2), [1, 2]),
    "empty list": ("M8[s]", [], []),
    "bool to int": ("i4", np.array([True, False]), [1, 0]),
    "float is rounded": ("f4", np.array([0.1]), [np.float32(0.1)]),
    "small float is rounded": ("f4", np.array([1e-300]), [0]),
    "infinite stays": ("f4", np.array([np.inf, -np.inf]), [np.inf, -np.inf]),
    "exact ints": ("f4", np.array([2**24]), [2**24]),
    "real to complex": ("c8", np.array([1.5]), [1.5]),
    "other byte order": (">i2", np.array([1, 256], "<i2"), [1, 256]),
    "bytes to str": ("U3", np.array([b"ab"]), ["ab"]),
    "shorter str": ("U8", np.array(["ab"]), ["ab"]),
    "date to time": ("M8[s]", np.array(["2000-01-01"], "M8[D]"), [np.datetime64("2000-01-01")]),
    "whole day to date": ("M8[D]", np.array(["2000-01-01T00"], "M8[h]"), ["2000-01-01"]),
    "read-only": ("i4", np.frombuffer(b"\1\0\0\0", "<i4"), [1]),
    "matrix row": ("i4", np.arange(6).reshape(2, 3)[1], [3, 4, 5]),
}


@pytest.mark.parametrize(("dtype", "value", "expected"), FITTING.values(), ids=FITTING)
def test_values_that_fit(path: Path, dtype: Any, value: Any, expected: Any) -> None:
    with make(path, dtype) as writer:
        writer["a"] = value
    with ptrarray.open(path) as store:
        check_same(store["a"], np.array(expected, dtype))
        store.verify()


def test_nan_and_nat_stay(path: Path) -> None:
    dtype = [("x", ">f8"), ("t", "<M8[D]"), ("y", "<f4", (2,))]
    value = np.array(
        [(np.nan, "NaT", [0.1, np.inf])], [("x", "<f8"), ("t", "M8[s]"), ("y", "f8", (2,))]
    )
    with make(path, dtype) as writer:
        writer["a"] = value
    with ptrarray.open(path) as store:
        (row,) = store["a"]
        assert np.isnan(row["x"])
        assert np.isnat(row["t"])
        assert row["y"].tolist() == np.array([0.1, np.inf], "f4").tolist()


@pytest.mark.parametrize(
    "value",
    [
        np.ma.array([1, 2], mask=[True, False]),
        np.ma.array([1, 2]),
        np.ma.array([[1], [2]], mask=True),
        [np.ma.array([1, 2], mask=[True, False])],
    ],
    ids=["masked", "no mask", "another shape", "in a list"],
)
def test_masked_arrays(path: Path, value: Any) -> None:
    check_array_refused(make(path), value, "masked", "masks")


@pytest.mark.parametrize(
    "value",
    [
        np.array([None]),
        [object()],
        None,
        {"a": 1},
        np.zeros(1, [("a", "O")]),
        iter([1, 2]),
    ],
    ids=["array", "list", "None", "dict", "field", "iterator"],
)
def test_python_objects(path: Path, value: Any) -> None:
    check_array_refused(make(path), value, "Python objects")


def test_lists_of_different_lengths(path: Path) -> None:
    check_array_refused(make(path), [[1], [1, 2]], "cannot become an array")


# labels -------------------------------------------------------------------------------------------


class Labelled:
    """An array of a library that is not here, as xarray's, with one of its attributes."""

    def __init__(self, **labels: Any) -> None:
        self.__dict__.update(labels)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.int32]:
        return np.array([1, 2], np.int32)


LABELLED = ("Index", "Categorical", "list", "coords", "columns")


def labelled() -> dict[str, tuple[Any, str]]:
    pd = pytest.importorskip("pandas")
    series = pd.Series([1, 2], index=["a", "b"], name="n", dtype="i4")
    return {
        "Index": (pd.Index([1, 2], name="n", dtype="i4"), "a name"),
        "Categorical": (pd.Categorical([1, 2]), "categories"),
        "list": ([series, series], "index"),
        "coords": (Labelled(coords={}), "coords"),
        "columns": (Labelled(columns=["a"]), "columns"),
    }


@pytest.mark.parametrize("kind", LABELLED)
def test_what_has_labels(path: Path, kind: str) -> None:
    value, label = labelled()[kind]
    check_array_refused(make(path), value, f"has {label}, which would be lost", "np.asarray")
    store = make(path.with_suffix(".two"))
    names = ["a", "b"][: len(np.asarray(value))]
    offsets = list(range(len(names) + 1))
    check_refused(store, lambda: store.write_ragged(names, value, offsets), f"has {label}")


@pytest.mark.parametrize("layout", [{}, {"masked": True}, {"dtype": "i4", "row_shape": None}])
@pytest.mark.parametrize("kind", LABELLED)
def test_what_has_labels_into_arrays_of_any_shape(
    path: Path, kind: str, layout: dict[str, Any]
) -> None:
    value, label = labelled()[kind]
    with ptrarray.create(path, **layout) as writer:
        with pytest.raises(BadInputError, match=f"has {label}, which would be lost"):
            writer["a"] = value
        assert not len(writer)


class Fields(NamedTuple):
    """A list of two, by name."""

    index: int  # type: ignore[assignment]
    names: int


class WithIndex(np.ndarray[Any, Any]):
    """An array with attributes of its own, which are no labels of what is in it."""

    index = names = ("a", "b")


class AnyName(Labelled):
    """An object that has an attribute of any name, as those that stand for others."""

    def __getattr__(self, name: str) -> list[str]:
        if name.startswith("__"):
            raise AttributeError(name)
        return [name]


class Raises(Labelled):
    """An array whose attributes cannot be read."""

    @property
    def index(self) -> NoReturn:
        raise KeyError("no index yet")


def test_what_has_no_labels_of_its_own(path: Path) -> None:
    pd = pytest.importorskip("pandas")
    values = {
        "index": pd.Index([1, 2]),
        "range": pd.RangeIndex(2),
        "array": pd.array([1, 2], dtype="Int32"),
        "name": Labelled(name="/x", dims=("t",)),  # as h5py's
        "method": Labelled(index=[].index),
        "record": np.rec.array([(1,), (2,)], dtype=[("index", "i4")]).index,
        "fields": Fields(1, 2),
        "of a class": np.array([1, 2], "i4").view(WithIndex),
        "any name": AnyName(),
        "raises": Raises(),
    }
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write(values)
    with ptrarray.open(path) as store:
        assert {name: len(array) for name, array in store.items()} == dict.fromkeys(values, 2)


def test_fields_are_no_labels(path: Path) -> None:
    fields = ["columns", "index", "coords", "categories", "names"]
    plain = np.ones(2, [(field, "i4") for field in fields])
    values: dict[str, Any] = {
        "array": plain,
        "recarray": plain.view(np.recarray),
        "list": [plain.view(np.recarray)],
    }
    with ptrarray.create(path, masked=True) as writer:
        writer.write(values)
        writer["element"] = plain.view(np.recarray)[0]
    with ptrarray.open(path) as store:
        assert all(array.dtype == plain.dtype for array in store.values())


# ragged -------------------------------------------------------------------------------------------

OFFSETS: dict[str, tuple[Any, Any, tuple[str, ...]]] = {
    "decrease": ([1, 2, 3], [0, 2, 1], ("decrease from 2 to 1", "position 2")),
    "unsigned decrease": ([1, 2], np.array([0, 2, 1], "u8"), ("decrease from 2 to 1",)),
    "past the end": ([1, 2], [0, 1, 3], ("to 3", "2 rows")),
    "before the start": ([1, 2], [-1, 0, 2], ("from -1", "2 rows")),
    "too few": ([1, 2], [0, 2], ("2 numbers", "2 names need 3")),
    "too many": ([1, 2], [0, 1, 1, 2], ("4 numbers", "2 names need 3")),
    "none": ([1, 2], [], ("(0,)",)),
    "floats": ([1, 2], [0.0, 1.0, 2.0], ("float64",)),
    "two axes": ([1, 2], [[0, 1, 2]], ("(1, 3)",)),
    "bools": ([1, 2], [False, True, True], ("bool",)),
}


@pytest.mark.parametrize(("values", "offsets", "parts"), OFFSETS.values(), ids=OFFSETS)
def test_offsets(path: Path, values: Any, offsets: Any, parts: tuple[str, ...]) -> None:
    writer = make(path)
    call = lambda: writer.write_ragged(["a", "b"], values, offsets)
    check_refused(writer, call, "offsets", *parts)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (np.zeros((2, 1), "i4"), ("(2, 1)", "(n,)")),
        (np.array([0.5, 1.5]), ("float64", "int32")),
        (np.ma.array([1, 2], mask=[True, False]), ("masked",)),
        (np.array([2**40, 0]), ("1099511627776", "int32")),
    ],
    ids=["shape", "dtype", "masked", "too large"],
)
def test_ragged_values(path: Path, values: Any, parts: tuple[str, ...]) -> None:
    writer = make(path)
    check_refused(writer, lambda: writer.write_ragged(["a", "b"], values, [0, 1, 2]), *parts)


def test_ragged_names_that_come_twice(path: Path) -> None:
    writer = make(path)
    call = lambda: writer.write_ragged(["a", "b", "a"], [1, 2, 3], [0, 1, 2, 3])
    check_refused(writer, call, "'a'", "twice")


def test_integers_with_some_missing(path: Path) -> None:
    pd = pytest.importorskip("pandas")
    with ptrarray.create(path) as writer:
        writer["few digits"] = pd.array([2**53 - 1, None])
        writer["none missing"] = pd.array([2**53 + 1, 2**62 + 1])
        with pytest.raises(
            BadInputError, match="Int64 with missing values, as float64 would change"
        ):
            writer["a"] = pd.array([2**53 + 1, None])
        assert writer["few digits"].tolist()[0] == 2**53 - 1
        assert writer["none missing"].tolist() == [2**53 + 1, 2**62 + 1]
