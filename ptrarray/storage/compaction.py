"""Rewriting the data file without its holes."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ptrarray.errors import StoreError
from ptrarray.pointers import merge_runs
from ptrarray.progress import bar
from ptrarray.storage import files
from ptrarray.storage.files import File
from ptrarray.storage.lock import try_lock_range
from ptrarray.storage.session import Session

Int64s = npt.NDArray[np.int64]

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
        old = session.data_path
        snapshot = session.sound_snapshot()
        with File(old, os.O_RDWR) as source:
            if not try_lock_range(source, 0, _EVERY_ROW):
                raise StoreError(
                    f"{session.path} cannot be compacted while a writer is filling rows: "
                    "try again when it has committed them",
                    path=session.path,
                )
            runs = merge_runs(snapshot.starts, snapshot.ends)
            new = f"data.{session.header.generation + 1}.bin"
            with File(session.directory / new, os.O_RDWR | os.O_CREAT | os.O_EXCL) as target:
                try:
                    copy_runs(source, target, runs, session.width, progress=progress)
                    target.sync()
                    # The new index must not reach the disk before the file it names.
                    files.sync_directory(session.directory)
                except BaseException:
                    files.unlink(target.path)
                    raise
        columns = snapshot.overlay.order.columns()
        starts, ends = moved(columns.starts, runs), moved(columns.ends, runs)
        n_rows = int(np.sum(runs[1] - runs[0]))
        session.replace_index(
            columns._replace(starts=starts, ends=ends),
            data_file=new,
            n_rows=n_rows,
            n_reserved=n_rows,
            attrs=snapshot.attrs,
        )
        with suppress(OSError):  # the next writer removes it
            files.unlink(old)


def copy_runs(
    source: File, target: File, runs: tuple[Int64s, Int64s], width: int, *, progress: bool
) -> None:
    """Copy runs of rows end to end."""
    at = 0
    total = int(np.sum(runs[1] - runs[0])) * width
    with bar(total=total, unit="B", unit_scale=True, progress=progress) as counter:
        for start, end in zip(*(column.tolist() for column in runs), strict=True):
            bounds = [*range(start * width, end * width, _READ_NBYTES), end * width]
            for first, last in pairwise(bounds):
                target.pwrite(source.pread(last - first, first), at)
                at += last - first
                counter.update(last - first)


def moved(rows: Int64s, runs: tuple[Int64s, Int64s]) -> Int64s:
    """Return the number of living rows before each of `rows`: where it is without holes."""
    starts, ends = runs
    if not len(starts):
        return np.zeros_like(rows)
    before = np.concatenate([[0], np.cumsum(ends - starts)])
    run = np.searchsorted(starts, rows, side="right") - 1
    inside = np.minimum(rows - starts[run], ends[run] - starts[run])
    return np.where(run < 0, 0, before[run] + inside)
