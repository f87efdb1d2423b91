"""Results as Markdown: what each engine took, and how many times as much as ptrarray."""

from __future__ import annotations

from statistics import median

from benchmarks.harness.system import machine_words
from benchmarks.measures import FIGURES
from benchmarks.report import bounds, plot, targets
from benchmarks.report.results import OURS, Entry, Result, ratio, ratios
from benchmarks.report.tables import DASH, grid, number, spread

WORSE = 1.05  # times the cost of another checkout's, from which on a figure is called worse

INTRODUCTION = f"""# Results

Every figure was measured by the command named with it; `make bench` runs them all and writes this page.

A figure is a cost, so less is better: the median of the rounds, with the smallest and the largest. In each round the
engines take turns, in an order that moves on by one. Every answer was compared with the arrays that were written.
"{DASH}" means that an engine has no sensible way to do something, "at 20,000 arrays" that more would take it hours or
break it.

"floor" is the least the machine allows: `pwritev`, one mapping, and a dict of pointers made beforehand; no checksum,
and nothing survives a crash. Unless a row says otherwise, nothing waits for the disk and files are in the page cache.
At the end of each measure of writing, other processes can read what was written.
"""

RATIOS = f"""Each engine's cost in units of {OURS}'s, so that above 1 {OURS} is the better one;
medians of the ratios within a round:"""

# Studies that have their own part of the page: title, and what to say.
STUDIES = {
    "bounds": (
        "Beside LMDB, without the core in C and with it",
        f"""What {OURS} may cost at most, and what it costs. "{bounds.FLOOR}" is the ratio to the floor, less being better; the
floor of "write, and close" does not wait for the disk, which {OURS} does when it is closed, and LMDB does not.""",
    ),
    "limits": (
        "What limits those that are missed",
        """Measured without ptrarray, each step by itself. Of many small arrays a call, each is a call from Python for its
checksum, its checks, its name and the hash of that, which the floor does not make; the core in C does these in one
pass. Of one array a call, six system calls are what is left when Python is taken away; several processes that do it
take turns at one lock. What a second process or thread gains here where it shares nothing is the most that `fill`,
writing from two processes and sums can gain.""",
    ),
    "checksums": (
        "What the extra `fast` gains",
        "The same stores written and verified in turns with the CRC-32 of zlib and of isal, without the core in C.",
    ),
    "cold": (
        "What it gains to tell the system what will be read",
        "With the page cache dropped for the data file before each reading, and warm.",
    ),
}


def page(results: list[Result], plot_name: str, studies: dict[str, str]) -> str:
    """Return the whole report of several workloads, and of what studies printed."""
    parts = [INTRODUCTION.strip(), "## Targets", targets.table(results)]
    for study, (title, words) in STUDIES.items():
        if study in studies:
            parts += [f"## {title}", words, studies[study].strip()]
    parts.append("## Figures")
    for result in results:
        parts.append(markdown(result))
        if result.fewer:
            parts.append(f"![cost against the number of names]({plot_name})")
    return "\n\n".join(parts).rstrip() + "\n"


def markdown(result: Result) -> str:
    """Return all that is to be said about one workload."""
    tables = [table(result), relative(result), beside(result), fewer(result), notes(result)]
    return "\n\n".join(part for part in (heading(result), *tables) if part)


def heading(result: Result) -> str:
    """Tell what was run where."""
    facts = result.facts
    versions = ", ".join(f"{name} {number}".strip() for name, number in facts["versions"].items())
    where = (
        f"{machine_words(facts['machine'])}; {versions}. "
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
    common = {name: _common_n(result, name) for name in result.engines}
    head = [name + _at(common[name], result.n_arrays) for name in result.engines]
    rows = []
    for key, entries in result.figures.items():
        cells = [
            _cell(entries.get(name), common[name] or result.n_arrays) for name in result.engines
        ]
        rows.append([FIGURES[key].title, FIGURES[key].unit, *cells])
    return grid(["", "unit", *head], rows)


def _common_n(result: Result, name: str) -> int | None:
    """Return the number of arrays of all of an engine's figures, if it is one."""
    counts = {each[name]["n_arrays"] for each in result.figures.values() if name in each}
    return counts.pop() if len(counts) == 1 else None


def _at(n_arrays: int | None, usual: int) -> str:
    return f", at {n_arrays:,} arrays" if n_arrays and n_arrays != usual else ""


def _cell(entry: Entry | None, usual: int) -> str:
    return spread(entry["rounds"]) + _at(entry["n_arrays"], usual) if entry else DASH


def relative(result: Result) -> str:
    """Return each engine's cost by ours."""
    others = [name for name in result.engines if name != OURS]
    rows = []
    for key, entries in result.figures.items():
        if OURS in entries and len(entries) > 1:
            cells = [_ratio(entries.get(name), entries[OURS]) for name in others]
            rows.append([FIGURES[key].title, *cells])
    return f"{RATIOS}\n\n{grid(['', *others], rows)}" if rows else ""


def _ratio(theirs: Entry | None, ours: Entry) -> str:
    value = ratio(theirs, ours) if theirs else None
    return DASH if value is None else number(value)


def beside(result: Result) -> str:
    """Return how our figures stand to those of another checkout, measured in the same rounds."""
    rows = []
    for key, entries in result.figures.items():
        found = [entries[name] for name in (OURS, result.beside) if name in entries]
        if len(found) == 2:
            each = ratios(*found)
            cells = [spread(entry["rounds"]) for entry in found]
            cells += [spread(each), _verdict(each)] if each else [DASH, ""]
            rows.append([FIGURES[key].title, FIGURES[key].unit, *cells])
    words = f"{OURS}'s cost in units of {result.beside}'s, so that above 1 {OURS} is the worse one;"
    head = ["", "unit", OURS, result.beside, f"{OURS} / {result.beside}", ""]
    return f"{words}\nratios within a round:\n\n{grid(head, rows)}" if rows else ""


def _verdict(each: list[float]) -> str:
    """Say if a figure got worse, and if that is more than the spread of the rounds."""
    if median(each) <= WORSE:
        return ""
    return f"worse by {median(each) - 1:.0%}" if min(each) > 1 else "worse within the spread"


def fewer(result: Result) -> str:
    """Return what readers cost at several numbers of names."""
    rows = []
    for key in next(iter(result.fewer.values()), {}):
        for n_arrays, figures in result.fewer.items():
            cells = [_cell(figures.get(key, {}).get(name), n_arrays) for name in result.engines]
            rows.append([FIGURES[key].title, FIGURES[key].unit, f"{n_arrays:,}", *cells])
    return grid(["", "unit", "names", *result.engines], rows) if rows else ""


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
    for key, entries in after.figures.items():
        for name, entry in entries.items():
            if old := before.entry(key, name):
                medians = [median(each["rounds"]) for each in (old, entry)]
                change = f"{medians[1] / medians[0]:.2f}" if medians[0] else DASH
                rows.append([key, name, FIGURES[key].unit, *map(number, medians), change])
    return grid(["figure", "engine", "unit", "before", "after", "after / before"], rows)


def drawing(results: list[Result]) -> str | None:
    """Return a plot as SVG, if there is something to draw."""
    found = [result for result in results if result.fewer]
    return plot.svg(found[0]) if found else None
