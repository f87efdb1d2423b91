"""What can be measured: a module a kind, each with a list of its measures."""

from __future__ import annotations

from benchmarks.harness.measure import Figure, Measure
from benchmarks.measures import fill, fresh, read, size, upkeep, write
from benchmarks.workloads import WORKLOADS

KINDS: dict[str, list[Measure]] = {
    "write": write.MEASURES,
    "fresh": fresh.MEASURES,
    "cold": [fresh.COLD],
    "read": read.MEASURES,
    "upkeep": upkeep.MEASURES,
    "size": size.MEASURES,
    "fill": fill.MEASURES,
}
ALL = [measure for measures in KINDS.values() for measure in measures]
FIGURES: dict[str, Figure] = {figure.key: figure for measure in ALL for figure in measure.figures}


def chosen(keys: list[str], workload: str) -> list[Measure]:
    """Return the measures that give one of these figures, or those of the workload."""
    if not keys:
        return [measure for kind in WORKLOADS[workload].kinds for measure in KINDS[kind]]
    if unknown := set(keys) - set(FIGURES):
        raise SystemExit(f"no measure {', '.join(unknown)}; there are {', '.join(sorted(FIGURES))}")
    return [measure for measure in ALL if any(figure.key in keys for figure in measure.figures)]
