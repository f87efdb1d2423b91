"""One result for each array, in the order given, without a Python loop over short arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError
from ptrarray.reductions import blocks, whole
from ptrarray.rows.copying import cut
from ptrarray.rows.ragged import gather

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]

# Arrays of so many blocks are reduced one at a time, each on all cores.
HUGE_BLOCKS = 4
# Arrays of long rows, and of that many elements, are reduced by one call each: reduceat goes
# through a table column by column, at half the speed or less (0.6 ns a float32, not 0.25).
WIDE_ELEMENTS = 64
LONG_ELEMENTS = 1 << 14
# Of a single row, reduce gives the magnitude, but reduceat the row.
CHANGE_A_SINGLE_ROW = frozenset((np.hypot, np.gcd))


def reduce_each(
    rows: Array,
    starts: Array,
    ends: Array,
    ufunc: np.ufunc,
    dtype: npt.DTypeLike | None = None,
) -> Array:
    """Reduce each array with a ufunc, as ``ufunc.reduce(rows[start:end])``.

    Parameters
    ----------
    rows : ndarray, shape (n_rows, *row_shape)
        The flat array; may be memory-mapped.
    starts, ends : ndarray of int, shape (n_arrays,)
        Ranges in any order; they may overlap or be empty. May be memory-mapped.
    ufunc : numpy.ufunc
        Any of two arguments and one result.
    dtype : dtype, optional
        As for ``ufunc.reduce``.

    Returns
    -------
    ndarray, shape (n_arrays, *row_shape)
        Of the dtype that ``ufunc.reduce`` gives. Empty arrays get the ufunc's
        identity.

    Raises
    ------
    BadInputError
        If an array is empty and the ufunc has no identity; its field
        ``position`` is the index of the first such array. Also for a ufunc
        that is not of two arguments.
    TypeError
        numpy's own, for a dtype that the ufunc does not take.

    Notes
    -----
    Reads each range once and no row between them. Memory: the result and some
    tens of MB a thread. Sums of floats may differ from ``ufunc.reduce`` in the last
    bits, as they are added in another order. ``power`` and ``arctan2`` of floats
    are as wrong as numpy's own reductions on processors with AVX-512 (numpy 2.4).

    Examples
    --------
    >>> rows, starts, ends = np.arange(6), np.array([0, 2, 2]), np.array([2, 2, 6])
    >>> reduce_each(rows, starts, ends, np.add)
    array([ 1,  0, 14])
    """
    if ufunc.nin != 2 or ufunc.nout != 1:
        raise BadInputError(
            f"np.{ufunc.__name__} takes {ufunc.nin} and returns {ufunc.nout}; "
            "expected a ufunc of two arguments and one result",
            found=ufunc,
        )
    # numpy's dtype for the result, or its error for a dtype that the ufunc does not take.
    result = ufunc.reduce(np.zeros(1, rows.dtype), dtype=dtype, keepdims=True).dtype

    def compute(segments: _Segments) -> Array:
        return _reduce_segments(segments, ufunc, dtype)

    def huge(start: int, end: int) -> Array:
        if ufunc not in whole.COMBINABLE:
            return np.asarray(ufunc.reduce(rows[start:end], axis=0, dtype=dtype))
        return whole.reduce(rows, *_one(start, end), ufunc, dtype=dtype)  # type: ignore[no-any-return]

    def empty(position: int) -> Array:
        try:
            none = np.zeros((0, *rows.shape[1:]), rows.dtype)
            return np.asarray(ufunc.reduce(none, axis=0, dtype=dtype))
        except ValueError as error:
            raise BadInputError(
                f"array {position} is empty, and np.{ufunc.__name__} has no identity to give it",
                position=position,
            ) from error

    way = _Way(compute, huge, empty, _block_rows(rows, result))
    return _each(rows, starts, ends, result, way)


def mean_each(rows: Array, starts: Array, ends: Array) -> Array:
    """Return the mean of each array over its rows.

    Parameters
    ----------
    rows, starts, ends
        As for `reduce_each`.

    Returns
    -------
    ndarray, shape (n_arrays, *row_shape)
        Of the dtype that `numpy.mean` gives, but summed in float64 or wider.
        nan (NaT for timedelta64) for empty arrays, without a warning.

    Notes
    -----
    Cost as for `reduce_each`.

    Examples
    --------
    >>> mean_each(np.array([1, 3, 8]), np.array([0, 2, 2]), np.array([2, 3, 2]))
    array([ 2.,  8., nan])
    """
    result = np.mean(np.zeros(1, rows.dtype), keepdims=True).dtype
    working = whole.working_type(result)

    def compute(segments: _Segments) -> Array:
        sums = _reduce_segments(segments, np.add, whole.loop_type(working))
        return np.asarray(np.true_divide(sums, segments.divisors(0)))

    def huge(start: int, end: int) -> Array:
        return whole.mean(rows, *_one(start, end), axis=0)  # type: ignore[no-any-return]

    return _each(rows, starts, ends, result, _way_for_moments(rows, working, compute, huge))


def std_each(rows: Array, starts: Array, ends: Array, ddof: float = 0) -> Array:
    """Return the standard deviation of each array over its rows.

    Parameters
    ----------
    rows, starts, ends
        As for `reduce_each`.
    ddof : float
        The divisor is the length less this.

    Returns
    -------
    ndarray, shape (n_arrays, *row_shape)
        Of the dtype that `numpy.std` gives, but computed in float64 or wider,
        from the deviations from the mean. nan for empty arrays, and where `ddof`
        leaves nothing to divide by what numpy gives (nan or infinity), without
        a warning.

    Notes
    -----
    Cost as for `reduce_each`.

    Examples
    --------
    >>> std_each(np.array([1, 3, 8]), np.array([0, 2, 2]), np.array([2, 3, 2]))
    array([ 1.,  0., nan])
    """
    probe = np.zeros(1, rows.dtype)
    result = np.std(probe, keepdims=True).dtype
    working = whole.working_type(np.mean(probe, keepdims=True).dtype)

    def compute(segments: _Segments) -> Array:
        means = _reduce_segments(segments, np.add, working) / segments.divisors(0)
        spread = np.repeat(means, segments.lengths, axis=0)
        squares = whole.squared(np.subtract(segments.values, spread, out=spread))
        totals = _reduce_segments(segments._replace(values=squares), np.add, None)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.sqrt(totals / segments.divisors(ddof)))

    def huge(start: int, end: int) -> Array:
        return whole.std(rows, *_one(start, end), axis=0, ddof=ddof)  # type: ignore[no-any-return]

    return _each(rows, starts, ends, result, _way_for_moments(rows, working, compute, huge))


class _Segments(NamedTuple):
    """Arrays that hold rows, laid end to end."""

    values: Array  # (total, *row_shape)
    at: Int64s  # where each begins
    lengths: Int64s

    def divisors(self, ddof: float) -> Array:
        """Return the lengths less `ddof`, at least 0, to divide results of shape (n, *row_shape)."""
        shape = (-1, *(1,) * (self.values.ndim - 1))
        return np.asarray(np.maximum(self.lengths - ddof, 0)).reshape(shape)


class _Way(NamedTuple):
    """How to get a result for each array."""

    compute: Callable[[_Segments], Array]  # of a block of them
    huge: Callable[[int, int], Array]  # of a range of very many rows
    empty: Callable[[int], Array]  # of the empty ones, the first of which is at this position
    block_rows: int


def _way_for_moments(
    rows: Array,
    working: np.dtype[Any],
    compute: Callable[[_Segments], Array],
    huge: Callable[[int, int], Array],
) -> _Way:
    def empty(position: int) -> Array:
        return np.asarray(np.timedelta64("NaT") if working.kind == "m" else np.nan)

    return _Way(compute, huge, empty, _block_rows(rows, working))


def _each(rows: Array, starts: Array, ends: Array, dtype: np.dtype[Any], way: _Way) -> Array:
    """Compute the results block by block on threads, which write into one array."""
    rows = blocks.plain(rows)
    results = np.empty((len(starts), *rows.shape[1:]), dtype)
    huge: list[tuple[int, int, int]] = []

    def tasks() -> Iterator[tuple[Int64s, Int64s, Int64s]]:
        for where, filled_starts, filled_ends in _filled(rows, starts, ends, results, way):
            for low, high in cut(filled_ends - filled_starts, way.block_rows):
                start, end = int(filled_starts[low]), int(filled_ends[low])
                if high - low == 1 and end - start >= HUGE_BLOCKS * way.block_rows:
                    huge.append((int(where[low]), start, end))
                else:
                    yield where[low:high], filled_starts[low:high], filled_ends[low:high]

    def work(task: tuple[Int64s, Int64s, Int64s]) -> None:
        where, task_starts, task_ends = task
        results[where] = way.compute(_segments(rows, task_starts, task_ends))

    for _ in blocks.in_parallel(work, tasks()):
        pass
    for position, start, end in huge:
        results[position] = way.huge(start, end)
    return results


def _filled(
    rows: Array, starts: Array, ends: Array, results: Array, way: _Way
) -> Iterator[tuple[Int64s, Int64s, Int64s]]:
    """Yield position, start and end of arrays that hold rows; give the others their result."""
    for first in range(0, len(starts), blocks.POINTERS):
        chunk = slice(first, first + blocks.POINTERS)
        chunk_starts, chunk_ends = (
            np.asarray(starts[chunk], np.int64),
            np.asarray(ends[chunk], np.int64),
        )
        blocks.check_inside(len(rows), chunk_starts, chunk_ends)
        filled = chunk_starts < chunk_ends
        if not filled.all():
            nothing = first + np.flatnonzero(~filled)
            results[nothing] = way.empty(int(nothing[0]))
        yield first + np.flatnonzero(filled), chunk_starts[filled], chunk_ends[filled]


def _segments(rows: Array, starts: Int64s, ends: Int64s) -> _Segments:
    """View ranges that lie end to end; copy any others so that they do."""
    if (ends[:-1] == starts[1:]).all():
        return _Segments(rows[starts[0] : ends[-1]], starts - starts[0], ends - starts)
    batch = gather(rows, starts, ends)
    return _Segments(batch.values, batch.offsets[:-1], ends - starts)


def _reduce_segments(segments: _Segments, ufunc: np.ufunc, dtype: npt.DTypeLike | None) -> Array:
    """Reduce each segment over its rows."""
    values, at, lengths = segments
    columns = blocks.row_elements(values)
    is_long = len(values) * columns >= LONG_ELEMENTS * len(at)
    if len(at) == 1 or (is_long and columns >= WIDE_ELEMENTS):
        parts = [
            ufunc.reduce(values[start : start + length], axis=0, dtype=dtype)
            for start, length in zip(at.tolist(), lengths.tolist(), strict=True)
        ]
        return np.stack(parts)
    results: Array = ufunc.reduceat(values, at, axis=0, dtype=dtype)
    single = at[lengths == 1] if ufunc in CHANGE_A_SINGLE_ROW else ()
    if len(single):
        rows = values[single][:, np.newaxis]
        results[lengths == 1] = ufunc.reduce(rows, axis=1, dtype=dtype)
    return results


def _block_rows(rows: Array, working: np.dtype[Any]) -> int:
    """Return the rows of a block: as many as fit, also when cast to what is worked in."""
    itemsize = max(rows.itemsize, working.itemsize)
    return blocks.rows_in(blocks.BLOCK_NBYTES, itemsize * blocks.row_elements(rows))


def _one(start: int, end: int) -> tuple[Int64s, Int64s]:
    return np.array([start]), np.array([end])
