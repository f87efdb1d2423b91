"""Rows of several arrays are read as those of one that has them all."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ptrarray.rows.chained import ChainedRows
from ptrarray.rows.masked import MaskedRows
from ptrarray.rows.ragged import gather
from tests.support import strategies
from tests.support.checks import check_same

Array = NDArray[Any]


@st.composite
def chains(draw: st.DrawFn) -> tuple[ChainedRows, Array]:
    """Return chained rows, and the same as one array."""
    dtype, row_shape = draw(strategies.dtypes()), draw(strategies.row_shapes())
    lengths = draw(st.lists(st.integers(0, 5), min_size=1, max_size=5))
    whole = strategies.filled(dtype, (sum(lengths), *row_shape), draw(st.integers(0, 99)))
    bounds = np.cumsum([0, *lengths]).tolist()
    return ChainedRows([whole[first:last] for first, last in pairwise(bounds)]), whole


def indexes(n_rows: int) -> st.SearchStrategy[Any]:
    bound = st.none() | st.integers(-n_rows - 2, n_rows + 2)
    step = st.none() | st.integers(-4, 4).filter(bool)
    row = st.integers(-n_rows, n_rows - 1) if n_rows else st.nothing()
    rows = st.lists(row, max_size=6 if n_rows else 0)
    return st.one_of(
        st.builds(slice, bound, bound, step),
        row,
        rows,
        rows.map(lambda some: np.array(some, np.int64)),
        st.lists(st.booleans(), min_size=n_rows, max_size=n_rows).map(lambda m: np.array(m, bool)),
        st.just(Ellipsis),
        st.just(None),
    )


@given(st.data())
def test_an_index_gives_what_numpy_gives(data: st.DataObject) -> None:
    rows, whole = data.draw(chains())
    key = data.draw(indexes(len(whole)))
    if data.draw(st.booleans()) and whole.ndim > 1 and key is not Ellipsis:
        key = (
            key,
            data.draw(
                st.sampled_from([..., slice(None, None, 2), None, [0] if whole.shape[1] else ...])
            ),
        )
    try:
        expected = whole[key]
    except IndexError:
        with pytest.raises(IndexError):
            rows[key]
        return
    found = rows[key]
    if isinstance(expected, np.ndarray):
        check_same(found, expected)
    else:
        assert found.tobytes() == expected.tobytes()


@given(st.data())
def test_gather_gives_what_it_gives_of_one_array(data: st.DataObject) -> None:
    rows, whole = data.draw(chains())
    bounds = st.tuples(st.integers(0, len(whole)), st.integers(0, len(whole))).map(sorted)
    ranges = data.draw(st.lists(bounds, max_size=12))
    starts, ends = np.array(ranges, np.int64).reshape(-1, 2).T
    found, expected = gather(rows, starts, ends), gather(whole, starts, ends)
    assert found.offsets.tolist() == expected.offsets.tolist()
    check_same(found.values, expected.values)


@pytest.mark.parametrize("n_ranges", [40, 400])
def test_gather_of_many_ranges_in_any_order(n_ranges: int) -> None:
    rng = np.random.default_rng(n_ranges)
    parts = [rng.random((n, 2)) for n in (50, 0, 30, 70)]
    rows, whole = ChainedRows(parts), np.concatenate(parts)
    first_rows = np.array(rows.first_rows)
    numbers = rng.choice([0, 2, 3], n_ranges)
    pairs = np.sort(
        rng.integers(first_rows[numbers], first_rows[numbers + 1] + 1, (2, n_ranges)), 0
    )
    check_same(gather(rows, *pairs).values, gather(whole, *pairs).values)


def test_masked_rows() -> None:
    whole = np.ma.MaskedArray(np.arange(12).reshape(6, 2), np.arange(12).reshape(6, 2) % 3 == 0)
    data, mask = np.ma.getdata(whole), np.ma.getmaskarray(whole)
    rows = MaskedRows(ChainedRows([data[:4], data[4:]]), ChainedRows([mask[:4], mask[4:]]))
    for key in (slice(2, 6), slice(None, None, -1), [5, 0], 3, (slice(3, 5), 1)):
        found, expected = rows[key], whole[key]
        assert np.array_equal(np.ma.getdata(found), np.ma.getdata(expected))
        assert np.array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(expected))
    batch = gather(rows, [5, 0], [6, 2]).values
    assert isinstance(batch, np.ma.MaskedArray)
    assert batch.tolist() == [*whole[5:6].tolist(), *whole[0:2].tolist()]


def test_views_where_they_can_be_and_copies_that_cannot_be_written_to() -> None:
    parts = [np.arange(3), np.arange(5)]
    rows = ChainedRows(parts)
    assert np.shares_memory(rows[1:3], parts[0])
    assert np.shares_memory(rows[4:8:2], parts[1])
    across = rows[1:5]
    with pytest.raises(ValueError, match="read-only"):
        across[0] = 7


@pytest.mark.parametrize("key", [8, -9, [8], [-9], np.ones(7, bool), [0.5], "a", 1.5, True])
def test_refuses(key: Any) -> None:
    rows = ChainedRows([np.arange(3), np.arange(5)])
    whole = np.concatenate([np.arange(3), np.arange(5)])
    if key is True:  # a new axis to numpy
        check_same(rows[key], whole[key])
        return
    with pytest.raises(IndexError):
        whole[key]
    with pytest.raises(IndexError):
        rows[key]
