"""Copying a part of one file into another, by the system and with its holes."""

from __future__ import annotations

from ptrarray.errors import CorruptStoreError
from ptrarray.progress import bar
from ptrarray.storage.files import File

_STEP_NBYTES = 1 << 26  # so that a bar moves, and Ctrl-C is heard


def transfer(source: File, source_start: int, target: File, nbytes: int, *, progress: bool) -> None:
    """Copy bytes of a file to the beginning of another one, of at least that size.

    Raises
    ------
    CorruptStoreError
        If the source ends before, as another process cut it short.
    """
    end = source_start + nbytes
    with bar(total=nbytes, unit="B", unit_scale=True, progress=progress) as counter:
        at = source_start
        while at < end:
            first, last = source.data_from(at, end)
            counter.update(first - at)  # a hole stays one
            at = first
            while at < last:
                n_copied = target.copy_from(
                    source, at, at - source_start, min(last - at, _STEP_NBYTES)
                )
                if not n_copied:
                    raise CorruptStoreError(
                        f"{source.path} ended at byte {at} while it was read, not at {end}",
                        path=source.path,
                    )
                at += n_copied
                counter.update(n_copied)
