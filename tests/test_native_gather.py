"""The native core copies ranges of rows as pure Python does, or leaves them to it."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrarray import native
from ptrarray.rows.copying import copy_ranges
from tests.support import strategies
from tests.support.sanitized import IS_SANITIZED, in_a_block
from tests.support.switching import changing

pytestmark = pytest.mark.skipif(not native.core, reason=native.variant())
core: Any = native.core
ONE = np.arange(6, dtype="<i4")


@given(
    st.sampled_from(["<i4", ">f8", "S5", "M8[s]", "?", [("a", "i1"), ("b", "<f8")]]),
    st.sampled_from([(), (1,), (80,), (2, 3)]),
    st.integers(0, 300),
    st.data(),
)
def test_gather_is_copying(
    dtype: Any, row_shape: tuple[int, ...], n_rows: int, data: st.DataObject
) -> None:
    rows = in_a_block(strategies.filled(dtype, (n_rows, *row_shape), 1))
    row = st.integers(0, n_rows)
    pairs = [sorted(pair) for pair in data.draw(st.lists(st.tuples(row, row), max_size=20))]
    starts, ends = np.array(pairs, np.int64).reshape(-1, 2).T.copy()
    values, offsets = core.gather(rows, in_a_block(starts), in_a_block(ends))
    expected = np.cumsum([0, *(ends - starts)])
    assert offsets.tolist() == expected.tolist()
    assert offsets.dtype == np.int64
    same = copy_ranges(rows, starts, ends, expected) if pairs else rows[:0]
    assert values.dtype == same.dtype
    assert values.shape == same.shape
    assert (values == same).all()
    assert values.flags.owndata
    assert values.flags.writeable
    assert values.flags.c_contiguous
    out = np.zeros_like(values)
    filled, offsets = core.gather(rows, in_a_block(starts), in_a_block(ends), out)
    assert filled is out
    assert offsets.tolist() == expected.tolist()
    assert (filled == same).all()


@given(st.lists(st.tuples(*[st.sampled_from([0, 1, 5, 6, 7, -1, 2**62, -(2**63)])] * 2)))
def test_gather_of_ranges_that_lead_out(pairs: list[tuple[int, int]]) -> None:
    starts, ends = np.array(pairs, np.int64).reshape(-1, 2).T.copy()
    got = core.gather(ONE, in_a_block(starts), in_a_block(ends))
    if all(0 <= start <= end <= 6 for start, end in pairs):
        values = np.concatenate([ONE[:0], *(ONE[start:end] for start, end in pairs)])
        assert got[0].tolist() == values.tolist()
    else:
        assert got is None


@given(
    st.lists(st.integers(0, 300), max_size=600),
    st.sampled_from([1, 3, 4]),
    st.sampled_from([1, 2, 16, 64, 4096]),
    st.sampled_from(["new", "given", "none"]),
)
def test_gather_with_sums_and_gaps(lengths: list[int], width: int, unit: int, to: str) -> None:
    rows = in_a_block(strategies.filled("u1", (400, width), 1))
    starts = np.array([(400 - n) * (i % 3) // 2 for i, n in enumerate(lengths)], np.int64)
    ends = starts + np.array(lengths, np.int64)
    pieces = [rows[start:end].tobytes() for start, end in zip(starts, ends, strict=True)]
    gaps = [-n % unit for n in lengths]
    expected = [b + bytes(gap * width) for b, gap in zip(pieces, gaps, strict=True)]
    n_rows = sum(lengths) + sum(gaps)
    out = np.full((n_rows, width), 7, np.uint8) if to == "given" else None
    crcs = None if to == "new" else np.zeros(len(lengths), np.uint32)
    values, offsets = core.gather(rows, in_a_block(starts), in_a_block(ends), out, crcs, unit)
    assert offsets.tolist() == np.cumsum([0, *(np.add(lengths, gaps))]).tolist()
    if crcs is not None:
        assert crcs.tolist() == list(map(zlib.crc32, pieces))
    if to == "none":
        assert values is None
    else:
        assert values is out or out is None
        assert values.tobytes() == b"".join(expected)


@pytest.mark.parametrize(
    ("crcs", "unit"),
    [
        (np.zeros(1, np.uint32), 1),
        (np.zeros(2, np.uint64), 1),
        (np.zeros(2, np.float32), 1),
        (np.zeros(4, np.uint32)[::2], 1),
        (np.frombuffer(bytes(8), np.uint32), 1),
        (bytearray(8), 1),
        (None, 0),
        (None, -1),
        (None, 3),
        (None, 8192),
    ],
    ids=str,
)
def test_gather_leaves_odd_sums_and_units(crcs: Any, unit: int) -> None:
    assert core.gather(ONE, *PAIR, None, crcs, unit) is None


def test_gather_sums_with_nothing_beyond_what_was_asked() -> None:
    crcs = np.full(3, 7, np.uint32)
    assert core.gather(ONE, *PAIR, None, crcs)[0] is None
    assert crcs.tolist() == [zlib.crc32(ONE[:2]), zlib.crc32(ONE[3:]), 7]


def test_gather_of_more_than_there_can_be() -> None:
    rows = np.broadcast_to(np.uint8(0), (2**60,))
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (2**60,), (1,))
    starts, ends = np.zeros(9, np.int64), np.full(9, 2**60)
    for one in (rows, huge):
        assert core.gather(one, starts, ends) is None
    if not IS_SANITIZED:  # which ends the process
        with pytest.raises(MemoryError):
            core.gather(huge, starts[:1], ends[:1])


PAIR = np.array([0, 3]), np.array([2, 6])


@pytest.mark.parametrize(
    ("rows", "starts", "ends"),
    [
        (ONE[::2], *PAIR),
        (np.ma.masked_array(ONE), *PAIR),
        (np.array([None] * 6), *PAIR),
        (ONE[:1].reshape(()), *PAIR),
        (np.empty((6, 0)), *PAIR),
        ("rows", *PAIR),
        (ONE, PAIR[0][:1], PAIR[1]),
        (ONE, PAIR[0].astype(np.int32), PAIR[1]),
        (ONE, PAIR[0].astype(">i8"), PAIR[1]),
        (ONE, PAIR[0].astype(np.float64), PAIR[1]),
        (ONE, PAIR[0].reshape(1, 2), PAIR[1]),
        (ONE, np.arange(4)[::2], PAIR[1]),
        (ONE, strategies.misaligned(PAIR[0]), PAIR[1]),
        (ONE, [0, 3], [2, 6]),
    ],
    ids=lambda what: f"{what!r:.30}",
)
def test_gather_leaves_to_the_pure_way(rows: Any, starts: Any, ends: Any) -> None:
    assert core.gather(rows, starts, ends) is None


@pytest.mark.parametrize(
    "out",
    [
        np.zeros(4, "<i4"),
        np.zeros(6, "<i4"),
        np.zeros(5, "<i8"),
        np.zeros((5, 2), "<i4"),
        np.zeros(10, "<i4")[::2],
        np.ma.zeros(5, "<i4"),
        np.frombuffer(bytes(20), "<i4"),
        np.zeros((), "<i4"),
        "out",
    ],
    ids=lambda what: f"{what!r:.30}",
)
def test_gather_leaves_what_does_not_fit(out: Any) -> None:
    before = bytes(out) if isinstance(out, np.ndarray) else b""
    assert core.gather(ONE, *PAIR, out) is None
    assert core.gather(ONE, *PAIR, None)[0].tolist() == [0, 1, 3, 4, 5]
    assert not isinstance(out, np.ndarray) or bytes(out) == before


def test_gather_beside_a_thread_that_changes_the_ranges() -> None:
    rows = in_a_block(np.arange(200_000))
    starts, ends = np.zeros(2000, np.int64), np.full(2000, 5000)
    with changing(lambda i: starts.fill((2**45, -1, 199_999, 0)[i % 4])):
        for _ in range(20):
            starts[:] = 0
            got = core.gather(rows, starts, ends)
            assert got is None or got[1][-1] == len(got[0])


def test_gather_sums_beside_a_thread_that_changes_the_ranges() -> None:
    """What is summed is what was copied."""
    rows = in_a_block(np.arange(200_000) % 256).astype(np.uint8)
    starts, ends = np.zeros(2000, np.int64), np.full(2000, 5000)
    out, crcs = np.empty((2000, 8192), np.uint8), np.zeros(2000, np.uint32)
    with changing(lambda i: ends.fill((5001, 2**62, -1, 0, 5000, 8192)[i % 6])):
        for _ in range(20):
            ends[:] = 5000
            for to in (out.reshape(-1), None):
                core.gather(rows, starts, ends, to, crcs, 4096)
