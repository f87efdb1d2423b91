"""Stores that obstore reads from each kind of server, and those that a file system of fsspec reads."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.errors import (
    BadInputError,
    CorruptStoreError,
    RemoteError,
    StoreChangedError,
    StoreNotFoundError,
)
from ptrarray.storage.remote import faults
from ptrarray.storage.remote.locating import Remote, remote_path
from tests.support.fault_server import FAULTS, FaultServer, serving

SECRETS = {"secret_access_key": "secret-of-aws", "sas_key": "sv=1&sig=secret-of-azure"}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(faults, "FIRST_PAUSE_SECONDS", 0.0005)
    path = tmp_path / "bucket" / "sub folder" / "s.ptr"
    path.parent.mkdir(parents=True)
    fill(path, 1)
    return path


def fill(path: Path, factor: int) -> None:
    with ptrarray.create(path, dtype="i4", mode="w", masked=True) as writer:
        writer.write({f"name {n}": np.ma.array(np.arange(n) * factor) for n in range(30)})


def check(opened: ptrarray.PointerArray, factor: int = 1) -> None:
    assert len(opened) == 30
    for n in range(30):
        assert opened[f"name {n}"].tolist() == [i * factor for i in range(n)]
    assert opened.take(["name 3", "name 2"]).values.tolist() == [0, factor, 2 * factor, 0, factor]
    assert opened.backend == "pread"


# Clouds ---------------------------------------------------------------------------------------------


CLOUDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "s3, public": ("s3", "endpoint", {"skip_signature": True}),
    "s3": (
        "s3",
        "endpoint",
        {
            "region": "r",
            "access_key_id": "key",
            "secret_access_key": SECRETS["secret_access_key"],
        },
    ),
    "gs, public": ("gs", "base_url", {"skip_signature": True}),
    "az, public": ("az", "endpoint", {"account_name": "a", "skip_signature": True}),
    "az": ("az", "endpoint", {"account_name": "a", "sas_key": SECRETS["sas_key"]}),
}


@pytest.fixture
def server(store: Path) -> Iterator[FaultServer]:
    pytest.importorskip("obstore")
    with serving(store.parents[2]) as server:
        yield server


@pytest.mark.parametrize("cloud", CLOUDS)
def test_clouds_are_read_and_say_what_is_wrong(
    server: FaultServer, cloud: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme, place, keys = CLOUDS[cloud]
    url, storage = f"{scheme}://bucket/sub%20folder/s.ptr", {place: server.url, **keys}
    with ptrarray.open(url, storage=storage) as opened:
        check(opened)
        check(pickle.loads(pickle.dumps(opened)))
        assert opened.path == url
    monkeypatch.setattr(faults, "LIMIT_SECONDS", 0.02)
    monkeypatch.setattr(faults, "FIRST_LIMIT_SECONDS", 0.02)
    for name, kind in FAULTS.items():
        if kind.error != "RemoteError" or "stall" in name:
            continue
        server.arm(kind.fault)
        with pytest.raises(RemoteError) as caught:
            ptrarray.open(url, storage=storage)
        assert caught.value.status == kind.status
        said = f"{caught.value!r}{caught.value.__context__!r}{caught.value.__cause__!r}"
        assert not any(secret in said for secret in SECRETS.values())
    server.arm(FAULTS["status 404"].fault)
    with pytest.raises(StoreNotFoundError):
        ptrarray.open(url, storage=storage)


def test_who_may_read_is_asked_for(server: FaultServer) -> None:
    server.arm(FAULTS["status 403"].fault)
    with pytest.raises(RemoteError, match="skip_signature"):
        ptrarray.open("s3://bucket/s.ptr", storage={"endpoint": server.url, "skip_signature": True})


def test_files_are_read_by_url(store: Path) -> None:
    pytest.importorskip("obstore")
    url = store.as_uri()
    assert "%20" in url
    with ptrarray.open(url) as opened:
        check(opened)
        fill(store, -1)
        with pytest.raises(StoreChangedError):
            check(opened)
        opened.refresh()
        check(opened, -1)
    ptrarray.pack(store, store.with_suffix(".pack"))
    with ptrarray.open(store.with_suffix(".pack").as_uri()) as opened:
        check(opened, -1)


@pytest.mark.parametrize("path", ["no folder/s.ptr", "s.ptr/index.msgpack/x", "."])
def test_where_no_store_is(store: Path, path: str) -> None:
    pytest.importorskip("obstore")
    url = (store.parent / path).as_uri()
    with pytest.raises(StoreNotFoundError):
        ptrarray.open(url)


@pytest.mark.parametrize("path", ["../x.ptr", "a/../x.ptr", "a//x.ptr"])
def test_paths_that_no_library_takes(store: Path, path: str) -> None:
    pytest.importorskip("obstore")
    with pytest.raises((BadInputError, StoreNotFoundError, RemoteError)):
        ptrarray.open(f"{store.parent.as_uri()}/{path}")


# File systems of fsspec -----------------------------------------------------------------------------


@pytest.fixture
def fsspec() -> Any:
    return pytest.importorskip("fsspec")


@pytest.fixture
def in_memory(fsspec: Any, store: Path) -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    files.put(f"{store}/", "/bucket/s.ptr/", recursive=True)
    yield files
    files.rm("/bucket", recursive=True)


@pytest.mark.parametrize("url", ["memory://bucket/s.ptr", "/bucket/s.ptr", "bucket/s.ptr/"])
def test_a_store_in_memory(in_memory: Any, url: str) -> None:
    with ptrarray.open(url, storage=in_memory) as opened:
        check(opened)
        check(pickle.loads(pickle.dumps(opened)))
        assert opened.path == "memory:///bucket/s.ptr"


def test_memory_needs_no_file_system(in_memory: Any) -> None:
    with ptrarray.open("memory://bucket/s.ptr") as opened:
        check(opened)
    with pytest.raises(StoreNotFoundError):
        ptrarray.open("memory://bucket/none.ptr")


def test_what_changes_in_memory_is_noticed(in_memory: Any, store: Path) -> None:
    with ptrarray.open("memory://bucket/s.ptr") as opened:
        fill(store, -1)
        in_memory.rm("/bucket/s.ptr", recursive=True)
        in_memory.put(f"{store}/", "/bucket/s.ptr/", recursive=True)
        with pytest.raises(StoreChangedError, match=r"refresh\(\)"):
            check(opened)
        opened.refresh()
        check(opened, -1)


def test_files_of_this_machine(fsspec: Any, store: Path) -> None:
    files = fsspec.filesystem("file")
    with ptrarray.open(store, storage=files) as opened:
        check(opened)
        with get_context("fork").Pool(2) as pool:
            assert pool.map(_n_elements, [opened, store.as_uri()]) == [435, 435]
        shutil.rmtree(store)
        with pytest.raises(StoreChangedError):
            check(opened)
    with pytest.raises(StoreNotFoundError):
        ptrarray.open(store, storage=files)


def _n_elements(store: Any) -> int:
    opened = ptrarray.open(store) if isinstance(store, str) else store
    return int(sum(array.size for array in opened.take([*opened])))


def test_each_layout_in_memory(in_memory: Any, tmp_path: Path) -> None:
    for name, options in (
        ("rows", {"dtype": "i4", "row_shape": (2,)}),
        ("mixed", {"dtype": None}),
        ("shards", {"dtype": "f8", "shard_size": 1000}),
    ):
        path = tmp_path / name
        with ptrarray.create(path, **options) as writer:
            for n in range(40):
                writer[f"{n}"] = np.full((n, 2) if name == "rows" else n, n)
        in_memory.put(f"{path}/", f"/bucket/{name}/", recursive=True)
        with ptrarray.open(f"memory://bucket/{name}") as opened, ptrarray.open(path) as local:
            assert [*opened] == [*local]
            for key in local:
                np.testing.assert_array_equal(opened[key], local[key])


class Flawed:
    """A file system that does something else than it should, once it is told to."""

    asynchronous = False

    def __init__(self, files: Any) -> None:
        self._files, self.flaw = files, ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)

    def info(self, path: str) -> dict[str, Any]:
        info = dict(self._files.info(path))
        if self.flaw == "no tag":
            del info["created"]
        if self.flaw == "no size":
            info["size"] = None
        return info

    def cat_file(self, path: str, start: int, end: int) -> bytes:
        raw: bytes = self._files.cat_file(path, start=start, end=end)
        whole: bytes = self._files.cat_file(path)
        flaws = {"short": raw[1:], "long": raw + b"!", "whole": whole}
        if self.flaw == "replaced":
            self._files.pipe_file(path, self._files.cat_file(path))
        if self.flaw == "secret":
            raise RuntimeError("password")
        if self.flaw == "timeout":
            raise TimeoutError("password")
        if self.flaw == "refused":
            raise PermissionError("password")
        return flaws.get(self.flaw, raw)


@pytest.mark.parametrize(
    ("flaw", "said"),
    [
        ("no tag", "immutable=True"),
        ("no size", "how long"),
        ("short", "bytes came"),
        ("long", "more bytes"),
        ("replaced", "changed"),
        ("secret", "RuntimeError"),
        ("timeout", "TimeoutError"),
        ("refused", "403"),
    ],
)
def test_file_systems_are_not_believed(
    in_memory: Any, flaw: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "FIRST_LIMIT_SECONDS", 0.02)
    files = Flawed(in_memory)
    files.flaw = flaw
    with pytest.raises(RemoteError, match=said) as caught:
        ptrarray.open("/bucket/s.ptr", storage=files)
    assert "password" not in f"{caught.value!r}{caught.value.__context__}"


@pytest.mark.parametrize("flaw", ["short", "long", "whole", "replaced", "no tag", "timeout"])
def test_file_systems_that_go_wrong_later(
    in_memory: Any, flaw: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "LIMIT_SECONDS", 0.02)
    files = Flawed(in_memory)
    path = remote_path("/bucket/s.ptr/data.bin", Remote(storage=files))
    facts = path.open_file().facts
    assert path.transfer.read(path.key, 8, 40, facts).raw.nbytes == 32
    files.flaw = flaw
    with pytest.raises(RemoteError):
        path.transfer.read(path.key, 8, 40, facts)


def test_file_systems_of_event_loops_are_refused(fsspec: Any) -> None:
    class Files:
        asynchronous, protocol = True, "http"

        def cat_file(self) -> None: ...

        def _strip_protocol(self, path: str) -> str:
            return path

    with pytest.raises(BadInputError, match="asynchronous"):
        ptrarray.open("http://host/s.ptr", storage=Files())


def test_a_plain_path_needs_a_file_system(store: Path) -> None:
    pytest.importorskip("obstore")
    with pytest.raises(BadInputError):
        ptrarray.open(store, storage={"region": "r"})


def test_http_of_fsspec(fsspec: Any, store: Path) -> None:
    pytest.importorskip("aiohttp")
    pytest.importorskip("obstore")
    files = fsspec.filesystem("http", skip_instance_cache=True)
    with serving(store.parent) as server:
        url = server.url + "/s.ptr"
        with ptrarray.open(url, storage=files) as opened:
            check(opened)
            assert opened.path == url
            server.arm(FAULTS["whole"].fault)
            with pytest.raises((RemoteError, CorruptStoreError)):
                check(opened)
            server.arm()
            fill(store, -1)
            with pytest.raises(StoreChangedError):
                check(opened)
            opened.refresh()
            check(opened, -1)
