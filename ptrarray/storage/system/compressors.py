"""Compressors by name, extension and first bytes, each as objects that are fed piece by piece."""

from __future__ import annotations

import bz2
import lzma
import operator
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from ptrarray.errors import BadInputError, import_extra

# What one piece of input may grow to. Hostile input grows a millionfold, so where the
# decompressor takes no limit the pieces are small instead.
_LIMIT_NBYTES = 1 << 20
_XZ_MEMORY_NBYTES = 1 << 29  # `xz -9` asks for an eighth of that
_ISAL_LEVELS = range(1, 4)  # those that it has, and which are deflate's own levels of that speed
# By so many first bytes a stream is told from all else; fewer may be the name in an archive.
STRONG_NBYTES = 3
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
        What a caller says.
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
    extension : str
        Of a file's name, where it is another one than the name.
    """

    name: str
    magic: bytes
    compressor_at: Callable[[int], Compressor]
    decompressor: Callable[[], Any]
    levels: range
    level: int
    piece_nbytes: int = 1 << 16
    limits: tuple[int, ...] = (_LIMIT_NBYTES,)
    extension: str = ""

    def compressor(self) -> Compressor:
        """Return an object that compresses one stream."""
        return self.compressor_at(self.level)

    @property
    def suffix(self) -> str:
        """What the names of its files end in, after the last dot."""
        return self.extension or self.name


def _deflate() -> Any:
    """Return what writes and reads deflate's formats: isal if it is there, which is faster."""
    try:
        return import_module("isal.isal_zlib")
    except ImportError:
        return zlib


def _deflating(wbits: int) -> Callable[[int], Compressor]:
    def compressor(level: int) -> Compressor:
        module = _deflate() if level in _ISAL_LEVELS else zlib
        made: Compressor = module.compressobj(level, zlib.DEFLATED, wbits)
        return made

    return compressor


def _inflating(wbits: int) -> Callable[[], Any]:
    return lambda: _deflate().decompressobj(wbits=wbits)


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


def _lz4() -> Any:
    return import_extra("lz4.frame", "lz4 needs: pip install 'ptrarray[lz4]'")


class _Lz4Compressor:
    """One frame of lz4, whose beginning is given with the first bytes."""

    def __init__(self, level: int) -> None:
        self._frame = _lz4().LZ4FrameCompressor(compression_level=level, content_checksum=True)
        self._begin: Callable[[], bytes] = self._frame.begin

    def compress(self, data: Any, /) -> bytes:
        head, self._begin = self._begin(), bytes
        body: bytes = self._frame.compress(data)
        return head + body

    def flush(self) -> bytes:
        head, self._begin = self._begin(), bytes
        body: bytes = self._frame.flush()
        return head + body


_GZIP = zlib.MAX_WBITS | 16
_DEFLATE_NBYTES = 1 << 14  # which grow to a thousand times as many at the most
_BUILT_IN = (
    Codec("gz", b"\x1f\x8b\x08", _deflating(_GZIP), _inflating(_GZIP), range(10), 6,
          _DEFLATE_NBYTES, ()),
    Codec("bz2", b"BZh", bz2.BZ2Compressor, bz2.BZ2Decompressor, range(1, 10), 9),
    Codec(
        "xz",
        b"\xfd7zXZ\0",
        lambda level: lzma.LZMACompressor(preset=level),
        lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_NBYTES),
        range(10),
        6,
    ),
    Codec("zst", b"\x28\xb5\x2f\xfd", _zstd_compressor, _zstd_decompressor, range(1, 23), 3,
          1 << 10, ()),
    Codec(
        "lzma",
        b"\x5d\0\0",  # no more than settings that all write, as the format has no magic number
        lambda level: lzma.LZMACompressor(lzma.FORMAT_ALONE, preset=level),
        lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_XZ_MEMORY_NBYTES),
        range(10),
        6,
    ),
    Codec("lz4", b"\x04\x22\x4d\x18", _Lz4Compressor, lambda: _lz4().LZ4FrameDecompressor(),
          range(17), 0),
    Codec("zlib", b"x", _deflating(zlib.MAX_WBITS), _inflating(zlib.MAX_WBITS), range(10), 6,
          _DEFLATE_NBYTES, (), "z"),
)  # fmt: skip

CODECS = {codec.name: codec for codec in _BUILT_IN}
_ALIASES = {"gzip": "gz", "zstd": "zst"}
# Of an archive, in one word.
_SHORT = {"tgz": "gz", "tbz2": "bz2", "txz": "xz", "tzst": "zst"}


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
        return CODECS[_ALIASES.get(compression, compression)]
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


def by_extension(suffix: str) -> Codec | None:
    """Return the codec that the end of a file's name promises, if it is one.

    Examples
    --------
    >>> by_extension(".Z").name, by_extension(".tgz").name, by_extension(".tar")
    ('zlib', 'gz', None)
    """
    word = suffix.lower().removeprefix(".")
    word = _SHORT.get(word, word)
    return next((codec for codec in CODECS.values() if codec.suffix == word), None)


def chosen(compress: Any, own: Codec | None) -> Codec | None:
    """Return the codec that ``compress=`` asks for; None for none.

    Parameters
    ----------
    compress : None, bool, int, str or (str, int)
        As `ptrarray.dump` takes it.
    own : Codec or None
        What the extension of the file says.

    Raises
    ------
    BadInputError
        For any other.

    Examples
    --------
    >>> chosen(("gzip", 3), named("xz"))[:1], chosen(0, named("xz"))
    (('gz',), None)
    """
    if compress is None:
        return own
    if isinstance(compress, tuple) and len(compress) == 2:
        return at_level(named(compress[0]), compress[1])
    if isinstance(compress, str):
        return named(compress)
    try:
        level = operator.index(compress)
    except TypeError:
        what = (
            f"compress {compress!r:.80} is not None, a bool, a level, a name, or a name and a level"
        )
        raise BadInputError(what, found=compress) from None
    if not level:
        return None
    return at_level(own or named("gz"), None if compress is True else level)


def recognised(head: bytes) -> Codec | None:
    """Return the codec whose streams begin like this, if there is one.

    Examples
    --------
    >>> recognised(b"BZh91AY").name
    'bz2'
    """
    for codec in sorted(CODECS.values(), key=lambda codec: -len(codec.magic)):
        if head.startswith(codec.magic) and (codec.name != "zlib" or _is_zlib(head)):
            return codec
    return None


def _is_zlib(head: bytes) -> bool:
    """Tell whether two bytes are the header of RFC 1950, which is a multiple of 31."""
    return len(head) > 1 and int.from_bytes(head[:2], "big") % 31 == 0


def register_compressor(name: str, compressor: Any, *, force: bool = False) -> None:
    """Let `dump`, `load`, `pack` and `unpack` of this process use another compression.

    Parameters
    ----------
    name : str
        What ``compress=`` and ``compression=`` are given.
    compressor : object
        With these attributes. ``extension``, as ``".br"``: files whose names
        end in it are compressed so. ``magic``: three bytes or more that all its
        streams begin with. ``compress(level)``: returns an object for one
        stream, as `bz2.BZ2Compressor` is one, with ``compress(data)`` and
        ``flush()``. ``decompress()``: returns one as `bz2.BZ2Decompressor`,
        with ``decompress(data)``, ``eof`` and ``unused_data``; may raise any
        exception at bytes that it does not take. ``levels``, a range, and
        ``level``, the one by default, if there are any but 0.
    force : bool
        Whether to replace what has the name.

    Raises
    ------
    BadInputError
        If an attribute is missing or wrong, or the name, extension or first
        bytes are those of another one.

    Notes
    -----
    Whoever reads the files has to register it, too. The decompressor is fed
    1 KiB at a time; how much memory it takes to undo that is its own affair.

    Examples
    --------
    >>> class Twice:
    ...     extension, magic = ".twice", b"BZh"
    ...     compress, decompress = bz2.BZ2Compressor, bz2.BZ2Decompressor
    >>> register_compressor("twice", Twice())
    Traceback (most recent call last):
        ...
    ptrarray.errors.BadInputError: compressor 'twice' has the first bytes b'BZh' of 'bz2'
    """
    made = _made(name, compressor)
    if name in _ALIASES or (name in CODECS and not force):
        raise BadInputError(
            f"compressor {name!r} is there already: force=True replaces it", name=name
        )
    for other in CODECS.values():
        if other.name == name:
            continue
        if made.suffix == other.suffix:
            what = f"the extension {made.suffix!r}"
            raise BadInputError(f"compressor {name!r} has {what} of {other.name!r}", name=name)
        if made.magic.startswith(other.magic) or other.magic.startswith(made.magic):
            what = f"the first bytes {made.magic!r:.40}"
            raise BadInputError(f"compressor {name!r} has {what} of {other.name!r}", name=name)
    CODECS[name] = made


def _made(name: str, compressor: Any) -> Codec:
    """Return the codec of what is to be registered."""
    words = "extension", "magic", "compress", "decompress"
    missing = [word for word in words if not hasattr(compressor, word)]
    if missing or not isinstance(name, str) or not name:
        what = f"has no {' and no '.join(missing)}" if missing else "has no name"
        raise BadInputError(f"compressor {name!r:.80} {what}", name=name, found=missing)
    extension, magic = compressor.extension, compressor.magic
    if not isinstance(extension, str) or extension[:1] != "." or len(extension) < 2:
        what = f"has the extension {extension!r:.80}: expected one such as '.br'"
        raise BadInputError(f"compressor {name!r} {what}", name=name, found=extension)
    if not isinstance(magic, bytes) or not STRONG_NBYTES <= len(magic) <= MAGIC_NBYTES:
        what = f"has the first bytes {magic!r:.80}: expected {STRONG_NBYTES} to {MAGIC_NBYTES}"
        raise BadInputError(f"compressor {name!r} {what}", name=name, found=magic)
    levels = getattr(compressor, "levels", range(1))
    level = getattr(compressor, "level", levels[0])
    make, undo = compressor.compress, compressor.decompress
    suffix = extension[1:].lower()
    return Codec(name, magic, make, undo, levels, level, 1 << 10, (), suffix)


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
            # lz4 has None for nothing.
            self.unused = (self._decompressor.unused_data or b"") + raw[last:]
        return inflated
