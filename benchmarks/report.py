"""Results as Markdown: what each peer took, and how many times as much as ptrarray."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.measures import Figure
from benchmarks.run import ALL

OURS = "ptrarray"
DASH = "\N{EN DASH}"  # a peer has no way to do this
RATIOS = f"""Each peer's cost in units of {OURS}'s, so that above 1 {OURS} is the better one.
Medians of the ratios within a round:"""
FIGURES: dict[str, Figure] = {figure.key: figure for measure in ALL for figure in measure.figures}

Result = dict[str, Any]
Entry = dict[str, Any]


def markdown(result: Result) -> str:
    """Return all that is to be said about one workload."""
    parts = [
        heading(result),
        table(result),
        RATIOS,
        ratios(result),
        notes(result),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def heading(result: Result) -> str:
    """Tell what was run where."""
    machine = result["machine"]
    versions = ", ".join(f"{peer} {number}" for peer, number in result["versions"].items())
    where = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}; Python {machine['python']}, numpy {machine['numpy']}; {versions}. "
        f"Median of {result['repeat']} rounds, with the smallest and the largest; less is better."
    )
    lines = [
        f"### {result['workload']}: {result['n_arrays']:,} arrays, {result['nbytes'] / 1e6:,.0f} MB",
        "",
        f"`{result['command']}` at {result['commit']}",
        "",
        where,
        *(f"Not measured: {reason}." for reason in result["missing"].values()),
    ]
    return "\n".join(lines)


def entries(result: Result) -> dict[str, dict[str, Entry]]:
    """Return the entries by figure and peer, figures in the order they are listed."""
    found: dict[str, dict[str, Entry]] = {key: {} for key in FIGURES}
    for entry in result["figures"]:
        found[entry["figure"]][entry["peer"]] = entry
    return {key: peers for key, peers in found.items() if peers}


def table(result: Result) -> str:
    """Return medians with min and max."""
    peers = list(result["versions"])
    rows = []
    for key, by_peer in entries(result).items():
        cells = [_cell(by_peer[peer]) if peer in by_peer else DASH for peer in peers]
        rows.append([FIGURES[key].title, FIGURES[key].unit, *cells])
    return _grid(["", "unit", *peers], rows)


def _cell(entry: Entry) -> str:
    low, middle, high = min(entry["rounds"]), median(entry["rounds"]), max(entry["rounds"])
    at = f" at {entry['cap']:,} arrays" if entry["cap"] else ""
    return f"{number(middle)} ({number(low)} to {number(high)}){at}"


def ratios(result: Result) -> str:
    """Return each peer's cost by ours."""
    peers = [peer for peer in result["versions"] if peer != OURS]
    rows = []
    for key, by_peer in entries(result).items():
        if OURS in by_peer:
            cells = [_ratio(by_peer.get(peer), by_peer[OURS]) for peer in peers]
            rows.append([FIGURES[key].title, *cells])
    return _grid(["", *peers], rows) if peers and rows else ""


def _ratio(theirs: Entry | None, ours: Entry) -> str:
    value = ratio(theirs, ours) if theirs else None
    return DASH if value is None else number(value)


def ratio(theirs: Entry, ours: Entry) -> float | None:
    """Return the median of the ratios within a round; None where ours is nothing."""
    pairs = list(zip(theirs["rounds"], ours["rounds"], strict=True))
    return median(a / b for a, b in pairs) if all(b > 0 for _, b in pairs) else None


def notes(result: Result) -> str:
    """Return what has to be said about single figures."""
    lines = [
        f"- {FIGURES[entry['figure']].title}: {entry['note']}."
        for entry in result["figures"]
        if entry["note"]
    ]
    return "\n".join(lines)


def comparison(before: Result, after: Result) -> str:
    """Return how the medians of two results stand to each other."""
    old, new = entries(before), entries(after)
    rows = []
    for key in old.keys() & new.keys():
        for peer in old[key].keys() & new[key].keys():
            medians = [median(each[key][peer]["rounds"]) for each in (old, new)]
            change = f"{medians[1] / medians[0]:.2f}" if medians[0] else DASH
            rows.append((key, peer, FIGURES[key].unit, *map(number, medians), change))
    order = {key: position for position, key in enumerate(FIGURES)}
    rows.sort(key=lambda row: (order[row[0]], row[1]))
    return _grid(["figure", "peer", "unit", "before", "after", "after / before"], rows)


def number(value: float) -> str:
    """Return three digits of a number."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _grid(head: list[str], rows: list[Any]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])
