"""Folding changes into an index: where each array comes, and the columns of all together."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.format.entries import DELETED, Entries, RaggedColumn
from ptrarray.rows.copying import copy_ranges, in_blocks
from ptrarray.rows.types import Int64s, UInt32s
from ptrarray.storage.store.index import Index, Item

_FAR = np.iinfo(np.int64).max
_FIRST_NAMES = 1 << 11  # of half the first block, for who may need no more
_BLOCK_NAMES = 1 << 15
_MIXED = 1 << 12  # names of the index and of changes that are laid end to end in one go


class Order:
    """Positions of the arrays of an index and of changes to it, in data order.

    Of equal starts, arrays of the index come first, then those of the changes
    in their order. Memory and time to make it grow with the changes, not with
    the index.

    Parameters
    ----------
    index : Index
        The index.
    names, hashes, starts : sequence of bytes, ndarray of uint32, ndarray of int64
        Of the changes: names, each with its hash and the first row of its
        array; `DELETED` where this change gives it none. At most one change
        gives a name an array.
    passing : bool
        Whether to go through the index from front to back rather than to keep
        all that is looked at in memory; for names in a `RaggedColumn`.
    positions : ndarray of int64, optional
        Where the names of the changes are in the index, in any order, -1 for what is not there;
        else they are looked up by their hashes.

    Attributes
    ----------
    names : sequence of bytes
        Those of the changes.
    removed : ndarray of int64
        Positions in the index that were deleted or replaced, rising.
    kept, finals : ndarray of int64
        Changes that give a name an array, in data order, and their positions among all.
    """

    # An index has the arrays a, b and c at rows 0, 10 and 20. The changes are: a new b at row 30,
    # and d at row 15. Then
    #
    #     removed = [1]       positions in the index that were deleted or replaced: the old b
    #     kept    = [1, 0]    which changes give a name an array, in data order: d, b
    #     finals  = [1, 3]    their positions among all, which are a d c b
    #     gaps    = [1]       arrays left (a, c) that come before each removed one
    #
    # What is at position 2? It is none of the finals, and one of them is smaller, so it is, of
    # the arrays left, number 2 - 1 = 1. One of the gaps does not exceed that number, so one array
    # before it was removed, and its position in the index is 1 + 1: c.

    def __init__(
        self,
        index: Index,
        names: Sequence[bytes],
        hashes: UInt32s,
        starts: Int64s,
        *,
        passing: bool = False,
        positions: Int64s | None = None,
    ) -> None:
        self._index, self.names = index, names
        if positions is None and passing and isinstance(names, RaggedColumn):
            positions = index.find_passing(names, hashes)
        elif positions is None:
            positions = index.find_many(names, hashes)
        found = np.sort(positions[positions >= 0])
        # Each once. `np.unique` would import numpy.ma, for which programs that show a store would wait.
        removed = np.concatenate([found[:1], found[1:][found[1:] != found[:-1]]])
        kept = np.flatnonzero(starts != DELETED)
        firsts = starts if len(kept) == len(starts) else starts[kept]
        if (firsts[1:] < firsts[:-1]).any():
            by_start = np.argsort(firsts, kind="stable")
            kept, firsts = kept[by_start], firsts[by_start]
        if passing:
            before = index.n_from(firsts)
        else:
            before = np.searchsorted(index.starts, firsts, side="right")
        before -= np.searchsorted(removed, before)
        self._n_old, self._n_changes = len(index.starts), len(starts)
        self.removed: Int64s = removed
        self.kept: Int64s = kept
        before += np.arange(len(kept))
        self.finals: Int64s = before
        # Bisecting memoryviews takes half the time of searching ndarrays.
        self._kept, self._finals = memoryview(kept), memoryview(before)
        self._gaps = memoryview(removed - np.arange(len(removed)))

    def __len__(self) -> int:
        return self._n_old - len(self.removed) + len(self.kept)

    def locate(self, position: int) -> tuple[bool, int]:
        """Return (True, its change) or (False, its position in the index) for a position."""
        n_before = bisect_left(self._finals, position)
        if n_before < len(self._finals) and self._finals[n_before] == position:
            return True, self._kept[n_before]
        number = position - n_before  # of the arrays left, which those removed come between
        return False, number + bisect_right(self._gaps, number)

    def some_names(
        self, first: int, last: int, unpack: Callable[[RaggedColumn], list[Item]]
    ) -> Iterator[Item]:
        """Yield the names at positions ``first <= p < last``, as `Index.some_names` does."""
        low, high, start, end = self.spans(first, last)
        old = self._index.some_names(start, end, unpack, self.removed)
        new = chain.from_iterable(map(unpack, self._changed_names(low, high)))
        return chain.from_iterable(_merged(old, new, np.asarray(self._finals[low:high]) - first))

    def name_blocks(self, first: int, last: int) -> Iterator[RaggedColumn]:
        """Yield the names at positions ``first <= p < last`` in columns, as the function does."""
        while first < last:
            low, _, start, _ = self.spans(first, last)
            gap = bisect_left(self.removed, start)
            finals = [final - first for final in self._finals[low : low + 1]]
            removed = self.removed[gap : gap + 1] - start
            n_clear = min([last - first, *finals, *removed.tolist()])
            if n_clear > _MIXED:
                yield from name_blocks(self._index, start, start + n_clear)
                first += n_clear
            else:
                past = min(first + _MIXED, last)
                yield RaggedColumn.of([*self.some_names(first, past, RaggedColumn.split)])
                first = past

    def spans(self, first: int, last: int) -> tuple[int, int, int, int]:
        """Return which of the changes kept, and of the index, are at positions ``first <= p < last``.

        Those of the index with the removed ones between them.
        """
        low, high = bisect_left(self._finals, first), bisect_left(self._finals, last)
        before, n_old = first - low, last - first - (high - low)
        start = before + bisect_right(self._gaps, before)
        last_old = before + n_old - 1
        return (
            low,
            high,
            start,
            last_old + bisect_right(self._gaps, last_old) + 1 if n_old else start,
        )

    def _changed_names(self, low: int, high: int) -> Iterator[RaggedColumn]:
        for block in in_blocks(low, high):
            kept = np.asarray(self._kept[block])
            if isinstance(self.names, RaggedColumn):
                yield self.names.chosen(kept)
            else:
                yield RaggedColumn.of(list(map(self.names.__getitem__, kept.tolist())))

    def merged(self, column: npt.NDArray[Any], changed: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Copy a column of the index, with that of the changes folded in."""
        return self.part(column, changed, 0, len(self))

    def part(
        self, column: npt.NDArray[Any], changed: npt.NDArray[Any], first: int, last: int
    ) -> npt.NDArray[Any]:
        """Copy what `merged` has at the positions ``first <= p < last``."""
        low, high, start, end = self.spans(first, last)
        finals = np.asarray(self._finals[low:high]) - first
        both = np.empty(last - first, column.dtype)
        is_left = np.ones(last - first, np.bool_)
        is_left[finals] = False
        gone = self.removed[slice(*np.searchsorted(self.removed, (start, end)))]
        both[is_left] = np.delete(column[start:end], gone - start)
        both[finals] = changed[np.asarray(self._kept[low:high])]
        return both

    def folded(self, old: Entries, changes: Entries) -> Entries:
        """Copy all columns of the index, with those of the changes folded in."""
        return Entries._make(map(self._merged, old, changes))

    def _merged(self, column: Any, changed: Any) -> Any:
        if isinstance(column, np.ndarray):
            return self.merged(column, changed)
        if column is None and changed is None:
            return None
        old = RaggedColumn.blank(self._n_old) if column is None else column
        new = RaggedColumn.blank(self._n_changes) if changed is None else changed
        return self.merged_items(old, new)

    def merged_items(self, old: RaggedColumn, new: RaggedColumn) -> RaggedColumn:
        """Copy a column of items of the index, with that of the changes folded in."""
        # As if the items of the changes lay behind those of the index.
        joined, shift = np.concatenate([old.joined, new.joined]), len(old.joined)
        starts = self.merged(old.starts, new.starts + shift)
        ends = self.merged(old.ends, new.ends + shift)
        offsets = np.concatenate([[0], np.cumsum(ends - starts)])
        return RaggedColumn(offsets[1:], copy_ranges(joined, starts, ends, offsets))


def name_blocks(index: Index, first: int, last: int) -> Iterator[RaggedColumn]:
    """Yield names of an index at positions ``first <= p < last``, in columns that follow each other.

    Each has some ten thousand names, or up to a megabyte: a view, copied where a single name is
    larger. Raises `CorruptStoreError` at the first one that is damaged, as `Index.some_names`.
    """
    size = _FIRST_NAMES
    while first < last:
        size = min(2 * size, _BLOCK_NAMES, last - first)
        column = index.column_of_names(slice(first, first + size))
        while column is None and size > 1:
            size //= 2
            column = index.column_of_names(slice(first, first + size))
        yield RaggedColumn.of([index.name(first)]) if column is None else column
        first += size


def _merged(old: Iterator[Item], new: Iterator[Item], finals: Int64s) -> Iterator[Iterable[Item]]:
    """Yield by turns from the old and the new, of which each comes at one of the finals."""
    at = 0
    # Of the finals 1, 2 and 5, the first and the third begin a run, the second and the third end one.
    starts = finals[np.diff(finals, prepend=-2) > 1]
    ends = finals[np.diff(finals, append=_FAR) > 1] + 1
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        yield islice(old, start - at)
        yield islice(new, end - start)
        at = end
    yield old


def of_same_name(entries: Entries, before: Int64s, after: Int64s) -> Int64s:
    """Return the entries of names that a later entry is about, too, in rising order.

    Parameters
    ----------
    entries : Entries
        All of them.
    before, after : ndarray of int64
        Every two entries that follow each other among those of one hash.
    """
    is_same = entries.names.are_same(before, entries.names, after)
    if is_same.all():
        return np.sort(before)
    # Of the names a, b and a of one hash, no two that follow each other are the same: such hashes
    # are few, and looked at by name.
    of_two = np.isin(entries.hashes[before], entries.hashes[before[~is_same]])
    in_doubt = np.union1d(before[of_two], after[of_two])
    last = {entries.names.item(entry): entry for entry in in_doubt.tolist()}
    gone = np.setdiff1d(in_doubt, np.fromiter(last.values(), np.int64, len(last)))
    return np.sort(np.concatenate([before[~of_two], gone]))
