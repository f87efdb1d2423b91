"""All arrays of a mixed store at once, as views."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from ptrarray.format import infos
from ptrarray.format.entries import Entries
from ptrarray.format.index import corrupt
from ptrarray.format.layouts import Layout
from ptrarray.rows.types import Array, Int64s, UInt8s

Form = tuple[tuple[int, ...], np.dtype[Any], Any]  # shape, dtype and order

_FEW = 8  # of one info that are sooner made one by one
_SMALL_NBYTES = 1 << 16  # larger ones are few


def views(
    entries: Entries, layout: Layout, data: UInt8s, mask: UInt8s | None, where: str
) -> dict[str, Array]:
    """Return each array by name: what looking up all of them would give, in less time.

    Parameters
    ----------
    entries : Entries
        Of all arrays, with pointers that lie in the data.
    layout : Layout
        Of the store, which is mixed.
    data, mask : ndarray of uint8
        What the files have.
    where : str
        Path of the store, for messages.

    Raises
    ------
    CorruptStoreError
        If a dtype or a shape does not fit its rows.
    """
    names, n_rows = entries.names.texts(), entries.ends - entries.starts
    packed = [b""] * len(names) if entries.infos is None else entries.infos.split()
    positions_by_info: dict[bytes, list[int]] = defaultdict(list)
    for at, info in enumerate(packed):
        positions_by_info[info].append(at)
    found: list[Any] = [None] * len(names)
    try:
        for info, positions in positions_by_info.items():
            at, many = positions[0], None
            if mask is None and len(positions) >= _FEW:
                many = _many(layout, info, data, entries.starts[positions], n_rows[positions])
            if many is not None:
                for at, array in zip(positions, many, strict=True):
                    found[at] = array
                continue
            for at in positions:
                start, end = int(entries.starts[at]), int(entries.ends[at])
                found[at] = _one(layout, info, data, mask, start, end)
    except ValueError as error:
        what = f"rows {entries.starts[at]} to {entries.ends[at]}, {error}"
        raise corrupt(where, f"has for {names[at]!r:.80}, {what}") from error
    return dict(zip(names, found, strict=True))


def _many(
    layout: Layout, info: bytes, data: UInt8s, starts: Int64s, n_rows: Int64s
) -> list[Array] | None:
    """Return many arrays of one info, or None if some are to be looked at one by one."""
    shape, dtype, order = _form(layout, int(n_rows[0]), info)
    if (n_rows == n_rows[0]).all():
        is_small = 0 < n_rows[0] <= _SMALL_NBYTES and 0 < len(shape) < infos.MAX_NDIM
        if not is_small or (starts % layout.alignment).any():
            return None
        # Each is an item of an array of all that could be there, though these overlap: it has one
        # axis more, and many times the bytes, both of which numpy limits.
        strides = np.ndarray(shape, dtype, data, int(starts[0]), None, order).strides
        n_places = (len(data) - int(n_rows[0])) // layout.alignment + 1
        places = np.ndarray((n_places, *shape), dtype, data, 0, (layout.alignment, *strides))
        many = [places[at] for at in (starts // layout.alignment).tolist()]
        return [*map(infos.by_value, many)] if order == "F" else many
    width = dtype.itemsize
    if infos.decode(info).shape is not None or (starts % width).any() or (n_rows % width).any():
        return None
    flat = data[: len(data) // width * width].view(dtype)
    bounds = (starts // width).tolist(), ((starts + n_rows) // width).tolist()
    return [flat[start:end] for start, end in zip(*bounds, strict=True)]


def _one(
    layout: Layout, info: bytes, data: UInt8s, mask: UInt8s | None, start: int, end: int
) -> Array:
    if mask is not None:
        part = infos.mask_of(layout, mask, start, end, info)
        masked: Array = infos.view(layout, data[start:end], part, info)
        return masked
    shape, dtype, order = _form(layout, end - start, info)
    if start < end:
        array = np.ndarray(shape, dtype, data, start, None, order)
        return infos.by_value(array) if order == "F" else array
    return data[:0].view(dtype).reshape(shape, order=order)  # perhaps past the end of the data


def _form(layout: Layout, n_rows: int, raw: bytes) -> Form:
    """Return shape, dtype and order of an array; raises ValueError if they do not fit its rows."""
    infos.check(layout, n_rows, raw)
    info = infos.decode(raw)
    dtype = info.dtype or layout.dtype
    shape = (n_rows // dtype.itemsize,) if info.shape is None else info.shape
    return shape, dtype, "F" if info.is_fortran else "C"
