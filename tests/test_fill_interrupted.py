"""Filling a store is interrupted: by Ctrl-C, or by the death of who began it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ptrarray.errors import StoreExistsError
from ptrarray.filling import fill
from tests.support.workers import check_ramps, ramp, ramps

_SCRIPT = """
import sys
from ptrarray.filling import fill
from tests.support import workers
if __name__ == "__main__":
    tasks = {f"n{n}": n for n in range(100)}
    fill(sys.argv[1], workers.block_from_4, tasks, dtype="i8", processes=2, progress=False)
"""


@pytest.fixture
def blocked(path: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run with two workers, both inside a task that never ends."""
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    root = Path(__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, str(script), str(path)],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline()[:7] for _ in range(2)] == ["blocked", "blocked"]
        yield process


def test_interrupt(path: Path, blocked: subprocess.Popen[str]) -> None:
    blocked.send_signal(signal.SIGINT)
    out, errors = blocked.communicate()  # ends only when no worker holds the pipes
    assert blocked.returncode == -signal.SIGINT
    assert out == ""
    assert errors.count("Traceback") == 1
    assert errors.endswith("KeyboardInterrupt\n")
    check_ramps(path, 4)


def test_interrupt_of_all_processes_as_in_a_terminal(
    path: Path, blocked: subprocess.Popen[str]
) -> None:
    os.killpg(blocked.pid, signal.SIGINT)
    _, errors = blocked.communicate()
    assert blocked.returncode == -signal.SIGINT
    assert errors.count("Traceback") == 1
    check_ramps(path, 4)


def test_workers_do_not_outlive_a_killed_parent(path: Path, blocked: subprocess.Popen[str]) -> None:
    blocked.kill()
    blocked.communicate()
    check_ramps(path, 4)


_IN_PARTS = """
import sys
import ptrarray
from tests.support import workers
if __name__ == "__main__":
    tasks = {f"n{n}": n for n in range(100)}
    options = {"dtype": "i8", "processes": 2, "progress": False, "parts": sys.argv[2]}
    ptrarray.fill(sys.argv[1], workers.block_from_4, tasks, **options)
"""


@pytest.mark.parametrize("parts", ["host", "worker"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_parts_of_a_run_that_was_ended(path: Path, parts: Any, end: signal.Signals) -> None:
    """Killed, or by Ctrl-C: what was done is in its parts, and done once."""
    with subprocess.Popen(
        [sys.executable, "-c", _IN_PARTS, str(path), parts],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline()[:7] for _ in range(2)] == ["blocked", "blocked"]
        process.send_signal(end)
        process.communicate()
    assert not path.exists()
    options: dict[str, Any] = {"processes": 2, "progress": False, "parts": parts}
    with pytest.raises(StoreExistsError, match="interrupted"):
        fill(path, ramp, ramps(100), dtype="i8", **options)
    assert fill(path, ramp, ramps(100), dtype="i8", resume=True, **options) == 96
    check_ramps(path, 100)
    assert not path.with_name(f"{path.name}.parts").exists()
