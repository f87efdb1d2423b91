"""What is read elsewhere is kept in a folder: who opens the same store later asks only for heads."""

from __future__ import annotations

import os
import pickle
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import PointerArray
from ptrarray.errors import BadInputError, StoreChangedError
from ptrarray.storage.remote import faults
from ptrarray.storage.remote.file import HEAD_NBYTES
from ptrarray.storage.remote.objects import Coming
from ptrarray.storage.store import probed
from tests.support.any_layout import KINDS, array_of
from tests.support.checks import check_same
from tests.support.fault_server import serving
from tests.support.remote import URL, FolderObjects, folder_elsewhere

pytestmark = pytest.mark.usefixtures("no_syncs")
N_ARRAYS = 4000
NAMES = [f"some name of an array {n:05}" for n in range(N_ARRAYS)]
Open = Callable[..., PointerArray]


STORES = ("rows", "masked mixed", "shards of rows", "pack")
# The normal run has each store with one limit of indexes that are fetched whole, and each limit.
each_kind_and_limit = pytest.mark.parametrize(
    ("made", "limit"),
    [
        pytest.param(kind, limit, marks=() if (at + is_large) % 2 else pytest.mark.slow)
        for at, kind in enumerate(STORES)
        for is_large, limit in enumerate((0, 64 << 20))
    ],
    indirect=["made"],
)


@pytest.fixture(scope="module", params=STORES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a store whose indexes are longer than what is read of a file at first."""
    kind = str(request.param).removeprefix("shards of ").replace("pack", "rows")
    shard_size = "300KB" if "shards" in request.param else None
    path = tmp_path_factory.mktemp("made") / "www" / "store"
    path.parent.mkdir()
    with ptrarray.create(path, shard_size=shard_size, **KINDS[kind]) as writer:
        arrays = {name: array_of(kind, n) for n, name in enumerate(NAMES)}
        if kind == "rows":
            arrays = {
                name: np.resize(one + 1, 100).astype("u1")
                for name, one in arrays.items()
                if len(one)
            }
        writer.write(arrays)
    ptrarray.publish(path)
    if request.param == "pack":
        ptrarray.pack(path, path.with_suffix(".tar"))
        return path.with_suffix(".tar")
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    """Path of a copy of that store."""
    shutil.copytree(made.parent, tmp_path / "www")
    return tmp_path / "www" / made.name


@pytest.fixture
def elsewhere(path: Path) -> Iterator[FolderObjects]:
    with folder_elsewhere(path.parent) as objects:
        yield objects


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def opened(path: Path, **options: Any) -> PointerArray:
    return ptrarray.open(f"{URL}/{path.name}", **options)


def beyond_heads(objects: FolderObjects) -> list[Any]:
    """Return what was asked for since the last time, but for how files begin."""
    return [one for one in objects.take() if (one.start, one.end) not in ((0, HEAD_NBYTES), (0, 1))]


def of_indexes(objects: FolderObjects) -> list[Any]:
    return [one for one in beyond_heads(objects) if not one.key.endswith(".bin")]


def check_all(store: PointerArray, path: Path) -> None:
    with ptrarray.open(path) as here:
        assert list(store) == list(here)
        for name, array in list(store.items())[::7]:
            check_same(array, here[name])
        if here.layout != "mixed":
            names = list(here)[::7]
            check_same(store.take(names).values, here.take(names).values)


# Who asks for what --------------------------------------------------------------------------------


@each_kind_and_limit
def test_who_comes_later_asks_for_heads(
    path: Path,
    elsewhere: FolderObjects,
    folder: Path,
    limit: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probed, "WHOLE_NBYTES", limit)
    with opened(path, cache={"folder": folder, "data": True}) as store:
        check_all(store, path)
        assert len(beyond_heads(elsewhere)) > 0
    with opened(path, cache={"folder": folder, "data": True}) as store:
        check_all(store, path)
        assert beyond_heads(elsewhere) == []


def test_rows_are_kept_on_request(path: Path, elsewhere: FolderObjects, folder: Path) -> None:
    for _ in range(2):
        with opened(path, cache=folder) as store:
            elsewhere.take()
            check_all(store, path)
            assert path.suffix or len([one for one in elsewhere.take() if ".bin" in one.key]) > 0
    opened(path, cache=folder).close()
    assert of_indexes(elsewhere) == [] or path.suffix  # rows of a pack are in the same file


def test_without_a_folder_nothing_is_kept(
    path: Path, elsewhere: FolderObjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = sorted(tmp_path.iterdir())
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for _ in range(2):
        with opened(path) as store:
            check_all(store, path)
        assert beyond_heads(elsewhere) != []
    assert sorted(tmp_path.iterdir()) == [tmp_path / "cache"] * 0 + sorted(
        [*there, tmp_path / "here"]
    )
    assert list((tmp_path / "here").iterdir()) == []


def test_another_order_of_names_finds_what_is_kept(
    path: Path, elsewhere: FolderObjects, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probed, "WHOLE_NBYTES", 0)
    names = list(ptrarray.open(path))[::50]
    with opened(path, cache={"folder": folder, "data": True}) as store:
        arrays = {name: store[name] for name in names}
    elsewhere.take()
    with opened(path, cache={"folder": folder, "data": True}) as store:
        for name in reversed(names):
            check_same(store[name], arrays[name])
        store.take(names[::-3])
    assert beyond_heads(elsewhere) == []


def test_a_pickled_reader_has_the_same_cache(
    path: Path, elsewhere: FolderObjects, folder: Path
) -> None:
    with opened(path, cache={"folder": folder, "data": True}) as store:
        check_all(store, path)
        elsewhere.take()
        with pickle.loads(pickle.dumps(store)) as other:
            check_all(other, path)
    assert beyond_heads(elsewhere) == []


@each_kind_and_limit
def test_a_store_is_right_whatever_became_of_the_folder(
    path: Path,
    elsewhere: FolderObjects,
    folder: Path,
    limit: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probed, "WHOLE_NBYTES", limit)
    cache = {"folder": folder, "data": True}
    with opened(path, cache=cache) as store:
        check_all(store, path)
    for n, file in enumerate(sorted(folder.iterdir())):
        raw = bytearray(file.read_bytes())
        raw[4096 + n :: 20_000] = bytes(255 - one for one in raw[4096 + n :: 20_000])
        file.write_bytes(raw[: len(raw) - 100 * n])
    elsewhere.take()
    with opened(path, cache=cache) as store:
        check_all(store, path)
    assert beyond_heads(elsewhere) != []
    with opened(path, cache=cache) as store:
        check_all(store, path)
    assert beyond_heads(elsewhere) == []


# What is another content --------------------------------------------------------------------------


def written(path: Path, factor: int, first: int = 0) -> dict[str, Any]:
    """Put a store at a path: its files are as long as of any factor, and differ from an array on."""
    with ptrarray.create(path, dtype="i2", mode="w") as writer:
        arrays = {
            name: np.full(20, n % 100 * (factor if n >= first else 1), "i2")
            for n, name in enumerate(NAMES)
        }
        writer.write(arrays)
    ptrarray.publish(path)
    return arrays


def test_a_replaced_store_has_nothing_of_the_old_one(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "www" / "s"
    path.parent.mkdir()
    cache = {"folder": folder, "data": True}
    with folder_elsewhere(path.parent) as objects:
        for factor in (1, -1, 2, 3):
            arrays = written(path, factor)
            with opened(path, cache=cache) as store:
                assert beyond_heads(objects) != []
                for name in NAMES[:3]:
                    check_same(store[name], arrays[name])
                old = store
                later = written(path, factor + 10)
                with pytest.raises(StoreChangedError):
                    list(old.arrays)
                old.refresh()
                check_same(old[NAMES[77]], later[NAMES[77]])


class SameTags(FolderObjects):
    """A server whose tags are always the same, or which has none."""

    tag: str | None = '"same"'

    def get(self, key: str, start: int, end: int, tag: str | None) -> Coming:
        return super().get(key, start, end, None)._replace(tag=self.tag)


@pytest.mark.parametrize("tag", ['"same"', None])
def test_an_index_is_known_by_its_own_checksums_too(
    folder: Path, tmp_path: Path, tag: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "www" / "s"
    path.parent.mkdir()
    monkeypatch.setattr(SameTags, "tag", tag)
    with folder_elsewhere(path.parent) as objects:
        monkeypatch.setattr(objects, "get", SameTags(path.parent).get)
        sizes = set()
        for factor in (1, -1, 2):
            arrays = written(tmp_path / "new", factor, first=3000)  # whose rows begin the same
            shutil.rmtree(path, ignore_errors=True)
            (tmp_path / "new").rename(path)
            sizes.add(tuple((path / name).stat().st_size for name in ("index.msgpack", "data.bin")))
            cache = {"folder": folder, "data": True}
            with opened(path, cache=cache, immutable=True) as store:
                for name in NAMES[::99]:
                    check_same(store[name], arrays[name])
                check_same(store[60_000:], np.concatenate([*arrays.values()])[60_000:])
        assert len(sizes) == 1


def test_stores_of_two_urls_are_apart(folder: Path, tmp_path: Path) -> None:
    cache = {"folder": folder, "data": True}
    with folder_elsewhere(tmp_path) as objects:
        stores = {factor: written(tmp_path / f"s{factor}", factor) for factor in (1, 2)}
        for _ in range(2):
            for factor, arrays in stores.items():
                with opened(tmp_path / f"s{factor}", cache=cache) as store:
                    check_same(store[NAMES[50]], arrays[NAMES[50]])
                    check_same(store.take(NAMES[:9]).values, np.concatenate([*arrays.values()][:9]))
        assert len(objects.asked) > 0


def test_a_journal_is_asked_for_each_time(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "www" / "s"
    path.parent.mkdir()
    arrays = written(path, 1)
    cache = {"folder": folder, "data": True}
    with folder_elsewhere(path.parent) as objects, ptrarray.append(path) as writer:
        store = opened(path, cache=cache)
        for factor in (2, 3):
            writer.write({f"{name}, {factor}": array * factor for name, array in arrays.items()})
            store.refresh()
            objects.take()
            with opened(path, cache=cache) as other:
                assert {one.key for one in beyond_heads(objects)} == {"s/journal.msgpack"}
                for one in (store, other):
                    assert len(one) == factor * N_ARRAYS
                    check_same(one[f"{NAMES[77]}, {factor}"], arrays[NAMES[77]] * factor)
        store.close()


# Who may see it -----------------------------------------------------------------------------------


def test_nothing_secret_is_kept_and_only_the_owner_sees_it(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("obstore")
    monkeypatch.setattr(faults, "FIRST_PAUSE_SECONDS", 0.0005)
    path = tmp_path / "www" / "s"
    path.parent.mkdir()
    arrays = written(path, 1)
    old = os.umask(0)
    try:
        with serving(path.parent) as server:
            for signature in ("first-signature", "second-signature"):
                server.arm(at=0, n_times=0)
                url = server.url.replace("//", "//user:password@") + f"/s?sig={signature}"
                storage = {"client_options": {"default_headers": {"X-Key": "secret-key"}}}
                options: Any = {"storage": storage, "cache": {"folder": folder, "data": True}}
                with ptrarray.open(url, **options) as store:
                    check_same(store[NAMES[5]], arrays[NAMES[5]])
            # With another signature it still is the same file.
            heads = {f"bytes=0-{HEAD_NBYTES - 1}", "bytes=0-0"}
            assert {asked.headers["range"] for asked in server.asked} <= heads
    finally:
        os.umask(old)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    kept = list(folder.iterdir())
    assert {stat.S_IMODE(one.stat().st_mode) for one in kept} == {0o600}
    raw = b"".join(one.read_bytes() + one.name.encode() for one in kept)
    for secret in (b"password", b"signature", b"secret", b"user", b"127.0.0.1"):
        assert secret not in raw


# What a caller says -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cache",
    [
        *("", b"c", 3, True, ["folder"], {}, {"size": "1GB"}, {"folder": 3}, {"folder": ""}),
        *({"folder": "c", "size": 0}, {"folder": "c", "size": "many"}, {"folder": "c", "data": 1}),
        *({"folder": "c", "rows": True}, {"folder": "c", "size": None}, "http://host/cache"),
    ],
)
def test_what_is_no_cache(cache: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInputError):
        ptrarray.open(f"{URL}/s", cache=cache)
    with ptrarray.create(tmp_path / "s", dtype="u1"), pytest.raises(BadInputError):
        ptrarray.open(tmp_path / "s", cache=cache)


def test_a_folder_may_be_any_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = written(tmp_path / "s", 1)
    monkeypatch.chdir(tmp_path)
    with folder_elsewhere(tmp_path):
        for n, cache in enumerate(["c0", "c1", Path("c2"), {"folder": "a/b/c3"}, "ü c4"]):
            with opened(tmp_path / "s", cache=cache) as store:
                check_same(store[NAMES[5]], arrays[NAMES[5]])
            assert [one for one in tmp_path.rglob(f"*c{n}/*.blocks")]
