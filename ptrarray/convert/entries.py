"""Values of files as what a store takes: arrays, what goes with them, and under which keys."""

from __future__ import annotations

import array
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ptrarray.convert.unpickle.rebuild import Unreadable
from ptrarray.errors import BadInputError
from ptrarray.format.helpers import KEY
from ptrarray.frames.flat import Helper
from ptrarray.frames.series import describe, is_pandas
from ptrarray.rows.lists import array_of
from ptrarray.rows.types import Array


class Entry(NamedTuple):
    """One value of a file.

    Attributes
    ----------
    key : str
        Where in the file it was; empty if it is all there is.
    values : ndarray
        What lies under its name.
    helpers : dict from str to Helper
        Helper arrays that it needs.
    meta : dict
        Its metadata.
    """

    key: str
    values: Array
    helpers: dict[str, Helper]
    meta: dict[str, Any]


class Incomplete(NamedTuple):
    """What was read of a file, and why the rest of it was not."""

    value: Any
    problem: str


class Refused(NamedTuple):
    """One value of a file that is not for a store."""

    key: str
    problem: str


class Noted(NamedTuple):
    """Something in a file that a store does not keep, or not as it is meant.

    Attributes
    ----------
    key : str
        What is called so in the file.
    about : str
        What it is, in the plural, so that a report can count those of all files.
    """

    key: str
    about: str


_STANDARD = ("builtins", "datetime")  # where those are that nobody takes for arrays


def entries(value: Any, key: str = "", *, keep_index: bool = True) -> Iterator[Entry | Refused]:
    """Yield the arrays in a value.

    Parameters
    ----------
    value
        An array, a number, a list of numbers, a Series, a DataFrame, or a
        mapping or list of those, nested to any depth.
    key : str
        Of the value itself.
    keep_index : bool
        Whether Series and DataFrames are to be read back as such.

    Examples
    --------
    >>> [(entry.key, entry.values) for entry in entries({"a": 1.5, "b": {"c": [1, 2]}})]
    [('a', array(1.5)), ('b/c', array([1, 2]))]
    >>> list(entries({"a": "text"}))
    [Refused(key='a', problem='a str is no array')]
    """
    try:
        if isinstance(value, Incomplete):
            yield from entries(value.value, key, keep_index=keep_index)
            yield Refused(key, value.problem)
        elif isinstance(value, Mapping):
            yield from _of_mapping(value, key, keep_index)
        elif isinstance(value, np.ndarray) and value.dtype == object:
            yield from _of_objects(value, key, keep_index)
        elif isinstance(value, list | tuple | deque) and not _is_numbers(value):
            yield from _of_items(value, key, keep_index)
        else:
            yield _of_value(value, key, keep_index)
    except BadInputError as error:
        yield Refused(key, str(error))
    except RecursionError:
        yield Refused(key, "it is nested too deeply, or contains itself")


def _of_objects(value: Array, key: str, keep_index: bool) -> Iterator[Entry | Refused]:
    """Yield what an array of Python objects holds: numbers of its shape, or arrays by position."""
    flat = value.ravel().tolist()
    if not flat:
        yield Refused(key, "it holds Python objects")
    elif value.ndim > 1 and _is_numbers(flat):
        entry = _of_value(flat, key, keep_index)
        yield entry._replace(values=entry.values.reshape(value.shape))
    else:  # that of no dimension is what it holds
        yield from entries(list(value) if value.ndim else flat[0], key, keep_index=keep_index)


def _of_items(value: Any, key: str, keep_index: bool) -> Iterator[Entry | Refused]:
    """Yield what a list holds by position, where it is no array of numbers."""
    items = list(value)
    if not items:
        yield Entry(key, np.empty(0), {}, {})
    elif all(isinstance(item, str | bytes | None) for item in items):
        yield Refused(key, f"a {type(value).__name__} of text is no array")
    else:
        # What is empty has the dtype of the others.
        rows = [np.asarray(item) for item in items if _is_numbers(item)]
        empty = np.empty(0, np.result_type(*rows) if rows else float)
        items = [empty if _is_empty(item) else item for item in items]
        yield from _of_mapping(dict(enumerate(items)), key, keep_index)


def _is_empty(value: Any) -> bool:
    return isinstance(value, list | tuple | deque) and not value


def _of_mapping(value: Mapping[Any, Any], key: str, keep_index: bool) -> Iterator[Entry | Refused]:
    if not value:
        yield Refused(key, f"an empty {type(value).__name__} holds no array")
    seen: set[str] = set()
    for own, item in value.items():
        inner = f"{key}/{own}" if key else str(own)
        if not isinstance(own, str | int | np.integer) or isinstance(own, bool) or not inner:
            yield Refused(inner, f"the key {own!r:.80} is no name: only text and integers are")
        elif inner in seen:  # 1 and "1"
            yield Refused(inner, f"two keys are written as {inner!r:.80}")
        else:
            seen.add(inner)
            yield from entries(item, inner, keep_index=keep_index)


def _of_value(value: Any, key: str, keep_index: bool) -> Entry:
    if isinstance(value, Unreadable):
        raise BadInputError(value.problem)
    if is_pandas(value):
        described = describe(value, index=keep_index)
        return Entry(key, described.values, described.helpers, {KEY: described.about})
    is_number = isinstance(value, bool | int | float | complex | np.generic)
    if isinstance(value, array.array) and value.typecode in "bBhHiIlLqQfd":
        value = np.asarray(value)
    if not isinstance(value, np.ndarray | list | tuple | deque) and not is_number:
        is_theirs = type(value).__module__ not in _STANDARD
        hint = ": from Python, pass convert=, a function that returns its arrays"
        raise BadInputError(f"a {type(value).__name__} is no array{hint if is_theirs else ''}")
    values = value if isinstance(value, np.ndarray) else array_of(value)
    if values.dtype.hasobject:
        what = "Python objects"
        if values.dtype.names:
            what = f"records of {values.dtype}, with Python objects in them: from Python, pass "
            what += "convert=, a function that returns the fields of numbers"
        raise BadInputError(f"it holds {what}", found=str(values.dtype))
    return Entry(key, values, {}, {})


def _is_numbers(values: Any) -> bool:
    """Tell whether something is a list of numbers that make one array, each as it is."""
    if not isinstance(values, list | tuple | deque) or not values:
        return False
    if all(isinstance(item, bool | int | float | complex) for item in values):
        return True
    if all(isinstance(item, float | np.floating) for item in values):
        return True
    # Of several types of numpy's, some numbers could change.
    numbers = np.number | np.bool_ | np.datetime64
    return len(set(map(type, values))) == 1 and isinstance(values[0], numbers)
