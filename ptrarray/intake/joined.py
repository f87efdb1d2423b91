"""Arrays that lie end to end already, made ready by columns where that comes to the same."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError
from ptrarray.format import table
from ptrarray.format.entries import RaggedColumn
from ptrarray.format.layouts import MIXED, ROWS, Layout, mask_dtype
from ptrarray.format.names import Hashes
from ptrarray.intake.batch import (
    Batch,
    bytes_of,
    check_nbytes,
    from_mapping,
    given_twice,
    info_of,
    named,
    packed_metas,
    padded,
    pays_a_thread,
)
from ptrarray.intake.casting import Fitted, as_array, fit, fit_shaped
from ptrarray.rows.ragged import Ragged
from ptrarray.rows.types import Array, Int64s

Metas: TypeAlias = Mapping[str, Mapping[str, Any]]
Encoded: TypeAlias = tuple[Sequence[bytes], Hashes]


def from_ragged(
    names: Sequence[str],
    values: npt.ArrayLike,
    offsets: npt.ArrayLike,
    layout: Layout,
    meta: Metas | None = None,
) -> Batch:
    """Make arrays ready that lie end to end already.

    Raises
    ------
    BadInputError
        For a name, values or offsets that the store cannot take, and for a
        name that is given twice.
    """
    names = list(names)
    _check_distinct(names, encoded := named(names))
    if layout.is_plain:
        batch = _of_rows(encoded, fit("values", values, layout.dtype, layout.row_shape), offsets)
        batch.metas = None if meta is None else packed_metas(names, meta)
        return batch
    if len(names) > 1:
        with suppress(BadInputError):  # which is raised below, of the array that does not fit
            by_columns = _by_columns(names, encoded, values, offsets, layout)
            if by_columns is not None:
                by_columns.metas = None if meta is None else packed_metas(names, meta)
                return by_columns
    return from_mapping(cut_by(names, values, offsets), layout, meta)


def _of_rows(encoded: Encoded, rows: Array, offsets: npt.ArrayLike) -> Batch:
    """Return arrays of which each is nothing but its rows."""
    bounds = _checked_offsets(offsets, len(encoded[0]), len(rows))
    used = rows[bounds[0] : bounds[-1]]
    relative = (bounds - bounds[0]).astype(np.int64)
    raw = bytes_of(used) if used.size else np.empty(0, np.uint8)
    pieces = Ragged(raw, relative * (used.nbytes // max(len(used), 1)))
    return Batch(*encoded, relative, len(used), [used], pieces)


def _by_columns(
    names: Sequence[str], encoded: Encoded, values: Any, offsets: npt.ArrayLike, layout: Layout
) -> Batch | None:
    """Return arrays with shapes, dtypes or masks of their own; None where each has to be looked at.

    They become what they would one by one: all have one dtype and the same trailing axes, are cast
    alike, and lie in the order of C.

    Raises
    ------
    BadInputError
        If one of them does not fit; it does not say which.
    """
    if type(values) is np.memmap:
        values = values.view(np.ndarray)
    if type(values) is not np.ndarray or values.dtype.hasobject or not values.ndim:
        return None
    bounds = _checked_offsets(offsets, len(names), len(values)).astype(np.int64)
    used = values[bounds[0] : bounds[-1]]
    if not (used.flags.c_contiguous and used.dtype.itemsize and layout.dtype.itemsize):
        return None
    bounds -= bounds[0]
    counts, n_each = np.diff(bounds), math.prod(used.shape[1:])
    if layout.kind == ROWS:
        elements, width = fit("values", used, layout.dtype, layout.row_shape), 1
    else:
        elements = fit_shaped("values", used, None if layout.kind == MIXED else layout.dtype)[0]
        width = n_each * (elements.itemsize if layout.kind == MIXED else 1)
    infos = _infos_of(names, elements, counts, used.shape[1:], layout)
    pieces = Ragged(bytes_of(elements), bounds * (n_each * elements.itemsize))
    lengths = counts * width
    gaps = -lengths % layout.alignment
    room = np.concatenate([[0], np.cumsum(lengths + gaps)])
    batch = Batch(*encoded, room, int(room[-1]), [pieces.values], pieces)
    batch.infos = infos
    if layout.masked:
        batch.masks = _no_masks(counts * n_each, elements.dtype)
    if gaps.any():
        batch.lengths = lengths
        _with_gaps(batch, pieces, gaps, layout)
    return batch


def _with_gaps(batch: Batch, pieces: Ragged, gaps: Int64s, layout: Layout) -> None:
    """Have a gap follow each array of a batch; small ones are copied with theirs, many in one go."""
    batch.is_staged = not layout.masked and not pays_a_thread(batch.n_rows, len(gaps))
    if batch.is_staged:
        batch.alignment = layout.alignment
    else:
        pairs = zip(pieces, gaps.tolist(), strict=True)
        batch.buffers = [buffer for pair in pairs for buffer in padded(*pair)]


def _no_masks(sizes: Int64s, dtype: np.dtype[Any]) -> list[npt.NDArray[np.uint8]]:
    """Return the masks of arrays of so many elements, of which none is masked: views."""
    nbytes = sizes * mask_dtype(dtype).itemsize
    zeros = np.zeros(nbytes.max(), np.uint8)
    return [zeros[:n] for n in nbytes.tolist()]


def _infos_of(
    names: Sequence[str],
    elements: Array,
    counts: Int64s,
    row_shape: tuple[int, ...],
    layout: Layout,
) -> RaggedColumn | None:
    """Return the packed info of each array, made once for all of one length; None if none has one."""
    if layout.kind == ROWS:
        return None
    sizes, kinds = np.zeros(1, np.int64), np.zeros(len(counts), np.int64)
    if row_shape:
        sizes, kinds = np.unique(counts, return_inverse=True)
    shapes = [(n_rows, *row_shape) for n_rows in sizes.tolist()]
    made = [info_of(names[0], Fitted(elements, shape), layout) for shape in shapes]
    check_nbytes("dtypes and shapes", int(np.array(list(map(len, made)))[kinds].sum()))
    return RaggedColumn.of(made).chosen(kinds) if any(made) else None


def cut_by(
    names: Sequence[str], values: npt.ArrayLike, offsets: npt.ArrayLike
) -> dict[str, npt.ArrayLike]:
    """Cut values into one array for each name, views."""
    rows = values if isinstance(values, np.ndarray) else as_array("values", values)
    if rows.ndim == 0:
        raise BadInputError("values are a scalar; expected rows", found=0, expected=1)
    bounds = _checked_offsets(offsets, len(names), len(rows)).tolist()
    return {name: rows[i:j] for name, (i, j) in zip(names, pairwise(bounds), strict=True)}


def _check_distinct(names: Sequence[str], encoded: Encoded) -> None:
    by_hash = np.asarray(encoded[1], np.uint32)
    order = table.argsort(by_hash)
    is_same = by_hash[order[1:]] == by_hash[order[:-1]]
    if is_same.any() and len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise given_twice(twice)


def _checked_offsets(
    offsets: npt.ArrayLike, n_names: int, n_rows: int
) -> npt.NDArray[np.integer[Any]]:
    bounds = np.asarray(offsets)
    problem = None
    if bounds.ndim != 1 or bounds.dtype.kind not in "iu":
        problem = f"are {bounds.dtype} of shape {bounds.shape}, not a list of integers"
    elif len(bounds) != n_names + 1:
        problem = f"are {len(bounds)} numbers, {n_names} names need {n_names + 1}"
    elif (bounds[1:] < bounds[:-1]).any():
        at = int(np.argmax(bounds[1:] < bounds[:-1]))
        problem = f"decrease from {bounds[at]} to {bounds[at + 1]} at position {at + 1}"
    elif bounds[0] < 0 or bounds[-1] > n_rows:
        problem = f"go from {bounds[0]} to {bounds[-1]}, the values have {n_rows} rows"
    if problem is not None:
        raise BadInputError(f"offsets {problem}", found=problem, expected=f"{n_names + 1} rows")
    return bounds
