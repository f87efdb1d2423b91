"""Who gets in: a token, a host, methods that read; and what every answer says to a browser."""

from __future__ import annotations

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


class Guarded:
    """An application that only those reach who know the token, and only as this machine.

    Outside of everything else, so that errors and streams have the headers, too.

    Parameters
    ----------
    app : ASGI application
        Asked for paths without the token.
    token : str
        First segment of each path.
    port : int
        On which it is served.
    """

    def __init__(self, app: App, token: str, port: int) -> None:
        self._app, self._token, self._port = app, token.encode(), port

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        if not is_host_of(scope["headers"], self._port):
            await _refuse(send_with_headers, 400, b"unknown host")
            return
        token, _, rest = scope["path"].removeprefix("/").partition("/")
        # Of bytes, as it compares no text outside ASCII.
        if not secrets.compare_digest(token.encode("utf-8", "surrogatepass"), self._token):
            await _refuse(send_with_headers, 404, b"not found")
        elif scope["method"] not in _METHODS:
            allow = (b"allow", b"GET, HEAD")
            await _refuse(send_with_headers, 405, b"method not allowed", allow)
        else:
            inner = {**scope, "path": f"/{rest}", "raw_path": b""}
            await self._app(inner, receive, send_with_headers)


def is_host_of(headers: list[tuple[bytes, bytes]], port: int) -> bool:
    """Tell whether a request names this machine and the port, once: a page elsewhere names its own.

    Examples
    --------
    >>> is_host_of([(b"host", b"localhost:8000")], 8000)
    True
    >>> is_host_of([(b"host", b"example.org:8000")], 8000)
    False
    """
    hosts = [value.lower() for key, value in headers if key == b"host"]
    known = {b"%s:%d" % (name, port) for name in (b"127.0.0.1", b"localhost", b"[::1]")}
    return len(hosts) == 1 and hosts[0] in known


async def _refuse(send: Send, status: int, text: bytes, *headers: tuple[bytes, bytes]) -> None:
    own = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": text})
