"""What an array looks like: a line, a heat map, an image, text, or something else."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ptrarray.look.numbers import Array, drawable, is_drawable
from ptrarray.look.reduced import sample

Kind = Literal[
    "line", "lines", "heatmap", "image", "images", "text", "tokens", "table", "bytes", "nothing"
]

MOST_LINES = 6
_FEWEST_PIXELS = 4
_LOOKED_AT = 2**16


def kind_of(array: Array) -> Kind:
    """Return what an array looks like, from its dtype and shape and at most 64 KiB of its values.

    Returns
    -------
    str
        ``line``: one number a row; ``lines``: a few; ``heatmap``: many; ``image``: uint8
        (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); ``images``: several of them; ``text``: strings, or bytes that
        are UTF-8; ``tokens``: integers that may be ids; ``table``: fields; ``bytes``: of no
        known meaning; ``nothing``: no values.

    Examples
    --------
    >>> kind_of(np.zeros(10)), kind_of(np.zeros((100, 80))), kind_of(np.array(["a"]))
    ('line', 'heatmap', 'text')
    """
    return kinds_of(array)[0]


def kinds_of(array: Array) -> tuple[Kind, ...]:
    """Return as what an array can be drawn, the likeliest first.

    Examples
    --------
    >>> kinds_of(np.frombuffer(b"Once upon a time", np.uint8))
    ('text', 'line')
    >>> kinds_of(np.zeros((48, 64), np.uint8))
    ('image', 'heatmap')
    """
    if 0 in array.shape:
        return ("nothing",)
    if array.dtype.kind in "SU":
        return ("text",)
    if array.dtype.names is not None:
        return ("table",)
    if not is_drawable(array.dtype):
        return ("bytes",)
    n_values = int(np.prod(array.shape[1:]))
    if n_values == 1:
        return _of_one_column(array)
    return _of_columns(array, n_values)


def _of_one_column(array: Array) -> tuple[Kind, ...]:
    if array.dtype == np.uint8 and _is_text(array):
        return ("text", "line")
    if array.dtype.kind in "iu" and array.dtype.itemsize > 1 and _are_tokens(array):
        return ("tokens", "line")
    return ("line",)


def _of_columns(array: Array, n_values: int) -> tuple[Kind, ...]:
    rest: tuple[Kind, ...] = ("heatmap",)
    if n_values <= MOST_LINES:
        rest = ("lines", "heatmap") if array.shape[0] > n_values else ("heatmap", "lines")
    if _is_image(array.shape) and array.dtype == np.uint8:
        return ("image", *rest)
    if _is_image(array.shape[1:]) and array.ndim > 2:
        return ("images", *rest)
    return rest


def _is_image(shape: tuple[int, ...]) -> bool:
    colours = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    return colours and min(shape[:2]) >= _FEWEST_PIXELS


def _is_text(array: Array) -> bool:
    first = np.ma.getdata(np.asanyarray(array[:_LOOKED_AT])).tobytes()
    # A character may have been cut at the end.
    text = first.decode("utf-8", "ignore")
    if len(text.encode()) < len(first) - 3:
        return False
    return sum(not (c.isprintable() or c in "\t\r\n") for c in text[:4096]) == 0


def _are_tokens(array: Array) -> bool:
    numbers = drawable(sample(array, _LOOKED_AT).values)
    assert numbers is not None
    known = numbers[~np.isnan(numbers)]
    if not known.size or known.min() < 0:
        return False
    steps = np.diff(known)
    # What only rises or falls counts something; ids go up and down.
    return bool((steps > 0).any() and (steps < 0).any())
