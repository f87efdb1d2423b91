"""Checks of numbers that callers give."""

from __future__ import annotations

import operator

from ptrarray.errors import BadInputError


def integer(what: str, value: int) -> int:
    """Return an integer as an int, or raise `BadInputError` that says what it was for."""
    try:
        return operator.index(value)
    except TypeError:
        raise BadInputError(
            f"{what} must be an integer, not {value!r:.80}", found=repr(value), expected="int"
        ) from None


def count(what: str, value: int) -> int:
    """Return an integer that is not negative, or raise `BadInputError`."""
    number = integer(what, value)
    if number < 0:
        raise BadInputError(f"{what} must not be negative: {number}", found=number, expected=">= 0")
    return number
