"""Take the figures: peers in turns, in rotated order, round by round."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import Any

from benchmarks.case import Case
from benchmarks.engines import Engine
from benchmarks.measures import Measure, fill, fresh, read, size, upkeep, write
from benchmarks.workloads import WORKLOADS

KINDS = {
    "write": write.MEASURES,
    "fresh": [fresh.READER, fresh.READERS],
    "cold": [fresh.COLD],
    "read": read.MEASURES,
    "upkeep": upkeep.MEASURES,
    "size": size.MEASURES,
    "fill": fill.MEASURES,
}
ALL = [measure for measures in KINDS.values() for measure in measures]


def chosen(keys: list[str], workload: str) -> list[Measure]:
    """Return the measures that give one of these figures, or those of the workload."""
    if not keys:
        return [measure for kind in WORKLOADS[workload].kinds for measure in KINDS[kind]]
    known = {figure.key for measure in ALL for figure in measure.figures}
    if unknown := set(keys) - known:
        raise SystemExit(f"no measure {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [measure for measure in ALL if any(figure.key in keys for figure in measure.figures)]


def figures(
    measures: list[Measure], engines: list[Engine], case: Case, repeat: int
) -> list[dict[str, Any]]:
    """Return what was measured, one entry a figure and peer."""
    return [entry for measure in measures for entry in _entries(measure, engines, case, repeat)]


def figures_at(
    numbers: Iterable[int], engines: list[Engine], case: Case, repeat: int
) -> list[dict[str, Any]]:
    """Return what readers cost at fewer arrays than there are."""
    found = []
    for n_arrays in numbers:
        if n_arrays < len(case.source):
            folder = case.folder / str(n_arrays)
            folder.mkdir()
            taken = figures([fresh.READER], engines, Case(case.workload, n_arrays, folder), repeat)
            found.append({"n_arrays": n_arrays, "figures": taken})
    return found


def _entries(
    measure: Measure, engines: list[Engine], case: Case, repeat: int
) -> Iterator[dict[str, Any]]:
    able = [engine for engine in engines if engine.can(*measure.needs)]
    rounds: dict[str, list[list[float | None]]] = {engine.name: [] for engine in able}
    start = perf_counter()
    n_rounds = min(repeat, measure.rounds or repeat)
    if measure.fresh:
        case.close_readers()
    # The first round is for warming up, which a fresh process is not.
    for i_round in range(0 if measure.fresh else -1, n_rounds):
        shift = i_round % max(len(able), 1)
        for engine in able[shift:] + able[:shift]:
            values = [
                value if value is None else float(f"{value:.6g}")
                for value in measure.run(engine, case)
            ]
            if i_round >= 0:
                rounds[engine.name].append(values)
    print(
        f"{case.workload}: {measure.figures[0].title}, {perf_counter() - start:.1f} s",
        file=sys.stderr,
    )
    for i_figure, figure in enumerate(measure.figures):
        for engine in able:
            values = [each[i_figure] for each in rounds[engine.name]]
            if None not in values:
                yield {
                    "figure": figure.key,
                    "peer": engine.name,
                    "rounds": values,
                    "n_arrays": len(case.stored(engine, measure.kind)),
                    "note": engine.note(figure.key),
                }
