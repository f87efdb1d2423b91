"""Results as Markdown: what each peer took, and how many times as much as ptrarray."""

from __future__ import annotations

from statistics import median

from benchmarks import plot, targets
from benchmarks.results import FIGURES, OURS, Entry, Result, grid, number, ratio

DASH = "\N{EN DASH}"  # a peer has no way to do this

INTRODUCTION = f"""# Results

Nothing stands here that was not run; the commands are named. `make bench` runs them all and writes this page.

Every figure is a cost, so that less is better: the median of the rounds, with the smallest and the largest. In each
round the peers take turns, in an order that moves on by one. Every answer was compared with the arrays that were
written. "{DASH}" stands where a peer has no sensible way to do something, and "at 20,000 arrays" where more would take
it hours or break it.

"floor" is the least the machine allows: `pwritev`, one mapping, and a dict of pointers made beforehand; no checksum,
and nothing survives a crash. Nobody waits for the disk unless it is said. What was written is readable by other
processes at the end of each measure. Files are in the page cache unless it is said that they are not.
"""

RATIOS = f"""Each peer's cost in units of {OURS}'s, so that above 1 {OURS} is the better one;
medians of the ratios within a round:"""


# Tables of scripts beside the harness: arguments, title, and what to say.
TABLES = {
    "limits": (
        "FOLDER",
        "What limits those that are missed",
        """Measured without ptrarray, each step by itself. Of many small arrays a call, each is a call from Python for its
checksum, its checks, its name and the hash of that, which the floor does not make: the steps below add up to more
than the floor's `pwritev` whatever else is done. Of one array a call, six system calls are what is left when Python
is taken away. What a second process or thread gains here where it shares nothing is the most that `fill`, writing
from two processes and sums can gain.""",
    ),
    "checksums": (
        "FOLDER",
        "What the extra `fast` gains",
        "The same stores written and verified in turns with the CRC-32 of zlib and of isal.",
    ),
    "cold": (
        "--folder FOLDER --repeat 3",
        "What it gains to tell the system what will be read",
        "With the page cache dropped for the data file before each reading, and warm.",
    ),
}


def page(results: list[Result], plot_name: str, tables: dict[str, str]) -> str:
    """Return the whole report of several workloads, and of scripts beside the harness."""
    parts = [INTRODUCTION.strip(), "## Targets", targets.table(results)]
    for script, (arguments, title, words) in TABLES.items():
        if script in tables:
            command = f"`python -m benchmarks.{script} {arguments}`"
            parts += [f"## {title}", command, words, tables[script].strip()]
    parts.append("## Figures")
    for result in results:
        parts.append(markdown(result))
        if result.fewer:
            parts.append(f"![cost against the number of names]({plot_name})")
    return "\n\n".join(parts).rstrip() + "\n"


def markdown(result: Result) -> str:
    """Return all that is to be said about one workload."""
    parts = [heading(result), table(result), ratios(result), fewer(result), notes(result)]
    return "\n\n".join(part for part in parts if part)


def heading(result: Result) -> str:
    """Tell what was run where."""
    facts, machine = result.facts, result.facts["machine"]
    versions = ", ".join(f"{peer} {number}".strip() for peer, number in facts["versions"].items())
    where = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}; Python {machine['python']}, numpy {machine['numpy']}; {versions}. "
        f"{facts['repeat']} rounds, {facts['minutes']:.1f} minutes."
    )
    lines = [
        f"### {result.workload}: {result.n_arrays:,} arrays, {facts['nbytes'] / 1e6:,.0f} MB",
        f"`{facts['command']}` at {facts['commit']}",
        where,
        *(f"Not measured: {reason}." for reason in facts["missing"].values()),
    ]
    return "\n\n".join(lines)


def table(result: Result) -> str:
    """Return medians with min and max."""
    common = {peer: _common_n(result, peer) for peer in result.peers}
    head = [peer + _at(common[peer], result.n_arrays) for peer in result.peers]
    rows = []
    for key, by_peer in result.figures.items():
        cells = [
            _cell(by_peer[peer], common[peer] or result.n_arrays) if peer in by_peer else DASH
            for peer in result.peers
        ]
        rows.append([FIGURES[key].title, FIGURES[key].unit, *cells])
    return grid(["", "unit", *head], rows)


def _common_n(result: Result, peer: str) -> int | None:
    """Return the number of arrays of all of a peer's figures, if it is one."""
    counts = {by_peer[peer]["n_arrays"] for by_peer in result.figures.values() if peer in by_peer}
    return counts.pop() if len(counts) == 1 else None


def _at(n_arrays: int | None, usual: int) -> str:
    return f", at {n_arrays:,} arrays" if n_arrays and n_arrays != usual else ""


def _cell(entry: Entry, usual: int) -> str:
    low, middle, high = min(entry["rounds"]), median(entry["rounds"]), max(entry["rounds"])
    spread = f"{number(middle)} ({number(low)} to {number(high)})"
    return spread + _at(entry["n_arrays"], usual)


def ratios(result: Result) -> str:
    """Return each peer's cost by ours."""
    peers = [peer for peer in result.peers if peer != OURS]
    rows = []
    for key, by_peer in result.figures.items():
        if OURS in by_peer and len(by_peer) > 1:
            cells = [_ratio(by_peer.get(peer), by_peer[OURS]) for peer in peers]
            rows.append([FIGURES[key].title, *cells])
    return f"{RATIOS}\n\n{grid(['', *peers], rows)}" if rows else ""


def _ratio(theirs: Entry | None, ours: Entry) -> str:
    value = ratio(theirs, ours) if theirs else None
    return DASH if value is None else number(value)


def fewer(result: Result) -> str:
    """Return what readers cost at several numbers of names."""
    rows = []
    for key in next(iter(result.fewer.values()), {}):
        for n_arrays, figures in result.fewer.items():
            by_peer = figures.get(key, {})
            cells = [
                _cell(by_peer[peer], n_arrays) if peer in by_peer else DASH for peer in result.peers
            ]
            rows.append([FIGURES[key].title, FIGURES[key].unit, f"{n_arrays:,}", *cells])
    return grid(["", "unit", "names", *result.peers], rows) if rows else ""


def notes(result: Result) -> str:
    """Return what has to be said about single figures."""
    lines = [
        f"- {FIGURES[entry['figure']].title}: {entry['note']}."
        for entry in result.facts["figures"]
        if entry["note"]
    ]
    return "\n".join(lines)


def comparison(before: Result, after: Result) -> str:
    """Return how the medians of two results stand to each other."""
    rows = []
    for key, by_peer in after.figures.items():
        for peer, entry in by_peer.items():
            if old := before.entry(key, peer):
                medians = [median(each["rounds"]) for each in (old, entry)]
                change = f"{medians[1] / medians[0]:.2f}" if medians[0] else DASH
                rows.append([key, peer, FIGURES[key].unit, *map(number, medians), change])
    return grid(["figure", "peer", "unit", "before", "after", "after / before"], rows)


def drawing(results: list[Result]) -> str | None:
    """Return a plot as SVG, if there is something to draw."""
    found = [result for result in results if result.fewer]
    return plot.svg(found[0]) if found else None
