"""One store made of many, and parts of one that are written without a lock they would share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy.typing as npt

from ptrarray.creation import check_free, check_same, is_store, plan
from ptrarray.errors import BadInputError, StoreExistsError, StoreNotFoundError
from ptrarray.format import names as naming
from ptrarray.format.index import IndexHeader
from ptrarray.intake.choices import check_choice
from ptrarray.intake.numbers import nbytes
from ptrarray.intake.paths import absolute
from ptrarray.storage.lifecycle.create import new_header
from ptrarray.storage.shards import joining
from ptrarray.storage.shards.create import create_any, replace_any
from ptrarray.storage.shards.helpers import stores_of
from ptrarray.storage.shards.linked import How
from ptrarray.storage.shards.marker import Marker, is_sharded
from ptrarray.storage.shards.opened import open_any
from ptrarray.storage.shards.sources import read_source
from ptrarray.storage.system import files
from ptrarray.storage.system.building import remove_leftovers_in
from ptrarray.storage.system.lock import whole
from ptrarray.storage.writing.session import Session
from ptrarray.writer import PointerArrayWriter, store_of

HOWS = ("move", "link", "copy")
DUPLICATES = ("error", "first", "last")
MODES = ("a", "w", "x")

_SUFFIX = ".ptr"
_KEY_NBYTES = 200  # so that there is room for what is made beside it, in a name of 255 bytes
SHARD_SIZE = "1GB"


def join(
    path: str | os.PathLike[str],
    stores: Iterable[str | os.PathLike[str]] | None = None,
    how: str = "move",
    *,
    prefix: str | Sequence[str] | Callable[[str], str] | None = None,
    duplicates: str = "error",
    progress: bool = True,
    memory: str | int = "512MB",
    shard_size: str | int | None = None,
) -> None:
    """Make one store of many, or add them to one: rows are not copied, and nothing is written twice.

    The joined store is one of shards, and these are the stores' files. It opens as one, with the
    arrays in the order in which the stores are given, and stays writable: what comes later goes to a
    new shard.

    Parameters
    ----------
    path : path-like
        Where the joined store goes. If there is a store of shards, the stores are added to it.
    stores : iterable of path-like, optional
        The stores, with shards or without. By default all parts of the store at `path`, in the
        order of their keys: see `part`.
    how : {'move', 'link', 'copy'}
        What becomes of the stores: they go (when the joined store is on the disk), they stay and
        have the same files, or they stay as they are. Files are copied, too, where they cannot be
        linked, as from another file system.
    prefix : str, sequence of str or callable, optional
        What all names are to begin with: the same for all stores, one for each, or what a function
        returns for the path of each.
    duplicates : {'error', 'first', 'last'}
        What to do with a name that several stores have: raise an error, or keep the array of the
        first or the last of them. A store at `path` comes before all others.
    progress : bool
        Whether to show a bar.
    memory : str or int
        Bytes that this may take to find such names, or a number with a unit. Names that are compared
        lie in mapped files, which do not count.
    shard_size : str or int, optional
        Size of the shards that later writes make, as for `create`; ``"1GB"`` by default. A store
        that is at `path` has its own.

    Raises
    ------
    BadInputError
        If dtypes, layouts, row shapes, masks or attrs differ; if a store is given twice, as a copy,
        or is in the one at `path` already; if `path` is one of the stores, or lies in one; for a pack;
        if one that is to move has other files in it; if there is no store to be joined.
    StoreError
        If a store is open for writing, or is a part that was not closed.
    DuplicateNameError
        If a name is in several stores, and `duplicates` is ``"error"``.
    CorruptStoreError, StoreNotFoundError
        If a store is damaged, or is not there.
    StoreExistsError
        If there is anything else at `path`, as a store without shards.

    Notes
    -----
    After an error, no store has moved. A new store appears whole. To a store that is there, the
    others are added one by one. Killed anywhere, no array is lost, and the call can be repeated with
    the stores that are left: an error names those that have moved, and removes what is left of them.

    Stores are *sealed*, unless they are copied: no rows are added to one that is joined, for its
    files are those of the joined store, too. `compact` gives it files of its own. Readers that have
    a store open keep what they read.

    Takes some milliseconds a store, and about 50 ns a name to find duplicates. With a `prefix`, all
    names are written once more. Rows are not compared with their checksums: see `verify`.

    Examples
    --------
    >>> for day in "mon", "tue":
    ...     with ptrarray.create(f"{day}.ptr", dtype="f4") as writer:
    ...         writer[f"{day}/a"] = [1, 2]
    >>> ptrarray.join("week.ptr", ["mon.ptr", "tue.ptr"], progress=False)
    >>> list(ptrarray.open("week.ptr"))
    ['mon/a', 'tue/a']
    """
    directory = absolute(path)
    check_choice("how", how, HOWS, str(directory))
    check_choice("duplicates", duplicates, DUPLICATES, str(directory))
    memory_nbytes = nbytes("memory", memory)
    found = _parts(directory) if stores is None else _several(stores)
    if not found:
        raise _nothing(directory)
    prefixes = tuple(_encoded(one) for one in _prefixes(prefix, found))
    size = _shard_nbytes(directory, shard_size)
    found = list(map(files.resolved, found))
    if how == "move" and is_sharded(directory):
        _check_there(found, directory)
    sources = list(map(read_source, found))
    chosen = cast("How", how)
    facts = joining.Plan(chosen, prefixes, duplicates, memory_nbytes, size, bool(progress))
    joining.join(directory, sources, facts)
    if stores is None and how == "move":
        remove_parts_directory(directory)


def _several(stores: Iterable[str | os.PathLike[str]]) -> list[Path]:
    if isinstance(stores, str | bytes | os.PathLike) or not isinstance(stores, Iterable):
        raise BadInputError(
            f"join wants several stores, not the one {stores!r:.80}: put it in a list",
            found=repr(stores),
            expected="an iterable of paths",
        )
    return [absolute(one) for one in stores]


def _nothing(directory: Path) -> BadInputError:
    return BadInputError(
        f"there are no stores to be joined as {directory}, and no parts in "
        f"{_parts_directory(directory)}",
        path=str(directory),
        found=0,
        expected="one store or more",
    )


def _check_there(stores: Sequence[Path], directory: Path) -> None:
    """Raise `StoreNotFoundError` if there are stores no more, and remove what is left of those.

    They may have moved when somebody was killed, who then had given them other names.
    """
    gone = [store for store in stores if not files.exists(store)]
    for store in gone:
        remove_leftovers_in(store.parent, re.escape(store.name))
    if gone:
        some = ", ".join(map(str, gone[:3])) + ", …" * (len(gone) > 3)
        raise StoreNotFoundError(
            f"no store at {some} ({len(gone)} of {len(stores)} are not there): if a join that was "
            f"killed has moved them to {directory}, all their arrays are there: leave them out",
            path=str(gone[0]),
        )


def _prefixes(
    prefix: str | Sequence[str] | Callable[[str], str] | None, stores: Sequence[Path]
) -> list[str]:
    """Return the prefix of each store."""
    if prefix is None or isinstance(prefix, str):
        return [prefix or ""] * len(stores)
    if callable(prefix):
        return [prefix(str(store)) for store in stores]
    if not isinstance(prefix, Sequence) or len(prefix) != len(stores):
        raise BadInputError(
            f"prefix {prefix!r:.80} is neither one str nor one for each of {len(stores)} stores",
            found=repr(prefix)[:200],
            expected=len(stores),
        )
    return list(prefix)


def _encoded(prefix: str) -> bytes:
    return b"" if prefix == "" else naming.encode(prefix)


def _shard_nbytes(directory: Path, shard_size: str | int | None) -> int:
    """Return the size of shards: as it is asked for, or as the store has it."""
    asked = nbytes("shard_size", SHARD_SIZE if shard_size is None else shard_size)
    if not is_sharded(directory):
        return asked
    found = Marker(directory).header.shard_nbytes
    if shard_size is not None and found != asked:
        raise BadInputError(
            f"{directory} has shards of {found} bytes, and shards of {asked} bytes were asked for",
            path=str(directory),
            found=found,
            expected=asked,
        )
    return found


def _parts_directory(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.parts")


def remove_parts_directory(directory: Path) -> None:
    """Remove the directory of parts, and what killed processes left in it, unless there are parts."""
    parts = _parts_directory(directory)
    remove_leftovers_in(parts, rf".+{re.escape(_SUFFIX)}")
    files.remove_empty(parts)


def _parts(directory: Path) -> list[Path]:
    """Return the parts of a store, in the order of their keys; those that are numbers as such."""
    parts = _parts_directory(directory)
    if not files.is_directory(parts):
        return []
    found = [name for name in files.list_directory(parts) if name.endswith(_SUFFIX)]
    keys = [name.removesuffix(_SUFFIX) for name in found if not name.startswith(".")]
    keys.sort(key=lambda key: (0, int(key), key) if key.isdecimal() else (1, 0, key))
    return [parts / f"{key}{_SUFFIX}" for key in keys]


def part(
    path: str | os.PathLike[str],
    key: str,
    *,
    dtype: npt.DTypeLike | None = None,
    row_shape: tuple[int, ...] | int | None = (),
    attrs: Mapping[str, Any] | None = None,
    masked: bool = False,
    mode: str = "a",
) -> PointerArrayWriter:
    """Make a part of a store, or go on with it: a store of its own, to be joined with others.

    So writers on many hosts share no lock. A part becomes *sealed* when its writer is closed, and
    only then it is joined.

    Parameters
    ----------
    path : path-like
        The store that it is to be a part of, which need not be there yet. The part lies beside it,
        at ``PATH.parts/KEY.ptr``, with the rights of the store that is there.
    key : str
        What tells it from all other parts: a host's name, say, or the number of a job. It becomes
        part of a file name.
    dtype, row_shape, attrs, masked
        As for `create`. Without any of them, as in the store at `path`, if there is one, or as the
        part that is gone on with.
    mode : {'a', 'w', 'x'}
        Where there is such a part: ``"a"`` goes on with it, ``"w"`` replaces it, ``"x"`` raises.

    Returns
    -------
    PointerArrayWriter
        Closing it, also at the end of a ``with`` block that raises nothing, waits until all is on
        the disk, and seals the part. Copies of it in other processes, made by pickling or by a
        fork, write to the same part, and their close seals nothing.

    Raises
    ------
    BadInputError
        For a key that cannot be part of a file name; as `create` does; in mode ``"a"``, if the part
        has another layout, or its files are those of a joined store, too.
    StoreExistsError
        In mode ``"x"``, if there is one; in any mode, if there is anything else.

    Notes
    -----
    A process that is killed leaves the part open: `join` refuses it, and this function goes on with
    it by the same key. Everything committed is there.

    Examples
    --------
    >>> with ptrarray.part("all.ptr", key="3", dtype="f4") as writer:
    ...     writer["utt7"] = [1, 2]
    >>> ptrarray.join("all.ptr", progress=False)
    >>> ptrarray.open("all.ptr")["utt7"]
    array([1., 2.], dtype=float32)
    """
    directory = absolute(path)
    check_choice("mode", mode, MODES, str(directory))
    header, _ = plan(dtype, row_shape, 0, attrs, masked)
    is_any = (dtype, row_shape, attrs, masked) == (None, (), None, False)
    if is_any and is_store(directory):
        header, is_any = _like(directory), False
    header = replace(header, sealed=False)
    # What is joined keeps its files, so they have the rights of the others from the beginning.
    like = directory if is_store(directory) else None
    place = _place(directory, key, like)
    try:
        create_any(place, header, None, like)
    except StoreExistsError:
        check_free(place)
        if mode == "x":
            raise
        if mode == "w":
            replace_any(place, header, None)
        else:
            return _going_on(place, None if is_any else header)
    return PartWriter(place)


class PartWriter(PointerArrayWriter):
    """A part open for writing. Closing it in the process that opened it seals it.

    What is made of it by pickling, in other processes, is a plain writer, whose close seals nothing.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._own_pid = files.process_id()

    def __exit__(self, kind: object, error: BaseException | None, *more: object) -> None:
        if error is not None:
            self._own_pid = 0  # what was to be written is not all there
        super().__exit__(kind, error, *more)

    def close(self) -> None:
        """Seal the part, on the disk, and close it. Closing again does nothing."""
        try:
            if not self.closed and self._own_pid == files.process_id():
                _session_of(self).checkpoint(sealed=True)
        finally:
            super().close()


def _session_of(writer: PointerArrayWriter) -> Session:
    store = store_of(writer)
    assert isinstance(store, Session)  # parts have no shards
    return store


def _like(directory: Path) -> IndexHeader:
    """Return the facts of a store with the layout and attrs of another."""
    found = open_any(directory)
    layout = next(iter(stores_of(found))).header.layout
    return new_header(layout, 0, found.attrs)


def _place(directory: Path, key: str, like: Path | None) -> Path:
    """Return the path of a part, in a directory that is there."""
    is_name = isinstance(key, str) and key.isprintable() and "/" not in key
    if not is_name or not 0 < len(key.encode()) <= _KEY_NBYTES or key.startswith("."):
        raise BadInputError(
            f"{key!r:.80} cannot be the key of a part of {directory}, which is part of a file name: "
            f"use at most {_KEY_NBYTES} letters, digits and the like, with no slash, and no dot in "
            "the beginning",
            path=str(directory),
            found=key,
            expected="a str that can be part of a file name",
        )
    parts = _parts_directory(directory)
    with suppress(FileExistsError):
        files.make_directory(parts, None if like is None else files.rights(like))
    return parts / f"{key}{_SUFFIX}"


def _going_on(place: Path, wanted: IndexHeader | None) -> PartWriter:
    """Open a part that is there, and have it count as open, if nobody else has its files."""
    writer = PartWriter(place)
    try:
        if wanted is not None:
            check_same(writer, wanted)
        _reopen(_session_of(writer))
    except BaseException:
        PointerArrayWriter.close(writer)
        raise
    return writer


@whole
def _reopen(session: Session) -> None:
    with session.locked():
        shared = [file for file, _ in session.content.files if file.n_names > 1]
        if session.is_sealed and shared:
            raise BadInputError(
                f"{session.path} was closed, and {shared[0].path} is the file of another store, "
                'too, as after a join by link: give the part another key, or use mode="w"',
                path=session.path,
                found=session.path,
                expected="a part whose files nobody else has",
            )
        session.checkpoint(sealed=False)


def part_path(path: str, key: str) -> Path:
    """Return where a part lies, for other modules of the package."""
    return _parts_directory(Path(path)) / f"{key}{_SUFFIX}"


def parts_of(path: str) -> list[Path]:
    """Return the parts of a store that are there, for other modules of the package."""
    return _parts(Path(path))
