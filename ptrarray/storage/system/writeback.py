"""Having the disk take what is written while more is written, where somebody will wait for all of it.

Left alone, Linux keeps what is written in memory for half a minute. A sync at the end then waits for
the disk, which had nothing to do before. Asking it to begin earlier changes nothing but the time:
nobody waits, nothing is known to be on the disk, and a sync still has to say so. Where a system
cannot be asked, it is not.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Sequence
from errno import EINTR, EINVAL, ENOSYS, EOPNOTSUPP, EPERM
from functools import cache, partial
from os import strerror
from typing import Any

from ptrarray.storage.system.buffers import Buffer, first, rest
from ptrarray.storage.system.files import File, SyncError

PIECE_NBYTES = 1 << 23
# The end of what is written goes on with the next piece: some file systems have who adds to a page
# wait while the disk takes it. Linux has none that are larger.
_PAGES_NBYTES = 1 << 21
_WRITE = 2  # SYNC_FILE_RANGE_WRITE: begin, and do not wait
_CANNOT_BEGIN = {EINTR, EINVAL, ENOSYS, EOPNOTSUPP, EPERM}


class WriteBack:
    """Counts what is written, and has the disk begin whenever that is a piece."""

    def __init__(self) -> None:
        self._n_waiting = Counter[str]()  # bytes, by path

    def onto(self, file: File) -> Callable[..., int]:
        """Return what writes to a file as its `pwritev` does, and has the disk take it meanwhile.

        Raises `SyncError` once the system says that it could not bring something to the disk,
        which it may not say again.
        """
        return partial(self._pwritev, file)

    def _pwritev(
        self, file: File, buffers: Sequence[Buffer], start_byte: int, _: object = None
    ) -> int:
        while buffers:
            end_byte = file.pwritev(first(buffers, PIECE_NBYTES), start_byte)
            self._n_waiting[file.path] += end_byte - start_byte
            if self._n_waiting[file.path] >= PIECE_NBYTES:
                self._n_waiting[file.path] = 0
                begin(file, end_byte - end_byte % _PAGES_NBYTES)
            buffers, start_byte = rest(buffers, end_byte - start_byte), end_byte
        return start_byte


def begin(file: File, end_byte: int) -> None:
    """Have the disk begin to take what was written before a byte of a file.

    Raises
    ------
    SyncError
        If the system says that it cannot bring it there.
    """
    ask = asking()
    if ask is None or not end_byte or ask(file.fd, 0, end_byte, _WRITE) == 0:
        return
    number = ctypes.get_errno()
    if number not in _CANNOT_BEGIN:
        raise SyncError(number, strerror(number), file.path)


@cache
def asking() -> Any:
    """Return Linux's ``sync_file_range``, which Python does not name; None where there is none."""
    try:
        found = ctypes.CDLL(None, use_errno=True).sync_file_range
    except (AttributeError, OSError):
        return None
    found.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return found
