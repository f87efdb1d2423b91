"""The arrays and the skeleton of an object into a store, with little memory of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError
from ptrarray.format.checksum import crc32
from ptrarray.intake.casting import clean_copy
from ptrarray.jobs.batches import Batches, Group
from ptrarray.objects.encoder import Content
from ptrarray.storage.writing.allocation import streamed
from ptrarray.writer import PointerArrayWriter, store_of

_PIECE_NBYTES = 1 << 24

Put = Callable[[bytes], object]


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
        self, encode: Callable[[Put], dict[str, Content]], limit_nbytes: int = _PIECE_NBYTES
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

    def write(self, writer: PointerArrayWriter, name: str) -> None:
        """Write all pages as one array.

        Raises
        ------
        BadInputError
            If pages are made again, and differ.
        """
        with streamed(store_of(writer), name.encode(), self.nbytes, np.uint8) as put:
            if self.nbytes <= self._limit_nbytes:
                for page in self._kept:
                    put(memoryview(page))
            else:
                self._encode_again(put)

    def _encode_again(self, put: Callable[[memoryview], None]) -> None:
        crc = 0

        def put_page(page: bytes) -> None:
            nonlocal crc
            crc = crc32(page, crc)
            put(memoryview(page))

        self._encode(put_page)
        if crc != self.crc:
            raise BadInputError(
                "obj changed while it was being dumped", found=crc, expected=self.crc
            )


def write_arrays(writer: PointerArrayWriter, arrays: Mapping[str, Content]) -> None:
    """Write arrays: small ones many at a time, large ones from where they are, or in pieces."""
    batches = Batches(writer)
    for name, content in arrays.items():
        if isinstance(content, str):
            _write_text(writer, name, content)
        elif content.nbytes > _PIECE_NBYTES and not _lies_end_to_end(content):
            _write_strided(writer, name, content)
        else:
            batches.add(Group(name, {name: content}))
    batches.write()


def _lies_end_to_end(array: npt.NDArray[Any]) -> bool:
    # Masked arrays take their mask with them, and are copied if they have to be.
    is_masked = isinstance(array, np.ma.MaskedArray)
    return is_masked or array.flags.c_contiguous or array.flags.f_contiguous


def _write_text(writer: PointerArrayWriter, name: str, text: str) -> None:
    """Write the UTF-8 bytes of a str without having all of them in memory."""
    n_bytes = sum(map(len, _encoded(text)))
    with streamed(store_of(writer), name.encode(), n_bytes, np.uint8) as put:
        for piece in _encoded(text):
            put(memoryview(piece))


def _encoded(text: str) -> Iterator[bytes]:
    step = _PIECE_NBYTES // 4
    for at in range(0, len(text), step):
        yield text[at : at + step].encode("utf-8", "surrogatepass")


def _write_strided(writer: PointerArrayWriter, name: str, array: npt.NDArray[Any]) -> None:
    with streamed(store_of(writer), name.encode(), array.shape, array.dtype) as put:
        n_elements = _PIECE_NBYTES // array.itemsize + 1
        flags: Any = ["external_loop", "buffered", "zerosize_ok"]
        for piece in np.nditer(array, flags, buffersize=n_elements, order="C"):
            put(clean_copy(np.asarray(piece)))
