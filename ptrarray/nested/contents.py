"""The arrays of an object and its skeleton as they lie in a store: columns, and bytes in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.format.checksum import crc32
from ptrarray.format.entries import Entries, RaggedColumn
from ptrarray.format.infos import mask_span, with_mask_at
from ptrarray.format.layouts import MIXED, Layout
from ptrarray.format.names import hash_all
from ptrarray.intake.batch import info_of
from ptrarray.intake.casting import Fitted, fit_masked
from ptrarray.intake.staging import staged
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
        masked = np.ma.MaskedArray in set(map(type, arrays.values()))
        self.layout = Layout(MIXED, np.dtype(np.uint8), (), masked)
        self._names = list(map(str.encode, [*arrays, skeleton]))
        self._sources: list[Source] = []
        self._infos: list[bytes] = []
        self._sizes: list[int] = []
        self._alone: list[int] = []  # positions of what is not copied together with others
        self._masked: dict[int, Callable[[], Fitted]] = {}
        self._with_masks: list[int] = []  # positions of those in which anything is masked
        self.mask_nbytes = 0
        self._add_all(arrays)
        self._append(pages.put_to, b"", pages.nbytes)
        self._nbytes = np.array(self._sizes, np.int64)
        self._rooms = self.layout.aligned(self._nbytes)
        self._starts = np.cumsum(self._rooms) - self._rooms
        n_rows = int(self._rooms.sum())
        header = new_header(self.layout, n_rows, attrs)
        packed_masks = self.mask_nbytes if masked else None
        self.header = replace(header, n_reserved=n_rows, packed_masks=packed_masks)
        self._blanks = self._blank_masks() if masked else []
        self._crcs: UInt32s | None = None
        self._data_crcs: UInt32s | None = None  # the same without masks

    # what each array is --------------------------------------------------------------------

    def _add_all(self, arrays: dict[str, Any]) -> None:
        """Add arrays; those that lie end to end in a loop without calls, as they may be many."""
        sources, infos, sizes = self._sources, self._infos, self._sizes
        known: dict[tuple[Any, ...], tuple[bytes, Any]] = {}
        for name, content in arrays.items():
            if type(content) is not np.ndarray or not content.flags.forc:
                self._add(name, content)
                continue
            shape, dtype, nbytes = content.shape, content.dtype, content.nbytes
            is_fortran = not content.flags.c_contiguous
            # By identity, as to numpy dtypes that differ in names alone are one.
            key = id(dtype), shape if len(shape) != 1 else None, is_fortran
            if key not in known:
                known[key] = info_of(name, Fitted(content, shape, is_fortran), self.layout), dtype
            if nbytes > _SMALL_NBYTES:
                self._alone.append(len(sources))
            sources.append(content.T if is_fortran else content)
            infos.append(known[key][0])
            sizes.append(nbytes)

    def _append(self, source: Callable[[Put], None], info: bytes, nbytes: int) -> None:
        self._alone.append(len(self._sources))
        self._sources.append(source)
        self._infos.append(info)
        self._sizes.append(nbytes)

    def _add(self, name: str, content: Any) -> None:
        if isinstance(content, np.ma.MaskedArray):
            self._add_masked(name, content)
        elif isinstance(content, str):
            n_bytes = len(content) if content.isascii() else sum(map(len, _encoded(content)))
            self._append(partial(_put_text, content), b"", n_bytes)
        else:
            info = info_of(name, Fitted(content, content.shape), self.layout)
            self._append(partial(_put_strided, content), info, content.nbytes)

    def _add_masked(self, name: str, content: Array) -> None:
        fitted = partial(fit_masked, name, content, None, None)
        at, part = len(self._sources), fitted()
        info = info_of(name, part, self.layout)
        # Made again whenever it is needed if it is a copy.
        self._masked[at] = (lambda: part) if _is_view(part, content) else fitted
        if part.mask is not None and _bytes_of(part.mask).any():
            info = with_mask_at(info, self.mask_nbytes)
            self._with_masks.append(at)
            self.mask_nbytes += part.mask.nbytes
        self._append(partial(_put_masked, self._masked[at]), info, content.nbytes)

    def _blank_masks(self) -> list[int]:
        """Return how many bytes each mask has in which nothing is masked; 0 for the others."""
        others = set(self._with_masks)
        return [
            0 if at in others else mask_span(self.layout, 0, nbytes, info)[1]
            for at, (nbytes, info) in enumerate(zip(self._sizes, self._infos, strict=True))
        ]

    # what they are in a store --------------------------------------------------------------

    def entries(self, crcs: UInt32s) -> Entries:
        """Return the columns of an index, with the checksums that `put_data` returned."""
        return Entries(
            RaggedColumn.of(self._names),
            np.array(hash_all(self._names), np.uint32),
            self._starts,
            self._starts + self._nbytes,
            crcs,
            np.zeros(len(crcs), np.uint8),
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

        for at in [*self._alone, len(crcs)]:
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
        gap = int(self._rooms[at] - self._nbytes[at])
        if gap:
            put(_ZEROS[:gap])
        return crc

    def _put_small(self, first: int, last: int, put: Put, crcs: UInt32s) -> None:
        """Put small arrays, and zeros between them, many at a time."""
        arrays: Any = self._sources[first:last]
        n_bytes = min(int(self._rooms[first:last].sum()), _STAGE_NBYTES)
        for piece in staged(arrays, crcs[first:last], n_bytes, self.layout.alignment):
            put(piece)

    # masks ---------------------------------------------------------------------------------

    def _add_masks(self, crcs: UInt32s) -> None:
        """Go on from the checksums of data to those of data and masks."""
        self._data_crcs = crcs.copy()
        for at, n_blank in enumerate(self._blanks):
            for piece in _zeros(n_blank):
                crcs[at] = crc32(piece, int(crcs[at]))
        for at in self._with_masks:
            crcs[at] = self._with_mask(at)[1]

    def _with_mask(self, at: int) -> tuple[UInt8s, int]:
        """Return a mask in which something is masked, and the checksum of the data and it."""
        assert self._data_crcs is not None
        mask = self._masked[at]().mask
        raw = _ZEROS[:0] if mask is None else _bytes_of(mask)
        return raw, crc32(raw, int(self._data_crcs[at]))

    def put_masks(self, put: Put) -> None:
        """Put all that the mask file has: the masks in which anything is masked, end to end.

        Raises
        ------
        BadInputError
            If a mask is another one than when `put_data` summed it.
        """
        assert self._crcs is not None
        for at in self._with_masks:
            mask, crc = self._with_mask(at)
            if crc != self._crcs[at]:
                raise changed(f"{crc:08x}", f"{self._crcs[at]:08x}")
            put(mask)


def _is_view(part: Fitted, content: Array) -> bool:
    """Tell whether nothing was copied to fit a masked array."""
    is_view = np.may_share_memory(part.elements, content)
    return is_view and (part.mask is None or np.may_share_memory(part.mask, np.ma.getmask(content)))


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
