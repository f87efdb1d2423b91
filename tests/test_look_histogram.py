"""Lengths in bins: each is counted once, in the bin that says so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrarray.look.histogram import histogram

LENGTHS = st.lists(
    st.one_of(st.integers(0, 5), st.integers(0, 3000), st.integers(0, 2**62)), max_size=60
)


@given(LENGTHS, st.integers(1, 40))
def test_each_length_is_counted_once_in_its_bin(lengths: list[int], n_bins: int) -> None:
    counted = histogram(np.array(lengths, np.int64), n_bins)
    assert counted.n_empty == lengths.count(0)
    edges = counted.edges.tolist()
    assert edges == sorted(set(edges))
    for low, high, count in zip(edges, edges[1:], counted.counts.tolist(), strict=False):
        assert count == sum(low <= length < high for length in lengths)
    assert counted.counts.sum() + counted.n_empty == len(lengths) == counted.n_counted
    assert len(counted.counts) <= n_bins + 1
    assert not counted.is_sample


@given(st.lists(st.integers(1, 2**62), min_size=1, max_size=30))
def test_bins_begin_with_the_shortest_and_end_with_the_longest(lengths: list[int]) -> None:
    counted = histogram(np.array(lengths))
    assert counted.edges[0] == min(lengths)
    assert counted.edges[-1] == max(lengths) + 1
    assert counted.counts[0] > 0
    assert counted.counts[-1] > 0


def test_few_lengths_have_a_bin_each_and_many_that_spread_have_growing_ones() -> None:
    few = histogram(np.array([3, 3, 7, 5]))
    assert few.edges.tolist() == [3, 4, 5, 6, 7, 8]
    assert not few.is_logarithmic
    spread = histogram(np.array([1, 10, 100, 1000, 10**6]))
    assert spread.is_logarithmic
    widths = np.diff(spread.edges)
    assert widths[-1] > 1000 * widths[0]
    even = histogram(np.arange(100, 400))
    assert not even.is_logarithmic
    assert len({*np.diff(even.edges)[:-1].tolist()}) == 1


@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_without_rows_there_are_no_bins(lengths: list[int]) -> None:
    counted = histogram(np.array(lengths, np.int64))
    assert len(counted.counts) == 0
    assert counted.n_empty == len(lengths)


def test_a_sample_says_so() -> None:
    counted = histogram(np.array([1, 2]), n_arrays=10**7)
    assert counted.is_sample
    assert counted.n_counted == 2
