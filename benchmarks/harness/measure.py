"""What a measure is: a way to come by one or more figures.

Each figure is a cost, so that less is better and ratios read the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.engines import AnyEngine, Method
from benchmarks.harness.case import Case

Run = Callable[[AnyEngine, Case], tuple[float | None, ...]]


class Figure(NamedTuple):
    """One number: its key in results, its words and unit in tables."""

    key: str
    title: str
    unit: str


@dataclass(frozen=True)
class Measure:
    """How to come by figures, and which methods an engine needs for it."""

    figures: tuple[Figure, ...]
    needs: tuple[Method, ...]
    run: Run
    kind: str = "store"  # which cap on the number of arrays holds
    rounds: int | None = None  # so many at most, for what comes out the same each time
    is_fresh: bool = False  # needs no round to warm up, and no store open in this process
    is_parallel: bool = False  # several processes write to one handle

    def fits(self, engine: AnyEngine) -> bool:
        """Tell whether an engine can be measured."""
        return engine.can(*self.needs) and (engine.is_parallel or not self.is_parallel)


class Cost(NamedTuple):
    """What something took, an array: by the clock, of the processor, and with closing added."""

    wall: float
    cpu: float
    closed: float


def one(figure: Figure, needs: tuple[Method, ...], run: Any, **options: Any) -> Measure:
    """Return a measure of one figure."""
    return Measure((figure,), needs, lambda *both: (run(*both),), **options)


def several(
    figure: Figure,
    needs: tuple[Method, ...],
    run: Callable[[AnyEngine, Case], Cost],
    more: dict[str, str],
    **options: Any,
) -> Measure:
    """Return a measure of a figure by the clock, and others, titles by field of the cost."""
    figures = [Figure(f"{figure.key}_{field}", more[field], figure.unit) for field in more]

    def costs(engine: AnyEngine, case: Case) -> tuple[float, ...]:
        cost = run(engine, case)
        return cost.wall, *(getattr(cost, field) for field in more)

    return Measure((figure, *figures), needs, costs, **options)
