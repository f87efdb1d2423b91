"""A question: the same thing done in several ways, in turns, with answers that are compared."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np

from benchmarks.harness.run import turns
from benchmarks.harness.system import drop_cache, settle
from benchmarks.report.results import OURS

CPU, CLOCK, MB = "ms of processor", "ms by the clock", "MB"
MEGA = 1_000_000
N_DROPS = 100
STAYS = 0.05  # share of files that may still be in memory when they are called cold

Entry = dict[str, Any]
Ways = dict[str, Callable[[], Any]]


@dataclass(frozen=True)
class Question:
    """One thing done in several ways, ours among them.

    Parameters
    ----------
    title : str
        What is done.
    ways : mapping of str to callable
        How, by whom. Each returns its answer, or a callable that returns it, so that finding it
        is not measured.
    at_least : mapping of str to float
        What a way has to cost at least, as a multiple of ours.
    same : callable, optional
        Raises an error unless ours and another answer are the same. What is asked of each way
        before it is measured; without, ways check by themselves what they do.
    before : callable, optional
        Is called with who it is before each time.
    unit : str
        What a way costs: time of the processor or by the clock, or MB, which it returns itself.
    returns_cost : bool
        Whether what a way returns is its cost.
    """

    title: str
    ways: Mapping[str, Callable[[], Any]]
    at_least: Mapping[str, float] = field(default_factory=dict)
    same: Callable[[Any, Any], None] | None = None
    before: Callable[[str], None] | None = None
    unit: str = CPU
    returns_cost: bool = False

    def __post_init__(self) -> None:
        if OURS not in self.ways or not set(self.at_least) <= set(self.ways):
            raise ValueError(f"{self.title}: ways {[*self.ways]}, targets {[*self.at_least]}")

    def entries(self, repeat: int) -> list[Entry]:
        """Let each way act in turns; return what it cost, ours first."""
        if self.same:
            self._check(self.same)
        rounds = turns(list(self.ways), self._costs, repeat)
        found = [
            {
                "title": self.title,
                "by": who,
                "unit": self.unit,
                "costs": [_rounded(costs[0]) for costs in each],
                "clock": [] if self.returns_cost else [_rounded(costs[1]) for costs in each],
                "at_least": self.at_least.get(who, 0),
            }
            for who, each in rounds.items()
        ]
        print(f"{self.title}, {_seconds(rounds):.0f} s", file=sys.stderr)
        return sorted(found, key=lambda entry: entry["by"] != OURS)

    def _check(self, same: Callable[[Any, Any], None]) -> None:
        """Let each way act once, which warms up, and compare the answers."""
        ours = self._answer(OURS)
        for who in self.ways:
            if who != OURS:
                same(ours, self._answer(who))

    def _answer(self, who: str) -> Any:
        if self.before:
            self.before(who)
        answer = self.ways[who]()
        return answer() if callable(answer) else answer

    def _costs(self, who: str) -> tuple[float, float]:
        """Return what a way costs in the unit, and the milliseconds it takes."""
        if self.before:
            self.before(who)
        settle()
        cpu, began = processor_seconds(), perf_counter()
        answer = self.ways[who]()
        clock = (perf_counter() - began) * 1e3
        cpu = (processor_seconds() - cpu) * 1e3
        if self.returns_cost:
            return float(answer), clock
        return (clock if self.unit == CLOCK else cpu), clock


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _seconds(rounds: Mapping[str, list[tuple[float, float]]]) -> float:
    return sum(costs[1] for each in rounds.values() for costs in each) / 1e3


def processor_seconds() -> float:
    """Return what this process used of processors, with all processes that it waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return process_time() + children.ru_utime + children.ru_stime


def ratios(ours: Entry, theirs: Entry) -> list[float]:
    """Return how many times ours another way cost, a number a round."""
    pairs = zip(theirs["costs"], ours["costs"], strict=True)
    return [their / our if our else np.inf for their, our in pairs]


def reached(ours: Entry, theirs: Entry) -> float:
    """Return the median of that."""
    return float(median(ratios(ours, theirs)))


def can_be_cold(folder: Path) -> bool:
    """Tell whether files of a folder can be taken out of memory."""
    probe = folder / "probe"
    probe.write_bytes(bytes(MEGA))
    share = drop_cache(probe)
    probe.unlink()
    return share <= STAYS


def cold(paths: Mapping[str, Iterable[Path]]) -> Callable[[str], None]:
    """Return what takes the files that somebody is about to read out of memory."""

    def drop(who: str) -> None:
        gc.collect()  # files stay in memory as long as they are mapped
        for path in paths[who]:
            # Pages that the system is still busy with stay, and go the next time.
            if all(drop_cache(path) > STAYS for _ in range(N_DROPS)):
                raise RuntimeError(f"{path} stays in memory, so that it cannot be read cold")

    return drop


def grouped_by_title(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Yield the entries of one question after the other."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry["title"], []).append(entry)
    yield from groups.values()
