"""Some of the arrays of one store, that follow each other in data order, read as if there were no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import filterfalse

import numpy as np
import numpy.typing as npt

from ptrarray.format.entries import RaggedColumn
from ptrarray.format.index import corrupt
from ptrarray.format.names import is_text
from ptrarray.rows.types import Int64s
from ptrarray.storage.store.index import Item
from ptrarray.storage.store.opened import OpenedStore
from ptrarray.storage.store.snapshot import StoreSnapshot
from ptrarray.storage.system.mapping import Mode


class PartSnapshot(StoreSnapshot):
    """The arrays at the positions ``low <= p < high`` of a snapshot, as a `Snapshot`.

    Positions are counted from the first of them. Addresses and rows are those of the origin, and
    so are its index and overlay, which know nothing of this.

    Parameters
    ----------
    origin : StoreSnapshot
        The snapshot.
    low, high : int
        The positions.
    """

    def __init__(self, origin: StoreSnapshot, low: int, high: int) -> None:
        super().__init__(origin.directory, origin.index, origin.overlay)
        self._origin, self._low, self._high = origin, low, high

    def __len__(self) -> int:
        return self._high - self._low

    def find(self, name: bytes) -> tuple[int, int] | None:
        """Pointer of a name, or None."""
        address = self.locate(name)
        return None if address is None else self.pointer_at(address)

    def find_all(self, names: Sequence[bytes]) -> Int64s:
        """Pointers of several names, shape (n_names, 2); starts of -1 for those not there."""
        if self.index.is_partial:
            self.index.find_all(names)  # which has all that is asked one by one fetched at once
        return np.array([self.find(name) or (-1, -1) for name in names], np.int64)

    def locate(self, name: bytes) -> int | None:
        """Address of a name, or None."""
        address = self._origin.locate(name)
        return None if address is None or self._is_outside(name, address) else address

    def _is_outside(self, name: bytes, address: int) -> bool:
        """Tell whether an array of the whole is none of these."""
        if not self._overlaid:  # then an address is a position
            return not self._low <= address < self._high
        start, starts = self._origin.pointer_at(address)[0], self._origin.starts
        first, last = (int(starts.searchsorted(start, side)) for side in ("left", "right"))
        inside = range(max(first, self._low), min(last, self._high))
        # Where some of those that begin in one row are outside, the name decides.
        if len(inside) == last - first:
            return False
        return all(self._origin.name(position) != name for position in inside)

    def locate_position(self, position: int) -> int:
        """Address of the array at a position, ``0 <= position < len``."""
        return self._origin.locate_position(position + self._low)

    def name(self, position: int) -> bytes:
        """Name of the array at a position, ``0 <= position < len``."""
        return self._origin.name(position + self._low)

    def _some_names(
        self, first: int, last: int, unpack: Callable[[RaggedColumn], list[Item]]
    ) -> Iterator[Item]:
        return super()._some_names(first + self._low, last + self._low, unpack)

    def name_blocks(self, first: int, last: int) -> Iterator[RaggedColumn]:
        """Yield the names at positions ``first <= p < last`` in columns that follow each other."""
        return super().name_blocks(first + self._low, last + self._low)

    def newest_names(self) -> Iterator[bytes]:
        """Yield all names, those that were committed last first."""
        return filterfalse(lambda name: self.locate(name) is None, self._origin.newest_names())

    def committed(self) -> Int64s | slice:
        """Return positions in the order of commits, the oldest first."""
        order = self._origin.committed()
        if isinstance(order, slice):
            return order
        part: Int64s = order[(order >= self._low) & (order < self._high)] - self._low
        return part

    @property
    def _span(self) -> slice:
        return slice(self._low, self._high)

    @cached_property
    def starts(self) -> Int64s:
        """First rows, in data order."""
        return self._origin.starts[self._span]

    @cached_property
    def ends(self) -> Int64s:
        """Rows after the last ones, in data order."""
        return self._origin.ends[self._span]

    def item_columns(self) -> tuple[memoryview, memoryview]:
        """Return starts and ends as memoryviews of the index; empty if it has an overlay."""
        starts, ends = self._origin.item_columns()
        return starts[self._span], ends[self._span]

    @cached_property
    def name_column(self) -> RaggedColumn:
        """Names in data order, end to end, found to be text."""
        if self._overlaid:
            return self._cut(self._origin.name_column)
        names = self._cut(self.index.names)
        if not names.is_sound or not is_text(names.joined, names.ends):
            raise corrupt(self.index.path, "has names that are no UTF-8, or not in their column")
        return names

    @cached_property
    def metas(self) -> RaggedColumn:
        """Metadata of all arrays in data order, packed."""
        return self._cut(self._origin.metas)

    @cached_property
    def infos(self) -> RaggedColumn:
        """How each array differs from plain rows, in data order, packed."""
        return self._cut(self._origin.infos)

    def _cut(self, column: RaggedColumn) -> RaggedColumn:
        part: RaggedColumn = column[self._span]
        return part

    @property
    def crcs(self) -> npt.NDArray[np.uint32]:
        """CRC-32 of each array's bytes, in data order."""
        return self._origin.crcs[self._span]

    @property
    def pointed(self) -> npt.NDArray[np.uint8]:
        """1 where `point` gave the name to rows that may have others, too."""
        return self._origin.pointed[self._span]

    def refreshed(self) -> PartSnapshot:
        """Return itself: what these are was said of one snapshot."""
        return self


class OpenedPart(OpenedStore):
    """The same with its rows mapped, as `Opened`.

    Parameters
    ----------
    origin : OpenedStore
        The store.
    low, high : int
        The positions.
    """

    def __init__(self, origin: OpenedStore, low: int, high: int) -> None:
        super().__init__(PartSnapshot(origin.snapshot, low, high), origin.mapped)
        self.origin, self.low = origin, low
        self.get = self.finder = None  # they know of all arrays

    def refreshed(self, mode: Mode) -> OpenedPart:
        """Return itself, as the snapshot does."""
        return self
