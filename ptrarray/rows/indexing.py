"""Which rows an index as numpy takes it asks for, so that only those are read."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ptrarray.rows.types import Int64s

_NO_FIELDS = np.dtype(np.bool_)


def split_index(
    key: Any, shape: tuple[int, ...], dtype: np.dtype[Any] = _NO_FIELDS
) -> tuple[range | Int64s, Any]:
    """Split an index into the rows it asks for, and an index into those.

    Parameters
    ----------
    key : int, slice, mask, integer array, None, Ellipsis or tuple of those
        An index that numpy takes for an array of this shape; for any other,
        this raises what numpy does.
    shape : tuple of int
        Of the array, at least one axis.
    dtype : numpy.dtype
        Of the array; only its fields matter.

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
    n_rows = shape[0]
    if type(key) is slice or (type(key) is int and -n_rows <= key < n_rows):
        return _rows_of(key, n_rows)
    # An array of this shape that takes no memory, for numpy's own errors.
    np.broadcast_to(np.zeros((), dtype if dtype.names else np.bool_), shape)[key]
    items = [_item(item) for item in (key if isinstance(key, tuple) else (key,))]
    at = _first_axis(items, len(shape))
    if at < 0:  # nothing chooses among the rows
        return range(n_rows), key
    rows, chosen = _rows_of(items[at], n_rows)
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
    """Return which item stands for the first axis, or -1 if none does."""
    for at, item in enumerate(items):
        if item is Ellipsis and sum(map(_n_axes, items)) < n_axes:
            return -1
        if _n_axes(item):
            return at
    return -1


def _n_axes(item: Any) -> int:
    """Return how many axes an item stands for; none for an Ellipsis, which is counted later."""
    if item is None or item is Ellipsis:
        return 0
    if isinstance(item, np.ndarray):
        return {"b": item.ndim, "U": 0}.get(item.dtype.kind, 1)  # of names of fields: none
    return 1


def _rows_of(item: Any, n_rows: int) -> tuple[range | Int64s, tuple[Any, ...]]:
    """Return the rows that an item takes, and what takes its place."""
    if isinstance(item, slice):
        taken = range(n_rows)[item]
        if taken.step > 0:
            return taken, (slice(None),)
        return taken[::-1], (slice(None, None, -1),)
    if isinstance(item, int):
        row = item % n_rows
        return range(row, row + 1), (0,)
    positions, *others = item.nonzero() if item.dtype.kind == "b" else (item.astype(np.int64),)
    rows, places = np.unique(
        np.where(positions < 0, positions + n_rows, positions), return_inverse=True
    )
    return rows, (places.reshape(positions.shape), *others)
