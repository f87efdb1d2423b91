"""Take the figures: engines in turns, in rotated order, round by round."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from time import perf_counter
from typing import Any, TypeVar

from benchmarks.engines import AnyEngine
from benchmarks.harness.case import Case
from benchmarks.harness.measure import Measure

Who = TypeVar("Who", bound=Hashable)
What = TypeVar("What")


def turns(
    who: Sequence[Who], act: Callable[[Who], What], n_rounds: int, n_warm_up: int = 0
) -> dict[Who, list[What]]:
    """Let each act once a round, in an order that moves on by one; return what came of it.

    The rounds to warm up come first, and nothing of them is returned.
    """
    found: dict[Who, list[What]] = {each: [] for each in who}
    for i_round in range(-n_warm_up, n_rounds):
        shift = i_round % max(len(who), 1)
        for each in [*who[shift:], *who[:shift]]:
            result = act(each)
            if i_round >= 0:
                found[each].append(result)
    return found


def figures(
    measures: list[Measure], engines: list[AnyEngine], case: Case, repeat: int
) -> list[dict[str, Any]]:
    """Return what was measured, one entry a figure and engine."""
    return [entry for measure in measures for entry in _entries(measure, engines, case, repeat)]


def figures_at(
    numbers: Iterable[int], measure: Measure, engines: list[AnyEngine], case: Case, repeat: int
) -> list[dict[str, Any]]:
    """Return what a measure gives at fewer arrays than there are."""
    found = []
    for n_arrays in numbers:
        if n_arrays < len(case.source):
            folder = case.folder / str(n_arrays)
            folder.mkdir()
            taken = figures([measure], engines, Case(case.workload, n_arrays, folder), repeat)
            found.append({"n_arrays": n_arrays, "figures": taken})
    return found


def _entries(
    measure: Measure, engines: list[AnyEngine], case: Case, repeat: int
) -> Iterator[dict[str, Any]]:
    start = perf_counter()
    if measure.is_fresh:
        case.close_readers()
    able = [engine for engine in engines if measure.fits(engine)]
    n_rounds = min(repeat, measure.rounds or repeat)
    n_warm_up = 0 if measure.is_fresh else 1
    rounds = turns(able, lambda engine: measure.run(engine, case), n_rounds, n_warm_up)
    title = measure.figures[0].title
    print(f"{case.workload}: {title}, {perf_counter() - start:.1f} s", file=sys.stderr)
    for i_figure, figure in enumerate(measure.figures):
        for engine in able:
            values = [each[i_figure] for each in rounds[engine]]
            if None not in values:
                yield {
                    "figure": figure.key,
                    "engine": engine.name,
                    "rounds": [float(f"{value:.6g}") for value in values],
                    "n_arrays": len(case.stored(engine, measure.kind)),
                    "note": engine.note(figure.key),
                }
