"""Many values as few: the lowest and highest of each pixel, means of cells, and samples of both."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.look.numbers import Array, Floats, drawable, is_masked

Counts = npt.NDArray[np.int64]

SAMPLE_BYTES = 2**20
_BLOCK_VALUES = 2**18
# So small that a sum of many is finite; of a power of two, no digit is lost.
_SUMMED_AS = 2.0**-40
_SAMPLE_PIECES = 64


class Band(NamedTuple):
    """Values that follow each other as few pixels.

    Attributes
    ----------
    low, high : float64, shape (n_pixels, ...)
        Lowest and highest number of each pixel; NaN where it has none. Where there are no
        more values than pixels, both are the values themselves.
    left_out : int64, shape (n_pixels, ...)
        How many values are not drawn, as they are masked, NaN, NaT or infinite.
    edges : int64, shape (n_pixels + 1,)
        Rows at which the pixels begin, and the number of rows.
    sampled : bool
        Whether not all values were read.
    """

    low: Floats
    high: Floats
    left_out: Counts
    edges: Counts
    sampled: bool


class Cells(NamedTuple):
    """A table of numbers as few cells.

    Attributes
    ----------
    means : float64, shape (n_rows, n_columns)
        Mean of the numbers of each cell; NaN where it has none.
    left_out : int64, shape (n_rows, n_columns)
        How many values are not in the means, as they are masked, NaN, NaT or infinite.
    row_edges, column_edges : int64
        Where the cells begin, and the number of rows or columns.
    sampled : bool
        Whether not all values were read.
    """

    means: Floats
    left_out: Counts
    row_edges: Counts
    column_edges: Counts
    sampled: bool


def band(values: Array, n_pixels: int, *, max_bytes: int | None = None) -> Band:
    """Return the lowest and highest number of each of `n_pixels` equal parts of the rows.

    Parameters
    ----------
    values : ndarray or MaskedArray, shape (n, ...)
        Also a mapped one, of which only what is read is touched; or anything with `shape`,
        `dtype` and slices of rows.
    n_pixels : int
        At least 1. Fewer values make fewer pixels, one each.
    max_bytes : int, optional
        Read no more than that: of each pixel its first rows, one at least. Otherwise
        everything is read, in blocks, so that no peak is lost.

    Raises
    ------
    TypeError
        If the values are no numbers.

    Examples
    --------
    >>> values = np.zeros(1_000_000)
    >>> values[700_000] = 5
    >>> drawn = band(values, 4)
    >>> drawn.low, drawn.high
    (array([0., 0., 0., 0.]), array([0., 0., 5., 0.]))
    """
    edges = _edges(values.shape[0], n_pixels)
    shape = (len(edges) - 1, *values.shape[1:])
    low, high = np.full(shape, np.nan), np.full(shape, np.nan)
    left_out = np.zeros(shape, np.int64)
    per_part = _rows_of_a_part(edges, _row_bytes(values), max_bytes)
    for at, pixels, starts in _blocks(edges, math.prod(values.shape[1:]), per_part):
        numbers = _drawn(_rows(values, at))
        low[pixels] = np.fmin(low[pixels], np.fmin.reduceat(numbers, starts))
        high[pixels] = np.fmax(high[pixels], np.fmax.reduceat(numbers, starts))
        left_out[pixels] += np.add.reduceat(np.isnan(numbers), starts, dtype=np.int64)
    return Band(low, high, left_out, edges, per_part is not None)


def cells(values: Array, n_rows: int, n_columns: int, *, max_bytes: int | None = None) -> Cells:
    """Return the means of the cells of a table, `n_rows` by `n_columns` of them at most.

    Parameters
    ----------
    values : ndarray or MaskedArray, shape (n, ...)
        Of further axes the values of a row lie end to end.
    n_rows, n_columns : int
        At least 1. Fewer rows or columns make fewer cells.
    max_bytes : int, optional
        Read no more than that: of each cell its first rows, one at least, and of each row
        as many columns.

    Raises
    ------
    TypeError
        If the values are no numbers.

    Examples
    --------
    >>> cells(np.arange(16.0).reshape(4, 4), 2, 2).means
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    table = _table(values)
    edges, columns = _edges(len(table), n_rows), _edges(math.prod(values.shape[1:]), n_columns)
    shape = (len(edges) - 1, len(columns) - 1)
    sums, left_out, counts = np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    rows_each = _rows_of_a_part(edges, _row_bytes(values), max_bytes)
    # Where one row of each cell is too much, a few columns of each have to do.
    of_a_row = None if max_bytes is None else max_bytes // max(shape[0], 1)
    columns_each = _rows_of_a_part(columns, values.dtype.itemsize, of_a_row)
    for at, rows, row_starts in _blocks(edges, int(columns[-1]), rows_each):
        for part, across, column_starts in _blocks(columns, _n_picked(at), columns_each):
            numbers = _drawn(_picked(table, at, part))
            missing = np.isnan(numbers)
            numbers[missing] = 0
            numbers *= _SUMMED_AS
            sums[rows, across] += _summed(numbers, row_starts, column_starts)
            counts[rows, across] += np.outer(
                *map(_lengths, (row_starts, column_starts), numbers.shape)
            )
            if missing.any():
                left_out[rows, across] += _summed(missing, row_starts, column_starts)
    with np.errstate(invalid="ignore"):
        means = sums / (counts - left_out) / _SUMMED_AS
    return Cells(means, left_out, edges, columns, bool(rows_each or columns_each))


class Sample(NamedTuple):
    """Rows out of all of an array, and whether some are missing."""

    values: Array
    sampled: bool


def sample(values: Array, max_bytes: int = SAMPLE_BYTES) -> Sample:
    """Return evenly spaced pieces of an array, end to end, of at most so many bytes, or one row.

    The array may also be anything with `shape`, `dtype` and slices of rows.

    Examples
    --------
    >>> sample(np.arange(1000), 1024).values[:4]
    array([ 0,  1, 15, 16])
    """
    row_bytes = _row_bytes(values)
    edges = _edges(values.shape[0], min(_SAMPLE_PIECES, max(max_bytes // row_bytes, 1)))
    per_part = _rows_of_a_part(edges, row_bytes, max_bytes)
    if per_part is None:
        return Sample(_rows(values, slice(None)), False)
    return Sample(_rows(values, _gathered(edges, per_part)[0]), True)


def _row_bytes(values: Array) -> int:
    return max(values.dtype.itemsize * math.prod(values.shape[1:]), 1)


def _edges(n_values: int, n_parts: int) -> Counts:
    n_parts = min(max(n_parts, 1), n_values)
    return np.arange(n_parts + 1) * n_values // max(n_parts, 1)


def _rows_of_a_part(edges: Counts, row_bytes: int, max_bytes: int | None) -> int | None:
    """Return how many rows of each part are read, or None for all."""
    n_values, n_parts = int(edges[-1]), len(edges) - 1
    if max_bytes is None or n_values * row_bytes <= max_bytes:
        return None
    per_part = max(max_bytes // row_bytes // n_parts, 1)
    return per_part if per_part * n_parts < n_values else None


def _blocks(
    edges: Counts, n_across: int, per_part: int | None
) -> Iterator[tuple[slice | Counts, slice, Counts]]:
    """Yield what to read together, the parts it is in, and where these begin in it."""
    n_values, n_parts = int(edges[-1]), len(edges) - 1
    step = max(_BLOCK_VALUES // max(n_across, 1), 1)
    if per_part is None:
        for start in range(0, n_values, step):
            stop = min(start + step, n_values)
            first = int(np.searchsorted(edges, start, "right")) - 1
            last = int(np.searchsorted(edges, stop, "left"))
            yield slice(start, stop), slice(first, last), np.maximum(edges[first:last] - start, 0)
        return
    parts_each = max(step // per_part, 1)
    for first in range(0, n_parts, parts_each):
        last = min(first + parts_each, n_parts)
        at, starts = _gathered(edges[first : last + 1], per_part)
        yield at, slice(first, last), starts


def _gathered(edges: Counts, per_part: int) -> tuple[Counts, Counts]:
    """Return the first rows of each part, and where those of each begin among them."""
    lengths = np.minimum(np.diff(edges), per_part)
    starts = np.cumsum(lengths) - lengths
    return np.repeat(edges[:-1] - starts, lengths) + np.arange(int(lengths.sum())), starts


def _n_picked(at: slice | Counts) -> int:
    return at.stop - at.start if isinstance(at, slice) else len(at)


def _rows(values: Array, at: slice | Counts) -> Array:
    if isinstance(at, slice) or isinstance(values, np.ndarray):
        rows = values[at]
        return rows if is_masked(rows) else np.asarray(rows)
    # What only looks like an array has slices.
    ends = np.flatnonzero(np.diff(at, append=-1) != 1)
    starts = np.concatenate([[0], ends[:-1] + 1])
    pieces = [values[low : high + 1] for low, high in zip(at[starts], at[ends], strict=True)]
    masked = any(is_masked(piece) for piece in pieces)
    return (np.ma.concatenate if masked else np.concatenate)(pieces)


def _table(values: Array) -> Array:
    """Return rows of one axis, if that takes no copy of all of them."""
    flat = values.ndim != 2 and values.flags.c_contiguous
    return values.reshape(len(values), -1) if flat and values.size else values


def _picked(table: Array, at: slice | Counts, part: slice | Counts) -> Array:
    if table.ndim != 2:
        rows = table[at]
        return _picked(rows.reshape(len(rows), -1), slice(None), part)
    if isinstance(at, slice) or isinstance(part, slice):
        # The slice is a view, so that what is not picked is not read.
        return table[at][:, part] if isinstance(at, slice) else table[:, part][at]
    return table[np.ix_(at, part)]


def _drawn(values: Array) -> Floats:
    numbers = drawable(values)
    if numbers is None:
        raise TypeError(f"values of dtype {values.dtype} are no numbers; only numbers are drawn")
    return numbers


def _lengths(starts: Counts, n_values: int) -> Counts:
    return np.diff(starts, append=n_values)


def _summed(values: Array, row_starts: Counts, column_starts: Counts) -> Array:
    dtype = np.int64 if values.dtype == bool else np.float64
    rows = np.add.reduceat(values, row_starts, axis=0, dtype=dtype)
    return np.add.reduceat(rows, column_starts, axis=1, dtype=dtype)
