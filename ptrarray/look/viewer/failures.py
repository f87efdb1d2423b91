"""What goes wrong, for a browser: a status and JSON."""

from __future__ import annotations

from typing import Any

from ptrarray.errors import (
    BadInputError,
    StoreChangedError,
    StoreError,
    StoreNotFoundError,
    UnknownNameError,
)

_STATUSES: list[tuple[type[Exception], int]] = [
    (UnknownNameError, 404),
    (StoreChangedError, 409),
    (StoreNotFoundError, 410),
    (BadInputError, 422),
    (NotImplementedError, 501),
]
_ANY = 500


def status_of(error: Exception) -> int:
    """Return the status of an answer that could not be given.

    Examples
    --------
    >>> status_of(UnknownNameError("no")), status_of(OSError("no"))
    (404, 500)
    """
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), _ANY)


def as_json(error: Exception) -> dict[str, Any]:
    """Return what went wrong, for JSON: what is not about the store or the system, as its kind only."""
    kind, is_known = type(error).__name__, isinstance(error, StoreError | OSError)
    message = str(error) if is_known else f"the server failed ({kind})"
    return {"error": {"kind": kind, "message": message, "status": status_of(error)}}
