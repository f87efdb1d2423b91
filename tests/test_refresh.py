"""A reader stays what it was until it is refreshed, and then is what the store has become."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ptrarray
from ptrarray import PointerArray, StoreNotFoundError
from tests.support.backends import here, mapped
from tests.support.checks import check_store, open_descriptors
from tests.support.reading import ARRAYS, arrays, change_all, handed_out, make_four, replace

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def path(path: Path) -> Path:
    return make_four(path)


CHANGES = {"changes": change_all, "mode w": replace, "compact": ptrarray.compact}


@here
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_stays_what_it_was_until_refreshed(
    path: Path, store: PointerArray, change: Callable[[Path], None]
) -> None:
    views = handed_out(store)
    content = {name: array.tobytes() for name, array in views.items()}
    pointers, names = store.pointers, store.names
    change(path)
    check_store(store, arrays(), in_order=True)
    assert dict(store.attrs) == {"rate": 16000}
    store.refresh()
    assert {name: array.tobytes() for name, array in views.items()} == content
    assert dict(pointers)["a"] == (3, 5)
    assert list(names) == list(ARRAYS)


def test_refresh_shows_what_changed(path: Path, store: PointerArray) -> None:
    change_all(path)
    store.refresh()
    expected = arrays(b=[7], new=list(range(10_000)), twice=[1, 2], newer=[8])
    del expected["a"]
    check_store(store, expected)
    assert store.attrs["rate"] == 1


def test_refresh_goes_over_to_a_copy_of_the_store(path: Path, store: PointerArray) -> None:
    """It has the same id and files of the same names and sizes, but other rows by now."""
    copy = path.with_name("copy.ptr")
    shutil.copytree(path, copy)
    for place, rows in ((path, [1, 2]), (copy, [3, 4])):
        with ptrarray.append(place) as writer:
            writer["new"] = rows
        store.refresh()
        assert store["new"].tolist() == [1, 2]
    path.rename(path.with_name("before.ptr"))
    for file in copy.iterdir():  # web servers tell files of one size by the second
        os.utime(file, (file.stat().st_mtime + 9,) * 2)
    copy.rename(path)
    store.refresh()
    assert store["new"].tolist() == [3, 4]


def test_refresh_goes_over_to_the_store_that_replaced_it(path: Path, store: PointerArray) -> None:
    replace(path)
    store.refresh()
    check_store(store, {"other": np.array([0.5])})
    assert store.dtype == np.dtype("f8")


def test_refresh_step_by_step(path: Path, store: PointerArray) -> None:
    expected = arrays()
    with ptrarray.append(path) as writer:
        for n in range(60):
            writer[str(n)] = expected[str(n)] = np.full(n, n, "i4")
            if n % 9 == 8:
                ptrarray.checkpoint(path)
            assert str(n) not in store
            store.refresh()
            assert store[str(n)].tolist() == [n] * n
            assert len(store) == len(expected)
    check_store(store, expected)


@mapped
def test_refresh_without_changes(path: Path, store: PointerArray) -> None:
    rows = store.rows
    before = open_descriptors(path)
    for _ in range(100):
        store.refresh()
    assert np.shares_memory(store.rows, rows)
    assert open_descriptors(path) == before


def test_refresh_holds_one_mapping(path: Path, store: PointerArray) -> None:
    before = open_descriptors(path)
    with ptrarray.append(path) as writer:
        for n in range(50):
            writer[str(n)] = [n]
            store.refresh()
        ptrarray.checkpoint(path)
        store.refresh()
    assert open_descriptors(path) == before


@here
def test_iterators_keep_to_their_snapshot(path: Path, store: PointerArray) -> None:
    names, items, values = iter(store), iter(store.items()), iter(store.values())
    walk, batch = store.walk(), store.arrays
    change_all(path)
    store.refresh()
    assert list(names) == list(ARRAYS)
    assert {name: array.tolist() for name, array in items} == ARRAYS
    assert [array.tolist() for array in values] == list(ARRAYS.values())
    assert [array.tolist() for array in walk] == list(ARRAYS.values())
    assert batch[0].tolist() == [1, 2, 3]
    assert batch[[0]].values.tolist() == [1, 2, 3]


@here
def test_refresh_after_the_store_was_removed(path: Path, store: PointerArray) -> None:
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    with pytest.raises(StoreNotFoundError, match="no such directory"):
        store.refresh()
    assert {name: array.tolist() for name, array in store.items()} == ARRAYS


@pytest.mark.parametrize("is_checkpointed", [True, False])
def test_refresh_goes_over_to_a_store_made_anew(path: Path, is_checkpointed: bool) -> None:
    """Also where its generation is the one of the store that was removed."""
    old = path.with_name("old.ptr")
    ptrarray.create(old, dtype="i4").close()
    with ptrarray.append(old) as writer, ptrarray.open(old) as store:
        writer["a"] = [1]
        if is_checkpointed:
            ptrarray.checkpoint(old)
        store.refresh()
        shutil.rmtree(old)
        with ptrarray.create(old, dtype="f8") as making:
            making["b"] = [0.5]
            if is_checkpointed:
                ptrarray.checkpoint(old)
            store.refresh()
            check_store(store, {"b": np.array([0.5])})


@here
def test_a_header_that_is_half_rewritten_is_read_again(
    path: Path, store: PointerArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second slot is whole then, but older: it must not pass for the state of the store."""
    with ptrarray.append(path) as writer:
        writer["latest"] = [1]
        writer.flush()
        writer["later still"] = [2]
    n_torn = 0

    def torn(fd: int, n_bytes: int, start_byte: int) -> bytes:
        nonlocal n_torn
        raw = pread(fd, n_bytes, start_byte)
        if start_byte or n_bytes != 8192 or n_torn % 3 == 2:
            n_torn += not start_byte and n_bytes == 8192
            return raw
        n_torn += 1
        return raw[:40] + b"\xff" * 20 + raw[60:]

    pread = os.pread
    monkeypatch.setattr("ptrarray.storage.system.files.os.pread", torn)
    store.refresh()
    assert store["later still"].tolist() == [2]
    with ptrarray.open(path) as other:
        assert list(other) == list(store)
    store.refresh()
    assert len(store) == 6
    assert n_torn >= 9  # each time twice in vain
