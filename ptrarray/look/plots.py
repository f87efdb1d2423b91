"""Arrays, lengths and growth on the axes of matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError, import_extra
from ptrarray.look.histogram import Histogram
from ptrarray.look.kinds import Kind, kinds_of
from ptrarray.look.numbers import Array, Floats, drawable, shares
from ptrarray.look.points import Curves, curves, measured
from ptrarray.look.reduced import cells
from ptrarray.look.words import plain

# An axes of matplotlib, whose types are those of an optional library.
Axes = Any
Draw = Callable[[Axes], None]

_GREY = "0.5"
_SHADE = {"color": _GREY, "linewidth": 0}
_STRIP = 0.02  # of the height of the axes
_HATCH = "////"
_N_CELLS = 1000
_N_IMAGES = 8
_LONGEST_NAME = 80
_MOST_NAMES = 20
_MOST_POWERS = 5
_COLOURS = 3  # channels, of which a fourth is how opaque a pixel is
_OF_COLOURS = 4  # axes of several images of them


def axes_of(ax: Axes | None) -> Axes:
    """Return axes that are given, or those of a new figure of pyplot.

    Raises
    ------
    ImportError
        Without matplotlib.
    BadInputError
        If what is given are no axes.
    """
    library = _matplotlib("axes")
    if ax is None:
        return _matplotlib("pyplot").subplots(layout="constrained")[1]
    if not isinstance(ax, library.Axes):
        raise BadInputError(
            f"ax must be axes of matplotlib, not {type(ax).__name__}: of several, as plt.subplots(2) "
            "gives, one",
            found=type(ax).__name__,
            expected="matplotlib.axes.Axes",
        )
    return ax


def _matplotlib(module: str) -> Any:
    return import_extra(
        f"matplotlib.{module}", "plots need matplotlib: pip install 'ptrarray[plot]'"
    )


# text --------------------------------------------------------------------------------------------


def shown(name: str) -> str:
    r"""Return a name as it is written beside a plot: on one line, of bounded length.

    Examples
    --------
    >>> shown("a\nb$_$"), len(shown("a" * 1000))
    ('a b$_$', 80)
    """
    text = plain(name[: _LONGEST_NAME + 1])
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"


def _literal(text: Any) -> None:
    """Have a text drawn as it is: ``$`` and ``_`` mean nothing."""
    text.set_parse_math(False)
    text.set_usetex(False)


def title(ax: Axes, name: str) -> None:
    """Write a name above a plot."""
    _literal(ax.set_title(shown(name)))


def _legend(ax: Axes, artists: Sequence[Any], names: Sequence[str], **style: Any) -> None:
    # Given at once, names that begin with _ would be left out.
    legend = ax.legend(artists, [str(number) for number in range(len(names))], **style)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(shown(name))
        _literal(text)


# arrays ------------------------------------------------------------------------------------------


def drawing(array: Array, kind: Kind) -> Draw:
    """Return what draws an array on axes, with all of it read before.

    Parameters
    ----------
    array : ndarray or MaskedArray
    kind : str
        As what to draw it, one of `drawable_kinds`.
    """
    return _DRAWN[kind](array)


def drawable_kinds(array: Array) -> tuple[Kind, ...]:
    """Return as what an array can be drawn here: not as text, tokens, bytes or a table.

    Examples
    --------
    >>> drawable_kinds(np.array([3, 1, 2])), drawable_kinds(np.array(["a"]))
    (('line',), ())
    """
    return tuple(kind for kind in kinds_of(array) if kind in _DRAWN)


def _nothing(_: Array) -> Draw:
    def draw(ax: Axes) -> None:
        style = {"ha": "center", "va": "center", "color": _GREY}
        ax.text(0.5, 0.5, "no values", transform=ax.transAxes, **style)

    return draw


def _curves(array: Array) -> Draw:
    drawn = curves(array)
    names = [""] if drawn.y.shape[1] == 1 else _columns(array)

    def draw(ax: Axes) -> None:
        artists = [line(ax, drawn, number) for number in range(len(names))]
        if not 1 < len(names) <= _MOST_NAMES:
            artists = []
        labels = names[: len(artists)]
        shade = _left_out(ax, drawn)
        if shade is not None:
            labels, artists = [*labels, f"{drawn.n_left_out:,} left out"], [*artists, shade]
        if labels:
            _legend(ax, artists, labels)
        ax.set_xlabel("row")
        if drawn.quantity:
            ax.set_ylabel(drawn.quantity)

    return draw


def line(ax: Axes, drawn: Curves, number: int = 0, name: str | None = None) -> Any:
    """Draw one line, and the points that it does not show; return the line."""
    y, alone = drawn.y[:, number], drawn.alone[:, number]
    style = {"drawstyle": "steps-mid"} if drawn.is_stepped else {}
    (artist,) = ax.plot(drawn.x, y, label=name, **style)
    if alone.any():
        ax.plot(drawn.x[alone], y[alone], ".", color=artist.get_color(), label="_alone")
    return artist


def _left_out(ax: Axes, drawn: Curves) -> Any | None:
    """Shade where no values are drawn, and mark at the bottom where only some are."""
    shade = None
    for spans, height, alpha in ((drawn.thinned, _STRIP, 0.8), (drawn.missing, 1, 0.25)):
        if len(spans):
            bars = np.column_stack([spans[:, 0], spans[:, 1] - spans[:, 0]])
            where = {"transform": ax.get_xaxis_transform(), "label": "_left out"}
            shade = ax.broken_barh(bars, (0, height), alpha=alpha, **_SHADE, **where)
    return shade


def _columns(array: Array) -> list[str]:
    """Return what the numbers of a row are called: their indices."""
    if array.ndim == 2:
        return [str(column) for column in range(array.shape[1])]
    return [str(index) for index in np.ndindex(array.shape[1:])]


def _heat_map(array: Array) -> Draw:
    found = cells(array, _N_CELLS, _N_CELLS)
    numbers, quantity = _coloured(found.means.T, array.dtype)
    extent = (-0.5, found.row_edges[-1] - 0.5, -0.5, found.column_edges[-1] - 0.5)

    def draw(ax: Axes) -> None:
        style = {"aspect": "auto", "origin": "lower", "interpolation": "nearest"}
        image = ax.imshow(numbers, extent=extent, **style)
        _hatch(ax, [extent], int(found.left_out.sum()))
        ax.set(xlabel="row", ylabel="column")
        if not np.isnan(numbers).all():
            ax.figure.colorbar(image, ax=ax, label=quantity)

    return draw


def _coloured(means: Floats, dtype: np.dtype[Any]) -> tuple[Floats, str]:
    """Return means as numbers that can have colours, and what these are called."""
    numbers, quantity = measured(means, dtype)
    if numbers.dtype.kind != "M":
        return numbers, quantity
    seconds = drawable(numbers.astype("M8[s]"))
    assert seconds is not None
    return seconds / (365.2425 * 86400) + 1970, "year"


def _image(array: Array) -> Draw:
    tiles, n_left_out = _tiles(array[np.newaxis], 1)
    height, width = array.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)

    def draw(ax: Axes) -> None:
        _show(ax, tiles, [extent], array.dtype)
        _hatch(ax, [extent], n_left_out)
        ax.set(xlabel="column", ylabel="row")

    return draw


def _images(array: Array) -> Draw:
    n_images, height, width = array.shape[:3]
    n_shown = min(n_images, _N_IMAGES)
    rows = [n_images * number // n_shown for number in range(n_shown)]
    tiles, n_left_out = _tiles(array, n_shown)
    lefts = [number * width * 1.05 for number in range(n_shown)]
    middles = [left + width / 2 for left in lefts]

    def draw(ax: Axes) -> None:
        extents = [(left, left + width, height, 0.0) for left in lefts]
        _show(ax, tiles, extents, array.dtype)
        _hatch(ax, extents, n_left_out)
        ax.set_xlim(0, lefts[-1] + width)
        ax.set_xticks(middles, [str(row) for row in rows])
        ax.set(xlabel="row", yticks=[])

    return draw


def _tiles(array: Array, n_shown: int) -> tuple[Floats, int]:
    """Return some images as few pixels, and how many of their values are left out.

    A pixel is one number, or colours from 0 to 1 and how opaque it is.
    """
    n_channels = array.shape[3] if array.ndim == _OF_COLOURS else 1
    frames = [array[len(array) * number // n_shown] for number in range(n_shown)]
    found = [
        cells(frame[:, :, channel] if frame.ndim == _COLOURS else frame, _N_CELLS, _N_CELLS)
        for frame in frames
        for channel in range(n_channels)
    ]
    n_left_out = sum(int(each.left_out.sum()) for each in found)
    means = np.stack([each.means for each in found])
    pixels = means.reshape(n_shown, n_channels, *means.shape[1:])
    if n_channels < _COLOURS:
        return _coloured(pixels[:, 0], array.dtype)[0], n_left_out
    return _colours(np.moveaxis(pixels, 1, -1), array.dtype), n_left_out


def _colours(numbers: Floats, dtype: np.dtype[Any]) -> Floats:
    """Return numbers of three or four channels as colours; clear where one of them is missing."""
    low, high = (0.0, 255.0) if dtype == np.uint8 else _limits(numbers)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    shades = shares(numbers, low, high, alone=0)
    missing = np.isnan(shades).any(axis=-1)
    opaque = np.ones((*missing.shape, 1))
    shades = np.concatenate([shades, opaque], axis=-1)[..., : _COLOURS + 1]
    shades[missing] = 0
    return np.asarray(shades)


def _limits(numbers: Floats) -> tuple[float, float]:
    known = numbers[~np.isnan(numbers)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)


def _show(
    ax: Axes, tiles: Floats, extents: Sequence[tuple[float, ...]], dtype: np.dtype[Any]
) -> None:
    style: dict[str, Any] = {"interpolation": "nearest"}
    if tiles.ndim == _COLOURS:
        low, high = (0.0, 255.0) if dtype == np.uint8 else _limits(tiles)
        style |= {"vmin": low, "vmax": high} | ({"cmap": "gray"} if dtype == np.uint8 else {})
    for tile, extent in zip(tiles, extents, strict=True):
        ax.imshow(tile, extent=extent, **style)


def _hatch(ax: Axes, extents: Sequence[tuple[float, ...]], n_left_out: int) -> None:
    """Hatch what is behind images, which is seen where these have no colour, and say of how many values.

    A cell of several values has a colour if one of them has, so that perhaps only the number says it.
    """
    if not n_left_out:
        return
    patches = _matplotlib("patches")
    style = {"facecolor": "none", "edgecolor": _GREY, "linewidth": 0, "zorder": -1}
    for left, right, bottom, top in extents:
        corner, width, height = (left, bottom), right - left, top - bottom
        hatched = ax.add_patch(patches.Rectangle(corner, width, height, hatch=_HATCH, **style))
    # Below the picture, which has no corner to spare, and the numbers of its rows.
    lower = _matplotlib("transforms").ScaledTranslation(0, -0.25, ax.figure.dpi_scale_trans)
    below = {"loc": "upper right", "bbox_to_anchor": (1, 0), "bbox_transform": ax.transAxes + lower}
    style = {"frameon": False, "fontsize": "small", "borderaxespad": 0, "borderpad": 0}
    _legend(ax, [hatched], [f"{n_left_out:,} left out"], handlelength=1.5, **below, **style)


_DRAWN: dict[Kind, Callable[[Array], Draw]] = {
    "line": _curves,
    "lines": _curves,
    "heatmap": _heat_map,
    "image": _image,
    "images": _images,
    "nothing": _nothing,
}


def draw_lines(ax: Axes, drawn: dict[str, Curves]) -> None:
    """Draw lines over each other, each by its name."""
    artists = [line(ax, each, 0, name) for name, each in drawn.items()]
    if 0 < len(artists) <= _MOST_NAMES:
        _legend(ax, artists, list(drawn))
    ax.set_xlabel("row")
    for quantity in {each.quantity for each in drawn.values()} - {""}:
        ax.set_ylabel(quantity)


# stores ------------------------------------------------------------------------------------------


def draw_lengths(ax: Axes, counted: Histogram, unit: str) -> None:
    """Draw how many arrays are how long, those without rows apart."""
    low, edges = float(counted.edges[0]), np.asarray(counted.edges, np.float64) - 0.5
    if counted.is_logarithmic:
        edges, half = edges + 0.5, low / 4
        _logarithmic(ax, edges)
    else:
        half = min(float(np.diff(edges[:2]).sum() or 1) / 2, low - 0.5)
    ax.bar(edges[:-1], counted.counts, width=np.diff(edges), align="edge")
    if counted.n_empty:
        empty = ax.bar([0], [counted.n_empty], width=2 * half, color=_GREY)
        _legend(ax, [empty], [f"{counted.n_empty:,} empty"])
    told = f"{counted.n_arrays:,} arrays"
    if counted.is_sample:
        told = f"a sample of {counted.n_counted:,} of {told}"
    ax.set(xlabel=f"{unit} of an array", ylabel="arrays", title=told)
    _whole_numbers(ax.yaxis)


def _logarithmic(ax: Axes, edges: Floats) -> None:
    """Take an axis that has a zero, too: it is even up to the first edge, and logarithmic from there."""
    ax.set_xscale("symlog", linthresh=edges[0])
    powers = 10.0 ** np.arange(np.ceil(np.log10(edges[0])), np.log10(edges[-1]) + 1)
    powers = powers[powers <= edges[-1]]
    ax.set_xticks([0, *powers[:: -(-len(powers) // _MOST_POWERS) or 1]])
    ax.set_xticks([], minor=True)
    ax.xaxis.set_major_formatter(_matplotlib("ticker").EngFormatter(sep=""))


def draw_growth(
    ax: Axes,
    n_arrays: npt.NDArray[np.int64],
    n_rows: npt.NDArray[np.int64],
    unit: str,
    row_nbytes: int,
) -> None:
    """Draw rows against arrays, and the same in bytes on the right if rows have another size than one."""
    ticker = _matplotlib("ticker")
    ax.plot(n_arrays, n_rows)
    ax.set(xlabel="arrays, in the order in which they were committed", ylabel=unit)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(ticker.EngFormatter(sep=""))
        _whole_numbers(axis)
    if row_nbytes > 1:
        right = ax.secondary_yaxis(
            "right", functions=(lambda rows: rows * row_nbytes, lambda nbytes: nbytes / row_nbytes)
        )
        right.yaxis.set_major_formatter(ticker.EngFormatter("B"))


def _whole_numbers(axis: Any) -> None:
    locator = axis.get_major_locator()
    if isinstance(locator, _matplotlib("ticker").MaxNLocator):
        locator.set_params(integer=True)
