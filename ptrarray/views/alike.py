"""The arrays of an open store as ranges of one array, for libraries that have lists of such."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.format import infos
from ptrarray.format.index import corrupt
from ptrarray.format.layouts import ROWS
from ptrarray.rows.copying import in_blocks
from ptrarray.rows.ragged import gather
from ptrarray.rows.types import AnyRows, Array, Int64s
from ptrarray.storage.store.opened import Opened
from ptrarray.views.arrays import Arrays


class Alike(NamedTuple):
    """Arrays that differ in nothing but lengths.

    Attributes
    ----------
    values : ndarray, shape (n_rows, *row_shape)
        Read-only: views of a store, or a copy where they are not in one mapping.
    starts, ends : ndarray of int64, shape (n,)
        The rows of each.
    shapes : ndarray of int64, shape (n, ndim), or None
        Of arrays that have shapes of their own, which lie in C order.
    """

    values: Array
    starts: Int64s
    ends: Int64s
    shapes: Int64s | None


def alike(
    opened: Opened,
    rows: AnyRows,
    starts: Int64s,
    ends: Int64s,
    positions: Int64s | None = None,
) -> Alike:
    """Return the arrays at some positions of a store.

    Parameters
    ----------
    opened : Opened
        The store.
    rows : ndarray or Rows
        In which they are ranges; of their elements, if they have shapes of their own.
    starts, ends : ndarray of int64, shape (n,)
        The ranges.
    positions : ndarray of int64, shape (n,), optional
        Of the arrays, rising; None for all arrays.

    Raises
    ------
    BadInputError
        If they do not have the same number of axes.
    """
    shapes = None
    if opened.layout.kind != ROWS:
        positions = np.arange(len(starts)) if positions is None else positions
        shapes, is_in_order = shapes_of(opened, ends - starts, positions)
        if not is_in_order:
            rows, starts, ends = in_order(opened, rows.dtype, ends - starts, positions)
    if not isinstance(rows, np.ndarray):
        batch = gather(rows, starts, ends)
        rows, starts, ends = batch.values, batch.offsets[:-1], batch.offsets[1:]
    return Alike(_read_only(rows), starts, ends, shapes)


def shapes_of(opened: Opened, lengths: Int64s, positions: Int64s) -> tuple[Int64s, bool]:
    """Return the shapes of arrays, and whether the elements of all of them lie in C order."""
    path, shapes = str(opened.snapshot.directory), []
    is_in_order = True
    column = opened.snapshot.infos
    try:
        for block in in_blocks(0, len(positions), grow=False):
            first, last = int(positions[block.start]), int(positions[block.stop - 1])
            raws = list(column[first : last + 1])
            pairs = zip((positions[block] - first).tolist(), lengths[block].tolist(), strict=True)
            for at, length in pairs:
                info = infos.decode(raws[at])
                shape = (length,) if info.shape is None else info.shape
                if math.prod(shape) != length:
                    raise ValueError(f"shape {shape} of {length} elements")
                is_in_order &= not info.is_fortran or len(shape) < 2
                shapes.append(shape)
    except ValueError as error:
        raise corrupt(path, f"has {error}") from error
    n_axes = sorted({len(shape) for shape in shapes}) or [1]
    if len(n_axes) > 1:
        raise BadInputError(
            f"arrays of {path} have {' and '.join(map(str, n_axes))} axes, and lists of one type have "
            "the same number: take those that do by their names, as store.take(names).awkward()",
            path=path,
            found=tuple(n_axes),
            expected="the same number of axes",
        )
    return np.array(shapes, np.int64).reshape(len(shapes), n_axes[0]), is_in_order


def in_order(
    opened: Opened, dtype: np.dtype[Any], lengths: Int64s, positions: Int64s
) -> tuple[Array, Int64s, Int64s]:
    """Copy arrays of one dtype into C order, end to end; return their elements, and the ranges."""
    snapshot = opened.snapshot
    offsets = np.append(0, np.cumsum(lengths))
    values: Any = np.empty(offsets[-1], dtype)
    if opened.layout.masked:
        values = np.ma.MaskedArray(values, np.zeros(len(values), np.bool_))
    addresses = list(map(snapshot.locate_position, positions.tolist()))
    for array, (start, end) in zip(
        Arrays(opened, None).all_at(addresses), pairwise(offsets.tolist()), strict=True
    ):
        values[start:end] = array.ravel()
    return values, offsets[:-1], offsets[1:]


def _read_only(rows: Array) -> Array:
    """Return a view that others cannot change the store through."""
    if isinstance(rows, np.ma.MaskedArray):
        data, mask = (_read_only(part) for part in (np.ma.getdata(rows), np.ma.getmaskarray(rows)))
        return np.ma.MaskedArray(data, mask, keep_mask=False)
    rows = rows.view()
    rows.flags.writeable = False
    return rows
