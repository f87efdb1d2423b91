"""The plot of costs against names shows what the table beside it says, in the same bytes each time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from benchmarks.measures import FIGURES
from benchmarks.report import plot
from benchmarks.report.results import Result

PAGES = Path(__file__).parent.parent / "benchmarks"


def result_of(figures: dict[str, dict[int, dict[str, float]]]) -> Result:
    """Make a result of a cost by figure, number of names and engine."""
    counts = sorted({n_names for costs in figures.values() for n_names in costs})
    engines = {name for costs in figures.values() for each in costs.values() for name in each}
    at = [
        {
            "n_arrays": n_names,
            "figures": [
                {"figure": figure, "engine": name, "rounds": [cost], "n_arrays": n_names}
                for figure, costs in figures.items()
                for name, cost in costs.get(n_names, {}).items()
            ],
        }
        for n_names in counts
    ]
    facts: dict[str, Any] = {"workload": "names", "beside": "", "versions": dict.fromkeys(engines)}
    return Result(facts | at[-1] | {"fewer": at[:-1]})


def in_the_page() -> dict[str, plot.Lines]:
    """Read what is drawn from the table of the page: medians, by figure and engine."""
    page = (PAGES / "RESULTS.md").read_text("utf-8").split("### names: ")[1]
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")]
    (head,) = (at for at, row in enumerate(rows) if row[:2] == ["unit", "names"])
    panels: dict[str, plot.Lines] = {}
    for title, _, n_names, *cells in rows[head + 2 :]:
        for figure in (key for key in plot.PANELS if FIGURES[key].title == title):
            for engine, cell in zip(rows[head][2:], cells, strict=True):
                cost = float(cell.split(" (")[0].replace(",", ""))
                points = panels.setdefault(figure, {}).setdefault(engine, [])
                points.append((int(n_names.replace(",", "")), cost))
    return panels


def paths(svg: str) -> dict[str, list[str]]:
    """Return the line and the points of each engine in each panel."""
    found = re.findall(
        r'<g id="((?:open|lookup|lookups_rss)-\w+)">(.*?)\n   </g>\n', svg, re.DOTALL
    )
    return {name: re.findall(r' (?:d|x|y)="([^"]+)"', inside) for name, inside in found}


def test_the_plot_beside_the_page_is_of_its_table() -> None:
    panels = in_the_page()
    assert {len(points) for lines in panels.values() for points in lines.values()} == {5}
    svg = (PAGES / "names.svg").read_text("utf-8")
    drawn = plot.drawn(panels)
    assert len(paths(svg)) == sum(map(len, panels.values())) == 15
    assert paths(svg) == paths(drawn)  # texts are written in another way by some versions
    if f"Matplotlib v{mpl.__version__}," in svg:
        assert svg == drawn


COSTS: dict[int, dict[str, float]] = {
    10: {"ptrarray": 2, "floor": 1},
    1000: {"ptrarray": 3.00049, "floor": 0},
}


def test_equal_figures_are_the_same_bytes_whatever_a_user_has_set() -> None:
    result = result_of({"open": COSTS, "lookup": COSTS})
    svg = plot.svg(result)
    rounded = COSTS | {1000: {"ptrarray": 3, "floor": 0}}  # as tables have them
    with mpl.rc_context({"lines.linewidth": 9, "svg.hashsalt": None, "font.size": 20}):
        assert plot.svg(result_of({"open": rounded, "lookup": rounded})) == svg
        assert mpl.rcParams["font.size"] == 20
    assert "<dc:date>" not in svg
    other = COSTS | {1000: {"ptrarray": 2.99, "floor": 0}}
    changed = paths(plot.svg(result_of({"open": other, "lookup": COSTS})))
    differ = {name for name, drawn in paths(svg).items() if changed[name] != drawn}
    assert {name.split("-")[0] for name in differ} == {"open"}


@pytest.mark.parametrize("panels", [{}, {"open": {"ptrarray": [(10, 1.0)]}}])
def test_what_was_not_measured_is_left_empty(panels: dict[str, plot.Lines]) -> None:
    svg = plot.drawn(panels)
    assert list(paths(svg)) == [f"{figure}-ptrarray" for figure in panels]
    assert svg.count(">names</text>") == len(panels)
