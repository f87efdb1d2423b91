"""A store that many look at: opened once, looked at again by one thread at a time, as it is now for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from ptrarray.errors import StoreError
from ptrarray.look.viewer.looks import Look
from ptrarray.reader import PointerArray, as_it_is, commit_of, is_pack_that_went, opened_of

Result = TypeVar("Result")

_N_NEWEST = 20
_N_POINTS = 512


class Point(NamedTuple):
    """What a store held when it had changed.

    Attributes
    ----------
    at : int
        Milliseconds since 1970.
    n_arrays, n_rows, nbytes : int
        Of the flat array, holes included.
    """

    at: int
    n_arrays: int
    n_rows: int
    nbytes: int


class Seen(NamedTuple):
    """What one look found.

    Attributes
    ----------
    at : int
        Milliseconds since 1970.
    commit : str
        Which commit of which store it was; of an earlier look if `error` is set.
    look : Look
        What the store held; the same.
    error : Exception or None
        Why the store could not be looked at.
    """

    at: int
    commit: str
    look: Look
    error: Exception | None


class Current:
    """A store as it is now, for any number of threads.

    Each gets a reader of its own that shows one commit, and is never refreshed.

    Parameters
    ----------
    opener : callable
        Opens the store.

    Attributes
    ----------
    seen : Seen
        What the last look found.
    history : list of Point
        What the store held whenever it had changed, thinned out as it grows: at most some hundred.
    """

    def __init__(self, opener: Callable[[], PointerArray]) -> None:
        self._opener, self._lock = opener, threading.Lock()
        self._n_looks = 0  # that were begun
        self._at = 0
        self._began = time.monotonic()
        self._reader = opener()
        self._still = as_it_is(self._reader)
        self.history: list[Point] = []
        self.seen = self._seen(None)

    def look(self) -> Seen:
        """Look at the store again. What is found is what all get from then on.

        All who wait for a look that is under way share the one after it: one at a URL that
        does not answer takes a minute.
        """
        n_before = self._n_looks
        with self._lock:
            if self._n_looks > n_before:
                return self.seen
            self._n_looks += 1
            error = None
            try:
                if is_pack_that_went(self._reader):
                    self._reader = self._opener()
                self._reader.refresh()
                if opened_of(self._reader) is not opened_of(self._still):
                    self._still = as_it_is(self._reader)
                self.seen = self._seen(None)
            except Exception as caught:  # noqa: BLE001 whatever it is, who looks is to know
                error = caught.with_traceback(None)  # which would keep what it was about
                self.seen = self.seen._replace(at=self._now(), error=error)
        return self.seen

    def answer(self, call: Callable[[PointerArray], Result]) -> Result:
        """Return what a call makes of the store as it is at one moment.

        Where it fails, the store may have been changed since the last look: it is looked at
        again, and if it has been, called once more.
        """
        still = self._still
        if self.seen.error is not None:
            seen = self.look()
        else:
            try:
                return call(still)
            except (StoreError, OSError):
                seen = self.look()
                if seen.error is None and self._still is still:
                    raise
        if seen.error is not None:
            raise seen.error.with_traceback(None) from None
        return call(self._still)

    def close(self) -> None:
        """Let go of the store."""
        with self._lock:
            self._reader.close()

    def _seen(self, error: Exception | None) -> Seen:
        still, at = self._still, self._now()
        newest = still.names.newest(_N_NEWEST)
        seconds = time.monotonic() - self._began
        look = Look(seconds, len(still), still.shape[0], still.nbytes, newest)
        self._note(Point(at, look.n_arrays, look.n_rows, look.nbytes))
        return Seen(at, commit_of(still), look, error)

    def _now(self) -> int:
        """Return the time, later than all before: clocks are set back, and who listens has those after one."""
        self._at = max(time.time_ns() // 1_000_000, self._at + 1)
        return self._at

    def _note(self, point: Point) -> None:
        """Add a point to the history, if it is new."""
        history = self.history
        if history and history[-1][1:] == point[1:]:
            return
        thinned = [*history[:-1:2], history[-1]] if len(history) >= _N_POINTS else history
        self.history = [*thinned, point]  # anew, as others may be reading it
