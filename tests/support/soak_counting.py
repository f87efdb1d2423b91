"""How long calls took, in histograms that outlive the process that made them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

KINDS = (
    "append", "write", "write durable", "write planned", "write_ragged", "allocate", "delete", "point",
    "rename", "meta", "attrs", "flush", "writer[name]", "close", "refused",
    "open", "refresh", "store[name]", "store[rows]", "store.arrays", "take", "atake", "batches",
    "items", "reduce_each", "max", "store.meta", "verify",
    "checkpoint", "compact", "publish", "replace", "edit", "edit flush",
    "dump", "load", "pack", "unpack", "frame", "part", "join", "fill", "fork", "spawn",
    "remote open", "remote take", "viewer", "viewer event",
    "yardstick", "yardstick sync",
)  # fmt: skip
_AT = {kind: at for at, kind in enumerate(KINDS)}
_PER_OCTAVE, N_BUCKETS = 8, 224  # from a microsecond to some minutes, 9 percent each
Counted = NDArray[np.int64]


class Counts:
    """Calls by kind and by how long they took, in a mapped file; one process adds, others look."""

    def __init__(self, path: Path) -> None:
        shape = len(KINDS), N_BUCKETS
        if not path.exists():
            path.write_bytes(bytes(8 * shape[0] * shape[1]))
        self.counted: Counted = np.memmap(path, np.int64, "r+", shape=shape)

    def add(self, kind: str, nanoseconds: int) -> None:
        self.counted[_AT[kind], bucket(nanoseconds)] += 1


def bucket(nanoseconds: int) -> int:
    return min(int(_PER_OCTAVE * math.log2(max(nanoseconds, 1000) / 1000)), N_BUCKETS - 1)


def microseconds(at: float) -> float:
    """Return the upper end of a bucket."""
    return float(2 ** ((at + 1) / _PER_OCTAVE))


def percentile(histogram: dict[int, int], part: float) -> float:
    """Return in microseconds what such a part of all calls took at most, to 9 percent."""
    wanted, seen = part * sum(histogram.values()), 0
    for at in sorted(histogram):
        seen += histogram[at]
        if seen >= wanted:
            return microseconds(at)
    return math.nan


def sparse(counted: Counted) -> dict[str, dict[int, int]]:
    """Return histograms of what was called at all."""
    return {
        kind: {int(at): int(row[at]) for at in np.flatnonzero(row)}
        for kind, row in zip(KINDS, counted, strict=True)
        if row.any()
    }


def merged(histograms: list[dict[int, int]]) -> dict[int, int]:
    result: dict[int, int] = {}
    for one in histograms:
        for at, n in one.items():
            result[int(at)] = result.get(int(at), 0) + n
    return result
