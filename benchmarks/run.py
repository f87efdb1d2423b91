"""Take the figures: peers in turns, in rotated order, round by round."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.case import Case
from benchmarks.engines import Engine
from benchmarks.measures import Measure, fresh, read, write

ALL = [*write.MEASURES, *fresh.MEASURES, *read.MEASURES]


def chosen(keys: list[str]) -> list[Measure]:
    """Return the measures that give one of these figures, or all."""
    known = {figure.key for measure in ALL for figure in measure.figures}
    if unknown := set(keys) - known:
        raise SystemExit(f"no measure {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [
        measure
        for measure in ALL
        if not keys or any(figure.key in keys for figure in measure.figures)
    ]


def figures(
    measures: list[Measure], engines: list[Engine], case: Case, repeat: int
) -> list[dict[str, Any]]:
    """Return what was measured, one entry a figure and peer."""
    return [entry for measure in measures for entry in _entries(measure, engines, case, repeat)]


def _entries(
    measure: Measure, engines: list[Engine], case: Case, repeat: int
) -> Iterator[dict[str, Any]]:
    able = [engine for engine in engines if engine.can(*measure.needs)]
    rounds: dict[str, list[tuple[float | None, ...]]] = {engine.name: [] for engine in able}
    if measure.fresh:
        case.close_readers()
    for i_round in range(-1, repeat):  # the first is for warming up
        shift = i_round % max(len(able), 1)
        for engine in able[shift:] + able[:shift]:
            _progress(
                f"{case.workload} {measure.figures[0].key} {i_round + 1}/{repeat} {engine.name}"
            )
            values = measure.run(engine, case)
            if i_round >= 0:
                rounds[engine.name].append(values)
    _progress("")
    for i_figure, figure in enumerate(measure.figures):
        for engine in able:
            values = [each[i_figure] for each in rounds[engine.name]]
            if None not in values:
                yield {
                    "figure": figure.key,
                    "peer": engine.name,
                    "rounds": values,
                    "cap": case.capped(engine.cap(measure.kind)),
                    "note": engine.note(figure.key),
                }


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
