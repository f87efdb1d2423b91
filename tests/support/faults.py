"""System calls that fail: the n-th one under the seam of I/O, once or for ever after."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ptrarray.storage.system import building, files, lock, mapping, rights

SHORT = -1  # in place of an errno: half of the bytes are written or read, without an error

# What each call of the seam can fail with.
CALLS: dict[str, tuple[int, ...]] = {
    "open": (errno.EMFILE, errno.EACCES),
    "pread": (errno.EIO,),
    "preadv": (errno.EIO, errno.EINTR, SHORT),
    "pwrite": (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EINTR, SHORT),
    "pwritev": (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EINTR, SHORT),
    "copy_file_range": (errno.ENOSPC, errno.EIO),
    "lseek": (errno.EIO,),
    "fdatasync": (errno.EIO, errno.ENOSPC),
    "fsync": (errno.EIO, errno.ENOSPC),
    "ftruncate": (errno.EIO,),
    "posix_fallocate": (errno.ENOSPC, errno.EDQUOT),
    "fstat": (errno.EIO,),
    "stat": (errno.EIO, errno.EACCES),
    "lstat": (errno.EIO, errno.EACCES),
    "listdir": (errno.EIO, errno.EACCES),
    "replace": (errno.EIO, errno.ENOSPC),
    "link": (errno.EIO, errno.EPERM),
    "unlink": (errno.EIO, errno.EACCES),
    "chmod": (errno.EPERM,),
    "chown": (errno.EPERM,),
    "mkdir": (errno.ENOSPC, errno.EACCES),
    "rmtree": (errno.EIO, errno.EACCES),
    "rmdir": (errno.EIO, errno.EACCES),
    "flock": (errno.EIO,),
    "fcntl": (errno.EIO,),
    "mmap": (errno.EMFILE,),
}
HARMLESS = {
    "close",
    "fspath",
    "geteuid",
    "major",
    "minor",
    "posix_fadvise",
    "register_at_fork",
    "stat_result",
}
SYNCS = {"fdatasync", "fsync"}
# Which errno, and whether for ever; the normal run has some of them.
WAYS = [
    (code, is_lasting)
    for code in (errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EACCES, SHORT)
    for is_lasting in (False, True)
]
QUICK = [(errno.EIO, False), (errno.EACCES, True), (SHORT, False)]
# Who makes system calls, by what.
SEAM = [
    (building, "os"),
    (files, "os"),
    (files, "shutil"),
    (lock, "fcntl"),
    (mapping, "mmap"),
    (mapping, "os"),
    (rights, "os"),
]


@dataclass
class Faults:
    """Counts calls, and lets some fail.

    Attributes
    ----------
    at : int or None
        Which call from now on fails, counted from 1.
    code : int
        With which errno, or SHORT. Calls that cannot fail so are not counted.
    is_lasting : bool
        Whether all that follow fail, too.
    only : collection of str
        Which calls are counted, and may fail.
    failed : set of str
        Which calls have failed.
    """

    at: int | None = None
    code: int = errno.EIO
    is_lasting: bool = False
    only: Collection[str] = ()
    n_calls: int = 0
    n_failed: int = 0
    failed: set[str] = field(default_factory=set)

    def arm(
        self, at: int, code: int, *, is_lasting: bool, only: Collection[str] = CALLS.keys()
    ) -> None:
        self.at, self.code, self.is_lasting, self.only = at, code, is_lasting, only
        self.n_calls = self.n_failed = 0
        self.failed = set()

    @property
    def has_failed_sync(self) -> bool:
        return not self.failed.isdisjoint(SYNCS)

    def disarm(self) -> None:
        self.at = None

    def is_due(self, call: str) -> bool:
        if self.at is None or call not in self.only or self.code not in CALLS[call]:
            return False
        self.n_calls += 1
        is_due = self.n_calls == self.at or (self.is_lasting and self.n_calls > self.at)
        self.n_failed += is_due
        self.failed |= {call} if is_due else set()
        return is_due


class Faulty:
    """A module of system calls as the seam sees it."""

    def __init__(self, module: ModuleType, faults: Faults) -> None:
        self._module = module
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._module, name)
        if name in SYNCS:
            real = _nothing  # waiting for the disk is not what is tested
        return _failing(name, real, self._faults) if name in CALLS else real


def each_way(test: Callable[..., None]) -> Any:
    """Run a test with each errno, once and for ever; most of them only in the slow run."""
    ways = [
        pytest.param(
            code,
            is_lasting,
            id=f"{errno.errorcode.get(code, 'short')} {'for ever' if is_lasting else 'once'}",
            marks=() if (code, is_lasting) in QUICK else pytest.mark.slow,
        )
        for code, is_lasting in WAYS
    ]
    return pytest.mark.parametrize(("code", "is_lasting"), ways)(test)


def _nothing(fd: int) -> None:
    pass


def _failing(name: str, real: Callable[..., Any], faults: Faults) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        # The kernel does not refuse to let go of a lock.
        is_unlock = name == "flock" and args[1] == fcntl.LOCK_UN
        if is_unlock or not faults.is_due(name):
            return real(*args, **options)
        if name == "rmtree":
            assert options == {"ignore_errors": True}
            return _remove_half(args[0])
        if faults.code == SHORT:
            return _read_half(*args) if name == "preadv" else _write_half(*args)
        path = args[0] if isinstance(args[0], (str, Path)) else None
        raise OSError(faults.code, os.strerror(faults.code), path and str(path))

    return call


def _remove_half(path: str | Path) -> None:
    """Remove some of the files of a directory, and say nothing of the others."""
    found = sorted(file for file in Path(path).rglob("*") if file.is_file())
    for file in found[::2]:
        file.unlink()


def _write_half(fd: int, buffers: Any, start_byte: int) -> int:
    listed = buffers if isinstance(buffers, list) else [buffers]
    raw = b"".join(memoryview(buffer).tobytes() for buffer in listed)
    return os.pwrite(fd, raw[: (len(raw) + 1) // 2], start_byte)


def _read_half(fd: int, buffers: list[Any], start_byte: int) -> int:
    (buffer,) = buffers
    return os.preadv(fd, [buffer[: (len(buffer) + 1) // 2]], start_byte)


@contextmanager
def injected() -> Iterator[Faults]:
    """Put failing calls under the seam during a ``with`` block; armed by the test."""
    faults = Faults()
    with pytest.MonkeyPatch.context() as patch:
        for user, name in SEAM:
            patch.setattr(user, name, Faulty(getattr(user, name), faults))
        yield faults
