"""What `store.plot` draws: the data of its artists, ink where values are and none where they are masked."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from ml_dtypes import bfloat16, float8_e5m2, int4

import ptrarray
from ptrarray.errors import BadInputError, ClosedStoreError, UnknownNameError
from tests.support.effort import one_in
from tests.support.layouts import LAYOUTS, filled
from tests.support.memory import peak_nbytes
from tests.support.prepared import python

Axes = Any


@pytest.fixture(autouse=True)
def _figures_are_closed() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def ax() -> Axes:
    """Axes that pyplot knows nothing of, on a canvas with pixels."""
    figure = Figure(figsize=(4, 3), dpi=100)
    FigureCanvasAgg(figure)
    return figure.subplots()


def pixels(ax: Axes) -> Any:
    """Draw all, which is when matplotlib finds what is wrong, and return the pixels as RGB."""
    ax.figure.canvas.draw()
    return np.asarray(ax.figure.canvas.buffer_rgba())[:, :, :3].astype(int)


def ink(ax: Axes, x: float, y: float, colour: str = "C0", reach: int = 4) -> int:
    """Count pixels of a colour around a point."""
    drawn = pixels(ax)
    column, row = ax.transData.transform((x, y)).round().astype(int)
    row = len(drawn) - 1 - row
    part = drawn[row - reach : row + reach + 1, column - reach : column + reach + 1]
    return int((abs(part - np.array(to_rgb(colour)) * 255).max(axis=2) < 60).sum())


def stored(path: Path, arrays: dict[str, Any], **options: Any) -> ptrarray.PointerArray:
    return ptrarray.open(filled(path / "a.ptr", arrays, **options))


# arrays ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masked_values_have_no_ink_and_a_value_alone_has(
    layout: str, tmp_path: Path, ax: Axes
) -> None:
    values = np.ma.masked_inside([1.0, 2, 9, 4, 9, 6, 7], 8, 10)
    with stored(tmp_path, {"a": values}, **LAYOUTS[layout], masked=True) as store:
        assert store.plot.array("a", ax) is ax
    line, alone = ax.lines
    assert np.array_equal(line.get_ydata(), [1, 2, np.nan, 4, np.nan, 6, 7], equal_nan=True)
    assert (alone.get_xdata().tolist(), alone.get_ydata().tolist()) == ([3], [4])
    assert ink(ax, 3, 4) > 10
    assert ink(ax, 0.5, 1.5) > 5
    assert ink(ax, 2, 3) == ink(ax, 4, 5) == ink(ax, 2.5, 3.5) == 0
    shades = [path.get_extents().intervalx.tolist() for path in ax.collections[0].get_paths()]
    assert shades == [[1.5, 2.5], [3.5, 4.5]]
    # Shaded from bottom to top, which is grey and no white.
    assert pixels(ax)[150, int(ax.transData.transform((2, 0))[0])].tolist() not in [[255] * 3]
    assert ax.get_legend().get_texts()[0].get_text() == "2 left out"
    assert ax.get_ylim()[1] < 8  # shades are no values


def test_a_shade_is_all_there_is_of_an_array_that_is_masked(tmp_path: Path, ax: Axes) -> None:
    with stored(
        tmp_path, {"a": np.ma.masked_equal(np.zeros(5), 0)}, dtype="f8", masked=True
    ) as store:
        store.plot.array("a", ax)
    assert len(ax.lines) == 1
    assert np.isnan(ax.lines[0].get_ydata()).all()
    (path,) = ax.collections[0].get_paths()
    assert path.get_extents().intervalx.tolist() == [-0.5, 4.5]
    pixels(ax)


def test_every_peak_of_ten_million_rows_is_drawn_in_bounded_memory(
    tmp_path: Path, ax: Axes
) -> None:
    values = np.zeros(10_000_000, "u1")
    peaks = [0, 123_456, 7_654_321, len(values) - 1]
    values[peaks] = [9, 10, 11, 12]
    with stored(tmp_path, {"a": values}, dtype="u1") as store:
        peak = peak_nbytes(lambda: store.plot.array("a", ax, kind="line"))
    assert peak < 40e6  # as floats they are 80
    (line,) = ax.lines
    assert len(line.get_xdata()) == 4000
    assert {9, 10, 11, 12} <= set(line.get_ydata())
    at = {y: x for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True) if y}
    assert all(abs(at[9 + k] - peaks[k]) <= 5000 for k in range(4))
    pixels(ax)


DTYPES: dict[str, Any] = {
    "bool": [True, False, True],
    "i1": [-128, 0, 127],
    "u8": [2**63, 0, 1],
    ">i4": [1, 2, 3],
    "f2": [1, np.nan, 65504],
    "f4": [np.inf, -np.inf, 1],
    "f8": [-1.7e308, 0, 1.7e308],
    "longdouble": [1, 2, 3],
    "c8": [1j, 2, 3],
    ">c16": [1j, 2, 1.7e308],
    "M8[D]": ["2020-01-01", "NaT", "2021-01-01"],
    "M8[as]": [1, 2, 3],
    "M8[Y]": [-10000, 0, 10000],
    ">M8[ns]": ["1677-10-01", "2262-01-01", "NaT"],
    "m8[ms]": [1, "NaT", 3],
    "m8[Y]": [1, 2, 3],
    "m8": ["NaT", "NaT", "NaT"],
    "bfloat16": [1, 2, 3],
    "float8_e5m2": [1, np.nan, 3],
    "int4": [-8, 0, 7],
}
NARROW = {"bfloat16": bfloat16, "float8_e5m2": float8_e5m2, "int4": int4}


# Lines, heat maps and images are in each half; drawing them takes much longer than all else.
HALVES: list[list[tuple[int, ...]]] = [[(3,), (1, 3), (3, 8, 8)], [(), (3, 3), (2, 3, 7), (0,)]]


@pytest.mark.parametrize(
    ("name", "half"),
    one_in(2, [(name, (at + n) % 2) for at, name in enumerate(DTYPES) for n in range(2)]),
)
def test_arrays_of_numbers_are_drawn_whatever_they_are(
    name: str, half: int, tmp_path: Path
) -> None:
    dtype = np.dtype(NARROW.get(name, name))
    arrays = {}
    for shape in HALVES[half]:
        with warnings.catch_warnings():  # numpy 2.5 has one of m8
            warnings.filterwarnings("ignore", "The 'generic' unit", DeprecationWarning)
            values = np.resize(np.array(DTYPES[name]).astype(dtype), shape)
        mask = np.arange(values.size).reshape(shape) % 4 == 1
        arrays[f"{shape}"] = np.ma.array(values, mask=mask)
    figure = Figure(figsize=(8, 2))
    FigureCanvasAgg(figure)
    with stored(tmp_path, arrays, masked=True) as store:
        for each, ax in zip(store, figure.subplots(1, len(arrays)), strict=True):
            assert store.plot.array(each, ax) is ax
            assert ax.get_title() == each
            assert bool(ax.texts) == (each == "(0,)")
            assert ax.lines or ax.images or ax.texts
    figure.canvas.draw()


def test_dates_and_durations_are_drawn_as_such(tmp_path: Path, ax: Axes) -> None:
    dates = np.array(["2020-01-01", "NaT", "2020-01-03"], "M8[h]")
    with stored(tmp_path, {"dates": dates, "spans": dates - dates[0]}) as store:
        store.plot.array("dates", ax)
        assert ax.get_ylabel() == "time"
        assert np.array_equal(ax.lines[0].get_ydata(), dates.astype("M8[us]"), equal_nan=True)
        pixels(ax)
        assert any("01-03" in text.get_text() for text in ax.get_yticklabels())
        ax.clear()
        store.plot.array("spans", ax)
    assert ax.get_ylabel() == "seconds"
    assert np.array_equal(ax.lines[0].get_ydata(), [0, np.nan, 172800], equal_nan=True)


def test_heat_maps_leave_masked_cells_out(tmp_path: Path, ax: Axes) -> None:
    table = np.ma.array(np.arange(40.0).reshape(5, 8), mask=False)
    table[1, 2] = table[4, 7] = np.ma.masked
    with stored(tmp_path, {"a": table}, dtype="f8", row_shape=8, masked=True) as store:
        store.plot.array("a", ax)
    (image,) = ax.images
    found = np.ma.filled(image.get_array(), np.nan)
    assert np.array_equal(found, table.filled(np.nan).T, equal_nan=True)
    assert image.get_extent() == [-0.5, 4.5, -0.5, 7.5]
    assert image.origin == "lower"
    assert ax.patches[0].get_hatch() == "////"
    assert ax.get_legend().get_texts()[0].get_text() == "2 left out"
    drawn = pixels(ax)
    column, row = ax.transData.transform((1, 2)).round().astype(int)
    masked = drawn[len(drawn) - 1 - row - 4 :, column - 4 :][:8, :8]
    assert len({tuple(pixel) for pixel in masked.reshape(-1, 3).tolist()}) > 2  # white and grey


def test_images_leave_masked_pixels_out(tmp_path: Path, ax: Axes) -> None:
    colours = np.ma.array(np.full((8, 9, 3), [255, 51, 0], "u1"), mask=False)
    colours[2, 3, 0] = np.ma.masked
    arrays = {
        "grey": colours[:, :, 1],
        "rgb": colours,
        "rgba": np.ma.repeat(colours, 2, 2)[..., :4],
    }
    arrays["grey"] = np.ma.array(
        np.full((8, 9), 51, "u1"), mask=np.ma.getmaskarray(colours)[:, :, 0]
    )
    with stored(tmp_path, arrays, masked=True) as store:
        for name in arrays:
            store.plot.array(name, ax)
            pixels(ax)
            n_left_out = int(np.ma.getmaskarray(store[name]).sum())
            assert ax.get_legend().get_texts()[0].get_text() == f"{n_left_out} left out"
        assert store.plot.array("rgb", ax, kind="heatmap") is ax
    grey, rgb, rgba, _ = ax.images
    assert np.ma.filled(grey.get_array(), np.nan)[0, 0] == 51
    assert np.isnan(np.ma.filled(grey.get_array(), np.nan)[2, 3])
    assert rgb.get_array()[0, 0].tolist() == [1, 0.2, 0, 1]
    assert rgb.get_array()[2, 3].tolist() == [0, 0, 0, 0]
    assert rgba.get_array()[2, 3, 3] == 0
    assert rgba.get_array()[0, 0].tolist() == [1, 1, 0.2, 0.2]
    assert rgb.get_extent() == [-0.5, 8.5, 7.5, -0.5]  # the first row is at the top


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_of_many_images_some_are_side_by_side(dtype: str, tmp_path: Path, ax: Axes) -> None:
    images: Any = np.ma.array(np.arange(16 * 8 * 9).reshape(16, 8, 9) % 200, dtype, mask=False)
    images[2, 3, 4] = np.ma.masked
    with stored(tmp_path, {"a": images}, masked=True) as store:
        store.plot.array("a", ax, kind="images")
    pixels(ax)
    assert [text.get_text() for text in ax.get_xticklabels()] == [str(k) for k in range(0, 16, 2)]
    for number, image in enumerate(ax.images):
        found = np.ma.filled(image.get_array(), np.nan)
        wanted = images[2 * number].astype("f8").filled(np.nan)
        assert np.array_equal(found, wanted, equal_nan=True)
    assert len({image.get_clim() for image in ax.images}) == 1
    assert len(ax.patches) == 8
    assert ax.get_legend().get_texts()[0].get_text() == "1 left out"


def test_a_masked_value_in_a_cell_of_several_is_counted(tmp_path: Path, ax: Axes) -> None:
    table = np.ma.zeros((3000, 20))
    table[::2] = np.ma.masked
    with stored(tmp_path, {"a": table}, row_shape=20, dtype="f8", masked=True) as store:
        store.plot.array("a", ax)
    assert not np.isnan(np.ma.filled(ax.images[0].get_array(), np.nan)).any()
    assert ax.get_legend().get_texts()[0].get_text() == "30,000 left out"


def test_a_clear_pixel_is_not_left_out(tmp_path: Path, ax: Axes) -> None:
    with stored(tmp_path, {"a": np.zeros((8, 9, 4), "u1")}, dtype="u1", row_shape=(9, 4)) as store:
        store.plot.array("a", ax)
    assert (len(ax.patches), ax.get_legend()) == (0, None)


def test_a_large_table_is_drawn_by_the_means_of_its_cells(tmp_path: Path, ax: Axes) -> None:
    table = np.arange(4000 * 20.0).reshape(4000, 20)
    with stored(tmp_path, {"a": table}, row_shape=20, dtype="f8") as store:
        store.plot.array("a", ax)
    shown = ax.images[0].get_array()
    assert np.array_equal(shown, table.reshape(1000, 4, 20).mean(axis=1).T)


# several -----------------------------------------------------------------------------------------

HOSTILE = [
    "$a_$",
    "_first",
    "price $5 and $6",
    "two\nlines\tand\0more",
    r"\frac{$",
    "<b>&amp;'\"",
    "%s {0}",
    "é",
    "n" * 5000,
    "__",
    "_",
]


@pytest.mark.parametrize("usetex", [False, True])
def test_names_are_drawn_as_they_are(usetex: bool, tmp_path: Path, ax: Axes) -> None:
    arrays = {name: np.array([at, at + 1.0]) for at, name in enumerate(HOSTILE)}
    wanted = [name.replace("\n", " ").replace("\t", " ").replace("\0", "·") for name in HOSTILE]
    wanted[8] = "n" * 79 + "…"
    with stored(tmp_path, arrays, dtype="f8") as store:
        store.plot.arrays(HOSTILE, ax)
        assert [text.get_text() for text in ax.get_legend().get_texts()] == wanted
        pixels(ax)
        with plt.rc_context({"text.usetex": usetex, "axes.unicode_minus": False}):
            for name, title in zip(HOSTILE, wanted, strict=True):
                text = Figure().subplots()
                store.plot.array(name, text)
                assert text.get_title() == title
                assert not text.title.get_usetex()
                assert not text.title.get_parse_math()


def test_arrays_are_lines_over_each_other_with_their_gaps(tmp_path: Path, ax: Axes) -> None:
    holed = np.ma.masked_equal([1.0, 2, 3], 2)
    arrays = {"a": holed, "b": np.arange(5000.0), "c": np.zeros(0)}
    with stored(tmp_path, arrays, dtype="f8", masked=True) as store:
        store.plot.arrays(iter(["b", "a", "c"]), ax)
        lines = [line for line in ax.lines if line.get_marker() == "None"]
        assert [len(line.get_xdata()) for line in lines] == [4000, 3, 0]
        assert np.array_equal(lines[1].get_ydata(), [1, np.nan, 3], equal_nan=True)
        (dots,) = (line for line in ax.lines if line.get_marker() == ".")
        assert dots.get_xdata().tolist() == [0, 2]
        assert dots.get_color() == lines[1].get_color()
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["b", "a", "c"]
        pixels(ax)
        empty = store.plot.arrays([], Figure().subplots())
        assert not empty.lines
        assert empty.get_legend() is None


def test_of_very_many_arrays_there_is_no_legend(tmp_path: Path, ax: Axes) -> None:
    arrays = {str(at): np.array([at]) for at in range(21)}
    with stored(tmp_path, arrays, dtype="i8") as store:
        store.plot.arrays(store, ax)
        assert ax.get_legend() is None
        assert len(ax.lines) == 42  # each is a value alone
        assert store.plot.arrays(store.names[:20], ax).get_legend() is not None


# refused -----------------------------------------------------------------------------------------

ODD: dict[str, Any] = {
    "text": np.array(["a", "b"]),
    "bytes": np.array([b"a"]),
    "void": np.array([b"abc"]).view("V3"),
    "table": np.zeros(3, [("u", "f4"), ("v", "i4")]),
    "heat": np.zeros((8, 9)),
    "line": np.zeros(3),
    "dates": np.zeros(3, "M8[s]"),
}


def test_what_cannot_be_drawn_is_refused_and_leaves_no_figure(tmp_path: Path) -> None:
    with stored(tmp_path, ODD) as store:
        plot: Any = store.plot
        for name in ("text", "bytes", "void", "table"):
            for call in (plot.array, lambda name: plot.arrays([name])):
                with pytest.raises(BadInputError, match=r"nothing of it|only one number") as caught:
                    call(name)
                assert (caught.value.name, caught.value.path) == (name, store.path)
        with pytest.raises(BadInputError, match=r"draw one: ax.plot\(store\[name\]\['u'\]\)"):
            plot.array("table")
        with pytest.raises(BadInputError, match=r"'heat' .* only one number a row"):
            plot.arrays(["line", "heat"])
        with pytest.raises(BadInputError, match="no axis in common, as they are numbers and time"):
            plot.arrays(["line", "dates"])
        with pytest.raises(BadInputError, match="'image' is not one of 'line'"):
            plot.array("line", kind="image")
        with pytest.raises(BadInputError, match="several names, not the one name 'line'"):
            plot.arrays("line")
        for unknown in ("other", 0, None, "\ud800"):
            with pytest.raises(UnknownNameError):
                plot.array(unknown)
            with pytest.raises(UnknownNameError):
                plot.arrays([unknown])
        for wrong in (Figure(), plt, "ax", np.array([Figure().subplots()])):
            for draw in (plot.lengths, plot.growth, lambda ax: plot.array("line", ax)):
                with pytest.raises(BadInputError, match="ax must be axes of matplotlib, not"):
                    draw(wrong)
    calls: Any = (plot.lengths, plot.growth, lambda: plot.array("line"))
    for call in calls:
        with pytest.raises(ClosedStoreError):
            call()
    assert plt.get_fignums() == []


def test_without_matplotlib_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    with stored(tmp_path, {"a": np.zeros(3)}) as store:
        calls: Any = (store.plot.lengths, store.plot.growth, lambda: store.plot.array("a"))
        for call in calls:
            with pytest.raises(ImportError, match=r"pip install 'ptrarray\[plot\]'"):
                call()


def test_a_damaged_array_is_an_error_before_anything_is_drawn(tmp_path: Path) -> None:
    with stored(tmp_path, {"a": np.arange(1000.0)}, dtype="f8") as store:
        data = next(Path(store.path).glob("data*.bin"))
        store.refresh()
    ptrarray.checkpoint(store.path)
    with data.open("r+b") as file:
        file.truncate(80)
    with pytest.raises(ptrarray.errors.CorruptStoreError):
        ptrarray.open(store.path).plot.array("a")
    assert plt.get_fignums() == []


# axes --------------------------------------------------------------------------------------------

APART = """
import sys
import ptrarray
store = ptrarray.open(sys.argv[1])
plot = store.plot
assert "matplotlib" not in sys.modules
from matplotlib.figure import Figure
for ax in Figure().subplots(1, 1, squeeze=False).flat:
    assert plot.lengths(ax) is plot.growth(ax) is plot.array("a", ax) is plot.arrays(["a"], ax) is ax
    plot.array("b", ax)
    ax.figure.savefig(sys.argv[2])
assert "matplotlib.pyplot" not in sys.modules
"""


def test_with_axes_given_pyplot_is_not_even_imported(tmp_path: Path) -> None:
    with stored(tmp_path, {"a": np.arange(3.0), "b": np.zeros((9, 9))}) as store:
        done = python("-c", APART, store.path, tmp_path / "a.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_without_axes_each_plot_is_a_figure_of_its_own(tmp_path: Path) -> None:
    with stored(tmp_path, {"a": np.arange(3.0)}) as store:
        plot = store.plot
        drawn = [plot.lengths(), plot.growth(), plot.array("a"), plot.arrays(["a"])]
        assert plt.get_fignums() == [1, 2, 3, 4]
        assert plt.gca() is drawn[-1]
        assert len({ax.figure.number for ax in drawn}) == 4
        given = drawn[0]
        plot.array("a", given)
        assert plt.gca() is drawn[-1]  # which axes are the current ones does not change
        assert plt.get_fignums() == [1, 2, 3, 4]


@pytest.mark.parametrize(("mode", "backend"), [("r+", "mmap"), ("c", "mmap"), ("r", "pread")])
def test_plots_only_read(mode: Any, backend: Any, tmp_path: Path, ax: Axes) -> None:
    path = filled(tmp_path / "a.ptr", {"a": np.arange(3.0)}, dtype="f8")
    with ptrarray.open(path, mode, backend) as store:
        store.plot.array("a", ax)
        store.plot.arrays(["a"], ax)
        assert ax.lines[0].get_ydata().tolist() == [0, 1, 2]
        assert store._handed_out == []
