"""What users find, as a page of Markdown: what was to be reached first, then a part a user."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness.system import machine_words
from benchmarks.report.results import OURS
from benchmarks.report.tables import grid, number, spread
from benchmarks.report.targets import TIMES
from benchmarks.users.asking import CLOCK, MB, Entry, grouped_by_title, ratios, reached

USERS = ("pickles", "tar", "timelapse", "bigarray", "joblib")

INTRODUCTION = """# What users of other tools gain

The same things are done with a tool that people use today and with ptrarray, in one run and in turns, in an order that
moves on by one. All answers are compared first, which warms up. A cost is the median of the rounds, with the smallest
and the largest. "By the clock" is how long it took; what is compared is named in the column "unit". "ptrarray is" tells
how many times ptrarray's cost the other one's is, the median of the ratios within a round: above 1, ptrarray is the
better one. Files are in memory unless a row says "cold".
"""

# What is in between, in the page for a user, is written by `renew`.
MARKED = re.compile(
    r"(?P<begin><!-- gains of (?P<user>\w+) -->).*?(?P<end><!-- end -->)", re.DOTALL
)

Facts = dict[str, Any]


def page(results: list[Facts], introduction: str = INTRODUCTION) -> str:
    """Return the whole page of the results of several users."""
    parts = [introduction.strip(), "## What was to be reached", targets(results)]
    return "\n\n".join([*parts, *map(markdown, results)]) + "\n"


def load(folder: Path, users: Iterable[str] = USERS, kind: str = "user") -> list[Facts]:
    """Return the results that a folder has, in the order of the users."""
    paths = [folder / f"{kind}-{user}.json" for user in users]
    return [json.loads(path.read_text("utf-8")) for path in paths if path.exists()]


def save(facts: Facts, folder: Path, kind: str = "user") -> None:
    """Write a result into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind}-{facts['user']}.json"
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def targets(results: list[Facts]) -> str:
    """Return each target with what was reached."""
    rows = [
        [facts["user"], ours["title"], theirs["by"], *_judged(ours, theirs)]
        for facts in results
        for ours, *others in grouped_by_title(facts["entries"])
        for theirs in others
        if theirs["at_least"]
    ]
    return grid(["user", "what", "beside", "to reach", "reached", ""], rows)


def _judged(ours: Entry, theirs: Entry) -> list[str]:
    bound, found = theirs["at_least"], reached(ours, theirs)
    verdict = "met" if found >= bound else f"missed by {1 - found / bound:.0%}"
    return [f"≥ {bound:g} {TIMES}", f"{number(found)} {TIMES}", verdict]


def markdown(facts: Facts) -> str:
    """Return the part about one user."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    where = f"{machine_words(facts['machine'])}; {versions}. "
    where += f"{facts['repeat']} rounds, {facts['minutes']:.1f} minutes."
    parts = [f"## {facts['user']}", facts["words"], f"`{facts['command']}` at {facts['commit']}"]
    return "\n\n".join([*parts, where, table(facts["entries"])])


def table(entries: Iterable[Entry]) -> str:
    """Return all costs, ours above those that it is compared with."""
    head = ["what", "by", "cost", "unit", "by the clock, ms", "ptrarray is"]
    return grid(head, [row for group in grouped_by_title(entries) for row in _rows(group)])


def _rows(group: list[Entry]) -> Iterator[list[str]]:
    ours = group[0]
    for entry in group:
        is_ours = entry["by"] == OURS
        has_clock = entry["clock"] and entry["unit"] not in (CLOCK, MB)
        clock = number(median(entry["clock"])) if has_clock else ""
        ratio = "" if is_ours else f"{spread(ratios(ours, entry))} {TIMES}"
        title = entry["title"] if is_ours else ""
        yield [title, entry["by"], spread(entry["costs"]), entry["unit"], clock, ratio]


def gains(facts: Facts) -> str:
    """Return what a user gains, as the page for this user tells it."""
    head = ["what is done", "others take, as a multiple of what ptrarray takes"]
    rows = []
    for ours, *others in grouped_by_title(facts["entries"]):
        multiples = (f"{each['by']} {number(reached(ours, each))}" for each in others)
        rows.append([ours["title"], ", ".join(multiples)])
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    sizes = f"`--n {facts['n']} --repeat {facts['repeat']}`"
    return f"{grid(head, rows)}\n\n{sizes}, {machine_words(facts['machine'])}; {versions}."


def renew(folder: Path, results: list[Facts]) -> None:
    """Write what users gain into the pages for them, between two marks."""
    text_by_user = {facts["user"]: gains(facts) for facts in results}
    for path in folder.glob("*.md"):
        old = path.read_text("utf-8")
        new = MARKED.sub(lambda found: _renewed(found, text_by_user), old)
        if new != old:
            path.write_text(new, encoding="utf-8")


def _renewed(found: re.Match[str], text_by_user: dict[str, str]) -> str:
    text = text_by_user.get(found["user"])
    return found[0] if text is None else f"{found['begin']}\n\n{text}\n\n{found['end']}"


def words_of(module: Path) -> str:
    """Return the docstring of a user's module, without importing it."""
    return ast.get_docstring(ast.parse(module.read_text("utf-8"))) or ""
