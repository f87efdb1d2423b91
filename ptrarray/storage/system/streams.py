"""Handles that need not seek: writing all of each buffer, reading no more than is wanted."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from ptrarray.errors import BadInputError, CorruptStoreError
from ptrarray.format import tar
from ptrarray.storage.system.compressors import (
    MAGIC_NBYTES,
    STRONG_NBYTES,
    Codec,
    Inflater,
    recognised,
)
from ptrarray.storage.system.files import File

_READ_NBYTES = 1 << 16
_WRITE_NBYTES = 1 << 20  # what is compressed in one go
_EXACT_NBYTES = 1 << 20
# Padding that other tar programs may leave behind an archive in a compressed stream.
_REST_NBYTES = 1 << 20


class Source(Protocol):
    """Where bytes come from."""

    where: str

    def read(self, nbytes: int) -> bytes:
        """Read up to `nbytes`, at least one unless there are no more."""

    def read_into(self, buffer: memoryview) -> int:
        """Read bytes into a buffer; as `read`, but returns how many."""

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
    write = _method(handle, "write", "a path or a binary handle to write to", "wb")

    def write_all(buffer: Any) -> None:
        left = memoryview(buffer).cast("B")
        while left.nbytes:
            n_written = write(left)
            if n_written is None and isinstance(handle, io.RawIOBase):
                raise BlockingIOError(f"{handle!r} takes no more without waiting")
            # One that does not tell has taken all.
            left = left[left.nbytes if n_written is None else n_written :]

    return write_all


def appending(file: File) -> Callable[[Any], None]:
    """Return a function that writes all of a buffer at the end of a new file."""
    at = 0

    def write(buffer: Any) -> None:
        nonlocal at
        at = file.pwritev([memoryview(buffer)], at)

    return write


@contextmanager
def stream_of(file: File) -> Iterator[IO[bytes]]:
    """Yield an open file as one of Python's, which does not close it.

    Not opened by its name, which whoever may write to the folder can have lead elsewhere by now.
    """
    with open(file.fd, "r+b", closefd=False) as stream:
        raw: Any = stream.raw
        raw.name = file.path  # which libraries ask for
        yield stream


def _method(handle: Any, name: str, wanted: str, mode: str) -> Any:
    method = getattr(handle, name, None)
    if method is None or isinstance(handle, io.TextIOBase):
        found = type(handle).__name__
        # As sockets have.
        advice = f": give its makefile({mode!r})" if hasattr(handle, "makefile") else ""
        raise BadInputError(f"wanted {wanted}, not {found}{advice}", found=found, expected=wanted)
    return method


def compressing(codec: Codec, write: Callable[[Any], None]) -> tuple[Callable[[Any], None], Any]:
    """Return a function that compresses what it writes, and one that ends the stream."""
    compressor = codec.compressor()

    def write_compressed(buffer: Any) -> None:
        raw = memoryview(buffer).cast("B")
        for at in range(0, raw.nbytes, _WRITE_NBYTES):
            write(compressor.compress(raw[at : at + _WRITE_NBYTES]))

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
    codec = recognised(tap.look(MAGIC_NBYTES))
    # A name in an archive may begin with as little as that.
    is_weak = codec is not None and len(codec.magic) < STRONG_NBYTES
    if is_weak and tar.is_tar(tap.look(tar.MAGIC_AT + len(tar.MAGIC))):
        codec = None
    return tap if codec is None else _Inflated(tap, codec)


def _can_seek(handle: Any) -> bool:
    """Tell whether a handle can go back; not all that can say so, as a `mmap` before Python 3.13."""
    seekable = getattr(handle, "seekable", None)
    return hasattr(handle, "seek") if seekable is None else bool(seekable())


def _copied(raw: bytes, buffer: memoryview) -> int:
    buffer[: len(raw)] = raw
    return len(raw)


class Exact:
    """A source, read by sizes that are known.

    Attributes
    ----------
    n_read : int
        Bytes so far.
    """

    def __init__(self, source: Source) -> None:
        self.where = source.where
        self.n_read = 0
        self._source = source
        self._ahead = b""

    def look(self, nbytes: int) -> bytes:
        """Return the first bytes, to be read once more; fewer only where there are no more."""
        while len(self._ahead) < nbytes and (raw := self._source.read(nbytes - len(self._ahead))):
            self._ahead += raw
        return self._ahead

    def some(self, nbytes: int) -> bytes:
        """Read up to so many bytes, at least one unless there are no more."""
        if self._ahead:
            raw, self._ahead = self._ahead[:nbytes], self._ahead[nbytes:]
        else:
            raw = self._source.read(min(nbytes, _EXACT_NBYTES))
        self.n_read += len(raw)
        return raw

    def exactly(self, nbytes: int) -> bytes:
        """Read so many bytes; raises `CorruptStoreError` where there are not as many."""
        raw = self.some(nbytes)
        while len(raw) < nbytes:
            raw += self.some(nbytes - len(raw)) or self._end(raw)
        return raw

    def fill(self, buffer: memoryview) -> None:
        """Read as many bytes as a buffer has, straight into it; else as `exactly`."""
        while buffer:
            n_read = self._source.read_into(buffer) or len(self._end())
            self.n_read += n_read
            buffer = buffer[n_read:]

    def _end(self, raw: bytes = b"") -> bytes:
        what = f"{self.where} ends after {self.n_read} bytes: it is cut short"
        if self.n_read == len(raw) < tar.BLOCK_NBYTES:  # so little may be anything
            what += f", or no store of ptrarray: it begins with {raw[: tar.SHOWN_NBYTES]!r}"
        raise CorruptStoreError(what, path=self.where)

    def finish(self) -> None:
        """Read on to the end of the last record of an archive, and of what compressed it."""
        left = tar.padding(self.n_read, tar.RECORD_NBYTES)
        # Some tar programs leave the last record out.
        while left and (raw := self.some(left)):
            left -= len(raw)
        self._source.finish()


@contextmanager
def reading(path: Path) -> Iterator[Source]:
    """Open a file as `reader_of` a handle."""
    with path.open("rb") as file:
        yield reader_of(file, str(path))


class _Tap:
    """A handle, read as far as is asked for."""

    def __init__(self, handle: Any, where: str) -> None:
        self.where = where
        self._handle = handle
        self._read = _method(handle, "read", "a path or a binary handle to read from", "rb")
        self._ahead = b""  # read from the handle, not yet given
        self._peeked = 0  # given, but still to be read from the handle

    def look(self, nbytes: int) -> bytes:
        """Return the first bytes, to be read once more."""
        while len(self._ahead) < nbytes:
            raw = self._more(nbytes - len(self._ahead))
            if not raw:
                break
            self._ahead += raw
        return self._ahead

    def read(self, nbytes: int) -> bytes:
        if self._ahead:
            raw, self._ahead = self._ahead[:nbytes], self._ahead[nbytes:]
            return raw
        return self._more(nbytes)

    def read_into(self, buffer: memoryview) -> int:
        if self._ahead or not hasattr(self._handle, "readinto"):
            return _copied(self.read(len(buffer)), buffer)
        n_read: int | None = self._handle.readinto(buffer)
        if n_read is None:
            raise self._is_waiting()
        return n_read

    def _is_waiting(self) -> BlockingIOError:
        return BlockingIOError(f"{self._handle!r} gives no more without waiting")

    def _more(self, nbytes: int) -> bytes:
        raw = self._read(nbytes)
        if raw is None:
            raise self._is_waiting()
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
        elif unused and _can_seek(self._handle):
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

    def read_into(self, buffer: memoryview) -> int:
        return _copied(self.read(len(buffer)), buffer)

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
