"""Joining parts of many hosts by links to their files, and the catalog of all their names."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import ptrarray
from benchmarks.bridges.limits import at_most
from benchmarks.cluster import stores
from benchmarks.harness.case import expect
from benchmarks.users.asking import CLOCK, Question
from ptrarray.storage.shards import catalog

N = 100_000
REPEAT = 5
N_PARTS = 64
MEMORY_NBYTES = 512 << 20
SECONDS, NAMES_PER_SECOND = 1, 5_000_000


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Ask for joining parts of `n` arrays, and for the catalog alone."""
    stores.many_files()
    parts = [
        stores.made(folder / f"part{at:02}.ptr", at * n, (at + 1) * n) for at in range(N_PARTS)
    ]
    n_names = N_PARTS * n
    catalog_ms = n_names / NAMES_PER_SECOND * 1e3
    yield at_most(
        f"join of {N_PARTS} parts of {n:,} by link, with the catalog",
        SECONDS * 1e3 + catalog_ms,
        CLOCK,
        lambda: join_ms(folder / "all.ptr", parts, n_names),
    )
    ptrarray.join(folder / "kept.ptr", parts, how="link", progress=False)
    yield at_most(
        f"the catalog of {n_names:,} names in {N_PARTS} shards",
        catalog_ms,
        CLOCK,
        lambda: catalog_taking(folder / "kept.ptr"),
    )


def join_ms(path: Path, parts: list[Path], n_names: int) -> float:
    """Return how long a join takes; what was joined goes again."""
    began = time.perf_counter()
    ptrarray.join(path, parts, how="link", progress=False)
    milliseconds = (time.perf_counter() - began) * 1e3
    with ptrarray.open(path) as store:
        expect(len(store) == n_names, "all arrays")
    shutil.rmtree(path)
    return milliseconds


def catalog_taking(path: Path) -> float:
    """Return how long it takes to write a catalog anew."""
    (path / "catalog.msgpack").unlink()
    began = time.perf_counter()
    catalog.renew(path, MEMORY_NBYTES)
    milliseconds = (time.perf_counter() - began) * 1e3
    expect((path / "catalog.msgpack").exists(), "a catalog")
    return milliseconds
