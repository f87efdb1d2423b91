"""`dump` and `load`: a nested object as a store of its arrays, with the rest in one of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.creation import check_free
from ptrarray.errors import (
    BadInputError,
    CorruptStoreError,
    StoreExistsError,
    UnknownNameError,
)
from ptrarray.format.checksum import crc32
from ptrarray.format.layouts import MIXED, Layout
from ptrarray.frames.apart import take_apart
from ptrarray.frames.together import put_together
from ptrarray.intake.choices import check_choice
from ptrarray.intake.paths import absolute
from ptrarray.nested.writing import Pages, write_arrays
from ptrarray.objects.decoder import decode, names_in
from ptrarray.objects.encoder import encode
from ptrarray.objects.registry import Classes
from ptrarray.objects.tokens import malformed, read_tokens
from ptrarray.reader import PointerArray, open_readable
from ptrarray.storage.lifecycle.create import make_files, new_header, place
from ptrarray.storage.system import files
from ptrarray.storage.system.building import directory_beside
from ptrarray.storage.system.mapping import Mode
from ptrarray.upkeep import checkpoint
from ptrarray.writer import append

MODES = ("x", "w")
VERSION = 1
ATTR = "ptrarray.dump"
# Names of arrays in the object begin with a slash.
SKELETON = "skeleton"


def dump(
    obj: Any,
    path: str | os.PathLike[str],
    *,
    mode: str = "x",
    trusted: Iterable[type[Any]] = (),
) -> None:
    """Write a nested object to a store, its arrays from where they are.

    Parameters
    ----------
    obj : object
        Any nesting of dict, list, tuple, set, frozenset, str, bytes, int,
        float, complex, bool, None, datetime, date, time, timedelta, numpy
        scalars and arrays (masked too, and of dtype object), pandas Series,
        DataFrames and indexes, OrderedDict, defaultdict, Counter, deque, range,
        slice, Decimal, Path, and objects of classes that are registered or
        trusted. Of no others, nor of classes derived from those: nothing is pickled.
    path : path-like
        Where; by convention ends in ``.ptr``.
    mode : {'x', 'w'}
        Where there is a store at `path`: ``"x"`` raises, ``"w"`` replaces it
        in one step; who reads the old one keeps it.
    trusted : iterable of types
        Classes whose objects are kept, too, as if they had been given to `register`
        without functions.

    Raises
    ------
    BadInputError
        For anything that is not kept, naming where it is in the object.
    StoreExistsError
        If there is a store and the mode is ``"x"``, or anything else in any mode.

    Notes
    -----
    If it raises, also because the disk is full, nothing is written.

    What is in the object twice is written once, and comes back as one: lists,
    dicts, sets, arrays and the rest, also where they contain themselves. Of
    keys and members of sets only the values are kept.

    Takes little memory beside the object's own: some bytes for each value
    that is not in an array. Arrays that are not contiguous are written in
    pieces; only masked ones are copied, one at a time. When `dump` returns,
    everything is on the disk.

    The arrays are in the store by their place in the object, for any program
    to read: ``ptrarray.open(path)["/layers/0/weights"]``.

    Examples
    --------
    >>> model = {"name": "tiny", "layers": [{"weights": np.eye(2)}, None]}
    >>> ptrarray.dump(model, "model.ptr")
    >>> ptrarray.load("model.ptr")
    {'name': 'tiny', 'layers': [{'weights': array([[1., 0.],
           [0., 1.]])}, None]}
    >>> ptrarray.dump({"layers": [open]}, "other.ptr")
    Traceback (most recent call last):
        ...
    ptrarray.errors.BadInputError: obj['layers'][0] is a ...
    """
    directory = _target(path, mode)
    classes = Classes(trusted)
    pages = Pages(lambda put: encode(obj, put, take_apart, classes))
    with directory_beside(directory) as building:
        _write(building, pages)
        place(building, directory, overwrite=mode == "w")


def _target(path: str | os.PathLike[str], mode: str) -> Path:
    """Return where to write, if that is possible."""
    if not isinstance(path, str | bytes | os.PathLike):
        raise BadInputError(
            f"dump writes to a path, not to a {type(path).__name__}; pack a store that was "
            "dumped to send it anywhere else",
            found=type(path).__name__,
            expected="a path",
        )
    directory = absolute(path)
    check_choice("mode", mode, MODES, str(directory))
    if not files.exists(directory):
        return directory
    check_free(directory)
    if mode == "x":
        what = f"{directory} exists: dump with mode='w' to replace it, or choose another path"
        raise StoreExistsError(what, path=str(directory))
    return files.resolved(directory)  # through a link, to build on the same file system


def _write(path: Path, pages: Pages) -> None:
    attrs = {ATTR: {"version": VERSION, "nbytes": pages.nbytes, "crc32": pages.crc}}
    masked = any(isinstance(content, np.ma.MaskedArray) for content in pages.arrays.values())
    make_files(path, new_header(Layout(MIXED, np.dtype(np.uint8), (), masked), 0, attrs))
    with append(path) as writer:
        write_arrays(writer, pages.arrays)
        pages.write(writer, SKELETON)
    checkpoint(path)


def load(
    path: str | os.PathLike[str],
    mode: Mode = "r",
    *,
    native: bool = False,
    trusted: Iterable[type[Any]] = (),
) -> Any:
    """Return the object that `dump` wrote; its arrays are views on the store.

    Parameters
    ----------
    path : path-like
        The store, or a pack of it that is not compressed.
    mode : {'r', 'r+', 'c'}
        As for `open`: whether arrays are read-only, change the store, or
        change in memory only.
    native : bool
        Whether arrays of the other byte order, written on another kind of
        machine or so by choice, become copies in that of this one. Not with
        ``"r+"``, as changes of copies would not be in the store.
    trusted : iterable of types
        Classes whose objects are made, as if they had been given to `register`
        without functions. Their code runs, on whatever is in the store.

    Returns
    -------
    object
        Everything in memory but the arrays, which are read when they are used.
        A `Record` for each object of a class that is neither registered nor trusted.

    Raises
    ------
    StoreNotFoundError
        If there is no store at `path`.
    BadInputError
        If `dump` did not write it, or for `native` with ``"r+"``.
    CorruptStoreError
        If it is damaged, or of a newer version. Loading never runs code from the store,
        and imports nothing that it names.
    ImportError
        If pandas objects are in it and pandas is missing.

    Notes
    -----
    Any number of arrays take one mapping and at most one file descriptor, two in mode ``"r+"``.
    Changes through mode ``"r+"`` are in the store at once, their checksums
    only after ``with ptrarray.open(path, "r+") as store: store.rows``.

    Examples
    --------
    >>> ptrarray.dump([1, np.arange(3)], "object.ptr")
    >>> number, array = ptrarray.load("object.ptr")
    >>> array.flags.writeable
    False
    """
    if native and mode == "r+":
        what = f"{path}: native=True copies arrays, and changes of copies are not in the store: "
        raise BadInputError(f"{what}load it with mode='c', or without native", found=mode)
    store = open_readable(path, mode)
    where = store.path
    tokens = read_tokens(_skeleton(store), where)

    def array(name: str) -> npt.NDArray[Any]:
        try:
            return _native(store[name], mode) if native else store[name]
        except UnknownNameError as error:
            raise malformed(where, f"asks for {name!r:.80}, which is not there") from error

    return decode(tokens, array, put_together, where, Classes(trusted))


def classes_in(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of the classes whose objects are in what `dump` wrote; nothing is made.

    Of those that `dump` keeps by itself none is named.

    Parameters
    ----------
    path : path-like
        The store, or a pack of it that is not compressed.

    Returns
    -------
    list of str
        Sorted: what they are called in the file, as in `Record`.

    Raises
    ------
    StoreNotFoundError, BadInputError, CorruptStoreError
        As `load` does.

    Examples
    --------
    >>> ptrarray.dump([ptrarray.Record("shapes.Circle", {"radius": 1.5}), 2], "shapes.ptr")
    >>> ptrarray.classes_in("shapes.ptr")
    ['shapes.Circle']
    """
    store = open_readable(path, "r")
    return names_in(read_tokens(_skeleton(store), store.path), store.path)


def _native(array: npt.NDArray[Any], mode: Mode) -> npt.NDArray[Any]:
    """Return an array in the byte order of this machine, copied if it has another."""
    if array.dtype.isnative:
        return array
    copy = array.astype(array.dtype.newbyteorder("="))
    if mode == "r":
        copy.flags.writeable = False
    return copy


def _skeleton(store: PointerArray) -> npt.NDArray[np.uint8]:
    """Return the skeleton, made sure to be what was written."""
    facts = store.attrs.get(ATTR)
    if facts is None:
        raise BadInputError(
            f"{store.path} is a store, but dump did not write it: use ptrarray.open",
            path=store.path,
            found="no skeleton",
            expected="a store that dump wrote",
        )
    if not isinstance(facts, dict) or facts.get("version") != VERSION:
        version = facts.get("version") if isinstance(facts, dict) else facts
        what = f"{store.path} was dumped in version {version!r:.40}, this knows {VERSION}"
        raise CorruptStoreError(what, path=store.path)
    try:
        raw = np.ma.getdata(store[SKELETON])
    except UnknownNameError as error:
        raise malformed(store.path, "is missing") from error
    is_bytes = raw.dtype == np.uint8 and raw.ndim == 1
    if not is_bytes or raw.nbytes != facts.get("nbytes") or crc32(raw) != facts.get("crc32"):
        raise malformed(store.path, "is not what was written: its checksum is wrong")
    return raw
