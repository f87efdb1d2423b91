"""Bounds of memory and time for what reads damaged and forged files.

``pytestmark = pytest.mark.usefixtures("limits")`` has every test of a module run within them. Memory is that of the
address space, so that also what is asked for and never touched counts; time is that of the
processor, so that a busy machine fails nothing.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ptrarray.convert.report import Failure
from ptrarray.errors import StoreError
from tests.support.sanitized import IS_SANITIZED

ROOM_NBYTES = 1 << 29
# Where there are many threads, of which each takes address space of its own.
THREADS_NBYTES = 1 << 31
SECONDS = 75.0 if IS_SANITIZED else 15.0


class TooLongError(BaseException):
    """Something took longer than it may, whatever the file says."""


class TooMuchError(BaseException):
    """Something asked for more memory than it may, and made an error of ours of the refusal."""


@contextmanager
def limited(seconds: float = SECONDS, room_nbytes: int = ROOM_NBYTES) -> Iterator[None]:
    """Let what happens inside take so much processor time, and so much more memory than there is mapped.

    More memory is a `MemoryError`. More time is a `TooLongError`, and if that is not heard, as in a
    loop that is not Python's, the end of the process. May be nested.
    """
    with _timed(seconds), _in_room(room_nbytes), _told():
        yield


@contextmanager
def _timed(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLongError(f"more than {seconds} seconds of processor time")

    # What takes on and on without a step of Python, in which `stop` could be called, is ended by the other.
    with (
        _timer(signal.ITIMER_PROF, signal.SIGPROF, stop, seconds),
        _timer(signal.ITIMER_VIRTUAL, signal.SIGVTALRM, signal.SIG_DFL, 3 * seconds),
    ):
        yield


@contextmanager
def _timer(which: Any, number: signal.Signals, handler: Any, seconds: float) -> Iterator[None]:
    """Have a signal come after so much time, and then what was left of another time before."""
    before = signal.signal(number, handler)
    left, _ = signal.setitimer(which, seconds)
    try:
        yield
    finally:
        spent = seconds - signal.setitimer(which, 0)[0]
        signal.signal(number, before)
        if left:
            signal.setitimer(which, max(left - spent, 0.001))


@contextmanager
def _in_room(room_nbytes: int) -> Iterator[None]:
    mapped = mapped_nbytes()
    if IS_SANITIZED or not mapped:  # AddressSanitizer maps terabytes, to be used here and there
        yield
        return
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + room_nbytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def mapped_nbytes() -> int:
    """Return how much address space this process has taken; 0 where the system does not tell."""
    statm = Path("/proc/self/statm")
    pages = int(statm.read_text("ascii").split()[0]) if statm.exists() else 0
    return pages * os.sysconf("SC_PAGESIZE")


@contextmanager
def _told() -> Iterator[None]:
    """Let no memory that was refused pass for damage that was found.

    Where a file can be wrong in any way, any exception is noted as what is wrong with it.
    """
    with pytest.MonkeyPatch.context() as patch:
        made: Any = Failure.__new__

        def new(cls: type, *args: Any, **kwargs: Any) -> Any:
            _look_at(sys.exception())
            return made(cls, *args, **kwargs)

        patch.setattr(Failure, "__new__", new)
        made_error: Any = StoreError.__init__

        def init(self: StoreError, *args: Any, **kwargs: Any) -> None:
            _look_at(sys.exception())
            made_error(self, *args, **kwargs)

        patch.setattr(StoreError, "__init__", init)
        yield


def _look_at(error: BaseException | None) -> None:
    while error is not None:
        # pyarrow asks for what a compressed buffer says that is in it, and touches none of that.
        if isinstance(error, MemoryError) and not type(error).__module__.startswith("pyarrow"):
            raise TooMuchError(f"{error}") from error
        error = error.__cause__ or error.__context__
