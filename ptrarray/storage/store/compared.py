"""Arrays that come whole from elsewhere: many in one go, each compared with its checksum."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np

from ptrarray.errors import CorruptStoreError, StoreChangedError
from ptrarray.format import infos
from ptrarray.format.checksum import crc32
from ptrarray.format.checksums import crc32_each
from ptrarray.format.index import corrupt
from ptrarray.rows.copying import cut
from ptrarray.rows.ragged import Ragged
from ptrarray.rows.types import AnyRows, Array, Int64s, Read, UInt32s
from ptrarray.storage.store.snapshot import StoreSnapshot

# What is read in one go, every array counted as some bytes more than it has. One array that is kept
# keeps all of it.
BATCH_NBYTES = 512 << 10
_EACH_NBYTES = 64


class Batch:
    """Some arrays of one store.

    Parameters
    ----------
    snapshot : StoreSnapshot
        Of the store.
    data, mask : ndarray or Rows
        Its rows, and the bytes of its mask file; None without masks.
    addresses : ndarray of int64, shape (n,)
        Of the arrays.
    """

    def __init__(
        self, snapshot: StoreSnapshot, data: AnyRows, mask: AnyRows | None, addresses: Int64s
    ) -> None:
        self.snapshot, self.addresses = snapshot, addresses
        self._rows, self._mask_rows = data, mask
        self._starts, self._ends = clipped(snapshot.pointers_at(addresses), len(data))
        self._offsets = np.append(0, np.cumsum(self._ends - self._starts))
        layout = snapshot.header.layout
        is_plain = layout.is_plain
        self._infos = [b""] * len(addresses) if is_plain else snapshot.infos_at(addresses)
        self._values = np.empty((self._offsets[-1], *data.shape[1:]), data.dtype)
        self._masks = None if mask is None else self._planned_masks(len(mask))

    def _planned_masks(self, n_there: int) -> _Masks:
        """Find where the masks lie: where the mask file ends before, nothing is masked."""
        pairs = zip(self._starts.tolist(), self._ends.tolist(), self._infos, strict=True)
        spans = np.array([self._mask_span(*one) for one in pairs], np.int64).reshape(-1, 2)
        starts, ends = spans.T
        places = np.append(0, np.cumsum(ends - starts))
        raw = np.zeros(places[-1], np.uint8)
        is_there = ends <= n_there
        return _Masks(np.where(is_there, starts, ends), ends, places, raw)

    def _mask_span(self, start: int, end: int, info: bytes) -> tuple[int, int]:
        try:
            return infos.mask_span(self.snapshot.header.layout, start, end, info)
        except ValueError as error:
            raise self._senseless(start, end, error) from error

    def _senseless(self, start: int, end: int, error: ValueError) -> CorruptStoreError:
        return corrupt(self.snapshot.index.path, f"has for rows {start} to {end} {error}")

    def reads(self) -> Iterator[Read]:
        """Return what reads them, to be done in this order before they are asked for."""
        rows: Any = self._rows
        if self._values.nbytes:
            where = self._starts, self._ends, self._offsets[:-1], self._values
            yield from rows.reads(*where, is_ours=True, is_compared=True)
        if self._masks is not None and len(self._masks.raw):
            masks: Any = self._mask_rows
            some = self._masks
            where = some.starts, some.ends, some.places[:-1], some.raw
            yield from masks.reads(*where, is_ours=True)

    def arrays(self) -> list[Array]:
        """Return the arrays, each on memory of all of them.

        Raises
        ------
        CorruptStoreError
            If the checksum of one is not that of what came.
        """
        compare(self.snapshot, self.addresses, self.crcs())
        layout, offsets = self.snapshot.header.layout, self._offsets.tolist()
        arrays = [self._values[at:to] for at, to in pairwise(offsets)]
        if layout.is_plain:
            return arrays
        for at, (rows, info) in enumerate(zip(arrays, self._infos, strict=True)):
            try:
                arrays[at] = infos.view(layout, rows, self._mask(at), info)
            except ValueError as error:
                ends = int(self._starts[at]), int(self._ends[at])
                raise self._senseless(*ends, error) from error
        return arrays

    def _mask(self, at: int) -> Array | None:
        some = self._masks
        return None if some is None else some.raw[some.places[at] : some.places[at + 1]]

    def crcs(self) -> UInt32s:
        """Return the checksums of what came."""
        masks = None if self._masks is None else (self._masks.raw, self._masks.places)
        return crcs_of(self._values, self._offsets, masks)


class _Masks(NamedTuple):
    """Masks of several arrays, as bytes, and where they come from."""

    starts: Int64s
    ends: Int64s
    places: Int64s
    raw: Array


def in_batches(
    snapshot: StoreSnapshot, data: AnyRows, mask: AnyRows | None, lengths: Int64s
) -> Iterator[Batch]:
    """Yield all arrays in data order, some at a time."""
    for low, high in _cut(snapshot, lengths):
        addresses = np.fromiter(map(snapshot.locate_position, range(low, high)), np.int64)
        yield Batch(snapshot, data, mask, addresses)


def some_in_batches(
    snapshot: StoreSnapshot, data: AnyRows, mask: AnyRows | None, addresses: Int64s
) -> Iterator[Batch]:
    """Yield the arrays at some addresses, some at a time."""
    starts, ends = snapshot.pointers_at(addresses)
    for low, high in _cut(snapshot, ends - starts):
        yield Batch(snapshot, data, mask, addresses[low:high])


def _cut(snapshot: StoreSnapshot, lengths: Int64s) -> list[tuple[int, int]]:
    layout = snapshot.header.layout
    return cut(lengths * (layout.width + layout.mask_width) + _EACH_NBYTES, BATCH_NBYTES)


def read_all(rows: AnyRows, batches: Sequence[Batch]) -> list[list[Array]]:
    """Return the arrays of batches that are read at once, by the rows of one of them."""
    do_all(rows, batches)
    return [batch.arrays() for batch in batches]


def do_all(rows: AnyRows, batches: Sequence[Batch]) -> None:
    """Have batches read, all at once, by the rows of one of them."""
    reader: Any = rows
    for _ in reader.in_turn(chain.from_iterable(batch.reads() for batch in batches)):
        pass


def read_ahead(rows: AnyRows, batches: Iterable[Batch]) -> Iterator[Array]:
    """Yield the arrays of batches, of which those that come are under way."""
    reader: Any = rows

    def reads() -> Iterator[Read]:
        for batch in batches:
            yield from batch.reads()
            yield Read(0, bytes, partial(_arrays_of, batch))

    for arrays in reader.in_turn(reads(), grow=True):
        yield from arrays or ()


def _arrays_of(batch: Batch, _: bytes) -> list[Array]:
    return batch.arrays()


def clipped(pointers: tuple[Int64s, Int64s], n_rows: int) -> tuple[Int64s, Int64s]:
    """Return pointers with empty arrays, which may lie past the end, put there."""
    starts, ends = pointers
    return np.minimum(starts, n_rows), np.minimum(ends, n_rows)


def crcs_of(values: Array, offsets: Int64s, masks: tuple[Array, Int64s] | None = None) -> UInt32s:
    """Return the CRC-32 of each of several arrays that lie end to end, and of their masks as bytes."""
    width = values.itemsize * int(np.prod(values.shape[1:]))
    starts, ends = offsets[:-1] * width, offsets[1:] * width
    crcs = np.zeros(len(starts), np.uint32)
    filled = np.flatnonzero(starts < ends)
    if len(filled):
        raw = values.reshape(-1).view(np.uint8)
        crcs[filled] = crc32_each(raw, starts[filled], ends[filled])
    if masks is not None:
        raw, places = masks
        for at in np.flatnonzero(places[:-1] < places[1:]).tolist():
            crcs[at] = crc32(raw[places[at] : places[at + 1]], int(crcs[at]))
    return crcs


def crcs_of_batch(batch: Ragged) -> UInt32s:
    """Return the CRC-32 of each array that is rows, and of its mask."""
    values, masks = np.ma.getdata(batch.values), None
    if isinstance(batch.values, np.ma.MaskedArray):
        raw = np.ma.getmaskarray(batch.values).reshape(-1).view(np.uint8)
        masks = raw, batch.offsets * (raw.nbytes // max(len(values), 1))
    return crcs_of(values, batch.offsets, masks)


def check_in_place(snapshot: StoreSnapshot) -> None:
    """Raise `StoreChangedError` if another index took the place of that of what lies elsewhere."""
    if snapshot.is_in_place():
        return
    path = snapshot.index.path
    what = f"{path} has changed since the store was opened: refresh() opens what is there now"
    raise StoreChangedError(what, path=path, start=0, end=0, status=None)


def compare(snapshot: StoreSnapshot, addresses: Int64s, actual: UInt32s) -> None:
    """Raise `CorruptStoreError` if the checksum of an array is not that of what came of it."""
    kept = snapshot.crcs_at(addresses)
    for at in np.flatnonzero(kept != actual)[:1].tolist():
        check_in_place(snapshot)
        address = int(addresses[at])
        start, end = snapshot.pointer_at(address)
        name = snapshot.name_at(address).decode(errors="backslashreplace")
        what = f"has array {name!r:.80}, rows {start} to {end}"
        is_not = f"its pointer says CRC-32 {kept[at]:08x}, what came has {actual[at]:08x}"
        raise corrupt(snapshot.data_path, f"{what}: {is_not}")
