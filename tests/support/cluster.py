"""What tests of engines run in their workers, and drivers that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import ptrarray
from tests.support.engines import become_host
from tests.support.workers import ramp

ROOT = Path(__file__).parent.parent.parent
N_TASKS = 60
KILLED_AT = 30


def length_of(values: Any) -> Any:
    return np.arange(len(values))


def on_a_host_of_its_own(n: int) -> Any:
    """Have the worker take itself for a machine, from its second chunk on."""
    become_host(os.getpid() % 251 + 1)
    return ramp(n)


def once(task: tuple[int, str]) -> Any:
    """Kill the worker in one of the tasks, the first time; note each call."""
    n, folder = task
    note(folder, f"call {n}")
    if n == KILLED_AT and note(folder, "killed") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return ramp(n)


def stop(task: tuple[int, str]) -> Any:
    """Block in one of the tasks, as long as the folder has no file `go`."""
    n, folder = task
    note(folder, f"call {n}")
    while n == KILLED_AT and not (Path(folder) / "go").exists():
        time.sleep(0.01)
    return ramp(n)


def note(folder: str, what: str) -> int:
    """Add a byte to a file, and return how many it has."""
    with (Path(folder) / what).open("ab", buffering=0) as file:
        file.write(b"x")
        return file.tell()


def tasks_in(folder: Path) -> dict[str, tuple[int, str]]:
    folder.mkdir(exist_ok=True)
    return {f"n{n}": (n, str(folder)) for n in range(N_TASKS)}


def fill(path: Path, function: Any, tasks: Any, executor: Any, **options: Any) -> int:
    given: dict[str, Any] = {"dtype": "i8", "parts": "host", "progress": False} | options
    return ptrarray.fill(path, function, tasks, executor=executor, **given)


def parts_of(path: Path) -> list[Path]:
    folder = path.with_name(f"{path.name}.parts")
    found = folder.glob("fill-*") if folder.exists() else []
    return sorted(place for place in found if place.name.count("-") > 1)


def run(command: Sequence[object], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that finds the tests, and return what it printed."""
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start Python on some code, which finds the tests."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], what: Path, path: Path) -> None:
    """Wait until a file is there and the store has parts with arrays."""
    while not (what.exists() and n_arrays_in(parts_of(path))):
        if process.poll() is not None:
            raise AssertionError(process.communicate())
        time.sleep(0.02)


def n_arrays_in(parts: list[Path]) -> int:
    """Count the arrays of parts, as far as they can be opened now."""
    n_arrays = 0
    for place in parts:
        with suppress(ptrarray.StoreError), ptrarray.open(place) as store:
            n_arrays += len(store)
    return n_arrays
