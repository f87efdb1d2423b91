"""Equality of nested objects by an oracle of its own, and what hypothesis builds them of."""

from __future__ import annotations

import struct
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

import ptrarray
from ptrarray import Record
from ptrarray.frames.apart import take_apart
from ptrarray.frames.together import put_together
from ptrarray.objects.decoder import decode
from ptrarray.objects.encoder import encode
from ptrarray.objects.tokens import read_tokens
from tests.support.strategies import MEMORY_LAYOUTS, PLAIN_DTYPES, STRUCTURED_DTYPES, filled

MEBI = 2**20


@ptrarray.register
@dataclass
class Sample:
    """What is registered."""

    first: Any
    second: Any = None


@ptrarray.register
@dataclass(frozen=True)
class Label:
    """What is registered, and may be a key."""

    text: Any


@ptrarray.register
class Side(Enum):
    LEFT = "left"
    RIGHT = "right"


SHARED = (list, dict, tuple, set, frozenset, np.ndarray, deque, Sample, Label, Record)


def assert_same(one: Any, other: Any) -> None:
    """Compare types, values and order to the last bit, and what is there more than once.

    Goes as deep as they do, without recursion.
    """
    partners: dict[int, int] = {}
    back: dict[int, int] = {}
    left = [(one, other, "obj")]
    while left:
        a, b, where = left.pop()
        if isinstance(a, SHARED) and not (type(a) is tuple and not a):
            if id(a) in partners or id(b) in back:
                assert partners.get(id(a)) == id(b), f"{where} is not the same object"
                assert back.get(id(b)) == id(a), f"{where} is the same object as another"
                continue
            partners[id(a)], back[id(b)] = id(b), id(a)
        assert type(a) is type(b), where
        inner = parts(a, b, where[-80:])
        if inner is not None:
            left += inner
        elif isinstance(a, np.ndarray) and a is not np.ma.masked:
            assert_same_array(a, b, where)
        else:
            assert canonical(a) == canonical(b), where


def parts(a: Any, b: Any, where: str) -> list[tuple[Any, Any, str]] | None:
    """Return what two objects of one type have in them, side by side; None if that is nothing."""
    if isinstance(a, Sample | Label):
        return [(vars(a)[name], vars(b)[name], f"{where}.{name}") for name in vars(a)]
    if isinstance(a, Record):
        assert a.name == b.name, where
        return [(a.parts, b.parts, f"{where}.parts")]
    if isinstance(a, np.ndarray) and a.dtype == object:
        assert a.shape == b.shape, where
        return parts(a.ravel().tolist(), b.ravel().tolist(), where)
    if isinstance(a, list | tuple | deque):
        assert len(a) == len(b), where
        return list(zip(a, b, map(f"{where}[{{}}]".format, range(len(a))), strict=True))
    if isinstance(a, dict):
        assert list(map(canonical, a)) == list(map(canonical, b)), where
        values = zip(a, a.values(), b.values(), strict=True)
        return [(x, y, f"{where}[{type(key).__name__}]") for key, x, y in values]
    return None


def assert_same_array(a: NDArray[Any], b: NDArray[Any], where: str) -> None:
    assert (a.dtype, a.shape) == (b.dtype, b.shape), where
    assert a.flags.f_contiguous == b.flags.f_contiguous or not a.flags.forc, where
    assert bits(np.ma.getdata(a)) == bits(np.ma.getdata(b)), where
    if isinstance(a, np.ma.MaskedArray):
        assert isinstance(b, np.ma.MaskedArray)
        assert (a.mask is np.ma.nomask) == (b.mask is np.ma.nomask), where
        assert np.ma.getmaskarray(a).tobytes() == np.ma.getmaskarray(b).tobytes(), where
        assert str(a.fill_value) == str(b.fill_value), where
        assert a.hardmask == b.hardmask, where


def bits(array: NDArray[Any]) -> Any:
    """Return the bytes of all elements, but not what lies between fields."""
    if array.dtype.names is None:
        return array.tobytes()
    return [bits(array[name]) for name in array.dtype.names]


INSIDE: dict[type[Any], Callable[[Any], Any]] = {
    tuple: lambda values: tuple(map(canonical, values)),
    **dict.fromkeys((set, frozenset), lambda values: frozenset(map(canonical, values))),
    **dict.fromkeys(
        (range, slice), lambda value: tuple(map(canonical, (value.start, value.stop, value.step)))
    ),
    Decimal: str,
    Label: lambda label: canonical(label.text),
    Record: lambda record: (record.name, canonical(record.parts)),
}


def canonical(value: Any) -> Any:
    """Return what is equal for the same values only: True is not 1, -0.0 not 0.0, NaN itself."""
    kind = type(value)
    if kind in INSIDE:
        return kind, INSIDE[kind](value)
    match value:
        case np.str_() | np.bytes_():
            return type(value), *value
        case np.ndarray():  # numpy.ma.masked
            return id(value)
        case np.generic():
            return value.dtype, value.tobytes()
        case float():
            return float, struct.pack("d", value)
        case complex():
            return complex, struct.pack("dd", value.real, value.imag)
        case datetime() | time():
            return type(value), value.replace(tzinfo=None), value.fold, repr(value.tzinfo)
    return type(value), value


def through_codec(obj: Any) -> Any:
    """Encode and decode, with a dict in place of the store."""
    raw, arrays = encoded(obj)

    def array(name: str) -> Any:
        content = arrays[name]
        if isinstance(content, str):
            return np.frombuffer(content.encode("utf-8", "surrogatepass"), np.uint8)
        return content.copy(order="K")

    return decode(read_tokens(raw, "dict"), array, put_together, "dict")


def encoded(obj: Any) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Return the skeleton as bytes that may be changed, and what lies in arrays."""
    pages: list[bytes] = []
    arrays = encode(obj, pages.append, take_apart)
    return np.frombuffer(bytearray().join(pages), np.uint8), arrays


def through_store(obj: Any, path: Path) -> Any:
    """Dump, look whether only that was done, and load."""
    ptrarray.dump(obj, path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    ptrarray.verify(path)
    return ptrarray.load(path)


# What hypothesis builds objects of ----------------------------------------------------------------

ZONES = (
    None,
    UTC,
    timezone(timedelta(hours=-5, minutes=30)),
    timezone(timedelta(seconds=1, microseconds=1), "odd"),
    ZoneInfo("Europe/Paris"),
    ZoneInfo("UTC"),
)
ZONE = st.sampled_from(ZONES)
TEXT = st.text(max_size=5) | st.sampled_from(["", "a", "b/c", "~", "\udc80", "größe", "x" * 300])
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**63), 2**64 - 1, 2**64, -(2**63) - 1, 10**400, -(10**400)]),
    st.floats(),
    TEXT,
    st.binary(max_size=5),
)
NUMPY = st.one_of(
    st.builds(
        lambda dtype, seed: filled(dtype, (1,), seed)[0],
        st.sampled_from([dtype for dtype in PLAIN_DTYPES if dtype not in ("V7", "S5")]),
        st.integers(0, 99),
    ),
    st.builds(np.str_, st.text(max_size=3)),
    st.builds(np.bytes_, st.binary(max_size=3)),
    st.just(np.datetime64("NaT", "s")),
)
MOMENTS = st.one_of(
    st.dates(),
    st.timedeltas(),
    st.builds(lambda t, zone, fold: t.replace(tzinfo=zone, fold=fold),
              st.times() | st.datetimes(),
              ZONE, st.integers(0, 1)),
)  # fmt: skip
OTHERS = st.one_of(
    st.sampled_from([Side.LEFT, Side.RIGHT, Path("a/b"), Decimal("-0.10"), int, np.float32]),
    st.builds(range, st.integers(), st.integers(), st.integers(1)),
)
LEAVES = st.one_of(PLAIN, PLAIN, st.complex_numbers(), MOMENTS, NUMPY, OTHERS)
KEYS = st.recursive(
    st.one_of(TEXT, st.integers(), st.none(), LEAVES),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.frozensets(inner, max_size=3),
        st.builds(Label, inner),
        st.builds(Record, st.just("unknown"), inner),
    ),
    max_leaves=4,
)


@st.composite
def arrays(draw: st.DrawFn) -> NDArray[Any]:
    dtype = draw(st.sampled_from(PLAIN_DTYPES + STRUCTURED_DTYPES))
    shape = draw(st.sampled_from([(), (0,), (1,), (3,), (2, 3), (2, 0), (2, 1, 3)]))
    array = filled(dtype, shape, draw(st.integers(0, 2**16)))
    if shape:
        array = draw(st.sampled_from(MEMORY_LAYOUTS))(array)
    if draw(st.integers(0, 3)):
        return array
    mask: Any = np.ma.nomask
    if draw(st.booleans()):
        mask = filled(np.ma.make_mask_descr(array.dtype), shape, draw(st.integers(0, 2**16)))
    return np.ma.MaskedArray(array, mask, hard_mask=draw(st.booleans()))


ARRAYS = arrays()


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=6),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=6),
        st.dictionaries(TEXT, PLAIN, max_size=6),
        st.lists(PLAIN, max_size=8),
        st.sets(KEYS, max_size=4),
        st.frozensets(KEYS, max_size=4),
        st.builds(Sample, inner, inner),
        st.builds(Label, st.dictionaries(TEXT, PLAIN, max_size=3)),
        st.builds(
            Record,
            st.sampled_from(["a.B", "größe", "\udc80", "list"]),
            st.dictionaries(TEXT, inner, max_size=3),
        ),
        st.dictionaries(KEYS, inner, max_size=3).map(OrderedDict),
        st.lists(inner, max_size=3).map(deque),
        st.lists(inner, max_size=3).map(lambda values: np.fromiter(values, object, len(values))),
        # The same object more than once.
        st.builds(lambda shared, other: [shared, other, {"again": shared}], inner, inner),
    )


OBJECTS = st.recursive(LEAVES | ARRAYS, _containers, max_leaves=20)
