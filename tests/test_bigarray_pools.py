"""Writers and arrays of bigarray's classes in processes and threads: no name is lost."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptrarray.bigarray import MmapArray, MmapArrayWriter, PointerArray, PointerArrayWriter
from tests.support import bigarray_workers as workers
from tests.support.bigarray_checks import check_names
from tests.support.processes import FORK, TIMEOUT_SECONDS, in_pool

METHODS = ("fork", "spawn")  # forkserver pickles as spawn does, and is tried once


@pytest.fixture(params=METHODS)
def context(request: pytest.FixtureRequest) -> Any:
    return multiprocessing.get_context(request.param)


# pools --------------------------------------------------------------------------------------------


def test_flat_rows_written_by_a_pool(path: Path, context: Any) -> None:
    path.touch()
    blocks = [np.random.default_rng(n).random((12, 5, 3)) for n in range(12)]
    in_pool(context, workers.write_block, [(path, n, block, 144) for n, block in enumerate(blocks)])
    assert np.array_equal(MmapArray(path), np.concatenate(blocks))


def test_flat_rows_read_by_a_pool(path: Path, context: Any) -> None:
    rows = np.arange(1200).reshape(-1, 3)
    with MmapArrayWriter(path, (None, 3), rows.dtype) as writer:
        writer.write(rows)
    x = MmapArray(path)
    jobs = [(x, start, 2 * start + 1) for start in range(0, 400, 50)]
    told = in_pool(context, workers.sum_rows, jobs)
    assert told == [(rows[start:end].sum(), [400, 3]) for _, start, end in jobs]


def test_a_global_writer_inherited_by_a_pool_of_forks(path: Path) -> None:
    writer = PointerArrayWriter(path, shape=(250,), dtype="f8", remove_exist=True)
    workers.INHERITED[:] = [writer]
    try:
        in_pool(FORK, workers.write_with_the_inherited, [[n, n + 1] for n in range(0, 24, 2)])
    finally:
        workers.INHERITED.clear()
    writer.flush()
    writer.close()
    expected = {f"n{n}": workers.ramp(n) for n in range(24)}
    check_names(path, expected)
    halves = [(path, list(expected)[:12]), (path, list(expected)[12:])]
    for found in in_pool(FORK, workers.read_names, halves):
        assert all(np.array_equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("method", [*METHODS, "forkserver"])
def test_pickled_writers_in_a_pool(path: Path, method: str) -> None:
    """They lose no name and hang under no start method."""
    context = multiprocessing.get_context(method)
    writer = PointerArrayWriter(path, shape=(250,), dtype="f8", remove_exist=True)
    in_pool(context, workers.write_with, [(writer, [n]) for n in range(25)])
    writer.flush()
    writer.close()
    expected = {f"n{n}": workers.ramp(n) for n in range(25)}
    check_names(path, expected)
    assert np.sum(PointerArray(path)) == sum(map(np.sum, expected.values()))


def test_writers_made_in_a_pool(path: Path, context: Any) -> None:
    in_pool(context, workers.append_with_one_of_its_own, [(path, n) for n in range(20)])
    check_names(path, {f"n{n}": workers.ramp(n) for n in range(20)})


def test_workers_that_write_after_a_flush(path: Path) -> None:
    with PointerArrayWriter(path, (10,), "i8") as writer:
        writer.write({"before": [1]}, start_position=11).flush()
        in_pool(FORK, workers.write_with, [(writer, [0])])
        writer.flush()
    check_names(path, {"before": [1], "n0": workers.ramp(0)})


def test_processes_that_append_at_once(path: Path) -> None:
    in_pool(FORK, workers.append_block, [(path, n) for n in range(1, 40)])
    x = MmapArray(path)
    assert sorted(x[:, 0]) == sorted(n for n in range(1, 40) for _ in range(n))
    in_pool(FORK, workers.append_with_one_of_its_own, [(path.parent / "b", n) for n in range(50)])
    check_names(path.parent / "b", {f"n{n}": workers.ramp(n) for n in range(50)})


# processes and threads ----------------------------------------------------------------------------


def test_a_writer_in_a_process_of_its_own(path: Path, context: Any) -> None:
    writer = PointerArrayWriter(path, (10,), "i8")
    process = context.Process(target=workers.write_with, args=((writer, [0]),))
    process.start()
    process.join(TIMEOUT_SECONDS)
    assert process.exitcode == 0
    assert list(writer.indices) == ["n0"]


@pytest.mark.parametrize("how", ["return", "exception", "sigkill"])
def test_a_process_that_never_flushed(path: Path, how: str) -> None:
    """Its names are there, and those from before it."""
    early = {str(n): np.arange(n) for n in range(50)}
    with PointerArrayWriter(path, (0,), "i8") as writer:
        writer.write(early)
    process = FORK.Process(target=workers.append_and_leave, args=(path, how))
    process.start()
    process.join(TIMEOUT_SECONDS)
    check_names(path, {**early, "late": np.arange(10_000)})
    PointerArrayWriter(path).write({"later": [1]})


def test_a_writer_and_its_pickled_copy_in_turn(path: Path) -> None:
    first = PointerArrayWriter(path, (0,), "f8", remove_exist=True)
    first.write({"a": workers.ramp(0), "b": workers.ramp(1)})
    second = pickle.loads(pickle.dumps(first))
    second.write({"c": workers.ramp(2)})
    first.write({"d": workers.ramp(3)})
    second.flush()  # in whatever order
    first.flush()
    check_names(path, {name: workers.ramp(n) for n, name in enumerate("abcd")})


def test_two_writers_and_the_length(path: Path) -> None:
    first = PointerArrayWriter(path, (10,), "i8")
    second = pickle.loads(pickle.dumps(first))
    first.write({"late": np.arange(500)}, start_position=500)
    second.write({"early": np.arange(20)}, start_position=10)
    assert first.shape == second.shape == (1000,)
    check_names(path, {"late": np.arange(500), "early": np.arange(20)})


def test_no_process_is_started(path: Path) -> None:
    with PointerArrayWriter(path, (0,), "i8") as writer:
        writer.write({"a": [1]})
        assert multiprocessing.active_children() == []


def test_threads_that_open_the_same_path_at_once(path: Path) -> None:
    barrier = threading.Barrier(8)

    def write(n: int) -> None:
        barrier.wait()
        PointerArrayWriter(path, (0,), "i8").write({f"n{n}": workers.ramp(n)})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    check_names(path, {f"n{n}": workers.ramp(n) for n in range(8)})
