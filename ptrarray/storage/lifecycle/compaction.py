"""Rewriting the data file without its holes."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from itertools import chain

import numpy as np

from ptrarray.errors import StoreError
from ptrarray.format.entries import Entries
from ptrarray.format.index import IndexHeader
from ptrarray.format.layouts import MIXED, Layout
from ptrarray.progress import Bar, bar
from ptrarray.rows.pointers import merge_runs
from ptrarray.rows.types import Int64s
from ptrarray.storage.lifecycle.create import Fill, switch_over, write_content
from ptrarray.storage.lifecycle.masks import PackedMasks
from ptrarray.storage.store.blocks import Contents
from ptrarray.storage.store.content import Content
from ptrarray.storage.store.index import Index, pieces
from ptrarray.storage.store.merging import (
    MEMORY_NBYTES,
    beside,
    blocks_of,
    contents_like,
    fold_all,
)
from ptrarray.storage.system import files
from ptrarray.storage.system.buffers import Buffer
from ptrarray.storage.system.files import File
from ptrarray.storage.system.lock import CHANGING, is_held, try_lock_range, whole
from ptrarray.storage.writing.session import Session

_READ_NBYTES = 1 << 22
_EVERY_ROW = 2**62


@whole
def compact(
    session: Session,
    *,
    progress: bool = False,
    names: Container[bytes] | None = None,
    memory: int = MEMORY_NBYTES,
    entry: bool = False,
) -> None:
    """Move all living rows to a new data file, end to end, and switch over to it.

    With `names`, all other arrays go, in the same step. With `entry`, the index has numbers side by
    side, too. Takes no more than so many bytes of memory, in a process that has done nothing yet.

    Holds the store's lock all the while: writers that want to commit wait.
    One that is writing rows at this moment could not be waited for, as it
    needs the lock to finish.

    Raises
    ------
    StoreError
        If a living writer has claimed rows, or rows may be changed through
        views. Nothing was done.
    """
    with session.locked(), File(session.data.path, files.CHANGE) as source:
        if not try_lock_range(source, 0, _EVERY_ROW):
            raise StoreError(
                f"{session.path} cannot be compacted while a writer is filling rows: "
                "try again when it has committed them",
                path=session.path,
            )
        if is_held(session.data, CHANGING):
            # What they change would stay behind, or come along without its checksum.
            raise StoreError(
                f"{session.path} cannot be compacted while its rows may be changed through views: "
                'close what is open with mode "r+", and let go of its arrays',
                path=session.path,
            )
        index, header = session.whole_index(memory)
        # With a data file of its own it is not sealed; a part that is being written stays one.
        header = replace(header, sealed=None if session.is_sealed else header.sealed)
        if names is not None:
            contents = fold_all(index, _all_but(index, names), session.directory, memory)
            index = beside(session.directory, header, contents)
        header, fill = without_holes(session.content, header, index, progress=progress, entry=entry)
        rights = session.content.rights
        switch_over(
            session, header, lambda new: write_content(session.directory, new, fill, rights)
        )


@whole
def publish(session: Session, *, progress: bool = False, memory: int = MEMORY_NBYTES) -> None:
    """Bring a store to what is best read from elsewhere: no journal, no holes, numbers side by side.

    Does nothing if it is that. As `compact`, where there are holes.
    """
    with session.locked():
        session.checkpoint(memory)
        if _has_holes(session):
            compact(session, progress=progress, memory=memory, entry=True)
        else:
            session.checkpoint(memory, entry=True)


def _has_holes(session: Session) -> bool:
    """Tell whether the files of a store without a journal have more than its arrays."""
    layout, header, content = session.layout, session.header, session.content
    n_rows = sum(int(np.sum(ends - starts)) for starts, ends in runs_of(session.index, layout))
    n_reserved = max(header.n_rows, header.n_reserved, session.journal_header.n_reserved)
    is_long = content.data.nbytes > n_rows * layout.width
    if content.mask is not None and layout.kind == MIXED:  # with masks that are not end to end
        is_long = is_long or content.mask.nbytes != header.packed_masks
    return n_reserved > n_rows or is_long


def _all_but(index: Index, names: Container[bytes]) -> Iterator[Entries]:
    """Yield what deletes all other names of an index."""
    for block in blocks_of(index):
        yield Entries.of([name for name in block.names.split() if name not in names])


def named(columns: Entries, names: Container[bytes]) -> list[int]:
    """Return where arrays of some names are, rising."""
    return [at for at, name in enumerate(columns.names) if name in names]


def only(columns: Entries, kept: list[int]) -> Entries:
    """Return what is known of some arrays, and of no others."""
    items = (columns.names, columns.infos, columns.metas)
    texts, infos, metas = (() if c is None else [c[at] for at in kept] for c in items)
    starts, ends, crcs, pointed = (column[kept] for column in columns[2:6])
    return Entries.of(texts, starts, ends, crcs, pointed, infos, metas)


def without_holes(
    source: Content, header: IndexHeader, index: Index, *, progress: bool, entry: bool = False
) -> tuple[IndexHeader, Fill]:
    """Return the header of a store with the arrays of an index, end to end, and what fills its files."""
    layout = source.layout
    n_rows = sum(int(np.sum(ends - starts)) for starts, ends in runs_of(index, layout))
    header = replace(header, n_rows=n_rows, n_reserved=n_rows, packed_masks=None)
    masks = None
    if source.mask is not None and layout.kind == MIXED:
        mask = source.mask_bytes()
        masks = PackedMasks(layout, lambda: blocks_of(index), mask, source.mask.path)
        header = replace(header, packed_masks=masks.nbytes)

    def fill(target: Content) -> Contents:
        n_bytes = n_rows * layout.width + (
            n_rows * layout.mask_width if masks is None else masks.nbytes
        )
        with bar(total=n_bytes, unit="B", progress=progress) as counter:
            _copy(_runs_of(source.data, layout.width, runs_of(index, layout)), target.data, counter)
            if target.mask is not None and source.mask is not None:
                width = layout.mask_width
                of_rows = _runs_of(source.mask, width, runs_of(index, layout))
                _copy(masks.pieces() if masks else of_rows, target.mask, counter)
        move = _Move(runs_of(index, layout))
        if masks is None:
            return contents_like(index, move, entry=entry)
        packed = masks.packing()
        nbytes = masks.infos_nbytes
        return contents_like(index, lambda block: move(packed(block)), nbytes, entry=entry)

    return header, fill


def runs_of(index: Index, layout: Layout) -> Iterator[tuple[Int64s, Int64s]]:
    """Unite the rows of all arrays into runs that can be moved end to end, some at a time.

    As `living_runs`, of an index that is in data order.
    """
    starts = ends = np.empty(0, np.int64)
    for some in pieces(index.header.n_arrays):
        new_starts, new_ends = living_runs(layout, index.starts[some], index.ends[some])
        starts, ends = merge_runs(
            np.concatenate([starts, new_starts]), np.concatenate([ends, new_ends])
        )
        index.pass_on()
        # What comes next may go on where the last run ends, and with no other one.
        yield starts[:-1], ends[:-1]
        starts, ends = starts[-1:], ends[-1:]
    yield starts, ends


def living_runs(layout: Layout, starts: Int64s, ends: Int64s) -> tuple[Int64s, Int64s]:
    """Unite the rows of all arrays into runs that can be moved end to end.

    Each begins and ends where an array may begin, so that arrays stay aligned.
    """
    firsts = starts - starts % layout.alignment
    return merge_runs(firsts, np.where(starts < ends, layout.aligned(ends), firsts))


def _runs_of(file: File, width: int, runs: Iterable[tuple[Int64s, Int64s]]) -> Iterator[bytes]:
    """Yield the bytes of runs of rows."""
    for start, end in chain.from_iterable(
        zip(*map(np.ndarray.tolist, some), strict=True) for some in runs
    ):
        for at in range(start * width, end * width, _READ_NBYTES):
            nbytes = min(_READ_NBYTES, end * width - at)
            # The last run may be raised to where an array could begin, past what is in the file.
            yield file.pread(nbytes, at).ljust(nbytes, b"\0")


def _copy(pieces: Iterable[Buffer], target: File, counter: Bar) -> None:
    """Write pieces end to end to a file that is a hole; what is all zero may stay one."""
    at = 0
    for piece in pieces:
        target.pwrite_sparse(piece, at)
        at += len(piece)
        counter.update(len(piece))


class _Move:
    """Pointers of arrays that come block by block, in data order, as they are without holes."""

    def __init__(self, runs: Iterator[tuple[Int64s, Int64s]]) -> None:
        self._left = runs
        self._starts = self._ends = np.empty(0, np.int64)  # of runs that arrays may still be in
        self._n_before = 0  # rows in those before them

    def __call__(self, block: Entries) -> Entries:
        """Return the next block, moved."""
        if not len(block.starts):
            return block
        last = int(block.starts[-1])
        while not len(self._starts) or self._starts[-1] <= last:
            some = next(self._left, None)
            if some is None:
                break
            self._starts = np.concatenate([self._starts, some[0]])
            self._ends = np.concatenate([self._ends, some[1]])
        made = moved_columns(block, (self._starts, self._ends), self._n_before)
        n_passed = max(int(np.searchsorted(self._starts, last, side="right")) - 1, 0)
        self._n_before += int(np.sum(self._ends[:n_passed] - self._starts[:n_passed]))
        self._starts, self._ends = self._starts[n_passed:], self._ends[n_passed:]
        return made


def moved_columns(columns: Entries, runs: tuple[Int64s, Int64s], n_before: int = 0) -> Entries:
    """Return the columns of an index after its runs were moved end to end, behind some rows."""
    starts, ends = (moved(rows, runs) + n_before for rows in (columns.starts, columns.ends))
    return columns._replace(starts=starts, ends=ends)


def moved(rows: Int64s, runs: tuple[Int64s, Int64s]) -> Int64s:
    """Return the number of living rows before each of `rows`: where it is without holes."""
    starts, ends = runs
    if not len(starts):
        return np.zeros_like(rows)
    before = np.concatenate([[0], np.cumsum(ends - starts)])
    run = np.searchsorted(starts, rows, side="right") - 1
    inside = np.minimum(rows - starts[run], ends[run] - starts[run])
    return np.where(run < 0, 0, before[run] + inside)
