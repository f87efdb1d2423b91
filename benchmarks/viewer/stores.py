"""What is looked at: arrays of a few numbers, with names of 20 bytes of which many begin alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import ptrarray

N = 10_000_000
BATCH = 250_000
N_SPEAKERS = 1000


def name(n: int) -> str:
    """Return the name of an array."""
    return f"speaker{n % N_SPEAKERS:03}/{n:09}"


def made(path: Path, n: int) -> Path:
    """Make a store of so many arrays, and return its path."""
    with ptrarray.create(path, dtype="f4", attrs={"corpus": "digits"}) as writer:
        for first in range(0, n, BATCH):
            last = min(first + BATCH, n)
            offsets = np.concatenate([[0], np.cumsum(1 + np.arange(first, last) % 7)])
            values = np.sin(np.arange(offsets[-1], dtype="f4"))
            writer.write_ragged([name(at) for at in range(first, last)], values, offsets)
    ptrarray.checkpoint(path)
    return path
