"""What is measured: a module a kind, and the list of all of it.

A measure gives one or more figures at a time. Each is a cost, so that less is
better and ratios read the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.case import Case
from benchmarks.engines import Engine

Run = Callable[[Engine, Case], tuple[float | None, ...]]


class Figure(NamedTuple):
    """One number: its key in results, its words and unit in tables."""

    key: str
    title: str
    unit: str


class Measure(NamedTuple):
    """How to come by figures, and which functions a peer needs for it."""

    figures: tuple[Figure, ...]
    needs: tuple[str, ...]
    run: Run
    kind: str = "store"  # which cap on the number of arrays holds
    rounds: int | None = None  # so many at most, for what comes out the same each time
    fresh: bool = False  # needs no round to warm up, and no store open in this process


def one(figure: Figure, needs: tuple[str, ...], run: Any, kind: str = "store") -> Measure:
    """Return a measure of one figure."""
    return Measure((figure,), needs, lambda *both: (run(*both),), kind)
