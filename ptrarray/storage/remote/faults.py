"""What can go wrong with a request: whether asking again helps, and the error that says so."""

from __future__ import annotations

import random
import time
from errno import ENOENT
from typing import Literal

from ptrarray.errors import RemoteError, StoreChangedError

Kind = Literal["missing", "denied", "changed", "past", "passing", "wrong", "refused"]

# How long it is asked again for bytes of which none come, and where no server has ever answered.
LIMIT_SECONDS = 60.0
FIRST_LIMIT_SECONDS = 10.0
# Pauses double from the first to the longest; some part of each is left to chance, so that many
# that were turned away at once do not come back at once.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0
# How often something else may come than what was asked for.
_N_WRONG = 3
# Of the system: the generator of the module `random` is the caller's, and forks share its state.
_CHANCE = random.SystemRandom()
_PASSING = {408, 425, 429}
_NOT_PASSING = {501, 505}
_REFUSED = "the server refuses to show it"
_PASSWORD = "it wants a user and password, as https://USER:PASSWORD@host/..., or other ones"


class Fault(Exception):
    """A request that went wrong.

    Parameters
    ----------
    kind : str
        ``missing``: there is no such object. ``denied``: it may not be read. ``changed``: another
        content than the one that was asked for. ``past``: the range begins behind the end.
        ``passing``: asking again may help. ``wrong``: what came is not what was asked for, which
        may help a few times. ``refused``: asking again is of no use.
    what : str
        In words, without anything secret.
    status : int or None
        Of the answer, if there was one.
    """

    def __init__(self, kind: Kind, what: str, status: int | None = None) -> None:
        super().__init__(kind, what, status)
        self.kind, self.what, self.status = kind, what, status


def fault_of_status(status: int) -> Fault:
    """Return what a status says, of an answer that has no bytes of the object."""
    if status in (404, 410):
        return Fault("missing", "there is no such object", status)
    if status == 401:
        return Fault("denied", f"{_REFUSED} ({status}): {_PASSWORD}", status)
    if status in (403, 407):
        return Fault("denied", f"{_REFUSED} ({status})", status)
    if status == 412:
        return Fault("changed", "its ETag is another one", status)
    if status == 416:
        return Fault("past", "the object ends before", status)
    kind: Kind = "passing" if passes(status) else "refused"
    return Fault(kind, f"the server answers {status}", status)


def passes(status: int) -> bool:
    """Tell whether asking again may bring another status than this one."""
    return status in _PASSING or (status >= 500 and status not in _NOT_PASSING)


class Patience:
    """Decides whether a range is asked for again."""

    def __init__(self) -> None:
        self._n_done = self._n_faults = self._n_wrong = 0
        self._since = time.monotonic()

    def pause(self, fault: Fault, n_done: int, *, has_answered: bool) -> float | None:
        """Return the seconds to wait after a fault, or None if asking again would not help.

        Parameters
        ----------
        n_done : int
            Bytes of the range that are there by now.
        has_answered : bool
            Whether the server ever did, to this range or to another.
        """
        if n_done > self._n_done:  # so that a slow connection that breaks off ends, too
            self._n_done, self._n_faults, self._since = n_done, 0, time.monotonic()
        longest = min(FIRST_PAUSE_SECONDS * 2 ** min(self._n_faults, 30), LONGEST_PAUSE_SECONDS)
        pause = longest * _CHANCE.uniform(0.5, 1)
        self._n_faults += 1
        self._n_wrong += fault.kind == "wrong"
        limit = LIMIT_SECONDS if has_answered else FIRST_LIMIT_SECONDS
        is_over = time.monotonic() + pause > self._since + limit
        helps = fault.kind == "passing" or (fault.kind == "wrong" and self._n_wrong < _N_WRONG)
        return pause if helps and not is_over else None


def error_of(fault: Fault, url: str, start: int, end: int, *, is_known: bool) -> Exception:
    """Return the error that a caller sees for a fault with a range of an object.

    Parameters
    ----------
    is_known : bool
        Whether the object was read before.
    """
    facts = {"path": url, "start": start, "end": end, "status": fault.status}
    asked = f"bytes {start} to {end} of {url}"
    if fault.kind == "missing" and not is_known:
        return FileNotFoundError(ENOENT, "there is no such object", url)
    if fault.kind == "changed" or (is_known and fault.kind in ("missing", "past")):
        return StoreChangedError(
            f"{url} has changed since the store was opened ({fault.what}, at {asked}): "
            "refresh() opens what is there now",
            **facts,
        )
    return RemoteError(f"{asked} cannot be read: {fault.what}", **facts)
