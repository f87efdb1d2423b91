"""What tests of shards run in other processes, importable under every start method."""

from __future__ import annotations

import random
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import ptrarray

Ints = NDArray[np.int64]


def content(name: str) -> Ints:
    """Return what is written under a name: now and then so much that it is written without the lock."""
    rng = random.Random(name)
    return np.full(rng.choice([0, 5, 300, 1000, 10_000]), rng.randrange(10**6))


def own_names(who: int, n_arrays: int) -> Iterator[str]:
    return (f"{who}/{n}" for n in range(n_arrays))


def append_own_and_shared(
    path: Path, who: int, n_arrays: int, barrier: Barrier, told: Connection
) -> None:
    """Append arrays of one's own, and ones that the others append too; tell which of these were won."""
    barrier.wait()
    won = []
    with ptrarray.append(path) as writer:
        for n, name in enumerate(own_names(who, n_arrays)):
            writer.write({name: content(name)})
            shared = f"shared/{n}"
            try:
                writer.write({shared: content(shared)})
                won.append(shared)
            except ptrarray.DuplicateNameError:
                pass
    told.send(won)


def append_until_killed(path: Path, who: int, told: Connection) -> None:
    """Append and replace without end; tell each number when its write has returned."""
    writer = ptrarray.append(path)
    n = 0
    while True:
        name = f"{who}/{n}"
        writer.write({name: content(name), f"{who}/last": np.array([n])}, overwrite=True)
        told.send(n)
        n += 1


def read_once(path: Path, told: Connection) -> None:
    with ptrarray.open(path) as store:
        told.send({name: int(array.sum()) for name, array in store.items()})


INHERITED: list[ptrarray.PointerArrayWriter] = []


def append_with_the_inherited(n: int) -> str:
    """Append by a writer that this process has from its parent."""
    name = f"inherited/{n}"
    INHERITED[0].write({name: content(name)})
    return name
