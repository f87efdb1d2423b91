"""The journal's changes laid over an index."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.format.entries import DELETED, Entries, Entry, RaggedColumn
from ptrarray.format.journal import Changes
from ptrarray.storage.store.folding import Order
from ptrarray.storage.store.index import Index


class Overlay:
    """What the records of a journal change in an index.

    Attributes
    ----------
    entries : dict of bytes to int
        The last entry of each name in the columns below, in the order of
        commits; ``~entry`` where that deletes the name.
    hashes, starts, ends, crcs, pointed : array
        One entry for each name in each record, as in `Entries`.
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
        self.hashes, self.crcs, self.pointed = array("I"), array("I"), array("B")
        self.starts, self.ends = array("q"), array("q")
        self.infos: dict[int, bytes] = {}
        self.metas: dict[int, bytes] = {}
        self.attrs: dict[str, Any] | None = None
        self.n_rows = index.header.n_rows
        self._order: Order | None = None

    def _columns(self) -> tuple[array[int], ...]:
        """Return the columns of numbers, in the order that `Entries` has them."""
        return self.hashes, self.starts, self.ends, self.crcs, self.pointed

    def extended(self, changes: Changes, end_byte: int) -> Overlay:
        """Return a new overlay with more records applied."""
        overlay = Overlay(self._index, end_byte)
        overlay.entries = dict(self.entries)
        for column, known in zip(overlay._columns(), self._columns(), strict=True):
            column.extend(known)
        overlay.infos, overlay.metas = dict(self.infos), dict(self.metas)
        overlay.attrs, overlay.n_rows = self.attrs, self.n_rows
        overlay.extend(changes, end_byte)
        return overlay

    def extend(self, changes: Changes, end_byte: int) -> None:
        """Apply more records in place, up to a byte of the journal."""
        for entries in changes.records:
            self._append(entries)
        if changes.attrs is not None:
            self.attrs = changes.attrs
        self.end_byte = end_byte
        self._order = None

    def _append(self, added: Entries) -> None:
        """Apply a record."""
        first = len(self.starts)
        self.hashes.frombytes(added.hashes.tobytes())
        self.starts.frombytes(added.starts.tobytes())
        self.ends.frombytes(added.ends.tobytes())
        self.crcs.frombytes(added.crcs.tobytes())
        self.pointed.frombytes(added.pointed.tobytes())
        for extras, items in ((self.infos, added.infos), (self.metas, added.metas)):
            if items is not None:
                extras.update((at, item) for at, item in enumerate(items.split(), first) if item)
        self.n_rows = max(self.n_rows, added.n_rows)
        last = len(self.starts)
        is_deletion = first < last and self.starts[first] == DELETED  # as all of a record, or none
        entries = range(~first, ~last, -1) if is_deletion else range(first, last)
        changes = dict(zip(added.names.split(), entries, strict=True))
        # A dict keeps the place of a key that is set again; commits have an order.
        for name in changes.keys() & self.entries.keys():
            del self.entries[name]
        self.entries.update(changes)

    def delete(self, name: bytes, name_hash: int, end_byte: int) -> None:
        """Apply a record that deletes one name, in place, up to a byte of the journal."""
        self._order = None
        deletion = name_hash, DELETED, DELETED, 0, 0
        for column, number in zip(self._columns(), deletion, strict=True):
            column.append(number)
        self.entries.pop(name, None)  # a dict keeps the place of a key that is set again
        self.entries[name] = -len(self.starts)
        self.end_byte = end_byte

    def find(self, name: bytes) -> tuple[int, int] | None:
        """Return the pointer of a name that the journal is about; None if it was deleted."""
        at = self.entries[name]
        return None if at < 0 else (self.starts[at], self.ends[at])

    def entry(self, at: int, name: bytes) -> Entry:
        """Return all that an entry, which is of this name, says."""
        numbers = self.starts[at], self.ends[at], self.crcs[at], self.pointed[at]
        return Entry(name, *numbers, self.infos.get(at, b""), self.metas.get(at, b""))

    @property
    def order(self) -> Order:
        """Where everything is by position; made when it is first asked for."""
        if self._order is None:
            last = np.fromiter(self.entries.values(), np.int64, len(self.entries))
            self._last = np.where(last < 0, ~last, last)
            hashes, starts = map(self._last_words, (self.hashes, self.starts))
            self._order = Order(self._index, list(self.entries), hashes, starts)
        return self._order

    def _last_words(self, column: array[int]) -> npt.NDArray[Any]:
        """Return what a column has of each name, in the order of commits."""
        return np.frombuffer(column, column.typecode)[self._last]

    def merged(self, name: str) -> npt.NDArray[Any]:
        """Return a column of the index; a copy, if there are entries to be folded in."""
        column: npt.NDArray[Any] = getattr(self._index, name)
        if not self.entries:
            return column
        order = self.order
        return order.merged(column, self._last_words(getattr(self, name)))

    def merged_blocks(
        self, names: Sequence[str], size: int
    ) -> Iterator[tuple[int, list[npt.NDArray[Any]]]]:
        """Yield columns as `merged` returns them in blocks, each with its first position.

        Of an index without changes, views; else memory for the changes and one block.
        """
        columns = [getattr(self._index, name) for name in names]
        if not self.entries:
            for first in range(0, len(self._index.starts), size):
                yield first, [column[first : first + size] for column in columns]
            return
        order = self.order
        changes = [self._last_words(getattr(self, name)) for name in names]
        for first in range(0, len(order), size):
            last = min(first + size, len(order))
            pairs = zip(columns, changes, strict=True)
            yield first, [order.part(column, changed, first, last) for column, changed in pairs]

    def merged_items(self, column: RaggedColumn | None, extras: dict[int, bytes]) -> RaggedColumn:
        """Return a column of items of the index, and those of entries that have any; as `merged`."""
        if column is None:
            column = RaggedColumn.blank(self._index.header.n_arrays)
        if not self.entries:
            return column
        order = self.order
        changed = RaggedColumn.of([extras.get(at, b"") for at in self._last.tolist()])
        return order.merged_items(column, changed)

    def merged_names(self) -> RaggedColumn:
        """Return all names in data order, end to end; as `merged`."""
        names = self._index.sound_names()
        if not self.entries:
            return names
        return self.order.merged_items(names, RaggedColumn.of(list(self.entries)))

    def folded(self) -> Entries:
        """Copy all columns of the index, with the journal folded in."""
        order = self.order
        names = RaggedColumn.of(list(self.entries))
        infos, metas = map(self._extras, (self.infos, self.metas))
        columns = map(self._last_words, self._columns())
        return order.folded(self._index.entries(), Entries._make([names, *columns, infos, metas]))

    def _extras(self, extras: dict[int, bytes]) -> RaggedColumn | None:
        if not extras:
            return None
        return RaggedColumn.of([extras.get(at, b"") for at in self._last.tolist()])
