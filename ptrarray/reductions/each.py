"""One result for each array, in the order given, without a Python loop over short arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError
from ptrarray.reductions import blocks, whole
from ptrarray.reductions.blocks import COMBINABLE, ROUNDING, Living
from ptrarray.reductions.masked import filled, hidden, neutral_element
from ptrarray.rows.copying import cut
from ptrarray.rows.types import Array, Int64s

# Arrays of so many blocks are reduced one at a time, each on all cores.
HUGE_BLOCKS = 4
# Arrays of long rows, and of that many elements, are reduced by a call each: reduceat goes through
# a table column by column, at a third of the speed or less (1.7 ns a float32, not 0.5). This and
# all that decides how an array is reduced is about that array alone, so that its result is, too.
WIDE_ELEMENTS = 64
LONG_ELEMENTS = 1 << 12
# Of a single row, reduce gives the magnitude, but reduceat the row.
CHANGE_A_SINGLE_ROW = frozenset((np.hypot, np.gcd))


def reduce_each(
    living: Living,
    ufunc: np.ufunc,
    dtype: npt.DTypeLike | None = None,
    *,
    axis: int | None = 0,
    n_threads: int = 0,
) -> Array:
    """Reduce each array with a ufunc, as ``ufunc.reduce(rows[start:end], axis=axis)``.

    Parameters
    ----------
    living : Living
        Ranges in any order.
    ufunc : numpy.ufunc
        Any of two arguments and one result.
    dtype : dtype, optional
        As for ``ufunc.reduce``.
    axis : 0 or None
        0 reduces each array over its rows to one row, None all of its elements,
        in C order, to one number.
    n_threads : int
        0: one for each core that this process may use.

    Returns
    -------
    ndarray, shape (n_arrays, *row_shape), or (n_arrays,) for None
        Of the dtype that ``ufunc.reduce`` gives. Empty arrays get the ufunc's
        identity.

    Raises
    ------
    BadInputError
        If an array is empty and the ufunc has no identity; its field
        ``position`` is the index of the first such array. Also for a ufunc
        that is not of two arguments, or another axis.
    TypeError
        numpy's own, for a dtype that the ufunc does not take.

    Notes
    -----
    Reads each range once and no row between them. Memory: the result and some
    tens of MB a thread. Floats are added up pairwise or in float64, whatever the
    row shape, so that errors do not grow with the number of rows as they may with
    ``ufunc.reduce``; results may differ from that in the last bits. The result of
    an array depends on that array alone. ``power`` and ``arctan2`` of floats
    are as wrong as numpy's own reductions on processors with AVX-512 (numpy 2.4).

    Examples
    --------
    >>> living = Living(np.arange(6), np.array([0, 2, 2]), np.array([2, 2, 6]))
    >>> reduce_each(living, np.add)
    array([ 1,  0, 14])
    >>> rows = np.arange(12).reshape(6, 2)
    >>> reduce_each(living._replace(rows=rows), np.add, axis=None)
    array([ 6,  0, 60])
    """
    _check_ufunc(ufunc)
    whole.check_axis(axis)
    if axis is None and not blocks.row_elements(living.rows):  # then all arrays are empty
        living = living._replace(ends=living.starts)
    # numpy's dtype for the result, or its error for a dtype that the ufunc does not take.
    result = ufunc.reduce(living.one, dtype=dtype, keepdims=True).dtype

    step = whole.step_type(ufunc, result, dtype)

    def compute(segments: _Segments) -> Array:
        return segments.hidden(segments.reduce(segments.values, ufunc, step))

    def huge(one: Living) -> Any:
        if ufunc in COMBINABLE:
            summed = partial(whole.summary_of, n_threads=n_threads)
            return whole.reduce(one, ufunc, axis=axis, dtype=dtype, summed=summed)
        return _reduce_one(_laid(one.rows[one.starts[0] : one.ends[0]], axis), ufunc, step)

    def empty(position: int) -> Array:
        try:
            return np.asarray(ufunc.reduce(_laid(living.none, axis), axis=0, dtype=dtype))
        except ValueError as error:
            raise BadInputError(
                f"array {position} is empty, and np.{ufunc.__name__} has no identity to give it",
                position=position,
            ) from error

    working = np.dtype(step) if step is not None else result
    return _each(living, result, _Way(compute, huge, empty, working, ufunc, axis, n_threads))


def _check_ufunc(ufunc: np.ufunc) -> None:
    """Raise `BadInputError` for what cannot reduce: other functions, and ufuncs of one argument."""
    if not isinstance(ufunc, np.ufunc):
        found = f"{getattr(ufunc, '__name__', ufunc)!r:.80} is none of numpy's ufuncs"
    elif ufunc.signature is not None:
        found = f"np.{ufunc.__name__} works on whole rows, {ufunc.signature}"
    elif (ufunc.nin, ufunc.nout) != (2, 1):
        found = f"np.{ufunc.__name__} takes {ufunc.nin} and returns {ufunc.nout}"
    else:
        return
    expected = "a ufunc of two arguments and one result"
    raise BadInputError(
        f"{found}; expected {expected}, such as np.add (for sums) or np.maximum",
        found=ufunc,
        expected=expected,
    )


def mean_each(living: Living) -> Array:
    """Return the mean of each array over its rows.

    Parameters
    ----------
    living
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
    >>> mean_each(Living(np.array([1, 3, 8]), np.array([0, 2, 2]), np.array([2, 3, 2])))
    array([ 2.,  8., nan])
    """
    result = np.mean(living.one, keepdims=True).dtype
    working = whole.working_type(result)

    def compute(segments: _Segments) -> Array:
        return segments.hidden(segments.means(whole.loop_type(working)))

    way = _Way(compute, partial(whole.mean, axis=0), _nothing(living, working), working)
    return _each(living, result, way)


def std_each(living: Living, ddof: float = 0) -> Array:
    """Return the standard deviation of each array over its rows.

    Parameters
    ----------
    living
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
    >>> std_each(Living(np.array([1, 3, 8]), np.array([0, 2, 2]), np.array([2, 3, 2])))
    array([ 1.,  0., nan])
    """
    result = np.std(living.one, keepdims=True).dtype
    working = whole.working_type(np.mean(living.one, keepdims=True).dtype)

    def compute(segments: _Segments) -> Array:
        spread = np.repeat(segments.means(working), segments.lengths, axis=0)
        squares = whole.squared(np.subtract(segments.values, spread, out=spread))
        if segments.mask is not np.ma.nomask:
            squares[segments.mask] = 0
        totals = segments.reduce(squares, np.add, None)
        with np.errstate(divide="ignore", invalid="ignore"):
            return segments.hidden(np.sqrt(totals / segments.divisors(ddof)), ddof)

    huge = partial(whole.std, axis=0, ddof=ddof)
    return _each(living, result, _Way(compute, huge, _nothing(living, working), working))


class _Segments:
    """Arrays that hold rows, laid end to end.

    Attributes
    ----------
    values : ndarray, shape (total, *row_shape)
        Their rows, with a neutral element where one is masked; for an axis of
        None their elements, each as a row.
    mask : ndarray of bool, same shape, or numpy.ma.nomask
        Where that is.
    at, lengths : ndarray of int64, shape (n_arrays,)
        Where each begins, and how many rows it has.
    counts : ndarray of int64, shape (n_arrays, 1, ...) or (n_arrays, *row_shape)
        How many elements go into a result.
    """

    def __init__(self, living: Living, neutral: Any, axis: int | None = 0) -> None:
        rows, starts, ends = living
        found = _laid(blocks.end_to_end(rows, starts, ends), axis)
        self.values, self.mask = filled(found, neutral), np.ma.getmask(found)
        self.lengths = ends - starts
        if axis is None:
            self.lengths *= blocks.row_elements(rows)
        self.at = np.cumsum(self.lengths) - self.lengths
        self.counts = self.lengths.reshape(-1, *(1,) * (found.ndim - 1))
        if self.mask is not np.ma.nomask:
            self.counts = self.reduce(np.logical_not(self.mask), np.add, np.int64)

    def divisors(self, ddof: float = 0) -> Array:
        """Return the counts less `ddof`, at least 0."""
        return np.asarray(np.maximum(self.counts - ddof, 0))

    def means(self, working: np.dtype[Any] | None) -> Array:
        """Return the mean of each array over its rows."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.reduce(self.values, np.add, working) / self.counts)

    def hidden(self, results: Array, ddof: float = 0) -> Array:
        """Return results masked where nothing went into them."""
        if self.mask is np.ma.nomask:
            return results
        masked: Array = np.ma.MaskedArray(results, self.divisors(ddof) == 0)
        return masked

    def reduce(self, values: Array, ufunc: np.ufunc, dtype: npt.DTypeLike | None) -> Array:
        """Reduce values that are laid as these are, each array over its rows."""
        columns = blocks.row_elements(values)
        if columns < WIDE_ELEMENTS:
            return _reduceat(values, self.at, self.lengths, ufunc, dtype)
        parts, limit = [], -(-LONG_ELEMENTS // columns)
        for low, high in cut(self.lengths, limit):
            at, lengths = self.at[low:high], self.lengths[low:high]
            found = values[at[0] : at[-1] + lengths[-1]]
            if lengths[0] >= limit:
                parts.append(_reduce_one(found, ufunc, dtype)[np.newaxis])
            else:
                parts.append(_reduceat(found, at - at[0], lengths, ufunc, dtype))
        return np.concatenate(parts)


def _laid(rows: Array, axis: int | None) -> Array:
    """Return rows as they are; where all axes are reduced, their elements."""
    return rows.reshape(-1) if axis is None else rows


def _reduce_one(values: Array, ufunc: np.ufunc, dtype: npt.DTypeLike | None) -> Array:
    """Reduce one array of long rows."""
    if ufunc in COMBINABLE and ufunc in ROUNDING:
        table = values.reshape(len(values), -1)
        return whole.reduce_table(table, ufunc, dtype).reshape(values.shape[1:])
    wider = whole.WIDER.get(values.dtype.char) if ufunc in ROUNDING else None
    return np.asarray(ufunc.reduce(values, axis=0, dtype=dtype or wider))


def _reduceat(
    values: Array, at: Int64s, lengths: Int64s, ufunc: np.ufunc, dtype: npt.DTypeLike | None
) -> Array:
    """Reduce many arrays that lie end to end by one call."""
    results: Array = ufunc.reduceat(values, at, axis=0, dtype=dtype)
    single = at[lengths == 1] if ufunc in CHANGE_A_SINGLE_ROW else ()
    if len(single):
        rows = values[single][:, np.newaxis]
        results[lengths == 1] = ufunc.reduce(rows, axis=1, dtype=dtype)
    return results


class _Way(NamedTuple):
    """How to get a result for each array."""

    compute: Callable[[_Segments], Array]  # of a block of them
    huge: Callable[[Living], Any]  # of one array of very many rows
    empty: Callable[[int], Any]  # of the empty ones, the first of which is at this position
    working: np.dtype[Any]  # what it is worked in
    ufunc: np.ufunc = np.add  # whose neutral element takes the place of what is masked
    axis: int | None = 0  # None if all axes of each array are reduced
    n_threads: int = 0


def _nothing(living: Living, working: np.dtype[Any]) -> Callable[[int], Any]:
    """Return what gives the mean or deviation of no rows."""
    nan = np.array("NaT", working) if working.kind == "m" else np.nan
    return lambda position: np.ma.masked if living.is_masked else nan


def _each(living: Living, dtype: np.dtype[Any], way: _Way) -> Array:
    """Compute the results block by block on threads, which write into one array."""
    rows = blocks.plain(living.rows)
    shape = (len(living.starts), *(rows.shape[1:] if way.axis == 0 else ()))
    results: Array = hidden(living, np.empty(shape, dtype), np.zeros(shape, np.bool_))
    neutral = neutral_element(living, way.ufunc)
    # As many rows as fit, also when cast to what is worked in.
    row_nbytes = max(rows.itemsize, way.working.itemsize) * blocks.row_elements(rows)
    block_rows = blocks.rows_in(blocks.BLOCK_NBYTES, row_nbytes)
    huge: list[tuple[int, Living]] = []

    def tasks() -> Iterator[tuple[Int64s, Living]]:
        for where, starts, ends in _filled(living, results, way):
            for low, high in cut(ends - starts, block_rows):
                some = Living(rows, starts[low:high], ends[low:high])
                if high - low == 1 and ends[low] - starts[low] >= HUGE_BLOCKS * block_rows:
                    huge.append((int(where[low]), some))
                else:
                    yield where[low:high], some

    def work(task: tuple[Int64s, Living]) -> None:
        where, some = task
        results[where] = way.compute(_Segments(some, neutral, way.axis))

    for _ in blocks.in_parallel(work, tasks(), way.n_threads or blocks.count_readers(rows)):
        pass
    for position, one in huge:
        results[position] = way.huge(one)
    return results


def _filled(living: Living, results: Array, way: _Way) -> Iterator[tuple[Int64s, Int64s, Int64s]]:
    """Yield position, start and end of arrays that hold rows; give the others their result."""
    for first in range(0, len(living.starts), blocks.POINTERS):
        chunk = slice(first, first + blocks.POINTERS)
        starts, ends = (np.asarray(column[chunk], np.int64) for column in living[1:])
        blocks.check_inside(len(living.rows), starts, ends)
        filled = starts < ends
        if not filled.all():
            nothing = first + np.flatnonzero(~filled)
            results[nothing] = way.empty(int(nothing[0]))
        yield first + np.flatnonzero(filled), starts[filled], ends[filled]
