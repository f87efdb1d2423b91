"""Objects through obstore: of web servers, S3, Google Cloud Storage and Azure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ptrarray.errors import import_extra
from ptrarray.storage.remote.faults import Fault, status_in
from ptrarray.storage.remote.objects import Answer

_WEB = ("http", "https")
_MISSING = "reading {url} needs obstore: pip install 'ptrarray[remote]'"


class ObstoreObjects:
    """Objects below a URL, as `Objects`.

    Parameters
    ----------
    url : str
        Of the store.
    given : mapping
        What obstore is to know besides, as a region, an endpoint or keys.
    """

    def __init__(self, url: str, given: Mapping[str, Any]) -> None:
        self.url = shown(url)
        self._made_from = url, given
        self._obstore = import_extra("obstore", _MISSING.format(url=self.url))
        self._store = _opened(url.rstrip("/"), dict(given), self.url)

    def fresh(self) -> ObstoreObjects:
        """Return the same with connections of its own."""
        return ObstoreObjects(*self._made_from)

    def get(self, key: str, start: int, end: int, tag: str | None) -> Answer:
        """Ask once for a range of an object."""
        options: dict[str, Any] = {"range": (start, end)}
        if tag is not None:
            options["if_match"] = tag
        try:
            answer = self._obstore.get(self._store, key, options=options)
            raw = memoryview(answer.bytes())
        except (self._obstore.exceptions.BaseError, OSError, ValueError) as error:
            raise _fault(error) from None  # its text has the URL with whatever is secret in it
        return Answer(raw, answer.range[0], answer.meta["size"], answer.meta["e_tag"])


def shown(url: str) -> str:
    """Return a URL without a password and a query, for messages."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", "")).rstrip("/")


def _opened(url: str, given: dict[str, Any], name: str) -> Any:
    stores = import_extra("obstore.store", _MISSING.format(url=name))
    client = {"allow_http": True, **given.pop("client_options", {})}
    client["default_headers"] = {"Accept-Encoding": "identity", **client.get("default_headers", {})}
    retries = {"max_retries": 0, "retry_timeout": timedelta(seconds=60)}
    if urlsplit(url).scheme in _WEB:
        return stores.HTTPStore.from_url(url, client_options=client, retry_config=retries, **given)
    return stores.from_url(url, client_options=client, retry_config=retries, **given)


def _fault(error: Exception) -> Fault:
    kind, text = type(error).__name__, str(error)
    status = status_in(text)
    if isinstance(error, FileNotFoundError):
        return Fault("missing", "there is no such object", 404)
    if kind in ("PermissionDeniedError", "UnauthenticatedError"):
        return Fault("denied", "the server refuses it", 403 if kind[0] == "P" else 401)
    if kind == "PreconditionError":
        return Fault("changed", "its ETag is another one", 412)
    if kind == "NotSupportedError":
        return Fault("refused", "the server sends no ranges of it", 200)
    if status == 416:
        return Fault("past", "the object ends before", 416)
    if status is not None and status < 500 and status not in (408, 429):
        return Fault("refused", f"the server answers {status}", status)
    what = "no whole answer came" if status is None else f"the server answers {status}"
    return Fault("passing", what, status)
