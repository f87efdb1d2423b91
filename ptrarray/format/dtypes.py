"""dtypes as numpy's ``descr``: written by numpy, read without evaluating anything."""

from __future__ import annotations

import math
import operator
import re
import warnings
from functools import lru_cache
from typing import Any

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.format import named

Descr = str | list[Any]

_TYPE_STRING = re.compile(r"[<>|][biufcmMSUV]\d{1,9}(\[[\w/]{1,20}\])?", re.ASCII)


def known(dtype: Any) -> np.dtype[Any]:
    """Return what a caller calls a dtype as one.

    Raises
    ------
    BadInputError
        For what is none.

    Examples
    --------
    >>> known("f4")
    dtype('float32')
    """
    if dtype is None:  # to numpy, that is float64
        raise _refused(dtype, "is none: name one")
    try:
        return (named.of_library(dtype) if isinstance(dtype, str) else None) or np.dtype(dtype)
    except (TypeError, ValueError, AttributeError) as error:
        advice = named.advice(dtype)
        raise _refused(dtype, f"is not one numpy knows ({error}){advice}") from error


def normalize(
    dtype: Any, row_shape: tuple[int, ...] | int = ()
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Check what a store is asked to hold, and fold a sub-array dtype into the row shape.

    Returns
    -------
    dtype : numpy.dtype
        Of one element; never a sub-array.
    row_shape : tuple of int
        Shape of one row.

    Raises
    ------
    BadInputError
        For anything that cannot be written flat and read back: Python
        objects at any depth, overlapping fields, no width.

    Examples
    --------
    >>> normalize(("f4", (3,)), 2)
    (dtype('float32'), (2, 3))
    """
    shape = _checked_shape(row_shape)
    result = known(dtype)
    if result.subdtype is not None:
        result, inner_shape = result.subdtype
        shape += inner_shape
    if result.hasobject:
        raise _refused(dtype, "holds Python objects, which cannot be stored")
    if result.itemsize == 0:
        raise _refused(dtype, "has no width; give one, as in 'S8' or 'U8'")
    try:
        np.empty((0, *shape), result)
    except ValueError as error:  # too many dimensions, or too large a product of lengths
        raise _refused_shape(shape, str(error)) from error
    return named.with_names(decode(encode(result), dtype), named.names_in(result)), shape


def _checked_shape(row_shape: Any) -> tuple[int, ...]:
    try:
        lengths = [row_shape] if hasattr(row_shape, "__index__") else row_shape
        shape = tuple(operator.index(length) for length in lengths)
    except TypeError as error:
        raise _refused_shape(row_shape, "is not a tuple of integers") from error
    if any(length < 0 for length in shape):
        raise _refused_shape(row_shape, "has a negative length")
    return shape


def _refused_shape(row_shape: Any, why: str) -> BadInputError:
    return BadInputError(
        f"row shape {row_shape!r:.200}: {why}",
        found=str(row_shape)[:200],
        expected="a tuple of lengths",
    )


def row_limit(dtype: np.dtype[Any], row_shape: tuple[int, ...]) -> int:
    """Return how many rows a file and numpy can hold at the most."""
    # numpy counts lengths of zero as one when it looks whether an array is too big.
    width = dtype.itemsize * math.prod(length for length in row_shape if length)
    return (2**63 - 1) // width


def encode(dtype: np.dtype[Any]) -> Descr:
    """Return the descr of a dtype, with lists for tuples, as msgpack keeps them."""
    if dtype.isbuiltin == 1:  # one of numpy's own, with neither fields nor metadata
        return dtype.str
    try:
        with warnings.catch_warnings():
            # numpy warns when it leaves out dtype metadata, which is not data.
            warnings.simplefilter("ignore", UserWarning)
            descr = np.lib.format.dtype_to_descr(named.without_names(dtype))
    except (TypeError, ValueError) as error:
        raise _refused(dtype, f"cannot be described ({error})") from error
    listed: Descr = descr if isinstance(descr, str) else _listed(descr)
    return listed


def _listed(descr: Any) -> Any:
    return [_listed(part) for part in descr] if isinstance(descr, (list, tuple)) else descr


def fields_of(dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return what a map of a file says of a dtype: its descr, and names that go with it.

    Examples
    --------
    >>> fields_of(np.dtype("f4"))
    {'dtype': '<f4'}
    """
    return dict(_fields_of(dtype, named.names_in(dtype)))


@lru_cache(maxsize=256)
def _fields_of(dtype: np.dtype[Any], names: named.Names) -> dict[str, Any]:
    """Do the same once for each dtype; to numpy, those that differ in names alone are one."""
    return {"dtype": encode(dtype)} | ({} if names is None else {"dtype_names": names})


def of_fields(fields: dict[str, Any]) -> np.dtype[Any]:
    """Return the dtype that a map of a file describes, as `decode`."""
    dtype, names = decode(fields["dtype"]), fields.get("dtype_names")
    try:
        return named.with_names(dtype, names)
    except (TypeError, ValueError) as error:
        raise _refused(dtype, f"has not these names ({error})") from error


def decode(descr: Any, source: Any = None) -> np.dtype[Any]:
    """Return the dtype of a descr read from a file.

    Raises
    ------
    BadInputError
        If it is not the descr of a dtype that a store may have.

    Examples
    --------
    >>> decode([["time", "<M8[s]"], ["xyz", "<f4", [3]]])
    dtype([('time', '<M8[s]'), ('xyz', '<f4', (3,))])
    """
    try:
        dtype: np.dtype[Any] = np.lib.format.descr_to_dtype(_tupled(descr))
    except (TypeError, ValueError, RecursionError, SyntaxError, AttributeError) as error:
        raise _refused(source or descr, f"is not a dtype ({error})") from error
    if dtype.hasobject or dtype.subdtype is not None or dtype.itemsize == 0:
        raise _refused(source or descr, "is not one that a store may have")
    return dtype


def _tupled(descr: Any, depth: int = 0) -> Any:
    """Undo `_listed`: fields are tuples, as are shapes and (title, name) pairs."""
    if isinstance(descr, str):
        # numpy parses more than plain type strings, as in "2f4, (3,)i2".
        if not _TYPE_STRING.fullmatch(descr):
            raise ValueError("not a type string such as '<f4'")
        return descr
    if depth > 16 or not isinstance(descr, list):
        raise ValueError("a descr is a str or a list of fields, nested at most 16 deep")
    fields = []
    for field in descr:
        name, kind, *shape = field
        label = tuple(map(str, name)) if isinstance(name, list) else str(name)
        fields.append((label, _tupled(kind, depth + 1), *(tuple(map(int, part)) for part in shape)))
    return fields


def _refused(dtype: Any, why: str) -> BadInputError:
    return BadInputError(
        f"dtype {dtype!r:.200} {why}", found=str(dtype)[:200], expected="a dtype of fixed width"
    )
