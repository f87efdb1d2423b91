"""Reductions go block by block, in parallel, and past the holes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray import reductions
from ptrarray.reductions import Living, blocks
from tests.support.reductions import FEWER, Stored, outcome, stored

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


@FEWER
@given(stored(["f4", "f8"]), st.integers(0, 9))
def test_results_do_not_depend_on_where_the_rows_lie(store: Stored, seed: int) -> None:
    store = store._replace(rows=np.sqrt(np.abs(store.rows)))
    living = store.living
    # The same rows again: as one array, and as arrays of other lengths with holes between.
    lengths = np.random.default_rng(seed).multinomial(len(living), np.ones(12) / 12)
    ends = np.cumsum(lengths + 2)
    scattered = np.full((len(living) + 24, *living.shape[1:]), 7, living.dtype)
    for end, length, part in zip(ends, lengths, np.split(living, np.cumsum(lengths)), strict=False):
        scattered[end - length : end] = part
    others = [
        Living(living, np.array([0]), np.array([len(living)])),
        Living(scattered, ends - lengths, ends),
    ]
    for axis in (0, None):
        for function in (reductions.mean, reductions.std, partial(reductions.reduce, ufunc=np.add)):
            wanted = outcome(lambda: function(store, axis=axis))  # noqa: B023
            for other in others:
                found = outcome(lambda: function(other, axis=axis))  # noqa: B023
                assert found.tobytes() == wanted.tobytes()


def test_runs_are_cut_after_equally_many_rows() -> None:
    starts, ends = np.array([2, 10, 12, 40]), np.array([5, 11, 30, 41])
    cells, starts, ends = blocks._cut_at_cells(starts, ends, 4)
    rows = np.concatenate([np.arange(s, e) for s, e in zip(starts, ends, strict=True)])
    assert rows.tolist() == [*range(2, 5), 10, *range(12, 30), 40]
    assert np.repeat(cells, ends - starts).tolist() == [row // 4 for row in range(23)]


@pytest.mark.parametrize("row_shape", [(), (2,), (70,)])
def test_shards_masks_and_backends_give_the_same_bits(
    tmp_path: Path, row_shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        f"{n:03}": rng.random((n, *row_shape), np.float32)
        for n in range(1, 40, 3 if sum(row_shape) > 9 else 1)
    }
    results = set()
    for name, options in (("a", {}), ("b", {"masked": True}), ("c", {"shard_size": 4096})):
        path = tmp_path / name
        with ptrarray.create(path, dtype="f4", row_shape=row_shape, **options) as writer:
            writer.write(arrays)
        for backend in ("mmap", "pread"):
            with ptrarray.open(path, backend=backend) as store:
                found = [np.sum(store), *(np.asarray(np.sum(store, axis=0)), np.std(store))]
                found += [np.ma.getdata(store.reduce_each(np.add)), np.mean(store, axis=0)]
                results.add(b"".join(np.asarray(one).tobytes() for one in found))
    assert len(results) == 1
