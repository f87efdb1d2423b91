"""Equality of nested objects by an oracle of its own, and what hypothesis builds them of."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

import ptrarray
from ptrarray.frames.apart import take_apart
from ptrarray.frames.together import put_together
from ptrarray.objects.decoder import decode
from ptrarray.objects.encoder import encode
from ptrarray.objects.tokens import read_tokens
from tests.support.strategies import MEMORY_LAYOUTS, PLAIN_DTYPES, STRUCTURED_DTYPES, filled

MEBI = 2**20
SHARED = (list, dict, tuple, set, frozenset, np.ndarray)


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
        if isinstance(a, list | tuple):
            assert len(a) == len(b), where
            places = map(f"{where[-80:]}[{{}}]".format, range(len(a)))
            left += zip(a, b, places, strict=True)
        elif isinstance(a, dict):
            assert list(map(canonical, a)) == list(map(canonical, b)), where
            values = zip(a, a.values(), b.values(), strict=True)
            left += [(x, y, f"{where[-80:]}[{type(key).__name__}]") for key, x, y in values]
        elif isinstance(a, np.ndarray) and a is not np.ma.masked:
            assert_same_array(a, b, where)
        else:
            assert canonical(a) == canonical(b), where


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


def canonical(value: Any) -> Any:
    """Return what is equal for the same values only: True is not 1, -0.0 not 0.0, NaN itself."""
    if isinstance(value, tuple | set | frozenset):
        inner = map(canonical, value)
        return type(value), tuple(inner) if type(value) is tuple else frozenset(inner)
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
LEAVES = st.one_of(PLAIN, PLAIN, st.complex_numbers(), MOMENTS, NUMPY)
KEYS = st.recursive(
    st.one_of(TEXT, st.integers(), st.none(), LEAVES),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
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
        # The same object more than once.
        st.builds(lambda shared, other: [shared, other, {"again": shared}], inner, inner),
    )


OBJECTS = st.recursive(LEAVES | ARRAYS, _containers, max_leaves=20)
