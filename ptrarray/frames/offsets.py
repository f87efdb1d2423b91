"""Frequencies of pandas as plain values, and back: every class of `pandas.tseries.offsets`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import time, timedelta
from typing import Any

import numpy as np

from ptrarray.frames.library import import_pandas
from ptrarray.objects.parts import Parts

_PLAIN = (str, int, float, bool)


def offset_parts(offset: Any) -> Parts | None:
    """Return the parts of a frequency, or None if those would not give back the same one.

    Examples
    --------
    >>> import pandas as pd
    >>> offset_parts(pd.offsets.Week(weekday=2)).attributes
    {'class': 'Week', 'n': 1, 'normalize': False, 'weekday': 2}
    """
    try:
        facts = _facts(offset)
        # A calendar is what the other arguments make it, but for one that was given as such.
        for attributes in ({k: v for k, v in facts.items() if k != "calendar"}, facts):
            if is_same(make_offset(import_pandas(), **attributes), offset):
                return Parts("offset", attributes)
    except (TypeError, ValueError, KeyError, AttributeError):
        pass
    return None


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two frequencies agree in all arguments; ``==`` passes over calendars."""
    return type(one) is type(other) and _facts(one) == _facts(other)


def _facts(offset: Any) -> dict[str, Any]:
    """Return class and arguments of a frequency as plain values."""
    given = {key: _PLAINLY.get(key, _plain)(value) for key, value in offset.kwds.items()}
    head = {"class": type(offset).__name__, "n": offset.n, "normalize": offset.normalize}
    return {**head, **dict(sorted(given.items()))}


def _plain(value: Any) -> Any:
    if isinstance(value, np.integer):
        return int(value)
    if type(value) not in _PLAIN:
        raise TypeError(f"an argument {value!r:.80}")
    return value


def _plain_mask(mask: Any) -> Any:
    return mask if isinstance(mask, str) else "".join(str(int(bool(day))) for day in mask)


def _plain_days(days: Any) -> tuple[int, ...]:
    return tuple(np.asarray(days, "M8[D]").astype(np.int64).tolist())


# How arguments that are not plain become so, and back.
_PLAINLY: dict[str, Callable[[Any], Any]] = {
    "offset": lambda delta: (delta.days, delta.seconds, delta.microseconds),
    "start": lambda times: tuple(moment.isoformat() for moment in times),
    "end": lambda times: tuple(moment.isoformat() for moment in times),
    "weekmask": _plain_mask,
    "holidays": _plain_days,
    "calendar": lambda calendar: (_plain_mask(calendar.weekmask), *_plain_days(calendar.holidays)),
}
_AGAIN: dict[str, Callable[[Any], Any]] = {
    "offset": lambda parts: timedelta(*parts),
    "start": lambda times: [time.fromisoformat(text) for text in times],
    "end": lambda times: [time.fromisoformat(text) for text in times],
    "holidays": lambda days: [np.datetime64(day, "D") for day in days],
    "calendar": lambda parts: np.busdaycalendar(parts[0], np.array(parts[1:], "M8[D]")),
}


def make_offset(pandas: Any, n: Any = 1, normalize: Any = False, **attributes: Any) -> Any:
    """Return a frequency of its parts.

    Raises
    ------
    Exception
        Of any kind, for parts that do not fit.
    """
    name = attributes.pop("class")
    if name not in pandas.tseries.offsets.__all__:
        raise ValueError(f"this pandas has no frequency {name!r:.40}")
    kind = getattr(pandas.offsets, name)
    given = {key: _AGAIN.get(key, _unchanged)(value) for key, value in attributes.items()}
    return kind(n, normalize, **given)


def leave(index: Any, offset: Any) -> None:
    """Leave dates with a frequency that pandas would not give them.

    Raises
    ------
    ValueError
        If this pandas has no place for that.
    """
    # It has moved from the array to the index in pandas 3.1.
    owner = index._data if hasattr(index._data, "_freq") else index
    owner._freq = offset
    if not is_same(index.freq, offset):
        raise ValueError("a frequency that the dates do not have")


def _unchanged(value: Any) -> Any:
    return value
