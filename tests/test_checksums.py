"""Checksums of many pieces at once are those of each one."""

from __future__ import annotations

import zlib
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrarray import native
from ptrarray.format import checksums
from ptrarray.format.checksums import LONG_NBYTES, crc32_each


def one_by_one(raw: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> list[int]:
    pieces = zip(starts.tolist(), ends.tolist(), strict=True)
    return [zlib.crc32(raw[start:end].tobytes()) for start, end in pieces]


@given(st.data())
def test_each_is_that_of_its_piece(data: st.DataObject) -> None:
    raw = np.frombuffer(data.draw(st.binary(max_size=400)), np.uint8)
    bounds = st.tuples(st.integers(0, len(raw)), st.integers(0, len(raw)))
    few = data.draw(st.lists(bounds, max_size=6))
    # As many as it takes to have them go together.
    pairs = np.array([sorted(pair) for pair in few * data.draw(st.sampled_from([1, 40]))], np.int64)
    starts, ends = pairs.reshape(-1, 2).T
    expected = one_by_one(raw, starts, ends)
    assert crc32_each(raw, starts, ends).tolist() == expected, "columns that the core leaves"
    columns = starts.copy(), ends.copy()
    assert crc32_each(raw, *columns).tolist() == expected
    with patch.object(native, "core", None):
        assert crc32_each(raw, *columns).tolist() == expected


@pytest.mark.parametrize("few", [0, 32])
def test_pieces_of_all_lengths_side_by_side(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "_FEW", few)
    rng = np.random.default_rng(3)
    lengths = rng.integers(0, LONG_NBYTES + 3, 5000)
    ends = np.cumsum(lengths)
    raw = rng.integers(0, 256, int(ends[-1])).astype(np.uint8)
    raw.flags.writeable = False
    order = rng.permutation(len(ends))
    starts, ends = (ends - lengths)[order], ends[order]
    expected = one_by_one(raw, starts, ends)
    assert crc32_each(raw, starts, ends).tolist() == expected
    monkeypatch.setattr(native, "core", None)
    assert crc32_each(raw, starts, ends).tolist() == expected
