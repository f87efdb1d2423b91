"""The table, and the page around it."""

from __future__ import annotations

from typing import Any

from benchmarks.harness.system import machine_words
from benchmarks.report.tables import grid, number

LIMIT_MB = 1000  # private memory of each process

TITLES = {
    "build": "build, on ptrarray in 4 processes",
    "checkpoint": "checkpoint; LMDB waits for the disk",
    "open": "open, and take one array",
    "lookups": "100,000 lookups by name, in any order",
    "append": "append 1 %, on the disk",
    "refresh": "refresh a reader that was open before",
    "open again": "open with what was appended, and take one",
    "verify": "verify; LMDB, which has no checksums, reads all",
}

INTRODUCTION = """# A hundred million names on one machine

{n_names:,} names of 20 bytes, each of an array of 1 to 4 numbers of 4 bytes: written, read, added to and checked, with
ptrarray and with LMDB, whose values are the bytes of the arrays. Each step runs in a process of its own, and what it reads is
compared with what was written. LMDB gets the keys in rising order, at the end (`append=True`), a million in a transaction, and
waits for the disk (`sync=False`) only where ptrarray does.

Seconds are by the clock, with the making of names and arrays in them where there are any. "Private" is the memory that
the largest process of a step had allocated at most, sampled every 10 ms; "resident" has pages of mapped files in it, which the
system takes back when it needs them: it is what `ru_maxrss` tells.
"""


def page(facts: dict[str, Any]) -> str:
    """Return the whole page."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    where = f"{machine_words(facts['machine'])}; {versions}; {facts['minutes']:.1f} minutes."
    parts = [
        INTRODUCTION.format(**facts).strip(),
        table(facts),
        f"`{facts['command']}` at {facts['commit']}",
        where,
    ]
    return "\n\n".join(parts) + "\n"


def table(facts: dict[str, Any]) -> str:
    """Return a row for each step, and whether memory stays in its bounds."""
    costs = facts["costs"]
    who = list(costs)
    head = ["step", *(f"{one}, s" for one in who)]
    head += ["LMDB / ptrarray"] if len(who) > 1 else []
    head += [f"{what}, MB: {one}" for what in ("private", "resident") for one in who]
    lines = [_row(step, [costs[one][step] for one in who]) for step in TITLES]
    sizes = ", ".join(f"{one} {costs[one]['disk_mb']:,.0f} MB" for one in who)
    peak = max(costs["ptrarray"][step]["private_mb"] for step in TITLES)
    verdict = "met" if peak <= LIMIT_MB else f"missed by {peak / LIMIT_MB - 1:.0%}"
    bound = f"Each process of ptrarray at most {LIMIT_MB:,} MB private: {peak:,.0f} MB, {verdict}."
    return "\n\n".join([grid(head, lines), f"On the disk at the end: {sizes}. {bound}"])


def _row(step: str, costs: list[dict[str, float]]) -> list[str]:
    ours, *others = (cost["seconds"] for cost in costs)
    ratios = [f"{number(theirs / ours)} times" for theirs in others]
    memory = [f"{cost[key]:,.0f}" for key in ("private_mb", "resident_mb") for cost in costs]
    return [TITLES[step], *(f"{seconds:.3g}" for seconds in (ours, *others)), *ratios, *memory]
