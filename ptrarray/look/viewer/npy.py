"""An array as a ``.npy`` file, in pieces: as much of it in memory as is on its way."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from ptrarray.format.named import without_names
from ptrarray.rows.types import Array

PIECE_NBYTES = 1 << 20
_LARGE = 0xFF00  # bytes of a header
_NAME_LENGTH = 100  # characters that most file systems take


class File(NamedTuple):
    """A file that is made as it is sent.

    Attributes
    ----------
    header : bytes
        What comes before the elements.
    elements : ndarray, one-dimensional
        All of them in the order of the file, a view where that can be.
    """

    header: bytes
    elements: Array

    @property
    def nbytes(self) -> int:
        """Bytes of the file."""
        return len(self.header) + self.elements.nbytes

    def pieces(self) -> Iterator[memoryview]:
        """Yield the file in pieces of about a megabyte."""
        yield memoryview(self.header)
        n_each = max(1, PIECE_NBYTES // max(1, self.elements.itemsize))
        for first in range(0, len(self.elements) if self.elements.nbytes else 0, n_each):
            yield memoryview(self.elements[first : first + n_each].view(np.uint8))


def file_of(array: Array) -> File:
    """Return an array without its mask as a file, as `numpy.load` reads it."""
    array = np.ma.getdata(array)
    array = array.view(without_names(array.dtype))
    fields = np.lib.format.header_data_from_array_1_0(array)
    order: Any = "F" if fields["fortran_order"] else "C"
    return File(_header(fields), array.reshape(-1, order=order))


def _header(fields: dict[str, Any]) -> bytes:
    """Return what a file begins with: of version 1.0, or 3.0 where that cannot be."""
    text = repr(fields).encode()
    is_small = text.isascii() and len(text) < _LARGE
    n_before = len(np.lib.format.magic(1, 0)) + (2 if is_small else 4)
    text += b" " * (-(n_before + len(text) + 1) % np.lib.format.ARRAY_ALIGN) + b"\n"
    magic = np.lib.format.magic(1 if is_small else 3, 0)
    return magic + struct.pack("<H" if is_small else "<I", len(text)) + text


def mask_of(array: Array) -> Array | None:
    """Return the mask of an array; None where the store keeps none."""
    return np.ma.getmaskarray(array) if isinstance(array, np.ma.MaskedArray) else None


def disposition(name: str, ending: str) -> str:
    r"""Return the header by which a browser saves a file, named after an array.

    Examples
    --------
    >>> disposition("a/\u0142", ".npy")
    "attachment; filename*=UTF-8''a_%C5%82.npy"
    """
    kept = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in name)
    stem = kept[:_NAME_LENGTH].strip(". ") or "array"
    return f"attachment; filename*=UTF-8''{quote(stem + ending, safe='')}"
