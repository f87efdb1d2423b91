"""The user's attrs: a map that msgpack can keep and give back."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

import msgpack

from ptrarray.errors import BadInputError

LIMIT_NBYTES = 16 * 2**20


def checked(attrs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return attrs as they will be read back: tuples as lists.

    Raises
    ------
    BadInputError
        If they are not a mapping from str to what msgpack keeps (None, bool,
        int of 64 bits, float, str, bytes, and lists and dicts of those), or
        are larger than 16 MiB.

    Examples
    --------
    >>> checked({"rate": 16000, "shape": (1, 2)})
    {'rate': 16000, 'shape': [1, 2]}
    """
    try:
        plain = dict(attrs or {})
        if not all(isinstance(key, str) for key in plain):
            raise TypeError("keys must be str")
        packed = msgpack.packb(plain)
        # Nested as deep as in a record or an index, for what is too deep there cannot be read.
        nested = msgpack.unpackb(b"\x91\x91" + packed, strict_map_key=True)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadInputError(
            f"attrs cannot be kept: {str(error) or 'nested too deep'}; use None, bool, int, float, str, bytes, "
            "and lists and dicts of those",
            found=reprlib.repr(attrs),
            expected="a mapping that msgpack keeps",
        ) from error
    if len(packed) > LIMIT_NBYTES:
        raise BadInputError(
            f"attrs have {len(packed)} bytes, at most {LIMIT_NBYTES} are kept",
            found=len(packed),
            expected=LIMIT_NBYTES,
        )
    result: dict[str, Any] = nested[0][0]
    return result
