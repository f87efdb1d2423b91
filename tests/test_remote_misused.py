"""What newcomers do wrong with URLs: each error says what was given, and what to do."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.errors import BadInputError, CorruptStoreError, RemoteError, StoreNotFoundError
from tests.support.fault_server import FaultServer, serving

pytest.importorskip("obstore")
pytestmark = pytest.mark.usefixtures("no_syncs")
SECRET = "s3cret"
PAGE = b"<!DOCTYPE html><html><body>Sorry, there is no such page</body></html>"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "there" / "a.ptr"
    path.parent.mkdir()
    with ptrarray.create(path, dtype="f4") as writer:
        writer.write({"utt1": np.arange(3)})
    return path


@pytest.fixture
def server(path: Path) -> Iterator[FaultServer]:
    with serving(path.parent) as server:
        yield server


@pytest.mark.parametrize("name", ["index.msgpack", "journal.msgpack", "data.bin"])
def test_a_file_of_a_store_is_none(server: FaultServer, name: str) -> None:
    url = f"{server.url}/a.ptr"
    with pytest.raises(StoreNotFoundError, match=f"is a folder, .*: open {re.escape(url)}$"):
        ptrarray.open(f"{url}/{name}")


def test_a_page_for_what_is_not_there(tmp_path: Path) -> None:
    with serving({f"a.ptr/{name}": PAGE for name in ("index.msgpack", "data.bin")}) as server:
        why = r"a.ptr/index.msgpack .* but with b'<!DOCTYPE html><', as web pages do: is the URL"
        with pytest.raises(CorruptStoreError, match=why):
            ptrarray.open(f"{server.url}/a.ptr")
    (tmp_path / "index.msgpack").write_bytes(b"\xc0" * 64)
    with pytest.raises(CorruptStoreError, match=r"with b'\\xc0.*'$"):
        ptrarray.open(f"{tmp_path.as_uri()}")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://host/a.ptr", "ftp://host cannot be .*: it reads https, http, s3.* fsspec$"),
        ("file://a.ptr", "file://a.ptr has to be of a full path, as file:///data"),
        ("file:///", "file:// has to be of a full path"),
        ("http:///a.ptr", "empty host"),
    ],
)
def test_urls_that_lead_nowhere(url: str, why: str) -> None:
    with pytest.raises(BadInputError, match=why):
        ptrarray.open(url)


@pytest.mark.parametrize("url", ["host.org/a.ptr", "127.0.0.1:80/b/a.ptr", "http:host/a.ptr"])
def test_a_scheme_that_was_left_out(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreNotFoundError, match="nor the one above it; a URL begins with https"):
        ptrarray.open(url)
    with pytest.raises(StoreNotFoundError, match=r"there is no such directory$"):
        ptrarray.open("a.ptr")


def test_names_of_obstore_are_for_urls(path: Path) -> None:
    with pytest.raises(BadInputError, match=r"a\.ptr is no URL, as https"):
        ptrarray.open(path, storage={"region": SECRET})


@pytest.mark.parametrize(
    "given",
    [
        {"client_options": {"timeout": SECRET}},
        {"client_options": {"default_headers": SECRET}},
        {"client_options": SECRET},
    ],
)
def test_values_are_not_part_of_errors(given: dict[str, Any], server: FaultServer) -> None:
    with pytest.raises(BadInputError, match=f"storage={{{next(iter(given))}}}: ") as raised:
        ptrarray.open(f"{server.url}/a.ptr", storage=given)
    assert SECRET not in str(raised.value)


def test_a_backend_that_is_none(server: FaultServer) -> None:
    backend: Any = "memory"
    with pytest.raises(BadInputError, match="backend 'memory' is not one of"):
        ptrarray.open(f"{server.url}/a.ptr", backend=backend)
    assert not server.asked


def test_bytes(server: FaultServer) -> None:
    given: Any = os.fsencode(f"{server.url}/a.ptr")
    assert ptrarray.open(given)["utt1"].tolist() == [0, 1, 2]


def test_nested_objects_are_loaded(path: Path, server: FaultServer) -> None:
    nested = {"a": [np.arange(3), {"b": np.ones(4)}], "c": "text"}
    ptrarray.dump(nested, path.parent / "n.ptr")
    ptrarray.pack(path.parent / "n.ptr", path.parent / "n.tar")
    for name in ("n.ptr", "n.tar"):
        loaded = ptrarray.load(f"{server.url}/{name}")
        assert (loaded["a"][0].tolist(), loaded["c"]) == ([0, 1, 2], "text")
        assert loaded["a"][1]["b"].tolist() == [1] * 4
    assert ptrarray.classes_in(f"{server.url}/n.ptr") == []
    with pytest.raises(BadInputError, match="dump did not write it"):
        ptrarray.load(f"{server.url}/a.ptr")


@pytest.mark.parametrize("name", ["endpoint", "AWS_ENDPOINT_URL"])
@pytest.mark.parametrize("value", [f"{SECRET}:9000", "http//host", "http://", ""])
def test_endpoints_without_a_scheme(name: str, value: str) -> None:
    given = {name: value, "skip_signature": True}
    with pytest.raises(BadInputError, match=f"'{name}' of storage= has to be a URL") as raised:
        ptrarray.open("s3://bucket/a.ptr", storage=given)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("value", ["host:9000", "ftp://host"])
def test_an_endpoint_of_the_environment(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", value)
    with pytest.raises(RemoteError, match=r"s3://bucket/a.ptr/index.msgpack .*is no URL, as"):
        ptrarray.open("s3://bucket/a.ptr", storage={"skip_signature": True})


class Files:
    """A file system as fsspec's for http is where a server refuses: no file is there, it says."""

    protocol = "http"
    error: BaseException

    def _strip_protocol(self, url: str) -> str:
        return url

    def _parent(self, url: str) -> str:
        return url

    def invalidate_cache(self, url: str) -> None:
        pass

    def info(self, url: str) -> Any:
        raise FileNotFoundError(url) from self.error

    cat_file = info


class Refused(Exception):
    status = 403


def test_why_a_file_system_says_that_there_is_no_file() -> None:
    files = Files()
    files.error = Refused()
    with pytest.raises(RemoteError, match=r"http://host/a.ptr/index.msgpack .*refuses to show it"):
        ptrarray.open("http://host/a.ptr", storage=files)
    files.error = KeyError()
    with pytest.raises(StoreNotFoundError):
        ptrarray.open("http://host/a.ptr", storage=files)
    with pytest.raises(BadInputError, match=r"http://host/a\.ptr has a query") as raised:
        ptrarray.open(f"http://host/a.ptr?{SECRET}", storage=files)
    assert SECRET not in str(raised.value)
    with pytest.raises(BadInputError, match="or a file system of fsspec, not type"):
        ptrarray.open("http://host/a.ptr", storage=Files)


def test_below_a_file(path: Path) -> None:
    files = pytest.importorskip("fsspec").filesystem("file")
    with pytest.raises(StoreNotFoundError):
        ptrarray.open(path / "data.bin", storage=files)


def test_downloads_of_what_is_no_store(path: Path, server: FaultServer, tmp_path: Path) -> None:
    url = f"{server.url}/a.ptr"
    with pytest.raises(StoreNotFoundError, match=f"is a folder, .*: open {re.escape(url)}$"):
        ptrarray.download(f"{url}/data.bin", tmp_path / "b.ptr")
    (path.parent / "large.zip").write_bytes(bytes(1 << 22))
    with pytest.raises(StoreNotFoundError, match=re.escape(f"no store at {server.url}/large.zip")):
        ptrarray.download(f"{server.url}/large.zip", tmp_path / "b.ptr")
    with pytest.raises(BadInputError, match="of which pathlib has taken a slash"):
        ptrarray.download(Path(url), tmp_path / "b.ptr")  # type: ignore[arg-type]
    given: Any = os.fsencode(url)
    ptrarray.download(given, tmp_path / "b.ptr")
    assert ptrarray.open(tmp_path / "b.ptr")["utt1"].tolist() == [0, 1, 2]
