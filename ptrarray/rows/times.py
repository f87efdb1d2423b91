"""Dates and durations in another unit, where that is exact: numpy's factor between units wraps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ptrarray.rows.types import Array, Int64s

_MONTHS = {"Y": 12, "M": 1}
_SECONDS = {"W": 604_800, "D": 86_400, "h": 3600, "m": 60, "s": 1}
_FRACTIONS = {"ms": 15, "us": 12, "ns": 9, "ps": 6, "fs": 3, "as": 0}
_ATTOSECONDS = {unit: seconds * 10**18 for unit, seconds in _SECONDS.items()}
_ATTOSECONDS |= {unit: 10**digits for unit, digits in _FRACTIONS.items()}
_MOST = 2**63 - 1  # ticks; the one integer below -_MOST is NaT
_MOST_OF_CALENDAR = 2**56  # days or months that numpy counts without an overflow
_NAT = -(2**63)


def in_unit(times: Array, dtype: np.dtype[Any]) -> Array | None:
    """Return dates or durations in the unit of `dtype`, or None if any of them would change.

    Examples
    --------
    >>> in_unit(np.array(["1970-01-02"], "M8[D]"), np.dtype("M8[h]")).view("i8")
    array([24])
    >>> in_unit(np.array([1], "M8[213504D]"), np.dtype("M8[ns]")) is None
    True
    """
    unit, wanted = np.datetime_data(times.dtype)[0], np.datetime_data(dtype)[0]
    if "generic" in (unit, wanted):  # without a unit, ticks are taken as they are
        return times.astype(dtype)
    if (unit in _MONTHS) == (wanted in _MONTHS):
        return _scaled(times, dtype)
    via = ("M8[M]", "M8[D]") if unit in _MONTHS else ("M8[D]", "M8[M]")
    counted = _scaled(times, np.dtype(via[0]))
    if counted is None or np.any(np.abs(_ticks(counted)[~np.isnat(counted)]) > _MOST_OF_CALENDAR):
        return None
    turned = counted.astype(via[1])
    is_kept = (turned.astype(via[0]) == counted) | np.isnat(counted)
    return _scaled(turned, dtype) if np.all(is_kept) else None


def _scaled(times: Array, dtype: np.dtype[Any]) -> Array | None:
    """Multiply the ticks by what one unit has of the other, by integers of any size."""
    multiple, divisor = _span(times.dtype), _span(dtype)
    common = math.gcd(multiple, divisor)
    multiple, divisor = multiple // common, divisor // common
    ticks = _ticks(times)
    is_nat = ticks == _NAT
    whole, rest = np.divmod(ticks, divisor) if divisor <= _MOST else (ticks * 0, ticks)
    limit = _MOST // multiple
    if not np.all(is_nat | ((rest == 0) & (whole <= limit) & (whole >= -limit))):
        return None
    scaled = np.where(is_nat, _NAT, whole * min(multiple, _MOST))
    return scaled.view(dtype.newbyteorder("=")).astype(dtype)


def _span(dtype: np.dtype[Any]) -> int:
    """Attoseconds, or months, of one tick."""
    unit, count = np.datetime_data(dtype)
    return (_MONTHS.get(unit) or _ATTOSECONDS[unit]) * count


def _ticks(times: Array) -> Int64s:
    ticks: Int64s = times.astype(times.dtype.newbyteorder("="), copy=False).view(np.int64)
    return ticks
