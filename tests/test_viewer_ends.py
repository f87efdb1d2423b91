"""``ptrarray view`` as a process: how it begins, who holds it up, how it ends."""

from __future__ import annotations

import io
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ptrarray
from ptrarray.cli import main
from ptrarray.look.viewer.server import Serving
from tests.support.viewing import PATIENCE, ROOT, Viewed, viewed

_MB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "large.ptr"
    with ptrarray.create(path, dtype="u1") as writer:
        writer["large"] = np.zeros(64 * _MB, "u1")
    return path


def unread(server: Viewed, target: str) -> socket.socket:
    """Ask for something, and read nothing of it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", server.port))
    client.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    client.settimeout(PATIENCE)
    return client


def resident(process: subprocess.Popen[bytes]) -> int:
    """Bytes of memory that a process has of its own."""
    fields = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in fields if line.startswith("RssAnon:"))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ends_at_once_whoever_listens(path: Path, how: signal.Signals) -> None:
    """Streams, downloads that nobody reads, connections that are only open: none holds it up."""
    with viewed(path, "--interval", 0.05) as server, server.events() as stream:
        next(iter(stream))
        target = server.path("npy", name="large")
        held = [unread(server, target) for _ in range(3)]
        held += [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        assert held[0].recv(4) == b"HTTP"  # it is on its way
        code, errors = server.end(how)
        assert errors == ""
        assert code == (0 if how == signal.SIGINT else -signal.SIGTERM)
        list(stream)  # has ended, too
        for client in held:
            client.close()


def test_streams_come_to_an_end(path: Path) -> None:
    """Nothing waits for them to be cut off."""
    with viewed(path, "--interval", 0.05) as server:
        client = unread(server, server.path("events"))
        sent = client.makefile("rb")
        while not sent.readline().startswith(b"data: "):
            pass
        assert server.end(signal.SIGINT) == (0, "")
        assert sent.read().endswith(b"0\r\n\r\n")  # the last chunk
        sent.close()
        client.close()


def test_who_never_reads_costs_no_memory_and_no_time(path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("there is no /proc")
    with viewed(path, "--interval", 0.02) as server:
        assert server.get("npy", name="large").status == 200
        before = resident(server.process)
        held = [unread(server, server.path("npy", name="large")) for _ in range(20)]
        held += [unread(server, server.path("events")) for _ in range(20)]
        for client in held:
            assert client.recv(4) == b"HTTP"
        with ptrarray.append(path) as writer, server.events() as stream:
            for number in range(50):
                writer[f"{number:05000}"] = [1]  # more of names than a connection takes
                stream.until(lambda data, n=number: data["arrays"] == n + 2)  # type: ignore[misc]
        assert server.get("npy", name="large").status == 200
        assert resident(server.process) - before < 20 * 4 * _MB
        assert server.end(signal.SIGINT) == (0, "")
        for client in held:
            client.close()


def test_a_download_goes_on_while_the_store_is_compacted(path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, 16 * _MB, "u1")
    with ptrarray.append(path) as writer:
        writer["random"] = values
        del writer["large"]
    with viewed(path, "--interval", 0.02) as server, server.events() as stream:
        client = unread(server, server.path("npy", name="random"))
        whole = client.makefile("rb")
        while whole.readline().strip():
            pass
        ptrarray.compact(path)
        stream.until(lambda data: data["nbytes"] == len(values))
        sent = io.BytesIO(whole.read(values.nbytes + 128))
        assert np.array_equal(np.load(sent), values)
        whole.close()
        client.close()


# how it begins --------------------------------------------------------------------------------------


def refused(*arguments: object, **environment: str) -> tuple[int | None, str, str]:
    """Return how a server ends that does not begin, and what it prints."""
    server = Viewed(*arguments, **environment)
    _, errors = server.process.communicate(timeout=PATIENCE)
    return server.process.returncode, server.url, errors.decode()


def test_a_port_in_use(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, url, errors = refused(path, "--port", port)
    assert (code, url) == (1, "")
    assert errors == (
        f"ptrarray: port {port} is in use: choose another one by --port, "
        "or leave it out for any that is free\n"
    )


def test_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(tmp_path / "no.ptr")]) == 1
    assert "no.ptr" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["-1", "65536", "x", "٣", ""])
def test_no_port(path: Path, port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["view", str(path), f"--port={port}"])
    assert "is not a port, from 0 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize("token", ["short", "with/slash-and-so-on", "x" * 201, "naïve-naïve-naïve"])
def test_tokens_that_are_none(
    path: Path, token: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PTRARRAY_VIEW_TOKEN", token)
    assert main(["view", str(path)]) == 1
    errors = capsys.readouterr().err
    assert "PTRARRAY_VIEW_TOKEN is to be 16 to 200 letters, digits, - and _" in errors
    assert token not in errors


@pytest.mark.parametrize("missing", ["uvicorn", "starlette"])
def test_without_the_extra(path: Path, missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None; from ptrarray.cli import main; "
        f"sys.exit(main(['view', {str(path)!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "ptrarray: a store in a browser needs starlette and uvicorn, which are not installed: "
        "pip install 'ptrarray[view]'\n"
    )


@pytest.fixture
def browser(tmp_path: Path) -> Path:
    """A browser that writes down what it is to show."""
    program = tmp_path / "browser"
    program.write_text(
        f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/asked.new\nmv {tmp_path}/asked.new {tmp_path}/asked\n'
    )
    program.chmod(0o700)
    return program


def test_a_browser_gets_a_ticket_for_once(path: Path, browser: Path) -> None:
    """Whoever sees the browser's command line has nothing that leads to the store any more."""
    with viewed(path, "--interval", 0.02, "--open", BROWSER=str(browser)) as server:
        asked = browser.with_name("asked")
        with server.events() as stream, ptrarray.append(path) as writer:
            for number in range(10_000):  # the browser has a process of its own
                writer[str(number)] = [1]
                stream.until(lambda data, n=number: data["arrays"] >= n + 2)  # type: ignore[misc]
                if asked.exists():
                    break
        url = asked.read_text()
        target = "/" + url.split("/", 3)[3]
        assert server.token not in url
        assert server.ask(target, "HEAD").status == 404
        answer = server.ask(target)
        assert (answer.status, answer.headers["location"]) == (303, server.root)
        assert server.ask(target).status == 404
        assert server.ask(server.root, "HEAD").status == 200


def test_connections_hold_nothing_back(path: Path) -> None:
    """Else the body of each answer waits until the browser's system has acknowledged its head."""
    serving = Serving(lambda: ptrarray.open(path), "a store", "x" * 16)
    address = serving._socket.getsockname()
    with serving._socket, socket.create_connection(address), serving._socket.accept()[0] as made:
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    serving._current.close()
