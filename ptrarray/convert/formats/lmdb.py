"""Databases of LMDB whose values are the bytes of arrays."""

from __future__ import annotations

import io
import os
import pickletools
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np
from numpy.typing import DTypeLike

from ptrarray.convert.formats.lmdb_pages import (
    INTEGER_KEYS,
    Database,
    Pages,
    check_head,
    pages_of,
)
from ptrarray.convert.formats.npy import NPY_MAGIC
from ptrarray.convert.found import Found, Kind, Many, Noted, Refused
from ptrarray.convert.report import Report
from ptrarray.convert.room import PIECE_NBYTES
from ptrarray.convert.run import Options, run
from ptrarray.convert.sources import Paths
from ptrarray.errors import BadInputError, import_extra
from ptrarray.format.dtypes import known, normalize
from ptrarray.rows.ragged import gather
from ptrarray.rows.types import Array, Int64s

_DATA, _LOCK, _LOCK_OF_FILE = "data.mdb", "lock.mdb", "-lock"
_PIECE_KEYS = 1 << 16
_READERS = 1000
_HEAD_OF_PICKLE = 0x80
_OPERATIONS = 200  # numbers that are so many by chance there are none


class _How(NamedTuple):
    """What is read as what."""

    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]
    row_nbytes: int
    database: bytes | None
    skip: frozenset[bytes]


def from_lmdb(
    paths: Paths,
    store: str | os.PathLike[str],
    *,
    values: DTypeLike,
    values_shape: tuple[int, ...] | int = (),
    database: str | None = None,
    skip: str | Collection[str] = (),
    **options: Unpack[Options],
) -> Report:
    """Import databases of LMDB whose values are the plain bytes of arrays.

    Parameters
    ----------
    paths, store, **options
        As for `from_pickles`. An environment is a folder with a file
        ``data.mdb``, or a file by itself. Names are by default the keys, or
        with several environments ``"{stem}/{key}"``.
    values : dtype
        What the bytes are, as ``"<f4"``, since the database does not say it.
        Not to be mixed up with the option `dtype`, of the store.
    values_shape : tuple of int or int
        Of one row of a value; of numbers without it.
    database : str, optional
        A named one of the environment; by default the one without a name.
    skip : str or collection of str
        Keys that are no arrays, as ``"__len__"``: they are noted.

    Returns
    -------
    Report
        Failures are keys that are no UTF-8, values that are no whole number of
        rows, pickles and ``.npy`` files (unless `values` are plain bytes,
        ``"u1"``), and databases with several values a key (dupsort).

    Raises
    ------
    BadInputError
        For `values` that no store can have.

    Notes
    -----
    A key of integers (integerkey) becomes a name of digits. Values are copied
    out of the database, which is read as of one moment, and of which every page
    is checked before. Beside a writer that is given by the lock file; where
    that cannot be written, or is not there, nobody may write meanwhile. One
    that is a link is refused, as LMDB writes to it.

    Memory: pieces of 8 MB, or one value.

    Examples
    --------
    >>> import lmdb
    >>> with lmdb.open("features") as made, made.begin(write=True) as transaction:
    ...     _ = transaction.put(b"utt1", np.arange(6, dtype="f4").tobytes())
    >>> print(
    ...     ptrarray.convert.from_lmdb(
    ...         "features", "any.ptr", values="<f4", values_shape=3, progress=False
    ...     )
    ... )
    1 converted
    >>> ptrarray.open("any.ptr")["utt1"]
    array([[0., 1., 2.],
           [3., 4., 5.]], dtype=float32)
    """
    _import_library()
    dtype, row_shape = normalize(known(values), values_shape)
    row_nbytes = dtype.itemsize * int(np.prod(row_shape, dtype=object))
    if not row_nbytes:
        raise BadInputError(
            f"rows of {dtype} with shape {row_shape} have no bytes", found=row_shape
        )
    name = None if database is None else database.encode()
    passed = [skip] if isinstance(skip, str) else skip
    how = _How(dtype, row_shape, row_nbytes, name, frozenset(key.encode() for key in passed))
    kind = Kind(partial(_members, how), (".lmdb", ".mdb"), many=True, is_one=_is_environment)
    return run(kind, paths, store, options)


def _import_library() -> Any:
    return import_extra("lmdb", "databases of LMDB need lmdb: pip install 'ptrarray[lmdb]'")


def _is_environment(folder: str) -> bool:
    return Path(folder, _DATA).is_file()


def _members(how: _How, path: str) -> Iterator[Found]:
    library = _import_library()
    try:
        with _opened(path) as (environment, transaction, pages):
            databases = pages.databases()
            found = pages.main
            if how.database is not None:
                found = _named(how.database, databases, pages)
            elif databases:
                about = "databases of their own are in it, which database= imports by name"
                yield from (Noted(_shown(key), about) for key in sorted(databases))
            passed = how.skip.union(databases if how.database is None else ())
            is_numbers = bool(found.flags & INTEGER_KEYS)
            with _entries(environment, transaction, how.database, found) as entries:
                yield from _pieces(entries, how, passed, is_numbers)
    except library.Error as error:
        raise BadInputError(f"LMDB cannot read it: {error}") from error


@contextmanager
def _entries(
    environment: Any, transaction: Any, name: bytes | None, found: Database
) -> Iterator[Iterable[tuple[bytes, Any]]]:
    """Yield keys and values; large values as views."""
    with ExitStack() as stack:
        is_views = False
        if found.is_large:  # a view costs more than a copy of little
            views = stack.enter_context(environment.begin(buffers=True))
            is_views = views.id() == transaction.id()  # not once others have written
            transaction = views if is_views else transaction
        handle = None
        if name is not None:
            handle = environment.open_db(name, txn=transaction, create=False)
        cursor = stack.enter_context(transaction.cursor(handle))
        yield ((bytes(key), value) for key, value in cursor) if is_views else cursor


@contextmanager
def _opened(path: str) -> Iterator[tuple[Any, Any, Pages]]:
    """Yield an environment, what reads it as of one moment, and its pages as of then."""
    library, is_folder = _import_library(), Path(path).is_dir()
    file = str(Path(path, _DATA)) if is_folder else path
    lock = Path(path, _LOCK) if is_folder else Path(f"{path}{_LOCK_OF_FILE}")
    check_head(file)
    _check_lock(lock)
    options = {"subdir": is_folder, "readonly": True, "max_dbs": 1, "create": False}
    with ExitStack() as stack:
        try:
            # Without a file for locks nobody is writing, and one that is made would stay.
            environment = library.open(path, lock=lock.exists(), max_readers=_READERS, **options)
        except library.Error:
            environment = library.open(path, lock=False, **options)
        stack.callback(environment.close)
        transaction = stack.enter_context(_begin(library, environment))
        pages = pages_of(file, transaction.id())
        if pages is None:
            raise BadInputError("it was written to twice while it was opened: import it again")
        yield environment, transaction, pages


def _check_lock(lock: Path) -> None:
    """Raise `BadInputError` for a lock file that is somewhere else, too.

    LMDB writes to it, whatever it is, also for who only reads.
    """
    if lock.is_symlink() or (lock.exists() and lock.stat().st_nlink > 1):
        what = "is a link, and LMDB would write to what it leads to"
        raise BadInputError(
            f"its {lock.name} {what}: put the file in its place, or remove the link, if nobody writes"
        )


def _begin(library: Any, environment: Any) -> Any:
    try:
        return environment.begin()
    except library.MapResizedError:  # by a writer, since it was opened
        environment.set_mapsize(0)
        return environment.begin()


def _named(name: bytes, databases: dict[bytes, Database], pages: Pages) -> Database:
    if name not in databases:
        there = ", ".join(_shown(key) for key in sorted(databases)[:8])
        what = (
            f"it has no database {_shown(name)!r}: there {f'are {there}' if there else 'is none'}"
        )
        raise BadInputError(what, name=_shown(name))
    pages.check(databases[name])
    return databases[name]


def _shown(key: bytes) -> str:
    """Return a key for messages, also one that is no text."""
    try:
        return key.decode()
    except UnicodeDecodeError:
        return f"0x{key.hex()}"


def _pieces(
    entries: Iterable[tuple[bytes, Any]], how: _How, passed: frozenset[bytes], is_numbers: bool
) -> Iterator[Found]:
    """Yield what a cursor has, many at a time."""
    left = iter(entries)
    while (piece := _taken(left)).keys:
        yield from _found(piece, how, passed, is_numbers)


class _Piece(NamedTuple):
    """Keys, their values end to end as bytes, and where those begin and end."""

    keys: list[bytes]
    flat: Array
    offsets: Int64s

    def value(self, at: int) -> bytes:
        return self.flat[self.offsets[at] : self.offsets[at + 1]].tobytes()


def _taken(entries: Iterator[tuple[bytes, Any]]) -> _Piece:
    """Return the next ones; none if none are left."""
    joined, keys, sizes, n_left = io.BytesIO(), [], [0], PIECE_NBYTES
    # A value that is let go at once leaves its memory, in the processor's cache, to the next one.
    write = joined.write
    for key, value in islice(entries, _PIECE_KEYS):
        keys.append(key)
        size = write(value)
        sizes.append(size)
        n_left -= size
        if n_left <= 0:
            break
    return _Piece(keys, np.frombuffer(joined.getbuffer(), np.uint8), np.cumsum(sizes))


def _found(piece: _Piece, how: _How, passed: frozenset[bytes], is_numbers: bool) -> Iterator[Found]:
    """Yield many arrays, and one by one those that are refused or passed over."""
    keys, is_array = piece.keys, _are_arrays(piece, how)
    names = _names(keys, is_numbers)
    is_all = not passed or passed.isdisjoint(keys)
    if is_all and names is not None and is_array.all():
        yield _many(names, piece.flat, piece.offsets, how)
        return
    left: dict[int, str] = {}
    for at, key in enumerate(keys):
        name = _name(key, is_numbers)
        if key in how.skip:
            yield Noted(_shown(key), "keys are skipped, as was said")
        elif key in passed:
            continue
        elif name is None or not is_array[at]:
            problem = _problem(key, piece.value(at), how, is_named=name is not None)
            yield Refused(_shown(key) if name is None else name, problem)
        else:
            left[at] = name
    rows = gather(piece.flat, piece.offsets[:-1][[*left]], piece.offsets[1:][[*left]])
    yield _many([*left.values()], rows.values, rows.offsets, how)


def _many(names: list[str], flat: Array, offsets: Int64s, how: _How) -> Many:
    offsets = offsets // how.row_nbytes
    return Many(names, flat.view(how.dtype).reshape(int(offsets[-1]), *how.row_shape), offsets)


def _are_arrays(piece: _Piece, how: _How) -> Array:
    """Return of each value whether it can be an array."""
    flat, starts, sizes = piece.flat, piece.offsets[:-1], np.diff(piece.offsets)
    is_array: Array = sizes % how.row_nbytes == 0
    if how.dtype != np.uint8:
        full = np.flatnonzero(sizes)
        heads = flat[starts[full]]
        for at in full[(heads == _HEAD_OF_PICKLE) | (heads == NPY_MAGIC[0])].tolist():
            is_array[at] &= not _other(piece.value(at))
    if how.dtype == np.bool_:
        others = np.searchsorted(piece.offsets[1:], np.flatnonzero(flat > 1), "right")
        is_array[others] = False
    return is_array


def _names(keys: list[bytes], is_numbers: bool) -> list[str] | None:
    """Return keys as names; None if some are none."""
    if is_numbers:
        named = [_name(key, is_numbers) for key in keys]
        names = [name for name in named if name is not None]
        return names if len(names) == len(keys) else None
    try:
        return list(map(bytes.decode, keys))
    except UnicodeDecodeError:
        return None


def _name(key: bytes, is_number: bool) -> str | None:
    """Return a key as a name; None if it is none."""
    if is_number:
        return str(int.from_bytes(key, sys.byteorder)) if len(key) in (4, 8) else None
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None


def _other(value: bytes) -> str:
    """Return what a value is, if that is certain: numbers may begin like anything."""
    if value.startswith(NPY_MAGIC):
        return "it is an .npy file"
    if value[0] != _HEAD_OF_PICKLE or not value.endswith(b"."):
        return ""
    operations = pickletools.genops(value)  # which runs nothing
    try:
        if len(list(islice(operations, _OPERATIONS))) < _OPERATIONS:
            pickletools.dis(value, out=io.StringIO())
    except Exception:  # noqa: BLE001 what is no pickle can be anything
        return ""
    return "it is a pickle"


def _problem(key: bytes, value: bytes, how: _How, *, is_named: bool) -> str:
    if not is_named:
        return f"its key of {len(key)} bytes is no UTF-8, or no integer: no name of an array"
    other = _other(value) if value else ""
    if other:
        return f"{other}, and no plain bytes of an array"
    if how.dtype == np.bool_ and len(value) % how.row_nbytes == 0:
        return "it has bytes other than 0 and 1, which no bool has"
    rows = f"{how.dtype}" + (f" with shape {how.row_shape}" if how.row_shape else "")
    what = f"it has {len(value):,} bytes, no whole number of {how.row_nbytes} for each row"
    return f"{what} of {rows}: is that the dtype and shape of values, and the key one of an array?"
