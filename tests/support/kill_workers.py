"""What runs in the processes that `tests/test_kills.py` kills, one function a role."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

import ptrarray

LENGTHS = (0, 1, 5, 300, 20_000)  # the last is beyond what is written under the lock


def content(name: str, version: int) -> NDArray[np.int64]:
    """Return the array that a name has in a version; tells its version where it is not empty."""
    rng = random.Random(crc32(f"{name} {version}".encode()))
    array = np.full(rng.choice(LENGTHS), rng.randrange(2**40), np.int64)
    array[:1] = version
    return array


def acknowledge(log: int, line: str) -> None:
    os.write(log, f"{line}\n".encode())


def write(path: Path, log_path: Path, number: int, version: int) -> None:
    """Write, replace and delete names of one's own for ever, and tell what has returned."""
    rng = random.Random(number * 1_000_003 + version)
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    writer = ptrarray.append(path)
    while True:
        version += 1
        name = f"{number}/{rng.randrange(8)}"
        acknowledge(log, f"begin {name} {version}")
        kind = rng.random()
        if kind < 0.2 and name in writer:
            del writer[name]
            acknowledge(log, f"gone {name} {version}")
            continue
        array = content(name, version)
        if kind < 0.3:
            with writer.allocate(name, len(array), overwrite=True) as rows:
                rows[:] = array
        else:
            writer[name] = array
        acknowledge(log, f"there {name} {version}")
        if kind > 0.98:
            writer.flush()


def checkpoint(path: Path, log_path: Path, number: int, version: int) -> None:
    """Checkpoint for ever."""
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        ptrarray.checkpoint(path)
        acknowledge(log, "done")


def compact(path: Path, log_path: Path, number: int, version: int) -> None:
    """Compact for ever, unless a writer is filling rows at that moment."""
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        with suppress(ptrarray.StoreError):
            ptrarray.compact(path)
        acknowledge(log, "done")


def read(path: Path, log_path: Path, number: int, version: int) -> None:
    """Refresh for ever; every state seen is whole, and none goes back."""
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    newest: dict[str, int] = {}
    store = ptrarray.open(path)
    while True:
        store.refresh()
        seen: dict[str, int] = {}
        for name, array in store.items():
            if not len(array):
                continue
            if not np.array_equal(array, content(name, int(array[0]))):
                acknowledge(log, f"wrong {name}")
            if int(array[0]) < newest.get(name, 0):
                acknowledge(log, f"back {name}")
            seen[name] = int(array[0])
        newest |= seen
        acknowledge(log, "done")
