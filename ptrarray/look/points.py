"""Arrays as points of lines, few enough to be drawn: what an axis shows of them, and where values are left out."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.look.numbers import Array, Floats
from ptrarray.look.reduced import band

# As many are more than a screen has; of twice as many values each is a point.
N_POINTS = 2000

# Numbers above are told in units of it: differences of larger ones are infinite.
_HUGE = 1e300
_SECONDS = {
    "W": 604800.0,
    "D": 86400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "ns": 1e-9,
    "ps": 1e-12,
    "fs": 1e-15,
    "as": 1e-18,
}
_UNITS = {"Y": "years", "M": "months", "W": "weeks", "D": "days", "h": "hours", "m": "minutes"}
_YEAR = 365.2425 * _SECONDS["D"]
# Dates that there can be on an axis, which goes on beyond those drawn.
_FIRST_YEAR, _LAST_YEAR = 1, 9999
_FURTHER = 0.1, 3.0  # of their span, and years

Spans = npt.NDArray[np.float64]  # shape (n, 2): from where to where


class Curves(NamedTuple):
    """Values that follow each other as points of lines.

    Attributes
    ----------
    x : float64, shape (n_points,)
        Rows; of several that are one pixel, the middle.
    y : ndarray of float64 or datetime64, shape (n_points, n_lines)
        NaN or NaT where nothing is drawn. Of several rows the lowest and the highest, or the
        other way around, at the same `x`.
    quantity : str
        What is along the y axis, if it is anything but the numbers themselves.
    alone : ndarray of bool, shape (n_points, n_lines)
        Points that nothing is drawn on either side of, which no line shows.
    missing, thinned : float64, shape (n, 2)
        From where to where along x no values are drawn, and only some of them.
    n_left_out : int
        Values that are not drawn: masked, missing or infinite.
    is_stepped : bool
        Whether there is nothing between two values.
    """

    x: Floats
    y: Array
    quantity: str
    alone: npt.NDArray[np.bool_]
    missing: Spans
    thinned: Spans
    n_left_out: int
    is_stepped: bool


def curves(array: Array) -> Curves:
    """Return the numbers of an array as points, one line for each number of a row.

    Parameters
    ----------
    array : ndarray or MaskedArray, shape (n, ...)
        All of it is read, in blocks, so that no peak is lost.

    Examples
    --------
    >>> drawn = curves(np.ma.masked_equal([1, 2, 0, 4, 0], 0))
    >>> drawn.y.T, drawn.alone.T
    (array([[ 1.,  2., nan,  4., nan]]), array([[False, False, False,  True, False]]))
    >>> drawn.missing, drawn.n_left_out
    (array([[1.5, 2.5],
           [3.5, 4.5]]), 2)
    """
    n_rows = len(array)
    drawn = band(array, n_rows if n_rows <= 2 * N_POINTS else N_POINTS)
    lines = (len(drawn.low), math.prod(array.shape[1:]))
    low, high = drawn.low.reshape(lines), drawn.high.reshape(lines)
    left_out = drawn.left_out.reshape(lines)
    known = ~np.isnan(low)
    beside = np.pad(known, ((1, 1), (0, 0)))
    alone = known & ~beside[:-2] & ~beside[2:]
    x = (drawn.edges[:-1] + drawn.edges[1:] - 1) / 2
    y: Floats = low
    if len(x) < n_rows:
        x, alone = np.repeat(x, 2), np.repeat(alone, 2, axis=0)
        ends = np.stack([low, high], axis=1)
        # To and fro, so that ends of neighbours are joined.
        ends[1::2] = ends[1::2, ::-1]
        y = ends.reshape(len(x), -1)
    nothing = np.asarray(~known.any(axis=1))
    some = np.asarray(left_out.any(axis=1) & ~nothing)
    return Curves(
        x,
        *measured(y, array.dtype),
        alone=alone,
        missing=_spans(nothing, drawn.edges),
        thinned=_spans(some, drawn.edges),
        n_left_out=int(left_out.sum()),
        is_stepped=array.dtype == bool,
    )


def measured(numbers: Floats, dtype: np.dtype[Any]) -> tuple[Array, str]:
    """Return numbers that `drawable` made of a dtype as what is on an axis, and what that is called.

    Returns
    -------
    values : ndarray of float64, or of datetime64[us] for dates that a calendar has
    quantity : str
        Empty if values are the numbers as they are.

    Examples
    --------
    >>> measured(np.array([1.0, np.nan]), np.dtype("m8[ms]"))
    (array([0.001,   nan]), 'seconds')
    >>> measured(np.array([20000.0, np.nan]), np.dtype("M8[D]"))
    (array(['2024-10-04T00:00:00.000000',                        'NaT'],
          dtype='datetime64[us]'), 'time')
    """
    if dtype.kind in "mM":
        unit, count = np.datetime_data(dtype)
        return _times(numbers * count, unit, is_date=dtype.kind == "M")
    quantity = "absolute value" if dtype.kind == "c" else ""
    if not np.isnan(numbers).all() and np.nanmax(np.abs(numbers)) > _HUGE:
        return numbers / _HUGE, " ".join([*quantity.split(), f"in units of {_HUGE:g}"])
    return numbers, quantity


def _times(counts: Floats, unit: str, *, is_date: bool) -> tuple[Array, str]:
    if is_date and _has_calendar(counts, unit):
        return _dates(counts, unit), "time"
    scale = _SECONDS.get(unit)
    if scale is None or (is_date and unit in _UNITS):
        told = _UNITS.get(unit, "")
    else:
        counts, told = counts * scale, "seconds"
    return counts, f"{told} since 1970" if is_date and told else told


def _has_calendar(counts: Floats, unit: str) -> bool:
    seconds = {"Y": _YEAR, "M": _YEAR / 12, **_SECONDS}.get(unit)
    if seconds is None or np.isnan(counts).all():
        return False
    years = 1970 + counts * (seconds / _YEAR)
    low, high = np.nanmin(years), np.nanmax(years)
    further = _FURTHER[0] * (high - low) + _FURTHER[1]
    return bool(low - further > _FIRST_YEAR and high + further < _LAST_YEAR)


def _dates(counts: Floats, unit: str) -> Array:
    missing = np.isnan(counts)
    whole = np.where(missing, 0, counts)
    if unit in _SECONDS:
        whole, unit = np.round(whole * (_SECONDS[unit] * 1e6)), "us"
    dates = whole.astype(np.int64).astype(f"M8[{unit}]").astype("M8[us]")
    dates[missing] = np.datetime64("NaT", "us")
    return dates


def _spans(wanted: npt.NDArray[np.bool_], edges: npt.NDArray[np.int64]) -> Spans:
    """Return from where to where along x each run of pixels is."""
    turns = np.flatnonzero(np.diff(np.r_[False, wanted, False].astype(np.int8)))
    return np.asarray(edges[turns].reshape(-1, 2) - 0.5)
