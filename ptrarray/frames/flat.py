"""Parts as arrays and a description, for a store of named arrays with metadata.

The values of an object lie under its name. Every other array is a companion: its name has a suffix
that says where in the object it is, as in ``NAME/.index``. What is not an array is described by
what msgpack keeps; docs/NESTED-FORMAT.md has the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import msgpack
import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.frames.apart import take_apart
from ptrarray.frames.library import import_pandas
from ptrarray.frames.offsets import is_same
from ptrarray.frames.together import made
from ptrarray.frames.zones import make_zone
from ptrarray.objects.parts import Items, Parts
from ptrarray.rows.types import Array

_COLUMN = re.compile(r"/\.([0-9]+)")
_UNPACKED = (TypeError, ValueError, OverflowError)  # what msgpack raises for what it cannot keep


class Described(NamedTuple):
    """A pandas object as what a store keeps.

    Attributes
    ----------
    values : ndarray
        What lies under the name.
    companions : dict from str to ndarray
        What lies under the name with the key behind it.
    about : dict
        The description.
    """

    values: Array
    companions: dict[str, Array]
    about: dict[str, Any]


def describe_parts(parts: Parts) -> Described:
    """Return the parts of a Series or DataFrame as arrays and a description.

    Raises
    ------
    BadInputError
        For a name, or a list of values, that msgpack cannot keep, and for what
        `take_apart` refuses.
    """
    arrays = _Arrays()
    about = arrays.described(parts, "")
    fields = [{"field": field} for field in arrays.fields]
    about = {key: part for key, part in about.items() if part not in ({"array": ""}, fields)}
    return Described(arrays.values(), arrays.by_suffix, about)


class _Arrays:
    """Takes the arrays of an object, and returns descriptions that refer to them."""

    def __init__(self) -> None:
        self.by_suffix: dict[str, Array] = {}
        self.fields: dict[str, Array] = {}

    def values(self) -> Array:
        """Return what lies under the name itself."""
        if not self.fields:
            return self.by_suffix.pop("", np.empty((0, 0)))
        dtype = [(field, column.dtype) for field, column in self.fields.items()]
        table = np.empty(self._n_rows(), dtype)
        for field, column in self.fields.items():
            table[field] = column
        return table

    def described(self, value: Any, suffix: str) -> Any:
        """Return the description of a value that is where a suffix says."""
        match value:
            case np.ndarray():
                return self._put(value, suffix)
            case Items():
                return {"list": self._put(_packed(value), suffix, is_column=False)}
            case list():
                items = enumerate(value)
                return [self.described(item, _below(suffix, str(i))) for i, item in items]
            case dict():
                return _attrs(value)
            case Parts(kind, attributes):
                parts = attributes.items()
                return {"kind": kind} | {k: self.described(v, _below(suffix, k)) for k, v in parts}
        taken = _taken_apart(value)
        if taken is None:
            return _label(value, "the Series" if suffix == "/.name" else "the index")
        about = self.described(taken, suffix)
        is_index = suffix == "/.index" and len(value) == self._n_rows()
        dates = _by_frequency(value, about) if is_index else None
        if dates is None:
            return about
        del self.by_suffix[suffix]
        return dates

    def _n_rows(self) -> int:
        """Return how many rows there are in what lies under the name, as far as it is known."""
        first = next(iter(self.fields.values()), self.by_suffix.get(""))
        return -1 if first is None else len(first)

    def _put(self, array: Array, suffix: str, is_column: bool = True) -> dict[str, Any]:
        if suffix.startswith("/.columns"):  # a store of one dtype cannot have companions
            return {"raw": [array.dtype.str, array.tobytes()]}
        column = _COLUMN.fullmatch(suffix) if is_column else None
        if column is not None:
            self.fields[column[1]] = array
            return {"field": column[1]}
        self.by_suffix[suffix] = array
        return {"array": suffix}


def _below(suffix: str, part: str) -> str:
    if part in ("", "values", "codes"):
        return suffix
    return f"{suffix}/{part}" if suffix else f"/.{part}"


def _taken_apart(value: Any) -> Parts | None:
    try:
        parts = take_apart(value)
    except BadInputError as error:
        raise BadInputError(f"it {error}", found=error.found) from error
    mask = None if parts is None else parts.attributes.get("mask")
    return parts if parts is None or mask is None or mask.any() else parts.without("mask")


def _label(value: Any, what: str) -> Any:
    if isinstance(value, np.generic) and value.dtype.kind in "mMfc" and not _is_float(value):
        return {"scalar": [value.dtype.str, value.tobytes()]}
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, tuple):
        return {"tuple": [_label(item, what) for item in plain]}
    is_small = isinstance(plain, int) and -(2**63) <= plain < 2**64
    if plain is None or is_small or isinstance(plain, str | float | bytes):
        return plain
    kind = type(value).__name__
    kept = "only text, numbers and tuples of those are kept as names"
    raise BadInputError(f"{what} is named {value!r:.60}, a {kind}: {kept}", found=kind)


def _is_float(value: np.generic) -> bool:
    return isinstance(value.item(), float)


def _packed(items: Items) -> Array:
    values = [_plain(item) for chunk in items.chunks for item in chunk]
    try:
        return np.frombuffer(msgpack.packb(values, strict_types=True), np.uint8)
    except _UNPACKED as error:
        raise BadInputError(f"the index of Python objects is not kept: {error}") from error


def _plain(item: Any) -> Any:
    plain = item.item() if isinstance(item, np.str_ | np.float64) else item
    if type(plain) not in (str, int, float, bool, type(None)):
        what = f"the index of Python objects is not kept: {item!r:.60} in it is no text or number"
        raise BadInputError(what, found=type(item).__name__)
    return plain


def _attrs(attrs: Any) -> Any:
    """Return the description of what a user noted: a map, or pairs for what is not one."""
    match attrs:
        case dict():
            with suppress(*_UNPACKED):
                return {"map": msgpack.unpackb(msgpack.packb(attrs, strict_types=True))}
            return {"pairs": [[_attrs(key), _attrs(value)] for key, value in attrs.items()]}
        case list():
            return [_attrs(item) for item in attrs]
        case tuple():
            return {"tuple": [_attrs(item) for item in attrs]}
    if isinstance(attrs, np.bool_ | np.number | np.datetime64):
        return {"scalar": [attrs.dtype.str, attrs.tobytes()]}
    with suppress(BadInputError):
        return _label(attrs, "")
    raise BadInputError(
        f"its attrs cannot be kept: {attrs!r:.60} in them is a {type(attrs).__name__}; "
        "delete them, with convert= if this is an import",
        found=type(attrs).__name__,
    )


# Dates of a frequency -----------------------------------------------------------------------------


def _by_frequency(index: Any, about: dict[str, Any]) -> dict[str, Any] | None:
    """Return a description that needs no array, if the frequency gives the very same dates."""
    if "freq" not in about or not hasattr(index, "tz") or not len(index):
        return None
    facts = {"freq": about["freq"], "first": int(index.asi8[0]), "unit": index.unit}
    if index.tz is not None:
        facts["zone"] = about["values"]["zone"]
    for clock in ("utc", "local"):
        with suppress(ValueError):
            known = facts | {"freq": index.freq, "zone": index.tz}
            dates = _dates(len(index), **known, clock=clock)
            if dates.equals(index) and is_same(dates.freq, index.freq):
                named = {"name": about["name"]} if "name" in about else {}
                return {"kind": "dates", **facts, "clock": clock, **named}
    return None


def _dates(
    n: int, first: int, unit: Any, freq: Any, clock: str, zone: Any = None, name: Any = None
) -> Any:
    """Make dates; by the clock of UTC is much faster than by that of another zone."""
    pd = import_pandas()
    start = pd.Timestamp(np.datetime64(first, unit), tz=None if zone is None else "UTC")
    if clock == "local" and zone is not None:
        start = start.tz_convert(make_zone(zone))
    dates = pd.date_range(start, periods=n, freq=freq, unit=unit, name=name)
    return dates if zone is None else dates.tz_convert(make_zone(zone))


# And back -----------------------------------------------------------------------------------------


class Source(NamedTuple):
    """What a description refers to.

    Attributes
    ----------
    values : ndarray
        What lies under the name itself.
    companion : callable
        Returns the array of a suffix.
    """

    values: Array
    companion: Callable[[str], Array]

    def parts(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parts in the description of an object."""
        return {key: self.restored(part) for key, part in about.items() if key != "kind"}

    def restored(self, about: Any) -> Any:
        """Return what a description stands for."""
        if type(about) is list:
            return [self.restored(item) for item in about]
        if type(about) is not dict:
            return about
        kind = about.get("kind")
        if kind == "dates":
            return _dates(len(self.values), **self.parts(about))
        if kind is not None:
            return made(kind, self.parts(about))
        ((word, content),) = about.items()
        read = _READERS.get(word)
        if read is None:
            raise BadInputError(f"a pandas object with {word!r:.40} is not known to this version")
        return read(self, content)


_READERS: dict[str, Callable[[Source, Any], Any]] = {
    "array": lambda source, suffix: source.companion(suffix) if suffix else source.values,
    "field": lambda source, field: source.values[field],
    "raw": lambda source, raw: np.frombuffer(raw[1], raw[0]),
    "list": lambda source, packed: msgpack.unpackb(source.restored(packed).tobytes()),
    "scalar": lambda source, parts: np.frombuffer(parts[1], parts[0])[0],
    "tuple": lambda source, items: tuple(source.restored(items)),
    "map": lambda source, mapping: mapping,
    "pairs": lambda source, pairs: dict(map(tuple, source.restored(pairs))),
}


def companions_of(about: Any) -> list[str]:
    """Return what the names of an object's companions end in, from its description.

    Examples
    --------
    >>> companions_of({"kind": "Series", "index": {"kind": "Index", "values": {"array": "/.index"}}})
    ['/.index']
    """
    match about:
        case {"array": str(suffix)}:
            return [suffix] if suffix else []
        case {"map": _}:
            return []
    items = about.values() if isinstance(about, dict) else about if isinstance(about, list) else ()
    return [suffix for item in items for suffix in companions_of(item)]
