"""Plain entries of kaldi's archives, many at a time: matrices, vectors, and all others by the way."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ptrarray.convert.formats.kaldi_ark import (
    ELEMENT,
    FLOATS,
    HEAD,
    INTEGERS,
    VECTOR_NBYTES,
    Ark,
    Wanted,
    fits_in,
    heads_of,
    no_room,
)
from ptrarray.convert.formats.kaldi_others import (
    ARRAY_NBYTES,
    CUT_OFF,
    clipped,
    one_by_one,
)
from ptrarray.convert.found import Found, Many, Member, Noted, Refused
from ptrarray.convert.room import PIECE_NBYTES, Room
from ptrarray.errors import BadInputError
from ptrarray.rows.copying import cut
from ptrarray.rows.ragged import gather
from ptrarray.rows.types import Array, Bools, Int64s

_INTEGERS_NBYTES = 7
_OTHER_INTEGERS = (
    "it is no vector of integers: kaldi writes several vectors, pairs, and posteriors with the "
    "same first bytes, which are not read"
)


def values(ark: Ark, wanted: Wanted, text: np.dtype[Any]) -> Iterator[Found]:
    """Yield entries of a file: plain ones many at a time, without a loop in Python.

    Parameters
    ----------
    text : dtype
        Of numbers that are written as text.
    """
    there = (wanted.offsets >= 0) & (wanted.offsets < len(ark.flat))
    for key, offset in wanted.some(~there).pairs():
        yield Refused(key, str(ark.problem(offset, "nothing is: the file ends before")))
    wanted = wanted.some(there)
    heads = heads_of(ark, wanted.offsets)
    left = np.ones(len(wanted.keys), np.bool_)
    with_columns = [i for i, one in wanted.ranges.items() if one.columns is not None]
    has_columns = np.isin(np.arange(len(left)), with_columns)
    tags = heads["tag"]
    for tag in FLOATS:
        chosen = (tags == tag) & ~has_columns
        if chosen.any():
            yield from _floats(ark, wanted.some(chosen), heads[chosen], tag)
            left &= ~chosen
    chosen = tags.astype("S3") == INTEGERS
    yield from _integers(ark, wanted.some(chosen))
    yield from one_by_one(ark, wanted.some(left & ~chosen), text)


# Floats -------------------------------------------------------------------------------------------


def _floats(ark: Ark, wanted: Wanted, heads: Any, tag: bytes) -> Iterator[Found]:
    """Yield matrices or vectors of one dtype."""
    dtype, n_axes = FLOATS[tag]
    n_rows = heads["n"].astype(np.int64)
    n_columns = heads["m"].astype(np.int64) if n_axes == 2 else np.ones_like(n_rows)
    starts = wanted.offsets + (HEAD.itemsize if n_axes == 2 else VECTOR_NBYTES)
    fits = fits_in(ark, heads, n_axes, starts, dtype.itemsize)
    for i in np.flatnonzero(~fits).tolist():
        what = f"{n_rows[i]} by {n_columns[i]}" if n_axes == 2 else f"{n_rows[i]}"
        yield Refused(wanted.keys[i], no_room(ark, wanted.offsets[i], f"{what} of {dtype}"))
    starts, n_rows, notes = _rows_of(wanted, starts, n_rows, n_columns * dtype.itemsize, fits)
    yield from notes
    for width in np.unique(n_columns[fits]).tolist():
        chosen = np.flatnonzero(fits & (n_columns == width))
        keys = [wanted.keys[i] for i in chosen]
        row_shape = (width,) if n_axes == 2 else ()
        if width:
            ends = starts + n_rows * (width * dtype.itemsize)
            for low, high, flat, offsets in _pieces(ark, starts[chosen], ends[chosen]):
                rows = flat.view(dtype).reshape(-1, *row_shape)
                yield Many(keys[low:high], rows, offsets // (width * dtype.itemsize))
        else:
            yield from _without_elements(keys, n_rows[chosen].tolist(), dtype)


def _without_elements(keys: list[str], n_rows: list[int], dtype: Any) -> Iterator[Member]:
    for key, n in zip(keys, n_rows, strict=True):
        yield Member(key, partial(np.empty, (n, 0), dtype))


def _rows_of(
    wanted: Wanted, starts: Int64s, n_rows: Int64s, row_nbytes: Int64s, fits: Bools
) -> tuple[Int64s, Int64s, list[Found]]:
    """Return starts and numbers of the rows that are meant; what does not fit no longer `fits`."""
    found: list[Found] = []
    starts, n_rows = starts.copy(), n_rows.copy()
    for i, one in wanted.ranges.items():
        if one.rows is None or not fits[i]:
            continue
        try:
            first, last = clipped(one.rows, int(n_rows[i]), "rows")
        except BadInputError as error:
            found.append(Refused(wanted.keys[i], str(error)))
            fits[i] = False
            continue
        if last < one.rows[1]:
            found.append(Noted(wanted.keys[i], CUT_OFF))
        starts[i] += first * row_nbytes[i]
        n_rows[i] = last - first + 1
    return starts, n_rows, found


def _pieces(ark: Ark, starts: Int64s, ends: Int64s) -> Iterator[tuple[int, int, Array, Int64s]]:
    """Yield ranges of bytes of a file end to end, in pieces: which they are, bytes and offsets.

    The bytes are good until the next ones are.
    """
    room = Room()
    for low, high in cut(ends - starts + ARRAY_NBYTES, PIECE_NBYTES):
        if high - low == 1:  # as it is in the file, and may be larger than memory
            start, end = int(starts[low]), int(ends[low])
            yield low, high, ark.flat[start:end], np.array([0, end - start])
        else:
            nbytes = int((ends - starts)[low:high].sum())
            got = gather(ark.flat, starts[low:high], ends[low:high], room.rows(nbytes))
            yield low, high, np.asarray(got.values), got.offsets


# Integers -----------------------------------------------------------------------------------------


def _integers(ark: Ark, wanted: Wanted) -> Iterator[Found]:
    """Yield vectors of integers, which kaldi writes as many single ones."""
    heads = heads_of(ark, wanted.offsets).view(np.uint8).reshape(-1, HEAD.itemsize)
    n = np.ascontiguousarray(heads[:, 3:7]).view("<i4")[:, 0].astype(np.int64)
    starts = wanted.offsets + _INTEGERS_NBYTES
    ends = starts + n * ELEMENT.itemsize
    fits = (n >= 0) & (ends <= len(ark.flat))
    for i in np.flatnonzero(~fits).tolist():
        what = f"a vector of {n[i]} integers, or a single integer"
        yield Refused(wanted.keys[i], no_room(ark, wanted.offsets[i], what))
    # Behind one of several vectors in one entry the next begins, as no key does.
    behind = ark.flat[np.clip(ends, 0, len(ark.flat) - 1)]
    goes_on = fits & (behind == 4) & (ends < len(ark.flat))
    for i in np.flatnonzero(goes_on).tolist():
        yield Refused(wanted.keys[i], str(ark.problem(wanted.offsets[i], _OTHER_INTEGERS)))
    fits &= ~goes_on
    for i in wanted.ranges:
        if fits[i]:
            yield Refused(wanted.keys[i], "it has a range, which kaldi knows of floats only")
            fits[i] = False
    chosen = np.flatnonzero(fits)
    keys = [wanted.keys[i] for i in chosen]
    for low, high, flat, offsets in _pieces(ark, starts[chosen], ends[chosen]):
        elements = flat.view(ELEMENT)
        found = Many(keys[low:high], elements["value"].copy(), offsets // ELEMENT.itemsize)
        others = np.flatnonzero(elements["size"] != 4)
        yield from _without(ark, found, others, wanted.offsets[chosen][low:high])


def _without(ark: Ark, many: Many, others: Int64s, entries: Int64s) -> Iterator[Found]:
    """Yield vectors but for those with elements that say that they are something else."""
    if not len(others):
        yield many
        return
    wrong = set((np.searchsorted(many.offsets, others, "right") - 1).tolist())
    for i, key in enumerate(many.keys):
        if i in wrong:
            yield Refused(key, str(ark.problem(int(entries[i]), _OTHER_INTEGERS)))
        else:
            rows = many.values[many.offsets[i] : many.offsets[i + 1]]
            yield Many([key], rows, np.array([0, len(rows)]))
