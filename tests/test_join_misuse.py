"""Joins that would lose arrays, or files, if they were done as they are asked for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import ptrarray
from ptrarray.errors import BadInputError, StoreError, StoreNotFoundError
from ptrarray.format.journal import RECORDS_START
from ptrarray.storage.shards import joining
from ptrarray.storage.store.journal import Journal
from ptrarray.storage.system import files
from tests.support.joined import files_of, held

pytestmark = pytest.mark.usefixtures("no_syncs")


def one(path: Path, *names: str, **options: Any) -> Path:
    with ptrarray.create(path, **{"dtype": "i4", **options}) as writer:
        for value, name in enumerate(names):
            writer[name] = [value]
    return path


def join(path: Path, stores: Any, how: str = "move", **options: Any) -> None:
    ptrarray.join(path, stores, how, progress=False, **options)


def names_in(path: Path) -> list[str]:
    return [found.name for found in path.iterdir()]


@pytest.mark.parametrize("how", ["move", "link", "copy"])
def test_a_store_to_itself(how: str, tmp_path: Path) -> None:
    path, other = tmp_path / "all.ptr", tmp_path / "other.ptr"
    join(path, [one(tmp_path / "x.ptr", "x")])
    other.symlink_to(path)
    third = one(tmp_path / "y.ptr", "y")
    before = files_of(tmp_path)
    for stores in ([path], [other], [third, path]):
        with pytest.raises(BadInputError, match=r"all.ptr is to be joined to itself"):
            join(path, stores, how)
        assert files_of(tmp_path) == before
    with pytest.raises(BadInputError, match=r"all.ptr is to be joined to itself"):
        join(other, [path], how)


@pytest.mark.parametrize("how", ["move", "link", "copy"])
def test_a_store_to_one_that_would_lie_in_it(how: str, tmp_path: Path) -> None:
    source, link = one(tmp_path / "x.ptr", "x"), tmp_path / "link"
    link.symlink_to(source)
    (source / "deep").mkdir()
    for path in (source / "all.ptr", source / "deep" / "all.ptr", link / "all.ptr"):
        with pytest.raises(BadInputError, match=r"x.ptr is to be joined to .* which lies in it"):
            join(path, [source], how)
        assert held(source).keys() == {"x"}


@pytest.mark.parametrize("shard_size", [None, 1])
def test_other_files_do_not_go_with_a_store(shard_size: int | None, tmp_path: Path) -> None:
    source = one(tmp_path / "x.ptr", "a", "b", shard_size=shard_size)
    ptrarray.compact(source)  # other file names
    if shard_size:
        (source / "shard-00001.ptr" / "notes").mkdir()
    else:
        (source / "README").touch()
    before = files_of(tmp_path)
    with pytest.raises(BadInputError, match=r"cannot be moved, as '(README|notes)' is no part of"):
        join(tmp_path / "all.ptr", [source])
    assert files_of(tmp_path) == before
    join(tmp_path / "all.ptr", [source], "link")
    assert held(tmp_path / "all.ptr").keys() == {"a", "b"}


def deleted(path: Path) -> None:
    with ptrarray.append(path) as writer:
        del writer["x"]


def renamed(path: Path) -> None:
    with ptrarray.append(path) as writer:
        writer.rename("x", "new")


def with_meta(path: Path) -> None:
    with ptrarray.append(path) as writer:
        writer.meta["x"] = {"rate": 1}


def written_anew(path: Path) -> None:
    with ptrarray.append(path) as writer:
        writer.write({"x": [77]}, overwrite=True)


@pytest.mark.parametrize("is_folded", [False, True])
@pytest.mark.parametrize("change", [deleted, renamed, with_meta, written_anew])
def test_a_link_that_moves_later_loses_nothing(
    change: Any, is_folded: bool, tmp_path: Path
) -> None:
    """Only what the joined store still has as it is may go."""
    path, source = tmp_path / "all.ptr", one(tmp_path / "x.ptr", "x", "y")
    join(path, [source], "link")
    change(path)
    if is_folded:
        ptrarray.checkpoint(path)
    before = held(source)
    with pytest.raises(BadInputError, match=r"x.ptr is in .*all.ptr already, as shard-00000"):
        join(path, [source])
    assert held(source) == before


def test_a_link_that_changes_and_moves_later_loses_nothing(tmp_path: Path) -> None:
    """Both are of the same generation and have their rows in common."""
    path, source = tmp_path / "all.ptr", one(tmp_path / "x.ptr", "x", "y")
    join(path, [source], "link")
    for store, name in ((path, "x"), (source, "y")):
        with ptrarray.append(store) as writer:
            writer.rename(name, "new")
        ptrarray.checkpoint(store)
    with pytest.raises(BadInputError, match=r"x.ptr is in .*all.ptr already"):
        join(path, [source])
    assert held(source).keys() == {"x", "new"}


@pytest.mark.parametrize("change", [deleted, renamed, with_meta])
def test_a_source_that_changes_and_moves_later_stays(change: Any, tmp_path: Path) -> None:
    """What has changed in it is in its journal only."""
    path, source = tmp_path / "all.ptr", one(tmp_path / "x.ptr", "x", "y")
    join(path, [source], "link")
    change(source)
    before = held(source)
    with pytest.raises(BadInputError, match=r"x.ptr is in .*all.ptr already"):
        join(path, [source])
    assert held(source) == before


def test_a_link_does_not_lose_a_name_to_one_that_comes_later(tmp_path: Path) -> None:
    """Where the first array of a name is kept, its own was deleted by somebody."""
    path, source = tmp_path / "all.ptr", one(tmp_path / "x.ptr", "x", "same")
    join(path, [source], "link")
    with ptrarray.append(path) as writer:
        del writer["same"]
    with pytest.raises(BadInputError, match=r"x.ptr is in .*all.ptr already"):
        join(path, [source, one(tmp_path / "y.ptr", "same")], duplicates="first")
    assert held(source).keys() == {"x", "same"}


@pytest.mark.parametrize("how", ["move", "link", "copy"])
@pytest.mark.parametrize("duplicates", ["first", "last"])
def test_a_source_that_somebody_else_joins_meanwhile(
    how: str, duplicates: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be there twice."""
    path, source = tmp_path / "all.ptr", one(tmp_path / "x.ptr", "x")
    join(path, [one(tmp_path / "y.ptr", "y")])
    join(tmp_path / "other.ptr", [source], "link")  # which seals it, so that it is as it was
    take_files = joining._take_files

    def joined_first(*given: Any) -> None:
        take_files(*given)
        monkeypatch.undo()
        join(path, [source], "copy" if how == "copy" else "link")

    monkeypatch.setattr(joining, "_take_files", joined_first)
    with pytest.raises(BadInputError, match=r"x.ptr is in .*all.ptr already, as shard-00001"):
        join(path, [source], how, duplicates=duplicates)
    assert held(source).keys() == {"x"}
    with ptrarray.open(path) as store:
        assert (list(store), len(store.shards)) == (["y", "x"], 2)


def test_what_is_replaced_in_shards_that_are_there_is_gone_from_them(tmp_path: Path) -> None:
    path = tmp_path / "all.ptr"
    join(path, [one(tmp_path / "x.ptr", "same", "x")])
    join(path, [one(tmp_path / "y.ptr", "y", "same")], duplicates="last")
    with ptrarray.open(shutil.copytree(path / "shard-00000.ptr", tmp_path / "shard.ptr")) as shard:
        assert list(shard) == ["x"]
    assert held(path).keys() == {"x", "y", "same"}


def test_many_names_that_are_deleted_are_folded_in(tmp_path: Path) -> None:
    path, names = tmp_path / "all.ptr", [f"name {at}" for at in range(1000)]
    stores = [one(tmp_path / "x.ptr", *names), one(tmp_path / "y.ptr", *names, "y")]
    join(path, stores, duplicates="first")
    with ptrarray.open(path) as store:
        assert list(store) == [*names, "y"]
    for shard in path.glob("shard-*"):
        with Journal(shard, writable=False) as journal:
            assert journal.read_header().committed_end == RECORDS_START


def test_too_many_names_to_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are noted in one record."""
    path, names = tmp_path / "all.ptr", [f"name {at}" for at in range(10)]
    join(path, [one(tmp_path / "x.ptr", *names)])
    other = one(tmp_path / "y.ptr", *reversed(names))
    before = held(path)
    monkeypatch.setattr(joining, "_REPLACED_NBYTES", 59)
    with pytest.raises(BadInputError, match="too many to be replaced in one step"):
        join(path, [other], duplicates="last")
    assert held(path) == before
    monkeypatch.setattr(joining, "_REPLACED_NBYTES", 60)
    join(path, [other], duplicates="last")
    assert held(path) != before
    assert names_in(tmp_path) == ["all.ptr"]


def test_a_link_with_a_prefix_moves_with_the_same(tmp_path: Path) -> None:
    path, source = tmp_path / "all.ptr", one(tmp_path / "x.ptr", "x", "y")
    join(path, [source], "link", prefix="one/")
    for prefix in (None, "two/"):
        with pytest.raises(BadInputError, match=r"x.ptr is in .*all.ptr already"):
            join(path, [source], prefix=prefix)
    with ptrarray.append(path) as writer:
        writer["later"] = [1]
    ptrarray.checkpoint(path)
    join(path, [source], prefix="one/")
    assert held(path).keys() == {"one/x", "one/y", "later"}
    assert names_in(tmp_path) == ["all.ptr"]


@pytest.mark.parametrize("duplicates", ["first", "last"])
def test_a_link_that_lost_names_to_others_moves_later(duplicates: str, tmp_path: Path) -> None:
    path = tmp_path / "all.ptr"
    sources = [one(tmp_path / f"{key}.ptr", "same", key) for key in "xyz"]
    join(path, sources, "link", duplicates=duplicates)
    before = held(path)
    with pytest.raises(BadInputError, match=r"ptr is in .*all.ptr already"):
        join(path, sources)
    join(path, sources, duplicates=duplicates)
    assert held(path) == before
    assert names_in(tmp_path) == ["all.ptr"]


def test_links_that_lost_a_name_to_each_other_keep_it(tmp_path: Path) -> None:
    path = tmp_path / "all.ptr"
    sources = [one(tmp_path / f"{key}.ptr", "same", key) for key in "xyz"]
    join(path, sources, "link", duplicates="last")
    with ptrarray.append(path) as writer:
        del writer["same"]
    with pytest.raises(BadInputError, match=r"ptr is in .*all.ptr already"):
        join(path, sources, duplicates="last")
    assert all(source.exists() for source in sources)


def test_keys_that_are_too_long(tmp_path: Path) -> None:
    path = tmp_path / "all.ptr"
    for key in ("x" * 201, "é" * 101):
        with pytest.raises(BadInputError, match=r"cannot be the key of a part.*at most 200"):
            ptrarray.part(path, key, dtype="i4")
    assert not names_in(tmp_path)
    for key in ("x" * 200, "é" * 100):
        with ptrarray.part(path, key, dtype="i4") as writer:
            writer[key] = [1]
        with ptrarray.part(path, key, dtype="i4", mode="w") as writer:
            writer[key] = [2]
    join(path, None)
    assert len(held(path)) == 2


@pytest.mark.parametrize("key", ["fill-1", "fill-20261231", "fill-a-b"])
def test_parts_of_users_are_not_those_of_a_run(key: str, tmp_path: Path) -> None:
    path = tmp_path / "all.ptr"
    with ptrarray.part(path, key, dtype="i4") as writer:
        writer["mine"] = [1]
    for name in "xy":
        ptrarray.fill(
            path, list, {name: [1]}, dtype="i4", parts="host", processes=1, progress=False
        )
    assert names_in(tmp_path / "all.ptr.parts") == [f"{key}.ptr"]
    join(path, None)
    assert held(path).keys() == {"mine", "x", "y"}


# what others do meanwhile -------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["move", "link"])
def test_a_source_that_gets_a_shard_meanwhile(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written to it would be in no store."""
    path, source = tmp_path / "all.ptr", one(tmp_path / "x.ptr", "x", "y", shard_size=1)
    begun = joining._begun

    def written_first(*given: Any) -> Any:
        with ptrarray.append(source) as writer:
            writer["late"] = [1]
        return begun(*given)

    monkeypatch.setattr(joining, "_begun", written_first)
    with pytest.raises(StoreError, match="changed while it was being joined"):
        join(path, [source], how)
    monkeypatch.undo()
    assert held(source).keys() == {"x", "y", "late"}
    join(path, [source], how)
    assert held(path).keys() == {"x", "y", "late"}


def test_a_source_that_gets_a_shard_before_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, source = tmp_path / "all.ptr", one(tmp_path / "x.ptr", "x", "y", shard_size=1)
    remove = joining._remove_moved

    def written_first(*given: Any) -> Any:
        with ptrarray.append(source) as writer:
            writer["late"] = [1]
        return remove(*given)

    monkeypatch.setattr(joining, "_remove_moved", written_first)
    with pytest.raises(StoreError, match="changed while it was being joined"):
        join(path, [source])
    monkeypatch.undo()
    assert held(path).keys() == {"x", "y"}
    assert held(source).keys() == {"x", "y", "late"}
    join(path, [source])  # what is left of it
    assert held(path).keys() == {"x", "y", "late"}
    assert names_in(tmp_path) == ["all.ptr"]


@pytest.mark.parametrize("shard_size", [None, 1])
def test_those_go_that_came_before_one_that_has_to_stay(
    shard_size: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "all.ptr"
    sources = [one(tmp_path / f"{name}.ptr", name, shard_size=shard_size) for name in "xyz"]
    remove = joining._remove_moved

    def written_first(*given: Any) -> Any:
        with ptrarray.append(sources[1]) as writer:
            del writer["y"]
        return remove(*given)

    monkeypatch.setattr(joining, "_remove_moved", written_first)
    with pytest.raises(StoreError, match="changed while it was being joined"):
        join(path, sources)
    assert held(path).keys() == {"x", "y", "z"}
    assert set(names_in(tmp_path)) == {"all.ptr", "y.ptr", "z.ptr"}
    assert held(sources[1]).keys() == set()


def test_a_source_that_is_another_store_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same generation, with records of the same size."""
    path, source = tmp_path / "all.ptr", one(tmp_path / "x.ptr", "x")
    begun = joining._begun

    def replaced_first(*given: Any) -> Any:
        found = begun(*given)
        shutil.rmtree(source)
        one(source, "y")
        return found

    monkeypatch.setattr(joining, "_begun", replaced_first)
    with pytest.raises(StoreError, match="changed while it was being joined"):
        join(path, [source])
    assert held(source).keys() == {"y"}
    assert not path.exists()


@pytest.mark.parametrize("kind", ["link", "part"])
def test_writers_of_a_sealed_store_that_goes(kind: str, tmp_path: Path) -> None:
    """What they change must not be acknowledged, as nobody would see it."""
    path, source = tmp_path / "all.ptr", tmp_path / "all.ptr.parts" / "x.ptr"
    if kind == "part":
        with ptrarray.part(path, "x", dtype="i4") as writer:
            writer.update({"x": [1], "y": [2]})
    else:
        source.parent.mkdir()
        join(tmp_path / "other.ptr", [one(source, "x", "y")], "link")
    writers = [ptrarray.append(source) for _ in range(4)]
    join(path, None)
    with pytest.raises(StoreError, match="no store at"):
        del writers[0]["x"]
    with pytest.raises(StoreError, match="no store at"):
        writers[1].rename("x", "new")
    with pytest.raises(StoreError, match="no store at"):
        writers[2].meta["x"] = {"rate": 1}
    with pytest.raises(StoreError, match="no store at"):
        writers[3].attrs["rate"] = 1
    for writer in writers:
        writer.close()
    assert held(path).keys() == {"x", "y"}


def test_stores_that_go_while_they_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = one(tmp_path / "x.ptr", "x", "y", shard_size=1)
    list_directory = files.list_directory

    def moved_first(path: Any) -> Any:
        if Path(path) == source:
            monkeypatch.undo()
            shutil.move(source, tmp_path / "away")
        return list_directory(path)

    for opened in (ptrarray.open, ptrarray.append, lambda path: join(tmp_path / "y.ptr", [path])):
        monkeypatch.setattr(files, "list_directory", moved_first)
        with pytest.raises(StoreNotFoundError, match="no store at"):
            opened(source)
        shutil.move(tmp_path / "away", source)


def test_a_source_that_is_compacted_while_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, source = tmp_path / "all.ptr", one(tmp_path / "x.ptr", "x")
    ptrarray.checkpoint(source)
    copy = files.copy

    def compacted_first(*given: Any) -> Any:
        ptrarray.compact(source)
        return copy(*given)

    monkeypatch.setattr(files, "copy", compacted_first)
    with pytest.raises(StoreError, match="changed while it was being joined"):
        join(path, [source], "copy")
    assert names_in(tmp_path) == ["x.ptr"]


# parts --------------------------------------------------------------------------------------------


def test_a_part_is_gone_on_with_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "all.ptr"
    with ptrarray.part(path, "k", dtype="i4") as writer:
        writer["x"] = [1]
    with ptrarray.part(path, "k") as writer:
        writer["y"] = [1]
    with pytest.raises(BadInputError, match=r"has rows of int32"):
        ptrarray.part(path, "k", dtype="f8")
    join(path, None)
    assert held(path).keys() == {"x", "y"}


@pytest.mark.parametrize("how", ["join", "fill"])
def test_what_killed_processes_left_goes_with_the_last_part(how: str, tmp_path: Path) -> None:
    """Its keys are not used again, so that nobody else would remove it."""
    path = tmp_path / "all.ptr"
    with ptrarray.part(path, "k", dtype="i4") as writer:
        writer["x"] = [1]
    left = tmp_path / "all.ptr.parts" / f".lost.ptr.{'0f' * 8}.new"
    shutil.copytree(left.with_name("k.ptr"), left)
    if how == "fill":
        ptrarray.fill(path, list, {"y": [1]}, dtype="i4", parts="host", processes=1, progress=False)
        assert not left.exists()
    join(path, None)
    assert names_in(tmp_path) == ["all.ptr"]
