"""pandas objects as arrays, strings and names.

Wherever its objects stand on numpy arrays, those are what is handed on. What is as pandas
makes it by default is left out. pandas is imported only when there is something of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timezone
from typing import Any

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.frames.parts import RUN_LENGTH, Items, Parts, import_pandas
from ptrarray.rows.types import Array


def take_apart(value: Any) -> Parts | None:
    """Return the parts of a pandas object, or None for anything else.

    Raises
    ------
    BadInputError
        For something of a dtype that is not kept. The message goes on from
        what the object is called.
    """
    kind = type(value)
    if kind.__module__.partition(".")[0] != "pandas":
        return None
    pandas = import_pandas()
    if isinstance(value, pandas.api.extensions.ExtensionArray):
        return _array(pandas, value)
    take = _APART.get(kind.__name__)
    return take(value) if take and kind is getattr(pandas, kind.__name__, None) else None


def series_parts(series: Any) -> Parts:
    """Return the parts of a Series, also of one of a class derived from it."""
    return Parts("Series", {"values": _content(series), **_labels(series), **_name(series)})


def _labels(value: Any) -> dict[str, Any]:
    """Return the index of a Series or DataFrame, and what few of them have."""
    index = value.index
    is_counted = isinstance(index, import_pandas().RangeIndex) and (
        (index.start, index.step, index.name) == (0, 1, None)
    )
    labels: dict[str, Any] = {} if is_counted else {"index": index}
    if value.attrs:
        labels["attrs"] = dict(value.attrs)
    if not value.flags.allows_duplicate_labels:
        labels["allows_duplicate_labels"] = False
    return labels


def _name(value: Any) -> dict[str, Any]:
    name = value.name
    return {} if name is None else {"name": name}


def _content(value: Any) -> Any:
    """Return the values of a Series, index or column: as an array if their dtype is numpy's."""
    dtype = value.dtype
    if not isinstance(dtype, np.dtype):
        return value.array
    return _listed(value.to_numpy()) if dtype.hasobject else value.to_numpy()


def _listed(values: Any, has_missing: bool = False) -> Items:
    """Hand on Python objects, some at a time; with None for what is no str, if some are missing."""

    def chunks() -> Iterator[Sequence[Any]]:
        for at in range(0, len(values), RUN_LENGTH):
            # pandas takes longer for a part than numpy.
            part = values if len(values) <= RUN_LENGTH else values[at : at + RUN_LENGTH]
            chunk = part.tolist()
            yield [item if type(item) is str else None for item in chunk] if has_missing else chunk

    return Items(len(values), chunks())


def frame_parts(frame: Any, columns: Any) -> Parts:
    """Return the parts of a DataFrame, also of one of a class derived from it."""
    # Columns have no word in between in messages: obj['frame']['price'].
    return Parts("DataFrame", {"columns": frame.columns, "": columns, **_labels(frame)})


def contents(frame: Any) -> list[Any]:
    """Return the values of each column, as those of a Series."""
    bare = type(frame)(frame, copy=False)  # without attrs, which pandas copies with each column
    return [_content(bare.iloc[:, position]) for position in range(frame.shape[1])]


def _frame(frame: Any) -> Parts:
    """Take apart a DataFrame: the one array that it lies in, or else its columns."""
    columns = contents(frame)
    whole = _whole(columns) if len(frame) else None
    if whole is None:
        return frame_parts(frame, Items(len(columns), iter([columns]), list(frame.columns)))
    return frame_parts(frame, whole)


def _whole(columns: list[Any]) -> Array | None:
    """Return columns that lie side by side as one array; copies nothing, which numpy might."""
    if len(columns) < 2 or {type(column) for column in columns} != {np.ndarray}:
        return None
    if len({(column.dtype, column.strides) for column in columns}) > 1:
        return None
    addresses = np.array([column.__array_interface__["data"][0] for column in columns])
    steps = set(np.diff(addresses).tolist())
    if len(steps) > 1:
        return None
    first = columns[0]
    shape, strides = (len(first), len(columns)), (first.strides[0], steps.pop())
    whole = np.lib.stride_tricks.as_strided(first, shape, strides, writeable=False)
    return whole if whole.flags.f_contiguous or whole.flags.c_contiguous else None


def _index(index: Any) -> Parts:
    freq = _freq(index)
    attributes = {"values": _content(index), **_name(index)} | ({"freq": freq} if freq else {})
    return Parts(type(index).__name__, attributes)


def _freq(index: Any) -> str | None:
    """Return the frequency of dates as text, or None: no text has the holidays of a calendar."""
    freq, pandas = getattr(index, "freq", None), import_pandas()
    if freq is None:
        return None
    text: str = freq.freqstr
    try:
        if getattr(index, "tz", None) is not None and pandas.__version__ < "3":
            # It may be left from another zone, in which the dates had it.
            index = index[:]
            index.freq = None
            index.freq = text
        return text if pandas.tseries.frequencies.to_offset(text) == freq else None
    except ValueError:
        return None


def _range_index(index: Any) -> Parts:
    bounds = {"start": index.start, "stop": index.stop, "step": index.step}
    return Parts("RangeIndex", bounds | _name(index))


def _multi_index(index: Any) -> Parts:
    codes = [np.asarray(codes) for codes in index.codes]
    attributes = {"levels": list(index.levels), "codes": codes, "names": list(index.names)}
    return Parts("MultiIndex", attributes)


INDEXES = ("Index", "DatetimeIndex", "TimedeltaIndex", "CategoricalIndex")
NULLABLE = ("IntegerArray", "FloatingArray", "BooleanArray")

_APART: dict[str, Callable[[Any], Parts]] = {
    "Series": series_parts,
    "DataFrame": _frame,
    "RangeIndex": _range_index,
    "MultiIndex": _multi_index,
    **dict.fromkeys(INDEXES, _index),
}


def _array(pandas: Any, array: Any) -> Parts:
    """Take apart an array of a dtype that numpy does not have."""
    dtype = array.dtype
    if isinstance(dtype, pandas.CategoricalDtype):
        attributes = {"codes": array.codes, "categories": array.categories}
        return Parts("Categorical", {**attributes, "ordered": bool(array.ordered)})
    if isinstance(dtype, pandas.StringDtype):
        na_value = "NA" if dtype.na_value is pandas.NA else "nan"
        values = _listed(array, has_missing=True)
        return Parts("strings", {"values": values, "storage": dtype.storage, "na_value": na_value})
    if isinstance(dtype, pandas.DatetimeTZDtype):
        moments = array.asi8.view(f"M8[{array.unit}]")
        return Parts("zoned", {"values": moments, "zone": _zone(pandas, dtype)})
    if type(array).__name__ in NULLABLE:
        return Parts(type(array).__name__, {"values": array._data, "mask": array._mask})
    raise BadInputError(
        f"has dtype {dtype}, which is not kept: convert it to one of numpy's, to str, "
        "category, or a datetime or nullable dtype",
        found=str(dtype),
    )


def _zone(pandas: Any, dtype: Any) -> str:
    """Return the name of a time zone: of the zone database, or of a fixed offset from UTC."""
    tz = dtype.tz
    try:
        name = getattr(tz, "key", None) or getattr(tz, "zone", None)  # zoneinfo and pytz
        name = name or str(timezone(tz.utcoffset(None)))
        # pandas reads UTC+01:00:30 as UTC+01:00.
        found = pandas.DatetimeTZDtype(dtype.unit, name).tz
        is_same = found.utcoffset(None) == tz.utcoffset(None)
    except Exception:  # noqa: BLE001 each library of time zones has its own
        is_same = False
    if not is_same:
        raise BadInputError(
            f"has dtype {dtype}, whose time zone cannot be found by its name", found=str(dtype)
        )
    return str(name)
