"""Threads that wait for answers: as many as there is work for, and none that outlives it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread, current_thread, main_thread
from typing import Any, TypeVar

Result = TypeVar("Result")


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
    ends when there is nothing more to do, so there is nothing to close.

    Parameters
    ----------
    limit : int
        How many there are at the most.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = Lock()
        self._waiting: deque[Begun[Any]] = deque()
        self._n_threads = 0

    def begin(self, call: Callable[[], Result], *, is_urgent: bool = False) -> Begun[Result]:
        """Have a call made soon; of an urgent one somebody waits, so it is the next."""
        begun = Begun(call)
        # Were all workers to wait for others of them, none would go on.
        if isinstance(current_thread(), _Worker) or not self._hand_over(begun, is_urgent):
            _make(begun)
        return begun

    def _hand_over(self, begun: Begun[Result], is_urgent: bool) -> bool:
        """Give a call to a thread; return False if there is none."""
        with self._lock:
            is_short = self._n_threads < self._limit
            if is_short and not self._start() and self._n_threads <= 0:
                return False
            if is_urgent:
                self._waiting.appendleft(begun)
            else:
                self._waiting.append(begun)
        return True

    def _start(self) -> bool:
        # Ctrl-C may come in between: then one thread too many is better than one that is counted
        # and is not there.
        try:
            self._n_threads += 1
            _Worker(target=self._work, name="ptrarray-remote", daemon=True).start()
        except BaseException as error:
            self._n_threads -= 1
            if not isinstance(error, RuntimeError):  # as the system gives no more of them
                raise
            return False
        return True

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._n_threads -= 1
                    return
                begun = self._waiting.popleft()
            _make(begun)
            del begun  # and what it has read, while this waits for more


class _Worker(Thread):
    """One of the threads."""


def can_be_interrupted() -> bool:
    """Tell whether this is the thread that Ctrl-C is to interrupt, which no library can hold."""
    return current_thread() is main_thread()
