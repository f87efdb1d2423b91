"""What a store holds as a stream of events: those that a browser has missed, then each that is new."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from ptrarray.look.viewer.current import Current, Point, Seen
from ptrarray.look.viewer.failures import as_json
from ptrarray.views.awaited import Threads

_RETRY = "retry: 500\n\n"  # milliseconds until a browser asks again
_ALIVE = ": \n\n"
_ALIVE_SECONDS = 15.0


class Events:
    """The looks at a store as events for any number of browsers, each of the newest look alone.

    There is no queue for a browser: one that is slow, or reads nothing, misses what was replaced.

    Parameters
    ----------
    current : Current
        The store.
    interval : float
        Seconds between looks.
    always : bool
        Whether to look while nobody listens, too.
    """

    def __init__(self, current: Current, interval: float, *, always: bool) -> None:
        self._current, self._interval, self._always = current, interval, always
        self._threads = Threads(1)
        self._told = current.seen
        self._turn = asyncio.Event()  # replaced when it is set
        self._n_listening = 0
        self._someone = asyncio.Event()
        self._is_over = False

    async def watch(self) -> None:
        """Look at the store for ever."""
        while True:
            if not self._always:
                await self._someone.wait()
            await asyncio.sleep(self._interval)
            seen = await self._threads.wait_for(self._current.look)
            if seen.differs(self._told):
                self._told = seen
                self._wake()

    def end(self) -> None:
        """End all streams."""
        self._is_over = True
        self._wake()

    def _wake(self) -> None:
        turn, self._turn = self._turn, asyncio.Event()
        turn.set()

    async def stream(self, last: str) -> AsyncIterator[str]:
        """Yield events, from the one after `last` on: the id of one, or anything else for all."""
        self._n_listening += 1
        self._someone.set()
        try:
            yield _RETRY
            while not self._is_over:
                turn, seen = self._turn, self._told
                if seen.id != last:
                    yield event(seen, self._missed(last))
                    last = seen.id
                try:
                    await asyncio.wait_for(turn.wait(), _ALIVE_SECONDS)
                except TimeoutError:
                    yield _ALIVE
        finally:
            self._n_listening -= 1
            if not self._n_listening:
                self._someone.clear()

    def _missed(self, last: str) -> list[Point]:
        """Return the points of the history after an event."""
        at = last.partition("-")[0]
        since = int(at) if at.isdecimal() and len(at) < 20 else -1
        return [point for point in self._current.history if point.at > since]


def event(seen: Seen, points: list[Point]) -> str:
    """Return a look as an event: what is counted, or why it cannot be, and points of the history."""
    look = seen.look
    data: dict[str, Any] = {
        "commit": seen.commit,
        "at": seen.at,
        "seconds": look.seconds,
        "arrays": look.n_arrays,
        "rows": look.n_rows,
        "nbytes": look.nbytes,
        "newest": look.newest,
        "rates": seen.now._asdict(),
        "history": points,
        "error": None if seen.error is None else as_json(seen.error)["error"],
    }
    return f"id: {seen.id}\nevent: store\ndata: {json.dumps(data, allow_nan=False)}\n\n"
