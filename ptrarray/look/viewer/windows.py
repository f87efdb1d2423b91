"""Rows of one array of an open store, read where they are, and no more than is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ptrarray.format import infos
from ptrarray.format.index import corrupt
from ptrarray.format.layouts import MIXED, ROWS, mask_itemsize
from ptrarray.reader import PointerArray, opened_of
from ptrarray.rows.types import AnyRows, Array, Int64s, Rows
from ptrarray.storage.store.opened import OpenedStore
from ptrarray.storage.writing.transactions import unknown

Stopped = Callable[[], bool]
Read = Callable[[int, int], Any]


class StoppedError(Exception):
    """Whoever asked has gone."""


class ArrayRows(Rows):
    """The rows of one array: views where the data file is mapped, else read when asked for.

    An array without axes has one row. Where nothing is mapped, arrays in
    Fortran order are read whole, once.

    Parameters
    ----------
    store : PointerArray
        Open for reading.
    name : str
        Of the array.
    stopped : callable
        Asked before rows are given.

    Attributes
    ----------
    whole_shape : tuple of int
        Of the array: ``()`` where it has no axes.
    start : int
        Row of the flat array at which it begins.
    crc : int
        Checksum that is kept of its values and its mask.
    is_masked : bool
        Whether its store keeps masks.
    is_here : bool
        Whether it lies on this machine.
    is_view : bool
        Whether any of its rows can be had as a table without reading them.

    Raises
    ------
    UnknownNameError
        A `KeyError`: no array has this name.
    StoppedError
        From whatever reads rows, once `stopped` has said so.
    """

    def __init__(self, store: PointerArray, name: str, stopped: Stopped = bool) -> None:
        opened, address = opened_of(store), _address(store, name)
        self.start, _ = opened.snapshot.pointer_at(address)
        self._stopped = stopped
        self.is_masked = opened.layout.masked
        holder, address = opened.holding(address)
        self.crc = int(holder.snapshot.crcs_at(np.array([address], np.int64))[0])
        self.whole_shape, self.dtype, self._read = _readable(holder, address)
        self.shape = self.whole_shape or (1,)
        self.is_view = isinstance(holder.data, np.ndarray) and self[:2].flags.c_contiguous
        self.is_here = not opened.is_compared

    def __getitem__(self, key: Any) -> Array:
        """Return the rows of a slice."""
        if self._stopped():
            raise StoppedError
        start, stop, _ = key.indices(self.shape[0])
        rows: Array = self._read(start, max(start, stop))
        return rows

    def copy_ranges(
        self, starts: Int64s, ends: Int64s, offsets: Int64s, out: Array | None = None
    ) -> Array:
        """Copy ranges of rows end to end: nobody asks for several."""
        raise NotImplementedError


class Part(Rows):
    """Some rows of an array as a table, read when asked for.

    Examples
    --------
    >>> part = Part(np.arange(24).reshape(4, 2, 3), 1, 3)
    >>> part.shape, part[1:]
    ((2, 6), array([[12, 13, 14, 15, 16, 17]]))
    """

    def __init__(self, rows: AnyRows, start: int, stop: int) -> None:
        self._rows, self._start = rows, start
        self.dtype = rows.dtype
        width = math.prod(rows.shape[1:])
        self.shape = (stop - start, *((width,) if width != 1 else ()))

    def __getitem__(self, key: Any) -> Array:
        """Return the rows of a slice."""
        start, stop, _ = key.indices(self.shape[0])
        rows: Array = self._rows[self._start + start : self._start + max(start, stop)]
        return rows.reshape(len(rows), *self.shape[1:])

    copy_ranges = ArrayRows.copy_ranges


def _readable(store: OpenedStore, address: int) -> tuple[tuple[int, ...], np.dtype[Any], Read]:
    """Return shape and dtype of an array, and what reads rows of it."""
    layout, snapshot = store.layout, store.snapshot
    raw = snapshot.info_at(address)
    try:
        info = infos.decode(raw)
        start, end = snapshot.pointer_at(address)
        infos.check(layout, end - start, raw)
        first = infos.mask_span(layout, start, end, raw)[0] if layout.masked else 0
    except ValueError as error:
        raise corrupt(snapshot.index.path, f"has {error}") from error
    if layout.kind == ROWS:
        rows = store.rows
        return (
            (end - start, *layout.row_shape),
            layout.dtype,
            lambda low, high: rows[start + low : start + high],
        )
    array = None
    if isinstance(store.data, np.ndarray) or info.is_fortran or info.shape == ():
        array = store.array_at(address)
        rows = array.reshape(array.shape or (1,))
        return array.shape, array.dtype, lambda low, high: rows[low:high]
    dtype = (info.dtype if layout.kind == MIXED else None) or layout.dtype
    shape = info.shape or ((end - start) * layout.width // dtype.itemsize,)
    return shape, dtype, partial(_rows_of, store, info._replace(shape=shape), start, first)


def _rows_of(
    store: OpenedStore, info: infos.Info, start: int, first: int, low: int, high: int
) -> Any:
    """Return rows of an array that has a shape of its own and is not mapped."""
    layout, shape = store.layout, info.shape or ()
    dtype = (info.dtype if layout.kind == MIXED else None) or layout.dtype
    n_elements = math.prod(shape[1:])
    width = n_elements * (dtype.itemsize if layout.kind == MIXED else 1)
    raw = infos.encode(info._replace(shape=(high - low, *shape[1:])))
    rows, mask = store.data[start + low * width : start + high * width], None
    if store.mask is not None:
        width = n_elements * mask_itemsize(dtype)
        mask = store.mask[first + low * width : first + high * width]
        if len(mask) < (high - low) * width:  # the file ends before, as nothing is masked
            mask = np.zeros((high - low) * width, np.uint8)
    return infos.view(layout, rows, mask, raw)


def _address(store: PointerArray, name: str) -> int:
    opened = opened_of(store)
    try:
        address = opened.snapshot.locate(name.encode())
    except UnicodeEncodeError:
        address = None
    if address is None:
        raise unknown(name, store.path)
    return address
