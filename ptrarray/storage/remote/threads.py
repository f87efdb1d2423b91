"""Threads that wait for answers: as many as there is work for, and none that outlives it."""

from __future__ import annotations

import os
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import Condition, Lock, get_ident, local, main_thread
from typing import Any, TypeVar

Result = TypeVar("Result")

_IDLE_SECONDS = 2.0  # to start threads for each of many reads would take longer than these do
_THREAD = local()  # whether it is one of those


class Begun(Future[Result]):
    """What a call will give. In the child of a fork, where no thread works on it, it is made anew."""

    def __init__(self, call: Callable[[], Result]) -> None:
        super().__init__()
        self._call, self._pid = call, os.getpid()

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the result."""
        if self._pid != os.getpid():
            return self._call()
        try:
            return super().result(timeout)
        finally:
            del self  # which an error would refer to by way of this frame, and it to the error


def _make(begun: Begun[Result]) -> None:
    """Make a call, unless nobody wants it any more."""
    if not begun.set_running_or_notify_cancel():
        return
    try:
        begun.set_result(begun._call())
    except BaseException as error:  # noqa: BLE001 the caller raises it
        begun.set_exception(error)
        del begun  # which its error refers to by way of this frame


class Threads:
    """Threads that make calls which wait for others.

    They are daemons: after Ctrl-C a program ends at once, whatever a server still owes it. Each
    ends when there was nothing to do for a while, so there is nothing to close.

    Parameters
    ----------
    limit : int
        How many there are at the most.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # Entered by itself, which no Ctrl-C interrupts, as that of a condition may be once it has
        # the lock.
        self._lock = Lock()
        self._changed = Condition(self._lock)
        self._waiting: deque[Begun[Any]] = deque()
        self._n_threads = self._n_idle = 0

    def begin(self, call: Callable[[], Result], *, is_urgent: bool = False) -> Begun[Result]:
        """Have a call made soon; of an urgent one somebody waits, so it is the next."""
        begun = Begun(call)
        # Were all workers to wait for others of them, none would go on.
        if hasattr(_THREAD, "is_worker") or not self._hand_over(begun, is_urgent):
            _make(begun)
        return begun

    def _hand_over(self, begun: Begun[Result], is_urgent: bool) -> bool:
        """Give a call to a thread; return False if there is none."""
        with self._lock:
            # Idle ones that were called and do not run yet have a call each that waits for them.
            is_short = len(self._waiting) >= self._n_idle and self._n_threads < self._limit
            if is_short and not self._start() and self._n_threads <= 0:
                return False
            if is_urgent:
                self._waiting.appendleft(begun)
            else:
                self._waiting.append(begun)
            self._changed.notify()
        return True

    def _start(self) -> bool:
        # Ctrl-C may come in between: then one thread too many is better than one that is counted
        # and is not there. Nobody waits until it runs, as with `Thread.start`: of many that is long.
        try:
            self._n_threads += 1
            start_new_thread(self._work, ())
        except BaseException as error:
            self._n_threads -= 1
            if not isinstance(error, RuntimeError):  # as the system gives no more of them
                raise
            return False
        return True

    def _work(self) -> None:
        _THREAD.is_worker = True
        while (begun := self._next()) is not None:
            _make(begun)
            del begun  # and what it has read, while this waits for more

    def _next(self) -> Begun[Any] | None:
        """Wait for a call that nobody makes; None if there was none for a while."""
        with self._lock:
            while not self._waiting:
                self._n_idle += 1
                was_called = self._changed.wait(_IDLE_SECONDS)
                self._n_idle -= 1
                if not was_called and not self._waiting:
                    self._n_threads -= 1
                    return None
            return self._waiting.popleft()


def can_be_interrupted() -> bool:
    """Tell whether this is the thread that Ctrl-C is to interrupt, which no library can hold."""
    return get_ident() == main_thread().ident
