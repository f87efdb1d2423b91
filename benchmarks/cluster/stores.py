"""Stores of many names of 20 bytes, with arrays of 1 to 4 numbers."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np

import ptrarray

BATCH = 500_000


def names(first: int, last: int) -> list[str]:
    """Return the names of some arrays, in no order that a table would gain from."""
    return [f"{n * 0x9E3779B97F4A7C15 % 2**64:020d}" for n in range(first, last)]


def write(writer: ptrarray.PointerArrayWriter, first: int, last: int) -> None:
    """Write some arrays, in large batches."""
    for low in range(first, last, BATCH):
        high = min(low + BATCH, last)
        lengths = np.arange(low, high) % 4 + 1
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        values = np.repeat(np.arange(low, high, dtype="i4"), lengths)
        writer.write_ragged(names(low, high), values, offsets)


def made(path: Path, first: int, last: int) -> Path:
    """Make a store of some arrays."""
    with ptrarray.create(path, dtype="i4") as writer:
        write(writer, first, last)
    ptrarray.checkpoint(path)
    return path


def many_files() -> None:
    """Let this process have as many files open as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
