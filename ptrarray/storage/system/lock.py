"""Locks between processes: one on the journal, one on each range of rows being written.

And two that nobody waits for, which show who lives.
"""

from __future__ import annotations

import errno
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from threading import RLock, get_ident, local
from typing import ParamSpec, TypeVar

from ptrarray.errors import StoreError
from ptrarray.storage.remote.file import RemoteFile
from ptrarray.storage.system.files import AnyFile, File, check_system

try:
    import fcntl
except ImportError as error:
    raise ImportError("ptrarray needs a system with POSIX file locks: Linux or macOS") from error

# Locks of open file descriptions: unlike POSIX record locks they are not lost
# when the process closes another descriptor of the file, and conflict between
# threads. The kernel drops them with the last descriptor, however a writer dies.
# Python may not name macOS's, which are 90 and 92.
_IS_MACOS = sys.platform == "darwin"
_SET_RANGE_LOCK: int = getattr(fcntl, "F_OFD_SETLK", 90 if _IS_MACOS else -1)
_ASK_RANGE_LOCK: int = getattr(fcntl, "F_OFD_GETLK", 92 if _IS_MACOS else -1)
# The ``struct flock``: start, length, process, kind, whence; or kind and whence first.
_FLOCK, _KIND_AT = (struct.Struct("qqihh"), 3) if _IS_MACOS else (struct.Struct("hhqqi4x"), 0)

# Places of the data file behind every row, for locks that any number of processes hold and nobody
# waits for: they tell that somebody lives. Not of the journal, where some network file systems
# take a `flock` for a lock on every byte.
CHANGING = 2**62  # has its rows mapped, and may change them
WRITING = CHANGING + 1  # has the store open for writing, and has settled it

if _SET_RANGE_LOCK < 0:
    raise ImportError("ptrarray needs a system with POSIX file locks: Linux or macOS")


# What calls for locks fail with where there are none.
_UNKNOWN = {errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class _Held(local):
    """What the calling thread holds.

    Attributes
    ----------
    locks : list of Lock
        Once for each time that they were taken, the innermost last.
    claims : list of File
        Those with locks on ranges, since the operation began.
    """

    def __init__(self) -> None:
        self.locks: list[Lock] = []
        self.claims: list[File] = []


_HELD = _Held()


def whole(operation: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let an operation end with the locks with which it began, whatever interrupts it.

    Ctrl-C, or another signal whose handler raises, does so between any two steps of Python:
    after a lock was taken, and before this is noted anywhere; or as a method begins that is to
    let go of one, so that none of its lines run. So what takes locks notes them before, and
    lets go of them as it does without; and the outermost function, which is one of these, makes
    up for what was left out. Ranges that were locked stay so where it ends well, as a file
    that it returns has them.
    """

    @wraps(operation)
    def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        locks, claims = _HELD.locks, _HELD.claims
        n_locks, n_claims = len(locks), len(claims)
        try:
            # In two steps, so that what comes right after the call is inside of this, too.
            result = operation(*args, **kwargs)
            return result  # noqa: RET504
        except BaseException:
            for file in claims[n_claims:]:
                file.close()
            raise
        finally:
            for lock in locks[n_locks:]:
                lock.restore(locks[:n_locks].count(lock))
            del locks[n_locks:], claims[n_claims:]

    return guarded


class Lock:
    """Exclusive lock on an open file, between threads and between processes.

    Held during a ``with`` block, which has to be inside of an operation that is `whole`.

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
        self._owner = 0  # the thread that has it
        self._depth = 0

    def __enter__(self) -> bool:
        """Take the lock; return whether this thread did not have it before."""
        me = get_ident()
        _HELD.locks.append(self)
        if self._owner == me:
            self._depth += 1
            return False
        try:
            self._thread_lock.acquire()
            fcntl.flock(self._file.fd, fcntl.LOCK_EX)
        except BaseException as error:
            self.restore(0)
            _HELD.locks.pop()
            if isinstance(error, OSError):
                raise _explained(error, self._file) from error
            raise
        self._owner, self._depth = me, 1
        return True

    def __exit__(self, *_: object) -> None:
        # Python runs handlers of signals when a function begins, after calls, and where it jumps
        # back: not between noting here that the lock is let go, and letting go of it.
        self._depth -= 1
        if not self._depth:
            self._owner = 0
            try:
                if self._file.fd >= 0:
                    fcntl.flock(self._file.fd, fcntl.LOCK_UN)
            finally:
                self._thread_lock.release()
        _HELD.locks.pop()

    def restore(self, depth: int) -> None:
        """Hold the lock as often as before, be it not at all, whatever happened since."""
        if depth:
            self._depth = depth
        elif self._thread_lock.acquire(blocking=False):  # else another thread has it by now
            self._owner = 0
            try:
                if self._file.fd >= 0:
                    fcntl.flock(self._file.fd, fcntl.LOCK_UN)
            except OSError as error:  # there was no lock, and what failed before says why
                check_system(error)
            finally:
                with suppress(RuntimeError):  # which says that this thread has it no more
                    while True:
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
    lock_whole(file)
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
    _HELD.claims.append(file)
    try:
        fcntl.fcntl(file.fd, _SET_RANGE_LOCK, _range_lock(start, end))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise _explained(error, file) from error
    return True


def hold(file: File, place: int) -> None:
    """Show by a lock, shared with others, that somebody lives who has a file open.

    The lock stays until the last copy of the descriptor is closed. A file
    system without such locks has none: see `is_held`.
    """
    with suppress(OSError):
        fcntl.fcntl(file.fd, _SET_RANGE_LOCK, _range_lock(place, place + 1, fcntl.F_RDLCK))


def is_held(file: AnyFile, place: int) -> bool | None:
    """Return whether another open file holds a place, or None where that cannot be known."""
    if isinstance(file, RemoteFile):  # locks are known to the machine that has it
        return None
    try:
        answer = fcntl.fcntl(file.fd, _ASK_RANGE_LOCK, _range_lock(place, place + 1))
    except OSError:
        return None
    return bool(_FLOCK.unpack(answer)[_KIND_AT] != fcntl.F_UNLCK)


def _range_lock(start: int, end: int, kind: int = fcntl.F_WRLCK) -> bytes:
    """Return the lock on ``[start, end)`` as a ``struct flock``."""
    if _IS_MACOS:
        return _FLOCK.pack(start, end - start, 0, kind, 0)
    return _FLOCK.pack(kind, 0, start, end - start, 0)


def lock_whole(file: File) -> None:
    """Lock a file or directory for as long as it is open; waits for whoever has it."""
    try:
        fcntl.flock(file.fd, fcntl.LOCK_EX)
    except OSError as error:
        raise _explained(error, file) from error


def share_whole(file: File) -> None:
    """Lock a directory for as long as it is open, with others who share it; waits for who does not."""
    try:
        fcntl.flock(file.fd, fcntl.LOCK_SH)
    except OSError as error:
        raise _explained(error, file) from error


def is_locked_by_others(file: File) -> bool:
    """Lock a file or directory for as long as it is open, unless somebody else has it locked.

    Where there are no locks, nobody has.
    """
    try:
        fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def try_lock_whole(file: File) -> bool:
    """Lock a file or directory for as long as it is open, without waiting; return whether it is."""
    try:
        fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
