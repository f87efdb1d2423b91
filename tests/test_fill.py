"""A store is filled by many processes: what they take and send, what fails, and how it goes on."""

from __future__ import annotations

import errno
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptrarray import fill as fill_is_public
from ptrarray.creation import create
from ptrarray.errors import BadInputError, DuplicateNameError, TaskError
from ptrarray.filling import fill
from ptrarray.reader import open as open_store
from ptrarray.upkeep import checkpoint
from ptrarray.writer import PointerArrayWriter, append
from tests.support import workers
from tests.support.forging import RECORDS_AT, slot_field
from tests.support.workers import check_ramps, ramps


@pytest.fixture
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def test_is_public() -> None:
    assert fill_is_public is fill


# Where it runs ------------------------------------------------------------------------------------


def test_own_processes(path: Path) -> None:
    n_arrays = fill(path, workers.ramp, ramps(300), dtype="i8", processes=2, progress=False)
    assert n_arrays == 300
    check_ramps(path, 300)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_start_methods(path: Path, method: str) -> None:
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        for part in ({"n0": 0, "n1": 1}, ramps(50)):
            fill(
                path,
                workers.ramp,
                part,
                dtype="i8",
                executor=executor,
                resume=True,
                progress=False,
            )
    check_ramps(path, 50)


def test_threads(path: Path, threads: Executor) -> None:
    assert fill(path, workers.ramp, ramps(300), dtype="i8", executor=threads, progress=False) == 300
    check_ramps(path, 300)
    assert threads.submit(workers.ramp, 1).result().shape == (1,)  # still open


def test_reusable_executor_of_joblib(path: Path) -> None:
    loky = pytest.importorskip("joblib.externals.loky")
    executor = loky.get_reusable_executor(max_workers=2)
    try:
        fill(path, workers.ramp, ramps(50), dtype="i8", executor=executor, progress=False)
    finally:
        executor.shutdown(wait=True)
    check_ramps(path, 50)


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: Executor) -> None:
    monkeypatch.chdir(tmp_path)
    fill("here.ptr", workers.ramp, ramps(3), dtype="i8", executor=threads, progress=False)
    check_ramps(tmp_path / "here.ptr", 3)


# What it takes ------------------------------------------------------------------------------------


def test_iterable_of_arguments(path: Path, threads: Executor) -> None:
    n_arrays = fill(
        path, workers.pair, iter(range(40)), dtype="i8", executor=threads, progress=False
    )
    assert n_arrays == 80
    with open_store(path) as store:
        assert store["39/down"].tolist() == list(range(39))[::-1]
        assert len(store) == 80


def test_no_tasks_make_an_empty_store(path: Path) -> None:
    assert fill(path, workers.ramp, {}, dtype="f4", row_shape=(2, 3), attrs={"rate": 1}) == 0
    with open_store(path) as store:
        assert (len(store), store.row_shape, dict(store.attrs)) == (0, (2, 3), {"rate": 1})


def test_lists_are_arrays(path: Path, threads: Executor) -> None:
    fill(path, workers.return_list, ramps(3), dtype="u2", executor=threads, progress=False)
    with open_store(path) as store:
        assert [store[f"n{n}"].tolist() for n in range(3)] == [[], [7], [7, 7]]


@pytest.mark.parametrize("layout", [{"dtype": "i8"}, {"dtype": "i8", "row_shape": None}, {}])
def test_buffer_that_the_function_uses_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, layout: dict[str, Any]
) -> None:
    monkeypatch.setattr("ptrarray.jobs.run._CHUNK_SECONDS", 1e6)  # many a chunk, on any machine
    with ThreadPoolExecutor(1) as one:
        fill(path, workers.number_in_one_buffer, ramps(100), executor=one, **layout, progress=False)
    with open_store(path) as store:
        assert {name: store[name].tolist() for name in store} == {
            f"n{n}": [n] * n for n in range(100)
        }


def test_arrays_that_wait_keep_their_order(path: Path, threads: Executor) -> None:
    tasks = {"fortran": 2, "c": 3}
    fill(path, workers.fortran_if_even, tasks, executor=threads, progress=False)
    with open_store(path) as store:
        assert [store[name].tolist() for name in tasks] == [[[0, 1, 2], [3, 4, 5]]] * 2
        assert [store[name].flags.f_contiguous for name in tasks] == [True, False]


def test_what_was_filled_is_on_the_disk(path: Path, threads: Executor) -> None:
    """Also where the journal is too small to be folded when the store is closed."""
    with create(path, dtype="i8") as writer:
        writer.write({f"there {n}": [n] for n in range(2000)})
    checkpoint(path)
    fill(path, workers.ramp, ramps(3), executor=threads, progress=False)
    raw = (path / "journal.msgpack").read_bytes()
    ends = [slot_field(raw, end) for end in ("synced_end", "committed_end")]
    assert ends[0] == ends[1]
    assert int.from_bytes(ends[1], "little") > RECORDS_AT


def with_meta(n: int) -> Any:
    meta.update(n=n)
    return np.arange(n), meta


def many_with_meta(n: int) -> dict[str, Any]:
    about = {f"a{n}": {"n": [n]}, f"c{n}": {}}
    arrays: dict[str, Any] = {name: np.arange(n) for name in (f"a{n}", f"b{n}", f"c{n}")}
    return {**arrays, "meta": about, f"d{n}": ([n], {"n": -n})}


meta: dict[str, int] = {}


def test_metadata_of_named_arrays(path: Path, threads: Executor) -> None:
    fill(path, with_meta, ramps(60), dtype="i8", progress=False, processes=1)
    check_ramps(path, 60)
    with open_store(path) as store:
        assert {name: store.meta[name] for name in store} == {f"n{n}": {"n": n} for n in range(60)}
    with pytest.raises(TaskError, match="metadata"):
        fill(path, lambda n: ([n], {"a": object()}), {"x": 1}, executor=threads, progress=False)
    fill(path, lambda n: (np.arange(n), None), {"y": 3}, executor=threads, progress=False)
    with open_store(path) as store:
        assert "x" not in store
        assert store["y"].tolist() == [0, 1, 2]
        assert store.meta["y"] == {}


@pytest.mark.parametrize("dtype", ["i8", None])
def test_metadata_in_a_mapping(path: Path, threads: Executor, dtype: str | None) -> None:
    fill(path, many_with_meta, [1], dtype=dtype, executor=threads, progress=False)
    fill(path, many_with_meta, [1, 2], executor=threads, progress=False, resume=True)
    with open_store(path) as store:
        found = {name: dict(store.meta[name]) for name in sorted(store)}
    some = {"a1": {"n": [1]}, "a2": {"n": [2]}, "d1": {"n": -1}, "d2": {"n": -2}}
    assert found == {"b1": {}, "b2": {}, "c1": {}, "c2": {}, **some}


def test_an_array_may_be_called_meta(path: Path, threads: Executor) -> None:
    fill(path, lambda n: {"meta": [n]}, [7], dtype="i8", executor=threads, progress=False)
    with open_store(path) as store:
        assert store["meta"].tolist() == [7]


def test_metadata_of_a_name_that_is_not_returned(path: Path, threads: Executor) -> None:
    with pytest.raises(TaskError, match="'b'"):
        fill(path, lambda n: {"a": [n], "meta": {"b": {}}}, [1], dtype="i8", executor=threads,
             progress=False)  # fmt: skip


def test_existing_store_says_the_dtype(path: Path, threads: Executor) -> None:
    create(path, dtype="i2", row_shape=(2,)).close()
    tasks = {"a": [[1, 2]], "b": [[3, 4], [5, 6]]}
    assert fill(path, np.array, tasks, executor=threads, progress=False) == 2
    with open_store(path) as store:
        assert store.shape == (3, 2)
        assert store["b"].dtype == np.int16


@pytest.mark.parametrize("other", [{"dtype": "i4"}, {"dtype": "i2", "row_shape": (3,)}])
def test_refuses_another_layout(path: Path, other: dict[str, Any]) -> None:
    create(path, dtype="i2", row_shape=(2,)).close()
    with pytest.raises(BadInputError):
        fill(path, workers.ramp, ramps(3), **other)


def test_refuses_another_row_shape_without_dtype(path: Path) -> None:
    create(path, dtype="i2", row_shape=(2,)).close()
    with pytest.raises(BadInputError):
        fill(path, workers.ramp, ramps(3), row_shape=(3,))


def test_a_new_store_without_dtype_keeps_that_of_each_array(path: Path) -> None:
    assert fill(path, workers.ramp, ramps(3)) == 3
    with open_store(path) as store:
        assert store.layout == "mixed"
        assert {name: array.dtype for name, array in store.items()} == dict.fromkeys(
            ramps(3), workers.ramp(1).dtype
        )


@pytest.mark.parametrize("row_shape", [(), None])
def test_goes_on_with_a_store_of_any_layout(path: Path, row_shape: Any) -> None:
    create(path, dtype="i8", row_shape=row_shape, masked=True).close()
    assert fill(path, workers.ramp, ramps(3)) == 3
    with open_store(path) as store:
        assert (len(store), store.masked, store.row_shape) == (3, True, row_shape)


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EROFS, errno.ENOSYS])
def test_a_system_without_semaphores_is_called_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """What makes the queues of a pool says nothing but an errno."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", refuse)
    with pytest.raises(OSError, match=r"/dev/shm.*executor=") as caught:
        fill(path, np.arange, {"a": 1}, progress=False)
    assert caught.value.errno == code
    with ThreadPoolExecutor(1) as pool:
        assert fill(path, np.arange, {"a": 1}, executor=pool, progress=False) == 1


def test_refuses_no_processes(path: Path) -> None:
    with pytest.raises(BadInputError, match="processes is 0, expected at least 1"):
        fill(path, workers.ramp, ramps(3), dtype="i8", processes=0)
    assert not path.exists()


# How it sends and commits -------------------------------------------------------------------------


def test_takes_tasks_as_they_are_needed(path: Path) -> None:
    done: list[int] = []
    lag = []

    def tasks() -> Iterator[int]:
        for i in range(10_000):
            lag.append(i - len(done))
            yield i

    def call(i: int) -> dict[str, Any]:
        done.append(i)
        return {}

    with ThreadPoolExecutor(1) as executor:
        fill(path, call, tasks(), dtype="i8", executor=executor, progress=False)
    assert len(done) == 10_000
    assert max(lag) < 3 * 1024


def test_large_arguments_travel_alone(path: Path, threads: Executor) -> None:
    tasks = {f"n{i}": np.full(1 << 21, i) for i in range(5)}  # 16 MB each
    fill(path, lambda a: a[: a[0]], tasks, dtype="i8", executor=threads, progress=False)
    with open_store(path) as store:
        assert [len(store[f"n{i}"]) for i in range(5)] == list(range(5))


@pytest.mark.parametrize("limit_nbytes", [0, 100, 1 << 24])
def test_batches(path: Path, monkeypatch: pytest.MonkeyPatch, limit_nbytes: int) -> None:
    monkeypatch.setattr("ptrarray.jobs.batches.BATCH_NBYTES", limit_nbytes)
    writes = []
    write = PointerArrayWriter.write

    def spy(self: PointerArrayWriter, arrays: Any, *args: Any, **kwargs: Any) -> Any:
        writes.append(sum(array.nbytes for array in arrays.values()))
        return write(self, arrays, *args, **kwargs)

    monkeypatch.setattr(PointerArrayWriter, "write", spy)
    with ThreadPoolExecutor(1) as executor:
        fill(path, workers.ramp, ramps(200), dtype="i8", executor=executor, progress=False)
    check_ramps(path, 200)
    assert all(nbytes <= max(limit_nbytes, 8 * 199) for nbytes in writes)
    assert (len(writes) < 200) == (limit_nbytes > 0)


def test_progress_bar(path: Path, threads: Executor, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path, workers.ramp, ramps(300), dtype="i8", executor=threads)
    shown = capsys.readouterr().err
    assert "300/300" in shown
    assert "arrays/s" in shown
    assert "MB/s" in shown


def test_no_progress_bar(path: Path, threads: Executor, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path, workers.ramp, ramps(300), dtype="i8", executor=threads, progress=False)
    assert capsys.readouterr() == ("", "")


# Names that are there -----------------------------------------------------------------------------


def test_refuses_names_that_are_there_before_it_starts(path: Path, threads: Executor) -> None:
    with create(path, dtype="i8") as writer:
        writer.write({"n7": np.arange(3), "n8": np.arange(3)})
    calls: list[int] = []
    with pytest.raises(DuplicateNameError, match=r"2 of 10 names.*'n7', 'n8'") as caught:
        fill(path, calls.append, ramps(10), executor=threads)
    assert caught.value.names == ("n7", "n8")
    assert calls == []


def test_resume_skips_names_before_they_are_computed(path: Path, threads: Executor) -> None:
    with create(path, dtype="i8") as writer:
        writer.write({"n7": np.arange(7), "n8": np.arange(8)})
    calls: list[int] = []

    def call(n: int) -> Any:
        calls.append(n)
        return np.arange(n)

    assert fill(path, call, ramps(10), executor=threads, resume=True, progress=False) == 8
    assert sorted(calls) == [0, 1, 2, 3, 4, 5, 6, 9]
    check_ramps(path, 10)


def test_resume_skips_names_that_the_function_returns(path: Path, threads: Executor) -> None:
    with create(path, dtype="i8") as writer:
        writer["3/up"] = np.arange(3)
    assert fill(path, workers.pair, range(5), executor=threads, resume=True, progress=False) == 9
    assert fill(path, workers.pair, range(5), executor=threads, resume=True, progress=False) == 0


def test_name_returned_twice(path: Path) -> None:
    with pytest.raises(TaskError, match="DuplicateNameError") as caught:
        fill(path, workers.whole_or_part, range(4), dtype="i8", processes=1, progress=False)
    assert isinstance(caught.value.__cause__, DuplicateNameError)
    assert caught.value.task == 1
    fill(path, workers.whole_or_part, range(4), processes=1, resume=True, progress=False)
    with open_store(path) as store:
        assert {name: len(array) for name, array in store.items()} == {"n0": 0, "n1": 2}


def test_resume_against_a_name_written_meanwhile(path: Path) -> None:
    """Another process commits the name between the look and the write."""
    create(path, dtype="i8").close()

    def call(n: int) -> Any:
        with append(path) as writer:
            writer[f"n{n}"] = np.arange(n)
        return np.arange(n)

    with ThreadPoolExecutor(1) as executor:
        assert fill(path, call, ramps(5), executor=executor, resume=True, progress=False) == 0
    check_ramps(path, 5)


# Failures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False])
def test_failing_task_stops_the_run(path: Path, threads: Executor, own: bool) -> None:
    where: dict[str, Any] = {"processes": 2} if own else {"executor": threads}
    with pytest.raises(TaskError) as caught:
        fill(path, workers.ramp_below_20, ramps(1000), dtype="i8", progress=False, **where)
    error = caught.value
    assert error.path == str(path)
    assert error.task in {f"n{n}" for n in range(20, 1000)}
    assert f"task {error.task!r} of {path} failed: ValueError" in str(error)
    assert "resume=True" in str(error)
    assert "in ramp_below_20" in error.worker_traceback
    assert isinstance(error.__cause__, ValueError)
    with open_store(path) as store:  # tasks start in order, and what was begun is committed
        assert sorted(store) == sorted(ramps(20))
    rest = fill(path, workers.ramp, ramps(100), resume=True, progress=False, **where)
    assert rest == 80
    check_ramps(path, 100)


def test_exception_that_cannot_be_unpickled(path: Path) -> None:
    with pytest.raises(TaskError, match="StubbornError: salt and pepper") as caught:
        fill(path, workers.raise_stubborn, ramps(5), dtype="i8", processes=1, progress=False)
    assert caught.value.__cause__ is None
    assert "in raise_stubborn" in caught.value.worker_traceback


def test_system_exit_is_a_failing_task(path: Path) -> None:
    with pytest.raises(TaskError, match=r"'n0' .* failed: SystemExit: 0"):
        fill(path, workers.leave, ramps(5), dtype="i8", processes=1, progress=False)


@pytest.mark.parametrize(
    ("function", "tasks", "message"),
    [
        (workers.return_none, {"a": 1}, "returned NoneType for 'a', expected an array"),
        (workers.return_none, [1], "returned NoneType, expected a mapping"),
        (workers.ramp, [1], "returned ndarray, expected a mapping"),
        (workers.return_floats, {"a": 1}, "'a' has dtype float64"),
        (workers.ramp, {"a": "b"}, "TypeError"),
    ],
)
def test_wrong_results(
    path: Path, threads: Executor, function: Any, tasks: Any, message: str
) -> None:
    with pytest.raises(TaskError, match=message):
        fill(path, function, tasks, dtype="i8", executor=threads, progress=False)
    with open_store(path) as store:
        assert len(store) == 0


def test_array_refused_by_the_store_does_not_take_others_along(path: Path) -> None:
    tasks = {**ramps(50), "bad\ud800": 3}
    with ThreadPoolExecutor(1) as executor, pytest.raises(TaskError) as caught:
        fill(path, workers.ramp, tasks, dtype="i8", executor=executor, progress=False)
    assert caught.value.task == "bad\ud800"
    check_ramps(path, 50)


def test_function_that_cannot_be_sent(path: Path) -> None:
    with pytest.raises(TaskError, match=r"'n0' .* failed: not sent to a worker, .*lambda"):
        fill(path, lambda n: n, ramps(5), dtype="i8", processes=1, progress=False)


def test_function_that_cannot_be_found_in_the_worker(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def ramp(n): return range(n)")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        module = import_module("only_here")
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=context) as executor,
        pytest.raises(TaskError, match="No module named 'only_here'"),
    ):
        fill(path, module.ramp, ramps(5), dtype="i8", executor=executor, progress=False)


def test_failing_generator_of_tasks(path: Path, threads: Executor) -> None:
    def tasks() -> Iterator[int]:
        yield from range(5)
        raise OSError("the list of files ends here")

    with pytest.raises(OSError, match="the list of files"):
        fill(path, workers.pair, tasks(), dtype="i8", executor=threads, progress=False)


def test_killed_worker(path: Path, tmp_path: Path) -> None:
    tasks = {name: (n, str(tmp_path / "killed")) for name, n in ramps(50).items()}
    with pytest.raises(TaskError, match=r"process .* died .* resume=True") as caught:
        fill(path, workers.die_once, tasks, dtype="i8", processes=2, progress=False)
    assert caught.value.path == str(path)
    fill(path, workers.die_once, tasks, processes=2, resume=True, progress=False)
    with open_store(path) as store:
        assert len(store) == 50
        store.verify()
