"""A web server of a few files that goes wrong: at its n-th request, once or from then on."""

from __future__ import annotations

import gzip
import hashlib
import re
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import NamedTuple
from urllib.parse import unquote

import pytest

_DATE = "Wed, 01 Jan 2025 00:00:00 GMT"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Asked(NamedTuple):
    """A request: its method, its path with whatever is behind a question mark, its headers."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class Exchange:
    """A request, and what a sound server says to it.

    Attributes
    ----------
    whole : bytes
        The file.
    start, end : int
        The range that is asked for, cut at the end of the file.
    headers : dict of str to str
        Those of the right answer.
    is_over : bool
        Whether the connection ends with this.
    """

    connection: socket.socket
    asked: Asked
    whole: bytes
    start: int
    end: int
    headers: dict[str, str]
    released: threading.Event
    is_over: bool = False

    @property
    def body(self) -> bytes:
        return self.whole[self.start : self.end]

    @property
    def nbytes(self) -> int:
        return self.end - self.start

    def send(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Send an answer. A header that is empty is left out."""
        given = {"Content-Length": str(len(body))} | dict(headers)
        lines = [f"HTTP/1.1 {status} As Told"]
        lines += [f"{name}: {value}" for name, value in given.items() if value]
        self.connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def right(self) -> None:
        """Send the right answer."""
        self.send(206 if "range" in self.asked.headers else 200, self.headers, self.body)

    def but(self, body: bytes | None = None, **headers: str) -> None:
        """Send the right answer, but for its body or some headers."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.send(206, self.headers | named, self.body if body is None else body)

    def half(self) -> None:
        """Send the right answer up to the middle of its body."""
        self.but(self.body[: self.nbytes // 2], Content_Length=str(max(self.nbytes, 2)))

    def close(self) -> None:
        """End the connection in good order."""
        self.is_over = True

    def reset(self) -> None:
        """Break the connection off."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        self.is_over = True

    def stall(self) -> None:
        """Say nothing more until the server ends."""
        self.released.wait()
        self.is_over = True

    def range_from(self, start: int, end: int) -> str:
        """Return a header that names a range."""
        return f"bytes {start}-{end - 1}/{len(self.whole)}"


Fault = Callable[[Exchange], object]


def status(number: int) -> Fault:
    """Answer with a status alone, and a page about it."""
    return lambda it: it.send(number, {}, b"<html>this is a page about what went wrong</html>")


def then(*faults: Fault) -> Fault:
    """Do one after the other."""
    return lambda it: [fault(it) for fault in faults]


def _whole(it: Exchange) -> None:
    status = 200 if it.whole else 404  # what is asked for may not be there
    it.send(status, it.headers | {"Content-Range": ""}, it.whole)


def _endless(it: Exchange) -> None:
    it.but(b"", Content_Length=str(1 << 40))
    with suppress(OSError):
        while not it.released.is_set():
            it.connection.sendall(bytes(1 << 20))
    it.is_over = True


def _chunked(it: Exchange, body: bytes, end: bytes = b"0\r\n\r\n") -> None:
    framed = b"%x\r\n%b\r\n" % (len(body), body) + end
    it.but(framed, Content_Length="", Transfer_Encoding="chunked")


def _shifted(it: Exchange) -> None:
    start, end = it.start + 1, it.end + 1
    it.but(it.whole[start:end].ljust(it.nbytes), Content_Range=it.range_from(start, end))


def _inner(it: Exchange) -> None:
    """Answer with an honest range, which is shorter than what was asked for."""
    end = it.start + max(1, it.nbytes // 2)
    it.but(it.whole[it.start : end], Content_Range=it.range_from(it.start, end))


def _replaced(it: Exchange) -> None:
    """Answer from another file of the same size, whose ETag is another one, whatever was asked."""
    it.but(bytes(it.nbytes), ETag='"replaced"')


def _resized(it: Exchange) -> None:
    header = it.headers["Content-Range"].rpartition("/")[0] + f"/{len(it.whole) + 8}"
    it.but(Content_Range=header)


class Kind(NamedTuple):
    """A fault, whether it passes when it is asked again, and how it shows if it does not."""

    fault: Fault
    status: int | None = None
    error: str = "RemoteError"


# What a server of the worst kind does. Those below are over when the client asks again.
PASSING: dict[str, Kind] = {
    **{f"status {number}": Kind(status(number), number) for number in (408, 425, 429)},
    **{f"status {number}": Kind(status(number), number) for number in (500, 502, 503, 504, 520)},
    "whole": Kind(_whole, 200),
    "no body": Kind(lambda it: it.but(b"")),
    "short": Kind(lambda it: it.but(it.body[: it.nbytes // 2])),
    "long": Kind(lambda it: it.but(it.body + b"more")),
    "inner range": Kind(_inner),
    "shifted range": Kind(_shifted),
    "no range": Kind(lambda it: it.but(Content_Range="")),
    "range of no size": Kind(
        lambda it: it.but(Content_Range=it.headers["Content-Range"].rpartition("/")[0] + "/*")
    ),
    "range of nonsense": Kind(lambda it: it.but(Content_Range="bytes twelve")),
    "gzip": Kind(lambda it: it.but(gzip.compress(it.body), Content_Encoding="gzip")),
    "deflate of one size": Kind(
        lambda it: it.but(
            zlib.compress(it.body).ljust(it.nbytes)[: it.nbytes], Content_Encoding="deflate"
        )
    ),
    "close": Kind(Exchange.close),
    "reset": Kind(Exchange.reset),
    "half, close": Kind(then(Exchange.half, Exchange.close)),
    "half, reset": Kind(then(Exchange.half, Exchange.reset)),
    "stall": Kind(Exchange.stall),
    "half, stall": Kind(then(Exchange.half, Exchange.stall)),
    "endless": Kind(_endless),
    "chunked, half": Kind(
        then(lambda it: _chunked(it, it.body[: it.nbytes // 2], b""), Exchange.close)
    ),
    "nonsense": Kind(
        then(lambda it: it.connection.sendall(b"\x16\x03\x01 good day\r\n\r\n"), Exchange.close)
    ),
    "redirected in circles": Kind(lambda it: it.send(302, {"Location": it.asked.path})),
}
# And those where asking again is of no use.
LASTING: dict[str, Kind] = {
    **{f"status {number}": Kind(status(number), number) for number in (400, 401, 403, 405, 501)},
    "status 404": Kind(status(404), 404, "missing"),
    "status 410": Kind(status(410), 410, "missing"),
    "status 416": Kind(status(416), 416, "changed"),
    "status 412": Kind(status(412), 412, "changed"),
    "replaced": Kind(_replaced, None, "changed"),
    "resized": Kind(_resized, None, "changed"),
    "no tag": Kind(lambda it: it.but(ETag=""), None, "changed"),
}
FAULTS = PASSING | LASTING


@dataclass
class FaultServer:
    """Serves the files of a folder, or of a mapping, and goes wrong when it is armed.

    Attributes
    ----------
    url : str
        Of the folder.
    asked : list of Asked
        All requests since the last `arm`.
    """

    files: Mapping[str, bytes] | Path
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    fault: Fault = Exchange.right
    at: int = 0
    n_times: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def arm(self, fault: Fault = Exchange.right, at: int = 1, n_times: int = 1 << 60) -> None:
        """Go wrong so many times from the n-th request on, counted from 1; forget the requests."""
        with self.lock:
            self.fault, self.at, self.n_times = fault, at, n_times
            self.asked.clear()

    def answer(self, connection: socket.socket, asked: Asked) -> bool:
        """Answer a request. Return whether the connection goes on."""
        with self.lock:
            self.asked.append(asked)
            is_due = self.at <= len(self.asked) < self.at + self.n_times
        exchange = self.exchange(connection, asked)
        (self.fault if is_due else self.soundly)(exchange)
        return not exchange.is_over

    def exchange(self, connection: socket.socket, asked: Asked) -> Exchange:
        """Return what a request is about."""
        whole = self.content(unquote(asked.path.partition("?")[0].lstrip("/"))) or b""
        found = _RANGE.match(asked.headers.get("range", ""))
        start = int(found[1]) if found else 0
        end = min(int(found[2]) + 1, len(whole)) if found and found[2] else len(whole)
        headers = {"ETag": tag_of(whole), "Accept-Ranges": "bytes", "Last-Modified": _DATE}
        if found:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(whole)}"
        return Exchange(connection, asked, whole, start, end, headers, self.released)

    def soundly(self, it: Exchange) -> None:
        """Answer as a sound server does."""
        tag = it.headers["ETag"]
        if self.content(unquote(it.asked.path.partition("?")[0].lstrip("/"))) is None:
            it.send(404, {})
        elif it.asked.headers.get("if-match", tag) != tag:
            it.send(412, {})
        elif "range" in it.asked.headers and it.start >= len(it.whole):
            it.send(416, {"Content-Range": f"bytes */{len(it.whole)}"})
        else:
            it.right()

    def content(self, path: str) -> bytes | None:
        """Return what is in a file, if there is one."""
        if isinstance(self.files, Path):
            file = self.files / path
            return file.read_bytes() if file.is_file() else None
        return self.files.get(path)


def tag_of(whole: bytes) -> str:
    """Return the ETag of a file. No CRC-32, which is the same for all that end with their own."""
    return f'"{hashlib.md5(whole).hexdigest()}"'


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256
    faulty: FaultServer


class _Handler(StreamRequestHandler):
    server: _Server
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with suppress(OSError):
            while (line := self.rfile.readline()).strip():
                method, path, _ = line.decode("latin1").split(" ")
                headers = {}
                while header := self.rfile.readline().decode("latin1").strip():
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                if not self.server.faulty.answer(self.connection, Asked(method, path, headers)):
                    break


@contextmanager
def trusting_no_server() -> Iterator[None]:
    """Let clients know one certificate in place of all that the machine has.

    Each client that is made reads these anew, for as long as all it then asks a server of this machine,
    which has none.
    """
    certificate = Path(__file__).with_name("no_server.pem")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificate))
        patch.delenv("SSL_CERT_DIR", raising=False)
        yield


@contextmanager
def serving(files: Mapping[str, bytes] | Path) -> Iterator[FaultServer]:
    """Serve files at a port of this machine for the length of a ``with`` block."""
    with trusting_no_server(), _Server(("127.0.0.1", 0), _Handler) as server:
        server.faulty = FaultServer(files, f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server.faulty
        finally:
            server.faulty.released.set()
            server.shutdown()
            thread.join()
