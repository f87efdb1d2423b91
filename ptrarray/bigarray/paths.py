"""Opening what is at a path: a store, a file of bigarray itself, an empty file, or nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ptrarray.creation import create, is_store
from ptrarray.errors import BadInputError, StoreNotFoundError
from ptrarray.format import dtypes
from ptrarray.intake.numbers import integer
from ptrarray.intake.paths import absolute
from ptrarray.reader import PointerArray, open
from ptrarray.storage.system import files
from ptrarray.storage.system.mapping import Mode
from ptrarray.writer import PointerArrayWriter, append

MAGIC = b"mmapdata"  # what a file of bigarray begins with

StrPath = str | os.PathLike[str]
Shape = int | Iterable[int | None]


def open_store(path: StrPath, mode: Mode = "r") -> PointerArray:
    """Open a store for reading; tell who has a file of bigarray there how to convert it."""
    directory = absolute(path)
    _check_converted(directory)
    store = open(directory, mode)
    _check_layout(store)
    return store


def open_writer(
    path: StrPath, shape: Shape | None, dtype: npt.DTypeLike | None, *, remove_exist: bool
) -> PointerArrayWriter:
    """Open a store for writing, made first if there is none or it is to be replaced."""
    directory = absolute(path)
    if not remove_exist and is_store(directory):
        writer = append(directory)
        try:
            check_same(writer, shape, dtype)
        except BaseException:
            writer.close()
            raise
        return writer
    if not remove_exist:
        _check_converted(directory)
    if shape is None or dtype is None:
        raise BadInputError(
            f"a store is made at {directory} only with a shape and a dtype, not {shape!r:.80} "
            f"and {dtype!r:.80}",
            path=str(directory),
            found=(shape, dtype),
            expected="a shape and a dtype",
        )
    n_rows, row_shape = _split(shape)
    layout = dtypes.normalize(dtype, row_shape)  # before anything is removed
    _clear(directory, remove_exist=remove_exist)
    mode = "w" if remove_exist else "a"
    return create(directory, dtype=layout[0], row_shape=layout[1], rows=n_rows, mode=mode)


def check_same(
    writer: PointerArrayWriter, shape: Shape | None, dtype: npt.DTypeLike | None
) -> None:
    """Raise `BadInputError` if a store is not of the dtype and row shape asked for."""
    has = writer.dtype, _check_layout(writer)
    row_shape = has[1] if shape is None else _split(shape)[1]
    wants = dtypes.normalize(has[0] if dtype is None else dtype, row_shape)
    if has != wants:
        raise BadInputError(
            f"{writer.path} has rows of {has[0]} {has[1]}, not of {wants[0]} {wants[1]}",
            path=writer.path,
            found=has,
            expected=wants,
        )


def _check_layout(store: PointerArray | PointerArrayWriter) -> tuple[int, ...]:
    """Return the shape of a row; raise `BadInputError` if a store has none, or masks."""
    if store.row_shape is None or store.masked:
        raise BadInputError(
            f"{store.path} has masks, or arrays of shapes of their own, which bigarray has not: "
            "use ptrarray.open and ptrarray.append",
            path=store.path,
            found=(store.layout, store.masked),
            expected=("rows", False),
        )
    return store.row_shape


def _split(shape: Shape) -> tuple[int, tuple[int, ...]]:
    """Return the rows that a shape asks for, and the shape of a row."""
    lengths: list[Any]
    try:
        lengths = list(shape)  # type: ignore[arg-type] # which is how to find out
    except TypeError:
        lengths = [shape]
    if not lengths:
        raise BadInputError("a flat array has at least one dimension", found=(), expected="(n,)")
    n_rows = 0 if lengths[0] is None else integer("shape[0]", lengths[0])
    row_shape = (integer("a length in shape", length) for length in lengths[1:])
    return max(n_rows, 0), tuple(row_shape)


def _check_converted(path: Path) -> None:
    if _is_old_file(path):
        raise StoreNotFoundError(
            f"{path} is a file of bigarray, not a store: "
            f"convert it with `ptrarray import bigarray {path} NEW.ptr`",
            path=str(path),
        )


def _is_old_file(path: Path) -> bool:
    """Tell whether a path is a file that begins as bigarray's do."""
    if _size(path) < len(MAGIC):
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _clear(path: Path, *, remove_exist: bool) -> None:
    """Remove an empty file, as `tempfile` leaves one; and a file of bigarray if asked to.

    Anything else stays; making a store there will say that it is in the way.
    """
    if _size(path) == 0 or (remove_exist and _is_old_file(path)):
        # Another process may have been faster, and even have made a store there.
        with suppress(OSError):
            path.unlink()


def _size(path: Path) -> int:
    """Bytes of a regular file; -1 for anything else, a link too."""
    try:
        status = path.lstat()
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def filesize(path: str) -> int:
    """Bytes of all files of a store and its shards, or of its pack."""
    return files.size(path)


def read_mmaparray_header(
    path: StrPath, return_header_size: bool = False
) -> tuple[str, tuple[int, ...]] | tuple[str, tuple[int, ...], int]:
    """Tell the dtype and the shape of the flat array of a store.

    Parameters
    ----------
    path : path-like
        The store.
    return_header_size : bool
        Whether to tell the bytes before the rows, too: 0, as the rows have a
        file of their own.

    Returns
    -------
    dtype : str
    shape : tuple of int
    header_size : int, if asked for

    Examples
    --------
    >>> from ptrarray.bigarray import read_mmaparray_header
    >>> read_mmaparray_header("corpus.ptr")
    ('float32', (6,))
    """
    with open_store(path) as store:
        dtype, shape = str(store.dtype), store.shape
    return (dtype, shape, 0) if return_header_size else (dtype, shape)
