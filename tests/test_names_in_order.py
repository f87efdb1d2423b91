"""All names, or those of a range of positions, are the same as one by one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import ptrarray
from ptrarray import CorruptStoreError, PointerArray
from ptrarray.format.entries import RaggedColumn
from ptrarray.format.journal import RECORDS_START
from ptrarray.format.names import decode
from ptrarray.reader import opened_of
from ptrarray.rows import copying
from ptrarray.storage.store import folding
from ptrarray.storage.store import index as index_module
from ptrarray.storage.store.index import Index
from ptrarray.storage.store.overlay import Overlay
from ptrarray.storage.store.partition import PartSnapshot
from ptrarray.storage.store.snapshot import StoreSnapshot
from tests.support import strategies
from tests.support.memory import peak_nbytes

Arrays = dict[str, NDArray[Any]]
pytestmark = pytest.mark.usefixtures("limits", "no_syncs")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_FIRST_BLOCK", 1)
    monkeypatch.setattr(copying, "_BLOCK", 4)
    monkeypatch.setattr(folding, "_FIRST_NAMES", 1)
    monkeypatch.setattr(folding, "_MIXED", 2)


@given(st.lists(st.one_of(st.binary(max_size=6), strategies.names().map(str.encode))))
def test_texts_are_the_items_decoded(items: list[bytes]) -> None:
    column = RaggedColumn.of(items)
    assert column.texts() == list(map(decode, column.split())) == list(map(decode, items))


@given(st.integers(0, 20_000), st.integers(0, 20_000))
def test_blocks_count_off_everything(first: int, last: int) -> None:
    blocks = list(copying.in_blocks(first, last))
    assert [at for block in blocks for at in range(block.start, block.stop)] == [
        *range(first, last)
    ]
    assert all(block.stop - block.start <= 1 << 12 for block in blocks)


@st.composite
def changes(draw: st.DrawFn) -> tuple[list[str], list[tuple[str, int | None]]]:
    """Names of a checkpointed store, and then a name with what becomes of it.

    That is a new length; None, which deletes it; or -n, which points it to row n.
    """
    there = draw(st.lists(strategies.names(), unique=True, max_size=12))
    names = st.sampled_from(there) | strategies.names() if there else strategies.names()
    return there, draw(st.lists(st.tuples(names, st.none() | st.integers(-5, 3)), max_size=8))


def made(
    path: Path, there: list[str], changed: list[tuple[str, int | None]], **options: Any
) -> Arrays:
    """Make a store with an index and a journal, and return what is in it."""
    arrays = {name: np.full(at % 4, at, "i4") for at, name in enumerate(there)}
    with ptrarray.create(path, dtype="i4", mode="w", **options) as writer:
        for name, array in arrays.items():
            writer.write({name: array})
        ptrarray.checkpoint(path)
        for name, length in changed:
            if length is None and arrays.pop(name, None) is not None:
                del writer[name]
            elif length is not None and length < 0:
                row = ptrarray.open(path)[-length : 1 - length].copy()
                if name not in arrays and len(row):
                    writer.point(name, -length, 1 - length)  # so it comes between others
                    arrays[name] = row
            elif length is not None:
                writer[name] = arrays[name] = np.full(length, 100 + length, "i4")
        writer.flush()
        # Closing folds the journal in, so it is read before.
        store = ptrarray.open(path)
        check_in_order(store, arrays)
    return arrays


def check_in_order(store: PointerArray, arrays: Arrays) -> None:
    names = [store.names[at] for at in range(len(store))]
    assert sorted(names) == sorted(arrays)
    assert list(store) == list(store.names) == list(store.pointers) == list(store.keys()) == names
    for first in range(0, len(names) + 1, 3):
        for last in range(0, len(names) + 1, 2):
            assert store.names[first:last] == names[first:last]
    assert store.names[::-1] == names[::-1]
    assert store.names[1::2] == names[1::2]
    assert sorted(store.names.newest(len(names))) == sorted(names)
    assert [name for name, _ in store.items()] == names
    for name, array in store.items():
        assert array.tolist() == arrays[name].tolist()
    batch = store.take(names[::-1])
    assert [array.tolist() for array in batch] == [arrays[name].tolist() for name in names[::-1]]
    assert list(store.pointers.items()) == [(name, store.pointers[name]) for name in names]
    check_blocks(store, names)


def check_blocks(store: PointerArray, names: list[str]) -> None:
    """Compare names in blocks with all names, from each position on and up to each."""
    for opened in opened_of(store).stores:
        snapshot, n_names = opened.snapshot, len(opened.snapshot)
        mine, names = list(map(str.encode, names[:n_names])), names[n_names:]
        for first in range(0, n_names + 1, 3):
            for last in range(first, n_names + 1, 2):
                found = [name for block in snapshot.name_blocks(first, last) for name in block]
                assert found == mine[first:last]
            part = PartSnapshot(snapshot, first, n_names)
            assert [name for block in part.name_blocks(0, len(part)) for name in block] == mine[
                first:
            ]
    assert not names


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("options", [{}, {"shard_size": 24}], ids=["one", "shards"])
@settings(max_examples=40)
@given(story=changes())
def test_names_in_order(
    tmp_path_factory: pytest.TempPathFactory, options: dict[str, Any], story: tuple[Any, Any]
) -> None:
    path = tmp_path_factory.mktemp("names") / "names.ptr"
    arrays = made(path, *story, **options)
    check_in_order(ptrarray.open(path), arrays)
    with ptrarray.append(path) as writer:
        assert sorted(writer) == sorted(writer.pointers) == sorted(arrays)


def test_many_names_in_order(tmp_path: Path) -> None:
    """Blocks of full size, with some of another script, holes, and changes at both ends."""
    there = [f"näme{n}" if n % 5000 == 7 else f"name{n}" for n in range(13_000)]
    changed = [(there[0], None), (there[-1], None), (there[1], 3), ("new", 1)]
    changed += [(name, n % 3 or None) for n, name in enumerate(there[4000:4200])]
    with ptrarray.create(tmp_path / "a.ptr", dtype="i4") as writer:
        writer.write({name: [n] for n, name in enumerate(there)})
        ptrarray.checkpoint(writer.path)
        arrays = dict.fromkeys(there)
        for name, length in changed:
            arrays.pop(name, None)
            if length is None:
                del writer[name]
            else:
                writer[name] = np.full(length, 5)
                arrays[name] = None
        store = ptrarray.open(writer.path)
        assert list(store) == list(arrays) == [store.names[at] for at in range(len(store))]
        assert store.names[3990:8200] == list(arrays)[3990:8200]
        blocks = list(opened_of(store).stores[0].snapshot.name_blocks(0, len(store)))
        assert [name.decode() for block in blocks for name in block] == list(arrays)
        assert len(blocks) < 10


# damage and size ----------------------------------------------------------------------------------


def damaged(path: Path, ends: dict[int, int], *, changed: bool) -> StoreSnapshot:
    """Return the snapshot of ten names with some of their ends replaced."""
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({f"name{n}": [n] for n in range(10)})
    if changed:
        with ptrarray.append(path) as writer:
            writer["new"] = [7]
            overlay = ptrarray.open(path)._opened.stores[0].snapshot.overlay
    index = Index(path, checked=False)
    at = index.columns["name_end"].start_byte
    with (path / "index.msgpack").open("r+b") as file:
        for position, end in ends.items():
            file.seek(at + 8 * position)
            file.write(end.to_bytes(8, "little"))
    index = Index(path, checked=False)
    return StoreSnapshot(path, index, overlay if changed else Overlay(index, RECORDS_START))


def until_refused(names: Iterator[Any]) -> tuple[list[Any], str]:
    found: list[Any] = []
    with pytest.raises(CorruptStoreError) as raised:
        found.extend(names)  # keeps what comes before
    return found, str(raised.value)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize(
    "ends",
    [
        {4: 2},
        {4: 2**40},
        {4: 2**63 + 5},
        {9: 51},
        {3: 51, 4: 51},
        dict.fromkeys(range(10), 2**64 - 5),
    ],
    ids=str,
)
def test_damaged_ends_are_refused_as_one_by_one(
    tmp_path: Path, ends: dict[int, int], changed: bool
) -> None:
    snapshot = damaged(tmp_path / "a.ptr", ends, changed=changed)
    expected, error = until_refused(map(snapshot.name, range(len(snapshot))))
    assert "damaged: it has name" in error
    assert until_refused(snapshot.names()) == (expected, error)
    assert until_refused(snapshot.texts()) == (list(map(decode, expected)), error)
    blocks = snapshot.name_blocks(0, len(snapshot))
    assert until_refused(name for block in blocks for name in block) == (expected, error)


def test_what_is_removed_is_not_read(tmp_path: Path) -> None:
    snapshot = damaged(tmp_path / "a.ptr", {4: 2**40, 3: 2**41}, changed=True)
    removed = np.array([3, 4, 5])
    names = list(snapshot.index.some_names(0, 10, RaggedColumn.texts, removed))
    assert names == [f"name{n}" for n in (0, 1, 2, 6, 7, 8, 9)]


def test_long_names_take_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "_NAMES_NBYTES", 1 << 16)
    with ptrarray.create(tmp_path / "a.ptr", dtype="u1") as writer:
        writer.write({f"{n:020000}": [] for n in range(300)})
    ptrarray.checkpoint(tmp_path / "a.ptr")
    store = ptrarray.open(tmp_path / "a.ptr")
    assert sum(map(len, store)) == 6_000_000
    assert peak_nbytes(lambda: sum(map(len, store))) < 400_000

    def in_blocks() -> int:
        blocks = opened_of(store).stores[0].snapshot.name_blocks(0, 300)
        return sum(len(block.joined) for block in blocks)

    assert in_blocks() == 6_000_000
    assert peak_nbytes(in_blocks) < 100_000
