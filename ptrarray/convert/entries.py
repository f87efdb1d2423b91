"""Values of files as what a store takes: arrays, what goes with them, and under which keys."""

from __future__ import annotations

import array
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ptrarray.convert.found import Refused
from ptrarray.convert.instances import WORD, describe_instance
from ptrarray.convert.unpickle.rebuild import Instance, Unreadable
from ptrarray.errors import BadInputError
from ptrarray.format.attrs import checked
from ptrarray.format.helpers import KEY, Helper
from ptrarray.frames.library import is_pandas
from ptrarray.frames.series import describe
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
    below : str
        What its name has behind that of the key: where it is in an instance.
    """

    key: str
    values: Array
    helpers: dict[str, Helper]
    meta: dict[str, Any]
    below: str = ""


class Kept(NamedTuple):
    """What is no array, and can be kept among the attrs of a store."""

    key: str
    value: Any


class Incomplete(NamedTuple):
    """What was read of a file, and why the rest of it was not."""

    value: Any
    problem: str


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
        elif isinstance(value, Instance):
            yield from _of_instance(value, key, keep_index)
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


def entries_and_attrs(
    value: Any, key: str, *, keep_index: bool = True
) -> Iterator[Entry | Refused | Kept]:
    """Yield the arrays in a value, and what is none and attrs can hold: text, and what has text in it.

    Of a container in which arrays and such are mixed, each by itself.

    Examples
    --------
    >>> value = {"a": np.arange(2), "unit": "nm", "lamp": {"name": "D65", "watt": 3}}
    >>> for found in entries_and_attrs(value, "k"):
    ...     print(type(found).__name__, found.key)
    Entry k/a
    Kept k/unit
    Kept k/lamp
    """
    found = list(entries(value, key, keep_index=keep_index))
    if not any(isinstance(entry, Refused) for entry in found):
        yield from found
    elif (kept := _kept(value, key)) is not None:
        yield kept
    elif (items := _named_items(value)) is not None:
        for own, item in items.items():
            yield from entries_and_attrs(item, f"{key}/{own}", keep_index=keep_index)
    else:
        yield from found


def _named_items(value: Any) -> Mapping[str, Any] | None:
    """Return the items of a container by what they are called; None if it is none, or some cannot be."""
    if isinstance(value, list | tuple | deque):
        return {str(at): item for at, item in enumerate(value)}
    is_named = isinstance(value, Mapping) and all(isinstance(own, str) and own for own in value)
    return value if is_named else None


def _kept(value: Any, key: str) -> Kept | None:
    """Return a value as attrs hold it, if they can."""
    try:
        return Kept(key, checked({key: value})[key])
    except BadInputError:
        return None


def _of_instance(value: Instance, key: str, keep_index: bool) -> Iterator[Entry | Refused]:
    """Yield what an instance holds; at last what is noted of it, so that all of it is there then."""
    found: list[Entry | Refused] = []

    def take(item: Any, suffix: str) -> bool:
        if isinstance(item, list | tuple) and not _is_numbers(item):
            return False
        found.append(_of_value(item, key, keep_index, suffix))
        return True

    def refuse(suffix: str, problem: str) -> None:
        found.append(Refused(f"{key}{suffix}" if key else suffix[1:], problem))

    abouts = describe_instance(value, take, refuse)
    yield from found
    for suffix, about in abouts.items():
        yield Entry(key, np.empty(0), {}, {WORD: about}, suffix)


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


def _of_value(value: Any, key: str, keep_index: bool, below: str = "") -> Entry:
    plain = _plain(value)
    if plain is not None:
        return Entry(key, plain, {}, {}, below)
    if isinstance(value, Unreadable):
        raise BadInputError(value.problem)
    if is_pandas(value):
        described = describe(value, index=keep_index)
        return Entry(key, described.values, described.helpers, {KEY: described.about}, below)
    is_number = isinstance(value, bool | int | float | complex | np.generic)
    if isinstance(value, array.array) and value.typecode in "bBhHiIlLqQfd":
        value = np.asarray(value)
    if not isinstance(value, np.ndarray | list | tuple | deque) and not is_number:
        is_theirs = type(value).__module__ not in _STANDARD
        hint = ": from Python, pass convert=vars or a function that returns its arrays"
        raise BadInputError(f"a {type(value).__name__} is no array{hint if is_theirs else ''}")
    values = value if isinstance(value, np.ndarray) else array_of(value)
    if values.dtype.hasobject:
        what = "Python objects"
        if values.dtype.names:
            what = f"records of {values.dtype}, with Python objects in them: from Python, pass "
            what += "convert=, a function that returns the fields of numbers"
        raise BadInputError(f"it holds {what}", found=str(values.dtype))
    return Entry(key, values, {}, {}, below)


def _plain(value: Any) -> Array | None:
    """Return what most values are as an array, at no cost; None for all others."""
    kind = type(value)
    if kind is np.ndarray:
        return None if value.dtype.hasobject else value
    is_number = kind in (bool, float) or (kind is int and -(2**63) <= value < 2**63)
    return np.array(value) if is_number else None


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
