"""Functions that are called in processes of their own, which may end in any way."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

LONGEST_SECONDS = 300  # of one thing, or of judging one
_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_T = TypeVar("_T")


class DiedError(Exception):
    """A process was killed; says by which signal, as a number in `signal`, too."""

    def __init__(self, number: int) -> None:
        super().__init__(f"a process was killed by {signal.Signals(number).name}")
        self.signal = number


class Outcome(NamedTuple):
    """What became of a function: its value, or what it raised, or how its process ended."""

    value: Any = None
    raised: str | None = None
    status: int = 0

    def get(self) -> Any:
        """Return the value.

        Raises
        ------
        DiedError
            If the process was killed.
        RuntimeError
            If the function raised anything, with all that Python says about that.
        """
        if os.WIFSIGNALED(self.status):
            raise DiedError(os.WTERMSIG(self.status))
        if self.raised or self.status:
            raise RuntimeError(self.raised or f"a process ended with {self.status}")
        return self.value


class Started(NamedTuple):
    """A process that calls a function."""

    pid: int
    reader: int

    def outcome(self) -> Outcome:
        """Wait until it has ended."""
        with os.fdopen(self.reader, "rb") as file:
            raw = file.read()
        status = os.waitpid(self.pid, 0)[1]
        return Outcome(status=status) if status else Outcome(*pickle.loads(raw))


def started(function: Callable[[], object]) -> Started:
    """Let a process of its own call a function."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL)
        signal.alarm(LONGEST_SECONDS)
        try:
            outcome: Any = function(), None
        except BaseException:  # noqa: BLE001 - it is raised where the value is taken
            outcome = None, traceback.format_exc()
        with os.fdopen(writer, "wb") as file:
            pickle.dump(outcome, file)
        os._exit(0)
    os.close(writer)
    return Started(pid, reader)


def called(function: Callable[[], _T]) -> _T:
    """Call a function in a process of its own; raises what `Outcome.get` does."""
    value: _T = started(function).outcome().get()
    return value
