"""Many processes on one store, under each start method, some of them killed."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import pickle
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import OverlapError
from tests.support import core_workers
from tests.support.checks import check_same, check_store
from tests.support.core_workers import content, strange, strange_meta
from tests.support.effort import all_but
from tests.support.prepared import python
from tests.support.processes import FORK, TIMEOUT_SECONDS

METHODS = ("fork", "forkserver", "spawn")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Path of a store of integers without arrays."""
    path = tmp_path / "shared.ptr"
    ptrarray.create(path, dtype="i8").close()
    return path


@pytest.fixture(params=METHODS)
def context(request: pytest.FixtureRequest) -> BaseContext:
    method: str = request.param
    return multiprocessing.get_context(method)


def start(context: Any, target: Any, *args: Any) -> BaseProcess:
    process: BaseProcess = context.Process(target=target, args=args)
    process.start()
    return process


def check_ended_well(*processes: BaseProcess) -> None:
    for process in processes:
        process.join(TIMEOUT_SECONDS)
        assert process.exitcode == 0


def receive(pipe: Connection) -> Any:
    """Take the next message, or fail rather than wait for ever."""
    assert pipe.poll(TIMEOUT_SECONDS), "nothing was told"
    return pipe.recv()


@contextmanager
def running(target: Any, *args: Any) -> Iterator[tuple[BaseProcess, Connection]]:
    """Run a function in a forked process with a pipe to it, which ends with the block."""
    ours, theirs = FORK.Pipe()
    process = start(FORK, target, *args, theirs)
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()


def kill(process: BaseProcess) -> None:
    process.kill()
    process.join()  # with a timeout it would wait for children of the process, too
    assert process.exitcode == -signal.SIGKILL


# all at once --------------------------------------------------------------------------------------


def test_four_processes_append_and_nothing_is_lost(path: Path, context: Any) -> None:
    n_processes, n_arrays = 4, 250
    barrier = context.Barrier(n_processes)
    pipes, processes = [], []
    for who in range(n_processes):
        ours, theirs = context.Pipe()
        arguments = (path, who, n_arrays, barrier, theirs)
        processes.append(start(context, core_workers.append_many, *arguments))
        theirs.close()
        pipes.append(ours)
    told = {receive(pipe) for pipe in pipes for _ in range(n_arrays)}
    check_ended_well(*processes)
    expected = {f"{w}/{n}": content(w, n) for w in range(n_processes) for n in range(n_arrays)}
    assert told == set(expected)
    with ptrarray.open(path) as store:
        assert store.shape[0] == sum(map(len, expected.values())), "rows follow without a hole"
        check_store(store, expected)


@pytest.mark.parametrize("method", all_but("spawn", ["fork", "spawn"]))
def test_four_processes_append_masked_arrays_of_any_kind(method: str, tmp_path: Path) -> None:
    path, n_arrays = tmp_path / "strange.ptr", 40
    with ptrarray.create(path, masked=True) as writer:
        writer["shared"] = np.ma.MaskedArray([1, 2, 3], [False, True, False])
    context: Any = multiprocessing.get_context(method)
    barrier = context.Barrier(4)
    arguments = [(path, who, n_arrays, barrier) for who in range(4)]
    check_ended_well(*[start(context, core_workers.append_strange, *args) for args in arguments])
    with ptrarray.open(path) as store:
        assert len(store) == 4 * (n_arrays + 1) + 1
        assert all(start % 64 == 0 for start in store.starts)
        for who in range(4):
            assert store[f"{who}/large"].tolist() == np.full((90, 100), who).tolist()
            for n in range(n_arrays):
                check_same(store[f"{who}/{n}"], np.ma.asanyarray(strange(who, n)))
                assert store.meta[f"{who}/{n}"] == strange_meta(who, n)
        assert store.meta["shared"] in [{"who": who, "n": n_arrays - 1} for who in range(4)]
        store.verify()


def test_masks_are_changed_in_place_while_others_write(tmp_path: Path) -> None:
    path = tmp_path / "strange.ptr"
    with ptrarray.create(path, masked=True) as writer:
        writer.write({"shared": np.zeros(3)}, meta={"shared": {"k": 1}})
        with running(core_workers.change_in_place, path) as (process, pipe):
            for n in range(20):
                assert receive(pipe) == n
                writer[f"other {n}"] = strange(1, n)
            check_ended_well(process)
        found = writer["shared"]
        check_same(np.ma.getmaskarray(found), np.array([False, True, True]))
        assert np.ma.getdata(found).tolist() == [18, 16, 14]
        assert writer.meta["shared"] == {"k": 1}
    ptrarray.verify(path)


def test_pickled_writers_in_a_pool(path: Path, context: Any) -> None:
    """The writers are not closed, and are forgotten one after the other."""
    with ptrarray.append(path) as writer, context.Pool(2) as pool:
        tasks = [(writer, n) for n in range(25)]
        result = pool.map_async(core_workers.append_with, tasks, chunksize=2)
        assert result.get(TIMEOUT_SECONDS) == [f"n{n}" for n in range(25)]
        assert len(writer) == 25
    with ptrarray.open(path) as store:
        check_store(store, {f"n{n}": content(0, n) for n in range(25)})


def test_a_writer_inherited_by_fork(path: Path) -> None:
    with ptrarray.append(path) as writer:
        writer["before"] = [1]
        core_workers.INHERITED[:] = [writer]
        try:
            with FORK.Pool(3) as pool:
                result = pool.map_async(core_workers.append_with_the_inherited, range(60))
                writer["meanwhile"] = [2]
                result.get(TIMEOUT_SECONDS)
        finally:
            core_workers.INHERITED.clear()
        writer["after"] = [3]
    expected = {f"n{n}": content(0, n) for n in range(60)}
    expected |= {name: np.array([n]) for n, name in enumerate(["before", "meanwhile", "after"], 1)}
    with ptrarray.open(path) as store:
        check_store(store, expected)


def test_planned_offsets(tmp_path: Path, context: Any) -> None:
    path, n_rows = tmp_path / "planned.ptr", 1000
    ptrarray.create(path, dtype="i8", rows=8 * n_rows).close()
    tasks = [(path, start, n_rows) for start in range(0, 8 * n_rows, n_rows)]
    with context.Pool(2) as pool:
        # From the back to the front: what is written last has rows behind it.
        pool.map_async(core_workers.write_planned, tasks[::-1]).get(TIMEOUT_SECONDS)
    with ptrarray.open(path) as store:
        assert np.array_equal(store.rows, np.arange(8 * n_rows))
        assert list(store) == [f"from {start}" for _, start, _ in tasks]
        store.verify()


def test_eight_processes_race_to_create_one_store(tmp_path: Path) -> None:
    for attempt in range(3):
        path = tmp_path / f"raced-{attempt}.ptr"
        barrier = FORK.Barrier(8)
        processes = [
            start(FORK, core_workers.create_and_append, path, who, barrier) for who in range(8)
        ]
        check_ended_well(*processes)
        with ptrarray.open(path) as store:
            check_store(store, {str(who): np.array([who]) for who in range(8)})
            assert dict(store.attrs) == {"maker": "any"}
        assert len(list(path.iterdir())) == 3
    assert len(list(tmp_path.iterdir())) == 3, "no half-made store is left"


def test_a_pickled_reader(path: Path, context: Any) -> None:
    with ptrarray.append(path) as writer:
        writer.write({"a": [1, 2], "b": [3]})
    with ptrarray.open(path) as store:
        ours, theirs = context.Pipe()
        process = start(context, core_workers.read_with, store, theirs)
        assert receive(ours) == {"a": [1, 2], "b": [3]}
        check_ended_well(process)


# readers beside writers ---------------------------------------------------------------------------


def test_a_reader_follows_writers(path: Path) -> None:
    """Each state it sees holds all of the one before, and only whole arrays."""
    n_processes, n_arrays = 2, 200
    barrier = FORK.Barrier(n_processes + 1)
    with running(core_workers.follow, path, n_processes * n_arrays) as (reader, pipe):
        assert receive(pipe) == "open"
        writers = []
        for who in range(n_processes):
            ours, theirs = FORK.Pipe()
            arguments = (path, who, n_arrays, barrier, theirs)
            writers.append((start(FORK, core_workers.append_many, *arguments), ours))
        barrier.wait(TIMEOUT_SECONDS)
        for writer, told in writers:
            for n in range(n_arrays):
                receive(told)
                if n % 40 == 0:
                    ptrarray.checkpoint(path)
            check_ended_well(writer)
        assert receive(pipe) == n_processes * n_arrays
        check_ended_well(reader)


def test_what_one_process_committed_the_next_one_sees(path: Path) -> None:
    with (
        ptrarray.open(path) as store,
        ptrarray.append(path) as writer,
        running(core_workers.append_until_killed, path) as (_, pipe),
    ):
        for _ in range(50):
            n = receive(pipe)
            assert f"{n}/small" in writer
            store.refresh()
            assert np.array_equal(store[f"{n}/small"], content(1, n))


# processes that die -------------------------------------------------------------------------------


@pytest.mark.parametrize("n_told_before", [0, 1, 17, 60])
def test_a_killed_writer_loses_nothing_acknowledged(path: Path, n_told_before: int) -> None:
    told = []
    with running(core_workers.append_until_killed, path) as (process, pipe):
        told += [receive(pipe) for _ in range(n_told_before)]
        kill(process)
        try:
            while pipe.poll():
                told.append(pipe.recv())
        except EOFError:
            pass
    with ptrarray.open(path) as store:
        store.verify()
        # It may have committed one more than it told of, and each call is all or nothing.
        assert len(store) in (2 * len(told), 2 * len(told) + 2)
        for n in range(len(store) // 2):
            assert np.array_equal(store[f"{n}/small"], content(1, n))
            assert np.array_equal(store[f"{n}/large"], np.full(10**4, n))
    with ptrarray.append(path) as writer:
        writer["next"] = [1]
    ptrarray.verify(path)


@pytest.mark.parametrize("how", ["sigkill", "_exit", "exception", "return"])
def test_ending_without_close_loses_nothing(path: Path, how: str) -> None:
    process = start(FORK, core_workers.append_and_leave, path, how)
    process.join(TIMEOUT_SECONDS)
    assert process.exitcode is not None
    with ptrarray.open(path) as store:
        check_store(store, {"acknowledged": np.array([1, 2, 3])})


@pytest.mark.parametrize("last_line", ["", "raise RuntimeError", "import os; os._exit(1)"])
def test_a_script_that_forgets_close(path: Path, last_line: str) -> None:
    script = f"import ptrarray\nwriter = ptrarray.append({str(path)!r})\nwriter['a'] = [1, 2]\n"
    result = python("-c", script + last_line)
    if not last_line:
        assert (result.returncode, result.stderr) == (0, "")
    with ptrarray.open(path) as store:
        check_store(store, {"a": np.array([1, 2])})


@pytest.mark.parametrize("n_rows", [3, 10**6])
def test_a_script_that_writes_at_its_very_end(path: Path, n_rows: int) -> None:
    script = (
        "import atexit, numpy, ptrarray\n"
        f"writer = ptrarray.append({str(path)!r})\n"
        f"atexit.register(lambda: writer.write({{'a': numpy.arange({n_rows})}}))\n"
    )
    result = python("-c", script)
    assert (result.returncode, result.stderr) == (0, "")
    with ptrarray.open(path) as store:
        check_store(store, {"a": np.arange(n_rows)})


def test_rows_of_a_living_writer_cannot_be_taken(path: Path) -> None:
    with running(core_workers.hold_rows, path, 10) as (process, pipe), ptrarray.append(path) as w:
        assert receive(pipe) == "claimed"
        for first in (0, 5, 9):
            with pytest.raises(OverlapError, match="another writer"):
                w.write({"mine": np.arange(3)}, start=first)
        assert w.write({"behind": [5]}) == (10, 11), "appending goes on behind"
        assert list(w) == ["behind"]
        pipe.send("go on")
        check_ended_well(process)
        assert sorted(w) == ["behind", "held"]
        with pytest.raises(OverlapError, match="an array"):
            w.write({"mine": [1]}, start=5)
    ptrarray.verify(path)


def test_rows_of_a_killed_writer_can_be_taken(path: Path) -> None:
    with running(core_workers.hold_rows, path, 10) as (process, pipe), ptrarray.append(path) as w:
        assert receive(pipe) == "claimed"
        with pytest.raises(OverlapError, match="another writer"):
            w.write({"mine": np.arange(10)}, start=0)
        kill(process)
        assert w.write({"mine": np.arange(10)}, start=0) == (0, 10)
        assert list(w) == ["mine"]
    with ptrarray.open(path) as store:
        check_store(store, {"mine": np.arange(10)})


def test_an_interrupted_planned_job_can_be_run_again(tmp_path: Path) -> None:
    path, n_rows = tmp_path / "planned.ptr", 100
    ptrarray.create(path, dtype="i8", rows=4 * n_rows).close()
    core_workers.write_planned((path, n_rows, n_rows))
    with running(core_workers.hold_rows, path, n_rows) as (process, pipe):
        receive(pipe)
        kill(process)
    with ptrarray.append(path) as writer:
        for first in range(0, 4 * n_rows, n_rows):
            name = f"from {first}"
            if name not in writer:
                writer.write({name: np.arange(first, first + n_rows)}, start=first)
    with ptrarray.open(path) as store:
        assert np.array_equal(store.rows[: 4 * n_rows], np.arange(4 * n_rows))
        store.verify()


def test_nobody_waits_for_a_dead_lock_holder(path: Path) -> None:
    with running(core_workers.hold_lock, path) as (process, pipe):
        assert receive(pipe) == "locked"
        with (path / "journal.msgpack").open("r+b") as journal, pytest.raises(BlockingIOError):
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with ptrarray.open(path) as store:
            assert len(store) == 0, "a reader needs no lock"
        kill(process)
        with ptrarray.append(path) as writer:
            writer["a"] = [1]


def test_a_writer_waits_for_a_living_lock_holder(path: Path) -> None:
    with running(core_workers.hold_lock, path) as (holder, to_holder):
        assert receive(to_holder) == "locked"
        barrier = FORK.Barrier(1)
        with running(core_workers.append_many, path, 0, 3, barrier) as (writer, told):
            assert not told.poll(0.3), "it wrote while another held the lock"
            to_holder.send("let go")
            assert [receive(told) for _ in range(3)] == ["0/0", "0/1", "0/2"]
            check_ended_well(holder, writer)


def test_a_lock_does_not_live_on_in_a_child(path: Path) -> None:
    """Rows claimed by a process are free after its death, though a child of it lives."""
    writer = ptrarray.append(path)
    with running(core_workers.hold_rows_beside_a_child, path) as (process, pipe):
        child_pid = receive(pipe)
        try:
            kill(process)
            os.kill(child_pid, 0)  # still there
            assert writer.write({"mine": np.arange(10)}, start=0) == (0, 10)
        finally:
            os.kill(child_pid, signal.SIGKILL)
    writer.close()
    ptrarray.verify(path)


def test_a_child_leaves_the_claims_of_its_parent(path: Path) -> None:
    with ptrarray.append(path) as writer, writer.allocate("a", 3) as rows:
        child = start(FORK, core_workers.append_and_leave, path, "return")
        check_ended_well(child)
        with ptrarray.append(path) as other, pytest.raises(OverlapError, match="another writer"):
            other.write({"b": [1]}, start=0)
        rows[...] = 7
    with ptrarray.open(path) as store:
        assert store["a"].tolist() == [7, 7, 7]
        assert store["acknowledged"].tolist() == [1, 2, 3]
        store.verify()


def test_a_pickled_writer_of_a_store_that_is_gone(path: Path) -> None:
    """It fails, and does not make an empty store in the place of the lost one."""
    with ptrarray.append(path) as writer:
        raw = pickle.dumps(writer)
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    with pytest.raises(ptrarray.StoreNotFoundError):
        pickle.loads(raw)
    assert not path.exists()
