"""Lines through numbers as paths of SVG: filled where a pixel has several, with gaps and dots."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.look.colours import QUIET
from ptrarray.look.numbers import Floats, shares

Bools = npt.NDArray[np.bool_]

MARKS_HEIGHT = 3.0
_NARROWEST = 1.5  # what is left out of one pixel among many should be seen
_HATCHES_APART = 6
_DOTS_APART = 8  # pixels between values, from which on each of them has a dot
# Whole tenths of a pixel, each relative to the last point, are the shortest paths.
_TENTHS = 10
_ROUNDED = "stroke-linecap='round' stroke-linejoin='round'"


class Box(NamedTuple):
    """Where in a picture something is drawn, in pixels."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.top + self.height


class Scale(NamedTuple):
    """Which numbers are at the bottom and at the top of a box."""

    low: float
    high: float

    def heights(self, numbers: Floats, box: Box) -> Floats:
        """Return the vertical positions of numbers; the middle if there is but one."""
        return box.top + (1 - shares(numbers, self.low, self.high)) * box.height


def curve(
    low: Floats, high: Floats, box: Box, scale: Scale, colour: str, *, in_steps: bool = False
) -> str:
    """Return the elements of a line from low to high of each pixel.

    NaN leaves a gap. What has gaps on both sides is a dot, and so is each value of a few.
    """
    tops, bottoms = scale.heights(high, box), scale.heights(low, box)
    at = _positions(len(low), box)
    lines, fills, dots = [], [], []
    for first, last in _runs(~np.isnan(low)):
        xs, ys, ends = at[first:last], tops[first:last], bottoms[first:last]
        if (ys != ends).any():
            fills.append(_path(np.r_[xs, xs[::-1]], np.r_[ys, ends[::-1]]) + "z")
        elif in_steps:
            lines.append(_steps(xs, ys, box, len(low)))
        elif last - first > 1:
            lines.append(_path(xs, ys))
        if (last - first == 1 or _far_apart(len(low), box)) and not in_steps:
            dots += [_path(xs[k : k + 1], ys[k : k + 1]) + "h0" for k in np.flatnonzero(ys == ends)]
    stroke = f"stroke='{colour}' {_ROUNDED}"
    return (
        _element(fills, f"fill='{colour}' fill-opacity='.4' {stroke} stroke-width='9'")
        + _element(lines, f"fill='none' {stroke} stroke-width='14'")
        + _element(dots, f"fill='none' {stroke} stroke-width='38'")
    )


def gaps(missing: Bools, box: Box) -> str:
    """Return the element that shades pixels from which all values are left out."""
    return _rectangles(missing, box, f"fill='{QUIET}' fill-opacity='.25'")


def hatching(box: Box) -> str:
    """Return the elements of a shade with lines, which shows through where pixels are clear."""
    right, bottom = box.width, box.height
    lines = []
    for at in range(_HATCHES_APART, int(right + bottom), _HATCHES_APART):
        # Of the line from the left edge to the upper one, what is in the box.
        x, y = max(at - bottom, 0), min(at, bottom)
        length = min(at, right) - x
        lines.append(f"M{box.left + x:g} {box.top + y:g}l{length:g} {-length:g}")
    shade = f"M{box.left:g} {box.top:g}h{right:.1f}v{bottom:.1f}h-{right:.1f}z"
    return (
        f"<path d='{shade}' fill='{QUIET}' fill-opacity='.25'/>"
        f"<path d='{''.join(lines)}' fill='none' stroke='{QUIET}' stroke-opacity='.6'/>"
    )


def marks(missing: Bools, box: Box) -> str:
    """Return the element that marks pixels from which some values are left out, at the bottom."""
    strip = Box(box.left, box.bottom - MARKS_HEIGHT, box.width, MARKS_HEIGHT)
    return _rectangles(missing, strip, f"fill='{QUIET}' fill-opacity='.8'")


def _positions(n_pixels: int, box: Box) -> Floats:
    if n_pixels == 1:
        return np.array([box.left + box.width / 2])
    return np.linspace(box.left, box.right, n_pixels)


def _edges(n_pixels: int, box: Box) -> Floats:
    """Return where each pixel begins, halfway from the last one, and where the last one ends."""
    at = _positions(n_pixels, box)
    return np.concatenate([[box.left], (at[1:] + at[:-1]) / 2, [box.right]])


def _far_apart(n_pixels: int, box: Box) -> bool:
    return n_pixels * _DOTS_APART <= box.width


def _rectangles(kept: Bools, box: Box, look: str) -> str:
    edges, paths = _edges(len(kept), box), []
    for first, last in _runs(kept):
        width = max(edges[last] - edges[first], _NARROWEST)
        left = min(edges[first], box.right - width)
        paths.append(f"M{left:.1f} {box.top:g}h{width:.1f}v{box.height:g}h-{width:.1f}z")
    return f"<path d='{''.join(paths)}' {look}/>" if paths else ""


def _runs(kept: Bools) -> list[tuple[int, int]]:
    """Return where stretches of true begin and end."""
    turns = np.flatnonzero(np.diff(np.r_[False, kept, False].astype(np.int8)))
    return [(int(first), int(last)) for first, last in turns.reshape(-1, 2)]


def _steps(xs: Floats, ys: Floats, box: Box, n_pixels: int) -> str:
    half = box.width / max(n_pixels - 1, 1) / 2
    both = np.clip(np.stack([xs - half, xs + half], axis=1).reshape(-1), box.left, box.right)
    return _path(both, np.repeat(ys, 2))


def _path(xs: Floats, ys: Floats) -> str:
    points = np.round(np.stack([xs, ys], axis=1) * _TENTHS).astype(np.int64)
    numbers = np.diff(points, axis=0).reshape(-1).tolist()
    # A minus parts two numbers as well as a space does.
    moves = "".join(f"{number}" if number < 0 else f" {number}" for number in numbers)
    return f"M{points[0, 0]} {points[0, 1]}" + (f"l{moves.lstrip()}" if numbers else "")


def _element(paths: list[str], look: str) -> str:
    return f"<path transform='scale(.1)' d='{''.join(paths)}' {look}/>" if paths else ""
