"""Read much of a store in one way, and print the largest memory that this took, in MB."""

import json
import sys
from collections import deque
from pathlib import Path

import numpy as np

import ptrarray
from benchmarks.harness.system import peak_kib, resident_kib

_RESET_PEAK = "5"


def main(action: str, url: str, parallel: str) -> None:
    """Do it, and print JSON."""
    store = ptrarray.open(url, parallel=int(parallel))
    n_values = len(store.arrays[0])
    Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
    before, n_result = resident_kib(), 0
    if action == "sum":
        n_values += int(np.sum(store) > 0)
    elif action == "iteration":
        deque(store.arrays, maxlen=0)
    else:
        wanted = np.random.default_rng(0).permutation(len(store))[: len(store) // 4]
        n_result = store.arrays.take(wanted).values.nbytes
    print(json.dumps({"mb": max(1e-3, (peak_kib() - before) * 1024 - n_result) / 1e6}))


if __name__ == "__main__":
    main(*sys.argv[1:])
