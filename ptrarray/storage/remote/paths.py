"""Paths that lead elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from ptrarray.errors import RemoteError
from ptrarray.storage.remote.faults import passes
from ptrarray.storage.remote.file import HEAD_NBYTES, RemoteFile
from ptrarray.storage.remote.transfer import Facts, Transfer


class RemotePath(type(Path())):  # type: ignore[misc]
    """A path below the URL of a store. What asks the system about paths asks the server instead.

    Parameters
    ----------
    transfer : Transfer
        Reads what lies there.
    key : str
        What is behind the URL that the transfer has.

    Attributes
    ----------
    made_by : (callable, tuple) or None
        What makes the same path in another process, and its arguments: of that of a store.
    packed : (RemoteFile, set of str) or None
        The pack that lies there, as it was last opened, and which of its parts were asked for.
    """

    made_by: Any = None
    packed: tuple[RemoteFile, set[str]] | None = None

    def __new__(cls, transfer: Transfer, key: str = "") -> Self:
        """Return a path."""
        self: Self = super().__new__(cls, key)
        self.transfer, self.key = transfer, key
        return self

    def __init__(self, transfer: Transfer, key: str = "") -> None:
        if sys.version_info >= (3, 12):
            super().__init__(key)

    def __str__(self) -> str:
        return str(self.transfer.named(self.key))

    __fspath__ = __str__

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __truediv__(self, name: Any) -> RemotePath:
        return RemotePath(self.transfer, f"{self.key}/{name}" if self.key else str(name))

    @property
    def name(self) -> str:
        """The last part."""
        return str(self.key or self.transfer.url).rpartition("/")[2]

    @property
    def parent(self) -> RemotePath:
        """The path above."""
        return RemotePath(self.transfer, self.key.rpartition("/")[0])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> Any:
        if self.made_by is None:
            raise TypeError("what lies elsewhere is opened anew by each process")
        return self.made_by

    def open_file(self) -> RemoteFile:
        """Open the file that lies there; raises `FileNotFoundError` if there is none."""
        file = self.open_later()
        file.read_head()
        return file

    def open_later(self) -> RemoteFile:
        """Return the file that lies there, of which nobody was asked yet."""
        return RemoteFile(self, self.key, self.transfer)

    @contextmanager
    def asked_ahead(self) -> Iterator[None]:
        """Have the beginning of the file on its way, for whoever opens it inside of the ``with`` block."""
        self.transfer.ask_ahead(self.key, HEAD_NBYTES)
        try:
            yield
        finally:
            self.transfer.asked_ahead(self.key)

    def identity(self) -> Facts:
        """Tell the content that is there now from any other."""
        answer = self.transfer.read(self.key, 0, 1, None)
        return Facts(answer.nbytes, answer.tag)

    def exists(self) -> bool:
        """Tell whether there is a file."""
        try:
            self.identity()
        except FileNotFoundError:
            return False
        except RemoteError as error:
            if not is_refused(error):
                raise
            return False
        return True


def is_refused(error: RemoteError) -> bool:
    """Tell whether a server will not give a file, so that there may be none.

    As in a bucket that may not be listed, or of a directory, of which servers say all kinds of things.
    """
    return error.status is not None and not passes(error.status)
