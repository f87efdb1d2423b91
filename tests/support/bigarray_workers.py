"""What tests of bigarray's classes run in other processes, importable under every start method."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrarray.bigarray import MmapArray, MmapArrayWriter, PointerArray, PointerArrayWriter

Array = NDArray[Any]

INHERITED: list[Any] = []


def ramp(n: int) -> Array:
    return np.arange(n * 10, n * 10 + 10)


def write_block(job: tuple[Path, int, Array, int]) -> None:
    """Write an n-th block of rows, by a writer of its own that may have to make the store."""
    path, n, block, n_rows = job
    with MmapArrayWriter(path, shape=(n_rows, *block.shape[1:]), dtype=block.dtype) as writer:
        writer.write(block, start_position=n * len(block))


def append_block(job: tuple[Path, int]) -> None:
    """Append rows that are all the same, by a writer that is not closed."""
    path, n = job
    MmapArrayWriter(path, shape=(0, 2), dtype="i8").write(np.full((n, 2), n))


def write_with(job: tuple[PointerArrayWriter, list[int]]) -> None:
    """Write planned arrays by a writer that came with the job."""
    writer, numbers = job
    writer.write({f"n{n}": ramp(n) for n in numbers}, start_position=numbers[0] * 10)


def write_with_the_inherited(numbers: list[int]) -> None:
    write_with((INHERITED[0], numbers))


def append_with_one_of_its_own(job: tuple[Path, int]) -> None:
    path, n = job
    PointerArrayWriter(path, shape=(0,), dtype="i8").write({f"n{n}": ramp(n)})


def append_and_leave(path: Path, how: str) -> None:
    """Append without a flush or close, and end in one of several ways."""
    writer = PointerArrayWriter(path)
    writer.write({"late": np.arange(10_000)})
    if how == "sigkill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exception":
        raise SystemExit("something went wrong")


def sum_rows(job: tuple[MmapArray, int, int]) -> tuple[int, list[int]]:
    x, start, end = job
    return int(np.sum(x[start:end])), list(x.shape)


def read_names(job: tuple[Path, list[str]]) -> dict[str, Array]:
    path, names = job
    x = PointerArray(path)
    return {name: x[name] for name in names}


def tell_sum(x: PointerArray, told: Connection) -> None:
    told.send((float(np.sum(x)), dict(x.indices)))
