"""Cost against the number of names, as an SVG of three panels with logarithmic axes."""

from __future__ import annotations

from html import escape
from math import ceil, floor, log10
from statistics import median

from benchmarks.report.results import Result

PANELS = {
    "open": "open to the first array, ms",
    "lookup": "lookup by name, µs",
    "lookups_rss": "memory of its own, KiB",
}
LABELS = {"floor": "dict of offsets"}  # which is what the floor has for names
COLORS = ("#777777", "#0b6e4f", "#c1440e", "#2f5fb3", "#8e4fa8", "#b8860b")
WIDTH, HEIGHT = 300, 260  # of a panel, its labels included
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 34, 40

Points = list[tuple[float, float]]


def svg(result: Result) -> str:
    """Draw all panels and a legend."""
    colors = dict(zip(result.engines, COLORS, strict=False))
    panels = [
        f'<g transform="translate({i_panel * WIDTH} 0)">{_panel(result, figure, colors)}</g>'
        for i_panel, figure in enumerate(PANELS)
    ]
    legend = [
        f'<text x="{LEFT + i_engine * 110}" y="{HEIGHT + 18}" fill="{color}">&#9679; {escape(LABELS.get(engine, engine))}</text>'
        for i_engine, (engine, color) in enumerate(colors.items())
    ]
    size = f"0 0 {len(PANELS) * WIDTH} {HEIGHT + 30}"
    style = "<style>text{font:12px sans-serif} .grid{stroke:#ddd}</style>"
    background = '<rect width="100%" height="100%" fill="white"/>'
    inside = "\n".join([style, background, *panels, *legend])
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}">\n{inside}\n</svg>\n'


def lines(result: Result, figure: str) -> dict[str, Points]:
    """Return the medians of each engine by number of names."""
    found: dict[str, Points] = {}
    for n_arrays, figures in result.fewer.items():
        for engine, entry in figures.get(figure, {}).items():
            # A logarithm has no zero; what is less than one unit is as good as none.
            value = max(median(entry["rounds"]), 1 if figure == "lookups_rss" else 1e-3)
            found.setdefault(engine, []).append((n_arrays, value))
    return found


class Axis:
    """Maps numbers to points along an axis, by their logarithms."""

    def __init__(self, values: list[float], begin: float, end: float) -> None:
        self.low = floor(log10(min(values)))
        self.high = max(ceil(log10(max(values))), self.low + 1)
        self.begin, self.end = begin, end

    def at(self, value: float) -> float:
        """Return where a number stands."""
        share = (log10(value) - self.low) / (self.high - self.low)
        return round(self.begin + share * (self.end - self.begin), 1)

    @property
    def ticks(self) -> list[float]:
        """Powers of ten."""
        return [10.0**power for power in range(self.low, self.high + 1)]


def _panel(result: Result, figure: str, colors: dict[str, str]) -> str:
    drawn = lines(result, figure)
    points = [point for each in drawn.values() for point in each]
    if not points:
        return ""
    x = Axis([point[0] for point in points], LEFT, WIDTH - RIGHT)
    y = Axis([point[1] for point in points], HEIGHT - BOTTOM, TOP)
    parts = [_text(LEFT, TOP - 16, PANELS[figure], "start"), *_grid(x, y)]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "names", "middle"))
    for engine, places in drawn.items():
        where = " ".join(f"{x.at(n_names)},{y.at(value)}" for n_names, value in places)
        parts.append(
            f'<polyline points="{where}" fill="none" stroke="{colors[engine]}" stroke-width="2"/>'
        )
    return "".join(parts)


def _grid(x: Axis, y: Axis) -> list[str]:
    parts = []
    for tick in x.ticks:
        parts.append(_line(x.at(tick), y.begin, x.at(tick), y.end))
        parts.append(_text(x.at(tick), y.begin + 16, _short(tick), "middle"))
    for tick in y.ticks:
        parts.append(_line(x.begin, y.at(tick), x.end, y.at(tick)))
        parts.append(_text(x.begin - 6, y.at(tick) + 4, _short(tick), "end"))
    return parts


def _line(*places: float) -> str:
    return '<line class="grid" x1="{}" y1="{}" x2="{}" y2="{}"/>'.format(*places)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _short(value: float) -> str:
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
