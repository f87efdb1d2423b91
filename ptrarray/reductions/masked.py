"""Reductions that leave out what is masked: neutral elements in its place, and counts.

Each function is the one of the same name in `whole` or `each`, of rows with a mask. Its result is
masked where everything was masked that went into it, as `numpy.ma` has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError
from ptrarray.reductions import blocks, each, whole
from ptrarray.rows.copying import cut
from ptrarray.rows.ragged import gather

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]

_HIGHEST = frozenset((np.maximum, np.fmax))
_LOWEST = frozenset((np.minimum, np.fmin))


class MaskedRows:
    """A flat array with a mask of the same shape, true where an element is masked.

    Parameters
    ----------
    data : ndarray, shape (n_rows, *row_shape)
        The elements.
    mask : ndarray of bool, shape (n_rows, *row_shape)
        Both may be memory-mapped.
    """

    def __init__(self, data: Array, mask: Array) -> None:
        self.data, self.mask = data, mask
        self.dtype, self.shape, self.ndim = data.dtype, data.shape, data.ndim

    def __len__(self) -> int:
        return int(self.shape[0])


class _Computed:
    """Rows computed from those of other arrays, block by block, when they are asked for."""

    def __init__(self, function: Callable[..., Array], *sources: Array) -> None:
        self._function, self._sources = function, sources
        self.shape, self.ndim = sources[0].shape, sources[0].ndim
        self.dtype = self[:0].dtype
        self.itemsize = self.dtype.itemsize

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: slice) -> Array:
        return self._function(*(source[rows] for source in self._sources))

    def copy_ranges(self, starts: Int64s, ends: Int64s, offsets: Int64s) -> Array:
        """Compute ranges of rows end to end; `ptrarray.rows.ragged.gather` asks for them."""
        return self._function(*(gather(source, starts, ends).values for source in self._sources))


def reduce(
    rows: MaskedRows,
    starts: Array,
    ends: Array,
    ufunc: np.ufunc,
    *,
    axis: int | None = 0,
    dtype: npt.DTypeLike | None = None,
) -> Any:
    """Reduce all living elements that are not masked: see `ptrarray.reductions.whole.reduce`.

    Examples
    --------
    >>> rows = MaskedRows(np.array([1, 2, 4]), np.array([False, True, False]))
    >>> reduce(rows, np.array([0]), np.array([3]), np.add)
    np.int64(5)
    """
    whole.check_ufunc(ufunc)
    result = whole.reduce(_filled(rows, ufunc), starts, ends, ufunc, axis=axis, dtype=dtype)
    return _hidden(result, _count(rows, starts, ends, axis) == 0, starts, ends)


def mean(
    rows: MaskedRows,
    starts: Array,
    ends: Array,
    axis: int | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Any:
    """Average what is not masked: see `ptrarray.reductions.whole.mean`."""
    result = np.mean(np.zeros(1, rows.dtype), dtype=dtype, keepdims=True).dtype
    counts = _count(rows, starts, ends, axis)
    average = np.asarray(_average(rows, starts, ends, axis, result, counts)).astype(result)
    return _hidden(average[()], counts == 0, starts, ends)


def var(
    rows: MaskedRows,
    starts: Array,
    ends: Array,
    axis: int | None = None,
    dtype: npt.DTypeLike | None = None,
    ddof: float = 0,
) -> Any:
    """Return the variance of what is not masked: see `ptrarray.reductions.whole.var`.

    Reads the rows twice: for the mean, and for the deviations from it.
    """
    return _variance(rows, starts, ends, axis, dtype, ddof, lambda variance: variance)


def std(
    rows: MaskedRows,
    starts: Array,
    ends: Array,
    axis: int | None = None,
    dtype: npt.DTypeLike | None = None,
    ddof: float = 0,
) -> Any:
    """Return the standard deviation of what is not masked: the square root of `var`."""
    return _variance(rows, starts, ends, axis, dtype, ddof, np.sqrt)


def reduce_each(
    rows: MaskedRows,
    starts: Array,
    ends: Array,
    ufunc: np.ufunc,
    dtype: npt.DTypeLike | None = None,
) -> Array:
    """Reduce what is not masked of each array: see `ptrarray.reductions.each.reduce_each`.

    Examples
    --------
    >>> rows = MaskedRows(np.array([1, 2, 4]), np.array([False, False, True]))
    >>> reduce_each(rows, np.array([0, 2]), np.array([2, 3]), np.add)
    masked_array(data=[3, --],
                 mask=[False,  True],
           fill_value=999999)
    """
    result = each.reduce_each(_filled(rows, ufunc), starts, ends, ufunc, dtype)
    counts = _count_each(rows, starts, ends)
    lengths = (np.asarray(ends) - starts).reshape(-1, *(1,) * (rows.ndim - 1))
    return _masked_array(result, (counts == 0) & (lengths > 0))


def mean_each(rows: MaskedRows, starts: Array, ends: Array) -> Array:
    """Average what is not masked of each array: see `ptrarray.reductions.each.mean_each`.

    Masked where nothing is left, also of an empty array.
    """
    result = np.mean(np.zeros(1, rows.dtype), keepdims=True).dtype
    counts = _count_each(rows, starts, ends)
    working = whole.loop_type(whole.working_type(result))
    sums = each.reduce_each(_filled(rows, np.add), starts, ends, np.add, working)
    means = np.true_divide(sums, np.maximum(counts, 1)).astype(result)
    return _masked_array(means, counts == 0)


def std_each(rows: MaskedRows, starts: Array, ends: Array, ddof: float = 0) -> Array:
    """Return the standard deviation of what is not masked of each array, as `mean_each`.

    Masked where `ddof` leaves nothing to divide by.
    """
    result = np.std(np.zeros(1, rows.dtype), keepdims=True).dtype
    means = mean_each(rows, starts, ends).filled(0)  # type: ignore[attr-defined]
    counts = _count_each(rows, starts, ends)
    totals = np.zeros(counts.shape, np.float64)
    starts, ends = np.asarray(starts, np.int64), np.asarray(ends, np.int64)
    block_rows = blocks.rows_in(blocks.BLOCK_NBYTES, 16 * blocks.row_elements(rows.data))
    for low, high in cut(ends - starts, block_rows):
        some = starts[low:high], ends[low:high]
        data = gather(rows.data, *some)
        offsets = data.offsets
        spread = np.repeat(means[low:high], data.lengths, axis=0)
        squares = whole.squared(np.subtract(data.values, spread))
        squares[gather(rows.mask, *some).values] = 0
        totals[low:high] = each.reduce_each(squares, offsets[:-1], offsets[1:], np.add)
    left = counts - ddof
    deviations = np.sqrt(totals / np.where(left > 0, left, 1)).astype(result)
    return _masked_array(deviations, left <= 0)


def _filled(rows: MaskedRows, ufunc: np.ufunc) -> Array:
    """Return the rows with what is masked replaced by what changes no result."""
    neutral = _neutral(ufunc, rows.dtype)

    def fill(data: Array, mask: Array) -> Array:
        return np.where(mask, neutral, data)

    computed: Any = _Computed(fill, rows.data, rows.mask)
    return computed  # type: ignore[no-any-return]  # which `gather` and `blocks` take as rows


def _neutral(ufunc: np.ufunc, dtype: np.dtype[Any]) -> Array:
    """Return the element that changes no result of a ufunc."""
    if ufunc in _HIGHEST or ufunc in _LOWEST:
        return _extreme(dtype, is_lowest=ufunc in _HIGHEST)
    identity = 1 if ufunc is np.lcm else ufunc.identity
    if identity is None or ufunc not in whole.COMBINABLE:
        names = ", ".join(sorted(works.__name__ for works in whole.COMBINABLE))
        raise BadInputError(
            f"np.{ufunc.__name__} cannot leave out what is masked; expected one of {names}",
            found=ufunc,
            expected=whole.COMBINABLE,
        )
    is_infinite = isinstance(identity, float) and np.isinf(identity)
    return np.asarray(identity) if is_infinite else np.asarray(identity).astype(dtype)


def _extreme(dtype: np.dtype[Any], *, is_lowest: bool) -> Array:
    if dtype.kind == "b":
        return np.asarray(not is_lowest)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.asarray(limits.min if is_lowest else limits.max, dtype)
    if dtype.kind in "mM":
        limits = np.iinfo(np.int64)  # whose lowest is NaT
        return np.asarray(limits.min + 1 if is_lowest else limits.max).view(dtype.newbyteorder("="))
    if dtype.kind in "fc":
        infinity = -np.inf if is_lowest else np.inf
        return np.asarray(infinity if dtype.kind == "f" else complex(infinity, infinity), dtype)
    raise BadInputError(
        f"{dtype} has no lowest and highest value in whose place something could be left out",
        found=str(dtype),
        expected="numbers or dates",
    )


def _kept(mask: Array) -> Array:
    return np.logical_not(mask)


def _count(rows: MaskedRows, starts: Array, ends: Array, axis: int | None) -> Array:
    """Count the living elements that are not masked."""
    kept: Any = _Computed(_kept, rows.mask)
    return np.asarray(whole.reduce(kept, starts, ends, np.add, axis=axis, dtype=np.int64))


def _count_each(rows: MaskedRows, starts: Array, ends: Array) -> Array:
    kept: Any = _Computed(_kept, rows.mask)
    return each.reduce_each(kept, starts, ends, np.add, np.int64)


def _average(
    rows: MaskedRows,
    starts: Array,
    ends: Array,
    axis: int | None,
    result: np.dtype[Any],
    counts: Array,
) -> Array:
    """Return the mean in the type that is worked in; of nothing, zero."""
    working = whole.loop_type(whole.working_type(result))
    sums = whole.reduce(_filled(rows, np.add), starts, ends, np.add, axis=axis, dtype=working)
    return np.asarray(np.true_divide(sums, np.maximum(counts, 1)))


def _variance(
    rows: MaskedRows,
    starts: Array,
    ends: Array,
    axis: int | None,
    dtype: npt.DTypeLike | None,
    ddof: float,
    finish: Callable[[Array], Array],
) -> Any:
    probe = np.zeros(1, rows.dtype)
    result = np.var(probe, dtype=dtype, keepdims=True).dtype
    working = np.mean(probe, dtype=dtype, keepdims=True).dtype
    counts = _count(rows, starts, ends, axis)
    average = _average(rows, starts, ends, axis, working, counts)

    def deviations(data: Array, mask: Array) -> Array:
        squares = whole.squared(np.subtract(data, average))
        return np.where(mask, np.zeros((), squares.dtype), squares)

    squares: Any = _Computed(deviations, rows.data, rows.mask)
    total = whole.reduce(squares, starts, ends, np.add, axis=axis)
    left = counts - ddof
    variance = finish(np.asarray(total / np.where(left > 0, left, 1))).astype(result)
    return _hidden(variance[()], left <= 0, starts, ends)


def _hidden(result: Any, is_hidden: Array, starts: Array, ends: Array) -> Any:
    """Mask a result where nothing went into it; one of no rows at all is as without masks."""
    if not np.any(np.asarray(starts) < ends):
        return result
    if np.ndim(result) == 0:
        return np.ma.masked if is_hidden else result
    return _masked_array(result, is_hidden)


def _masked_array(values: Array, mask: Array) -> Array:
    masked: Array = np.ma.MaskedArray(values, mask)
    return masked
