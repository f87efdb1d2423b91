"""Rewriting the data file without its holes."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from itertools import pairwise

import numpy as np

from ptrarray.errors import StoreError
from ptrarray.format.entries import Entries
from ptrarray.format.index import IndexHeader
from ptrarray.format.layouts import Layout
from ptrarray.progress import bar
from ptrarray.rows.pointers import merge_runs
from ptrarray.rows.types import Int64s
from ptrarray.storage.lifecycle.create import Fill, switch_over, write_content
from ptrarray.storage.store.content import Content
from ptrarray.storage.system import files
from ptrarray.storage.system.files import File
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
            header = replace(session.header, attrs=snapshot.attrs)
            columns = snapshot.overlay.folded()
            if names is not None:
                columns = _only(columns, names)
            header, fill = without_holes(session.content, header, columns, progress=progress)
            rights = session.content.rights
            switch_over(
                session, header, lambda new: write_content(session.directory, new, fill, rights)
            )


def _only(columns: Entries, names: Container[bytes]) -> Entries:
    """Return what is kept of these names, and of no others."""
    kept = [at for at, name in enumerate(columns.names) if name in names]
    items = (columns.names, columns.infos, columns.metas)
    texts, infos, metas = (() if c is None else [c[at] for at in kept] for c in items)
    numbers = (columns.starts, columns.ends, columns.crcs, columns.pointed)
    return Entries.of(texts, *(column[kept] for column in numbers), infos, metas)


def without_holes(
    source: Content, header: IndexHeader, columns: Entries, *, progress: bool
) -> tuple[IndexHeader, Fill]:
    """Return the header of a store with the same arrays, end to end, and what fills its files."""
    runs = living_runs(source.layout, columns.starts, columns.ends)
    n_rows = int(np.sum(runs[1] - runs[0]))

    def fill(target: Content) -> Entries:
        copy_runs(source, target, runs, progress=progress)
        return moved_columns(columns, runs)

    return replace(header, n_rows=n_rows, n_reserved=n_rows), fill


def living_runs(layout: Layout, starts: Int64s, ends: Int64s) -> tuple[Int64s, Int64s]:
    """Unite the rows of all arrays into runs that can be moved end to end.

    Each begins and ends where an array may begin, so that arrays stay aligned.
    """
    firsts = starts - starts % layout.alignment
    return merge_runs(firsts, np.where(starts < ends, layout.aligned(ends), firsts))


def copy_runs(
    source: Content, target: Content, runs: tuple[Int64s, Int64s], *, progress: bool
) -> None:
    """Copy runs of rows, and their masks, end to end to files that are holes."""
    n_rows = int(np.sum(runs[1] - runs[0]))
    total = n_rows * sum(width for _, width in source.files)
    with bar(total=total, unit="B", unit_scale=True, progress=progress) as counter:
        for (old, width), (new, _) in zip(source.files, target.files, strict=True):
            at = 0
            for start, end in zip(*(column.tolist() for column in runs), strict=True):
                bounds = [*range(start * width, end * width, _READ_NBYTES), end * width]
                for first, last in pairwise(bounds):
                    raw = old.pread(last - first, first)
                    if raw.count(0) < len(raw):  # what is all zero may stay a hole
                        new.pwrite(raw, at)
                    at += last - first
                    counter.update(last - first)


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
