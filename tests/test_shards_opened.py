"""What an open reader stands on, of shards or not: damage, replacement, and closing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import ptrarray
from ptrarray import ClosedStoreError, CorruptStoreError, StoreError
from ptrarray.storage.shards import snapshot
from ptrarray.storage.shards.marker import Marker
from ptrarray.storage.store import snapshot as store_snapshot
from ptrarray.storage.store.held import Held, hold
from ptrarray.storage.store.index import Index
from ptrarray.storage.store.opened import Closed, Opened
from ptrarray.storage.system.files import Identity
from ptrarray.storage.system.mapping import Backend

pytestmark = pytest.mark.usefixtures("no_syncs")
SHARD_NBYTES = 4000
MEMBERS = [name for name in {**Opened.__annotations__, **vars(Opened)} if name[0] != "_"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.ptr"
    with ptrarray.create(path, dtype="u1", shard_size=SHARD_NBYTES) as writer:
        for n in range(20):
            writer[f"a{n}"] = np.full(1000, n)
    return path


def test_verify_finds_a_shard_cut_short_where_nothing_is_mapped(path: Path) -> None:
    with ptrarray.open(path, backend="pread") as store:
        store.verify()
        data = path / "shard-00001.ptr" / "data.bin"
        os.truncate(data, 10)
        with pytest.raises(CorruptStoreError, match="cut short") as raised:
            store.verify()
        assert raised.value.path == str(data)


def test_a_store_replaced_again_and_again_is_not_damaged(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replaced(marker: Marker, *_: object) -> None:
        raise CorruptStoreError("is another one by now", path=str(marker.directory))

    monkeypatch.setattr(snapshot, "_collected", replaced)
    with pytest.raises(CorruptStoreError, match="is another one by now"):
        ptrarray.open(path)
    monkeypatch.setattr(Marker, "is_in_place", lambda _: False)
    with pytest.raises(StoreError, match="is replaced again and again") as raised:
        ptrarray.open(path)
    assert not isinstance(raised.value, CorruptStoreError)
    assert raised.value.path == str(path)


def test_what_is_opened_is_of_one_moment_though_shards_change_while_they_are_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ptrarray.checkpoint(path)
    held: list[str] = []

    def interrupted(shard: str, backend: Backend | None) -> Held | None:
        found = hold(shard, backend)
        held.append(shard)
        if len(held) == 2:
            with ptrarray.append(path) as writer:
                del writer["a0"]
                writer["new"] = [1]
        return found

    monkeypatch.setattr(snapshot, "hold", interrupted)
    with ptrarray.open(path) as store:
        assert len(held) > 3
        assert [*store] == [f"a{n}" for n in range(1, 20)] + ["new"]


def test_a_shard_that_was_checkpointed_after_its_index_was_held_is_read_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its journal is empty then, and is of a later index than the one that was held."""
    ptrarray.checkpoint(path)
    held: list[str] = []

    def interrupted(shard: str, backend: Backend | None) -> Held | None:
        found = hold(shard, backend)
        held.append(shard)
        if len(held) == 2:
            with ptrarray.append(path) as writer:
                del writer["a0"]
            ptrarray.checkpoint(path)
        return found

    monkeypatch.setattr(snapshot, "hold", interrupted)
    with ptrarray.open(path) as store:
        assert [*store] == [f"a{n}" for n in range(1, 20)]


def test_an_index_replaced_again_and_again_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ptr"
    ptrarray.create(path, dtype="u1").close()
    identities = (Identity(n, 0) for n in range(1000))

    def next_index(directory: Path, backend: Backend) -> Index:
        index = Index(directory, backend=backend)
        index.identity = next(identities)
        return index

    monkeypatch.setattr(store_snapshot, "_replay", lambda *_: None)  # of a later index
    with pytest.raises(CorruptStoreError, match="belongs to a later index"):
        ptrarray.open(path)
    monkeypatch.setattr(store_snapshot, "open_index", next_index)
    with pytest.raises(StoreError, match="is replaced again and again") as raised:
        ptrarray.open(path)
    assert not isinstance(raised.value, CorruptStoreError)


@pytest.mark.parametrize("member", MEMBERS)
def test_what_is_closed_refuses(member: str) -> None:
    with pytest.raises(ClosedStoreError, match=r"corpus\.ptr was closed here: open it again"):
        getattr(Closed("corpus.ptr"), member)


def test_refresh_keeps_what_has_not_changed(path: Path) -> None:
    for directory in (path, path / "shard-00000.ptr"):
        with ptrarray.open(directory) as store:
            opened = store._opened
            store.refresh()
            assert store._opened is opened


def test_refresh_maps_only_what_has_changed(path: Path) -> None:
    with ptrarray.open(path) as store, ptrarray.append(path) as writer:
        before = store._opened.stores
        writer["late"] = [1]
        store.refresh()
        after = store._opened.stores
        assert [one is other for one, other in zip(after, before, strict=False)][:-1] == [True] * (
            len(before) - 1
        )
        assert after[-1] is not before[-1]
