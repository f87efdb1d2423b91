"""Paths that lead elsewhere, and files that are read there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

from ptrarray.errors import RemoteError
from ptrarray.storage.remote.objects import Buffer
from ptrarray.storage.remote.transfer import Facts, Transfer

# What is read of a file at first: of most files of a store, all that is ever read of it.
HEAD_NBYTES = 64 << 10
# Long ranges are asked for in pieces of this size, at once.
PIECE_NBYTES = 8 << 20


class RemoteIdentity(NamedTuple):
    """Tells the content of an object from any other, as `Identity` does for files."""

    nbytes: int
    tag: str | None


class RemotePath(type(Path())):  # type: ignore[misc]
    """A path below the URL of a store. What asks the system about paths asks the server instead.

    Parameters
    ----------
    transfer : Transfer
        Reads what lies there.
    key : str
        What is behind the URL that the transfer has.
    """

    def __new__(cls, transfer: Transfer, key: str = "") -> Self:
        """Return a path."""
        self: Self = super().__new__(cls, key)
        self.transfer, self.key = transfer, key
        return self

    def __init__(self, transfer: Transfer, key: str = "") -> None:
        if sys.version_info >= (3, 12):
            super().__init__(key)

    def __str__(self) -> str:
        return f"{self.transfer.url}/{self.key}" if self.key else self.transfer.url

    __fspath__ = __str__

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __truediv__(self, name: Any) -> RemotePath:
        return RemotePath(self.transfer, f"{self.key}/{name}" if self.key else str(name))

    @property
    def name(self) -> str:
        """The last part."""
        return str(self).rpartition("/")[2]

    @property
    def parent(self) -> RemotePath:
        """The path above."""
        return RemotePath(self.transfer, self.key.rpartition("/")[0])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> Any:
        raise TypeError("what lies elsewhere is opened anew by each process")

    def open_file(self) -> RemoteFile:
        """Open the file that lies there; raises `FileNotFoundError` if there is none."""
        file = RemoteFile(self)
        file.read_head()
        return file

    def identity(self) -> RemoteIdentity:
        """Tell the content that is there now from any other."""
        answer = self.transfer.read(self.key, 0, 1, None)
        return RemoteIdentity(answer.nbytes, answer.tag)

    def exists(self) -> bool:
        """Tell whether there is a file."""
        try:
            self.identity()
        except FileNotFoundError:
            return False
        except RemoteError as error:  # as of a bucket that may not be listed, or of a directory
            if error.status is None or error.status >= 500:
                raise
            return False
        return True


class RemoteFile:
    """A file that lies elsewhere, open for reading: what `File` is for those of this machine.

    Attributes
    ----------
    path : str
        Its URL, for messages.
    place : RemotePath
        Where it lies.
    start_byte : int
        Where the part of it that this is begins.
    """

    def __init__(self, place: RemotePath) -> None:
        self.path, self.place = str(place), place
        self.start_byte = 0
        self._nbytes: int | None = None
        self._key, self._transfer = place.key, place.transfer
        self._facts: Facts | None = None
        self._head: Buffer = b""

    def read_head(self) -> None:
        """Read the beginning of the file, and with it what is known of it from now on."""
        if self._facts is None:
            answer = self._transfer.read(self._key, 0, HEAD_NBYTES, None)
            self._head, self._facts = answer.raw, Facts(answer.nbytes, answer.tag)

    @property
    def facts(self) -> Facts:
        """Size and tag of the file."""
        self.read_head()
        assert self._facts is not None
        return self._facts

    @property
    def nbytes(self) -> int:
        """Size of the file, or of the part of it that this is."""
        return self.facts.nbytes if self._nbytes is None else self._nbytes

    @property
    def identity(self) -> Any:
        """Tells the content from any other."""
        return RemoteIdentity(*self.facts)

    @property
    def version(self) -> tuple[Any, ...]:
        """Others when the file has changed, as of its opening."""
        return tuple(self.facts)

    def narrow(self, start_byte: int, nbytes: int) -> None:
        """Be only a part of the file from now on: bytes count from its start."""
        self.start_byte, self._nbytes = start_byte, nbytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget what was read ahead."""

    def keep_in_child(self) -> None:
        """Stay open in children of a fork, which it does in any case."""

    def pread(self, nbytes: int, start_byte: int) -> bytes:
        """Read up to `nbytes`; fewer only at the end of the file."""
        if self._nbytes is not None:
            nbytes = max(0, min(nbytes, self._nbytes - start_byte))
            start_byte += self.start_byte
        end_byte = min(start_byte + nbytes, self.facts.nbytes)
        if end_byte <= len(self._head):
            return bytes(self._head[start_byte:end_byte])
        raw = bytearray(max(end_byte - start_byte, 0))
        self.preadv(memoryview(raw), start_byte)
        return bytes(raw)

    def preadv(self, buffer: Buffer, start_byte: int) -> int:
        """Read into a buffer of bytes until it is full; less only at the end of the file."""
        return self.preadv_all([(memoryview(buffer), start_byte)])

    def preadv_all(self, asked: Sequence[tuple[memoryview, int]]) -> int:
        """Read into several buffers at once, each from its byte of the whole file on.

        Returns
        -------
        int
            Bytes read; fewer than there is room for where the file ends before.
        """
        pieces = [
            (buffer[at : at + PIECE_NBYTES], start + at)
            for buffer, start in asked
            for at in range(0, len(buffer), PIECE_NBYTES)
        ]
        return sum(self._transfer.read_all([partial(self._read_into, *one) for one in pieces]))

    def _read_into(self, buffer: memoryview, start_byte: int) -> int:
        end_byte = start_byte + len(buffer)
        answer = self._transfer.read(self._key, start_byte, end_byte, self._facts)
        if self._facts is None:
            self._facts = Facts(answer.nbytes, answer.tag)
        buffer[: len(answer.raw)] = answer.raw
        return len(answer.raw)

    def advise(self, start_byte: int, nbytes: int) -> None:
        """Begin to read bytes that will be read soon."""
