"""Opening files that may be compressed, or packed alone in an archive, as their first bytes tell; and JSON."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

from ptrarray.errors import BadInputError, CorruptStoreError, import_extra
from ptrarray.storage.system.streams import reader_of

_BUFFER_NBYTES = 1 << 15
_BLOCK_NBYTES = 1 << 24
_HEAD_NBYTES = 512
_EXTENDED: tuple[bytes, ...] = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENDED += (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_EXTENDED_NBYTES, _MEMBER_NBYTES = 1 << 24, 1 << 61
TAR_ERRORS: Any = tarfile  # which has more kinds of them than its stubs
_ZIP = b"PK\x03\x04"
_TAR, _TAR_AT = b"ustar", 257  # as of POSIX, behind the name of the first member


class Readable(Protocol):
    """A binary file that can look ahead."""

    def read(self, n_bytes: int = -1, /) -> bytes:
        """Read so many bytes, or all there are."""

    def readline(self) -> bytes:
        """Read a line."""

    def peek(self, n_bytes: int, /) -> bytes:
        """Return some of the bytes to come; none at the end."""


@contextmanager
def open_plain(path: str) -> Iterator[Any]:
    """Open a file for a ``with`` block, for reading what is in it.

    Compressed with gzip, bzip2, xz, zlib, zstd or lz4, alone in an archive of zip or tar, or plain.

    Raises
    ------
    BadInputError
        For an archive of several files.

    Examples
    --------
    >>> import gzip
    >>> with gzip.open("x.pkl.gz", "wb") as file:
    ...     _ = file.write(b"inside")
    >>> with open_plain("x.pkl.gz") as file:
    ...     file.read()
    b'inside'
    """
    # A path as it was given; and most files are read in one go.
    with open(path, "rb", _BUFFER_NBYTES) as raw:  # noqa: PTH123
        if _is_plain(raw):
            yield raw
        else:
            with unpacked(raw) as file:
                yield file


@contextmanager
def unpacked(file: Any) -> Iterator[Any]:
    """Return, for a ``with`` block, an open file as what it was before it was compressed or packed."""
    with ExitStack() as stack:
        yield _alone(stack.enter_context(plain(file)), stack)


def read_up_to(file: Any, n_bytes: int) -> bytearray:
    """Read so many bytes, or fewer up to the end: a length that is a lie costs no memory."""
    raw = bytearray()
    while len(raw) < n_bytes and (block := file.read(min(n_bytes - len(raw), _BLOCK_NBYTES))):
        raw += block
    return raw


def read_json(path: Path, limit_nbytes: int) -> dict[str, Any]:
    """Return the object in a file of JSON that somebody else may have written.

    Raises
    ------
    BadInputError
        If there is none in it, or it is larger than files of its kind are.
    """
    with path.open("rb") as file:
        raw = file.read(limit_nbytes + 1)
    if len(raw) > limit_nbytes:
        raise BadInputError(f"{path.name} has more than {limit_nbytes:,} bytes", path=str(path))
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path.name} is no JSON: {error}", path=str(path)) from error
    if not isinstance(found, dict):
        raise BadInputError(f"{path.name} holds no object", found=type(found).__name__)
    return found


class SoundInfo(tarfile.TarInfo):
    """A member of an archive of tar, of a size that one can have.

    With one below zero tarfile goes back, maybe for ever; of headers that add to the next one, it makes room
    for as much as they say.
    """

    def _block(self, count: int) -> int:
        most = _EXTENDED_NBYTES if self.type in _EXTENDED else _MEMBER_NBYTES
        if not 0 <= count <= most:
            raise TAR_ERRORS.InvalidHeaderError(f"a member of {count} bytes")
        return -(-count // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _is_plain(file: Any) -> bool:
    """Tell whether `unpacked` would return the file itself."""
    head = bytes(file.peek(_HEAD_NBYTES)[:_HEAD_NBYTES])
    return not head.startswith(_MAGICS) and not head.startswith(_TAR, _TAR_AT)


def plain(file: Any) -> Any:
    """Return an open file as what it was before it was compressed; itself if it was not."""
    magic = bytes(file.peek(6)[:6])
    for magics, opener in _OPENERS:
        if magic.startswith(magics):
            return opener(file)
    return file


def _alone(file: Any, stack: ExitStack) -> Any:
    """Return the one file in an archive; the file itself if it is no archive."""
    head = bytes(file.peek(_HEAD_NBYTES)[:_HEAD_NBYTES])
    if head.startswith(_ZIP):
        packed = stack.enter_context(zipfile.ZipFile(_seekable(file)))
        # `is_dir` wants a name that is not empty
        names = [info for info in packed.infolist() if not info.filename.endswith("/")]
        if len(names) != 1:
            raise BadInputError(
                f"it is a zip of {len(names)} files: unzip it, or import npz if they are .npy files"
            )
        member = stack.enter_context(packed.open(names[0]))
        return stack.enter_context(plain(member))
    if head.startswith(_TAR, _TAR_AT):
        seekable = _seekable(file)
        archive = stack.enter_context(tarfile.TarFile(fileobj=seekable, tarinfo=SoundInfo))
        found = [info for info in archive if info.isfile()]
        if len(found) != 1:
            raise BadInputError(f"it is a tar archive of {len(found)} files: import tar")
        member = cast(Any, archive.extractfile(found[0]))
        return stack.enter_context(plain(stack.enter_context(member)))
    return file


def _seekable(file: Any) -> Any:
    """Return a file in which an archive can be read; a member of a stream is read into memory."""
    try:
        is_seekable = file.seekable()
    except AttributeError:  # of a member of such an archive, before Python 3.13
        is_seekable = False
    return file if is_seekable else io.BytesIO(file.read())


def _lz4(file: Any) -> Any:
    message = "it is compressed with lz4: pip install lz4"
    return import_extra("lz4.frame", message, BadInputError).open(file, "rb")


def _inflated(file: Any) -> Any:
    return io.BufferedReader(_Inflated(file), 1 << 16)


def _of_zlib(file: Any) -> Any:
    return io.BufferedReader(_OfZlib(file), 1 << 16)


# Those of Python for bzip2 and xz pass over what is behind the end of what they read.
_OPENERS: list[tuple[tuple[bytes, ...], Callable[[Any], Any]]] = [
    ((b"\x1f\x8b",), gzip.open),
    ((b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x5d\0\0"), _inflated),
    ((b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), _of_zlib),
    ((b"\x04\x22\x4d\x18",), _lz4),
]
_MAGICS = (_ZIP, *(magic for magics, _ in _OPENERS for magic in magics))


class _Inflated(io.RawIOBase):
    """Streams of bzip2, xz or zstd as a file."""

    def __init__(self, file: Any) -> None:
        self._source = reader_of(file, "its compressed data")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._source.read(len(buffer))
        except CorruptStoreError as error:
            raise EOFError(str(error)) from error
        buffer[: len(data)] = data
        return len(data)


class _OfZlib(io.RawIOBase):
    """Streams of zlib as a file, which no module of Python opens as one."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._inflater = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            ended = self._inflater.eof
            left = self._inflater.unused_data if ended else self._inflater.unconsumed_tail
            raw = left or self._file.read(1 << 16)
            if ended:
                if not raw:
                    return 0
                self._inflater = zlib.decompressobj()
            try:
                data = self._inflater.decompress(raw, len(buffer))
            except zlib.error as error:
                raise EOFError(f"its compressed data is damaged: {error}") from error
            if data:
                buffer[: len(data)] = data
                return len(data)
            if not raw:
                raise EOFError("the compressed data ends too early")
