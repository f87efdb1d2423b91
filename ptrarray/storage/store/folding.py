"""Folding changes into an index: where each array comes, and the columns of all together."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.format import table
from ptrarray.format.entries import DELETED, Entries, RaggedColumn, end_to_end
from ptrarray.rows.copying import copy_ranges, in_blocks
from ptrarray.rows.types import Int64s, UInt32s
from ptrarray.storage.store.index import Index, Item

_FAR = np.iinfo(np.int64).max


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

    Attributes
    ----------
    names : sequence of bytes
        Those of the changes.
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
        self, index: Index, names: Sequence[bytes], hashes: UInt32s, starts: Int64s
    ) -> None:
        self._index, self.names = index, names
        positions = index.find_many(names, hashes)
        found = np.sort(positions[positions >= 0])
        # Each once. `np.unique` would import numpy.ma, for which programs that show a store would wait.
        removed = np.concatenate([found[:1], found[1:][found[1:] != found[:-1]]])
        kept = np.flatnonzero(starts != DELETED)
        kept = kept[np.argsort(starts[kept], kind="stable")]
        before = np.searchsorted(index.starts, starts[kept], side="right")
        before -= np.searchsorted(removed, before)
        self._n_old, self._n_changes = len(index.starts), len(starts)
        self._removed: Int64s = removed
        # Bisecting memoryviews takes half the time of searching ndarrays.
        self._kept = memoryview(kept)
        self._finals = memoryview(before + np.arange(len(kept)))
        self._gaps = memoryview(removed - np.arange(len(removed)))

    def __len__(self) -> int:
        return self._n_old - len(self._removed) + len(self._kept)

    def locate(self, position: int) -> tuple[bool, int]:
        """Return (True, its change) or (False, its position in the index) for a position."""
        n_before = bisect_left(self._finals, position)
        if n_before < len(self._finals) and self._finals[n_before] == position:
            return True, self._kept[n_before]
        return False, self._left(position - n_before)

    def _left(self, number: int) -> int:
        """Return the position in the index of one of the arrays left there, counted from 0."""
        return number + bisect_right(self._gaps, number)

    def some_names(
        self, first: int, last: int, unpack: Callable[[RaggedColumn], list[Item]]
    ) -> Iterator[Item]:
        """Yield the names at positions ``first <= p < last``, as `Index.some_names` does."""
        low, high, start, end = self._parts(first, last)
        old = self._index.some_names(start, end, unpack, self._removed)
        new = chain.from_iterable(map(unpack, self._changed_names(low, high)))
        return chain.from_iterable(_merged(old, new, np.asarray(self._finals[low:high]) - first))

    def _changed_names(self, low: int, high: int) -> Iterator[RaggedColumn]:
        for block in in_blocks(low, high):
            yield RaggedColumn.of([self.names[at] for at in self._kept[block]])

    def merged(self, column: npt.NDArray[Any], changed: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Copy a column of the index, with that of the changes folded in."""
        return self.part(column, changed, 0, len(self))

    def part(
        self, column: npt.NDArray[Any], changed: npt.NDArray[Any], first: int, last: int
    ) -> npt.NDArray[Any]:
        """Copy what `merged` has at the positions ``first <= p < last``."""
        low, high, start, end = self._parts(first, last)
        finals = np.asarray(self._finals[low:high]) - first
        both = np.empty(last - first, column.dtype)
        is_left = np.ones(last - first, np.bool_)
        is_left[finals] = False
        gone = self._removed[slice(*np.searchsorted(self._removed, (start, end)))]
        both[is_left] = np.delete(column[start:end], gone - start)
        both[finals] = changed[np.asarray(self._kept[low:high])]
        return both

    def _parts(self, first: int, last: int) -> tuple[int, int, int, int]:
        """Return which changes, and which positions of the index, are at a range of positions."""
        low, high = bisect_left(self._finals, first), bisect_left(self._finals, last)
        before, n_old = first - low, last - first - (high - low)
        start = self._left(before)
        return low, high, start, self._left(before + n_old - 1) + 1 if n_old else start

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


def fold(index: Index, records: Sequence[Entries]) -> Entries:
    """Return the columns of an index with the records of a journal folded in.

    Parameters
    ----------
    index : Index
        The old one.
    records : sequence of Entries
        Of each record that is about names, in order.

    Returns
    -------
    Entries
        In data order: see `Order`.

    Notes
    -----
    Makes no object for each name: takes some three times the size of the new
    index in memory, where an overlay of the journal takes six.
    """
    # Of the entries a, b, c, b and c, of which the last deletes c, the first b and the first c are
    # superseded. This leaves a and the second b; b and c are found in the index as a is, and go.
    changes = end_to_end(records)
    superseded = _superseded(changes)
    starts = changes.starts
    if len(superseded):
        starts = starts.copy()
        starts[superseded] = DELETED
    if (
        not index.header.n_arrays
        and DELETED not in starts[:1]
        and (starts[:-1] <= starts[1:]).all()
    ):
        return changes  # as a first large batch is
    order = Order(index, changes.names, changes.hashes, starts)
    return order.folded(index.entries(), changes)


def _superseded(entries: Entries) -> Int64s:
    """Return the entries of names that a later entry is about, too.

    Of entries for a, b, a, a these are 0 and 2. Only names whose hashes are the
    same are compared.
    """
    order = table.argsort(entries.hashes)
    hashes = entries.hashes[order]
    is_same = hashes[1:] == hashes[:-1]
    in_doubt = np.union1d(order[1:][is_same], order[:-1][is_same])
    last = {entries.names.item(at): at for at in in_doubt.tolist()}
    return np.setdiff1d(in_doubt, list(last.values()))
