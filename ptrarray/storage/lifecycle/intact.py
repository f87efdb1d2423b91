"""Which arrays of a damaged store are intact, looked at block by block."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from ptrarray.errors import Damage
from ptrarray.format import attrs, infos, metadata
from ptrarray.format.checksum import crc32
from ptrarray.format.checksums import crc32_each
from ptrarray.format.entries import Entries, Entry, RaggedColumn
from ptrarray.format.index import IndexHeader
from ptrarray.format.names import NAME_LIMIT_NBYTES, hash_all
from ptrarray.rows.copying import copy_ranges, cut
from ptrarray.rows.types import Bools, Int64s, UInt8s, UInt32s
from ptrarray.storage.lifecycle.verify import array_damage, running_into
from ptrarray.storage.store.blocks import Contents, Sizes
from ptrarray.storage.store.content import Content
from ptrarray.storage.store.index import Index, pieces
from ptrarray.storage.store.merging import beside, blocks_of, contents_like, fold_all
from ptrarray.storage.store.overlay import Overlay
from ptrarray.storage.system.pread import PreadRows

_SHARES = 4  # of the memory: what waits to be written, and what is looked up
_HASH_NBYTES = 4
_JOURNAL_ENTRIES = 1 << 12  # looked at in one go
# Of names, infos and metadata, and of rows, that are looked at in one go; every array counts as
# some bytes more than it has.
_BLOCK_NBYTES = 2 << 20
_EACH_NBYTES = 64


class Intact:
    """The arrays of a damaged store that are intact: their names, their pointers and their rows.

    Parameters
    ----------
    index : Index
        As it is, damaged or not.
    overlay : Overlay
        What can be read of its journal.
    source : Content
        The rows.
    memory : int
        Bytes that a process may take that has done nothing yet. What the overlay takes is among
        them, as far as it leaves any.
    """

    # The arrays of an index come in data order, so those that are intact do, too. Only where a
    # damaged pointer leads, by chance, to rows like its own, an array begins before the ones
    # before it: it is late, and put between the others as those of the journal are.

    def __init__(self, index: Index, overlay: Overlay, source: Content, memory: int) -> None:
        self._memory = max(memory - 2 * overlay.end_byte, memory // _SHARES)
        self._columns = _Columns(index, self._memory // _SHARES)
        self._overlay, self._rows = overlay, _Rows(source)
        self._of_arrays: list[tuple[int, int, Damage]] = []  # with where it begins, and its number
        self._reached = -1  # where the last array that is not late begins

    def damage(self) -> list[Damage]:
        """Return what is not intact, arrays in data order."""
        of_arrays = sorted(self._of_arrays, key=itemgetter(0, 1))
        return [*self._columns.damage, *map(itemgetter(2), of_arrays)]

    def index(self, scratch: Path, header: IndexHeader) -> Index:
        """Return an index of all arrays that are intact, in no place, in data order.

        Takes two bits for each array. Files without a name lie in a directory, `scratch`, meanwhile.
        """
        columns, kept, late = self._columns, _Kept(), _Kept()
        for some in columns.groups():
            self._look(some, kept, late)
        blocks, memory = columns.blocks(kept), self._memory // _SHARES
        made = beside(scratch, header, Contents.hashed(kept.sizes, blocks, scratch, memory))
        if late.sizes.n_arrays or self._overlay.entries:
            folded = fold_all(made, self._records(late), scratch, self._memory)
            made = beside(scratch, header, folded)
        return _marked(made, scratch, header)

    def _look(self, some: slice, kept: _Kept, late: _Kept) -> None:
        """Note which arrays at some positions of the index are intact."""
        columns = self._columns
        positions = columns.named(some)
        if self._overlay.entries:  # which says of some names that they are elsewhere, or gone
            names = columns.index.names.chosen(positions).split()
            positions = positions[self._overlay.last_of_each(names)[0] < 0]
        is_doubtful = columns.are_doubtful(some)[positions - some.start]
        for at in positions[is_doubtful].tolist():
            self._judge(at, columns.doubtful(at))
        positions = positions[~is_doubtful]
        entries = columns.entries(positions)
        is_good = self._are_intact(entries, positions)
        starts = np.where(is_good, entries.starts, -1)
        reached = np.maximum.accumulate(np.concatenate([[self._reached], starts]))
        self._reached = int(reached[-1])
        is_late = is_good & (starts < reached[:-1])
        for to, which in ((kept, is_good & ~is_late), (late, is_late)):
            is_kept = np.zeros(some.stop - some.start, np.bool_)
            is_kept[positions[which] - some.start] = True
            to.add(is_kept, _chosen(entries, which))

    def _records(self, late: _Kept) -> Iterator[Entries]:
        """Yield the arrays that are to be put between the others."""
        yield from self._columns.blocks(late)
        overlay, n_indexed = self._overlay, self._columns.index.header.n_arrays
        there = ((name, at) for name, at in overlay.entries.items() if at >= 0)
        while some := list(islice(there, _JOURNAL_ENTRIES)):
            entries = Entries.of(*zip(*(overlay.entry(at, name) for name, at in some), strict=True))
            numbers = np.array([n_indexed + at for _, at in some])
            yield _chosen(entries, self._are_intact(entries, numbers))

    def _are_intact(self, entries: Entries, numbers: Int64s) -> Bools:
        """Tell which arrays are intact, and note what is wrong with the others."""
        is_good = self._rows.seem_intact(entries)
        for at in np.flatnonzero(~is_good).tolist():
            is_good[at] = self._judge(int(numbers[at]), _entry(entries, at))
        return is_good

    def _judge(self, number: int, array: Entry) -> bool:
        """Tell whether an array is intact; if not, note what is wrong."""
        problem = self._rows.problem(array)
        if problem is not None:
            where = (self._rows.path, array.name, array.start, array.end)
            damage = array_damage(*where, f"that {problem}")
            self._of_arrays.append((array.start, number, damage))
        return problem is None


def _marked(index: Index, scratch: Path, header: IndexHeader) -> Index:
    """Return an index in which all are pointed that run into others: else it would be damage.

    Damage may have taken away that somebody pointed them there; their rows are intact.
    """
    marking = _Marking()
    for block in blocks_of(index):
        marking(block)
    if not marking.n_marked:
        return index
    contents = contents_like(index, _Marking())
    return beside(scratch, header, contents._replace(sizes=contents.sizes._replace(pointed=True)))


class _Marking:
    """Marks arrays as pointed that run into others, block by block."""

    def __init__(self) -> None:
        self.n_marked = 0
        self._reached: int | None = None

    def __call__(self, block: Entries) -> Entries:
        columns = block.starts, block.ends, block.pointed
        found, self._reached = running_into(*columns, self._reached)
        self.n_marked += len(found)
        pointed = block.pointed.copy()
        pointed[found] = 1
        return block._replace(pointed=pointed)


# names, and what is said of them ------------------------------------------------------------------


class _Kept:
    """Which arrays of an index are kept, group by group, and what they have together."""

    def __init__(self) -> None:
        self.groups: list[UInt8s] = []  # a bit for each array
        self.sizes = Sizes(0, 0)

    def add(self, is_kept: Bools, entries: Entries) -> None:
        """Add which ones of a group are kept: these."""
        self.groups.append(np.packbits(is_kept))
        ours, more = self.sizes, Sizes.of(entries)
        self.sizes = Sizes(
            ours.n_arrays + more.n_arrays,
            ours.names + more.names,
            ours.infos + more.infos,
            ours.metas + more.metas,
            ours.pointed or more.pointed,
        )


class _Columns:
    """The columns of an index, of which each may be damaged.

    Parameters
    ----------
    index : Index
        The index.
    memory : int
        Bytes that hashes may take, which tell whether a name is right where its column is damaged.

    Attributes
    ----------
    damage : list of Damage
        Damaged columns, and then names.
    """

    def __init__(self, index: Index, memory: int) -> None:
        self.index, self._memory = index, memory
        columns = index.columns
        self._whole = {name for name in columns if self._is_whole(name)}
        self.damage = [
            Damage(index.path, f"has a damaged column {name!r}")
            for name in columns
            if name not in self._whole
        ]
        self._metas = index.metas if self._are_whole("meta", "meta_end") else None
        self._window = 0, np.empty(0, np.uint32)

    def _is_whole(self, name: str) -> bool:
        column, crc = memoryview(self.index.column(name)).cast("B"), 0
        for at in range(0, len(column), _BLOCK_NBYTES):
            crc = crc32(column[at : at + _BLOCK_NBYTES], crc)
            self.index.pass_on()
        return crc == self.index.columns[name].crc

    def _are_whole(self, *names: str) -> bool:
        return self._whole.issuperset(names)

    def groups(self) -> Iterator[slice]:
        """Yield all positions, as many at a time as are looked at in one go."""
        index = self.index
        columns = [index.names, index.infos, index.metas]
        for some in pieces(index.header.n_arrays):
            nbytes = np.full(some.stop - some.start, _EACH_NBYTES)
            for column, limit in zip(columns, _LIMITS, strict=True):
                nbytes += np.maximum(_lengths(column, some, limit), 0)
            for low, high in cut(nbytes, _BLOCK_NBYTES):
                yield slice(some.start + low, some.start + high)
                index.pass_on()

    def named(self, some: slice) -> Int64s:
        """Return the positions of a group whose names are intact; note the others."""
        is_named = _lengths(self.index.names, some, NAME_LIMIT_NBYTES) >= 0
        if not self._are_whole("names", "name_end"):
            at = np.flatnonzero(is_named)
            is_named[at] = self._are_vouched_for(some.start + at, some)
        for position in (some.start + np.flatnonzero(~is_named)).tolist():
            what = f"has a damaged name at position {position}"
            self.damage.append(Damage(self.index.path, what))
        positions: Int64s = some.start + np.flatnonzero(is_named)
        return positions

    def _are_vouched_for(self, positions: Int64s, some: slice) -> Bools:
        """Tell which names match their hashes in the name table, if that is whole."""
        if not self._are_whole("slot"):
            return np.zeros(len(positions), np.bool_)
        first, hashes = self._window
        if some.stop > first + len(hashes):
            n_hashes = max(self._memory // _HASH_NBYTES, some.stop - some.start)
            first, last = some.start, min(some.start + n_hashes, self.index.header.n_arrays)
            self._window = first, self.index.hashes(first, last)
        first, hashes = self._window
        names = self.index.names.chosen(positions)
        is_right: Bools = np.array(hash_all(names), np.uint32) == hashes[positions - first]
        return is_right

    def are_doubtful(self, some: slice) -> Bools:
        """Tell of which arrays of a group nothing else can be trusted than their names."""
        index = self.index
        is_doubtful = np.zeros(some.stop - some.start, np.bool_)
        if not self._are_whole("start", "end"):  # nothing vouches for an empty array then
            is_doubtful |= index.starts[some] == index.ends[some]
        if index.infos is not None and not self._are_whole("info", "info_end"):
            is_doubtful[:] = True  # without its info an array is only bytes
        is_doubtful |= _lengths(index.infos, some, infos.LIMIT_NBYTES) < 0
        is_doubtful |= _lengths(self._metas, some, attrs.LIMIT_NBYTES) < 0
        return is_doubtful

    def doubtful(self, at: int) -> Entry:
        """Return an array that is doubtful, with a CRC that none has."""
        index = self.index
        return Entry(index.name(at), int(index.starts[at]), int(index.ends[at]), crc=-1)

    def entries(self, positions: Int64s) -> Entries:
        """Copy what is said of arrays that are not doubtful."""
        index = self.index
        names, extras = index.names.chosen(positions), (index.infos, self._metas)
        columns: list[Any] = [names, np.array(hash_all(names), np.uint32)]
        for column in (index.starts, index.ends, index.crcs, index.pointed):
            columns.append(column[positions])
        columns += [None if column is None else column.chosen(positions) for column in extras]
        return Entries._make(columns)

    def blocks(self, kept: _Kept) -> Iterator[Entries]:
        """Yield the arrays that are kept."""
        for some, bits in zip(self.groups(), kept.groups, strict=True):
            is_kept = np.unpackbits(bits, count=some.stop - some.start)
            yield self.entries(some.start + np.flatnonzero(is_kept))


_LIMITS = NAME_LIMIT_NBYTES, infos.LIMIT_NBYTES, attrs.LIMIT_NBYTES


def _lengths(column: RaggedColumn | None, some: slice, limit: int) -> Int64s:
    """Return the bytes of items; -1 for one that does not lie in its column, or is too long."""
    if column is None:
        return np.zeros(some.stop - some.start, np.int64)
    ends = column.ends[some]
    first = column.ends[some.start - 1 : some.start] if some.start else [0]
    starts = np.concatenate([first, ends[:-1]])
    is_sound = (starts >= 0) & (starts <= ends) & (ends <= len(column.joined))
    lengths: Int64s = np.where(is_sound, ends - starts, -1)
    return np.where(lengths > limit, -1, lengths)


def _chosen(entries: Entries, which: Bools) -> Entries:
    """Return some of the entries."""
    if which.all():
        return entries
    at = np.flatnonzero(which)
    columns: list[Any] = []
    for column in entries:
        columns.append(column.chosen(at) if isinstance(column, RaggedColumn) else column)
        if isinstance(column, np.ndarray):
            columns[-1] = column[at]
    return Entries._make(columns)


def _entry(entries: Entries, at: int) -> Entry:
    numbers = [int(column[at]) for column in entries[2:6]]
    extras = [b"" if column is None else column.item(at) for column in entries[6:]]
    return Entry._make([entries.names.item(at), *numbers, *extras])


# rows ---------------------------------------------------------------------------------------------


class _Rows:
    """The rows of arrays, compared with their checksums."""

    def __init__(self, source: Content) -> None:
        self._source, self.path = source, source.data.path
        self._layout, self._nbytes = source.layout, source.data.nbytes
        self._raw = PreadRows(source.data, np.dtype(np.uint8), (self._nbytes,))

    def seem_intact(self, entries: Entries) -> Bools:
        """Tell which arrays are intact, many in one go; of the others, `problem` has to tell."""
        starts, ends, width = entries.starts, entries.ends, self._layout.width
        if self._source.mask is not None:
            return np.zeros(len(starts), np.bool_)
        n_rows = self._nbytes // width if width else np.iinfo(np.int64).max
        is_good: Bools = (starts >= 0) & (starts <= ends) & ((starts == ends) | (ends <= n_rows))
        for at in np.flatnonzero(is_good & _have_extras(entries)).tolist():
            array = _entry(entries, at)
            try:
                self._check_extras(array)
            except ValueError:
                is_good[at] = False
        crcs = np.zeros(len(starts), np.uint32)  # as those of empty arrays are
        filled = np.flatnonzero(is_good & (starts < ends))
        crcs[filled] = self._crcs(starts[filled], ends[filled])
        is_good &= crcs == entries.crcs
        return is_good

    def _crcs(self, starts: Int64s, ends: Int64s) -> UInt32s:
        """Return the CRC-32 of the rows of arrays that have some."""
        width, crcs = self._layout.width, np.empty(len(starts), np.uint32)
        first_bytes, end_bytes = starts * width, ends * width
        for low, high in cut(end_bytes - first_bytes + _EACH_NBYTES, _BLOCK_NBYTES):
            some = slice(low, high)
            if high - low == 1:  # which may be long
                crcs[low] = self._source.crc(int(starts[low]), int(ends[low]))
                continue
            ranges = first_bytes[some], end_bytes[some]
            offsets = np.concatenate([[0], np.cumsum(ranges[1] - ranges[0])])
            raw = copy_ranges(self._raw, *ranges, offsets)
            crcs[some] = crc32_each(raw, offsets[:-1], offsets[1:])
        return crcs

    def problem(self, array: Entry) -> str | None:
        """Say why an array cannot be copied; None if it can."""
        if not 0 <= array.start <= array.end:
            return "has a damaged pointer"
        if array.start < array.end and array.end * self._layout.width > self._nbytes:
            return f"does not lie in the {self._nbytes} bytes of its file"
        try:
            self._check_extras(array)
        except ValueError as error:
            return f"has {error}"
        is_same = self._source.crc(array.start, array.end, array.info) == array.crc
        return None if is_same else "does not match its checksum"

    def _check_extras(self, array: Entry) -> None:
        """Raise ValueError if what else is said of an array makes no sense."""
        infos.check(self._layout, array.end - array.start, array.info)
        metadata.decode(array.meta)


def _have_extras(entries: Entries) -> Bools:
    """Tell of which arrays there is an info, or metadata."""
    columns = (entries.infos, entries.metas)
    have: list[Bools] = [column.lengths > 0 for column in columns if column is not None]
    either: Bools = np.logical_or.reduce([np.zeros(len(entries.starts), np.bool_), *have])
    return either
