"""Text and columns of Arrow as arrays: they come back the same, and what does not fit is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ptrarray.frames.apart import take_apart
from ptrarray.frames.text import object_parts, packed, unpacked
from ptrarray.frames.together import put_together
from ptrarray.objects.parts import Items, Parts

pd = pytest.importorskip("pandas")

from tests.support.kinds import HAS_ARROW, STR
from tests.support.nested import through_codec

ANY_TEXT = st.text(st.characters(codec=None), max_size=4)  # lone surrogates, too


@given(st.lists(ANY_TEXT, max_size=8))
@example(["\ud800", "\udc00"])
@example(["a" * 100, "ä", ""])
@example(["a\0", "\0", ""])
@example([""])
def test_text_comes_back(texts: list[str]) -> None:
    """Short and long text is read differently."""
    parts = packed(texts)
    assert parts["values"].dtype == np.uint8
    assert unpacked(**parts) == texts
    ends = np.cumsum([len(text.encode("utf-8", "surrogatepass")) for text in texts])
    assert parts["ends"].tolist() == ends.tolist()


@pytest.mark.parametrize(("n", "width"), [(255, 1), (256, 2), (65_536, 4)])
def test_ends_are_as_narrow_as_they_can_be(n: int, width: int) -> None:
    parts = packed(["a" * n, ""])
    assert parts["ends"].dtype == f"u{width}"
    assert unpacked(**parts) == ["a" * n, ""]


class Text(str):
    """A str of the user's."""

    __slots__ = ()


@pytest.mark.parametrize(
    "items",
    [[], [None], [np.nan], [1, "a"], ["a", None, np.nan], ["a", -np.float64("nan")], ["a", 1.5],
     [Text("a"), "b"], [np.str_("a")], ["a", b"b"], ["a", pd.NaT]],
    ids=repr,
)  # fmt: skip
def test_what_is_more_than_text_is_no_text(items: list[Any]) -> None:
    assert object_parts(np.fromiter(items, object, len(items))) is None


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA], ids=repr)
def test_what_is_missing_among_objects_comes_back(missing: Any) -> None:
    values = pd.Series(["a", missing, "ä", missing], dtype=object)
    parts = take_apart(values, few=0)
    assert parts is not None
    text = parts.attributes["values"]
    assert isinstance(text, Parts)
    assert text.attributes["mask"].tolist() == [False, True, False, True]
    found = put_together(Parts("Series", {**parts.attributes, "values": put_together(text)}))
    assert [*map(repr, found)] == [*map(repr, values)]


def test_few_texts_are_items() -> None:
    for array in (pd.array(["a", "b"], dtype="string[python]"), pd.array(["a"], dtype=STR)):
        few, many = take_apart(array), take_apart(array, few=0)
        assert few is not None
        assert many is not None
        assert isinstance(few.attributes["values"], Items)
        assert isinstance(many.attributes["values"], np.ndarray)


def test_missing_text_is_a_part_only_if_there_is_some() -> None:
    storages = ["python", "pyarrow"] if HAS_ARROW else ["python"]
    for storage in storages:
        for items, expected in ((["a", "b"], None), (["a", None], [False, True])):
            parts = take_apart(pd.array(items, dtype=f"string[{storage}]"), few=0)
            assert parts is not None
            mask = parts.attributes.get("mask")
            assert expected == (None if mask is None else mask.tolist())


RAW = np.frombuffer("aäb".encode(), np.uint8)
GOOD = {"values": RAW, "ends": np.array([1, 3, 4], "u1")}
BAD: dict[str, dict[str, Any]] = {
    "falling": {"ends": np.array([3, 1, 4], "u1")},
    "beyond": {"ends": np.array([1, 3, 9], "u1")},
    "short": {"ends": np.array([1, 3], "u1")},
    "negative": {"ends": np.array([-1, 3, 4])},
    "wrapped": {"ends": np.array([2**63 - 1, 2**64 - 2, 4], "u8")},
    "within a character": {"ends": np.array([1, 2, 4], "u1")},
    "no ends": {"ends": np.zeros(0, "u1")},
    "floats": {"ends": np.array([1.0, 3, 4])},
    "two axes": {"ends": np.array([[1, 3, 4]], "u1")},
    "no bytes": {"values": RAW.view("i1")},
    "no text": {"values": np.array([97, 255, 97, 98], "u1")},
    "overlong": {"values": np.array([97, 0xC1, 0x81, 98], "u1")},
    "cut off": {"values": RAW[:2], "ends": np.array([1, 2, 2], "u1")},
    "long, within a character": {
        "values": np.tile(RAW, 50),
        "ends": np.array([101, 102, 200], "u1"),
    },
    "no mask": {"mask": np.zeros(3, "u1")},
    "short mask": {"mask": np.zeros(2, bool)},
}


@pytest.mark.parametrize("storage", ["object", "python", "pyarrow"])
def test_text_that_is_not_of_its_bytes_is_refused(storage: str) -> None:
    if storage == "pyarrow" and not HAS_ARROW:
        pytest.skip("pyarrow is missing")
    about = {"storage": storage, "na_value": "None" if storage == "object" else "NA"}
    assert [*put_together(Parts("strings", {**GOOD, **about}))] == ["a", "ä", "b"]
    for bad in BAD.values():
        with pytest.raises((TypeError, ValueError)):
            put_together(Parts("strings", {**GOOD, **about, **bad}))


# Columns of Arrow ---------------------------------------------------------------------------------


def test_columns_of_arrow_are_not_copied() -> None:
    pa = pytest.importorskip("pyarrow")

    for values in (pa.array(["a", "bc", None], pa.large_string()), pa.array([1.5, 2, None])):
        column = pd.arrays.ArrowExtensionArray(values)
        parts = take_apart(column)
        assert parts is not None
        assert address(parts.attributes["values"]) == values.buffers()[-1].address
        (again,) = put_together(parts).__arrow_array__().chunks
        assert again.buffers()[-1].address == values.buffers()[-1].address
        assert again.equals(values)


def address(array: Any) -> int:
    found: int = array.__array_interface__["data"][0]
    return found


NUMBERS = {"values": np.arange(3), "arrow_type": "int64"}


@pytest.mark.skipif(not HAS_ARROW, reason="pyarrow is missing")
@pytest.mark.parametrize(
    "attributes",
    [
        {**NUMBERS, "arrow_type": "int32"},
        {**NUMBERS, "arrow_type": "string"},
        {**NUMBERS, "arrow_type": "null"},
        {**NUMBERS, "arrow_type": "evil"},
        {**NUMBERS, "arrow_type": None},
        {**NUMBERS, "arrow_type": ("list_", "int64")},
        {**NUMBERS, "arrow_type": ("py_buffer", 3)},
        {**NUMBERS, "arrow_type": ("timestamp", "ns")},
        {**NUMBERS, "arrow_type": ("binary", -1)},
        {**NUMBERS, "arrow_type": ("binary", 2**31 - 1)},
        {**NUMBERS, "values": np.zeros((3, 1), int)},
        {**NUMBERS, "values": np.zeros(3)},
        {**NUMBERS, "mask": np.zeros(2, bool)},
        {**NUMBERS, "mask": np.zeros(3, int)},
        {**NUMBERS, "ends": np.array([1, 2, 3])},
        {"values": np.full(2, b"\xff" * 16, "V16"), "arrow_type": ("decimal128", 3, 1)},
        *({**GOOD, **bad, "arrow_type": "string"} for bad in BAD.values()),
    ],
    ids=repr,
)
def test_columns_of_arrow_that_do_not_fit_are_refused(attributes: dict[str, Any]) -> None:
    try:
        found = put_together(Parts("arrow", attributes))
    except (TypeError, ValueError, KeyError):  # those of pyarrow are derived from these
        return
    assert attributes["arrow_type"][0] == "decimal128"
    assert len(found) == 2


# What else no array of numpy is -------------------------------------------------------------------


SPARSE = {"values": np.array([1, 2]), "positions": np.array([0, 3], "i4"), "length": 4,
          "fill_value": 0, "sparse_kind": "block"}  # fmt: skip


@pytest.mark.parametrize(
    "bad",
    [
        {"positions": np.array([3, 0], "i4")},
        {"positions": np.array([0, 0], "i4")},
        {"positions": np.array([-1, 3], "i4")},
        {"positions": np.array([0, 4], "i4")},
        {"positions": np.array([0, 2**32], "i8"), "length": 2**33},
        {"positions": np.array([0], "i4")},
        {"positions": np.array([0.0, 3])},
        {"values": np.zeros((2, 1))},
        {"values": 3},
        {"length": -1},
        {"length": 2**70},
        {"length": 2.5},
        {"length": None},
        {"fill_value": [1]},
    ],
    ids=str,
)
def test_sparse_values_that_do_not_fit_are_refused(bad: dict[str, Any]) -> None:
    assert [*put_together(Parts("SparseArray", SPARSE))] == [1, 0, 0, 2]
    with pytest.raises((TypeError, ValueError, OverflowError, AttributeError)):
        put_together(Parts("SparseArray", {**SPARSE, **bad}))


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("PeriodArray", {"values": np.zeros(3), "freq": "M"}),
        ("PeriodArray", {"values": np.zeros(3, "i4"), "freq": "M"}),
        ("PeriodArray", {"values": np.zeros(3, "i8"), "freq": "evil"}),
        ("PeriodArray", {"values": np.zeros(3, "i8"), "freq": None}),
        ("IntervalArray", {"left": np.zeros(2), "right": np.ones(2), "closed": "left"}),
        ("IntervalArray", {"left": pd.Index([0, 1]), "right": pd.Index([1]), "closed": "left"}),
        ("IntervalArray", {"left": pd.Index([1]), "right": pd.Index([0]), "closed": "left"}),
        ("IntervalArray", {"left": pd.Index(["a"]), "right": pd.Index(["b"]), "closed": "left"}),
        ("IntervalArray", {"left": pd.Index([0]), "right": pd.Index([1]), "closed": "evil"}),
    ],
)
def test_periods_and_intervals_that_do_not_fit_are_refused(
    kind: str, attributes: dict[str, Any]
) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError)):
        put_together(Parts(kind, attributes))


def test_intervals_of_a_range_are_kept_as_numbers() -> None:
    """pandas can neither slice them nor pickle a Series of them."""
    index = pd.IntervalIndex.from_breaks(pd.RangeIndex(4), name="r")
    found = through_codec([index, pd.Series([1, 2, 3], index)])
    for copy in (found[0], found[1].index):
        assert repr(copy) == repr(index)
        assert copy[:2].tolist() == index.tolist()[:2]
