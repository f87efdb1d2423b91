"""What a fresh process does: open a store, look up, tell times and memory.

``python -m benchmarks.fresh TASK PEER PATH WORKLOAD N``. It waits for a line
before each step, and answers each with a line of JSON.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.engines import Engine, load
from benchmarks.system import anonymous_kib, peak_kib, private_kib, resident_kib, settle, timed
from benchmarks.workloads import WORKLOADS, Array, Layout, lookups, names_of

GROUP = 1_000  # arrays that are alive at a time
N_TAKE = 256

Step = Iterator[dict[str, Any]]


def checksum(arrays: list[Array], value: int = 0) -> int:
    """Return a checksum of the length and the first row of each array."""
    for array in arrays:
        value = zlib.crc32(array[:1].tobytes(), value + len(array))
    return value


def reader(engine: Engine, path: Path, prefix: str, layout: Layout, n_arrays: int) -> Step:
    """Open, look up, tell memory in between; then time lookups."""
    numbers = lookups(n_arrays, engine.n_lookups)
    names = names_of(prefix, numbers)
    by_name = engine.can("get")
    keys: list[Any] = names if by_name else numbers
    get: Callable[..., list[Array]] = engine.get if by_name else engine.at
    settle()
    anonymous, private = anonymous_kib(), private_kib()
    open_s, (store, first) = timed(
        lambda: (opened := engine.open(path, layout), get(opened, keys[:1]))
    )
    answer = {"open": open_s * 1e3, "open_rss": anonymous_kib() - anonymous}
    del first
    value = 0
    for at in range(0, len(keys), GROUP):
        value = checksum(get(store, keys[at : at + GROUP]), value)
    answer |= {"checksum": value, "lookups_rss": anonymous_kib() - anonymous}
    yield answer
    yield {"private": private_kib() - private}
    yield {
        "lookup": _each_us(engine.get, store, names) if by_name else None,
        "position": _each_us(engine.at, store, numbers) if engine.can("at") else None,
    }


def _each_us(get: Callable[..., Any], store: Any, keys: list[Any]) -> float:
    groups = [keys[at : at + GROUP] for at in range(0, len(keys), GROUP)]

    def run() -> None:
        for group in groups:
            get(store, group)

    run()
    return timed(run)[0] / len(keys) * 1e6


def cold(engine: Engine, path: Path, prefix: str, layout: Layout, n_arrays: int) -> Step:
    """Open, and take a batch."""
    numbers = lookups(n_arrays, N_TAKE)
    names = names_of(prefix, numbers) if engine.can("get") else numbers
    open_s, store = timed(engine.open, path, layout)
    take_s, (values, offsets) = timed(engine.take, store, names)
    yield {
        "open_cold": open_s * 1e3,
        "take_cold": take_s * 1e3,
        "checksum": zlib.crc32(values.tobytes(), len(offsets)),
    }


def checkpoint(engine: Engine, path: Path, prefix: str, layout: Layout, n_arrays: int) -> Step:
    """Checkpoint, and tell by how much memory rose at most."""
    before = resident_kib()
    seconds, _ = timed(engine.checkpoint, path)
    yield {"checkpoint": seconds, "checkpoint_peak": peak_kib() - before}


TASKS = {"reader": reader, "cold": cold, "checkpoint": checkpoint}


def main() -> None:
    """Do one task, a step a line of input."""
    task, peer, path, workload, n_arrays = sys.argv[1:]
    sample = WORKLOADS[workload].make(1)
    steps = TASKS[task](load(peer), Path(path), sample.prefix, sample.layout, int(n_arrays))
    for _ in sys.stdin:
        print(json.dumps(next(steps, {})), flush=True)


if __name__ == "__main__":
    main()
