"""pandas indexes as small descriptions and arrays, and back.

A description is a map for msgpack, or None for 0, 1, 2, …:

======= ==========================================================================================
kind    further keys
======= ==========================================================================================
range   start, stop, step
dates   first, unit, count, freq, zone, clock: so many dates from the first on, counted by the clock
        of UTC or of the zone; costs no array
array   zone, freq; the array is under the suffix ""
text    dtype; the array is msgpack under the suffix "", a list of str, numbers or nil
multi   levels: a description and, under the suffix "/i", an array for each; names
======= ==========================================================================================

Each may have a name, as `label` keeps it. A frequency that no text tells, as that of a calendar of one's
own, is not kept.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from datetime import tzinfo
from functools import partial
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError

INDEX = "/.index"

Array = npt.NDArray[Any]


def import_pandas() -> Any:
    """Return pandas.

    Raises
    ------
    ImportError
        That says how to install it.
    """
    try:
        return importlib.import_module("pandas")
    except ImportError as error:
        raise ImportError("Series and DataFrames need pandas: pip install pandas") from error


def describe(index: Any) -> tuple[dict[str, Any] | None, dict[str, Array]]:
    """Return the description of an index, and its arrays by suffix.

    Examples
    --------
    >>> import pandas as pd
    >>> describe(pd.RangeIndex(3))
    (None, {})
    >>> describe(pd.Index([3, 1], name="id"))
    ({'kind': 'array', 'name': 'id'}, {'': array([3, 1])})
    """
    pd = import_pandas()
    spec: dict[str, Any]
    arrays: dict[str, Array] = {}
    if isinstance(index, pd.RangeIndex):
        spec = {"kind": "range", "start": index.start, "stop": index.stop, "step": index.step}
        if (index.start, index.step, index.name) == (0, 1, None) and index.stop == len(index):
            return None, {}
    elif isinstance(index, pd.MultiIndex):
        spec, arrays = _describe_levels(index)
    elif isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
        spec, arrays = _describe_times(index)
    elif isinstance(index.dtype, np.dtype) and index.dtype.kind in "biufcmM":
        spec, arrays = {"kind": "array"}, {"": index.to_numpy()}
    else:
        spec, arrays = _describe_text(index)
    if index.name is not None and spec["kind"] != "multi":
        spec["name"] = label(index.name, "the index")
    return spec, arrays


def _describe_levels(index: Any) -> tuple[dict[str, Any], dict[str, Array]]:
    levels: list[Any] = []
    arrays: dict[str, Array] = {}
    for i in range(index.nlevels):
        spec, found = describe(index.get_level_values(i))
        levels.append(spec)
        arrays |= {f"/{i}{suffix}": array for suffix, array in found.items()}
    return {"kind": "multi", "levels": levels, "count": len(index)}, arrays


def _describe_times(index: Any) -> tuple[dict[str, Any], dict[str, Array]]:
    """Describe dates by their frequency, if that gives the very same dates, else as an array."""
    tz = getattr(index, "tz", None)
    if index.freq is not None and hasattr(index, "tz") and len(index):
        for clock in ("utc", "local"):
            dates = _dates(index, clock)
            made = _or_none(partial(_make_dates, dates))
            if made is not None and made.equals(index) and made.freq == index.freq:
                return dates, {}
    spec: dict[str, Any] = {"kind": "array"}
    if tz is not None:
        spec["zone"] = zone(tz)
    if index.freq is not None:
        made = _or_none(lambda: type(index)(index, freq=index.freqstr))
        if made is not None and made.freq == index.freq:
            spec["freq"] = index.freqstr
    return spec, {"": np.asarray(index if tz is None else utc_of(index))}


def _or_none(make: Callable[[], Any]) -> Any:
    """Return an index, or None if text does not tell its frequency."""
    try:
        return make()
    except ValueError:
        return None


def _dates(index: Any, clock: str) -> dict[str, Any]:
    return {
        "kind": "dates",
        "first": int(np.asarray(utc_of(index[:1])).view("i8")[0]),
        "unit": index.unit,
        "count": len(index),
        "freq": index.freqstr,
        "zone": None if index.tz is None else zone(index.tz),
        "clock": clock,
    }


def _make_dates(spec: Mapping[str, Any]) -> Any:
    """Make dates from their description; by the clock of UTC is much faster than of another zone."""
    pd = import_pandas()
    first = pd.Timestamp(np.datetime64(spec["first"], spec["unit"]))
    settings: dict[str, Any] = {
        "periods": spec["count"],
        "freq": spec["freq"],
        "unit": spec["unit"],
    }
    if spec["zone"] is None:
        return pd.date_range(first, **settings)
    first = first.tz_localize("UTC")
    if spec["clock"] == "utc":
        return pd.date_range(first, **settings).tz_convert(spec["zone"])
    return pd.date_range(first.tz_convert(spec["zone"]), **settings)


def _describe_text(index: Any) -> tuple[dict[str, Any], dict[str, Array]]:
    dtype = str(index.dtype)
    if dtype not in ("object", "str") and not dtype.startswith("string"):
        raise BadInputError(
            f"the index is a {type(index).__name__} of {dtype}, which is not kept: reset it, turn "
            "it into text or numbers (with convert= if this is an import), or leave it out",
            found=dtype,
        )
    items = index.tolist()
    if dtype != "object":
        items = [item if isinstance(item, str) else None for item in items]
    try:
        if not all(isinstance(item, str | int | float | None) for item in items):
            raise TypeError("not all of it is text or numbers")
        packed = msgpack.packb(items)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInputError(f"the index of Python objects is not kept: {error}") from error
    kept = dtype if dtype in ("object", "str") else "string"
    return {"kind": "text", "dtype": kept}, {"": np.frombuffer(packed, np.uint8)}


def suffixes(spec: Mapping[str, Any] | None) -> list[str]:
    """Return the suffixes that the arrays of an index have.

    Examples
    --------
    >>> suffixes({"kind": "multi", "levels": [{"kind": "array"}, None, {"kind": "text"}]})
    ['/0', '/2']
    """
    if spec is None or spec["kind"] in ("range", "dates"):
        return []
    if spec["kind"] == "multi":
        levels = enumerate(spec["levels"])
        return [f"/{i}{suffix}" for i, level in levels for suffix in suffixes(level)]
    return [""]


def restored(spec: Mapping[str, Any] | None, fetch: Callable[[str], Array]) -> Any:
    """Return an index from its description and what gives an array for a suffix."""
    pd = import_pandas()
    if spec is None:
        raise BadInputError("a level of an index is described by nothing")
    name = unlabel(spec.get("name"))
    match spec["kind"]:
        case "range":
            return pd.RangeIndex(spec["start"], spec["stop"], spec["step"], name=name)
        case "dates":
            index = _make_dates(spec)
            index.name = name
            return index
        case "array":
            index = pd.Index(in_zone(fetch(""), spec.get("zone")), name=name, copy=False)
            if "freq" in spec:
                index.freq = spec["freq"]
            return index
        case "text":
            return _restored_text(fetch(""), spec["dtype"], name)
        case "multi":
            return _restored_levels(spec, fetch)
    raise BadInputError(f"an index of kind {spec['kind']!r:.40} is not known to this version")


def _restored_text(packed: Array, dtype: str, name: Any) -> Any:
    pd = import_pandas()
    items = msgpack.unpackb(packed.tobytes())
    if dtype == "str" and int(pd.__version__.split(".")[0]) < 3:
        dtype = "object"
    return pd.Index(items, dtype=dtype, name=name)


def _restored_levels(spec: Mapping[str, Any], fetch: Callable[[str], Array]) -> Any:
    pd = import_pandas()
    levels = []
    for i, level in enumerate(spec["levels"]):
        if level is None:
            levels.append(pd.RangeIndex(spec["count"]))
        else:
            levels.append(restored(level, partial(_fetch_level, fetch, i)))
    return pd.MultiIndex.from_arrays(levels, names=[level.name for level in levels])


def _fetch_level(fetch: Callable[[str], Array], i: int, suffix: str) -> Array:
    return fetch(f"/{i}{suffix}")


def inlined(index: Any) -> dict[str, Any]:
    """Return an index as one map for msgpack, its arrays in it: for columns, which are few."""
    spec, arrays = describe(index)
    raw = {suffix: [array.dtype.str, array.tobytes()] for suffix, array in arrays.items()}
    return {"spec": spec, "count": len(index), "arrays": raw}


def from_inlined(whole: Mapping[str, Any]) -> Any:
    """Return the index of `inlined`."""
    if whole["spec"] is None:
        return import_pandas().RangeIndex(whole["count"])

    def fetch(suffix: str) -> Array:
        dtype, raw = whole["arrays"][suffix]
        return np.frombuffer(raw, np.dtype(dtype))

    return restored(whole["spec"], fetch)


# Labels and time zones ----------------------------------------------------------------------------


def label(value: Any, what: str) -> Any:
    """Return a label as msgpack keeps it: a tuple as a map, or else it would become a list.

    Examples
    --------
    >>> label(("a", 1), "the Series"), unlabel({"tuple": ["a", 1]})
    ({'tuple': ['a', 1]}, ('a', 1))
    """
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, tuple):
        return {"tuple": [label(item, what) for item in plain]}
    if plain is None or isinstance(plain, str | float | bytes) or _is_small_int(plain):
        return plain
    raise BadInputError(
        f"{what} is named {value!r:.60}, a {type(value).__name__}: only text, numbers and tuples "
        "of those are kept as names",
        found=type(value).__name__,
    )


def _is_small_int(value: Any) -> bool:
    return isinstance(value, int) and -(2**63) <= value < 2**64


def unlabel(value: Any) -> Any:
    """Return the label that `label` kept."""
    if isinstance(value, Mapping):
        return tuple(unlabel(item) for item in value["tuple"])
    return value


def zone(tz: Any) -> str:
    """Return the name of a time zone: from the zone database, UTC, or a fixed offset."""
    name = getattr(tz, "key", None) or getattr(tz, "zone", None)
    if name is None and isinstance(tz, tzinfo):
        offset = tz.utcoffset(None)
        if offset is None:
            raise BadInputError(f"time zone {tz!r:.60} has no name in the zone database")
        minutes, seconds = divmod(round(offset.total_seconds()), 60)
        if seconds:
            raise BadInputError(f"time zone {tz!r:.60} is not off by whole minutes")
        name = (
            "UTC"
            if not minutes
            else f"{'+' if minutes > 0 else '-'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
        )
    return str(name)


def utc_of(dates: Any) -> Any:
    """Return dates with or without a zone as plain ones, in UTC."""
    return dates if dates.tz is None else dates.tz_convert("UTC").tz_localize(None)


def in_zone(values: Array, zone_name: str | None) -> Any:
    """Return plain dates of UTC as dates of a zone; any other array as it is."""
    if zone_name is None:
        return values
    return (
        import_pandas().DatetimeIndex(values, copy=False).tz_localize("UTC").tz_convert(zone_name)
    )
