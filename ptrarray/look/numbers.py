"""Values of any dtype as numbers that can be drawn."""

from __future__ import annotations

import sys
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

_OF_NUMBERS = "biufcmM"


def is_drawable(dtype: np.dtype[Any]) -> bool:
    """Return whether values of a dtype are numbers: those of numpy, or the narrow ones of ml_dtypes.

    Examples
    --------
    >>> [is_drawable(np.dtype(kind)) for kind in ("<f4", ">M8[s]", "?", "S3", "V8")]
    [True, True, True, False, False]
    """
    narrow = dtype.kind == "V" and dtype.type is not np.void
    return dtype.kind in _OF_NUMBERS or narrow


def is_masked(values: Any) -> TypeGuard[np.ma.MaskedArray[Any, Any]]:
    """Return whether values are a masked array, without numpy loading what these are.

    That takes as long as all pictures in a notebook.
    """
    return "numpy.ma" in sys.modules and isinstance(values, np.ma.MaskedArray)


def drawable(values: Array) -> Floats | None:
    """Return values as numbers, NaN for what is masked, missing or infinite; None if they are none.

    Parameters
    ----------
    values : ndarray or MaskedArray, any shape
        Complex numbers count by their absolute values, dates and durations as
        integers in their own unit.

    Returns
    -------
    ndarray of float64
        A copy, also of float64. None for text, bytes and structures.

    Examples
    --------
    >>> drawable(np.ma.masked_equal([1, 2, 3], 2))
    array([ 1., nan,  3.])
    """
    data = values.data if is_masked(values) else np.asarray(values)
    if not is_drawable(data.dtype):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        drawn = _numbers(data).astype(np.float64)
    if is_masked(values):
        drawn[np.ma.getmaskarray(values)] = np.nan
    if data.dtype.kind not in "biu":
        drawn[~np.isfinite(drawn)] = np.nan
    return drawn


def shares(numbers: Floats, low: float, high: float, alone: float = 0.5) -> Floats:
    """Return how far each number is from `low` to `high`, as 0 to 1; NaN for NaN.

    Parameters
    ----------
    alone : float
        What is returned for numbers if the two are one.

    Examples
    --------
    >>> shares(np.array([-1e308, 1e308, np.nan]), -1e308, 1e308), shares(np.ones(1), 1, 1)
    (array([ 0.,  1., nan]), array([0.5]))
    """
    # Halves, as the distance of two numbers of float64 may be infinite.
    span = high / 2 - low / 2
    if not span > 0:
        return np.where(np.isnan(numbers), np.nan, alone)
    found: Floats = (numbers / 2 - low / 2) / span
    return found


def _numbers(data: Array) -> Array:
    if data.dtype.kind == "c":
        return np.abs(data)
    if data.dtype.kind in "mM":
        counts = data.astype(np.int64).astype(np.float64)
        counts[np.isnat(data)] = np.nan
        return counts
    return data
