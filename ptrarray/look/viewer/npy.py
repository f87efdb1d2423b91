"""An array as a ``.npy`` file that is made as it is sent: no more of it in memory than a piece."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.format import infos
from ptrarray.format.checksum import crc32
from ptrarray.format.index import corrupt
from ptrarray.format.layouts import MIXED, ROWS, mask_dtype
from ptrarray.format.named import without_names
from ptrarray.reader import PointerArray, opened_of
from ptrarray.rows.types import Array
from ptrarray.storage.store.compared import compare
from ptrarray.storage.store.opened import OpenedStore
from ptrarray.storage.system.pread import viewed
from ptrarray.storage.writing.transactions import unknown
from ptrarray.views.mappings import encoded

_PIECE_NBYTES = 1 << 20
_REMOTE_PIECE_NBYTES = 8 << 20  # as each is a request
_LARGE = 0xFF00  # bytes of a header
_NAME_LENGTH = 80  # letters that most file systems take, four bytes each at the most


class _Place(NamedTuple):
    """Where an array lies, and what it is.

    Attributes
    ----------
    store : OpenedStore
        The one that has it.
    address : int
        Its address there.
    start, end : int
        Its rows.
    dtype, shape : numpy.dtype, tuple of int
        Of the array.
    is_fortran : bool
        Whether its elements lie in Fortran order.
    info : bytes
        All that is kept of it.
    """

    store: OpenedStore
    address: int
    start: int
    end: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_fortran: bool
    info: bytes

    @property
    def span(self) -> tuple[int, int]:
        """The bytes of the data file in which its elements lie."""
        width = self.store.layout.width
        return self.start * width, self.end * width

    @property
    def mask_span(self) -> tuple[int, int]:
        """The bytes of the mask file in which its mask lies, of a store with masks."""
        return infos.mask_span(self.store.layout, self.start, self.end, self.info)


class File:
    """The file of an array without its mask, or that of its mask.

    Of what lies elsewhere, the last piece comes after all was compared with the checksum.

    Parameters
    ----------
    store : PointerArray
        Open for reading. What it shows now is what the file has.
    name : str
        Of the array.
    of_mask : bool
        Whether it is to be the file of the mask.

    Attributes
    ----------
    nbytes : int
        Bytes of the file.

    Raises
    ------
    UnknownNameError
        A `KeyError`: no array has this name.
    BadInputError
        If there are no masks.

    Examples
    --------
    >>> import io
    >>> file = File(store, "utt2")
    >>> np.load(io.BytesIO(b"".join(file.pieces())))
    array([4., 5.], dtype=float32)
    """

    def __init__(self, store: PointerArray, name: str, *, of_mask: bool = False) -> None:
        if of_mask and not store.masked:
            raise BadInputError(f"{store.path} keeps no masks", path=store.path, name=name)
        self._place = place = _place(store, name)
        self._of_mask = of_mask
        dtype = mask_dtype(place.dtype) if of_mask else place.dtype
        self._header = _header(dtype, place.shape, is_fortran=place.is_fortran)
        first, last = place.mask_span if of_mask else place.span
        self.nbytes = len(self._header) + last - first

    def pieces(self) -> Iterator[bytes | memoryview]:
        """Yield the file, in pieces of a bounded size."""
        yield self._header
        if self._of_mask:
            yield from _mask_pieces(self._place)
            return
        is_compared = self._place.store.is_compared
        crc, held = 0, np.empty(0, np.uint8)
        for piece in _pieces(self._place.store.data, *self._place.span):
            if is_compared:
                crc, piece, held = crc32(piece, crc), held, piece
            yield memoryview(piece)
        if is_compared:
            self._compare(crc)
            yield memoryview(held)

    def _compare(self, crc: int) -> None:
        place = self._place
        if place.store.layout.masked:
            for piece in _mask_pieces(place):
                crc = crc32(piece, crc)
        addresses = np.array([place.address], np.int64)
        compare(place.store.snapshot, addresses, np.array([crc], np.uint32))


def _place(reader: PointerArray, name: str) -> _Place:
    opened, raw = opened_of(reader), encoded(name)
    found = None if raw is None else opened.snapshot.locate(raw)
    if found is None:
        raise unknown(name, reader.path)
    store, address = opened.holding(found)
    layout = store.layout
    start, end = store.snapshot.pointer_at(address)
    shape: tuple[int, ...] = (end - start, *layout.row_shape)
    if layout.kind == ROWS:
        return _Place(store, address, start, end, layout.dtype, shape, False, b"")
    info = store.snapshot.info_at(address)
    try:
        infos.check(layout, end - start, info)
    except ValueError as error:
        path = store.snapshot.index.path
        raise corrupt(path, f"has for rows {start} to {end} {error}") from error
    known = infos.decode(info)
    dtype = known.dtype or layout.dtype if layout.kind == MIXED else layout.dtype
    if known.shape is not None:
        shape = known.shape
    elif layout.kind == MIXED:
        shape = ((end - start) // dtype.itemsize,)
    return _Place(store, address, start, end, dtype, shape, known.is_fortran, info)


def _pieces(rows: Any, first: int, last: int) -> Iterator[Array]:
    """Yield the bytes of rows from one on to another."""
    raw = viewed(rows, np.dtype(np.uint8), (rows.nbytes,))
    is_here = isinstance(raw, np.ndarray)
    size = _PIECE_NBYTES if is_here else _REMOTE_PIECE_NBYTES
    for at in range(first, last, size):
        yield raw[at : min(at + size, last)]


def _mask_pieces(place: _Place) -> Iterator[memoryview]:
    """Yield the bytes of a mask: zeros where the mask file ends before, as nothing is masked."""
    first, last = place.mask_span
    rows = place.store.mask
    if rows is not None and last <= len(rows):
        yield from (memoryview(piece) for piece in _pieces(rows, first, last))
        return
    for at in range(first, last, _PIECE_NBYTES):
        yield memoryview(bytes(min(_PIECE_NBYTES, last - at)))


def _header(dtype: np.dtype[Any], shape: tuple[int, ...], *, is_fortran: bool) -> bytes:
    """Return what a file begins with: of version 1.0, or 3.0 where that cannot be."""
    descr = np.lib.format.dtype_to_descr(without_names(dtype))
    text = repr({"descr": descr, "fortran_order": is_fortran, "shape": shape}).encode()
    is_plain = text.isascii() and len(text) < _LARGE
    n_before = len(np.lib.format.magic(1, 0)) + (2 if is_plain else 4)
    text += b" " * (-(n_before + len(text) + 1) % np.lib.format.ARRAY_ALIGN) + b"\n"
    magic: bytes = np.lib.format.magic(1 if is_plain else 3, 0)
    return magic + struct.pack("<H" if is_plain else "<I", len(text)) + text


def disposition(name: str, ending: str) -> str:
    r"""Return the header by which a browser saves a file that is called as an array.

    Examples
    --------
    >>> disposition("a/\u0142", ".npy")
    "attachment; filename*=UTF-8''a_%C5%82.npy"
    """
    kept = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in name)
    stem = kept[:_NAME_LENGTH].strip(". ") or "array"
    return f"attachment; filename*=UTF-8''{quote(stem + ending, safe='')}"
