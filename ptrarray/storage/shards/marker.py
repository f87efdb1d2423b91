"""The files of a store of shards: its marker, and the directories beside it."""

from __future__ import annotations

import secrets
from pathlib import Path

from ptrarray.errors import StoreError, StoreNotFoundError
from ptrarray.format import shards as marks
from ptrarray.format.index import HEADER_LIMIT_NBYTES, STORE_ID_NBYTES, IndexHeader, corrupt
from ptrarray.format.layouts import Layout
from ptrarray.format.shards import ShardsHeader
from ptrarray.storage.lifecycle.create import create_store, exists, put_in_place
from ptrarray.storage.system import files
from ptrarray.storage.system.files import File


class Marker:
    """The marker of a store of shards.

    Attributes
    ----------
    directory : Path
        The store.
    header : ShardsHeader
        What the marker says.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = str(directory / marks.FILE_NAME)
        try:
            # While a file is open, no other one gets its inode.
            self._file = File(self.path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreNotFoundError(
                f"no store at {directory}: it has no {marks.FILE_NAME}", path=str(directory)
            ) from error
        self._file.keep_in_child()
        stat = self._file.as_opened
        self._identity = (stat.st_ino, stat.st_dev)
        raw = self._file.pread(min(stat.st_size, HEADER_LIMIT_NBYTES), 0)
        self.header: ShardsHeader = marks.decode(raw, self.path)

    def is_in_place(self) -> bool:
        """Tell whether the store has still this marker, and was not replaced."""
        try:
            stat = files.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (stat.st_ino, stat.st_dev) == self._identity

    def shard(self, number: int) -> Path:
        """Path of a shard."""
        return self.directory / marks.shard_name(self.header.generation, number)

    def has_shard(self, number: int) -> bool:
        """Tell whether there is a shard of this number."""
        return files.exists(self.shard(number))

    def count(self) -> int:
        """Return how many shards there are, or should be: one more than the highest number.

        Raises
        ------
        CorruptStoreError
            If there are none.
        """
        generation = self.header.generation
        found = map(marks.shard_number, files.list_directory(self.directory))
        numbers = [key[1] for key in found if key is not None and key[0] == generation]
        if not numbers:
            raise self.missing(0)
        return max(numbers) + 1

    def missing(self, number: int) -> StoreError:
        """Return the error for a shard that should be there."""
        return corrupt(
            str(self.shard(number)), "is missing: put it back, or repair() the store without it"
        )


def is_sharded(directory: Path) -> bool:
    """Tell whether there is a store of shards, damaged or not."""
    return files.is_file(directory / marks.FILE_NAME)


def new_marker(layout: Layout, shard_nbytes: int, generation: int = 1) -> ShardsHeader:
    """Return the facts of a new store of shards."""
    return ShardsHeader(
        store_id=secrets.token_bytes(STORE_ID_NBYTES),
        generation=generation,
        shard_nbytes=shard_nbytes,
        layout=layout,
    )


def create_shards(directory: Path, header: ShardsHeader, index: IndexHeader) -> None:
    """Make a new store of one empty shard, on the disk; it appears at its path all at once.

    Raises
    ------
    StoreExistsError
        If anything is at the path.
    """
    if files.exists(directory):
        raise exists(directory)
    building = directory.with_name(f".{directory.name}.{secrets.token_hex(8)}.new")
    files.make_directory(building)
    try:
        create_store(building / marks.shard_name(header.generation, 0), index)
        write_marker(building, header)
        put_in_place(building, directory)
    except BaseException:
        files.remove_tree(building)
        raise
    files.sync_directory(directory.parent)


def write_marker(directory: Path, header: ShardsHeader) -> None:
    """Put a marker in place, atomically, and on the disk."""
    new = directory / marks.NEW_FILE_NAME
    files.unlink(new)  # what a killed process may have left
    with File(new, files.MAKE) as file:
        file.pwrite(marks.encode(header), 0)
        file.sync()
    files.replace(new, directory / marks.FILE_NAME)
    files.sync_directory(directory)


def remove_leftovers(marker: Marker) -> None:
    """Remove what killed processes began, and shards of stores that were replaced.

    Under the lock of the last shard.
    """
    files.unlink(marker.directory / marks.NEW_FILE_NAME)
    for name in files.list_directory(marker.directory):
        key = marks.shard_number(name)
        is_begun = name.startswith(".shard") and name.endswith(".new")
        if is_begun or (key is not None and key[0] != marker.header.generation):
            files.remove_tree(marker.directory / name)
