"""Rewriting the data file without its holes."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import numpy as np

from ptrarray.errors import StoreError
from ptrarray.format.entries import Entries
from ptrarray.format.layouts import Layout
from ptrarray.progress import bar
from ptrarray.rows.pointers import merge_runs
from ptrarray.rows.types import Int64s
from ptrarray.storage.lifecycle.create import renamed
from ptrarray.storage.store.content import Content
from ptrarray.storage.store.recovery import remove_leftovers
from ptrarray.storage.system import files
from ptrarray.storage.system.files import File
from ptrarray.storage.system.lock import try_lock_range
from ptrarray.storage.writing.session import Session

_READ_NBYTES = 1 << 24
_EVERY_ROW = 2**62


def compact(session: Session, *, progress: bool = False) -> None:
    """Move all living rows to a new data file, end to end, and switch over to it.

    Holds the store's lock all the while: writers that want to commit wait.
    One that is writing rows at this moment could not be waited for, as it
    needs the lock to finish.

    Raises
    ------
    StoreError
        If a living writer has claimed rows. Nothing was done.
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
            runs = living_runs(session.layout, snapshot.starts, snapshot.ends)
            header = renamed(session.header, session.header.generation + 1)
            names = [header.data_file] + ([header.mask_file] if header.mask_file else [])
            try:
                for name in names:  # a killed compaction may have left it
                    files.unlink(session.directory / name)
                    File(session.directory / name, files.MAKE).close()
                with Content(session.directory, header, files.CHANGE) as target:
                    copy_runs(session.content, target, runs, progress=progress)
                    target.sync()
                # The new index must not reach the disk before the files it names.
                files.sync_directory(session.directory)
            except BaseException:
                for name in names:
                    files.unlink(session.directory / name)
                raise
        n_rows = int(np.sum(runs[1] - runs[0]))
        session.replace_index(
            moved_columns(snapshot.overlay.folded(), runs),
            data_file=header.data_file,
            mask_file=header.mask_file,
            n_rows=n_rows,
            n_reserved=n_rows,
            attrs=snapshot.attrs,
        )
        with suppress(OSError):  # the next writer removes them
            remove_leftovers(session.directory, header)


def living_runs(layout: Layout, starts: Int64s, ends: Int64s) -> tuple[Int64s, Int64s]:
    """Unite the rows of all arrays into runs that can be moved end to end.

    Each begins and ends where an array may begin, so that arrays stay aligned.
    """
    firsts = starts - starts % layout.alignment
    return merge_runs(firsts, np.where(starts < ends, layout.aligned(ends), firsts))


def copy_runs(
    source: Content, target: Content, runs: tuple[Int64s, Int64s], *, progress: bool
) -> None:
    """Copy runs of rows, and their masks, end to end."""
    pairs = [(source.data, target.data, source.layout.width)]
    if source.mask is not None and target.mask is not None:
        pairs.append((source.mask, target.mask, source.layout.mask_width))
    n_rows = int(np.sum(runs[1] - runs[0]))
    total = n_rows * sum(width for *_, width in pairs)
    with bar(total=total, unit="B", unit_scale=True, progress=progress) as counter:
        for old, new, width in pairs:
            at = 0
            for start, end in zip(*(column.tolist() for column in runs), strict=True):
                bounds = [*range(start * width, end * width, _READ_NBYTES), end * width]
                for first, last in pairwise(bounds):
                    raw = old.pread(last - first, first)
                    if raw.count(0) < len(raw):  # what is all zero may stay a hole
                        new.pwrite(raw, at)
                    at += last - first
                    counter.update(last - first)
            new.truncate(n_rows * width)


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
