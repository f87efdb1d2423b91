"""One store made of many, and parts of one that are written without a lock they would share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ptrarray.creation import check_free, check_same, is_store, plan
from ptrarray.errors import BadInputError, StoreExistsError
from ptrarray.format.index import IndexHeader
from ptrarray.intake.choices import check_choice
from ptrarray.intake.numbers import nbytes
from ptrarray.intake.paths import absolute
from ptrarray.storage.lifecycle.create import new_header
from ptrarray.storage.shards import joining
from ptrarray.storage.shards.create import create_any, replace_any
from ptrarray.storage.shards.helpers import stores_of
from ptrarray.storage.shards.opened import open_any
from ptrarray.storage.shards.sources import check_alike, read_source
from ptrarray.storage.system import files
from ptrarray.storage.system.lock import whole
from ptrarray.storage.writing.session import Session
from ptrarray.writer import PointerArrayWriter, store_of

HOWS = ("move", "link", "copy")
MODES = ("a", "w", "x")


def join(
    path: str | os.PathLike[str],
    stores: Iterable[str | os.PathLike[str]] | None = None,
    how: str = "move",
    *,
    memory: str | int = "512MB",
    shard_size: str | int = "1GB",
) -> None:
    """Make one store of many: their arrays, in the order in which the stores are given.

    Parameters
    ----------
    path : path-like
        Where the joined store goes.
    stores : iterable of path-like, optional
        The stores. By default all parts of the store at `path`: see `part`.
    how : {'move', 'link', 'copy'}
        What becomes of the stores.
    memory : str or int
        Bytes that this may take to find names that two stores have.
    shard_size : str or int
        Size of the shards that later writes make: see `create`.
    """
    directory = absolute(path)
    check_choice("how", how, HOWS, str(directory))
    found = _parts(directory) if stores is None else [*map(absolute, _several(stores))]
    if not found:
        raise BadInputError(f"no stores to be joined as {directory}", path=str(directory))
    sources = [read_source(one) for one in found]
    check_alike(sources, str(found[0]), sources[0].layout, sources[0].attrs)
    joining.join_new(
        directory,
        sources,
        joining.Plan(how, nbytes("memory", memory)),  # type: ignore[arg-type]
        nbytes("shard_size", shard_size),
    )


def _several(stores: Iterable[str | os.PathLike[str]]) -> Iterable[str | os.PathLike[str]]:
    if isinstance(stores, str | os.PathLike):
        raise BadInputError(
            f"join wants several stores, not the one {os.fspath(stores)!r:.80}: put it in a list",
            found=os.fspath(stores),
            expected="an iterable of paths",
        )
    return stores


def _parts_directory(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.parts")


def _parts(directory: Path) -> list[Path]:
    """Return the parts of a store, in the order of their keys; keys that are numbers as such."""
    parts = _parts_directory(directory)
    if not files.is_directory(parts):
        return []
    keys = [name[: -len(_SUFFIX)] for name in files.list_directory(parts) if _is_part(name)]
    keys.sort(key=lambda key: (0, int(key), key) if key.isdecimal() else (1, 0, key))
    return [parts / f"{key}{_SUFFIX}" for key in keys]


_SUFFIX = ".ptr"


def _is_part(name: str) -> bool:
    return name.endswith(_SUFFIX) and not name.startswith(".")


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
    """Make a part of a store, or go on with it: a store of its own, for `join`.

    Parameters
    ----------
    path : path-like
        The store that it is to be a part of, which need not be there. The part lies beside it,
        at ``PATH.parts/KEY.ptr``.
    key : str
        What tells it from the other parts.
    dtype, row_shape, attrs, masked
        As for `create`. Without any of them, as in the store at `path`, if there is one.
    mode : {'a', 'w', 'x'}
        Where there is such a part: ``"a"`` goes on with it, ``"w"`` replaces it, ``"x"`` raises.
    """
    directory = absolute(path)
    check_choice("mode", mode, MODES, str(directory))
    header, _ = plan(dtype, row_shape, 0, attrs, masked)
    if (dtype, row_shape, attrs, masked) == (None, (), None, False) and is_store(directory):
        header = _like(directory)
    header = replace(header, sealed=False)
    place = _place(directory, key)
    try:
        create_any(place, header, None)
    except StoreExistsError:
        check_free(place)
        if mode == "x":
            raise
        if mode == "w":
            replace_any(place, header, None)
        else:
            return _going_on(place, header)
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


def _place(directory: Path, key: str) -> Path:
    """Return the path of a part, in a directory that is there."""
    is_name = isinstance(key, str) and key.isprintable() and "/" not in key
    if not is_name or not key or key.startswith("."):
        raise BadInputError(
            f"{key!r:.80} cannot be the key of a part of {directory}, which is part of a file name: "
            "use letters, digits and the like, with no slash, and no dot in the beginning",
            path=str(directory),
            found=key,
            expected="a str that can be part of a file name",
        )
    parts = _parts_directory(directory)
    with suppress(FileExistsError):
        files.make_directory(parts)
    return parts / f"{key}{_SUFFIX}"


def _going_on(place: Path, wanted: IndexHeader) -> PartWriter:
    """Open a part that is there, and have it count as open, if nobody else has its files."""
    writer = PartWriter(place)
    try:
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
