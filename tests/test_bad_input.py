"""Names, numbers and options that cannot be are errors that say what and why."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, PointerArrayWriter
from tests.support import strategies
from tests.support.checks import check_store, unchanged
from tests.support.refusals import check_refused, make

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
