"""Many arrays at once: 256 at random, and 256 that follow each other, of a store that was never read before.

As many as `parallel` requests are under way at once, 32 if nothing else is said. So 256 arrays far from each other are as many
requests, and these are eight round trips one after the other, or one with ``parallel=256``.

Beside it stand two things that people write who publish such a format themselves: values, names and bounds as three files,
of which names and bounds are fetched whole through fsspec; then the arrays are asked for by `cat_ranges`, each by a call of its
own as code for one array does it, or all by one call. Of zarr there is an array a name, of which only those
that are asked for were written: they are opened and read one after the other, as ``group[name][:]`` does, or all at once by
its asynchronous functions. Positions are asked for in one array of zarr with all values, in files of 64 KB, and another one
of bounds; it has no names. zarr has 64 requests under way at once.

To find names takes three rounds of requests more than names that are paths of files, which the server finds. Where each request
costs the client, the proxy and the server a third of a millisecond of two processors, 512 of them at once
are not three times as slow as anything that asks for 256 arrays and finds their names first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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

N = 1_000_000
REPEAT = 5
N_TAKEN, N_BATCHES = 256, 8
DELAY = 0.02
PARALLEL = 32, 256
EACH, WHOLE = "fsspec, an array a call", "fsspec, all in one call"
NAMES_EACH, NAMES = "zarr, one after the other", "zarr, all at once"
POSITIONS = "zarr, one array in chunks"
MOST_ROUNDS, MOST_IN_A_ROW = 6, 2
TIMES = {EACH: 10, NAMES_EACH: 3, NAMES: 3, POSITIONS: 3}
ONE_BY_ONE = {EACH, NAMES_EACH}  # hundreds of round trips; what is asked for is as of the others

Take = Callable[[Any, Sequence[int]], Sequence[Any]]  # of a URL, or of what is open


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Ask for arrays at random, and for neighbours."""
    batches = [stores.asked(n, N_TAKEN, seed) for seed in range(N_BATCHES)]
    with served(folder) as servers:
        place = published(folder / "www", n, batches)
        yield from at_random(servers, place, batches, n)
        yield from in_a_row(servers, place[OURS], n)


def at_random(
    servers: Servers, place: dict[str, str], batches: Sequence[Sequence[int]], n: int
) -> Iterator[Question]:
    """Ask for time, round trips, requests and bytes of arrays at random."""
    by_names: dict[str, Take] = {
        EACH: peers.fsspec_each,
        WHOLE: peers.fsspec_whole,
        NAMES_EACH: peers.zarr_each,
        NAMES: peers.zarr_names,
    }
    by_positions: dict[str, Take] = {POSITIONS: peers.zarr_positions}
    what = f"take of {len(batches[0])} of {n:,} arrays"
    for how, ours, others in (
        ("by name", by_name, by_names),
        ("by position", at_positions, by_positions),
    ):
        few, many = (
            Way(servers, place[OURS], batches, partial(opened_and, ours, parallel=parallel))
            for parallel in PARALLEL
        )
        ways = {who: Way(servers, place[who], batches, take) for who, take in others.items()}
        yield from taken(f"{what} {how}", few, many, ways)


def taken(what: str, few: Way, many: Way, ways: dict[str, Way]) -> Iterator[Question]:
    """Ask what ours costs with few and with many requests under way, beside others."""
    for parallel, way in zip(PARALLEL, (few, many), strict=True):
        each = {OURS: way, **ways}
        timed = {who: partial(one.milliseconds, DELAY) for who, one in each.items()}
        bounds = {who: times for who, times in TIMES.items() if who in ways}
        title = f"{what}, 20 ms to each request, parallel={parallel}"
        yield Question(title, timed, bounds, same=_nothing, unit=CLOCK, returns_cost=True)
    others = {f"ptrarray, parallel={PARALLEL[0]}": few}
    others |= {who: way for who, way in ways.items() if who not in ONE_BY_ONE}
    for unit in (ROUNDS, REQUESTS, KIB):
        costs = {who: partial(way.cost, unit) for who, way in others.items()}
        ours = partial(many.cost, unit)
        title = f"{unit} of {what}, parallel={PARALLEL[1]}"
        if unit == ROUNDS:
            yield at_most(title, MOST_ROUNDS, unit, ours, costs)
        else:
            yield Question(title, {OURS: ours, **costs}, unit=unit, returns_cost=True)


def _nothing(_: object, __: object) -> None:
    """Have each way be warm; the answers are checked by each."""


def in_a_row(servers: Servers, place: str, n: int) -> Iterator[Question]:
    """Ask for the requests to neighbours in a store that is open, by position and by name."""
    n_taken = min(N_TAKEN, n // 2)
    batches = [[*range(n // 2, n // 2 + n_taken)]]
    for how, take, most in (
        ("by position", in_a_slice, MOST_IN_A_ROW),
        ("by name", by_name, None),
    ):
        cost = partial(Row(servers, place, batches, take).cost, REQUESTS)
        title = f"{REQUESTS} to {n_taken} arrays in a row, {how}, in an open store"
        if most:
            yield at_most(title, most, REQUESTS, cost)
        else:
            yield Question(title, {OURS: cost}, unit=REQUESTS, returns_cost=True)


def published(www: Path, n: int, batches: Sequence[Sequence[int]]) -> dict[str, str]:
    """Publish the arrays in each way, unless they are there; return what is below the URL."""
    wanted = sorted({number for batch in batches for number in batch})
    makers: dict[str, tuple[str, Callable[[Path], None]]] = {
        OURS: ("published.ptr", partial(stores.published, n=n)),
        WHOLE: ("flat", partial(peers.make_flat, n=n)),
        NAMES: ("zarr-names", partial(peers.make_zarr_names, numbers=wanted)),
        POSITIONS: ("zarr-chunks", partial(peers.make_zarr_chunks, n=n)),
    }
    place = {who: f"{n}-{title}" for who, (title, _) in makers.items()}
    for who, (_, make) in makers.items():
        stores.kept(www, place[who], make)
    return place | {EACH: place[WHOLE], NAMES_EACH: place[NAMES]}


class Way:
    """A way to read many arrays, each time others.

    Parameters
    ----------
    servers : Servers
        Which count.
    place : str
        What is read, below the URL.
    batches : sequence of sequence of int
        The arrays that are asked for.
    take : callable
        Returns arrays from a URL, or from what `opened` makes of it.
    """

    def __init__(
        self, servers: Servers, place: str, batches: Sequence[Sequence[int]], take: Take
    ) -> None:
        self.servers, self.url, self._take = servers, f"{servers.counted}/{place}", take
        self._batches = cycle(batches)
        self._asked: Sequence[int] = []
        self._found: Sequence[Any] = []

    def opened(self) -> Any:
        """Return what is read: without an open store, the URL."""
        return self.url

    def cost(self, unit: str) -> float:
        """Return what the next arrays cost in a unit."""
        take = partial(self._take_from, self.opened())
        return self._checked(self.servers.cost(unit, take))

    def milliseconds(self, delay: float) -> float:
        """Return what the next arrays take if each request waits so many seconds."""
        take = partial(self._take_from, self.opened())
        return self._checked(self.servers.milliseconds(delay, take))

    def _take_from(self, opened: Any) -> None:
        self._asked = next(self._batches)
        self._found = self._take(opened, self._asked)

    def _checked(self, cost: float) -> float:
        expected = map(stores.array, self._asked)
        pairs = zip(self._found, expected, strict=True)
        right = all(np.array_equal(found, array) for found, array in pairs)
        expect(right, f"an array of {self.url}")
        return cost


class Row(Way):
    """A way to read many arrays of a store that is open already."""

    def opened(self) -> Any:
        """Open the store."""
        return ptrarray.open(self.url)


def opened_and(take: Take, url: str, numbers: Sequence[int], parallel: int) -> Any:
    """Open a store, and take arrays."""
    return take(ptrarray.open(url, parallel=parallel), numbers)


def by_name(store: ptrarray.PointerArray, numbers: Sequence[int]) -> Any:
    """Take arrays by name."""
    return store.take(map(stores.name, numbers))


def at_positions(store: ptrarray.PointerArray, numbers: Sequence[int]) -> Any:
    """Take arrays at positions, which are their numbers here."""
    return store.arrays.take(numbers)


def in_a_slice(store: ptrarray.PointerArray, numbers: Sequence[int]) -> Any:
    """Take arrays that follow each other."""
    return store.arrays[numbers[0] : numbers[-1] + 1]
