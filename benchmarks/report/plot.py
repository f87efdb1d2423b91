"""Cost against the number of names, as an SVG of three panels with logarithmic axes."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from math import ceil, floor, log10
from statistics import median
from typing import Any

from benchmarks.report.results import OURS, PURE, Result
from benchmarks.report.tables import number

PANELS = {
    "open": "open to the first array, ms",
    "lookup": "lookup by name, µs",
    "lookups_rss": "memory of its own, KiB",
}
# For names the floor has a dict of offsets.
LABELS = {"floor": "dict of offsets", PURE: f"{OURS} without its core in C"}
COLORS = ("#777777", "#0b6e4f", "#c1440e", "#2f5fb3", "#8e4fa8", "#b8860b")
NOTHING = {"lookups_rss": 1.0}  # a logarithm has no zero; what is less is as good as none

# All that is not said here is as matplotlib has it by itself, whatever its user has set. The text stays
# text. The ids come from the salt, not by chance: the same figures are the same bytes.
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "names",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Helvetica"],
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "xtick.color": "#999999",
    "ytick.color": "#999999",
    "xtick.labelcolor": "#333333",
    "ytick.labelcolor": "#333333",
    "lines.markersize": 3.5,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}

Points = list[tuple[int, float]]
Lines = dict[str, Points]


def svg(result: Result) -> str:
    """Draw all panels and a legend; the same figures are the same text."""
    return drawn({figure: lines(result, figure) for figure in PANELS})


def lines(result: Result, figure: str) -> Lines:
    """Return the medians of each engine by number of names, rounded as tables have them."""
    found: Lines = {}
    for n_arrays, figures in result.fewer.items():
        for engine, entry in figures.get(figure, {}).items():
            value = float(number(median(entry["rounds"])).replace(",", ""))
            found.setdefault(engine, []).append((n_arrays, value))
    return found


def drawn(panels: Mapping[str, Lines]) -> str:
    """Draw lines by figure and engine as an SVG."""
    import matplotlib as mpl  # of the extra `bench`: running benchmarks does without
    from matplotlib.figure import Figure

    engines = dict.fromkeys(engine for lines in panels.values() for engine in lines)
    colors = dict(zip(engines, COLORS, strict=False))
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        figure = Figure(figsize=(9.4, 3.4))
        figure.subplots_adjust(left=0.05, right=0.985, bottom=0.27, top=0.9, wspace=0.22)
        for axes, name in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
            _panel(axes, name, panels.get(name, {}), colors)
        handles = {line.get_label(): line for axes in figure.axes for line in axes.lines}
        figure.legend(handles=handles.values(), loc="lower left", ncols=len(COLORS), frameon=False)
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    # matplotlib ends some lines with blanks.
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def _panel(axes: Any, name: str, lines: Lines, colors: dict[str, str]) -> None:
    """Draw the lines of one figure."""
    if not lines:
        axes.set_axis_off()
        return
    least = NOTHING.get(name, 1e-3)
    axes.set(title=PANELS[name], xlabel="names", xscale="log", yscale="log")
    for engine, points in lines.items():
        x, y = zip(*points, strict=True)
        places = [max(value, least) for value in y]
        style = {"color": colors[engine], "linewidth": 2.4 if engine == OURS else None}
        label = LABELS.get(engine, engine)
        axes.plot(x, places, "o-", label=label, gid=f"{name}-{engine}", **style)
    for axis, (low, high) in (
        (axes.xaxis, axes.dataLim.intervalx),
        (axes.yaxis, axes.dataLim.intervaly),
    ):
        powers = [10.0**power for power in range(floor(log10(low)), ceil(log10(high)) + 1)]
        axis.set_ticks(powers, map(_short, powers))
        axis.set_ticks([], minor=True)
    axes.set_xlim(axes.dataLim.x0 / 1.5, axes.dataLim.x1 * 1.5)


def _short(value: float) -> str:
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
