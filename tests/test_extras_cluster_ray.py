"""Ray as an executor, and a store filled by it: killed workers and drivers."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest

from ptrarray.errors import TaskError
from ptrarray.executors import RayExecutor
from tests.support import cluster, workers
from tests.support.cluster import fill, parts_of, tasks_in
from tests.support.workers import check_ramps, ramps
from tests.test_examples import blocks

ray = pytest.importorskip("ray")

DRIVER = """
import sys
from pathlib import Path
import ray
from ptrarray.executors import RayExecutor
from tests.support import cluster
address, path, folder = sys.argv[1:]
ray.init(address, log_to_driver=False)
with RayExecutor() as executor:
    cluster.fill(Path(path), cluster.stop, cluster.tasks_in(Path(folder)), executor)
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Start Ray, which takes half a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(cluster.ROOT))  # for the workers
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what it warns of
        context = ray.init(
            num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False
        )
        yield context.address_info["gcs_address"]
        ray.shutdown()


@pytest.fixture
def executor(address: str) -> Iterator[RayExecutor]:
    with RayExecutor() as executor:
        yield executor


def wait_for(folder: str) -> str:
    cluster.note(folder, "began")
    while not (Path(folder) / "go").exists():
        threading.Event().wait(0.01)
    return "done"


def test_futures_are_as_those_of_a_pool(executor: RayExecutor, tmp_path: Path) -> None:
    assert executor._max_workers == 2
    folder = str(tmp_path)
    futures = [executor.submit(wait_for, folder) for _ in range(4)]
    while not (tmp_path / "began").exists() or (tmp_path / "began").stat().st_size < 2:
        threading.Event().wait(0.01)
    assert [future.running() for future in futures] == [True, True, False, False]
    assert [future.cancel() for future in futures] == [False, False, True, True]
    (tmp_path / "go").touch()
    assert [future.result() for future in futures[:2]] == ["done", "done"]
    with pytest.raises(CancelledError):
        futures[2].result()
    assert (tmp_path / "began").stat().st_size == 2


def test_errors_of_calls(executor: RayExecutor) -> None:
    future = executor.submit(workers.ramp_below_20, 20)
    assert type(future.exception()) is ValueError
    assert "20 is too much" in str(future.exception())
    with pytest.raises(Exception, match="salt and pepper"):  # one of Ray's
        executor.submit(workers.raise_stubborn, 1).result()
    assert executor.submit(lambda n, more: n + more, 1, more=2).result() == 3
    assert list(executor.map(len, ["a", "bc"])) == [1, 2]


def test_shutdown_and_options(address: str) -> None:
    executor = RayExecutor(max_workers=3, num_cpus=0.5, max_retries=0)
    assert executor._max_workers == 3
    assert RayExecutor(num_cpus=0.5)._max_workers == 4
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(len, "a")
    assert ray.is_initialized()


def test_one_host_fills_a_store(path: Path, executor: RayExecutor) -> None:
    assert fill(path, workers.ramp, ramps(300), executor, parts=None) == 300
    check_ramps(path, 300)


def test_arguments_and_exceptions(path: Path, executor: RayExecutor) -> None:
    masked = np.ma.masked_array([1, 2, 3], [True, False, True])
    assert fill(path, cluster.length_of, dict.fromkeys("abcdefgh", masked), executor) == 8
    with pytest.raises(TaskError, match="StubbornError: salt and pepper"):
        fill(path, workers.raise_stubborn, {"x": 5}, executor)
    step = 2
    assert fill(path, lambda n: np.arange(0, n, step), {"x": 5}, executor, resume=True) == 1


@pytest.mark.parametrize("parts", ["host", "worker"])
def test_killed_worker(path: Path, tmp_path: Path, executor: RayExecutor, parts: str) -> None:
    tasks = tasks_in(tmp_path / "calls")
    assert fill(path, cluster.once, tasks, executor, parts=parts) == cluster.N_TASKS
    check_ramps(path, cluster.N_TASKS)
    assert (tmp_path / "calls" / f"call {cluster.KILLED_AT}").stat().st_size == 2


def test_a_worker_that_is_killed_too_often(path: Path, tmp_path: Path, address: str) -> None:
    tasks = tasks_in(tmp_path / "calls")
    with RayExecutor(max_retries=0) as executor:
        with pytest.raises(TaskError, match=r"resume=True"):
            fill(path, cluster.once, tasks, executor)
        assert parts_of(path)
        fill(path, cluster.once, tasks, executor, resume=True)
    check_ramps(path, cluster.N_TASKS)


def test_each_worker_a_host(path: Path, executor: RayExecutor) -> None:
    assert fill(path, cluster.on_a_host_of_its_own, ramps(300), executor) == 300
    check_ramps(path, 300)


def test_killed_driver(path: Path, tmp_path: Path, address: str, executor: RayExecutor) -> None:
    folder = tmp_path / "calls"
    driver = cluster.start(DRIVER, address, path, folder)
    cluster.wait_for(driver, folder / f"call {cluster.KILLED_AT}", path)
    driver.kill()
    driver.communicate()
    n_acknowledged = cluster.n_arrays_in(parts_of(path))
    (folder / "go").touch()
    n_done = fill(path, cluster.stop, tasks_in(folder), executor, resume=True)
    assert n_done <= cluster.N_TASKS - n_acknowledged
    check_ramps(path, cluster.N_TASKS)


def test_program_of_the_page(tmp_path: Path) -> None:
    (program,) = [block for block in blocks("docs/cluster.md") if " ray" in block.code]
    script = tmp_path / "program.py"
    script.write_text(program.code)
    assert cluster.run([sys.executable, script], tmp_path).stdout == program.output
