"""Files of `numpy.save` and `numpy.savez`."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, Unpack

import numpy as np

from ptrarray.convert.files import open_plain
from ptrarray.convert.report import Report
from ptrarray.convert.run import Kind, Member, Options, run
from ptrarray.convert.sources import Paths
from ptrarray.errors import BadInputError

NPY_MAGIC = b"\x93NUMPY"


def from_npy(paths: Paths, store: str | os.PathLike[str], **options: Unpack[Options]) -> Report:
    """Import ``.npy`` files, one array each.

    Parameters
    ----------
    paths, store, **options
        As for `from_pickles`.

    Returns
    -------
    Report

    Notes
    -----
    Files that are not compressed are mapped, not read into memory.

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
    return run(Kind(_of_npz, (".npz",), many=True), paths, store, options)


def _of_npy(path: str) -> Iterator[Member]:
    yield Member("", lambda: _read(path))


def _read(path: str) -> Any:
    with open_plain(path) as file:
        is_plain = file.peek(len(NPY_MAGIC)).startswith(NPY_MAGIC)
        if not is_plain:
            raise BadInputError("it is no .npy file")
        if not hasattr(file, "raw"):
            return read_stream(file)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def read_stream(file: Any) -> Any:
    """Return the array of a ``.npy`` file that is read from front to back."""
    # A buffered file makes numpy ask for a descriptor, which files in an archive have not.
    return np.lib.format.read_array(SimpleNamespace(read=file.read), allow_pickle=False)


def _of_npz(path: str) -> Iterator[Member]:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise BadInputError(f"it is no .npz file: {error}") from error
    with archive:
        for member in archive.infolist():
            if not member.is_dir():
                key = member.filename.removesuffix(".npy")
                yield Member(key, partial(_read_member, archive, member))


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    with archive.open(member) as file:
        if not member.filename.endswith(".npy"):
            raise BadInputError("it is no .npy file")
        return read_stream(file)
