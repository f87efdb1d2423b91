"""How an array differs from plain rows: dtype, shape, order and mask, a msgpack map or nothing."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import msgpack
import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError
from ptrarray.format import dtypes
from ptrarray.format.layouts import MIXED, ROWS, Layout, mask_dtype, mask_itemsize

LIMIT_NBYTES = 2**16  # of one info
MAX_NDIM = 64  # of numpy


class Info(NamedTuple):
    """What is kept of one array beside its pointer.

    Attributes
    ----------
    dtype : numpy.dtype or None
        Only in a mixed store; None: uint8.
    shape : tuple of int or None
        None: one axis, or the rows of the pointer.
    is_fortran : bool
        Whether the elements lie in Fortran order.
    fill_value : bytes or None
        Of a masked array, as an element of its dtype; None: numpy's default.
    is_hard : bool
        Whether a masked array has a hard mask.
    mask_at : int or None
        Byte of the mask file where its mask lies, among those that lie end to end; None: where
        its rows are.
    """

    dtype: np.dtype[Any] | None = None
    shape: tuple[int, ...] | None = None
    is_fortran: bool = False
    fill_value: bytes | None = None
    is_hard: bool = False
    mask_at: int | None = None


def encode(info: Info) -> bytes:
    """Return the bytes of an info: none if it says nothing.

    Raises
    ------
    BadInputError
        If it is larger than 64 KiB, as with thousands of fields.

    Examples
    --------
    >>> decode(encode(Info(np.dtype("f4"), (2, 3))))
    Info(dtype=dtype('float32'), shape=(2, 3), is_fortran=False, fill_value=None, is_hard=False, mask_at=None)
    >>> encode(Info())
    b''
    """
    fields: dict[str, Any] = {}
    if info.dtype is not None:
        fields |= dtypes.fields_of(info.dtype)
    if info.shape is not None:
        fields["shape"] = info.shape
    if info.is_fortran:
        fields["order"] = "F"
    if info.fill_value is not None:
        fields["fill_value"] = info.fill_value
    if info.is_hard:
        fields["hard_mask"] = True
    if info.mask_at is not None:
        fields["mask_at"] = info.mask_at
    packed: bytes = msgpack.packb(fields) if fields else b""
    if len(packed) > LIMIT_NBYTES:
        raise BadInputError(
            f"dtype, shape and fill value take {len(packed)} bytes, at most {LIMIT_NBYTES} are kept",
            found=len(packed),
            expected=LIMIT_NBYTES,
        )
    return packed


def kept(dtype: npt.DTypeLike, layout: Layout) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return a dtype as it will be read back, and the shape of its sub-array.

    Raises
    ------
    BadInputError
        If it is not one that a store may have, or this one keeps masks and
        cannot keep its.
    """
    dtype, shape = dtypes.normalize(dtype)
    if layout.masked:
        mask_itemsize(dtype)
    return dtype, shape


@lru_cache(maxsize=1024)
def decode(raw: bytes) -> Info:
    """Return what the bytes of an info say.

    Raises
    ------
    ValueError
        If they make no sense.
    """
    if not raw:
        return Info()
    if len(raw) > LIMIT_NBYTES:
        raise ValueError(f"an info of {len(raw)} bytes")
    try:
        fields = msgpack.unpackb(raw, raw=False, strict_map_key=True)
        shape = fields.get("shape")
        fill_value, order = fields.get("fill_value"), fields.get("order", "C")
        if order not in ("C", "F") or not isinstance(fill_value, bytes | None):
            raise ValueError(f"order {order!r:.40} or fill value {fill_value!r:.40}")
        mask_at = fields.get("mask_at")
        if mask_at is not None and (type(mask_at) is not int or mask_at < 0):
            raise ValueError(f"a mask at byte {mask_at!r:.40}")
        return Info(
            None if fields.get("dtype") is None else dtypes.of_fields(fields),
            None if shape is None else _shape(shape),
            order == "F",
            fill_value,
            fields.get("hard_mask") is True,
            mask_at,
        )
    except (TypeError, AttributeError, ValueError, msgpack.UnpackException) as error:
        raise ValueError(f"an info that makes no sense: {error}") from error


def _shape(shape: Any) -> tuple[int, ...]:
    is_one = isinstance(shape, list) and len(shape) <= MAX_NDIM
    if not is_one or not all(type(length) is int and 0 <= length < 2**63 for length in shape):
        raise ValueError(f"shape {shape!r:.80}")
    return tuple(shape)


def check(layout: Layout, n_rows: int, raw: bytes) -> None:
    """Raise ValueError if an info makes no sense, or not for so many rows."""
    info = decode(raw)
    dtype = layout.dtype
    if info.dtype is not None and layout.kind == MIXED:
        dtype = info.dtype
    fill_value = info.fill_value
    if layout.masked and fill_value is not None and len(fill_value) != dtype.itemsize:
        raise ValueError(f"a fill value of {len(fill_value)} bytes for {dtype!r:.200}")
    if layout.kind != ROWS:
        n_elements, rest = divmod(n_rows * layout.width, dtype.itemsize)
        if rest or (info.shape is not None and math.prod(info.shape) != n_elements):
            raise ValueError(f"shape {info.shape} of {dtype!r:.200} for {n_rows} rows")
        if layout.masked:
            mask_itemsize(dtype)
            mask_span(layout, 0, n_rows, raw)


def mask_span(layout: Layout, start: int, end: int, raw: bytes) -> tuple[int, int]:
    """Return which bytes of the mask file are the mask of an array with these rows.

    Parameters
    ----------
    layout : Layout
        Of a store with masks.
    start, end : int
        The pointer.
    raw : bytes
        The info.

    Raises
    ------
    ValueError
        If the info makes no sense.
    """
    if layout.kind != MIXED:
        return start * layout.mask_width, end * layout.mask_width
    info = decode(raw)
    nbytes = _mixed_mask_nbytes(info.dtype or layout.dtype, end - start)
    if info.mask_at is None:
        first = layout.mask_start + start
    elif info.mask_at + nbytes <= layout.mask_start:
        first = info.mask_at
    else:
        what = f"a mask of {nbytes} bytes at byte {info.mask_at}"
        raise ValueError(f"{what}, where {layout.mask_start} bytes of masks lie end to end")
    return first, first + nbytes


def mask_of(layout: Layout, masks: Any, start: int, end: int, raw: bytes) -> Any:
    """Return the mask of an array as bytes: of those of the mask file, which may end before it.

    Raises
    ------
    ValueError
        If the info makes no sense.
    """
    first, last = mask_span(layout, start, end, raw)
    mask = masks[first:last]
    if len(mask) == last - first:
        return mask
    blank = np.zeros(last - first, np.uint8)  # the file ends before, as nothing is masked
    blank.flags.writeable = mask.flags.writeable
    return blank


def with_mask_at(raw: bytes, mask_at: int | None) -> bytes:
    """Return an info that says where the mask lies; with None, that it lies where the rows do.

    Whatever else it says stays as it is.

    Examples
    --------
    >>> decode(with_mask_at(encode(Info(shape=(2, 3))), 7)).mask_at
    7
    """
    if decode(raw).mask_at == mask_at:
        return raw
    fields: dict[str, Any] = msgpack.unpackb(raw, raw=False) if raw else {}
    fields.pop("mask_at", None)
    if mask_at is not None:
        fields["mask_at"] = mask_at
    return msgpack.packb(fields) if fields else b""


@lru_cache(maxsize=256)
def _mixed_mask_nbytes(dtype: np.dtype[Any], n_rows: int) -> int:
    return n_rows // dtype.itemsize * mask_itemsize(dtype)


def view(layout: Layout, rows: Any, mask: Any, raw: bytes) -> Any:
    """Return an array on its rows and its mask, no copy.

    Parameters
    ----------
    layout : Layout
        Of the store.
    rows : ndarray, shape (length, *row_shape)
        Those of its pointer.
    mask : ndarray of uint8, shape (mask bytes,), or None
        Its mask.
    raw : bytes
        Its info.

    Returns
    -------
    ndarray or numpy.ma.MaskedArray

    Raises
    ------
    ValueError
        If the info does not fit the rows.
    """
    info = decode(raw)
    check(layout, len(rows), raw)
    dtype = layout.dtype
    order: Any = "F" if info.is_fortran and layout.kind != ROWS else "C"
    if layout.kind != ROWS:
        if info.dtype is not None and layout.kind == MIXED:
            dtype = info.dtype
            rows = rows.view(dtype)
        if info.shape is not None:
            rows = rows.reshape(info.shape, order=order)
        if order == "F":
            rows = by_value(rows)
    if mask is None:
        return rows
    mask = mask.view(mask_dtype(dtype)).reshape(rows.shape, order=order)
    fill_value: Any = None
    if info.fill_value is not None:
        # Not as a number or str: of some text there is none.
        fill_value = np.frombuffer(info.fill_value, dtype).reshape(())
    # To keep a mask means to copy it where there are fields.
    return np.ma.MaskedArray(
        rows, mask, keep_mask=False, fill_value=fill_value, hard_mask=info.is_hard
    )


def by_value(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array whose values joblib sends to its workers, and not the name of the file.

    A worker maps the file as the base of an array lies in it. So a transposed view, as each array
    in Fortran order is one, comes out with its elements at other places (joblib 1.6.0,
    ``_memmapping_reducer._reduce_memmap_backed``; https://github.com/joblib/joblib/issues/1019).

    Parameters
    ----------
    array : ndarray
        In C or Fortran order.

    Returns
    -------
    ndarray
        A view of it, which may be changed if it may. Its base is a memoryview, behind which joblib
        does not look.

    Examples
    --------
    >>> columns = np.asfortranarray([[1, 2], [3, 4]])
    >>> view = by_value(columns)
    >>> view.tolist(), view.flags.f_contiguous, np.shares_memory(view, columns)
    ([[1, 2], [3, 4]], True, True)
    """
    if not array.nbytes or array.dtype.hasobject or not array.flags.forc:
        return array  # of no file of ours
    order: Any = "C" if array.flags.c_contiguous else "F"
    raw = memoryview(array.reshape(-1, order=order).view(np.uint8))  # of dates there is none
    return np.frombuffer(raw, array.dtype).reshape(array.shape, order=order)
