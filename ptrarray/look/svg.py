"""The picture of any array as SVG: the same in a notebook and in a browser."""

from __future__ import annotations

import base64
from collections.abc import Callable
from html import escape
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from ptrarray.look.colours import LINES, QUIET
from ptrarray.look.curves import Box, Scale, curve, gaps
from ptrarray.look.kinds import Kind, kind_of
from ptrarray.look.numbers import Array
from ptrarray.look.pixels import Raster, heat_map, image, images
from ptrarray.look.reduced import SAMPLE_BYTES, band
from ptrarray.look.words import lines_of

_LINE_HEIGHT, _CHARACTER_WIDTH = 14, 6.7


class Picture(NamedTuple):
    """A drawing of an array.

    Attributes
    ----------
    svg : str
        An SVG document, that may be put into HTML as it is, too: it has no styles, no
        scripts, no ids and no links but pixels as ``data:``.
    kind : str
        What was drawn, as in `kinds`.
    width, height : int
        In pixels.
    caption : str
        The range of the numbers, and what else has to be said: that values are left out, or
        that only a sample was read. Plain text; it may be empty.
    sampled : bool
        Whether not all values were read.
    """

    svg: str
    kind: Kind
    width: int
    height: int
    caption: str
    sampled: bool

    @property
    def source(self) -> str:
        """The drawing as a URL, for the attribute `src` between double quotes."""
        return "data:image/svg+xml," + quote(self.svg, safe=" =:/,.-';+()")

    def img(self, alt: str) -> str:
        """Return the drawing as an element of HTML that also lives where SVG is stripped."""
        size = f"width='{self.width}' height='{self.height}'".replace("'", '"')
        return f'<img {size} alt="{escape(alt)}" src="{self.source}">'


def picture(
    array: Array,
    width: int = 160,
    height: int = 36,
    *,
    kind: Kind | None = None,
    axes: bool = False,
    first_row: int = 0,
    max_bytes: int | None = SAMPLE_BYTES,
) -> Picture:
    """Draw an array of any dtype and shape.

    Parameters
    ----------
    array : ndarray or MaskedArray, shape (n, ...)
    width, height : int
        Of the picture, in pixels.
    kind : str, optional
        As what to draw it, one of `kinds_of(array)`. Default: what it looks like.
    axes : bool
        Whether to write the lowest and the highest number, and the first and the last row, beside it.
    first_row : int
        What to call the first row, if the array is a part of another one.
    max_bytes : int, optional
        Read no more than about that, evenly spaced; the picture's caption says so. None reads
        all, in blocks.

    Returns
    -------
    Picture

    Examples
    --------
    >>> drawn = picture(np.sin(np.arange(1000) / 50))
    >>> drawn.kind, drawn.caption
    ('line', '-1 to 1')
    """
    chosen = kind_of(array) if kind is None else kind
    return _drawn(array, width, height, chosen, axes, first_row, max_bytes)


class _Part(NamedTuple):
    """What was drawn into a box: elements, and what the labels and the caption say."""

    elements: str
    low: str = ""
    high: str = ""
    notes: tuple[str, ...] = ()
    sampled: bool = False


def _drawn(
    array: Array,
    width: int,
    height: int,
    kind: Kind,
    axes: bool,
    first_row: int,
    max_bytes: int | None,
) -> Picture:
    rows = array.reshape(1) if array.ndim == 0 else array
    inside = kind in ("line", "lines", "heatmap")
    box = _inside(rows, width, height) if axes and inside else Box(2, 3, width - 4, height - 6)
    part = _PARTS[kind](rows, box, max_bytes)
    labels = _labels(part, rows, box, first_row) if axes and inside else ""
    spans = f"{part.low} to {part.high}" if part.low != part.high else part.low
    notes = (*((spans,) if part.low else ()), *part.notes, *(("a sample",) if part.sampled else ()))
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' "
        f"viewBox='0 0 {width} {height}'>{part.elements}{labels}</svg>"
    )
    return Picture(svg, kind, width, height, ", ".join(notes), part.sampled)


def _line(array: Array, box: Box, max_bytes: int | None) -> _Part:
    rows = array.reshape(len(array), -1) if array.ndim > 1 else array[:, np.newaxis]
    n_values, n_pixels = len(rows), max(int(box.width), 1)
    # Up to two values a pixel a line shows each of them.
    n_drawn = n_values if n_values <= 2 * n_pixels else n_pixels
    drawn = band(rows, n_drawn, max_bytes=max_bytes)
    missing = np.isnan(drawn.low)
    shades = gaps(np.asarray(missing.all(axis=1)), np.asarray(drawn.left_out.any(axis=1)), box)
    notes = _left_out(int(drawn.left_out.sum()), drawn.sampled)
    if missing.all():
        return _Part(shades, notes=notes, sampled=drawn.sampled)
    low, high = float(np.nanmin(drawn.low)), float(np.nanmax(drawn.high))
    curves = "".join(
        curve(drawn.low[:, k], drawn.high[:, k], box, Scale(low, high), LINES[k % len(LINES)])
        for k in range(rows.shape[1])
    )
    ends = _number(low, array), _number(high, array)
    return _Part(shades + curves, *ends, notes=notes, sampled=drawn.sampled)


def _heat_map(array: Array, box: Box, max_bytes: int | None) -> _Part:
    rows = array.reshape(len(array), -1)
    raster = heat_map(rows, int(box.width), int(box.height), max_bytes=max_bytes)
    elements = _pixels(raster, box)
    if np.isnan(raster.low):
        return _Part(elements, notes=("no numbers",), sampled=raster.sampled)
    ends = _number(raster.low, array), _number(raster.high, array)
    return _Part(elements, *ends, sampled=raster.sampled)


def _image(array: Array, box: Box, max_bytes: int | None) -> _Part:
    raster = image(array, int(box.width), int(box.height), max_bytes=max_bytes)
    return _Part(_pixels(raster, box, kept=True), sampled=raster.sampled)


def _images(array: Array, box: Box, max_bytes: int | None) -> _Part:
    raster = images(array, int(box.width), int(box.height), max_bytes=max_bytes)
    return _Part(_pixels(raster, box, kept=True), sampled=raster.sampled)


def _text(array: Array, box: Box, kind: str) -> _Part:
    n_columns = max(int(box.width / _CHARACTER_WIDTH), 1)
    n_lines = max(int(box.height / _LINE_HEIGHT), 1)
    lines = lines_of(array, kind, n_columns, n_lines)
    told = "".join(
        f"<text x='{box.left}' y='{box.top + 11 + k * _LINE_HEIGHT}' xml:space='preserve' "
        f"font-family='monospace' font-size='11' fill='{QUIET}'>{escape(line)}</text>"
        for k, line in enumerate(lines)
    )
    return _Part(told)


_PARTS: dict[Kind, Callable[[Array, Box, int | None], _Part]] = {
    "line": _line,
    "lines": _line,
    "heatmap": _heat_map,
    "image": _image,
    "images": _images,
    "text": lambda array, box, _: _text(array, box, "text"),
    "tokens": lambda array, box, _: _text(array, box, "tokens"),
    "table": lambda array, box, _: _text(array, box, "table"),
    "bytes": lambda array, box, _: _text(array, box, "bytes"),
    "nothing": lambda _array, _box, _: _Part(""),
}


def _pixels(raster: Raster, box: Box, *, kept: bool = False) -> str:
    """Return pixels as an element that fills a box, or keeps its proportions in it."""
    width, height = box.width, box.height
    if kept:
        factor = min(width / raster.width, height / raster.height)
        width, height = raster.width * factor, raster.height * factor
    content = base64.b64encode(raster.png).decode()
    return (
        f"<image x='{box.left}' y='{box.top}' width='{width:.1f}' height='{height:.1f}' "
        f"preserveAspectRatio='none' image-rendering='pixelated' "
        f"href='data:image/png;base64,{content}'/>"
    )


def _left_out(n_values: int, sampled: bool) -> tuple[str, ...]:
    if not n_values:
        return ()
    return ("some left out",) if sampled else (f"{n_values:,} left out",)


def _number(number: float, array: Array) -> str:
    if array.dtype.kind in "mM":
        unit = np.datetime_data(array.dtype)[0]
        return str(np.array(int(number)).astype(f"{array.dtype.kind}8[{unit}]"))
    return f"{int(number)}" if number == int(number) and abs(number) < 1e6 else f"{number:.4g}"


def _inside(array: Array, width: int, height: int) -> Box:
    left = 130 if array.dtype.kind in "mM" else 64
    return Box(left, 8, max(width - left - 10, 1), max(height - 28, 1))


def _labels(part: _Part, array: Array, box: Box, first_row: int) -> str:
    right, bottom = box.left + box.width, box.top + box.height
    told = [
        (box.left - 6, box.top + 8, "end", part.high),
        (box.left - 6, bottom, "end", part.low if part.low != part.high else ""),
        (box.left, bottom + 14, "start", f"row {first_row:,}"),
        (right, bottom + 14, "end", f"{first_row + len(array) - 1:,}" if len(array) > 1 else ""),
    ]
    frame = f"M{box.left - 2} {box.top}V{bottom + 2}H{right}"
    return f"<path d='{frame}' fill='none' stroke='{QUIET}' stroke-opacity='.5'/>" + "".join(
        f"<text x='{x}' y='{y}' text-anchor='{anchor}' font-family='sans-serif' font-size='11' "
        f"fill='{QUIET}'>{escape(text)}</text>"
        for x, y, anchor, text in told
        if text
    )
