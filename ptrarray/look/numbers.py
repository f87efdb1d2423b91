"""Values of any dtype as numbers that can be drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

_OF_NUMBERS = "biufcmM"


def drawable(values: Array) -> Floats | None:
    """Return values as numbers, NaN for what is masked, missing or infinite; None if they are none.

    Parameters
    ----------
    values : ndarray or MaskedArray, any shape
        Complex numbers count by their absolute values, dates and durations as
        integers in their own unit.

    Examples
    --------
    >>> drawable(np.ma.masked_equal([1, 2, 3], 2))
    array([ 1., nan,  3.])
    """
    data, mask = np.ma.getdata(values), np.ma.getmask(values)
    if data.dtype.kind not in _OF_NUMBERS:
        return None
    if data.dtype.kind in "mM":
        mask = mask | np.isnat(data)
        data = data.view(np.int64)
    numbers = np.abs(data) if data.dtype.kind == "c" else data
    drawn = numbers.astype(np.float64)
    drawn[mask | ~np.isfinite(drawn)] = np.nan
    return drawn
