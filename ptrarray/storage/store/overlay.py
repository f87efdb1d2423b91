"""The journal's changes laid over an index, and the order of all arrays together."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.format.journal import ATTRS, DELETE, POINT, Record
from ptrarray.format.names import hash_all
from ptrarray.storage.store.index import Columns, Index, RaggedColumn

Int64s = npt.NDArray[np.int64]


_DELETED = -1


class Overlay:
    """What the records of a journal change in an index.

    Attributes
    ----------
    entries : dict of bytes to int
        Where the columns below tell of a name, by the last word of the journal
        on it, in the order of commits; negative where it was deleted.
    starts, ends, crcs, pointed : array
        One entry for each name in each record.
    infos, metas : dict of int to bytes
        Of the entries that have any.
    attrs : dict or None
        The user's attrs, if the journal changed them.
    n_rows : int
        Rows of the flat array, in the index or as committed since.
    end_byte : int
        Byte of the journal up to which it was read.
    """

    def __init__(self, index: Index, end_byte: int) -> None:
        self._index = index
        self.end_byte = end_byte
        self.entries: dict[bytes, int] = {}
        self.starts, self.ends = array("q"), array("q")
        self.crcs, self.pointed = array("I"), array("B")
        self.infos: dict[int, bytes] = {}
        self.metas: dict[int, bytes] = {}
        self.attrs: dict[str, Any] | None = None
        self.n_rows = index.header.n_rows
        self._order: Order | None = None

    def extended(self, records: Iterable[Record], end_byte: int) -> Overlay:
        """Return a new overlay with more records applied."""
        overlay = Overlay(self._index, end_byte)
        overlay.entries = dict(self.entries)
        overlay.starts, overlay.ends = self.starts[:], self.ends[:]
        overlay.crcs, overlay.pointed = self.crcs[:], self.pointed[:]
        overlay.infos, overlay.metas = dict(self.infos), dict(self.metas)
        overlay.attrs, overlay.n_rows = self.attrs, self.n_rows
        overlay.extend(records, end_byte)
        return overlay

    def extend(self, records: Iterable[Record], end_byte: int) -> None:
        """Apply more records in place, up to a byte of the journal."""
        for record in records:
            self._apply(record)
        self.end_byte = end_byte
        self._order = None

    def _apply(self, record: Record) -> None:
        if record.kind == ATTRS:
            self.attrs = record.attrs
            return
        places: Iterable[int] = repeat(_DELETED)
        if record.kind != DELETE:
            places = range(len(self.starts), len(self.starts) + len(record.names))
            self._append(record)
        changes = dict(zip(record.names, places, strict=False))
        # A dict keeps the place of a key that is set again; commits have an order.
        for name in changes.keys() & self.entries.keys():
            del self.entries[name]
        self.entries.update(changes)

    def _append(self, record: Record) -> None:
        for extras, items in ((self.infos, record.infos), (self.metas, record.metas)):
            if items is not None:
                numbered = enumerate(items, len(self.starts))
                extras.update((at, item) for at, item in numbered if item)
        self.starts.frombytes(record.starts.tobytes())
        self.ends.frombytes(record.ends.tobytes())
        self.crcs.frombytes(record.crcs.tobytes())
        self.pointed.frombytes(bytes([record.kind == POINT]) * len(record.names))
        filled = record.ends[record.starts < record.ends]
        self.n_rows = max(self.n_rows, int(filled.max(initial=0)))

    def find(self, name: bytes) -> tuple[int, int] | None:
        """Pointer of a name that the journal tells of; None if it was deleted."""
        at = self.entries[name]
        return None if at < 0 else (self.starts[at], self.ends[at])

    @property
    def order(self) -> Order:
        """Where everything is by position; made when it is first asked for."""
        order = self._order
        if order is None:
            order = self._order = Order(self._index, self)
        return order


class Order:
    """Positions of the arrays of an index with an overlay, in data order.

    Memory and time to make it grow with the overlay, not with the index.

    Attributes
    ----------
    removed : ndarray of int64
        Positions in the index that were deleted or replaced, rising.
    names, starts, ends, crcs, pointed
        The overlay's arrays, sorted by start; ties in the order of commits.
    entries : ndarray of int64
        Where the overlay's columns tell of each of them.
    places : ndarray of int64
        How many arrays left in the index come before each of them.
    """

    def __init__(self, index: Index, overlay: Overlay) -> None:
        self._index = index
        # Not the overlay itself: the two would keep each other, and the mapping, alive.
        self._infos, self._metas = overlay.infos, overlay.metas
        names, places = list(overlay.entries), np.array(list(overlay.entries.values()), np.int64)
        hashes = np.array(hash_all(names), np.uint32)
        positions = index.find_many(names, hashes)
        self.removed: Int64s = np.sort(positions[positions >= 0])
        kept = np.flatnonzero(places >= 0)
        starts = np.frombuffer(overlay.starts, np.int64)[places[kept]]
        kept = kept[np.argsort(starts, kind="stable")]
        self.names = [names[at] for at in kept.tolist()]
        self.entries: Int64s = places[kept]
        self.starts: Int64s = np.frombuffer(overlay.starts, np.int64)[places[kept]]
        self.ends: Int64s = np.frombuffer(overlay.ends, np.int64)[places[kept]]
        self.crcs = np.frombuffer(overlay.crcs, np.uint32)[places[kept]]
        self.pointed = np.frombuffer(overlay.pointed, np.uint8)[places[kept]]
        self._hashes = hashes[kept]
        before = np.searchsorted(index.starts, self.starts, side="right")
        self.places: Int64s = before - np.searchsorted(self.removed, before)
        # Position of each array of the overlay among all.
        self._finals: Int64s = self.places + np.arange(len(self.places))
        # How many arrays left in the index come before each removed one.
        self._gaps: Int64s = self.removed - np.arange(len(self.removed))

    def __len__(self) -> int:
        return len(self._index.starts) - len(self.removed) + len(self.names)

    def locate(self, position: int) -> tuple[bool, int]:
        """Tell whether an array is in the overlay, and its position there or in the index."""
        n_before = int(np.searchsorted(self._finals, position))
        if n_before < len(self._finals) and self._finals[n_before] == position:
            return True, n_before
        rank = position - n_before
        return False, rank + int(np.searchsorted(self._gaps, rank, side="right"))

    def merged(self, column: npt.NDArray[Any], added: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Copy a column of the index, with the overlay's entries in their places."""
        return np.insert(np.delete(column, self.removed), self.places, added)

    def columns(self) -> Columns:
        """Copy everything into the columns of a new index."""
        index = self._index
        names = RaggedColumn(index.column("name_end").view(np.int64), index.column("names"))
        return Columns(
            self.merged(index.starts, self.starts),
            self.merged(index.ends, self.ends),
            self.merged(index.crcs, self.crcs),
            self.merged(index.pointed, self.pointed),
            self.merged(index.hashes(), self._hashes),
            *self._merged_items(names, self.names),
            self._merged_extras(index.infos, self._infos),
            self._merged_extras(index.metas, self._metas),
        )

    def _merged_extras(
        self, column: RaggedColumn | None, overlaid: dict[int, bytes]
    ) -> RaggedColumn | None:
        """Merge what only some arrays have; None if none has it."""
        if column is None and not overlaid:
            return None
        if column is None:
            nothing = np.empty(0, np.uint8)
            column = RaggedColumn(np.zeros(len(self._index.starts), np.int64), nothing)
        return self._merged_items(column, [overlaid.get(at, b"") for at in self.entries.tolist()])

    def _merged_items(self, column: RaggedColumn, added: list[bytes]) -> RaggedColumn:
        """Merge items of different lengths."""
        old = np.diff(column.ends, prepend=0)
        new = np.fromiter(map(len, added), np.int64, len(added))
        is_gone = np.zeros(len(old), np.bool_)
        is_gone[self.removed] = True
        is_new = np.insert(np.zeros(len(old) - len(self.removed), np.bool_), self.places, True)
        lengths = self.merged(old, new)
        from_added = np.repeat(is_new, lengths)
        joined = np.empty(len(from_added), np.uint8)
        joined[from_added] = np.frombuffer(b"".join(added), np.uint8)
        joined[~from_added] = column.joined[~np.repeat(is_gone, old)]
        return RaggedColumn(np.cumsum(lengths), joined)
