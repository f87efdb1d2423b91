"""Objects through obstore: of web servers, S3, Google Cloud Storage, Azure and folders."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from ptrarray.errors import BadInputError
from ptrarray.storage.remote.faults import Fault, Kind, fault_of_status
from ptrarray.storage.remote.forked import Library, obstore_here
from ptrarray.storage.remote.objects import Buffer, Coming, shown

WEB = ("http", "https")

# Of an answer that breaks off, less than this has to be asked for again.
_PIECE_NBYTES = 1 << 16
# A slow answer may take as long as it takes, one that stops may not. Asking again is the business
# of `Transfer`, which counts what came before an answer broke off.
_CLIENT = {"allow_http": True, "timeout": "7d", "read_timeout": "20s", "connect_timeout": "10s"}
_RETRIES = {"max_retries": 0}
# Such bytes are not those that lie there. With aws-chunked only the way up was coded.
_AS_THEY_LIE = (None, "", "identity", "aws-chunked")

_DENIED = "the server refuses it, or it is not there and the bucket may not be listed"
_WHOLE = "the whole file comes for a range of it, so that a server is needed that serves ranges"
_STATUSES = {"FileNotFoundError": 404, "PermissionDeniedError": 403, "PreconditionError": 412}
_ASKS_FOR_KEYS = ("169.254.169.254", "token request")  # of the machine, where no others are given
_STATUSES |= {"UnauthenticatedError": 401}
_STATUS = re.compile(r"status code: (\d{3})\b")
_KEYS = "keys go into storage={...}, and {'skip_signature': True} is for what everybody may read"
_ENDPOINTS = ("endpoint", "endpoint_url", "base_url")
_ENDPOINT = re.compile(r"https?://[^\s/]+(/\S*)?$", re.IGNORECASE)
_NO_ENDPOINT = (
    "an endpoint or a proxy, in storage= or the environment, is no URL, as https://host:9000"
)
_SCHEMES = (
    "it reads https, http, s3, gs, az and file; for others storage= takes a file system of fsspec"
)
# What is in the texts of errors that have no status, and what it means.
_SAID: tuple[tuple[str, Kind, str], ...] = (
    ("NotADirectory", "missing", "there is no such object"),  # below a pack of this machine
    ("configured region", "refused", "the bucket is in another region: storage={'region': ...}"),
    ("InvalidCertificate", "refused", "its certificate is not one to trust"),
    ("InvalidContentType", "refused", "it does not speak TLS, as https:// wants it"),
    ("TooManyRedirects", "refused", "it is redirected again and again"),
    ("builder error", "refused", _NO_ENDPOINT),
    ("StartTooLarge", "past", "it ends before that range"),  # of a file of this machine
    ("UnexpectedRange", "wrong", "another range came"),
    ("ContentRange", "wrong", "its answer does not say which range it is, and of how many bytes"),
    ("MissingContentLength", "wrong", "its answer does not say how long it is"),
    ("source: Missing", "wrong", "its answer lacks a header that says what it is"),
    ("dns error", "passing", "its host is not found"),
    ("ConnectionRefused", "passing", "the connection is refused"),
    ("TimedOut", "passing", "nothing more comes"),
    ("ConnectionReset", "passing", "the connection broke off"),
    ("Incomplete", "passing", "the connection was closed too early"),
)  # fmt: skip


class ObstoreObjects:
    """Objects below a URL, as `Objects`.

    Parameters
    ----------
    url : str
        Of the folder they are in.
    given : mapping
        What obstore is to know besides, as a region, an endpoint or keys.
    """

    def __init__(self, url: str, given: Mapping[str, Any]) -> None:
        self.url = shown(url)
        self._made_from = url, given
        self._parent: ObstoreObjects | None = None
        self._library = obstore_here(self.url)
        self._store = _opened(self._library, url.rstrip("/"), dict(given))
        self._is_web = urlsplit(url).scheme.lower() in WEB
        self._errors = (self._library.errors.BaseError, OSError, ValueError)

    def fresh(self) -> ObstoreObjects:
        """Return the same with connections of its own."""
        objects = ObstoreObjects(*self._made_from)
        objects._parent = self  # never let go: its connections are those of another process
        return objects

    def named(self, key: str) -> str:
        """Return the URL of an object."""
        return f"{self.url}/{quote(key)}" if key else self.url

    def get(self, key: str, start: int, end: int, tag: str | None) -> Coming:
        """Ask once for a range of an object."""
        options: dict[str, Any] = {"range": (start, end)}
        if tag is not None and not tag.startswith("W/"):  # with a weak one no server compares
            options["if_match"] = tag
        answer = self._asked(key, options)
        nbytes = min(end - start + 1, _PIECE_NBYTES)
        pieces = self._pieces(answer.stream(min_chunk_size=nbytes))
        return Coming(pieces, answer.range[0], answer.meta["size"], answer.meta["e_tag"])

    def get_empty(self, key: str) -> Coming:
        """Ask once for an object of no bytes."""
        meta = self._asked(key, {}).meta
        return Coming(iter(()), 0, meta["size"], meta["e_tag"])

    def _asked(self, key: str, options: dict[str, Any]) -> Any:
        try:
            answer = self._library.root.get(self._store, key, options=options)
            coding = answer.attributes.get("Content-Encoding")
            if coding in _AS_THEY_LIE:
                return answer
            fault = Fault("wrong", f"it comes as {coding}, not as it lies there")
        except self._errors as error:
            fault = _fault(error, is_web=self._is_web)
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of Rust, which is no Exception
                raise
            fault = Fault("refused", _NO_ENDPOINT)
        raise fault  # here, as the error has all of the URL in its text

    def _pieces(self, stream: Any) -> Iterator[Buffer]:
        try:
            yield from stream
            return
        except self._errors as error:
            fault = _fault(error, is_web=self._is_web)
        raise fault


def _opened(library: Library, url: str, given: dict[str, Any]) -> Any:
    url, headers = _without_user(url)
    is_web = urlsplit(url).scheme.lower() in WEB
    make = library.stores.HTTPStore.from_url if is_web else library.stores.from_url
    errors = library.errors
    for name, value in given.items():
        if str(name).lower().endswith(_ENDPOINTS) and not _ENDPOINT.match(str(value)):
            what = f"the {name!r} of storage= has to be a URL, as https://host:9000"
            raise BadInputError(f"{shown(url)} cannot be opened: {what}", path=shown(url))
    try:
        client = {**_CLIENT, **given.get("client_options", {})}
        client["default_headers"] = {**headers, **client.get("default_headers", {})}
        options = {"retry_config": _RETRIES, **given, "client_options": client}
        return make(url, **options)
    except errors.UnknownConfigurationKeyError as error:
        what = str(error).partition("\n")[0]
    except (errors.BaseError, OSError, ValueError, TypeError) as error:
        names = f" or one of storage={{{', '.join(map(str, given))}}}" if given else ""
        what = f"obstore refuses it{names}: {_cause(error, given)}"
    raise BadInputError(f"{shown(url)} cannot be opened: {what}", path=shown(url))


def _without_user(url: str) -> tuple[str, dict[str, str]]:
    """Take user and password out of a URL, which obstore would not send; return headers, too."""
    headers = {"Accept-Encoding": "identity"}
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if user and parts.scheme.lower() in WEB:
        pair = ":".join(map(unquote, user.partition(":")[::2])).encode()
        headers["Authorization"] = f"Basic {b64encode(pair).decode()}"
        url = urlunsplit((parts.scheme, host, *parts[2:]))
    return url, headers


def _cause(error: Exception, given: Mapping[str, Any]) -> str:
    """Return the first line of an error, unless there may be something secret in it."""
    text = str(error).partition("\n")[0]
    if "Unable to recognise URL" in text:
        return _SCHEMES
    has_value = any(value in text for value in _values(given))
    return type(error).__name__ if "://" in text or "?" in text or has_value else text


def _values(given: Any) -> Iterator[str]:
    if isinstance(given, Mapping):
        for value in given.values():
            yield from _values(value)
    elif given != "":
        yield str(given)


def _fault(error: Exception, *, is_web: bool) -> Fault:
    kind, text = type(error).__name__, str(error)
    found = _STATUS.search(text)
    status = int(found[1]) if found else _STATUSES.get(kind)
    if kind == "NotSupportedError" or "non-partial" in text:
        return Fault("wrong", _WHOLE, 200)
    if any(said in text for said in _ASKS_FOR_KEYS) and (status is None or status < 500):
        return Fault("denied", f"no keys were found for it: {_KEYS}", status)
    if kind == "PermissionDeniedError" and not is_web:
        return Fault("denied", f"{_DENIED} ({status}): {_KEYS}", status)
    if status is not None:
        return fault_of_status(status)
    if isinstance(error, ValueError) or kind == "InvalidPathError":
        return Fault("refused", "no library takes such a path")
    for said, which, what in _SAID:
        if said in text:
            return Fault(which, what)
    return Fault("passing", "no whole answer came")
