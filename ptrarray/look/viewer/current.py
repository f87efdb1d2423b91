"""A store that many look at: opened once, looked at again by one thread at a time, as it is now for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from ptrarray.errors import StoreError
from ptrarray.look.viewer.looks import Look, Rates, rates
from ptrarray.reader import PointerArray, as_it_is, commit_of, opened_of

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
        Which commit of which store it was; the one before if `error` is set.
    look : Look
        What the store held; the one before if `error` is set.
    now : Rates
        What was added a second since the look before.
    error : Exception or None
        Why the store could not be looked at.
    """

    at: int
    commit: str
    look: Look
    now: Rates
    error: Exception | None

    @property
    def id(self) -> str:
        """What a stream of events goes on from."""
        return f"{self.at}-{self.commit}"

    def differs(self, other: Seen) -> bool:
        """Tell whether there is more to tell than a later time."""
        return (self.commit, self.now, str(self.error)) != (
            other.commit,
            other.now,
            str(other.error),
        )


class Current:
    """A store as it is now, for any number of threads.

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
        self._opener = opener
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._reader = opener()
        self._still = as_it_is(self._reader)
        self.history: list[Point] = []
        look = self._look()
        self.seen = Seen(_milliseconds(), commit_of(self._still), look, Rates(0, 0), None)
        self._note()

    def look(self) -> Seen:
        """Look at the store again. What is found is what all get from then on."""
        with self._lock:
            before, error = self.seen, None
            try:
                self._reader.refresh()
                if opened_of(self._reader) is not opened_of(self._still):
                    self._still = as_it_is(self._reader)
                look = self._look()
            except (StoreError, OSError) as caught:
                look, error = before.look, caught
            now = rates(before.look, look)
            self.seen = Seen(_milliseconds(), commit_of(self._still), look, now, error)
            self._note()
        return self.seen

    def answer(self, call: Callable[[PointerArray], Result]) -> Result:
        """Return what a call makes of the store as it is at one moment.

        Where it fails, the store may have been changed since the last look: it is looked at
        again, and if it has, called once more.
        """
        still = self._still
        if self.seen.error is None:
            try:
                return call(still)
            except (StoreError, OSError):
                if self.look().error is None and self._still is still:
                    raise
        else:
            self.look()
        error = self.seen.error
        if error is not None:
            raise error.with_traceback(None) from None
        return call(self._still)

    def close(self) -> None:
        """Let go of the store."""
        with self._lock:
            self._reader.close()

    def _look(self) -> Look:
        still = self._still
        seconds = time.monotonic() - self._began
        newest = still.names.newest(_N_NEWEST)
        return Look(seconds, len(still), still.shape[0], still.nbytes, newest)

    def _note(self) -> None:
        """Add what was seen to the history, if it is new."""
        look = self.seen.look
        point = Point(self.seen.at, look.n_arrays, look.n_rows, look.nbytes)
        if self.history and self.history[-1][1:] == point[1:]:
            return
        if len(self.history) >= _N_POINTS:  # anew, as others may be reading it
            self.history = [*self.history[:-1:2], self.history[-1]]
        self.history.append(point)


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000
