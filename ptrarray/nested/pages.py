"""The skeleton of an object, with little memory of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ptrarray.errors import BadInputError
from ptrarray.format.checksum import crc32
from ptrarray.objects.encoder import Content

_KEPT_NBYTES = 1 << 24

Put = Callable[[Any], object]  # takes all of a buffer of bytes


class Pages:
    """The skeleton of an object, or only its size and checksum if it is too large to be kept.

    Parameters
    ----------
    encode : callable
        Encodes the object, giving each page to what it is given.
    limit_nbytes : int
        Up to how many bytes pages are kept; if there are more, they are made again.

    Attributes
    ----------
    arrays : dict
        What `encode` returned.
    nbytes, crc : int
        Size of all pages, and their CRC-32.
    """

    def __init__(
        self, encode: Callable[[Put], dict[str, Content]], limit_nbytes: int = _KEPT_NBYTES
    ) -> None:
        self._encode = encode
        self._limit_nbytes = limit_nbytes
        self._kept: list[bytes] = []
        self.nbytes = self.crc = 0
        self.arrays = encode(self._put)

    def _put(self, page: bytes) -> None:
        self.nbytes += len(page)
        self.crc = crc32(page, self.crc)
        if self.nbytes <= self._limit_nbytes:
            self._kept.append(page)
        else:
            self._kept.clear()

    def put_to(self, put: Put) -> None:
        """Put all pages.

        Raises
        ------
        BadInputError
            If pages are made again, and differ.
        """
        if self.nbytes > self._limit_nbytes:
            self._encode_again(put)
        for page in self._kept:
            put(page)

    def _encode_again(self, put: Put) -> None:
        crc, n_left = 0, self.nbytes

        def put_page(page: bytes) -> None:
            nonlocal crc, n_left
            crc, n_left = crc32(page, crc), n_left - len(page)
            if n_left < 0:  # not one byte of what comes behind the skeleton is to be another
                raise changed(crc, self.crc)
            put(page)

        self._encode(put_page)
        if crc != self.crc or n_left:
            raise changed(crc, self.crc)


def changed(found: object, expected: object) -> BadInputError:
    """Return the error for an object that is not what it was a moment ago."""
    what = "obj changed while it was being dumped"
    return BadInputError(what, found=found, expected=expected)
