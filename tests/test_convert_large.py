"""Large byte strings of pickles, which are read once: the same values as by any other way."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptrarray.convert.files import open_plain
from ptrarray.convert.formats.pickles import unpickled
from ptrarray.convert.unpickle.inert import InertUnpickler
from ptrarray.convert.unpickle.large import set_apart
from ptrarray.convert.unpickle.rebuild import rebuild
from ptrarray.errors import BadInputError
from tests.support.limits import TooMuchError
from tests.test_convert_unpickle import same

pytestmark = pytest.mark.usefixtures("limits")

SIZES = [0, 1, 100, (1 << 13) - 1, 1 << 13, 9_000, 20_000, 100_000]


def read(path: Path) -> list[Any]:
    with open_plain(str(path)) as file:
        return list(unpickled(file, trust=False))


def plainly(raw: bytes) -> list[Any]:
    file, found = io.BytesIO(raw), []
    while file.tell() < len(raw):
        found.append(rebuild(InertUnpickler(file).load()))
    return found


values = st.recursive(
    st.one_of(
        st.sampled_from(SIZES).map(np.arange),
        st.sampled_from(SIZES).map(lambda n: np.arange(n, dtype=">i2")),
        st.sampled_from(SIZES).map(lambda n: np.ones((n, 2), "f4", order="F")),
        st.sampled_from(SIZES).map(
            lambda n: np.ma.MaskedArray(np.arange(n), np.arange(n) % 2 == 1)
        ),
        st.sampled_from(SIZES).map(bytes),
        st.sampled_from(SIZES).map(lambda n: "ü" * n),
        st.integers(),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)


@given(st.lists(st.tuples(values, st.integers(0, 5)), min_size=1, max_size=3))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_as_any_other_way(tmp_path: Path, written: list[tuple[Any, int]]) -> None:
    raw = b"".join(pickle.dumps(value, protocol) for value, protocol in written)
    (tmp_path / "x.pkl").write_bytes(raw)
    check(read(tmp_path / "x.pkl"), plainly(raw))


def check(found: Any, expected: Any) -> None:
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check(one, other)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        check(list(found.values()), list(expected.values()))
    else:
        same(found, expected)


def test_an_array_is_what_was_read(tmp_path: Path) -> None:
    array = np.arange(100_000)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"a": array}))
    with (tmp_path / "x.pkl").open("rb") as source:
        file, strings = set_apart(source)
        (string,) = kept = list(strings)
        found = rebuild(InertUnpickler(file, iter(kept)).load())["a"]
    assert np.shares_memory(found, np.frombuffer(string, np.uint8))
    assert found.flags.aligned
    assert found.flags.writeable
    np.testing.assert_array_equal(found, array)


def test_the_same_large_string_twice(tmp_path: Path) -> None:
    raw = bytes(100_000)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps([raw, raw, bytearray(raw)]))
    ((one, other, third),) = read(tmp_path / "x.pkl")
    assert one is other
    assert one == third == raw


LARGE = pickle.dumps(np.arange(100_000), 5)


@pytest.mark.parametrize("stop", [1, 2, 5, 11, 20, 100, 150, 200, 5000, len(LARGE) - 1])
def test_one_that_is_cut_off(tmp_path: Path, stop: int) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(np.zeros(70_000)) + LARGE[:stop])
    with open_plain(str(path)) as file:
        pickles = unpickled(file, trust=False)
        assert len(next(pickles)) == 70_000
        with pytest.raises(Exception, match="damaged"):
            next(pickles)


@pytest.mark.parametrize("code", [b"\x95", b"\x8e", b"B"], ids=repr)
def test_a_length_that_is_a_lie(tmp_path: Path, code: bytes) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x05" + code + b"\xff\xff\xff\x7f" * 2 + bytes(1 << 17))
    # Python's unpickler asks for what the file says, and does not touch it before there is something.
    with pytest.raises((BadInputError, TooMuchError)):
        read(path)


@pytest.mark.parametrize("code", [b"\x97", b"\x97\x98"], ids=repr)
def test_an_instruction_that_takes_what_is_not_its_own(tmp_path: Path, code: bytes) -> None:
    """A pickle that asks for buffers besides its own has none of them, and none of ours."""
    path = tmp_path / "x.pkl"
    large = b"B" + (1 << 17).to_bytes(4, "little") + bytes(1 << 17)
    frame = b"\x95" + (len(code) + 2).to_bytes(8, "little") + b"(" + code + b"0"
    path.write_bytes(b"\x80\x05" + frame + large + b"l.")
    with pytest.raises(Exception, match="damaged"):
        read(path)
