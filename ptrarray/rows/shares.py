"""Cutting arrays that follow each other into shares: as even as whole arrays allow, or by rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, pairwise
from typing import NamedTuple

import numpy as np

from ptrarray.rows.types import Int64s

Columns = tuple[Int64s, Int64s]  # starts and ends

# What an array counts for beside its rows: whoever goes through many small ones has work with each.
_ARRAY_NBYTES = 64
# Pointers looked at in one go.
_BLOCK = 1 << 16


def even_shares(stores: Sequence[Columns], width: int, n: int) -> list[tuple[int, int]]:
    """Cut arrays into shares of about as many bytes, of at least one array each.

    Parameters
    ----------
    stores : sequence of (starts, ends)
        Ranges of rows, as columns of int64, which may be mapped; of several stores one after the
        other.
    width : int
        Bytes of a row.
    n : int
        How many shares at the most: as many as there are arrays, if those are fewer.

    Returns
    -------
    list of (int, int)
        Half-open ranges of positions, in order, from the first array to the last.

    Notes
    -----
    Reads the columns twice, in blocks.

    Examples
    --------
    >>> starts = np.array([0, 1000, 1010, 1500])
    >>> even_shares([(starts, np.array([1000, 1010, 1500, 2000]))], 8, 2)
    [(0, 1), (1, 4)]
    """
    sums = [int(weights.sum()) for weights in _weights(stores, width)]
    n_arrays = sum(len(starts) for starts, _ in stores)
    n = min(n, n_arrays)
    if not n:
        return []
    total = sum(sums)
    targets = [total * number // n for number in range(1, n)]
    cuts = _positions(
        zip(_weights(stores, width), accumulate(sums, initial=0), strict=False), targets
    )
    bounds = [0]
    for number, position in enumerate(cuts, 1):
        bounds.append(min(max(position, bounds[-1] + 1), n_arrays - n + number))
    return list(pairwise([*bounds, n_arrays]))


def _weights(stores: Sequence[Columns], width: int) -> Iterator[Int64s]:
    for starts, ends in stores:
        for at in range(0, len(starts), _BLOCK):
            yield (ends[at : at + _BLOCK] - starts[at : at + _BLOCK]) * width + _ARRAY_NBYTES


def _positions(blocks: Iterable[tuple[Int64s, int]], targets: list[int]) -> Iterator[int]:
    """Yield for each of some rising weights the position before which about as much lies."""
    left, first = iter(targets), 0
    target = next(left, None)
    for weights, before in blocks:
        if target is None:
            return
        sums = before + np.cumsum(weights)
        while target is not None and target <= sums[-1]:
            at = int(np.searchsorted(sums, target))
            is_nearer = 2 * (int(sums[at]) - target) <= int(weights[at])
            yield first + at + is_nearer
            target = next(left, None)
        first += len(weights)


class Window(NamedTuple):
    """Rows of some arrays that follow each other.

    Attributes
    ----------
    low, high : int
        The positions ``low <= p < high`` of the arrays.
    first_row, last_row : int
        Only their rows ``first_row <= row < last_row``.
    """

    low: int
    high: int
    first_row: int
    last_row: int


def windows(starts: Int64s, ends: Int64s, n_rows: int) -> list[Window]:
    """Cut the union of ranges after every so many rows.

    Parameters
    ----------
    starts, ends : ndarray of int64, shape (n_arrays,)
        Ranges sorted by start; they may overlap or be empty, and may be mapped.
    n_rows : int
        Rows of a window; the last one may have fewer.

    Returns
    -------
    list of Window
        In order. The arrays of a window have all rows of the union that lie in it.

    Examples
    --------
    >>> for window in windows(np.array([0, 2, 9]), np.array([4, 3, 12]), 3):
    ...     tuple(window)
    (0, 2, 0, 3)
    (0, 3, 3, 11)
    (2, 3, 11, 12)
    """
    cuts = list(_cuts(starts, ends, n_rows))
    if not cuts:
        return []
    blocks = (ends[at : at + _BLOCK] for at in range(0, len(ends), _BLOCK))
    lasts = chain(cuts[1:], [(len(starts), max(int(block.max()) for block in blocks))])
    return [
        Window(low, int(np.searchsorted(starts, last)), first, last)
        for (low, first), (_, last) in zip(cuts, lasts, strict=True)
    ]


def _cuts(starts: Int64s, ends: Int64s, n_rows: int) -> Iterator[tuple[int, int]]:
    """Yield for every so many rows of the union which array has the next one, and the row."""
    reach, n_before, next_row = 0, 0, 0
    for at in range(0, len(starts), _BLOCK):
        low, high = starts[at : at + _BLOCK], ends[at : at + _BLOCK]
        reached = np.maximum.accumulate(np.append(reach, high))
        # What each array has that none before it has: those begin no later.
        first = np.maximum(low, reached[:-1])
        added = np.maximum(high - first, 0)
        sums = n_before + np.cumsum(added)
        wanted = np.arange(next_row, int(sums[-1]), n_rows)
        found = np.searchsorted(sums, wanted, side="right")
        rows = high[found] - (sums[found] - wanted)
        yield from zip((at + found).tolist(), rows.tolist(), strict=True)
        reach, n_before = int(reached[-1]), int(sums[-1])
        next_row += len(wanted) * n_rows
