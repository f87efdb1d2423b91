"""Lists and the like as arrays: what numpy makes of them, unless something in them is lost."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError
from ptrarray.rows.times import in_unit
from ptrarray.rows.types import Array

_MAX_DEPTH = 64  # of lists that numpy makes an array of
_NUMBERS = int | float | complex | np.number | np.bool_
_NOT_NESTED = str | bytes | bytearray | memoryview
_FIRST_OF_OTHERS = 256  # numbers of dtypes that libraries add to numpy
_PLAIN = {int, float, bool}
_ARRAYS = (np.ndarray, np.generic)
_LABELS = ("columns", "index", "coords", "categories")  # of pandas, xarray, polars, Arrow


def array_of(value: npt.ArrayLike, dtype: np.dtype[Any] | None = None) -> Array:
    """Return what numpy makes of a value, and of a list nothing but what is in it.

    numpy takes lists of integers from 2**63 on for floats, if there are
    smaller ones among them: here they are uint64.

    Parameters
    ----------
    value : array_like
        What is no list is left to numpy.
    dtype : numpy.dtype, optional
        What the array is cast to afterwards: an empty list takes it, and
        floats may hold integers that have no dtype together.

    Raises
    ------
    BadInputError
        For a list with masked arrays, with integers that no dtype holds
        together or beside its floats, with text beside numbers, with dates that
        no unit holds together, or with what has labels.
    TypeError, ValueError
        As numpy, for lists of different lengths and the like.

    Notes
    -----
    Looks at the types of what is in the list, and where numbers are large at
    each of them.

    Examples
    --------
    >>> array_of([2**63 + 1, 1])
    array([9223372036854775809,                   1], dtype=uint64)
    >>> array_of([2**53 + 1, 0.5])
    Traceback (most recent call last):
        ...
    ptrarray.errors.BadInputError: float64 would make 9007199254740992 of the integer 9007199254740993
    """
    if isinstance(value, _ARRAYS) or hasattr(value, "__array__"):
        return np.asarray(value)
    if isinstance(value, list) and (exact := _of_numbers(value)) is not None:
        return exact
    by_type = leaves(value)
    _check_arrays(by_type)
    made = np.asarray(value)
    if not made.size and dtype is not None:  # [] is float64 to numpy, and nothing to the user
        return made.astype(dtype, casting="unsafe")
    match made.dtype.kind if made.dtype.num < _FIRST_OF_OTHERS else "":
        case "f" | "c" | "O" if _may_be_inexact(made):
            return _exact(value, made, by_type, dtype)
        case "U" | "S" | "T":
            _check_text(made, by_type)
        case "m" | "M":
            _check_times(made, by_type)
    return made


def _of_numbers(value: list[Any]) -> Array | None:
    """Return a list of Python's numbers, or None where something in it may be lost."""
    kinds = set(map(type, value))
    if not kinds or not kinds <= _PLAIN:
        return None
    made = np.asarray(value)
    is_exact = kinds == {float} or made.dtype.kind in "biu" or not _may_be_inexact(made)
    return made if is_exact else None


def _check_arrays(by_type: dict[type, list[Any]]) -> None:
    """Check that arrays in a list have no masks and labels."""
    for kind, items in by_type.items():
        if issubclass(kind, np.ma.MaskedArray):
            what = "a list of masked arrays, of which numpy drops the masks: join them first"
            raise BadInputError(what, found="masked", expected="plain")
        if hasattr(kind, "__array__") and not issubclass(kind, _ARRAYS):
            for item in items:
                check_labels(item)


def check_labels(value: object) -> None:
    """Raise an error for an array with labels, which would be lost, as a Series has its index.

    Labels are what a class has beside its array. Attributes of arrays of numpy are none, such as
    the fields of a `numpy.recarray`, nor those of lists, such as the fields of a named tuple.
    """
    if isinstance(value, _ARRAYS) or not hasattr(type(value), "__array__"):
        return
    found = [label for label in _LABELS if _is_there(_asked(value, label))]
    names = _asked(value, "names")
    if isinstance(names, Sequence) and any(name is not None for name in names):
        found.append("a name")
    if found:
        kind = type(value)
        whole = ", or keep it whole with ptrarray.dump" if _is_pandas(kind) else ""
        what = f"{kind.__name__} has {' and '.join(found)}, which would be lost: write np.asarray(...) of it"
        raise BadInputError(what + whole, found=kind.__name__, expected="a plain array")


def _asked(value: object, label: str) -> Any:
    """Return an attribute that an object is known to have: some take any name, or raise."""
    if not hasattr(type(value), label) and label not in getattr(value, "__dict__", ()):
        return None
    try:
        return getattr(value, label)
    except Exception:  # noqa: BLE001 what is behind it is not known
        return None


def _is_there(label: object) -> bool:
    return label is not None and not callable(label)


def _is_pandas(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "pandas"


def leaves(value: Any) -> dict[type, list[Any]]:
    """Return what is in lists of lists, by its type, in no order.

    Examples
    --------
    >>> leaves([[1, 2], [3, "a"]])
    {<class 'int'>: [1, 2, 3], <class 'str'>: ['a']}
    """
    found: dict[type, list[Any]] = defaultdict(list)
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        kinds = dict.fromkeys(map(type, level))
        nested = tuple(filter(_is_nested, kinds))
        for kind in [kind for kind in kinds if kind not in nested]:
            found[kind] += level if len(kinds) == 1 else [x for x in level if type(x) is kind]
        # A list that is in its own list, or in others twice, is looked at once.
        inner: dict[int, Any] = (
            {id(item): item for item in level if isinstance(item, nested)} if nested else {}
        )
        level = list(chain.from_iterable(inner.values()))
        if not level:
            return dict(found)
    what = f"lists nested more than {_MAX_DEPTH} deep, or a list in itself"
    raise BadInputError(what, found="list", expected=f"at most {_MAX_DEPTH} axes")


@lru_cache(maxsize=256)
def _is_nested(kind: type) -> bool:
    is_sequence = issubclass(kind, Sequence | deque) and not issubclass(kind, _NOT_NESTED)
    return is_sequence and not hasattr(kind, "__array__")


def _may_be_inexact(made: Array) -> bool:
    """Tell whether any float is so large that an integer may have been rounded to it."""
    if made.dtype.kind == "O":
        return True
    largest = np.abs(made.real).max(initial=0)
    return not largest < _first_inexact(made.dtype)  # NaN, too, hides what is beside it


@lru_cache(maxsize=16)
def _first_inexact(dtype: np.dtype[Any]) -> float:
    return float(2.0 ** (np.finfo(dtype).nmant + 1))


def _exact(
    value: Any, made: Array, by_type: dict[type, list[Any]], dtype: np.dtype[Any] | None
) -> Array:
    """Return integers as uint64 where numpy made floats, or look whether floats hold them all."""
    integers, n_others = _integers(by_type)
    low, high = min(integers, default=0), max(integers, default=0)
    if not n_others and low >= 0 and high < 2**64:
        return np.asarray(value, np.uint64)
    is_float = made.dtype.kind in "fc"
    if is_float and (n_others or (dtype is not None and dtype.kind in "fc")):
        for integer in integers:
            rounded = made.dtype.type(integer).real
            if not np.isfinite(rounded) or int(rounded) != integer:
                what = f"{made.dtype} would make {rounded:.17g} of the integer {integer}"
                raise BadInputError(what, found=integer, expected=made.dtype)
    elif is_float or max(high, -low) >= 2**63:
        span = f"the integer {low}" if low == high else f"integers from {low} to {high}"
        what = f"no dtype holds {span}"
        raise BadInputError(what, found=(low, high), expected="integers of 64 bits")
    return made


def _integers(by_type: dict[type, list[Any]]) -> tuple[list[int], int]:
    """Return all integers, and how many things there are beside them."""
    integers: list[int] = []
    n_others = 0
    for kind, items in by_type.items():
        if issubclass(kind, int | np.integer | np.bool_):
            integers.extend(map(int, items))
        elif issubclass(kind, np.ndarray):
            for item in items:
                is_integer = item.dtype.kind in "iub"
                integers.extend(map(int, item.ravel().tolist()) if is_integer else ())
                n_others += not is_integer
        else:
            n_others += len(items)
    return integers, n_others


def _check_text(made: Array, by_type: dict[type, list[Any]]) -> None:
    for dtype in _dtypes(by_type):
        if dtype.kind != made.dtype.kind:
            what = f"a list of text with {dtype} in it, which would become text"
            raise BadInputError(what, found=dtype, expected=made.dtype)


def _check_times(made: Array, by_type: dict[type, list[Any]]) -> None:
    """Check that dates of several units are the same in the one that numpy takes for all."""
    for dtype in _dtypes(by_type):
        if dtype.kind == made.dtype.kind and dtype != made.dtype:
            parts = chain.from_iterable(by_type.values())
            times = [part.ravel() for part in map(np.asarray, parts) if part.dtype == dtype]
            if in_unit(np.concatenate(times), made.dtype) is None:
                what = f"a list of {dtype} and others, which {made.dtype} would change"
                raise BadInputError(what, found=dtype, expected=made.dtype)


def _dtypes(by_type: dict[type, list[Any]]) -> Iterator[np.dtype[Any]]:
    """Yield the dtypes of what is in a list, each once."""
    seen = set()
    for kind, items in by_type.items():
        if hasattr(kind, "dtype"):
            seen.update({item.dtype for item in items if isinstance(item.dtype, np.dtype)})
        elif issubclass(kind, _NUMBERS | str | bytes):
            seen.add(np.dtype(kind if kind in (int, float, complex, bool, str, bytes) else object))
    yield from seen
