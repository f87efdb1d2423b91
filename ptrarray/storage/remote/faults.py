"""What can go wrong with a request: whether asking again helps, and the error that says so."""

from __future__ import annotations

import re
from errno import ENOENT
from typing import Literal

from ptrarray.errors import RemoteError, StoreChangedError

Kind = Literal["missing", "denied", "changed", "past", "passing", "refused", "wrong"]

_STATUS = re.compile(r"status code:? (\d{3})|: (\d{3})\b", re.IGNORECASE)


class Fault(Exception):
    """A request that went wrong.

    Parameters
    ----------
    kind : str
        ``missing``: there is no such object. ``denied``: it may not be read. ``changed``: another
        content than the one that was asked for. ``past``: the range begins behind the end.
        ``passing``: asking again may help. ``refused``: it will not. ``wrong``: what came is not
        what was asked for.
    what : str
        In words, without anything secret.
    status : int or None
        Of the answer, if there was one.
    """

    def __init__(self, kind: Kind, what: str, status: int | None = None) -> None:
        super().__init__(kind, what, status)
        self.kind, self.what, self.status = kind, what, status


def status_in(text: str) -> int | None:
    """Return the status of an answer that a message of a library names, if it does."""
    found = _STATUS.search(text)
    return int(found[1] or found[2]) if found else None


def error_of(fault: Fault, url: str, start: int, end: int) -> Exception:
    """Return the error that a caller sees for a fault with a range of an object."""
    facts = {"path": url, "start": start, "end": end, "status": fault.status}
    asked = f"bytes {start} to {end} of {url}"
    if fault.kind == "missing":
        return FileNotFoundError(ENOENT, "there is no such object", url)
    if fault.kind == "changed":
        return StoreChangedError(
            f"{url} has changed since the store was opened ({fault.what}, at {asked}): "
            "refresh() opens what is there now",
            **facts,
        )
    return RemoteError(f"{asked} cannot be read: {fault.what}", **facts)
