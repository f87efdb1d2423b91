"""Rewriting the data file without its holes."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import replace

import numpy as np

from ptrarray.errors import StoreError
from ptrarray.format.entries import Entries
from ptrarray.format.index import IndexHeader
from ptrarray.format.layouts import MIXED, Layout
from ptrarray.progress import Bar, bar
from ptrarray.rows.pointers import merge_runs
from ptrarray.rows.types import Int64s
from ptrarray.storage.lifecycle.create import Fill, switch_over, write_content
from ptrarray.storage.lifecycle.masks import packed_masks
from ptrarray.storage.store.content import Content
from ptrarray.storage.system import files
from ptrarray.storage.system.files import Buffer, File
from ptrarray.storage.system.lock import CHANGING, is_held, try_lock_range, whole
from ptrarray.storage.writing.session import Session

_READ_NBYTES = 1 << 24
_EVERY_ROW = 2**62


@whole
def compact(
    session: Session, *, progress: bool = False, names: Container[bytes] | None = None
) -> None:
    """Move all living rows to a new data file, end to end, and switch over to it.

    With `names`, all other arrays go, in the same step.

    Holds the store's lock all the while: writers that want to commit wait.
    One that is writing rows at this moment could not be waited for, as it
    needs the lock to finish.

    Raises
    ------
    StoreError
        If a living writer has claimed rows, or rows may be changed through
        views. Nothing was done.
    """
    with session.locked():
        snapshot = session.sound_snapshot()
        with File(session.data.path, files.CHANGE) as source:
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
            # With a data file of its own it is not sealed; a part that is being written stays one.
            sealed = None if session.is_sealed else session.header.sealed
            header = replace(session.header, attrs=snapshot.attrs, sealed=sealed)
            columns = snapshot.overlay.folded()
            if names is not None:
                columns = only(columns, named(columns, names))
            header, fill = without_holes(session.content, header, columns, progress=progress)
            rights = session.content.rights
            switch_over(
                session, header, lambda new: write_content(session.directory, new, fill, rights)
            )


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
    source: Content, header: IndexHeader, columns: Entries, *, progress: bool
) -> tuple[IndexHeader, Fill]:
    """Return the header of a store with the same arrays, end to end, and what fills its files."""
    runs = living_runs(source.layout, columns.starts, columns.ends)
    n_rows = int(np.sum(runs[1] - runs[0]))
    header = replace(header, n_rows=n_rows, n_reserved=n_rows, packed_masks=None)
    masks = None
    if source.mask is not None and source.layout.kind == MIXED:
        masks = packed_masks(source.layout, columns, source.mask_bytes(), source.mask.path)
        header = replace(header, packed_masks=masks.nbytes)

    def fill(target: Content) -> Entries:
        n_bytes = n_rows * source.layout.width + (
            n_rows * source.layout.mask_width if masks is None else masks.nbytes
        )
        with bar(total=n_bytes, unit="B", unit_scale=True, progress=progress) as counter:
            _copy(_runs_of(source.data, source.layout.width, runs), target.data, counter)
            if target.mask is not None and source.mask is not None:
                width = source.layout.mask_width
                pieces = masks.pieces() if masks else _runs_of(source.mask, width, runs)
                _copy(pieces, target.mask, counter)
        return moved_columns(columns if masks is None else masks.columns, runs)

    return header, fill


def living_runs(layout: Layout, starts: Int64s, ends: Int64s) -> tuple[Int64s, Int64s]:
    """Unite the rows of all arrays into runs that can be moved end to end.

    Each begins and ends where an array may begin, so that arrays stay aligned.
    """
    firsts = starts - starts % layout.alignment
    return merge_runs(firsts, np.where(starts < ends, layout.aligned(ends), firsts))


def _runs_of(file: File, width: int, runs: tuple[Int64s, Int64s]) -> Iterator[bytes]:
    """Yield the bytes of runs of rows."""
    for start, end in zip(*(column.tolist() for column in runs), strict=True):
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


def moved_columns(columns: Entries, runs: tuple[Int64s, Int64s]) -> Entries:
    """Return the columns of an index after its runs were moved end to end."""
    return columns._replace(starts=moved(columns.starts, runs), ends=moved(columns.ends, runs))


def moved(rows: Int64s, runs: tuple[Int64s, Int64s]) -> Int64s:
    """Return the number of living rows before each of `rows`: where it is without holes."""
    starts, ends = runs
    if not len(starts):
        return np.zeros_like(rows)
    before = np.concatenate([[0], np.cumsum(ends - starts)])
    run = np.searchsorted(starts, rows, side="right") - 1
    inside = np.minimum(rows - starts[run], ends[run] - starts[run])
    return np.where(run < 0, 0, before[run] + inside)
