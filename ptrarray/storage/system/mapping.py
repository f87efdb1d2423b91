"""Memory mappings: the index as bytes, the data file as rows."""

from __future__ import annotations

import math
import mmap
import weakref
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from ptrarray.format.index import corrupt
from ptrarray.rows.types import Array, UInt8s
from ptrarray.storage.system.files import CHANGE, READ, File
from ptrarray.storage.system.lock import CHANGING, hold

Mode = Literal["r", "r+", "c"]
Backend = Literal["mmap", "pread"]
MappedBytes = mmap.mmap | bytes


def map_file(file: File, nbytes: int = 0) -> MappedBytes:
    """Map the first bytes of a file read-only, or all of it.

    What cannot be mapped, as there is nothing or too little, is ``b""``. Of a
    part of a file, this maps what is before it, too.
    """
    if file.nbytes < max(nbytes, 1):
        return b""
    if file.start_byte:
        nbytes = file.start_byte + (nbytes or file.nbytes)
    try:
        return mmap.mmap(file.fd, nbytes, access=mmap.ACCESS_READ)
    except OSError as error:
        raise file.named(error) from error


def map_rows(
    path: str | Path,
    dtype: np.dtype[Any],
    row_shape: tuple[int, ...],
    n_rows: int,
    mode: Mode = "r",
    start: int = 0,
    span: tuple[int, int] | None = None,
) -> Array:
    """Map rows of a data file.

    Parameters
    ----------
    mode : {'r', 'r+', 'c'}
        As for `numpy.memmap`: read-only, writable, writable in memory only.
    start : int
        First row to map.
    span : (int, int), optional
        First byte and size of the part of the file that has the rows, if it
        is not all of it.

    Returns
    -------
    ndarray of `dtype`, shape (n_rows, *row_shape)
        A plain ndarray, because each slice of a `numpy.memmap` runs Python
        code, on a base that is one, because joblib knows how to ship that.

    Raises
    ------
    CorruptStoreError
        If the file is shorter. Touching a mapping past the end of its file
        would kill the process.
    """
    width = dtype.itemsize * math.prod(row_shape)
    with File(path, CHANGE if mode == "r+" else READ) as file:
        first_byte, nbytes = span or (0, file.as_opened.st_size)
        if not n_rows * width:
            rows = np.empty((n_rows, *row_shape), dtype)
            rows.flags.writeable = mode != "r"
            return rows
        check_size(file.path, nbytes, start + n_rows, width)
        at_byte, n_bytes = first_byte + start * width, n_rows * width
        try:
            flat: UInt8s = np.memmap(_Opened(file), np.uint8, mode, at_byte, n_bytes)  # type: ignore[call-overload]
        except OSError as error:
            raise file.named(error) from error
    return flat.view(np.ndarray).view(dtype).reshape(n_rows, *row_shape)


def hold_while_mapped(path: str, rows: Array) -> None:
    """Let writers see, for as long as a view of mapped rows is left, that they may be changed."""
    mapping = rows
    while isinstance(mapping.base, np.ndarray):
        mapping = mapping.base
    file = File(path)
    file.keep_in_child()  # a child of a fork has the mapping, too
    hold(file, CHANGING)
    weakref.finalize(mapping, file.close).atexit = False


class _Opened:
    """What `numpy.memmap` asks of a file that is open; opening one itself takes it ten calls."""

    def __init__(self, file: File) -> None:
        self.name = file.path
        self._file = file

    def read(self) -> NoReturn:
        """Tell numpy by being there that this is an open file."""
        raise NotImplementedError

    def seek(self, *_: int) -> None:
        """Go to the end, which is where it looks for the size."""

    def tell(self) -> int:
        """Return the size of the file."""
        return self._file.as_opened.st_size

    def fileno(self) -> int:
        """Return the descriptor of the file."""
        return self._file.fd


def check_size(path: str, nbytes: int, n_rows: int, width: int) -> None:
    """Raise `CorruptStoreError` if a data file of so many bytes cannot hold the rows."""
    if nbytes < n_rows * width:
        what = f"has {nbytes} bytes, {n_rows} rows of {width} bytes need {n_rows * width}"
        raise corrupt(path, f"{what}: it is cut short")
