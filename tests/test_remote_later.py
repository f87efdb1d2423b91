"""The data file of a large store that lies elsewhere: asked for when rows are, and never that of another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import CorruptStoreError, PointerArray
from ptrarray.errors import StoreChangedError
from ptrarray.storage.store import probed
from tests.support.remote import URL, FolderObjects, folder_elsewhere

pytestmark = pytest.mark.usefixtures("no_syncs")


@pytest.fixture(autouse=True)
def _probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probed, "WHOLE_NBYTES", 0)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[FolderObjects]:
    with folder_elsewhere(tmp_path) as objects:
        yield objects


def opened(path: Path) -> PointerArray:
    return ptrarray.open(f"{URL}/{path.name}")


@pytest.fixture
def plain(path: Path, elsewhere: FolderObjects) -> PointerArray:
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({f"a{n}": np.full(5, n) for n in range(600)})
    ptrarray.publish(path)
    return opened(path)


def test_an_array_of_a_store_that_was_not_open(path: Path, elsewhere: FolderObjects) -> None:
    with ptrarray.create(path, dtype="f4") as writer:
        writer.write({f"a{n}": np.full(100, n) for n in range(50_000)})
    ptrarray.publish(path)
    assert opened(path)["a33333"].tolist() == [33_333] * 100
    found = elsewhere.take()
    assert len(found) <= 6
    assert sum(one.nbytes for one in found) <= 1 << 20
    assert np.array_equal(opened(path).take(["a7", "a40000"]).values[::100], [7, 40_000])
    assert len(elsewhere.take()) <= 2 + 3 * 2 + 3


def replaced(path: Path, value: int) -> None:
    with ptrarray.create(path, dtype="i4", mode="w") as writer:
        writer.write({f"a{n}": np.full(5, value) for n in range(600)})
    ptrarray.publish(path)


READS: dict[str, Callable[[PointerArray], Any]] = {
    "a name": lambda store: store["a7"],
    "names": lambda store: store.take(["a7", "a599"]),
    "a position": lambda store: store.arrays[7],
    "positions": lambda store: store.arrays[[7, 599]],
    "rows": lambda store: store[35:40],
    "all rows": lambda store: np.asarray(store),
    "a sum": lambda store: np.sum(store),
    "sums": lambda store: store.reduce_each(np.add),
    "in order": lambda store: list(store.values()),
    "walked": lambda store: list(store.walk()),
}


@pytest.mark.parametrize("read", READS)
def test_rows_that_were_replaced_before_the_first_was_read(
    path: Path, plain: PointerArray, read: str
) -> None:
    """The data file of another store, with the index of the one that was opened."""
    index: Any = plain._opened.stores[0].snapshot
    _ = index.index._content[:]  # all of it is here, so nothing more is asked of its file
    data = (path / "data.bin").read_bytes()
    replaced(path, -1)
    (path / "data.bin").write_bytes((path / plain_data(path)).read_bytes() + data)
    with pytest.raises(StoreChangedError, match=r"refresh\(\)"):
        READS[read](plain)
    with pytest.raises(StoreChangedError, match=r"refresh\(\)"):
        READS[read](plain)
    plain.refresh()
    assert plain["a7"].tolist() == [-1] * 5


def plain_data(path: Path) -> str:
    return str(ptrarray.open(path)._opened.stores[0].snapshot.header.data_file)


@pytest.mark.parametrize("read", READS)
def test_a_first_read_is_right(plain: PointerArray, path: Path, read: str) -> None:
    found, expected = READS[read](plain), READS[read](ptrarray.open(path))
    if isinstance(found, ptrarray.Ragged):
        found, expected = found.values, expected.values
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("read", ["a name", "rows", "a sum", "names"])
@pytest.mark.parametrize("is_missing", [False, True])
def test_a_data_file_that_is_cut_short_or_missing(
    path: Path, plain: PointerArray, read: str, is_missing: bool
) -> None:
    file = path / "data.bin"
    if is_missing:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    for _ in range(2):
        with pytest.raises(CorruptStoreError, match="is missing" if is_missing else "is cut short"):
            READS[read](plain)


class Overtaken(FolderObjects):
    """Has another store take the place of this one right before its data file is first asked for."""

    other: Path

    def get(self, key: str, start: int, end: int, tag: str | None) -> Any:
        if key.endswith("data.bin") and self.other.exists():
            (self.other.with_name("a.ptr")).rename(self._folder / "old.ptr")
            self.other.rename(self.other.with_name("a.ptr"))
        return super().get(key, start, end, tag)


def test_a_store_with_fewer_rows_takes_the_place_of_one_that_is_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probed, "WHOLE_NBYTES", 64 << 20)
    monkeypatch.setattr(Overtaken, "other", path.with_name("other.ptr"), raising=False)
    for where, length in ((path, 9), (Overtaken.other, 0)):
        with ptrarray.create(where, dtype="i4") as writer:
            writer["a"] = np.ones(length, "i4")
    with folder_elsewhere(path.parent, objects=Overtaken):
        assert opened(path)["a"].tolist() == []


@pytest.mark.parametrize("read", ["names", "positions"])
def test_a_data_file_that_ends_before_all_that_is_read(
    path: Path, plain: PointerArray, read: str
) -> None:
    raw = (path / "data.bin").read_bytes()
    (path / "data.bin").write_bytes(raw[:8])
    with pytest.raises(CorruptStoreError, match="is cut short"):
        READS[read](plain)
    (path / "data.bin").write_bytes(raw)
    replaced(path, -1)
    (path / "data.bin").write_bytes(raw[:8])
    with pytest.raises(StoreChangedError, match=r"refresh\(\)"):
        READS[read](plain)


@pytest.mark.parametrize("is_gone", [False, True])
def test_what_is_verified_and_replaced_is_not_damaged(
    path: Path, plain: PointerArray, is_gone: bool
) -> None:
    index: Any = plain._opened.stores[0].snapshot
    _ = index.index._content[:]
    if is_gone:
        path.rename(path.with_name("old.ptr"))
    else:
        data = (path / "data.bin").read_bytes()
        replaced(path, -1)
        (path / "data.bin").write_bytes((path / plain_data(path)).read_bytes() + data)
    with pytest.raises(StoreChangedError, match=r"refresh\(\)"):
        plain.verify()
