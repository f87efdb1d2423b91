"""Stores of shards to test, and what is in their directories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ptrarray
from ptrarray import PointerArrayWriter

Array = NDArray[Any]
Arrays = dict[str, Array]
SHARD_NBYTES = 4000
MARKER = "shards.msgpack"


def ramps(n_arrays: int, seed: int = 0) -> Arrays:
    """Return arrays of 0 to 400 bytes."""
    lengths = np.random.default_rng(seed).integers(0, 100, n_arrays).tolist()
    return {f"n{n}": np.arange(length, dtype="i4") + 1000 * n for n, length in enumerate(lengths)}


def fill_one_by_one(writer: PointerArrayWriter, arrays: Arrays) -> None:
    for name, array in arrays.items():
        writer.write({name: array})


def sharded(path: Path, arrays: Arrays) -> PointerArrayWriter:
    """Return a writer of a new store of four or more shards."""
    writer = ptrarray.create(path, dtype="i4", shard_size=SHARD_NBYTES, attrs={"rate": 8000})
    fill_one_by_one(writer, arrays)
    assert len(shards_of(path)) >= 4
    return writer


def shards_of(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.suffix == ".ptr")


def first_of(path: Path, number: int) -> str:
    """Return the first name in a shard."""
    with ptrarray.open(path / shards_of(path)[number]) as shard:
        return shard.names[0]
