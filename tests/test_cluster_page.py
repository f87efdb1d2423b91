"""What the page about clusters shows and needs no engine; the scripts for SLURM and SSH as far as they go."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ptrarray
from ptrarray.errors import StoreError
from tests.test_examples import ROOT, blocks, run_code

PAGE = "docs/cluster.md"
ENGINES = ("distributed", "ray", "mpi4py", "loky")
PROGRAMS = [block for block in blocks(PAGE) if not any(f" {one}" in block.code for one in ENGINES)]
SCRIPT = ROOT / "examples" / "slurm_array.sh"
N_ARRAYS = 500

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")


@pytest.mark.parametrize("at", range(len(PROGRAMS)))
def test_program(at: int, tmp_path: Path) -> None:
    assert run_code(PROGRAMS[at].code, "program", tmp_path) == PROGRAMS[at].output


def test_each_engine_has_a_program() -> None:
    assert len(PROGRAMS) == 1
    assert len(blocks(PAGE)) == 1 + len(ENGINES)
    assert all(block.output for block in blocks(PAGE))


def bash(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": places, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        ["bash", *arguments], env=environment, capture_output=True, text=True, check=False
    )


def run_task(path: Path, number: int, count: int = 3) -> subprocess.CompletedProcess[str]:
    return bash(
        str(SCRIPT),
        str(path),
        PYTHON=sys.executable,
        TASK=str(SCRIPT.with_name("slurm_task.py")),
        SLURM_ARRAY_TASK_ID=str(number),
        SLURM_ARRAY_TASK_COUNT=str(count),
    )


@needs_bash
def test_slurm_array(path: Path) -> None:
    assert bash("-n", str(SCRIPT)).returncode == 0
    for number in range(3):
        done = run_task(path, number)
        assert (done.returncode, done.stderr) == (0, "")
    with ptrarray.append(f"{path}.parts/1.ptr") as late, pytest.raises(StoreError):
        late["more"] = [[1, 2, 3, 4]]
    assert bash("-c", f"ptrarray join {path}").returncode == 0
    with ptrarray.open(path) as store:
        assert len(store) == N_ARRAYS
        store.verify()
    assert not Path(f"{path}.parts").exists()


@needs_bash
def test_a_task_of_an_array_that_was_killed_goes_on(path: Path) -> None:
    part = ptrarray.part(path, key="1", dtype="f4", row_shape=(4,))
    part["utt1"] = [[1, 2, 3, 4]]
    ptrarray.PointerArrayWriter.close(part)  # which does not seal it, as a kill does not
    for number in (0, 2):
        assert run_task(path, number).returncode == 0
    assert bash("-c", f"ptrarray join {path}").returncode != 0
    assert not path.exists()
    assert run_task(path, 1).returncode == 0
    assert bash("-c", f"ptrarray join {path}").returncode == 0
    with ptrarray.open(path) as store:
        assert len(store) == N_ARRAYS
        assert store["utt1"].tolist() == [[1, 2, 3, 4]]


def shown(language: str) -> list[str]:
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@needs_bash
def test_machines_with_ssh(path: Path) -> None:
    of_slurm, of_ssh = shown("bash")
    commands = [line.strip() for line in of_slurm.splitlines()]
    assert all(f"#     {line}" in SCRIPT.read_text(encoding="utf-8") for line in commands)
    script = of_ssh.replace("/shared/features.ptr", str(path))
    script = script.replace("slurm_task.py", str(SCRIPT.with_name("slurm_task.py")))
    here = 'ssh() { shift; bash -c "$*"; }\n'
    done = bash("-c", here + script)
    assert done.returncode == 0, done.stderr
    with ptrarray.open(path) as store:
        assert len(store) == N_ARRAYS
