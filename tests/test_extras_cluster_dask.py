"""A store is filled by dask: equal calls, tasks that run again, killed workers and drivers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.errors import BadInputError, StoreExistsError, TaskError
from ptrarray.jobs.run import count_workers
from tests.support import cluster, workers
from tests.support.cluster import fill, parts_of, tasks_in
from tests.support.engines import become_host, host_number
from tests.support.workers import check_ramps, ramps
from tests.test_examples import blocks

distributed = pytest.importorskip("distributed")

DRIVER = """
import sys
from pathlib import Path
from distributed import Client
from tests.support import cluster
address, path, folder = sys.argv[1:]
with Client(address) as client:
    tasks = cluster.tasks_in(Path(folder))
    cluster.fill(Path(path), cluster.stop, tasks, client.get_executor())
"""


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        distributed.LocalCluster(silence_logs=50, **options) as local,
        distributed.Client(local) as client,
    ):
        yield client


@pytest.fixture
def executor(client: Any) -> Any:
    """Return one that runs equal calls once, as dask does unless it is told."""
    client.wait_for_workers(2)
    return client.get_executor()


def in_two_hosts(client: Any) -> None:
    for number, address in enumerate(client.scheduler_info(n_workers=-1)["workers"], 1):
        client.run(become_host, number, workers=[address])
    assert sorted(client.run(host_number).values()) == [1, 2]


def test_workers_are_counted(executor: Any) -> None:
    assert count_workers(None, executor) == 2


def test_one_host_fills_a_store(path: Path, executor: Any) -> None:
    assert fill(path, workers.ramp, ramps(300), executor, parts=None) == 300
    check_ramps(path, 300)


def test_equal_tasks_all_run(path: Path, executor: Any) -> None:
    masked = np.ma.masked_array([1, 2, 3], [True, False, True])  # which dask cannot hash
    for tasks in (dict.fromkeys("abcdefgh", masked), dict.fromkeys("ijklmnop", masked)):
        assert fill(path, cluster.length_of, tasks, executor) == 8
    shutil.rmtree(path)
    assert fill(path, cluster.length_of, dict.fromkeys("abcdefgh", masked), executor) == 8


def test_exceptions_of_workers(path: Path, executor: Any) -> None:
    with pytest.raises(TaskError, match="StubbornError: salt and pepper"):
        fill(path, workers.raise_stubborn, ramps(5), executor)
    with pytest.raises(TaskError, match="is too much") as caught:
        fill(path, workers.ramp_below_20, ramps(99), executor, resume=True)
    assert isinstance(caught.value.__cause__, ValueError)
    fill(path, lambda n: np.arange(n), ramps(99), executor, resume=True)
    check_ramps(path, 99)


def test_two_hosts(path: Path, client: Any, executor: Any) -> None:
    in_two_hosts(client)
    try:
        with pytest.raises(BadInputError, match='parts="host"'):
            fill(path, workers.ramp, ramps(300), executor, parts=None)
        with ptrarray.open(path) as store:
            assert len(store) == store.shape[0] == 0
        shutil.rmtree(path)
        assert fill(path, workers.ramp, ramps(300), executor) == 300
        assert len(list(path.glob("shard-*"))) == 2
        check_ramps(path, 300)
        with pytest.raises(TaskError, match="20 is too much"):
            fill(path, workers.ramp_below_20, {"x": 3, "y": 20}, executor)
        fill(path, workers.ramp, {"x": 3, "y": 20}, executor, resume=True)
    finally:
        client.run(become_host, 0)


def test_a_machine_of_its_own(path: Path, tmp_path: Path, client: Any, executor: Any) -> None:
    """A worker in a mount namespace, where the system tells another boot id."""
    other = tmp_path / "boot_id"
    other.write_text("01234567-89ab-cdef-0123-456789abcdef\n", "ascii")
    mount = f"mount --bind {other} /proc/sys/kernel/random/boot_id"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], check=False).returncode:
        pytest.skip("no mount namespaces here")
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", client.scheduler.address]
    options = [
        "--no-nanny",
        "--no-dashboard",
        "--nthreads",
        "1",
        "--local-directory",
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONPATH": str(cluster.ROOT)}
    with subprocess.Popen(
        ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh", *worker, *options],
        env=environment,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            client.wait_for_workers(3)
            assert fill(path, workers.ramp, ramps(300), executor) == 300
        finally:
            process.kill()
    check_ramps(path, 300)
    assert len(list(path.glob("shard-*"))) == 2


def test_killed_driver(path: Path, tmp_path: Path, client: Any, executor: Any) -> None:
    folder = tmp_path / "calls"
    driver = cluster.start(DRIVER, client.scheduler.address, path, folder)
    cluster.wait_for(driver, folder / f"call {cluster.KILLED_AT}", path)
    driver.kill()
    driver.communicate()
    n_acknowledged = cluster.n_arrays_in(parts_of(path))
    with pytest.raises(StoreExistsError, match="interrupted"):
        fill(path, cluster.stop, tasks_in(folder), executor)
    (folder / "go").touch()
    n_done = fill(path, cluster.stop, tasks_in(folder), executor, resume=True)
    assert n_done <= cluster.N_TASKS - n_acknowledged
    check_ramps(path, cluster.N_TASKS)


def test_a_host_is_lost_with_its_part(
    path: Path, tmp_path: Path, client: Any, executor: Any
) -> None:
    in_two_hosts(client)
    pids = client.run(os.getpid)
    folder = tmp_path / "calls"
    driver = cluster.start(DRIVER, client.scheduler.address, path, folder)
    cluster.wait_for(driver, folder / f"call {cluster.KILLED_AT}", path)
    (folder / "go").touch()
    lost = parts_of(path)[0]
    number = int(lost.stem.rpartition("-")[2][:2], 16)
    os.kill(list(pids.values())[number - 1], signal.SIGKILL)
    shutil.rmtree(lost)
    _, errors = driver.communicate()
    client.run(become_host, 0)
    if driver.returncode:  # unless all of its tasks had run again elsewhere
        assert "resume=True" in errors
        fill(path, workers.ramp, ramps(cluster.N_TASKS), executor, resume=True)
    check_ramps(path, cluster.N_TASKS)


def test_program_of_the_page(tmp_path: Path) -> None:
    (program,) = [block for block in blocks("docs/cluster.md") if " distributed" in block.code]
    script = tmp_path / "program.py"
    script.write_text(program.code)
    assert cluster.run([sys.executable, script], tmp_path).stdout == program.output


# The last one: a worker that was killed is started again at some time, and believes nothing of what others
# were told.
@pytest.mark.parametrize("parts", ["host", "worker"])
def test_killed_worker(path: Path, tmp_path: Path, executor: Any, parts: str) -> None:
    tasks = tasks_in(tmp_path / "calls")
    assert fill(path, cluster.once, tasks, executor, parts=parts) == cluster.N_TASKS
    # What the killed one had done before is done again if nobody had asked for its answer yet. Then two
    # parts have it, and the rows of one are a hole.
    check_ramps(path, cluster.N_TASKS, holes=parts == "worker")
    assert (tmp_path / "calls" / f"call {cluster.KILLED_AT}").stat().st_size == 2
