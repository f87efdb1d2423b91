"""A server before another one, which counts what is asked for, and lets each request wait first.

It is a process of its own, which ends when the pipe that it reads does::

    python -m benchmarks.remote.proxy PORT_OF_THE_OTHER
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import Any

HOST = "127.0.0.1"
CONTROL = "/__control"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_DELAY = re.compile(rb"delay=([0-9.]+)")
_END = b"\r\n\r\n"
_NO_BODY = {b"204", b"304"}


class Counts:
    """What was asked for since it was last told.

    Attributes
    ----------
    n_requests, nbytes : int
        How many, and the bytes of the answers' bodies.
    n_rounds : int
        The longest chain of requests of which each was sent when the one before was answered.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.n_requests = self.nbytes = self.n_rounds = 0

    def told(self) -> bytes:
        """Return an answer with the counts."""
        counts = {name: value for name, value in vars(self).items() if name != "delay"}
        body = json.dumps(counts).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        return head.encode() + body


class Client(asyncio.Protocol):
    """A connection to whoever asks. A request comes in one piece, and has no body.

    Parameters
    ----------
    counts : Counts
        Of all connections.
    port : int
        Where the other server listens.
    """

    transport: asyncio.Transport

    def __init__(self, counts: Counts, port: int) -> None:
        self.counts = counts
        self._port, self._server = port, Server(self)
        self._raw = b""
        self._sending: set[asyncio.Future[None]] = set()

    def connection_made(self, transport: Any) -> None:
        """Keep what leads to the client."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Count each request, and hand it on when it has waited."""
        self._raw += data
        while _END in self._raw:
            head, _, self._raw = self._raw.partition(_END)
            if CONTROL.encode() in head:
                self._control(head)
                continue
            self.counts.n_requests += 1
            self._server.begin(head)
            loop = asyncio.get_running_loop()
            loop.call_later(self.counts.delay, self._hand_on, head + _END)

    def _control(self, head: bytes) -> None:
        self.transport.write(self.counts.told())
        self.counts.clear()
        if found := _DELAY.search(head):
            self.counts.delay = float(found[1])
        self.transport.close()

    def _hand_on(self, request: bytes) -> None:
        sending = asyncio.ensure_future(self._send(request))
        self._sending.add(sending)  # as the loop does not keep it
        sending.add_done_callback(self._sending.discard)

    async def _send(self, request: bytes) -> None:
        if self._server.transport is None:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: self._server, HOST, self._port)
        assert self._server.transport is not None
        self._server.transport.write(request)

    def connection_lost(self, _: Exception | None) -> None:
        """Let go of the server, too."""
        if self._server.transport:
            self._server.transport.close()

    def pause_writing(self) -> None:
        """Read no more of the server until the client has taken what is there."""
        if self._server.transport:
            self._server.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read on."""
        if self._server.transport:
            self._server.transport.resume_reading()


class Server(asyncio.Protocol):
    """The connection to the other server on which a client's requests are sent.

    Parameters
    ----------
    client : Client
        Who asks; one request after the other.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.transport: Any = None
        self._head, self._left, self._round, self._is_head = b"", 0, 0, False

    def begin(self, request: bytes) -> None:
        """Note that a request is under way."""
        self._round = self._client.counts.n_rounds + 1
        self._is_head = request.startswith(b"HEAD")

    def connection_made(self, transport: Any) -> None:
        """Keep what leads to the server."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand on what comes, and note when an answer is whole."""
        self._client.transport.write(data)
        if self._left:
            body = len(data)
        else:
            self._head += data
            if _END not in self._head:
                return
            head, _, rest = self._head.partition(_END)
            self._head, body = b"", len(rest)
            self._left = self._body_nbytes(head)
        self._left -= body
        counts = self._client.counts
        counts.nbytes += body
        if not self._left:
            counts.n_rounds = max(counts.n_rounds, self._round)

    def _body_nbytes(self, head: bytes) -> int:
        found = _LENGTH.search(head)
        has_none = self._is_head or head.split(b" ", 2)[1] in _NO_BODY or not found
        return 0 if has_none else int(found[1])  # type: ignore[index]

    def connection_lost(self, _: Exception | None) -> None:
        """End the client's connection, too."""
        self._client.transport.close()


async def serve(port: int) -> None:
    """Serve until the standard input ends; says first on which port."""
    counts, loop = Counts(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Client(counts, port), HOST, 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
