"""Arrays into the narrow dtypes of ml_dtypes, with numpy's own rules for what may change.

A cast to one of them is of the same kind to numpy whatever it comes from, and says nothing of
values that it makes NaN, cuts off, or takes for others.
"""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any

import numpy as np

from ptrarray.format.named import of_library
from ptrarray.rows.types import Array
from ptrarray.rows.widened import LIBRARY, is_named, wide


def narrowed(array: Array, dtype: np.dtype[Any], *, is_rounded: bool) -> Array | None:
    """Return an array in a narrow dtype, or None if that changes a value.

    Parameters
    ----------
    array : ndarray
        Of a dtype of numpy, and of the family: integers, floats or complex.
    dtype : numpy.dtype
        The narrow one.
    is_rounded : bool
        Whether values may be rounded. They may never become infinite or NaN,
        or be cut off at the largest one.
    """
    with np.errstate(all="ignore"):
        cast = array.astype(dtype)
        back = cast.astype(wide(dtype))
        if not is_rounded:
            is_kept = back == array
        else:
            is_kept = (np.isnan(back) == np.isnan(array)) & (np.isinf(back) == np.isinf(array))
            if _is_cut_off(dtype):
                is_kept &= np.abs(array) <= _largest(dtype)
    return cast if np.all(is_kept) else None


def limits_of(dtype: np.dtype[Any]) -> Any:
    """Return what the smallest and largest integer of a dtype are: `min` and `max`."""
    return importlib.import_module(LIBRARY).iinfo(dtype) if is_named(dtype) else np.iinfo(dtype)


def _is_cut_off(dtype: np.dtype[Any]) -> bool:
    """Tell whether a dtype has neither infinity nor NaN, so that what is too large is cut off."""
    return bool(np.isfinite(np.array([np.inf]).astype(dtype).astype(wide(dtype)))[0])


def _largest(dtype: np.dtype[Any]) -> float:
    return float(importlib.import_module(LIBRARY).finfo(dtype).max)


def of_torch(value: Any) -> Any:
    """Return a tensor of torch of a dtype that only ml_dtypes has as an array; all else as it is.

    Raises
    ------
    ValueError
        If ml_dtypes is not installed.
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return value
    name = str(value.dtype).rpartition(".")[2]
    if not re.fullmatch("bfloat16|float8_.*", name):
        return value
    dtype = of_library(name)
    if dtype is None:
        raise ValueError(f"numpy has no {name}: install {LIBRARY}")
    bits = value.detach().cpu().view(torch.int16 if dtype.itemsize == 2 else torch.uint8)
    return bits.numpy().view(dtype)
