"""A pack is read in place, like a store that nobody can change."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, StoreError, StoreExistsError, StoreNotFoundError
from tests.support.checks import check_store, open_descriptors, root_base, unchanged
from tests.support.packs import NAME, Array, check_same_store, make, stored

pytestmark = pytest.mark.usefixtures("no_syncs")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make(tmp_path / NAME)
    return tmp_path / NAME


@pytest.fixture
def arrays(path: Path) -> dict[str, Array]:
    return stored(path)


# read ---------------------------------------------------------------------------------------------


def test_in_place_is_as_the_store(path: Path, arrays: dict[str, Array], tmp_path: Path) -> None:
    ptrarray.pack(path, tmp_path / "a.tar")
    with unchanged(tmp_path), ptrarray.open(tmp_path / "a.tar") as store:
        check_store(store, arrays, in_order=True)
        assert store.path == str(tmp_path / "a.tar")
        assert dict(store.attrs) == {"k": [1]}
        living = np.concatenate([a for n, a in arrays.items() if n != "part"])
        np.testing.assert_allclose(np.sum(store, axis=0), living.sum(axis=0), rtol=1e-4)
        np.testing.assert_array_equal(store.reduce(np.maximum), living.max(axis=0))
        assert store.reduce_each(np.add).shape == (len(arrays), 3)
        assert store.rows.ctypes.data % 64 == 0
        assert type(store["later"]) is np.ndarray
        assert isinstance(root_base(store["later"]), np.memmap)
        again = pickle.loads(pickle.dumps(store))
        check_store(again, arrays, in_order=True)
        assert len(open_descriptors(tmp_path)) <= 4  # two mappings each
        before = store["later"]
        store.refresh()
        assert before.base is store["later"].base
        with pytest.raises(ValueError, match="read-only"):
            before[0] = 0


def test_joblib_ships_it_by_reference(path: Path, tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    ptrarray.pack(path, tmp_path / "a.tar")
    rows = ptrarray.open(tmp_path / "a.tar").rows
    reducer = joblib._memmapping_reducer
    base = reducer._get_backing_memmap(rows)
    assert base.filename == str(tmp_path / "a.tar")
    rebuild, arguments = reducer._reduce_memmap_backed(rows, base)
    assert np.array_equal(rebuild(*arguments), rows)


def test_read_not_mapped(path: Path, arrays: dict[str, Array], tmp_path: Path) -> None:
    ptrarray.pack(path, tmp_path / "a.tar")
    with ptrarray.open(tmp_path / "a.tar", backend="pread") as store:
        check_store(store, arrays, in_order=True)
        store.refresh()
        assert store["later"][0, 0] == 7


def test_shards_are_packed_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    arrays = {f"{i}": np.arange(100) for i in range(9)}
    with ptrarray.create(path, dtype="i4", shard_size=1000) as writer:
        for name, array in arrays.items():
            writer[name] = array
    with unchanged(tmp_path), pytest.raises(BadInputError, match="shard-00000"):
        ptrarray.pack(path, tmp_path / "a.tar")
    found: list[str] = []
    for shard in sorted(path.glob("shard-*")):
        ptrarray.pack(shard, tmp_path / "shard.tar", overwrite=True)
        with ptrarray.open(tmp_path / "shard.tar") as store:
            found += store
    assert sorted(found) == sorted(arrays)


def test_mode_c(path: Path, tmp_path: Path) -> None:
    ptrarray.pack(path, tmp_path / "a.tar")
    with unchanged(tmp_path), ptrarray.open(tmp_path / "a.tar", "c") as store:
        store["later"][0] = -1
        assert store["later"][0, 0] == -1


# replaced meanwhile -------------------------------------------------------------------------------


def test_replaced_while_it_is_read(path: Path, arrays: dict[str, Array], tmp_path: Path) -> None:
    """A pack put in place of one that is open: the one that is open stays as it is."""
    ptrarray.pack(path, tmp_path / "a.tar")
    with ptrarray.open(tmp_path / "a.tar") as store:
        make(tmp_path / "small.ptr", 1)
        ptrarray.pack(tmp_path / "small.ptr", tmp_path / "a.tar", overwrite=True)
        check_store(store, arrays, in_order=True)
        store.refresh()
        check_store(store, arrays, in_order=True)
        ptrarray.pack(store.path, store.path, overwrite=True)  # on itself
        check_store(store, arrays, in_order=True)
    assert len(ptrarray.open(tmp_path / "a.tar")) == 3


@pytest.mark.parametrize("has_journal", [False, True])
def test_a_pack_in_place_of_a_directory(path: Path, tmp_path: Path, has_journal: bool) -> None:
    """Who has the directory open finds the pack there."""
    with ptrarray.open(path) as store:
        wanted = len(store) + has_journal
        if has_journal:
            with ptrarray.append(path) as writer:
                writer["newest"] = store[:1]
        ptrarray.pack(path, tmp_path / "a.tar")
        shutil.rmtree(path)
        (tmp_path / "a.tar").rename(path)
        store.refresh()
        assert len(store) == wanted
        path.unlink()
        make(path, 2)
        store.refresh()  # a pack, which never changes, whatever takes its place
        assert len(store) == wanted


@pytest.mark.parametrize("call", ["snapshot.Journal", "opened.map_rows"])
def test_replaced_while_it_is_opened(
    path: Path, tmp_path: Path, monkeypatch: Any, call: str
) -> None:
    """The parts of a pack that was opened are never those of the one put in its place."""
    small = make(tmp_path / "small.ptr", 1)
    ptrarray.pack(path, tmp_path / "a.tar")
    module, name = call.split(".")
    real = getattr(import_module(f"ptrarray.storage.store.{module}"), name)
    calls = []

    def late(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) == 1:
            ptrarray.pack(tmp_path / "small.ptr", tmp_path / "b.tar")
            (tmp_path / "b.tar").replace(tmp_path / "a.tar")
        return real(*arguments, **options)

    monkeypatch.setattr(f"ptrarray.storage.store.{call}", late)
    check_same_store(tmp_path / "a.tar", small)
    assert len(calls) > 1


# changed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda pack: ptrarray.open(pack, "r+"),
        ptrarray.append,
        ptrarray.checkpoint,
        ptrarray.compact,
        lambda pack: ptrarray.repair(pack, pack.with_name("repaired")),
    ],
)
def test_changes_are_refused(path: Path, tmp_path: Path, change: Callable[[Path], object]) -> None:
    ptrarray.pack(path, tmp_path / "a.tar")
    with unchanged(tmp_path), pytest.raises(BadInputError, match=r"a pack.*unpack\("):
        change(tmp_path / "a.tar")
    ptrarray.pack(path, tmp_path / "a.tar.xz")
    with unchanged(tmp_path), pytest.raises(StoreError, match=r"compressed \(xz\).*unpack\("):
        change(tmp_path / "a.tar.xz")
    (tmp_path / "text").write_text("text")
    with unchanged(tmp_path), pytest.raises(StoreNotFoundError, match="no pack"):
        change(tmp_path / "text")
    assert not (tmp_path / "repaired").exists()


@pytest.mark.parametrize("mode", ["x", "w", "a"])
def test_create_spares_packs(path: Path, tmp_path: Path, mode: str) -> None:
    ptrarray.pack(path, tmp_path / "a.tar")
    with unchanged(tmp_path), pytest.raises(StoreExistsError):
        ptrarray.create(tmp_path / "a.tar", dtype="f4", row_shape=(3,), mode=mode)
