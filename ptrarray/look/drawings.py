"""Each kind of array as elements of SVG, with or without axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ptrarray.look import axes
from ptrarray.look.axes import Ends
from ptrarray.look.colours import LINES
from ptrarray.look.curves import MARKS_HEIGHT, Box, Scale, curve, gaps, hatching, marks
from ptrarray.look.kinds import MOST_LINES, Kind
from ptrarray.look.numbers import Array
from ptrarray.look.pixels import Raster, heat_map, image, images
from ptrarray.look.reduced import Band, band
from ptrarray.look.words import lines_of

_LINE_HEIGHT, _CHARACTER_WIDTH = 14, 6.7
_FEWEST_BYTES = 1000  # of a PNG file
_LARGEST_FACTOR = 16  # by which pixels are enlarged


class Asked(NamedTuple):
    """What a picture is to be like, as `svg.picture` has it."""

    width: int
    height: int
    axes: bool
    first_row: int
    max_bytes: int | None
    max_png_bytes: int | None = None

    @property
    def whole(self) -> Box:
        """The picture but for a thin margin."""
        return Box(2, 3, max(self.width - 4, 1), max(self.height - 6, 1))


class Drawn(NamedTuple):
    """Elements of a picture, and what its caption says."""

    elements: str
    notes: tuple[str, ...] = ()
    sampled: bool = False


def drawn(array: Array, kind: Kind, asked: Asked) -> Drawn:
    """Return an array of at least one axis as the elements of one kind."""
    draw = _OF_KINDS.get(kind)
    return _words(array, kind, asked) if draw is None else draw(array, asked)


def _lines(array: Array, asked: Asked) -> Drawn:
    box = asked.whole
    if asked.axes:
        box = axes.inside(array, asked.width, asked.height, with_colours=False)
    n_pixels = max(int(box.width), 1)
    # Up to two values a pixel, each of them is a point of the line.
    n_points = len(array) if len(array) <= 2 * n_pixels else n_pixels
    found = _of_few_columns(array, n_points, asked.max_bytes)
    nothing = np.asarray(np.isnan(found.low).all(axis=1))
    some = np.asarray(found.left_out.any(axis=1)) & ~nothing
    higher = box._replace(height=box.height - MARKS_HEIGHT - 2) if some.any() else box
    ends, curves = _curves(array, found, higher, asked)
    around = axes.frame(box, _row_ends(array, asked), ends) if asked.axes else ""
    if asked.axes and found.low.shape[1] > 1:
        around += axes.columns(box, found.low.shape[1])
    notes = (*_span(ends), *_what_else(array, found))
    return Drawn(gaps(nothing, box) + marks(some, box) + curves + around, notes, found.sampled)


def _of_few_columns(array: Array, n_points: int, max_bytes: int | None) -> Band:
    rows = array[:, :MOST_LINES] if array.ndim == 2 else array
    found = band(rows, n_points, max_bytes=max_bytes)
    shape = len(found.low), -1
    low, high = found.low.reshape(shape), found.high.reshape(shape)
    return found._replace(low=low, high=high, left_out=found.left_out.reshape(shape))


def _curves(array: Array, found: Band, box: Box, asked: Asked) -> tuple[Ends, str]:
    if np.isnan(found.low).all():
        return Ends("", ""), ""
    scale = Scale(float(np.nanmin(found.low)), float(np.nanmax(found.high)))
    in_steps = array.dtype == bool and len(found.low) == found.edges[-1]
    of_columns = zip(found.low.T, found.high.T, LINES, strict=False)
    curves = "".join(
        curve(low, high, box, scale, colour, in_steps=in_steps) for low, high, colour in of_columns
    )
    zero = axes.zero(box, scale) if asked.axes else ""
    return axes.numbers(array, scale.low, scale.high), zero + curves


def _what_else(array: Array, found: Band) -> tuple[str, ...]:
    n_shown, n_across = found.low.shape[1], math.prod(array.shape[1:])
    columns = (f"{n_shown} of {n_across:,} columns",) if n_shown < n_across else ()
    return (*columns, *_left_out(int(found.left_out.sum()), sampled=found.sampled))


def _left_out(n_values: int, *, sampled: bool) -> tuple[str, ...]:
    if not n_values:
        return ()
    return ("some left out",) if sampled else (f"{n_values:,} left out",)


def _heat_map(array: Array, asked: Asked) -> Drawn:
    box = asked.whole
    if asked.axes:
        box = axes.inside(array, asked.width, asked.height, with_colours=True)
    found = _small_enough(heat_map, array, box, asked)
    ends = _colour_ends(array, found)
    elements = _raster(found, box, smooth=False)
    if asked.axes:
        n_across = math.prod(array.shape[1:])
        across = Ends("column 0", f"{n_across - 1:,}")
        elements += axes.frame(box, _row_ends(array, asked), across) + axes.colour_bar(box, ends)
    left_out = _left_out(found.n_left_out, sampled=found.sampled)
    notes = (*_span(ends, is_of_means=not found.is_whole), *left_out)
    return Drawn(elements, notes, found.sampled)


def _image(array: Array, asked: Asked) -> Drawn:
    found = _small_enough(image, array, asked.whole, asked)
    return _of_pixels(array, found, asked, ())


def _images(array: Array, asked: Asked) -> Drawn:
    found = _small_enough(images, array, asked.whole, asked)
    note = f"{found.n_shown:,} of {len(array):,}" if found.n_shown < len(array) else f"{len(array)}"
    return _of_pixels(array, found, asked, (f"{note} images",))


def _of_pixels(array: Array, found: Raster, asked: Asked, notes: tuple[str, ...]) -> Drawn:
    """Return pixels in their proportions, each as large as the others."""
    box = asked.whole
    factor = min(box.width / found.width, box.height / found.height, _LARGEST_FACTOR)
    kept = box._replace(width=found.width * factor, height=found.height * factor)
    elements = _raster(found, kept, smooth=not found.is_whole)
    left_out = _left_out(found.n_left_out, sampled=found.sampled)
    span = _span(_colour_ends(array, found), is_of_means=not found.is_whole)
    return Drawn(elements, (*notes, *span, *left_out), found.sampled)


def _raster(found: Raster, box: Box, *, smooth: bool) -> str:
    behind = hatching(box) if found.n_left_out else ""
    return behind + axes.raster(found.png, box, smooth=smooth)


def _small_enough(draw: Callable[..., Raster], array: Array, box: Box, asked: Asked) -> Raster:
    """Return a raster whose file has no more bytes than the picture has pixels."""
    width, height = max(int(box.width), 1), max(int(box.height), 1)
    most = asked.max_png_bytes or max(asked.width * asked.height, _FEWEST_BYTES)
    found = draw(array, width, height, max_bytes=asked.max_bytes)
    while len(found.png) > most and min(width, height) > 1:
        factor = min((most / len(found.png)) ** 0.5, 0.9)
        width, height = max(int(width * factor), 1), max(int(height * factor), 1)
        found = draw(array, width, height, max_bytes=asked.max_bytes)
    return found


def _tokens(array: Array, asked: Asked) -> Drawn:
    """Return ids as a text, with the line through them below."""
    n_above = asked.height * 2 // 5 // _LINE_HEIGHT * _LINE_HEIGHT
    line = _lines(array, asked._replace(height=asked.height - n_above))
    words = _words(array, "tokens", asked._replace(height=n_above + 6)) if n_above else Drawn("")
    lowered = f"<g transform='translate(0 {n_above})'>{line.elements}</g>"
    return Drawn(words.elements + lowered, line.notes, line.sampled)


def _words(array: Array, kind: Kind, asked: Asked) -> Drawn:
    box = asked.whole
    n_columns = max(int(box.width / _CHARACTER_WIDTH), 1)
    n_lines = max(int((box.height + 4) / _LINE_HEIGHT), 1)
    lines = lines_of(array, kind, n_columns, n_lines)
    return Drawn(
        "".join(
            axes.text(box.left, box.top + 10 + k * _LINE_HEIGHT, line, font="monospace")
            for k, line in enumerate(lines)
        )
    )


def _colour_ends(array: Array, found: Raster) -> Ends:
    if np.isnan(found.low):
        return Ends("", "")
    return axes.numbers(array, found.low, found.high)


def _row_ends(array: Array, asked: Asked) -> Ends:
    first, last = asked.first_row, asked.first_row + len(array) - 1
    return Ends(f"row {first:,}", f"{last:,}" if last > first else "")


def _span(ends: Ends, *, is_of_means: bool = False) -> tuple[str, ...]:
    if not ends.first:
        return ()
    told = ends.first if ends.first == ends.last else f"{ends.first} to {ends.last}"
    # What colours stand for may be far from the lowest and the highest value.
    return (f"means {told}" if is_of_means else told,)


_OF_KINDS: dict[Kind, Callable[[Array, Asked], Drawn]] = {
    "line": _lines,
    "lines": _lines,
    "heatmap": _heat_map,
    "image": _image,
    "images": _images,
    "tokens": _tokens,
    "nothing": lambda _array, _asked: Drawn(""),
}
