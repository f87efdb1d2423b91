"""Names by prefix and by pattern: how long until there is an answer, and until all names were looked at.

The function that the server of `ptrarray view` calls, without a browser. A call returns after some 50 ms with what was found up
to then, and the browser asks on; "the first answer" is what one call takes. "To the first name" and "to the end" are as many
calls as it takes, of names that lie near the end. Before each time the store is opened anew; its index is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, process_time

import ptrarray
from benchmarks.bridges.limits import at_most
from benchmarks.harness.case import expect
from benchmarks.report.results import OURS
from benchmarks.users.asking import CLOCK, CPU, Question
from benchmarks.viewer import stores
from ptrarray.look.viewer.search import search

N = stores.N
REPEAT = 9
LIMIT_MS = 100


def patterns(n: int) -> dict[str, tuple[str, int]]:
    """Return what is searched for: a pattern, and how many names it has."""
    last = stores.name(n - 1)
    return {
        "a prefix that one name near the end has": (last, 1),
        "a prefix that no name has": ("zebra", 0),
        "text in one name near the end": (f"*{last[-8:]}*", 1),
        "text in no name": ("*zebra*", 0),
        "the end of one name near the end": (f"*r{last[-13:]}", 1),
        "a set, and text behind it, that no name has": ("speaker[0-4]*zebra", 0),
        "one character each, that no name has": ("?" * 19, 0),
    }


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Ask for the first answer of each pattern, and for the last."""
    path = stores.made(folder / "names.ptr", n)
    for what, (pattern, n_names) in patterns(n).items():
        looking = Looking(path, pattern, n_names)
        title = f"the first answer: {what}, `{pattern}`"
        yield at_most(title, LIMIT_MS, CLOCK, looking.first, warms_up=True)
        title = f"to the end of {n:,} names: {what}"
        yield at_most(title, LIMIT_MS, CPU, looking.to_end, warms_up=True)
    # What cannot be told from a few bytes is asked of each name, and takes as long as it takes.
    pattern = "*9*k*"
    hard = Looking(path, pattern, 0)
    title = f"the first answer: two letters in an order that no name has, `{pattern}`"
    yield at_most(title, LIMIT_MS, CLOCK, hard.first, warms_up=True)
    title = f"to the end of {n:,} names: two letters in an order that no name has"
    yield Question(title, {OURS: hard.to_end}, unit=CPU, returns_cost=True)


class Looking:
    """A search for one pattern.

    Parameters
    ----------
    path : Path
        The store.
    pattern : str
        What is searched for.
    n_names : int
        How many names have it.
    """

    def __init__(self, path: Path, pattern: str, n_names: int) -> None:
        self._path, self._pattern, self._n_names = path, pattern, n_names

    def first(self) -> float:
        """Return the milliseconds of the first call by the clock."""
        with ptrarray.open(self._path) as store:
            began = perf_counter()
            search(store, self._pattern)
            return (perf_counter() - began) * 1e3

    def to_end(self) -> float:
        """Return the milliseconds of the processor that all calls take together."""
        names: list[str] = []
        with ptrarray.open(self._path) as store:
            began, cursor, is_done = process_time(), None, False
            while not is_done:
                found = search(store, self._pattern, cursor)
                names += found.names
                cursor, is_done = found.cursor, found.is_done
            taken = (process_time() - began) * 1e3
        expect(len(names) == self._n_names, f"what {self._pattern} found")
        return taken
