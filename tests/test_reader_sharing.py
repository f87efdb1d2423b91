"""Readers and their views in other processes and threads."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import PointerArray, PointerArrayWriter
from tests.support import core_workers
from tests.support.backends import HERE, all_modes, here, mapped, shown
from tests.support.checks import check_store
from tests.support.reading import ARRAYS, arrays, make_four

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def path(path: Path) -> Path:
    return make_four(path)


@all_modes
def test_pickle(path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, mode: Any) -> None:
    monkeypatch.chdir(path.parent)
    with ptrarray.open(path.name, mode=mode) as store:
        raw = pickle.dumps(store)
        monkeypatch.chdir("/")
        assert len(raw) < 2000
        with pickle.loads(raw) as copy:
            assert (copy.path, copy.mode) == (shown(path), mode)
            assert copy.backend == (backend if backend in HERE else "pread")
            check_store(copy, arrays())


def test_used_after_a_fork(path: Path, store: PointerArray) -> None:
    held = store["b"]
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    children = [
        context.Process(target=core_workers.read_with, args=(store, theirs)) for _ in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        assert ours.poll(30)
        assert ours.recv() == ARRAYS
        child.join()
        assert child.exitcode == 0
    assert held.tolist() == [1, 2, 3]
    check_store(store, arrays())


@mapped
def test_joblib_ships_views_by_reference(path: Path, joblib: Any) -> None:
    with ptrarray.append(path) as writer:
        writer["large"] = np.ones(10**6, "i4")
    with ptrarray.open(path) as store:
        work = joblib.delayed(core_workers.sum_of)
        arrays_to_sum = [store["large"], store["large"][5:], store.rows]
        with joblib.parallel_config("loky", n_jobs=2):
            found = joblib.Parallel()(work(array) for array in arrays_to_sum)
    data_file = str(path / "data.bin")
    assert found == [(10**6, data_file), (10**6 - 5, data_file), (10**6 + 21, data_file)]


@here
def test_threads_share_a_reader(path: Path, store: PointerArray) -> None:
    barrier = threading.Barrier(4)

    def read(seed: int) -> None:
        random = np.random.default_rng(seed)
        barrier.wait()
        for _ in range(200):
            name = list(ARRAYS)[random.integers(4)]
            assert store[name].tolist() == ARRAYS[name]
            assert len(store.take([name, "b"])) == 2
            assert store.names[0] == "b"

    def follow(writer: PointerArrayWriter) -> None:
        barrier.wait()
        for n in range(100):
            writer[f"new {n}"] = [n]
            store.refresh()

    with ptrarray.append(path) as writer, ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(read, seed) for seed in range(3)] + [pool.submit(follow, writer)]
        for future in futures:
            future.result()
    assert len(store) == 104
