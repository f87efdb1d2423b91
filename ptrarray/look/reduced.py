"""Many values as few: the lowest and highest of each pixel, means of cells, and samples of both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.look.numbers import Array, Floats, drawable

Counts = npt.NDArray[np.int64]

SAMPLE_BYTES = 2**20
_BLOCK_BYTES = 2**20
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
        Or anything with `shape`, `dtype` and slices of rows, which is sliced only where it is read.
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
    row_bytes = max(values.dtype.itemsize * int(np.prod(values.shape[1:])), 1)
    pieces, sampled = _pieces(edges, row_bytes, max_bytes)
    shape = (len(edges) - 1, *values.shape[1:])
    low, high = np.full(shape, np.nan), np.full(shape, np.nan)
    left_out = np.zeros(shape, np.int64)
    for start, stop in pieces:
        numbers = _drawn(values[start:stop])
        pixels, starts = _parts(edges, start, stop)
        low[pixels] = np.fmin(low[pixels], np.fmin.reduceat(numbers, starts))
        high[pixels] = np.fmax(high[pixels], np.fmax.reduceat(numbers, starts))
        left_out[pixels] += np.add.reduceat(np.isnan(numbers), starts, dtype=np.int64)
    return Band(low, high, left_out, edges, sampled)


def cells(values: Array, n_rows: int, n_columns: int, *, max_bytes: int | None = None) -> Cells:
    """Return the means of cells of a table, `n_rows` by `n_columns` of them at most.

    Parameters
    ----------
    values : ndarray or MaskedArray, shape (n, k)
        Or anything with `shape`, `dtype` and slices of rows.
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
    edges, columns = _edges(values.shape[0], n_rows), _edges(values.shape[1], n_columns)
    row_bytes = max(values.dtype.itemsize * values.shape[1], 1)
    pieces, sampled = _pieces(edges, row_bytes, max_bytes)
    sums = np.zeros((len(edges) - 1, len(columns) - 1))
    left_out, counts = np.zeros(sums.shape, np.int64), np.zeros(sums.shape, np.int64)
    for start, stop in pieces:
        numbers = _drawn(values[start:stop])
        rows, starts = _parts(edges, start, stop)
        missing = np.isnan(numbers)
        numbers[missing] = 0
        sums[rows] += _summed(numbers, starts, columns)
        left_out[rows] += _summed(missing, starts, columns)
        counts[rows] += _summed(~missing, starts, columns)
    with np.errstate(invalid="ignore"):
        means = sums / counts
    return Cells(means, left_out, edges, columns, sampled)


class Sample(NamedTuple):
    """Rows out of all of an array, and whether some are missing."""

    values: Array
    sampled: bool


def sample(values: Array, max_bytes: int = SAMPLE_BYTES) -> Sample:
    """Return evenly spaced pieces of an array, end to end, of at most so many bytes.

    Examples
    --------
    >>> sample(np.arange(1000), 512).values[:3]
    array([ 0, 15, 31])
    """
    row_bytes = max(values.dtype.itemsize * int(np.prod(values.shape[1:])), 1)
    if values.shape[0] * row_bytes <= max_bytes:
        return Sample(np.asanyarray(values), False)
    edges = _edges(values.shape[0], min(_SAMPLE_PIECES, max(max_bytes // row_bytes, 1)))
    pieces, _ = _pieces(edges, row_bytes, max_bytes)
    parts = [np.asanyarray(values[start:stop]) for start, stop in pieces]
    joined = np.ma.concatenate if isinstance(parts[0], np.ma.MaskedArray) else np.concatenate
    return Sample(joined(parts), True)


def _edges(n_values: int, n_parts: int) -> Counts:
    n_parts = max(min(n_parts, n_values), 1)
    # Exact also where float64 has no more integers.
    return np.array([n_values * part // n_parts for part in range(n_parts + 1)], np.int64)


def _pieces(
    edges: Counts, row_bytes: int, max_bytes: int | None
) -> tuple[Iterator[tuple[int, int]], bool]:
    """Return which rows to read together, and whether these are not all."""
    n_values, n_parts = int(edges[-1]), len(edges) - 1
    if max_bytes is None or n_values * row_bytes <= max_bytes:
        step = max(_BLOCK_BYTES // row_bytes, 1)
        return ((at, min(at + step, n_values)) for at in range(0, n_values, step)), False
    step = max(max_bytes // row_bytes // n_parts, 1)
    ends = np.minimum(edges[:-1] + step, edges[1:])
    return zip(edges[:-1].tolist(), ends.tolist(), strict=True), bool((ends < edges[1:]).any())


def _parts(edges: Counts, start: int, stop: int) -> tuple[slice, Counts]:
    """Return which parts the rows from `start` to `stop` are in, and where these begin in them."""
    first = int(np.searchsorted(edges, start, "right")) - 1
    last = int(np.searchsorted(edges, stop, "left"))
    return slice(first, last), np.maximum(edges[first:last] - start, 0)


def _drawn(values: Any) -> Floats:
    numbers = drawable(np.asanyarray(values))
    if numbers is None:
        raise TypeError(f"values of dtype {values.dtype} are no numbers; only numbers are drawn")
    return numbers


def _summed(values: Array, starts: Counts, columns: Counts) -> Array:
    dtype = np.int64 if values.dtype == bool else np.float64
    rows = np.add.reduceat(values, starts, axis=0, dtype=dtype)
    return np.add.reduceat(rows, columns[:-1], axis=1)
