"""Writers in pickles and threads, wherever the working directory is."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
