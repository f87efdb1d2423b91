"""A path has one open writer of bigarray's classes, which is made, replaced and closed here."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ptrarray
from ptrarray import BadInputError, ClosedStoreError, StoreExistsError, StoreNotFoundError
from ptrarray.bigarray import (
    MmapArray,
    MmapArrayWriter,
    PointerArray,
    PointerArrayWriter,
    get_total_opened_mmap,
    read_mmaparray_header,
)
from tests.support.bigarray_checks import check_names
from tests.support.bigarray_files import FOLDER

# one for each path --------------------------------------------------------------------------------


def test_hundreds_of_writers(tmp_path: Path) -> None:
    n_before = get_total_opened_mmap()
    writers = [MmapArrayWriter(tmp_path / str(n), (0,), "i8") for n in range(125)]
    assert get_total_opened_mmap() == n_before + 125
    for writer in writers:
        writer.close()
    assert get_total_opened_mmap() == n_before


def test_opening_again_and_again_adds_nothing(path: Path) -> None:
    with PointerArrayWriter(path, (0,), "i8") as writer:
        writer.write({f"n{n}": [n] for n in range(1000)})
    sizes = set()
    for _ in range(20):
        with PointerArrayWriter(path) as writer:
            sizes.add(writer.filesize)
    assert len(sizes) == 1


def test_paths_of_any_kind(path: Path) -> None:
    with PointerArrayWriter(path, (0,), "i8") as writer:
        assert PointerArrayWriter(str(path)) is writer
        assert PointerArrayWriter(os.path.relpath(path)) is writer
    assert PointerArray(str(path)).path == MmapArray(path).path == str(path)


def test_a_writer_that_came_between_stays_open(path: Path) -> None:
    first = PointerArrayWriter(path, (0,), "i8")
    second = object.__new__(PointerArrayWriter)  # as in a thread that looked before
    second.__init__(path)  # type: ignore[misc]
    second.write({"a": [1]})
    first.write({"b": [2]})
    assert PointerArrayWriter(path) is second


def test_a_writer_made_anew_under_another(path: Path) -> None:
    """The old one is closed, and a reader keeps what it has."""
    old = PointerArrayWriter(path, (0,), "i8")
    old.write({"a": [1]})
    reader = PointerArray(path)
    new = PointerArrayWriter(path, (0,), "i8", remove_exist=True)
    assert new is not old
    assert old.is_closed
    with pytest.raises(ClosedStoreError):
        old.write({"b": [2]})
    new.write({"c": [3]})
    assert PointerArrayWriter(path) is new
    check_names(path, {"c": [3]})
    assert reader["a"].tolist() == [1]


def test_a_writer_whose_store_was_removed_is_not_handed_out_again(path: Path) -> None:
    old = PointerArrayWriter(path, (0,), "i8")
    shutil.rmtree(path)
    new = PointerArrayWriter(path, (0,), "i8")
    assert new is not old
    new.write({"a": [1]})
    check_names(path, {"a": [1]})
    with pytest.raises(ptrarray.StoreError):
        old.write({"b": [1]})


def test_a_pickled_writer_whose_store_is_gone(path: Path) -> None:
    with PointerArrayWriter(path, (0,), "i8") as writer:
        pickled = pickle.dumps(writer)
    shutil.rmtree(path)
    with pytest.raises(StoreNotFoundError):
        pickle.loads(pickled)
    assert not path.exists()


def test_what_is_closed(path: Path) -> None:
    writer = PointerArrayWriter(path, (0,), "i8")
    writer.close()
    writer.close()
    assert writer.is_closed
    assert (writer.path, writer.filesize > 0) == (str(path), True)
    assert "closed" in repr(writer)
    for use in (writer.flush, lambda: writer.write({"a": [1]}), lambda: pickle.dumps(writer)):
        with pytest.raises(ClosedStoreError):
            use()
    assert PointerArrayWriter(path) is not writer


def test_a_writer_that_could_not_be_made(path: Path) -> None:
    n_before = get_total_opened_mmap()
    for arguments in list[Any](
        [{}, {"shape": (0,)}, {"dtype": "f4"}, {"shape": (), "dtype": "f4"}]
    ):
        for remove_exist in (False, True):
            with pytest.raises(BadInputError):
                PointerArrayWriter(path, remove_exist=remove_exist, **arguments)
    for shape in list[Any]([(0, None), (0, -1), "ab", (1.5,)]):
        with pytest.raises(BadInputError):
            PointerArrayWriter(path, shape, "f4")
    assert not path.exists()
    assert get_total_opened_mmap() == n_before


# what else may be at the path ---------------------------------------------------------------------


def test_what_remove_exist_removes(path: Path) -> None:
    path.touch()
    MmapArrayWriter(path, (3,), "i8", remove_exist=True).close()
    MmapArrayWriter(path, (4,), "i8", remove_exist=True).close()
    shutil.rmtree(path)
    shutil.copy(FOLDER / "named", path)
    for wrong in (None, object):
        with pytest.raises(BadInputError):
            MmapArrayWriter(path, (5,), wrong, remove_exist=True)
    assert path.read_bytes() == (FOLDER / "named").read_bytes()
    MmapArrayWriter(path, (5,), "i8", remove_exist=True).close()
    assert MmapArray(path).shape == (5,)


def test_what_remove_exist_leaves(path: Path) -> None:
    path.write_bytes(b"not of bigarray")
    folder = path.parent / "folder"
    (folder / "within").mkdir(parents=True)
    link = path.parent / "link"
    link.symlink_to(FOLDER / "named")
    for other in (path, folder, link):
        for remove_exist in (False, True):
            with pytest.raises((StoreExistsError, StoreNotFoundError)):
                MmapArrayWriter(other, (3,), "i8", remove_exist=remove_exist)
    assert path.read_bytes() == b"not of bigarray"
    assert (folder / "within").exists()
    assert link.is_symlink()


def test_a_file_of_bigarray_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(FOLDER / "bad-call", "old")
    opening: list[Callable[[str], Any]] = [
        PointerArray,
        MmapArray,
        PointerArrayWriter,
        lambda path: MmapArrayWriter(path, (0,), "i8"),
        read_mmaparray_header,
    ]
    for opened in opening:
        with pytest.raises(StoreNotFoundError, match=r"ptrarray import bigarray .*/old NEW\.ptr"):
            opened("old")
    assert [file.name for file in tmp_path.iterdir()] == ["old"]
