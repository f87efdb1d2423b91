"""Records of pickled Series, DataFrames and indexes to those, for pickles of pandas 1 to 3.

pandas need not be of the version that wrote the pickle: the arrays in it are read, and put
together by `ptrarray.frames.together` as those of a store are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timezone
from typing import Any

import numpy as np

from ptrarray.convert.unpickle.inert import Builder, Record
from ptrarray.frames.apart import NULLABLE
from ptrarray.frames.library import import_pandas
from ptrarray.frames.together import put_together
from ptrarray.objects.parts import Parts

_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_TEXT = (str, type(None), float)
_DTYPES = ("DatetimeTZDtype", "StringDtype")
_TIMES = {"DatetimeArray": "M", "TimedeltaArray": "m"}
_OBJECTS = ("StringArray", "NumpyExtensionArray", "PandasArray")


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


def _any_of(state: dict[str, Any], *keys: str) -> Any:
    """Return the value under one of several keys, or None; each version of pandas has its own."""
    return next((state[key] for key in keys if key in state), None)


# Arrays -------------------------------------------------------------------------------------------


def _backed(to: Builder, record: Record) -> Any:
    """Build an array that pandas keeps as an ndarray: dates, durations, text."""
    if isinstance(record.state, dict):  # pandas 1.0 to 1.2
        kind, parts = record.name, [*record.state.values()]
    else:
        kind, parts = getattr(record.args[0], "name", ""), record.state[:2]
    (array,) = [part for part in map(to.build, parts) if isinstance(part, np.ndarray)]
    dtype = next((part for part in parts if _kind(part) in _DTYPES), None)
    if kind in _OBJECTS:
        is_text = kind == "StringArray" or array.dtype == object
        return _text(to, list(array), dtype) if is_text else array
    if array.dtype.kind != _TIMES[kind]:
        raise TypeError(f"{array.dtype} in a {kind}")
    return _in_zone(array, to.build(dtype))


def _in_zone(moments: Any, zone: Any) -> Any:
    return moments if zone is None else _made("zoned", values=moments, zone=zone)


def _made(kind: str, **attributes: Any) -> Any:
    return put_together(Parts(kind, attributes))


def _text(to: Builder, items: list[Any], dtype: Any) -> Any:
    if not all(isinstance(item, _TEXT) for item in items):
        raise TypeError("not all of it is text")
    values = [item if isinstance(item, str) else None for item in items]
    storage, na_value = ("python", "NA") if dtype is None else to.build(dtype)
    return _made("strings", values=values, storage=storage, na_value=na_value)


def _nullable(to: Builder, record: Record) -> Any:
    state = _state(record)
    return _made(record.name, values=to.build(state["_data"]), mask=to.build(state["_mask"]))


def _string_dtype(to: Builder, record: Record) -> tuple[str, str]:
    """Return what holds the characters, and what is missing: ``nan`` in pandas 3's own dtype."""
    storage, missing = (*to.build(record.args), None, None)[:2]
    storage, _, is_numpy = str(storage or "python").partition("_")  # pyarrow_numpy, in pandas 2
    return storage, "nan" if isinstance(missing, float) or is_numpy else "NA"


def _zone_dtype(to: Builder, record: Record) -> Any:
    zone = to.build(_state(record)["tz"])
    return zone if isinstance(zone, timezone) else zone_name(zone)


# Arrow's text, as pandas 3 has it where pyarrow is ------------------------------------------------


def _arrow_text(to: Builder, record: Record) -> Any:
    state = _state(record)
    items = to.build(_any_of(state, "_pa_array", "_data"))
    return _text(to, items, _any_of(state, "_dtype"))


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
    kind, state = getattr(record.args[0], "name", None), record.args[1]
    name = to.build(state.get("name"))
    if kind == "RangeIndex":
        bounds = {key: to.build(state[key]) for key in ("start", "stop", "step")}
        return _made(kind, **bounds, name=name)
    if kind == "MultiIndex":
        codes = to.build(_any_of(state, "codes", "labels"))
        names = list(to.build(state["names"]))
        return _made(kind, levels=to.build(state["levels"]), codes=codes, names=names)
    values = to.build(state["data"])
    if kind not in ("DatetimeIndex", "TimedeltaIndex"):
        return _made("Index", values=values, name=name)
    zone = to.build(state.get("tz"))
    values = _in_zone(values, zone if isinstance(values, np.ndarray) else None)
    # As pandas does, which does not ask whether the dates have it.
    return _made(kind, values=values, name=name, freq=_freq(to, state), loose=True)


def _freq(to: Builder, state: dict[str, Any]) -> Any:
    """Return the frequency of an index, or that of its array, which had it in older pandas."""
    inner = getattr(state["data"], "state", None)
    inner = inner[2] if isinstance(inner, tuple) and len(inner) > 2 else inner
    inner = inner.get("_freq") if isinstance(inner, dict) else None
    return to.build(inner if state.get("freq") is None else state["freq"])


def _offset(to: Builder, record: Record) -> Any:
    kind = getattr(import_pandas().offsets, record.name)
    if record.state is None:
        return kind(*to.build(record.args))
    # A DateOffset; its other attributes are made of these.
    facts = {key: value for key, value in _state(record).items() if not key.startswith("_")}
    facts.pop("kwds", None)
    return kind(**{key: to.build(value) for key, value in facts.items()})


# Series and DataFrames ----------------------------------------------------------------------------


def _series(to: Builder, record: Record) -> Any:
    state = _state(record)
    (index,), ((values, _),) = _manager(to, _any_of(state, "_mgr", "_data"))
    name = to.build(_any_of(state, "_name", "name"))
    return _made("Series", values=values, index=index, name=name, **_extras(to, state))


def _extras(to: Builder, state: dict[str, Any]) -> dict[str, Any]:
    flags = to.build(state.get("_flags")) or {}
    is_unique = flags.get("allows_duplicate_labels") is False
    return {"attrs": to.build(state.get("attrs")), "allows_duplicate_labels": not is_unique}


def _frame(to: Builder, record: Record) -> Any:
    state = _state(record)
    (columns, index), blocks = _manager(to, _any_of(state, "_mgr", "_data"))
    by_position = dict(pair for block in blocks for pair in _columns(*block, len(columns)))
    values: Any = [by_position[i] for i in range(len(columns))]
    if len(blocks) == 1 and list(by_position) == sorted(by_position) and blocks[0][0].ndim == 2:
        values = blocks[0][0].T
    attributes = {"": values, "columns": columns, "index": index}
    return _made("DataFrame", **attributes, **_extras(to, state))


def _columns(values: Any, positions: Any, n_columns: int) -> Iterator[tuple[int, Any]]:
    """Yield the columns of a block with their positions."""
    if isinstance(positions, slice):
        positions = range(n_columns)[positions]
    columns = list(values) if values.ndim == 2 else [values]
    return zip(map(int, positions), columns, strict=True)


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


MAKERS: dict[str, Callable[[Builder, Record], Any]] = {
    "__pyx_unpickle_NDArrayBacked": _backed,
    **dict.fromkeys((*_TIMES, *_OBJECTS), _backed),
    **dict.fromkeys(NULLABLE, _nullable),
    "StringDtype": _string_dtype,
    "DatetimeTZDtype": _zone_dtype,
    "ArrowStringArray": _arrow_text,
    "arrow type": lambda to, record: str(record.args[0]),
    "arrow buffer": lambda to, record: bytes(to.build(record.args[0])),
    "arrow array": _arrow_array,
    "arrow chunks": _arrow_chunks,
    "_new_Index": _index,
    "_new_DatetimeIndex": _index,
    "_new_TimedeltaIndex": _index,
    "offset": _offset,
    "Series": _series,
    "DataFrame": _frame,
}
