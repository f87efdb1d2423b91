"""What a store holds as a stream of events: to who comes back first what was missed, then what is new."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from itertools import accumulate
from typing import Any, NamedTuple

from ptrarray.look.viewer.current import Current, Point, Seen
from ptrarray.look.viewer.failures import as_json
from ptrarray.look.viewer.looks import Look, Rates, rates
from ptrarray.views.awaited import Threads

_RETRY = "retry: 500\n\n"  # milliseconds until a browser asks again
_ALIVE = ": \n\n"
_ALIVE_SECONDS = 15.0
_REST, _REST_SECONDS = 4, 5.0
_NAMES_LENGTH = 70_000  # letters of all names in an event; one name has 65,536 at the most


class _Told(NamedTuple):
    """What one event tells.

    Attributes
    ----------
    at : int
        Milliseconds since 1970, later than those of all events before.
    seen : Seen
        What was found.
    now : Rates
        What was added a second since the look before.
    notice : dict or None
        What went wrong last while something was sent, as JSON, with the time.
    """

    at: int
    seen: Seen
    now: Rates
    notice: dict[str, Any] | None

    @property
    def id(self) -> str:
        """What a stream goes on from, also that of another server: a time, and a commit."""
        return f"{self.at}-{self.seen.commit}"

    def text(self, points: list[Point]) -> str:
        """Return the event, with points of the history."""
        seen, look = self.seen, self.seen.look
        data: dict[str, Any] = {
            "commit": seen.commit,
            "at": self.at,
            "seconds": look.seconds,
            "arrays": look.n_arrays,
            "rows": look.n_rows,
            "nbytes": look.nbytes,
            "newest": _bounded(look.newest),
            "rates": self.now._asdict(),
            "history": points,
            "error": seen.error and as_json(seen.error)["error"],
            "notice": self.notice,
        }
        return f"id: {self.id}\nevent: store\ndata: {json.dumps(data, allow_nan=False)}\n\n"


class Events:
    """The looks at a store as events for any number of browsers, each of the newest look alone.

    There is no queue for a browser: one that is slow, or reads nothing, misses what was replaced.
    The history is in what it gets next.

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
        self._last: Look = current.seen.look
        self._told = _Told(current.seen.at, current.seen, Rates(0, 0), None)
        self._turn = asyncio.Event()  # replaced when it is set
        self._n_listening = 0
        self._someone = asyncio.Event()
        self._is_over = False

    async def watch(self) -> None:
        """Look at the store for ever, and tell what is new."""
        while True:
            if not self._always:
                await self._someone.wait()
            began = time.monotonic()
            seen = await self._threads.wait_for(self._current.look)
            took = time.monotonic() - began
            now = rates(self._last, seen.look)
            self._last = seen.look
            told = self._told
            if (seen.commit, str(seen.error), now) != (
                told.seen.commit,
                str(told.seen.error),
                told.now,
            ):
                self._tell(seen, now, told.notice)
            # Where a look takes long, as at a journal of millions, most of the time is for answers.
            await asyncio.sleep(max(self._interval, min(_REST * took, _REST_SECONDS)))

    def note(self, name: str, error: Exception) -> None:
        """Tell what went wrong while an array was sent, which its answer cannot say any more."""
        told = self._told
        notice = {**as_json(error)["error"], "name": name, "number": 1}
        if told.notice is not None:
            notice["number"] = told.notice["number"] + 1
        self._tell(told.seen, told.now, notice)

    def _tell(self, seen: Seen, now: Rates, notice: dict[str, Any] | None) -> None:
        at = max(seen.at, self._told.at + 1)
        self._told = _Told(at, seen, now, notice)
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
                turn, told = self._turn, self._told
                if told.id != last:
                    yield told.text(self._points(last, told.at))
                    last = told.id
                    continue  # there may be a later one
                try:
                    await asyncio.wait_for(turn.wait(), _ALIVE_SECONDS)
                except TimeoutError:
                    yield _ALIVE
        finally:
            self._n_listening -= 1
            if not self._n_listening:
                self._someone.clear()

    def _points(self, last: str, until: int) -> list[Point]:
        """Return the points of the history after an event, up to another."""
        at = last.partition("-")[0]
        since = int(at) if at.isdecimal() and len(at) < 20 else -1
        return [point for point in self._current.history if since < point.at <= until]


def _bounded(names: list[str]) -> list[str]:
    """Return the first of some names, as many as there may be in an event."""
    ends = accumulate(map(len, names))
    return [name for name, end in zip(names, ends, strict=True) if end <= _NAMES_LENGTH]
