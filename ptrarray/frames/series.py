"""pandas objects as arrays with metadata, and back as Series and DataFrames on views.

A Series lies under its name as its values; what else there is of it is in the metadata of that
name, under the key ``"pandas"``. An index that numbers cannot tell (not a range, not dates of a
frequency) is a companion array, whose name is that of the Series and `INDEX`. A DataFrame is
a 2-D array if its columns have one dtype, else a structured one with a field for each column.

====================== ===========================================================================
key of ``"pandas"``    content
====================== ===========================================================================
kind                   ``"series"`` or ``"frame"``
name                   label of a Series, as `_label` keeps it; absent if None
index                  how the index is made, see `ptrarray.frames.index`; absent if 0, 1, 2, …
columns                the same for the columns of a DataFrame, with its arrays as bytes in it
dtype                  of a Series' values, if not that of the array; of a DataFrame a map by field
attrs                  as the object has them; absent if empty
====================== ===========================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import msgpack
import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError
from ptrarray.frames import index as pandas_index
from ptrarray.frames.index import INDEX, import_pandas, label, unlabel

MASK = "/.mask"

Array = npt.NDArray[Any]


class Described(NamedTuple):
    """A pandas object as what a store keeps.

    Attributes
    ----------
    values : ndarray
        What lies under the name.
    companions : dict from str to ndarray
        What lies under the name with the key behind it.
    about : dict
        What the metadata have under ``"pandas"``.
    """

    values: Array
    companions: dict[str, Array]
    about: dict[str, Any]


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


def describe(value: Any, *, index: bool = True) -> Described:
    """Return a Series or DataFrame as arrays and metadata.

    Parameters
    ----------
    value : pandas.Series or pandas.DataFrame
        Of numbers, booleans, dates or durations, nullable ones and those with
        a time zone included.
    index : bool
        Whether to keep its index.

    Raises
    ------
    BadInputError
        For text or Python objects as values, or a label or index of a kind
        that is not kept; it says which.

    Examples
    --------
    >>> import pandas as pd
    >>> describe(pd.Series([1.5, 2.5], index=[10, 20], name="x"))
    Described(values=array([1.5, 2.5]), companions={'/.index': array([10, 20])}, \
about={'kind': 'series', 'name': 'x', 'index': {'kind': 'array'}})
    """
    pd = import_pandas()
    about: dict[str, Any] = {}
    companions: dict[str, Array] = {}
    if isinstance(value, pd.Series):
        about["kind"] = "series"
        if value.name is not None:
            about["name"] = label(value.name, "the Series")
        values = _column(value, "", "the Series", about, companions)
    else:
        about["kind"] = "frame"
        values = _table(value, about, companions)
    spec, arrays = pandas_index.describe(value.index) if index else (None, {})
    if spec is not None:
        about["index"] = spec
        companions |= {INDEX + suffix: array for suffix, array in arrays.items()}
    if value.attrs:
        about["attrs"] = _checked_attrs(value.attrs)
    return Described(values, companions, about)


def _checked_attrs(attrs: Any) -> Any:
    try:
        return msgpack.unpackb(msgpack.packb(attrs), strict_map_key=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInputError(
            f"its attrs cannot be kept: {error}; delete them, with convert= if this is an import"
        ) from error


def _column(
    column: Any, suffix: str, what: str, about: dict[str, Any], companions: dict[str, Array]
) -> Array:
    """Return the values of a Series; note what an array cannot tell of them."""
    dtype = column.dtype
    if isinstance(dtype, np.dtype):
        array: Array = column.to_numpy()
        if array.dtype.hasobject:
            raise BadInputError(
                f"{what} has dtype object; only numbers and dates are kept as arrays, "
                "convert= may turn it into those",
                found="object",
            )
        return array
    if getattr(dtype, "tz", None) is not None:
        about["dtype"] = {"zone": pandas_index.zone(dtype.tz)}
        return np.asarray(pandas_index.utc_of(column.array))
    data, missing = getattr(column.array, "_data", None), getattr(column.array, "_mask", None)
    if not isinstance(data, np.ndarray) or not isinstance(missing, np.ndarray):
        raise BadInputError(
            f"{what} has dtype {dtype}; only numbers and dates are kept as arrays, "
            "convert= may turn it into those",
            found=str(dtype),
        )
    about["dtype"] = {"nullable": str(dtype)}
    if missing.any():
        companions[MASK + suffix] = missing
    return data


def _table(frame: Any, about: dict[str, Any], companions: dict[str, Array]) -> Array:
    about["columns"] = pandas_index.inlined(frame.columns)
    if not len(frame.columns):
        return np.empty((len(frame), 0))
    dtypes = set(frame.dtypes)
    if len(dtypes) == 1 and isinstance(next(iter(dtypes)), np.dtype):
        array: Array = frame.to_numpy()
        if not array.dtype.hasobject:
            return array
    fields, special = {}, {}
    for i, column in enumerate(frame.columns):
        found: dict[str, Any] = {}
        what = f"column {column!r:.40}"
        fields[f"c{i}"] = _column(frame.iloc[:, i], f"/c{i}", what, found, companions)
        if found:
            special[f"c{i}"] = found["dtype"]
    if special:
        about["dtype"] = special
    table = np.empty(len(frame), [(key, array.dtype) for key, array in fields.items()])
    for key, array in fields.items():
        table[key] = array
    return table


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
    pd = import_pandas()
    values, about = _plain(store, name), _about(store, name)
    if values.ndim != 1 or about.get("kind", "series") != "series":
        raise BadInputError(
            f"array {name!r} is {_kind_of(values, about)}, not a Series: use to_frame",
            name=name,
            found=_kind_of(values, about),
            expected="series",
        )
    index = _read_index(store, name, about)
    column = _restored(store, name, "", values, about.get("dtype"))
    series = pd.Series(column, index=index, name=unlabel(about.get("name")), copy=False)
    if "attrs" in about:
        series.attrs = about["attrs"]
    return series


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
    pd = import_pandas()
    values, about = _plain(store, name), _about(store, name)
    is_table = values.ndim == 2 or (values.ndim == 1 and values.dtype.names is not None)
    if not is_table or about.get("kind", "frame") != "frame":
        raise BadInputError(
            f"array {name!r} is {_kind_of(values, about)}, not a DataFrame: use to_series",
            name=name,
            found=_kind_of(values, about),
            expected="frame",
        )
    index = _read_index(store, name, about)
    if values.dtype.names is None:
        frame = pd.DataFrame(values, index=index, copy=False)
    else:
        special = about.get("dtype", {})
        fields = {
            key: _restored(store, name, f"/{key}", values[key], special.get(key))
            for key in values.dtype.names
        }
        frame = pd.DataFrame(fields, index=index, copy=False)
    if "columns" in about:
        frame.columns = pandas_index.from_inlined(about["columns"])
    if "attrs" in about:
        frame.attrs = about["attrs"]
    return frame


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
    return to_series(store, name) if kind == "series" else to_frame(store, name)


def companions_of(about: Mapping[str, Any]) -> list[str]:
    """Return what the names of an object's companions may end in, from its metadata.

    Examples
    --------
    >>> companions_of({"kind": "series", "index": {"kind": "array"}})
    ['/.index']
    """
    suffixes = [INDEX + suffix for suffix in pandas_index.suffixes(about.get("index"))]
    special = about.get("dtype", {})
    if "nullable" in special:
        return [*suffixes, MASK]
    return suffixes + [
        f"{MASK}/{key}"
        for key, dtype in special.items()
        if isinstance(dtype, Mapping) and "nullable" in dtype
    ]


def _about(store: Any, name: str) -> Mapping[str, Any]:
    meta = getattr(store, "meta", None)  # a plain mapping of arrays has none
    about: Mapping[str, Any] = meta[name].get("pandas", {}) if meta is not None else {}
    return about


def _plain(store: Store, name: str) -> Array:
    values = store[name]
    if isinstance(values, np.ma.MaskedArray):
        if values.mask.any():
            raise BadInputError(
                f"array {name!r} has masked values, which pandas would not see: read store[name]",
                name=name,
            )
        values = values.data
    array: Array = values
    return array


def _kind_of(values: Array, about: Mapping[str, Any]) -> str:
    return str(about.get("kind", f"{values.dtype} of shape {values.shape}"))


def _read_index(store: Store, name: str, about: Mapping[str, Any]) -> Any:
    spec = about.get("index")
    if spec is None:
        return None
    return pandas_index.restored(spec, lambda suffix: _plain(store, name + INDEX + suffix))


def _restored(store: Any, name: str, suffix: str, values: Array, dtype: Any) -> Any:
    """Return values with the dtype that only pandas has."""
    if dtype is None:
        return values
    pd = import_pandas()
    if "zone" in dtype:
        return pd.Series(pandas_index.in_zone(values, dtype["zone"]), copy=False).array
    try:
        missing = _plain(store, name + MASK + suffix)
    except KeyError:
        missing = np.zeros(len(values), bool)
    kind = {"b": "BooleanArray", "f": "FloatingArray"}.get(values.dtype.kind, "IntegerArray")
    return getattr(pd.arrays, kind)(values, missing, copy=False)
