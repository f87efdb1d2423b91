"""Which ranges are one request, and how many are under way: against bytes that lie in memory."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrarray.rows.types import Read
from ptrarray.storage.remote import ranges
from ptrarray.storage.remote.ranges import Group, grouped, in_turn

OBJECT = np.random.default_rng(0).integers(0, 256, 4000).astype(np.uint8)
RANGES = st.lists(st.tuples(st.integers(0, 3900), st.integers(0, 100)), max_size=30)


def asked(some: list[tuple[int, int]], gap_nbytes: int) -> tuple[list[Group], np.ndarray[Any, Any]]:
    """Return the groups of some ranges, given as start and length, and what they copy."""
    starts, lengths = np.array(some, np.int64).reshape(-1, 2).T
    places = np.cumsum(lengths) - lengths
    groups = list(grouped(starts, starts + lengths, places, gap_nbytes))
    to = np.zeros(int(lengths.sum()), np.uint8)
    for group in groups:
        group.copy_apart(to, OBJECT[group.start : group.end].tobytes())
    return groups, to


@given(
    some=RANGES, gap_nbytes=st.sampled_from([0, 1, 20, 5000]), piece=st.sampled_from([7, 64, 4000])
)
def test_ranges_come_to_their_places(
    some: list[tuple[int, int]], gap_nbytes: int, piece: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "PIECE_NBYTES", piece)
        groups, to = asked(some, gap_nbytes)
    wanted = [OBJECT[start : start + length] for start, length in some]
    assert np.array_equal(to, np.concatenate([np.empty(0, np.uint8), *wanted]))
    assert all(group.start < group.end for group in groups)
    assert [group.start for group in groups] == sorted(group.start for group in groups)
    # What nobody asked for comes only where it is a gap that is smaller than said.
    is_wanted = np.zeros(len(OBJECT), np.bool_)
    for start, length in some:
        is_wanted[start : start + length] = True
    for group in groups:
        there = np.flatnonzero(is_wanted[group.start : group.end])
        assert there[0] == 0
        assert there[-1] == group.nbytes - 1
        assert np.diff(there, prepend=-1).max() <= max(gap_nbytes, 1)
        assert group.nbytes < 3 * piece + 2 * gap_nbytes


@given(some=RANGES)
def test_no_more_is_asked_than_once_where_pieces_are_large(some: list[tuple[int, int]]) -> None:
    groups, _ = asked(some, 20)
    covered = sorted((group.start, group.end) for group in groups)
    for (_, end), (start, _) in pairwise(covered):
        assert start - end >= 20


class Threadless:
    """Does what is begun when it is asked for, and notes how much is begun and not used."""

    def __init__(self, parallel: int) -> None:
        self.parallel = parallel
        self.begun: list[Any] = []

    def begin(self, read: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(read())
        self.begun.append(future)
        return future


@pytest.mark.parametrize("grow", [False, True])
def test_what_is_under_way_is_bounded_and_in_order(grow: bool) -> None:
    transfer: Any = Threadless(4)
    used: list[int] = []
    reads = [Read(1, partial(int, n), used.append) for n in range(100)]
    most = 0
    for number, _ in enumerate(in_turn(iter(reads), transfer, grow=grow), 1):
        most = max(most, len(transfer.begun) - number)
        if grow:
            assert len(transfer.begun) <= 2**number
    assert used == list(range(100))
    assert 4 <= most <= 8


def test_large_ones_count_as_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "PIECE_NBYTES", 10)
    transfer: Any = Threadless(4)
    reads = [Read(25, lambda: None, lambda _: None) for _ in range(20)]
    ahead = [len(transfer.begun) - n for n, _ in enumerate(in_turn(reads, transfer))]
    assert max(ahead) == 1  # of 40 bytes, one of 25 has room


def test_who_stops_early_has_asked_for_little() -> None:
    transfer: Any = Threadless(32)
    turns = in_turn((Read(1, lambda: 1, lambda _: 1) for _ in range(1000)), transfer, grow=True)
    assert next(turns) == 1
    turns.close()  # type: ignore[attr-defined]
    assert len(transfer.begun) <= 2


def test_what_was_begun_is_cancelled_after_an_error() -> None:
    class Slow(Threadless):
        def begin(self, read: Any) -> Future[Any]:
            future: Future[Any] = Future()
            if not self.begun:
                future.set_exception(OSError("it is gone"))
            self.begun.append(future)
            return future

    transfer: Any = Slow(4)
    with pytest.raises(OSError, match="it is gone"):
        list(in_turn((Read(1, lambda: 1, lambda _: 1) for _ in range(9)), transfer))
    assert [one.cancelled() for one in transfer.begun] == [False] + [True] * 7
