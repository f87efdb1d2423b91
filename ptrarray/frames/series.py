"""Series and DataFrames as arrays of a store, and back on its memory.

`ptrarray.frames.flat` describes how they lie there: as arrays, helper arrays and metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from ptrarray.errors import BadInputError, StoreError
from ptrarray.format.helpers import KEY
from ptrarray.frames.apart import contents, frame_parts, series_parts
from ptrarray.frames.flat import Described, Helpers, Known, NoHelpers, Source, describe_parts
from ptrarray.frames.library import import_pandas
from ptrarray.frames.together import made
from ptrarray.objects.parts import Parts
from ptrarray.rows.types import Array

# What pandas, and numpy, say to parts that do not fit.
_UNFIT = (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError)


class Store(Protocol):
    """What is read from: an open store with arrays and metadata by name."""

    @property
    def meta(self) -> Mapping[str, Mapping[str, Any]]:
        """Metadata by name."""

    def __getitem__(self, name: str, /) -> Any:
        """Return an array."""


def is_pandas(value: Any) -> bool:
    """Tell whether something is a Series or DataFrame, without importing pandas for it.

    Examples
    --------
    >>> is_pandas(np.zeros(2))
    False
    """
    return any(
        kind.__module__.split(".")[0] == "pandas" and kind.__name__ in ("Series", "DataFrame")
        for kind in type(value).__mro__
    )


def check_kind(name: str, value: Any, kind: str) -> None:
    """Raise `BadInputError` for what is not of a kind, Series or DataFrame."""
    if not is_pandas(value) or not isinstance(value, getattr(import_pandas(), kind)):
        found = type(value).__name__
        what = f"array {name!r:.80}: a {found} is no {kind}, use writer[name] = …"
        raise BadInputError(what, name=name, found=found, expected=kind)


def describe(value: Any, *, index: bool = True, known: Known | None = None) -> Described:
    """Return a Series or DataFrame as an array, helper arrays and a description.

    Parameters
    ----------
    value : pandas.Series or pandas.DataFrame
        Of anything that `ptrarray.dump` keeps.
    index : bool
        Whether to keep its index.
    known : dict, optional
        As for `describe_parts`.

    Raises
    ------
    BadInputError
        For values, labels or an index that are not kept; it says which.

    Examples
    --------
    >>> import pandas as pd
    >>> values, helpers, about = describe(pd.Series([1.5, 2.5], index=[10, 20], name="x"))
    >>> values, [helper.array for helper in helpers.values()]
    (array([1.5, 2.5]), [array([10, 20])])
    >>> about["name"], [about["index"]["shared"]] == list(helpers)
    ('x', True)
    """
    parts = parts_of(value)
    return describe_parts(parts if index else parts.without("index"), known)


def parts_of(value: Any) -> Parts:
    """Return the parts of a Series or DataFrame, that of its columns being one array if it can."""
    if isinstance(value, import_pandas().Series):
        return series_parts(value)
    dtypes = set(value.dtypes) or {np.dtype(float)}
    dtype = dtypes.pop()
    is_one = isinstance(dtype, np.dtype) and not (dtypes or dtype.hasobject)
    return frame_parts(value, value.to_numpy(dtype) if is_one else contents(value))


# And back -----------------------------------------------------------------------------------------


def to_series(store: Store, name: str) -> Any:
    """Return an array as a pandas Series on the store's memory.

    Parameters
    ----------
    store : PointerArray
        An open store.
    name : str
        Of a Series that was imported, or of any 1-D array, which has the
        default index then.

    Returns
    -------
    pandas.Series
        Its values are a view of the store, not a copy, and read-only unless
        the store is open in another mode; so is an index of numbers.

    Raises
    ------
    UnknownNameError
        A `KeyError`: no array has this name.
    BadInputError
        For a DataFrame, an array that is not 1-D, or one with masked values.

    Notes
    -----
    Most of the time goes into pandas' own constructors: 15 µs for a range as
    index, 30 for an array, 50 to 80 for dates of a frequency.

    Examples
    --------
    >>> to_series({"x": np.array([1.5, 2.5])}, "x")
    0    1.5
    1    2.5
    dtype: float64
    """
    return _read(store, name, "Series")


def to_frame(store: Store, name: str) -> Any:
    """Return an array as a pandas DataFrame.

    Parameters
    ----------
    store : PointerArray
        An open store.
    name : str
        Of a DataFrame that was imported, or of any 2-D or structured array.

    Returns
    -------
    pandas.DataFrame
        On the store's memory, not a copy.

    Raises
    ------
    UnknownNameError
        A `KeyError`: no array has this name.
    BadInputError
        For a Series, an array that is no table, or one with masked values.

    Examples
    --------
    >>> to_frame({"x": np.array([[1, 2], [3, 4]])}, "x")
       0  1
    0  1  2
    1  3  4
    """
    return _read(store, name, "DataFrame")


def to_pandas(store: Store, name: str) -> Any:
    """Return what was imported under a name: a Series, a DataFrame, or else the array.

    Examples
    --------
    >>> to_pandas({"x": np.array([1, 2])}, "x")
    array([1, 2])
    """
    kind = _about(store, name).get("kind")
    if kind is None:
        return store[name]
    return to_series(store, name) if kind == "Series" else to_frame(store, name)


def _read(store: Store, name: str, kind: str) -> Any:
    """Return an array as an object of a kind, Series or DataFrame."""
    values, about = _plain(store, name), _about(store, name)
    fields = values.dtype.names
    is_series = kind == "Series"
    fits = values.ndim == 1 if is_series else values.ndim == (1 if fields else 2)
    if about.get("kind", kind) != kind or not (fits or about.keys() & {"values", ""}):
        raise _not_a(kind, name, values, about)
    source = Source(values, helpers_of(store))
    try:
        if is_series:
            return made(kind, {"values": values, **source.parts(about)})
        parts: dict[str, Any] = {"": [values[field] for field in fields] if fields else values}
        if "columns" not in about:
            parts["columns"] = import_pandas().Index(fields or range(values.shape[1]))
        return made(kind, parts | source.parts(about))
    except StoreError:
        raise
    except _UNFIT as error:
        what = f"array {name!r} is described as a {kind} that pandas {import_pandas().__version__}"
        raise BadInputError(f"{what} cannot make: {error}", name=name, expected=kind) from error


def _not_a(kind: str, name: str, values: Array, about: Mapping[str, Any]) -> BadInputError:
    words = {"Series": "series", "DataFrame": "frame"}
    found = words.get(about.get("kind", ""), f"{values.dtype} of shape {values.shape}")
    expected = words.pop(kind)
    (other,) = words.values()
    what = f"array {name!r} is {found}, not a {kind}: use to_{other}"
    return BadInputError(what, name=name, found=found, expected=expected)


def _about(store: Any, name: str) -> Mapping[str, Any]:
    meta = getattr(store, "meta", None)  # a plain mapping of arrays has none
    about: Mapping[str, Any] = meta[name].get(KEY, {}) if meta is not None else {}
    return about


def helpers_of(store: Any) -> Helpers:
    """Return where the helper arrays of a store are read from."""
    helpers: Helpers = getattr(store, "_helpers", None) or NoHelpers()
    return helpers


def _plain(store: Store, name: str) -> Array:
    values = store[name]
    if isinstance(values, np.ma.MaskedArray):
        # That of records is of records itself, which know no `any`.
        if any(np.asarray(np.ma.getmask(values)).tobytes()):
            what = "has masked values, which pandas would not see: read store[name]"
            raise BadInputError(f"array {name!r} {what}", name=name)
        values = values.data
    array: Array = values
    return array
