"""Masks of a mixed store end to end: one byte an element, and none where nothing is masked.

While a store is written to, the mask of an array lies where its rows do, in a file that is as long
as the data file and mostly holes. Whoever writes all of it anew lays the masks end to end: a pack
cannot have holes, many programs that copy files fill them, and between small arrays there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ptrarray.format import infos
from ptrarray.format.entries import Entries, RaggedColumn
from ptrarray.format.index import corrupt
from ptrarray.format.layouts import Layout
from ptrarray.rows.copying import copy_ranges, cut
from ptrarray.rows.types import AnyRows, Bools, Int64s, UInt8s

_BLOCK_NBYTES = 1 << 20


class PackedMasks:
    """What lies where when the masks of a store in which anything is masked are laid end to end.

    Arrays that share their rows and dtype go on sharing their mask.

    Parameters
    ----------
    layout : Layout
        Of a mixed store that keeps masks.
    blocks : callable
        Yields the arrays in data order, some at a time, the same ones each time.
    mask : ndarray or Rows of uint8
        Its mask file.
    where : str
        Path of that, for messages.

    Attributes
    ----------
    nbytes : int
        Of all masks that are laid end to end.
    infos_nbytes : int
        Of all infos, as they are then.

    Raises
    ------
    CorruptStoreError
        If an info makes no sense.

    Notes
    -----
    Keeps a bit for each array.
    """

    def __init__(
        self, layout: Layout, blocks: Callable[[], Iterable[Entries]], mask: AnyRows, where: str
    ) -> None:
        self._layout, self._blocks, self._mask, self._where = layout, blocks, mask, where
        self._are_masked: list[UInt8s] = []  # of each block, eight arrays in a byte
        self.infos_nbytes = 0
        packing = _Packing()
        for block in blocks():
            spans = self._spans(block)
            is_masked = _any_set(mask, *_columns(spans))
            self._are_masked.append(np.packbits(is_masked))
            packed, _ = packing.pack(block, spans, is_masked)
            self.infos_nbytes += 0 if packed is None else len(packed.joined)
        self.nbytes = packing.nbytes

    def _spans(self, block: Entries) -> list[tuple[int, int]]:
        """Return which bytes of the mask file are the mask of each array."""
        pointers = zip(block.starts.tolist(), block.ends.tolist(), _infos(block), strict=True)
        try:
            spans = [infos.mask_span(self._layout, *pointer) for pointer in pointers]
        except ValueError as error:
            raise corrupt(self._where, f"belongs to an array that has {error}") from error
        # What the file does not reach to is not masked.
        last = len(self._mask)
        return [(min(start, last), min(end, last)) for start, end in spans]

    def packing(self) -> Callable[[Entries], Entries]:
        """Return what gives all blocks, one after the other, infos that say where masks lie then."""
        packing, are_masked = _Packing(), iter(self._are_masked)

        def pack(block: Entries) -> Entries:
            is_masked = _unpacked(next(are_masked), block)
            packed, _ = packing.pack(block, self._spans(block), is_masked)
            return block._replace(infos=packed)

        return pack

    def pieces(self) -> Iterator[memoryview]:
        """Yield the masks, in pieces of bounded size."""
        packing = _Packing()
        for block, bits in zip(self._blocks(), self._are_masked, strict=True):
            _, spans = packing.pack(block, self._spans(block), _unpacked(bits, block))
            for _, values, _ in _blocks(self._mask, *_columns(spans)):
                yield memoryview(values)


class _Packing:
    """Where the masks of arrays go, block by block."""

    def __init__(self) -> None:
        self.nbytes = 0
        # Of arrays that begin at one row, which those that share their rows do: where masks went.
        self._start = -1
        self._kept: dict[tuple[int, int], int] = {}

    def pack(
        self, block: Entries, spans: list[tuple[int, int]], is_masked: Bools
    ) -> tuple[RaggedColumn | None, list[tuple[int, int]]]:
        """Return the infos of the next block as they will be, and which masks are laid end to end."""
        old, added = _infos(block), []
        new = [infos.with_mask_at(info, None) for info in old]
        for at in np.flatnonzero(is_masked).tolist():
            if block.starts[at] != self._start:
                self._start, self._kept = int(block.starts[at]), {}
            start, end = span = spans[at]
            if span not in self._kept:
                self._kept[span], self.nbytes = self.nbytes, self.nbytes + end - start
                added.append(span)
            new[at] = infos.with_mask_at(old[at], self._kept[span])
        return RaggedColumn.of(new) if any(new) else None, added


def _infos(block: Entries) -> list[bytes]:
    return [b""] * len(block.starts) if block.infos is None else block.infos.split()


def _columns(spans: list[tuple[int, int]]) -> Int64s:
    columns: Int64s = np.array(spans, np.int64).reshape(-1, 2).T
    return columns


def _unpacked(bits: UInt8s, block: Entries) -> Bools:
    return np.unpackbits(bits, count=len(block.starts)).view(np.bool_)


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
