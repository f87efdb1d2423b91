"""Objects below one URL, read range by range: what the library that reads them is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

Buffer = Any  # collections.abc.Buffer comes with Python 3.12

# Of what is read by blocks, what is asked for, and kept, at the least.
BLOCK_NBYTES = 16 << 10


class Answer(NamedTuple):
    """What came for a range of an object.

    Attributes
    ----------
    raw : buffer
        The bytes.
    start : int
        Where they begin in the object.
    nbytes : int
        Size of the whole object.
    tag : str or None
        Tells this content of the object from any other: its ETag or version.
    """

    raw: Buffer
    start: int
    nbytes: int
    tag: str | None


class Coming(NamedTuple):
    """An answer that has begun.

    Attributes
    ----------
    pieces : iterator of buffer
        The bytes, as they come. May raise `faults.Fault`, and may be more or fewer than they
        should be.
    start, nbytes, tag
        As of an `Answer`, as the server says.
    """

    pieces: Iterator[Buffer]
    start: int
    nbytes: int
    tag: str | None


class Objects(Protocol):
    """Objects below one URL.

    Whatever goes wrong is raised as `faults.Fault`; an object that is not there as one of the
    kind ``missing``.

    Attributes
    ----------
    url : str
        For messages: without a password, and without what is behind a question mark.
    """

    url: str

    def get(self, key: str, start: int, end: int, tag: str | None) -> Coming:
        """Ask once for a range of an object, ``0 <= start < end``, which may reach past its end.

        Parameters
        ----------
        tag : str or None
            If given, the object has to be the one that had this tag.
        """

    def get_empty(self, key: str) -> Coming:
        """Ask once for an object of no bytes, of which no range can be asked for."""

    def named(self, key: str) -> str:
        """Return the URL of an object, for messages, and to be opened by who needs no keys."""

    def fresh(self) -> Objects:
        """Return the same with connections of its own, as for the child of a fork."""


def shown(url: str) -> str:
    """Return a URL without a password, a query and slashes at its end, for messages."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
