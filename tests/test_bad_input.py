"""What a store cannot take is an error that says what and why, and leaves it as it was."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import ptrarray
from ptrarray import (
    BadInputError,
    ClosedStoreError,
    CorruptStoreError,
    DuplicateNameError,
    OverlapError,
    PointerArrayWriter,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
    TaskError,
    UnknownNameError,
)
from tests.support import strategies
from tests.support.checks import check_same, check_store, digests, unchanged

Array = NDArray[Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "strict.ptr"


def make(path: Path, dtype: Any = "i4", row_shape: tuple[int, ...] = ()) -> PointerArrayWriter:
    """Make a store with an array in it."""
    writer = ptrarray.create(path, dtype=dtype, row_shape=row_shape)
    writer["there"] = np.zeros((2, *row_shape), writer.dtype)
    return writer


def check_refused(
    writer: PointerArrayWriter, call: Callable[[], object], *parts: str
) -> BadInputError:
    """Check that a call is refused with a message of these parts, and changes no byte."""
    with unchanged(Path(writer.path)), pytest.raises(BadInputError) as raised:
        call()
    message = str(raised.value)
    for part in (*parts, writer.path):
        assert part in message
    assert raised.value.path == writer.path
    assert isinstance(raised.value, (TypeError, ValueError))
    writer.close()
    ptrarray.verify(writer.path)
    return raised.value


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


# names --------------------------------------------------------------------------------------------

NAMES: dict[str, tuple[Any, str]] = {
    "int": (5, "not int: 5"),
    "None": (None, "not NoneType: None"),
    "bytes": (b"a", "not bytes: b'a'"),
    "tuple": (("a", 1), "not tuple"),
    "lone surrogate": ("a\udcff", "UTF-8"),
    "too long": ("n" * 65537, "65537 bytes in UTF-8, at most 65536"),
    "too long in UTF-8": ("ü" * 32769, "65538 bytes in UTF-8, at most 65536"),
}


@pytest.mark.parametrize(("name", "found"), NAMES.values(), ids=NAMES)
def test_names(path: Path, name: Any, found: str) -> None:
    writer = make(path)
    calls: tuple[Callable[[], object], ...] = (
        lambda: writer.__setitem__(name, [1]),
        lambda: writer.write({"good": [1], name: [1]}),
        lambda: writer.write({**{key: [1] for key in "abcdefgh"}, name: [1]}),
        lambda: writer.write_ragged([*"abcdefgh", name], np.arange(9), np.arange(10)),
        lambda: writer.write_ragged(["good", name], [1, 2], [0, 1, 2]),
        lambda: writer.point(name, 0, 1),
        lambda: writer.allocate(name, 1).__enter__(),
    )
    for call in calls:
        with unchanged(path), pytest.raises(BadInputError, match=re.escape(found)):
            call()
    check_refused(writer, lambda: writer.write({name: [1]}), found)


@pytest.mark.parametrize(
    "name", [*strategies.STRANGE_NAMES, "n" * 65536], ids=lambda n: repr(n)[:20]
)
def test_strange_names_that_are_names(path: Path, name: str) -> None:
    with make(path) as writer:
        writer[name] = [1, 2]
        assert name in writer
        for is_checkpointed in (False, True):
            if is_checkpointed:
                ptrarray.checkpoint(path)
            with ptrarray.open(path) as store:
                check_store(store, {"there": np.zeros(2, "i4"), name: np.array([1, 2], "i4")})
        del writer[name]
        assert name not in writer


@pytest.mark.parametrize("arrays", [["a"], "ab", None, 5, [("a", [1])], {"a"}], ids=repr)
def test_arrays_that_are_no_mapping(path: Path, arrays: Any) -> None:
    writer = make(path)
    error = check_refused(writer, lambda: writer.write(arrays), "mapping")
    assert type(arrays).__name__ in str(error)


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


# numbers ------------------------------------------------------------------------------------------

NUMBERS: dict[str, tuple[Callable[[PointerArrayWriter], object], tuple[str, ...]]] = {
    "negative start": (lambda w: w.write({"a": [1]}, start=-3), ("start", "-3")),
    "fractional start": (lambda w: w.write({"a": [1]}, start=1.5), ("start", "1.5")),  # type: ignore[arg-type]
    "start past any file": (lambda w: w.write({"a": [1]}, start=2**63), (str(2**63), "fit")),
    "negative ragged start": (lambda w: w.write_ragged(["a"], [1], [0, 1], start=-1), ("-1",)),
    "negative reserve": (lambda w: w.reserve(-1), ("reserve", "-1")),
    "reserve past any file": (lambda w: w.reserve(2**62), ("fit",)),
    "fractional reserve": (lambda w: w.reserve(1.5), ("reserve", "1.5")),  # type: ignore[arg-type]
    "negative allocate": (lambda w: w.allocate("a", -1).__enter__(), ("-1",)),
    "allocate past any file": (lambda w: w.allocate("a", 2**62).__enter__(), ("fit",)),
    "point past the rows": (lambda w: w.point("a", 0, 3), ("'a'", "0 to 3", "2 rows")),
    "point before the rows": (lambda w: w.point("a", -1, 1), ("'a'", "-1 to 1", "2 rows")),
    "point backwards": (lambda w: w.point("a", 2, 1), ("'a'", "2 to 1")),
    "point to fractions": (lambda w: w.point("a", 0.5, 1), ("0.5",)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("call", "parts"), NUMBERS.values(), ids=NUMBERS)
def test_numbers(
    path: Path, call: Callable[[PointerArrayWriter], object], parts: tuple[str, ...]
) -> None:
    writer = make(path)
    check_refused(writer, lambda: call(writer), *parts)


# create -------------------------------------------------------------------------------------------

DTYPES: dict[str, Any] = {
    "object": object,
    "O": "O",
    "field": [("a", "i4"), ("b", "O")],
    "nested": [("a", [("b", [("c", "O")])])],
    "sub-array": ("O", (3,)),
    "nested sub-array": [("a", ("O", (2,)))],
    "variable-width str": np.dtypes.StringDType(),
    "no width": "S0",
    "S": "S",
    "U": str,
    "V": "V",
    "no fields": [],
    "overlapping": np.dtype({"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [0, 2]}),
    "unknown": "no such dtype",
    "number": 5,
}


@pytest.mark.parametrize("mode", ["x", "w", "a"])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_dtypes_that_cannot_be_stored(path: Path, dtype: Any, mode: str) -> None:
    with pytest.raises(BadInputError, match="dtype"):
        ptrarray.create(path, dtype=dtype, mode=mode)
    assert list(path.parent.iterdir()) == [], "nothing is left on the disk"


CREATING: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "negative row shape": ({"row_shape": (2, -1)}, ("row shape", "(2, -1)")),
    "fractional row shape": ({"row_shape": (2.5,)}, ("row shape", "2.5")),
    "str row shape": ({"row_shape": "ab"}, ("row shape", "'ab'")),
    "too large row shape": ({"row_shape": (2**40, 2**40)}, ("row shape",)),
    "too many axes": ({"row_shape": (1,) * 64}, ("row shape",)),
    "negative rows": ({"rows": -1}, ("rows", "-1")),
    "fractional rows": ({"rows": 1.5}, ("rows", "1.5")),
    "rows past any file": ({"rows": 2**62}, ("rows", str(2**62))),
    "attrs of objects": ({"attrs": {"a": object()}}, ("attrs",)),
    "attrs of arrays": ({"attrs": {"a": np.zeros(3)}}, ("attrs",)),
    "attrs by number": ({"attrs": {1: 2}}, ("attrs", "str")),
    "attrs by number inside": ({"attrs": {"a": {1: 2}}}, ("attrs",)),
    "attrs past 64 bits": ({"attrs": {"a": 2**64}}, ("attrs",)),
    "attrs that are none": ({"attrs": 5}, ("attrs",)),
    "attrs with a surrogate": ({"attrs": {"a": "\udcff"}}, ("attrs",)),
    "unknown mode": ({"mode": "r"}, ("mode 'r'", "'x'", "'w'", "'a'")),
    "no mode": ({"mode": None}, ("mode None",)),
}


@pytest.mark.parametrize(("arguments", "parts"), CREATING.values(), ids=CREATING)
def test_create(path: Path, arguments: dict[str, Any], parts: tuple[str, ...]) -> None:
    with pytest.raises(BadInputError) as raised:
        ptrarray.create(path, **{"dtype": "i4", **arguments})
    for part in parts:
        assert part in str(raised.value)
    assert list(path.parent.iterdir()) == [], "nothing is left on the disk"


def test_create_leaves_the_store_that_it_would_have_replaced(path: Path) -> None:
    make(path).close()
    for arguments in ({"dtype": "O"}, {"dtype": "i4", "rows": -1}):
        with unchanged(path), pytest.raises(BadInputError):
            ptrarray.create(path, mode="w", **arguments)


@pytest.mark.parametrize("value", [print, {1: 2}, 2**64, np.zeros(1)], ids=repr)
def test_attrs_of_a_writer(path: Path, value: Any) -> None:
    writer = make(path)
    with unchanged(path), pytest.raises(BadInputError, match="attrs"):
        writer.attrs["a"] = value
    assert dict(writer.attrs) == {}


# paths --------------------------------------------------------------------------------------------


def make_file(path: Path) -> None:
    path.write_text("precious")


def make_full_directory(path: Path) -> None:
    path.mkdir()
    (path / "thesis.txt").write_text("precious")


def make_empty_directory(path: Path) -> None:
    path.mkdir()


def make_half_a_store(path: Path) -> None:
    path.mkdir()
    (path / "data.bin").write_text("precious")
    (path / "journal.msgpack").write_text("precious")


def make_broken_link(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


PLACES = (
    make_file,
    make_full_directory,
    make_empty_directory,
    make_half_a_store,
    make_broken_link,
)


@pytest.mark.parametrize("mode", ["x", "w", "a"])
@pytest.mark.parametrize("make_place", PLACES)
def test_a_path_that_is_taken_is_left_alone(
    path: Path, make_place: Callable[[Path], None], mode: str
) -> None:
    make_place(path)
    with unchanged(path.parent), pytest.raises(StoreExistsError, match=re.escape(str(path))):
        ptrarray.create(path, dtype="i4", mode=mode)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.is_symlink() == (make_place is make_broken_link)


@pytest.mark.parametrize("make_place", [*PLACES, None])
@pytest.mark.parametrize(
    "use",
    [ptrarray.open, ptrarray.append, ptrarray.checkpoint, ptrarray.verify],
    ids=lambda use: use.__name__,
)
def test_a_path_that_is_no_store(
    path: Path, make_place: Callable[[Path], None] | None, use: Callable[[Path], object]
) -> None:
    if make_place is not None:
        make_place(path)
    kinds = (StoreNotFoundError, CorruptStoreError)
    with unchanged(path.parent), pytest.raises(kinds, match=re.escape(str(path))) as raised:
        use(path)
    is_half = make_place is make_half_a_store
    assert isinstance(raised.value, CorruptStoreError if is_half else StoreNotFoundError)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "a.ptr"
    with pytest.raises(FileNotFoundError) as raised:
        ptrarray.create(path, dtype="i4")
    assert str(path.parent) in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [5, None, print, "nul\0inside"], ids=repr)
def test_paths_that_are_none(path: Any) -> None:
    for use in (ptrarray.open, ptrarray.append, lambda p: ptrarray.create(p, dtype="i4")):
        with pytest.raises((TypeError, ValueError)):
            use(path)


def test_another_version(path: Path) -> None:
    make(path).close()
    index = path / "index.msgpack"
    raw = index.read_bytes()
    assert raw.count(b"\xa7version\x01") == 1
    index.write_bytes(raw.replace(b"\xa7version\x01", b"\xa7version\x02"))
    with unchanged(path):
        for use in (ptrarray.open, ptrarray.append):
            with pytest.raises(CorruptStoreError, match=r"version 2.* reads version 1"):
                use(path)


# everything that must work ------------------------------------------------------------------------

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


# errors -------------------------------------------------------------------------------------------

ERRORS = (
    (StoreError, Exception),
    (StoreExistsError, FileExistsError),
    (StoreNotFoundError, FileNotFoundError),
    (CorruptStoreError, ValueError),
    (OverlapError, ValueError),
    (BadInputError, ValueError),
    (BadInputError, TypeError),
    (UnknownNameError, KeyError),
    (DuplicateNameError, KeyError),
    (ClosedStoreError, ValueError),
    (TaskError, StoreError),
)


@pytest.mark.parametrize(("kind", "builtin"), ERRORS)
def test_errors_survive_pickling(kind: type[StoreError], builtin: type[Exception]) -> None:
    error = kind("what was found\nand expected", path="x.ptr", name="a", found=(1, 2))
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert isinstance(copy, builtin)
    assert str(copy) == "what was found\nand expected"
    assert vars(copy) == vars(error)
    assert copy.path == "x.ptr"


def test_real_errors_survive_pickling(path: Path) -> None:
    writer = make(path)
    calls: tuple[Callable[[], object], ...] = (
        lambda: writer.write({"there": [1]}),
        lambda: writer.write({"a": [1]}, start=0),
        lambda: writer["absent"],
        lambda: writer.write({"a": [0.5]}),
        lambda: ptrarray.create(path, dtype="i4"),
        lambda: ptrarray.open(path.with_name("absent")),
    )
    before = digests(path)
    for call in calls:
        with pytest.raises(StoreError) as raised:
            call()
        copy = pickle.loads(pickle.dumps(raised.value))
        assert (type(copy), str(copy)) == (type(raised.value), str(raised.value))
        assert copy.facts == raised.value.facts
    assert digests(path) == before
