"""Text, ids and records as a few short lines of text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np

from ptrarray.look.numbers import Array, is_masked

MASKED = "--"


def lines_of(array: Array, kind: str, n_columns: int, n_lines: int) -> list[str]:
    """Return the beginning of an array as lines of text, cut to a size.

    Parameters
    ----------
    array : ndarray or MaskedArray
        Masked values are ``--``, masked bytes of a text ``·``.
    kind : str
        ``text``, ``tokens``, ``table`` or ``bytes``, as in `kinds`. A text is wrapped where a
        line ends, ids between ids; of strings and records each has a line.
    n_columns, n_lines : int
        At least 1. Wide characters are two columns.

    Examples
    --------
    >>> lines_of(np.array([17, 4, 99]), "tokens", 20, 1)
    ['17 4 99']
    >>> lines_of(np.frombuffer(b"Once upon a time, there", np.uint8), "text", 8, 2)
    ['Once upo', 'n a tim…']
    """
    # A character has at most four bytes, and a value at least one character.
    n_most = 4 * n_columns * n_lines + 4
    told = (one[:n_most] for one in _told(array[:n_most], kind))
    lines = _wrapped(told, kind, n_columns)
    shown = [line for line, _ in zip(lines, range(n_lines + 1), strict=False)]
    if len(shown) > n_lines:
        return [*shown[: n_lines - 1], f"{_head(shown[n_lines - 1], n_columns - 1)}…"]
    return shown


def plain(text: str) -> str:
    r"""Return a text without characters that move others, are not seen, or cannot be written.

    Examples
    --------
    >>> plain("a\tb\x00c")
    'a b·c'
    """
    return "".join(_plain(character) for character in text)


def _plain(character: str) -> str:
    if character in "\t\n\r":
        return " "
    return "·" if unicodedata.category(character).startswith("C") else character


def _told(rows: Array, kind: str) -> Iterator[str]:
    """Yield what stands for itself: lines of a text, ids, or values."""
    if kind == "text" and rows.dtype == np.uint8:
        content = rows.filled(0) if is_masked(rows) else rows
        yield from content.tobytes().decode("utf-8", "replace").splitlines()
        return
    if kind == "table":
        yield ", ".join(rows.dtype.names or ())
    masked = np.ma.masked if is_masked(rows) else None
    for value in rows.reshape(-1) if kind == "tokens" else rows:
        yield MASKED if value is masked else _one(value)


def _one(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.void) and value.dtype.names is None:
        return value.tobytes().hex(" ")
    return str(value)


def _wrapped(told: Iterator[str], kind: str, n_columns: int) -> Iterator[str]:
    if kind == "tokens":
        yield from _joined(told, n_columns)
        return
    for one in told:
        rest = plain(one)
        if kind != "text":
            yield rest if _width(rest) <= n_columns else f"{_head(rest, n_columns - 1)}…"
            continue
        line = _head(rest, n_columns)
        yield line
        while line and (rest := rest[len(line) :]):
            line = _head(rest, n_columns)
            yield line


def _joined(words: Iterator[str], n_columns: int) -> Iterator[str]:
    line = ""
    for word in words:
        if line and len(line) + 1 + len(word) > n_columns:
            yield line
            line = ""
        line = f"{line} {word}" if line else word
    if line:
        yield line


def _head(text: str, n_columns: int) -> str:
    used = 0
    for at, character in enumerate(text):
        used += _width(character)
        if used > n_columns:
            return text[:at]
    return text


def _width(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)
