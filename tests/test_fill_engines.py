"""What executors of engines carry for `fill`, and what they may do to it."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.errors import BadInputError, TaskError
from ptrarray.jobs.run import count_workers
from tests.support import workers
from tests.support.engines import Carrier, become_host
from tests.support.workers import check_ramps, ramps


def length_of(values: Any) -> Any:
    return np.arange(len(values))


def test_chunks_and_reports_are_bytes_each_unlike_any_other(path: Path) -> None:
    """An engine that hashes or compares what it carries finds only a key."""
    engine = Carrier()
    masked = np.ma.masked_array([1, 2, 3], [True, False, True])
    tasks = dict.fromkeys("abcdefgh", masked)
    ptrarray.fill(path, length_of, tasks, dtype="i8", executor=engine, progress=False)
    calls = [pickle.loads(carried)[1:] for carried in engine.carried[::2]]
    keys = []
    for (packed,), more in calls:
        assert [type(value) for value in (packed.job, packed.chunk)] == [bytes, bytes]
        assert not more
        keys.append(packed.__dask_tokenize__())
    assert len(set(keys)) == len(keys) > 2
    assert all(isinstance(pickle.loads(carried), bytes) for carried in engine.carried[1::2])
    with ptrarray.open(path) as store:
        assert {name: len(array) for name, array in store.items()} == dict.fromkeys(tasks, 3)


@pytest.fixture
def loky(joblib: Any) -> Executor:
    executor: Executor = joblib.externals.loky.get_reusable_executor(max_workers=2)
    return executor


def test_an_exception_that_cannot_be_unpickled_breaks_no_pool(path: Path, loky: Executor) -> None:
    for _ in range(2):
        with pytest.raises(TaskError, match="StubbornError: salt and pepper") as caught:
            ptrarray.fill(
                path, workers.raise_stubborn, ramps(5), dtype="i8", executor=loky, progress=False
            )
        assert caught.value.__cause__ is None
        assert "in raise_stubborn" in caught.value.worker_traceback
    assert loky.submit(len, "abc").result() == 3


def test_an_exception_that_is_known_here_is_the_cause(path: Path, loky: Executor) -> None:
    with pytest.raises(TaskError) as caught:
        ptrarray.fill(
            path, workers.ramp_below_20, ramps(99), dtype="i8", executor=loky, progress=False
        )
    assert isinstance(caught.value.__cause__, ValueError)


def test_functions_that_cannot_be_imported_travel_where_the_engine_can(
    path: Path, loky: Executor
) -> None:
    step = 2
    ptrarray.fill(
        path, lambda n: np.arange(0, n, step), ramps(9), dtype="i8", executor=loky, progress=False
    )
    with ptrarray.open(path) as store:
        assert store["n5"].tolist() == [0, 2, 4]


class Gone:
    """Can be pickled, not unpickled."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


def test_an_argument_that_cannot_be_unpickled_breaks_no_pool(path: Path, loky: Executor) -> None:
    with pytest.raises(TaskError, match="ValueError: invalid literal") as caught:
        ptrarray.fill(path, len, {"a": Gone()}, dtype="i8", executor=loky, progress=False)
    assert caught.value.task == "a"
    assert loky.submit(len, "abc").result() == 3


@pytest.mark.parametrize(
    ("engine", "n_workers"),
    [
        (SimpleNamespace(_max_workers=3), 3),
        (SimpleNamespace(num_workers=5), 5),  # of mpi4py
        (SimpleNamespace(_client=SimpleNamespace(nthreads=lambda: {"a": 2, "b": 4})), 6),  # of dask
    ],
)
def test_workers_are_counted_in_the_words_of_each_engine(engine: Any, n_workers: int) -> None:
    assert count_workers(None, engine) == n_workers
    assert count_workers(9, engine) == 9


def test_an_engine_that_tells_no_number_is_taken_to_have_one_worker_a_core() -> None:
    no_workers_yet = SimpleNamespace(_client=SimpleNamespace(nthreads=dict))
    assert count_workers(None, Carrier()) == count_workers(None, None)
    assert count_workers(None, no_workers_yet) == count_workers(None, None)  # type: ignore[arg-type]


def elsewhere() -> Executor:
    return ProcessPoolExecutor(
        2, multiprocessing.get_context("spawn"), initializer=become_host, initargs=(1,)
    )


def test_another_host_is_refused_before_it_writes(path: Path) -> None:
    with elsewhere() as executor, pytest.raises(BadInputError, match='parts="host"') as caught:
        ptrarray.fill(path, workers.ramp, ramps(50), dtype="i8", executor=executor, progress=False)
    assert caught.value.path == str(path)
    with ptrarray.open(path) as store:
        assert len(store) == store.shape[0] == 0
    with ProcessPoolExecutor(1) as executor:
        ptrarray.fill(path, workers.ramp, ramps(50), executor=executor, progress=False)
    check_ramps(path, 50)


def test_an_import_is_refused_on_another_host(path: Path, folder: Path) -> None:
    for n in range(2):
        np.save(folder / f"{n}.npy", np.arange(n))
    with elsewhere() as executor, pytest.raises(BadInputError, match="other machines"):
        ptrarray.convert.from_npy(sorted(folder.iterdir()), path, executor=executor, progress=False)
    assert not path.exists()
