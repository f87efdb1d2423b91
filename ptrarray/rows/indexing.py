"""Which rows an index as numpy takes it asks for, so that only those are read."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]


def split_index(key: Any, shape: tuple[int, ...]) -> tuple[range | Int64s, Any]:
    """Split an index into the rows it asks for, and an index into those.

    Parameters
    ----------
    key : int, slice, mask, integer array, None, Ellipsis or tuple of those
        An index that numpy takes for an array of this shape; that is for the
        caller to make sure of.
    shape : tuple of int
        Of the array, at least one axis.

    Returns
    -------
    rows : range or ndarray of int64
        Rows that the index asks for, rising, each once.
    key : Any
        What gives the answer when it is applied to those rows alone.

    Examples
    --------
    >>> rows, key = split_index([7, -1, 7], (10,))
    >>> rows, np.arange(10)[rows][key]
    (array([7, 9]), array([7, 9, 7]))
    >>> split_index((slice(9, 2, -3), 0), (10, 4))
    (range(3, 12, 3), (slice(None, None, -1), 0))
    """
    items = [_item(item) for item in (key if isinstance(key, tuple) else (key,))]
    at = _first_axis(items, len(shape))
    if at < 0:  # nothing chooses among the rows
        return range(shape[0]), key
    rows, chosen = _rows_of(items[at], shape[0])
    return rows, (*items[:at], *chosen, *items[at + 1 :])


def _item(item: Any) -> Any:
    """Return one part of an index as an int, a slice, an array, None or Ellipsis."""
    if item is None or item is Ellipsis or isinstance(item, slice):
        return item
    array = np.asarray(item)
    if array.ndim == 0 and array.dtype.kind in "iu":
        return operator.index(item)
    return array.astype(np.int64) if not array.size and array.dtype.kind == "f" else array


def _first_axis(items: list[Any], n_axes: int) -> int:
    """Place of the item that stands for the first axis, or -1 if none does."""
    for at, item in enumerate(items):
        if item is Ellipsis and sum(map(_n_axes, items)) < n_axes:
            return -1
        if _n_axes(item):
            return at
    return -1


def _n_axes(item: Any) -> int:
    """Axes of the array that an item stands for; none for an Ellipsis that is counted later."""
    if item is None or item is Ellipsis:
        return 0
    if isinstance(item, np.ndarray):
        return {"b": item.ndim, "U": 0}.get(item.dtype.kind, 1)  # of names of fields: none
    return 1


def _rows_of(item: Any, n_rows: int) -> tuple[range | Int64s, tuple[Any, ...]]:
    """Return the rows that an item takes, and what takes its place."""
    if isinstance(item, slice):
        taken = range(n_rows)[item]
        return (
            (taken, (slice(None),)) if taken.step > 0 else (taken[::-1], (slice(None, None, -1),))
        )
    if isinstance(item, int):
        row = item % n_rows
        return range(row, row + 1), (0,)
    positions, *others = item.nonzero() if item.dtype.kind == "b" else (item.astype(np.int64),)
    rows, places = np.unique(
        np.where(positions < 0, positions + n_rows, positions), return_inverse=True
    )
    return rows, (places.reshape(positions.shape), *others)
