"""What ptrarray may cost at most, without its core in C and with it, beside its peers."""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

from benchmarks.report.results import OURS, PURE, Result, ratios
from benchmarks.report.tables import DASH, grid, number, spread

FLOOR = "\N{MULTIPLICATION SIGN} floor"
ALONE = "\N{MULTIPLICATION SIGN} 1 process"


class Bound(NamedTuple):
    """What a figure may be at most: as a multiple of another one, or by itself."""

    figure: str
    title: str
    unit: (
        str  # FLOOR for the ratio to the floor's figure, or what that of `over` or the figure is in
    )
    pure: float
    core: float
    over: str = ""  # the figure of the same engine that it is divided by


BOUNDS = [
    Bound("write_closed", "write, many a call, and close", FLOOR, 4.5, 2.6),
    Bound("write_durable", "write, until on the disk", FLOOR, 3.0, 2.2),
    Bound("append_alone", "append 1 %", FLOOR, 4.0, 2.7),
    Bound("lookup", "lookup by name", FLOOR, 1.3, 0.8),
    Bound("items", "iterate with names", FLOOR, 1.6, 1.0),
    Bound("take", "batch of 256 names", FLOOR, 0.7, 0.25),
    Bound("write_each_cpu", "one small array a call", "µs of processor", 17, 15),
    Bound("totals", "sums of arrays of rows of 80, a number each", FLOOR, 1.1, 1.0),
    Bound("delete_each_cpu", "delete one by one", "µs of processor", 28, 28),
    Bound("delete_cpu", "delete 1 % in one step, a name", "µs of processor", 2.5, 1.0),
    Bound("open", "open in a fresh process, to the first array", "ms", 0.8, 0.8),
    Bound("import", "import, beyond numpy's", "ms of processor", 55, 55),
    Bound("write_each_4", "one array a call from 4 processes", ALONE, 1, 0.77, "write_each"),
]


def keys() -> set[str]:
    """Return all figures that it takes."""
    return {key for bound in BOUNDS for key in (bound.figure, bound.over) if key}


def table(results: list[Result]) -> str:
    """Return each bound with what was reached; a figure is that of the first result that has it."""
    peers = [name for name in results[0].engines if name not in ("floor", OURS, PURE)]
    head = ["at most", "unit", *peers, "pure", "with the core", "pure, target", "core, target", ""]
    return grid(head, [row for bound in BOUNDS if (row := _row(bound, results, peers))])


def _row(bound: Bound, results: list[Result], peers: list[str]) -> list[str]:
    found = next((result for result in results if result.entry(bound.figure)), None)
    if found is None:
        return []
    costs = {name: _costs(bound, found, name) for name in (*peers, PURE, OURS)}
    cells = [spread(each) if each else DASH for each in costs.values()]
    limits = number(bound.pure), number(bound.core)
    missed = [
        f"{words} {_verdict(costs[name], most)}"
        for words, name, most in (("pure", PURE, bound.pure), ("core", OURS, bound.core))
        if costs[name]
    ]
    return [bound.title, bound.unit, *cells, *limits, ", ".join(missed)]


def _costs(bound: Bound, result: Result, engine: str) -> list[float]:
    """Return what is bounded, a number a round."""
    entry = result.entry(bound.figure, engine)
    if entry is None or (bound.unit != FLOOR and not bound.over):
        return list(entry["rounds"]) if entry else []
    other = result.entry(bound.over or bound.figure, engine if bound.over else "floor")
    return ratios(entry, other) if other else []


def _verdict(costs: list[float], most: float) -> str:
    reached = median(costs)
    return "reached" if reached <= most else f"missed by {reached / most - 1:.0%}"
