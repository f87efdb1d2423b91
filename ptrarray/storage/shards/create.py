"""Making and replacing a store, of shards or not."""

from __future__ import annotations

from pathlib import Path

from ptrarray.errors import BadInputError
from ptrarray.format.index import IndexHeader
from ptrarray.format.shards import shard_name
from ptrarray.storage.lifecycle.create import create_store, replace_store
from ptrarray.storage.shards.marker import (
    Marker,
    create_shards,
    is_sharded,
    new_marker,
    remove_leftovers,
    write_marker,
)
from ptrarray.storage.shards.session import Shards


def create_any(directory: Path, header: IndexHeader, shard_nbytes: int | None) -> None:
    """Make a new store; of shards if their size is given.

    Raises
    ------
    StoreExistsError
        If anything is at the path.
    """
    if shard_nbytes is None:
        create_store(directory, header)
    else:
        create_shards(directory, new_marker(header.layout, shard_nbytes), header)


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


def _replace_shards(directory: Path, header: IndexHeader, shard_nbytes: int) -> None:
    shards = Shards(directory)
    try:
        with shards.locked():
            remove_leftovers(shards.marker)
            generation = shards.marker.header.generation + 1
            marker = new_marker(header.layout, shard_nbytes, generation)
            create_store(directory / shard_name(generation, 0), header)
            # From here on it is the new store; who has the old one open is told by the marker.
            write_marker(directory, marker)
            remove_leftovers(Marker(directory))
    finally:
        shards.release()
