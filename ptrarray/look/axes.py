"""What is written around a drawing: the ends of its axes, and what its colours mean."""

from __future__ import annotations

import base64
from html import escape
from typing import NamedTuple

import numpy as np

from ptrarray.look.colours import LINES, QUIET, palette
from ptrarray.look.curves import Box, Scale
from ptrarray.look.numbers import Array
from ptrarray.look.png import png

FONT_SIZE = 11
_BELOW, _ABOVE, _BAR = 18, 8, 10
_MARGIN, _MARGIN_OF_DATES = 62, 126
_EXACT = 10**7
_ALL_DIGITS = 10**15
_CHARACTER_WIDTH = 6.2
_LATEST = 2.0**63 - 1024  # the largest float64 that int64 has, too
_FINER_THAN_SECONDS = ("ms", "us", "ns", "ps", "fs", "as")


class Ends(NamedTuple):
    """What is written at both ends of an axis."""

    first: str
    last: str


def inside(array: Array, width: int, height: int, *, with_colours: bool) -> Box:
    """Return where between its axes something is drawn."""
    left = _MARGIN_OF_DATES if array.dtype.kind in "mM" else _MARGIN
    right = left + 22 if with_colours else 10
    return Box(left, _ABOVE, max(width - left - right, 8), max(height - _ABOVE - _BELOW, 8))


def numbers(array: Array, low: float, high: float) -> Ends:
    """Return two numbers of an array as text, which tells them apart; dates in no finer unit than that.

    Examples
    --------
    >>> numbers(np.zeros(1), -2.0, 1 / 3)
    Ends(first='-2', last='0.3333')
    >>> numbers(np.zeros(1), 1.7e9, 1.7e9 + 3600), numbers(np.zeros(1), 1.0, 1.0001)
    (Ends(first='1700000000', last='1700003600'), Ends(first='1', last='1.0001'))
    >>> numbers(np.zeros(1, "M8[ns]"), 0, 9e13)
    Ends(first='1970-01-01T00:00:00', last='1970-01-02T01:00:00')
    """
    if array.dtype.kind not in "mM":
        found = Ends(_number(low), _number(high))
        return (
            _apart(low, high) if low < high and float(found.first) == float(found.last) else found
        )
    ends = np.array([low, high]).clip(-_LATEST, _LATEST).astype(np.int64)
    times = ends.astype(array.dtype.newbyteorder("="))
    if np.datetime_data(array.dtype)[0] in _FINER_THAN_SECONDS:
        seconds = times.astype(f"{array.dtype.kind}8[s]")
        times = seconds if seconds[1] > seconds[0] else times
    return Ends(*(str(time) for time in times))


def _apart(low: float, high: float) -> Ends:
    """Return two numbers whose first digits are the same as text: whole ones with all they have."""
    if all(number == np.trunc(number) and abs(number) < _ALL_DIGITS for number in (low, high)):
        return Ends(f"{int(low)}", f"{int(high)}")
    n = next(n for n in range(5, 18) if f"{low:.{n}g}" != f"{high:.{n}g}")
    n = min(n + 1, 17)  # apart by more than how they are rounded
    return Ends(f"{low:.{n}g}", f"{high:.{n}g}")


def _number(number: float) -> str:
    exact = number == np.trunc(number) and abs(number) < _EXACT
    return f"{int(number)}" if exact else f"{number:.4g}"


def frame(box: Box, rows: Ends, across: Ends) -> str:
    """Return the elements of two axes: `across` beside them, `rows` below."""
    beside = box.left - 8
    line = f"M{box.left - 2:g} {box.top:g}V{box.bottom + 2:g}H{box.right:g}"
    return (
        f"<path d='{line}' fill='none' stroke='{QUIET}' stroke-opacity='.5'/>"
        + text(box.left - 6, box.top + FONT_SIZE - 3, across.last, anchor="end", most=beside)
        + text(box.left - 6, box.bottom, across.first, anchor="end", most=beside)
        + text(box.left, box.bottom + 15, rows.first)
        + text(box.right, box.bottom + 15, rows.last, anchor="end")
    )


def zero(box: Box, scale: Scale) -> str:
    """Return the element of a line at zero, if that is between the ends."""
    if not scale.low < 0 < scale.high:
        return ""
    height = float(scale.heights(np.zeros(1), box)[0])
    line = f"M{box.left:g} {height:.1f}H{box.right:g}"
    return f"<path d='{line}' fill='none' stroke='{QUIET}' stroke-opacity='.3'/>"


def columns(box: Box, n_columns: int) -> str:
    """Return the element that says which colour each column has."""
    names = "".join(
        f"<tspan dx='6' fill='{colour}'>{k}</tspan>" for k, colour in enumerate(LINES[:n_columns])
    )
    middle = box.left + box.width / 2
    return (
        f"<text x='{middle:g}' y='{box.bottom + 15:g}' text-anchor='middle' "
        f"font-family='sans-serif' font-size='{FONT_SIZE}' fill='{QUIET}'>column{names}</text>"
    )


def colour_bar(box: Box, ends: Ends) -> str:
    """Return the elements that say which numbers the colours are, at the right of a box."""
    bar = Box(box.right + 10, box.top, _BAR, box.height)
    beside = box.left - 5  # as wide as the margin on the left
    shades = palette(32)[:0:-1, np.newaxis, :3]
    return (
        raster(png(shades), bar, smooth=True)
        + text(bar.right + 5, bar.top + FONT_SIZE - 3, ends.last, most=beside)
        + text(bar.right + 5, bar.bottom, ends.first, most=beside)
    )


def raster(content: bytes, box: Box, *, smooth: bool) -> str:
    """Return the element of a PNG file that fills a box."""
    rendering = "auto" if smooth else "pixelated"
    return (
        f"<image x='{box.left:g}' y='{box.top:g}' width='{box.width:.1f}' "
        f"height='{box.height:.1f}' preserveAspectRatio='none' image-rendering='{rendering}' "
        f"href='data:image/png;base64,{base64.b64encode(content).decode()}'/>"
    )


def text(
    x: float,
    y: float,
    content: str,
    *,
    anchor: str = "start",
    font: str = "sans-serif",
    most: float = np.inf,
) -> str:
    """Return the element of a text, that begins or ends at a point; none for no text.

    One that would be wider than so many pixels is made narrower.
    """
    if not content:
        return ""
    if len(content) * _CHARACTER_WIDTH > most:
        anchor += f"' textLength='{most:g}' lengthAdjust='spacingAndGlyphs"
    return (
        f"<text x='{x:g}' y='{y:g}' text-anchor='{anchor}' font-family='{font}' "
        f"font-size='{FONT_SIZE}' fill='{QUIET}' xml:space='preserve'>{escape(content)}</text>"
    )
