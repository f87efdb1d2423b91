"""The largest memory of a process that reads much of a store, beyond what it had when an array had been read.

As many requests as `parallel` are under way, each of at most 4 MiB, and together they are the limit. What `take` returns is not
part of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.bridges.limits import at_most
from benchmarks.harness.system import ROOT
from benchmarks.remote import stores
from benchmarks.remote.servers import served
from benchmarks.users.asking import MB, MEGA, Question

N = 1_000_000_000
REPEAT = 3
BLOCK_NBYTES = 4 << 20
ACTIONS = "sum", "iteration", "take"


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Ask for the memory of each action, with few requests under way and with many."""
    with served(folder) as servers:
        title = f"{n}-bytes.ptr"
        stores.kept(folder / "www", title, partial(stores.large, n=n))
        for action in ACTIONS:
            for parallel in (8, 32):
                yield at_most(
                    f"{action} of {n / 1e9:g} GB, parallel={parallel}",
                    parallel * BLOCK_NBYTES / MEGA,
                    MB,
                    partial(peak_mb, action, f"{servers.direct}/{title}", parallel),
                )


def peak_mb(action: str, url: str, parallel: int) -> float:
    """Read a store in a process of its own; return the memory that this took."""
    command = [sys.executable, "-m", "benchmarks.remote.one_reader", action, url, str(parallel)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended {done.returncode}:\n{done.stderr}")
    return float(json.loads(done.stdout)["mb"])
