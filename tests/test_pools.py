"""Workers of pools, and processes that end in any way: no name that was written is lost."""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from tests.support import core_workers
from tests.support.checks import check_at
from tests.support.core_workers import content
from tests.support.processes import FORK, TIMEOUT_SECONDS, in_pool

# pools --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pickled_writers_in_a_pool_lose_no_name(path: Path, method: str) -> None:
    context = multiprocessing.get_context(method)
    with ptrarray.create(path, dtype="i8") as writer:
        in_pool(context, core_workers.append_with, [(writer, n) for n in range(25)])
    check_at(path, {f"n{n}": content(0, n) for n in range(25)})


def test_a_writer_that_a_pool_inherits_loses_no_name(path: Path) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        core_workers.INHERITED[:] = [writer]
        try:
            work = core_workers.append_with_the_inherited
            in_pool(FORK, work, range(80), n_workers=4, chunk_size=20)
        finally:
            core_workers.INHERITED.clear()
        writer["last"] = [1]
    check_at(path, {**{f"n{n}": content(0, n) for n in range(80)}, "last": [1]})


def test_workers_of_a_pool_write_planned_rows(path: Path) -> None:
    """A pool's workers are daemons, and may not have children of their own."""
    ptrarray.create(path, dtype="i8", rows=20).close()
    in_pool(FORK, core_workers.write_planned, [(path, 0, 10), (path, 10, 10)])
    check_at(path, {"from 0": range(10), "from 10": range(10, 20)})


def test_workers_write_between_two_flushes(path: Path) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        writer["a"] = [1]
        writer.flush()
        in_pool(FORK, core_workers.append_with, [(writer, 0)], n_workers=1)
        writer.flush()
    check_at(path, {"a": [1], "n0": content(0, 0)})


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_of_a_pool_fills_and_imports_by_itself(
    path: Path, folder: Path, method: str
) -> None:
    """It is a daemon, and may start no processes."""
    for name in "ab":
        np.save(folder / f"{name}.npy", content(0, 1))
    context = multiprocessing.get_context(method)
    in_pool(context, core_workers.fill_and_import, [(path, folder)], n_workers=1)
    wanted = {f"n{n}": range(n) for n in range(40)}
    check_at(path, {**wanted, "a": content(0, 1), "b": content(0, 1)})


def test_a_task_that_fails_in_a_worker_of_a_pool(path: Path) -> None:
    with pytest.raises(ptrarray.TaskError, match=r"task 'bad' .* failed: ValueError"):
        in_pool(FORK, core_workers.fill_badly, [path], n_workers=1)
    check_at(path, {"good": [1]})


# processes of their own ---------------------------------------------------------------------------


def test_a_spawned_process_that_does_not_close_loses_nothing(path: Path) -> None:
    ptrarray.create(path, dtype="i8").close()
    process = multiprocessing.get_context("spawn").Process(
        target=core_workers.append_and_leave, args=(path, "return")
    )
    process.start()
    process.join(TIMEOUT_SECONDS)
    assert process.exitcode == 0
    check_at(path, {"acknowledged": [1, 2, 3]})


@pytest.mark.parametrize("how", ["return", "exception", "_exit", "sigkill"])
def test_a_process_that_ends_in_any_way_loses_nothing(path: Path, how: str) -> None:
    ptrarray.create(path, dtype="i8").close()
    process = FORK.Process(target=core_workers.append_and_leave, args=(path, how))
    process.start()
    process.join(TIMEOUT_SECONDS)
    check_at(path, {"acknowledged": [1, 2, 3]})


def test_a_killed_process_loses_no_older_names(path: Path) -> None:
    old = {str(n): np.arange(n) for n in range(50)}
    with ptrarray.create(path, dtype="i8") as writer:
        writer.write(old)
    process = FORK.Process(target=core_workers.append_and_leave, args=(path, "sigkill"))
    process.start()
    process.join(TIMEOUT_SECONDS)
    check_at(path, {**old, "acknowledged": [1, 2, 3]})
    ptrarray.append(path).close()


def test_two_processes_append_at_once(path: Path) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        writer["first"] = np.arange(10)
    barrier, processes = FORK.Barrier(2), []
    listening, told = FORK.Pipe(duplex=False)
    for who in range(2):
        arguments = (path, who, 50, barrier, told)
        processes.append(FORK.Process(target=core_workers.append_many, args=arguments))
    for process in processes:
        process.start()
    for process in processes:
        process.join(TIMEOUT_SECONDS)
    assert listening.poll()
    expected = {f"{who}/{n}": content(who, n) for who in range(2) for n in range(50)}
    check_at(path, {"first": np.arange(10), **expected})


def test_a_process_killed_while_it_fills_rows_leaves_no_array(path: Path) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        writer["earlier"] = [1]
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=core_workers.hold_rows, args=(path, 10**5, theirs))
    process.start()
    assert ours.poll(TIMEOUT_SECONDS)
    process.kill()
    process.join()
    check_at(path, {"earlier": [1]})
    with ptrarray.append(path) as writer:
        writer["later"] = [2]
    check_at(path, {"earlier": [1], "later": [2]})


# a global writer, then a global reader ------------------------------------------------------------

SAMPLES = 80 * 10
JOBS = [(i, i + 10) for i in range(0, SAMPLES // 10, 10)]
OPENED: dict[str, Any] = {}


def write_job(job: tuple[int, int]) -> None:
    start, end = job
    OPENED["writer"].write(
        {f"name{i}": np.arange(i * 10, i * 10 + 10) for i in range(start, end)},
        start=start * 10,
    )


def read_job(job: tuple[int, int]) -> int:
    start, end = job
    return sum(int(np.sum(OPENED["x"][f"name{i}"])) for i in range(start, end))


@pytest.fixture
def _forget_what_was_opened() -> Iterator[None]:
    yield
    OPENED.clear()


@pytest.mark.usefixtures("_forget_what_was_opened")
def test_a_pool_inherits_a_global_writer_and_a_global_reader(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = OPENED["writer"] = ptrarray.create(path, dtype="int32", rows=SAMPLES, mode="w")
    with FORK.Pool(2) as pool:
        pool.map(write_job, JOBS)
    writer.flush()
    writer.close()

    x = OPENED["x"] = ptrarray.open(path)
    print(x["name0"])  # noqa: T201
    print(x["name66"])  # noqa: T201
    print(x["name78"])  # noqa: T201
    for name, (start, end) in x.pointers.items():
        assert np.array_equal(x[start:end], x[name])
    for name in x.pointers:
        assert len(x[name]) == 10
    with FORK.Pool(2) as pool:
        total_sum = sum(pool.map(read_job, JOBS))
    print(np.sum(x), total_sum)  # noqa: T201

    assert capsys.readouterr().out.splitlines() == [
        "[0 1 2 3 4 5 6 7 8 9]",
        "[660 661 662 663 664 665 666 667 668 669]",
        "[780 781 782 783 784 785 786 787 788 789]",
        "319600 319600",
    ]


@pytest.mark.parametrize("is_replaced", [True, False])
def test_joblib_with_views_of_a_file_that_is_no_more(
    path: Path, joblib: Any, is_replaced: bool
) -> None:
    """It sends the name of the file, from which a worker would map something else, or die."""
    values = np.arange(200_000.0)  # joblib sends smaller ones by value
    with ptrarray.create(path, dtype="f8") as writer:
        writer.write({"hole": [1.0], "a": values})
        del writer["hole"]
    store = ptrarray.open(path)
    view = store["a"]
    with joblib.Parallel(2) as parallel:
        assert parallel([joblib.delayed(np.sum)(view)]) == [values.sum()]
        if is_replaced:
            shutil.rmtree(path)
            ptrarray.create(path, dtype="f8", rows=300_000).close()
        else:
            ptrarray.compact(path)
        with pytest.raises(pickle.PicklingError) as caught:
            parallel([joblib.delayed(np.sum)(view)])
        assert "was replaced since it was opened" in str(caught.value.__cause__)
    if not is_replaced:
        store.refresh()
        assert joblib.Parallel(2)([joblib.delayed(np.sum)(store["a"])]) == [values.sum()]
    assert view.sum() == values.sum()
