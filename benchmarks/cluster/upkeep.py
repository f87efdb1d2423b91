"""Memory and time of a checkpoint and of a compaction of many names, each in a process of its own.

The store has a hundredth of its names in the journal. Private memory is the largest that was seen
(`RssAnon`, every few milliseconds), resident memory what the system notes (`VmHWM`); of both, what
the process has after importing ptrarray is part. The code before is that of an older checkout.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import ptrarray
from benchmarks.bridges.limits import at_most
from benchmarks.cluster import stores
from benchmarks.harness.system import ROOT, anonymous_kib
from benchmarks.report.results import OURS
from benchmarks.users.asking import CPU, MB, Question

N = 20_000_000
REPEAT = 3
MEMORY_MB, TIMES = 600, 1.3
BEFORE = "the code before"
BEFORE_VARIABLE = "PTRARRAY_BENCHMARKS_BEFORE"
PROGRAM = Path(__file__).with_name("one_action.py")
_PAUSE_SECONDS = 0.003

Costs = Mapping[str, float]


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Ask for memory and time of each action, beside the code before if there is some."""
    path = folder / "store.ptr"
    with ptrarray.append(stores.made(path, 0, n - n // 100)) as writer:
        stores.write(writer, n - n // 100, n)
    before = os.environ.get(BEFORE_VARIABLE)
    checkouts = {OURS: str(ROOT)} | ({BEFORE: before} if before else {})
    for action in ("checkpoint", "compact"):
        yield from about(f"{action} of {n:,} names", Taken(action, path, checkouts))


def about(what: str, taken: Taken) -> Iterator[Question]:
    """Ask for memory and time of one action."""
    others = [who for who in taken.checkouts if who != OURS]
    for key, words in (("private", "private memory"), ("resident", "resident memory")):
        peers = {who: partial(taken.cost, key, who) for who in others}
        yield at_most(
            f"largest {words} of {what}", MEMORY_MB, MB, partial(taken.cost, key, OURS), peers
        )
    if others:
        ways = {who: partial(taken.cost, "cpu", who) for who in taken.checkouts}
        bounds = dict.fromkeys(others, 1 / TIMES)
        yield Question(what, ways, bounds, unit=CPU, returns_cost=True)


class Taken:
    """What an action costs; each run answers for memory and for time.

    Parameters
    ----------
    action : {'checkpoint', 'compact'}
        What is done.
    path : Path
        The store that it is done to: to another directory with the same files, each time.
    checkouts : mapping of str to str
        The code that does it.
    """

    def __init__(self, action: str, path: Path, checkouts: Mapping[str, str]) -> None:
        self.checkouts = checkouts
        self._action, self._path = action, path
        self._costs: dict[str, list[Costs]] = {who: [] for who in checkouts}
        self._asked: dict[tuple[str, str], int] = {}

    def cost(self, key: str, who: str) -> float:
        """Return the cost of the next run, of those that were not asked for this."""
        number = self._asked.get((key, who), 0)
        self._asked[key, who] = number + 1
        if number == len(self._costs[who]):
            self._costs[who].append(self._run(who))
        return self._costs[who][number][key]

    def _run(self, who: str) -> Costs:
        copy = self._path.with_name("copy.ptr")
        copy.mkdir()
        for file in self._path.iterdir():
            # These are replaced as a whole; the journal is written to.
            link: Callable[..., object] = shutil.copy if "journal" in file.name else os.link
            link(file, copy / file.name)
        try:
            return measured([self._action, str(copy)], self.checkouts[who])
        finally:
            shutil.rmtree(copy)


def measured(arguments: list[str], checkout: str) -> Costs:
    """Run the program with the code of a checkout; return what it cost."""
    command = [sys.executable, "-P", str(PROGRAM), *arguments]
    environment = {**os.environ, "PYTHONPATH": checkout}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        highest = 0
        while process.poll() is None:
            with suppress(OSError, ValueError):  # it has ended
                highest = max(highest, anonymous_kib(process.pid))
            time.sleep(_PAUSE_SECONDS)
        raw = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended {process.returncode}")
    found = json.loads(raw)
    if not found["package"].startswith(checkout):
        raise RuntimeError(f"{found['package']} was run, which is not in {checkout}")
    return {"private": highest / 1024, "resident": found["kib"] / 1024, "cpu": found["cpu"]}
