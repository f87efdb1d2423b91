"""What a store should be: a dict of arrays, and where their rows are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.support.checks import check_same_elements

Array = NDArray[Any]
Meta = dict[str, Any]


class Asked(NamedTuple):
    """What `ptrarray.create` is asked for.

    Attributes
    ----------
    dtype : dtype or None
        None in a mixed store.
    row_shape : tuple of int or None
        None where each array has its own shape.
    masked : bool
        Whether the store keeps masks.
    """

    dtype: Any
    row_shape: tuple[int, ...] | None
    masked: bool = False


@dataclass
class Entry:
    start: int
    end: int
    array: Array
    meta: Meta


@dataclass
class Model:
    """A dict of arrays, and a list of rows.

    Attributes
    ----------
    dtype, row_shape
        Of the flat array.
    """

    asked: Asked
    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]
    n_presized: int
    # In the order of commits: a name that is set again goes to the end.
    entries: dict[str, Entry] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)
    n_reserved: int = 0
    n_committed: int = 0
    written: list[tuple[int, int]] = field(default_factory=list)

    @property
    def is_mixed(self) -> bool:
        return self.asked.dtype is None

    @property
    def has_rows(self) -> bool:
        """Whether arrays are rows of one shape."""
        return self.asked.row_shape is not None and not self.is_mixed

    @property
    def alignment(self) -> int:
        return 64 if self.is_mixed else 1

    @property
    def n_rows(self) -> int:
        return max(self.n_presized, self.n_committed)

    def aligned(self, n_rows: int) -> int:
        return -(-n_rows // self.alignment) * self.alignment

    def length(self, array: Array) -> int:
        """Rows of an array."""
        if self.has_rows:
            return len(array)
        return array.nbytes if self.is_mixed else array.size

    def room(self, array: Array) -> int:
        """Rows up to where the next array may begin."""
        return self.aligned(self.length(array))

    def kept(self, array: Array) -> Array:
        """Return an array as it will be read back."""
        is_fortran = array.flags.fnc and not self.has_rows
        copy = array.copy("F" if is_fortran else "C")
        return np.ma.asanyarray(copy) if self.asked.masked else copy

    def put(self, name: str, start: int, array: Array, meta: Meta | None = None) -> None:
        end = start + self.length(array)
        self.entries.pop(name, None)
        self.entries[name] = Entry(start, end, self.kept(array), meta or {})
        if start < end:
            self.n_committed = max(self.n_committed, end)
            self.n_reserved = max(self.n_reserved, self.aligned(end))
            self.written.append((start, end))

    def set_meta(self, name: str, meta: Meta) -> None:
        entry = self.entries.pop(name)
        entry.meta = meta
        self.entries[name] = entry

    def rename(self, old: str, new: str) -> None:
        entry = self.entries.pop(old)
        self.entries.pop(new, None)
        self.entries[new] = entry

    def compact(self) -> None:
        """Move what arrays have to the front; drop what was reserved."""
        ends = [self.aligned(entry.end) for entry in self.entries.values()]
        is_living = np.zeros(max(ends, default=0) + 1, np.bool_)
        for entry in self.entries.values():
            if entry.start < entry.end:
                first = entry.start - entry.start % self.alignment
                is_living[first : self.aligned(entry.end)] = True
        n_before = np.concatenate([[0], np.cumsum(is_living)])
        pairs = sorted(self.entries.items(), key=lambda item: item[1].start)
        self.entries = dict(pairs)
        for entry in self.entries.values():
            length = entry.end - entry.start
            entry.start = int(n_before[entry.start])
            entry.end = entry.start + length
        self.n_presized, self.n_committed = 0, int(n_before[-1])
        self.n_reserved = self.n_committed
        self.written = [(0, self.n_committed)]

    def in_order(self) -> dict[str, Array]:
        """Arrays by start; of those with the same start the one committed first is first."""
        pairs = sorted(self.entries.items(), key=lambda item: item[1].start)
        return {name: entry.array for name, entry in pairs}

    def metas(self) -> dict[str, Meta]:
        return {name: entry.meta for name, entry in self.entries.items()}

    def is_taken(self, start: int, end: int) -> bool:
        return any(max(start, entry.start) < min(end, entry.end) for entry in self.entries.values())

    def was_written(self, start: int, end: int) -> bool:
        return any(max(start, first) < min(end, last) for first, last in self.written)

    def is_row_written(self) -> NDArray[np.bool_]:
        result = np.zeros(self.n_rows, np.bool_)
        for start, end in self.written:
            result[start:end] = True
        return result

    def rows_of(self, entry: Entry) -> Array:
        """Return the rows of an array as they lie in the flat array."""
        if self.has_rows:
            return entry.array
        flat = entry.array.T if entry.array.flags.fnc else entry.array
        flat = flat.reshape(-1)
        return np.ma.getdata(flat).view(np.uint8) if self.is_mixed else flat

    def check_rows(self, found: Array, start: int) -> None:
        """Check rows from `start` on of the flat array: what arrays have, and zeros where nobody wrote."""
        end = start + len(found)
        for entry in self.entries.values():
            low, high = max(start, entry.start), min(end, entry.end)
            if low < high:
                expected = self.rows_of(entry)[low - entry.start : high - entry.start]
                rows = found[low - start : high - start]
                if self.is_mixed and low == entry.start and high == entry.end:
                    dtype = entry.array.dtype  # whose padding may differ
                    rows, expected = rows.view(dtype), expected.view(dtype)
                check_same_elements(rows, expected)
        unwritten = found[~self.is_row_written()[start:end]]
        check_same_elements(unwritten, np.zeros_like(np.ma.getdata(unwritten)))
