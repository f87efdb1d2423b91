"""Shares of arrays: every row of the union in one window, every array in one share."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrarray.rows import shares

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), max_size=25).map(sorted)


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shares, "_BLOCK", 4)
        yield


def columns(ranges: list[tuple[int, int]]) -> tuple[Any, Any]:
    table = np.array(ranges, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 0] + table[:, 1]


@given(ranges=RANGES, n_rows=st.integers(1, 20))
def test_windows_have_each_row_of_the_union_once(ranges: Any, n_rows: int) -> None:
    starts, ends = columns(ranges)
    union = sorted({row for s, e in zip(starts, ends, strict=True) for row in range(s, e)})
    found = []
    for low, high, first, last in shares.windows(starts, ends, n_rows):
        pairs = zip(starts[low:high], ends[low:high], strict=True)
        found.append(sorted({row for s, e in pairs for row in range(max(s, first), min(e, last))}))
    assert found == [union[at : at + n_rows] for at in range(0, len(union), n_rows)]


@given(ranges=RANGES, n=st.integers(1, 9), cut=st.integers(0, 25), width=st.integers(0, 80))
def test_shares_are_even(ranges: Any, n: int, cut: int, width: int) -> None:
    starts, ends = columns(ranges)
    stores = [(starts[:cut], ends[:cut]), (starts[cut:], ends[cut:])]
    found = shares.even_shares(stores, width, n)
    assert len(found) == min(n, len(starts))
    assert [at for low, high in found for at in range(low, high)] == list(range(len(starts)))
    assert all(low < high for low, high in found)
    assert all(before[1] == after[0] for before, after in pairwise(found))
    weights = (ends - starts) * width + shares._ARRAY_NBYTES
    if len(starts) >= 2 * n:
        largest = max(int(weights[low:high].sum()) for low, high in found)
        assert largest <= int(weights.sum()) / n + 2 * int(weights.max())
