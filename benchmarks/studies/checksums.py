"""What the extra `fast` gains: writing and verifying with the CRC-32 of zlib and that of isal.

Without the core in C, which has a CRC-32 of its own.

The arrays are N tokens and a fiftieth as many utterances. The ratio is the median of those within a
round.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

from isal import isal_zlib

from benchmarks.engines.ptrarray import PtrArray
from benchmarks.engines.ptrarray_pure import Pure
from benchmarks.harness.case import discard
from benchmarks.harness.run import turns
from benchmarks.harness.system import settle, timed
from benchmarks.report.tables import spread
from benchmarks.workloads import Source, speech, tokens

N = 1_000_000
REPEAT = 5
BY: dict[str, Callable[..., int]] = {"zlib": zlib.crc32, "isal": isal_zlib.crc32}


def measure(engine: PtrArray, path: Path, source: Source, by: str) -> tuple[float, float]:
    """Write a store and verify it; return microseconds an array for both."""
    for module in engine.summing:
        vars(module)["crc32"] = BY[by]
    discard(path)
    settle()

    def write() -> None:
        writer = engine.create(path, source)
        engine.write(writer, source)
        engine.close(writer)

    seconds = timed(write)[0], timed(engine.verify, path)[0]
    return seconds[0] / len(source) * 1e6, seconds[1] / len(source) * 1e6


def study(folder: Path, n: int, repeat: int) -> Iterator[str]:
    """Measure two workloads."""
    yield "| workload | µs/array | zlib | isal | zlib / isal |"
    yield "|---|---|---|---|---|"
    for name, source in (("tokens", tokens(n)), ("speech", speech(max(n // 50, 1)))):
        act = partial(measure, Pure(), folder / "store", source)
        found = turns(list(BY), act, repeat)
        for i_cost, what in enumerate(("write and close", "verify")):
            zlib_costs, isal_costs = ([costs[i_cost] for costs in found[by]] for by in BY)
            gain = median(a / b for a, b in zip(zlib_costs, isal_costs, strict=True))
            yield f"| {name} | {what} | {spread(zlib_costs)} | {spread(isal_costs)} | {gain:.2f} |"
