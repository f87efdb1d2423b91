"""Making and replacing a store, of shards or not."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ptrarray.errors import BadInputError
from ptrarray.format import catalog
from ptrarray.format import shards as marks
from ptrarray.format.index import STORE_ID_NBYTES, IndexHeader
from ptrarray.format.layouts import Layout
from ptrarray.format.shards import ShardsHeader
from ptrarray.storage.lifecycle.create import create_store, replace_store, taken
from ptrarray.storage.shards.marker import is_sharded, remove_leftovers, remove_replaced
from ptrarray.storage.shards.session import Shards
from ptrarray.storage.store import journal
from ptrarray.storage.system import files
from ptrarray.storage.system.building import new_directory, replacing
from ptrarray.storage.system.lock import whole


def create_any(
    directory: Path, header: IndexHeader, shard_nbytes: int | None, like: Path | None = None
) -> None:
    """Make a new store; of shards if their size is given.

    Without shards, it gets the rights of another store, `like`, if that is given.

    Raises
    ------
    StoreExistsError
        If anything is at the path.
    """
    if shard_nbytes is None:
        has_marker = like is not None and is_sharded(like)
        own_file = marks.FILE_NAME if has_marker else journal.FILE_NAME
        create_store(directory, header, like=like, own_file=own_file)
        return
    with new_directory(directory, taken) as building:
        create_store(building / marks.shard_name(1, 0), header)
        write_marker(building, new_marker(header.layout, shard_nbytes))


def new_marker(layout: Layout, shard_nbytes: int, generation: int = 1) -> ShardsHeader:
    """Return the facts of a new store of shards."""
    return ShardsHeader(
        store_id=files.random_bytes(STORE_ID_NBYTES),
        generation=generation,
        shard_nbytes=shard_nbytes,
        layout=layout,
    )


def write_marker(directory: Path, header: ShardsHeader) -> None:
    """Put a marker in place, atomically, and on the disk."""
    with replacing(directory / marks.FILE_NAME) as file:
        file.pwrite(marks.encode(header), 0)


def replace_any(directory: Path, header: IndexHeader, shard_nbytes: int | None) -> None:
    """Put a new store without arrays in the place of one that is there.

    Raises
    ------
    BadInputError
        If one of them has shards, and the other has not.
    """
    has_shards = is_sharded(directory)
    if has_shards != (shard_nbytes is not None):
        found, wanted = ("with", "without") if has_shards else ("without", "with")
        raise BadInputError(
            f"{directory} is a store {found} shards, which cannot be replaced in one step by one "
            f"{wanted}: remove it first, or choose another path",
            path=str(directory),
            found=f"{found} shards",
            expected=f"{wanted} shards",
        )
    if shard_nbytes is None:
        replace_store(directory, header)
    else:
        _replace_shards(directory, header, shard_nbytes)


@whole
def _replace_shards(directory: Path, header: IndexHeader, shard_nbytes: int) -> None:
    shards = Shards(directory)
    try:
        with shards.locked():
            remove_leftovers(shards.marker)
            generation = shards.marker.header.generation + 1
            marker = new_marker(header.layout, shard_nbytes, generation)
            old = shards.last.session.directory
            create_store(directory / marks.shard_name(generation, 0), header, like=old)
            # From here on it is the new store; who has the old one open sees it by the marker.
            write_marker(directory, marker)
            with suppress(OSError):  # the next shard's maker removes them
                remove_replaced(shards.marker)
                files.unlink(directory / catalog.FILE_NAME)  # of the old one
    finally:
        shards.release()
