"""Bands as paths of SVG."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.look.colours import QUIET
from ptrarray.look.numbers import Floats

# Whole tenths of a pixel, relative to the last point, are the shortest paths.
_TENTHS = 10
_STRIP = 2.5


class Box(NamedTuple):
    """Where in a picture something is drawn, in pixels."""

    left: float
    top: float
    width: float
    height: float


class Scale(NamedTuple):
    """Which numbers are at the bottom and at the top of a box."""

    low: float
    high: float

    def heights(self, numbers: Floats, box: Box) -> Floats:
        """Return the vertical positions of numbers; the middle if there is but one."""
        span = self.high - self.low
        if span <= 0:
            return np.where(np.isnan(numbers), np.nan, box.top + box.height / 2)
        # Divided first: the difference of two numbers of float64 may be infinite.
        shares = numbers / span - self.low / span
        return box.top + (1 - shares) * box.height


def curve(low: Floats, high: Floats, box: Box, scale: Scale, colour: str) -> str:
    """Return the elements of a line through numbers, filled where a pixel has several.

    NaN leaves a gap. What has gaps on both sides is a dot.
    """
    at = _positions(len(low), box)
    tops, bottoms = scale.heights(high, box), scale.heights(low, box)
    lines, fills, dots = [], [], []
    for first, last in _runs(~np.isnan(low)):
        run = slice(first, last)
        if last - first == 1 and tops[first] == bottoms[first]:
            dots.append(_path(at[run], tops[run]) + "h0")
        elif (tops[run] == bottoms[run]).all():
            lines.append(_path(at[run], tops[run]))
        else:
            both = np.r_[at[run], at[run][::-1]], np.r_[tops[run], bottoms[run][::-1]]
            fills.append(_path(*both) + "z")
    drawn = [
        _element(fills, f"fill='{colour}' fill-opacity='.35' stroke='{colour}' stroke-width='8'"),
        _element(lines, f"fill='none' stroke='{colour}' stroke-width='14'"),
        _element(dots, f"fill='none' stroke='{colour}' stroke-width='38'"),
    ]
    return "".join(drawn)


def gaps(all_missing: npt.NDArray[np.bool_], any_missing: npt.NDArray[np.bool_], box: Box) -> str:
    """Return the elements that show where values are left out: a shade, or a mark at the bottom."""
    n_pixels = len(all_missing)
    shades = "".join(_rectangle(run, n_pixels, box, box.height) for run in _runs(all_missing))
    marks = "".join(
        _rectangle(run, n_pixels, box, _STRIP) for run in _runs(any_missing & ~all_missing)
    )
    drawn = f"<path d='{shades}' fill='{QUIET}' fill-opacity='.25'/>" if shades else ""
    return drawn + (f"<path d='{marks}' fill='{QUIET}' fill-opacity='.8'/>" if marks else "")


def _positions(n_pixels: int, box: Box) -> Floats:
    return box.left + (np.arange(n_pixels) + 0.5) * box.width / n_pixels


def _rectangle(run: tuple[int, int], n_pixels: int, box: Box, height: float) -> str:
    left, right = (box.left + edge * box.width / n_pixels for edge in run)
    wide, bottom = max(right - left, 0.8), box.top + box.height
    return f"M{left:.1f} {bottom - height:.1f}h{wide:.1f}v{height:.1f}h-{wide:.1f}z"


def _runs(kept: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    turns = np.flatnonzero(np.diff(np.r_[False, kept, False].astype(np.int8)))
    return [(int(first), int(last)) for first, last in turns.reshape(-1, 2)]


def _path(xs: Floats, ys: Floats) -> str:
    points = np.round(np.stack([xs, ys], axis=1) * _TENTHS).astype(np.int64)
    steps = np.diff(points, axis=0)
    (x, y), moves = points[0].tolist(), steps.tolist()
    # A minus parts two numbers as well as a space does.
    told = "".join(f"{dx}{dy}" if dy < 0 else f"{dx} {dy}" for dx, dy in _spaced(moves))
    return f"M{x} {y}" + (f"l{told}" if told else "")


def _spaced(moves: list[list[int]]) -> list[tuple[str, int]]:
    return [(str(dx) if dx < 0 or not at else f" {dx}", dy) for at, (dx, dy) in enumerate(moves)]


def _element(paths: list[str], look: str) -> str:
    if not paths:
        return ""
    rounded = "stroke-linecap='round' stroke-linejoin='round'"
    return f"<path transform='scale(.1)' d='{''.join(paths)}' {look} {rounded}/>"
