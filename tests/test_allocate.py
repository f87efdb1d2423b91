"""Rows that are reserved, handed out to be filled in place, or pointed at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ptrarray
from ptrarray import (
    BadInputError,
    ClosedStoreError,
    DuplicateNameError,
    OverlapError,
    PointerArrayWriter,
)
from tests.support.checks import check_in_order, unchanged

# reserve ------------------------------------------------------------------------------------------


def test_reserve(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1]
    assert writer.reserve(3) == 1
    with ptrarray.append(path) as other:
        assert other.reserve(0) == 4
        assert other.write({"b": [2]}) == (4, 5)
        assert other.write({"c": [3, 4]}, start=1) == (1, 3)
    with ptrarray.open(path) as store:
        assert store.rows.tolist() == [1, 3, 4, 0, 2]


def test_reservations_outlive_close_and_checkpoint(path: Path, writer: PointerArrayWriter) -> None:
    writer.reserve(3)
    writer.close()
    with ptrarray.append(path) as again:
        assert again.reserve(2) == 3
        again["a"] = [1]
        ptrarray.checkpoint(path)
        assert again.reserve(1) == 6
    with ptrarray.append(path) as again:
        assert again.reserve(1) == 7


# allocate -----------------------------------------------------------------------------------------


def test_allocate(path: Path, writer: PointerArrayWriter) -> None:
    with writer.allocate("a", 3) as rows:
        assert type(rows) is np.ndarray
        assert rows.tolist() == [0, 0, 0]
        rows[...] = [1, 2, 3]
        assert "a" not in writer
        writer["b"] = [4]
    assert writer["a"].tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        rows[0] = 5
    check_in_order(path, {"a": [1, 2, 3], "b": [4]})


def test_allocate_commits_nothing_if_the_block_raises(
    path: Path, writer: PointerArrayWriter
) -> None:
    writer["a"] = [1]
    with pytest.raises(ZeroDivisionError), writer.allocate("b", 3) as rows:
        rows[...] = 1 // 0
    check_in_order(path, {"a": [1]})
    with writer.allocate("b", 2) as rows:
        assert rows.tolist() == [0, 0]
    check_in_order(path, {"a": [1], "b": [0, 0]})


def test_allocate_hands_out_zeros_after_one_that_raised(writer: PointerArrayWriter) -> None:
    def fill_and_raise() -> None:
        with writer.allocate("a", 3) as rows:
            rows[...] = 7
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_and_raise()
    with writer.allocate("a", 5) as rows:
        assert rows.tolist() == [0] * 5


@pytest.mark.parametrize("n_before", [0, 3])
def test_allocate_no_rows(path: Path, writer: PointerArrayWriter, n_before: int) -> None:
    writer.reserve(n_before)
    with writer.allocate("a", 0) as rows:
        assert rows.shape == (0,)
    check_in_order(path, {"a": []})


def test_allocate_a_name_that_is_there(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1]
    with unchanged(path), pytest.raises(DuplicateNameError), writer.allocate("a", 3):
        pytest.fail("the block must not begin")
    with writer.allocate("a", 1, overwrite=True) as rows:
        rows[0] = 2
        assert writer["a"].tolist() == [1]
    check_in_order(path, {"a": [2]})


def test_allocate_a_name_committed_meanwhile(path: Path, writer: PointerArrayWriter) -> None:
    with (
        ptrarray.append(path) as other,
        pytest.raises(DuplicateNameError),
        writer.allocate("a", 3),
    ):
        other["a"] = [1]
    check_in_order(path, {"a": [1]})


def test_closing_in_an_allocate_block(path: Path, writer: PointerArrayWriter) -> None:
    with pytest.raises(ClosedStoreError), writer.allocate("a", 3):
        writer.close()
    check_in_order(path, {})


def test_rows_in_allocation_are_claimed(path: Path) -> None:
    with ptrarray.create(path, dtype="i4", rows=10) as writer:
        with writer.allocate("a", 3), ptrarray.append(path) as other:
            for start in (0, 2):
                with pytest.raises(OverlapError, match="another writer"):
                    other.write({"b": [1]}, start=start)
                with pytest.raises(OverlapError, match="another writer"):
                    other.point("b", start, start + 1)
            other.write({"b": [1]}, start=3)
        check_in_order(path, {"a": [0, 0, 0], "b": [1]})


# point --------------------------------------------------------------------------------------------


def test_point(path: Path, writer: PointerArrayWriter) -> None:
    writer.write({"a": [1, 2], "b": [3, 4]})
    writer.point("middle", 1, 3)
    writer.point("nothing", 4, 4)
    assert writer["middle"].tolist() == [2, 3]
    check_in_order(path, {"a": [1, 2], "middle": [2, 3], "b": [3, 4], "nothing": []})
    with unchanged(path), pytest.raises(DuplicateNameError):
        writer.point("a", 0, 1)
    writer.point("a", 0, 4, overwrite=True)
    assert writer["a"].tolist() == [1, 2, 3, 4]


def test_names_that_share_rows_stay_so_whatever_is_committed_about_them(
    path: Path, writer: PointerArrayWriter
) -> None:
    writer["a"] = [1, 2, 3]
    writer.point("before", 0, 2)
    with ptrarray.open(path, mode="r+"):  # whose views may change the rows
        writer.point("meanwhile", 1, 3)
    for name in ("before", "meanwhile"):
        writer.meta[name] = {"k": 1}
    ptrarray.verify(path)
    ptrarray.checkpoint(path)
    ptrarray.verify(path)


@pytest.mark.parametrize(("start", "end"), [(-1, 1), (0, 3), (2, 1), (3, 3)])
def test_point_outside_the_rows(
    path: Path, writer: PointerArrayWriter, start: int, end: int
) -> None:
    writer["a"] = [1, 2]
    with unchanged(path), pytest.raises(BadInputError, match=f"'b' to rows {start} to {end}"):
        writer.point("b", start, end)


def test_append_after_pointing_past_what_was_written(path: Path) -> None:
    with ptrarray.create(path, dtype="i4", rows=5) as writer:
        writer.point("zeros", 0, 5)
        assert writer.write({"a": [1]}) == (5, 6)
    check_in_order(path, {"zeros": [0] * 5, "a": [1]})
