"""pandas objects as arrays, strings and names.

Wherever its objects stand on numpy arrays, those are what is handed on. What is as pandas
makes it by default is left out. pandas is imported only when there is something of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.frames.library import import_pandas
from ptrarray.frames.offsets import is_same, leave, offset_parts
from ptrarray.frames.zones import plain_zone
from ptrarray.objects.parts import RUN_LENGTH, Items, Parts
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
    if isinstance(value, pandas.offsets.BaseOffset):
        return offset_parts(value) if kind is getattr(pandas.offsets, kind.__name__, None) else None
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
    if not value.size and len(index):  # there are no columns to count the rows by
        is_counted = False
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
            yield [_text(item) for item in chunk] if has_missing else chunk

    return Items(len(values), chunks())


def _text(item: Any) -> str | None:
    # Among text, pandas leaves a str of a class derived from it as it is, a numpy.str_ too.
    return str.__str__(item) if isinstance(item, str) else None


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
    return Parts(
        type(index).__name__, {"values": _content(index), **_name(index), **_frequency(index)}
    )


def _frequency(index: Any) -> dict[str, Any]:
    """Return the frequency of dates: as text that pandas reads as that very one, or itself."""
    freq, pandas = getattr(index, "freq", None), import_pandas()
    if freq is None:
        return {}
    if take_apart(freq) is None:
        raise BadInputError(
            f"has the frequency {freq!r:.80}, which is not kept: set its freq to None",
            found=repr(freq)[:200],
        )
    with suppress(ValueError, TypeError, AttributeError):  # of most arguments there is no text
        text: str = freq.freqstr
        if is_same(pandas.tseries.frequencies.to_offset(text), freq):
            freq = text
    return {"freq": freq} if _holds(index) else {"freq": freq, "loose": True}


def _holds(index: Any) -> bool:
    """Tell whether pandas would give dates the frequency that it has left them with.

    It need not be theirs after a conversion to another time zone, nor where business days
    are moved by some hours.
    """
    bare = index[:]
    bare.freq = None
    try:
        bare.freq = index.freq
    except ValueError:
        leave(bare, index.freq)
        return False
    return True


def _range_index(index: Any) -> Parts:
    bounds = {"start": index.start, "stop": index.stop, "step": index.step}
    return Parts("RangeIndex", bounds | _name(index))


def _multi_index(index: Any) -> Parts:
    codes = [np.asarray(codes) for codes in index.codes]
    attributes = {"levels": list(index.levels), "codes": codes, "names": list(index.names)}
    return Parts("MultiIndex", attributes)


DATED = ("DatetimeIndex", "TimedeltaIndex")
INDEXES = ("Index", "CategoricalIndex", *DATED)
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
        return Parts("zoned", {"values": moments, "zone": _zone(dtype)})
    if type(array).__name__ in NULLABLE:
        return Parts(type(array).__name__, {"values": array._data, "mask": array._mask})
    raise BadInputError(
        f"has dtype {dtype}, which is not kept: convert it to one of numpy's, to str, "
        "category, or a datetime or nullable dtype",
        found=str(dtype),
    )


def _zone(dtype: Any) -> Any:
    """Return a time zone as plain values."""
    zone = plain_zone(dtype.tz)
    if zone is None:
        raise BadInputError(
            f"has dtype {dtype}, whose time zone {dtype.tz!r:.80} cannot be found again by what "
            "it says: convert it to one of zoneinfo, with tz_convert",
            found=str(dtype),
        )
    return zone
