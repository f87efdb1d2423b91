"""Records of pickled Series, DataFrames and indexes to those, for pickles of pandas 1 to 3.

pandas need not be of the version that wrote the pickle: the arrays in it are read, and put
together by `ptrarray.frames.together` as those of a store are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timezone
from typing import Any

import numpy as np

from ptrarray.convert.unpickle.inert import Builder, Record
from ptrarray.convert.unpickle.rebuild_objects import Exact, objects_of
from ptrarray.errors import BadInputError, import_extra
from ptrarray.frames import arrow
from ptrarray.frames.apart import NULLABLE
from ptrarray.frames.library import import_pandas
from ptrarray.frames.together import put_together
from ptrarray.objects.parts import Parts

_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_PERIOD = re.compile(r"[Pp]eriod\[(\w+(?:-\w+)*)\]")
_DTYPES = ("DatetimeTZDtype", "StringDtype", "PeriodDtype", "CategoricalDtype")
_TIMES = {"DatetimeArray": "M", "TimedeltaArray": "m"}
_TEXT = ("StringArray", "StringArrayNumpySemantics")
_OBJECTS = ("NumpyExtensionArray", "PandasArray")


def zone_name(name: Any) -> str:
    """Return the name of a time zone that cannot be a path out of the zones' folder."""
    if not isinstance(name, str) or not _ZONE.fullmatch(name):
        raise ValueError(f"time zone {name!r:.40}")
    return name


def zone_of_file(args: Sequence[Any]) -> str:
    """Return what pandas calls a time zone of dateutil, which pickles where its file is, and all that is in it."""
    *_, path = (arg for arg in args if isinstance(arg, str))
    name = path.partition("zoneinfo/")[2]
    return zone_name(name if name == "UTC" else f"dateutil/{name}")


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


def _values(to: Builder, record: Any) -> Any:
    """Build values of a Series, column or index; Python objects among them exactly."""
    objects = objects_of(to, record)
    return to.build(record) if objects is None else objects


def _backed(to: Builder, record: Record) -> Any:
    """Build an array that pandas keeps as an ndarray: dates, durations, periods, categories, text."""
    if isinstance(record.state, dict):  # pandas 1.0 to 1.2
        kind, parts = record.name, [*record.state.values()]
    else:
        kind, parts = getattr(record.args[0], "name", ""), record.state[:2]
    dtype = next((part for part in parts if _kind(part) in _DTYPES), None)
    built = [_values(to, part) for part in parts if part is not dtype]
    (array,) = [part for part in built if isinstance(part, np.ndarray)]
    if kind in _OBJECTS:
        return array
    if kind in _TEXT:
        return _text(to, [*array], dtype)
    if kind == "Categorical":
        categories, ordered = to.build(dtype)
        return _made(kind, codes=array, categories=categories, ordered=ordered)
    if kind == "PeriodArray":
        return _made(kind, values=array, freq=to.build(dtype))
    if array.dtype.kind != _TIMES[kind]:
        raise TypeError(f"{array.dtype} in a {kind}")
    return _in_zone(array, to.build(dtype))


def _in_zone(moments: Any, zone: Any) -> Any:
    return moments if zone is None else _made("zoned", values=moments, zone=zone)


def _made(kind: str, **attributes: Any) -> Any:
    return put_together(Parts(kind, attributes))


def _text(to: Builder, items: list[Any], dtype: Any) -> Any:
    missing = (type(None), float, type(import_pandas().NA))
    if not all(isinstance(item, (str, *missing)) for item in items):
        raise TypeError("not all of it is text")
    values = [item if isinstance(item, str) else None for item in items]
    return _made("strings", values=values, **_of_text(to, dtype))


def _of_text(to: Builder, dtype: Any) -> dict[str, str]:
    storage, na_value = ("python", "NA") if dtype is None else to.build(dtype)
    return {"storage": storage, "na_value": na_value}


def _nullable(to: Builder, record: Record) -> Any:
    state = _state(record)
    return _made(record.name, values=to.build(state["_data"]), mask=to.build(state["_mask"]))


def _string_dtype(to: Builder, record: Record) -> tuple[str, str]:
    """Return what holds the characters, and what is missing: ``nan`` in pandas 3's own dtype."""
    storage, missing = (*to.build(record.args), None, None)[:2]
    if not record.args and record.state:  # as pandas wrote it before 2.3
        storage = to.build(_state(record).get("storage"))
    storage, _, is_numpy = str(storage or "python").partition("_")  # pyarrow_numpy, in pandas 2
    return storage, "nan" if isinstance(missing, float) or is_numpy else "NA"


def _zone_dtype(to: Builder, record: Record) -> Any:
    zone = to.build(_state(record)["tz"])
    return zone if isinstance(zone, timezone) else zone_name(zone)


def _period_dtype(to: Builder, record: Record) -> Any:
    """Return the frequency of periods: as text, or as pandas has it."""
    if isinstance(record.state, dict):
        return to.build(record.state["freq"])
    (given,) = record.args
    if not isinstance(given, str):  # pandas 1
        return to.build(given)
    found = _PERIOD.fullmatch(given)
    if not found:
        raise ValueError(f"dtype {given!r:.40}")
    return _period_alias(found[1])


def _period_alias(text: str) -> str:
    """Return what pandas calls a frequency since 2.2."""
    number, word, anchor = re.fullmatch(r"(\d*)([A-Za-z]+)(.*)", text).groups()  # type: ignore[union-attr]
    return f"{number}{_RENAMED.get(word, word)}{anchor}"


_RENAMED = {"A": "Y", "H": "h", "T": "min", "S": "s", "L": "ms", "U": "us", "N": "ns"}


def _category_dtype(to: Builder, record: Record) -> tuple[Any, bool]:
    state = _state(record)
    return to.build(state["categories"]), to.build(state["ordered"]) is True


def _interval_dtype(to: Builder, record: Record) -> Any:
    return to.build(_state(record)["closed"])


def _intervals(to: Builder, record: Record) -> Any:
    (state,) = record.state if isinstance(record.state, tuple) else (record.state,)
    closed = state["_closed"] if "_closed" in state else to.build(state["_dtype"])
    return _between(to.build(state["_left"]), to.build(state["_right"]), to.build(closed))


def _between(left: Any, right: Any, closed: Any) -> Any:
    index = import_pandas().Index
    sides = {"left": index(left, copy=False), "right": index(right, copy=False)}
    return _made("IntervalArray", **sides, closed=closed)


def _interval_index(to: Builder, record: Record) -> Any:
    state = record.args[1]
    values = _between(*(to.build(state[key]) for key in ("left", "right", "closed")))
    return _made("IntervalIndex", values=values, name=Exact(to).build(state.get("name")))


def _sparse(to: Builder, record: Record) -> Any:
    state = _state(record)
    values, index = _values(to, state["_sparse_values"]), state["_sparse_index"]
    length, *parts = to.build(index.args)
    is_block = index.kind == "BlockIndex"
    positions = _in_blocks(parts[0], parts[1], len(values)) if is_block else parts[0]
    return _made(
        "SparseArray",
        values=values,
        positions=positions,
        length=length,
        fill_value=to.build(state["_dtype"]),
        sparse_kind="block" if is_block else "integer",
    )


def _in_blocks(starts: Any, lengths: Any, n_values: int) -> Any:
    """Return the positions that blocks cover, if they are as many as there are values."""
    starts, lengths = starts.astype(np.int64), lengths.astype(np.int64)
    if starts.shape != lengths.shape or lengths.min(initial=0) < 0 or lengths.sum() != n_values:
        raise ValueError(f"blocks that do not cover {n_values} values")
    first = np.cumsum(lengths) - lengths
    return (np.repeat(starts - first, lengths) + np.arange(n_values)).astype(np.int32)


def _fill_value(to: Builder, record: Record) -> Any:
    return Exact(to).build(_state(record)["_fill_value"])


# Columns of Arrow ---------------------------------------------------------------------------------


def _arrow_text(to: Builder, record: Record) -> Any:
    state = _state(record)
    kind, parts = to.build(_any_of(state, "_pa_array", "_data"))
    if kind not in _WIDTHS:
        raise TypeError(f"text in values of {kind}")
    return _made("strings", **parts, **_of_text(to, _any_of(state, "_dtype")))


def _arrow_column(to: Builder, record: Record) -> Any:
    kind, parts = to.build(_any_of(_state(record), "_pa_array", "_data"))
    _import_arrow()
    return _made("arrow", **parts, arrow_type=kind)


def _import_arrow() -> Any:
    what = "it has a column of Arrow: pip install pyarrow"
    return import_extra("pyarrow", what, BadInputError)


_WIDTHS = {"string": "i4", "binary": "i4", "large_string": "i8", "large_binary": "i8"}


def _arrow_chunks(to: Builder, record: Record) -> tuple[Any, dict[str, Any]]:
    """Return the type of a column and its parts, those of all chunks end to end."""
    chunks = to.build(record.args[0])
    kind, n_items = chunks[0][0], [len(parts.get("ends", parts["values"])) for _, parts in chunks]
    (joined, *more) = [parts for _, parts in chunks]
    if not more:
        return kind, joined
    names = {name for _, parts in chunks for name in parts}
    ends = np.cumsum([0, *(len(parts["values"]) for _, parts in chunks[:-1])])
    shifted = [
        {"mask": np.zeros(n, np.bool_), **parts, "ends": parts.get("ends", 0) + end}
        for (_, parts), n, end in zip(chunks, n_items, ends, strict=True)
    ]
    return kind, {name: np.concatenate([parts[name] for parts in shifted]) for name in names}


def _arrow_array(to: Builder, record: Record) -> tuple[Any, dict[str, Any]]:
    """Return the type of an array and its parts, as `ptrarray.frames.arrow` has them."""
    kind, n_items, _, start, buffers, *_ = to.build(record.args[0])
    valid, *raw = (np.frombuffer(raw or b"", np.uint8) for raw in buffers)
    mask = {"mask": ~arrow.bits(valid, n_items, start)} if len(valid) else {}
    if kind not in _WIDTHS:
        (data,) = raw
        dtype = arrow.dtype_of(arrow.make_type(_import_arrow(), kind))
        return kind, {"values": arrow.fixed_values(data, dtype, n_items, start), **mask}
    ends, text = raw
    bounds = ends.view(_WIDTHS[kind])[start : start + n_items + 1] if n_items else np.zeros(1, int)
    if len(bounds) != n_items + 1:
        raise ValueError(f"{len(bounds)} ends for {n_items} values")
    first, last = int(bounds[0]), int(bounds[-1])
    if not 0 <= first <= last <= len(text):
        raise ValueError(f"text from {first} to {last} of {len(text)} bytes")
    return kind, {"values": text[first:last], "ends": bounds[1:] - first, **mask}


def _arrow_dtype(to: Builder, record: Record) -> None:
    """Return nothing: the column itself has its type."""


# Indexes ------------------------------------------------------------------------------------------


def _index(to: Builder, record: Record) -> Any:
    """Build any index: ``_new_Index(cls, dict)``."""
    kind, state = getattr(record.args[0], "name", None), record.args[1]
    name = Exact(to).build(state.get("name"))
    if kind == "RangeIndex":
        bounds = {key: to.build(state[key]) for key in ("start", "stop", "step")}
        return _made(kind, **bounds, name=name)
    if kind == "MultiIndex":
        codes = to.build(_any_of(state, "codes", "labels"))
        names = Exact(to).build(list(state["names"]))
        return _made(kind, levels=to.build(state["levels"]), codes=codes, names=names)
    values = _values(to, state["data"])
    if kind in _OWN_INDEXES:
        return _made(kind, values=values, name=name)
    if kind not in ("DatetimeIndex", "TimedeltaIndex"):
        return _made("Index", values=values, name=name)
    zone = to.build(state.get("tz"))
    values = _in_zone(values, zone if isinstance(values, np.ndarray) else None)
    # As pandas does, which does not ask whether the dates have it.
    return _made(kind, values=values, name=name, freq=_freq(to, state), loose=True)


_OWN_INDEXES = ("CategoricalIndex", "PeriodIndex", "IntervalIndex")


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
    name = Exact(to).build(_any_of(state, "_name", "name"))
    return _made("Series", values=values, index=index, name=name, **_extras(to, state))


def _extras(to: Builder, state: dict[str, Any]) -> dict[str, Any]:
    flags = to.build(state.get("_flags")) or {}
    is_unique = flags.get("allows_duplicate_labels") is False
    return {"attrs": Exact(to).build(state.get("attrs")), "allows_duplicate_labels": not is_unique}


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
        pairs = [block.args[:2] for block in blocks]
        return to.build(list(axes)), [(_values(to, one), to.build(at)) for one, at in pairs]
    axes, values, _, *newer = record.state
    if newer and "0.14.1" in newer[0]:
        parts = newer[0]["0.14.1"]
        pairs = [(block["values"], block["mgr_locs"]) for block in parts["blocks"]]
        return to.build(list(parts["axes"])), [
            (_values(to, one), to.build(at)) for one, at in pairs
        ]
    return to.build(list(axes)), [(_values(to, array), slice(None)) for array in values]


MAKERS: dict[str, Callable[[Builder, Record], Any]] = {
    "__pyx_unpickle_NDArrayBacked": _backed,
    **dict.fromkeys((*_TIMES, *_OBJECTS, *_TEXT, "PeriodArray", "Categorical"), _backed),
    **dict.fromkeys(NULLABLE, _nullable),
    "StringDtype": _string_dtype,
    "DatetimeTZDtype": _zone_dtype,
    "PeriodDtype": _period_dtype,
    "CategoricalDtype": _category_dtype,
    "IntervalDtype": _interval_dtype,
    **dict.fromkeys(("IntervalArray", "__pyx_unpickle_IntervalMixin"), _intervals),
    "_new_IntervalIndex": _interval_index,
    "_new_PeriodIndex": _index,
    "SparseArray": _sparse,
    "SparseDtype": _fill_value,
    **dict.fromkeys(("ArrowStringArray", "ArrowStringArrayNumpySemantics"), _arrow_text),
    "ArrowExtensionArray": _arrow_column,
    "ArrowDtype": _arrow_dtype,
    "arrow type": lambda to, record: str(record.args[0]),
    "arrow type of": lambda to, record: (record.name, *to.build(record.args)),
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
