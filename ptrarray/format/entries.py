"""The table that a store is: of each array its name, its pointer, and what else is kept of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.format.names import decode, ends_of, hash_all
from ptrarray.rows.copying import copy_ranges, cut
from ptrarray.rows.ragged import gather
from ptrarray.rows.types import Bools, Int64s, UInt8s, UInt32s

DELETED = -1  # in the place of rows
_COMPARED_NBYTES = 1 << 20  # in one go


class RaggedColumn(Sequence[bytes]):
    """Items of bytes end to end, and where each of them ends.

    Examples
    --------
    >>> column = RaggedColumn.of([b"utt1", b"", b"a"])
    >>> column.ends, column[0]
    (array([4, 4, 5]), b'utt1')
    """

    __slots__ = ("ends", "joined")

    def __init__(self, ends: Int64s, joined: UInt8s) -> None:
        self.ends = ends
        self.joined = joined

    @classmethod
    def of(cls, items: Sequence[bytes]) -> RaggedColumn:
        """Lay items end to end."""
        return cls(ends_of(items), np.frombuffer(b"".join(items), np.uint8))

    @classmethod
    def blank(cls, n_items: int) -> RaggedColumn:
        """Return a column of so many items without a byte."""
        return cls(np.zeros(n_items, np.int64), np.empty(0, np.uint8))

    @classmethod
    def chained(cls, columns: Sequence[RaggedColumn]) -> RaggedColumn:
        """Lay columns end to end.

        Examples
        --------
        >>> RaggedColumn.chained([RaggedColumn.of([b"a", b"bc"]), RaggedColumn.of([b"d"])]).split()
        [b'a', b'bc', b'd']
        """
        if len(columns) == 1:
            return columns[0]
        shifts = accumulate((len(column.joined) for column in columns), initial=0)
        ends = [column.ends + shift for column, shift in zip(columns, shifts, strict=False)]
        return cls(np.concatenate(ends), np.concatenate([column.joined for column in columns]))

    @property
    def starts(self) -> Int64s:
        """Where each item begins."""
        return np.concatenate([[0], self.ends])[:-1]

    @property
    def lengths(self) -> Int64s:
        """Bytes of each item."""
        return np.diff(self.ends, prepend=0)

    def lengths_at(self, positions: Int64s) -> Int64s:
        """Bytes of some items; raises ValueError if one does not lie within the column."""
        return self.spans(positions)[1]

    @property
    def is_sound(self) -> bool:
        """Whether every item lies within the column."""
        ends = self.ends
        if not len(ends):
            return True
        is_rising = len(ends) == 1 or bool((ends[:-1] <= ends[1:]).all())
        return bool(ends[0] >= 0 and ends[-1] <= len(self.joined)) and is_rising

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, at: Any) -> Any:
        """Return one item, or the column of some that follow each other."""
        if not isinstance(at, slice):
            return self.item(at)
        first, last, _ = at.indices(len(self))
        ends = self.ends[first:last]
        start, end = self.ends[first - 1] if first else 0, ends[-1] if len(ends) else 0
        return RaggedColumn(ends - start, self.joined[start:end])

    def chosen(self, positions: Int64s) -> RaggedColumn:
        """Copy some items, in any order; raises ValueError if one does not lie within the column."""
        starts, lengths = self.spans(positions)
        items = gather(self.joined, starts, starts + lengths)
        return RaggedColumn(items.offsets[1:], items.values)

    def item(self, position: int, limit: int = 2**63) -> bytes:
        """Return one item; raises ValueError if it does not lie within the column, or is larger."""
        ends = self.ends
        start, end = ends.item(position - 1) if position else 0, ends.item(position)
        if not 0 <= start <= end <= len(self.joined):
            raise ValueError(f"at bytes {start} to {end} of {len(self.joined)}")
        if end - start > limit:
            raise ValueError(f"of {end - start} bytes, more than {limit}")
        return self.joined[start:end].tobytes()

    def are_same(self, positions: Int64s, others: RaggedColumn, other_positions: Int64s) -> Bools:
        """Tell for each pair of positions, here and in another column, whether the items are equal.

        Vectorised, in bounded memory.

        Raises
        ------
        ValueError
            If one of them does not lie within its column.
        """
        starts, lengths = self.spans(positions)
        other_starts, other_lengths = others.spans(other_positions)
        is_same: Bools = lengths == other_lengths
        some = np.flatnonzero(is_same & (lengths > 0))
        for low, high in cut(lengths[some], _COMPARED_NBYTES):
            at = some[low:high]
            offsets = np.concatenate([[0], np.cumsum(lengths[at])])
            ours, theirs = (
                copy_ranges(joined, first[at], first[at] + lengths[at], offsets)
                for joined, first in ((self.joined, starts), (others.joined, other_starts))
            )
            differs = ours != theirs
            if differs.any():
                is_same[at] = ~np.logical_or.reduceat(differs, offsets[:-1])
        return is_same

    def spans(self, positions: Int64s) -> tuple[Int64s, Int64s]:
        """Return where items begin, and their lengths; raises ValueError if one does not lie within."""
        ends = self.ends[positions]
        starts = np.where(positions > 0, self.ends[positions - 1], 0)
        is_astray = (starts < 0) | (starts > ends) | (ends > len(self.joined))
        if is_astray.any():
            at = int(np.argmax(is_astray))
            raise ValueError(f"at bytes {starts[at]} to {ends[at]} of {len(self.joined)}")
        return starts, ends - starts

    def __iter__(self) -> Iterator[bytes]:
        """Go through the items; raises ValueError at one that does not lie within the column."""
        return iter(self.split()) if self.is_sound else map(self.item, range(len(self)))

    def split(self) -> list[bytes]:
        """Return the items one by one."""
        raw = self.joined.tobytes()
        return [raw[start:end] for start, end in pairwise([0, *self.ends.tolist()])]

    def texts(self) -> list[str]:
        """Return the items one by one, decoded as names are."""
        raw = self.joined.tobytes()
        if not raw.isascii():  # where a character is not a byte
            return list(map(decode, self.split()))
        text = raw.decode("ascii")
        ends = self.ends.tolist()
        # Faster than `pairwise`, and than `map` with `slice`.
        return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def total_nbytes(items: Sequence[bytes]) -> int:
    """Bytes that items have together."""
    return len(items.joined) if isinstance(items, RaggedColumn) else sum(map(len, items))


class Entry(NamedTuple):
    """What is kept of one array: a row of `Entries`, without the hash."""

    name: bytes
    start: int = DELETED
    end: int = DELETED
    crc: int = 0
    pointed: int = 0
    info: bytes = b""
    meta: bytes = b""


class Entries(NamedTuple):
    """Names, and what an index or a journal keeps of each: one entry in every column.

    Attributes
    ----------
    names : RaggedColumn
        Encoded names.
    hashes : ndarray of uint32
        CRC-32 of each name.
    starts, ends : ndarray of int64
        Pointers; `DELETED` where the journal deletes the name.
    crcs : ndarray of uint32
        CRC-32 of each array's bytes.
    pointed : ndarray of uint8
        1 where `point` gave the name to rows that may have others, too.
    infos, metas : RaggedColumn or None
        How each array differs from plain rows, and its metadata, packed; None
        where none has any.
    """

    names: RaggedColumn
    hashes: UInt32s
    starts: Int64s
    ends: Int64s
    crcs: UInt32s
    pointed: UInt8s
    infos: RaggedColumn | None = None
    metas: RaggedColumn | None = None

    @classmethod
    def of(
        cls,
        names: Sequence[bytes] = (),
        starts: npt.ArrayLike = DELETED,
        ends: npt.ArrayLike = DELETED,
        crcs: npt.ArrayLike = 0,
        pointed: npt.ArrayLike = 0,
        infos: Sequence[bytes] = (),
        metas: Sequence[bytes] = (),
    ) -> Entries:
        """Make a table of its columns, each a sequence or one value for all names.

        Examples
        --------
        >>> rows = [Entry(b"utt1", 0, 5, crc=7), Entry(b"utt2", 5, 9, crc=8)]
        >>> Entries.of(*zip(*rows)).crcs
        array([7, 8], dtype=uint32)
        >>> Entries.of([b"utt1"]).starts
        array([-1])
        """
        n_names = len(names)
        return cls(
            RaggedColumn.of(names),
            np.array(hash_all(names), np.uint32),
            np.full(n_names, starts, np.int64),
            np.full(n_names, ends, np.int64),
            np.full(n_names, crcs, np.uint32),
            np.full(n_names, pointed, np.uint8),
            *(RaggedColumn.of(items) if any(items) else None for items in (infos, metas)),
        )

    @property
    def n_names(self) -> int:
        """Entries of each column."""
        return len(self.hashes)

    @property
    def n_rows(self) -> int:
        """Rows that a flat array needs to have all of the arrays; empty ones need none."""
        return int(np.maximum.reduce(self.ends, initial=0, where=self.starts < self.ends))

    def part(self, some: slice) -> Entries:
        """Return entries that follow each other."""
        return Entries._make(None if column is None else column[some] for column in self)


def end_to_end(parts: Sequence[Entries]) -> Entries:
    """Lay several tables end to end.

    Examples
    --------
    >>> a, b = Entries.of([b"utt1"], 0, 5), Entries.of([b"utt2"], 5, 9, metas=[b"m"])
    >>> end_to_end([a, b]).metas.split()
    [b'', b'm']
    """
    if len(parts) == 1:
        return parts[0]
    columns = zip(Entries.of(), *parts, strict=True)  # the empty one has the dtypes
    lengths = [0, *(part.n_names for part in parts)]
    return Entries._make(joined_column(column, lengths) for column in columns)


def joined_column(parts: Sequence[Any], lengths: list[int]) -> Any:
    """Lay the parts of one column end to end."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    if all(part is None for part in parts):
        return None
    return RaggedColumn.chained(
        [
            RaggedColumn.blank(n_items) if part is None else part
            for part, n_items in zip(parts, lengths, strict=True)
        ]
    )
