"""A write takes rows for names, refuses as a whole, and copies nothing that fits."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray import BadInputError, DuplicateNameError, OverlapError, PointerArrayWriter
from ptrarray.storage.system.files import File
from tests.support.checks import check_at, check_in_order, ints, unchanged

Array = NDArray[Any]

# names --------------------------------------------------------------------------------------------


def test_write_returns_the_rows_taken(path: Path, writer: PointerArrayWriter) -> None:
    assert writer.write({"a": [1, 2], "b": [], "c": ints(3)}) == (0, 3)
    assert writer.write({"d": [4]}) == (3, 4)
    assert writer.write({}) == (4, 4)
    assert dict(writer.pointers) == {"a": (0, 2), "b": (2, 2), "c": (2, 3), "d": (3, 4)}
    check_in_order(path, {"a": [1, 2], "b": [], "c": [3], "d": [4]})


def test_write_refuses_names_that_are_there(path: Path, writer: PointerArrayWriter) -> None:
    writer.write({"a": [1], "b": [2]})
    with unchanged(path), pytest.raises(DuplicateNameError, match="2 of 3 names") as raised:
        writer.write({"new": [3], "b": [4], "a": [5]})
    assert set(raised.value.names) == {"a", "b"}
    assert raised.value.path == str(path)
    assert isinstance(raised.value, KeyError)
    check_in_order(path, {"a": [1], "b": [2]})


def test_write_refuses_names_that_others_committed(path: Path, writer: PointerArrayWriter) -> None:
    with ptrarray.append(path) as other:
        other["theirs"] = [1]
        with pytest.raises(DuplicateNameError):
            writer.write({"theirs": [2]})
        ptrarray.checkpoint(path)
        with pytest.raises(DuplicateNameError):
            writer.write({"theirs": [2]})
        del other["theirs"]
        writer.write({"theirs": [3]})
    check_in_order(path, {"theirs": [3]})


def test_write_overwrites_on_demand(path: Path, writer: PointerArrayWriter) -> None:
    writer.write({"a": [1], "b": [2]})
    assert writer.write({"a": [3, 4]}, overwrite=True) == (2, 4)
    check_in_order(path, {"b": [2], "a": [3, 4]})


def test_large_write_refuses_names_that_are_there(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1]
    with unchanged(path), pytest.raises(DuplicateNameError):
        writer.write({"a": np.arange(10**5, dtype="i4")})


@pytest.mark.parametrize("given", [{}, {"shard_size": "1MB"}, {"shard_size": "250kB"}], ids=str)
@pytest.mark.parametrize("n_others", [1, 3])
def test_write_refuses_a_name_committed_meanwhile(
    path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], n_others: int
) -> None:
    """Another writer comes first while rows are written, in this shard or by making another."""
    large, write = np.zeros(50_000, "i4"), File.pwritev

    def write_late(*arguments: Any) -> int:
        monkeypatch.undo()
        for n in range(n_others):
            other.write({f"before{n}": large} if n < n_others - 1 else {"b": [1]})
        return write(*arguments)

    with ptrarray.create(path, dtype="i4", **given) as writer, ptrarray.append(path) as other:
        monkeypatch.setattr(File, "pwritev", write_late)
        with pytest.raises(DuplicateNameError):
            writer.write({"a": large, "b": large})
        assert "a" not in writer
        assert writer["b"].tolist() == [1]
        assert len(writer) == n_others


def test_write_refuses_a_name_of_its_own(path: Path) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        writer.write({"a": [1]})
        with unchanged(path), pytest.raises(DuplicateNameError, match="'a'"):
            writer.write({"a": [2]})


def test_write_refuses_a_name_that_is_no_str(path: Path) -> None:
    with ptrarray.create(path, dtype="i8") as writer, unchanged(path):
        number: Any = 5
        with pytest.raises(BadInputError, match="must be a str, not int: 5"):
            writer.write({number: [1]})


def test_write_of_nothing_and_of_an_empty_array(path: Path) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        assert writer.write({}) == (0, 0)
        writer["empty"] = []
    with ptrarray.append(path) as writer:
        assert list(writer) == ["empty"]
    check_at(path, {"empty": []})


# arrays -------------------------------------------------------------------------------------------


def test_arrays_that_fit_are_not_copied(path: Path) -> None:
    """What changes between two calls is what the second one writes, whatever the first kept."""
    array = np.arange(10**5, dtype="i4")
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({"a": array})
        array += 1
        writer.write({"b": array})
    check_in_order(path, {"a": np.arange(10**5), "b": np.arange(1, 10**5 + 1)})


def test_a_view_of_the_store_can_be_written(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1, 2, 3]
    writer["b"] = writer["a"][::-1]
    writer["c"] = writer["a"]
    check_in_order(path, {"a": [1, 2, 3], "b": [3, 2, 1], "c": [1, 2, 3]})


@pytest.mark.parametrize("n_arrays", [1023, 1024, 1025, 5000])
@pytest.mark.parametrize("n_rows", [1, 30])
def test_many_buffers_in_one_write(path: Path, n_arrays: int, n_rows: int) -> None:
    arrays = {str(n): np.full(n_rows, n, "i4") for n in range(n_arrays)}
    arrays["empty"] = ints()
    with ptrarray.create(path, dtype="i4") as writer:
        assert writer.write(arrays) == (0, n_arrays * n_rows)
    with ptrarray.open(path) as store:
        assert len(store) == n_arrays + 1
        expected = np.repeat(np.arange(n_arrays), n_rows)
        assert np.array_equal(store.rows, expected)
        store.verify()


@pytest.mark.parametrize("n_bytes_at_most", [1, 7, 4096])
def test_short_writes_are_finished(
    path: Path, monkeypatch: pytest.MonkeyPatch, n_bytes_at_most: int
) -> None:
    n_calls = 0

    def write_some(fd: int, buffers: Sequence[Any], offset: int) -> int:
        nonlocal n_calls
        n_calls += 1
        raw = b"".join(buffer.tobytes() for buffer in buffers)
        return os.pwrite(fd, raw[:n_bytes_at_most], offset)

    monkeypatch.setattr("ptrarray.storage.system.files.os.pwritev", write_some)
    days = np.arange(60).astype("M8[D]")
    arrays = {"a": days[:20], "empty": days[:0], "b": days[20:21], "c": days[21:]}
    with ptrarray.create(path, dtype="M8[D]") as writer:
        writer.write(arrays)
        writer.write_ragged(["d", "e"], days, [0, 30, 60])
    monkeypatch.undo()
    assert n_calls > 1
    check_in_order(path, {**arrays, "d": days[:30], "e": days[30:]})


@pytest.mark.parametrize("n_bytes_at_most", [1, 7, 4096])
def test_short_writes_of_one_array_are_finished(
    path: Path, monkeypatch: pytest.MonkeyPatch, n_bytes_at_most: int
) -> None:
    real = os.pwrite
    days = np.arange(60).astype("M8[D]").reshape(20, 3)
    writer = ptrarray.create(path, dtype="M8[D]", row_shape=3)

    def write_some(fd: int, raw: Any, offset: int) -> int:
        raw = raw if isinstance(raw, bytes) else raw.tobytes()
        return real(fd, raw[:n_bytes_at_most], offset)

    monkeypatch.setattr("ptrarray.storage.system.files.os.pwrite", write_some)
    writer["a"], writer["empty"], writer["b"] = days, days[:0], days[::2]
    monkeypatch.undo()
    writer.close()
    check_in_order(path, {"a": days, "empty": days[:0], "b": days[::2]})


def test_write_refuses_rows_of_another_shape(path: Path) -> None:
    good, bad = np.zeros((1, 2)), np.zeros((1, 3))
    with ptrarray.create(path, row_shape=2, dtype="f8") as writer:
        with unchanged(path), pytest.raises(BadInputError, match=r"'bad' has shape \(1, 3\)"):
            writer.write({"good": good, "bad": bad, "worse": bad})
        writer["good"] = good
    check_at(path, {"good": good})


@pytest.mark.parametrize("value", [3.7, 2**40 + 5, 1 + 2j])
def test_write_refuses_values_that_would_change(path: Path, value: Any) -> None:
    with ptrarray.create(path, dtype="i4") as writer:
        with unchanged(path), pytest.raises(BadInputError, match=r"'a' .*int32"):
            writer["a"] = np.array([value])
        writer["a"] = [3]
    check_at(path, {"a": [3]})


@pytest.mark.parametrize("mask", [False, [False, True]])
def test_write_refuses_masked_arrays(path: Path, mask: Any) -> None:
    with (
        ptrarray.create(path, dtype="i8") as writer,
        unchanged(path),
        pytest.raises(BadInputError, match="masked"),
    ):
        writer["a"] = np.ma.array([1, 2], mask=mask, fill_value=-99)


@pytest.mark.parametrize("bad", [np.array([object()]), np.array(5), np.array([5.5])])
def test_an_array_that_is_refused_leaves_the_store(path: Path, bad: Array) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        writer["a"] = [1]
        with unchanged(path), pytest.raises(BadInputError):
            writer["a"] = bad
        writer["b"] = [2]
    check_at(path, {"a": [1], "b": [2]})


# a full disk --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "n_rows"), [("pwrite", 5), ("pwritev", 10**5)])
def test_a_full_disk_leaves_the_store_as_it_was(
    path: Path, writer: PointerArrayWriter, monkeypatch: pytest.MonkeyPatch, call: str, n_rows: int
) -> None:
    writer["a"] = [1]
    write = os.pwrite

    def fail(fd: int, buffers: Any, offset: int) -> int:
        rows = buffers[0] if isinstance(buffers, list) else buffers
        write(fd, rows.tobytes()[:4], offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(f"ptrarray.storage.system.files.os.{call}", fail)
        with pytest.raises(OSError, match="No space left") as raised:
            writer.write({"b": np.ones(n_rows, "i4")})
    assert raised.value.filename == str(path / "data.bin")
    check_in_order(path, {"a": [1]})
    assert writer.write({"b": [2]}) == (1, 2), "the writer goes on where it was"
    check_in_order(path, {"a": [1], "b": [2]})


def test_an_overwrite_that_fails_keeps_the_old_array(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int, rows: Any, offset: int) -> int:
        raise OSError(28, "No space left on device")

    with ptrarray.create(path, dtype="i8") as writer:
        writer["a"] = [1]
        unpicklable: Any = lambda: None
        with pytest.raises(BadInputError):
            writer["a"] = unpicklable
        monkeypatch.setattr("ptrarray.storage.system.files.os.pwrite", fail)
        with pytest.raises(OSError, match="No space"):
            writer["a"] = [2]
        monkeypatch.undo()
        assert writer["a"].tolist() == [1]
    check_at(path, {"a": [1]})


# write_ragged -------------------------------------------------------------------------------------


def test_write_ragged(path: Path, writer: PointerArrayWriter) -> None:
    assert writer.write_ragged(["a", "b", "c"], ints(1, 2, 3, 4), [0, 2, 2, 4]) == (0, 4)
    check_in_order(path, {"a": [1, 2], "b": [], "c": [3, 4]})


@pytest.mark.parametrize("offset_type", ["i8", "u8", ">i4", "u1"])
def test_write_ragged_takes_a_part_of_the_values(path: Path, offset_type: str) -> None:
    offsets = np.array([1, 2, 4], offset_type)
    values = np.arange(10).reshape(5, 2)
    with ptrarray.create(path, dtype="i8", row_shape=2) as writer:
        assert writer.write_ragged(("a", "b"), values, offsets) == (0, 3)
    check_in_order(path, {"a": values[1:2], "b": values[2:4]})


def test_write_ragged_of_nothing(path: Path, writer: PointerArrayWriter) -> None:
    assert writer.write_ragged([], [], [0]) == (0, 0)
    assert writer.write_ragged(["a"], [], [0, 0]) == (0, 0)
    check_in_order(path, {"a": []})


def test_write_ragged_as_write(path: Path, writer: PointerArrayWriter) -> None:
    writer.write({"a": [1]}, start=3)
    with unchanged(path), pytest.raises(DuplicateNameError):
        writer.write_ragged(["b", "a"], [1, 2], [0, 1, 2])
    with unchanged(path), pytest.raises(OverlapError):
        writer.write_ragged(["b", "c"], [1, 2], [0, 1, 2], start=2)
    assert writer.write_ragged(["a"], [7, 8], [0, 2], start=0, overwrite=True) == (0, 2)
    check_in_order(path, {"a": [7, 8]})
