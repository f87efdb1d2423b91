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
from ptrarray.frames import arrow
from ptrarray.frames.library import import_pandas
from ptrarray.frames.offsets import is_same, leave, offset_parts
from ptrarray.frames.scalars import period_freq, scalar_parts, zone_parts
from ptrarray.frames.text import object_parts, string_parts
from ptrarray.objects.parts import RUN_LENGTH, Items, Parts
from ptrarray.rows.types import Array

# Up to here text is sooner written value by value than as arrays.
FEW = 256


def take_apart(value: Any, few: int = FEW) -> Parts | None:
    """Return the parts of a pandas object, or None for anything else.

    Parameters
    ----------
    value : object
        Anything.
    few : int
        Up to how many values of text become `Items`; more become arrays.

    Raises
    ------
    BadInputError
        For something of a dtype that is not kept. The message goes on from
        what the object is called.
    """
    if isinstance(value, Parts):
        return value
    kind = type(value)
    if kind.__module__.partition(".")[0] != "pandas":
        return None
    pandas = import_pandas()
    if isinstance(value, pandas.api.extensions.ExtensionArray):
        return _array(pandas, value, few)
    if isinstance(value, pandas.offsets.BaseOffset):
        return offset_parts(value) if kind is getattr(pandas.offsets, kind.__name__, None) else None
    take = _APART.get(kind.__name__)
    if take and kind is getattr(pandas, kind.__name__, None):
        return take(value, few)
    return scalar_parts(value)


def series_parts(series: Any, few: int = 0) -> Parts:
    """Return the parts of a Series."""
    return Parts("Series", {"values": _content(series, few), **_labels(series), **_name(series)})


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


def _content(value: Any, few: int = 0) -> Any:
    """Return the values of a Series, index or column: as an array if their dtype is numpy's."""
    dtype = value.dtype
    if isinstance(value, import_pandas().IntervalIndex):
        return _intervals(value, few)  # of a range pandas cannot make the array
    if not isinstance(dtype, np.dtype):
        return value.array
    return _objects(value.to_numpy(), few) if dtype.hasobject else value.to_numpy()


def _objects(values: Array, few: int) -> Parts | Items:
    """Return Python objects as text, if that is what they are and not few, or else one by one."""
    return (object_parts(values) if len(values) > few else None) or _listed(values)


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
    """Return the parts of a DataFrame, its columns being given."""
    # Columns have no word in between in messages: obj['frame']['price'].
    return Parts("DataFrame", {"columns": frame.columns, "": columns, **_labels(frame)})


def contents(frame: Any, few: int = 0) -> list[Any]:
    """Return the values of each column, as those of a Series."""
    bare = type(frame)(frame, copy=False)  # without attrs, which pandas copies with each column
    return [_content(bare.iloc[:, position], few) for position in range(frame.shape[1])]


def _frame(frame: Any, few: int) -> Parts:
    """Take apart a DataFrame: the one array that it lies in, or else its columns."""
    columns = contents(frame, few)
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


def _index(index: Any, few: int) -> Parts:
    kind = type(index).__name__
    freq = _frequency(index) if kind in DATED else {}
    return Parts(kind, {"values": _content(index, few), **_name(index), **freq})


def _frequency(index: Any) -> dict[str, Any]:
    """Return the frequency of dates: as text that pandas reads as that very one, or itself."""
    freq, pandas = index.freq, import_pandas()
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


def _range_index(index: Any, _: int) -> Parts:
    bounds = {"start": index.start, "stop": index.stop, "step": index.step}
    return Parts("RangeIndex", bounds | _name(index))


def _multi_index(index: Any, _: int) -> Parts:
    codes = [np.asarray(codes) for codes in index.codes]
    attributes = {"levels": list(index.levels), "codes": codes, "names": list(index.names)}
    return Parts("MultiIndex", attributes)


DATED = ("DatetimeIndex", "TimedeltaIndex")
INDEXES = ("Index", "CategoricalIndex", "PeriodIndex", "IntervalIndex", *DATED)
NULLABLE = ("IntegerArray", "FloatingArray", "BooleanArray")

_APART: dict[str, Callable[[Any, int], Parts]] = {
    "Series": series_parts,
    "DataFrame": _frame,
    "RangeIndex": _range_index,
    "MultiIndex": _multi_index,
    **dict.fromkeys(INDEXES, _index),
}


def _array(pandas: Any, array: Any, few: int) -> Parts:
    """Take apart an array of a dtype that numpy does not have."""
    kind = type(array.dtype).__name__
    take = _ARRAYS_APART.get(kind)
    if take and type(array.dtype) is getattr(pandas, kind, None):
        return take(array, few)
    if type(array).__name__ in NULLABLE:
        return Parts(type(array).__name__, {"values": array._data, "mask": array._mask})
    raise BadInputError(
        f"has dtype {array.dtype}, which is not kept: convert it to one of numpy's or pandas' own",
        found=str(array.dtype),
    )


def _categorical(array: Any, _: int) -> Parts:
    attributes = {"codes": array.codes, "categories": array.categories}
    return Parts("Categorical", {**attributes, "ordered": bool(array.ordered)})


def _strings(array: Any, few: int) -> Parts:
    dtype = array.dtype
    na_value = "NA" if dtype.na_value is import_pandas().NA else "nan"
    if len(array) <= few:
        content: dict[str, Any] = {"values": _listed(array, has_missing=True)}
    elif hasattr(array, "__arrow_array__") and dtype.storage != "python":
        content = arrow.contents(array.__arrow_array__(), is_text=True)
    else:
        content = string_parts(array)
    return Parts("strings", {**content, "storage": dtype.storage, "na_value": na_value})


def _zoned(array: Any, _: int) -> Parts:
    moments = array.asi8.view(f"M8[{array.unit}]")
    return Parts(
        "zoned", {"values": moments, "zone": zone_parts(array.dtype.tz, f"has dtype {array.dtype}")}
    )


def _periods(array: Any, _: int) -> Parts:
    return Parts("PeriodArray", {"values": array.asi8, "freq": period_freq(array.dtype.freq)})


def _intervals(array: Any, _: int) -> Parts:
    pandas, sides = import_pandas(), {"left": array.left, "right": array.right}
    for name, side in sides.items():
        if isinstance(side, pandas.RangeIndex):  # which no reader takes, as it may be of any size
            sides[name] = pandas.Index(side.to_numpy())
    return Parts("IntervalArray", {**sides, "closed": array.closed})


def _sparse(array: Any, few: int) -> Parts:
    """Take apart an array by its values that are not the one that fills it, and their positions."""
    values, fill = array.sp_values, array.fill_value
    if values.dtype.kind in "mM":  # pandas has scalars of its own for these
        fill = np.array([fill], values.dtype)[0]
    attributes = {
        "values": _objects(values, few) if values.dtype.hasobject else values,
        "positions": array.sp_index.to_int_index().indices,
        "length": len(array),
        "fill_value": fill,
    }
    return Parts("SparseArray", {**attributes, "sparse_kind": array.kind})


def _arrow(array: Any, _: int) -> Parts:
    return Parts("arrow", arrow.column_parts(array))


_ARRAYS_APART: dict[str, Callable[[Any, int], Parts]] = {
    "CategoricalDtype": _categorical,
    "StringDtype": _strings,
    "DatetimeTZDtype": _zoned,
    "PeriodDtype": _periods,
    "IntervalDtype": _intervals,
    "SparseDtype": _sparse,
    "ArrowDtype": _arrow,
}
