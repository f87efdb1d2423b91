"""One array as a drawing of characters: lines by uniplot, heat maps and images as blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ptrarray.cli import screen
from ptrarray.cli.printing import printable
from ptrarray.errors import import_extra
from ptrarray.look import axes
from ptrarray.look.colours import levels, palette
from ptrarray.look.kinds import kind_of
from ptrarray.look.numbers import Array, Floats, shares
from ptrarray.look.reduced import Band, band, cells
from ptrarray.look.words import lines_of

_ASCII = str.maketrans("┌┐└┘─│", "++++-|")
_SHADES = "░▒▓█"
_ASCII_SHADES = ".:*#"
_N_COLOURS = 255
# Between these powers of ten, uniplot writes labels of the axis in full, and squares no infinity.
_POWERS = range(-6, 9)
_WITH_LABELS = 40  # columns that a drawing with an axis of numbers needs
_NOTHING = "nothing to draw: no finite numbers"


def draw(array: Array, n_columns: int, n_lines: int) -> None:
    """Print an array as what it looks like: a line, a few of them, a heat map, images, or text.

    Parameters
    ----------
    array : ndarray or MaskedArray
        What is masked, NaN or infinite is left out: a gap in a line, a blank in a picture.
    n_columns, n_lines : int
        Of the drawing; captions and the frame of lines come on top.

    Raises
    ------
    ImportError
        If what draws is not installed.
    """
    uniplot = import_extra("uniplot", screen.MISSING)
    array = array.reshape(1) if array.ndim == 0 else array
    kind = kind_of(array)
    if kind == "nothing":
        print("nothing to draw: no values")
    elif kind in ("line", "lines", "tokens"):
        _draw_lines(uniplot, array.reshape(len(array), -1), n_columns, n_lines)
    elif kind == "heatmap":
        _draw_heat_map(array.reshape(len(array), -1), n_columns, 2 * n_lines)
    elif kind in ("image", "images"):
        _draw_images(array if kind == "images" else array[np.newaxis], n_columns, 2 * n_lines)
    else:
        print("\n".join(map(printable, lines_of(array, kind, n_columns, n_lines))))


# Lines --------------------------------------------------------------------------------------------


def _draw_lines(uniplot: Any, columns: Array, n_columns: int, n_lines: int) -> None:
    drawn = band(columns, 2 * n_columns)
    xs, ys = _points(drawn)
    if np.isnan(ys).all():
        print(_NOTHING)
        return
    power = math.floor(math.log10(np.nanmax(np.abs(ys)) or 1))
    if power in _POWERS:
        power = 0
    power = max(power, -300)
    has_labels = n_columns >= _WITH_LABELS and not _is_of_times(
        columns
    )  # as numbers, these say nothing
    # uniplot takes no line without a number.
    scaled = {n: y for n, y in enumerate((ys / 10.0**power).T) if not np.isnan(y).all()}
    text = _plotted(uniplot, xs, scaled, len(columns), n_columns, n_lines, has_labels=has_labels)
    print(text)
    if _is_of_times(columns):
        ends = axes.numbers(columns, float(np.nanmin(ys)), float(np.nanmax(ys)))
        print(f"below {ends.first}\nabove {ends.last}")
    elif power:
        print(f"in units of 1e{power}")
    _tell_absolute(columns)
    _tell_left_out(drawn.left_out, columns.size)


def _points(drawn: Band) -> tuple[Array, Floats]:
    """Return where the lowest and the highest of each pixel are, by turns."""
    n_rows = int(drawn.edges[-1])
    if len(drawn.low) == n_rows:
        return drawn.edges[:-1], drawn.low
    both = np.stack([drawn.low, drawn.high], 1)
    return np.repeat(drawn.edges[:-1], 2), both.reshape(-1, drawn.low.shape[1])


def _plotted(
    uniplot: Any,
    xs: Array,
    lines: Mapping[int, Floats],
    n_rows: int,
    n_columns: int,
    n_lines: int,
    *,
    has_labels: bool,
) -> str:
    ys = list(lines.values())
    low, high = float(np.nanmin(ys)), float(np.nanmax(ys))
    if high - low <= 1e-12 * max(abs(low), abs(high)):  # a line in the middle
        half = max(abs(low), 1) / 2
        low, high = low - half, high + half
    has_unicode = screen.has_unicode()
    tells_apart = len(ys) > 1 and screen.coloured() is not None
    text: str = uniplot.plot_to_string(
        xs=[xs] * len(ys),
        ys=ys,
        lines=True,
        width=n_columns,
        line_length_hard_cap=n_columns,
        height=n_lines,
        x_min=0,
        x_max=max(n_rows - 1, 1),
        y_min=low,
        y_max=high,
        x_gridlines=[],
        y_gridlines=[],
        y_labels=has_labels,
        character_set="block" if has_unicode else "ascii",
        color=tells_apart,
        legend_labels=list(map(str, lines)) if tells_apart else None,
    )
    return text if has_unicode else text.translate(_ASCII)


def _is_of_times(array: Array) -> bool:
    return array.dtype.kind in "mM"


def _tell_absolute(array: Array) -> None:
    if array.dtype.kind == "c":
        print("absolute values of complex numbers")


def _tell_left_out(counts: Array, n_values: int) -> None:
    n_left_out = int(counts.sum())
    if n_left_out:
        print(f"{n_left_out:,} of {n_values:,} values are left out")


# Pictures -----------------------------------------------------------------------------------------


class _Picture(NamedTuple):
    """Pixels, two of them above each other in each character."""

    shares: Floats  # (H, W), from 0 (dark) to 1 (bright); NaN where nothing is drawn
    colours: Array  # (H, W, 3), uint8


def _draw_heat_map(table: Array, width: int, height: int) -> None:
    reduced = cells(table, width, height)
    means = reduced.means.T[::-1]  # rows go to the right, columns upwards
    low, high = _range(means)
    colours = palette(_N_COLOURS)[levels(means, low, high, _N_COLOURS)][:, :, :3]
    _print_picture(_Picture(shares(means, low, high), colours))
    if not np.isnan(means).all():
        ends = axes.numbers(table, low, high)
        what = "from" if reduced.means.shape == table.shape else "means"
        print(f"{what} {ends.first} (dark) to {ends.sum} (bright)")
        print("rows go to the right, columns upwards")
        _tell_absolute(table)
    _tell_left_out(reduced.left_out, table.size)


def _range(means: Floats) -> tuple[float, float]:
    known = means[~np.isnan(means)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)


def _draw_images(images: Array, width: int, height: int) -> None:
    """Draw as many images side by side as there fit, evenly spaced."""
    first, left_out = _image(images[0], width, height)
    n_shown = max(min(len(images), (width + 1) // (first.shares.shape[1] + 1)), 1)
    shown = [first]
    for number in range(1, n_shown):
        picture, n_clear = _image(images[len(images) * number // n_shown], width, height)
        shown += [_gap(picture), picture]
        left_out += n_clear
    bright, colours = (np.concatenate(parts, axis=1) for parts in zip(*shown, strict=True))
    _print_picture(_Picture(bright, colours))
    if n_shown < len(images):
        print(f"{n_shown:,} of {len(images):,} images, evenly spaced")
    _tell_left_out(left_out, n_shown * images[0].size)


def _gap(beside: _Picture) -> _Picture:
    return _Picture(np.full_like(beside.shares[:, :1], np.nan), beside.colours[:, :1])


def _image(image: Array, width: int, height: int) -> tuple[_Picture, Array]:
    """Return an image in no more pixels than that, and how many of its values are left out."""
    factor = min(1.0, width / image.shape[1], height / image.shape[0])
    n_rows, n_columns = (max(round(side * factor), 1) for side in image.shape[:2])
    channels = image.reshape(*image.shape[:2], -1)
    drawn = [cells(channels[:, :, c], n_rows, n_columns) for c in range(channels.shape[2])]
    means = np.stack([channel.means for channel in drawn], axis=2)
    if means.shape[2] == 4:  # of RGBA
        means = np.where(means[:, :, 3:] < 128, np.nan, means[:, :, :3])
    if image.dtype != np.uint8:
        means = 255 * shares(means, *_range(means))
    clear = np.asarray(np.isnan(means).any(axis=2))
    bright = np.where(clear, np.nan, means.mean(axis=2) / 255)
    colours = np.broadcast_to(np.where(clear[:, :, None], 0, means), (*clear.shape, 3))
    left_out = np.array([channel.left_out.sum() for channel in drawn])
    return _Picture(bright, colours.round().astype(np.uint8)), left_out


def _print_picture(picture: _Picture) -> None:
    """Print two rows of pixels in each line: in colours on a terminal, else as shades."""
    if np.isnan(picture.shares).all():
        print(_NOTHING)
        return
    if len(picture.shares) % 2:
        picture = _Picture(*(np.concatenate([part, part[-1:]]) for part in picture))
        picture.shares[-1] = np.nan
    console = screen.coloured()
    if console is None:
        print("\n".join(_shaded(picture.shares)))
    else:
        screen.print_blocks(console, ~np.isnan(picture.shares), picture.colours)


def _shaded(shares: Floats) -> list[str]:
    upper, lower = shares[::2], shares[1::2]
    both = np.where(np.isnan(lower), upper, np.where(np.isnan(upper), lower, upper / 2 + lower / 2))
    shades = " " + (_SHADES if screen.has_unicode() else _ASCII_SHADES)
    numbers = np.where(np.isnan(both), 0, 1 + np.minimum(both * len(_SHADES), len(_SHADES) - 1))
    return ["".join(shades[int(n)] for n in row).rstrip() for row in numbers]
