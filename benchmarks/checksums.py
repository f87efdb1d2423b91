"""What the extra `fast` gains: ``python -m benchmarks.checksums FOLDER``.

Writes and verifies the arrays of two workloads, in turns with the CRC-32 of zlib and with that of
isal, and prints medians with the smallest and the largest, and medians of the ratios in a round.
"""

from __future__ import annotations

import shutil
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from isal import isal_zlib

import ptrarray
from benchmarks.system import settle, timed
from benchmarks.workloads import Source, speech, tokens
from ptrarray.format import names
from ptrarray.intake import batch
from ptrarray.storage.store import content, index
from ptrarray.storage.store import opened as state

N_ROUNDS = 5
# The modules that compute the checksums of arrays and names.
MODULES: tuple[Any, ...] = (batch, names, content, index, state)
BY: dict[str, Callable[..., int]] = {"zlib": zlib.crc32, "isal": isal_zlib.crc32}


def measure(path: Path, source: Source) -> tuple[float, float]:
    """Write a store and verify it; return microseconds an array for both."""
    shutil.rmtree(path, ignore_errors=True)
    settle()

    def write() -> None:
        layout = source.layout
        with ptrarray.create(path, dtype=layout.dtype, row_shape=layout.row_shape) as writer:
            for arrays in source.batches:
                writer.write(arrays)

    seconds = timed(write)[0], timed(ptrarray.verify, path)[0]
    return seconds[0] / len(source) * 1e6, seconds[1] / len(source) * 1e6


def main() -> None:
    """Print a table."""
    path = Path(sys.argv[1]) / "checksums.ptr"
    print("| workload | µs/array | zlib | isal | zlib / isal |\n|---|---|---|---|---|")
    for name, source in (("tokens", tokens(1_000_000)), ("speech", speech(20_000))):
        rounds: dict[str, list[tuple[float, float]]] = {which: [] for which in BY}
        for _ in range(N_ROUNDS):
            for which, crc32 in BY.items():
                for module in MODULES:
                    module.crc32 = crc32
                rounds[which].append(measure(path, source))
        for at, what in enumerate(("write and close", "verify")):
            costs = {which: [both[at] for both in found] for which, found in rounds.items()}
            ratio = median(a / b for a, b in zip(costs["zlib"], costs["isal"], strict=True))
            cells = [
                f"{median(found):.3g} ({min(found):.3g} to {max(found):.3g})"
                for found in costs.values()
            ]
            print(f"| {name} | {what} | {' | '.join(cells)} | {ratio:.2f} |")
    shutil.rmtree(path)


if __name__ == "__main__":
    main()
