"""All arrays of a mixed store at once, as views."""

from __future__ import annotations

from itertools import repeat
from typing import Any

import numpy as np

from ptrarray.format import infos
from ptrarray.format.entries import Entries
from ptrarray.format.index import corrupt
from ptrarray.format.layouts import Layout
from ptrarray.rows.types import Array, UInt8s

Form = tuple[tuple[int, ...], np.dtype[Any], Any]  # shape, dtype and order


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
    names, starts, ends = entries.names.texts(), entries.starts.tolist(), entries.ends.tolist()
    packed = repeat(b"") if entries.infos is None else entries.infos.split()
    arrays: dict[str, Array] = {}
    known: dict[tuple[bytes, int], Form] = {}
    try:
        for name, start, end, info in zip(names, starts, ends, packed, strict=False):
            if mask is not None:
                part = infos.mask_of(layout, mask, start, end, info)
                arrays[name] = infos.view(layout, data[start:end], part, info)
                continue
            form = known.get((info, end - start))
            if form is None:
                form = known[info, end - start] = _form(layout, end - start, info)
            shape, dtype, order = form
            if start == end:  # perhaps past the end of the data
                arrays[name] = data[:0].view(dtype).reshape(shape, order=order)
            else:
                arrays[name] = np.ndarray(shape, dtype, data, start, None, order)
    except ValueError as error:
        raise corrupt(where, f"has for {name!r:.80}, rows {start} to {end}, {error}") from error
    return arrays


def _form(layout: Layout, n_rows: int, raw: bytes) -> Form:
    """Return shape, dtype and order of an array; raises ValueError if they do not fit its rows."""
    infos.check(layout, n_rows, raw)
    info = infos.decode(raw)
    dtype = info.dtype or layout.dtype
    shape = (n_rows // dtype.itemsize,) if info.shape is None else info.shape
    return shape, dtype, "F" if info.is_fortran else "C"
