"""Reductions over all living rows: each row once, no hole read, bounded memory, all cores.

Rows that two names share count once. Floats are reduced a block at a time and the blocks
combined in a wider type, so that results are at least as accurate as numpy's, and the same on
any number of cores.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError
from ptrarray.reductions.blocks import over_runs

Array = npt.NDArray[Any]

# The blocks of these can be reduced in any order and then combined.
COMBINABLE: frozenset[np.ufunc] = frozenset(
    (
        np.add,
        np.multiply,
        np.minimum,
        np.maximum,
        np.fmin,
        np.fmax,
        np.logical_and,
        np.logical_or,
        np.logical_xor,
        np.bitwise_and,
        np.bitwise_or,
        np.bitwise_xor,
        np.logaddexp,
        np.logaddexp2,
        np.gcd,
        np.lcm,
        np.hypot,
    )
)
# numpy reduces a line in these element after element, each waiting for the last; folded into a
# table they run 3 to 20 times as fast. (Others do not gain, and add would lose pairwise sums.)
SLOW_IN_A_LINE = frozenset(
    (np.multiply, np.logical_xor, np.logaddexp, np.logaddexp2, np.hypot, np.gcd, np.lcm)
)
# Elements side by side from which numpy's loop over rows runs at full speed.
FOLD_ELEMENTS = 2048
# A block's deviations from its mean are a copy in float64.
VARIANCE_NBYTES = 1 << 20


def reduce(
    rows: Array,
    starts: Array,
    ends: Array,
    ufunc: np.ufunc,
    *,
    axis: int | None = 0,
    dtype: npt.DTypeLike | None = None,
) -> Any:
    """Reduce all living rows with a ufunc, as ``ufunc.reduce`` of them laid end to end.

    Parameters
    ----------
    rows : ndarray, shape (n_rows, *row_shape)
        The flat array; may be memory-mapped and larger than memory.
    starts, ends : ndarray of int, shape (n,)
        Ranges of living rows, sorted by start. Rows in several ranges count
        once, rows in none are not read. May be memory-mapped.
    ufunc : numpy.ufunc
        One of `COMBINABLE`.
    axis : 0 or None
        0 reduces rows to one row, None all elements to a scalar.
    dtype : dtype, optional
        As for ``ufunc.reduce``.

    Returns
    -------
    ndarray of shape row_shape, or numpy scalar
        Of the dtype that numpy gives. Integers are exact or wrap around as
        numpy's. Without living rows, the ufunc's identity.

    Raises
    ------
    BadInputError
        If blocks cannot be combined by this ufunc, or for another axis.
    ValueError
        numpy's own, for no living rows and a ufunc without identity.
    TypeError
        numpy's own, for a dtype that the ufunc does not take.

    Notes
    -----
    Each row is read once. Memory: some 16 MB a thread, whatever the size.

    A product whose partial products leave the range of the dtype may come out
    as nan where numpy, going from left to right, gives 0 or infinity.

    Examples
    --------
    >>> rows, starts, ends = np.arange(8).reshape(4, 2), np.array([0, 2]), np.array([1, 4])
    >>> reduce(rows, starts, ends, np.add)
    array([10, 13])
    >>> reduce(rows, starts, ends, np.maximum, axis=None)
    np.int64(7)
    """
    check_ufunc(ufunc)
    _check_axis(axis)
    # numpy's dtype for the result, or its error for a dtype that the ufunc does not take.
    result = ufunc.reduce(np.zeros(1, rows.dtype), dtype=dtype, keepdims=True).dtype
    # A sum in float16 stands still after some thousand rows.
    block_dtype = np.float64 if result == np.float16 else dtype

    def summarise(block: Array) -> Array:
        return _reduce_block(block, ufunc, axis, block_dtype)

    total = over_runs(rows, starts, ends, summarise=summarise, merge=ufunc)
    if total is None:
        return ufunc.reduce(np.zeros((0, *rows.shape[1:]), rows.dtype), axis=axis, dtype=dtype)
    return np.asarray(total).astype(result)[()]


def mean(
    rows: Array,
    starts: Array,
    ends: Array,
    axis: int | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Any:
    """Average all living rows, as ``np.mean`` of them laid end to end.

    Parameters
    ----------
    rows, starts, ends
        As for `reduce`.
    axis : 0 or None
        0 averages over the rows, None over all elements.
    dtype : dtype, optional
        As for ``np.mean``.

    Returns
    -------
    ndarray of shape row_shape, or numpy scalar
        Of numpy's dtype (float64 for integers), but summed in float64 or
        wider. Without living rows nan, with numpy's RuntimeWarning.

    Notes
    -----
    Cost as for `reduce`.

    Examples
    --------
    >>> mean(np.array([1, 9, 3]), np.array([0, 2]), np.array([1, 3]))
    np.float64(2.0)
    """
    _check_axis(axis)
    result = np.mean(np.zeros(1, rows.dtype), dtype=dtype, keepdims=True).dtype
    block_dtype = loop_type(working_type(result))

    def summarise(block: Array) -> tuple[int, Array]:
        count = block.size if axis is None else len(block)
        return count, _reduce_block(block, np.add, axis, block_dtype)

    def merge(left: tuple[int, Array], right: tuple[int, Array]) -> tuple[int, Array]:
        return left[0] + right[0], np.add(left[1], right[1])

    summary = over_runs(rows, starts, ends, summarise=summarise, merge=merge)
    if summary is None or not summary[0]:
        return np.mean(np.zeros((0, *rows.shape[1:]), rows.dtype), axis=axis, dtype=dtype)
    return np.asarray(np.true_divide(summary[1], summary[0])).astype(result)[()]


def var(
    rows: Array,
    starts: Array,
    ends: Array,
    axis: int | None = None,
    dtype: npt.DTypeLike | None = None,
    ddof: float = 0,
) -> Any:
    """Return the variance of all living rows, as ``np.var`` of them laid end to end.

    Parameters
    ----------
    rows, starts, ends
        As for `reduce`.
    axis : 0 or None
        0 is over the rows, None over all elements.
    dtype : dtype, optional
        As for ``np.var``.
    ddof : float
        The divisor is the count less this.

    Returns
    -------
    ndarray of shape row_shape, or numpy scalar
        Of numpy's dtype (float64 for integers, real for complex), computed in
        float64 or wider. Without enough rows nan, with numpy's RuntimeWarning.

    Notes
    -----
    Each row is read once. Each block's deviations are from its own mean; blocks
    are combined by the parallel formula of T. F. Chan, G. H. Golub and
    R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances", Stanford STAN-CS-79-773 (1979). So nothing cancels, as it
    would in the mean of squares less the square of the mean.

    Examples
    --------
    >>> var(np.array([1, 9, 3]), np.array([0, 2]), np.array([1, 3]))
    np.float64(1.0)
    """
    variance, result = _variance(rows, starts, ends, axis, dtype, ddof)
    return variance.astype(result)[()]


def std(
    rows: Array,
    starts: Array,
    ends: Array,
    axis: int | None = None,
    dtype: npt.DTypeLike | None = None,
    ddof: float = 0,
) -> Any:
    """Return the standard deviation of all living rows: the square root of `var`.

    Parameters, result, errors and cost are those of `var`.

    Examples
    --------
    >>> std(np.array([1, 9, 3]), np.array([0, 2]), np.array([1, 3]))
    np.float64(1.0)
    """
    variance, result = _variance(rows, starts, ends, axis, dtype, ddof)
    return np.sqrt(variance).astype(result)[()]


class _Moments(NamedTuple):
    """Counts, means and sums of squared deviations; of one group, or stacked of several."""

    counts: Array  # (n_groups,)
    means: Array  # (n_groups, n_columns)
    squares: Array  # (n_groups, n_columns)


def _variance(
    rows: Array,
    starts: Array,
    ends: Array,
    axis: int | None,
    dtype: npt.DTypeLike | None,
    ddof: float,
) -> tuple[Array, np.dtype[Any]]:
    """Return the variance as computed, and the dtype that numpy would give it."""
    _check_axis(axis)
    probe = np.zeros(1, rows.dtype)
    result = np.var(probe, dtype=dtype, keepdims=True).dtype
    working = working_type(np.mean(probe, dtype=dtype, keepdims=True).dtype)

    def summarise(block: Array) -> _Moments:
        return _block_moments(block, axis, working)

    def merge(left: _Moments, right: _Moments) -> _Moments:
        return _combine([left, right])

    moments = None
    empty = np.zeros((0, *rows.shape[1:]), rows.dtype)
    if axis == 0 or math.prod(rows.shape[1:]):
        moments = over_runs(
            rows, starts, ends, summarise=summarise, merge=merge, block_nbytes=VARIANCE_NBYTES
        )
    if moments is None:
        return np.asarray(np.var(empty, axis=axis, dtype=dtype, ddof=ddof)), result
    count = int(moments.counts[0])
    if ddof >= count:
        warnings.warn("Degrees of freedom <= 0 for slice", RuntimeWarning, stacklevel=3)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.true_divide(moments.squares, max(count - ddof, 0))
    return variance.reshape(rows.shape[1:] if axis == 0 else ()), result


def _block_moments(block: Array, axis: int | None, working: np.dtype[Any]) -> _Moments:
    columns = 1 if axis is None else math.prod(block.shape[1:])
    table = block.reshape(-1 if columns else len(block), columns)
    groups = []
    # Each column is a group of its own until the end, so that numpy's loops over rows are long.
    for part in _folded(table):
        means = np.add.reduce(part, axis=0, dtype=working) / len(part)
        squares = np.add.reduce(squared(np.subtract(part, means, dtype=working)), axis=0)
        n_groups = part.shape[1] // columns if columns else 1
        counts = np.full(n_groups, len(part))
        shape = n_groups, columns
        groups.append(_Moments(counts, means.reshape(shape), squares.reshape(shape)))
    return _combine(groups)


def _combine(groups: Sequence[_Moments]) -> _Moments:
    """Combine all groups into one by Chan's formula."""
    counts, means, squares = (np.concatenate(parts) for parts in zip(*groups, strict=True))
    weights = counts[:, np.newaxis]
    count = counts.sum(keepdims=True)
    mean = (weights * means).sum(axis=0, keepdims=True) / count
    between = (weights * squared(means - mean)).sum(axis=0, keepdims=True)
    return _Moments(count, mean, squares.sum(axis=0, keepdims=True) + between)


def squared(values: Array) -> Array:
    """Return the squared magnitudes, real also of complex values; may reuse `values`."""
    if values.dtype.kind == "c":
        return np.asarray(np.square(values.real) + np.square(values.imag))
    return np.multiply(values, values, out=values)


def _folded(table: Array) -> list[Array]:
    """Lay rows of a narrow table side by side: a wide table, and one of the rows left over."""
    n_rows, columns = table.shape
    side = max(1, FOLD_ELEMENTS // max(1, columns))
    n_folded = n_rows // side
    wide = table[: n_folded * side].reshape(n_folded, side * columns)
    return [part for part in (wide, table[n_folded * side :]) if len(part)]


def _reduce_block(
    block: Array, ufunc: np.ufunc, axis: int | None, dtype: npt.DTypeLike | None
) -> Array:
    """Reduce a block, in the dtype, to a partial result of the wider type."""
    if axis is None or block.ndim == 1:
        line = block.reshape(-1)
        if ufunc not in SLOW_IN_A_LINE or len(line) < FOLD_ELEMENTS:
            return _widened(np.asarray(ufunc.reduce(line, dtype=dtype)))
        shape, table = (), line[:, np.newaxis]
    elif not block.size:  # rows of no width
        return _widened(ufunc.reduce(block, axis=0, dtype=dtype))
    else:
        shape, table = block.shape[1:], block.reshape(len(block), -1)
    columns = table.shape[1]
    parts = [
        ufunc.reduce(part, axis=0, dtype=dtype).reshape(-1, columns) for part in _folded(table)
    ]
    stacked = _widened(np.concatenate(parts))
    return np.asarray(ufunc.reduce(stacked, axis=0, dtype=loop_type(stacked.dtype))).reshape(shape)


def _widened(partial: Array) -> Array:
    """Return a partial result in the type that partial results are combined in."""
    wider = {"e": "d", "f": "d", "d": "g", "F": "D", "D": "G"}.get(partial.dtype.char)
    return partial.astype(wider) if wider else partial


def working_type(result: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type to sum in for a mean of the given type: at least float64."""
    return np.dtype({"e": "d", "f": "d", "F": "D"}.get(result.char, result))


def loop_type(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return the dtype as a ufunc takes it: those of dates it finds itself."""
    return None if dtype.kind in "mM" else dtype


def check_ufunc(ufunc: np.ufunc) -> None:
    """Raise `BadInputError` for a ufunc whose results of blocks cannot be combined."""
    if ufunc not in COMBINABLE:
        names = ", ".join(sorted(works.__name__ for works in COMBINABLE))
        raise BadInputError(
            f"rows are reduced in blocks, which np.{ufunc.__name__} cannot combine; "
            f"expected one of {names}",
            found=ufunc,
            expected=COMBINABLE,
        )


def _check_axis(axis: int | None) -> None:
    if axis is not None and axis != 0:
        raise BadInputError(
            f"axis {axis!r} is not reduced over; expected 0 (over the rows) or None (over all)",
            found=axis,
            expected=(0, None),
        )
