"""Records of pickled Series, DataFrames and indexes to those, for pickles of pandas 1 to 3.

pandas need not be of the version that wrote the pickle: what is read are the arrays in it, and
pandas' public constructors make the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timezone
from typing import Any

import numpy as np

from ptrarray.convert.unpickle.inert import Builder, Record
from ptrarray.frames.index import import_pandas

_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_TEXT = (str, type(None), float)


def zone_name(name: Any) -> str:
    """Return the name of a time zone that cannot be a path out of the zones' folder."""
    if not isinstance(name, str) or not _ZONE.fullmatch(name):
        raise ValueError(f"time zone {name!r:.40}")
    return name


def _state(record: Record) -> dict[str, Any]:
    if not isinstance(record.state, dict):
        raise TypeError(f"no state but {type(record.state).__name__}")
    return record.state


def _kind(record: Any) -> str:
    """Return what a record is an instance of, also in protocols 0 and 1."""
    kind = getattr(record, "kind", "")
    return getattr(record.args[0], "kind", "") if kind == "reconstructor" else kind


def _first(state: dict[str, Any], *keys: str) -> Any:
    """Return what the first of the keys has that is there: versions of pandas differ in words."""
    return next((state[key] for key in keys if key in state), None)


# Arrays -------------------------------------------------------------------------------------------


def _backed(to: Builder, record: Record) -> Any:
    """Build an array that pandas keeps as an ndarray: dates, durations, text."""
    kind = getattr(record.args[0], "name", None)
    parts = record.state if isinstance(record.state, tuple) else ()
    arrays = [part for part in map(to.build, parts[:2]) if isinstance(part, np.ndarray)]
    dtypes = [part for part in parts[:2] if _kind(part) in _DTYPES]
    (array,) = arrays
    return _as_kind(to, kind, array, dtypes[0] if dtypes else None)


def _dates(to: Builder, record: Record) -> Any:
    """Build the same of pandas 1.0 to 1.2, an instance with a dict."""
    state = _state(record)
    array = to.build(_first(state, "_data", "_ndarray"))
    return _as_kind(to, record.name, array, _first(state, "_dtype"))


def _as_kind(to: Builder, kind: str | None, array: Any, dtype: Any) -> Any:
    pd = import_pandas()
    if kind in ("DatetimeArray", "TimedeltaArray"):
        if array.dtype.kind != {"D": "M", "T": "m"}[kind[0]]:
            raise TypeError(f"{array.dtype} in a {kind}")
        zone = to.build(dtype) if _kind(dtype) == "DatetimeTZDtype" else None
        return (
            array
            if zone is None
            else pd.DatetimeIndex(array, copy=False, tz="UTC").tz_convert(zone)
        )
    if kind in ("StringArray", "NumpyExtensionArray", "PandasArray"):
        if kind != "StringArray" and array.dtype != object:
            return array
        return _text(to, list(array), dtype)
    raise TypeError(f"an array of {kind}")


def _text(to: Builder, items: list[Any], dtype: Any) -> Any:
    if not all(isinstance(item, _TEXT) for item in items):
        raise TypeError("not all of it is text")
    pd = import_pandas()
    name = to.build(dtype) if dtype is not None else "string"
    if name == "str" and int(pd.__version__.split(".")[0]) < 3:
        return np.array(items, object)
    return pd.array([item if isinstance(item, str) else None for item in items], dtype=name)


def _nullable(to: Builder, record: Record) -> Any:
    state = _state(record)
    arrays = import_pandas().arrays
    return getattr(arrays, record.name)(to.build(state["_data"]), to.build(state["_mask"]))


def _string_dtype(to: Builder, record: Record) -> str:
    """Return ``"str"`` for pandas 3's own, else ``"string"``, whatever holds the characters."""
    missing = to.build(record.args[1]) if len(record.args) > 1 else None
    return "str" if isinstance(missing, float) else "string"


def _zone_dtype(to: Builder, record: Record) -> Any:
    zone = to.build(_state(record)["tz"])
    return zone if isinstance(zone, timezone) else zone_name(zone)


# Arrow's text, as pandas 3 has it where pyarrow is ------------------------------------------------


def _arrow_text(to: Builder, record: Record) -> Any:
    state = _state(record)
    items = to.build(_first(state, "_pa_array", "_data"))
    return _text(to, items, _first(state, "_dtype"))


def _arrow_chunks(to: Builder, record: Record) -> list[Any]:
    return [item for chunk in to.build(record.args[0]) for item in chunk]


def _arrow_array(to: Builder, record: Record) -> list[str | None]:
    kind, n_items, _, start, buffers, *_ = to.build(record.args[0])
    width = {"string": "i4", "large_string": "i8"}[kind]
    valid, ends, text = (np.frombuffer(raw or b"", np.uint8) for raw in buffers)
    bounds = ends.view(width)[start : start + n_items + 1].tolist() if n_items else [0]
    missing = [False] * n_items
    if len(valid):
        bits = np.unpackbits(valid, bitorder="little")[start : start + n_items]
        missing = (bits == 0).tolist()
    raw = text.tobytes()
    pairs = zip(missing, bounds[:-1], bounds[1:], strict=True)
    return [None if none else raw[begin:end].decode() for none, begin, end in pairs]


# Indexes ------------------------------------------------------------------------------------------


def _index(to: Builder, record: Record) -> Any:
    """Build any index: ``_new_Index(cls, dict)``."""
    pd = import_pandas()
    kind, parts = getattr(record.args[0], "name", None), record.args[1]
    name = to.build(parts.get("name"))
    if kind == "RangeIndex":
        return pd.RangeIndex(
            *(to.build(parts[key]) for key in ("start", "stop", "step")), name=name
        )
    if kind == "MultiIndex":
        codes = to.build(_first(parts, "codes", "labels"))
        names = to.build(parts["names"])
        return pd.MultiIndex(to.build(parts["levels"]), codes, names=list(names))
    data = to.build(parts["data"])
    # With the dtype, or text of pandas 1 and 2 would become that of pandas 3.
    dtype = data.dtype if isinstance(data, np.ndarray) else None
    index = pd.Index(data, dtype=dtype, name=name, copy=False)
    zone = to.build(parts.get("tz"))
    if zone is not None and getattr(index, "tz", None) is None:
        index = index.tz_localize("UTC").tz_convert(zone)
    freq = _freq(to, parts)
    if freq is not None and kind in ("DatetimeIndex", "TimedeltaIndex"):
        index.freq = freq  # pandas checks that the dates have it
    return index


def _freq(to: Builder, parts: dict[str, Any]) -> Any:
    """Return what the index or, before, its array has for a frequency."""
    data = parts.get("data")
    state = getattr(data, "state", None)
    extra = state[2] if isinstance(state, tuple) and len(state) > 2 else state
    inner = extra.get("_freq") if isinstance(extra, dict) else None
    return to.build(parts["freq"] if parts.get("freq") is not None else inner)


def _offset(to: Builder, record: Record) -> Any:
    return getattr(import_pandas().offsets, record.name)(*to.build(record.args))


# Series and DataFrames ----------------------------------------------------------------------------


def _series(to: Builder, record: Record) -> Any:
    pd, state = import_pandas(), _state(record)
    (index,), ((values, _),) = _manager(to, _first(state, "_mgr", "_data"))
    name = to.build(_first(state, "_name", "name"))
    series = pd.Series(values, index=index, name=name, copy=False)
    series.attrs = to.build(state.get("attrs") or {})
    return series


def _frame(to: Builder, record: Record) -> Any:
    pd, state = import_pandas(), _state(record)
    (columns, index), blocks = _manager(to, _first(state, "_mgr", "_data"))
    blocks = [(values, _places(place, len(columns))) for values, place in blocks]
    if len(blocks) == 1 and blocks[0][1] == list(range(len(columns))) and blocks[0][0].ndim == 2:
        frame = pd.DataFrame(blocks[0][0].T, index=index, columns=columns, copy=False)
    else:
        by_place = dict(pair for block in blocks for pair in _columns(*block))
        by_place = {i: by_place[i] for i in range(len(columns))}
        frame = pd.DataFrame(by_place, index=index, copy=False)
        frame.columns = columns
    frame.attrs = to.build(state.get("attrs") or {})
    return frame


def _places(place: Any, n_columns: int) -> list[int]:
    return list(range(n_columns)[place]) if isinstance(place, slice) else [int(i) for i in place]


def _columns(values: Any, places: list[int]) -> Iterator[tuple[int, Any]]:
    """Yield the columns of a block with their positions."""
    return zip(places, list(values) if values.ndim == 2 else [values], strict=True)


def _manager(to: Builder, record: Record) -> tuple[list[Any], list[tuple[Any, Any]]]:
    """Return the axes, and the blocks as pairs of values and positions."""
    if record.state is None:
        blocks, axes = record.args[:2]
        return to.build(list(axes)), [to.build(tuple(block.args[:2])) for block in blocks]
    axes, values, _, *newer = record.state
    if newer and "0.14.1" in newer[0]:
        parts = newer[0]["0.14.1"]
        pairs = [(block["values"], block["mgr_locs"]) for block in parts["blocks"]]
        return to.build(list(parts["axes"])), [to.build(pair) for pair in pairs]
    return to.build(list(axes)), [(to.build(array), slice(None)) for array in values]


_DTYPES = ("dtype", "DatetimeTZDtype", "StringDtype")

MAKERS: dict[str, Callable[[Builder, Record], Any]] = {
    "__pyx_unpickle_NDArrayBacked": _backed,
    "DatetimeArray": _dates,
    "TimedeltaArray": _dates,
    "StringArray": _dates,
    "NumpyExtensionArray": _dates,
    "PandasArray": _dates,
    **dict.fromkeys(("IntegerArray", "FloatingArray", "BooleanArray"), _nullable),
    "StringDtype": _string_dtype,
    "DatetimeTZDtype": _zone_dtype,
    "ArrowStringArray": _arrow_text,
    "arrow type": lambda to, record: str(record.args[0]),
    "arrow buffer": lambda to, record: bytes(to.build(record.args[0])),
    "arrow array": _arrow_array,
    "arrow chunks": _arrow_chunks,
    "_new_Index": _index,
    "_new_DatetimeIndex": _index,
    "offset": _offset,
    "Series": _series,
    "DataFrame": _frame,
}
