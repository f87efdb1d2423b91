"""Arrays laid end to end in large pieces: copied and summed in one go."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ptrarray import native
from ptrarray.format.checksum import crc32
from ptrarray.rows.ragged import Ragged
from ptrarray.rows.types import Array, UInt8s, UInt32s

_ZEROS = np.zeros(4096, np.uint8)


def staged(
    arrays: list[Array] | Ragged, crcs: UInt32s, piece_nbytes: int, alignment: int = 1
) -> Iterator[UInt8s]:
    """Yield the bytes of arrays in large pieces, and set their checksums meanwhile.

    With the native core each array is read from memory once, so that its checksum is that of
    what is yielded though somebody changes it.

    Parameters
    ----------
    arrays : list of ndarray, or Ragged
        C-contiguous, or bytes. Behind each of them come zeros up to a multiple of `alignment`.
    crcs : ndarray of uint32, shape (len(arrays),)
        Where their checksums go, without those zeros.
    piece_nbytes : int
        How large a piece is at most, unless an array is larger.
    alignment : int
        A power of two, at most 4096.

    Yields
    ------
    ndarray of uint8
        A copy of many arrays, good until the next one, or a large array itself.
    """
    if native.core is None:
        yield from _joined(list(arrays), crcs, piece_nbytes, alignment)
        return
    if isinstance(arrays, Ragged):
        yield from _by_columns(arrays, crcs, piece_nbytes, alignment)
        return
    copies, at = np.empty(piece_nbytes, np.uint8), 0
    while at < len(arrays):
        next_at, used = native.core.stage(arrays, at, copies, crcs, alignment) or (at, 0)
        if next_at > at:
            yield copies[:used]
            at = next_at
        else:
            yield from _alone(arrays, at, crcs, alignment)
            at += 1


def _by_columns(
    arrays: Ragged, crcs: UInt32s, piece_nbytes: int, alignment: int
) -> Iterator[UInt8s]:
    """Do the same for arrays that lie end to end."""
    starts, ends = arrays.offsets[:-1], arrays.offsets[1:]
    places = np.concatenate([[0], np.cumsum(arrays.lengths + -arrays.lengths % alignment)])
    copies, at = np.empty(piece_nbytes, np.uint8), 0
    while at < len(arrays):
        next_at = int(np.searchsorted(places, places[at] + piece_nbytes, side="right")) - 1
        some, used = slice(at, next_at), copies[: places[next_at] - places[at]]
        # One that is larger than a piece is none of those that fit.
        if (
            next_at > at
            and native.core is not None
            and native.core.gather(
                arrays.values, starts[some], ends[some], used, crcs[some], alignment
            )
        ):
            yield used
            at = next_at
        else:
            yield from _alone(arrays, at, crcs, alignment)
            at += 1


def _joined(
    arrays: list[Array], crcs: UInt32s, piece_nbytes: int, alignment: int
) -> Iterator[UInt8s]:
    """Do the same without the native core."""
    waiting: list[UInt8s] = []
    n_bytes = 0
    for at in range(len(arrays)):
        pieces = _alone(arrays, at, crcs, alignment)
        n_more = sum(map(len, pieces))
        if waiting and n_bytes + n_more > piece_nbytes:
            yield np.concatenate(waiting)
            waiting, n_bytes = [], 0
        waiting += pieces
        n_bytes += n_more
    if waiting:
        yield np.concatenate(waiting)


def _alone(arrays: list[Array] | Ragged, at: int, crcs: UInt32s, alignment: int) -> list[UInt8s]:
    """Return the bytes of one array, and zeros behind it if there are any; set its checksum."""
    raw = arrays[at].reshape(-1).view(np.uint8)
    crcs[at] = crc32(raw)
    gap = -len(raw) % alignment
    return [raw, _ZEROS[:gap]] if gap else [raw]
