"""Data sets of HDF5 by ranges of rows, and the groups that they are in; no more memory than a file is worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ptrarray.convert.formats.h5_values import attributes, decoded, import_h5py, is_kept, linked
from ptrarray.convert.room import Room
from ptrarray.convert.unpickle.rebuild import Unreadable
from ptrarray.errors import BadInputError
from ptrarray.rows.types import Array

CACHE_NBYTES = (
    1 << 26
)  # of chunks: netCDF makes them of 16 MB, and the last of a range is read twice

# A data set may say that it has any number of rows, where its file has next to nothing: what is
# larger than this must have been compressed no better than deflate can.
_TRUSTED_NBYTES = 1 << 26
_RATIO = 1_100
_TEXT_ROWS = 1_024  # each of which may be all of the file


def groups(file: Any) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield each group of a file once: its path, itself, and its data sets by name.

    A data set is None in place of a link to another file, which is not followed.
    """
    h5py = import_h5py()
    waiting, seen = [("", file["/"])], set()
    while waiting:
        path, group = waiting.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            continue
        seen.add(address)
        sets, inner = {}, []
        for raw in group.id:
            item = linked(group, raw)
            if isinstance(item, h5py.Group):
                inner.append((f"{path}/{decoded(raw)}".lstrip("/"), item))
            elif item is not False:
                sets[decoded(raw)] = item
        waiting += reversed(inner)
        yield path, group, sets


def kept_attributes(item: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the attributes that metadata can hold, one value in a list as itself, and other keys."""
    kept: dict[str, Any] = {}
    lost = []
    for key, value in attributes(item):
        plain = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(plain, Unreadable) or not is_kept(plain):
            lost.append(key)
        else:
            kept[key] = decoded(plain) if isinstance(plain, bytes) else plain
    return kept, lost


def check_sizes(item: Any, whole: tuple[int, ...] = ()) -> None:
    """Refuse a data set that claims far more than its file holds, or is not in this file.

    Parameters
    ----------
    item : h5py.Dataset
        The data set.
    whole : tuple of int
        A shape it is to be read as, where others in its file say how long it is.

    Raises
    ------
    BadInputError
        That says so.
    """
    if item.is_virtual or item.external:
        raise BadInputError("its values are in other files")
    if item.shape is None:
        raise BadInputError("it is empty, without a shape")
    own, of_file = item.id.get_storage_size(), item.file.id.get_filesize()
    for shape, there in ((item.shape, own), (item.chunks or (), own), (whole, of_file)):
        nbytes = math.prod(shape) * item.dtype.itemsize
        if nbytes > max(_TRUSTED_NBYTES, there * _RATIO):
            raise BadInputError(f"it claims {nbytes} bytes, of which its file holds {there}")


def is_read(dtype: np.dtype[Any]) -> bool:
    """Tell whether rows of a dtype are read: not references, nor arrays of variable length."""
    return not dtype.hasobject or import_h5py().check_string_dtype(dtype) is not None


def read_rows(item: Any, first: int, last: int) -> Array:
    """Return rows of a data set that was checked; text of variable length as bytes.

    Raises
    ------
    BadInputError
        If that is more than the file can hold.
    """
    if not item.dtype.hasobject:
        rows: Array = item[first:last]
        return rows
    if not is_read(item.dtype):
        raise BadInputError("it holds references or arrays of variable length")
    left = 16 * item.file.id.get_filesize()
    rows = np.empty((last - first, *item.shape[1:]), object)
    h5py = import_h5py()
    # A slice of the data set costs as much again, in Python, as it takes to read so few rows.
    kind, space = h5py.h5t.py_create(item.dtype), item.id.get_space()
    for start in range(0, last - first, _TEXT_ROWS):
        some = rows[start : start + _TEXT_ROWS]
        space.select_hyperslab((first + start, *(0 for _ in some.shape[1:])), some.shape)
        item.id.read(h5py.h5s.create_simple(some.shape), space, some, kind)
        left -= sum(map(len, some.ravel().tolist()))
        if left < 0:
            raise BadInputError("its text is far longer than the file, which is forged")
    return rows


def reader(item: Any) -> Callable[[int, int], Array]:
    """Return `read_rows` of one data set; numbers are good until more are read."""
    room, is_plain = Room(), item.dtype.kind in "biufc"

    def read(first: int, last: int) -> Array:
        if not is_plain or first == last:
            return read_rows(item, first, last)
        rows = room.rows(last - first, item.shape[1:], item.dtype)
        item.read_direct(rows, np.s_[first:last])
        return rows

    return read


def read_all(item: Any) -> Array:
    """Return all rows of a data set, once it is seen that its file can hold them."""
    check_sizes(item)
    return read_rows(item, 0, item.shape[0])
