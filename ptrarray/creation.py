"""Making a store, or replacing one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ptrarray.checks import integer
from ptrarray.errors import BadInputError, StoreExistsError
from ptrarray.format import dtypes
from ptrarray.format.attrs import checked
from ptrarray.format.index import IndexHeader
from ptrarray.storage.create import create_store, new_header, replace_store
from ptrarray.storage.snapshot import FILE_NAMES
from ptrarray.storage.state import absolute
from ptrarray.writer import PointerArrayWriter, append

MODES = ("x", "w", "a")


def create(
    path: str | os.PathLike[str],
    *,
    dtype: npt.DTypeLike,
    row_shape: tuple[int, ...] | int = (),
    rows: int = 0,
    attrs: Mapping[str, Any] | None = None,
    mode: str = "x",
    durable: bool = False,
) -> PointerArrayWriter:
    """Make a store and open it for writing.

    Parameters
    ----------
    path : path-like
        Where; by convention ends in ``.ptr``.
    dtype : dtype
        Of the elements: any of fixed width without Python objects.
    row_shape : tuple of int
        Shape of one row; an array has shape ``(length, *row_shape)``.
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

    Returns
    -------
    PointerArrayWriter

    Raises
    ------
    StoreExistsError
        If there is a store and the mode is ``"x"``, or anything else in any mode.
    BadInputError
        For a dtype or attrs that cannot be kept, or in mode ``"a"`` a
        dtype, row shape or more rows than the store has.

    Notes
    -----
    The store appears all at once, on the disk. Of processes racing to create
    it in mode ``"a"``, one does, and all append. With ``"w"``, processes that
    read the old store keep its content until they refresh.

    Examples
    --------
    >>> with ptrarray.create("ids.ptr", dtype="i4") as writer:
    ...     writer["first"] = [1, 2, 3]
    >>> ptrarray.open("ids.ptr")["first"]
    array([1, 2, 3], dtype=int32)
    """
    directory = absolute(path)
    if mode not in MODES:
        raise BadInputError(
            f"mode {mode!r} is not one of {', '.join(map(repr, MODES))}",
            path=str(directory),
            found=mode,
            expected=MODES,
        )
    header = new_header(*dtypes.normalize(dtype, row_shape), integer("rows", rows), checked(attrs))
    try:
        create_store(directory, header)
    except StoreExistsError:
        if mode == "x" or not is_store(directory):
            raise
        if mode == "a":
            return _append_same(directory, durable, header)
        replace_store(directory, header)
    return append(directory, durable)


def is_store(directory: Path) -> bool:
    """Tell whether a directory has the files of a store, damaged or not."""
    return all((directory / name).is_file() for name in FILE_NAMES)


def _append_same(directory: Path, durable: bool, header: IndexHeader) -> PointerArrayWriter:
    writer = append(directory, durable)
    try:
        _check_same(writer, header)
    except BaseException:
        writer.close()
        raise
    return writer


def _check_same(writer: PointerArrayWriter, wanted: IndexHeader) -> None:
    found = writer._session.header
    has, wants = (found.dtype, found.row_shape), (wanted.dtype, wanted.row_shape)
    if has != wants:
        raise BadInputError(
            f"{writer.path} has rows of {has[0]} {has[1]}, not of {wants[0]} {wants[1]}",
            path=writer.path,
            found=has,
            expected=wants,
        )
    n_rows = writer._session.snapshot().n_rows
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
