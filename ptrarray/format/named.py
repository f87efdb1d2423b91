"""dtypes that ml_dtypes adds to numpy: as bytes of their width, with a name beside them.

To numpy's own files they are ``<V2`` and the like, and nothing more. Without ml_dtypes they are
read as that; the name stays with the dtype, so that it is kept where such arrays are written.
"""

from __future__ import annotations

import importlib
import re
import warnings
from functools import lru_cache
from typing import Any

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.rows.widened import LIBRARY, is_named

Names = str | tuple[Any, ...] | None  # of a dtype, or of each of its fields

_NAME = re.compile(r"b?(float|u?int|complex)\d[a-z0-9_]{0,24}", re.ASCII)
_KEY = "ptrarray"  # of the metadata of a dtype


def names_in(dtype: np.dtype[Any]) -> Names:
    """Return the name of a dtype of ml_dtypes, or one for each field; None where there is none.

    Raises
    ------
    BadInputError
        For a dtype of yet another library.
    """
    if dtype.names is not None:
        names = tuple(names_in(dtype[field]) for field in dtype.names)
        return names if any(names) else None
    if dtype.subdtype is not None:
        return names_in(dtype.subdtype[0])
    if is_named(dtype):
        return dtype.type.__name__
    if dtype.isbuiltin == 2:
        raise BadInputError(
            f"dtype {dtype} is one of {dtype.type.__module__}: only numpy's and {LIBRARY}'s are kept",
            found=str(dtype),
            expected="a dtype of fixed width",
        )
    metadata: Any = dtype.metadata or {}
    kept = metadata.get(_KEY)
    return kept if isinstance(kept, str) and _NAME.fullmatch(kept) else None


def described(dtype: np.dtype[Any]) -> Any:
    """Return a dtype as JSON can hold it: as numpy's ``descr``, and by name what ml_dtypes adds.

    Examples
    --------
    >>> described(np.dtype("f4")), described(np.dtype("i2,f8"))
    ('<f4', [('f0', '<i2'), ('f1', '<f8')])
    """
    names = names_in(dtype)
    if names is None:
        return dtype.str if dtype.names is None else dtype.descr
    if isinstance(names, str):
        return names
    return [_described(field, dtype[field]) for field in dtype.names or ()]


def _described(field: str, dtype: np.dtype[Any]) -> list[Any]:
    if dtype.subdtype is None:
        return [field, described(dtype)]
    base, shape = dtype.subdtype
    return [field, described(base), list(shape)]


def without_names(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a dtype with bytes in place of what ml_dtypes adds."""
    if names_in(dtype) is None:
        return dtype
    if dtype.names is not None:
        return _with_fields(dtype, [without_names(dtype[field]) for field in dtype.names])
    if dtype.subdtype is not None:
        return np.dtype((without_names(dtype.subdtype[0]), dtype.subdtype[1]))
    return np.dtype((np.void, dtype.itemsize))


def with_names(dtype: np.dtype[Any], names: Any) -> np.dtype[Any]:
    """Undo `without_names`; the names are what a file says.

    Raises
    ------
    ValueError
        If they are no names, or not for such a dtype.
    """
    if names is None:
        return dtype
    if dtype.subdtype is not None:
        return np.dtype((with_names(dtype.subdtype[0], names), dtype.subdtype[1]))
    if isinstance(names, str) and dtype.kind == "V" and dtype.names is None:
        return _found(names, dtype.itemsize)
    fields = dtype.names or ()
    if not isinstance(names, list | tuple) or len(names) != len(fields):
        raise ValueError(f"names {names!r:.80} for dtype {dtype!r:.80}")
    pairs = zip(fields, names, strict=True)
    return _with_fields(dtype, [with_names(dtype[field], name) for field, name in pairs])


def _with_fields(dtype: np.dtype[Any], formats: list[np.dtype[Any]]) -> np.dtype[Any]:
    fields: Any = [dtype.fields[name] for name in dtype.names or () if dtype.fields]
    described: Any = {
        "names": dtype.names,
        "formats": formats,
        "offsets": [field[1] for field in fields],
        "titles": [field[2] if len(field) > 2 else None for field in fields],
        "itemsize": dtype.itemsize,
    }
    whole: np.dtype[Any] = np.dtype(described)
    return whole


@lru_cache(maxsize=64)
def _found(name: str, itemsize: int) -> np.dtype[Any]:
    """Return the dtype of a name; bytes that know their name where ml_dtypes does not."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"a dtype named {name!r:.80}")
    found = of_library(name)
    if found is None:
        what = f"arrays of {name} are read as {itemsize} bytes an element, without their meaning"
        warnings.warn(f"{what}: install {LIBRARY}", RuntimeWarning, stacklevel=2)
        raw: Any = (np.void, itemsize)
        opaque: np.dtype[Any] = np.dtype(raw, metadata={_KEY: name})
        return opaque
    if found.itemsize != itemsize:
        raise ValueError(f"{name} of {itemsize} bytes and not {found.itemsize}")
    return found


def advice(dtype: object) -> str:
    """Return what to do where a name that may be of ml_dtypes is not known."""
    may_be_name = isinstance(dtype, str) and _NAME.fullmatch(dtype)
    return f": if it is of {LIBRARY}, that has to be installed" if may_be_name else ""


def of_library(name: str) -> np.dtype[Any] | None:
    """Return a dtype of ml_dtypes, or None where that is not installed or does not know it."""
    if not _NAME.fullmatch(name):
        return None
    try:
        kind = getattr(importlib.import_module(LIBRARY), name, None)
    except ImportError:
        return None
    is_scalar = isinstance(kind, type) and issubclass(kind, np.generic)
    return np.dtype(kind) if is_scalar else None
