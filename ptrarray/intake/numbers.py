"""Numbers that callers give, sizes in bytes among them."""

from __future__ import annotations

import operator
import re

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


_UNITS: dict[str, int] = {"": 1, "B": 1} | {
    f"{prefix}{kind}": base ** (power + 1)
    for kind, base in (("B", 1000), ("IB", 1024))
    for power, prefix in enumerate("KMGTP")
}
_SIZE = re.compile(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([a-z]*)\s*", re.ASCII | re.IGNORECASE)
_LIMIT = 2**63


def nbytes(what: str, size: str | int) -> int:
    """Return a size in bytes.

    Parameters
    ----------
    what : str
        What it is, for messages.
    size : str or int
        A number of bytes, or a number with a unit: B, kB, MB, GB, TB, PB (of
        1000), KiB, MiB, GiB, TiB, PiB (of 1024), in letters of any case.

    Raises
    ------
    BadInputError
        For anything else, and for less than one byte.

    Examples
    --------
    >>> nbytes("size", "200MB"), nbytes("size", "1.5 KiB"), nbytes("size", 4096)
    (200000000, 1536, 4096)
    """
    found = _parsed(what, size) if isinstance(size, str) else integer(what, size)
    if not 0 < found < _LIMIT:
        raise BadInputError(
            f"{what} must be at least one byte and below 2**63, not {size!r:.40}",
            found=size,
            expected=f"1 <= {what} < 2**63",
        )
    return found


def _parsed(what: str, size: str) -> int:
    parts = _SIZE.fullmatch(size)
    if parts is None or parts[2].upper() not in _UNITS:
        raise BadInputError(
            f"{what} {size!r:.40} is not a size: use a number of bytes, or one with a unit, "
            "as in '200MB' or '1.5GiB'",
            found=size,
            expected="a number with a unit",
        )
    whole, _, decimals = parts[1].partition(".")
    scale: int = 10 ** len(decimals)
    return int(whole + decimals) * _UNITS[parts[2].upper()] // scale
