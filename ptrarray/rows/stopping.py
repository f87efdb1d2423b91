"""Waiting for answers that somebody else can end, for a thread that no signal reaches."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextvars import ContextVar
from typing import Any, TypeVar

Result = TypeVar("Result")

_STOP: ContextVar[Future[None] | None] = ContextVar("_STOP", default=None)


def stoppable(stop: Future[None], call: Callable[..., Result], *args: Any) -> Result:
    """Call something that waits for no answer any more once a future is done.

    Where it waits, and where it would wait, that is a `concurrent.futures.CancelledError` then.
    """
    token = _STOP.set(stop)
    try:
        return call(*args)
    finally:
        _STOP.reset(token)


def can_be_stopped() -> bool:
    """Tell whether somebody may end what this thread waits for."""
    return _STOP.get() is not None


def is_stopped() -> bool:
    """Tell whether somebody has ended what this thread does."""
    stop = _STOP.get()
    return stop is not None and stop.done()


def result_of(future: Future[Result]) -> Result:
    """Wait for the result of a future."""
    stop = _STOP.get()
    if stop is not None:
        either: set[Future[Any]] = {future, stop}
        wait(either, return_when=FIRST_COMPLETED)
        if stop.done():
            raise CancelledError
    return future.result()
