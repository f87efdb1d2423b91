"""pandas objects as arrays, strings and names.

Wherever its objects stand on numpy arrays, those are what is handed on. pandas is
imported only when there is something of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError
from ptrarray.frames.index import import_pandas
from ptrarray.frames.parts import RUN_LENGTH, Items, Parts

Array = npt.NDArray[Any]


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


def _series(series: Any) -> Parts:
    attributes = {"values": _content(series), "index": series.index, "name": series.name}
    return Parts("Series", attributes | _extras(series))


def _extras(value: Any) -> dict[str, Any]:
    """Return what few objects have."""
    extras: dict[str, Any] = {"attrs": dict(value.attrs)} if value.attrs else {}
    if not value.flags.allows_duplicate_labels:
        extras["allows_duplicate_labels"] = False
    return extras


def _content(value: Any) -> Any:
    """Return the values of a Series, index or column: as an array if their dtype is numpy's."""
    if value.dtype == object:
        return _listed(value.to_numpy())
    return value.to_numpy() if isinstance(value.dtype, np.dtype) else value.array


def _listed(values: Any, has_missing: bool = False) -> Items:
    """Hand on Python objects, some at a time; with None for what is no str, if some are missing."""

    def chunks() -> Iterator[Sequence[Any]]:
        for at in range(0, len(values), RUN_LENGTH):
            chunk = values[at : at + RUN_LENGTH].tolist()
            yield [item if type(item) is str else None for item in chunk] if has_missing else chunk

    return Items(len(values), chunks())


def _frame(frame: Any) -> Parts:
    # Columns are told without a word in between: obj['frame']['price'].
    attributes = {"index": frame.index, "columns": frame.columns, "": _columns(frame)}
    return Parts("DataFrame", attributes | _extras(frame))


def _columns(frame: Any) -> Any:
    """Return the one array that a frame lies in, or else its columns."""
    bare = type(frame)(frame, copy=False)  # without attrs, which pandas copies with each column
    contents = [_content(bare.iloc[:, position]) for position in range(frame.shape[1])]
    whole = _whole(contents) if len(frame) else None
    if whole is not None:
        return whole
    return Items(len(contents), iter([contents]), list(frame.columns))


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
    attributes = {"values": _content(index), "name": index.name}
    if getattr(index, "freq", None) is not None:
        attributes["freq"] = index.freqstr
    return Parts(type(index).__name__, attributes)


def _range_index(index: Any) -> Parts:
    bounds = {"start": index.start, "stop": index.stop, "step": index.step}
    return Parts("RangeIndex", {**bounds, "name": index.name})


def _multi_index(index: Any) -> Parts:
    codes = [np.asarray(codes) for codes in index.codes]
    attributes = {"levels": list(index.levels), "codes": codes, "names": list(index.names)}
    return Parts("MultiIndex", attributes)


_APART: dict[str, Callable[[Any], Parts]] = {
    "Series": _series,
    "DataFrame": _frame,
    "Index": _index,
    "DatetimeIndex": _index,
    "TimedeltaIndex": _index,
    "CategoricalIndex": _index,
    "RangeIndex": _range_index,
    "MultiIndex": _multi_index,
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
        return _zoned(pandas, array)
    if type(array).__name__ in NULLABLE:
        return Parts(type(array).__name__, {"values": array._data, "mask": array._mask})
    raise BadInputError(
        f"has dtype {dtype}, which is not kept: convert it to one of numpy's, to str, "
        "category, or a datetime or nullable dtype",
        found=str(dtype),
    )


NULLABLE = ("IntegerArray", "FloatingArray", "BooleanArray")


def _zoned(pandas: Any, array: Any) -> Parts:
    """Take apart datetimes with a time zone, kept as those of UTC."""
    zone = str(array.tz)
    try:
        is_known_by_name = pandas.DatetimeTZDtype(array.unit, zone) == array.dtype
    except Exception:  # noqa: BLE001 each library of time zones has its own
        is_known_by_name = False
    if not is_known_by_name:
        raise BadInputError(
            f"has dtype {array.dtype}, whose time zone cannot be found by its name",
            found=str(array.dtype),
        )
    return Parts("zoned", {"values": array.asi8.view(f"M8[{array.unit}]"), "zone": zone})
