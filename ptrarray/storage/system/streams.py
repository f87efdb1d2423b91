"""Handles that need not seek: writing all of each buffer, reading no more than is wanted."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from ptrarray.errors import BadInputError, CorruptStoreError
from ptrarray.storage.system.compressors import MAGIC_NBYTES, Codec, Inflater, recognised

_READ_NBYTES = 1 << 16
# Padding that other tar programs may leave behind an archive in a compressed stream.
_REST_NBYTES = 1 << 20


class Source(Protocol):
    """Where bytes come from."""

    where: str

    def read(self, nbytes: int) -> bytes:
        """Read up to `nbytes`, at least one unless there are no more."""

    def finish(self) -> None:
        """Leave the handle behind what was read."""


def writer_to(handle: Any) -> Callable[[Any], None]:
    """Return a function that writes all of a buffer to a binary handle.

    Parameters
    ----------
    handle
        Anything with ``write``: a file, a pipe, what a socket's ``makefile``
        gives. Raw ones, that may take a part only, are asked again.

    Raises
    ------
    BadInputError
        If it has none, or is one for text.

    Examples
    --------
    >>> buffer = io.BytesIO()
    >>> writer_to(buffer)(b"abc")
    >>> buffer.getvalue()
    b'abc'
    """
    write = _method(handle, "write", "a path or a binary handle to write to")

    def write_all(buffer: Any) -> None:
        left = memoryview(buffer).cast("B")
        while left.nbytes:
            n_written = write(left)
            if n_written is None and isinstance(handle, io.RawIOBase):
                raise BlockingIOError(f"{handle!r} takes no more without waiting")
            # One that does not tell has taken all.
            left = left[left.nbytes if n_written is None else n_written :]

    return write_all


def _method(handle: Any, name: str, wanted: str) -> Any:
    method = getattr(handle, name, None)
    if method is None or isinstance(handle, io.TextIOBase):
        found = type(handle).__name__
        raise BadInputError(f"wanted {wanted}, not {found}", found=found, expected=wanted)
    return method


def compressing(codec: Codec, write: Callable[[Any], None]) -> tuple[Callable[[Any], None], Any]:
    """Return a function that compresses what it writes, and one that ends the stream."""
    compressor = codec.compressor()

    def write_compressed(buffer: Any) -> None:
        write(compressor.compress(buffer))

    def finish() -> None:
        write(compressor.flush())

    return write_compressed, finish


def reader_of(handle: Any, where: str) -> Source:
    """Return a binary handle as a source, decompressing what it begins with if need be.

    Raises
    ------
    BadInputError
        If it has no ``read``, or is one for text.
    """
    tap = _Tap(handle, where)
    codec = recognised(tap.look())
    return tap if codec is None else _Inflated(tap, codec)


class _Tap:
    """A handle, read as far as is asked for."""

    def __init__(self, handle: Any, where: str) -> None:
        self.where = where
        self._handle = handle
        self._read = _method(handle, "read", "a path or a binary handle to read from")
        self._ahead = b""  # read from the handle, not yet given
        self._peeked = 0  # given, but still to be read from the handle

    def look(self) -> bytes:
        """Return the first bytes, to be read once more."""
        while len(self._ahead) < MAGIC_NBYTES:
            raw = self._more(MAGIC_NBYTES - len(self._ahead))
            if not raw:
                break
            self._ahead += raw
        return self._ahead

    def read(self, nbytes: int) -> bytes:
        if self._ahead:
            raw, self._ahead = self._ahead[:nbytes], self._ahead[nbytes:]
            return raw
        return self._more(nbytes)

    def _more(self, nbytes: int) -> bytes:
        raw = self._read(nbytes)
        if raw is None:
            raise BlockingIOError(f"{self._handle!r} gives no more without waiting")
        return bytes(raw)

    def some(self) -> bytes:
        """Read as much as comes, of which a part may be given back."""
        self._take_peeked(0)
        if self._ahead:
            return self.read(len(self._ahead))
        if hasattr(self._handle, "peek"):
            raw = bytes(self._handle.peek(_READ_NBYTES))
            self._peeked = len(raw)
            return raw
        return self._more(_READ_NBYTES)

    def _take_peeked(self, n_unused: int) -> None:
        left, self._peeked = self._peeked - n_unused, 0
        while left > 0:
            left -= len(self._more(left))

    def give_back(self, unused: bytes) -> None:
        """Let the end of what `some` has read be there for who reads the handle next.

        A handle that can neither peek nor seek has lost it.
        """
        if self._peeked:
            self._take_peeked(len(unused))
        elif unused and hasattr(self._handle, "seekable") and self._handle.seekable():
            self._handle.seek(-len(unused), io.SEEK_CUR)

    def finish(self) -> None:
        pass


class _Inflated:
    """A compressed stream, or several end to end as parallel compressors make them."""

    def __init__(self, tap: _Tap, codec: Codec) -> None:
        self.where = tap.where
        self._tap = tap
        self._codec = codec
        self._inflater = Inflater(codec)
        self._pieces = self._inflated()
        self._ahead = memoryview(b"")

    def read(self, nbytes: int) -> bytes:
        while not self._ahead:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._ahead = memoryview(piece)
        raw, self._ahead = self._ahead[:nbytes], self._ahead[nbytes:]
        return bytes(raw)

    def _inflated(self) -> Iterator[bytes]:
        raw = self._tap.some()
        while raw:
            try:
                yield from self._inflater.feed(raw)
            except ValueError as error:
                raise CorruptStoreError(f"{self.where} {error}", path=self.where) from error
            raw = self._inflater.unused or self._tap.some()
            if self._inflater.is_done and raw:
                self._inflater = Inflater(self._codec)
        if not self._inflater.is_done:
            raise CorruptStoreError(
                f"{self.where} ends within a stream of {self._codec.name}: it is cut short",
                path=self.where,
            )

    def finish(self) -> None:
        """Go on to the end of the stream, which has a checksum of all before."""
        n_left = _REST_NBYTES - len(self._ahead)
        # Not one piece further: the next stream in the handle is somebody else's.
        while not self._inflater.is_done and n_left >= 0:
            n_left -= len(next(self._pieces, b""))
        if n_left < 0:
            raise CorruptStoreError(
                f"{self.where} goes on behind the end of its archive", path=self.where
            )
        self._tap.give_back(self._inflater.unused)
