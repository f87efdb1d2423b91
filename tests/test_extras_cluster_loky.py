"""A store is filled by loky: closures, strange exceptions, killed workers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptrarray.errors import TaskError
from ptrarray.jobs.run import count_workers
from tests.support import cluster, workers
from tests.support.cluster import fill, parts_of, tasks_in
from tests.support.workers import check_ramps, ramps
from tests.test_examples import blocks

loky = pytest.importorskip("loky")


@pytest.fixture
def executor() -> Iterator[Any]:
    yield loky.get_reusable_executor(max_workers=2)
    loky.get_reusable_executor(max_workers=2).shutdown(wait=True)


@pytest.mark.parametrize("parts", [None, "host", "worker"])
def test_fills_a_store(path: Path, executor: Any, parts: Any) -> None:
    assert count_workers(None, executor) == 2
    assert fill(path, lambda n: np.arange(n), ramps(300), executor, parts=parts) == 300
    check_ramps(path, 300)


def test_an_exception_that_cannot_be_unpickled_does_not_break_it(path: Path, executor: Any) -> None:
    with pytest.raises(TaskError, match="StubbornError: salt and pepper"):
        fill(path, workers.raise_stubborn, ramps(5), executor)
    assert fill(path, workers.ramp, ramps(5), executor, resume=True) == 5


def test_killed_worker(path: Path, tmp_path: Path, executor: Any) -> None:
    tasks = tasks_in(tmp_path / "calls")
    with pytest.raises(TaskError, match=r"process .* died"):
        fill(path, cluster.once, tasks, executor, parts="worker")
    n_acknowledged = cluster.n_arrays_in(parts_of(path))
    again = loky.get_reusable_executor(max_workers=2)
    n_done = fill(path, cluster.once, tasks, again, parts="worker", resume=True)
    assert n_done == cluster.N_TASKS - n_acknowledged
    check_ramps(path, cluster.N_TASKS)


def test_program_of_the_page(tmp_path: Path) -> None:
    (program,) = [block for block in blocks("docs/cluster.md") if " loky" in block.code]
    script = tmp_path / "program.py"
    script.write_text(program.code)
    assert cluster.run([sys.executable, script], tmp_path).stdout == program.output
