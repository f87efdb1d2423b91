"""What a store is in a notebook: how long it takes to make its HTML, and how large that is.

Of a store that was just opened, whose index is in memory, and of one with a hundred thousand names in its journal besides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter, process_time

import ptrarray
from benchmarks.bridges.limits import at_most
from benchmarks.harness.case import expect
from benchmarks.users.asking import CLOCK, CPU, Question
from benchmarks.viewer import stores

N = stores.N
REPEAT = 9
LIMIT_MS, LIMIT_KB = 50, 60
KB = "kB"
_MOST_IN_JOURNAL, _SHARE = 100_000, 10


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Ask for time and size of the HTML."""
    path = stores.made(folder / "names.ptr", n)
    yield from _asked(path, f"HTML of a store of {n:,} names")
    n_more = min(n // _SHARE, _MOST_IN_JOURNAL)
    with ptrarray.append(path) as writer:
        writer.write({f"new{at:09}": [at] for at in range(n_more)})
        writer.flush()  # closing would fold it into the index
        yield from _asked(path, f"HTML of the same with {n_more:,} in its journal")


def _asked(path: Path, what: str) -> Iterator[Question]:
    for title, unit, clock in (("", CLOCK, perf_counter), (", by itself", CPU, process_time)):
        cost = partial(_milliseconds, path, clock)
        yield at_most(f"{what}{title}", LIMIT_MS, unit, cost, warms_up=True)
    yield at_most(f"size of the {what}", LIMIT_KB, KB, partial(_kilobytes, path))


def _milliseconds(path: Path, clock: Callable[[], float]) -> float:
    with ptrarray.open(path) as store:
        began = clock()
        store._repr_html_()
        return (clock() - began) * 1e3


def _kilobytes(path: Path) -> float:
    with ptrarray.open(path) as store:
        html = store._repr_html_()
    expect("<img" in html, "the HTML")
    return len(html.encode()) / 1e3
