"""Results as they are kept: what was run where, and what came out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any, Self

from benchmarks.measures import Figure
from benchmarks.run import ALL

OURS = "ptrarray"
FIGURES: dict[str, Figure] = {figure.key: figure for measure in ALL for figure in measure.figures}

Entry = dict[str, Any]


class Result:
    """What one run of a workload gave: a dict, as JSON keeps it, with ways to ask."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.workload: str = facts["workload"]
        self.n_arrays: int = facts["n_arrays"]
        self.peers = list(facts["versions"])

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
        """Entries by figure and peer, figures in the order in which they are listed."""
        return _by_figure(self.facts["figures"])

    @property
    def fewer(self) -> dict[int, dict[str, dict[str, Entry]]]:
        """The same by number of arrays, where readers were measured at several."""
        found = {each["n_arrays"]: _by_figure(each["figures"]) for each in self.facts["fewer"]}
        return found | {self.n_arrays: self.figures} if found else {}

    def entry(self, figure: str, peer: str = OURS, n_arrays: int | None = None) -> Entry | None:
        """Return one entry, if it is there."""
        of = self.fewer.get(n_arrays, {}) if n_arrays else self.figures
        return of.get(figure, {}).get(peer)


def _by_figure(entries: Iterable[Entry]) -> dict[str, dict[str, Entry]]:
    found: dict[str, dict[str, Entry]] = {key: {} for key in FIGURES}
    for entry in entries:
        found[entry["figure"]][entry["peer"]] = entry
    return {key: peers for key, peers in found.items() if peers}


def ratio(theirs: Entry, ours: Entry) -> float | None:
    """Return the median of the ratios within a round; None where ours is nothing."""
    pairs: list[tuple[float, float]] = list(zip(theirs["rounds"], ours["rounds"], strict=True))
    return median([a / b for a, b in pairs]) if all(b > 0 for _, b in pairs) else None


def number(value: float) -> str:
    """Return three digits of a number."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def grid(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])
