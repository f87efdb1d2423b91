"""What reductions do about masks: neutral elements in place of what is masked, and counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.reductions.blocks import COMBINABLE, Living
from ptrarray.rows.types import Array

_HIGHEST = frozenset((np.maximum, np.fmax))
_LOWEST = frozenset((np.minimum, np.fmin))


def filled(block: Array, neutral: Any) -> Array:
    """Return a block with another element in place of each that is masked.

    Examples
    --------
    >>> filled(np.ma.MaskedArray([1, 2, 4], [False, True, False]), 0)
    array([1, 0, 4])
    """
    mask = np.ma.getmask(block)
    return block if mask is np.ma.nomask else np.where(mask, neutral, np.ma.getdata(block))


def hidden(living: Living, result: Any, is_hidden: Any) -> Any:
    """Return a result masked where nothing went into it, if elements may be masked at all."""
    if not living.is_masked:
        return result
    if np.ndim(result) == 0:
        return np.ma.masked if is_hidden else result
    return np.ma.MaskedArray(result, np.reshape(is_hidden, result.shape))


def neutral_element(living: Living, ufunc: np.ufunc) -> Array | None:
    """Return the element that changes no result of a ufunc; None if no element is masked."""
    if not living.is_masked:
        return None
    dtype = living.rows.dtype
    if ufunc in _HIGHEST or ufunc in _LOWEST:
        return _extreme(dtype, is_lowest=ufunc in _HIGHEST)
    identity = 1 if ufunc is np.lcm else ufunc.identity
    if identity is None or ufunc not in COMBINABLE:
        names = ", ".join(sorted(works.__name__ for works in COMBINABLE))
        raise BadInputError(
            f"np.{ufunc.__name__} cannot leave out what is masked; expected one of {names}",
            found=ufunc,
            expected=COMBINABLE,
        )
    is_infinite = isinstance(identity, float) and np.isinf(identity)
    return np.asarray(identity) if is_infinite else np.asarray(identity).astype(dtype)


def _extreme(dtype: np.dtype[Any], *, is_lowest: bool) -> Array:
    if dtype.kind == "b":
        return np.asarray(not is_lowest)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.asarray(limits.min if is_lowest else limits.max, dtype)
    if dtype.kind in "mM":
        limits = np.iinfo(np.int64)  # whose lowest is NaT
        return np.asarray(limits.min + 1 if is_lowest else limits.max).view(dtype.newbyteorder("="))
    if dtype.kind in "fc":
        infinity = -np.inf if is_lowest else np.inf
        return np.asarray(infinity if dtype.kind == "f" else complex(infinity, infinity), dtype)
    raise BadInputError(
        f"{dtype} has no lowest and highest value in whose place something could be left out",
        found=str(dtype),
        expected="numbers or dates",
    )
