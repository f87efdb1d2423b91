"""The skeleton of an object as bytes: pages of tokens, each page one msgpack array.

A token is a plain value (nil, bool, int of 64 bits, float, str, bin), which stands
for itself, or an operation: an array of its name and its arguments. Pages only
serve to pack and unpack many tokens in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import msgpack

from ptrarray.errors import CorruptStoreError
from ptrarray.rows.types import UInt8s

PLAIN = frozenset({type(None), bool, int, float, str, bytes})
_OF_ONE_WEIGHT = frozenset({type(None), bool, float})
_FEW = 32  # values that are sooner looked at one by one

# From here on a str, bytes or int is kept as an array of its own.
LARGE = 1 << 16

# Up to here a str or bytes is written wherever it is; if longer, once.
SMALL = 256

# Keys are hashed, and hashing a tuple in a tuple in a tuple needs stack.
KEY_DEPTH_LIMIT = 100

PAGE_LENGTH = 1024
_PAGE_NBYTES = 1 << 18
_TEXT_NBYTES = 4 * LARGE
_FEED_NBYTES = 1 << 20
_BUFFER_NBYTES = 16 * _FEED_NBYTES  # more than the largest page that is written


def plain_weight(values: Collection[Any]) -> int:
    """Return about how many bytes values take that can be packed as they are; -1 if they cannot.

    Examples
    --------
    >>> plain_weight([1, 2.5, "abc"]), plain_weight([1, 2**70]), plain_weight([1, []])
    (30, -1, -1)
    """
    if len(values) > _FEW:
        kinds = set(map(type, values))
        if kinds <= _OF_ONE_WEIGHT:
            return 9 * len(values)
        if kinds == {int}:
            return 9 * len(values) if _is_small(min(values)) and _is_small(max(values)) else -1
    weight = 9 * len(values)
    for value in values:
        kind = type(value)
        if kind is str or kind is bytes:
            if len(value) > SMALL:
                return -1
            weight += len(value)
        elif kind not in PLAIN or (kind is int and not _is_small(value)):
            return -1
    return weight


def _is_small(value: int) -> bool:
    return -(2**63) <= value < 2**64


class TokenWriter:
    """Packs tokens into pages.

    Parameters
    ----------
    put_page : callable
        Is given each page, the last one at `close`.
    """

    def __init__(self, put_page: Callable[[bytes], object]) -> None:
        self._put_page = put_page
        self._tokens: list[Any] = []
        self._weight = 0
        # File names may hold lone surrogates.
        self._packer = msgpack.Packer(unicode_errors="surrogatepass")

    def put(self, token: Any) -> None:
        """Add a token."""
        self._tokens.append(token)
        if len(self._tokens) == PAGE_LENGTH:
            self.close()

    def put_many(self, tokens: list[Any]) -> None:
        """Add tokens, in the same pages as one after the other."""
        while tokens:
            n_left = PAGE_LENGTH - len(self._tokens)
            self._tokens += tokens[:n_left]
            if len(self._tokens) == PAGE_LENGTH:
                self.close()
            tokens = tokens[n_left:]

    def put_sized(self, token: Any, nbytes: int) -> None:
        """Add a token of so many bytes or characters, so that pages stay small."""
        self._tokens.append(token)
        self._weight += nbytes
        if self._weight > _PAGE_NBYTES or len(self._tokens) == PAGE_LENGTH:
            self.close()

    def close(self) -> None:
        """Pack what is left."""
        if self._tokens:
            self._put_page(self._packer.pack(self._tokens))
            self._tokens, self._weight = [], 0


def read_tokens(raw: UInt8s, path: str) -> Iterator[Any]:
    """Yield the tokens of a skeleton; any of what msgpack knows, for the decoder to judge.

    Parameters
    ----------
    raw : ndarray of uint8
        The skeleton.
    path : str
        The store, for messages.

    Raises
    ------
    CorruptStoreError
        For what is no msgpack, is cut short, or has more in it than a writer puts
        in one page.
    """
    unpacker = msgpack.Unpacker(
        unicode_errors="surrogatepass",
        max_buffer_size=_BUFFER_NBYTES,
        max_array_len=PAGE_LENGTH,
        max_str_len=_TEXT_NBYTES,
        max_bin_len=_TEXT_NBYTES,
        max_map_len=0,
        max_ext_len=0,
    )
    whole, end_byte = memoryview(raw), 0
    for start_byte in range(0, len(whole), _FEED_NBYTES):
        for page in _fed(unpacker, whole[start_byte : start_byte + _FEED_NBYTES], path):
            end_byte = unpacker.tell()  # later it counts part of a page, too
            yield from page
    if end_byte != len(whole):
        raise malformed(path, f"is cut short after byte {end_byte} of {len(whole)}")


def _fed(unpacker: msgpack.Unpacker, raw: memoryview, path: str) -> Iterator[list[Any]]:
    """Feed bytes and yield the pages that are complete with them."""
    try:
        unpacker.feed(raw)
        for page in unpacker:
            if type(page) is not list:
                raise malformed(path, f"has a {type(page).__name__} in place of a page")
            yield page
    except CorruptStoreError:
        raise
    except (ValueError, msgpack.UnpackException) as error:
        raise malformed(path, f"has no msgpack at byte {unpacker.tell()}: {error}") from error


def malformed(path: str, what: str) -> CorruptStoreError:
    """Return the error for a skeleton that no `dump` wrote."""
    return CorruptStoreError(f"the skeleton of the object in {path} {what}", path=path)
