"""All arrays of a mixed store at once, as views."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from ptrarray.format import infos
from ptrarray.format.entries import Entries
from ptrarray.format.index import corrupt
from ptrarray.format.layouts import Layout
from ptrarray.rows.types import Array, UInt8s

Form = tuple[tuple[int, ...], np.dtype[Any], Any]  # shape, dtype and order

_FEW = 8  # alike that are sooner made one by one


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
    packed = [b""] * len(names) if entries.infos is None else entries.infos.split()
    arrays: dict[str, Array] = {}
    known: dict[tuple[bytes, int], Form] = {}
    at = 0
    try:
        for first, last in pairwise(_bounds(entries, packed, layout, mask)):
            for at in range(first, last):
                start, n_rows, info = starts[at], ends[at] - starts[at], packed[at]
                if mask is not None:
                    part = infos.mask_of(layout, mask, start, start + n_rows, info)
                    arrays[names[at]] = infos.view(layout, data[start:][:n_rows], part, info)
                    continue
                form = known.get((info, n_rows)) or known.setdefault(
                    (info, n_rows), _form(layout, n_rows, info)
                )
                if last - first >= _FEW and form[0] and n_rows:
                    step = layout.aligned(n_rows)
                    alike = _alike(form, data, start, step, last - first)
                    arrays.update(zip(names[first:last], alike, strict=True))
                    break
                arrays[names[at]] = _view(form, data, start, n_rows)
    except ValueError as error:
        what = f"has for {names[at]!r:.80}, rows {starts[at]} to {ends[at]}, {error}"
        raise corrupt(where, what) from error
    return arrays


def _bounds(
    entries: Entries, packed: list[bytes], layout: Layout, mask: UInt8s | None
) -> list[int]:
    """Return where runs of arrays begin and end that are alike and follow each other."""
    n_rows, n_arrays = entries.ends - entries.starts, len(packed)
    if mask is not None or n_arrays < _FEW:
        return [0, n_arrays]
    is_next = n_rows[1:] == n_rows[:-1]
    is_next &= np.diff(entries.starts) == layout.aligned(n_rows[:-1])
    is_next &= [one == other for one, other in pairwise(packed)]
    return [0, *(np.flatnonzero(~is_next) + 1).tolist(), n_arrays]


def _form(layout: Layout, n_rows: int, raw: bytes) -> Form:
    """Return shape, dtype and order of an array; raises ValueError if they do not fit its rows."""
    infos.check(layout, n_rows, raw)
    info = infos.decode(raw)
    dtype = info.dtype or layout.dtype
    shape = (n_rows // dtype.itemsize,) if info.shape is None else info.shape
    return shape, dtype, "F" if info.is_fortran else "C"


def _view(form: Form, data: UInt8s, start: int, n_rows: int) -> Array:
    shape, dtype, order = form
    if n_rows:
        return np.ndarray(shape, dtype, data, start, None, order)
    return data[:0].view(dtype).reshape(shape, order=order)  # perhaps past the end of the data


def _alike(form: Form, data: UInt8s, start: int, step: int, n_arrays: int) -> Iterator[Array]:
    """Return many views of one shape as the rows of an array: quicker than one by one."""
    shape, dtype, order = form
    strides = np.ndarray(shape, dtype, data, start, None, order).strides
    return iter(np.ndarray((n_arrays, *shape), dtype, data, start, (step, *strides)))
