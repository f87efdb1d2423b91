"""The name table: linear probing over CRC-32 hashes, built and searched by numpy.

The home slot of a hash is ``hash * n_homes >> 32``, that is, its top bits
scaled to a number of slots that need not be a power of two. Home slots thus
rise with the hash, which lets the table be built by one sort. The table ends
in an empty slot, so that no search has to wrap around.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint32]
Slots = npt.NDArray[np.uint32]
Positions = npt.NDArray[np.int64]
Keys = npt.NDArray[
    np.uint64
]  # hash in the upper half, position in the lower: they sort as slots do

EMPTY = 0xFFFF_FFFF
LOAD = 0.6
_WINDOW = 8  # slots: those of one cache line
_PART_NAMES = 1 << 15  # of a part of the table that is built at a time
_HALF = np.uint64(32)


def count_homes(n_names: int) -> int:
    """Return how many home slots so many names get, at the load of 0.6."""
    return int(n_names / LOAD) + 1


def argsort(hashes: Hashes) -> Positions:
    """Return the order of hashes; equal ones keep theirs.

    Notes
    -----
    Sorts by the lower halves, then by the upper ones, for numpy sorts numbers
    of 16 bits by radix. From some thousand hashes on, two to five times as
    fast as one sort of the whole.

    Examples
    --------
    >>> argsort(np.array([2**31, 7, 9, 7], np.uint32))
    array([1, 3, 2, 0])
    """
    by_lower = np.argsort(hashes.astype(np.uint16), kind="stable")
    upper = (hashes >> np.uint32(16)).astype(np.uint16)
    order: Positions = by_lower[np.argsort(upper[by_lower], kind="stable")]
    return order


def build(hashes: Hashes) -> Slots:
    """Lay the hashes of all names out for linear probing.

    Parameters
    ----------
    hashes : ndarray of uint32, shape (n_names,)
        Hash of the name at each position.

    Returns
    -------
    ndarray of uint32, shape (n_slots, 2)
        Hash and position in each slot; `EMPTY` as the position where there is
        none. The last slot is empty.

    Notes
    -----
    Inserting hashes in the order of their home slots, linear probing gives
    entry ``i`` the first free slot at or after its home, which is
    ``i + max(home[j] - j for j <= i)``: homes 1, 1, 1, 5 give the differences
    1, 0, -1, 2, whose running maxima 1, 1, 1, 2 lead to the slots 1, 2, 3, 5.
    Time O(n log n), memory some 40 bytes a name.

    Examples
    --------
    >>> build(np.array([7, 2**31], np.uint32))[:, 1]
    array([         0, 4294967295,          1, 4294967295, 4294967295],
          dtype=uint32)
    """
    n_homes = count_homes(len(hashes))
    order = argsort(hashes)
    rising = hashes[order]
    ranks = np.arange(len(hashes), dtype=np.int64)
    slots = home_slots(rising, n_homes)
    slots -= ranks
    np.maximum.accumulate(slots, out=slots)
    slots += ranks
    n_slots = max(n_homes, int(slots[-1]) + 1 if len(slots) else 0) + 1
    pairs = np.full(n_slots, EMPTY << 32, np.uint64)  # the hash in the lower half
    entries = order.view(np.uint64)
    entries <<= np.uint64(32)
    entries |= rising
    pairs[slots] = entries
    return pairs.view(np.uint32).reshape(-1, 2)


class Run(Protocol):
    """Keys that rise, to be taken piece by piece."""

    def until(self, end: int) -> Keys:
        """Return those of the keys that are left whose hashes are below `end`."""


class SortedRun:
    """A `Run` of keys that are in memory, or mapped."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def until(self, end: int) -> Keys:
        """Return those of the keys that are left whose hashes are below `end`."""
        cut = n_below(self._keys, end)
        keys, self._keys = self._keys[:cut], self._keys[cut:]
        return keys


def keys_of(hashes: Hashes, positions: Positions) -> Keys:
    """Return the keys of names, not sorted."""
    keys = hashes.astype(np.uint64)
    keys <<= _HALF
    keys |= positions.view(np.uint64)
    return keys


def n_below(keys: Keys, end: int) -> int:
    """Return how many of some keys that rise have hashes below `end`."""
    return int(np.searchsorted(keys, np.uint64((end << 32) - 1), side="right"))


def in_parts(runs: Sequence[Run], n_names: int, part_names: int | None = None) -> Iterator[Slots]:
    """Build the table of `build` from its beginning to its end, part by part.

    Parameters
    ----------
    runs : sequence of Run
        The keys of all names, in any number of runs.
    n_names : int
        How many there are.
    part_names : int, optional
        Of how many a part is; more are better where there are many runs.

    Yields
    ------
    ndarray of uint32, shape (n, 2)
        The slots that follow. Together they are what `build` returns.

    Notes
    -----
    A part has the names of some thousand home slots that follow each other. What does not fit
    there goes on in the slots behind, and moves what comes next, as `build` has it. Memory is
    the same for any number of names.

    Examples
    --------
    >>> hashes = np.array([2**31, 7], np.uint32)
    >>> run = SortedRun(np.sort(keys_of(hashes, np.arange(2))))
    >>> np.array_equal(np.concatenate(list(in_parts([run], 2))), build(hashes))
    True
    """
    n_homes, first = count_homes(n_names), 0
    step = max(1, n_homes * (part_names or _PART_NAMES) // max(n_names, 1))
    for low in range(0, n_homes, step):
        high = min(low + step, n_homes)
        end = -(-(high << 32) // n_homes)  # the least hash whose home is `high`
        pieces = [run.until(end) for run in runs]
        keys = np.concatenate(pieces)
        if sum(map(bool, map(len, pieces))) > 1:
            keys.sort(kind="stable")
        slots = home_slots((keys >> _HALF).astype(np.uint32), n_homes)
        np.maximum(slots, first, out=slots)
        ranks = np.arange(len(keys))
        slots -= ranks
        np.maximum.accumulate(slots, out=slots)
        slots += ranks
        behind = max(high, first, int(slots[-1]) + 1 if len(slots) else 0)
        pairs = np.full(behind - first, EMPTY << 32, np.uint64)
        pairs[slots - first] = keys >> _HALF | keys << _HALF
        yield pairs.view(np.uint32).reshape(-1, 2)
        first = behind
    yield np.array([[0, EMPTY]], np.uint32)


def home_slots(hashes: Hashes, n_homes: int) -> Positions:
    """Return the slot at which the search for each hash begins."""
    slots = hashes.astype(np.uint64)
    slots *= np.uint64(n_homes)
    slots >>= np.uint64(32)
    return slots.view(np.int64)


def nearest(table: Slots, n_homes: int, hashes: Hashes) -> Positions:
    """Return the position of the first name with each hash within a few slots of its home.

    One look at the table for all hashes together. Where no name is found, the
    position is meaningless, so the caller has to compare names in any case.
    """
    pairs = table.reshape(-1).view(np.uint64)  # the hash in the lower half
    slots = home_slots(hashes, n_homes)[:, None] + np.arange(_WINDOW)
    entries = pairs.take(slots, mode="clip")
    first = ((entries & np.uint64(EMPTY)) == hashes[:, None]).argmax(axis=1)
    found = entries[np.arange(len(hashes)), first]
    positions: Positions = (found >> np.uint64(32)).astype(np.int64)
    return positions


def candidates(table: Slots, n_homes: int, hashes: Hashes) -> tuple[Positions, Positions]:
    """Return every pair of a query and a position in the table with equal hashes.

    Parameters
    ----------
    table : ndarray of uint32, shape (n_slots, 2)
        As `build` makes it; may be memory-mapped.
    n_homes : int
        Home slots of the table.
    hashes : ndarray of uint32, shape (n_queries,)
        Hashes to look for.

    Returns
    -------
    queries, positions : ndarray of int64
        The names at `positions` have the hashes of `queries`; whether they
        are the same names is for the caller to compare.

    Raises
    ------
    IndexError
        If the search leaves the table, which only a damaged one allows.

    Examples
    --------
    >>> table = build(np.array([7, 2**31], np.uint32))
    >>> candidates(table, count_homes(2), np.array([5, 2**31], np.uint32))
    (array([1]), array([1]))
    """
    pairs = table.reshape(-1).view(np.uint64)  # the hash in the lower half
    queries, wanted = np.arange(len(hashes), dtype=np.int64), hashes
    slots = home_slots(hashes, n_homes)
    found = [(queries[:0], queries[:0])]
    while len(queries):
        entries = pairs[slots]
        there, positions = entries.astype(np.uint32), entries >> np.uint64(32)
        # Hashes never fall along a run of full slots: a larger one ends the search.
        ongoing = np.flatnonzero((there <= wanted) & (positions != EMPTY))
        there, positions, wanted = there[ongoing], positions[ongoing], wanted[ongoing]
        queries, slots = queries[ongoing], slots[ongoing] + 1
        same = np.flatnonzero(there == wanted)
        if len(same):
            found.append((queries[same], positions[same].astype(np.int64)))
    return (
        np.concatenate([queries for queries, _ in found]),
        np.concatenate([positions for _, positions in found]),
    )
