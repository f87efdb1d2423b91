"""Memory mappings: the index as bytes, the data file as rows."""

from __future__ import annotations

import math
import mmap
import os
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from errno import EACCES, EINVAL, ENODEV, ENOMEM, ENOSYS, EOPNOTSUPP, EPERM
from pathlib import Path
from stat import S_ISREG
from typing import Any, Literal, NamedTuple

import numpy as np

from ptrarray.errors import StoreError
from ptrarray.format.index import corrupt
from ptrarray.rows.types import Array
from ptrarray.storage.system import files
from ptrarray.storage.system.files import CHANGE, READ, AnyIdentity, File, Identity, StrPath
from ptrarray.storage.system.lock import CHANGING, hold

Mode = Literal["r", "r+", "c"]
Backend = Literal["mmap", "pread"]
MappedBytes = mmap.mmap | bytes

_ACCESS = {"r": mmap.ACCESS_READ, "r+": mmap.ACCESS_WRITE, "c": mmap.ACCESS_COPY}
# Before Python 3.13 a mapping keeps a descriptor of its own, to be resized.
_WITHOUT_DESCRIPTOR: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
# Errors of file systems that map no files, of files sealed against it, and of memory limits.
_CANNOT_MAP = {EACCES, EINVAL, ENODEV, ENOMEM, ENOSYS, EOPNOTSUPP, EPERM}


class CannotMapError(OSError):
    """A file that can be read, and not be mapped."""


def map_file(file: File, nbytes: int = 0) -> MappedBytes:
    """Map the first bytes of a file read-only, or all of it.

    What cannot be mapped, as there is nothing or too little, is ``b""``. Of a
    part of a file, this maps what is before it, too.

    Raises
    ------
    CannotMapError
        If the system does not map it.
    """
    if file.start_byte:
        nbytes = file.start_byte + (nbytes or file.nbytes)
    try:
        return _map(file, nbytes, mmap.ACCESS_READ)
    except ValueError:  # it looks at the size itself
        return b""


def map_or_read(file: File) -> MappedBytes:
    """Map a file, or read it where the system does not map it."""
    try:
        return map_file(file)
    except CannotMapError:
        return file.pread(file.nbytes, 0)


def forget(mapped: MappedBytes) -> None:
    """Let go of the memory that what was read of a mapping takes; it is read again when needed."""
    if hasattr(mapped, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
        with suppress(OSError):  # advice is all it is
            mapped.madvise(mmap.MADV_DONTNEED)


class Held(NamedTuple):
    """A file that is mapped, and closed by now.

    Attributes
    ----------
    path : str
        Of the file.
    identity : Identity
        Tells it from another one.
    nbytes : int
        Its size.
    head : bytes
        Its first bytes, as many as were asked for.
    mapped : mmap
        It, or its first bytes.
    """

    path: str
    identity: Identity
    nbytes: int
    head: bytes
    mapped: mmap.mmap


def hold_file(path: str, mode: Mode = "r", *, nbytes: int = 0, n_head: int = 0) -> Held | None:
    """Map all of a file, or its first bytes, in half the time of a `File`.

    Returns None where it is not there, is too short, or is anything that needs more than this.
    """
    numbers: list[int] = []
    try:
        numbers.extend(map(os.open, [path], [READ | os.O_CLOEXEC | os.O_NONBLOCK], [0]))
        stat = os.fstat(numbers[0])
        if not S_ISREG(stat.st_mode):
            return None
        head = os.pread(numbers[0], n_head, 0) if n_head else b""
        nbytes = nbytes or stat.st_size
        mapped = mmap.mmap(numbers[0], nbytes, access=_ACCESS[mode], **_WITHOUT_DESCRIPTOR)
        return Held(path, Identity.of(stat), stat.st_size, head, mapped)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError):
            files.check_system(error)
        return None
    finally:
        if numbers:
            os.close(numbers[0])


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
        skipped = at_byte % mmap.ALLOCATIONGRANULARITY
        mapped = _map(file, skipped + n_bytes, _ACCESS[mode], at_byte - skipped)
    return (
        _viewed(mapped, skipped, n_bytes, at_byte, mode, file)
        .view(dtype)
        .reshape(n_rows, *row_shape)
    )


def held_bytes(held: Held, mode: Mode) -> Array:
    """Return a file that is held as bytes, as `map_rows`."""
    return _viewed(held.mapped, 0, len(held.mapped), 0, mode, held)


def _viewed(
    mapped: mmap.mmap, skipped: int, n_bytes: int, at_byte: int, mode: Mode, file: File | Held
) -> Array:
    # What numpy.memmap does, which takes ten calls to open a file, and keeps it open.
    flat: Any = np.ndarray.__new__(_FileBytes, (n_bytes,), np.uint8, mapped, skipped)
    flat._mmap, flat.offset, flat.mode, flat.file = mapped, at_byte, mode, file
    raw: Array = flat.view(np.ndarray)
    return raw


def forget_rows(rows: Array) -> None:
    """`forget` what was read of mapped rows, unless that would take back what was changed in memory."""
    root = _root(rows)
    if isinstance(root, _FileBytes) and root.mode != "c":
        mapped: Any = root.base
        forget(mapped)


def _root(rows: Array) -> Any:
    """Return the array of which rows are a view."""
    root: Any = rows
    while isinstance(root.base, np.ndarray):
        root = root.base
    return root


def check_whole(rows: Array) -> None:
    """`check_not_cut` the file of mapped rows; of others, there is nothing to check."""
    root = _root(rows)
    if isinstance(root, _FileBytes):
        check_not_cut(root.file.path, root.file.identity, root.offset + root.nbytes)


def check_not_cut(path: StrPath, identity: AnyIdentity, nbytes: int) -> None:
    """Raise `CorruptStoreError` if a file that is mapped has become shorter than the mapping.

    To touch what is not there any more would end the process. What was replaced, or removed, stays
    whole for who has it mapped.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        stat = files.stat(path)
        if Identity.of(stat) == identity and stat.st_size < nbytes:
            what = f"has {stat.st_size} bytes, of {nbytes} that are mapped"
            raise corrupt(str(path), f"{what}: it was cut short since it was opened")


class Sparing:
    """Lets go of what was read whenever it has come to so many bytes.

    Parameters
    ----------
    forget : callable
        Lets go.
    memory : int
        The bytes.
    """

    def __init__(self, forget: Callable[[], None], memory: int) -> None:
        self._forget, self._memory = forget, memory
        self._n_read = 0

    def read(self, nbytes: int) -> None:
        """Count bytes, or pages, that were read."""
        self._n_read += nbytes
        if self._n_read > self._memory:
            self._n_read = 0
            self._forget()


class _FileBytes(np.memmap[Any, np.dtype[np.uint8]]):
    """A mapping whose `filename` joblib sends to other processes, for them to map the file."""

    file: File | Held  # closed by now

    @property
    def filename(self) -> str:
        """Path of the file.

        Raises
        ------
        StoreError
            If there is another file at the path, or none: it is not this that others would map.
        """
        path = self.file.path
        with suppress(FileNotFoundError, NotADirectoryError):
            if files.identity(path) == self.file.identity:
                return path
        raise StoreError(
            f"{path} was replaced since it was opened, as by compact(): other processes cannot map "
            "what an array shows of it. Take the array again after refresh(), or send a copy",
            path=path,
        )

    @filename.setter
    def filename(self, _: object) -> None:
        """Take no notice of what numpy sets in an array that it makes."""


def _map(file: File, nbytes: int, access: int, offset: int = 0) -> mmap.mmap:
    """Map some bytes of a file, from a multiple of the size of a page on."""
    try:
        return mmap.mmap(file.fd, nbytes, access=access, offset=offset, **_WITHOUT_DESCRIPTOR)
    except OSError as error:
        if error.errno not in _CANNOT_MAP:
            raise file.named(error) from error
        why = f'{error.strerror}: it cannot be mapped; open(…, backend="pread") reads it without'
        raise CannotMapError(error.errno, why, file.path) from error


def hold_while_mapped(path: str, rows: Array) -> None:
    """Let writers see, for as long as a view of mapped rows is left, that they may be changed."""
    file = File(path)
    file.keep_in_child()  # a child of a fork has the mapping, too
    hold(file, CHANGING)
    weakref.finalize(_root(rows), file.close).atexit = False


def check_size(path: str, nbytes: int, n_rows: int, width: int) -> None:
    """Raise `CorruptStoreError` if a data file of so many bytes cannot hold the rows."""
    if nbytes < n_rows * width:
        what = f"has {nbytes} bytes, {n_rows} rows of {width} bytes need {n_rows * width}"
        raise corrupt(path, f"{what}: it is cut short")
