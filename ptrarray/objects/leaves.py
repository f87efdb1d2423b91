"""Values without anything inside that is not plain to msgpack: to tokens and back."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.format import dtypes
from ptrarray.rows.types import Array

_ZONE_NAME_LIMIT = 256

Token = list[Any]

# Of np.longlong and the like there are several types for one dtype.
NUMPY_SCALARS = frozenset(np.sctypeDict.values()) - {np.object_}


def _number(value: complex) -> Token:
    return ["complex", value.real, value.imag]


def _date(value: date) -> Token:
    return ["date", value.year, value.month, value.day]


def _timedelta(value: timedelta) -> Token:
    return ["timedelta", value.days, value.seconds, value.microseconds]


def _time(value: time) -> Token:
    clock = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    return ["time", *clock, _zone(value.tzinfo)]


def _datetime(value: datetime) -> Token:
    day = (value.year, value.month, value.day)
    clock = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    return ["datetime", *day, *clock, _zone(value.tzinfo)]


def _zone(zone: tzinfo | None) -> str | Token | None:
    """Return None for naive, a key, or a fixed offset with its name if it has one."""
    if zone is None:
        return None
    if type(zone) is ZoneInfo and zone.key is not None and not _is_from_file(zone):
        return zone.key
    if type(zone) is timezone:
        offset = zone.utcoffset(None)
        name = zone.tzname(None)
        if len(name) > _ZONE_NAME_LIMIT:
            raise BadInputError(f"has a time zone with a name of {len(name)} characters")
        names = [] if name == timezone(offset).tzname(None) else [name]
        return [offset.days, offset.seconds, offset.microseconds, *names]
    raise BadInputError(
        f"has the time zone {zone!r:.80}: use datetime.timezone, or zoneinfo.ZoneInfo with a key",
        found=repr(zone)[:200],
        expected="timezone or ZoneInfo",
    )


def _is_from_file(zone: ZoneInfo) -> bool:
    """Tell whether a zone was read from a file, which need not have the rules of its key."""
    try:
        zone.__reduce__()
    except pickle.PicklingError:
        return True
    return False


def numpy_token(value: np.generic) -> Token:
    """Return the token of a scalar of any dtype but void."""
    # Their dtype has no width if they are empty, and zeros at their end get lost.
    if isinstance(value, np.str_):
        return ["numpy str", str.__str__(value)]
    if isinstance(value, np.bytes_):
        return ["numpy bytes", bytes(value)]
    return ["numpy", value.dtype.str, value.tobytes()]


def _masked(_: object) -> Token:
    return ["masked"]


# By exact type: what is derived from these has more to it than they have.
ENCODERS: dict[type, Callable[[Any], Token]] = {
    complex: _number,
    date: _date,
    time: _time,
    datetime: _datetime,
    timedelta: _timedelta,
    type(np.ma.masked): _masked,
}


# and back ---------------------------------------------------------------------------------------


def _to_complex(real: float, imag: float) -> complex:
    if type(real) is not float or type(imag) is not float:
        raise ValueError("parts of a complex are not float")
    return complex(real, imag)


# These classes take less and other arguments, too: the states that pickle gives them.
def _to_date(year: int, month: int, day: int) -> date:
    return date(year, month, day)


def _to_timedelta(days: int, seconds: int, microseconds: int) -> timedelta:
    return timedelta(days, seconds, microseconds)


def _to_time(hour: int, minute: int, second: int, micro: int, fold: int, zone: Any) -> time:
    return time(hour, minute, second, micro, _to_zone(zone), fold=fold)


def _to_datetime(year: int, month: int, day: int, *clock: Any) -> datetime:
    return datetime.combine(date(year, month, day), _to_time(*clock))


def _to_zone(zone: Any) -> tzinfo | None:
    if zone is None:
        return None
    if isinstance(zone, str):
        return _to_zone_info(zone)
    days, seconds, microseconds, *names = zone
    return timezone(timedelta(days, seconds, microseconds), *names)


def _to_zone_info(key: str) -> ZoneInfo:
    try:
        return ZoneInfo(key)
    except (OSError, KeyError) as error:
        raise ValueError(
            f"time zone {key!r:.80} is unknown on this machine: is tzdata installed?"
        ) from error


def _to_numpy_scalar(descr: str, raw: bytes) -> np.generic:
    dtype = _scalar_dtype(descr)
    if type(raw) is not bytes or len(raw) != dtype.itemsize:
        raise ValueError(f"a scalar of {dtype} is not of its size")
    scalar: np.generic = np.frombuffer(raw, dtype)[0]
    return scalar


@lru_cache(256)
def _scalar_dtype(descr: str) -> np.dtype[Any]:
    if type(descr) is not str:
        raise ValueError("a scalar of several fields")
    return dtypes.decode(descr)


def _checked(kind: type, convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def converted(raw: Any) -> Any:
        if type(raw) is not kind:
            raise ValueError(f"a {type(raw).__name__} in place of {kind.__name__}")
        return convert(raw)

    return converted


def _to_int(raw: bytes | memoryview) -> int:
    return int.from_bytes(raw, "little", signed=True)


def int_bytes(value: int) -> bytes:
    """Return an int of any size as bytes: little-endian, two's complement."""
    return value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


# Each raises ValueError, TypeError or OverflowError for arguments that no encoder writes.
DECODERS: dict[str, Callable[..., Any]] = {
    "int": _checked(bytes, _to_int),
    "complex": _to_complex,
    "date": _to_date,
    "time": _to_time,
    "datetime": _to_datetime,
    "timedelta": _to_timedelta,
    "numpy": _to_numpy_scalar,
    "numpy str": _checked(str, np.str_),
    "numpy bytes": _checked(bytes, np.bytes_),
    "masked": lambda: np.ma.masked,
}


# What is large lies in an array of its own ------------------------------------------------------


def large(value: Any) -> tuple[str, Array | str]:
    """Return the kind of a value that needs an array of its own, and what goes there.

    A str is returned for the caller to encode piece by piece.

    Examples
    --------
    >>> kind, raw = large(bytes(100_000))
    >>> kind, raw.shape
    ('bytes', (100000,))
    """
    match value:
        case np.str_():
            return "numpy str", str.__str__(value)
        case np.bytes_():
            return "numpy bytes", np.frombuffer(value, np.uint8)
        case str():
            return "str", value
        case bytes():
            return "bytes", np.frombuffer(value, np.uint8)
        case int():
            return "int", np.frombuffer(int_bytes(value), np.uint8)
    return "numpy", np.asarray(value)


def _text(raw: Array) -> str:
    return str(_flat_bytes(raw), "utf-8", "surrogatepass")


def _flat_bytes(raw: Array) -> memoryview:
    if raw.dtype != np.uint8 or raw.ndim != 1:
        raise ValueError(f"text or bytes in an array of {raw.dtype} {raw.shape}")
    return memoryview(raw)


def _to_large_scalar(array: Array) -> Any:
    if array.ndim:
        raise ValueError(f"a scalar in an array of shape {array.shape}")
    return array.copy()[()]


LARGE_DECODERS: dict[str, Callable[[Array], Any]] = {
    "str": _text,
    "bytes": lambda raw: bytes(_flat_bytes(raw)),
    "int": lambda raw: _to_int(_flat_bytes(raw)),
    "numpy str": lambda raw: np.str_(_text(raw)),
    "numpy bytes": lambda raw: np.bytes_(bytes(_flat_bytes(raw))),
    "numpy": _to_large_scalar,
}
