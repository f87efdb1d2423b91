"""Names as bytes and hashes: what may name an array, and how it is looked up."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.format.checksum import crc32

NAME_LIMIT_NBYTES = 64 * 1024


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


def encode_all(names: Sequence[str]) -> list[bytes]:
    """Return the UTF-8 bytes of several names; `encode` one by one, but faster."""
    encoded = _encoded(names)
    if encoded is None or max(map(len, encoded)) > NAME_LIMIT_NBYTES:
        return [encode(name) for name in names]
    return encoded


def encode_with_ends(names: Sequence[str]) -> tuple[list[bytes], array[int]]:
    """Return the UTF-8 bytes of names as `encode_all`, and where each ends if they lie end to end."""
    if len(names) == 1:
        raw = encode(names[0])
        return [raw], array("Q", [len(raw)])
    encoded = _encoded(names)
    if encoded is not None:
        ends = ends_of(encoded)
        if np.diff(np.frombuffer(ends, np.uint64), prepend=0).max() <= NAME_LIMIT_NBYTES:
            return encoded, ends
    encoded = [encode(name) for name in names]
    return encoded, ends_of(encoded)


def ends_of(items: Iterable[bytes]) -> array[int]:
    """Where names, or other items, end if they lie end to end.

    Examples
    --------
    >>> ends_of([b"utt1", b"", b"a"])
    array('Q', [4, 4, 5])
    """
    return array("Q", accumulate(map(len, items)))


def _encoded(names: Sequence[str]) -> list[bytes] | None:
    """Return the bytes of names of any length, or None where `encode` must say what is wrong."""
    if len(names) > 1 and list(map(type, names)).count(str) == len(names):
        try:
            return list(map(str.encode, names))
        except UnicodeEncodeError:
            pass
    return None


def hash_all(encoded: Iterable[bytes]) -> array[int]:
    """CRC-32 of each encoded name, as the index and the journal keep it.

    Examples
    --------
    >>> hash_all([b"utt1", b""])
    array('I', [886109174, 0])
    """
    return array("I", map(crc32, encoded))
