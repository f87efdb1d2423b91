"""Whether an index finds all of its names: walks from front to end, in bounded memory.

The name table is right if it has each position once with the hash of its name, if a search for
the hash comes to each slot, and if no two names are equal. The first is seen without a look from
the one to the other: a sum over all names is the same as one over all slots.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.format import table
from ptrarray.format.checksums import crc32_each
from ptrarray.rows.copying import cut
from ptrarray.rows.types import Int64s, UInt32s, UInt64s
from ptrarray.storage.store.index import Index
from ptrarray.storage.system.mapping import Sparing

_NAMES = 1 << 14  # in one go
_EACH_NBYTES = 64  # what a name counts more than it has, where they are long
_SLOTS = 1 << 16
_SLOT_NBYTES = 8
_DOUBTFUL_NBYTES = 128  # of memory that a name takes whose hash another one has
# Python's hashes of bytes differ from process to process, so nobody can make files for which two
# sums are the same and their terms are not.
_KEY = np.uint64(hash(b"ptrarray") & 0xFFFF_FFFF_FFFF_FFFF)
_FACTORS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)
# What is mapped of a file for a name that is read alone: of two columns, what the system sees fit.
_AROUND_NBYTES = 3 << 16


def finds_all(index: Index, memory: int) -> bool:
    """Tell whether the table leads from every name to its position, and no two names are equal.

    Parameters
    ----------
    index : Index
        All columns match their checksums.
    memory : int
        Bytes, pages of the file among them, that this takes at most, or little more.
    """
    of_names = _sum_of_names(index, memory // 4)
    if of_names is None:
        return False
    slots = _Slots(index)
    for some in slots.doubtful(memory // 4):
        if not slots.are_sound or _has_equal(index, some, memory // 4):
            return False
    return slots.are_sound and (slots.n_names, slots.sum) == (index.header.n_arrays, of_names)


def _sum_of_names(index: Index, memory: int) -> int | None:
    """Return the sum over all names; None if they do not lie in their column."""
    total, end, sparing = 0, 0, Sparing(index.forget, memory)
    joined = index.names.joined
    for first in range(0, index.header.n_arrays, _NAMES):
        ends = index.names.ends[first : first + _NAMES]
        starts = np.concatenate([[end], ends[:-1]])
        if (starts > ends).any() or ends[-1] > len(joined):
            return None
        end = int(ends[-1])
        for low, high in cut(ends - starts + _EACH_NBYTES, _NAMES * _EACH_NBYTES):
            hashes = crc32_each(joined, starts[low:high], ends[low:high])
            total += _sum(hashes, np.arange(first + low, first + high))
            sparing.read(int(ends[high - 1] - starts[low]) + 8 * (high - low))
    return total % 2**64


def _sum(hashes: UInt32s, positions: npt.NDArray[np.integer]) -> int:
    """Return the sum of a number for each pair, which no other pair is likely to have."""
    pairs = hashes.astype(np.uint64) << _HALF | positions.astype(np.uint64)
    pairs ^= _KEY
    for factor in _FACTORS:
        pairs *= factor
        pairs ^= pairs >> _HALF
    return int(pairs.sum())


class Doubtful(NamedTuple):
    """Names whose hashes others have, too."""

    hashes: UInt32s
    positions: Int64s


class _Slots:
    """A walk through the name table.

    Attributes
    ----------
    are_sound : bool
        Whether each slot so far has a position that there is, and a search for its hash comes to
        it and ends.
    n_names, sum : int
        Names so far, and the sum over them.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._n_homes = index.header.n_homes
        self.are_sound = True
        self.n_names = self.sum = 0

    def doubtful(self, memory: int) -> Iterator[Doubtful]:
        """Walk to the end; yield names whose hashes others have, all of a hash together."""
        found: list[npt.NDArray[np.uint32]] = []
        sparing = Sparing(self._index.forget, memory)
        slots = self._index.column("slot").reshape(-1, 2)
        limit = max(memory // _DOUBTFUL_NBYTES, _SLOTS)
        for first in range(0, len(slots), _SLOTS):
            # With the last one of those before.
            some = slots[max(first - 1, 0) : first + _SLOTS]
            found.append(self._take(some, first))
            sparing.read(len(some) * _SLOT_NBYTES)
            if sum(map(len, found)) > limit:
                joined = np.concatenate(found)
                is_whole = joined[:, 0] != some[-1, 0]
                yield _distinct(joined[is_whole])
                found = [joined[~is_whole]]
        self.are_sound = self.are_sound and len(slots) > 0 and bool(slots[-1, 1] == table.EMPTY)
        self.sum %= 2**64
        yield _distinct(np.concatenate([slots[:0], *found]))

    def _take(self, some: npt.NDArray[np.uint32], first: int) -> npt.NDArray[np.uint32]:
        """Go on over some slots; return those with the same hash as the one before or after."""
        hashes, positions = some[:, 0], some[:, 1]
        is_full = positions != table.EMPTY
        is_next = is_full[1:] & is_full[:-1]
        fell = is_next & (hashes[1:] < hashes[:-1])
        is_same = is_next & (hashes[1:] == hashes[:-1])
        self._check_homes(hashes, is_full, first)
        new = slice(1 if first else 0, None)
        full = some[new][is_full[new]]
        is_astray = full[:, 1] >= self._index.header.n_arrays
        self.are_sound = self.are_sound and not (fell.any() or is_astray.any())
        self.n_names += len(full)
        self.sum += _sum(full[:, 0], full[:, 1])
        at = np.flatnonzero(is_same)
        return some[np.union1d(at, at + 1)]

    def _check_homes(self, hashes: UInt32s, is_full: npt.NDArray[np.bool_], first: int) -> None:
        """Check that no empty slot lies between the home of each hash and its slot."""
        at = np.arange(len(hashes)) + max(first - 1, 0)
        # Where the slots begin that are full up to each. If they began before these, that is known of
        # the first of them, and no home lies before its own, as hashes do not fall.
        runs = np.where(is_full, 0, at + 1)
        np.maximum.accumulate(runs, out=runs)
        homes = table.home_slots(hashes, self._n_homes)
        is_reached = (runs <= homes) & (homes <= at)
        self.are_sound = self.are_sound and bool((is_reached | ~is_full).all())


def _distinct(slots: npt.NDArray[np.uint32]) -> Doubtful:
    """Return slots, each once, in the order of their positions."""
    keys: UInt64s = np.unique(slots[:, 1].astype(np.uint64) << _HALF | slots[:, 0])
    return Doubtful(keys.astype(np.uint32), (keys >> _HALF).astype(np.int64))


def _has_equal(index: Index, some: Doubtful, memory: int) -> bool:
    """Tell whether two of some names seem to be equal."""
    prints = np.empty(len(some.positions), np.int64)
    step = max(memory // _AROUND_NBYTES, 1)
    for low in range(0, len(prints), step):
        names = index.names.chosen(some.positions[low : low + step])
        prints[low : low + step] = list(map(hash, names.split()))
        index.forget()
    order = np.lexsort((prints, some.hashes))
    hashes, prints = some.hashes[order], prints[order]
    return bool(((hashes[1:] == hashes[:-1]) & (prints[1:] == prints[:-1])).any())
