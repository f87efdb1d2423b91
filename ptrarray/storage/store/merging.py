"""Folding a journal into an index, in memory that grows with neither.

As many changes as fit into the memory there is are folded in at a time, into an index that is not
in place, and has no name: of all that there is while that is little, else of the changes alone,
which is then folded into the old one, so that few go through a large index. Who does goes through
it from front to back: its columns block by block, with the changes put between, and its name table,
whose hashes rise as those of the sorted changes do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.errors import CorruptStoreError
from ptrarray.format import table
from ptrarray.format.entries import DELETED, Entries, RaggedColumn, joined_column
from ptrarray.format.index import IndexHeader, corrupt
from ptrarray.format.table import EMPTY, Keys
from ptrarray.rows.copying import copy_ranges
from ptrarray.rows.types import Int64s, UInt32s
from ptrarray.storage.store.blocks import SCRATCH_FILE_NAME, Contents, Sizes, write_contents
from ptrarray.storage.store.folding import Order, of_same_name
from ptrarray.storage.store.index import Index, pieces
from ptrarray.storage.system.building import nameless

MEMORY_NBYTES = 512 * 10**6  # of a process that looks after a store, if nothing else is said
# What a process has of it that has done nothing yet: Python and numpy.
_PROCESS_NBYTES = 48 << 20
_LEAST_PART = 4
# Bytes that folding takes for each change, beside its columns.
_CHANGE_NBYTES = 48
# Of the columns of an index that are merged in one go.
_ENTRY_NBYTES = 42  # of a change, less its name and other items
_BLOCK_NBYTES = 1 << 19
_LONG_BLOCKS = 8

_NO_HASHES = np.empty(0, np.uint32)


def fold_all(index: Index, records: Iterable[Entries], directory: Path, memory: int) -> Contents:
    """Return the contents of an index with the records of a journal folded in.

    Parameters
    ----------
    index : Index
        The old one, which matches its checksums: what is damaged must never be folded into
        something that looks good.
    records : iterable of Entries
        Those that are about names, in order.
    directory : Path
        Where a file without a name can be, for what does not fit in memory.
    memory : int
        Bytes that a process may take that has done nothing yet.

    Raises
    ------
    CorruptStoreError
        If the old index makes no sense.
    """
    room = max(memory - _PROCESS_NBYTES, memory // _LEAST_PART)
    rounds, aside = gathered(records, room * 5 // 8), None
    while True:
        changes, is_last = next(rounds)
        if aside is not None and not aside.has_room_for(changes):
            index, aside = beside(directory, index.header, aside.folded()), None
        if aside is None and (is_last or index.header.n_arrays <= changes.n_names):
            contents = fold(index, changes, room // 4)
            del changes  # which the contents have
        else:
            aside = aside or _Aside(index, directory, room)
            aside.add(changes)
            del changes
            if not is_last:
                continue
            contents = aside.folded()
        if is_last:
            return contents
        index = beside(directory, index.header, contents)
        del contents


class _Aside:
    """Changes that do not fit in memory, folded into an index of their own.

    Parameters
    ----------
    index : Index
        The one that they are about: all of them go through it together, once.
    directory : Path
        Where a file without a name can be.
    memory : int
        Bytes that there are.
    """

    def __init__(self, index: Index, directory: Path, memory: int) -> None:
        self._index, self._directory, self._memory = index, directory, memory
        self._gone: list[Int64s] = []  # what they delete or replace in the index
        self._n_most = memory * 5 // 8 // _CHANGE_NBYTES
        self._changes = beside(directory, index.header, Contents.of(Entries.of()))

    def has_room_for(self, changes: Entries) -> bool:
        """Tell whether more can be folded in: their order has to fit in memory, without columns."""
        return self._changes.header.n_arrays + changes.n_names <= self._n_most

    def add(self, changes: Entries) -> None:
        """Fold in the changes that come next."""
        found = self._index.find_passing(changes.names, changes.hashes)
        self._gone.append(found[found >= 0])
        contents = fold(self._changes, changes, self._memory // 4)
        del changes
        self._changes = beside(self._directory, self._index.header, contents)

    def folded(self) -> Contents:
        """Return the contents of the index with all of them folded in."""
        index, made = self._index, self._changes
        changes = Entries(
            made.names,
            _NO_HASHES,
            *(made.starts, made.ends, made.crcs, made.pointed, made.infos, made.metas),
        )
        gone = np.concatenate(self._gone)
        order = Order(index, made.names, _NO_HASHES, made.starts, passing=True, positions=gone)
        made.pass_on()
        moves = _moves(order, index, self._memory // 4)
        runs = [_IndexRun(index, moves), _IndexRun(made, order.finals.__getitem__)]
        sizes = _sizes(index, order, changes)
        made.pass_on()
        return Contents(
            sizes, self._passed(_blocks(index, order, changes)), table.in_parts(runs, len(order))
        )

    def _passed(self, blocks: Iterator[Entries]) -> Iterator[Entries]:
        for block in blocks:
            yield block
            self._changes.pass_on()


def beside(directory: Path, header: IndexHeader, contents: Contents) -> Index:
    """Return an index that is in no place, in a file without a name: written, and read."""
    with nameless(directory / SCRATCH_FILE_NAME) as file:
        write_contents(file, header, contents)
        index = Index(directory, checked=False, file=file)
        index.check()
        return index


def blocks_of(index: Index) -> Iterator[Entries]:
    """Yield all columns of an index but the hashes, some arrays at a time."""
    return _blocks(index, *_no_changes(index))


def contents_like(
    index: Index,
    change: Callable[[Entries], Entries],
    infos_nbytes: int | None = None,
    *,
    entry: bool = False,
) -> Contents:
    """Return the contents of an index with the same names in the same order.

    Parameters
    ----------
    index : Index
        The other one.
    change : callable
        Given all blocks of it in order, returns what becomes of each.
    infos_nbytes : int, optional
        Bytes of all infos, if these become others.
    entry : bool
        Whether it has numbers side by side, too.
    """
    sizes = _sizes(index, *_no_changes(index))
    if infos_nbytes is not None:
        sizes = sizes._replace(infos=infos_nbytes)
    if entry:
        sizes = sizes.with_entry()
    slots = table.in_parts([_IndexRun(index, None)], sizes.n_arrays)
    return Contents(sizes, map(change, blocks_of(index)), slots)


def _no_changes(index: Index) -> tuple[Order, Entries]:
    none = Entries.of()
    return Order(index, none.names, none.hashes, none.starts), none


def gathered(records: Iterable[Entries], memory: int) -> Iterator[tuple[Entries, bool]]:
    """Lay records end to end, as many as can be folded in with so much memory at a time.

    Yields them with whether they are the last.
    """
    some: list[Entries] = []
    n_left = memory
    for part in records:
        nbytes = _nbytes(part) + part.n_names * _CHANGE_NBYTES
        if nbytes > n_left and some:
            yield _laid(some), False
            n_left = memory
        n_left -= nbytes
        some.append(part)
        del part
    yield _laid(some), True


def _nbytes(entries: Entries) -> int:
    columns: list[npt.NDArray[Any]] = []
    for column in entries:
        if isinstance(column, RaggedColumn):
            columns += [column.ends, column.joined]
        elif column is not None:
            columns.append(column)
    return sum(column.nbytes for column in columns)


def _laid(parts: list[Entries]) -> Entries:
    """Lay tables end to end, and let go of each column when it was copied: the list is empty then."""
    lengths = [0, *(part.n_names for part in parts)]
    columns = [[*column] for column in zip(Entries.of(), *parts, strict=True)]
    parts.clear()
    laid = []
    for column in columns:
        laid.append(joined_column(column, lengths))
        column.clear()
    return Entries._make(laid)


def fold(index: Index, changes: Entries, memory: int) -> Contents:
    """Return the contents of an index with some changes folded in, block by block.

    Parameters
    ----------
    index : Index
        The old one.
    changes : Entries
        Records of a journal end to end, in order.
    memory : int
        Bytes that may be taken to look up where each array of the old index goes; else that is
        computed, which takes longer.
    """
    # Of the entries a, b, c, b and c, of which the last deletes c, the first b and the first c are
    # superseded. This leaves a and the second b; b and c are found in the index as a is, and go.
    starts, gone = changes.starts, superseded(changes)
    if len(gone):
        starts = starts.copy()
        starts[gone] = DELETED
    is_rising = not (starts[1:] < starts[:-1]).any()
    if not index.header.n_arrays and is_rising and DELETED not in starts[:1]:
        return Contents.of(changes)  # as a first large batch is
    order = Order(index, changes.names, changes.hashes, starts, passing=True)
    keys = table.keys_of(changes.hashes[order.kept], order.finals)
    keys.sort()
    runs: list[table.Run] = [_IndexRun(index, _moves(order, index, memory)), table.SortedRun(keys)]
    slots = table.in_parts(runs, len(order))
    return Contents(_sizes(index, order, changes), _blocks(index, order, changes), slots)


def superseded(entries: Entries) -> Int64s:
    """Return the entries of names that a later entry is about, too, in rising order.

    Of entries for a, b, a, a these are 0 and 2. Only names whose hashes are the same are compared.
    """
    order = table.argsort(entries.hashes)
    hashes = entries.hashes[order]
    at = np.flatnonzero(hashes[1:] == hashes[:-1])
    before, after = order[at], order[at + 1]
    del order, hashes
    return of_same_name(entries, before, after)


# columns --------------------------------------------------------------------------------------


def _sizes(index: Index, order: Order, changes: Entries) -> Sizes:
    """Count what an index with changes folded in has."""
    totals = [0, 0, 0]
    old, new = _items(index), _items(changes)
    for which, (ours, theirs) in enumerate(zip(old, new, strict=True)):
        if ours is not None and len(ours):
            totals[which] += int(ours.ends[-1])
        if theirs is not None and len(theirs):
            is_whole = len(order.kept) == len(theirs)
            totals[which] += int(theirs.ends[-1] if is_whole else theirs.lengths[order.kept].sum())
    for some in index.passed(order.removed):
        at = order.removed[some]
        for which, column in enumerate(old):
            if column is not None:
                totals[which] -= int(_lengths_at(index, column, at).sum())
    pointed = bool(changes.pointed[order.kept].any()) or _has_pointed(index, order.removed)
    names, infos, metas = totals
    return Sizes(len(order), names, infos, metas, pointed)


def _lengths_at(index: Index, column: RaggedColumn, at: Int64s) -> Int64s:
    try:
        return column.lengths_at(at)
    except ValueError as error:
        raise _damaged(index, error) from error


def _damaged(index: Index, error: ValueError) -> CorruptStoreError:
    return corrupt(index.path, f"is damaged: it has an item {error}")


def _items(of: Index | Entries) -> tuple[RaggedColumn | None, ...]:
    return of.names, of.infos, of.metas


def _has_pointed(index: Index, removed: Int64s) -> bool:
    """Tell whether an array that is left in an index is pointed."""
    n_pointed = 0
    for some in pieces(index.header.n_arrays if "pointed" in index.columns else 0):
        n_pointed += int(np.count_nonzero(index.pointed[some]))
        index.pass_on()
    if n_pointed:
        for some in index.passed(removed):
            n_pointed -= int(np.count_nonzero(index.pointed[removed[some]]))
    return n_pointed > 0


def _blocks(index: Index, order: Order, changes: Entries) -> Iterator[Entries]:
    """Yield all columns of an index, with those of changes folded in, some arrays at a time."""
    # Of both, as either may be all there is.
    n_changed = sum(len(column.joined) for column in _items(changes) if column is not None)
    nbytes = index.nbytes + n_changed + _ENTRY_NBYTES * changes.n_names
    step = max(1, _BLOCK_NBYTES * (index.header.n_arrays + changes.n_names) // nbytes)
    for first in range(0, len(order), step):
        yield from _some(index, order, changes, first, min(first + step, len(order)))
        index.pass_on()


def _some(index: Index, order: Order, changes: Entries, first: int, last: int) -> Iterator[Entries]:
    """Yield the arrays at some positions; in halves where their items are very long."""
    low, high, start, end = order.spans(first, last)
    middle = (first + last) // 2
    columns = [column for column in _items(index) if column is not None]
    if middle > first and _span_nbytes(columns, start, end) > _LONG_BLOCKS * _BLOCK_NBYTES:
        yield from _some(index, order, changes, first, middle)
        yield from _some(index, order, changes, middle, last)
        return
    low_gone, high_gone = np.searchsorted(order.removed, (start, end)).tolist()
    mix = _Mix(
        slice(start, end),
        order.removed[low_gone:high_gone] - start,
        order.kept[low:high],
        order.finals[low:high] - first,
    )
    try:
        yield Entries(
            mix.items(index.names, changes.names),
            _NO_HASHES,
            mix.numbers(index.starts, changes.starts),
            mix.numbers(index.ends, changes.ends),
            mix.numbers(index.crcs, changes.crcs),
            mix.numbers(index.pointed, changes.pointed),
            mix.some_items(index.infos, changes.infos),
            mix.some_items(index.metas, changes.metas),
        )
    except ValueError as error:
        raise _damaged(index, error) from error


def _span_nbytes(columns: list[RaggedColumn], start: int, end: int) -> int:
    """Return the bytes that the items of some arrays have."""
    if start == end:
        return 0
    return sum(
        int(column.ends[end - 1]) - (int(column.ends[start - 1]) if start else 0)
        for column in columns
    )


class _Mix:
    """Some entries of an index, and changes that are put between them.

    Parameters
    ----------
    old : slice
        Of the index.
    gone : ndarray of int64
        Which of these are left out, counted from the first.
    kept : ndarray of int64
        The changes.
    finals : ndarray of int64
        Which of all together they are.
    """

    def __init__(self, old: slice, gone: Int64s, kept: Int64s, finals: Int64s) -> None:
        self._old, self._gone = old, gone
        self._n_old = old.stop - old.start
        # A slice, which copies nothing, where they follow each other.
        follow = len(kept) > 0 and int(kept[-1] - kept[0]) == len(kept) - 1
        is_run = follow and bool((np.diff(kept) == 1).all())
        self._kept = slice(int(kept[0]), int(kept[-1]) + 1) if is_run else kept
        self._n_new = len(kept)
        self._is_new = np.zeros(self._n_old - len(gone) + len(kept), np.bool_)
        self._is_new[finals] = True
        self._is_left: npt.NDArray[np.bool_] | None = None
        if len(gone):
            self._is_left = np.ones(self._n_old, np.bool_)
            self._is_left[gone] = False

    def numbers(self, column: npt.NDArray[Any], changed: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a column of numbers."""
        old = column[self._old]
        return self._mixed(
            old if self._is_left is None else old[self._is_left], changed[self._kept]
        )

    def _mixed(self, old: npt.NDArray[Any], new: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if not len(new) or not len(old):
            return new if len(new) else old
        both = np.empty(len(self._is_new), old.dtype)
        both[self._is_new] = new
        both[~self._is_new] = old
        return both

    def some_items(
        self, column: RaggedColumn | None, changed: RaggedColumn | None
    ) -> RaggedColumn | None:
        """Return a column of items; None if neither has it."""
        return None if column is None and changed is None else self.items(column, changed)

    def items(self, column: RaggedColumn | None, changed: RaggedColumn | None) -> RaggedColumn:
        """Return a column of items."""
        old = RaggedColumn.blank(self._n_old) if column is None else column[self._old]
        if not old.is_sound:
            raise ValueError("that does not lie in its column")
        if self._is_left is not None:
            old = old.chosen(np.flatnonzero(self._is_left))
        if changed is None:
            new = RaggedColumn.blank(self._n_new)
        elif isinstance(self._kept, slice):
            new = changed[self._kept]
        else:
            new = changed.chosen(self._kept)
        if not len(new) or not len(old):
            return new if len(new) else old
        # As if those of the changes lay behind those of the index.
        joined = np.concatenate([old.joined, new.joined])
        starts = self._mixed(old.starts, new.starts + len(old.joined))
        ends = self._mixed(old.ends, new.ends + len(old.joined))
        offsets = np.concatenate([[0], np.cumsum(ends - starts)])
        return RaggedColumn(offsets[1:], copy_ranges(joined, starts, ends, offsets))


# the name table -------------------------------------------------------------------------------

Moves = Callable[[Int64s], npt.NDArray[Any]]


def _moves(order: Order, index: Index, memory: int) -> Moves | None:
    """Return what gives the positions of arrays of an index among all; `EMPTY` where one is removed.

    None where they stay as they are.
    """
    n_old = index.header.n_arrays
    before = order.finals - np.arange(len(order.finals))  # arrays left that come before each change
    if not len(order.removed) and (before[:1] >= n_old).all():
        return None
    moved = _Moved(order.removed, before)
    if 4 * n_old > memory:
        return moved.at
    positions = np.empty(n_old, np.uint32)
    for some in pieces(n_old):
        positions[some] = moved.of(some)
    return positions.__getitem__


class _Moved:
    """Where the arrays of an index are among all."""

    def __init__(self, removed: Int64s, before: Int64s) -> None:
        self._removed, self._before = removed, before

    def at(self, positions: Int64s) -> Int64s:
        """Return that of some arrays, in any order."""
        n_gone = np.searchsorted(self._removed, positions)
        left = positions - n_gone
        moved: Int64s = left + np.searchsorted(self._before, left, side="right")
        if len(self._removed):
            moved[self._removed.take(n_gone, mode="clip") == positions] = EMPTY
        return moved

    def of(self, some: slice) -> Int64s:
        """Return that of arrays that follow each other, in a tenth of the time."""
        low, high = np.searchsorted(self._removed, (some.start, some.stop)).tolist()
        gone = self._removed[low:high] - some.start
        steps = np.ones(some.stop - some.start, np.int64)
        steps[gone] = 0
        left = np.cumsum(steps)  # of these, counted from 1
        first, n_left = some.start - low, int(left[-1])
        begin, end = np.searchsorted(self._before, (first, first + n_left)).tolist()
        n_between = np.bincount(self._before[begin:end] - first, minlength=n_left)
        moved: Int64s = left + (first - 1 + begin)
        if n_left:
            moved += np.cumsum(n_between)[left - 1]
        moved[gone] = EMPTY
        return moved


class _IndexRun:
    """Keys of the names of an index, read back from its name table, as a `table.Run`."""

    def __init__(self, index: Index, moves: Moves | None) -> None:
        self._index, self._moves = index, moves
        self._pairs: Keys = index.column("slot").view(np.uint64)
        self._left = pieces(len(self._pairs))
        self._n_found = self._last = 0
        self._keys: Keys = np.empty(0, np.uint64)

    def until(self, end: int) -> Keys:
        """Return those of the keys that are left whose hashes are below `end`."""
        taken = []
        while True:
            cut = table.n_below(self._keys, end)
            taken.append(self._keys[:cut])
            self._keys = self._keys[cut:]
            some = None if len(self._keys) else next(self._left, None)
            if some is None:
                return np.concatenate(taken)
            self._keys = self._read(some)

    def _read(self, some: slice) -> Keys:
        pairs = self._pairs[some]
        full = pairs[pairs >> np.uint64(32) != EMPTY]
        hashes = full.astype(np.uint32)
        positions = (full >> np.uint64(32)).view(np.int64)
        self._check(hashes, positions, is_last=some.stop == len(self._pairs))
        self._index.pass_on()
        if self._moves is not None:
            positions = self._moves(positions).astype(np.int64)
            is_left = positions != EMPTY
            hashes, positions = hashes[is_left], positions[is_left]
        return table.keys_of(hashes, positions)

    def _check(self, hashes: UInt32s, positions: Int64s, *, is_last: bool) -> None:
        n_arrays = self._index.header.n_arrays
        self._n_found += len(hashes)
        is_wrong = bool((positions >= n_arrays).any() or (hashes[1:] < hashes[:-1]).any())
        if len(hashes):
            is_wrong = is_wrong or int(hashes[0]) < self._last
            self._last = int(hashes[-1])
        if is_wrong or (is_last and self._n_found != n_arrays):
            what = f"{self._n_found} names in its table, not {n_arrays}, or not in order"
            raise corrupt(self._index.path, f"is damaged: it has {what}")
