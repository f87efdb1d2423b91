"""Arrays made ready to be written: checked, cast, hashed and summed, before any lock."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise, repeat
from operator import add
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ptrarray import native
from ptrarray.errors import BadInputError
from ptrarray.format import infos, metadata
from ptrarray.format import names as naming
from ptrarray.format.checksum import crc32
from ptrarray.format.checksums import crc32_each
from ptrarray.format.entries import Entries, Entry, RaggedColumn
from ptrarray.format.journal import PUT, HashedRecord, encode_one, encode_records
from ptrarray.format.layouts import ALIGNMENT_NBYTES, MIXED, ROWS, Layout, mask_dtype
from ptrarray.format.named import Names, names_in
from ptrarray.format.names import Hashes
from ptrarray.intake.casting import Fitted, fit, fit_masked, fit_shaped
from ptrarray.intake.staging import staged
from ptrarray.rows.ragged import Ragged
from ptrarray.rows.types import Int64s, UInt32s

NAMES_LIMIT_NBYTES = 2**30  # of the names in one call
_FEW = 4  # arrays that are fitted sooner one by one
# From here on, in one array and in all, computing checksums in another thread gains more than
# starting it costs.
_LARGE_NBYTES = 1 << 14
_THREAD_NBYTES = 1 << 22
_SUMMED_AT_ONCE_NBYTES = 1 << 16  # larger ones perhaps while they are written
# Copied, then written, in one go. Below 128 KiB the memory for it is at hand, above it is mapped
# anew, which pays for large batches only.
_STAGE_NBYTES = (120 << 10, 1 << 20)
_ZEROS = np.zeros(ALIGNMENT_NBYTES, np.uint8)

Numbers: TypeAlias = "Sequence[int] | npt.NDArray[Any]"  # of one array, or of many


@dataclass(slots=True)
class Batch:
    """Named arrays that will lie end to end, but for gaps where they must be aligned.

    Attributes
    ----------
    names : sequence of bytes
        Encoded names; a `RaggedColumn` unless it is one.
    hashes : array or memoryview of uint32
        CRC-32 of each name.
    offsets : array or ndarray of int64, one more than names
        Array ``i`` begins at row ``offsets[i]`` of the batch, and its room ends at
        ``offsets[i + 1]``.
    n_rows : int
        Rows in all, the last of the offsets.
    buffers : list of ndarray
        C-contiguous, in order, gaps as zeros; the callers' own arrays where they fit.
    pieces : list of ndarray, Ragged or None
        The bytes of each array, which may lie end to end; None if they are the buffers.
    lengths : array of int64 or None
        Rows of each array where there may be gaps; None where there are none.
    masks : sequence of ndarray
        Mask of each array, as bytes; none in a store that keeps no masks.
    has_masks : bool
        Whether anything is masked.
    infos, metas : sequence of bytes or None
        Of each array; None where none has one.
    is_staged : bool
        Whether the rows are to be written as `staged` gives them.
    alignment : int
        Of a batch that is staged: zeros up to a multiple of it, in bytes, follow each buffer.
    """

    names: Sequence[bytes]
    hashes: Hashes
    offsets: Numbers
    n_rows: int
    buffers: list[npt.NDArray[Any]]
    pieces: list[npt.NDArray[np.uint8]] | Ragged | None = None
    lengths: Numbers | None = None
    masks: Sequence[npt.NDArray[np.uint8]] = ()
    has_masks: bool = False
    infos: Sequence[bytes] | None = None
    metas: Sequence[bytes] | None = None
    is_staged: bool = False
    alignment: int = 1
    _crcs: Numbers | None = None

    def staged(self, nbytes: int) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield the rows, of so many bytes, in large pieces, and compute their checksums meanwhile.

        A piece is a copy of many arrays, good until the next one, or a large array itself. So
        each array is read from memory once, and its checksum is that of what is written.
        """
        least, most = _STAGE_NBYTES
        arrays = self.buffers if self.pieces is None else self.pieces
        crcs = np.empty(len(arrays), np.uint32)
        n_left = nbytes
        piece_nbytes = min(max(nbytes // 16, least), most, nbytes)
        for piece in staged(arrays, crcs, piece_nbytes, self.alignment):
            n_left -= len(piece)
            if n_left < 0:
                break
            yield piece
        if n_left:
            raise BadInputError("an array was resized while it was being written", found=n_left)
        self._crcs = crcs

    @property
    def crcs(self) -> Numbers:
        """CRC-32 of each array's bytes and mask, computed when it is first asked for."""
        if self._crcs is None:
            pieces = self.buffers if self.pieces is None else self.pieces
            if isinstance(pieces, Ragged):
                crcs = crc32_each(pieces.values, pieces.offsets[:-1], pieces.offsets[1:])
                self._crcs = memoryview(crcs)
            else:
                self._crcs = array("I", map(crc32, pieces))
            if self.masks:
                self._crcs = array("I", map(crc32, self.masks, self._crcs))
        return self._crcs

    def sizes(self, n_buffers: int, row_nbytes: int) -> list[int] | None:
        """Bytes of every so many buffers together, or None where they must be looked at."""
        if self.lengths is not None or len(self.buffers) != len(self.names):
            return None
        bounds = [*np.asarray(self.offsets)[:-1:n_buffers].tolist(), self.n_rows]
        return [(end - start) * row_nbytes for start, end in pairwise(bounds)]

    def records(self, start: int, seed: int, kind: int = PUT) -> list[HashedRecord]:
        """Return the journal's records when the batch begins at row `start`."""
        if len(self.names) != 1:
            records = encode_records(kind, self.entries(start), seed)
            # The very hashes that a session has just sorted, to look for them.
            return [(self.hashes, records[0][1])] if len(records) == 1 else records
        (name,), (name_hash,), (crc,) = self.names, self.hashes, self._crcs or self.crcs
        end = start + (self.n_rows if self.lengths is None else self.lengths[0])
        info = self.infos[0] if self.infos else b""
        meta = self.metas[0] if self.metas else b""
        entry = Entry(name, start, end, crc, 0, info, meta)
        return [(self.hashes, encode_one(kind, entry, name_hash, seed))]

    def entries(self, start: int) -> Entries:
        """Return what is committed when the batch begins at row `start`."""
        bounds = np.asarray(self.offsets).view(np.int64) + start
        starts, ends = bounds[:-1], bounds[1:]
        if self.lengths is not None:
            ends = starts + np.asarray(self.lengths).view(np.int64)
        names = _column(self.names)
        hashes, crcs = np.asarray(self.hashes, np.uint32), np.asarray(self.crcs, np.uint32)
        pointed = np.zeros(len(starts), np.uint8)
        infos = None if self.infos is None else _column(self.infos)
        metas = None if self.metas is None else _column(self.metas)
        return Entries(names, hashes, starts, ends, crcs, pointed, infos, metas)


def _column(items: Sequence[bytes]) -> RaggedColumn:
    return items if isinstance(items, RaggedColumn) else RaggedColumn.of(items)


def only_one(arrays: object, layout: Layout) -> tuple[bytes, npt.NDArray[Any]] | None:
    """Return the name and the rows where there is one array, which is nothing else; or None.

    Raises
    ------
    BadInputError
        As `from_mapping`.
    """
    if type(arrays) is not dict or len(arrays) != 1 or not layout.is_plain:
        return None
    ((name, value),) = arrays.items()
    return naming.encode(name), fit(name, value, layout.dtype, layout.row_shape)


def of_one(name: bytes, rows: npt.NDArray[Any]) -> Batch:
    """Return a batch of what `only_one` gives."""
    n_rows = len(rows)
    batch = Batch([name], (crc32(name),), (0, n_rows), n_rows, [rows])
    if rows.nbytes < _SUMMED_AT_ONCE_NBYTES:
        batch._crcs = (crc32(rows),)
    return batch


def from_mapping(
    arrays: Mapping[str, npt.ArrayLike],
    layout: Layout,
    meta: Mapping[str, Mapping[str, Any]] | None = None,
) -> Batch:
    """Make arrays ready that are given by name.

    Raises
    ------
    BadInputError
        For a name, array or metadata that the store cannot take.
    """
    if type(arrays) is not dict and not isinstance(arrays, Mapping):
        raise metadata.not_a_mapping("arrays", arrays, " from name to array")
    if not isinstance(arrays, dict):
        arrays = dict(arrays)  # as others may make their arrays anew at each look
    if layout.is_plain and len(arrays) > _FEW:
        columns = columns_of(arrays, layout.dtype, layout.row_shape)
        if columns is not None:
            return _from_columns(columns, arrays, meta, layout)
    names, hashes = named(list(arrays))
    metas = None if meta is None else packed_metas(list(arrays), meta)
    if not layout.is_plain:
        return _from_fitted(arrays, names, hashes, metas, layout)
    buffers = list(
        map(fit, arrays, arrays.values(), repeat(layout.dtype), repeat(layout.row_shape))
    )
    offsets = array("q", accumulate(map(len, buffers), initial=0))
    return Batch(names, hashes, offsets, offsets[-1], buffers, metas=metas)


class Columns(NamedTuple):
    """Arrays that can be written as they are, by columns: see `Batch`."""

    names: RaggedColumn
    hashes: UInt32s
    offsets: Int64s
    crcs: UInt32s | None  # None where they are computed while the rows are written
    buffers: list[npt.NDArray[Any]]


def columns_of(
    arrays: dict[str, Any], dtype: np.dtype[Any], row_shape: tuple[int, ...]
) -> Columns | None:
    """Return the columns of arrays, or None where one must be cast, refused or explained."""
    if native.core is not None:
        like = np.empty((0, *row_shape), dtype)
        ready = native.core.prepare(arrays, like, _SUMMED_AT_ONCE_NBYTES)
        if ready is not None:
            joined, ends, *columns = ready
            return Columns(RaggedColumn(ends, np.frombuffer(joined, np.uint8)), *columns)
    return _columns_of(arrays, dtype, row_shape)


def _columns_of(
    arrays: dict[str, Any], dtype: np.dtype[Any], row_shape: tuple[int, ...]
) -> Columns | None:
    """Return the columns of arrays as the native core does, but for checksums that it leaves out."""
    buffers: list[Any] = list(arrays.values())
    encoded = naming.encode_any(list(arrays))
    if encoded is None or not _all_fit(buffers, dtype, row_shape):
        return None
    names = RaggedColumn.of(encoded)
    limit = naming.NAME_LIMIT_NBYTES
    if len(names.joined) > limit and (np.diff(names.ends, prepend=0) > limit).any():
        return None
    hashes = np.fromiter(map(crc32, encoded), np.uint32, len(encoded))
    offsets = np.zeros(len(buffers) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, buffers), np.int64, len(buffers)), out=offsets[1:])
    row_nbytes = dtype.itemsize * math.prod(row_shape)
    if pays_a_thread(int(offsets[-1]) * row_nbytes, len(buffers)):
        # A list is faster than a generator.
        is_fitting = all([value.flags.c_contiguous for value in buffers])  # noqa: C419
        return Columns(names, hashes, offsets, None, buffers) if is_fitting else None
    try:
        crcs = np.fromiter(map(crc32, buffers), np.uint32, len(buffers))
    except ValueError:
        if all(value.flags.c_contiguous for value in buffers):
            raise  # it came from the handler of a signal
        return None
    return Columns(names, hashes, offsets, crcs, buffers)


def pays_a_thread(nbytes: int, n_arrays: int) -> bool:
    """Tell whether computing checksums in another thread gains more than starting it costs."""
    return nbytes > max(_THREAD_NBYTES, _LARGE_NBYTES * n_arrays)


def _from_columns(
    columns: Columns,
    arrays: Mapping[str, npt.ArrayLike],
    meta: Mapping[str, Mapping[str, Any]] | None,
    layout: Layout,
) -> Batch:
    names, hashes, offsets, crcs, buffers = columns
    check_nbytes("names", len(names.joined))
    metas = None if meta is None else packed_metas(list(arrays), meta)
    n_rows, hashes_of = int(offsets[-1]), memoryview(hashes)
    is_staged = crcs is None and not pays_a_thread(n_rows * layout.width, len(buffers))
    batch = Batch(names, hashes_of, offsets, n_rows, buffers, metas=metas, is_staged=is_staged)
    batch._crcs = crcs
    return batch


def named(names: Sequence[str]) -> tuple[Sequence[bytes], Hashes]:
    """Return the bytes of names, and their hashes; raises `BadInputError`."""
    if len(names) == 1:  # which has a limit of its own
        encoded = [naming.encode(names[0])]
        return encoded, naming.hash_all(encoded)
    encoded = naming.encode_all(names)
    column = RaggedColumn.of(encoded)
    check_nbytes("names", len(column.joined))
    if native.core is None:
        return column, naming.hash_all(encoded)
    return column, memoryview(crc32_each(column.joined, column.starts, column.ends))


def _from_fitted(
    arrays: Mapping[str, npt.ArrayLike],
    names: Sequence[bytes],
    hashes: Hashes,
    metas: list[bytes] | None,
    layout: Layout,
) -> Batch:
    """Make arrays ready that have shapes, dtypes or masks of their own."""
    row_shape = layout.row_shape if layout.kind == ROWS else None
    dtype = None if layout.kind == MIXED else layout.dtype
    if layout.masked:
        fitted = [fit_masked(name, value, dtype, row_shape) for name, value in arrays.items()]
    else:
        fitted = [fit_shaped(name, value, dtype) for name, value in arrays.items()]
    pieces = [bytes_of(part.elements) for part in fitted]
    packed = _infos_of(arrays, fitted, layout)
    check_nbytes("dtypes and shapes", sum(map(len, packed)))
    lengths = array("q", [_n_rows(part, layout) for part in fitted])
    gaps = [-length % layout.alignment for length in lengths]
    offsets = array("q", accumulate(map(add, lengths, gaps), initial=0))
    buffers = pieces
    if any(gaps):
        buffers = [buffer for pair in zip(pieces, gaps, strict=True) for buffer in padded(*pair)]
    return Batch(
        names,
        hashes,
        offsets,
        offsets[-1],
        buffers,
        pieces,
        lengths,
        [_mask_of(part) for part in fitted] if layout.masked else (),
        any(part.mask is not None for part in fitted),
        packed if any(packed) else None,
        metas,
    )


def _mask_of(part: Fitted) -> npt.NDArray[np.uint8]:
    if part.mask is not None:
        return bytes_of(part.mask)
    element = mask_dtype(part.elements.dtype)
    return np.zeros(part.elements.size * element.itemsize, np.uint8)


def bytes_of(elements: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return C-contiguous elements as bytes, a view."""
    return (elements if elements.ndim == 1 else elements.reshape(-1)).view(np.uint8)


def padded(piece: npt.NDArray[Any], gap: int) -> list[npt.NDArray[Any]]:
    """Return an array, and the zeros that follow it if there are any."""
    return [piece, _ZEROS[:gap]] if gap else [piece]


def _n_rows(part: Fitted, layout: Layout) -> int:
    if layout.kind == ROWS:
        return len(part.elements)
    return part.elements.nbytes if layout.kind == MIXED else part.elements.size


def _infos_of(names: Iterable[str], fitted: list[Fitted], layout: Layout) -> list[bytes]:
    """Return the packed info of each array; one that many arrays have is packed once."""
    known: dict[Any, bytes] = {}
    found = []
    for name, part in zip(names, fitted, strict=True):
        shape = part.shape if layout.kind != ROWS and len(part.shape) != 1 else None
        # A dtype by where it is: to numpy those that differ in names alone are one.
        kind = id(part.elements.dtype), shape, part.is_fortran, part.fill_value, part.is_hard
        info = known.get(kind)
        if info is None:
            info = known[kind] = info_of(name, part, layout)
        found.append(info)
    return found


def info_of(name: str, part: Fitted, layout: Layout) -> bytes:
    """Return the packed info of an array; raises `BadInputError` if no store keeps it."""
    has_shape = layout.kind != ROWS and len(part.shape) != 1
    own_dtype = layout.kind == MIXED and part.elements.dtype != layout.dtype
    try:
        dtype = part.elements.dtype if own_dtype else None
        names = None if dtype is None else names_in(dtype)
        shape = part.shape if has_shape else None
        kind = dtype, names, layout, shape, part.is_fortran
        if part.fill_value is None and not part.is_hard:
            return _encoded(*kind)
        return infos.encode(
            _info_of(*kind)._replace(fill_value=part.fill_value, is_hard=part.is_hard)
        )
    except BadInputError as error:
        raise BadInputError(f"array {name!r:.80}: {error}", name=name, **error.facts) from error


@lru_cache(maxsize=256)
def _encoded(*kind: Any) -> bytes:
    """Return an info that many arrays have."""
    return infos.encode(_info_of(*kind))


@lru_cache(maxsize=256)
def _info_of(
    dtype: np.dtype[Any] | None,
    names: Names,
    layout: Layout,
    shape: tuple[int, ...] | None,
    is_fortran: bool,
) -> infos.Info:
    """Return an info with the dtype as it will be read back, or say why it cannot be kept.

    To numpy dtypes that differ in names alone are one.
    """
    return infos.Info(None if dtype is None else infos.kept(dtype, layout)[0], shape, is_fortran)


def _all_fit(values: list[Any], dtype: np.dtype[Any], row_shape: tuple[int, ...]) -> bool:
    """Tell whether `fit` would return each of the values as it is, if they are C-contiguous."""
    n_values = len(values)
    if list(map(type, values)).count(np.ndarray) < n_values:
        return False
    if row_shape:
        fitting = [value.shape[1:] for value in values].count(row_shape)
    else:
        fitting = [value.ndim for value in values].count(1)
    return fitting == n_values and [value.dtype for value in values].count(dtype) == n_values


def packed_metas(names: Sequence[str], meta: Mapping[str, Mapping[str, Any]]) -> list[bytes] | None:
    """Return the packed metadata of each array, None if none has any; raises `BadInputError`."""
    metas = metadata.encode_all(names, meta)
    check_nbytes("metadata", sum(map(len, metas or ())))
    return metas


def check_nbytes(what: str, nbytes: int) -> None:
    """Check that there is room for what goes into one record of the journal."""
    if nbytes > NAMES_LIMIT_NBYTES:
        raise BadInputError(
            f"the {what} have {nbytes} bytes together, at most {NAMES_LIMIT_NBYTES} can be "
            "written in one call: use several",
            found=nbytes,
            expected=NAMES_LIMIT_NBYTES,
        )


def given_twice(name: str) -> BadInputError:
    """Return the error for a name that two arrays of one call have."""
    return BadInputError(f"name {name!r:.80} is given twice", name=name)
