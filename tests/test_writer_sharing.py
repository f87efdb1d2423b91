"""Writers in pickles and threads, wherever the working directory is."""

from __future__ import annotations

import fcntl
import gc
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import PointerArrayWriter, StoreNotFoundError
from tests.support.checks import check_at, check_in_order, check_store, open_descriptors

# pickles ------------------------------------------------------------------------------------------


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
    check_in_order(path, {"a": [1], "b": [2], "c": [3]})


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


def test_the_working_directory_may_change(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ptrarray.create(path.name, dtype="i4") as writer:
        monkeypatch.chdir("/")
        writer["a"] = [1]
        ptrarray.checkpoint(writer.path)
        writer["b"] = [2]
    check_in_order(path, {"a": [1], "b": [2]})


def test_a_pickled_writer_finds_its_store_from_anywhere(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    writer = ptrarray.create(Path(path.name), dtype="i8")
    raw = pickle.dumps(writer)
    writer["a"] = [1]
    writer.close()
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pickle.loads(raw) as copy:
        copy["b"] = [2]
    check_at(path, {"a": [1], "b": [2]})
    path.rename(path.with_name("gone"))
    with pytest.raises(StoreNotFoundError):
        pickle.loads(raw)
    assert list(elsewhere.iterdir()) == []
    assert not path.exists()


# threads ------------------------------------------------------------------------------------------


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


# many writers -------------------------------------------------------------------------------------


def test_a_hundred_and_thirty_writers_of_one_store(path: Path) -> None:
    before = open_descriptors(path)
    writers = [ptrarray.create(path, dtype="i8", mode="a") for _ in range(130)]
    for n, writer in enumerate(writers):
        writer[str(n)] = [n]
    for writer in writers:
        writer.close()
    del writers, writer
    check_at(path, {str(n): [n] for n in range(130)})
    gc.collect()
    assert open_descriptors(path) == before


def test_writers_start_no_process_and_no_thread(path: Path) -> None:
    """No process and no thread of its own, for any number of writers."""
    tasks = Path("/proc/self/task")
    before = len(list(tasks.iterdir())) if tasks.exists() else 0
    with ptrarray.create(path, dtype="i8") as writer:
        writer.write({str(n): [n] for n in range(1000)})
        copies = [pickle.loads(pickle.dumps(writer)) for _ in range(5)]
        assert multiprocessing.active_children() == []
        assert (len(list(tasks.iterdir())) if tasks.exists() else 0) == before
        for copy in copies:
            copy.close()


# iterating while others write ---------------------------------------------------------------------


@pytest.mark.parametrize("shard_size", [None, "8kB"])
def test_an_iteration_is_of_one_moment(
    shard_size: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ptr"
    with ptrarray.create(path, dtype="i4", shard_size=shard_size) as writer:
        for i in range(6):
            writer.write({f"a{i}": np.full(600, i)}, meta={f"a{i}": {"i": i}})
            writer.attrs[f"a{i}"] = i
    with ptrarray.append(path) as writer, ptrarray.append(path) as other:
        views: list[tuple[Any, Any]] = [
            (writer.items(), lambda i: (f"a{i}", i)),
            (writer.values(), lambda i: i),
            (writer.pointers.items(), lambda i: (f"a{i}", (i * 600, i * 600 + 600))),
            (writer.pointers.values(), lambda i: (i * 600, i * 600 + 600)),
            (writer.meta.items(), lambda i: (f"a{i}", {"i": i})),
            (writer.meta.values(), lambda i: {"i": i}),
            (writer.attrs.items(), lambda i: (f"a{i}", i)),
            (writer.attrs.values(), lambda i: i),
        ]
        n_taken = counted_locks(monkeypatch)
        begun = [iter(view) for view, _ in views]
        assert n_taken() == len(views)
        for name in ("a1", "a4"):
            del other[name], other.attrs[name]
        other["a2"] = [7]
        for rest, (_, expected) in zip(begun, views, strict=True):
            assert list(map(plain, rest)) == [expected(i) for i in range(6)]
        # A view is of what is there now.
        assert [len(view) for view, _ in views] == [4] * 8
        assert sorted(dict(writer.items())) == ["a0", "a2", "a3", "a5"]
        assert dict(writer.items())["a2"].tolist() == [7]
        assert sorted(dict(writer.attrs.items())) == ["a0", "a2", "a3", "a5"]
        assert ("a0", {"i": 0}) in writer.meta.items()
        assert pickle.loads(pickle.dumps(writer.pointers)) == dict(writer.pointers.items())


def plain(item: Any) -> Any:
    """Return an item with the first element of an array in the place of the array."""
    if isinstance(item, tuple) and isinstance(item[0], str):
        return item[0], plain(item[1])
    return int(item[0]) if isinstance(item, np.ndarray) else item


def counted_locks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return what tells how many times a lock between processes was taken since."""
    real, n_taken = fcntl.flock, 0

    def flock(fd: int, how: int) -> None:
        nonlocal n_taken
        n_taken += how == fcntl.LOCK_EX
        real(fd, how)

    monkeypatch.setattr("ptrarray.storage.system.lock.fcntl.flock", flock)
    return lambda: n_taken


def test_iterating_while_another_process_deletes(path: Path) -> None:
    names = [f"n{i}" for i in range(200)]
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({name: [1, 2] for name in names})
        process = multiprocessing.get_context("spawn").Process(target=delete_all, args=(path,))
        process.start()
        n_seen = [len(names)]
        while n_seen[-1]:
            kinds = (writer, writer.pointers, writer.meta)
            n_seen += [len(list(kind.items())) for kind in kinds]
            n_seen += [len(list(kind.values())) for kind in kinds]
        process.join()
        assert process.exitcode == 0
    assert n_seen == sorted(n_seen, reverse=True)


def delete_all(path: Path) -> None:
    with ptrarray.append(path) as writer:
        for name in list(writer):
            del writer[name]
