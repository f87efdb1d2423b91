"""Stores that are to become shards of another: read, and found fit for it, before anything is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ptrarray.errors import BadInputError, StoreError
from ptrarray.format import catalog, shards
from ptrarray.format.helpers import FOLDER
from ptrarray.format.index import is_data_file, is_mask_file
from ptrarray.format.journal import encode_attrs
from ptrarray.format.layouts import Layout
from ptrarray.format.shards import without_notes
from ptrarray.storage.shards.helpers import stores_of
from ptrarray.storage.shards.marker import is_sharded
from ptrarray.storage.shards.opened import open_any
from ptrarray.storage.store.absent import FILE_NAMES, not_found
from ptrarray.storage.store.content import Content
from ptrarray.storage.store.pointers import check_index
from ptrarray.storage.store.snapshot import StoreSnapshot
from ptrarray.storage.system import files
from ptrarray.storage.system.lock import CHANGING, is_held
from ptrarray.storage.system.parts import why_not

_NAMES = (*FILE_NAMES, FOLDER, shards.FILE_NAME, catalog.FILE_NAME)


class Source(NamedTuple):
    """A store that is to be joined with others.

    Attributes
    ----------
    directory : Path
        Where it lies.
    shards : tuple of StoreSnapshot
        Its shards, or itself.
    """

    directory: Path
    shards: Sequence[StoreSnapshot]

    @property
    def layout(self) -> Layout:
        """What its arrays are made of."""
        return self.shards[0].header.layout

    @property
    def attrs(self) -> dict[str, Any]:
        """The user's attrs."""
        return without_notes(self.shards[0].attrs)


def read_source(directory: Path) -> Source:
    """Read a store, and check that it can be joined with others as it is.

    Raises
    ------
    StoreNotFoundError, CorruptStoreError
        If there is none, or it is damaged.
    BadInputError
        If it is a pack, or belongs to another store.
    StoreError
        If somebody has it open for writing, or it is a part that was not closed.
    """
    if files.is_file(directory):
        raise why_not(directory)
    parent = directory.parent
    if is_sharded(parent) or all(files.is_file(parent / name) for name in FILE_NAMES):
        raise BadInputError(
            f"{directory} belongs to the store {parent}: join that as a whole, or a copy of this",
            path=str(directory),
            found=str(directory),
            expected=str(parent),
        )
    source = Source(directory, tuple(stores_of(open_any(directory))))
    for shard in source.shards:
        _check_shard(shard)
    if files.is_directory(directory / FOLDER):
        for helpers in stores_of(open_any(directory / FOLDER)):
            _check_content(helpers)
    return source


def _check_shard(shard: StoreSnapshot) -> None:
    path = str(shard.directory)
    if shard.header.sealed is False:
        raise StoreError(
            f"{path} is a part that was not closed: its writer is still at it, or was killed. "
            'Leave it out, or go on with it, as by part(..., mode="a"), and close it',
            path=path,
        )
    with Content(shard.directory, shard.header) as content:
        if content.has_writer:
            raise StoreError(f"{path} is open for writing: close its writers first", path=path)
        if is_held(content.data, CHANGING):
            raise StoreError(
                f"{path} cannot be joined while its rows may be changed through views: "
                'close what is open with mode "r+", and let go of its arrays',
                path=path,
            )
    _check_content(shard)


def _check_content(shard: StoreSnapshot) -> None:
    """Raise `CorruptStoreError` if the index is damaged, or files are too short for it."""
    with Content(shard.directory, shard.header) as content:
        content.check_size(shard.n_rows)
    shard.index.check()
    if shard.overlay.entries:
        shard.check_pointers()
    else:
        check_index(shard.index)
    shard.index.forget()  # of many stores, it may not fit in memory


def check_alike(
    sources: Sequence[Source], first: str, layout: Layout, attrs: dict[str, Any]
) -> None:
    """Raise `BadInputError` unless all are of one layout, have the same attrs, and are there once.

    Copies of a store have its id, too.
    """
    known: dict[bytes, Path] = {}
    for source in sources:
        path = str(source.directory)
        if source.layout != layout:
            found, wanted = source.layout.describe(), layout.describe()
            what = (
                f"{path} has {found}, and {first} {wanted}: only stores of one kind can be joined"
            )
            raise BadInputError(what, path=path, found=found, expected=wanted)
        if source.attrs != attrs and encode_attrs(source.attrs, 0) != encode_attrs(attrs, 0):
            raise _other_attrs(path, source.attrs, first, attrs)
        for shard in source.shards:
            if shard.header.store_id in known:
                raise _same_twice(shard.directory, known[shard.header.store_id])
            known[shard.header.store_id] = shard.directory


def check_apart(directory: Path, sources: Sequence[Source]) -> None:
    """Raise `BadInputError` if one of the sources is the store they go to, or has it in it."""
    for source in sources:
        if source.directory in (directory, *directory.parents):
            where = "itself" if source.directory == directory else f"{directory}, which lies in it"
            raise BadInputError(
                f"{source.directory} is to be joined to {where}: leave it out, or give another path",
                path=str(source.directory),
                found=str(directory),
            )


def check_removable(sources: Sequence[Source]) -> None:
    """Raise `BadInputError` if with one of the sources other files would go."""
    for source in sources:
        for directory in {source.directory, *(shard.directory for shard in source.shards)}:
            try:
                others = sorted(filter(_is_foreign, files.list_directory(directory)))
            except FileNotFoundError as error:  # somebody else has moved it just now
                raise not_found(source.directory) from error
            if others:
                raise BadInputError(
                    f"{directory} cannot be moved, as {others[0]!r:.80} is no part of the store: put "
                    'that elsewhere, or join with how="link"',
                    path=str(directory),
                    found=others[0],
                    expected="nothing but the files of a store",
                )


def _is_foreign(name: str) -> bool:
    is_file = is_data_file(name) or is_mask_file(name) or name.endswith(".new")
    return not (is_file or name in _NAMES or shards.shard_number(name) is not None)


def _other_attrs(
    path: str, found: dict[str, Any], first: str, wanted: dict[str, Any]
) -> BadInputError:
    different = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
    which = ", ".join(map(repr, different[:3])) or "their order"
    return BadInputError(
        f"{path} has other attrs than {first}, different in {which:.200}: give both the same first",
        path=path,
        found=found,
        expected=wanted,
    )


def _same_twice(path: Path, before: Path) -> BadInputError:
    """Return the error for a store that is to be joined a second time."""
    what = "twice" if path == before else f"beside {before}: one is a copy of the other"
    return BadInputError(
        f"{path} is to be joined {what}. Leave one of them out", path=str(path), found=str(before)
    )
