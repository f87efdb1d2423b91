"""Checksums of the arrays of a store: of small ones many in one go, blocks of them on all cores."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from ptrarray.format.checksums import LONG_NBYTES, crc32_each
from ptrarray.reductions.blocks import count_cores, count_readers, in_parallel
from ptrarray.rows.copying import copy_ranges, cut
from ptrarray.rows.types import Int64s, UInt8s, UInt32s, ahead_nbytes
from ptrarray.storage.store.compared import do_all
from ptrarray.storage.store.opened import OpenedStore
from ptrarray.storage.system.mapping import Sparing, forget_rows
from ptrarray.storage.system.pread import viewed

# What a thread sums in one go, every array counted as some bytes more than it has.
_BLOCK_NBYTES = 2 << 20
_EACH_NBYTES = 256
_ENTRY_NBYTES = 20  # of an index
_THREADS = 8  # at the most, unless they wait for what lies elsewhere


class Summed(NamedTuple):
    """Checksums of arrays whose positions follow each other."""

    first: int
    starts: Int64s
    ends: Int64s
    kept: UInt32s
    actual: UInt32s


def summed(opened: OpenedStore, memory: int) -> Iterator[Summed]:
    """Sum all arrays, in the order of their positions.

    Pages of the data file that were read are let go before they come to so many bytes.
    """
    sparing = Sparing(partial(forget, opened), memory)
    n_threads = min(_THREADS, count_cores() + 4)  # of which some wait for the disk
    if ahead_nbytes(opened.data):
        n_threads = count_readers(opened.data, _BLOCK_NBYTES)
    for some in in_parallel(partial(_sum, opened), _blocks(opened), n_threads):
        yield some
        nbytes = int((some.ends - some.starts).sum()) * opened.layout.width
        sparing.read(nbytes + len(some.starts) * _ENTRY_NBYTES)


def forget(opened: OpenedStore) -> None:
    """Let go of the memory that what was read of a store's files takes."""
    opened.snapshot.index.forget()
    for rows in (opened.data, opened.mask):
        if isinstance(rows, np.ndarray):
            forget_rows(rows)


_Block = tuple[int, Int64s, Int64s, UInt32s]


def _blocks(opened: OpenedStore) -> Iterator[_Block]:
    """Cut all arrays into what a thread sums in one go."""
    for first, (starts, ends, crcs) in opened.snapshot.in_blocks("starts", "ends", "crcs"):
        nbytes = (ends - starts) * opened.layout.width
        for low, high in cut(nbytes + _EACH_NBYTES, _BLOCK_NBYTES):
            some = slice(low, high)
            yield first + low, starts[some], ends[some], crcs[some]


def _sum(opened: OpenedStore, block: _Block) -> Summed:
    first, starts, ends, kept = block
    nbytes = (ends - starts) * opened.layout.width
    if ahead_nbytes(opened.data) and nbytes.sum() < 2 * _BLOCK_NBYTES:
        positions = range(first, first + len(starts))
        addresses = np.fromiter(map(opened.snapshot.locate_position, positions), np.int64)
        batch = opened.batch(addresses)
        do_all(opened.data, [batch])
        return Summed(first, starts, ends, kept, batch.crcs())
    actual = np.zeros(len(starts), np.uint32)
    is_alone = nbytes > (LONG_NBYTES if opened.mask is None else -1)
    together = np.flatnonzero((nbytes > 0) & ~is_alone)
    if len(together):
        actual[together] = crc32_each(*_pieces(opened, starts[together], ends[together]))
    for at in np.flatnonzero(is_alone).tolist():
        actual[at] = opened.crc(int(starts[at]), int(ends[at]), first + at)
    return Summed(first, starts, ends, kept, actual)


def _pieces(opened: OpenedStore, starts: Int64s, ends: Int64s) -> tuple[UInt8s, Int64s, Int64s]:
    """Return bytes in which all rows of some arrays are, and where each array's begin and end."""
    data, width = opened.data, opened.layout.width
    if not isinstance(data, np.ndarray):
        offsets = np.concatenate([[0], np.cumsum(ends - starts)])
        data, starts, ends = copy_ranges(data, starts, ends, offsets), offsets[:-1], offsets[1:]
    raw = viewed(data, np.dtype(np.uint8), (data.nbytes,))
    assert isinstance(raw, np.ndarray)
    return raw, starts * width, ends * width
