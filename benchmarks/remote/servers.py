"""A real web server for stores, and before it one that counts and delays."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness.system import ROOT
from benchmarks.remote.proxy import CONTROL, HOST

REQUESTS, KIB, ROUNDS = "requests", "KiB", "round trips"
# While round trips are counted, each request waits so long: all that are sent at once are sent before one is answered.
ROUND_SECONDS = 0.4
QUICK_VARIABLE, QUICK_SHARE = "PTRARRAY_BENCHMARKS_QUICK", 0.02  # of the time that requests wait

_NGINX = """
daemon off; worker_processes 1; pid pid; error_log error.log; {user}
events {{ worker_connections 4096; }}
http {{
    default_type application/octet-stream; sendfile on; keepalive_requests 1000000; access_log off;
    client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
    server {{ listen {host}:{port} backlog=1024; root {root}; }}
}}
"""


class Asked(NamedTuple):
    """What something cost a server: see `proxy.Counts`."""

    n_requests: int
    nbytes: int
    n_rounds: int


class Servers:
    """Two URLs that lead to the same files.

    Attributes
    ----------
    direct : str
        URL of nginx.
    counted : str
        URL of what counts, and delays.
    """

    def __init__(self, port: int, proxy_port: int) -> None:
        self._port = proxy_port
        self.direct, self.counted = f"http://{HOST}:{port}", f"http://{HOST}:{proxy_port}"

    def asked(self, delay: float | None = None) -> Asked:
        """Return what was asked since the last call; from now on, each request waits so long."""
        if delay and QUICK_VARIABLE in os.environ:
            delay *= QUICK_SHARE
        connection = http.client.HTTPConnection(HOST, self._port)
        connection.request("GET", CONTROL if delay is None else f"{CONTROL}?delay={delay:f}")
        found = json.loads(connection.getresponse().read())
        connection.close()
        return Asked(**found)

    def cost(self, unit: str, action: Callable[[], Any]) -> float:
        """Do something, and return its requests, KiB or round trips."""
        found = self.counts(action, ROUND_SECONDS if unit == ROUNDS else 0)
        return {REQUESTS: found.n_requests, KIB: found.nbytes / 1024, ROUNDS: found.n_rounds}[unit]

    def milliseconds(self, delay: float, action: Callable[[], Any]) -> float:
        """Return how long something takes if each request waits so many seconds."""
        self.asked(delay)
        began = time.perf_counter()
        action()
        milliseconds = (time.perf_counter() - began) * 1e3
        self.asked(0)
        return milliseconds

    def counts(self, action: Callable[[], Any], delay: float = 0) -> Asked:
        """Do something, and return what it asked for."""
        self.asked(delay)
        action()
        return self.asked(0)


@contextmanager
def served(folder: Path) -> Iterator[Servers]:
    """Serve what is in ``www`` of a folder; what the servers keep is beside it."""
    (folder / "www").mkdir()
    (folder / "nginx").mkdir()
    with _nginx(folder / "www", folder / "nginx") as port, _proxy(port) as proxy_port:
        yield Servers(port, proxy_port)


@contextmanager
def _nginx(www: Path, folder: Path) -> Iterator[int]:
    program = shutil.which("nginx", path=f"{os.environ.get('PATH')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise SystemExit("this needs nginx: apt install nginx-light")
    # It takes a socket that listens already, as when it is replaced by a newer nginx.
    with socket.create_server((HOST, 0), backlog=1024) as listening:
        port, fd = listening.getsockname()[1], listening.fileno()
        user = "" if os.geteuid() else "user root;"  # who may read what was written here
        text = _NGINX.format(host=HOST, port=port, root=www.resolve(), user=user)
        (folder / "nginx.conf").write_text(text, encoding="utf-8")
        nginx = subprocess.Popen(
            [program, "-p", str(folder), "-e", "error.log", "-c", "nginx.conf"],
            env={**os.environ, "NGINX": f"{fd};"},
            pass_fds=[fd],
            stderr=subprocess.DEVNULL,
        )
    try:
        yield port
    finally:
        nginx.terminate()
        nginx.wait()


@contextmanager
def _proxy(port: int) -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.remote.proxy", str(port)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as proxy:
        assert proxy.stdout is not None
        yield int(proxy.stdout.readline())
        # Its standard input is closed now, which ends it.
