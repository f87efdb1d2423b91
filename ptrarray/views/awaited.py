"""Calls that an event loop waits for while threads do them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ptrarray.rows.stopping import stoppable

Result = TypeVar("Result")

_THREADS = 32


class Threads:
    """Threads that make the calls of one process, begun as they are needed: at most `n` of them."""

    def __init__(self, n: int = _THREADS) -> None:
        self._pid = os.getpid()
        self._pool = ThreadPoolExecutor(n, "ptrarray-awaited")

    @property
    def are_here(self) -> bool:
        """Whether they are of this process, and not of one that it was forked from."""
        return self._pid == os.getpid()

    async def wait_for(self, call: Callable[[], Result]) -> Result:
        """Return what a call returns that one of the threads makes.

        If the task is cancelled meanwhile, waits until the thread has stopped, which it does
        where it would wait for an answer from elsewhere: nothing is written after that.
        """
        stop: Future[None] = Future()
        future = self._pool.submit(stoppable, stop, call)
        inner = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(inner)
        except asyncio.CancelledError:
            stop.set_result(None)
            if not future.cancel():
                await asyncio.wait([inner])
            if inner.done() and not inner.cancelled():
                inner.exception()  # which nobody asks for any more
            raise
