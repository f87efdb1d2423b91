"""Who gets in: a token, a host, methods that read; and what every answer says to a browser."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),  # which would have the token
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
_METHODS = {"GET", "HEAD"}
_HOST = re.compile(rb"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_Refusal = tuple[int, bytes, list[tuple[bytes, bytes]]]
NOT_FOUND = b"not found"  # whatever is not there, and why


class Guarded:
    """An application that only those reach who know the token, and only as this machine.

    Outside of everything else, so that errors and streams have the headers, too.

    Parameters
    ----------
    app : ASGI application
        Asked for paths without the token.
    token : str
        First segment of each path.
    """

    def __init__(self, app: App, token: str) -> None:
        self._app, self._token = app, token
        self._tickets: set[bytes] = set()

    def ticket(self) -> str:
        """Return what leads to the token once, for a command line that others of this machine see."""
        ticket = secrets.token_urlsafe(24)
        self._tickets.add(ticket.encode())
        return ticket

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            status, text, headers = refusal
            own = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(text))]
            headers = [*own, *headers]
            start = {"type": "http.response.start", "status": status, "headers": headers}
            await send_with_headers(start)
            await send_with_headers({"type": "http.response.body", "body": text})
            return
        rest = scope["path"][len(self._token) + 1 :]
        inner = {**scope, "path": rest, "raw_path": rest.encode("utf-8", "surrogatepass")}
        await self._app(inner, receive, send_with_headers)

    def _refusal(self, scope: Message) -> _Refusal | None:
        """Return what is answered in place of the application; None if that is to be asked."""
        if not names_this_machine(scope["headers"]):
            return 400, b"unknown host", []
        if scope["path"] == "/favicon.ico":  # which browsers ask for at the root, of each page
            return 204, b"", []
        token, slash, _ = scope["path"].removeprefix("/").partition("/")
        # As bytes, since text outside ASCII cannot be compared so.
        given = token.encode("utf-8", "surrogatepass")
        if given in self._tickets and scope["method"] == "GET":
            self._tickets.remove(given)
            return 303, b"", [(b"location", f"/{self._token}/".encode())]
        if not slash or not secrets.compare_digest(given, self._token.encode()):
            return 404, NOT_FOUND, []
        if scope["method"] not in _METHODS:
            return 405, b"method not allowed", [(b"allow", b"GET, HEAD")]
        return None


def names_this_machine(headers: list[tuple[bytes, bytes]]) -> bool:
    """Tell whether a request was sent to this machine by a name that cannot lead elsewhere.

    A page of somebody else's, whose name leads here by now, is asked for by that name. The port
    may be another one, as where it is forwarded from another machine.

    Examples
    --------
    >>> names_this_machine([(b"host", b"localhost:8000")])
    True
    >>> names_this_machine([(b"host", b"example.org:8000")])
    False
    """
    hosts = [value for key, value in headers if key == b"host"]
    return len(hosts) == 1 and _HOST.fullmatch(hosts[0]) is not None
