"""The native core makes batches ready as pure Python does, or leaves them to it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrarray import native
from ptrarray.errors import BadInputError
from ptrarray.format import dtypes
from ptrarray.format.names import NAME_LIMIT_NBYTES
from ptrarray.intake.casting import fit
from tests.support import strategies
from tests.support.sanitized import in_a_block
from tests.support.switching import changing

pytestmark = pytest.mark.skipif(not native.core, reason=native.variant())
core: Any = native.core
NO_LIMIT = 2**62


class Text(str):
    __slots__ = ()


class Subclass(np.ndarray[Any, Any]):
    pass


class Words(dict[str, Any]):
    pass


def crcs_of(arrays: Any) -> list[int]:
    return [zlib.crc32(array.tobytes()) for array in arrays]


# crc32 --------------------------------------------------------------------------------------------


@given(st.integers(0, 20_000), st.integers(0, 70), st.integers(0, 2**32 - 1))
def test_crc32_of_any_size_and_alignment(nbytes: int, skipped: int, seed: int) -> None:
    content = np.random.default_rng(nbytes).integers(0, 256, nbytes + skipped, np.uint8)
    part = in_a_block(content)[skipped:]
    assert core.crc32(part, seed) == zlib.crc32(part, seed)
    assert core.crc32(memoryview(part)) == core.crc32(bytes(part)) == zlib.crc32(part)


def test_crc32_of_much_leaves_the_lock() -> None:
    content = np.arange(1 << 18)
    assert core.crc32(content) == zlib.crc32(content)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**64 + 5, True])
def test_crc32_takes_seeds_as_zlib_does(seed: int) -> None:
    assert core.crc32(b"abc", seed) == zlib.crc32(b"abc", seed)


@pytest.mark.parametrize("what", [(), (b"", 0, 0), ("text",), (b"", "0"), (b"", None), (3,)])
def test_crc32_of_what_it_is_not_for(what: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        core.crc32(*what)


@pytest.mark.parametrize(
    "odd", [np.arange(9)[::2], np.ones((3, 3))[:, :2], memoryview(b"abc")[::2]]
)
def test_crc32_refuses_what_has_gaps(odd: Any) -> None:
    with pytest.raises((BufferError, ValueError)):
        core.crc32(odd)


# prepare ------------------------------------------------------------------------------------------


def empty_rows(dtype: Any, row_shape: tuple[int, ...] = ()) -> Any:
    dtype, row_shape = dtypes.normalize(dtype, row_shape)
    return np.empty((0, *row_shape), dtype)


def check_prepared(arrays: dict[str, Any], like: Any, limit: int) -> None:
    """Compare with what pure Python says of each name and array."""
    got = core.prepare(arrays, like, limit)
    encoded = [name.encode() for name in arrays]
    values = list(arrays.values())
    assert got is not None
    joined, ends, hashes, offsets, crcs, listed = got
    assert type(joined) is bytearray
    assert joined == b"".join(encoded)
    assert ends.tolist() == list(accumulate(map(len, encoded)))
    assert hashes.tolist() == list(map(zlib.crc32, encoded))
    assert offsets.tolist() == list(accumulate(map(len, values), initial=0))
    assert [ends.dtype, hashes.dtype, offsets.dtype] == [np.int64, np.uint32, np.int64]
    if sum(array.nbytes for array in values) > limit:
        assert crcs is None
    else:
        assert crcs.dtype == np.uint32
        assert crcs.tolist() == crcs_of(values)
    assert type(listed) is list
    assert list(map(id, listed)) == list(map(id, values))


@given(
    strategies.dtypes(),
    strategies.row_shapes(),
    st.lists(strategies.names(), unique=True, max_size=6),
    st.sampled_from([0, 1, 40, NO_LIMIT]),
    st.data(),
)
def test_prepare_is_the_pure_way_or_none(
    dtype: Any, row_shape: tuple[int, ...], names: list[str], limit: int, data: st.DataObject
) -> None:
    like = empty_rows(dtype, row_shape)
    other = st.one_of(
        strategies.arrays(dtype, row_shape),
        strategies.arrays(dtype, row_shape),
        strategies.arrays(*data.draw(st.sampled_from([("u1", ()), (">f4", ()), ("<f8", (3,))]))),
    )
    arrays = {name: data.draw(other) for name in names}
    try:
        asis = [fit(name, value, like.dtype, like.shape[1:]) for name, value in arrays.items()]
        fits = all(map(lambda a, b: a is b, asis, arrays.values()))
    except BadInputError:
        fits = False
    if fits and arrays and like[:0].itemsize and 0 not in like.shape[1:]:
        check_prepared(arrays, like, limit)
    else:
        assert core.prepare(arrays, like, limit) is None


@pytest.mark.parametrize("n", [1, 2, 255, 256, 257, 512, 513, 1000])
def test_prepare_of_groups(n: int) -> None:
    arrays = {f"ü{i}" * (i % 3): np.arange(i % 7, dtype="<i2") for i in range(1, n + 1)}
    for limit in (0, NO_LIMIT):
        check_prepared(arrays, empty_rows("<i2"), limit)
    last = {**arrays, "last": np.arange(3, dtype="<i4")}
    assert core.prepare(last, empty_rows("<i2"), 0) is None


ONE = np.arange(6, dtype="<i4")


@pytest.mark.parametrize(
    ("arrays", "like"),
    [
        ({}, ONE),
        (Words(a=ONE), ONE),
        ([("a", ONE)], ONE),
        ({1: ONE}, ONE),
        ({b"a": ONE}, ONE),
        ({Text("a"): ONE}, ONE),
        ({"a\udc80": ONE}, ONE),
        ({"n" * (NAME_LIMIT_NBYTES + 1): ONE}, ONE),
        ({"ü" * (NAME_LIMIT_NBYTES // 2 + 1): ONE}, ONE),
        ({"a": ONE.astype(">i4")}, ONE),
        ({"a": ONE.astype("<u4")}, ONE),
        ({"a": ONE.astype("<i8")}, ONE),
        ({"a": ONE[::2]}, ONE),
        ({"a": ONE.reshape(2, 3)}, ONE),
        ({"a": ONE}, ONE.reshape(2, 3)),
        ({"a": ONE.reshape(3, 2)}, ONE.reshape(2, 3)),
        ({"a": np.asfortranarray(ONE.reshape(2, 3))}, ONE.reshape(2, 3)),
        ({"a": ONE[:1].reshape(())}, ONE),
        ({"a": ONE}, ONE[:1].reshape(())),
        ({"a": np.ma.masked_array(ONE)}, ONE),
        ({"a": ONE.view(Subclass)}, ONE),
        ({"a": ONE}, ONE.view(Subclass)),
        ({"a": ONE.tolist()}, ONE),
        ({"a": 3}, ONE),
        ({"a": np.int32(3)}, ONE),
        ({"a": None}, ONE),
        ({"a": np.array([None])}, np.array([None])),
        ({"a": ONE}, "i4"),
        ({"a": ONE}, ONE[::2]),
        ({"a": ONE}, np.ma.masked_array(ONE)),
        ({"a": np.empty((2, 0))}, np.empty((2, 0))),
        ({"a": np.array(["2020"], "M8[s]")}, np.array(["2020"], "M8[D]")),
        ({"a": np.zeros(1, "S0")[:0].view("V0")}, np.empty(0, "V0")),
    ],
    ids=lambda what: f"{what!r:.30}",
)
def test_prepare_leaves_to_the_pure_way(arrays: Any, like: Any) -> None:
    assert core.prepare(arrays, like, NO_LIMIT) is None


def test_prepare_leaves_memmaps_to_the_pure_way(tmp_path: Any) -> None:
    mapped = np.memmap(tmp_path / "rows", "<i4", "w+", shape=(3,))
    assert core.prepare({"a": mapped}, ONE, 0) is None


def test_prepare_takes_the_longest_name() -> None:
    check_prepared({"n" * NAME_LIMIT_NBYTES: ONE, "": ONE}, ONE, NO_LIMIT)


def test_prepare_with_the_limit_just_reached() -> None:
    assert core.prepare({"a": ONE, "b": ONE}, ONE, 48)[4] is not None
    assert core.prepare({"a": ONE, "b": ONE}, ONE, 47)[4] is None


class Title:
    """The title of a field may be any object, and comparing it may run any code."""

    def __init__(self, run: Callable[[], object] = bool) -> None:
        self._run = run

    def __eq__(self, _: object) -> bool:
        self._run()
        return True

    __hash__ = object.__hash__


@pytest.mark.parametrize("n_others", [1, 700, 3000])
def test_prepare_of_a_dict_that_comparing_changes(n_others: int) -> None:
    def change() -> None:
        if "0" in arrays:
            arrays.clear()
            arrays.update({f"other{i}": np.zeros(i % 3, one.dtype) for i in range(n_others)})

    def rows(title: Title) -> Any:
        return np.zeros(3, np.dtype({"names": ["a"], "formats": ["i4"], "titles": [title]}))

    one, like = rows(Title(change)), rows(Title())
    arrays: dict[str, Any] = {str(i): one for i in range(700)}
    got = core.prepare(arrays, like, NO_LIMIT)
    assert got is None or np.diff(got[3]).tolist() == list(map(len, got[5]))


def test_prepare_beside_a_thread_that_changes_the_dict() -> None:
    arrays = {str(i): np.arange(i % 5, dtype="<i4") for i in range(3000)}

    def change(i: int) -> None:
        arrays[f"new{i % 50}"] = np.arange(i % 9, dtype="<i4")
        arrays.pop(f"new{(i + 7) % 50}", None)

    with changing(change):
        for _ in range(60):
            joined, ends, hashes, offsets, crcs, listed = core.prepare(arrays, ONE, NO_LIMIT)
            assert np.diff(offsets).tolist() == list(map(len, listed))
            assert crcs.tolist() == crcs_of(listed)
            names = [bytes(joined[i:j]) for i, j in zip([0, *ends[:-1]], ends, strict=True)]
            assert hashes.tolist() == list(map(zlib.crc32, names))


# stage --------------------------------------------------------------------------------------------


def padded(array: Any, unit: int) -> bytes:
    raw: bytes = array.tobytes()
    return raw + bytes(-len(raw) % unit)


def staged(arrays: list[Any], nbytes: int, crcs: Any, unit: int = 1) -> list[bytes]:
    """Stage all arrays through a buffer; those larger than that go by themselves."""
    buffer = np.full(nbytes, 255, np.uint8)
    pieces, first = [], 0
    while first < len(arrays):
        after, used = core.stage(arrays, first, buffer, crcs, unit)
        fitting = list(accumulate(len(padded(array, unit)) for array in arrays[first:]))
        assert after - first == sum(size <= nbytes for size in fitting)
        assert used == ([0, *fitting])[after - first]
        pieces.append(buffer[:used].tobytes())
        assert (buffer[used:] == 255).all() or first
        if after < len(arrays) and len(padded(arrays[after], unit)) > nbytes:
            pieces.append(padded(arrays[after], unit))
            if crcs is not None:
                crcs[after] = zlib.crc32(arrays[after].tobytes())
            after += 1
        first = after
    return pieces


@given(
    strategies.dtypes(),
    st.sampled_from([(), (1,), (3,), (2, 3)]),
    st.lists(st.integers(0, 20), max_size=12),
    st.integers(0, 200),
    st.booleans(),
    st.sampled_from([1, 2, 16, 64]),
)
def test_stage_is_joining(
    dtype: Any, row_shape: tuple[int, ...], lengths: list[int], nbytes: int, summed: bool, unit: int
) -> None:
    arrays = [
        in_a_block(strategies.filled(dtype, (n, *row_shape), i)) for i, n in enumerate(lengths)
    ]
    crcs = np.zeros(len(arrays), np.uint32) if summed else None
    joined = b"".join(padded(array, unit) for array in arrays)
    assert b"".join(staged(arrays, nbytes, crcs, unit)) == joined
    if crcs is not None:
        assert crcs.tolist() == crcs_of(arrays)


@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 511, 512, 513, 700])
@pytest.mark.parametrize("nbytes", [1, 1023, 1024, 1025, 10**6])
def test_stage_of_groups(n: int, nbytes: int) -> None:
    arrays = [np.arange(i % 5, dtype="<u2") for i in range(n)]
    crcs = np.zeros(n, np.uint32)
    assert b"".join(staged(arrays, nbytes, crcs)) == b"".join(a.tobytes() for a in arrays)
    assert crcs.tolist() == crcs_of(arrays)


def test_stage_stops_at_what_is_no_array() -> None:
    buffer = bytearray(100)
    for odd in (None, b"bytes", ONE[::2], np.asfortranarray(np.ones((2, 3)))):
        assert core.stage([ONE, odd, ONE], 0, buffer, None) == (1, 24)
        assert core.stage([ONE, odd, ONE], 1, buffer, None) == (1, 0)
        assert core.stage([ONE, odd, ONE], 2, buffer, None) == (3, 24)


def test_stage_of_nothing_more() -> None:
    for first in (2, 3, 2**62, 2**63 - 1):
        assert core.stage([ONE, ONE], first, bytearray(9), None) == (first, 0)
    assert core.stage([ONE], -1, bytearray(9), None) is None
    for unit in (0, -1, 3, 48, 8192, 2**62):
        assert core.stage([ONE], 0, bytearray(99), None, unit) is None
    assert core.stage([ONE], 0, bytearray(5000), None, 4096) == (1, 4096)
    assert core.stage([ONE], 0, bytearray(4095), None, 4096) == (0, 0)


def test_stage_needs_room_for_all_checksums() -> None:
    assert core.stage([ONE, ONE], 0, bytearray(99), np.zeros(1, np.uint32)) is None
    assert core.stage([ONE, ONE], 0, bytearray(99), np.zeros(3, np.uint32)) == (2, 48)


@pytest.mark.parametrize(
    "crcs",
    [np.zeros(2, np.uint64), np.zeros(4, np.uint32)[::2], np.zeros(2, ">u4"), [0, 0], np.zeros(2)],
    ids=str,
)
def test_stage_leaves_odd_checksums_to_the_pure_way(crcs: Any) -> None:
    assert core.stage([ONE, ONE], 0, bytearray(99), crcs) is None


def test_stage_writes_to_nothing_that_is_read_only() -> None:
    crcs = in_a_block(np.zeros(2, np.uint32))
    assert core.stage([ONE, ONE], 0, bytearray(99), crcs) is None
    for buffer in (b"read only", in_a_block(np.zeros(99, np.uint8))):
        with pytest.raises((TypeError, BufferError, ValueError)):
            core.stage([ONE], 0, buffer, None)
    with pytest.raises(TypeError):
        core.stage((ONE,), 0, bytearray(99), None)


def test_stage_beside_threads_that_change_list_and_arrays() -> None:
    """What is written and its checksum agree, whatever happens to the arrays meanwhile."""
    arrays: list[Any] = [np.zeros(30_000, np.uint8) for _ in range(20)]

    def change(i: int) -> None:
        arrays[i % 19][:] = i % 256
        arrays[i % 19] = np.full(30_000, i % 256, np.uint8)
        arrays.pop()
        arrays.insert(i % 19, np.full(30_000, 7, np.uint8))

    with changing(change):
        for _ in range(60):
            buffer, crcs = np.zeros((20, 30_000), np.uint8), np.zeros(20, np.uint32)
            after, used = core.stage(arrays, 0, buffer, crcs)
            assert after in (19, 20)
            assert used == after * 30_000
            assert crcs[:after].tolist() == crcs_of(buffer[:after])


def test_checksums_are_of_what_was_staged() -> None:
    """Not of the array, which is being filled all the time."""
    rows = np.zeros(1 << 22, np.uint8)
    with changing(lambda i: rows.fill(i % 256)):
        for _ in range(8):
            buffer, crcs = np.zeros(1 << 22, np.uint8), np.zeros(1, np.uint32)
            assert core.stage([rows], 0, buffer, crcs) == (1, 1 << 22)
            assert crcs.tolist() == [zlib.crc32(buffer)]
