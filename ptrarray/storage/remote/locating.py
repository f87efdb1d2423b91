"""From a URL and what a caller says of it to a path that leads there."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote, urlsplit, urlunsplit

from ptrarray.errors import BadInputError, import_extra
from ptrarray.intake.numbers import integer
from ptrarray.storage.remote.cache import Cache
from ptrarray.storage.remote.objects import Objects, shown
from ptrarray.storage.remote.options import Remote
from ptrarray.storage.remote.paths import RemotePath
from ptrarray.storage.remote.through_fsspec import FsspecObjects
from ptrarray.storage.remote.through_obstore import WEB, ObstoreObjects
from ptrarray.storage.remote.transfer import Transfer


def path_of(url: str, remote: Remote) -> RemotePath:
    """Return the path of what lies at a URL. Asks no server yet.

    Raises
    ------
    BadInputError
        If no library reads such a URL, or it refuses what it is given.
    """
    storage = remote.storage
    if integer("parallel", remote.parallel) < 1:
        what = f"parallel must be at least 1: {remote.parallel}"
        raise BadInputError(what, found=remote.parallel, expected=">= 1")
    if storage is None and urlsplit(url).scheme.lower() == "memory":
        fsspec = import_extra("fsspec", f"reading {url} needs fsspec: pip install fsspec")
        storage = fsspec.filesystem("memory")  # that of the process; obstore makes an empty one
    objects: Objects
    if storage is None or isinstance(storage, Mapping):
        base, key = _split(url)
        objects = ObstoreObjects(base, storage or {})
    elif hasattr(storage, "cat_file") and not isinstance(storage, type):
        _check_no_query(url)
        base, _, key = storage._strip_protocol(url).rstrip("/").rpartition("/")
        objects = FsspecObjects(storage, base)
    else:
        what = "a mapping for obstore, or a file system of fsspec"
        raise BadInputError(
            f"storage= is {what}, not {type(storage).__name__}", found=storage, expected=what
        )
    cache = None if remote.cache is None else Cache(remote.cache)
    transfer = Transfer(
        objects, remote.parallel, remote.gap_nbytes, immutable=remote.immutable, cache=cache
    )
    path = RemotePath(transfer, key)
    path.made_by = path_of, (url, remote)
    return path


def _split(url: str) -> tuple[str, str]:
    """Split a URL into that of the folder above, and the last name of it, as it is meant."""
    parts = urlsplit(url)
    if not parts.scheme:
        what = f"{url} is no URL, as https://host/corpus.ptr, which storage= with names is for"
        raise BadInputError(what, path=url, found=url, expected="a URL")
    if parts.scheme.lower() not in WEB:
        _check_no_query(url)
    path = parts.path.rstrip("/")
    if parts.scheme.lower() == "file":  # of which the folder need not be there
        if not path or parts.netloc not in ("", "localhost"):
            raise BadInputError(
                f"{shown(url)} has to be of a full path, as file:///data/corpus.ptr"
            )
        return "file:///", unquote(path.lstrip("/"))
    folder, _, name = path.rpartition("/")
    return urlunsplit((parts.scheme, parts.netloc, folder, parts.query, "")), unquote(name)


def _check_no_query(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme and parts.query:  # without a scheme it is a part of a name
        why = "has a query, which only http and https have, without a file system as storage="
        raise BadInputError(f"{shown(url)} {why}", path=shown(url))
