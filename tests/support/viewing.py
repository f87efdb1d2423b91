"""A store that is looked at in a browser: the process that serves it, and what is asked of it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode, urlsplit

ROOT = Path(__file__).parents[2]
PATIENCE = 60  # seconds, for what takes a moment


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Event(NamedTuple):
    """An event of a stream."""

    id: str
    data: dict[str, Any]


class Stream:
    """A stream of events, read as a browser reads it."""

    def __init__(self, connection: http.client.HTTPConnection, path: str, last: str | None) -> None:
        headers = {} if last is None else {"Last-Event-ID": last}
        connection.request("GET", path, headers=headers)
        self.connection = connection
        self.response = connection.getresponse()
        assert self.response.status == 200
        assert self.response.headers["content-type"].startswith("text/event-stream")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def __iter__(self) -> Iterator[Event]:
        fields: dict[str, str] = {}
        for line in iter(self.response.readline, b""):
            key, _, value = line.decode().rstrip("\n").partition(": ")
            if key:
                fields[key] = value
            elif "data" in fields:
                yield Event(fields["id"], json.loads(fields["data"]))
                fields = {}

    def until(self, is_so: Callable[[dict[str, Any]], bool]) -> Event:
        """Return the first event of which something is so."""
        return next(event for event in self if is_so(event.data))


class Viewed:
    """A process of ``ptrarray view``."""

    def __init__(self, *arguments: object, **environment: str) -> None:
        command = [sys.executable, "-m", "ptrarray", "view", *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().decode().strip()
        parts = urlsplit(self.url)
        self.root, self.port = parts.path, parts.port or 0
        self.token = self.root.strip("/")

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection of its own."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(self, target: str, method: str = "GET", **headers: str) -> Answer:
        """Ask for whatever path, as it is."""
        connection = self.connection()
        try:
            connection.putrequest(method, target, skip_host="Host" in headers)
            for key, value in headers.items():
                connection.putheader(key, value)
            connection.endheaders()
            response = connection.getresponse()
            known = {key.lower(): value for key, value in response.getheaders()}
            return Answer(response.status, known, response.read())
        finally:
            connection.close()

    def path(self, endpoint: str, **asked: object) -> str:
        """Return the path of something to be asked for."""
        query = urlencode({key: str(value) for key, value in asked.items()})
        return f"{self.root}api/{endpoint}?{query}"

    def get(self, endpoint: str, **asked: object) -> Answer:
        """Ask for something below ``api/``."""
        return self.ask(self.path(endpoint, **asked))

    def events(self, after: str | None = None, **asked: object) -> Stream:
        """Open a stream of events, as a browser does that knows all up to one."""
        return Stream(self.connection(), self.path("events", **asked), after)

    def end(self, how: int) -> tuple[int, str]:
        """Send a signal; return the exit code and what was printed to stderr."""
        self.process.send_signal(how)
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors.decode()


@contextmanager
def viewed(*arguments: object, **environment: str) -> Iterator[Viewed]:
    """Serve a store for a ``with`` block."""
    server = Viewed(*arguments, **environment)
    try:
        yield server
    finally:
        if server.process.returncode is None:
            server.process.kill()
            server.process.communicate()
