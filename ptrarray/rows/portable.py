"""Rows of dtypes that few libraries but numpy have, as rows of dtypes that most have."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.rows.times import in_unit
from ptrarray.rows.types import Array
from ptrarray.rows.widened import wide

_UNITS = ("s", "ms", "us", "ns")
_COARSE = ("Y", "M", "W", "D", "h", "m")


def portable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that other libraries are given in place of one.

    Narrow dtypes of ml_dtypes become wide ones, the bytes of numbers come in the order of the
    machine, and dates and durations in seconds where their unit is larger.

    Examples
    --------
    >>> portable(np.dtype(">f4")), portable(np.dtype("M8[D]")), portable(np.dtype("M8[25us]"))
    (dtype('float32'), dtype('<M8[s]'), dtype('<M8[us]'))
    """
    dtype = wide(dtype)
    if dtype.names is not None or dtype.kind not in "biufcmM":
        return dtype
    if dtype.kind in "mM":
        unit = np.datetime_data(dtype)[0]
        if unit in _UNITS:
            return np.dtype(f"{dtype.kind}8[{unit}]")
        if unit in _COARSE and not (dtype.kind == "m" and unit in "YM"):
            return np.dtype(f"{dtype.kind}8[s]")
    return dtype.newbyteorder("=")


def made_portable(values: Array) -> Array:
    """Return rows in the dtype that other libraries are given; masked if they are.

    Raises
    ------
    BadInputError
        If a date or duration does not fit into that.
    """
    dtype = portable(values.dtype)
    if dtype == values.dtype:
        return values
    if isinstance(values, np.ma.MaskedArray):
        data, mask = np.ma.getdata(values), np.ma.getmaskarray(values)
        if dtype.kind in "mM":  # below the mask may be anything
            data = np.where(mask, np.array("NaT", data.dtype), data)
        return np.ma.MaskedArray(made_portable(data), mask)
    cast = in_unit(values, dtype) if dtype.kind in "mM" else values.astype(dtype)
    if cast is None:
        raise BadInputError(
            f"some of {values.dtype} do not fit into {dtype}", found=values.dtype, expected=dtype
        )
    return cast
