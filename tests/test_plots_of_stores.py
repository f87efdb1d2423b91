"""Plots of whole stores: lengths are counted as numpy counts them, growth is in the order of commits."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import ptrarray
from ptrarray.errors import OverlapError
from ptrarray.views import plots
from tests.support.layouts import LAYOUTS, filled

Axes = Any


def axes() -> Axes:
    figure = Figure()
    FigureCanvasAgg(figure)
    return figure.subplots()


def of_lengths(path: Path, lengths: Any, **options: Any) -> ptrarray.PointerArray:
    arrays = {f"n{at}": np.zeros(length, "f8") for at, length in enumerate(lengths)}
    return ptrarray.open(filled(path / "a.ptr", arrays, **{"dtype": "f8", **options}))


def bars(ax: Axes) -> list[tuple[float, float, int]]:
    return [(bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()) for bar in ax.patches]


@pytest.mark.parametrize(
    ("lengths", "scale"),
    [([3, 3, 4, 9], "linear"), ([1, 1, 2, 500, 10_000], "symlog"), ([0, 0, 7], "linear")],
)
def test_lengths_are_counted(lengths: list[int], scale: str, tmp_path: Path) -> None:
    ax = axes()
    with of_lengths(tmp_path, lengths) as store:
        assert store.plot.lengths(ax) is ax
    ax.figure.canvas.draw()
    assert ax.get_xscale() == scale
    assert ax.get_title() == f"{len(lengths)} arrays"
    assert ax.get_xlabel() == "rows of an array"
    for low, high, count in bars(ax):
        assert count == sum(low <= length < high for length in lengths)
    assert sum(count for *_, count in bars(ax)) == len(lengths)
    is_empty = [low < 0 < high for low, high, _ in bars(ax)]
    assert sum(is_empty) == (0 in lengths)
    if 0 in lengths:
        assert ax.get_legend().get_texts()[0].get_text() == "2 empty"


def test_arrays_without_rows_have_a_bar_where_bins_grow(tmp_path: Path) -> None:
    ax = axes()
    with of_lengths(tmp_path, [0, 40, 50, 9000]) as store:
        store.plot.lengths(ax)
    ax.figure.canvas.draw()
    labels = [text.get_text() for text in ax.get_xticklabels()]
    assert labels == ["0", "100", "1k"]
    low, high, count = bars(ax)[-1]
    assert (low, high, count) == (-10, 10, 1)
    left, right = ax.transData.transform([(low, 0), (high, 0)])[:, 0]
    assert right - left > 5  # pixels


@pytest.mark.parametrize("lengths", [[], [0, 0], [5]])
def test_small_stores_are_drawn(lengths: list[int], tmp_path: Path) -> None:
    with of_lengths(tmp_path, lengths) as store:
        for draw in (store.plot.lengths, store.plot.growth):
            draw(ax := axes())
            ax.figure.canvas.draw()
    assert ax.lines[0].get_xdata()[-1] == len(lengths)
    assert ax.lines[0].get_ydata()[-1] == sum(lengths)


@pytest.mark.parametrize(
    ("layout", "unit", "n"),
    [("rows", "rows", 6), ("shaped", "elements", 12), ("mixed", "bytes", 96)],
)
def test_axes_say_what_is_counted(layout: str, unit: str, n: int, tmp_path: Path) -> None:
    arrays = {"a": np.zeros((4, 2)), "b": np.zeros((2, 2))}
    options = {**LAYOUTS[layout], **({"row_shape": 2} if layout == "rows" else {})}
    with ptrarray.open(filled(tmp_path / "a.ptr", arrays, **options)) as store:
        ax = store.plot.lengths(axes())
        assert ax.get_xlabel() == f"{unit} of an array"
        ax = store.plot.growth(axes())
    ax.figure.canvas.draw()
    assert ax.get_ylabel() == unit
    assert ax.lines[0].get_ydata().tolist() == [0, 2 * n // 3, n]
    # On the right the same in bytes, where these are something else.
    assert [axis.get_ylim()[1] / ax.get_ylim()[1] for axis in ax.child_axes] == pytest.approx(
        {"rows": [16], "shaped": [8], "mixed": []}[layout]
    )


def test_of_very_many_arrays_some_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "_COUNTED", 30)
    with of_lengths(tmp_path, [1] * 30 + [2] * 70) as store:
        ax = store.plot.lengths(axes())
    assert ax.get_title() == "a sample of 25 of 100 arrays"
    assert [height for *_, height in bars(ax)] == [8, 17]


# growth ------------------------------------------------------------------------------------------


def grown(store: Any) -> tuple[list[int], list[int]]:
    (line,) = store.plot.growth(axes()).lines
    return line.get_xdata().tolist(), line.get_ydata().tolist()


def oldest_first(store: Any) -> Any:
    """Return rows as they add up in the order in which the newest names come, turned around."""
    names = store.names.newest(len(store))[::-1]
    return np.cumsum([0, *(len(store[name]) for name in names)]).tolist()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 9), st.integers(0, 6)),
        # Into rows that are there from the beginning, so that the order of rows is another.
        st.tuples(st.just("place"), st.integers(10, 19), st.integers(0, 30)),
        st.tuples(st.just("delete"), st.integers(0, 19), st.just(0)),
        st.tuples(st.just("checkpoint"), st.just(0), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=30)
@example([("place", 10, 20), ("place", 11, 3), ("write", 0, 5), ("place", 12, 30)], None)
@given(STEPS, st.sampled_from([None, 60]))
def test_growth_is_in_the_order_of_commits(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, int, int]],
    shard_size: int | None,
) -> None:
    path = tmp_path_factory.mktemp("growth") / "a.ptr"
    rows = 0 if shard_size else 40
    with ptrarray.create(path, dtype="i4", rows=rows, shard_size=shard_size) as writer:
        for step, name, length in steps:
            if step == "write":
                writer.write({f"n{name}": np.zeros(length, "i4")}, overwrite=True)
            elif step == "place" and shard_size is None:
                with suppress(OverlapError):
                    writer.write({f"n{name}": np.zeros(name - 9, "i4")}, length, overwrite=True)
            elif step == "delete" and f"n{name}" in writer:
                writer.delete([f"n{name}"])
            elif step == "checkpoint":
                ptrarray.checkpoint(path)
        writer.flush()
        with ptrarray.open(path) as store:
            assert grown(store) == (list(range(len(store) + 1)), oldest_first(store))
            for part in store.partitions(3) if len(store) else []:
                assert grown(part) == (list(range(len(part) + 1)), oldest_first(part))


def test_of_many_arrays_growth_has_few_points_that_are_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "N_POINTS", 7)
    lengths = np.random.default_rng(0).integers(0, 9, 100)
    with of_lengths(tmp_path, lengths) as store:
        ptrarray.checkpoint(store.path)
        store.refresh()
        x, y = grown(store)
    assert len(x) == 8
    assert x[-1] == 100
    assert y == [lengths[:at].sum() for at in x]


@pytest.mark.parametrize("kind", ["shards", "pack", "url", "partition"])
def test_plots_are_those_of_a_plain_store(kind: str, tmp_path: Path) -> None:
    arrays = {f"n{at}": np.ma.masked_equal(np.arange(at) % 3, 1) for at in range(9)}
    options: dict[str, Any] = {"dtype": "i8", "masked": True}
    if kind == "shards":
        options["shard_size"] = 100
    path = filled(tmp_path / "a.ptr", {}, **options)
    with ptrarray.append(path) as writer:
        for name, array in arrays.items():
            writer[name] = array
    if kind == "pack":
        ptrarray.pack(path, tmp_path / "pack.tar")
        path = tmp_path / "pack.tar"
    with ptrarray.open(path.as_uri() if kind == "url" else path) as store:
        assert (len(store.shards) > 1) == (kind == "shards")
        parts = store.partitions(1) if kind == "partition" else [store]
        assert grown(parts[0]) == (list(range(10)), oldest_first(parts[0]))
        assert parts[0].plot.lengths(axes()).get_title() == "9 arrays"
        drawn = parts[0].plot.array("n8", axes())
    wanted = [0, np.nan, 2, 0, np.nan, 2, 0, np.nan]
    assert np.array_equal(drawn.lines[0].get_ydata(), wanted, equal_nan=True)
