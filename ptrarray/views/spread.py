"""Reductions whose parts are worked out by an executor: other processes, or other machines.

A path, a commit and positions go to a worker, and never rows. Each opens the store by itself.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray import reductions
from ptrarray.errors import BadInputError, StoreError
from ptrarray.reductions import blocks, whole
from ptrarray.reductions.blocks import Living
from ptrarray.reductions.masked import hidden
from ptrarray.reductions.whole import Summary
from ptrarray.rows.shares import Window, even_shares, windows
from ptrarray.rows.types import Array, Int64s
from ptrarray.storage.shards.partition import Portion
from ptrarray.storage.store.opened import Opened

# What is open, what returns its living ranges or those of a part of it, and whose they are: the
# arrays at some positions, or None for all. The function can be pickled.
Spread = tuple[Opened, Callable[[Opened], Living], Int64s | None]

# Tasks at the most: many more than workers, so that none of these waits long for the last one.
TASKS = 256


class _Share(NamedTuple):
    """What can be reduced elsewhere.

    Attributes
    ----------
    portion : Portion
        Arrays of a store.
    living_of : callable
        Returns their rows and ranges, given what they open as.
    """

    portion: Portion
    living_of: Callable[[Opened], Living]

    def living(self) -> Living:
        """Return rows and ranges, where this is a worker's."""
        return self.living_of(self.portion.opened)


def _shares(spread: Spread, bounds: Iterable[tuple[int, int]]) -> Iterator[_Share]:
    """Yield what has the ranges ``low <= n < high``, and no others."""
    opened, living_of, positions = spread
    whole_store = Portion(opened, 0, len(opened.snapshot))
    for low, high in bounds:
        if positions is not None:
            low, high = int(positions[low]), int(positions[high - 1]) + 1
        yield _Share(whole_store.part(low, high), living_of)


def reduce(
    spread: Spread,
    living: Living,
    executor: Executor,
    ufunc: np.ufunc,
    *,
    axis: int | None,
    dtype: npt.DTypeLike | None,
) -> Any:
    """Reduce all living rows: the same as `reductions.reduce`, to the last bit.

    Parts are cut where it cuts, at a power of two of cells, so that the results of the parts are
    nodes of the tree that it would have made.
    """
    summed = partial(_summed, spread, executor)
    return reductions.reduce(living, ufunc, axis=axis, dtype=dtype, summed=summed)


def _summed(
    spread: Spread,
    executor: Executor,
    living: Living,
    ufunc: np.ufunc,
    axis: int | None,
    dtype: npt.DTypeLike | None,
) -> Summary | None:
    blocks.plain(living.rows)  # or an error, as without an executor
    found = windows(living.starts, living.ends, _window_rows(living))
    shares = _shares(spread, ((window.low, window.high) for window in found))
    tasks = [
        (share, window, ufunc, axis, dtype) for share, window in zip(shares, found, strict=True)
    ]
    return blocks.fold(_results(executor, _summary, tasks), partial(whole.merged, ufunc))


def _window_rows(living: Living) -> int:
    """Return how many rows a task has: a power of two of cells."""
    n_rows = blocks.cell_rows(living.rows)
    most = int(np.sum(living.ends)) - int(np.sum(living.starts))  # fewer where some overlap
    while most > TASKS * n_rows:
        n_rows *= 2
    return n_rows


def _summary(
    share: _Share, window: Window, ufunc: np.ufunc, axis: int | None, dtype: npt.DTypeLike | None
) -> Summary:
    living = share.living()
    starts = np.maximum(living.starts, window.first_row)
    ends = np.minimum(living.ends, window.last_row)
    is_inside = starts < ends
    living = living._replace(starts=starts[is_inside], ends=ends[is_inside])
    summary = whole.summary_of(living, ufunc, axis, dtype, n_threads=1)
    assert summary is not None  # a window has rows
    return summary


def reduce_each(
    spread: Spread,
    living: Living,
    executor: Executor,
    ufunc: np.ufunc,
    *,
    axis: int | None,
    dtype: npt.DTypeLike | None,
) -> Array:
    """Reduce each array: the same as `reductions.reduce_each`."""
    row_nbytes = living.rows.itemsize * blocks.row_elements(living.rows)
    bounds = even_shares([(living.starts, living.ends)], row_nbytes, TASKS)
    # Of no array, which is refused as those of all would be.
    none = living._replace(starts=living.starts[:0], ends=living.ends[:0])
    like = reductions.reduce_each(none, ufunc, dtype, axis=axis)
    shape = len(living.starts), *like.shape[1:]
    results: Array = hidden(living, np.empty(shape, like.dtype), np.zeros(shape, np.bool_))
    tasks = [(share, ufunc, axis, dtype) for share in _shares(spread, bounds)]
    for (low, high), part in zip(bounds, _of_each(executor, tasks, bounds), strict=True):
        results[low:high] = part
    return results


def _of_each(
    executor: Executor, tasks: Sequence[tuple[Any, ...]], bounds: Sequence[tuple[int, int]]
) -> Iterator[Array]:
    """Yield results of shares; an error about the array at a position has that among all."""
    results = _results(executor, _each_of, tasks)
    for low, _ in bounds:
        try:
            yield next(results)
        except BadInputError as error:
            if "position" in error.facts:
                error.facts["position"] += low
                raise BadInputError(str(error), **error.facts) from error
            raise


def _each_of(
    share: _Share, ufunc: np.ufunc, axis: int | None, dtype: npt.DTypeLike | None
) -> Array:
    return reductions.reduce_each(share.living(), ufunc, dtype, axis=axis, n_threads=1)


def _results(
    executor: Executor, function: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]
) -> Iterator[Any]:
    """Yield what a function returns for each task, in order; after an error no more are begun."""
    futures = [_submitted(executor, function, task) for task in tasks]
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:
            future.cancel()


def _submitted(executor: Executor, function: Callable[..., Any], task: tuple[Any, ...]) -> Any:
    if isinstance(executor, ThreadPoolExecutor):
        return executor.submit(function, *task)
    # As bytes, which no engine has to look into: some hash arguments, or compare them.
    try:
        packed = pickle.dumps((function, task))
    except Exception as error:
        raise BadInputError(
            f"this cannot be sent to the workers of an executor: {error!r:.200}; expected a ufunc "
            "that can be pickled, as all of numpy's can",
            found=repr(error),
            expected="what can be pickled",
        ) from error
    return executor.submit(_unpacked, packed)


def _unpacked(packed: bytes) -> Any:
    """Call what was sent. An error that would not arrive breaks many an engine: it goes as text."""
    function, task = pickle.loads(packed)
    try:
        return function(*task)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 whatever it is made of
            text = "".join(traceback.format_exception(error))
            raise StoreError(f"a worker failed: {text}") from None
        raise
