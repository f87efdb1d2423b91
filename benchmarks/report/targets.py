"""What is to be reached, as ratios within one run or as plain bounds."""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

from benchmarks.measures import FIGURES
from benchmarks.report.results import OURS, PURE, Entry, Result, ratio
from benchmarks.report.tables import grid, number
from benchmarks.workloads import WORKLOADS

ALL_PEERS = "every peer"
TIMES = "\N{MULTIPLICATION SIGN}"


class Target(NamedTuple):
    """A bound on one of our figures: on its value, or on its ratio to another."""

    workload: str
    figure: str
    words: str
    at_least: float = 0
    at_most: float = 0
    engine: str = ""  # whose figure it is compared with
    of: str = ""  # which figure that is, if not the same
    n_fewer: int = 0  # the number of names of the other figure


def faster(workload: str, figure: str, bound: float, engine: str, words: str = "") -> Target:
    """Ask for a speed: their cost over ours."""
    words = words or f"≥ {bound:g} {TIMES} {engine}'s speed"
    return Target(workload, figure, words, at_least=bound, engine=engine)


def cheaper(workload: str, figure: str, bound: float, engine: str) -> Target:
    """Ask for a cost: ours over theirs."""
    return Target(workload, figure, f"≤ {bound:g} {TIMES} {engine}", at_most=bound, engine=engine)


def bounded(workload: str, figure: str, bound: float) -> Target:
    """Ask for a plain number."""
    words = f"≤ {number(bound)} {FIGURES[figure].unit}"
    return Target(workload, figure, words, at_most=bound)


TARGETS = [
    faster("tokens", "write", 0.6, "floor"),
    faster("speech", "write", 0.8, "floor"),
    faster("tokens", "write", 1, ALL_PEERS, "ahead of every peer"),
    faster("speech", "write", 1, ALL_PEERS, "ahead of every peer"),
    faster("tokens", "write", 20, "bigarray"),
    faster("tokens", "write_2", 0.8, "floor"),
    faster("speech", "write_2", 0.8, "floor"),
    Target("speech", "fill_2", f"≥ 1.8 {TIMES} 1 process", at_least=1.8, engine=OURS, of="fill"),
    faster("tokens", "write_ragged", 0.85, "floor"),
    faster("speech", "write_ragged", 0.85, "floor"),
    bounded("tokens", "write_each", 20),
    Target(
        "tokens", "write_each_4", f"≥ 1 {TIMES} 1 process", at_least=1, engine=OURS, of="write_each"
    ),
    Target("names", "open", f"≤ 3 {TIMES} open at 10 names", at_most=3, engine=OURS, n_fewer=10),
    bounded("names", "open", 2),
    bounded("names", "open_rss", 2 * 1024),
    bounded("names", "lookups_rss", 4 * 1024),
    bounded("names", "private_4", 4 * 1024),
    cheaper("tokens", "lookup", 1.4, "floor"),
    *(
        faster(load, "lookup", 1, engine)
        for load in ("tokens", "names")
        for engine in ("lmdb", "bigarray")
    ),
    cheaper("tokens", "position", 1.3, "floor"),
    cheaper("tokens", "iterate", 1.3, "floor"),
    cheaper("tokens", "take", 0.6, "floor"),
    faster("speech", "sum", 1.6, "floor"),
    faster("tokens", "sum", 1.6, "floor"),
    cheaper("tokens", "sums_each", 1, "floor"),
    cheaper("tokens", "append", 2, "lmdb"),
    bounded("tokens", "checkpoint", 1.5),
    bounded("tokens", "checkpoint_peak", 4),
    bounded("tokens", "size", 45),
]


def table(results: list[Result]) -> str:
    """Return each target with what was reached."""
    by_workload = {result.workload: result for result in results}
    rows = [
        _row(target, by_workload[target.workload])
        for target in TARGETS
        if target.workload in by_workload
    ]
    return grid(["workload", "figure", "to reach", "reached", ""], [row for row in rows if row])


def _row(target: Target, result: Result) -> list[str]:
    ours = result.entry(target.figure)
    found = _reached(target, result, ours) if ours else None
    if found is None:
        return []
    full = result.n_arrays >= WORKLOADS[result.workload].n_arrays
    workload = result.workload + ("" if full else f", only {result.n_arrays:,} arrays")
    return [
        workload,
        FIGURES[target.figure].title,
        target.words,
        number(found),
        verdict(target, found),
    ]


def _reached(target: Target, result: Result, ours: Entry) -> float | None:
    """Return the number to be compared with the bound; None if it was not measured."""
    if not target.engine:
        return float(median(ours["rounds"]))
    if target.engine == ALL_PEERS:
        not_peers = (OURS, PURE, "floor", result.beside)
        others = [name for name in result.engines if name not in not_peers]
    else:
        others = [target.engine]
    figure = target.of or target.figure
    entries = [result.entry(figure, engine, target.n_fewer or None) for engine in others]
    ratios = [_ratio(target, ours, entry) for entry in entries if entry]
    known = [each for each in ratios if each is not None]
    return min(known) if known else None


def _ratio(target: Target, ours: Entry, other: Entry) -> float | None:
    return ratio(other, ours) if target.at_least else ratio(ours, other)


def verdict(target: Target, found: float) -> str:
    """Tell whether a target is met, or by how much it is missed."""
    if target.at_least:
        return "met" if found >= target.at_least else f"missed by {1 - found / target.at_least:.0%}"
    return "met" if found <= target.at_most else f"missed by {found / target.at_most - 1:.0%}"
