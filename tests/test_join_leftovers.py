"""Joins of stores that somebody has changed since they were sealed, or was killed while changing."""

from __future__ import annotations

import os
import shutil
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import ptrarray
from ptrarray.errors import BadInputError
from ptrarray.format.names import NAME_LIMIT_NBYTES
from ptrarray.storage.shards.session import Shards
from ptrarray.storage.store.index import Index
from ptrarray.writer import PointerArrayWriter
from tests.support.joined import held

pytestmark = pytest.mark.usefixtures("no_syncs")


def one(path: Path, **arrays: Any) -> Path:
    with ptrarray.create(path, dtype="i4") as writer:
        writer.update(arrays)
    return path


def join(path: Path, stores: Any, how: str = "move", **options: Any) -> None:
    ptrarray.join(path, stores, how, progress=False, **options)


def replace_and_die(path: Path) -> None:
    """Replace an array by one in a later shard, and die before the old one is deleted."""
    writer = ptrarray.append(path)
    with patch.object(Shards, "settle"):
        writer.write({"same": [11]}, overwrite=True)
    os._exit(0)


@pytest.fixture
def unsettled(tmp_path: Path) -> Path:
    """Return a sealed store with a name in two shards, of which the last one notes it."""
    path = tmp_path / "b.ptr"
    with ptrarray.create(path, dtype="i4", shard_size=1) as writer:
        writer["same"] = [10]
    join(tmp_path / "other.ptr", [path], "link")
    process = get_context("fork").Process(target=replace_and_die, args=(path,))
    process.start()
    process.join()
    return path


@pytest.mark.parametrize("how", ["move", "link", "copy"])
@pytest.mark.parametrize(("duplicates", "value"), [("first", 1), ("last", 11)])
def test_what_a_source_notes_is_about_its_own_shards(
    how: str, duplicates: str, value: int, tmp_path: Path, unsettled: Path
) -> None:
    """Numbers of them are those of others in the joined store."""
    path, other = tmp_path / "all.ptr", one(tmp_path / "a.ptr", a=[2], same=[1])
    join(path, [other, unsettled], how, duplicates=duplicates)
    if how == "copy":  # whose indexes are written anew
        assert not any(Index(shard).header.attrs for shard in path.glob("shard-*"))
    for _ in range(2):
        with ptrarray.open(path) as store:
            assert sorted(store) == ["a", "same"]
            assert store["same"].tolist() == [value]
        with ptrarray.append(path) as writer:
            writer.write({"same": [value]}, overwrite=True)
        ptrarray.checkpoint(path)


@pytest.mark.parametrize("how", ["move", "link", "copy"])
def test_a_copy_of_a_shard_with_notes(how: str, tmp_path: Path, unsettled: Path) -> None:
    """It is a store of its own."""
    path, copy = tmp_path / "all.ptr", tmp_path / "copy.ptr"
    shutil.copytree(unsettled / "shard-00001.ptr", copy)
    join(path, [one(tmp_path / "a.ptr", same=[1]), copy], how, prefix=["", "b/"])
    join(tmp_path / "more.ptr", [path, one(tmp_path / "c.ptr", c=[3])], how)
    with ptrarray.append(tmp_path / "more.ptr") as writer:
        assert sorted(writer) == ["b/same", "c", "same"]


@pytest.mark.parametrize("how", ["move", "link", "copy"])
def test_attrs_that_changed_in_a_sealed_store(how: str, tmp_path: Path) -> None:
    source = one(tmp_path / "x.ptr", x=[1])
    join(tmp_path / "other.ptr", [source], "link")
    with ptrarray.append(source) as writer:
        writer.attrs["rate"] = 1
    join(tmp_path / "all.ptr", [source], how)
    with ptrarray.open(tmp_path / "all.ptr") as store:
        assert store.attrs == {"rate": 1}


def test_a_prefix_and_a_name_are_as_long_as_a_name_may_be(tmp_path: Path) -> None:
    longest = "y" * (NAME_LIMIT_NBYTES - 4)
    source = one(tmp_path / "x.ptr", **{longest: [1], "x": [2]})
    with pytest.raises(BadInputError, match=f"more than {NAME_LIMIT_NBYTES} bytes"):
        join(tmp_path / "all.ptr", [source], prefix="12345")
    join(tmp_path / "all.ptr", [source], prefix="1234")
    assert held(tmp_path / "all.ptr").keys() == {f"1234{longest}", "1234x"}


@pytest.mark.parametrize(("how", "prefix"), [("move", "p/"), ("copy", None)])
def test_rows_of_an_index_that_is_written_anew_are_reserved(
    how: str, prefix: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "all.ptr"
    join(path, [one(tmp_path / "x.ptr", x=range(100))], how, prefix=prefix)  # all in its journal
    header = Index(path / "shard-00000.ptr").header
    assert (header.n_rows, header.n_reserved) == (100, 100)


def unfinished(path: Path) -> Path:
    """Return a part whose writer was killed."""
    writer = ptrarray.part(path, "k", dtype="i4")
    writer["x"] = [1]
    PointerArrayWriter.close(writer)
    return path.with_name(f"{path.name}.parts") / "k.ptr"


def test_a_part_that_is_open_may_be_linked(tmp_path: Path) -> None:
    """As a backup; only where it was closed, its files may be those of a joined store."""
    place = unfinished(tmp_path / "all.ptr")
    shutil.copytree(place.parent, tmp_path / "backup", copy_function=os.link)
    with ptrarray.part(tmp_path / "all.ptr", "k", dtype="i4") as writer:
        writer["y"] = [2]
    join(tmp_path / "all.ptr", None)
    assert held(tmp_path / "all.ptr").keys() == {"x", "y"}


def test_names_in_several_stores_are_found_in_a_byte_of_memory(tmp_path: Path) -> None:
    stores = [one(tmp_path / f"{key}.ptr", **{key: [1], "same": [2]}) for key in "xyz"]
    join(tmp_path / "all.ptr", stores, duplicates="first", memory=1)
    assert held(tmp_path / "all.ptr").keys() == {"x", "y", "z", "same"}


def test_hidden_files_are_no_parts(tmp_path: Path) -> None:
    """As systems make some beside others."""
    path = tmp_path / "all.ptr"
    with ptrarray.part(path, "k", dtype="i4") as writer:
        writer["x"] = [1]
    (tmp_path / "all.ptr.parts" / "._k.ptr").write_bytes(b"Mac OS X")
    join(path, None)
    assert held(path).keys() == {"x"}


@pytest.mark.parametrize("mode", ["a", "w", "x"])
def test_a_part_where_there_is_something_else(mode: str, tmp_path: Path) -> None:
    place = tmp_path / "all.ptr.parts" / "k.ptr"
    place.mkdir(parents=True)
    (place / "notes.txt").write_text("mine")
    with pytest.raises(ptrarray.StoreExistsError):
        ptrarray.part(tmp_path / "all.ptr", "k", dtype="i4", mode=mode)
    assert (place / "notes.txt").read_text() == "mine"


def test_a_part_that_cannot_be_gone_on_with_stays_open(tmp_path: Path) -> None:
    place = unfinished(tmp_path / "all.ptr")
    with pytest.raises(BadInputError, match="has rows of int32"):
        ptrarray.part(tmp_path / "all.ptr", "k", dtype="f8")
    assert Index(place).header.sealed is False
