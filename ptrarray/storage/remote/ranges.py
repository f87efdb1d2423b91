"""Ranges of one object that are read together: which are one request, and how many are under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from itertools import chain, islice, pairwise
from typing import Any, NamedTuple

import numpy as np

from ptrarray.rows.copying import copy_ranges, cut
from ptrarray.rows.pointers import numbered
from ptrarray.rows.stopping import can_be_stopped, result_of
from ptrarray.rows.types import Int64s, Read, UInt8s
from ptrarray.storage.remote.objects import Buffer
from ptrarray.storage.remote.transfer import Transfer

# Longer ranges are asked for in pieces, at once. Of the ranges of one request all but one piece
# come to less together.
PIECE_NBYTES = 4 << 20


class Group(NamedTuple):
    """Ranges that are one request.

    Attributes
    ----------
    start, end : int
        Bytes of the object that are asked for.
    starts, ends : ndarray of int64
        The ranges among them, as bytes of the object, by rising starts.
    places : ndarray of int64
        Where each of them goes to.
    """

    start: int
    end: int
    starts: Int64s
    ends: Int64s
    places: Int64s

    @property
    def nbytes(self) -> int:
        """Bytes that are asked for."""
        return self.end - self.start

    def copy_apart(self, to: UInt8s, came: Buffer) -> None:
        """Copy the ranges from what came to where they go."""
        raw = np.frombuffer(came, np.uint8)
        starts, ends, places = self.starts - self.start, self.ends - self.start, self.places
        first, lengths = int(places[0]), ends - starts
        if (places[1:] == places[:-1] + lengths[:-1]).all():
            last = int(places[-1] + lengths[-1])
            offsets = np.append(places, last) - first
            copy_ranges(raw, starts, ends, offsets, to[first:last])
            return
        for start, end, place in zip(starts.tolist(), ends.tolist(), places.tolist(), strict=True):
            to[place : place + end - start] = raw[start:end]


def grouped(starts: Int64s, ends: Int64s, places: Int64s, gap_nbytes: int) -> Iterator[Group]:
    """Yield what to ask for, from the front of the object to its end.

    Parameters
    ----------
    starts, ends : ndarray of int64, shape (n,)
        Ranges of bytes, in any order; they may overlap, repeat or be empty.
    places : ndarray of int64, shape (n,)
        Where the bytes of each go to.
    gap_nbytes : int
        Ranges closer together than this are one request.

    Examples
    --------
    >>> ranges = np.array([900, 10, 25]), np.array([910, 20, 30]), np.array([0, 10, 20])
    >>> [(group.start, group.end, group.places.tolist()) for group in grouped(*ranges, 100)]
    [(10, 30, [10, 20]), (900, 910, [0])]
    """
    starts, ends, places = _in_pieces(starts, ends, places)
    if not len(starts):
        return
    order = np.argsort(starts, kind="stable")
    starts, ends, places = starts[order], ends[order], places[order]
    reach = np.maximum.accumulate(ends)
    gaps = np.maximum(starts[1:] - reach[:-1], 0)
    is_far = gaps >= max(gap_nbytes, 1)
    # What each range adds to a request: the bytes that no range before has, and the gap.
    added = ends - starts
    added[1:] = np.maximum(reach[1:] - np.maximum(reach[:-1], starts[1:]), 0)
    added[1:] += np.where(is_far, 0, gaps)
    cuts = [low for low, _ in cut(added, PIECE_NBYTES)]
    edges = np.union1d(cuts, 1 + np.flatnonzero(is_far)).astype(np.int64).tolist()
    for low, high in pairwise([*edges, len(starts)]):
        some = slice(low, high)
        end = int(ends[some].max())
        yield Group(int(starts[low]), end, starts[some], ends[some], places[some])


def _in_pieces(starts: Int64s, ends: Int64s, places: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    """Cut long ranges, and leave out empty ones."""
    owners, nth = numbered(-(-(ends - starts) // PIECE_NBYTES))
    shifts = nth * PIECE_NBYTES
    firsts = starts[owners] + shifts
    return firsts, np.minimum(firsts + PIECE_NBYTES, ends[owners]), places[owners] + shifts


def in_turn(reads: Iterable[Read], transfer: Transfer, *, grow: bool = False) -> Iterator[Any]:
    """Yield what is made of reads, in their order; they are under way before it is asked for.

    As many at once as the transfer may have, and about as many that are there and wait for their
    turn; of more than a piece each, fewer.

    Parameters
    ----------
    reads : iterable of Read
        Taken one by one, as there is room. What uses them may write to memory of the caller: it
        runs in the thread that asks for the result, and not after an error.
    transfer : Transfer
        Whose threads read.
    grow : bool
        Begin with one, and have twice as many under way each time a result is asked for: who asks
        may soon stop.
    """
    reads = iter(reads)
    first = list(islice(reads, 2))
    if len(first) < 2 and not can_be_stopped():
        for read in first:
            yield read.use(read.read())
        return
    waiting: deque[tuple[Read, Future[Any]]] = deque()
    limit_nbytes, n_reads = window_nbytes(transfer), 2 * transfer.parallel
    room, n_held = 1 if grow else n_reads, 0
    try:
        for read in chain(first, reads):
            while waiting and (len(waiting) >= room or n_held + read.nbytes > limit_nbytes):
                done, future = waiting.popleft()
                yield done.use(result_of(future))
                n_held -= done.nbytes
                room = min(2 * room, n_reads)
            waiting.append((read, _begun(read, transfer)))
            n_held += read.nbytes
        while waiting:
            done, future = waiting.popleft()
            yield done.use(result_of(future))
    finally:
        for _, future in waiting:
            future.cancel()


def _begun(read: Read, transfer: Transfer) -> Future[Any]:
    if read.nbytes:
        return transfer.begin(read.read)
    future: Future[Any] = Future()
    future.set_result(read.read())
    return future


def window_nbytes(transfer: Transfer) -> int:
    """Return how many bytes are best under way at once."""
    return transfer.parallel * PIECE_NBYTES
