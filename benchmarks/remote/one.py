"""One array of 400 bytes by name, of a store that was never read before: requests, bytes, time.

A published store is one after `ptrarray.publish`; any other that is copied to a server takes more requests. Others
keep each array under a name of its own: zarr in a folder of two files, to which a URL leads; h5py in a file that is read
through fsspec; mmappickle in a file whose `httpdict` fetches all of it. How many names they have is said, as many as can be
written in a minute; what zarr asks for does not depend on it. Nothing is kept from one time to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

import ptrarray
from benchmarks.bridges.limits import at_most
from benchmarks.harness.case import expect
from benchmarks.remote import peers, stores
from benchmarks.remote.servers import KIB, REQUESTS, ROUNDS, Servers, served
from benchmarks.report.results import OURS
from benchmarks.users.asking import CLOCK, Question

N = 10_000_000
REPEAT = 5
N_ASKED = 64
N_ZARR, N_H5PY, N_MMAPPICKLE = 2_000, 100_000, 500
DELAY = 0.02
_OPENING = {REQUESTS: 6, KIB: 1024, ROUNDS: 6}
_FURTHER = {REQUESTS: 4, KIB: 512}

Read = Callable[[str, int], Any]


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Ask for one array of a store that was published, and of one that was only copied."""
    with served(folder) as servers:
        both = f"{n}-names"
        stores.kept(folder / "www", both, partial(stores.copied_and_published, n=n))
        published, copied = (f"{both}/{kind}.ptr" for kind in ("published", "copied"))
        others = dict(_others(folder / "www", n, servers))
        what = f"one array by name of {n:,}"
        yield from _published(what, Way(servers, published, n, ours_read), others)
        further = Further(servers, published, n)
        for unit, limit in _FURTHER.items():
            title = f"{unit} to a further array of an open store"
            yield at_most(title, limit, unit, partial(further.cost, unit))
        alone = Way(servers, copied, n, ours_read)
        for unit in _OPENING:
            ways = {OURS: partial(alone.cost, unit)}
            title = f"{unit} to {what}, of a store that was only copied"
            yield Question(title, ways, unit=unit, returns_cost=True)


def _published(what: str, ours: Way, others: Mapping[str, Way]) -> Iterator[Question]:
    for unit, limit in _OPENING.items():
        ways = {who: partial(way.cost, unit) for who, way in others.items()}
        cost = partial(ours.cost, unit)
        yield at_most(f"{unit} to {what}", limit, unit, cost, ways, warms_up=True)
    timed = {
        who: partial(way.milliseconds, DELAY) for who, way in ({OURS: ours} | dict(others)).items()
    }
    yield Question(f"{what}, 20 ms to each request", timed, unit=CLOCK, returns_cost=True)


class Way:
    """A way to read one array, each time another one.

    Parameters
    ----------
    servers : Servers
        Which count.
    place : str
        What is read, below the URL.
    n : int
        Arrays that it has.
    read : callable
        Returns an array from a URL.
    """

    def __init__(self, servers: Servers, place: str, n: int, read: Read) -> None:
        self.servers, self._url, self._read = servers, f"{servers.counted}/{place}", read
        self._numbers = cycle(stores.asked(n, N_ASKED, 0))

    def read(self) -> None:
        """Read the next array, and check it."""
        n = next(self._numbers)
        expect(np.array_equal(self._read(self._url, n), stores.array(n)), f"array {n}")

    def cost(self, unit: str) -> float:
        """Return what the next array costs in a unit."""
        return self.servers.cost(unit, self.read)

    def milliseconds(self, delay: float) -> float:
        """Return what the next array takes if each request waits so many seconds."""
        return self.servers.milliseconds(delay, self.read)


class Further(Way):
    """A way to read one more array of a store that is open, and in which an array was read."""

    def __init__(self, servers: Servers, place: str, n: int) -> None:
        super().__init__(servers, place, n, lambda _, number: self.store[stores.name(number)])
        self._n = n

    def cost(self, unit: str) -> float:
        """Open the store, read an array, and return what the next one costs."""
        self.store = ptrarray.open(self._url)
        self.read()
        return super().cost(unit)


def ours_read(url: str, n: int) -> Any:
    """Open a store, and read an array by name."""
    return ptrarray.open(url)[stores.name(n)]


def _others(www: Path, n: int, servers: Servers) -> Iterator[tuple[str, Way]]:
    """Publish what others read, unless it is there; yield the ways to read it."""
    makers: Mapping[str, tuple[int, Any, Read]] = {
        "zarr": (N_ZARR, peers.make_zarr_names, peers.zarr_name),
        "h5py": (N_H5PY, peers.make_h5, peers.h5_name),
        "mmappickle": (N_MMAPPICKLE, peers.make_mmappickle, peers.mmappickle_name),
    }
    for who, (most, make, read) in makers.items():
        some = min(n, most)
        title = f"{some}-{who}"
        stores.kept(www, title, partial(make, numbers=range(some)))
        yield f"{who}, {some:,} names", Way(servers, title, some, read)
