"""One array of an open store as JSON: facts, ways to look at it, a drawing of a window of its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ptrarray.reader import PointerArray

LIMIT_NBYTES = 200_000  # of one answer as JSON

Stopped = Callable[[], bool]


class StoppedError(Exception):
    """Whoever asked has gone."""


def array(
    store: PointerArray,
    name: str,
    *,
    view: str | None = None,
    start: int | None = None,
    stop: int | None = None,
    at: int = 0,
    width: int = 900,
    stopped: Stopped = bool,
) -> dict[str, Any]:
    """Return an array as it is looked at, ready for `json.dumps(..., allow_nan=False)`.

    Parameters
    ----------
    store : PointerArray
        Open for reading, with any backend, on this machine or elsewhere.
    name : str
        Of the array.
    view : str, optional
        One of the ``views`` of an answer; else the first of them.
    start, stop : int, optional
        Rows of the window. Numbers that do not fit are brought to such that do.
    at : int
        Which picture of a stack.
    width : int
        Pixels that there are, from 50 to 4,000.
    stopped : callable
        Asked between blocks whether to stop.

    Returns
    -------
    dict
        At most `LIMIT_NBYTES` as JSON.

    Raises
    ------
    UnknownNameError
        A `KeyError`: no array has this name.
    BadInputError
        For a view that there is not.
    StoppedError
        If `stopped` said so.
    """
    raise NotImplementedError


def statistics(store: PointerArray, name: str, *, stopped: Stopped = bool) -> dict[str, Any]:
    """Return statistics of the elements of an array, ready for JSON: read once, in blocks.

    Raises
    ------
    UnknownNameError, StoppedError
        As `array`.
    """
    raise NotImplementedError


def metadata(store: PointerArray, name: str) -> list[Any]:
    """Return the metadata of an array as a tree of text: pairs of a key and text, or more pairs."""
    raise NotImplementedError
