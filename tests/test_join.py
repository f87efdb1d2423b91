"""Stores are joined: what they hold is in one, which goes on as any store does."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ptrarray
from ptrarray.cli import main
from ptrarray.storage.shards import doubles
from ptrarray.storage.store.index import Index
from ptrarray.storage.store.snapshot import open_snapshot
from tests.support.joined import LAYOUTS, files_of, held, make

Three = Callable[[str], tuple[Path, list[dict[str, bytes]]]]
HOWS = ("move", "link", "copy")
each_how = pytest.mark.parametrize("how", HOWS)


def joined(path: Path, *stores: Path, **options: Any) -> dict[str, bytes]:
    ptrarray.join(path, stores, **{"progress": False, **options})
    return held(path)


def ints(path: Path, **arrays: list[int]) -> Path:
    with ptrarray.create(path, dtype="i4") as writer:
        writer.update(arrays)
    return path


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Three:
    """Return a function that makes three stores of a layout, once, and returns what they hold."""

    @cache
    def made(layout: str) -> tuple[Path, list[dict[str, bytes]]]:
        folder = tmp_path_factory.mktemp("three")
        sizes: dict[str, dict[str, Any]] = {"x": {}, "y": {"shard_size": 1}, "z": {}}
        content = [make(folder / f"{key}.ptr", layout, key, **sizes[key]) for key in sizes]
        ptrarray.checkpoint(folder / "z.ptr")
        return folder, content

    return made


@pytest.mark.parametrize("layout", LAYOUTS)
@each_how
def test_all_arrays_are_in_one(layout: str, how: str, tmp_path: Path, three: Three) -> None:
    path = tmp_path / "all.ptr"
    made, (first, second, third) = three(layout)
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    stores = [tmp_path / f"{name}.ptr" for name in "xyz"]
    before = [files_of(store) for store in stores]
    found = joined(path, *stores, how=how)
    assert found == first | second | third
    assert list(found) == [*first, *second, *third]
    assert [store.exists() for store in stores] == [how != "move"] * 3
    if how == "link":
        assert [held(store) for store in stores] == [first, second, third]
    if how == "copy":
        assert [files_of(store) for store in stores] == before
    assert {p.name for p in tmp_path.iterdir()} == {
        "all.ptr",
        *([] if how == "move" else ["x.ptr", "y.ptr", "z.ptr"]),
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_joined_store_goes_on(layout: str, tmp_path: Path) -> None:
    """Appends go to a new shard; what others have of the files stays as it is."""
    path, other = tmp_path / "all.ptr", tmp_path / "x.ptr"
    before = make(other, layout, "x") | make(tmp_path / "y.ptr", layout, "y")
    joined(path, other, tmp_path / "y.ptr", how="link")
    content, sizes = held(other), sizes_of_data(other)
    with ptrarray.append(path) as writer:
        old = writer["x/b"]
        writer["more"] = old
        writer.write({"x/a": old}, overwrite=True)
        writer.rename("y/a", "renamed")
        writer.delete(["y/b"])
        writer.attrs["k"] = 1
        writer.meta["renamed"] = {"m": 1}
        first, end = writer.pointers["x/b"]
        writer.point("again", first, end)
    found = held(path)
    kept = before.keys() - {"x/a", "y/a", "y/b"}
    assert {name: found[name] for name in kept} == {name: before[name] for name in kept}
    assert found.keys() == kept | {"more", "x/a", "renamed", "again"}
    assert (held(other), sizes_of_data(other)) == (content, sizes)
    ptrarray.checkpoint(path)
    assert held(path) == found
    ptrarray.compact(path)
    assert held(path) == found
    assert held(other) == content
    with ptrarray.append(path) as writer:
        writer["last"] = writer["more"]
    assert held(path).keys() == found.keys() | {"last"}


def sizes_of_data(path: Path) -> dict[str, int]:
    found = [*path.glob("data*.bin"), *path.glob("mask*.bin")]
    return {file.name: file.stat().st_size for file in found}


@each_how
def test_joined_to_a_store_that_is_there(how: str, tmp_path: Path) -> None:
    path = tmp_path / "all.ptr"
    first = make(path, "rows", "x", shard_size=1)
    second = make(tmp_path / "y.ptr", "rows", "y")
    reader = ptrarray.open(path)
    writer = ptrarray.append(path)
    found = joined(path, tmp_path / "y.ptr", how=how)
    assert found == first | second
    assert set(reader) == first.keys()
    reader.refresh()
    assert set(reader) == found.keys()
    writer["z"] = [1]
    with pytest.raises(ptrarray.DuplicateNameError):
        writer.write({"y/a": [1]})
    writer.close()
    assert held(path).keys() == found.keys() | {"z"}
    joined(path, ints(tmp_path / "w.ptr", w=[1]), how=how)
    assert held(path).keys() == found.keys() | {"z", "w"}


@each_how
@pytest.mark.parametrize("duplicates", ["first", "last"])
def test_one_of_each_name_is_kept(how: str, duplicates: str, tmp_path: Path) -> None:
    path = tmp_path / "all.ptr"
    stores = [
        ints(tmp_path / "0.ptr", a=[1], b=[1]),
        ints(tmp_path / "1.ptr", a=[2], c=[2]),
        ints(tmp_path / "2.ptr", b=[3], c=[3], d=[3]),
    ]
    later = [ints(tmp_path / "3.ptr", d=[4], a=[4]), ints(tmp_path / "4.ptr", d=[5], e=[5])]
    with ptrarray.append(stores[0]) as writer:
        writer.update({"d": [0], "gone": [0]})
        del writer["d"]  # so it is no duplicate
    options = {"how": how, "duplicates": duplicates, "progress": False}
    ptrarray.join(path, stores, **options)  # type: ignore[arg-type]
    right = (
        {"a": 1, "b": 1, "c": 2, "d": 3}
        if duplicates == "first"
        else {"a": 2, "b": 3, "c": 3, "d": 3}
    )
    assert as_numbers(path) == right | {"gone": 0}
    ptrarray.join(path, later, **options)  # type: ignore[arg-type]
    right |= {"e": 5} if duplicates == "first" else {"a": 4, "d": 5, "e": 5}
    assert as_numbers(path) == right | {"gone": 0}
    ptrarray.checkpoint(path)
    assert as_numbers(path) == right | {"gone": 0}


def as_numbers(path: Path) -> dict[str, int]:
    assert len(ptrarray.open(path)) == len(held(path))
    return {name: int(array[0]) for name, array in ptrarray.open(path).items()}


def test_duplicates_are_listed_and_nothing_is_done(tmp_path: Path) -> None:
    stores = [ints(tmp_path / "0.ptr", a=[1], b=[1]), ints(tmp_path / "1.ptr", b=[2], a=[2], c=[1])]
    before = files_of(tmp_path)
    with pytest.raises(ptrarray.DuplicateNameError, match="names are in several stores") as caught:
        ptrarray.join(tmp_path / "all.ptr", stores, progress=False)
    assert set(caught.value.names) == {"a", "b"}
    assert "'a', 'b'" in str(caught.value) or "'b', 'a'" in str(caught.value)
    assert files_of(tmp_path) == before
    with ptrarray.append(stores[0]) as writer:  # not sealed
        writer["more"] = [1]


@each_how
def test_prefixes(how: str, tmp_path: Path) -> None:
    path = tmp_path / "all.ptr"
    n = 1000
    arrays = {f"{i}é": [i, i + 1] for i in range(n)}
    stores = [ints(tmp_path / f"{name}.ptr", **arrays) for name in "xy"]
    ptrarray.join(path, stores, how, prefix=lambda store: f"{Path(store).stem}/", progress=False)
    store = ptrarray.open(path)
    ptrarray.verify(path)
    assert list(store) == [f"{key}/{name}" for key in "xy" for name in arrays]
    assert store["y/7é"].tolist() == [7, 8]
    third = ints(tmp_path / "z.ptr", **arrays)
    ptrarray.join(path, [third], how, prefix=["z/"], progress=False)
    assert len(ptrarray.open(path)) == 3 * n
    if how != "move":
        assert list(ptrarray.open(stores[0])) == list(arrays)
    ptrarray.verify(path)


def test_prefixes_that_make_names_equal(tmp_path: Path) -> None:
    stores = [ints(tmp_path / "0.ptr", a=[1]), ints(tmp_path / "1.ptr", aa=[2])]
    with pytest.raises(ptrarray.DuplicateNameError, match="'aa'"):
        ptrarray.join(tmp_path / "all.ptr", stores, prefix=["a", ""], progress=False)
    long = ints(tmp_path / "2.ptr", **{"n" * 65000: [1]})
    with pytest.raises(ptrarray.BadInputError, match="65536 bytes with the prefix"):
        ptrarray.join(tmp_path / "all.ptr", [long], prefix="p" * 537, progress=False)


@each_how
def test_helper_arrays_are_brought_together(how: str, tmp_path: Path) -> None:
    path = tmp_path / "all.ptr"
    index = pd.Index([10, 20, 30], name="time")
    given = {}
    for key in "xyz":
        other = pd.Index([f"{key}{i}" for i in range(3)], name=key)
        with ptrarray.create(tmp_path / f"{key}.ptr") as writer:
            given[key] = pd.Series([1.0, 2.0, 3.0], index)
            given[f"{key}/own"] = pd.Series([1, 2, 3], other)
            for name in (key, f"{key}/own"):
                writer.series(name, given[name])
    joined(path, tmp_path / "x.ptr", tmp_path / "y.ptr", how=how)
    joined(path, tmp_path / "z.ptr", how=how)
    store = ptrarray.open(path)
    for name, series in given.items():
        pd.testing.assert_series_equal(store.series(name), series)
    ptrarray.compact(path)
    ptrarray.verify(path)
    assert len(ptrarray.open(path / "helpers.ptr")) == 4


def test_many_collisions_in_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Range by range, whatever the ranges; hashes of the journal count, and deleted names do not."""
    rng = np.random.default_rng(0)
    names = [f"{number:x}" for number in rng.integers(0, 3000, 4000)]
    monkeypatch.setattr(doubles, "_WINDOW", 3)
    stores, right = [], dict[str, list[int]]()
    for number in range(4):
        own = list(dict.fromkeys(names[1000 * number : 1000 * (number + 1)]))
        path = ints(tmp_path / f"{number}.ptr", **{name: [number] for name in own[:500]})
        ptrarray.checkpoint(path)
        writer = ptrarray.append(path)
        writer.update({name: [number] for name in own[500:]})
        writer.delete([own[3], own[600]])
        writer.update({own[3]: [number], own[7]: [number]})  # one again, and one anew
        stores.append(open_snapshot(path))
        for name in own:
            if name != own[600]:
                right.setdefault(name, []).append(number)
    expected = {name.encode(): numbers for name, numbers in right.items() if len(numbers) > 1}
    for memory in (1 << 30, 100_000, 2000):
        found: dict[bytes, list[int]] = {}
        for some in doubles.find_doubles(stores, memory):
            found.update(some)
        assert found == expected


def test_readers_of_a_store_that_moves_go_on(tmp_path: Path) -> None:
    other = ints(tmp_path / "x.ptr", a=[1, 2], b=[3])
    reader, lazy = ptrarray.open(other), ptrarray.open(other, backend="pread")
    joined(tmp_path / "all.ptr", other)
    assert reader["a"].tolist() == lazy["a"].tolist() == [1, 2]
    with pytest.raises(ptrarray.StoreNotFoundError):
        reader.refresh()
    assert reader["b"].tolist() == [3]


def test_nothing_is_copied(tmp_path: Path) -> None:
    other = ints(tmp_path / "x.ptr", a=[1, 2])
    joined(tmp_path / "all.ptr", other, how="link")
    shard = tmp_path / "all.ptr" / "shard-00000.ptr"
    for name in ("data.bin", "index.msgpack"):
        assert (other / name).samefile(shard / name)
    assert Index(shard).header.sealed
    assert not (other / "journal.msgpack").samefile(shard / "journal.msgpack")


def test_files_that_cannot_be_linked_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "not here")

    other = ints(tmp_path / "x.ptr", a=[1, 2])
    sparse = tmp_path / "sparse.ptr"
    with ptrarray.create(sparse, dtype="i4", rows=1 << 20) as writer:
        writer.write({"b": [7]}, start=(1 << 20) - 1)
    monkeypatch.setattr(os, "link", link)
    assert joined(tmp_path / "all.ptr", other, sparse).keys() == {"a", "b"}
    shard = tmp_path / "all.ptr" / "shard-00001.ptr"
    assert (shard / "data.bin").stat().st_size == 4 << 20
    assert (shard / "data.bin").stat().st_blocks * 512 < 1 << 20
    assert not other.exists()


@pytest.mark.parametrize("shard_size", [None, 1])
def test_read_only_stores_are_copied(
    shard_size: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "x.ptr"
    content = make(other, "rows", "x", shard_size=shard_size)
    real = os.open

    def open_(path: str, flags: int, *more: Any) -> int:
        if str(path).startswith(str(other)) and flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, "a read-only file system", path)
        return real(path, flags, *more)

    monkeypatch.setattr(os, "open", open_)
    assert joined(tmp_path / "all.ptr", other, how="copy") == content


def test_relative_paths_and_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ints(Path("x.ptr"), a=[1])
    ints(Path("real.ptr"), b=[1])
    Path("y.ptr").symlink_to("real.ptr")
    ptrarray.join("all.ptr", ["x.ptr", "./y.ptr"], progress=False)
    assert set(ptrarray.open("all.ptr")) == {"a", "b"}
    assert not Path("real.ptr").exists()


def test_a_copy_of_a_shard_is_a_store(tmp_path: Path) -> None:
    path = tmp_path / "all.ptr"
    content = make(path, "rows", "x", shard_size=1)
    shutil.copytree(path / "shard-00001.ptr", tmp_path / "one.ptr")
    one = held(tmp_path / "one.ptr")
    assert one
    assert joined(tmp_path / "other.ptr", tmp_path / "one.ptr") == one
    assert held(path) == content


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, stores = tmp_path / "all.ptr", [ints(tmp_path / f"{key}.ptr", a=[1]) for key in "xy"]
    assert main(["join", str(path), *map(str, stores), "--how", "link"]) == 1
    assert "names are in several stores" in capsys.readouterr().err
    given = ["join", str(path), *map(str, stores), "--how", "link", "--prefix", "{stem}/", "--json"]
    assert main(given) == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(path), "arrays": 2, "shards": 2}
    with ptrarray.part(path, "z") as writer:
        writer["z"] = [1]
    assert main(["join", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: 3 arrays in 3 shards\n"
    assert list(ptrarray.open(path)) == ["x/a", "y/a", "z"]
