"""A store that lies elsewhere in a browser: few requests, and what is changed while it is sent."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

import numpy as np
import pytest

import ptrarray
from tests.support.servers import Nginx
from tests.support.viewing import PATIENCE, viewed

_MB = 1 << 20


def fill(path: Path, value: int) -> None:
    with ptrarray.create(path, dtype="u1", mode="w") as writer:
        writer["large"] = np.full(64 * _MB, value, "u1")
        writer["small"] = [value]
    ptrarray.publish(path)


def test_nobody_is_asked_while_nobody_looks(tmp_path: Path) -> None:
    (tmp_path / "nginx").mkdir()
    fill(tmp_path / "a.ptr", 1)
    with (
        Nginx(tmp_path / "nginx") as nginx,
        viewed(nginx.publish(tmp_path / "a.ptr"), "--interval", 0.01) as server,
    ):
        assert server.get("store").json["path"] == nginx.publish(tmp_path / "a.ptr")
        nginx.requests()
        for _ in range(20):  # each of which would be time for a look
            assert server.get("store").status == 200
        assert nginx.requests() == []
        with server.events() as stream:
            made = next(iter(stream))
            fill(tmp_path / "a.ptr", 2)
            stream.until(lambda data: data["commit"] != made.data["commit"] and not data["error"])
        assert nginx.requests()
        assert server.get("npy", name="small").body[-1:] == b"\2"


def test_what_changes_while_it_is_sent_breaks_off_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    fill(path, 1)
    with viewed(path.as_uri(), "--interval", 0.05) as server, server.events() as stream:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.1", server.port))
        target = server.path("npy", name="large")
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.length == 64 * _MB + 128
        fill(path, 2)
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
        notice = stream.until(lambda data: data["notice"] is not None).data["notice"]
        assert (notice["name"], notice["kind"], notice["status"]) == (
            "large",
            "StoreChangedError",
            409,
        )
        client.close()
        # What is asked for next is what is there now.
        assert server.get("npy", name="small").body[-1:] == b"\2"
