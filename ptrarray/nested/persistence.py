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
)
from ptrarray.format import tar
from ptrarray.format.checksum import crc32
from ptrarray.format.entries import Entries
from ptrarray.format.layouts import MIXED
from ptrarray.frames.apart import take_apart
from ptrarray.frames.together import put_together
from ptrarray.intake.choices import check_choice
from ptrarray.intake.paths import absolute
from ptrarray.nested.arrays import views
from ptrarray.nested.contents import Contents
from ptrarray.nested.pages import Pages
from ptrarray.nested.streaming import Stored, read_stream, write_stream
from ptrarray.objects.decoder import decode, names_in
from ptrarray.objects.encoder import encode
from ptrarray.objects.registry import Classes
from ptrarray.objects.tokens import malformed, read_tokens
from ptrarray.reader import PointerArray, open_readable, opened_of
from ptrarray.storage.lifecycle.create import make_files, place
from ptrarray.storage.remote.options import is_url
from ptrarray.storage.store import journal
from ptrarray.storage.store.content import Content
from ptrarray.storage.store.opened import OpenedStore
from ptrarray.storage.system import files
from ptrarray.storage.system.building import directory_beside, new_file
from ptrarray.storage.system.compressors import Codec, by_extension, chosen
from ptrarray.storage.system.files import File
from ptrarray.storage.system.mapping import Mode
from ptrarray.storage.system.streams import appending, reader_of, reading, writer_to

MODES = ("x", "w")
VERSION = 1
ATTR = "ptrarray.dump"
# Names of arrays in the object begin with a slash.
SKELETON = "skeleton"
# Names of files, which no directory is to have.
FILE_SUFFIXES = (".tar", ".joblib", ".pkl", ".pickle")
# Names of files that dump does not write, of which no directory is to have one either.
FOREIGN_SUFFIXES = (
    *(".zip", ".7z", ".rar", ".npz", ".npy", ".h5", ".hdf5", ".parquet", ".feather", ".arrow"),
    *(".gzip", ".bzip2", ".zstd", ".zlib", ".br", ".sz", ".snappy", ".lz", ".lzo", ".tbz", ".tlz"),
)

_PATHS = (str, bytes, os.PathLike)


def dump(
    obj: Any,
    target: Any,
    *,
    mode: str = "x",
    compress: Any = None,
    sync: bool = True,
    trusted: Iterable[type[Any]] = (),
) -> None:
    """Write a nested object to a store, a file or a handle, its arrays from where they are.

    Parameters
    ----------
    obj : object
        Any nesting of dict, list, tuple, set, frozenset, str, bytes, bytearray, int,
        float, complex, bool, None, datetime, date, time, timedelta, numpy
        scalars and arrays (masked too, and of dtype object), pandas Series,
        DataFrames and indexes, OrderedDict, defaultdict, Counter, deque, range,
        slice, Decimal, Path, and objects of classes that are registered or
        trusted. Of no others, nor of classes derived from those: nothing is pickled.
    target : path-like or binary handle
        Where. A path becomes a store, that is, a directory, which by
        convention ends in ``.ptr``. It becomes one file if it is compressed,
        or ends in ``.tar``, ``.joblib``, ``.pkl`` or ``.pickle``. Extensions of
        other kinds of files, as ``.zip`` or ``.npz``, are refused. Of a handle
        only ``write`` is used: it may be a `BytesIO`, a pipe, or what a
        socket's ``makefile("wb")`` gives. It is neither flushed nor closed, and
        takes any number of objects one after the other.
    mode : {'x', 'w'}
        Where there is something at a path: ``"x"`` raises, ``"w"`` replaces a
        store by a store, a file by a file, in one step; who reads the old one
        keeps it.
    compress : bool, int, str or (str, int), optional
        None compresses a path by its extension, one of ``.gz``, ``.bz2``,
        ``.xz``, ``.lzma``, ``.zst``, ``.lz4``, ``.z``, and nothing else. A
        name, with a level or without, chooses whatever the extension says:
        ``"gz"``, ``"bz2"``, ``"xz"``, ``"lzma"``, ``"zst"``, ``"lz4"``,
        ``"zlib"``, or one that `register_compressor` was given. A level alone,
        or True, is for what the extension says, or ``"gz"``. 0 and False do not
        compress.
    sync : bool
        Whether to wait until what is written to a path is on the disk.
    trusted : iterable of types
        Classes whose objects are kept, too, as if they had been given to `register`
        without functions.

    Raises
    ------
    BadInputError
        For anything that is not kept, naming where it is in the object, and for
        a name that promises another kind of file.
    StoreExistsError
        If something is at the path that is not to be replaced.
    ImportError
        If ``"zst"`` or ``"lz4"`` is asked for and its library is missing.

    Notes
    -----
    If it raises, also because the disk is full, nothing is at the path that was
    not there before. A handle has got a part, which `load` refuses.

    What is in the object twice is written once, and comes back as one: lists,
    dicts, sets, arrays and the rest, also where they contain themselves. Of
    keys and members of sets only the values are kept.

    Takes little memory beside the object's own: some bytes for each value
    that is not in an array. Arrays that are not contiguous are written in
    pieces; only masked ones are copied, one at a time. A file or handle gets
    checksums first: arrays are read twice.

    Nothing in the object is to be changed meanwhile, say by another thread.
    That is an error where it is noticed; in a large array of a store it may
    only be found by `verify`.

    Without `sync`, the system writes to the disk when it likes to, mostly
    within a minute. A power cut until then may take what was written. If so,
    `load` refuses what it finds of a store or of a compressed file; of a file
    that is not compressed, `verify` does. What is replaced stays until the new
    is on the disk: replacing always waits.

    The arrays are in the store by their place in the object, for any program
    to read: ``ptrarray.open(path)["/layers/0/weights"]``. A file or stream is
    what `pack` makes of the store: `unpack` and any ``tar`` program make a store
    of it. For equal objects it is the same to the byte (compressed, by the same
    version of a library).

    Examples
    --------
    >>> model = {"name": "tiny", "layers": [{"weights": np.eye(2)}, None]}
    >>> ptrarray.dump(model, "model.ptr")
    >>> ptrarray.load("model.ptr")
    {'name': 'tiny', 'layers': [{'weights': array([[1., 0.],
           [0., 1.]])}, None]}
    >>> ptrarray.dump(model, "model.pkl.gz", compress=3)
    >>> ptrarray.load("model.pkl.gz")["layers"][0]["weights"].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    >>> ptrarray.dump({"layers": [open]}, "other.ptr")
    Traceback (most recent call last):
        ...
    ptrarray.errors.BadInputError: obj['layers'][0] is a ...
    """
    classes = Classes(trusted)
    if not isinstance(target, _PATHS):
        write = writer_to(target)
        codec = chosen(compress, None)
        write_stream(_contents(obj, None, classes), write, codec)
        return
    path = absolute(os.fsdecode(target))
    check_choice("mode", mode, MODES, str(path))
    own = by_extension(path.suffix)
    codec = chosen(compress, own)
    if codec is None and own is None and path.suffix.lower() not in FILE_SUFFIXES:
        _check_name(path)
        directory = _target(path, mode)
        _dump_store(_contents(obj, directory, classes), directory, overwrite=mode == "w", sync=sync)
    else:
        if files.is_file(path):
            path = files.resolved(path)  # through a link, to build on the same file system
        is_no_file = files.is_directory(path) or files.is_special(path)
        if is_no_file or (files.exists(path) and mode != "w"):
            raise _not_a_file(path)
        _dump_file(_contents(obj, path, classes), path, codec, overwrite=mode == "w", sync=sync)


def _check_name(path: Path) -> None:
    """Raise `BadInputError` for a store that is called as a file of another kind."""
    suffix = path.suffix.lower()
    if suffix in FOREIGN_SUFFIXES:
        raise BadInputError(
            f"{path} would be a store, that is, a directory, and not what {suffix!r} promises: "
            "choose .ptr for a store, .tar for one file, .gz or the like for a compressed one, "
            "or register_compressor for another compression",
            path=str(path),
            found=suffix,
        )


def _contents(obj: Any, path: Path | None, classes: Classes) -> Contents:
    """Return what a store of an object consists of."""
    pages = Pages(lambda put: encode(obj, put, take_apart, classes))
    attrs = {ATTR: {"version": VERSION, "nbytes": pages.nbytes, "crc32": pages.crc}}
    try:
        return Contents(pages, SKELETON, attrs)
    except BadInputError as error:
        if path is None:
            raise
        raise error.at(str(path)) from error


def _dump_file(
    contents: Contents, path: Path, codec: Codec | None, *, overwrite: bool, sync: bool
) -> None:
    with new_file(path, _not_a_file, overwrite=overwrite, sync=sync) as file:
        write_stream(contents, appending(file), codec)


def _dump_store(contents: Contents, directory: Path, *, overwrite: bool, sync: bool) -> None:
    def fill(content: Content) -> Entries:
        crcs = contents.put_data(appending(content.data))
        if content.mask is not None:
            contents.put_masks(appending(content.mask))
        return contents.entries(crcs)

    # Those of a store that is replaced, as nobody else may read the new one meanwhile.
    rights, own = files.rights(directory), files.rights(directory / journal.FILE_NAME)
    with directory_beside(directory, rights) as building:
        header = contents.header
        columns = make_files(building, header, fill, own, sync=sync)
        place(building, header, columns, directory, overwrite=overwrite, sync=sync)


def _taken(path: Path) -> StoreExistsError:
    what = "exists: dump with mode='w' to replace it, or choose another path"
    return StoreExistsError(f"{path} {what}", path=str(path))


def _not_a_file(path: Path) -> StoreExistsError:
    if files.is_special(path):
        what = "is a device, pipe or socket: open it, and dump to the handle"
        return StoreExistsError(f"{path} {what}", path=str(path))
    if not files.is_directory(path):
        return _taken(path)
    what = "is a directory, and this is written as one file: choose another path"
    return StoreExistsError(f"{path} {what}", path=str(path))


def _target(directory: Path, mode: str) -> Path:
    """Return where to write a store, if that is possible."""
    if not files.exists(directory):
        return directory
    check_free(directory)
    if mode == "x":
        raise _taken(directory)
    return files.resolved(directory)  # through a link, to build on the same file system


def load(
    source: Any,
    mode: Mode = "r",
    *,
    native: bool = False,
    trusted: Iterable[type[Any]] = (),
) -> Any:
    """Return the object that `dump` wrote; its arrays are views on a store, or in memory.

    Parameters
    ----------
    source : path-like or binary handle
        A store, a file or a pack, compressed or not, as its first bytes tell; or
        the URL of a store or of a pack that is not compressed, as for `open`. A
        handle is read from where it stands, and left behind the object: so
        several are loaded one after the other; of a path only the first is.
    mode : {'r', 'r+', 'c'}
        As for `open`: whether arrays are read-only, change the store, or
        change in memory only. Of a handle or of a compressed file arrays lie in
        memory, and can be changed there in modes ``'r'`` and ``'c'``.
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
        Of a store, or a file that is not compressed, everything in memory but
        the arrays, which are read when they are used. A `Record` for each object
        of a class that is neither registered nor trusted.

    Raises
    ------
    StoreNotFoundError
        If there is nothing at a path.
    EOFError
        If a handle has nothing more.
    BadInputError
        If `dump` did not write it, or for ``"r+"`` of what cannot be changed.
    CorruptStoreError
        If it is damaged, cut short, or of a newer version. Loading never runs code from
        it, and imports nothing that it names.
    ImportError
        If pandas objects are in it and pandas is missing.

    Notes
    -----
    Any number of arrays take one mapping and at most one file descriptor, two in mode ``"r+"``.
    Changes through mode ``"r+"`` are in the store at once, their checksums
    only after ``with ptrarray.open(path, "r+") as store: store.rows``. Masked arrays
    that had no mask have one there in which nothing is masked, so that masking an
    element changes the store, too.

    What lies in memory was compared with its checksums. Its arrays are views of
    one piece of memory, which is there as long as one of them is.

    Of a handle that is compressed and can neither peek nor seek, as an
    unbuffered socket, up to 64 KiB are read too far.

    Examples
    --------
    >>> ptrarray.dump([1, np.arange(3)], "object.ptr")
    >>> number, array = ptrarray.load("object.ptr")
    >>> array.flags.writeable
    False
    """
    if native and mode == "r+":
        what = f"{source}: native=True copies arrays, and changes of copies are not in the store: "
        raise BadInputError(f"{what}load it with mode='c', or without native", found=mode)
    stored = _opened(source, mode)
    where, arrays = stored.where, stored.arrays
    tokens = read_tokens(_skeleton(stored), where)
    array = (lambda name: _native(arrays[name])) if native else arrays.__getitem__
    return decode(tokens, array, put_together, where, Classes(trusted), keep_masks=mode == "r+")


def classes_in(source: Any) -> list[str]:
    """Return the names of the classes whose objects are in what `dump` wrote; nothing is made.

    Of those that `dump` keeps by itself none is named.

    Parameters
    ----------
    source : path-like or binary handle
        As for `load`.

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
    stored = _opened(source, "r")
    return names_in(read_tokens(_skeleton(stored), stored.where), stored.where)


def _opened(source: Any, mode: Mode) -> Stored:
    """Return what a store has, wherever it is."""
    if not isinstance(source, _PATHS):
        name = getattr(source, "name", None)
        where = name if isinstance(name, str) else f"<{type(source).__name__}>"
        _check_in_memory(where, mode)
        return read_stream(reader_of(source, where))
    given = os.fsdecode(source)
    if is_url(given):
        return _mapped(open_readable(given, mode))
    path = absolute(given)
    if files.is_file(path):
        with File(path) as file:
            head = file.pread(tar.BLOCK_NBYTES, 0)
        if head and not tar.is_tar(head):
            _check_in_memory(str(path), mode)
            with reading(path) as opened:
                return read_stream(opened)
    return _mapped(open_readable(path, mode))


def _check_in_memory(where: str, mode: Mode) -> None:
    check_choice("mode", mode, ("r", "c"), where)


def _mapped(store: PointerArray) -> Stored:
    """Return what an open store has; its arrays are views where its files are mapped."""
    opened = opened_of(store)
    arrays: Any = store
    if isinstance(opened, OpenedStore) and isinstance(opened.data, np.ndarray):
        snapshot, mask = opened.snapshot, opened.mask
        if opened.layout.kind == MIXED and isinstance(mask, np.ndarray | None):
            snapshot.check_pointers()
            overlay = snapshot.overlay
            entries = overlay.folded() if overlay.entries else snapshot.index.entries()
            arrays = views(entries, opened.layout, opened.data, mask, store.path)
    return Stored(store.path, dict(store.attrs), arrays)


def _native(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array in the byte order of this machine, copied if it has another."""
    if array.dtype.isnative:
        return array
    copy = array.astype(array.dtype.newbyteorder("="))
    copy.flags.writeable = array.flags.writeable
    return copy


def _skeleton(stored: Stored) -> npt.NDArray[np.uint8]:
    """Return the skeleton, made sure to be what was written."""
    facts, where = stored.attrs.get(ATTR), stored.where
    if facts is None:
        raise BadInputError(
            f"{where} is a store, but dump did not write it: use ptrarray.open",
            path=where,
            found="no skeleton",
            expected="a store that dump wrote",
        )
    if not isinstance(facts, dict) or facts.get("version") != VERSION:
        version = facts.get("version") if isinstance(facts, dict) else facts
        what = f"{where} was dumped in version {version!r:.40}, this knows {VERSION}"
        raise CorruptStoreError(what, path=where)
    try:
        raw = np.ma.getdata(stored.arrays[SKELETON])
    except KeyError as error:  # or an UnknownNameError, which is one
        raise malformed(where, "is missing") from error
    is_bytes = raw.dtype == np.uint8 and raw.ndim == 1
    if not is_bytes or raw.nbytes != facts.get("nbytes") or crc32(raw) != facts.get("crc32"):
        raise malformed(where, "is not what was written: its checksum is wrong")
    return raw
