"""The user's attrs: a map that msgpack can keep and give back."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgpack
import numpy as np

from ptrarray.errors import BadInputError

LIMIT_NBYTES = 16 * 2**20

_WIDEST = 8  # bytes of a number that Python's hold exactly
_MAX_DEPTH = 12  # of what is looked into for messages


def checked(attrs: Mapping[str, Any] | None, what: str = "attrs") -> dict[str, Any]:
    """Return attrs as they will be read back: tuples as lists, numpy's numbers as Python's.

    Parameters
    ----------
    attrs : mapping or None
        None is an empty one.
    what : str
        What they are called in messages.

    Raises
    ------
    BadInputError
        If they are not a mapping from str to what msgpack keeps (None, bool,
        int of 64 bits, float, str, bytes, and lists and dicts of those), or
        are larger than 16 MiB. It names the key.

    Examples
    --------
    >>> checked({"rate": 16000, "shape": (1, 2), "gain": np.float32(0.5)})
    {'rate': 16000, 'shape': [1, 2], 'gain': 0.5}
    """
    try:
        plain = dict(attrs or {})
        if not all(isinstance(key, str) for key in plain):
            raise TypeError("its keys must be str")
        packed = msgpack.packb(plain, default=_number)
        # Nested as deep as in a record or an index, for what is too deep there cannot be read.
        nested = msgpack.unpackb(b"\x91\x91" + packed, strict_map_key=True)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        where, why = _culprit(attrs, what, str(error) or "it is nested too deep")
        raise BadInputError(
            f"{where} cannot be kept: {why}; use None, bool, int, float, str, bytes, "
            "and lists and dicts of those",
            found=reprlib.repr(attrs),
            expected="a mapping that msgpack keeps",
        ) from error
    if len(packed) > LIMIT_NBYTES:
        raise BadInputError(
            f"{what} have {len(packed)} bytes, at most {LIMIT_NBYTES} are kept",
            found=len(packed),
            expected=LIMIT_NBYTES,
        )
    result: dict[str, Any] = nested[0][0]
    return result


def _number(value: Any) -> Any:
    """Return a number of numpy as the one of Python that is equal to it."""
    if isinstance(value, np.generic) and value.dtype.kind in "biuf" and value.itemsize <= _WIDEST:
        return value.item()
    if isinstance(value, int):
        raise TypeError("it is an int of more than 64 bits")
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    raise TypeError(f"it is a {module}{kind.__qualname__}")


def _culprit(value: Any, where: str, why: str) -> tuple[str, str]:
    """Return the first thing inside a value that cannot be kept, as an expression, and why."""
    for _ in range(_MAX_DEPTH):
        keys = value if isinstance(value, Mapping) else ()
        for key in keys:
            if not isinstance(key, str | bytes):
                return where, f"its key {key!r:.40} is no str"
        for inner, place in _inside(value, where):
            problem = _problem(inner)
            if problem:
                value, where, why = inner, place, problem
                break
        else:
            return where, why
    return where, why


def _problem(value: Any) -> str:
    try:
        msgpack.unpackb(msgpack.packb(value, default=_number), strict_map_key=True)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return str(error) or "it is nested too deep"
    return ""


def _inside(value: Any, where: str) -> Iterable[tuple[Any, str]]:
    if isinstance(value, Mapping):
        return ((inner, f"{where}[{key!r:.40}]") for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ((inner, f"{where}[{position}]") for position, inner in enumerate(value))
    return ()
