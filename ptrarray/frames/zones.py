"""Time zones as plain values, and back: a name, or a library and what that makes the zone of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from ptrarray.errors import import_extra
from ptrarray.frames.library import import_pandas

Plain = str | tuple[Any, ...]


def plain_zone(zone: tzinfo) -> Plain | None:
    """Return a zone as plain values, or None if those would not give back the same one.

    Examples
    --------
    >>> plain_zone(timezone(timedelta(hours=2)))
    'UTC+02:00'
    >>> plain_zone(timezone(timedelta(hours=1), "CET"))
    ('timezone', 0, 3600, 0, 'CET')
    """
    with suppress(Exception):  # each library of time zones has its own
        zone.__reduce__()  # raises for one that was read from a file, whatever its key says
        for plain in _candidates(zone):
            if _is_same(make_zone(plain), zone):
                return plain
    return None


def _is_same(one: tzinfo, other: tzinfo) -> bool:
    return type(one) is type(other) and repr(one) == repr(other)


def _candidates(zone: tzinfo) -> Iterator[Plain]:
    """Yield what may stand for a zone, what pandas makes of text first."""
    library = type(zone).__module__.partition(".")[0]
    name = getattr(zone, "key", None) or getattr(zone, "zone", None)  # zoneinfo and pytz
    if name is not None:
        yield from (name, (library, name))
        return
    offset: Any = zone.utcoffset(None)
    if library == "datetime":
        yield str(timezone(offset))
        plain = ("timezone", offset.days, offset.seconds, offset.microseconds)
        yield from (plain, (*plain, zone.tzname(None)))
    elif library == "dateutil" and offset is None:
        # It was read from a file, and has no key before dateutil 4.
        yield ("dateutil", repr(zone).rstrip("')").partition("zoneinfo/")[2])
    elif library == "dateutil":
        yield ("dateutil", "UTC")
        for label in (None, zone.tzname(None)):
            yield ("dateutil", label, int(offset.total_seconds()))
    else:
        yield (library, int(offset.total_seconds()) // 60)


def make_zone(plain: Any) -> tzinfo:
    """Return a zone of plain values; the same for one that is a zone already.

    Raises
    ------
    ImportError
        If its library is missing.
    Exception
        Of any kind, for values that do not fit.
    """
    if isinstance(plain, tzinfo):
        return plain
    if isinstance(plain, str):
        zone: tzinfo = import_pandas().DatetimeTZDtype("ns", plain).tz
        return zone
    library, *arguments = plain
    made: tzinfo = _LIBRARIES[library](*arguments)
    return made


def _fixed(days: int, seconds: int, microseconds: int, *name: str) -> tzinfo:
    return timezone(timedelta(days, seconds, microseconds), *name)


def _pytz(name: str | int) -> Any:
    pytz = import_extra("pytz", "a time zone of pytz needs it: pip install pytz")
    return pytz.FixedOffset(name) if isinstance(name, int) else pytz.timezone(name)


def _dateutil(name: str | None, seconds: int | None = None) -> Any:
    library = import_extra("dateutil.tz", "a time zone of dateutil needs python-dateutil")
    if seconds is not None:
        return library.tzoffset(name, seconds)
    zone = library.UTC if name == "UTC" else library.gettz(name) if name else None
    if zone is None:  # without a name, it would be that of the machine
        raise ValueError(f"there is no time zone {name!r}")
    return zone


_LIBRARIES: dict[str, Callable[..., Any]] = {
    "timezone": _fixed,
    "zoneinfo": ZoneInfo,
    "pytz": _pytz,
    "dateutil": _dateutil,
}
