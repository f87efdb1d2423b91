"""Masks of a mixed store end to end: one byte an element, and none where nothing is masked.

While a store is written to, the mask of an array lies where its rows do, in a file that is as long
as the data file and mostly holes. Whoever writes all of it anew lays the masks end to end: a pack
cannot have holes, many programs that copy files fill them, and between small arrays there are none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ptrarray.format import infos
from ptrarray.format.entries import Entries, RaggedColumn
from ptrarray.format.index import corrupt
from ptrarray.format.layouts import Layout
from ptrarray.rows.copying import copy_ranges, cut
from ptrarray.rows.types import AnyRows, Bools, Int64s, UInt8s

_BLOCK_NBYTES = 1 << 22


class PackedMasks(NamedTuple):
    """What lies where when the masks of a store are laid end to end.

    Attributes
    ----------
    columns : Entries
        The arrays, with infos that say where their masks lie then.
    mask : ndarray or Rows of uint8
        The mask file as it is.
    starts, ends : ndarray of int64
        Which bytes of it are the masks to be laid end to end, in order.
    nbytes : int
        Of all of these.
    """

    columns: Entries
    mask: AnyRows
    starts: Int64s
    ends: Int64s
    nbytes: int

    def pieces(self) -> Iterator[memoryview]:
        """Yield the masks, in pieces of bounded size."""
        for _, values, _ in _blocks(self.mask, self.starts, self.ends):
            yield memoryview(values)


def packed_masks(layout: Layout, columns: Entries, mask: AnyRows, where: str) -> PackedMasks:
    """Find the masks in which anything is masked, and lay out where each of them goes.

    Arrays that share their rows and dtype go on sharing their mask.

    Parameters
    ----------
    layout : Layout
        Of a mixed store that keeps masks.
    columns : Entries
        Its arrays.
    mask : ndarray or Rows of uint8
        Its mask file.
    where : str
        Path of that, for messages.

    Raises
    ------
    CorruptStoreError
        If an info makes no sense.
    """
    old = [b""] * columns.n_names if columns.infos is None else columns.infos.split()
    pointers = zip(columns.starts.tolist(), columns.ends.tolist(), old, strict=True)
    try:
        spans = [infos.mask_span(layout, start, end, info) for start, end, info in pointers]
    except ValueError as error:
        raise corrupt(where, f"belongs to an array that has {error}") from error
    # What the file does not reach to is not masked.
    starts, ends = np.minimum(np.array(spans, np.int64).reshape(-1, 2), len(mask)).T
    is_masked = _any_set(mask, starts, ends)
    new = [infos.with_mask_at(info, None) for info in old]
    kept: dict[tuple[int, int], int] = {}
    nbytes = 0
    for at in np.flatnonzero(is_masked).tolist():
        start, end = span = spans[at]
        if span not in kept:
            kept[span], nbytes = nbytes, nbytes + end - start
        new[at] = infos.with_mask_at(old[at], kept[span])
    bounds = np.array(list(kept), np.int64).reshape(-1, 2)
    column = RaggedColumn.of(new) if any(new) else None
    return PackedMasks(columns._replace(infos=column), mask, bounds[:, 0], bounds[:, 1], nbytes)


def _any_set(mask: AnyRows, starts: Int64s, ends: Int64s) -> Bools:
    """Tell for each range of bytes whether one of them is not zero."""
    is_set = np.zeros(len(starts), np.bool_)
    some = np.flatnonzero(starts < ends)
    for block, values, offsets in _blocks(mask, starts[some], ends[some]):
        is_set[some[block]] |= np.logical_or.reduceat(values, offsets)
    return is_set


def _blocks(mask: AnyRows, starts: Int64s, ends: Int64s) -> Iterator[tuple[slice, UInt8s, Int64s]]:
    """Yield ranges of bytes that are not empty end to end: which, the bytes, and where each begins.

    A large one comes in several pieces.
    """
    sizes = ends - starts
    for low, high in cut(sizes, _BLOCK_NBYTES):
        block = slice(low, high)
        if high - low == 1:
            last = int(ends[low])
            for at in range(int(starts[low]), last, _BLOCK_NBYTES):
                yield block, mask[at : min(at + _BLOCK_NBYTES, last)], np.zeros(1, np.int64)
        else:
            offsets = np.concatenate([[0], np.cumsum(sizes[block])])
            yield block, copy_ranges(mask, starts[block], ends[block], offsets), offsets[:-1]
