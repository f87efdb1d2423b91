"""Long stretches of a journal as columns, and where names are in them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from ptrarray import native
from ptrarray.format import table
from ptrarray.format.checksum import crc32
from ptrarray.format.entries import DELETED, Entries, RaggedColumn
from ptrarray.native import Finder
from ptrarray.rows.types import Bools, Int64s, UInt32s
from ptrarray.storage.store.folding import of_same_name


class Run:
    """Entries of a journal that follow each other.

    Takes the bytes of the columns, and 13 a name for a name table that is made when a name is first
    looked for: where a dict takes 200 bytes a name, this takes some 66 with names of 20 bytes.

    Parameters
    ----------
    first : int
        Number of the first entry, among all of the journal.
    entries : Entries
        All of them, also those of names that a later one is about, too.
    """

    def __init__(self, first: int, entries: Entries) -> None:
        self.first = first
        self.entries = entries
        self.starts = memoryview(entries.starts)  # of which items are ints, as of an index
        self.ends = memoryview(entries.ends)

    def __len__(self) -> int:
        return len(self.starts)

    @cached_property
    def _slots(self) -> tuple[memoryview, int, Finder | None, Int64s]:
        """The name table of the last entries: its slots, homes and finder, and which it leaves out."""
        hashes, names = self.entries.hashes, self.entries.names
        slots, n_homes = table.build(hashes), table.count_homes(len(hashes))
        superseded = _superseded(slots, self.entries)
        if len(superseded):
            last = np.delete(np.arange(len(hashes)), superseded)
            slots, n_homes = table.build(hashes[last]), table.count_homes(len(last))
            is_full = slots[:, 1] != table.EMPTY
            slots[is_full, 1] = last[slots[is_full, 1]]
        flat, finder = slots.reshape(-1), None
        if native.core is not None:
            columns = names.ends, names.joined, self.entries.starts, self.entries.ends
            finder = native.core.finder(flat, n_homes, *columns, None)
        if finder is not None:  # from now on without a call of Python; it finds nothing wrong here
            self.__dict__["find"] = finder.find
        return memoryview(flat), n_homes, finder, superseded

    def find(self, name: bytes) -> int:
        """Return which entry is the last one of a name, counted from 0 here; or -1."""
        slots, n_homes, finder, _ = self._slots
        if finder is not None:
            return self.find(name)
        name_hash = crc32(name)
        at = (name_hash * n_homes >> 32) * 2
        while (position := slots[at + 1]) != table.EMPTY:
            if slots[at] == name_hash and self.entries.names.item(position) == name:
                return position
            at += 2
        return -1

    def find_many(self, names: RaggedColumn, hashes: UInt32s) -> Int64s:
        """Return `find` of each name. Vectorised."""
        slots, n_homes, finder, _ = self._slots
        if finder is not None:
            positions: Any = finder.find_many(names.joined, names.ends, hashes)
            return np.asarray(positions)
        found = np.full(len(names), -1, np.int64)
        pairs = np.asarray(slots).reshape(-1, 2)
        queries, there = table.candidates(pairs, n_homes, hashes)
        is_same = self.entries.names.are_same(there, names, queries)
        found[queries[is_same]] = there[is_same]
        return found

    @property
    def is_superseded(self) -> Bools:
        """Whether a later entry here is about the name of an entry."""
        superseded = self._slots[-1]
        if not len(superseded):
            return np.broadcast_to(np.bool_(False), (len(self),))
        is_superseded = np.zeros(len(self), np.bool_)
        is_superseded[superseded] = True
        return is_superseded

    def last_starts(self) -> Int64s:
        """Return starts, `DELETED` also for entries of names that a later one is about, too."""
        superseded = self._slots[-1]
        if not len(superseded):
            return self.entries.starts
        starts = self.entries.starts.copy()
        starts[superseded] = DELETED
        return starts

    def with_pointer(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield the numbers and names of entries that have a pointer."""
        entries = self.entries
        for at in np.flatnonzero((entries.starts == start) & (entries.ends == end)).tolist():
            yield self.first + at, entries.names.item(at)


def _superseded(slots: table.Slots, entries: Entries) -> Int64s:
    """Return the entries of names that a later entry is about, too.

    In a name table equal hashes lie together, in the order of entries.
    """
    hashes, positions = slots[:, 0], slots[:, 1]
    is_full = positions != table.EMPTY
    at = np.flatnonzero((hashes[1:] == hashes[:-1]) & is_full[1:] & is_full[:-1])
    return of_same_name(entries, *(positions[some].astype(np.int64) for some in (at, at + 1)))


class Growing:
    """Tables that are laid end to end as they come, to be a run.

    Takes no more memory than they have together, and one of them: columns grow where they are.
    """

    def __init__(self) -> None:
        self._names, self._infos, self._metas = _Items(), _Items(), _Items()
        self._numbers = array("I"), array("q"), array("q"), array("I"), array("B")

    def __len__(self) -> int:
        return len(self._numbers[0])

    def append(self, entries: Entries) -> None:
        """Add a table."""
        n_before = len(self)
        self._names.append(entries.names)
        more: Any = entries[1:6]
        for column, added in zip(self._numbers, more, strict=True):
            column.frombytes(memoryview(added).cast("B") if len(added) else b"")
        for items, some in ((self._infos, entries.infos), (self._metas, entries.metas)):
            if some is not None:
                items.append_blanks(n_before - len(items.ends))
                items.append(some)

    def entries(self) -> Entries:
        """Return all of them, on the memory they are in: nothing can be added any more."""
        columns = (np.frombuffer(column, column.typecode) for column in self._numbers)
        extras = []
        for items in (self._infos, self._metas):
            is_blank = not len(items.ends)
            items.append_blanks(len(self) - len(items.ends))
            extras.append(None if is_blank else items.column())
        return Entries._make([self._names.column(), *columns, *extras])


class _Items:
    """Items of bytes end to end, and where each ends, as `RaggedColumn` has them."""

    def __init__(self) -> None:
        self.joined, self.ends = bytearray(), array("q")

    def append(self, column: RaggedColumn) -> None:
        self.ends.frombytes((column.ends + len(self.joined)).tobytes())
        self.joined += memoryview(column.joined)

    def append_blanks(self, n_items: int) -> None:
        self.ends.frombytes(np.full(n_items, len(self.joined), np.int64).tobytes())

    def column(self) -> RaggedColumn:
        return RaggedColumn(
            np.frombuffer(self.ends, np.int64), np.frombuffer(self.joined, np.uint8)
        )
