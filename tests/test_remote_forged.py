"""Servers of stores of shards that say what is not so: of how many there are, and that all is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import CorruptStoreError
from ptrarray.storage.shards import catalog
from tests.support.checks import digests
from tests.support.fault_server import Exchange, serving
from tests.support.joined import files_of

pytest.importorskip("obstore")
pytestmark = pytest.mark.usefixtures("limits_of_threads", "no_syncs")


class _Endless(Mapping[str, bytes]):
    """Files, with one that stands for any shard that is not there."""

    def __init__(self, tree: dict[str, bytes], other: bytes | None) -> None:
        self._tree, self._other = tree, other

    def __getitem__(self, name: str) -> bytes:
        if name in self._tree or "/shard-" not in name:
            return self._tree[name]
        file = name.rpartition("/")[2]
        return self._tree[f"a.ptr/shard-00001.ptr/{file}"] if self._other is None else self._other

    def __iter__(self) -> Iterator[str]:
        return iter(self._tree)

    def __len__(self) -> int:
        return len(self._tree)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with ptrarray.create(tmp_path / "a.ptr", dtype="i4", shard_size=4000) as writer:
        for number in range(3):
            writer.write({f"{number}": np.arange(800)})
    return tmp_path / "a.ptr"


@pytest.mark.parametrize("has_catalog", [False, True])
@pytest.mark.parametrize("other", [None, b"<html>Welcome!</html>"])
def test_a_server_that_answers_for_any_name(
    path: Path, tmp_path: Path, other: bytes | None, has_catalog: bool
) -> None:
    (path / "catalog.msgpack").unlink(missing_ok=True)
    if has_catalog:
        ptrarray.checkpoint(path)
    tree = {f"a.ptr/{name}": raw for name, raw in files_of(path).items()}
    with serving(_Endless(tree, other)) as server:
        url = f"{server.url}/a.ptr"
        with pytest.raises(CorruptStoreError, match=r"same as another shard|is not an index|map"):
            ptrarray.open(url)
        with pytest.raises(CorruptStoreError, match=r"same as another shard|is not an index|map"):
            ptrarray.download(url, tmp_path / "copy.ptr", resume=False)
        assert len(server.asked) < 200
    assert not (tmp_path / "copy.ptr").exists()


@pytest.mark.parametrize("file", ["catalog", "shard-00001.ptr/index", "shard-00001.ptr/journal"])
def test_a_server_that_says_a_file_has_any_size(path: Path, file: str) -> None:
    """What it says is that large takes no memory, and is an error or does no harm."""
    ptrarray.checkpoint(path)
    size = 1 << 46

    def answer(it: Exchange) -> None:
        if not it.asked.path.endswith(f"{file}.msgpack") or "Content-Range" not in it.headers:
            server.soundly(it)
            return
        end = int(it.asked.headers["range"].rpartition("-")[2]) + 1
        body = it.whole[it.start : end].ljust(end - it.start, b"\0")
        it.but(body, Content_Range=f"bytes {it.start}-{end - 1}/{size}")

    with serving(path.parent) as server:
        server.arm(answer)
        if file == "shard-00001.ptr/index":
            with pytest.raises(CorruptStoreError, match="more than an index can"):
                _ = ptrarray.open(f"{server.url}/a.ptr")["1"]
            return
        store = ptrarray.open(f"{server.url}/a.ptr")
        assert [int(store[f"{number}"].sum()) for number in range(3)] == [319600] * 3
        if file == "catalog":
            with pytest.raises(CorruptStoreError, match="more than an index can"):
                store.verify()


def test_no_more_shards_are_asked_for_at_once_than_that(
    path: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    ptrarray.checkpoint(path)
    monkeypatch.setattr(catalog, "_MOST_SHARDS", 1)
    with serving(tmp_path) as server:
        url = f"{server.url}/a.ptr"
        assert len(ptrarray.open(url)) == 3
        ptrarray.download(url, tmp_path / "copy.ptr")
    assert digests(tmp_path / "copy.ptr") == digests(path)
