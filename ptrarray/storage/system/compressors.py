"""Compressors by name: gzip, bzip2, xz and zstd, each as objects that are fed piece by piece."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from ptrarray.errors import BadInputError

# What one piece of input may grow to. Hostile input grows a millionfold, so where the
# decompressor takes no limit the pieces are small instead.
_LIMIT_NBYTES = 1 << 20
_XZ_MEMORY_NBYTES = 1 << 29  # `xz -9` asks for an eighth of that
MAGIC_NBYTES = 6


class Compressor(Protocol):
    """Takes bytes, gives compressed ones."""

    def compress(self, data: Any, /) -> bytes:
        """Take some bytes."""

    def flush(self) -> bytes:
        """End the stream."""


class Codec(NamedTuple):
    """One way to compress.

    Attributes
    ----------
    name : str
        What a caller says; also the extension of a file.
    magic : bytes
        What every stream begins with.
    compressor_at, decompressor : callable
        Make an object for one stream, the former at a level.
    levels : range
        Which levels there are.
    level : int
        The one by default.
    piece_nbytes : int
        Input to be given to the decompressor in one go.
    limits : tuple of int
        What to tell it beside the input: the most to give back.
    """

    name: str
    magic: bytes
    compressor_at: Callable[[int], Compressor]
    decompressor: Callable[[], Any]
    levels: range
    level: int
    piece_nbytes: int = 1 << 16
    limits: tuple[int, ...] = (_LIMIT_NBYTES,)

    def compressor(self) -> Compressor:
        """Return an object that compresses one stream."""
        return self.compressor_at(self.level)


def _zstd_compressor(level: int) -> Any:
    module, is_builtin = _zstd()
    compressor = module.ZstdCompressor(level=level)
    return compressor if is_builtin else compressor.compressobj()


def _zstd_decompressor() -> Any:
    module, is_builtin = _zstd()
    return module.ZstdDecompressor() if is_builtin else module.ZstdDecompressor().decompressobj()


def _zstd() -> tuple[Any, bool]:
    """Return Python's own module, from 3.14 on, or the package that does the same."""
    for module in ("compression.zstd", "zstandard"):
        try:
            return import_module(module), module != "zstandard"
        except ModuleNotFoundError:
            continue
    raise ImportError("zstd needs Python 3.14 or: pip install 'ptrarray[zstd]'")


CODECS = {
    codec.name: codec
    for codec in (
        Codec(
            "gz",
            b"\x1f\x8b\x08",
            lambda level: zlib.compressobj(level, wbits=zlib.MAX_WBITS | 16),
            lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 16),
            range(10),
            6,
            1 << 14,
            (),
        ),
        Codec("bz2", b"BZh", bz2.BZ2Compressor, bz2.BZ2Decompressor, range(1, 10), 9),
        Codec(
            "xz",
            b"\xfd7zXZ\0",
            lambda level: lzma.LZMACompressor(preset=level),
            lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_NBYTES),
            range(10),
            6,
        ),
        Codec(
            "zst",
            b"\x28\xb5\x2f\xfd",
            _zstd_compressor,
            _zstd_decompressor,
            range(1, 23),
            3,
            1 << 10,
            (),
        ),
    )
}


def named(compression: str) -> Codec:
    """Return the codec of this name.

    Raises
    ------
    BadInputError
        If there is none.

    Examples
    --------
    >>> named("bz2").magic
    b'BZh'
    """
    try:
        return CODECS[compression]
    except (KeyError, TypeError):
        known = ", ".join(map(repr, CODECS))
        raise BadInputError(
            f"compression {compression!r} is not None or one of {known}",
            found=compression,
            expected=(None, *CODECS),
        ) from None


def at_level(codec: Codec | None, level: int | None) -> Codec | None:
    """Return a codec that compresses at a level, by default at its own.

    Raises
    ------
    BadInputError
        If it has no such level, or there is no codec that could have one.

    Examples
    --------
    >>> at_level(named("xz"), 9).level
    9
    """
    if level is None:
        return codec
    if codec is None:
        raise BadInputError(
            f"level {level!r} without a compression: choose one of {', '.join(map(repr, CODECS))}",
            found=level,
        )
    if isinstance(level, bool) or level not in codec.levels:
        first, last = codec.levels[0], codec.levels[-1]
        raise BadInputError(
            f"{codec.name} has no level {level!r}: expected {first} to {last}",
            found=level,
            expected=(first, last),
        )
    return codec._replace(level=int(level))


def recognised(head: bytes) -> Codec | None:
    """Return the codec whose streams begin like this, if there is one.

    Examples
    --------
    >>> recognised(b"BZh91AY").name
    'bz2'
    """
    return next((codec for codec in CODECS.values() if head.startswith(codec.magic)), None)


class Inflater:
    """One compressed stream, fed piece by piece.

    Attributes
    ----------
    is_done : bool
        Whether its end has come.
    unused : bytes
        What was fed past the end.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._decompressor = codec.decompressor()
        self.is_done = False
        self.unused = b""

    def feed(self, raw: bytes) -> Iterator[bytes]:
        """Yield what some bytes of the stream decompress to, in pieces of bounded size.

        Raises
        ------
        ValueError
            If they are not what the compressor makes.

        Examples
        --------
        >>> inflater = Inflater(named("bz2"))
        >>> b"".join(inflater.feed(bz2.compress(b"rows") + b"more"))
        b'rows'
        >>> inflater.is_done, inflater.unused
        (True, b'more')
        """
        nbytes = self._codec.piece_nbytes
        for at in range(0, len(raw), nbytes):
            yield self._inflate(raw, at, at + nbytes)
            while not (self.is_done or getattr(self._decompressor, "needs_input", True)):
                yield self._inflate(raw, at + nbytes, at + nbytes)
            if self.is_done:
                return

    def _inflate(self, raw: bytes, first: int, last: int) -> bytes:
        try:
            inflated: bytes = self._decompressor.decompress(raw[first:last], *self._codec.limits)
        except MemoryError:
            raise
        except Exception as error:  # each module has its own, and they do no more than this
            raise ValueError(f"cannot be decompressed as {self._codec.name}: {error}") from error
        self.is_done = self._decompressor.eof
        if self.is_done:
            self.unused = self._decompressor.unused_data + raw[last:]
        return inflated
