"""Rows with a mask, where data and mask do not both lie in one array each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ptrarray.rows.copying import copy_at_once, copy_masked
from ptrarray.rows.types import AnyRows, Array, Int64s, Read, Rows, ahead_nbytes


class MaskedRows(Rows):
    """Data with a mask of the same shape, true where an element is masked.

    What it hands out are masked arrays, on views where data and mask give views.

    Parameters
    ----------
    data : ndarray or Rows, shape (n_rows, *row_shape)
        The elements.
    mask : ndarray or Rows of bool, shape (n_rows, *row_shape)
        Bools for each field if the data has fields.

    Examples
    --------
    >>> rows = MaskedRows(np.array([1, 2, 4]), np.array([False, True, False]))
    >>> rows[1:]
    masked_array(data=[--, 4],
                 mask=[ True, False],
           fill_value=999999)
    """

    def __init__(self, data: AnyRows, mask: AnyRows) -> None:
        self.data, self.mask = data, mask
        self.dtype, self.shape = data.dtype, data.shape
        self.ahead_nbytes = min(map(ahead_nbytes, (data, mask)))

    def __getitem__(self, key: Any) -> Any:
        """Return what numpy gives for this index of a masked array."""
        data = self.data[key]
        array = _masked_array(data, self.mask[key])
        return array if isinstance(data, np.ndarray) else array[()]

    def copy_ranges(
        self, starts: Int64s, ends: Int64s, offsets: Int64s, out: Array | None = None
    ) -> Array:
        """Copy ranges of rows end to end, and those of their mask."""
        if not self.ahead_nbytes:
            return copy_masked((self.data, self.mask), starts, ends, offsets, out)
        return copy_at_once(self, starts, ends, offsets, out)

    def reads(
        self, starts: Int64s, ends: Int64s, places: Int64s, out: Array, *, is_ours: bool = False
    ) -> Iterator[Read]:
        """Return what copies ranges of rows and those of their mask, each to its place."""
        parts: Any = (self.data, np.ma.getdata(out)), (self.mask, np.ma.getmaskarray(out))
        for part, to in parts:
            yield from part.reads(starts, ends, places, to, is_ours=is_ours)

    def blank(self, n_rows: int) -> Array:
        """Return memory for so many rows and their mask."""
        shape = n_rows, *self.shape[1:]
        return _masked_array(*(np.empty(shape, part.dtype) for part in (self.data, self.mask)))

    def in_turn(self, reads: Iterable[Read], *, grow: bool = False) -> Iterator[Any]:
        """Yield what is made of reads, in their order."""
        data: Any = self.data
        return data.in_turn(reads, grow=grow)  # type: ignore[no-any-return]


def with_mask(data: AnyRows, mask: AnyRows) -> AnyRows:
    """Return rows with their mask: a masked array of two arrays, else `MaskedRows`."""
    if isinstance(data, np.ndarray) and isinstance(mask, np.ndarray):
        return _masked_array(data, mask)
    return MaskedRows(data, mask)


def _masked_array(data: Array, mask: Array) -> Array:
    # To keep the mask that plain data is taken to have means to copy where there are fields.
    array: Array = np.ma.MaskedArray(data, mask, keep_mask=False)
    return array
