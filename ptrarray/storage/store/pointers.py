"""Pointers of a store: whether they are such as an index may have."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ptrarray.errors import CorruptStoreError
from ptrarray.format.index import corrupt
from ptrarray.rows.types import Int64s
from ptrarray.storage.store.index import Index, pieces

BLOCK = 1 << 17  # positions, whose pointers stay in a processor's cache from one look to the next


def outside(starts: Int64s, ends: Int64s, n_rows: int | Int64s) -> npt.NDArray[np.bool_]:
    """Return for each pointer whether it leads out of so many rows."""
    # An empty array may have been written past the rows there are.
    beyond: npt.NDArray[np.bool_] = (ends > n_rows) & (starts != ends)
    return beyond | (starts < 0) | (starts > ends)


def falling(starts: Int64s) -> Int64s:
    """Return the positions of arrays that begin before the one before them."""
    return np.flatnonzero(starts[1:] < starts[:-1]) + 1


def check_columns(path: str, starts: Int64s, ends: Int64s, n_rows: int) -> int:
    """Return the greatest end; raise `CorruptStoreError` for columns of pointers that no index may have."""
    # Nearly always nothing is wrong, which the fewest comparisons show first.
    last = _last_of_rising(starts, ends)
    if last is not None and last <= n_rows and (starts[:1] >= 0).all():
        return last
    is_outside = outside(starts, ends, n_rows)
    if is_outside.any():
        at = int(np.argmax(is_outside))
        raise astray(path, int(starts[at]), int(ends[at]), n_rows)
    for at in falling(starts)[:1].tolist():
        rows = f"rows {starts[at]} to {ends[at]}, behind one from row {starts[at - 1]} on"
        raise corrupt(path, f"has an array out of order: {rows}")
    return int(ends.max())


def _last_of_rising(starts: Int64s, ends: Int64s) -> int | None:
    """Return the greatest end, or None if a start is after its end, or before the start before it."""
    last = 0
    for at in range(0, len(starts), BLOCK):
        # With the first start of the next block, so that no two neighbours are left out.
        some, their_ends = starts[at : at + BLOCK + 1], ends[at : at + BLOCK]
        if (some[: len(their_ends)] > their_ends).any() or (some[1:] < some[:-1]).any():
            return None
        last = max(last, int(their_ends.max()))
    return last


def check_index(index: Index) -> None:
    """Raise `CorruptStoreError` if an index is damaged, or has pointers that no index may have."""
    index.check()
    for some in pieces(index.header.n_arrays):
        # With the last one before, which these must not begin before.
        some = slice(max(some.start - 1, 0), some.stop)
        check_columns(index.path, index.starts[some], index.ends[some], index.header.n_rows)
        index.pass_on()


def astray(path: str, start: int, end: int, n_rows: int) -> CorruptStoreError:
    """Return the error for a pointer that leads out of so many rows."""
    return corrupt(path, f"has a pointer to rows {start} to {end} of {n_rows}")


def scattered(n: int, n_all: int) -> list[int]:
    """Return at most `n` of so many numbers: rising, spread over all, and in step with nothing.

    Examples
    --------
    >>> scattered(5, 1000)
    [0, 236, 472, 618, 854]
    """
    if n_all <= n:
        return list(range(n_all))
    # What is left of multiples of the golden ratio is spread as evenly as can be.
    chosen = np.arange(n) * ((5**0.5 - 1) / 2) % 1 * n_all
    return sorted({*chosen.astype(np.int64).tolist()})
