"""What processes and folders take, as the system counts it; and whether any of it creeps.

The rule is in `creeping`. It knows no clock and no absolute number but what each allowance says.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.support.soak_counting import merged, percentile

MIN_WINDOWS = 20  # fewer tell nothing
_ANON = re.compile(rb"^RssAnon:\s+(\d+)", re.MULTILINE)
_THREADS = re.compile(rb"^Threads:\s+(\d+)", re.MULTILINE)
YARDSTICKS = "yardstick", "yardstick sync"
# Threads that a process may begin whenever it needs them, those of all its pools and its first: fewer tell nothing.
POOLED = {"viewer": 11}
Window = dict[str, Any]
_SIGNIFICANT = 3.3  # standard deviations: one of a thousand series without a trend


class Taken(NamedTuple):
    """What a process takes at one moment; `anon` in kB, without the pages of files that are mapped."""

    descriptors: int
    threads: int
    mappings: int
    anon: int


def taken(pid: int) -> Taken | None:
    """Return what a process takes, or None if it is gone."""
    process = Path(f"/proc/{pid}")
    try:
        status = (process / "status").read_bytes()
        n_descriptors = len(os.listdir(process / "fd"))  # noqa: PTH208 - thousands a minute
        n_mappings = (process / "maps").read_bytes().count(b"\n")
    except (FileNotFoundError, ProcessLookupError):
        return None
    anon, threads = _ANON.search(status), _THREADS.search(status)
    if anon is None or threads is None:  # it has ended, and nobody has waited for it
        return None
    return Taken(n_descriptors, int(threads[1]), n_mappings, int(anon[1]))


class Room(NamedTuple):
    """What a folder takes of the disk: blocks of 512 bytes, and files."""

    blocks: int
    files: int


def room(folder: Path) -> Room:
    blocks = files = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                blocks += os.lstat(os.path.join(parent, name)).st_blocks  # noqa: PTH118
            except FileNotFoundError:
                continue
            files += 1
    return Room(blocks, files)


# what creeps --------------------------------------------------------------------------------------


class Rule(NamedTuple):
    """When something creeps.

    Attributes
    ----------
    factor, more : float
        By how much the median of late windows may be above that of early ones.
    """

    factor: float
    more: float


RULES = {
    "descriptors": Rule(1, 0),
    "threads": Rule(1, 0),
    "mappings": Rule(1, 16),
    "anon": Rule(1.03, 1024),
    "blocks": Rule(1.25, 1024),
    "files": Rule(1, 2),
    "p50": Rule(1.5, 20),
    "p99": Rule(1.75, 1000),
    "p99.9": Rule(2, 10_000),
}
# Percentiles: the part, and how many calls it takes to tell it. Windows with fewer are put together.
PERCENTILES = {"p50": (0.5, 6), "p99": (0.99, 200), "p99.9": (0.999, 2000)}


def creeping(series: Sequence[float], rule: Rule) -> str | None:
    """Tell how a series creeps, or return None.

    Its first quarter is left out: it is there to warm up. Then the median of the first third of the windows
    is compared with that of the last. What is above it by more than the rule allows creeps, if all windows
    together rise, too, by the test of Mann and Kendall.
    """
    warm = series[len(series) // 4 :]
    early, late = thirds(warm)
    before, after = float(median(early)), float(median(late))
    if after <= before * rule.factor + rule.more or rising(warm) < _SIGNIFICANT:
        return None
    return f"{before:.0f} at the beginning, {after:.0f} at the end"


def thirds(series: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return the first and the last third."""
    n = max(len(series) // 3, 1)
    return series[:n], series[-n:]


def rising(series: Sequence[float]) -> float:
    """Return by how many standard deviations a series rises (Mann 1945, Kendall 1975), ties taken out."""
    n = len(series)
    score = sum(
        (later > one) - (later < one) for at, one in enumerate(series) for later in series[at + 1 :]
    )
    ties = [series.count(one) for one in set(series)]
    variance = (n * (n - 1) * (2 * n + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)) / 18
    return (score - math.copysign(1, score)) / math.sqrt(variance) if variance and score else 0.0


def complaints(windows: Sequence[Window]) -> list[str]:
    """Return what creeps, of all that the windows of a soak tell; nothing if they are too few."""
    if len(windows) < MIN_WINDOWS:
        return []
    found = []
    for what, name, each in all_series(windows):
        told = [creeping(one, RULES[what]) for one in each if len(one) >= MIN_WINDOWS]
        if told and all(told):
            found.append(f"{what} of {name}: {told[0]}")
    return found


def all_series(windows: Sequence[Window]) -> Iterable[tuple[str, str, list[list[float]]]]:
    """Yield what, of whom, and series of one number a window: of processes that lived all the time.

    Of what goes up and down, that is the lowest in a window: where it comes back to. There is one
    series, but for latencies: one for each yardstick. What creeps does so in all of them.
    """
    for name in lasting(windows):
        for what in Taken._fields:
            choose = median if what == "anon" else min
            least = POOLED.get(name, 0) if what == "threads" else 0
            numbers = [choose(window["processes"][name][what]) for window in windows]
            yield what, name, [[max(number, least) for number in numbers]]
    for name in windows[0]["rooms"]:
        for what in Room._fields:
            yield what, name, [[min(window["rooms"][name][what]) for window in windows]]
    for kind in sorted({kind for window in windows for kind in window["calls"]} - {*YARDSTICKS}):
        for what, (part, n_least) in PERCENTILES.items():
            each = [latencies(windows, kind, part, n_least, one) for one in YARDSTICKS]
            yield what, kind, each


def lasting(windows: Sequence[Window]) -> list[str]:
    """Return the names of processes that lived all the time."""
    lives = {
        name: {window["processes"].get(name, {}).get("pid") for window in windows}
        for name in windows[0]["processes"]
    }
    return [name for name, pids in lives.items() if len(pids) == 1]


def latencies(
    windows: Sequence[Window], kind: str, part: float, n_least: int, yardstick: str
) -> list[float]:
    """Return a percentile of each stretch of windows in microseconds, as on a machine that is as fast as ever.

    How slow it was in a stretch is told by a yardstick, next to the first third.
    """
    before = percentile(_of(thirds(windows)[0], yardstick), part)
    series = []
    for stretch in _stretches(windows, kind, n_least):
        slower = percentile(_of(stretch, yardstick), part) / before
        found = percentile(_of(stretch, kind), part)
        series.append(found if math.isnan(slower) else found / slower)
    return series


def _of(windows: Sequence[Window], kind: str) -> dict[int, int]:
    return merged([window["calls"].get(kind, {}) for window in windows])


def _stretches(windows: Sequence[Window], kind: str, n_least: int) -> Iterable[list[Window]]:
    """Yield windows in a row that have so many calls of a kind together."""
    stretch: list[Window] = []
    n_calls = 0
    for window in windows:
        stretch.append(window)
        n_calls += sum(window["calls"].get(kind, {}).values())
        if n_calls >= n_least:
            yield stretch
            stretch, n_calls = [], 0
