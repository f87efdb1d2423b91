"""A writer is a mutable mapping with attrs, may be flushed, and ends when it is closed."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import (
    ClosedStoreError,
    OverlapError,
    PointerArrayWriter,
    StoreError,
    UnknownNameError,
)
from tests.support.checks import check_in_order, check_writer, ints, open_descriptors, unchanged

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
    check_in_order(path, {})


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
    check_in_order(path, {"b": [1, 2]})


def test_equality_is_identity(path: Path, writer: PointerArrayWriter) -> None:
    with ptrarray.append(path) as other:
        assert writer != other
        assert len({writer, other}) == 2


def test_writers_and_readers_are_the_same_mapping(path: Path) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        writer.update(a=[1], b=[2])
        for mapping in (writer, ptrarray.open(path)):
            assert len(mapping) == 2
            assert list(mapping) == list(mapping.keys()) == ["a", "b"]
            assert [array.tolist() for array in mapping.values()] == [[1], [2]]
            assert {name: array.tolist() for name, array in mapping.items()} == {"a": [1], "b": [2]}
            assert mapping.get("c") is None


# attrs --------------------------------------------------------------------------------------------


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


# flush --------------------------------------------------------------------------------------------


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
    check_in_order(path, {"a": [1]})


# close --------------------------------------------------------------------------------------------


def test_close_is_idempotent(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1]
    assert not writer.closed
    writer.close()
    with unchanged(path):
        writer.close()
    assert writer.closed
    assert "closed" in repr(writer)
    assert writer.path == str(path)


def test_a_closed_writer_refuses_to_write(path: Path) -> None:
    writer = ptrarray.create(path, dtype="i8")
    writer.close()
    with pytest.raises(ClosedStoreError, match="closed"):
        writer["a"] = [1]


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
    check_in_order(path, {"a": [1]})


def test_forgetting_close_loses_nothing_and_leaks_nothing(path: Path) -> None:
    before = open_descriptors(path)
    ptrarray.create(path, dtype="i4")["a"] = [1]
    assert open_descriptors(path) == before
    check_in_order(path, {"a": [1]})


# stores that are gone -----------------------------------------------------------------------------


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
    check_in_order(path, {"b": [2] * 2 * n_rows})
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
    check_in_order(path, {"b": [2]})
