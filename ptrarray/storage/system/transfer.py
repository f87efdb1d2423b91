"""Copying a part of one file into another, by the system and with its holes."""

from __future__ import annotations

from ptrarray.errors import CorruptStoreError
from ptrarray.progress import bar
from ptrarray.storage.system.files import File

_STEP_NBYTES = 1 << 26  # so that a bar moves, and Ctrl-C is heard


def transfer(source: File, source_start: int, target: File, nbytes: int, *, progress: bool) -> None:
    """Copy bytes of a file to the beginning of another one, of at least that size.

    Raises
    ------
    CorruptStoreError
        If the source ends before, as another process cut it short.
    """
    end = source_start + nbytes
    at = source_start
    with bar(total=nbytes, unit="B", unit_scale=True, progress=progress) as counter:
        while at < end:
            first, last = source.data_from(at, end)
            n_copied = 0
            if first < last:
                wanted = min(last - first, _STEP_NBYTES)
                n_copied = target.copy_from(source, first, first - source_start, wanted)
            if first + n_copied == at:
                break
            counter.update(first + n_copied - at)
            at = first + n_copied
    # Past the end of a file the system tells of holes, too.
    n_there = source.stat().st_size
    if n_there < end:
        raise CorruptStoreError(
            f"{source.path} ended at byte {n_there} while it was read, not at {end}",
            path=source.path,
        )
