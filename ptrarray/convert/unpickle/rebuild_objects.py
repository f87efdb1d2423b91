"""Records to Python objects in the arrays of pandas: each as it was, or refused.

Elsewhere a set may become a list, as its numbers are what counts; a value among others must not
change.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timezone, tzinfo
from decimal import Decimal
from typing import Any

import numpy as np

from ptrarray.convert.unpickle.inert import NO_ARRAY, Builder, Items, Pairs, Record
from ptrarray.errors import BadInputError
from ptrarray.frames.library import import_pandas
from ptrarray.frames.together import put_together
from ptrarray.frames.zones import make_zone
from ptrarray.objects.parts import Parts
from ptrarray.rows.types import Array

_OBJECTS = np.dtype(object)
# Words of records that the makers give back as what they were.
_AS_THEY_WERE = frozenset(
    [
        "encode",
        "complex",
        "range",
        "timedelta",
        "scalar",
        "frombuffer",
        "Series",
        "DataFrame",
        "_new_Index",
        "_new_DatetimeIndex",
        "_new_TimedeltaIndex",
        "_new_IntervalIndex",
    ]
)


def objects_of(to: Builder, record: Any) -> Array | None:
    """Return an array of Python objects, or None if the record is of anything else."""
    return Exact(to).array(record)


class Exact:
    """One walk over Python objects."""

    def __init__(self, to: Builder) -> None:
        self._to = to
        self._done: dict[int, tuple[Any, Any]] = {}  # what is there twice is built once

    def array(self, record: Any) -> Array | None:
        """Return an array of Python objects, or None if the record is of anything else."""
        state = record.state if getattr(record, "kind", "") == "array" else None
        if not isinstance(state, tuple) or self._to.build(state[-3]) != _OBJECTS:
            return None
        *_, shape, _, is_fortran, items = state
        flat = np.fromiter(map(self.build, items), object, len(items))
        # The list is in C order, whatever the order of the array.
        return np.array(flat.reshape(shape), order="F" if is_fortran else "C")

    def build(self, value: Any) -> Any:
        """Return one object.

        Raises
        ------
        BadInputError
            If it would not be the same.
        """
        kind = type(value)
        if kind in (str, int, float, bool, bytes, type(None)):
            return value
        if id(value) not in self._done:
            self._done[id(value)] = value, self._built(value)
        return self._done[id(value)][1]

    def _built(self, value: Any) -> Any:
        match value:
            case type():
                if getattr(value, "name", "") == "NA":
                    return import_pandas().NA
            case Pairs() | Items():
                pass
            case dict():
                return {self.build(key): self.build(item) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return type(value)(map(self.build, value))
            case Record():
                return self._of_record(value)
        name = getattr(value, "name", None) or type(value).__name__
        raise BadInputError(f"it has Python objects, and one of them is a {name}", found=name)

    def _of_record(self, record: Record) -> Any:
        make = _MAKERS.get(record.name) if record.kind.startswith(NO_ARRAY) else None
        make = make or _MAKERS.get(record.kind)
        if make is not None:
            return make(self, record)
        if record.kind in _AS_THEY_WERE:
            return self._to.build(record)
        raise BadInputError(
            f"it has Python objects, and one of them is a {record.name}, which is not read: from "
            "Python, pass convert=, a function that changes them, and trust=True if you trust "
            "whoever wrote it",
            found=record.name,
        )

    def plain_array(self, record: Record) -> Any:
        """Return an array among objects."""
        found = self.array(record)
        return self._to.build(record) if found is None else found

    def zone(self, args: tuple[Any, ...]) -> tzinfo | None:
        """Return the time zone of a date, from its arguments behind the first one."""
        zone = args[0] if args else None
        if zone is None:
            return None
        kind = getattr(zone, "kind", "")
        if kind == "timezone":
            return timezone(*self._to.build(zone.args))
        if kind == "call":
            return make_zone(("zoneinfo", self._to.build(zone)))
        name = getattr(zone, "name", type(zone).__name__)
        what = f"it has dates among Python objects, and one has the time zone {name}"
        raise BadInputError(f"{what}: only those of zoneinfo and datetime are read", found=name)

    def raw(self, record: Record, n: int) -> bytes:
        """Return the first argument as so many bytes."""
        raw = self._to.build(record.args[0])
        if not isinstance(raw, bytes) or len(raw) != n:
            raise TypeError(f"no {n} bytes")
        return raw


# How datetime lays its values out in bytes; the highest bit of one of them is the fold.


def _date(exact: Exact, record: Record) -> date:
    high, low, month, day = exact.raw(record, 4)
    return date(high * 256 + low, month, day)


def _datetime(exact: Exact, record: Record) -> datetime:
    high, low, month, day, hour, minute, second, *micro = exact.raw(record, 10)
    days = (high * 256 + low, month & 127, day)
    clock = (hour, minute, second, int.from_bytes(micro, "big"))
    return datetime(*days, *clock, exact.zone(record.args[1:]), fold=month >> 7)


def _time(exact: Exact, record: Record) -> time:
    hour, minute, second, *micro = exact.raw(record, 6)
    clock = (hour & 127, minute, second, int.from_bytes(micro, "big"))
    return time(*clock, exact.zone(record.args[1:]), fold=hour >> 7)


def _decimal(exact: Exact, record: Record) -> Decimal:
    (text,) = record.args
    if not isinstance(text, str):
        raise TypeError("no text")
    return Decimal(text)


def _set(exact: Exact, record: Record) -> Any:
    kind = {"set": set, "frozenset": frozenset}[record.name]
    return kind(map(exact.build, record.args[0])) if record.args else kind()


def _bytes(exact: Exact, record: Record) -> bytes:
    if record.name != "bytes":
        raise BadInputError("it has Python objects, and one of them is a bytearray")
    raw: bytes = exact._to.build(record)
    return raw


# Values of pandas' own --------------------------------------------------------------------------

# As numpy numbers them; before pandas 2 there was but one.
_UNITS: dict[tuple[int, ...], str] = {(): "ns", (7,): "s", (8,): "ms", (9,): "us", (10,): "ns"}


def _moment(exact: Exact, record: Record) -> Any:
    number, _, zone, *unit = (exact._to.build(arg) for arg in record.args)
    (moment,) = np.array([number], f"M8[{_UNITS[tuple(unit)]}]")
    return _made("Timestamp", value=moment, zone=zone)


def _duration(exact: Exact, record: Record) -> Any:
    number, *unit = record.args
    (duration,) = np.array([number], f"m8[{_UNITS[tuple(unit)]}]")
    return _made("Timedelta", value=duration)


def _period(exact: Exact, record: Record) -> Any:
    _, freq, ordinal = exact._to.build(record.args)
    return _made("Period", ordinal=ordinal, freq=freq)


def _interval(exact: Exact, record: Record) -> Any:
    left, right, closed = map(exact.build, record.args)
    return _made("Interval", left=left, right=right, closed=closed)


def _made(kind: str, **attributes: Any) -> Any:
    return put_together(Parts(kind, attributes))


_MAKERS: dict[str, Callable[[Exact, Record], Any]] = {
    "_unpickle_timestamp": _moment,
    "_timedelta_unpickle": _duration,
    "Period": _period,
    "Interval": _interval,
    **dict.fromkeys(("_nat_unpickle", "__nat_unpickle"), lambda *_: import_pandas().NaT),
    "date": _date,
    "datetime": _datetime,
    "time": _time,
    "Decimal": _decimal,
    "array": Exact.plain_array,
    "list": _set,
    "bytes": _bytes,
    "timezone": lambda exact, record: exact.zone((record,)),
}
