"""Files of a folder as objects that lie elsewhere: exact, without a server, each request noted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from ptrarray import reader
from ptrarray.storage.remote.cache import Cache
from ptrarray.storage.remote.faults import Fault
from ptrarray.storage.remote.locating import Remote
from ptrarray.storage.remote.objects import Coming
from ptrarray.storage.remote.paths import RemotePath
from ptrarray.storage.remote.transfer import Transfer

URL = "test://folder"


class Request(NamedTuple):
    """What was asked for: bytes ``start <= b < end`` of an object."""

    key: str
    start: int
    end: int

    @property
    def nbytes(self) -> int:
        """How many bytes came at the most."""
        return self.end - self.start


class FolderObjects:
    """Files below a folder, as `Objects`.

    Attributes
    ----------
    asked : list of Request
        What was asked since it was last cleared.
    """

    def __init__(self, folder: Path) -> None:
        self.url, self._folder = URL, folder
        self.asked: list[Request] = []

    def fresh(self) -> FolderObjects:
        return self

    def named(self, key: str) -> str:
        return f"{self.url}/{key}" if key else self.url

    def get(self, key: str, start: int, end: int, tag: str | None) -> Coming:
        self.asked.append(Request(key, start, end))
        path = self._folder / key
        try:  # at once, as it may be replaced meanwhile
            file = path.open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise Fault("missing", "there is no such object", 404) from None
        with file:
            stat = os.fstat(file.fileno())
            own = f'"{stat.st_ino:x}-{stat.st_size:x}-{stat.st_mtime_ns:x}"'
            if tag is not None and tag != own:
                raise Fault("changed", "its ETag is another one", 412)
            if start >= stat.st_size:
                raise Fault("past", "the object ends before", 416)
            file.seek(start)
            raw = memoryview(file.read(end - start))
            return Coming(iter((raw,)), start, stat.st_size, own)

    def get_empty(self, key: str) -> Coming:
        return Coming(iter(()), 0, (self._folder / key).stat().st_size, '"empty"')

    def take(self) -> list[Request]:
        """Return what was asked since the last time."""
        asked, self.asked = self.asked, []
        return asked


@contextmanager
def folder_elsewhere(
    folder: Path, *, parallel: int = 32, objects: type[FolderObjects] = FolderObjects
) -> Iterator[FolderObjects]:
    """Have URLs below `URL` lead to files of a folder meanwhile."""
    made = objects(folder)

    def path_of(url: str, remote: Remote) -> RemotePath:
        key = url.removeprefix(URL).strip("/")
        cache = None if remote.cache is None else Cache(remote.cache)
        transfer = Transfer(
            made, parallel, remote.gap_nbytes, immutable=remote.immutable, cache=cache
        )
        return RemotePath(transfer, key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "remote_path", path_of)
        yield made
