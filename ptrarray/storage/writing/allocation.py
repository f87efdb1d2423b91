"""Rows for an array that is filled in place: claimed, mapped, and committed at the end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError
from ptrarray.format import infos
from ptrarray.format.layouts import MIXED, ROWS, Layout
from ptrarray.intake.numbers import count
from ptrarray.rows.types import Array
from ptrarray.storage.system.files import File
from ptrarray.storage.system.mapping import CannotMapError, map_rows
from ptrarray.storage.writing import transactions
from ptrarray.storage.writing.target import Writable

Shape = int | tuple[int, ...]


@contextmanager
def allocated(
    store: Writable, name: bytes, shape: Shape, dtype: npt.DTypeLike | None, *, overwrite: bool
) -> Iterator[Array]:
    """Hand out a writable view of new rows for a ``with`` block; commit them when it ends well."""
    layout = store.layout
    n_rows, info = _asked(layout, shape, dtype)
    packed = infos.encode(info)
    taken = transactions.allocated(store, name, n_rows, packed, overwrite=overwrite)
    with taken as (claim, part):
        claim.check_can_be_mapped()
        width = layout.dtype.itemsize * math.prod(layout.row_shape)
        pieces = [(claim.file, layout.dtype, layout.row_shape, n_rows, claim.start * width)]
        if part.content.mask is not None:
            # Where the store itself has its masks may have changed since this one began.
            first, last = infos.mask_span(
                part.content.layout, claim.start, claim.start + n_rows, packed
            )
            pieces.append((part.content.mask, np.dtype(np.uint8), (), last - first, first))
        with ExitStack() as stack:
            filled = [stack.enter_context(_filled(*piece)) for piece in pieces]
            array = infos.view(layout, filled[0], filled[1] if filled[1:] else None, packed)
            try:
                yield array
            finally:
                array.flags.writeable = False
                if isinstance(array, np.ma.MaskedArray):
                    np.ma.getmaskarray(array).flags.writeable = False


@contextmanager
def _filled(
    file: File, dtype: np.dtype[Any], row_shape: tuple[int, ...], n_rows: int, at_byte: int
) -> Iterator[Array]:
    """Hand out rows of a file to be filled: mapped, or in memory and written in the end."""
    span = at_byte, file.nbytes - at_byte
    try:
        rows = map_rows(file.path, dtype, row_shape, n_rows, "r+", span=span)
    except CannotMapError:
        rows = np.zeros((n_rows, *row_shape), dtype)
        yield rows
        if rows.nbytes:
            file.pwritev([rows.reshape(-1).view(np.uint8)], at_byte)
    else:
        yield rows


def _asked(layout: Layout, shape: Shape, dtype: npt.DTypeLike | None) -> tuple[int, infos.Info]:
    """Return how many rows an array takes, and its info."""
    if dtype is not None and layout.kind != MIXED:
        raise BadInputError(
            f"the store has {layout.describe()}: leave out the dtype",
            found=str(dtype),
            expected=layout.dtype,
        )
    if layout.kind == ROWS:
        return count("rows", shape), infos.Info()  # type: ignore[arg-type]
    lengths = shape if isinstance(shape, tuple) else (shape,)
    lengths = _checked(tuple(count("shape", length) for length in lengths), layout.dtype)
    own = None if len(lengths) == 1 else lengths
    if layout.kind != MIXED:
        return math.prod(lengths), infos.Info(shape=own)
    if dtype is None:
        raise BadInputError(
            "the store keeps arrays of any dtype: name the one to allocate", expected="a dtype"
        )
    kept, inner = infos.kept(dtype, layout)
    lengths = _checked(lengths + inner, kept)
    own = None if len(lengths) == 1 else lengths
    return math.prod(lengths) * kept.itemsize, infos.Info(
        None if kept == layout.dtype else kept, own
    )


def _checked(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Return a shape that numpy can have arrays of."""
    try:
        np.broadcast_to(np.zeros((), dtype), shape)  # takes no memory
    except ValueError as error:
        raise BadInputError(
            f"shape {shape!r:.200}: {error}", found=str(shape)[:200], expected="a shape of an array"
        ) from error
    return shape
