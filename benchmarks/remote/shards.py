"""Opening a store of many shards, and one array of it, beside one store of the same arrays."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

import ptrarray
from benchmarks.harness.case import expect
from benchmarks.remote import stores
from benchmarks.remote.servers import KIB, REQUESTS, ROUNDS, Servers, served
from benchmarks.report.results import OURS
from benchmarks.users.asking import CLOCK, Question

N = 100
REPEAT = 3
N_EACH = 1_000
DELAY = 0.02
ONE = "one store of the same arrays"


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Ask for requests, round trips and time of opening `n` shards, alone and with an array."""
    with served(folder) as servers:
        many, one = f"{n}-shards.ptr", f"{n * N_EACH}-alone.ptr"
        stores.kept(folder / "www", many, partial(sharded, n=n))
        stores.kept(folder / "www", one, partial(stores.published, n=n * N_EACH))
        urls = {OURS: f"{servers.counted}/{many}", ONE: f"{servers.counted}/{one}"}
        for what, with_array in (("open", False), ("open, and an array by name,", True)):
            actions = {who: partial(opened, url, n, with_array) for who, url in urls.items()}
            title = f"{what} of {n} shards of {N_EACH:,} names"
            for unit in (REQUESTS, ROUNDS, KIB):
                yield _question(
                    f"{unit}: {title}",
                    {who: partial(servers.cost, unit, action) for who, action in actions.items()},
                    unit,
                )
            yield _question(f"{title}, 20 ms to each request", _timed(servers, actions), CLOCK)


def _timed(servers: Servers, actions: dict[str, partial[None]]) -> dict[str, partial[float]]:
    return {who: partial(servers.milliseconds, DELAY, action) for who, action in actions.items()}


def _question(title: str, ways: dict[str, partial[float]], unit: str) -> Question:
    return Question(title, ways, unit=unit, returns_cost=True)


def sharded(path: Path, n: int) -> None:
    """Make shards of as many arrays each, and join and publish them."""
    bounds = range(0, n * N_EACH + 1, N_EACH)
    parts = [path.with_name(f"{path.name}{first}") for first in bounds[:-1]]
    for part, (first, last) in zip(parts, pairwise(bounds), strict=True):
        stores.made(part, first, last)
    ptrarray.join(path, parts, progress=False)
    ptrarray.publish(path)


def opened(url: str, n: int, with_array: bool) -> None:
    """Open a store; if asked, read an array of its last part, and check it."""
    with ptrarray.open(url) as store:
        if with_array:
            number = n * N_EACH - 7
            expect(np.array_equal(store[stores.name(number)], stores.array(number)), "an array")
