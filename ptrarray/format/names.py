"""Names as bytes and hashes: what may name an array, and how it is looked up."""

from __future__ import annotations

from array import array
from codecs import getincrementaldecoder
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.format.checksum import crc32
from ptrarray.rows.types import Int64s, UInt8s

NAME_LIMIT_NBYTES = 64 * 1024
_DECODED_NBYTES = 1 << 20  # in one go
Hashes: TypeAlias = "Sequence[int] | memoryview[int]"  # of uint32; items are Python's ints


def encode(name: str) -> bytes:
    r"""Return the UTF-8 bytes of one name.

    Raises
    ------
    BadInputError
        If `name` is not a ``str``, cannot be encoded (a lone surrogate) or is
        longer than 64 KiB.

    Examples
    --------
    >>> encode("größe")
    b'gr\xc3\xb6\xc3\x9fe'
    """
    if not isinstance(name, str):
        raise BadInputError(
            f"a name must be a str, not {type(name).__name__}: {name!r:.80}",
            name=name,
            found=type(name).__name__,
            expected="str",
        )
    try:
        raw = str.encode(name)
    except UnicodeEncodeError as error:
        raise BadInputError(
            f"name {name!r:.80} cannot be encoded as UTF-8: {error.reason}",
            name=name,
            found=error.reason,
            expected="UTF-8",
        ) from None
    if len(raw) > NAME_LIMIT_NBYTES:
        raise BadInputError(
            f"name {name[:40]!r}… has {len(raw)} bytes in UTF-8, at most {NAME_LIMIT_NBYTES} are kept",
            name=name,
            found=len(raw),
            expected=NAME_LIMIT_NBYTES,
        )
    return raw


def decode(raw: bytes) -> str:
    r"""Return a name read from a store as text; bytes that are not UTF-8 become escapes.

    Examples
    --------
    >>> decode(b"gr\xc3\xb6\xc3\x9fe"), decode(b"\xff")
    ('größe', '\\xff')
    """
    return raw.decode(errors="backslashreplace")


def is_text(joined: UInt8s, ends: Int64s) -> bool:
    r"""Tell whether items that lie end to end, in all of some bytes, are UTF-8 each.

    Examples
    --------
    >>> raw = np.frombuffer("größe".encode(), np.uint8)
    >>> is_text(raw, np.array([4, 7])), is_text(raw, np.array([3, 7]))
    (True, False)
    """
    if np.bitwise_or.reduce(joined, initial=0) < 0x80:
        return True
    decoder = getincrementaldecoder("utf-8")()
    try:
        for at in range(0, len(joined), _DECODED_NBYTES):
            decoder.decode(joined[at : at + _DECODED_NBYTES].tobytes())
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    first = joined[ends[ends < len(joined)]]
    return not np.any(first & 0xC0 == 0x80)  # which go on with a character


def encode_all(names: Sequence[str]) -> list[bytes]:
    """Return the UTF-8 bytes of several names; `encode` one by one, but faster."""
    if len(names) == 1:
        return [encode(names[0])]
    encoded = encode_any(names)
    if encoded is None or max(map(len, encoded), default=0) > NAME_LIMIT_NBYTES:
        return [encode(name) for name in names]
    return encoded


def ends_of(items: Sequence[bytes]) -> Int64s:
    """Where names, or other items, end if they lie end to end.

    Examples
    --------
    >>> ends_of([b"utt1", b"", b"a"])
    array([4, 4, 5])
    """
    return np.cumsum(np.fromiter(map(len, items), np.int64, len(items)))


def encode_any(names: Sequence[str]) -> list[bytes] | None:
    """Return the bytes of names of any length, or None where `encode` must say what is wrong."""
    try:
        return list(map(str.encode, names))
    except UnicodeEncodeError:
        return None
    except TypeError:
        if all(isinstance(name, str) for name in names):
            raise  # it came from the handler of a signal
        return None


def hash_all(encoded: Iterable[bytes]) -> array[int]:
    """CRC-32 of each encoded name, as the index and the journal keep it.

    Examples
    --------
    >>> hash_all([b"utt1", b""])
    array('I', [886109174, 0])
    """
    return array("I", map(crc32, encoded))
