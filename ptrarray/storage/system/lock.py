"""Locks between processes: one on the journal, and one on each range of rows being written."""

from __future__ import annotations

import errno
import struct
import sys
from pathlib import Path
from threading import RLock

from ptrarray.errors import StoreError
from ptrarray.storage.system.files import File

try:
    import fcntl
except ImportError as error:
    raise ImportError("ptrarray needs a system with POSIX file locks: Linux or macOS") from error

# Locks of open file descriptions: unlike POSIX record locks they are not lost
# when the process closes another descriptor of the file, and conflict between
# threads. The kernel drops them with the last descriptor, however a writer dies.
# Python may not name macOS's, which is 90.
_SET_RANGE_LOCK: int = getattr(fcntl, "F_OFD_SETLK", 90 if sys.platform == "darwin" else -1)

if _SET_RANGE_LOCK < 0:
    raise ImportError("ptrarray needs a system with POSIX file locks: Linux or macOS")


# What calls for locks fail with where there are none.
_UNKNOWN = {errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class Lock:
    """Exclusive lock on an open file, between threads and between processes.

    Held during a ``with`` block.

    Parameters
    ----------
    file : File
        Its open file description carries the lock, so each `File` needs one
        `Lock` and each process its own `File`.

    Notes
    -----
    May be taken again by the thread that has it. ``flock`` is released by the
    kernel when the holder dies.
    """

    def __init__(self, file: File) -> None:
        self._file = file
        self._thread_lock = RLock()
        self._depth = 0

    def __enter__(self) -> bool:
        """Take the lock; return whether this thread did not have it before."""
        self._thread_lock.acquire()
        try:
            if not self._depth:
                self._wait()
        except BaseException:
            self._thread_lock.release()
            raise
        self._depth += 1
        return self._depth == 1

    def _wait(self) -> None:
        """Take the lock that other processes respect."""
        try:
            fcntl.flock(self._file.fd, fcntl.LOCK_EX)
        except OSError as error:
            raise _explained(error, self._file) from error

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        try:
            if not self._depth and self._file.fd >= 0:
                fcntl.flock(self._file.fd, fcntl.LOCK_UN)
        finally:
            self._thread_lock.release()


def check_lock(file: File, other: File) -> None:
    """Raise `StoreError` if a lock on a file keeps nobody out, as some file systems have it.

    Under that lock; `other` is the same file, opened once more.
    """
    try:
        fcntl.flock(other.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    except OSError as error:
        raise _explained(error, file) from error
    raise _without_locks(file, "which gives the same lock twice")


def check_new_lock(file: File) -> None:
    """As `check_lock`, of a file that nobody else knows of yet; it stays locked."""
    try:
        fcntl.flock(file.fd, fcntl.LOCK_EX)
    except OSError as error:
        raise _explained(error, file) from error
    with File(file.path) as other:
        check_lock(file, other)


def _explained(error: OSError, file: File) -> Exception:
    """Tell a file system without locks from a lock that cannot be had."""
    if error.errno in _UNKNOWN:
        return _without_locks(file, f"which has none: {error.strerror}")
    return file.named(error)


def _without_locks(file: File, why: str) -> StoreError:
    store = Path(file.path).parent
    return StoreError(
        f"{store} cannot be written to on its file system, {why}. Writers would destroy what "
        "others have committed: keep the store on a file system with locks, as that of a local "
        "disk. Reading works",
        path=str(store),
    )


def try_lock_range(file: File, start: int, end: int) -> bool:
    """Lock ``[start, end)`` of a file for as long as it is open, without waiting.

    The unit is the caller's: locks may lie past the end of a file, and ours
    count rows, not bytes.

    Returns
    -------
    bool
        False if another open file has a lock there.
    """
    if start == end:
        return True  # to the kernel, a length of zero means to the end of the file
    try:
        fcntl.fcntl(file.fd, _SET_RANGE_LOCK, _range_lock(start, end))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise _explained(error, file) from error
    return True


def _range_lock(start: int, end: int) -> bytes:
    """Return the ``struct flock`` of this system."""
    if sys.platform == "darwin":
        return struct.pack("qqihh", start, end - start, 0, fcntl.F_WRLCK, 0)
    return struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, start, end - start, 0)
