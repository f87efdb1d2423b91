"""The arrays of an object and its skeleton as they lie in a store: columns, and bytes in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray import native
from ptrarray.format.checksum import crc32
from ptrarray.format.entries import Entries, RaggedColumn
from ptrarray.format.infos import mask_span, with_mask_at
from ptrarray.format.layouts import ALIGNMENT_NBYTES, MIXED, Layout
from ptrarray.format.names import hash_all
from ptrarray.intake.batch import info_of
from ptrarray.intake.casting import Fitted, fit_masked
from ptrarray.nested.pages import Pages, Put, changed
from ptrarray.rows.copying import clean_copy
from ptrarray.rows.types import Array, UInt8s, UInt32s
from ptrarray.storage.lifecycle.create import new_header

# Up to here an array is copied together with others. Larger ones are written from where they are,
# in blocks that are still in the processor's cache when they are written.
_SMALL_NBYTES = 1 << 16
_BLOCK_NBYTES = 1 << 18
_STAGE_NBYTES = 1 << 20
_PIECE_NBYTES = 1 << 24  # of what does not lie end to end

_ZEROS = np.zeros(_BLOCK_NBYTES, np.uint8)
_GAPS = [_ZEROS[:nbytes] for nbytes in range(ALIGNMENT_NBYTES)]

# An array that lies end to end, or what puts its bytes.
Source = npt.NDArray[Any] | Callable[[Put], None]


class Contents:
    """What a store of an object consists of.

    Parameters
    ----------
    pages : Pages
        The object, encoded.
    skeleton : str
        Name of the array that the skeleton is.
    attrs : dict
        Of the store.

    Attributes
    ----------
    layout : Layout
        Of the store.
    header : IndexHeader
        Of its index.
    mask_nbytes : int
        Bytes of the mask file.

    Raises
    ------
    BadInputError
        For an array that no store keeps.
    """

    def __init__(self, pages: Pages, skeleton: str, attrs: dict[str, Any]) -> None:
        arrays = pages.arrays
        masked = any(isinstance(content, np.ma.MaskedArray) for content in arrays.values())
        self.layout = Layout(MIXED, np.dtype(np.uint8), (), masked)
        self._names = [name.encode() for name in [*arrays, skeleton]]
        self._sources: list[Source] = []
        self._infos: list[bytes] = []
        self._nbytes: list[int] = []
        self._masked: dict[int, Callable[[], Fitted]] = {}
        self._with_masks: list[int] = []  # positions of those in which anything is masked
        self.mask_nbytes = 0
        self._known: dict[tuple[Any, ...], tuple[bytes, int, np.dtype[Any]]] = {}
        for name, content in arrays.items():
            self._add(name, content)
        self._append(pages.put_to, b"", pages.nbytes)
        nbytes = np.array(self._nbytes, np.int64)
        rooms = self.layout.aligned(nbytes)
        self._starts = np.cumsum(rooms) - rooms
        self._gaps: list[int] = (rooms - nbytes).tolist()
        n_rows = int(rooms.sum())
        header = new_header(self.layout, n_rows, attrs)
        packed_masks = self.mask_nbytes if masked else None
        self.header = replace(header, n_reserved=n_rows, packed_masks=packed_masks)
        self._crcs: UInt32s | None = None

    # what each array is --------------------------------------------------------------------

    def _append(self, source: Source, info: bytes, nbytes: int) -> None:
        self._sources.append(source)
        self._infos.append(info)
        self._nbytes.append(nbytes)

    def _add(self, name: str, content: Any) -> None:
        if type(content) is np.ndarray:
            self._add_plain(name, content)
        elif isinstance(content, str):
            n_bytes = len(content) if content.isascii() else sum(map(len, _encoded(content)))
            self._append(partial(_put_text, content), b"", n_bytes)
        else:
            self._add_masked(name, content)

    def _add_masked(self, name: str, content: Array) -> None:
        # Made again whenever it is needed, as it may be a copy.
        fitted = partial(fit_masked, name, content, None, None)
        at, info = len(self._sources), info_of(name, fitted(), self.layout)
        self._masked[at] = fitted
        mask = self._mask(at)
        if mask is not None and mask.any():
            info = with_mask_at(info, self.mask_nbytes)
            self._with_masks.append(at)
            self.mask_nbytes += len(mask)
        self._append(partial(_put_masked, fitted), info, content.nbytes)

    def _add_plain(self, name: str, array: Array) -> None:
        flags = array.flags
        is_lying = flags.c_contiguous
        is_fortran = not is_lying and flags.f_contiguous
        # By identity, as to numpy dtypes that differ in names alone are one.
        key = id(array.dtype), array.shape, is_fortran
        known = self._known.get(key)
        if known is None:
            info = info_of(name, Fitted(array, array.shape, is_fortran), self.layout)
            known = self._known[key] = info, array.nbytes, array.dtype
        source: Source = array
        if not is_lying:
            source = array.T if is_fortran else partial(_put_strided, array)
        self._append(source, *known[:2])

    # what they are in a store --------------------------------------------------------------

    def entries(self, crcs: UInt32s) -> Entries:
        """Return the columns of an index, with the checksums that `put_data` returned."""
        nbytes = np.array(self._nbytes, np.int64)
        return Entries(
            RaggedColumn.of(self._names),
            np.array(hash_all(self._names), np.uint32),
            self._starts,
            self._starts + nbytes,
            crcs,
            np.zeros(len(nbytes), np.uint8),
            RaggedColumn.of(self._infos) if any(self._infos) else None,
        )

    def put_data(self, put: Put) -> UInt32s:
        """Put all that the data file has; return the checksum of each array and its mask.

        Raises
        ------
        BadInputError
            If the object is another one than the last time.
        """
        crcs = np.empty(len(self._sources), np.uint32)
        n_put, first = 0, 0

        def counted(piece: Any) -> None:
            nonlocal n_put
            n_put += len(piece)
            put(piece)

        for at in [*self._large(), len(self._sources)]:
            if first < at:
                self._put_small(first, at, counted, crcs)
            if at < len(crcs):
                crcs[at] = self._put_one(at, counted)
            first = at + 1
        if n_put != self.header.n_rows:
            raise changed(f"{n_put} bytes", f"{self.header.n_rows} bytes")
        if self.layout.masked:
            self._add_masks(crcs)
        if self._crcs is not None and not np.array_equal(crcs, self._crcs):
            raise changed("other checksums", "the checksums it had")
        self._crcs = crcs
        return crcs

    def _large(self) -> Iterator[int]:
        """Yield the positions of what is not copied together with others."""
        for at, (source, nbytes) in enumerate(zip(self._sources, self._nbytes, strict=True)):
            if nbytes > _SMALL_NBYTES or type(source) is not np.ndarray:
                yield at

    def _put_one(self, at: int, put: Put) -> int:
        """Put one array from where it is, and zeros up to the next; return its checksum."""
        source, crc = self._sources[at], 0

        def summed(piece: Any) -> None:
            nonlocal crc
            crc = crc32(piece, crc)
            put(piece)

        if isinstance(source, np.ndarray):
            _put_lying(source, summed)
        else:
            source(summed)
        if self._gaps[at]:
            put(_GAPS[self._gaps[at]])
        return crc

    def _put_small(self, first: int, last: int, put: Put, crcs: UInt32s) -> None:
        """Put small arrays, and zeros between them, many at a time."""
        buffers: list[Any] = [_GAPS[0]] * (2 * (last - first))
        buffers[::2] = self._sources[first:last]
        buffers[1::2] = map(_GAPS.__getitem__, self._gaps[first:last])
        put_many = _put_together if native.core is None else _put_staged
        crcs[first:last] = put_many(buffers, put)[::2]

    # masks ---------------------------------------------------------------------------------

    def _add_masks(self, crcs: UInt32s) -> None:
        """Go on from the checksums of data to those of data and masks."""
        for at, (nbytes, info) in enumerate(zip(self._nbytes, self._infos, strict=True)):
            mask = self._mask(at)
            n_bytes = mask_span(self.header.layout, 0, nbytes, with_mask_at(info, None))
            pieces = _zeros(n_bytes[1] - n_bytes[0]) if mask is None else iter((mask,))
            for piece in pieces:
                crcs[at] = crc32(piece, int(crcs[at]))

    def _mask(self, at: int) -> UInt8s | None:
        if at not in self._masked:
            return None
        mask = self._masked[at]().mask
        return None if mask is None else _bytes_of(mask)

    def put_masks(self, put: Put) -> None:
        """Put all that the mask file has: the masks in which anything is masked, end to end."""
        for at in self._with_masks:
            mask = self._mask(at)
            if mask is not None:
                put(mask)


def _put_staged(buffers: list[Any], put: Put) -> UInt32s:
    """Put small arrays by the native core, which copies and sums them in one go."""
    assert native.core is not None
    room = np.empty(min(sum([buffer.nbytes for buffer in buffers]), _STAGE_NBYTES), np.uint8)
    crcs = np.empty(len(buffers), np.uint32)
    at = 0
    while at < len(buffers):
        next_at, used = native.core.stage(buffers, at, room, crcs) or (at, 0)
        if next_at == at:
            raise changed(f"an array of {buffers[at].nbytes} bytes", "a smaller one")
        put(room[:used])
        at = next_at
    return crcs


def _put_together(buffers: list[Any], put: Put) -> UInt32s:
    """Put small arrays as `_put_staged` does."""
    crcs = np.empty(len(buffers), np.uint32)
    waiting: list[UInt8s] = []
    n_bytes = 0
    for at, buffer in enumerate(buffers):
        raw = _bytes_of(buffer)
        crcs[at] = crc32(raw)
        if n_bytes + raw.nbytes > _STAGE_NBYTES:
            put(b"".join(waiting))
            waiting, n_bytes = [], 0
        waiting.append(raw)
        n_bytes += raw.nbytes
    put(b"".join(waiting))
    return crcs


def _bytes_of(array: Array) -> UInt8s:
    return array.reshape(-1).view(np.uint8)


def _zeros(nbytes: int) -> Iterator[UInt8s]:
    for at in range(0, nbytes, _BLOCK_NBYTES):
        yield _ZEROS[: nbytes - at]


def _put_lying(array: Array, put: Put) -> None:
    """Put the bytes of an array that lies end to end."""
    raw = _bytes_of(array)
    for at in range(0, len(raw), _BLOCK_NBYTES):
        put(raw[at : at + _BLOCK_NBYTES])


def _put_masked(fitted: Callable[[], Fitted], put: Put) -> None:
    _put_lying(fitted().elements, put)


def _put_text(text: str, put: Put) -> None:
    """Put the UTF-8 bytes of a str without having all of them in memory."""
    for piece in _encoded(text):
        put(piece)


def _encoded(text: str) -> Iterator[bytes]:
    step = _PIECE_NBYTES // 4
    for at in range(0, len(text), step):
        yield text[at : at + step].encode("utf-8", "surrogatepass")


def _put_strided(array: Array, put: Put) -> None:
    """Put an array that does not lie end to end in pieces."""
    n_elements = _PIECE_NBYTES // array.itemsize + 1
    flags: Any = ["external_loop", "buffered", "zerosize_ok"]
    for piece in np.nditer(array, flags, buffersize=n_elements, order="C"):
        _put_lying(clean_copy(np.asarray(piece)), put)
