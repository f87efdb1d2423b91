"""Reductions over all living rows: each row once, no hole read, bounded memory, all cores.

Rows that two names share count once. Floats are reduced as a balanced tree, which goes on in a
wider type, so that results are at least as accurate as numpy's pairwise sums. They depend on the
rows and their order alone: not on the number of cores, on holes, or on neighbours. Masked elements are left out, and a result is masked where all elements that
would go into it are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError
from ptrarray.reductions.blocks import COMBINABLE, ROUNDING, Living, over_runs, row_elements
from ptrarray.reductions.masked import filled, hidden, neutral_element
from ptrarray.rows.types import Array

# numpy reduces a line in these element after element, each waiting for the last; folded into a
# table they run 3 to 20 times as fast. (Others do not gain, and add would lose pairwise sums.)
SLOW_IN_A_LINE = frozenset(
    (np.multiply, np.logical_xor, np.logaddexp, np.logaddexp2, np.hypot, np.gcd, np.lcm)
)
# Rows of a table that are reduced one after the other; then their results, and so on: a tree.
# Short floats round so coarsely that the first results have to go on in a wider type soon.
BRANCHES = 32
SHORT_BRANCHES = 4
# Elements of a table below which float32 is reduced in float64 right away: slower, but one call.
SMALL_ELEMENTS = 1 << 14
# Elements side by side from which numpy's loop over rows runs at full speed.
FOLD_ELEMENTS = 2048
# Types of floats to the types that are wide enough to add many of them up.
WIDER = {"e": "d", "f": "d", "F": "D"}
# A block's deviations from its mean are a copy in float64.
VARIANCE_NBYTES = 1 << 20
Summary = tuple[Any, Array]  # a number of elements, and what they reduce to


def reduce(
    living: Living,
    ufunc: np.ufunc,
    *,
    axis: int | None = 0,
    dtype: npt.DTypeLike | None = None,
    summed: Callable[..., Summary | None] | None = None,
) -> Any:
    """Reduce all living rows with a ufunc, as ``ufunc.reduce`` of them laid end to end.

    Parameters
    ----------
    living : Living
        Ranges sorted by start. Rows in several of them count once, rows in
        none are not read.
    ufunc : numpy.ufunc
        One of `COMBINABLE`.
    axis : 0 or None
        0 reduces rows to one row, None all elements to a scalar.
    dtype : dtype, optional
        As for ``ufunc.reduce``.
    summed : callable, optional
        What to call in place of `summary_of`, with the same arguments.

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
    >>> living = Living(np.arange(8).reshape(4, 2), np.array([0, 2]), np.array([1, 4]))
    >>> reduce(living, np.add)
    array([10, 13])
    >>> reduce(living, np.maximum, axis=None)
    np.int64(7)
    """
    check_ufunc(ufunc)
    check_axis(axis)
    # numpy's dtype for the result, or its error for a dtype that the ufunc does not take.
    result = ufunc.reduce(living.one, dtype=dtype, keepdims=True).dtype
    summary = (summed or summary_of)(living, ufunc, axis, step_type(ufunc, result, dtype))
    if summary is None:
        return ufunc.reduce(living.none, axis=axis, dtype=dtype)
    count, total = summary
    return hidden(living, np.asarray(total).astype(result)[()], count == 0)


def mean(living: Living, axis: int | None = None, dtype: npt.DTypeLike | None = None) -> Any:
    """Average all living rows, as ``np.mean`` of them laid end to end.

    Parameters
    ----------
    living
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
    >>> mean(Living(np.array([1, 9, 3]), np.array([0, 2]), np.array([1, 3])))
    np.float64(2.0)
    """
    check_axis(axis)
    result = np.mean(living.one, dtype=dtype, keepdims=True).dtype
    summary = summary_of(living, np.add, axis, loop_type(working_type(result)))
    if summary is None or not (living.is_masked or summary[0]):
        return np.mean(living.none, axis=axis, dtype=dtype)
    count, total = summary
    average = np.asarray(np.true_divide(total, np.maximum(count, 1))).astype(result)
    return hidden(living, average[()], count == 0)


def var(
    living: Living, axis: int | None = None, dtype: npt.DTypeLike | None = None, ddof: float = 0
) -> Any:
    """Return the variance of all living rows, as ``np.var`` of them laid end to end.

    Parameters
    ----------
    living
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
    >>> var(Living(np.array([1, 9, 3]), np.array([0, 2]), np.array([1, 3])))
    np.float64(1.0)
    """
    return _variance(living, axis, dtype, ddof, finish=np.asarray)


def std(
    living: Living, axis: int | None = None, dtype: npt.DTypeLike | None = None, ddof: float = 0
) -> Any:
    """Return the standard deviation of all living rows: the square root of `var`.

    Parameters, result, errors and cost are those of `var`.

    Examples
    --------
    >>> std(Living(np.array([1, 9, 3]), np.array([0, 2]), np.array([1, 3])))
    np.float64(1.0)
    """
    return _variance(living, axis, dtype, ddof, finish=np.sqrt)


def summary_of(
    living: Living,
    ufunc: np.ufunc,
    axis: int | None,
    dtype: npt.DTypeLike | None,
    n_threads: int = 0,
) -> Summary | None:
    """Return the number of living elements that are not masked, and what they reduce to.

    None if no row is alive. Those of rows that are cut after every so many cells, as
    `blocks.cell_rows` counts them, can be merged to the same as of all of them.
    """
    neutral = neutral_element(living, ufunc)

    def summarise(block: Array) -> Summary:
        return _n_kept(block, axis), _reduce_block(filled(block, neutral), ufunc, axis, dtype)

    merge = partial(merged, ufunc)
    return over_runs(living, summarise=summarise, merge=merge, n_threads=n_threads)


def merged(ufunc: np.ufunc, left: Summary, right: Summary) -> Summary:
    """Merge what `summary_of` returned for rows and for those that come after them."""
    return left[0] + right[0], ufunc(left[1], right[1])


class _Moments(NamedTuple):
    """Counts, means and sums of squared deviations; of one group, or stacked of several."""

    counts: Array  # (n_groups, n_columns) where elements are masked, else (n_groups, 1)
    means: Array  # (n_groups, n_columns)
    squares: Array  # (n_groups, n_columns)


def _variance(
    living: Living,
    axis: int | None,
    dtype: npt.DTypeLike | None,
    ddof: float,
    finish: Callable[[Array], Array],
) -> Any:
    """Return the variance, or with `finish` its root, in the dtype that numpy gives it."""
    check_axis(axis)
    result = np.var(living.one, dtype=dtype, keepdims=True).dtype
    working = working_type(np.mean(living.one, dtype=dtype, keepdims=True).dtype)

    def summarise(block: Array) -> _Moments:
        return _block_moments(block, axis, working)

    def merge(left: _Moments, right: _Moments) -> _Moments:
        return _combine([left, right])

    moments = None
    if axis == 0 or row_elements(living.rows):
        moments = over_runs(living, summarise=summarise, merge=merge, block_nbytes=VARIANCE_NBYTES)
    if moments is None:
        variance = np.asarray(np.var(living.none, axis=axis, dtype=dtype, ddof=ddof))
        return finish(variance).astype(result)[()]
    divisor = np.maximum(moments.counts - ddof, 0)
    if not living.is_masked and not divisor.all():
        warnings.warn("Degrees of freedom <= 0 for slice", RuntimeWarning, stacklevel=3)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = finish(np.true_divide(moments.squares, divisor)).astype(result)
    variance = variance.reshape(living.rows.shape[1:] if axis == 0 else ())
    return hidden(living, variance[()], divisor == 0)


def _block_moments(block: Array, axis: int | None, working: np.dtype[Any]) -> _Moments:
    columns = 1 if axis is None else row_elements(block)
    table = block.reshape(-1 if columns else len(block), columns)
    groups = []
    # Each column is a group of its own until the end, so that numpy's loops over rows are long.
    for part in _folded(table):
        data, mask, counts = filled(part, 0), np.ma.getmask(part), _n_kept(part, axis=0)
        means = np.add.reduce(data, axis=0, dtype=working) / np.maximum(counts, 1)
        squares = squared(np.subtract(data, means, dtype=working))
        if mask is not np.ma.nomask:
            squares[mask] = 0
        squares = np.add.reduce(squares, axis=0)
        n_groups = part.shape[1] // columns if columns else 1
        shape = n_groups, columns
        counts = np.reshape(counts, shape) if np.ndim(counts) else np.full((n_groups, 1), counts)
        groups.append(_Moments(counts, means.reshape(shape), squares.reshape(shape)))
    return _combine(groups)


def _combine(groups: Sequence[_Moments]) -> _Moments:
    """Combine all groups into one by Chan's formula."""
    counts, means, squares = (np.concatenate(parts) for parts in zip(*groups, strict=True))
    count = counts.sum(axis=0, keepdims=True)
    mean = (counts * means).sum(axis=0, keepdims=True) / np.maximum(count, 1)
    between = (counts * squared(means - mean)).sum(axis=0, keepdims=True)
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
    return _widened(reduce_table(table, ufunc, dtype)).reshape(shape)


def reduce_table(table: Array, ufunc: np.ufunc, dtype: npt.DTypeLike | None) -> Array:
    """Reduce the rows of a table to one as a tree, for numpy would add them up one by one."""
    columns = table.shape[1]
    wider = WIDER.get(table.dtype.char) if ufunc in ROUNDING else None
    branches = SHORT_BRANCHES if wider else BRANCHES
    while len(table) >= 2 * branches and not (wider and table.size < SMALL_ELEMENTS):
        # Rows of a narrow table are laid side by side.
        side = max(1, min(FOLD_ELEMENTS // columns, len(table) // branches))
        n_rows = len(table) - len(table) % (branches * side)
        groups = table[:n_rows].reshape(-1, branches, side * columns)
        parts = [ufunc.reduce(groups, axis=1, dtype=dtype).reshape(-1, columns)]
        if n_rows < len(table):
            parts.append(reduce_table(table[n_rows:], ufunc, dtype)[np.newaxis])
        table = np.concatenate(parts)
        dtype, wider, branches = loop_type(np.dtype(wider or table.dtype)), None, BRANCHES
    return np.asarray(ufunc.reduce(table, axis=0, dtype=dtype or wider))


def _n_kept(block: Array, axis: int | None) -> Any:
    """Return how many elements of a block are not masked: of all, or of each column."""
    mask = np.ma.getmask(block)
    if mask is np.ma.nomask:
        return block.size if axis is None else len(block)
    if axis is None:
        return block.size - np.count_nonzero(mask)
    return _reduce_block(np.logical_not(mask), np.add, axis, np.dtype(np.int64))


def _widened(partial: Array) -> Array:
    """Return a partial result in the type that partial results are combined in."""
    wider = {**WIDER, "d": "g", "D": "G"}.get(partial.dtype.char)
    return partial.astype(wider) if wider else partial


def step_type(
    ufunc: np.ufunc, result: np.dtype[Any], dtype: npt.DTypeLike | None
) -> npt.DTypeLike | None:
    """Return the dtype to reduce in: float64 where numpy would round to a shorter at each step.

    A sum in float16 stands still after some thousand rows.
    """
    is_short = result.char == "e" or (dtype is not None and result.char in WIDER)
    return working_type(result) if ufunc in ROUNDING and is_short else dtype


def working_type(result: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type to sum in for a mean of the given type: at least float64."""
    return np.dtype(WIDER.get(result.char, result))


def loop_type(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return the dtype as a ufunc takes it: those of dates it finds itself."""
    return None if dtype.kind in "mM" else dtype


def check_ufunc(ufunc: np.ufunc) -> None:
    """Raise `BadInputError` for a ufunc whose results of blocks cannot be combined."""
    is_ufunc = isinstance(ufunc, np.ufunc)
    if not is_ufunc or ufunc not in COMBINABLE:
        found = f"np.{ufunc.__name__}" if is_ufunc else f"{ufunc!r:.80}"
        names = ", ".join(sorted(works.__name__ for works in COMBINABLE))
        raise BadInputError(
            f"rows are reduced in blocks, which {found} cannot combine; "
            f"expected one of numpy's ufuncs {names}",
            found=ufunc,
            expected=COMBINABLE,
        )


def check_axis(axis: int | None) -> None:
    """Raise `BadInputError` for an axis that is neither 0 nor None."""
    if axis is not None and axis != 0:
        raise BadInputError(
            f"axis {axis!r} is not reduced over; expected 0 (over the rows) or None (over all)",
            found=axis,
            expected=(0, None),
        )
