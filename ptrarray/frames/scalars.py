"""Single values of pandas as plain ones, and back: moments, durations, periods, what is missing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ptrarray.errors import BadInputError
from ptrarray.frames.library import import_pandas
from ptrarray.frames.zones import make_zone, plain_zone
from ptrarray.objects.parts import Parts


def scalar_parts(value: Any) -> Parts | None:
    """Return the parts of a single value, or None for anything else.

    Raises
    ------
    BadInputError
        For a moment in a time zone that is not kept.

    Examples
    --------
    >>> import pandas as pd
    >>> scalar_parts(pd.Period("1970-03", "M"))
    Parts(kind='Period', attributes={'ordinal': 2, 'freq': 'M'})
    """
    pandas = import_pandas()
    for name in ("NA", "NaT"):
        if value is getattr(pandas, name):
            return Parts("missing", {"value": name})
    take = _APART.get(type(value).__name__)
    is_own = take is not None and type(value) is getattr(pandas, type(value).__name__, None)
    return Parts(type(value).__name__, take(value)) if take and is_own else None


def _moment(value: Any) -> dict[str, Any]:
    if value.tz is None:
        return {"value": value.asm8}
    return {"value": value.asm8, "zone": zone_parts(value.tz, f"is {value}")}


def zone_parts(zone: Any, what: str) -> Any:
    """Return a time zone as plain values.

    Raises
    ------
    BadInputError
        If they would not give back the same one; it goes on with what has it.
    """
    plain = plain_zone(zone)
    if plain is None:
        raise BadInputError(
            f"{what}, whose time zone {zone!r:.80} cannot be found again by what "
            "it says: convert it to one of zoneinfo, with tz_convert",
            found=what,
        )
    return plain


def _period(value: Any) -> dict[str, Any]:
    return {"ordinal": value.ordinal, "freq": period_freq(value.freq)}


def period_freq(freq: Any) -> Any:
    """Return the frequency of periods: as text that pandas reads as that very one, or itself."""
    kind = import_pandas().PeriodDtype
    with suppress(ValueError, TypeError):  # of some arguments there is no text
        text = kind(freq).name.removeprefix("period[").removesuffix("]")
        if kind(text) == kind(freq):
            return text
    return freq


_APART: dict[str, Callable[[Any], dict[str, Any]]] = {
    "Timestamp": _moment,
    "Timedelta": lambda value: {"value": value.asm8},
    "Period": _period,
    "Interval": lambda value: {key: getattr(value, key) for key in ("left", "right", "closed")},
}


# And back -----------------------------------------------------------------------------------------


def _missing(pandas: Any, value: Any) -> Any:
    return {"NA": pandas.NA, "NaT": pandas.NaT}[value]


def _timestamp(pandas: Any, value: Any, zone: Any = None) -> Any:
    made = pandas.Timestamp(value)
    return made if zone is None else made.tz_localize("UTC").tz_convert(make_zone(zone))


MAKERS: dict[str, Callable[..., Any]] = {
    "missing": _missing,
    "Timestamp": _timestamp,
    "Timedelta": lambda pandas, value: pandas.Timedelta(value),
    "Period": lambda pandas, ordinal, freq: pandas.Period(ordinal=ordinal, freq=freq),
    "Interval": lambda pandas, left, right, closed: pandas.Interval(left, right, closed),
}
