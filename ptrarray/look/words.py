"""Text, ids and records as a few short lines of text."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np

from ptrarray.look.numbers import Array

_SHOWN = 400  # values of an array that are looked at, at most


def lines_of(array: Array, kind: str, n_columns: int, n_lines: int) -> list[str]:
    """Return the beginning of an array as lines of text, cut to that many characters and lines.

    Parameters
    ----------
    array : ndarray or MaskedArray
    kind : str
        ``text``, ``tokens``, ``table`` or ``bytes``, as in `kinds`.
    n_columns, n_lines : int
        At least 1.

    Examples
    --------
    >>> lines_of(np.array([17, 4, 99]), "tokens", 20, 1)
    ['17 4 99']
    >>> lines_of(np.frombuffer(b"Once upon a time, there", np.uint8), "text", 8, 2)
    ['Once upo', 'n a tim…']
    """
    told = _told(array[: n_columns * n_lines + 1], kind)
    lines: list[str] = []
    for line in told:
        shown = plain(line)
        lines += [shown[at : at + n_columns] for at in range(0, max(len(shown), 1), n_columns)]
        if len(lines) > n_lines:
            break
    cut = len(lines) > n_lines
    return [*lines[: n_lines - 1], f"{lines[n_lines - 1][: n_columns - 1]}…"] if cut else lines


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


def _told(array: Array, kind: str) -> list[str]:
    if kind == "text" and array.dtype == np.uint8:
        content = np.ma.getdata(array).tobytes().decode("utf-8", "replace")
        return content.splitlines()
    if kind == "tokens":
        return [" ".join(_one(value) for value in array.reshape(-1)[:_SHOWN])]
    if kind == "bytes":
        return [np.ma.getdata(array)[:_SHOWN].tobytes().hex(" ")]
    return [_one(value) for value in array[:_SHOWN]]


def _one(value: Any) -> str:
    if value is np.ma.masked:
        return "--"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)
