"""Making a store, or replacing one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError, StoreExistsError
from ptrarray.format import dtypes
from ptrarray.format.attrs import checked
from ptrarray.format.index import IndexHeader
from ptrarray.format.layouts import MIXED, ROWS, SHAPED, Layout, mask_itemsize
from ptrarray.intake.choices import check_choice
from ptrarray.intake.numbers import integer, nbytes
from ptrarray.intake.paths import absolute
from ptrarray.storage.lifecycle.create import new_header, taken
from ptrarray.storage.shards.create import create_any, replace_any
from ptrarray.storage.shards.marker import is_sharded
from ptrarray.storage.store.absent import FILE_NAMES
from ptrarray.storage.system import files
from ptrarray.storage.writing.transactions import asked
from ptrarray.writer import PointerArrayWriter, append, store_of

MODES = ("x", "w", "a")


def create(
    path: str | os.PathLike[str],
    *,
    dtype: npt.DTypeLike | None = None,
    row_shape: tuple[int, ...] | int | None = (),
    rows: int = 0,
    attrs: Mapping[str, Any] | None = None,
    mode: str = "x",
    durable: bool = False,
    masked: bool = False,
    shard_size: str | int | None = None,
) -> PointerArrayWriter:
    """Make a store and open it for writing.

    Parameters
    ----------
    path : path-like
        Where; by convention ends in ``.ptr``.
    dtype : dtype, optional
        Of the elements: any of fixed width without Python objects, those of
        ml_dtypes among them, also by name, as in ``"bfloat16"``. Left out,
        each array keeps its own dtype and shape (a *mixed* store).
    row_shape : tuple of int or None
        Shape of one row; an array has shape ``(length, *row_shape)``. None:
        each array keeps its own shape (a *shaped* store).
    rows : int
        Rows that the flat array has beforehand. They read as zeros, cost no
        disk until written, and are for `PointerArrayWriter.write` with a
        `start`; appending begins at row 0 all the same.
    attrs : mapping, optional
        What to keep with the store: see `PointerArrayWriter.attrs`.
    mode : {'x', 'w', 'a'}
        Where there is a store at `path`: ``"x"`` raises, ``"w"`` replaces it,
        ``"a"`` appends to it.
    durable : bool
        Whether each commit waits until it is on the disk, as `flush` does.
    masked : bool
        Whether to keep a mask beside the data: arrays are read back as
        `numpy.ma.MaskedArray`, with what is under the mask. Without a dtype,
        masks lie in a sparse file that is as long as the data until `compact`
        lays them end to end, one byte an element: ``ls`` shows the length,
        ``du`` what it takes, and a copy that fills holes takes it all.
    shard_size : str or int, optional
        Split the store as it grows into shards of at most this size: bytes, or
        a number with a unit, as ``"200MB"``. Each is a store of its own, to be
        copied or backed up; together they open as one. What one call writes
        goes to one shard, so only a larger call makes a larger shard. Shards
        choose their own rows: no `rows`, `start` or `reserve`.

    Returns
    -------
    PointerArrayWriter

    Raises
    ------
    StoreExistsError
        If there is a store and the mode is ``"x"``, or anything else in any mode.
    BadInputError
        For a dtype or attrs that cannot be kept; in mode ``"a"``, for another
        layout than that of the store, or more rows than it has.

    Notes
    -----
    The store appears all at once, on the disk. If several processes create it
    in mode ``"a"`` at the same time, one does, and all append. With ``"w"``,
    processes that read the old store keep its content until they refresh.

    Examples
    --------
    >>> with ptrarray.create("ids.ptr", dtype="i4") as writer:
    ...     writer["first"] = [1, 2, 3]
    >>> ptrarray.open("ids.ptr")["first"]
    array([1, 2, 3], dtype=int32)
    >>> with ptrarray.create("any.ptr") as writer:
    ...     writer["image"] = np.zeros((2, 2), "u1")
    ...     writer["pi"] = 3.25
    ...     writer["image"].shape, writer["pi"]
    ((2, 2), array(3.25))
    """
    directory = absolute(path)
    check_choice("mode", mode, MODES, str(directory))
    header, shard_nbytes = plan(dtype, row_shape, rows, attrs, masked, shard_size)
    try:
        create_any(directory, header, shard_nbytes)
    except StoreExistsError:
        check_free(directory)
        if mode == "x":
            raise
        if mode == "a":
            return _append_same(directory, durable, header, shard_nbytes)
        replace_any(directory, header, shard_nbytes)
    return append(directory, durable)


def plan(
    dtype: npt.DTypeLike | None = None,
    row_shape: tuple[int, ...] | int | None = (),
    rows: int = 0,
    attrs: Mapping[str, Any] | None = None,
    masked: bool = False,
    shard_size: str | int | None = None,
) -> tuple[IndexHeader, int | None]:
    """Return the facts of the store that `create` makes of these, and the size of its shards.

    Raises
    ------
    BadInputError
        As `create` does.
    """
    layout = _layout(dtype, row_shape, masked=bool(masked))
    header = new_header(layout, integer("rows", rows), checked(attrs))
    return header, None if shard_size is None else _shard_nbytes(shard_size, header)


def check_free(directory: Path) -> None:
    """Check that there is a store at a path, or nothing.

    Raises
    ------
    StoreExistsError
        If there is anything else.
    """
    if files.leads_nowhere(directory):
        raise taken(directory)
    if files.exists(directory) and not is_store(directory):
        raise StoreExistsError(
            f"{directory} exists and is not a store: choose another path", path=str(directory)
        )


def _shard_nbytes(shard_size: str | int, header: IndexHeader) -> int:
    if header.n_rows:
        raise BadInputError(
            f"{header.n_rows} rows beforehand in a store of shards, which choose their own rows: "
            "leave out `rows` or `shard_size`",
            found=header.n_rows,
            expected=0,
        )
    return nbytes("shard_size", shard_size)


def _layout(
    dtype: npt.DTypeLike | None, row_shape: tuple[int, ...] | int | None, *, masked: bool
) -> Layout:
    """Return the layout that is asked for by what is given."""
    if dtype is None:
        if row_shape not in ((), None):
            raise BadInputError(
                f"row shape {row_shape!r} without a dtype: name the dtype, or leave out both for "
                "arrays of any dtype and shape",
                found=row_shape,
                expected="a dtype",
            )
        return Layout(MIXED, np.dtype(np.uint8), (), masked)
    normal, inner_shape = dtypes.normalize(dtype, () if row_shape is None else row_shape)
    if masked:
        mask_itemsize(normal)
    if row_shape is not None:
        return Layout(ROWS, normal, inner_shape, masked)
    if inner_shape:
        raise BadInputError(
            f"dtype {dtype!r} is of sub-arrays, and row_shape=None leaves shapes to the arrays",
            found=inner_shape,
            expected=(),
        )
    return Layout(SHAPED, normal, (), masked)


def is_store(directory: Path) -> bool:
    """Tell whether a directory has the files of a store, damaged or not."""
    return is_sharded(directory) or all(files.is_file(directory / name) for name in FILE_NAMES)


def _append_same(
    directory: Path, durable: bool, header: IndexHeader, shard_nbytes: int | None
) -> PointerArrayWriter:
    writer = append(directory, durable)
    try:
        if shard_nbytes is not None:
            _check_shards(writer, shard_nbytes)
        check_same(writer, header)
    except BaseException:
        writer.close()
        raise
    return writer


def _check_shards(writer: PointerArrayWriter, wanted: int) -> None:
    found = store_of(writer).limit_nbytes
    if found != wanted:
        what = "is not split into shards" if found is None else f"has shards of {found} bytes"
        raise BadInputError(
            f"{writer.path} {what}, and shards of {wanted} bytes were asked for",
            path=writer.path,
            found=found,
            expected=wanted,
        )


def check_same(writer: PointerArrayWriter, wanted: IndexHeader) -> None:
    """Check that a store is as it is asked for; attrs that it lacks are added."""
    store = store_of(writer)
    found = store.header
    if found.layout != wanted.layout:
        raise BadInputError(
            f"{writer.path} has {found.layout.describe()}, not {wanted.layout.describe()}",
            path=writer.path,
            found=found.layout,
            expected=wanted.layout,
        )
    n_rows = asked(store, lambda: store.snapshot().n_rows)
    if wanted.n_rows > n_rows:
        raise BadInputError(
            f"{writer.path} has {n_rows} rows; a store is sized only when it is made, "
            f"and {wanted.n_rows} rows were asked for",
            path=writer.path,
            found=n_rows,
            expected=wanted.n_rows,
        )
    missing = {key: value for key, value in wanted.attrs.items() if writer.attrs.get(key) != value}
    if missing:
        writer.attrs.update(missing)
