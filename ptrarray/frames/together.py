"""pandas objects put together of their parts, on the arrays given.

Parts may come from a file that nobody should trust: whatever does not fit raises,
and nothing is as large as a number in a file says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.frames.apart import DATED, INDEXES, NULLABLE
from ptrarray.frames.library import import_pandas
from ptrarray.frames.offsets import leave, make_offset
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
        frame = pandas.DataFrame(values, index=index, columns=columns, copy=False)
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


def _strings(pandas: Any, values: Any, storage: Any, na_value: Any) -> Any:
    if type(values) is not list or not {str, type(None)}.issuperset(map(type, values)):
        raise TypeError("values that are not str")
    missing = {} if na_value == "NA" else {"na_value": np.nan}
    try:
        dtype = pandas.StringDtype(storage, **missing)
    except ImportError:  # pyarrow is missing here
        dtype = pandas.StringDtype("python", **missing)
    except TypeError:  # before pandas 2.3 there is only the other kind
        return np.array(values, object)
    return pandas.array(values, dtype=dtype)


def _zoned(pandas: Any, values: Any, zone: Any) -> Any:
    unit, _ = np.datetime_data(values.dtype)
    # As integers they are moments, not what a clock shows.
    moments = values.astype(f"M8[{unit}]", copy=False).view(np.int64)
    return pandas.array(moments, dtype=pandas.DatetimeTZDtype(unit, make_zone(zone)))


def _nullable(kind: str) -> Callable[..., Any]:
    def make(pandas: Any, values: Any, mask: Any = None) -> Any:
        missing = np.zeros(len(values), bool) if mask is None else mask
        return getattr(pandas.arrays, kind)(values, missing, copy=False)

    return make


_MAKERS: dict[str, Callable[..., Any]] = {
    "Series": _series,
    "DataFrame": _frame,
    "RangeIndex": _range_index,
    "MultiIndex": _multi_index,
    "Categorical": _categorical,
    "strings": _strings,
    "zoned": _zoned,
    "offset": make_offset,
    **{kind: _index(kind) for kind in INDEXES},
    **{kind: _dates(kind) for kind in DATED},
    **{kind: _nullable(kind) for kind in NULLABLE},
}
