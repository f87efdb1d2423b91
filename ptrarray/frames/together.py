"""pandas objects put together of their parts, on the arrays given.

Parts may come from a file that nobody should trust: whatever does not fit raises,
and nothing is as large as a number in a file says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.format.infos import by_value
from ptrarray.frames import arrow, scalars
from ptrarray.frames.apart import DATED, INDEXES, NULLABLE
from ptrarray.frames.library import import_pandas
from ptrarray.frames.offsets import leave, make_offset
from ptrarray.frames.text import make_objects
from ptrarray.frames.zones import make_zone
from ptrarray.objects.parts import Parts


def put_together(parts: Parts) -> Any:
    """Make a pandas object of its parts.

    Raises
    ------
    ImportError
        If pandas is missing.
    BadInputError
        For a kind that only a later version knows.
    Exception
        Of any kind, for parts that do not fit.
    """
    return made(*parts)


def made(kind: str, attributes: Mapping[str, Any]) -> Any:
    """Return an object of a kind; the same as `put_together`."""
    make = _MAKERS.get(kind)
    if make is None:
        raise BadInputError(f"a pandas object of kind {kind!r:.40} is not known to this version")
    return make(import_pandas(), **attributes)


def _series(pandas: Any, values: Any, index: Any = None, name: Any = None, **extras: Any) -> Any:
    content, dtype = _content(pandas, values)
    _check_labels(pandas, content, index)
    series = pandas.Series(content, index=index, name=name, dtype=dtype, copy=False)
    return _with_extras(series, **extras) if extras else series


def _content(pandas: Any, values: Any) -> tuple[Any, Any]:
    """Return the values of one column, and the dtype that pandas must not infer from them."""
    if type(values) is list:
        values = np.fromiter(values, object, len(values))
    is_array = isinstance(values, np.ndarray)
    if not (is_array or isinstance(values, pandas.api.extensions.ExtensionArray)):
        raise TypeError(f"values are a {type(values).__name__}")
    if values.ndim != 1:
        raise ValueError(f"values of shape {values.shape}")
    # Of objects that are all str it would make text.
    return values, object if is_array and values.dtype.hasobject else None


def _check_labels(pandas: Any, content: Any, index: Any) -> None:
    # What is shorter than its index could be spread over it.
    if index is not None and not (isinstance(index, pandas.Index) and len(content) == len(index)):
        raise ValueError(f"{len(content)} values with labels that are not as many")


def _with_extras(value: Any, attrs: Any = None, allows_duplicate_labels: bool = True) -> Any:
    if attrs:
        value.attrs = attrs
    if not allows_duplicate_labels:
        return value.set_flags(allows_duplicate_labels=False)
    return value


def _frame(pandas: Any, columns: Any, index: Any = None, **rest: Any) -> Any:
    values = rest.pop("")
    if type(values) is np.ndarray:
        if values.ndim != 2:
            raise ValueError(f"a frame of shape {values.shape}")
        _check_labels(pandas, values, index)
        # pandas keeps it transposed.
        frame = pandas.DataFrame(by_value(values), index=index, columns=columns, copy=False)
        return _with_extras(frame, **rest)
    _check_labels(pandas, values, columns)
    made = {position: _series(pandas, column, index) for position, column in enumerate(values)}
    frame = pandas.DataFrame(made, index=index, copy=False)
    frame.columns = columns
    return _with_extras(frame, **rest)


def _index(kind: str) -> Callable[..., Any]:
    def make(pandas: Any, values: Any, name: Any = None) -> Any:
        content, dtype = _content(pandas, values)
        return getattr(pandas, kind)(content, dtype=dtype, name=name, copy=False)

    return make


def _dates(kind: str) -> Callable[..., Any]:
    make = _index(kind)

    def with_freq(
        pandas: Any, values: Any, name: Any = None, freq: Any = None, loose: Any = False
    ) -> Any:
        index = make(pandas, values, name)
        if freq is None:
            return index
        offset = pandas.tseries.frequencies.to_offset(freq)
        if loose is True:
            leave(index, offset)
        else:
            index.freq = offset
        return index

    return with_freq


def _range_index(pandas: Any, start: Any, stop: Any, step: Any, name: Any = None) -> Any:
    return pandas.RangeIndex(start, stop, step, name=name)


def _multi_index(pandas: Any, levels: Any, codes: Any, names: Any) -> Any:
    return pandas.MultiIndex(levels, codes, names=names)


def _categorical(pandas: Any, codes: Any, categories: Any, ordered: Any) -> Any:
    dtype = pandas.CategoricalDtype(categories, ordered is True)
    return pandas.Categorical.from_codes(codes, dtype=dtype)


def _strings(
    pandas: Any, values: Any, storage: Any, na_value: Any, ends: Any = None, mask: Any = None
) -> Any:
    if ends is None:
        if type(values) is not list or not {str, type(None)}.issuperset(map(type, values)):
            raise TypeError("values that are not str")
        objects = np.fromiter(values, object, len(values))
    elif storage == "object":
        return make_objects(values, ends, mask, na_value)
    dtype = _string_dtype(pandas, storage, na_value)
    if ends is not None:
        if dtype is not None and dtype.storage == "pyarrow":
            whole = arrow.import_arrow().large_string()
            return dtype.__from_arrow__(arrow.text(whole, values, ends, mask))
        objects = make_objects(values, ends, mask, "None")
    return objects if dtype is None else pandas.array(objects, dtype=dtype, copy=False)


def _string_dtype(pandas: Any, storage: Any, na_value: Any) -> Any:
    """Return a dtype of text, or None if this pandas has none that misses ``nan``."""
    missing = {} if na_value == "NA" else {"na_value": np.nan}
    try:
        return pandas.StringDtype(storage, **missing)
    except ImportError:  # pyarrow is missing here
        return pandas.StringDtype("python", **missing)
    except TypeError:  # before pandas 2.3 there is only the other kind
        return None


def _zoned(pandas: Any, values: Any, zone: Any) -> Any:
    unit, _ = np.datetime_data(values.dtype)
    # As integers they are moments, not what a clock shows.
    moments = values.astype(f"M8[{unit}]", copy=False).view(np.int64)
    return pandas.array(moments, dtype=pandas.DatetimeTZDtype(unit, make_zone(zone)))


def _periods(pandas: Any, values: Any, freq: Any) -> Any:
    if values.dtype.newbyteorder("=") != np.int64:
        raise TypeError(f"periods as {values.dtype}")
    return pandas.arrays.PeriodArray(values, dtype=pandas.PeriodDtype(freq))


def _intervals(pandas: Any, left: Any, right: Any, closed: Any) -> Any:
    for side in (left, right):
        # A range would become as many numbers as it says.
        if not isinstance(side, pandas.Index) or isinstance(side, pandas.RangeIndex):
            raise TypeError(f"intervals from {type(left).__name__} to {type(right).__name__}")
    return pandas.arrays.IntervalArray.from_arrays(left, right, closed, copy=False)


def _sparse(
    pandas: Any, values: Any, positions: Any, length: Any, fill_value: Any, sparse_kind: Any
) -> Any:
    content, _ = _content(pandas, values)
    if type(content) is not np.ndarray:
        raise TypeError(f"sparse values are a {type(content).__name__}")
    fits = positions.dtype.kind == "i" and positions.shape == content.shape
    bounds = np.concatenate([[-1], positions, [length]])
    if not fits or (bounds[:-1] >= bounds[1:]).any():
        raise ValueError(f"{len(content)} sparse values with positions that are not of them")
    positions = np.ascontiguousarray(positions, np.int32)
    make = getattr(pandas.arrays.SparseArray, "from_indices", None)
    if make is not None:
        return make(content, positions, length, fill_value, sparse_kind, content.dtype)
    # Before pandas 3.1 the class of positions is named nowhere in public, and what is read-only
    # cannot be computed with.
    kind = type(pandas.arrays.SparseArray([0], kind="integer").sp_index)
    content, index = content.copy(), kind(length, positions.copy())
    index = index.to_block_index() if sparse_kind == "block" else index
    dtype = pandas.SparseDtype(content.dtype, fill_value)
    return pandas.arrays.SparseArray(content, sparse_index=index, dtype=dtype)


def _nullable(kind: str) -> Callable[..., Any]:
    def make(pandas: Any, values: Any, mask: Any = None) -> Any:
        missing = np.zeros(len(values), bool) if mask is None else mask
        return getattr(pandas.arrays, kind)(values, missing, copy=False)

    return make


_MAKERS: dict[str, Callable[..., Any]] = {
    **scalars.MAKERS,
    "Series": _series,
    "DataFrame": _frame,
    "RangeIndex": _range_index,
    "MultiIndex": _multi_index,
    "Categorical": _categorical,
    "strings": _strings,
    "zoned": _zoned,
    "PeriodArray": _periods,
    "IntervalArray": _intervals,
    "SparseArray": _sparse,
    "arrow": arrow.make_column,
    "offset": make_offset,
    **{kind: _index(kind) for kind in INDEXES},
    **{kind: _dates(kind) for kind in DATED},
    **{kind: _nullable(kind) for kind in NULLABLE},
}
