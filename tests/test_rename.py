"""Renaming, and pointing to what has a name already: one commit, and nothing else of it changes."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, DuplicateNameError, UnknownNameError

pytestmark = pytest.mark.usefixtures("no_syncs")
ma: Any = np.ma
LAYOUTS: dict[str, dict[str, Any]] = {
    "rows": {"dtype": "f4", "row_shape": (2,)},
    "shaped": {"dtype": "f4", "row_shape": None},
    "mixed": {},
}
ARRAY = np.arange(6, dtype="f4").reshape(3, 2)


def make(path: Path, layout: str, **options: Any) -> Path:
    with ptrarray.create(path, **LAYOUTS[layout], **options) as writer:
        writer.write({"a": ARRAY, "b": ARRAY + 1}, meta={"a": {"unit": "nm"}})
        writer["c"] = ARRAY[:0]
    return path


def facts(store: Any, name: str) -> tuple[Any, ...]:
    array = store[name]
    return (
        (array.dtype, array.shape, array.flags.f_contiguous, ma.getdata(array).tobytes()),
        ma.getmaskarray(array).tolist(),
        getattr(array, "fill_value", None),
        getattr(array, "hardmask", None),
        tuple(store.pointers[name]),
        store.meta[name],
    )


@pytest.fixture(params=[False, True], ids=["journal", "index"])
def settled(request: Any) -> Callable[[Path], Path]:
    """Return what leaves arrays in the journal, or folds them into the index."""

    def settle(path: Path) -> Path:
        if request.param:
            ptrarray.checkpoint(path)
        return path

    return settle


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_of_it_stays(
    tmp_path: Path, layout: str, masked: bool, settled: Callable[[Path], Path]
) -> None:
    path = make(tmp_path / "s.ptr", layout, masked=masked)
    with ptrarray.append(path) as writer:
        turned = np.asfortranarray(ARRAY)
        mask = np.asfortranarray(ARRAY > 2)
        new = ma.MaskedArray(turned, mask, fill_value=7, hard_mask=True) if masked else turned
        writer.write({"new": new}, meta={"new": {"n": [1, None]}})
    settled(path)
    with ptrarray.open(path) as reader, ptrarray.append(path) as writer:
        before, view = facts(reader, "new"), reader["new"]
        n_rows = reader.shape[0]
        writer.rename("new", "größe")
        assert "new" in reader
        assert sorted(writer) == ["a", "b", "c", "größe"]
        reader.refresh()
        assert facts(reader, "größe") == before
        assert "new" not in reader
        with pytest.raises(UnknownNameError, match="'new'"):
            reader["new"]
        assert reader.shape[0] == n_rows
        assert ma.getdata(view).tobytes() == before[0][3]
        writer["new"] = ARRAY  # the name is free
    ptrarray.verify(path)
    ptrarray.compact(path)
    with ptrarray.open(path) as store:
        found = facts(store, "größe")
        assert (*found[:4], found[5]) == (*before[:4], before[5])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_refused_changes_nothing(
    tmp_path: Path, layout: str, settled: Callable[[Path], Path]
) -> None:
    path = settled(make(tmp_path / "s.ptr", layout))
    with ptrarray.append(path) as writer:
        version = writer.version
        for old, new, error in (
            ("x", "y", UnknownNameError),
            ("x", "x", UnknownNameError),
            ("x", "a", UnknownNameError),
            ("a", "b", DuplicateNameError),
            ("a", "c", DuplicateNameError),
            ("a", "\ud800", BadInputError),
            ("\ud800", "a", UnknownNameError),
            ("a", "n" * 70000, BadInputError),
            ("a", 3, BadInputError),
            (3, "a", UnknownNameError),
        ):
            with pytest.raises(error) as raised:
                writer.rename(old, new)  # type: ignore[arg-type]
            assert str(path) in str(raised.value)
        writer.rename("a", "a")
        assert writer.version == version
        assert list(writer) == ["a", "b", "c"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_replacing_what_has_the_name(
    tmp_path: Path, layout: str, settled: Callable[[Path], Path]
) -> None:
    path = settled(make(tmp_path / "s.ptr", layout))
    with ptrarray.append(path) as writer:
        writer.rename("a", "b", overwrite=True)
        assert sorted(writer) == ["b", "c"]
        assert writer["b"].tolist() == ARRAY.tolist()
        assert dict(writer.meta) == {"b": {"unit": "nm"}, "c": {}}
        writer.rename("b", "new", overwrite=True)
        writer.rename("new", "a")
    ptrarray.verify(path)
    ptrarray.compact(path)
    with ptrarray.open(path) as store:
        assert store["a"].tolist() == ARRAY.tolist()
        assert store.shape[0] == len(store.rows) == (store.ends.max())


def test_pointed_names_go_on_sharing_rows(tmp_path: Path) -> None:
    path = make(tmp_path / "s.ptr", "mixed")
    with ptrarray.append(path) as writer:
        writer.point("same", *writer.pointers["a"])
        writer.rename("a", "z")
        writer.rename("same", "y")
    ptrarray.verify(path)
    ptrarray.compact(path)
    with ptrarray.open(path, mode="r+") as store:
        store["y"][0, 0] = 9
        assert store["z"][0, 0] == 9
    ptrarray.verify(path)


# shards -------------------------------------------------------------------------------------------


def in_shards(path: Path) -> dict[str, Any]:
    arrays = {f"n{n}": np.full(100, n, "f8") for n in range(12)}
    with ptrarray.create(path, shard_size=2000) as writer:
        for name, array in arrays.items():
            writer.write({name: array}, meta={name: {"of": name}})
    return arrays


def shard_of(path: Path, name: str) -> list[str]:
    shards = sorted(path.glob("shard-*.ptr"))
    return [shard.name for shard in shards if name in ptrarray.open(shard)]


def test_an_array_stays_in_its_shard(tmp_path: Path) -> None:
    arrays = in_shards(path := tmp_path / "s.ptr")
    with (
        ptrarray.append(path) as writer,
        ptrarray.append(path) as other,
        ptrarray.open(path) as store,
    ):
        assert len(list(path.glob("shard-*.ptr"))) > 3
        for old in list(arrays):
            where = shard_of(path, old)
            other.rename(old, f"new {old}")
            assert shard_of(path, f"new {old}") == where
            assert shard_of(path, old) == []
            with pytest.raises(UnknownNameError):
                writer.rename(old, "late")
            with pytest.raises(DuplicateNameError):
                writer.write({f"new {old}": [1]})
        store.refresh()
        assert {name.removeprefix("new "): meta["of"] for name, meta in store.meta.items()} == {
            name: name for name in arrays
        }
        assert all((store[f"new {name}"] == array).all() for name, array in arrays.items())
    ptrarray.verify(path)


@pytest.mark.parametrize(
    ("old", "new"), [("n0", "n11"), ("n11", "n0"), ("n0", "n5"), ("n5", "n0"), ("n0", "n1")]
)
def test_replacing_what_is_in_another_shard(tmp_path: Path, old: str, new: str) -> None:
    arrays = in_shards(path := tmp_path / "s.ptr")
    with ptrarray.append(path) as writer:
        with pytest.raises(DuplicateNameError):
            writer.rename(old, new)
        with ptrarray.open(path) as store:
            assert set(store) == set(arrays)
        writer.rename(old, new, overwrite=True)
        arrays[new] = arrays.pop(old)
        with ptrarray.open(path) as store:
            assert {name: store[name].tolist() for name in store} == {
                name: array.tolist() for name, array in arrays.items()
            }
        assert writer[new].tolist() == arrays[new].tolist()
    ptrarray.verify(path)
    with ptrarray.open(path) as store:
        assert set(store) == set(arrays)


# several processes --------------------------------------------------------------------------------


def rename_all(path: str, who: int, names: list[str]) -> list[str]:
    won = []
    with ptrarray.append(path) as writer:
        for name in names:
            try:
                writer.rename(name, f"{name} of {who}")
                won.append(name)
            except UnknownNameError:
                pass
    return won


@pytest.mark.parametrize("options", [{}, {"shard_size": 20_000}], ids=["plain", "shards"])
def test_of_several_processes_one_gets_each_name(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "s.ptr"
    names = [f"n{n}" for n in range(150)]
    with ptrarray.create(path, **options) as writer:
        writer.write({name: np.full(40, at) for at, name in enumerate(names[:75])})
        writer.write({name: np.full(40, at) for at, name in enumerate(names[75:], 75)})
    with get_context("spawn").Pool(3) as pool:
        won = pool.starmap(rename_all, [(str(path), who, names) for who in range(3)])
    assert sorted(name for some in won for name in some) == sorted(names)
    with ptrarray.open(path) as store:
        assert {name: int(store[name][0]) for name in store} == {
            f"{name} of {who}": names.index(name) for who, some in enumerate(won) for name in some
        }
    ptrarray.verify(path)


# pointing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pointer_that_equals_an_arrays_keeps_what_that_is(
    tmp_path: Path, layout: str, masked: bool, settled: Callable[[Path], Path]
) -> None:
    path = settled(make(tmp_path / "s.ptr", layout, masked=masked))
    with ptrarray.append(path) as writer:
        for name in ("a", "b", "c"):
            writer.point(f"{name} again", *writer.pointers[name])
        writer.meta["a"] = {"changed": 1}
    with ptrarray.open(path) as store:
        for name in ("b", "c"):
            assert facts(store, f"{name} again") == facts(store, name)
        assert facts(store, "a again")[:-1] == facts(store, "a")[:-1]
        assert store.meta["a again"] == {"unit": "nm"}
    ptrarray.verify(path)


@pytest.mark.parametrize("shift", [(0, 4), (4, 0), (1, 1), (0, -1)])
def test_bytes_that_are_no_array_are_refused(tmp_path: Path, shift: tuple[int, int]) -> None:
    path = make(tmp_path / "s.ptr", "mixed")
    with ptrarray.append(path) as writer:
        start, end = writer.pointers["a"]
        with pytest.raises(BadInputError, match=r"no array.*writer\.pointers") as raised:
            writer.point("x", start + shift[0], end + shift[1])
        assert str(path) in str(raised.value)
        assert "x" not in writer


def test_elements_of_shaped_stores_have_one_axis(tmp_path: Path) -> None:
    path = make(tmp_path / "s.ptr", "shaped")
    with ptrarray.append(path) as writer:
        writer.point("part", 1, 5)
        assert writer["part"].tolist() == ARRAY.reshape(-1)[1:5].tolist()
        assert not writer.meta["part"]


@pytest.mark.parametrize("options", [{}, {"shard_size": 2000}], ids=["plain", "shards"])
def test_version_grows_with_every_change(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "s.ptr"
    writer = ptrarray.create(path, **options)
    changes: list[Callable[[], Any]] = [
        lambda: writer.write({f"n{n}": np.zeros(100) for n in range(3)}),
        lambda: writer.write({"m": np.zeros(100)}),
        lambda: writer.rename("n0", "x"),
        lambda: writer.delete(["x"]),
        lambda: writer.delete(["n1"]),
        lambda: writer.attrs.update(a=1),
        lambda: writer.meta.__setitem__("m", {"k": 1}),
        lambda: writer.point("p", *writer.pointers["m"]),
        lambda: ptrarray.checkpoint(path),
        lambda: ptrarray.compact(path),
        lambda: writer.clear(),
    ]
    with writer, ptrarray.open(path) as store:
        for change in changes:
            seen = writer.version
            assert store.version == seen
            change()
            assert seen < writer.version
            store.refresh()
            assert store.version == writer.version == ptrarray.open(path).version
