"""Copy many ranges of rows end to end, and cut long lists of ranges into groups."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, cast

import numpy as np

from ptrarray.rows.types import AnyRows, Array, Int64s, Rows

# How `gather` copies depends on the size of the ranges. Measured on two EPYC cores, numpy 2.4:
# index arithmetic costs 10 ns a range and 1.6 ns a row (and what a row's bytes cost), joining
# slices of a buffer 130 ns a range, assigning slices of an array 330 ns a range. Joining stays
# below the other two from 64 rows of 4 bytes up to 8 kB a range.
INDEX_BELOW_ROWS = 64
JOIN_BELOW_NBYTES = 8 << 10
# Rows indexed, and bytes joined, in one go when there are more. Twice as much stays below the
# 128 kB from which malloc maps fresh pages for a request: their faults cost more than the copy.
INDEX_ROWS = 1 << 13
JOIN_NBYTES = 1 << 16
# A result up to this size, joined in one go, is not copied again.
JOIN_ALL_NBYTES = 1 << 20
# What a loop over many things takes from their columns in one go: little at first, for a loop
# may end soon.
_FIRST_BLOCK, _BLOCK = 1 << 6, 1 << 12


def in_blocks(first: int, last: int, *, grow: bool = True) -> Iterator[slice]:
    """Yield a range of positions in blocks of 4096; with `grow`, the first ones are smaller.

    Examples
    --------
    >>> list(in_blocks(5, 200))
    [slice(5, 69, None), slice(69, 197, None), slice(197, 200, None)]
    """
    size = _FIRST_BLOCK if grow else _BLOCK
    while first < last:
        yield slice(first, min(first + size, last))
        first, size = first + size, min(2 * size, _BLOCK)


def cut(lengths: Int64s, limit: int) -> list[tuple[int, int]]:
    """Cut a sequence of ranges into groups of bounded size.

    Parameters
    ----------
    lengths : ndarray of int64, shape (n,)
        Sizes of the ranges, in any unit.
    limit : int
        A range of this size or more is a group of its own; the ranges of any
        other group have less than ``2 * limit`` together.

    Returns
    -------
    list of (int, int)
        Half-open, in order, from 0 to n without a gap.

    Notes
    -----
    Time O(n) without a Python loop, memory O(n).

    Examples
    --------
    >>> cut(np.array([3, 3, 3, 3, 50, 1]), limit=10)
    [(0, 3), (3, 4), (4, 5), (5, 6)]
    """
    if not len(lengths):
        return []
    if lengths.sum() < limit:
        return [(0, len(lengths))]
    # In the example the ranges end at 3 6 9 12 62 63. Those that end between the same two
    # multiples of the limit are a group, (end - 1) // 10 is 0 0 0 1 6 6; range 4 is one alone.
    group = (np.cumsum(lengths) - 1) // limit
    alone = lengths >= limit
    edges = np.ones(len(lengths) + 1, np.bool_)
    edges[1:-1] = (group[1:] != group[:-1]) | alone[1:] | alone[:-1]
    return list(pairwise(np.flatnonzero(edges).tolist()))


def copy_ranges(
    rows: AnyRows, starts: Int64s, ends: Int64s, offsets: Int64s, out: Array | None = None
) -> Array:
    """Copy ranges of rows end to end into one array.

    Parameters
    ----------
    rows : ndarray or Rows, shape (n_rows, *row_shape)
        Of any dtype without objects.
    starts, ends : ndarray of int64, shape (n,)
        Ranges within the rows, in any order.
    offsets : ndarray of int64, shape (n + 1,)
        Where each range begins in the result: the lengths, summed up from 0.
    out : ndarray, shape (offsets[-1], *row_shape), optional
        Where to copy to: of the dtype of the rows, C-contiguous and apart from
        them; masked if they are.

    Returns
    -------
    ndarray, shape (offsets[-1], *row_shape)
        `out`, or a new array, contiguous and writable; masked if the rows are.

    Notes
    -----
    Of an ndarray, chooses the fastest of four ways, which all give the same.
    Other rows have a way of their own: the method of the same name.

    Examples
    --------
    >>> starts, ends, offsets = np.array([7, 0]), np.array([9, 2]), np.array([0, 2, 4])
    >>> copy_ranges(np.arange(10), starts, ends, offsets)
    array([7, 8, 0, 1])
    """
    if not isinstance(rows, np.ndarray):
        return rows.copy_ranges(starts, ends, offsets, out)
    if isinstance(rows, np.ma.MaskedArray):
        parts = np.ma.getdata(rows), np.ma.getmaskarray(rows)
        return copy_masked(parts, starts, ends, offsets, out)
    rows = np.asarray(rows)  # each slice of a memmap runs Python code
    n_rows = int(offsets[-1])
    row_nbytes = rows.itemsize * math.prod(rows.shape[1:])
    if not n_rows * row_nbytes:
        return _filled(rows, offsets, out)
    if ends[-1] - starts[0] == n_rows and (ends[:-1] == starts[1:]).all():
        values = _filled(rows, offsets, out)
        values[...] = rows[starts[0] : ends[-1]]
        return values
    mean = n_rows / len(starts)
    if mean < INDEX_BELOW_ROWS:
        return _copy_by_index(rows, starts, ends, offsets, out)
    if mean * row_nbytes < JOIN_BELOW_NBYTES and rows.flags.c_contiguous:
        return _copy_by_join(rows, starts, ends, offsets, out)
    return _copy_by_slice(rows, starts, ends, offsets, out)


def copy_masked(
    parts: tuple[AnyRows, AnyRows],
    starts: Int64s,
    ends: Int64s,
    offsets: Int64s,
    out: Array | None,
) -> Array:
    """Copy ranges of data and of its mask, as `copy_ranges` copies those of rows."""
    if out is None:
        data, mask = (copy_ranges(part, starts, ends, offsets) for part in parts)
        # To keep the mask that plain data is taken to have means to copy where there are fields.
        made: Array = np.ma.MaskedArray(data, mask, keep_mask=False)
        return made
    for part, to in zip(parts, (np.ma.getdata(out), np.ma.getmaskarray(out)), strict=True):
        copy_ranges(part, starts, ends, offsets, to)
    return out


def copy_at_once(
    rows: Rows, starts: Int64s, ends: Int64s, offsets: Int64s, out: Array | None = None
) -> Array:
    """Copy ranges of rows that are asked for before any of them is there, as `copy_ranges`."""
    values = rows.blank(int(offsets[-1])) if out is None else out
    if values.nbytes:
        reads = rows.reads(starts, ends, offsets[:-1], values, is_ours=out is None)
        for _ in rows.in_turn(reads):
            pass
    return values


def _filled(rows: Array, offsets: Int64s, out: Array | None) -> Array:
    """Return what a copy of ranges goes to."""
    return np.empty((int(offsets[-1]), *rows.shape[1:]), rows.dtype) if out is None else out


def _copy_by_index(
    rows: Array, starts: Int64s, ends: Int64s, offsets: Int64s, out: Array | None = None
) -> Array:
    """Copy many tiny ranges: the rows' numbers by arithmetic, then `take`.

    Of the ranges [7, 9) and [0, 3), the rows 7 8 0 1 2 go to 0 1 2 3 4. Within a range the two
    differ by one number, its shift: 7 7 -2 -2 -2.
    """
    values = _filled(rows, offsets, out)
    lengths, shifts = ends - starts, starts - offsets[:-1]
    # `take` would first copy an array that is not contiguous or aligned, all of it.
    takes = rows.flags.c_contiguous and rows.flags.aligned
    few = len(values) < 2 * INDEX_ROWS
    for low, high in [(0, len(starts))] if few else cut(lengths, INDEX_ROWS):
        first, last = int(offsets[low]), int(offsets[high])
        if high - low == 1:
            values[first:last] = rows[starts[low] : ends[low]]
            continue
        index = np.repeat(shifts[low:high], lengths[low:high])
        index += np.arange(first, last)
        if takes:  # any mode but "raise", which buffers its output
            rows.take(index, axis=0, out=values[first:last], mode="clip")
        else:
            values[first:last] = rows[index]
    return values


def _copy_by_join(
    rows: Array, starts: Int64s, ends: Int64s, offsets: Int64s, out: Array | None = None
) -> Array:
    """Copy ranges of middling size: slices of a buffer are cheaper than of an array."""
    row_nbytes = rows.itemsize * math.prod(rows.shape[1:])
    # Opaque rows, since some dtypes (dates, strings) refuse to be buffers.
    opaque = np.dtype((np.void, row_nbytes))
    buffer: Any = memoryview(cast(Any, rows.reshape(len(rows), -1).view(opaque).reshape(-1)))

    def join(low: int, high: int) -> bytearray:
        parts = zip(starts[low:high].tolist(), ends[low:high].tolist(), strict=True)
        return bytearray().join([buffer[start:end] for start, end in parts])

    shape = (int(offsets[-1]), *rows.shape[1:])
    # Each slice is an object of some 200 bytes, so that empty ranges count too.
    if out is None and shape[0] * row_nbytes + 64 * len(starts) <= JOIN_ALL_NBYTES:
        return np.frombuffer(join(0, len(starts)), rows.dtype).reshape(shape)
    values = _filled(rows, offsets, out)
    for low, high in cut((ends - starts) * row_nbytes + 64, JOIN_NBYTES):
        part = np.frombuffer(join(low, high), rows.dtype)
        values[offsets[low] : offsets[high]] = part.reshape(-1, *shape[1:])
    return values


def _copy_by_slice(
    rows: Array, starts: Int64s, ends: Int64s, offsets: Int64s, out: Array | None = None
) -> Array:
    """Copy few big ranges: one assignment each."""
    values = _filled(rows, offsets, out)
    ranges = zip(starts.tolist(), ends.tolist(), pairwise(offsets.tolist()), strict=True)
    for start, end, (first, last) in ranges:
        values[first:last] = rows[start:end]
    return values


def clean_copy(array: Array) -> Array:
    """Copy an array into C order, with zeros between the fields of structured dtypes.

    By itself numpy copies there either nothing, so that what was in memory before would get into
    a store, or what the array has there.

    Examples
    --------
    >>> padded = np.dtype([("a", "u1"), ("b", "<u2")], align=True)
    >>> list(clean_copy(np.frombuffer(bytes([1, 2, 3, 4]), padded)).tobytes())
    [1, 0, 3, 4]
    """
    copy = np.zeros(array.shape, array.dtype)
    _assign_fields(copy, array)
    return copy


def _assign_fields(target: Array, array: Array) -> None:
    names = array.dtype.names
    if names is None:
        target[...] = array
    for name in names or ():
        _assign_fields(target[name], array[name])
