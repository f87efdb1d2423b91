"""What a soak found, as a page for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from tests.support.soak_counting import merged, percentile
from tests.support.soak_watching import (
    MIN_WINDOWS,
    PERCENTILES,
    YARDSTICKS,
    Room,
    Taken,
    Window,
    complaints,
    lasting,
    thirds,
)


def append(path: Path, window: Window) -> None:
    """Write down a window, so that it is there whatever comes."""
    with path.open("a") as file:
        file.write(json.dumps(window) + "\n")


def read(path: Path) -> list[Window]:
    """Return the windows of a soak; a line that it was killed in is none."""
    windows = []
    for line in path.read_text().splitlines():
        try:
            windows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return windows


def report(windows: Sequence[Window]) -> str:
    """Return tables in Markdown, and what creeps."""
    if not windows:
        return "no window has ended"
    last = windows[-1]
    found = complaints(windows)
    calls = _all_calls(windows)
    n_calls = sum(sum(one.values()) for one in calls.values())
    told = (
        f"{last['seconds'] / 3600:.2f} h, {len(windows)} windows, {n_calls:,} calls, {last['kills']} kills, "
        f"{last['cpu_seconds'] / last['seconds']:.2f} processors, "
        f"{len(last['processes'])} processes at a time"
    )
    lines = [
        told,
        "",
        *_summary(windows),
        "",
        *_call_table(windows),
        "",
        *_process_table(windows),
        "",
        *_room_table(windows),
        "",
        *[f"creeps: {one}" for one in found],
        *[f"wrong: {name}: {text}" for name, text in last["wrong"].items()],
    ]
    if not found and not last["wrong"]:
        is_told = len(windows) >= MIN_WINDOWS
        creeps = (
            "nothing creeps" if is_told else f"what creeps is told from {MIN_WINDOWS} windows on"
        )
        lines.append(f"nothing is wrong, {creeps}")
    return "\n".join(lines)


_SHOWN = (
    "write",
    "write durable",
    "refresh",
    "store[name]",
    "open",
    "checkpoint",
    "compact",
    *YARDSTICKS,
)


def _summary(windows: Sequence[Window]) -> Iterable[str]:
    """Yield a table of the most important, of all processes and of all stores together."""
    yield "| | first third | middle | last third | most |"
    yield "|---|---|---|---|---|"
    warm = windows[len(windows) // 4 :]
    early, late = thirds(warm)
    parts = [early, warm[len(early) : -len(late)] or warm, late]
    names = lasting(windows)
    for what, label in _LABELS.items():
        choose, scale = (median, 1024) if what == "anon" else (min, 1)
        cells = [
            sum(choose([choose(one["processes"][name][what]) for one in part]) for name in names)
            for part in parts
        ]
        most = max(sum(max(one["processes"][name][what]) for name in names) for one in windows)
        yield _row(f"{label} of {len(names)} processes", [*cells, most], scale)
    for what, label, scale in (
        ("files", "files, lowest", 1),
        ("blocks", "MB on disk, lowest", 2048),
    ):
        cells = [min(min(one["rooms"]["all"][what]) for one in part) for part in parts]
        yield _row(label, [*cells, max(max(one["rooms"]["all"][what]) for one in windows)], scale)
    for kind in _SHOWN:
        found = [_all_calls(part).get(kind, {}) for part in (*parts, windows)]
        shares = [share for share, _ in PERCENTILES.values()]
        three = [" / ".join(_milliseconds(one, share) for share in shares) for one in found[:3]]
        cells = [f"{kind}: {' / '.join(PERCENTILES)}, ms", *three, _milliseconds(found[3], 1)]
        yield f"| {' | '.join(cells)} |"


def _milliseconds(histogram: dict[int, int], part: float) -> str:
    found = percentile(histogram, part) / 1000
    return f"{found:,.{2 if found < 10 else 0}f}"


_LABELS = {
    "descriptors": "descriptors, lowest,",
    "threads": "threads, lowest,",
    "mappings": "mappings, lowest,",
    "anon": "own memory in MB, median,",
}


def _row(label: str, cells: Sequence[float], scale: int) -> str:
    digits = [
        f"{cell / scale:,.{0 if scale == 1 else 2 if cell < 10 * scale else 1}f}" for cell in cells
    ]
    return f"| {' | '.join([label, *digits])} |"


def _all_calls(windows: Sequence[Window]) -> dict[str, dict[int, int]]:
    kinds = {kind for window in windows for kind in window["calls"]}
    return {
        kind: merged([one["calls"][kind] for one in windows if kind in one["calls"]])
        for kind in sorted(kinds)
    }


def _call_table(windows: Sequence[Window]) -> Iterable[str]:
    yield "| call | calls | p50 µs, first third → last | p99 | p99.9 | slowest, ms |"
    yield "|---|---|---|---|---|---|"
    early, late = map(_all_calls, thirds(windows))
    for kind, histogram in _all_calls(windows).items():
        cells = [f"{kind}", f"{sum(histogram.values()):,}"]
        for part in (0.5, 0.99, 0.999):
            both = [percentile(one.get(kind, {}), part) for one in (early, late)]
            cells.append(" → ".join(f"{one:,.0f}" for one in both))
        yield f"| {' | '.join(cells)} | {percentile(histogram, 1) / 1000:,.1f} |"


def _process_table(windows: Sequence[Window]) -> Iterable[str]:
    yield (
        "| process | descriptors, lowest in the first third → last (most) | threads | mappings "
        "| own memory, MB, median (most) |"
    )
    yield "|---|---|---|---|---|"
    warm = windows[len(windows) // 4 :]
    for name in lasting(windows):
        lives = [one["processes"][name] for one in windows]
        early, late = thirds([one["processes"][name] for one in warm])
        cells = [name]
        for what in Taken._fields:
            choose, scale = (median, 1024) if what == "anon" else (min, 1)
            both = [choose([choose(one[what]) for one in some]) / scale for some in (early, late)]
            most = max(max(life[what]) for life in lives) / scale
            form = ".1f" if what == "anon" else ".0f"
            cells.append(f"{both[0]:{form}} → {both[1]:{form}} ({most:{form}})")
        yield f"| {' | '.join(cells)} |"


def _room_table(windows: Sequence[Window]) -> Iterable[str]:
    yield "| on disk | MB, median in the first third → last (most) | files |"
    yield "|---|---|---|"
    early, late = thirds([one["rooms"] for one in windows[len(windows) // 4 :]])
    for name in windows[0]["rooms"]:
        cells = [name]
        for what in Room._fields:
            scale, form = (2048, ".1f") if what == "blocks" else (1, ".0f")
            both = [
                median([median(one[name][what]) for one in some]) / scale for some in (early, late)
            ]
            most = max(max(one["rooms"][name][what]) for one in windows) / scale
            cells.append(f"{both[0]:{form}} → {both[1]:{form}} ({most:{form}})")
        yield f"| {' | '.join(cells)} |"
