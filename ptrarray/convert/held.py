"""Many arrays of a file that come in small pieces, held until they are enough for one commit."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from ptrarray.convert.found import Many
from ptrarray.convert.named import ENTRY_NBYTES, NamedMany
from ptrarray.rows.types import Array, UInt8s

_SMALL_NBYTES = 1 << 20  # to commit a larger piece costs less than to copy it


class Held:
    """Small pieces of one file, copied, as their memory may be used again for the next one.

    Parameters
    ----------
    limit_nbytes : int
        Of what is handed back as one, but for an array that is larger.
    """

    def __init__(self, limit_nbytes: int) -> None:
        self._limit_nbytes = limit_nbytes
        self._pieces: list[NamedMany] = []
        self._rows: list[UInt8s] = []
        self._nbytes = 0

    def add(self, piece: NamedMany) -> Iterator[NamedMany]:
        """Take a piece, and yield what is to be written now, all in the order in which it came."""
        used = piece.many.values[piece.many.offsets[0] : piece.many.offsets[-1]]
        nbytes = used.nbytes + ENTRY_NBYTES * len(piece.names)
        is_small = nbytes < min(_SMALL_NBYTES, self._limit_nbytes // 2) and _is_plain(used)
        if self._pieces and not (is_small and _is_alike(piece, self._pieces[-1])):
            yield from self.taken()
        if not is_small:
            yield from piece.pieces(self._limit_nbytes)
            return
        like = np.empty((0, *used.shape[1:]), used.dtype)
        self._pieces.append(piece._replace(many=piece.many._replace(values=like)))
        self._rows.append(used.reshape(-1).view(np.uint8).copy())
        self._nbytes += nbytes
        if 2 * self._nbytes >= self._limit_nbytes:
            yield from self.taken()

    def taken(self) -> Iterator[NamedMany]:
        """Yield what is held, if there is any, which is no longer."""
        pieces, rows = self._pieces, self._rows
        if pieces:
            self._pieces, self._rows, self._nbytes = [], [], 0
            yield _joined(pieces, rows)


def _is_plain(rows: Array) -> bool:
    """Tell whether rows are as their bytes are."""
    dtype = rows.dtype
    is_simple = dtype.names is None and dtype.metadata is None and not dtype.hasobject
    return (
        type(rows) in (np.ndarray, np.memmap)
        and is_simple
        and rows.flags.c_contiguous
        and bool(rows.size)
    )


def _is_alike(piece: NamedMany, other: NamedMany) -> bool:
    ours, theirs = piece.many.values, other.many.values
    is_alike = ours.dtype == theirs.dtype and ours.shape[1:] == theirs.shape[1:]
    return is_alike and piece.source == other.source


def _joined(pieces: list[NamedMany], rows: list[UInt8s]) -> NamedMany:
    """Lay pieces end to end."""
    first = pieces[0].many.values
    values = np.concatenate(rows).view(first.dtype).reshape(-1, *first.shape[1:])
    counts = np.concatenate([np.diff(piece.many.offsets) for piece in pieces])
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    metas = [
        piece.many.metas if len(piece.many.metas) else [{}] * len(piece.names) for piece in pieces
    ]
    has_metas = any(len(piece.many.metas) for piece in pieces)
    keys = list(chain.from_iterable(piece.many.keys for piece in pieces))
    names = list(chain.from_iterable(piece.names for piece in pieces))
    many = Many(keys, values, offsets, list(chain.from_iterable(metas)) if has_metas else ())
    return NamedMany(pieces[0].source, names, many)
