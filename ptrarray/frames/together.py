"""pandas objects of their parts, standing on the arrays given.

Parts may come from a file that nobody should trust: whatever does not fit raises,
and nothing is as large as a number in a file says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ptrarray.frames.apart import NULLABLE
from ptrarray.frames.index import import_pandas
from ptrarray.frames.parts import Parts


def put_together(parts: Parts) -> Any:
    """Make a pandas object of its parts.

    Raises
    ------
    ImportError
        If pandas is missing.
    Exception
        Of any kind, for parts that do not fit.
    """
    make = _MAKERS[parts.kind]
    attributes = {name or "columns_": value for name, value in parts.attributes.items()}
    return make(import_pandas(), **attributes)


def _series(pandas: Any, values: Any, index: Any, name: Any, **extras: Any) -> Any:
    content = _content(pandas, values)
    _check_labels(pandas, content, index)
    series = pandas.Series(content, index=index, name=name, dtype=content.dtype, copy=False)
    return _with_extras(series, **extras)


def _check_labels(pandas: Any, content: Any, index: Any) -> None:
    # What is shorter than its index could be spread over it.
    if not isinstance(index, pandas.Index) or len(content) != len(index):
        raise ValueError(f"{len(content)} values with labels that are not as many")


def _with_extras(value: Any, attrs: Any = None, allows_duplicate_labels: bool = True) -> Any:
    if attrs:
        value.attrs = attrs
    if not allows_duplicate_labels:
        return value.set_flags(allows_duplicate_labels=False)
    return value


def _content(pandas: Any, values: Any) -> Any:
    """Return one column's values."""
    if type(values) is list:
        return np.fromiter(values, object, len(values))
    is_array = isinstance(values, np.ndarray | pandas.api.extensions.ExtensionArray)
    if not is_array or values.ndim != 1:
        raise TypeError(f"values are a {type(values).__name__}")
    return values


def _frame(pandas: Any, index: Any, columns: Any, columns_: Any, **extras: Any) -> Any:
    if type(columns_) is np.ndarray:
        if columns_.ndim != 2:
            raise ValueError(f"a frame of shape {columns_.shape}")
        _check_labels(pandas, columns_, index)
        frame = pandas.DataFrame(columns_, index=index, columns=columns, copy=False)
        return _with_extras(frame, **extras)
    contents = [_content(pandas, values) for values in columns_]
    _check_labels(pandas, contents, columns)
    for content in contents:
        _check_labels(pandas, content, index)
    made = {
        position: pandas.Series(content, index=index, dtype=content.dtype, copy=False)
        for position, content in enumerate(contents)
    }
    frame = pandas.DataFrame(made, index=index, copy=False)
    frame.columns = columns
    return _with_extras(frame, **extras)


def _index(kind: str) -> Callable[..., Any]:
    def make(pandas: Any, values: Any, name: Any, **freq: Any) -> Any:
        content = _content(pandas, values)
        if kind == "Index":
            return pandas.Index(content, dtype=content.dtype, name=name, copy=False)
        return getattr(pandas, kind)(content, name=name, copy=False, **freq)

    return make


def _range_index(pandas: Any, start: Any, stop: Any, step: Any, name: Any) -> Any:
    return pandas.RangeIndex(start, stop, step, name=name)


def _multi_index(pandas: Any, levels: Any, codes: Any, names: Any) -> Any:
    return pandas.MultiIndex(levels, codes, names=names)


def _categorical(pandas: Any, codes: Any, categories: Any, ordered: Any) -> Any:
    dtype = pandas.CategoricalDtype(categories, ordered is True)
    return pandas.Categorical.from_codes(codes, dtype=dtype)


def _strings(pandas: Any, values: Any, storage: Any, na_value: Any) -> Any:
    if type(values) is not list or not {str, type(None)}.issuperset(map(type, values)):
        raise TypeError("values that are not str")
    missing = {} if na_value == "NA" else {"na_value": np.nan}  # pandas 2 takes no na_value
    try:
        dtype = pandas.StringDtype(storage, **missing)
    except ImportError:  # pyarrow is missing here
        dtype = pandas.StringDtype("python", **missing)
    return pandas.array(values, dtype=dtype)


def _zoned(pandas: Any, values: Any, zone: Any) -> Any:
    unit, _ = np.datetime_data(values.dtype)
    # As integers they are moments, not what a clock shows.
    return pandas.array(values.view(np.int64), dtype=pandas.DatetimeTZDtype(unit, zone))


def _nullable(kind: str) -> Callable[..., Any]:
    def make(pandas: Any, values: Any, mask: Any) -> Any:
        return getattr(pandas.arrays, kind)(values, mask, copy=False)

    return make


_MAKERS: dict[str, Callable[..., Any]] = {
    "Series": _series,
    "DataFrame": _frame,
    "Index": _index("Index"),
    "DatetimeIndex": _index("DatetimeIndex"),
    "TimedeltaIndex": _index("TimedeltaIndex"),
    "CategoricalIndex": _index("CategoricalIndex"),
    "RangeIndex": _range_index,
    "MultiIndex": _multi_index,
    "Categorical": _categorical,
    "strings": _strings,
    "zoned": _zoned,
    **{kind: _nullable(kind) for kind in NULLABLE},
}
