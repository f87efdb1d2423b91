"""Rows that the caller chooses: free ones are taken, taken ones refused; what is appended follows."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ptrarray
from ptrarray import OverlapError, PointerArrayWriter
from ptrarray.storage.system.files import File
from ptrarray.storage.writing.space import Claim
from tests.support.checks import check_at, check_in_order, check_store, ints, unchanged


def test_write_at_a_chosen_start(path: Path) -> None:
    with ptrarray.create(path, dtype="i4", rows=10) as writer:
        assert writer.write({"a": [1, 2], "b": [3]}, start=4) == (4, 7)
        assert writer.write({"c": [4]}, start=12) == (12, 13)
        assert writer.write({"d": [5]}, start=0) == (0, 1)
        assert writer.write({"appended": [6]}) == (13, 14), "after the highest row taken"
    check_in_order(path, {"d": [5], "a": [1, 2], "b": [3], "c": [4], "appended": [6]})
    with ptrarray.open(path) as store:
        assert store.rows.tolist() == [5, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0, 4, 6]


def test_empty_arrays_at_any_start(path: Path, writer: PointerArrayWriter) -> None:
    writer.write({"a": []}, start=10)
    writer.write({"b": [1]})
    with ptrarray.open(path) as store:
        check_store(store, {"a": ints(), "b": ints(1)})


def test_start_must_not_be_negative(path: Path, writer: PointerArrayWriter) -> None:
    with unchanged(path), pytest.raises(ValueError, match="must not be negative: -3"):
        writer.write({"a": [1]}, start=-3)


def test_a_negative_start_changes_nothing(path: Path) -> None:
    with (
        ptrarray.create(path, dtype="i8", rows=10) as writer,
        pytest.raises(ValueError, match="-3"),
    ):
        writer.write({"a": range(3)}, start=-3)
    with ptrarray.open(path) as store:
        check_store(store, {})
        assert store.shape == (10,)


def test_two_writers_take_rows_in_any_order(path: Path) -> None:
    with ptrarray.create(path, dtype="i8") as first, ptrarray.append(path) as second:
        first.write({"late": np.arange(500)}, start=500)
        second.write({"early": np.arange(20)}, start=10)
    check_at(path, {"late": range(500), "early": range(20)})
    with ptrarray.open(path) as store:
        assert store.shape == (1000,)


# what fails -----------------------------------------------------------------------------------------


def fail(*_: object) -> None:
    raise OSError(5, "the disk is ill")


@pytest.mark.parametrize(("start", "n_rows"), [(0, 20), (10, 10), (19, 1)])
def test_rows_that_were_reserved_stay_so_when_writing_to_them_fails(
    path: Path,
    writer: PointerArrayWriter,
    monkeypatch: pytest.MonkeyPatch,
    start: int,
    n_rows: int,
) -> None:
    """Also where they are the last: whoever reserved them may try again."""
    assert writer.reserve(20) == 0
    with monkeypatch.context() as patch:
        patch.setattr(File, "pwritev", fail)
        with pytest.raises(OSError, match="ill"):
            writer.write({"a": range(n_rows)}, start=start)
    with ptrarray.append(path) as other:
        assert other.write({"b": [1]}) == (20, 21)
    assert writer.write({"a": range(n_rows)}, start=start) == (start, start + n_rows)
    check_at(path, {"a": range(n_rows), "b": [1]})


def test_rows_of_an_append_that_fails_are_given_back(
    path: Path, writer: PointerArrayWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert writer.reserve(20) == 0
    with monkeypatch.context() as patch:
        patch.setattr(File, "pwritev", fail)
        with pytest.raises(OSError, match="ill"):
            writer.write({"a": np.zeros(20_000, "i4")})
    assert writer.write({"b": [1]}) == (20, 21)


def test_rows_behind_an_append_that_fails_stay_reserved(
    path: Path, writer: PointerArrayWriter
) -> None:
    with ptrarray.append(path) as other:

        def reserve_and_fail() -> None:
            assert other.reserve(20) == 10
            fail()

        with pytest.raises(OSError, match="ill"), writer.allocate("a", 10):
            reserve_and_fail()
        assert writer.write({"b": [1]}) == (30, 31)
        assert other.write({"c": range(20)}, start=10) == (10, 30)
    check_at(path, {"b": [1], "c": range(20)})


def test_rows_that_a_thread_is_still_writing_are_not_given_back(
    path: Path, writer: PointerArrayWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it does, the system keeps its file open and the rows locked, though it was closed."""
    real, kept = Claim.allocate, []

    def allocate(claim: Claim) -> None:
        kept.append(os.dup(claim.file.fd))
        real(claim)

    monkeypatch.setattr(Claim, "allocate", allocate)
    with pytest.raises(OSError, match="ill"), writer.allocate("a", 10):
        fail()
    assert writer.write({"b": [1]}) == (10, 11)
    os.close(kept[0])


# appending ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 1000])
def test_append_begins_at_row_0_of_a_sized_store(path: Path, rows: int) -> None:
    with ptrarray.create(path, dtype="i4", rows=rows) as writer:
        assert writer.write({"a": [1]}) == (0, 1)


def test_appending_goes_on_after_planned_rows(path: Path) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        assert writer.write({"a": range(5)}, start=0) == (0, 5)
        assert writer.write({"b": range(100, 105)}) == (5, 10)
    check_at(path, {"a": range(5), "b": range(100, 105)})


def test_appending_to_a_sized_store_goes_on_when_it_is_reopened(path: Path) -> None:
    with ptrarray.create(path, dtype="i8", rows=1000) as writer:
        writer["a"] = range(5)
    with ptrarray.append(path) as writer:
        assert writer.write({"b": range(5)}) == (5, 10)


# overlaps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "n_rows"), [(4, 1), (0, 5), (0, 50), (5, 1), (6, 9)])
def test_overlap_is_refused(
    path: Path, writer: PointerArrayWriter, start: int, n_rows: int
) -> None:
    writer.write({"there": [1, 2, 3]}, start=4)
    with unchanged(path), pytest.raises(OverlapError, match="'new'") as raised:
        writer.write({"new": np.zeros(n_rows, "i4")}, start=start)
    assert (raised.value.start, raised.value.end) == (start, start + n_rows)
    assert raised.value.name == "new"
    assert isinstance(raised.value, ValueError)


def test_an_overlap_leaves_the_first_array(path: Path) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        writer.write({"a": range(10)}, start=0)
        with unchanged(path), pytest.raises(OverlapError):
            writer.write({"b": range(10)}, start=5)
    check_at(path, {"a": range(10)})


def test_overlap_with_its_own_rows_is_refused(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1, 2]
    with unchanged(path), pytest.raises(OverlapError):
        writer.write({"a": [3, 4]}, start=0, overwrite=True)


def test_overlap_is_refused_after_a_checkpoint(path: Path, writer: PointerArrayWriter) -> None:
    writer.write({"there": [1, 2, 3]}, start=4)
    ptrarray.checkpoint(path)
    for opened in (writer, ptrarray.append(path)):
        with pytest.raises(OverlapError):
            opened.write({"new": [1]}, start=5)
        opened.write({f"fits {id(opened)}": []}, start=5)
    opened.close()


def test_rows_beside_an_array_are_free(path: Path, writer: PointerArrayWriter) -> None:
    writer.write({"b": [2]}, start=1)
    writer.write({"a": [1]}, start=0)
    writer.write({"c": [3]}, start=2)
    check_in_order(path, {"a": [1], "b": [2], "c": [3]})


@pytest.mark.parametrize("is_checkpointed", [False, True])
def test_rows_of_a_deleted_array_between_others_are_free(
    path: Path, writer: PointerArrayWriter, is_checkpointed: bool
) -> None:
    """Arrays that only touch them do not overlap them."""
    writer.write({"before": [1, 2], "gone": [3, 4], "after": [5]})
    del writer["gone"]
    if is_checkpointed:
        ptrarray.checkpoint(path)
    for start, values in ((1, [8, 8]), (3, [8, 8])):
        with unchanged(path), pytest.raises(OverlapError):
            writer.write({"new": values}, start=start)
    assert writer.write({"new": [6, 7]}, start=2) == (2, 4)
    check_in_order(path, {"before": [1, 2], "new": [6, 7], "after": [5]})


def test_rows_of_a_deleted_array_are_free(path: Path, writer: PointerArrayWriter) -> None:
    writer.write({"a": [1, 2, 3]})
    del writer["a"]
    assert writer.write({"b": [4, 5]}, start=1) == (1, 3)
    assert writer.write({"c": [6]}) == (3, 4)
    check_in_order(path, {"b": [4, 5], "c": [6]})


def test_no_rows_lock_no_rows(path: Path) -> None:
    """Not even those behind them, up to the end of the file and beyond."""
    with ptrarray.create(path, dtype="i4") as writer, ptrarray.append(path) as other:
        writer.write({"first": [1]})
        with writer.allocate("empty", 0) as rows:
            assert rows.tolist() == []
            start, end = other.write({"large": np.arange(10**5)})  # claims its rows
            with other.allocate("more", 10) as more:
                more[...] = 7
                # They are kept off rows that another one claims, and only off those.
                with pytest.raises(OverlapError):
                    writer.write({"planned": [1]}, start=end + 3)
            ptrarray.compact(path)
    with ptrarray.open(path) as store:
        assert store["large"].tolist() == list(range(10**5))
        assert store["more"].tolist() == [7] * 10
        assert (len(store["empty"]), start) == (0, 1)


def write(writer: PointerArrayWriter) -> None:
    writer["large"] = np.arange(10**5)


def fill(writer: PointerArrayWriter) -> None:
    with writer.allocate("large", 10**5) as rows:
        rows[:] = np.arange(10**5)


def write_a_table(writer: PointerArrayWriter) -> None:
    arrow = pytest.importorskip("pyarrow")
    writer.write_arrow(arrow.table({"name": ["large"], "values": [np.arange(10**5)]}))


@pytest.mark.parametrize("add", [write, fill, write_a_table])
def test_rows_of_an_array_that_is_seen_are_claimed_no_more(
    add: Callable[[PointerArrayWriter], None], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gets the lock right after a commit can name the rows, and compact the store."""
    flock = fcntl.flock
    writer, other = ptrarray.create(path, dtype="i8"), ptrarray.append(path)

    def go_on_with_what_is_there(fd: int, kind: int) -> None:
        flock(fd, kind)
        if kind == fcntl.LOCK_UN and "large" in ptrarray.open(path):
            monkeypatch.setattr(fcntl, "flock", flock)
            other.point("same", *other.pointers["large"])
            ptrarray.compact(path)

    monkeypatch.setattr(fcntl, "flock", go_on_with_what_is_there)
    add(writer)
    check_at(path, {"large": np.arange(10**5), "same": np.arange(10**5)})
