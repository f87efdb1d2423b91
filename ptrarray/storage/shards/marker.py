"""The files of a store of shards: its marker, and the directories beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from errno import EMFILE
from functools import partial
from pathlib import Path
from typing import TypeVar

from ptrarray.errors import StoreError, StoreNotFoundError
from ptrarray.format import shards as marks
from ptrarray.format.index import HEADER_LIMIT_NBYTES, corrupt
from ptrarray.format.shards import ShardsHeader
from ptrarray.storage.remote.paths import RemotePath
from ptrarray.storage.store.index import FILE_NAME as INDEX_FILE
from ptrarray.storage.system import files
from ptrarray.storage.system.building import remove_in_one_step

Result = TypeVar("Result")


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
        self.place = directory / marks.FILE_NAME
        self.path = str(self.place)
        try:
            # While a file is open, no other one gets its identity.
            self._file = files.opened(self.place)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreNotFoundError(
                f"no store at {directory}: it has no {marks.FILE_NAME}", path=str(directory)
            ) from error
        self._file.keep_in_child()
        self._identity = self._file.identity
        raw = self._file.pread(min(self._file.opened_nbytes, HEADER_LIMIT_NBYTES), 0)
        self.header: ShardsHeader = marks.decode(raw, self.path)

    def is_in_place(self) -> bool:
        """Tell whether the store has still this marker, and was not replaced."""
        try:
            return files.identity(self.place) == self._identity
        except (FileNotFoundError, NotADirectoryError):
            return False

    def shard(self, number: int) -> Path:
        """Path of a shard."""
        return self.directory / marks.shard_name(self.header.generation, number)

    def shard_path(self, number: int) -> str:
        """Path of a shard as text, for many of them."""
        return f"{self.directory}/{marks.shard_name(self.header.generation, number)}"

    def has_shard(self, number: int) -> bool:
        """Tell whether there is a shard of this number."""
        return files.exists(self.shard_path(number))

    def has_index(self, number: int) -> bool:
        """Tell whether a shard is there that lies elsewhere, where there are no directories."""
        return files.is_file(self.shard(number) / INDEX_FILE)

    @property
    def is_remote(self) -> bool:
        """Whether the store lies elsewhere, where nothing can be listed, and much be asked at once."""
        return isinstance(self.directory, RemotePath)

    def each(self, call: Callable[[int], Result], numbers: Iterable[int]) -> list[Result]:
        """Call something for the numbers of several shards: where they lie elsewhere, all at once."""
        if isinstance(self.directory, RemotePath):
            calls = [partial(call, number) for number in numbers]
            found: list[Result] = self.directory.transfer.read_all(calls)
            return found
        return [call(number) for number in numbers]

    def count(self) -> int:
        """Return how many shards there are, or should be: one more than the highest number.

        Raises
        ------
        CorruptStoreError
            If there are none.
        """
        generation = self.header.generation
        try:
            found = [*map(marks.shard_number, files.list_directory(self.directory))]
        except FileNotFoundError:  # it was moved or removed just now
            raise self.missing(0) from None
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


def check_descriptors(error: OSError, marker: Marker, n_shards: int) -> None:
    """Where too many files are open, raise an error that says what shards need, and what to do."""
    if error.errno == EMFILE:
        n_files = n_shards * (3 if marker.header.layout.masked else 2) + 1
        raise OSError(
            EMFILE,
            f"{str(error.strerror).partition(':')[0]}: the {n_shards} shards take up to {n_files} "
            f"descriptors, and this process may have {files.descriptor_limit()}: raise the limit "
            "(ulimit -n, or resource.setrlimit in Python), or make larger shards (shard_size)",
            str(marker.directory),
        ) from error


def remove_leftovers(marker: Marker) -> None:
    """Remove what killed processes began, and shards of stores that were replaced.

    Under the lock of the last shard.
    """
    files.unlink(marker.directory / marks.NEW_FILE_NAME)
    for name in files.list_directory(marker.directory):
        key = marks.shard_number(name)
        if name.startswith(".shard") and name.endswith(".new"):
            files.remove_tree(marker.directory / name)
        elif key is not None and key[0] != marker.header.generation:
            remove_in_one_step(marker.directory / name)


def remove_replaced(marker: Marker) -> None:
    """Remove the shards of a store in whose place is another one by now, and of those before it.

    And nothing else, since whoever has the lock of the other one may be replacing that.
    """
    for name in files.list_directory(marker.directory):
        key = marks.shard_number(name)
        if key is not None and key[0] <= marker.header.generation:
            remove_in_one_step(marker.directory / name)
