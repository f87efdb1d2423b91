"""Array types by name, and what the code asks of rows that do not lie in one array."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]
UInt8s = npt.NDArray[np.uint8]
UInt32s = npt.NDArray[np.uint32]
UInt64s = npt.NDArray[np.uint64]


class Read(NamedTuple):
    """Something that is read by another thread, and what is made of it.

    Attributes
    ----------
    nbytes : int
        Bytes that it has.
    read : callable
        Reads it. Called on any thread.
    use : callable
        Called with what was read, by who asked for it, in the order of several reads.
    """

    nbytes: int
    read: Callable[[], Any]
    use: Callable[[Any], Any]


class Rows(Protocol):
    """Rows that are read as those of an ndarray, and lie elsewhere or are not there yet.

    A class of such rows names this one as its base, sets the attributes and has the two
    methods; the rest follows. Whoever takes rows of any kind takes `AnyRows`, asks of them no
    more than this, and has `ptrarray.rows.copying.copy_ranges` tell the two kinds apart.

    Attributes
    ----------
    dtype : numpy.dtype
        Of the elements.
    shape : tuple of int
        ``(n_rows, *row_shape)``.
    ahead_nbytes : int
        Of rows that somebody else has to be asked for, which takes long whatever there is to
        read: how many bytes are best asked for before any is there. Else 0.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    ahead_nbytes: int = 0

    def reads(
        self, starts: Int64s, ends: Int64s, places: Int64s, out: Array, *, is_ours: bool = False
    ) -> Iterator[Read]:
        """Return what copies ranges of rows, each to its place in `out`.

        Where that `is_ours`, nobody else has it before all is there, so that other threads may
        write to it, also after an error.
        """
        for start, end, place in zip(starts, ends, places, strict=True):
            yield Read(0, partial(self.__getitem__, slice(start, end)), partial(_put, out, place))

    def blank(self, n_rows: int) -> Array:
        """Return memory for so many rows."""
        return np.empty((n_rows, *self.shape[1:]), self.dtype)

    def in_turn(self, reads: Iterable[Read], *, grow: bool = False) -> Iterator[Any]:
        """Yield what is made of reads, in their order: many are under way before it is asked for.

        With `grow`, few at first: who asks may soon stop.
        """
        return (read.use(read.read()) for read in reads)

    def __getitem__(self, key: Any) -> Any:
        """Return what numpy gives for an index, of a slice at the least."""

    def copy_ranges(
        self, starts: Int64s, ends: Int64s, offsets: Int64s, out: Array | None = None
    ) -> Array:
        """Copy ranges of rows end to end: see `ptrarray.rows.copying.copy_ranges`."""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.itemsize


AnyRows = Array | Rows


def ahead_nbytes(rows: AnyRows) -> int:
    """Return how many bytes of rows are best asked for before any is there; 0 of an array."""
    return 0 if isinstance(rows, np.ndarray) else rows.ahead_nbytes


def _put(out: Array, place: int, rows: Array) -> None:
    out[place : place + len(rows)] = rows
