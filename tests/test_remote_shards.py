"""Stores of shards, packs and parts of stores that lie elsewhere: few rounds, and always one moment."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ptrarray
from ptrarray import PointerArray, StoreChangedError, StoreError, StoreNotFoundError
from ptrarray.storage.shards import catalog, snapshot
from tests.support.effort import one_in
from tests.support.remote import URL, FolderObjects, folder_elsewhere
from tests.support.servers import Nginx

N_ARRAYS = 40
Content = dict[str, list[int]]


def fill(path: Path, n_arrays: int = N_ARRAYS, factor: int = 1, **options: Any) -> Path:
    """Write a store of shards, of some arrays each, with a catalog."""
    with ptrarray.create(path, dtype="i4", **{"shard_size": 1500, **options}) as writer:
        for n in range(n_arrays):
            writer[f"a{n}"] = np.arange(n % 20 + 1) * factor
    ptrarray.checkpoint(path)
    return path


def content(store: PointerArray) -> Content:
    return {name: array.tolist() for name, array in store.items()}


def n_shards(path: Path) -> int:
    with ptrarray.open(path) as store:
        return len(store.shards)


# how many requests, and how many at once ----------------------------------------------------------


def test_a_shard_takes_a_few_requests(tmp_path: Path, http: Nginx) -> None:
    path = fill(tmp_path / "s.ptr")
    url, n = http.publish(path), n_shards(path)
    http.requests()
    with ptrarray.open(url) as store, ptrarray.open(path) as local:
        asked = http.requests()
        assert n > 3
        assert len(asked) <= 6 * n + 15
        assert Counter(one.path.rpartition("/")[2] for one in asked)["catalog.msgpack"] == 1
        assert sum(one.status == 404 for one in asked) <= 8
        assert store["a7"].tolist() == local["a7"].tolist()
        assert [one.path.rpartition("/")[2] for one in http.requests()] == [
            "catalog.msgpack",
            "data.bin",
        ]
        names = list(local)[::-1]
        assert store.take(names).values.tolist() == local.take(names).values.tolist()
        assert len(http.requests()) <= n


@pytest.mark.parametrize("has_catalog", [True, False])
def test_shards_are_asked_all_at_once(tmp_path: Path, has_catalog: bool) -> None:
    path = fill(tmp_path / "s.ptr")
    if not has_catalog:
        (path / "catalog.msgpack").unlink()
    n = n_shards(path)
    meeting = threading.Barrier(n if has_catalog else min(n, snapshot.FEW_SHARDS), timeout=30)
    met: set[str] = set()
    with folder_elsewhere(tmp_path) as objects:
        get = objects.get

        def waiting(key: str, start: int, end: int, tag: str | None) -> Any:
            number = len(met)
            if key.endswith("index.msgpack") and "shard-" in key and number < meeting.parties:
                answer = get(key, start, end, tag)  # only those that are there
                met.add(key)
                meeting.wait()
                return answer
            return get(key, start, end, tag)

        objects.get = waiting  # type: ignore[method-assign]
        with ptrarray.open(f"{URL}/s.ptr") as store:
            assert len(store.shards) == n
            assert len(met) == meeting.parties


def test_a_large_catalog_is_read_as_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "WHOLE_NBYTES", 0)
    monkeypatch.setattr(catalog, "_CHECKED_NBYTES", 0)
    path = tmp_path / "s.ptr"
    names = [f"a{n}" for n in range(30_000)]
    with ptrarray.create(path, dtype="i4", shard_size=500_000) as writer:
        for n in range(0, 30_000, 5000):
            writer.write({name: [at] for at, name in enumerate(names[n : n + 5000], n)})
    ptrarray.checkpoint(path)
    with folder_elsewhere(tmp_path) as objects, ptrarray.open(f"{URL}/s.ptr") as store:
        objects.take()
        for at, name in enumerate(names[::5000]):
            assert store[name].tolist() == [at * 5000]
        asked = [one for one in objects.take() if one.key.endswith("catalog.msgpack")]
        assert sum(one.nbytes for one in asked) < (path / "catalog.msgpack").stat().st_size
        assert "absent" not in store
        assert store.take(names[::-1]).values.tolist() == [*range(30_000)][::-1]
        assert store.take(names[:300]).values.tolist() == [*range(300)]


# one moment ---------------------------------------------------------------------------------------


def move(path: Path) -> None:
    """Put an array of the first shard into the last one, and another name beside it."""
    with ptrarray.append(path) as writer:
        writer.write({"a0": [5, 5], "new": [6]}, overwrite=True)
        del writer["a1"]


def compact(path: Path) -> None:
    move(path)
    ptrarray.compact(path)


def replace(path: Path) -> None:
    fill(path, 25, 3, mode="w")


CHANGES = {"move": move, "compact": compact, "replace": replace, "checkpoint": ptrarray.checkpoint}


def counted_down(objects: FolderObjects, n: int, change: Callable[[], None]) -> Callable[..., Any]:
    """Return a `get` that makes a change before the n-th request."""
    get, lock, left = objects.get, threading.Lock(), [n]

    def changing(*asked: Any) -> Any:
        with lock:
            left[0] -= 1
            if not left[0]:
                change()
        return get(*asked)

    return changing


# Which of so many requests in a row the change comes before; the normal run has one for each change.
EVERY = 3


@pytest.mark.parametrize(("change", "first"), one_in(4, product(CHANGES, range(EVERY))))
def test_a_change_before_any_request_of_an_open(tmp_path: Path, change: str, first: int) -> None:
    made = fill(tmp_path / "made.ptr", 12)
    path = tmp_path / "s.ptr"
    states: list[Content] = []
    for at in (0, *range(first + 1, 100, EVERY)):
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(made, path)
        with folder_elsewhere(tmp_path) as objects:
            changed: list[int] = []

            def now(changed: list[int] = changed) -> None:
                CHANGES[change](path)
                changed.append(1)

            objects.get = counted_down(objects, at, now)  # type: ignore[method-assign]
            store = ptrarray.open(f"{URL}/s.ptr")
            if not states:  # nothing is changed before the request of number 0
                states.append(content(store))
                CHANGES[change](path)
                store.refresh()
                states.append(content(store))
                continue
            if not changed:
                break
            with suppress(StoreChangedError):
                assert content(store) in states
            store.refresh()
            assert content(store) == states[1]
    assert at > 10


# what refresh sees --------------------------------------------------------------------------------


def test_refresh_sees_shards_that_come(tmp_path: Path, http: Nginx) -> None:
    path = fill(tmp_path / "s.ptr", 12)
    with ptrarray.open(http.publish(path)) as store, ptrarray.append(path) as writer:
        before = len(store.shards)
        for n in range(60):
            writer[f"b{n}"] = np.arange(n % 9)
            if n % 7 == 6:
                store.refresh()
                with ptrarray.open(path) as local:
                    assert content(store) == content(local)
        assert len(store.shards) > before


def put_pack(path: Path) -> None:
    ptrarray.pack(fill(path.with_name("one.ptr"), 9, 2, shard_size=None), path)


@pytest.mark.parametrize("size", [None, 1500])
def test_refresh_beside_a_writer(tmp_path: Path, http: Nginx, size: int | None) -> None:
    """Each refresh succeeds, and what can be read then is right, however fast the store grows."""
    path, stop = tmp_path / "s.ptr", threading.Event()
    ptrarray.create(path, dtype="i4", shard_size=size).close()

    def write() -> None:
        with ptrarray.append(path) as writer:
            for n in range(4000 if size is None else 500):
                if stop.is_set():
                    return
                writer[f"a{n}"] = np.full(n % 9, n)

    writing = threading.Thread(target=write)
    writing.start()
    try:
        with ptrarray.open(http.publish(path)) as store:
            for _ in range(25):
                store.refresh()
                for n in range(max(len(store) - 3, 0), len(store)):
                    with suppress(StoreChangedError):
                        assert store[f"a{n}"].tolist() == [n] * (n % 9)
            stop.set()
            writing.join()
            store.refresh()
            with ptrarray.open(path) as local:
                assert [*store] == [*local]
                for one, other in zip(store.arrays, local.arrays, strict=True):
                    assert one.tolist() == other.tolist()
    finally:
        stop.set()
        writing.join()


OTHERS: dict[str, Callable[[Path], object]] = {
    "fewer shards": lambda path: fill(path, 9, 2),
    "more shards": lambda path: fill(path, 80, 2),
    "no shards": lambda path: fill(path, 9, 2, shard_size=None),
    "a pack": put_pack,
}


@pytest.mark.parametrize("kind", [1500, None], ids=["shards", "no shards"])
@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_refresh_goes_over_to_another_kind_of_store(
    tmp_path: Path, other: Callable[[Path], object], kind: int | None
) -> None:
    path = fill(tmp_path / "s.ptr", shard_size=kind)
    with folder_elsewhere(tmp_path), ptrarray.open(f"{URL}/s.ptr") as store:
        shutil.rmtree(path)
        other(path)
        store.refresh()
        with ptrarray.open(path) as local:
            assert content(store) == content(local)
            assert len(store.shards) == len(local.shards)
        store.verify()


def test_a_store_that_is_gone(tmp_path: Path) -> None:
    path = fill(tmp_path / "s.ptr")
    with folder_elsewhere(tmp_path), ptrarray.open(f"{URL}/s.ptr") as store:
        shutil.rmtree(path)
        with pytest.raises(StoreChangedError, match=r"refresh\(\) opens what is there now"):
            store.take(["a0", "a39"])
        with pytest.raises(StoreNotFoundError, match="no store at"):
            store.refresh()


# packs --------------------------------------------------------------------------------------------


def test_a_pack_is_one_object(tmp_path: Path, http: Nginx) -> None:
    path = fill(tmp_path / "s.ptr", shard_size=None)
    for place in (tmp_path / "one.tar", tmp_path / "two.tar"):
        ptrarray.pack(path, place)
        fill(path, factor=2, shard_size=None, mode="w")
    url = http.publish(tmp_path / "one.tar")
    http.requests()
    with ptrarray.open(url) as store:
        asked = http.requests()
        assert len(asked) <= 7
        assert store["a7"].tolist() == [*range(8)]
        (tmp_path / "two.tar").replace(tmp_path / "one.tar")
        os.utime(tmp_path / "one.tar", (0, 0))  # web servers tell files of one size by the second
        with pytest.raises(StoreChangedError, match=r"refresh\(\) opens what is there now"):
            store["a8"]
        store.refresh()
        assert store["a7"].tolist() == [*range(0, 16, 2)]
        store.verify()


# helper arrays ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 300])
def test_frames_and_series_of_a_store_that_goes_on(
    tmp_path: Path, http: Nginx, size: int | None
) -> None:
    path, days = tmp_path / "s.ptr", pd.date_range("2026-01-01", periods=3)
    series = {f"s{n}": pd.Series([n, 1.5, None], days, name=f"s{n}") for n in range(30)}
    frame = pd.DataFrame({"x": [1, 2, 3], "y": ["a", None, "ü"]}, index=days)
    with ptrarray.create(path, shard_size=size) as writer:
        writer.update(series)
        writer["frame"] = frame
        with ptrarray.open(http.publish(path)) as store:
            for name, wanted in series.items():
                pd.testing.assert_series_equal(store.series(name), wanted, check_freq=False)
            pd.testing.assert_frame_equal(store.frame("frame"), frame, check_freq=False)
            writer["later"] = later = pd.Series(["b", None], ["p", "q"], name="later")
            store.refresh()
            pd.testing.assert_series_equal(store.series("later"), later)


# parts, in other processes ------------------------------------------------------------------------


def total(part: Any) -> float:
    return float(sum(array.sum() for array in part.values()))


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """Processes that share nothing with this one, and take seconds to start."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as opened:
        yield opened


@pytest.mark.parametrize("size", [None, 1500])
def test_parts_are_read_by_other_processes(
    tmp_path: Path, http: Nginx, pool: ProcessPoolExecutor, size: int | None
) -> None:
    path = fill(tmp_path / "s.ptr", shard_size=size)
    with ptrarray.open(http.publish(path)) as store:
        parts = store.partitions(3)
        wanted = float(np.sum(store))
        assert len(pickle.dumps(parts[0])) < 1000
        assert sum(map(total, pickle.loads(pickle.dumps(parts)))) == wanted
        assert sum(pool.map(total, parts)) == wanted
        assert store.reduce(np.add, executor=pool) == wanted
        assert sum(pool.map(total, [store])) == wanted
        sent = pickle.dumps(parts[0])
        ptrarray.compact(path)
        move(path)
        ptrarray.compact(path)
        with pytest.raises(StoreError, match="is not what it was"):
            total(pickle.loads(sent))


def test_dask_knows_readers_of_one_commit(tmp_path: Path, http: Nginx) -> None:
    path = fill(tmp_path / "s.ptr")
    with ptrarray.open(http.publish(path)) as store, ptrarray.open(http.publish(path)) as same:
        assert store.__dask_tokenize__() == same.__dask_tokenize__()
        first, again = store.partitions(2)[0], same.partitions(2)[0]
        assert first.__dask_tokenize__() == again.__dask_tokenize__()
        move(path)
        same.refresh()
        assert store.__dask_tokenize__() != same.__dask_tokenize__()
