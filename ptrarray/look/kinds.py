"""What an array looks like: a line, a heat map, an image, text, or something else."""

from __future__ import annotations

import codecs
import math
from typing import Any, Literal

import numpy as np

from ptrarray.look.numbers import Array, drawable, is_drawable, is_masked
from ptrarray.look.reduced import sample

Kind = Literal[
    "line", "lines", "heatmap", "image", "images", "text", "tokens", "table", "bytes", "nothing"
]

MOST_LINES = 6
_SMALLEST_SIDE, _LONGEST_TO_SHORTEST = 8, 16
_LOOKED_AT = 2**15
_SPACES = str.maketrans("\t\r\n", "   ")


def kind_of(array: Array) -> Kind:
    """Return what an array looks like, by its dtype, its shape, and at most 32 KiB of its values.

    Parameters
    ----------
    array : ndarray or MaskedArray, of any dtype and shape
        Or anything with `shape`, `dtype` and slices of rows.

    Returns
    -------
    str
        ``line``: one number a row; ``lines``: up to six; ``heatmap``: more; ``image``: uint8
        (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or floats from 0 to 1 with three or four
        colours; ``images``: several of them, of any numbers; ``text``: strings, or bytes that
        are UTF-8 text; ``tokens``: integers that look like ids, as they go up and down and
        none is below zero; ``table``: records with fields; ``bytes``: of no known meaning;
        ``nothing``: no values.

    Examples
    --------
    >>> kind_of(np.zeros(10)), kind_of(np.zeros((100, 80))), kind_of(np.array(["a"]))
    ('line', 'heatmap', 'text')
    """
    return kinds_of(array)[0]


def kinds_of(array: Array) -> tuple[Kind, ...]:
    """Return all kinds as which an array can be drawn, `kind_of(array)` first.

    Examples
    --------
    >>> kinds_of(np.frombuffer(b"Once upon a time", np.uint8))
    ('text', 'line')
    >>> kinds_of(np.zeros((48, 64), np.uint8))
    ('image', 'heatmap', 'lines')
    """
    if 0 in array.shape:
        return ("nothing",)
    if array.shape == ():
        return kinds_of(array.reshape(1))
    if array.dtype.kind in "SU":
        return ("text",)
    if array.dtype.names is not None:
        return ("table",)
    if not is_drawable(array.dtype):
        return ("bytes",)
    n_across = math.prod(array.shape[1:])
    return _of_one_column(array) if n_across == 1 else _of_columns(array, n_across)


def can_be(array: Array, kind: Kind) -> bool:
    """Return whether an array can be drawn as a kind, also if it does not look like it.

    Examples
    --------
    >>> can_be(np.zeros((2, 3)), "image"), can_be(np.zeros((2, 3)), "text")
    (True, False)
    """
    if 0 in array.shape or kind == "nothing":
        return 0 in array.shape and kind == "nothing"
    n_across, is_of_numbers = math.prod(array.shape[1:]), is_drawable(array.dtype)
    checks: dict[Kind, bool] = {
        "line": is_of_numbers and n_across == 1,
        "lines": is_of_numbers and (n_across <= MOST_LINES or len(array.shape) == 2),
        "heatmap": is_of_numbers,
        "image": is_of_numbers and _has_pixels(array.shape),
        "images": is_of_numbers and _has_pixels(array.shape[1:]),
        "text": array.dtype.kind in "SU" or (array.dtype == np.uint8 and n_across == 1),
        "tokens": array.dtype.kind in "iu" and n_across == 1,
        "table": array.dtype.names is not None,
        "bytes": True,
    }
    return checks[kind]


def _of_one_column(array: Array) -> tuple[Kind, ...]:
    if array.dtype == np.uint8 and _is_text(array):
        return ("text", "line")
    if array.dtype.kind not in "iu" or array.dtype.itemsize == 1:
        return ("line",)
    return _of_integers(array)


def _of_columns(array: Array, n_across: int) -> tuple[Kind, ...]:
    is_table = len(array.shape) == 2
    of_numbers: tuple[Kind, ...] = ("heatmap", "lines") if is_table else ("heatmap",)
    if n_across <= MOST_LINES:
        longer = array.shape[0] > n_across
        of_numbers = ("lines", "heatmap") if longer else ("heatmap", "lines")
    if _is_image(array.shape):
        return ("image", *of_numbers) if _is_of_colours(array) else (*of_numbers, "image")
    if _is_image(array.shape[1:]):
        return ("images", *of_numbers)
    return of_numbers


def _has_pixels(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))


def _is_image(shape: tuple[int, ...]) -> bool:
    if not _has_pixels(shape):
        return False
    short, long = sorted(shape[:2])
    return short >= _SMALLEST_SIDE and long <= short * _LONGEST_TO_SHORTEST


def _is_of_colours(array: Array) -> bool:
    """Return whether the values of an image are shades and colours, not measurements."""
    if array.dtype == np.uint8:
        return True
    if len(array.shape) == 2 or array.dtype.kind not in "fV":
        return False
    numbers = _known(array)
    return bool(numbers.size and numbers.min() >= 0 and numbers.max() <= 1)


def _is_text(array: Array) -> bool:
    rows: Any = array[:_LOOKED_AT]
    first = (rows.filled(ord(" ")) if is_masked(rows) else rows).tobytes()
    try:
        # A character may be cut at the end of what is looked at, but not at the end of all.
        text = codecs.getincrementaldecoder("utf-8")().decode(first, array.shape[0] <= _LOOKED_AT)
    except UnicodeDecodeError:
        return False
    # One character many times over is rather a level than a text.
    return text.translate(_SPACES).isprintable() and len(set(text[:100])) > 1


def _of_integers(array: Array) -> tuple[Kind, ...]:
    known = _known(array)
    if not known.size or known.min() < 0:
        return ("line",)
    steps = np.diff(known)
    # What only rises, or only falls, counts something.
    wanders = (steps > 0).any() and (steps < 0).any()
    return ("tokens", "line") if wanders else ("line", "tokens")


def _known(array: Array) -> Array:
    numbers = drawable(sample(array, _LOOKED_AT).values)
    assert numbers is not None
    return numbers[~np.isnan(numbers)]
