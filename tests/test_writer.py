"""Every public method and property of a writer, and of `create` and `append`."""

from __future__ import annotations

import errno
import os
import pickle
import threading
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray import (
    BadInputError,
    ClosedStoreError,
    DuplicateNameError,
    OverlapError,
    PointerArrayWriter,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
    UnknownNameError,
)
from ptrarray.storage.system.files import File
from tests.support.checks import (
    check_same,
    check_store,
    check_writer,
    digests,
    open_descriptors,
    unchanged,
)

Array = NDArray[Any]


def ints(*values: int) -> Array:
    return np.array(values, "i4")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "written.ptr"


@pytest.fixture
def writer(path: Path) -> Iterator[PointerArrayWriter]:
    with ptrarray.create(path, dtype="i4") as opened:
        yield opened


def check(path: Path, expected: dict[str, Any]) -> None:
    """Check what a fresh reader finds, in data order."""
    with ptrarray.open(path) as store:
        arrays = {name: np.asarray(value, store.dtype) for name, value in expected.items()}
        check_store(store, arrays, in_order=True)


# create -------------------------------------------------------------------------------------------


def test_create_makes_an_empty_store(path: Path) -> None:
    with ptrarray.create(path, dtype=">f4", row_shape=(2, 3), attrs={"rate": 16000}) as writer:
        assert writer.path == str(path)
        assert writer.dtype == np.dtype(">f4")
        assert writer.row_shape == (2, 3)
        assert dict(writer.attrs) == {"rate": 16000}
    with ptrarray.open(path) as store:
        assert (store.dtype, store.shape) == (np.dtype(">f4"), (0, 2, 3))
        assert dict(store.attrs) == {"rate": 16000}
        check_store(store, {})


@pytest.mark.parametrize("row_shape", [3, np.int64(3), (3,), [3], (np.int64(3),)])
def test_row_shape_is_an_integer_or_several(path: Path, row_shape: Any) -> None:
    with ptrarray.create(path, dtype="i4", row_shape=row_shape) as writer:
        assert writer.row_shape == (3,)


def test_create_takes_a_str_and_a_path(tmp_path: Path) -> None:
    ptrarray.create(str(tmp_path / "a.ptr"), dtype="i4").close()
    ptrarray.create(tmp_path / "b.ptr", dtype="i4").close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ptr", "b.ptr"]


def test_mode_x_refuses_a_store(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1]
    with unchanged(path), pytest.raises(StoreExistsError, match="exists") as raised:
        ptrarray.create(path, dtype="i4")
    assert raised.value.path == str(path)
    assert isinstance(raised.value, FileExistsError)


def test_mode_w_replaces_a_store(path: Path) -> None:
    writer = ptrarray.create(path, dtype="i4")
    writer["a"] = [1]
    with ptrarray.create(path, dtype="f8", row_shape=2, rows=3, mode="w") as replacing:
        replacing["b"] = [[1, 2]]
        with pytest.raises(StoreError, match="replaced by another"):
            writer["c"] = [1]
    with ptrarray.open(path) as store:
        check_store(store, {"b": np.array([[1.0, 2.0]])})
        assert store.shape == (3, 2)
    assert len(list(path.iterdir())) == 3, "the old data file is gone"


def test_mode_w_again_and_again(path: Path) -> None:
    for n in range(5):
        with ptrarray.create(path, dtype="i4", mode="w") as writer:
            writer["a"] = [n]
    check(path, {"a": [4]})
    assert len(list(path.iterdir())) == 3


@pytest.mark.parametrize("mode", ["w", "a"])
def test_modes_w_and_a_create(path: Path, mode: str) -> None:
    with ptrarray.create(path, dtype="i4", mode=mode) as writer:
        writer["a"] = [1]
    check(path, {"a": [1]})


def test_mode_a_appends(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1]
    with ptrarray.create(path, dtype="i4", attrs={"more": 1}, mode="a") as appending:
        appending["b"] = [2]
        assert appending.attrs["more"] == 1
    check(path, {"a": [1], "b": [2]})


@pytest.mark.parametrize(
    ("layout", "found"),
    [
        ({"dtype": "i8"}, "i(nt)?64"),
        ({"dtype": ">i4"}, ">i4"),
        ({"dtype": "i4", "row_shape": 2}, r"\(2,\)"),
        ({"dtype": "i4", "rows": 10}, "10 rows"),
    ],
)
def test_mode_a_refuses_another_layout(
    path: Path, writer: PointerArrayWriter, layout: dict[str, Any], found: str
) -> None:
    writer["a"] = [1]
    with unchanged(path), pytest.raises(BadInputError, match=found) as raised:
        ptrarray.create(path, mode="a", **layout)
    assert str(path) in str(raised.value)


def test_rows_cost_no_disk(path: Path) -> None:
    with ptrarray.create(path, dtype="u1", rows=2**36) as writer:
        assert writer.write({"first": [1]}) == (0, 1)
        writer.write({"last": [2]}, start=2**36 - 1)
    with ptrarray.open(path) as store:
        assert store.shape == (2**36,)
        assert store["last"].tolist() == [2]
        assert store[2**35] == 0
        store.verify()
    assert sum(file.stat().st_blocks for file in path.iterdir()) * 512 < 2**20


def test_append_wants_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="no such directory") as raised:
        ptrarray.append(tmp_path / "absent.ptr")
    assert isinstance(raised.value, FileNotFoundError)
    assert list(tmp_path.iterdir()) == []


# write --------------------------------------------------------------------------------------------


def test_write_returns_the_rows_taken(path: Path, writer: PointerArrayWriter) -> None:
    assert writer.write({"a": [1, 2], "b": [], "c": ints(3)}) == (0, 3)
    assert writer.write({"d": [4]}) == (3, 4)
    assert writer.write({}) == (4, 4)
    assert dict(writer.pointers) == {"a": (0, 2), "b": (2, 2), "c": (2, 3), "d": (3, 4)}
    check(path, {"a": [1, 2], "b": [], "c": [3], "d": [4]})


def test_write_refuses_names_that_are_there(path: Path, writer: PointerArrayWriter) -> None:
    writer.write({"a": [1], "b": [2]})
    with unchanged(path), pytest.raises(DuplicateNameError, match="2 of 3 names") as raised:
        writer.write({"new": [3], "b": [4], "a": [5]})
    assert set(raised.value.names) == {"a", "b"}
    assert raised.value.path == str(path)
    assert isinstance(raised.value, KeyError)
    check(path, {"a": [1], "b": [2]})


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
    check(path, {"theirs": [3]})


def test_write_overwrites_on_demand(path: Path, writer: PointerArrayWriter) -> None:
    writer.write({"a": [1], "b": [2]})
    assert writer.write({"a": [3, 4]}, overwrite=True) == (2, 4)
    check(path, {"b": [2], "a": [3, 4]})


def test_large_write_refuses_names_that_are_there(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1]
    with unchanged(path), pytest.raises(DuplicateNameError):
        writer.write({"a": np.arange(10**5, dtype="i4")})


def test_write_at_a_chosen_start(path: Path) -> None:
    with ptrarray.create(path, dtype="i4", rows=10) as writer:
        assert writer.write({"a": [1, 2], "b": [3]}, start=4) == (4, 7)
        assert writer.write({"c": [4]}, start=12) == (12, 13)
        assert writer.write({"d": [5]}, start=0) == (0, 1)
        assert writer.write({"appended": [6]}) == (13, 14), "after the highest row taken"
    check(path, {"d": [5], "a": [1, 2], "b": [3], "c": [4], "appended": [6]})
    with ptrarray.open(path) as store:
        assert store.rows.tolist() == [5, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0, 4, 6]


@pytest.mark.parametrize("rows", [0, 1000])
def test_append_begins_at_row_0_of_a_sized_store(path: Path, rows: int) -> None:
    with ptrarray.create(path, dtype="i4", rows=rows) as writer:
        assert writer.write({"a": [1]}) == (0, 1)


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
    check(path, {"a": [1], "b": [2], "c": [3]})


def test_rows_of_a_deleted_array_are_free(path: Path, writer: PointerArrayWriter) -> None:
    writer.write({"a": [1, 2, 3]})
    del writer["a"]
    assert writer.write({"b": [4, 5]}, start=1) == (1, 3)
    assert writer.write({"c": [6]}) == (3, 4)
    check(path, {"b": [4, 5], "c": [6]})


def test_negative_start(path: Path, writer: PointerArrayWriter) -> None:
    with unchanged(path), pytest.raises(ValueError, match="must not be negative: -3"):
        writer.write({"a": [1]}, start=-3)


def test_empty_arrays_at_any_start(path: Path, writer: PointerArrayWriter) -> None:
    writer.write({"a": []}, start=10)
    writer.write({"b": [1]})
    with ptrarray.open(path) as store:
        check_store(store, {"a": ints(), "b": ints(1)})


def test_arrays_that_fit_are_not_copied(path: Path) -> None:
    """What changes between two calls is what the second one writes, whatever the first kept."""
    array = np.arange(10**5, dtype="i4")
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({"a": array})
        array += 1
        writer.write({"b": array})
    check(path, {"a": np.arange(10**5), "b": np.arange(1, 10**5 + 1)})


def test_a_view_of_the_store_can_be_written(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1, 2, 3]
    writer["b"] = writer["a"][::-1]
    writer["c"] = writer["a"]
    check(path, {"a": [1, 2, 3], "b": [3, 2, 1], "c": [1, 2, 3]})


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
    check(path, {**arrays, "d": days[:30], "e": days[30:]})


@pytest.mark.parametrize("n_rows", [5, 10**5])
def test_a_full_disk_leaves_the_store_as_it_was(
    path: Path, writer: PointerArrayWriter, monkeypatch: pytest.MonkeyPatch, n_rows: int
) -> None:
    writer["a"] = [1]

    def fail(fd: int, buffers: Sequence[Any], offset: int) -> int:
        os.pwrite(fd, buffers[0].tobytes()[:4], offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("ptrarray.storage.system.files.os.pwritev", fail)
        with pytest.raises(OSError, match="No space left") as raised:
            writer.write({"b": np.ones(n_rows, "i4")})
    assert raised.value.filename == str(path / "data.bin")
    check(path, {"a": [1]})
    assert writer.write({"b": [2]}) == (1, 2), "the writer goes on where it was"
    check(path, {"a": [1], "b": [2]})


# write_ragged -------------------------------------------------------------------------------------


def test_write_ragged(path: Path, writer: PointerArrayWriter) -> None:
    assert writer.write_ragged(["a", "b", "c"], ints(1, 2, 3, 4), [0, 2, 2, 4]) == (0, 4)
    check(path, {"a": [1, 2], "b": [], "c": [3, 4]})


@pytest.mark.parametrize("offset_type", ["i8", "u8", ">i4", "u1"])
def test_write_ragged_takes_a_part_of_the_values(path: Path, offset_type: str) -> None:
    offsets = np.array([1, 2, 4], offset_type)
    values = np.arange(10).reshape(5, 2)
    with ptrarray.create(path, dtype="i8", row_shape=2) as writer:
        assert writer.write_ragged(("a", "b"), values, offsets) == (0, 3)
    check(path, {"a": values[1:2], "b": values[2:4]})


def test_write_ragged_of_nothing(path: Path, writer: PointerArrayWriter) -> None:
    assert writer.write_ragged([], [], [0]) == (0, 0)
    assert writer.write_ragged(["a"], [], [0, 0]) == (0, 0)
    check(path, {"a": []})


def test_write_ragged_as_write(path: Path, writer: PointerArrayWriter) -> None:
    writer.write({"a": [1]}, start=3)
    with unchanged(path), pytest.raises(DuplicateNameError):
        writer.write_ragged(["b", "a"], [1, 2], [0, 1, 2])
    with unchanged(path), pytest.raises(OverlapError):
        writer.write_ragged(["b", "c"], [1, 2], [0, 1, 2], start=2)
    assert writer.write_ragged(["a"], [7, 8], [0, 2], start=0, overwrite=True) == (0, 2)
    check(path, {"a": [7, 8]})


# a mapping ----------------------------------------------------------------------------------------


def test_is_a_mutable_mapping(path: Path, writer: PointerArrayWriter) -> None:
    assert isinstance(writer, MutableMapping)
    writer["a"] = [1]
    writer["a"] = [2, 3]
    writer.update({"b": [4]}, c=[5])
    writer.update([("d", [6])])
    assert writer.setdefault("e", ints(7)).tolist() == [7]
    assert writer.setdefault("a", ints(0)).tolist() == [2, 3]
    check_writer(writer, {"a": ints(2, 3), "b": ints(4), "c": ints(5), "d": ints(6), "e": ints(7)})
    assert list(writer) == list("abcde")
    assert writer.get("x") is None
    assert "x" not in writer
    strange: Any = 5
    assert strange not in writer
    assert writer.pop("b").tolist() == [4]
    assert writer.pop("b", None) is None
    name, array = writer.popitem()
    assert name not in writer
    assert len(array) >= 1
    assert [name for name, _ in writer.items()] == list(writer)
    writer.clear()
    assert (len(writer), list(writer)) == (0, [])
    check(path, {})


def test_iteration_bears_writing(writer: PointerArrayWriter) -> None:
    writer.update({name: [1] for name in "abc"})
    for name in writer:
        writer[name + name] = [2]
        del writer[name]
    assert sorted(writer) == ["aa", "bb", "cc"]


def test_unknown_names(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1]
    strange: Any = 5
    with unchanged(path):
        for name in ("b", strange, "\udcff"):
            with pytest.raises(UnknownNameError, match="no array named"):
                writer[name]
            with pytest.raises(UnknownNameError, match="no array named"):
                del writer[name]
            with pytest.raises(KeyError):
                writer.pointers[name]


def test_reads_are_read_only_plain_views(writer: PointerArrayWriter) -> None:
    writer["a"] = [1, 2]
    view = writer["a"]
    assert type(view) is np.ndarray
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 5
    writer["a"] = [3]
    assert view.tolist() == [1, 2], "stays what it was"


def test_one_delete_of_two_names_keeps_the_rows(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1, 2]
    writer.point("b", 0, 2)
    del writer["a"]
    with pytest.raises(OverlapError):
        writer.write({"c": [3]}, start=1)
    check(path, {"b": [1, 2]})


# reserve, allocate, point -------------------------------------------------------------------------


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
    check(path, {"a": [1, 2, 3], "b": [4]})


def test_allocate_commits_nothing_if_the_block_raises(
    path: Path, writer: PointerArrayWriter
) -> None:
    writer["a"] = [1]
    with pytest.raises(ZeroDivisionError), writer.allocate("b", 3) as rows:
        rows[...] = 1 // 0
    check(path, {"a": [1]})
    with writer.allocate("b", 2) as rows:
        assert rows.tolist() == [0, 0]
    check(path, {"a": [1], "b": [0, 0]})


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
    check(path, {"a": []})


def test_allocate_a_name_that_is_there(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1]
    with unchanged(path), pytest.raises(DuplicateNameError), writer.allocate("a", 3):
        pytest.fail("the block must not begin")
    with writer.allocate("a", 1, overwrite=True) as rows:
        rows[0] = 2
        assert writer["a"].tolist() == [1]
    check(path, {"a": [2]})


def test_allocate_a_name_committed_meanwhile(path: Path, writer: PointerArrayWriter) -> None:
    with (
        ptrarray.append(path) as other,
        pytest.raises(DuplicateNameError),
        writer.allocate("a", 3),
    ):
        other["a"] = [1]
    check(path, {"a": [1]})


@pytest.mark.parametrize("given", [{}, {"shard_size": "1MB"}, {"shard_size": "250kB"}], ids=str)
@pytest.mark.parametrize("n_others", [1, 3])
def test_write_a_name_committed_meanwhile(
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


def test_closing_in_an_allocate_block(path: Path, writer: PointerArrayWriter) -> None:
    with pytest.raises(ClosedStoreError), writer.allocate("a", 3):
        writer.close()
    check(path, {})


def test_rows_in_allocation_are_claimed(path: Path) -> None:
    with ptrarray.create(path, dtype="i4", rows=10) as writer:
        with writer.allocate("a", 3), ptrarray.append(path) as other:
            for start in (0, 2):
                with pytest.raises(OverlapError, match="another writer"):
                    other.write({"b": [1]}, start=start)
                with pytest.raises(OverlapError, match="another writer"):
                    other.point("b", start, start + 1)
            other.write({"b": [1]}, start=3)
        check(path, {"a": [0, 0, 0], "b": [1]})


def test_point(path: Path, writer: PointerArrayWriter) -> None:
    writer.write({"a": [1, 2], "b": [3, 4]})
    writer.point("middle", 1, 3)
    writer.point("nothing", 4, 4)
    assert writer["middle"].tolist() == [2, 3]
    check(path, {"a": [1, 2], "middle": [2, 3], "b": [3, 4], "nothing": []})
    with unchanged(path), pytest.raises(DuplicateNameError):
        writer.point("a", 0, 1)
    writer.point("a", 0, 4, overwrite=True)
    assert writer["a"].tolist() == [1, 2, 3, 4]


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
    check(path, {"zeros": [0] * 5, "a": [1]})


# attrs, flush, close ------------------------------------------------------------------------------


def test_attrs(path: Path, writer: PointerArrayWriter) -> None:
    attrs = writer.attrs
    assert isinstance(attrs, MutableMapping)
    attrs["rate"] = 16000
    attrs.update({"nested": {"a": [1, None, 2.5, b"raw", True]}}, word="größe")
    expected = {"rate": 16000, "nested": {"a": [1, None, 2.5, b"raw", True]}, "word": "größe"}
    assert dict(attrs) == expected
    with ptrarray.append(path) as other:
        assert dict(other.attrs) == expected
        del other.attrs["word"]
        other.attrs["shape"] = (1, 2)
    del expected["word"]
    assert dict(attrs) == {**expected, "shape": [1, 2]}
    assert len(attrs) == 3
    with pytest.raises(KeyError):
        del attrs["word"]
    ptrarray.checkpoint(path)
    with ptrarray.open(path) as store:
        assert dict(store.attrs) == {**expected, "shape": [1, 2]}


def test_flush_syncs_data_before_the_journal(
    path: Path, writer: PointerArrayWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    name = "fdatasync" if hasattr(os, "fdatasync") else "fsync"
    real: Callable[[int], None] = getattr(os, name)

    def sync(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        real(fd)

    writer["a"] = [1]
    monkeypatch.setattr(f"ptrarray.storage.system.files.os.{name}", sync)
    writer.flush()
    assert synced[0] == "data.bin"
    assert set(synced[1:]) == {"journal.msgpack"}


def test_flush_changes_nothing_to_see(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1]
    writer.flush()
    writer.flush()
    check(path, {"a": [1]})


def test_close_is_idempotent(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1]
    assert not writer.closed
    writer.close()
    with unchanged(path):
        writer.close()
    assert writer.closed
    assert "closed" in repr(writer)
    assert writer.path == str(path)


USES: dict[str, Callable[[PointerArrayWriter], object]] = {
    "write": lambda writer: writer.write({"b": [1]}),
    "write_ragged": lambda writer: writer.write_ragged(["b"], [1], [0, 1]),
    "setitem": lambda writer: writer.__setitem__("b", [1]),
    "update": lambda writer: writer.update({"b": [1]}),
    "reserve": lambda writer: writer.reserve(1),
    "allocate": lambda writer: writer.allocate("b", 1).__enter__(),
    "point": lambda writer: writer.point("b", 0, 1),
    "delitem": lambda writer: writer.__delitem__("a"),
    "clear": lambda writer: writer.clear(),
    "flush": lambda writer: writer.flush(),
    "getitem": lambda writer: writer["a"],
    "contains": lambda writer: "a" in writer,
    "len": lambda writer: len(writer),
    "iter": lambda writer: list(writer),
    "pointers": lambda writer: writer.pointers["a"],
    "attrs": lambda writer: dict(writer.attrs),
    "set attrs": lambda writer: writer.attrs.update(a=1),
    "dtype": lambda writer: writer.dtype,
    "row_shape": lambda writer: writer.row_shape,
    "pickle": pickle.dumps,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_use_after_close(
    path: Path, writer: PointerArrayWriter, use: Callable[[PointerArrayWriter], object]
) -> None:
    writer["a"] = [1]
    writer.close()
    with unchanged(path), pytest.raises(ClosedStoreError, match="closed") as raised:
        use(writer)
    assert raised.value.path == str(path)
    assert isinstance(raised.value, ValueError)


def test_context_manager_closes_also_on_an_error(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), ptrarray.create(path, dtype="i4") as writer:  # noqa: PT012
        writer["a"] = [1]
        writer["b"] = [1 // 0]
    assert writer.closed
    check(path, {"a": [1]})


def remove(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


def replace(path: Path) -> None:
    ptrarray.create(path, dtype="f8", mode="w").close()


@pytest.mark.parametrize("lose", [remove, replace])
def test_closing_a_writer_of_a_store_that_is_gone(path: Path, lose: Callable[[Path], None]) -> None:
    """Nothing depends on it, so it neither fails nor hides what did."""
    with pytest.raises(ZeroDivisionError), ptrarray.create(path, dtype="i4") as writer:  # noqa: PT012
        writer.write({str(n): [n] for n in range(100)})
        lose(path)
        _ = 1 // 0
    assert writer.closed


@pytest.mark.parametrize("n_rows", [3, 10**5])
@pytest.mark.parametrize("use", ["write", "start", "allocate", "point", "getitem", "checkpoint"])
def test_a_writer_of_a_moved_store_leaves_the_one_in_its_place(
    path: Path, use: str, n_rows: int
) -> None:
    """What it was opened on takes all of what it writes, or it fails."""
    writer, moved = ptrarray.create(path, dtype="i4"), path.with_name("moved.ptr")
    writer["a"] = np.ones(n_rows, "i4")
    path.rename(moved)
    with ptrarray.create(path, dtype="i4") as other:
        other["b"] = np.full(2 * n_rows, 2, "i4")
        with suppress(StoreError):
            match use:
                case "write":
                    writer.write({"c": np.full(n_rows, 3, "i4")})
                case "start":
                    writer.write({"c": np.full(n_rows, 3, "i4")}, start=n_rows)
                case "allocate":
                    with writer.allocate("c", n_rows) as rows:
                        rows[...] = 3
                case "point":
                    writer.point("c", 0, n_rows)
                case "getitem":
                    assert writer["a"].tolist() == [1] * n_rows
                case "checkpoint":
                    writer.close()
    writer.close()
    check(path, {"b": [2] * 2 * n_rows})
    with ptrarray.open(moved) as store:
        assert store["a"].tolist() == [1] * n_rows
        assert sorted(store) in (["a"], ["a", "c"])
        store.verify()


def test_a_writer_of_a_removed_store_leaves_the_one_in_its_place(path: Path) -> None:
    writer = ptrarray.create(path, dtype="i4")
    writer["a"] = [1]
    remove(path)
    with ptrarray.create(path, dtype="i4") as other:
        other["b"] = [2]
        for n_rows in (1, 10**5):
            with pytest.raises(StoreError):
                writer["c"] = np.ones(n_rows, "i4")
    writer.close()
    check(path, {"b": [2]})


def test_forgetting_close_loses_nothing_and_leaks_nothing(path: Path) -> None:
    before = open_descriptors(path)
    ptrarray.create(path, dtype="i4")["a"] = [1]
    assert open_descriptors(path) == before
    check(path, {"a": [1]})


def test_pickle(path: Path, writer: PointerArrayWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    relative = ptrarray.append(path.name)
    raw = pickle.dumps(relative)
    monkeypatch.chdir("/")
    with pickle.loads(raw) as copy, relative:
        assert copy.path == str(path)
        copy["a"] = [1]
        relative["b"] = [2]
        writer["c"] = [3]
    assert len(raw) < 2000
    check(path, {"a": [1], "b": [2], "c": [3]})


def test_the_working_directory_may_change(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ptrarray.create(path.name, dtype="i4") as writer:
        monkeypatch.chdir("/")
        writer["a"] = [1]
        ptrarray.checkpoint(writer.path)
        writer["b"] = [2]
    check(path, {"a": [1], "b": [2]})


def test_equality_is_identity(path: Path, writer: PointerArrayWriter) -> None:
    with ptrarray.append(path) as other:
        assert writer != other
        assert len({writer, other}) == 2


# many threads, many times -------------------------------------------------------------------------


def run_together(*jobs: Callable[[], None]) -> None:
    """Run functions in threads that begin at the same time; raise what one of them raised."""
    barrier = threading.Barrier(len(jobs))

    def run(job: Callable[[], None]) -> None:
        barrier.wait()
        job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        for future in [pool.submit(run, job) for job in jobs]:
            future.result()


def test_threads_share_a_writer(path: Path, writer: PointerArrayWriter) -> None:
    def write(who: int) -> None:
        for n in range(100):
            writer.write({f"{who}/{n}": np.full(n % 7, 100 * who + n, "i4")})
            with writer.allocate(f"{who}/{n}/allocated", 2) as rows:
                rows[...] = n

    run_together(*(lambda who=who: write(who) for who in range(4)))
    arrays = {f"{who}/{n}": np.full(n % 7, 100 * who + n) for who in range(4) for n in range(100)}
    arrays |= {f"{who}/{n}/allocated": np.full(2, n) for who in range(4) for n in range(100)}
    with ptrarray.open(path) as store:
        assert store.rows.size == sum(map(len, arrays.values()))
        check_store(store, {name: array.astype("i4") for name, array in arrays.items()})


def test_threads_read_while_others_replace(path: Path, writer: PointerArrayWriter) -> None:
    """A name that is always there is always found, whole, in each of its versions."""
    writer["x"] = [0, 0]
    done = threading.Event()

    def replace() -> None:
        try:
            for n in range(300):
                writer["x"] = [n, n]
                writer[f"new {n}"] = [n]
        finally:
            done.set()

    def look() -> None:
        while not done.is_set():
            first, second = writer["x"].tolist()
            assert first == second
            assert "x" in writer
            n_names = len(writer)
            assert n_names <= len(writer)

    run_together(replace, look, look)
    assert len(writer) == 301


def test_a_thousand_times_open_append_close(path: Path) -> None:
    ptrarray.create(path, dtype="i4").close()
    before = open_descriptors(path)
    largest = 0
    for n in range(1000):
        with ptrarray.append(path) as writer:
            writer[f"name {n:04}"] = [n]
        largest = max(largest, (path / "journal.msgpack").stat().st_size)
    assert open_descriptors(path) == before
    check(path, {f"name {n:04}": [n] for n in range(1000)})
    index_nbytes = (path / "index.msgpack").stat().st_size
    assert index_nbytes < 1000 * 80, "an index does not creep"
    assert largest < 3 * 8192 + index_nbytes, "a journal is folded before it outgrows the index"
    assert len(list(path.iterdir())) == 3


def test_opening_and_closing_changes_nothing(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1]
    writer.close()
    before = digests(path)
    for _ in range(20):
        ptrarray.append(path).close()
    assert digests(path) == before


def test_replacing_one_name_keeps_the_files_bounded(path: Path) -> None:
    for n in range(300):
        with ptrarray.append(path) if n else ptrarray.create(path, dtype="i4") as writer:
            writer["same"] = [n]
    check(path, {"same": [299]})
    assert (path / "index.msgpack").stat().st_size < 4096
    assert (path / "journal.msgpack").stat().st_size < 3 * 8192


def test_durable_goes_with_the_pickle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ptrarray.create(path, dtype="i4", durable=True) as writer:
        copy = pickle.loads(pickle.dumps(writer))
        n_syncs = 0
        name = "fdatasync" if hasattr(os, "fdatasync") else "fsync"
        real: Callable[[int], None] = getattr(os, name)

        def sync(fd: int) -> None:
            nonlocal n_syncs
            n_syncs += 1
            real(fd)

        monkeypatch.setattr(f"ptrarray.storage.system.files.os.{name}", sync)
        copy["a"] = [1]
        assert n_syncs >= 2
        copy.close()


def test_what_a_reader_maps_is_what_was_written(path: Path, writer: PointerArrayWriter) -> None:
    writer.write({"a": [1, 2], "b": [3]})
    raw = np.fromfile(path / "data.bin", "i4")
    check_same(raw, ints(1, 2, 3))
