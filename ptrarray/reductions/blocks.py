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
from functools import partial, reduce
from itertools import chain, islice
from typing import NamedTuple, TypeVar

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.rows.masked import MaskedRows
from ptrarray.rows.pointers import iter_runs, numbered
from ptrarray.rows.ragged import gather
from ptrarray.rows.stopping import stoppable
from ptrarray.rows.types import AnyRows, Array, Int64s, ahead_nbytes

Task = TypeVar("Task")
Result = TypeVar("Result")
Ranges = tuple[Int64s, Int64s]  # starts and ends

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
# Their floats round at each step, so that the type of the steps tells.
ROUNDING: frozenset[np.ufunc] = frozenset(
    (np.add, np.multiply, np.logaddexp, np.logaddexp2, np.hypot, np.subtract, np.divide)
)
# Bytes of rows that one task works on. With less, handing out tasks costs more than a tenth of
# the fastest reductions; with more, memory and uneven shares.
BLOCK_NBYTES = 8 << 20
# Most rows that are summarised in one go: rows are counted off in as many, past all holes, so that
# results do not depend on where the holes are.
CELL_ROWS = 1 << 20
# Threads that wait for what lies elsewhere, at the most.
_READERS = 32
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
    stop: Future[None] = Future()
    work = partial(stoppable, stop, function)
    with ThreadPoolExecutor(n_threads, thread_name_prefix="ptrarray") as pool:
        outstanding: deque[Future[Result]] = deque()

        def submit(n_tasks: int) -> None:
            for task in islice(tasks, n_tasks):
                # numpy keeps its errstate in the context; a context runs one thread at a time.
                outstanding.append(pool.submit(contextvars.copy_context().run, work, task))

        try:
            submit(2 * n_threads)
            while outstanding:
                result = outstanding.popleft().result()
                submit(1)
                yield result
        finally:
            stop.set_result(None)  # after Ctrl-C, those that wait for what lies elsewhere end
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
    n_threads: int = 0,
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
    n_threads : int
        As for `in_parallel`.

    Returns
    -------
    The merged summary; None if no row is alive. The same however many threads
    there are, and wherever the rows lie: only their order counts.

    Examples
    --------
    >>> living = Living(np.arange(10), np.array([0, 1, 7]), np.array([2, 3, 9]))
    >>> over_runs(living, summarise=np.sum, merge=np.add)
    np.int64(18)
    """
    rows = plain(living.rows)
    n_rows = cell_rows(rows, block_nbytes)
    block_rows = rows_in(block_nbytes or BLOCK_NBYTES, rows.itemsize * row_elements(rows))

    def work(task: Ranges) -> list[Result]:
        block = end_to_end(rows, *task)
        return [summarise(block[at : at + n_rows]) for at in range(0, len(block), n_rows)]

    n_threads = n_threads or count_readers(rows, block_nbytes)
    tasks = _tasks(living, n_rows, max(1, block_rows // n_rows))
    return fold(chain.from_iterable(in_parallel(work, tasks, n_threads)), merge)


def cell_rows(rows: AnyRows, block_nbytes: int = 0) -> int:
    """Return how many rows are summarised in one go."""
    row_nbytes = rows.itemsize * row_elements(rows)
    return min(CELL_ROWS, rows_in(block_nbytes or BLOCK_NBYTES, row_nbytes))


def end_to_end(rows: AnyRows, starts: Int64s, ends: Int64s) -> Array:
    """Return ranges of rows laid end to end: a view where they lie so, else a copy."""
    if (ends[:-1] == starts[1:]).all():
        return rows[int(starts[0]) : int(ends[-1])]
    return gather(rows, starts, ends).values


def _tasks(living: Living, cell_rows: int, n_cells: int) -> Iterator[Ranges]:
    """Cut the union of the ranges into whole cells of rows, up to so many of them at a time."""
    left = np.empty(0, np.int64), np.empty(0, np.int64)
    for runs in iter_runs(living.starts, living.ends, POINTERS, cell_rows):
        check_inside(len(living.rows), *runs)
        starts, ends = (np.concatenate(both) for both in zip(left, runs, strict=True))
        cells, starts, ends = _cut_at_cells(starts, ends, cell_rows)
        # The last cell may not be full, and waits for what comes.
        low = 0
        for cell in (*range(n_cells, int(cells[-1]), n_cells), int(cells[-1])):
            high = int(np.searchsorted(cells, cell))
            if low < high:
                yield starts[low:high], ends[low:high]
            low = high
        left = starts[low:], ends[low:]
    if len(left[0]):
        yield left


def _cut_at_cells(starts: Int64s, ends: Int64s, cell_rows: int) -> tuple[Int64s, Int64s, Int64s]:
    """Cut runs, laid end to end, after every so many rows; return the cell of each, and them."""
    offsets = np.cumsum(ends - starts)
    first = offsets - (ends - starts)
    owners, nth = numbered((offsets - 1) // cell_rows - first // cell_rows + 1)
    cells = first[owners] // cell_rows + nth
    shifts = (starts - first)[owners]
    starts = np.maximum(first[owners], cells * cell_rows) + shifts
    ends = np.minimum(offsets[owners], (cells + 1) * cell_rows) + shifts
    return cells, starts, ends


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


def count_readers(rows: AnyRows, block_nbytes: int = 0) -> int:
    """Return how many threads go through rows in blocks: more than cores, where they wait for answers."""
    data = rows.data if isinstance(rows, MaskedRows) else rows
    # malloc keeps about half as much as the blocks have, of those that were let go of.
    n_blocks = 2 * ahead_nbytes(data) // (3 * (block_nbytes or BLOCK_NBYTES))
    return max(count_cores(), min(n_blocks, _READERS))


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
