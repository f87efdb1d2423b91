"""From a URL and what a caller says of it to a path that leads there."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from ptrarray.storage.remote.paths import RemotePath
from ptrarray.storage.remote.through_obstore import ObstoreObjects
from ptrarray.storage.remote.transfer import Transfer

PARALLEL = 32
GAP = "32KB"

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class Remote(NamedTuple):
    """What a caller says of how to read what lies elsewhere.

    Attributes
    ----------
    cache : str or None
        Folder that keeps what was read of indexes.
    parallel : int
        Requests that are under way at the most.
    gap_nbytes : int
        Ranges closer together than this are one request.
    storage : mapping, file system of fsspec, or None
        What obstore is to know besides; or what reads instead.
    immutable : bool
        Whether what lies there is known never to change.
    """

    cache: str | None = None
    parallel: int = PARALLEL
    gap_nbytes: int = 32_000
    storage: Any = None
    immutable: bool = False

    def __repr__(self) -> str:
        return "Remote(...)"  # as there may be keys in it


def is_url(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is a URL."""
    return bool(_URL.match(os.fsdecode(path)))


def remote_path(url: str, remote: Remote) -> RemotePath:
    """Return the path of what lies at a URL. Asks no server yet."""
    base, key = _split(url)
    given = remote.storage if isinstance(remote.storage, Mapping) else {}
    objects = ObstoreObjects(base, given)
    return RemotePath(Transfer(objects, remote.parallel, remote.gap_nbytes), key)


def _split(url: str) -> tuple[str, str]:
    """Split a URL into that of the folder above, and the last name of it."""
    parts = urlsplit(url)
    folder, _, name = parts.path.rstrip("/").rpartition("/")
    return urlunsplit((parts.scheme, parts.netloc, folder, parts.query, "")), name
