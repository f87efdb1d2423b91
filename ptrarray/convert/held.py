"""Many arrays of a file that come in small pieces, held until they are enough for one commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ptrarray.convert.found import Many
from ptrarray.convert.named import ENTRY_NBYTES, NamedMany
from ptrarray.rows.types import Array, Int64s

_SMALL_NBYTES = 1 << 18  # to commit a larger piece costs less than to copy it


class Held:
    """Small pieces of one file, copied, as their memory may be used again for the next one.

    Parameters
    ----------
    limit_nbytes : int
        Of what is handed back as one, but for an array that is larger.
    """

    def __init__(self, limit_nbytes: int) -> None:
        self._limit_nbytes = limit_nbytes
        self._pieces: _Pieces | None = None

    def add(self, piece: NamedMany) -> Iterator[NamedMany]:
        """Take a piece, and yield what is to be written now, all in the order in which it came."""
        many = piece.many
        used = many.values[many.offsets[0] : many.offsets[-1]]
        nbytes = used.nbytes + ENTRY_NBYTES * len(piece.names)
        is_small = nbytes < min(_SMALL_NBYTES, self._limit_nbytes // 2) and _is_plain(used)
        if self._pieces is not None and not (is_small and self._pieces.are_like(piece)):
            yield from self.taken()
        if not is_small:
            yield from piece.pieces(self._limit_nbytes)
            return
        if self._pieces is None:
            self._pieces = _Pieces(piece, self._limit_nbytes)
        self._pieces.add(piece, used)
        if 2 * self._pieces.nbytes >= self._limit_nbytes:
            yield from self.taken()

    def taken(self) -> Iterator[NamedMany]:
        """Yield what is held, if there is any, which is no longer."""
        if self._pieces is not None:
            pieces, self._pieces = self._pieces, None
            yield pieces.joined()


class _Pieces:
    """The pieces that are held: of one source, dtype and shape of rows.

    Attributes
    ----------
    nbytes : int
        That they take.
    """

    def __init__(self, first: NamedMany, room_nbytes: int) -> None:
        self.nbytes = 0
        self._source = first.source
        self._dtype, self._row_shape = first.many.values.dtype, first.many.values.shape[1:]
        self._rows = np.empty(room_nbytes, np.uint8)  # what is not used takes no memory
        self._end = self._n_rows = 0
        self._keys: list[str] = []
        self._names: list[str] = []
        self._metas: list[Mapping[str, Any]] = []
        self._offsets = [np.zeros(1, np.int64)]

    def are_like(self, piece: NamedMany) -> bool:
        """Tell whether a piece can be laid behind these."""
        rows = piece.many.values
        is_like = rows.dtype == self._dtype and rows.shape[1:] == self._row_shape
        return is_like and piece.source == self._source

    def add(self, piece: NamedMany, used: Array) -> None:
        """Copy a piece, of which these rows are used."""
        many = piece.many
        self._keys += many.keys
        self._names += piece.names
        self._metas += many.metas if len(many.metas) else [{}] * len(piece.names)
        offsets: Int64s = many.offsets[1:] + (self._n_rows - many.offsets[0])
        self._offsets.append(offsets)
        self._n_rows += len(used)
        start, self._end = self._end, self._end + used.nbytes
        self._rows[start : self._end] = used.reshape(-1).view(np.uint8)
        self.nbytes += used.nbytes + ENTRY_NBYTES * len(piece.names)

    def joined(self) -> NamedMany:
        """Return all as one."""
        values = self._rows[: self._end].view(self._dtype).reshape(-1, *self._row_shape)
        metas = self._metas if any(self._metas) else ()
        many = Many(self._keys, values, np.concatenate(self._offsets), metas)
        return NamedMany(self._source, self._names, many)


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
