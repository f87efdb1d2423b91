"""Fitting arrays into a store: shape, dtype, and values that must not change."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError
from ptrarray.intake.narrow import limits_of, narrowed, of_torch
from ptrarray.rows.copying import clean_copy
from ptrarray.rows.lists import array_of, check_labels
from ptrarray.rows.times import in_unit
from ptrarray.rows.types import Array
from ptrarray.rows.widened import is_named, wide


def fit(name: str, value: npt.ArrayLike, dtype: np.dtype[Any], row_shape: tuple[int, ...]) -> Array:
    """Return `value` as a C-contiguous array of rows, or say why it cannot be one.

    Parameters
    ----------
    name : str
        Name of the array, for messages.
    value : array_like, shape (n_rows, *row_shape)
        A C-contiguous array of the right dtype is returned as it is, not copied.
    dtype : numpy.dtype
        Element type of the store.
    row_shape : tuple of int
        Shape of one row.

    Returns
    -------
    ndarray of `dtype`, shape (n_rows, *row_shape)

    Raises
    ------
    BadInputError
        For another trailing shape, a 0-d, masked, labelled or object array, or a dtype
        or value that `dtype` cannot hold unchanged.

    Examples
    --------
    >>> fit("ids", np.array([1, 2]), np.dtype("u2"), ())
    array([1, 2], dtype=uint16)
    >>> fit("ids", np.array([1, 70_000]), np.dtype("u2"), ())
    Traceback (most recent call last):
        ...
    ptrarray.errors.BadInputError: array 'ids' holds values from 1 to 70000, which uint16 cannot hold
    """
    if (
        type(value) is np.ndarray
        and value.dtype == dtype
        and value.shape[1:] == row_shape
        and value.ndim
        and value.flags.c_contiguous
    ):
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise _unfit(name, "is a masked array, and the store keeps no masks", "masked", "plain")
    array = as_array(name, value, dtype)
    if array.ndim == 0 or array.shape[1:] != row_shape:
        wanted = f"(n, {', '.join(map(str, row_shape))})" if row_shape else "(n,)"
        what = f"has shape {array.shape}, the store wants {wanted}"
        raise _unfit(name, what, array.shape, (None, *row_shape))
    if array.dtype != dtype:
        array = _cast(name, array, dtype)
    return array if array.flags.c_contiguous else clean_copy(array)


class Fitted(NamedTuple):
    """One array made ready: its elements as they will lie on the disk.

    Attributes
    ----------
    elements : ndarray
        C-contiguous; along one axis unless the store has rows.
    shape : tuple of int
        Of the array itself.
    is_fortran : bool
        Whether the elements are in Fortran order.
    mask : ndarray or None
        As `elements`; None without a mask.
    fill_value : bytes or None
        An element; None for numpy's default.
    is_hard : bool
        Whether the mask is hard.
    """

    elements: Array
    shape: tuple[int, ...]
    is_fortran: bool = False
    mask: Array | None = None
    fill_value: bytes | None = None
    is_hard: bool = False


def fit_shaped(name: str, value: npt.ArrayLike, dtype: np.dtype[Any] | None) -> Fitted:
    """Return an array of any shape as its elements in the order they have in memory.

    Parameters
    ----------
    name, value
        As for `fit`.
    dtype : numpy.dtype or None
        None keeps the array's own.

    Raises
    ------
    BadInputError
        As `fit`.

    Examples
    --------
    >>> fitted = fit_shaped("eye", np.eye(2, dtype="i4", order="F"), None)
    >>> fitted.elements, fitted.shape, fitted.is_fortran
    (array([1, 0, 0, 1], dtype=int32), (2, 2), True)
    """
    if isinstance(value, np.ma.MaskedArray):
        raise _unfit(name, "is a masked array, and the store keeps no masks", "masked", "plain")
    array = as_array(name, value, dtype)
    if dtype is not None and array.dtype != dtype:
        array = _cast(name, array, dtype)
    if array.flags.c_contiguous:
        return Fitted(array.reshape(-1), array.shape)
    is_fortran = array.flags.f_contiguous
    lying = array.T if is_fortran else array
    lying = lying if lying.flags.c_contiguous else clean_copy(lying)
    return Fitted(lying.reshape(-1), array.shape, is_fortran)


def fit_masked(
    name: str, value: npt.ArrayLike, dtype: np.dtype[Any] | None, row_shape: tuple[int, ...] | None
) -> Fitted:
    """Return an array that may be masked: what is under the mask is kept, too.

    Parameters
    ----------
    name, value
        As for `fit`.
    dtype : numpy.dtype or None
        None keeps the array's own.
    row_shape : tuple of int or None
        None keeps the array's own shape.

    Raises
    ------
    BadInputError
        As `fit`.
    """
    if value is np.ma.masked:  # a constant, of which nothing can be asked
        value = np.ma.MaskedArray(0.0, True)
    data = np.ma.getdata(value) if isinstance(value, np.ma.MaskedArray) else value
    if row_shape is None:
        fitted = fit_shaped(name, data, dtype)
    else:
        assert dtype is not None
        rows = fit(name, data, dtype, row_shape)
        fitted = Fitted(rows, rows.shape)
    if not isinstance(value, np.ma.MaskedArray):
        return fitted
    mask = None
    if value.mask is not np.ma.nomask:
        lying = np.ma.getmaskarray(value)
        lying = lying.T if fitted.is_fortran else lying
        mask = np.ascontiguousarray(lying).reshape(-1)
    return fitted._replace(
        mask=mask,
        fill_value=_fill_value(name, value, fitted.elements.dtype),
        is_hard=bool(value.hardmask),
    )


def _fill_value(
    name: str, value: np.ma.MaskedArray[Any, Any], dtype: np.dtype[Any]
) -> bytes | None:
    try:
        own = np.asarray(value.fill_value)
    except SystemError as error:  # numpy's, for a code point above 0x10FFFF
        raise _unfit(name, "has a fill value that no str can hold", dtype, "text") from error
    default = np.asarray(np.ma.default_fill_value(value))
    with np.errstate(over="ignore"):
        # As bytes, for NaT is not equal to itself; int8 has a default of 999999, which is int64.
        if not is_named(own.dtype) and own.tobytes() == default.astype(own.dtype).tobytes():
            return None
    if own.dtype != dtype:
        own = _cast(f"{name}.fill_value", own, dtype)
    return own.tobytes()


def as_array(name: str, value: npt.ArrayLike, dtype: np.dtype[Any] | None = None) -> Array:
    """Return what numpy makes of a value, unless that loses something or is of Python objects.

    With `dtype`, what is cast to it afterwards.
    """
    if type(value) is np.ndarray and not value.dtype.hasobject:
        return value
    try:
        check_labels(value)
        array = array_of(of_torch(value), dtype)
    except (TypeError, ValueError, RuntimeError) as error:  # the last is torch's
        raise _unfit(name, f"cannot become an array: {error}", type(value), "array") from error
    if array.dtype.hasobject:
        raise _unfit(
            name, f"has dtype {array.dtype}, which holds Python objects", array.dtype, "plain"
        )
    return array


def _cast(name: str, array: Array, dtype: np.dtype[Any]) -> Array:
    if dtype.names != array.dtype.names:
        what = f"has dtype {array.dtype}, which has not the fields of the store's {dtype}"
        raise _unfit(name, what, array.dtype, dtype)
    if dtype.names is not None:
        return _cast_fields(name, array, dtype)
    if is_named(array.dtype):
        return _cast(name, array.astype(wide(array.dtype)), dtype)
    target = wide(dtype)
    if array.dtype.kind in "iu" and target.kind in "iu":
        return _cast_integers(name, array, dtype)
    is_text = array.dtype.kind in "SU"
    if is_text != (dtype.kind in "SU") or not np.can_cast(array.dtype, target, "same_kind"):
        what = f"has dtype {array.dtype}, which cannot be cast to the store's {dtype}"
        raise _unfit(name, what, array.dtype, dtype)
    try:
        cast = _kept(array, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        what = f"has dtype {array.dtype}, which cannot be cast to the store's {dtype}: {error}"
        raise _unfit(name, what, array.dtype, dtype) from error
    if cast is None:
        what = f"has {array.dtype} values that the store's {dtype} would change"
        raise _unfit(name, what, array.dtype, dtype)
    return cast


def _cast_fields(name: str, array: Array, dtype: np.dtype[Any]) -> Array:
    """Cast a structured array field by field, each under the same rules."""
    assert dtype.names is not None
    cast = np.zeros(array.shape, dtype)
    for field in dtype.names:
        inner, wanted = array[field], cast[field]
        if inner.shape != wanted.shape:
            what = f"has shape {inner.shape} in field {field!r}, the store wants {wanted.shape}"
            raise _unfit(name, what, inner.shape, wanted.shape)
        if inner.dtype != wanted.dtype:
            inner = _cast(f"{name}[{field!r}]", inner, wanted.dtype)
        wanted[...] = inner
    return cast


def _kept(array: Array, dtype: np.dtype[Any]) -> Array | None:
    """Cast an array, or return None if that changes a value; floats may be rounded to floats."""
    if array.dtype.kind in "mM":
        return in_unit(array, dtype)
    if is_named(dtype):
        is_rounded = array.dtype.kind in "fc"
        exact = array if is_rounded else _kept(array, wide(dtype))
        return None if exact is None else narrowed(exact, dtype, is_rounded=is_rounded)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
        return cast if _is_kept(array, cast) else None


def _is_kept(array: Array, cast: Array) -> bool:
    """Tell whether a cast kept all values; floats may be rounded, not made infinite."""
    kinds = array.dtype.kind, cast.dtype.kind
    if kinds[0] in "fc" and kinds[1] in "fc":
        return not np.any(np.isinf(cast) & ~np.isinf(array))
    if kinds[1] == "m":  # of integers: the lowest is NaT, and unsigned ones past the limit wrap
        return bool(np.all((cast.astype(np.int64) == array) & ~np.isnat(cast)))
    is_real = kinds[1] == "c" and kinds[0] != "c"
    back = (cast.real if is_real else cast).astype(array.dtype, casting="unsafe")
    if kinds[0] in "iu" and kinds[1] in "fc":
        # Past the integers' limit, and of infinity, what comes back depends on the machine.
        limit = float(2 ** (array.dtype.itemsize * 8 - (kinds[0] == "i")))
        is_inside = np.isfinite(cast.real) & (cast.real < limit)
        return bool(np.all(is_inside & (back == array)))
    return bool(np.all(back == array))


def _cast_integers(name: str, array: Array, dtype: np.dtype[Any]) -> Array:
    if array.size and (is_named(dtype) or not np.can_cast(array.dtype, dtype, "safe")):
        low, high, limits = int(array.min()), int(array.max()), limits_of(dtype)
        if low < limits.min or high > limits.max:
            what = f"holds values from {low} to {high}, which {dtype} cannot hold"
            raise _unfit(name, what, (low, high), dtype)
    return array.astype(dtype)


def _unfit(name: str, what: str, found: object, expected: object) -> BadInputError:
    return BadInputError(
        f"array {name!r:.80} {what}", name=name, found=str(found), expected=str(expected)
    )
