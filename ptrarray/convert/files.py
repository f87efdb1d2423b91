"""Opening files that may be compressed, as their first bytes tell."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from typing import Any, Protocol, Self, cast

from ptrarray.errors import BadInputError, import_extra

_LZ4 = b"\x04\x22\x4d\x18"
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")


class Readable(Protocol):
    """A binary file that can look ahead."""

    def read(self, n_bytes: int = -1, /) -> bytes:
        """Read so many bytes, or all there are."""

    def readline(self) -> bytes:
        """Read a line."""

    def peek(self, n_bytes: int, /) -> bytes:
        """Return some of the bytes to come; none at the end."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


def open_plain(path: str) -> Readable:
    """Open a file for reading what was compressed with gzip, bzip2, xz, zlib or not at all.

    Examples
    --------
    >>> import gzip
    >>> with gzip.open("x.pkl.gz", "wb") as file:
    ...     _ = file.write(b"inside")
    >>> with open_plain("x.pkl.gz") as file:
    ...     file.read()
    b'inside'
    """
    with open(path, "rb") as file:  # noqa: PTH123 a path as it was given
        magic = file.read(6)
    if magic.startswith(b"\x1f\x8b"):
        return cast(Readable, gzip.open(path, "rb"))
    if magic.startswith(b"BZh"):
        return cast(Readable, bz2.open(path, "rb"))
    if magic.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")):
        return cast(Readable, lzma.open(path, "rb"))
    if magic.startswith(_ZLIB):
        return cast(Readable, io.BufferedReader(_Inflated(path), 1 << 16))
    if magic.startswith(_LZ4):
        message = "it is compressed with lz4: pip install lz4"
        return cast(Readable, import_extra("lz4.frame", message, BadInputError).open(path, "rb"))
    return cast(Readable, open(path, "rb"))  # noqa: PTH123 the caller closes it


class _Inflated(io.RawIOBase):
    """A zlib stream, which no module of Python opens as a file."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: PTH123, SIM115 closed with this object
        self._inflater = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._inflater.eof:
            raw = self._inflater.unconsumed_tail or self._file.read(1 << 16)
            data = self._inflater.decompress(raw, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
            if not raw:
                raise EOFError("the compressed data ends too early")
        return 0

    def close(self) -> None:
        self._file.close()
        super().close()
