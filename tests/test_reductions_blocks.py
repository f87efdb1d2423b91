"""Reductions go block by block, in parallel, and past the holes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrarray import reductions
from ptrarray.reductions import Living, blocks
from tests.support.reductions import Stored, outcome, stored

pytestmark = pytest.mark.usefixtures("small_blocks")


def test_holes_of_a_sparse_file_are_not_read(tmp_path: Path) -> None:
    n_rows = 2**33
    path = tmp_path / "data.bin"
    with path.open("wb") as file:
        file.truncate(n_rows * 4)
    rows = np.memmap(path, np.int32, "r+")
    starts = np.array([5, 2**20, 2**32, 2**32 + 1, n_rows - 3])
    ends = np.array([8, 2**20, 2**32 + 2000, 2**32 + 3, n_rows])
    for start, end in zip(starts, ends, strict=True):
        rows[start:end] = 2
    n_living = 3 + 2000 + 3
    store = Living(rows, starts, ends)
    assert reductions.reduce(store, np.add) == 2 * n_living
    assert reductions.mean(store) == 2
    assert reductions.std(store) == 0
    assert reductions.reduce_each(store, np.add).tolist() == [6, 0, 4000, 4, 6]
    np.testing.assert_array_equal(reductions.mean_each(store), [2, np.nan, 2, 2, 2])
    np.testing.assert_array_equal(reductions.std_each(store), [0, np.nan, 0, 0, 0])


@given(st.lists(st.text(max_size=2), max_size=40))
def test_fold_keeps_the_order(parts: list[str]) -> None:
    assert blocks.fold(parts, str.__add__) == ("".join(parts) if parts else None)


def test_fold_is_a_balanced_tree() -> None:
    depths = blocks.fold([0] * 1000, lambda left, right: max(left, right) + 1)
    assert depths is not None
    assert depths <= 11


def test_in_parallel_yields_in_order_and_takes_few_tasks_ahead() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for task in range(1, 201):
            taken.append(task)
            yield task

    for n_done, result in enumerate(blocks.in_parallel(lambda task: -task, tasks(), 3), 1):
        assert result == -n_done
        assert len(taken) <= n_done + 2 * 3
    assert len(taken) == 200


def test_in_parallel_uses_threads_and_the_callers_errstate() -> None:
    both = threading.Barrier(2)

    def work(task: int) -> tuple[str, float]:
        both.wait(timeout=10)
        return threading.current_thread().name, float(np.divide(np.float64(1), 0))

    with np.errstate(divide="ignore"):
        results = list(blocks.in_parallel(work, [0, 1], 2))
    assert len({name for name, _ in results}) == 2
    assert all(value == np.inf for _, value in results)


def test_in_parallel_passes_errors_on_and_stops() -> None:
    done: list[int] = []

    def work(task: int) -> int:
        if task == 3:
            raise ZeroDivisionError
        done.append(task)
        return task

    with pytest.raises(ZeroDivisionError):
        list(blocks.in_parallel(work, range(10**9), 2))
    assert max(done) < 20


def test_one_task_runs_in_the_callers_thread() -> None:
    names = blocks.in_parallel(lambda _: threading.current_thread().name, ["only"], 2)
    assert list(names) == [threading.current_thread().name]


@given(stored(["f4", "f8"]))
def test_results_do_not_depend_on_the_number_of_threads(store: Stored) -> None:
    store = store._replace(rows=np.sqrt(np.abs(store.rows)))
    results = []
    for n_threads in (1, 3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks, "count_cores", lambda n_threads=n_threads: n_threads)
            results.append(reductions.reduce(store, np.add).tobytes())
            results.append(outcome(lambda: reductions.std(store)).tobytes())
    assert results[:2] == results[2:]
