"""The arrays and the skeleton of an object into a store, with little memory of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError
from ptrarray.nested.encoder import Content
from ptrarray.writer import PointerArrayWriter

_PIECE_NBYTES = 1 << 24
_BATCH_LENGTH = 1 << 12

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
        with writer.allocate(name, self.nbytes, dtype=np.uint8) as room:
            rows = np.ma.getdata(room)
            if self.nbytes <= self._limit_nbytes:
                _fill(rows, self._kept)
            else:
                self._fill_again(rows)

    def _fill_again(self, rows: npt.NDArray[np.uint8]) -> None:
        at = crc = 0

        def put(page: bytes) -> None:
            nonlocal at, crc
            at, crc = at + len(page), crc32(page, crc)
            if at <= self.nbytes:
                _fill(rows[at - len(page) :], [page])

        self._encode(put)
        if (at, crc) != (self.nbytes, self.crc):
            raise BadInputError(
                "obj changed while it was being dumped", found=at, expected=self.nbytes
            )


def _fill(rows: npt.NDArray[np.uint8], pieces: Iterable[bytes]) -> None:
    """Put bytes into the first of some rows."""
    at = 0
    for piece in pieces:
        rows[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
        at += len(piece)


def write_arrays(writer: PointerArrayWriter, arrays: Mapping[str, Content]) -> None:
    """Write arrays: small ones many at a time, large ones from where they are, or in pieces."""
    batch: dict[str, npt.NDArray[Any]] = {}
    n_bytes = 0
    for name, content in arrays.items():
        if isinstance(content, str):
            _write_text(writer, name, content)
        elif content.nbytes > _PIECE_NBYTES and not _lies_end_to_end(content):
            _write_strided(writer, name, content)
        else:
            batch[name] = content
            n_bytes += content.nbytes
        if n_bytes > _PIECE_NBYTES or len(batch) == _BATCH_LENGTH:
            writer.write(batch)
            batch, n_bytes = {}, 0
    writer.write(batch)


def _lies_end_to_end(array: npt.NDArray[Any]) -> bool:
    # Masked arrays take their mask with them, and are copied if they have to be.
    is_masked = isinstance(array, np.ma.MaskedArray)
    return is_masked or array.flags.c_contiguous or array.flags.f_contiguous


def _write_text(writer: PointerArrayWriter, name: str, text: str) -> None:
    """Write the UTF-8 bytes of a str without having all of them in memory."""
    n_bytes = sum(map(len, _encoded(text)))
    with writer.allocate(name, n_bytes, dtype=np.uint8) as room:
        _fill(np.ma.getdata(room), _encoded(text))


def _encoded(text: str) -> Iterator[bytes]:
    step = _PIECE_NBYTES // 4
    for at in range(0, len(text), step):
        yield text[at : at + step].encode("utf-8", "surrogatepass")


def _write_strided(writer: PointerArrayWriter, name: str, array: npt.NDArray[Any]) -> None:
    with writer.allocate(name, array.shape, dtype=array.dtype) as room:
        np.ma.getdata(room)[...] = array
