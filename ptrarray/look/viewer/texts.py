"""Values and metadata as text that is ready for JSON, no more of it than an answer may have."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ptrarray.rows.types import Array

MOST_COLUMNS = 50
MOST_ROWS = 200
MOST_IDS = 4000
_MOST_CHARACTERS = 200  # of one value
_DEEPEST = 32
_MOST_ITEMS = 500  # of one list in metadata


class Budget:
    """How many bytes of JSON may be added to an answer.

    Examples
    --------
    >>> budget = Budget(10)
    >>> [budget.takes(text) for text in ("abc", "defgh", "i")]
    [True, False, False]
    """

    def __init__(self, nbytes: int) -> None:
        self.left = nbytes

    def takes(self, item: Any) -> bool:
        """Tell whether something still fits; from the first that does not, nothing does."""
        self.left -= json_nbytes(item) + 1
        if self.left < 0:
            self.left = -1
        return self.left >= 0


def json_nbytes(item: Any) -> int:
    """Return how many bytes something is as JSON in ASCII, as browsers are sent it.

    Examples
    --------
    >>> json_nbytes(["é"]), json_nbytes(None)
    (10, 4)
    """
    return len(json.dumps(item, allow_nan=False, separators=(",", ":")))


def clean(text: str, n_characters: int = _MOST_CHARACTERS) -> str:
    r"""Return a text that can be sent: cut, and with a sign for each half of a character.

    Examples
    --------
    >>> clean("a\ud800b"), clean("abcdef", 4)
    ('a?b', 'abc…')
    """
    cut = text if len(text) <= n_characters else f"{text[: n_characters - 1]}…"
    return cut.encode("utf-8", "replace").decode()


def one(value: Any) -> str | None:
    """Return a value of an array as text; None if it is masked.

    Examples
    --------
    >>> one(np.float32(0.1)), one(np.datetime64("2026-01-02")), one(b"ab"), one(np.ma.masked)
    ('0.1', '2026-01-02', 'ab', None)
    """
    if value is np.ma.masked:
        return None
    if isinstance(value, bytes):
        return clean(value.decode("utf-8", "replace"))
    if isinstance(value, np.ndarray):
        with np.printoptions(threshold=20, edgeitems=4):
            return clean(str(value).replace("\n", " "))
    return clean(str(value))


def table(rows: Array, first: int, column: int, budget: Budget) -> dict[str, Any]:
    """Return rows as text: a header, and as many rows of cells as fit.

    Parameters
    ----------
    rows : ndarray or MaskedArray, shape (n, ...)
        With fields each is a column, else each element of a row.
    first, column : int
        Numbers of the first row, and of the first column that is shown.
    budget : Budget
        Of the answer.
    """
    fields = list(rows.dtype.names or ()) if rows.ndim == 1 else []
    n_columns = len(fields) or math.prod(rows.shape[1:])
    column = max(0, min(column, n_columns - 1))
    columns = range(column, min(column + MOST_COLUMNS, n_columns))
    names = [_heading(rows, fields, at) for at in columns]
    laid = rows if fields else rows.reshape(len(rows), n_columns)
    shown: list[list[str | None]] = []
    for row in laid[:MOST_ROWS] if budget.takes(names) else ():
        cells = [one(row[fields[at] if fields else at]) for at in columns]
        if not budget.takes(cells):
            break
        shown.append(cells)
    return {
        "columns": names,
        "n_columns": n_columns,
        "column": column,
        "first": first,
        "rows": shown,
    }


def _heading(rows: Array, fields: Sequence[str], at: int) -> str:
    if fields:
        return clean(fields[at], 60)
    return ", ".join(map(str, np.unravel_index(at, rows.shape[1:]))) if rows.ndim > 1 else "value"


def lines(rows: Array, first: int, budget: Budget) -> dict[str, Any]:
    """Return text: rows of strings as lines, or bytes in UTF-8 as one text, and how far they go.

    Examples
    --------
    >>> lines(np.frombuffer("für".encode(), np.uint8)[:2], 0, Budget(100))
    {'text': 'f', 'first': 0, 'stop': 1}
    """
    if rows.dtype.kind != "u":
        shown = []
        for row in rows.reshape(len(rows), -1):
            cells = [one(value) for value in row[:MOST_COLUMNS]]
            if not budget.takes(cells):
                break
            shown.append(cells)
        return {"lines": shown, "first": first, "stop": first + len(shown)}
    # As "\u0000" each; what is masked as a sign that is one byte, too.
    raw = np.ma.filled(rows, ord("_")).tobytes()[: max(budget.left // 6, 0)]
    # A character that is cut at the end comes with the next rows.
    cut = next((n for n in range(1, 4) if _is_begun(raw[-n:])), 0)
    raw = raw[:-cut] if cut < len(raw) and cut else raw
    text = raw.decode("utf-8", "replace")
    budget.takes(text)
    return {"text": text, "first": first, "stop": first + len(raw)}


def _is_begun(end: bytes) -> bool:
    """Tell whether these are the first bytes of a character of more than so many."""
    lead = end[0] if end else 0
    n_bytes = (
        2 if lead >> 5 == 0b110 else 3 if lead >> 4 == 0b1110 else 4 if lead >> 3 == 0b11110 else 0
    )
    return n_bytes > len(end)


def ids(rows: Array, first: int, budget: Budget) -> dict[str, Any]:
    """Return integers as a list of text.

    Examples
    --------
    >>> ids(np.array([17, 4]), 0, Budget(100))
    {'ids': ['17', '4'], 'first': 0, 'stop': 2}
    """
    shown: list[str | None] = []
    for value in rows.reshape(len(rows))[:MOST_IDS]:
        text = one(value)
        if not budget.takes(text):
            break
        shown.append(text)
    return {"ids": shown, "first": first, "stop": first + len(shown)}


def tree(value: Any, budget: Budget, depth: int = 0) -> Any:
    """Return metadata as text, or as a list of pairs of a key and what is below it.

    Examples
    --------
    >>> tree({"speaker": "Ann", "marks": [1, None]}, Budget(1000))
    [['speaker', 'Ann'], ['marks', [['0', '1'], ['1', 'None']]]]
    """
    if not isinstance(value, Mapping | list | tuple) or not value:
        return clean(value if isinstance(value, str) else repr(value), 4000)
    if depth == _DEEPEST:
        return "…"
    shown: list[Any] = []
    for key, below in _items(value):
        text = clean(key, 400)
        if len(shown) == _MOST_ITEMS or not budget.takes([text]):
            return [*shown, ["…", ""]]
        branch = tree(below, budget, depth + 1)
        if isinstance(branch, str) and not budget.takes(branch):
            branch = "…"
        shown.append([text, branch])
    return shown


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
    return ((str(key), below) for key, below in pairs)
