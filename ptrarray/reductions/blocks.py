"""Walk the rows of many ranges in blocks of bounded size, on all cores.

Rows that no range covers are never read: the flat array may be far larger than the disk, with
huge holes in it.
"""

from __future__ import annotations

import contextvars
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import reduce
from itertools import chain, islice
from typing import NamedTuple, TypeVar

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.rows.copying import cut
from ptrarray.rows.masked import MaskedRows
from ptrarray.rows.pointers import iter_runs, numbered
from ptrarray.rows.ragged import gather
from ptrarray.rows.types import AnyRows, Array, Int64s

Task = TypeVar("Task")
Result = TypeVar("Result")

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
# Bytes of rows that one task works on. With less, handing out tasks costs more than a tenth of
# the fastest reductions; with more, memory and uneven shares.
BLOCK_NBYTES = 8 << 20
# Runs below this are gathered into a block first, rather than reduced one by one.
GATHER_BELOW_NBYTES = 256 << 10
# Pointers looked at in one go: columns of 256 kB, which stay in the cache and are cheap to get.
POINTERS = 1 << 15


class Living(NamedTuple):
    """Rows, and the ranges of them that are arrays.

    Attributes
    ----------
    rows : ndarray or Rows, shape (n_rows, *row_shape)
        The flat array; may be memory-mapped and larger than memory. With a
        mask, `MaskedRows`.
    starts, ends : ndarray of int64, shape (n_arrays,)
        The ranges; they may overlap or be empty. May be memory-mapped.
    """

    rows: AnyRows
    starts: Int64s
    ends: Int64s

    @property
    def is_masked(self) -> bool:
        """Whether elements may be masked."""
        return isinstance(self.rows, MaskedRows)

    @property
    def none(self) -> Array:
        """An array without rows: what numpy gives for it is the result where no row is alive."""
        return np.zeros((0, *self.rows.shape[1:]), self.rows.dtype)

    @property
    def one(self) -> Array:
        """An array of one element: what numpy gives for it has the dtype of the result."""
        return np.zeros(1, self.rows.dtype)


def in_parallel(
    function: Callable[[Task], Result], tasks: Iterable[Task], n_threads: int = 0
) -> Iterator[Result]:
    """Call a function with each task on all cores; yield the results in order.

    Parameters
    ----------
    function : callable
        Gains from threads only as far as it releases the interpreter's lock,
        as numpy does in its loops.
    tasks : iterable
        Taken one by one, no further ahead than two for each thread, so that
        neither tasks nor results pile up. A single task runs in the caller's
        thread.
    n_threads : int
        0: one for each core that this process may use.

    Yields
    ------
    What `function` returned, in the order of the tasks. The first exception
    is raised, and tasks that have not begun are dropped.

    Notes
    -----
    ``np.errstate`` of the caller holds in the threads.

    Examples
    --------
    >>> list(in_parallel(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    tasks = iter(tasks)
    first_two = list(islice(tasks, 2))
    tasks = chain(first_two, tasks)
    n_threads = n_threads or count_cores()
    if len(first_two) < 2 or n_threads == 1:
        yield from map(function, tasks)
        return
    with ThreadPoolExecutor(n_threads, thread_name_prefix="ptrarray") as pool:
        outstanding: deque[Future[Result]] = deque()

        def submit(n_tasks: int) -> None:
            for task in islice(tasks, n_tasks):
                # numpy keeps its errstate in the context; a context runs one thread at a time.
                outstanding.append(pool.submit(contextvars.copy_context().run, function, task))

        try:
            submit(2 * n_threads)
            while outstanding:
                result = outstanding.popleft().result()
                submit(1)
                yield result
        finally:
            for future in outstanding:
                future.cancel()


def fold(parts: Iterable[Result], merge: Callable[[Result, Result], Result]) -> Result | None:
    """Merge a stream of partial results as a balanced tree, in order.

    Each part takes part in O(log n) merges, so rounding errors stay as small
    as in numpy's pairwise sums, and at most log n parts are held.

    Parameters
    ----------
    parts : iterable
        At least one, or the result is None.
    merge : callable
        Associative, up to rounding.

    Examples
    --------
    >>> fold("abcde", lambda left, right: f"({left}{right})")
    '(((ab)(cd))e)'
    """
    pending: list[Result] = []
    for n_parts, part in enumerate(parts, 1):
        for _ in range((n_parts & -n_parts).bit_length() - 1):
            part = merge(pending.pop(), part)
        pending.append(part)
    return reduce(lambda right, left: merge(left, right), reversed(pending)) if pending else None


def over_runs(
    living: Living,
    *,
    summarise: Callable[[Array], Result],
    merge: Callable[[Result, Result], Result],
    block_nbytes: int = 0,
) -> Result | None:
    """Summarise every living row once, block by block, and merge the summaries.

    Parameters
    ----------
    living : Living
        Ranges sorted by start.
    summarise : callable
        Of an ndarray of shape (n, *row_shape), n > 0; called on threads.
    merge : callable
        Of two summaries.
    block_nbytes : int
        Most bytes of rows in a block; 0: the measured default.

    Returns
    -------
    The merged summary; None if no row is alive. The same however many threads
    there are.

    Examples
    --------
    >>> living = Living(np.arange(10), np.array([0, 1, 7]), np.array([2, 3, 9]))
    >>> over_runs(living, summarise=np.sum, merge=np.add)
    np.int64(18)
    """
    rows = plain(living.rows)
    row_nbytes = rows.itemsize * row_elements(rows)

    def work(task: tuple[Int64s, Int64s]) -> Result:
        run_starts, run_ends = task
        mean_nbytes = int((run_ends - run_starts).sum()) * row_nbytes / len(run_starts)
        if len(run_starts) > 1 and mean_nbytes < GATHER_BELOW_NBYTES:
            return summarise(gather(rows, run_starts, run_ends).values)
        runs = zip(run_starts.tolist(), run_ends.tolist(), strict=True)
        summary = fold((summarise(rows[start:end]) for start, end in runs), merge)
        assert summary is not None  # a task has at least one run
        return summary

    block_rows = rows_in(block_nbytes or BLOCK_NBYTES, row_nbytes)
    return fold(in_parallel(work, _run_tasks(living, block_rows)), merge)


def _run_tasks(living: Living, block_rows: int) -> Iterator[tuple[Int64s, Int64s]]:
    """Cut the union of the ranges into tasks of one long piece or several short runs."""
    for run_starts, run_ends in iter_runs(living.starts, living.ends, POINTERS, block_rows):
        check_inside(len(living.rows), run_starts, run_ends)
        run_starts, run_ends = _split(run_starts, run_ends, block_rows)
        for low, high in cut(run_ends - run_starts, max(1, block_rows // 2)):
            yield run_starts[low:high], run_ends[low:high]


def _split(starts: Int64s, ends: Int64s, most: int) -> tuple[Int64s, Int64s]:
    """Split runs longer than `most` rows."""
    n_pieces = -(-(ends - starts) // most)
    if n_pieces.max() == 1:
        return starts, ends
    owners, nth = numbered(n_pieces)
    piece_starts = starts[owners] + nth * most
    return piece_starts, np.minimum(piece_starts + most, ends[owners])


def check_inside(n_rows: int, starts: Int64s, ends: Int64s) -> None:
    """Raise `BadInputError` if a range does not lie within the rows."""
    wrong = (starts < 0) | (ends < starts) | (ends > n_rows)
    if wrong.any():
        at = int(wrong.argmax())
        start, end = int(starts[at]), int(ends[at])
        raise BadInputError(
            f"range [{start}, {end}) is not within the rows [0, {n_rows})",
            found=(start, end),
            expected=(0, n_rows),
        )


def plain(rows: AnyRows) -> AnyRows:
    """Return an array as a plain ndarray, whose slices are cheap; refuse to drop its mask."""
    if isinstance(rows, np.ma.MaskedArray):
        raise BadInputError(
            "rows with a mask cannot be reduced in blocks; reduce the arrays one by one",
            found=np.ma.MaskedArray,
            expected=np.ndarray,
        )
    return np.asarray(rows) if isinstance(rows, np.ndarray) else rows


def row_elements(rows: AnyRows) -> int:
    """Return the number of elements in a row; 0 for rows of no width."""
    return math.prod(rows.shape[1:])


def rows_in(nbytes: int, row_nbytes: int) -> int:
    """Return how many rows fill a block; rows of no bytes count as of one."""
    return max(1, nbytes // max(1, row_nbytes))


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
