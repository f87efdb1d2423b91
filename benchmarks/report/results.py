"""Results as they are kept: what was run where, and what came out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any, Self

from benchmarks.measures import FIGURES

OURS = "ptrarray"
PURE = "ptrarray_pure"  # the same without its core in C

Entry = dict[str, Any]


class Result:
    """What one run of a workload gave: a dict, as JSON keeps it, with ways to ask."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.workload: str = facts["workload"]
        self.n_arrays: int = facts["n_arrays"]
        self.beside: str = facts["beside"]  # the engine that is another ptrarray, or nothing
        self.engines: list[str] = list(facts["versions"])

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a result."""
        return cls(json.loads(path.read_text("utf-8")))

    def save(self, folder: Path) -> None:
        """Write the result into a folder, named after its workload."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.workload}.json"
        path.write_text(json.dumps(self.facts, indent=1) + "\n", encoding="utf-8")

    @property
    def figures(self) -> dict[str, dict[str, Entry]]:
        """Entries by figure and engine, figures in the order in which they are listed."""
        return _by_figure(self.facts["figures"])

    @property
    def fewer(self) -> dict[int, dict[str, dict[str, Entry]]]:
        """The same by number of arrays, where readers were measured at several."""
        found = {each["n_arrays"]: _by_figure(each["figures"]) for each in self.facts["fewer"]}
        return found | {self.n_arrays: self.figures} if found else {}

    def entry(self, figure: str, engine: str = OURS, n_arrays: int | None = None) -> Entry | None:
        """Return one entry, if it is there."""
        of = self.fewer.get(n_arrays, {}) if n_arrays else self.figures
        return of.get(figure, {}).get(engine)


def _by_figure(entries: Iterable[Entry]) -> dict[str, dict[str, Entry]]:
    found: dict[str, dict[str, Entry]] = {key: {} for key in FIGURES}
    for entry in entries:
        found[entry["figure"]][entry["engine"]] = entry
    return {key: entries for key, entries in found.items() if entries}


def ratios(one: Entry, other: Entry) -> list[float]:
    """Return the ratios within a round; nothing where the other is nothing."""
    pairs = list(zip(one["rounds"], other["rounds"], strict=True))
    return [a / b for a, b in pairs] if all(b > 0 for _, b in pairs) else []


def ratio(one: Entry, other: Entry) -> float | None:
    """Return the median of the ratios within a round."""
    found = ratios(one, other)
    return median(found) if found else None
