"""Row ranges against sets of row numbers."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrarray.rows.pointers import Pointer, Runs, iter_runs, merge_runs

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(-2, 12)), max_size=25).map(
    lambda pairs: [(start, start + length) for start, length in pairs]
)
ROWS = range(-2, 80)


def columns(ranges: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(ranges, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def rows_of(ranges: list[tuple[int, int]]) -> set[int]:
    return {row for start, end in ranges for row in range(start, end)}


def runs_of(rows: set[int]) -> list[tuple[int, int]]:
    """Return the runs of a set of rows, found row by row."""
    starts = sorted(row for row in rows if row - 1 not in rows)
    ends = sorted(row + 1 for row in rows if row + 1 not in rows)
    return list(zip(starts, ends, strict=True))


def pairs(starts: np.ndarray, ends: np.ndarray) -> list[tuple[int, int]]:
    assert starts.dtype == ends.dtype == np.int64
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def test_pointer() -> None:
    assert Pointer(3, 10) == (3, 10)
    assert Pointer(3, 10).length == 7


@given(RANGES)
def test_merge_runs_is_the_union(ranges: list[tuple[int, int]]) -> None:
    assert pairs(*merge_runs(*columns(ranges))) == runs_of(rows_of(ranges))


def test_merge_runs_takes_unsigned_columns() -> None:
    starts, ends = np.array([5, 0], np.uint64), np.array([9, 5], np.uint64)
    assert pairs(*merge_runs(starts, ends)) == [(0, 9)]


@given(RANGES, st.integers(1, 7))
def test_iter_runs_is_the_union_whatever_the_block(
    ranges: list[tuple[int, int]], block: int
) -> None:
    blocks = list(iter_runs(*columns(sorted(ranges)), block=block))
    assert all(len(starts) for starts, _ in blocks)
    assert [pair for part in blocks for pair in pairs(*part)] == runs_of(rows_of(ranges))


def test_iter_runs_holds_back_a_run_that_goes_on() -> None:
    starts, ends = np.arange(1000), np.arange(1000) + 1
    ends[0] = 5000  # one name for all of it, and beyond
    assert [pairs(*part) for part in iter_runs(starts, ends, block=10)] == [[(0, 5000)]]


@given(RANGES, st.integers(1, 7), st.integers(1, 9))
def test_iter_runs_that_are_cut_are_the_union(
    ranges: list[tuple[int, int]], block: int, longest: int
) -> None:
    blocks = list(iter_runs(*columns(sorted(ranges)), block=block, longest=longest))
    found = [pair for part in blocks for pair in pairs(*part)]
    assert all(start < end for start, end in found)
    assert all(end <= start for (_, end), (start, _) in pairwise(found))
    assert rows_of(found) == rows_of(ranges)


def test_iter_runs_cuts_a_run_before_it_has_seen_its_end() -> None:
    starts, ends = np.arange(1000), np.arange(1000) + 1
    runs = iter_runs(starts, ends, block=10, longest=25)
    assert [pairs(*next(runs)) for _ in range(2)] == [[(0, 25)], [(25, 50)]]


@given(st.lists(RANGES, max_size=12), RANGES)
def test_runs_are_a_set_of_rows(
    additions: list[list[tuple[int, int]]], asked: list[tuple[int, int]]
) -> None:
    runs, rows = Runs(), set[int]()
    for ranges in additions:
        runs.add(*columns(ranges))
        rows |= rows_of(ranges)
        assert pairs(runs.starts, runs.ends) == runs_of(rows)
        assert len(runs) == len(runs_of(rows))
    expected = [not rows.isdisjoint(range(start, end)) for start, end in asked]
    assert [runs.overlaps(start, end) for start, end in asked] == expected
    assert runs.overlaps_any(*columns(asked)).tolist() == expected


def test_runs_grow_past_their_first_room() -> None:
    runs = Runs()
    for start in range(0, 2000, 2):
        runs.add([start], [start + 1])
    assert len(runs) == 1000
    assert not runs.overlaps(1, 2)
    runs.add([1], [1998])
    assert pairs(runs.starts, runs.ends) == [(0, 1999)]


def test_no_runs() -> None:
    runs = Runs()
    assert not runs.overlaps(0, 10**12)
    assert runs.overlaps_any([0, 3], [5, 3]).tolist() == [False, False]
    assert runs.overlaps_any([], []).tolist() == []
    assert list(iter_runs(np.empty(0, np.int64), np.empty(0, np.int64))) == []


def test_runs_say_what_they_are() -> None:
    runs = Runs()
    runs.add([0, 10, 20, 30, 40], [5, 15, 25, 35, 45])
    assert repr(runs) == "Runs([(0, 5), (10, 15), (20, 25)], 2 more)"


@pytest.mark.parametrize("protocol", [2, 5])
def test_runs_can_be_pickled(protocol: int) -> None:
    runs = Runs()
    runs.add([0, 10], [5, 15])
    copy = pickle.loads(pickle.dumps(runs, protocol))
    copy.add([5], [10])
    assert (len(runs), len(copy)) == (2, 1)
