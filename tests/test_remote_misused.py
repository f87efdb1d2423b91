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
from ptrarray.errors import BadInputError, CorruptStoreError, StoreNotFoundError
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
