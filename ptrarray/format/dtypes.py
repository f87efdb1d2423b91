"""dtypes as numpy's ``descr``: written by numpy, read without evaluating anything."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np

from ptrarray.errors import BadInputError

Descr = str | list[Any]

_TYPE_STRING = re.compile(r"[<>|][biufcmMSUV]\d{1,9}(\[[\w/]{1,20}\])?", re.ASCII)


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
    try:
        result = np.dtype(dtype)
        shape = (row_shape,) if isinstance(row_shape, int) else tuple(row_shape)
        shape = tuple(length.__index__() for length in shape)
    except (TypeError, ValueError, AttributeError) as error:
        raise _refused(dtype, f"is not one numpy knows ({error})") from error
    if any(length < 0 for length in shape):
        raise BadInputError(
            f"row shape {shape} has a negative length", found=shape, expected="lengths >= 0"
        )
    if result.subdtype is not None:
        result, inner_shape = result.subdtype
        shape += inner_shape
    if result.hasobject:
        raise _refused(dtype, "holds Python objects, which cannot be stored")
    if result.itemsize == 0:
        raise _refused(dtype, "has no width; give one, as in 'S8' or 'U8'")
    return decode(encode(result), dtype), shape


def encode(dtype: np.dtype[Any]) -> Descr:
    """Return the descr of a dtype, with lists for tuples, as msgpack keeps them."""
    try:
        with warnings.catch_warnings():
            # numpy warns when it leaves out dtype metadata, which is not data.
            warnings.simplefilter("ignore", UserWarning)
            descr = np.lib.format.dtype_to_descr(dtype)
    except (TypeError, ValueError) as error:
        raise _refused(dtype, f"cannot be described ({error})") from error
    listed: Descr = descr if isinstance(descr, str) else _listed(descr)
    return listed


def _listed(descr: Any) -> Any:
    return [_listed(part) for part in descr] if isinstance(descr, (list, tuple)) else descr


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
