"""Files of `numpy.save` and `numpy.savez`."""

from __future__ import annotations

import io
import math
import os
import tokenize
import zipfile
from collections.abc import Iterator
from functools import partial
from typing import Any, Unpack

import numpy as np

from ptrarray.convert.entries import Incomplete
from ptrarray.convert.escape import MARK, archive_path, unescape
from ptrarray.convert.export import (
    Store,
    export,
    new_file,
    new_folder,
    new_member,
    note_meta,
    opened,
)
from ptrarray.convert.files import open_plain, read_up_to
from ptrarray.convert.formats.pickles import unpickled
from ptrarray.convert.found import Kind, Member, Noted
from ptrarray.convert.report import Report
from ptrarray.convert.run import Options, run
from ptrarray.convert.sources import Paths
from ptrarray.convert.unpickle.rebuild import Unreadable
from ptrarray.errors import BadInputError

_SUFFIX = ".npy"
NPY_MAGIC = b"\x93NUMPY"
# numpy reads 10,000 if not asked for more, which records of some hundred fields exceed.
_HEADER_NBYTES = 1 << 20
_ENCRYPTED = 1  # of the flags of a member of a zip


def from_npy(paths: Paths, store: str | os.PathLike[str], **options: Unpack[Options]) -> Report:
    """Import ``.npy`` files.

    Parameters
    ----------
    paths, store, **options
        As for `from_pickles`.

    Returns
    -------
    Report

    Notes
    -----
    Files that are not compressed are mapped, not read into memory. Where one
    was written by several calls of `numpy.save`, its arrays are named
    ``stem/0``, ``stem/1``, …. An array of Python objects is read as a list of
    them, as from a pickle that is not trusted: ragged arrays become
    ``stem/0``, …, and a dict ``stem/key``.

    Examples
    --------
    >>> np.save("speed.npy", np.arange(3, dtype="u1"))
    >>> print(ptrarray.convert.from_npy("speed.npy", "any.ptr", progress=False))
    1 converted
    >>> ptrarray.open("any.ptr")["speed"]
    array([0, 1, 2], dtype=uint8)
    """
    return run(Kind(_of_npy, (".npy",)), paths, store, options)


def from_npz(paths: Paths, store: str | os.PathLike[str], **options: Unpack[Options]) -> Report:
    """Import the arrays of ``.npz`` files.

    Parameters
    ----------
    paths, store, **options
        As for `from_pickles`. Names are by default the keys of the arrays, or
        with several files ``"{stem}/{key}"``.

    Returns
    -------
    Report

    Notes
    -----
    One array is in memory at a time. An array whose name is in the store is
    not read.

    Examples
    --------
    >>> np.savez("both.npz", a=np.arange(3), b=np.eye(2))
    >>> print(ptrarray.convert.from_npz("both.npz", "any.ptr", progress=False))
    2 converted
    """
    return run(Kind(members_of_npz, (".npz",), many=True), paths, store, options)


def _of_npy(path: str) -> Iterator[Member]:
    yield Member("", lambda: _read(path))


def _read(path: str) -> Any:
    with open_plain(path) as file:
        is_there_as_it_is = isinstance(getattr(file, "raw", None), io.FileIO)
        return read_all(file, path if is_there_as_it_is else None)


def read_all(file: Any, path: str | None = None) -> Any:
    """Return what `numpy.save` wrote, or by number what several calls of it did.

    Parameters
    ----------
    file
        That can look ahead; it need not seek.
    path : str, optional
        Of the same file, to be mapped.

    Raises
    ------
    BadInputError
        If there is nothing of it.
    """
    found: list[Any] = []
    try:
        while raw := file.peek(len(NPY_MAGIC)):
            if not raw.startswith(NPY_MAGIC):
                raise BadInputError("it is no .npy file")
            found.append(_next_array(file, path))
    except Exception as error:
        if not found:
            raise
        problem = f"what is behind array {len(found)} of it cannot be read: {error}"
        return Incomplete(_one_or_all(found), problem)
    if not found:
        raise BadInputError("it is empty")
    return _one_or_all(found)


def _one_or_all(found: list[Any]) -> Any:
    return found[0] if len(found) == 1 else dict(enumerate(found))


def read_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an array, of any version: its shape, whether in Fortran order, its dtype.

    Raises
    ------
    BadInputError
        For what is none.
    """
    try:
        header = _header(file)
        about = io.BytesIO(header)
        np.lib.format.read_magic(about)
        shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(
            about, max_header_size=len(header)
        )
    except BadInputError:
        raise
    except (ValueError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError) as error:
        # It is an expression of Python, and its parser has errors of many kinds.
        raise BadInputError(f"it has a header that is none of .npy: {error}") from error
    if min(shape, default=0) < 0:
        raise BadInputError(f"it has a header of shape {shape}")
    return shape, is_fortran, dtype


def _next_array(file: Any, path: str | None) -> Any:
    shape, is_fortran, dtype = read_header(file)
    n_bytes = math.prod(shape) * dtype.itemsize
    if dtype.hasobject:
        return next(unpickled(file, trust=False), Unreadable("it is cut off"))
    if path is not None and n_bytes:
        start = file.tell()
        n_left = os.fstat(file.fileno()).st_size - start
        if n_left < n_bytes:
            raise BadInputError(f"it is cut off: {n_left:,} of {n_bytes:,} bytes are there")
        file.seek(start + n_bytes)
        return np.memmap(path, dtype, "r", start, shape, "F" if is_fortran else "C")
    raw = _read_whole(file, n_bytes)
    flat = np.frombuffer(raw, dtype) if n_bytes else np.empty(math.prod(shape), dtype)
    return flat.reshape(shape, order="F" if is_fortran else "C")


def _read_whole(file: Any, n_bytes: int) -> bytearray:
    """Read so many bytes, which whoever has them may change."""
    raw = read_up_to(file, n_bytes)
    if len(raw) < n_bytes:
        raise BadInputError(f"it is cut off: {len(raw):,} of {n_bytes:,} bytes are there")
    return raw


def _header(file: Any) -> bytes:
    """Read a header of any version, and return it as one of version 2."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise BadInputError(f"it is of version {version[0]}.{version[1]} of .npy, expected 1 to 3")
    n_bytes = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
    if n_bytes > _HEADER_NBYTES:
        raise BadInputError(
            f"its header has {n_bytes:,} bytes, expected {_HEADER_NBYTES:,} at most"
        )
    raw = file.read(n_bytes)
    if len(raw) < n_bytes:
        raise BadInputError("it is cut off in its header")
    if version == (3, 0):  # of UTF-8: as what Python reads in the same way
        raw = raw.decode().encode("ascii", "backslashreplace")
    return NPY_MAGIC + b"\2\0" + len(raw).to_bytes(4, "little") + bytes(raw)


def members_of_npz(file: Any) -> Iterator[Member | Noted]:
    """Yield the arrays of an ``.npz`` file, given by its path or open; of a name, as numpy has it, the last.

    Raises
    ------
    BadInputError
        If it is none.
    """
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise BadInputError(f"it is no .npz file: {error}") from error
    with archive:
        last = {member.filename: member for member in archive.infolist()}
        for member in archive.infolist():
            if member.filename.endswith("/"):  # `is_dir` wants a name that is not empty
                continue
            key = member.filename.removesuffix(".npy")
            key = unescape(key) if archive.comment == MARK.encode() else key
            if member is last[member.filename]:
                yield Member(key, partial(_read_member, archive, member))
            else:
                yield Noted(key, "members that were written again are left out, but for the last")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    if member.flag_bits & _ENCRYPTED:
        raise BadInputError("it is encrypted: unzip it first")
    with archive.open(member) as file:
        if not member.filename.endswith(".npy"):
            raise BadInputError("it is no .npy file")
        return read_all(file)


def to_npz(store: Store, out: str | os.PathLike[str], *, progress: bool = True) -> Report:
    """Export a store as one file that `numpy.load` reads, as of `numpy.savez`.

    Parameters
    ----------
    store : path-like or PointerArray
        What to export.
    out : path-like
        The file; there must be nothing.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    Report
        Its `notes` tell what the format cannot keep.

    Raises
    ------
    FileExistsError
        If there is something at `out`.

    Notes
    -----
    Keys are the names. Only ``%`` and what leads out of a folder is written
    in hexadecimal, as in URLs: ``a/../b`` becomes ``a/%2E%2E/b``, and ``c.npy``
    beside a ``c``, which numpy cannot tell apart, ``c%2Enpy``. Imported they
    have their names again. Masks go under ``NAME/.mask``.

    Examples
    --------
    >>> print(ptrarray.convert.to_npz("corpus.ptr", "corpus.npz", progress=False))
    3 converted
    >>> np.load("corpus.npz")["utt2"]
    array([4., 5.], dtype=float32)
    """
    with opened(store) as source, new_file(out) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            archive.comment = MARK.encode()

            def put(name: str, array: Any) -> None:
                path = archive_path(name)
                if name.endswith(_SUFFIX) and name.removesuffix(_SUFFIX) in source:
                    path = f"{path.removesuffix(_SUFFIX)}%2Enpy"  # numpy takes them for one
                with archive.open(f"{path}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)

            report = export(source, put, progress)
        note_meta(report, source, "npz")
    return report


def to_npy(store: Store, out: str | os.PathLike[str], *, progress: bool = True) -> Report:
    """Export a store as a folder of ``.npy`` files.

    Parameters
    ----------
    store, out, progress
        As for `to_npz`; `out` is the folder.

    Returns
    -------
    Report

    Raises
    ------
    FileExistsError
        If there is something at `out`.

    Notes
    -----
    Files are named as arrays are. Slashes, ``%``, a dot in front and what
    cannot be seen are written in hexadecimal, as in URLs: ``utt1/word``
    becomes ``utt1%2Fword.npy``. Imported they have their names again, by an
    empty file ``.ptrarray`` beside them; without it, with ``name="{unquoted}"``.
    Masks go to ``NAME%2F.mask.npy``.

    Examples
    --------
    >>> print(ptrarray.convert.to_npy("corpus.ptr", "corpus", progress=False))
    3 converted
    >>> np.load("corpus/utt2.npy")
    array([4., 5.], dtype=float32)
    """
    with opened(store) as source, new_folder(out) as folder:

        def put(name: str, array: Any) -> None:
            with new_member(folder, name, ".npy") as file:
                np.save(file, np.asarray(array), allow_pickle=False)

        report = export(source, put, progress)
        note_meta(report, source, "npy files")
    return report
