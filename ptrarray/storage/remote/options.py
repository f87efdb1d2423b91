"""What a caller says of how to read what lies elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ptrarray.errors import BadInputError
from ptrarray.intake.numbers import nbytes
from ptrarray.intake.paths import absolute

PARALLEL = 32
GAP = "32KB"
SIZE = "1GB"  # of a cache

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class Caching(NamedTuple):
    """What a caller says of a cache.

    Attributes
    ----------
    folder : str
        Where it lies.
    limit_nbytes : int
        What it may take of the disk.
    has_data : bool
        Whether rows are kept, too.
    """

    folder: str
    limit_nbytes: int
    has_data: bool


def caching(cache: Any) -> Caching | None:
    """Return what ``cache=`` of `open` means.

    Raises
    ------
    BadInputError
        If it is neither None, a path, nor a mapping of ``folder``, ``size`` and ``data``.
    """
    if cache is None:
        return None
    given = dict(cache) if isinstance(cache, Mapping) else {"folder": cache}
    has_data: Any = given.get("data", False)
    folder: Any = given.get("folder")
    is_path = isinstance(folder, str | os.PathLike) and bool(os.fspath(folder))
    if not is_path or not isinstance(has_data, bool) or given.keys() - {"folder", "size", "data"}:
        expected = 'a folder, or {"folder": FOLDER, "size": "1GB", "data": False}'
        raise BadInputError(
            f"cache= has to be {expected}, not {cache!r:.200}", found=cache, expected=expected
        )
    limit_nbytes = nbytes('the "size" of cache=', given.get("size", SIZE))
    return Caching(str(absolute(folder)), limit_nbytes, has_data)


class Remote(NamedTuple):
    """What a caller says of how to read what lies elsewhere.

    Attributes
    ----------
    cache : Caching or None
        What keeps what was read of indexes, or of all.
    parallel : int
        Requests that are under way at the most.
    gap_nbytes : int
        Ranges closer together than this are one request.
    storage : mapping, file system of fsspec, or None
        What obstore is to know besides; or what reads instead.
    immutable : bool
        Whether what lies there is known never to change.
    """

    cache: Caching | None = None
    parallel: int = PARALLEL
    gap_nbytes: int = 32_000
    storage: Any = None
    immutable: bool = False

    def __repr__(self) -> str:
        return "Remote(...)"  # as there may be keys in it


def is_url(path: str | os.PathLike[str], storage: Any = None) -> bool:
    """Tell whether a path is a URL, or one that `storage` is to read."""
    return storage is not None or bool(_URL.match(os.fsdecode(path)))
