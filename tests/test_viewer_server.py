"""A store in a browser: who gets in, what every answer says, names that mean something elsewhere."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.look.viewer import arrays
from ptrarray.look.viewer.current import Current
from ptrarray.look.viewer.guarding import names_this_machine
from ptrarray.look.viewer.server import Viewer
from tests.support.viewing import Answer, Viewed, viewed

NAMES = [
    *("", " ", "a/b", "..", "../../etc/passwd", "%2F", "%00", "\0", "\n", "\r\nx: y", "a\tb"),
    *("?#&+=;", "<img src=x onerror=alert(1)>", "</script>", "'\"", "\\", "日本", "\u202ea", "😀"),
    *("\ufeff", "\ud7ff\ue000", "x" * 65_536, "\x7f"),
]
ENDPOINTS = ["store", "names", "array", "statistics", "meta", "npy", "events"]


def content(number: int) -> Any:
    return np.ma.MaskedArray(np.arange(number, number + 5), np.arange(5) == number % 5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewed]:
    path = tmp_path_factory.mktemp("served") / "names.ptr"
    attrs = {"<b>": "</b>", "n": 2**63, "raw": b"\xff", "nan": float("nan")}
    with ptrarray.create(path, dtype="i8", masked=True, attrs=attrs) as writer:
        arrays = {name: content(number) for number, name in enumerate(NAMES)}
        writer.write(arrays, meta={name: {"<i>": [name[:100], b"\0"]} for name in NAMES})
    (path.parent / "secret").write_text("secret")
    with viewed(path, "--interval", 0.05) as server:
        yield server


def is_guarded(answer: Answer) -> bool:
    policy = answer.headers["content-security-policy"]
    return (
        "default-src 'none'" in policy
        and "unsafe" not in policy
        and answer.headers["x-content-type-options"] == "nosniff"
        and answer.headers["referrer-policy"] == "no-referrer"
        and answer.headers["cache-control"] == "no-store"
        and "server" not in answer.headers
    )


# who gets in ----------------------------------------------------------------------------------------


def test_every_answer_has_the_headers(server: Viewed) -> None:
    targets = ["", "nothing", "index.html", "api/", "api/store", "api/names", "api/npy?name=no"]
    answers = [server.ask(server.root + target) for target in targets]
    answers += [server.ask("/"), server.ask("/favicon.ico"), server.ask(server.root, "POST")]
    answers += [server.ask(server.root, Host="example.org"), server.get("npy", name="..")]
    answers += [server.ask(server.root + target, "HEAD") for target in targets]
    assert {answer.status for answer in answers} >= {200, 204, 400, 404, 405}
    assert all(map(is_guarded, answers))
    with server.events() as stream:
        headers = {key.lower(): value for key, value in stream.response.getheaders()}
        assert is_guarded(Answer(200, headers, b""))


def test_nobody_else_learns_what_is_there(server: Viewed) -> None:
    wrong = ["/", "//", "/x/", f"/{server.token}", f"/{server.token}x/", f"/{server.token[:-1]}/"]
    wrong += [f"/{server.token[:-1]}%E9/", f"/%C3%A9{server.token}/api/store", f"//{server.token}/"]
    wrong += ["/api/store", "/index.html", f"/{server.token.swapcase()}/api/store", "/%ED%A0%80/"]
    answers = [server.ask(target) for target in wrong]
    answers += [server.ask(f"{server.root}nothing"), server.ask("/x/", "POST")]
    assert {(answer.status, answer.body) for answer in answers} == {(404, b"not found")}


@pytest.mark.parametrize("target", ["../secret", "../../secret", "%2e%2e/secret", "..%2fsecret"])
@pytest.mark.parametrize("before", ["", "api/", "api/npy/", "./", "/", "static/", "index.html/"])
def test_no_path_leads_out(server: Viewed, before: str, target: str) -> None:
    answer = server.ask(server.root + before + target)
    assert (answer.status, answer.body) == (404, b"not found")


@pytest.mark.parametrize(
    ("hosts", "is_known"),
    [
        (["127.0.0.1"], True),
        (["127.0.0.1:8000"], True),  # forwarded from another machine
        (["LocalHost:1"], True),
        (["[::1]:65535"], True),
        ([], False),
        ([""], False),
        (["example.org"], False),
        (["127.0.0.1.example.org"], False),
        (["127.0.0.1:8000.example.org"], False),
        (["localhost:"], False),
        (["localhost@example.org"], False),
        (["127.0.0.1", "example.org"], False),
        (["127.0.0.1", "127.0.0.1"], False),
    ],
)
def test_hosts(server: Viewed, hosts: list[str], is_known: bool) -> None:
    lines = [f"GET {server.root}api/names HTTP/1.1", *(f"Host: {host}" for host in hosts)]
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        status = client.makefile("rb").readline().split()[1]
    assert (status == b"200") == is_known
    assert status in (b"200", b"400")


def test_one_host() -> None:
    """Whatever the server below lets through."""
    known = (b"host", b"localhost")
    assert names_this_machine([known, (b"accept", b"*/*")])
    assert not names_this_machine([known, known])
    assert not names_this_machine([known, (b"host", b"example.org")])


def test_hosts_in_place_of_a_path(server: Viewed) -> None:
    target = f"http://example.org{server.root}api/store"
    assert server.ask(target, Host="localhost").status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"])
def test_nothing_but_reading(server: Viewed, method: str) -> None:
    for target in [server.root, server.path("store"), server.path("npy", name="..")]:
        answer = server.ask(target, method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_only_this_machine_is_heard(server: Viewed) -> None:
    with socket.socket() as other:  # what listens at all addresses would have this one, too
        other.bind(("127.0.0.2", server.port))


@pytest.mark.parametrize("endpoint", [*ENDPOINTS, ""])
def test_heads(server: Viewed, endpoint: str) -> None:
    target = server.path(endpoint, name="..") if endpoint else server.root
    answer = server.ask(target, "HEAD")
    assert answer.body == b""
    if endpoint != "events":
        whole = server.ask(target)
        assert answer.status == whole.status
        assert answer.headers["content-length"] == str(len(whole.body))


# names that mean something elsewhere ----------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(NAMES)))
def test_names_through_every_endpoint(server: Viewed, number: int) -> None:
    name = NAMES[number]
    array = server.get("array", name=name)
    assert (array.status, array.json["shape"]) == (200, [5])
    assert server.get("statistics", name=name).status == 200
    assert name[:20].strip() in str(server.get("meta", name=name).json) or not name.isprintable()
    for mask, wanted in ((0, np.ma.getdata), (1, np.ma.getmaskarray)):
        answer = server.get("npy", name=name, mask=mask)
        assert np.array_equal(np.load(io.BytesIO(answer.body)), wanted(content(number)))
        saved = answer.headers["content-disposition"]
        assert saved.isascii()
        assert not set(saved.partition("''")[2]) - set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-~%"
        )
        assert "%2F" not in saved
        assert len(saved) < 1200


def test_all_answers_are_data(server: Viewed) -> None:
    """Nothing that a store holds comes as something that a browser would show by itself."""
    for endpoint in ENDPOINTS[:-2]:
        answer = server.get(endpoint, name="<img src=x onerror=alert(1)>")
        assert answer.headers["content-type"] == "application/json"
        assert answer.body.isascii()
        json.loads(answer.body, parse_constant=lambda text: pytest.fail(text))
    found = server.get("names", q="", limit=1000).json
    assert found["names"] == NAMES
    assert found["done"]
    assert server.get("store").json["attrs"][0] == ["<b>", "</b>"]


@pytest.mark.parametrize(
    "asked", [{"name": "no"}, {}, {"name": "%ED%A0%80"}, {"name": "x" * 70_000}]
)
def test_names_that_are_not_there(server: Viewed, asked: dict[str, str]) -> None:
    if asked == {}:  # which is a name, too
        assert server.get("npy").status == 200
        return
    for endpoint in ("array", "statistics", "meta", "npy"):
        answer = server.get(endpoint, **asked)
        assert answer.status == 404
        assert answer.json["error"]["kind"] == "UnknownNameError"


@pytest.mark.parametrize(
    "asked",
    [
        {"start": "-1", "stop": "x", "width": "1e9", "at": "٣"},
        {"start": "9" * 30, "stop": "9" * 5000, "width": "0", "at": "9" * 18},
        {"view": "no"},
    ],
)
def test_what_makes_no_sense(server: Viewed, asked: dict[str, str]) -> None:
    assert server.get("array", name="..", **asked).status in (200, 422)
    assert server.get("names", limit="-1", after="no", **asked).status in (200, 422)


def test_two_hundred_at_once(server: Viewed) -> None:
    targets = [server.path("array", name=name) for name in NAMES[:10]]
    targets += [server.path("npy", name="..", mask=1), server.path("names", q="a")]
    targets += [server.path("store"), server.path("statistics", name=".."), f"{server.root}nothing"]
    with ThreadPoolExecutor(200) as threads:
        statuses = list(
            threads.map(lambda n: server.ask(targets[n % len(targets)]).status, range(200))
        )
    assert [status for n, status in enumerate(statuses) if (n + 1) % len(targets)] == [
        200 for n in range(200) if (n + 1) % len(targets)
    ]


async def asked(app: Any, endpoint: str, query: bytes) -> int:
    """Ask an application, and return the status."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    path = f"/api/{endpoint}"
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query, "headers": []}
    await app(scope, asyncio.Event().wait, send)
    return int(sent[0]["status"])


def test_statistics_hold_no_page_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many walk through large arrays, others are looked at."""
    with ptrarray.create(tmp_path / "a.ptr") as writer:
        writer["a"] = [1.0]
    is_over = threading.Event()
    monkeypatch.setattr(arrays, "statistics", lambda *_, **__: is_over.wait() and [])
    current = Current(partial(ptrarray.open, tmp_path / "a.ptr"))
    app = Viewer(current, "a", 1.0, always=False).app()

    async def all_of_it() -> list[int]:
        walking = [asyncio.create_task(asked(app, "statistics", b"name=a")) for _ in range(20)]
        for _ in range(20):
            await asyncio.sleep(0)  # so that they have begun
        try:
            async with asyncio.timeout(20):
                looked = [await asked(app, what, b"name=a") for what in ("array", "meta")]
        finally:
            is_over.set()
        return looked + await asyncio.gather(*walking)

    assert asyncio.run(all_of_it()) == [200] * 22
    current.close()
