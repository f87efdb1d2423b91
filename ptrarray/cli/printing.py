"""What the command line prints: lines, JSON, complaints."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.rows.types import Array

# What messages call an argument of Python, and what the same is on the command line.
_IN_OPTIONS = {
    "open it with append(), or choose": "choose",
    "pack with overwrite=True, or": "pack with --overwrite, or",
    "resume=True skips": "leave out --no-resume to skip",
    "resume=True goes on": "the same command goes on",
    "masked=True (--masked)": "--masked",
    "pass trust=True (--trust-pickle)": "pass --trust-pickle",
    "leave out trust=True (--trust-pickle)": "leave out --trust-pickle",
    "attributes=True (--attributes)": "--attributes",
    "name='{parent}/{stem}' or '{path}'": "--name '{parent}/{stem}' or '{path}'",
    "repair() the store": "repair the store",
    "use how='copy'": "use --how copy",
    "import by='sequence'": "import --by sequence",
    "origin='megatron' or origin='fairseq'": "--origin megatron or --origin fairseq",
    "as counts='rowsize'": "as --counts rowsize",
    "as sample='obs'": "as --sample obs",
    "say so by row_shape=": "say so by --row-shape",
    "which database= imports": "which --database imports",
}


def print_now(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def print_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    print(to_json(value))


def to_json(value: Any) -> str:
    """Return a value as JSON."""
    return json.dumps(_plain(value), allow_nan=False)


def _plain(value: Any) -> Any:
    """Return the value as JSON can hold it: complex as a pair, other strangers as text."""
    match value:
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case np.ndarray():  # in a record
            return _plain(value.tolist())
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case complex():
            return [_plain(value.real), _plain(value.imag)]
        case bytes():
            return value.decode("latin-1")
    return str(value)


def as_list(array: Array) -> Any:
    """Return an array as lists of Python's values; what is masked as None.

    Examples
    --------
    >>> as_list(np.ma.MaskedArray([1.5, 2.5], [False, True]))
    [1.5, None]
    """
    if not isinstance(array, np.ma.MaskedArray):
        return array.tolist()
    # Its own `tolist` takes no records with arrays in them.
    return _unmasked(np.ma.getdata(array), np.ma.getmaskarray(array))


def _unmasked(value: Any, mask: Any) -> Any:
    if isinstance(mask, np.ndarray):
        return _unmasked(value.tolist(), mask.tolist())
    if isinstance(mask, list | tuple):
        return [_unmasked(*pair) for pair in zip(value, mask, strict=True)]
    return None if mask else value


def as_text(array: Array) -> str:
    """Return an array as numpy prints it; what is masked as ``--``.

    Examples
    --------
    >>> as_text(np.ma.MaskedArray([1.5, 2.5], [False, True]))
    '[1.5 --]'
    """
    # `array2string` takes what is masked for numbers.
    return str(array) if isinstance(array, np.ma.MaskedArray) else np.array2string(array)


def printable(text: str) -> str:
    r"""Escape what could move the cursor or break the line.

    Examples
    --------
    >>> printable("zwölf\n\x1b[31m")
    'zwölf\\n\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def readable(read: Callable[[Any], Any], array: Array, name: str) -> Any:
    """Call a function of numpy that makes Python's own values of an array, text among them."""
    try:
        return read(array)
    except SystemError as error:  # numpy's, for a code point above 0x10FFFF
        what = f"array {name!r:.80} of {array.dtype} has text that no str can hold"
        advice = "save it with --out, or read its numbers by view('u4')"
        raise BadInputError(f"{what}: {advice}", name=name, found=str(array.dtype)) from error


def in_options(text: str) -> str:
    """Return a message with options of the command line in place of arguments of Python.

    Examples
    --------
    >>> in_options("'a' is in the store already; resume=True skips it")
    "'a' is in the store already; leave out --no-resume to skip it"
    """
    for python, shell in _IN_OPTIONS.items():
        text = text.replace(python, shell)
    return text


def complain(error: object) -> int:
    """Print an error, and return the exit code."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror is not None:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    print(f"ptrarray: {printable(in_options(text))}", file=sys.stderr)
    return 1
