"""Readers beside writers: views outlive what becomes of the store, and nobody waits for a lock."""

from __future__ import annotations

import fcntl
from pathlib import Path

import numpy as np

import ptrarray
from tests.support.checks import check_at

# views --------------------------------------------------------------------------------------------


def test_views_outlive_a_store_that_replaces_theirs(path: Path) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        writer["a"] = np.arange(10**5)
    store = ptrarray.open(path)
    view = store["a"]
    ptrarray.create(path, dtype="i8", mode="w").close()
    assert int(view.sum()) == sum(range(10**5))
    assert int(store["a"].sum()) == sum(range(10**5))
    store.close()


def test_views_outlive_a_compaction(path: Path) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        writer.write({"hole": np.zeros(10**5, "i8"), "a": np.arange(10**5)})
        del writer["hole"]
    with ptrarray.open(path) as store:
        view = store["a"]
        ptrarray.compact(path)
        assert np.array_equal(view, np.arange(10**5))
        assert np.array_equal(store["a"], np.arange(10**5))
        store.refresh()
        assert store.shape == (10**5,)
        assert np.array_equal(view, np.arange(10**5))


def test_a_view_is_written_into_the_store_that_replaces_its_own(path: Path) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        writer["a"] = np.arange(10**5)
    with ptrarray.open(path) as store:
        view = store["a"]
        with ptrarray.create(path, dtype="i8", mode="w") as writer:
            writer["a"] = view
        assert np.array_equal(view, np.arange(10**5))
    check_at(path, {"a": np.arange(10**5)})


# refreshing ---------------------------------------------------------------------------------------


def test_refresh_sees_each_array_that_is_appended(path: Path) -> None:
    writer = ptrarray.create(path, dtype="i8")
    with ptrarray.open(path) as store:
        assert len(store) == 0
        for n in range(5):
            writer[str(n)] = [n]
            store.refresh()
            assert store[str(n)].tolist() == [n]
    writer.close()


def test_refresh_after_each_of_several_compactions(path: Path) -> None:
    """Compacting, also again and again, never looks to a reader like nothing happened."""
    with ptrarray.create(path, dtype="i8") as writer:
        writer.write({"hole": [0, 0], "a": [1]})
        store = ptrarray.open(path)
        for n in range(5):
            del writer["hole"]
            ptrarray.compact(path)
            writer.write({"hole": [n]})
            writer["a"] = [n]
            store.refresh()
            assert store["a"].tolist() == [n]
            assert store["hole"].tolist() == [n]
        store.close()


def test_readers_wait_for_no_lock(path: Path) -> None:
    """A reader asks for no lock, neither beside a reader nor beside a writer."""
    with ptrarray.create(path, dtype="i8") as writer:
        writer["a"] = [1]
    for kind in (fcntl.LOCK_SH, fcntl.LOCK_EX):
        with (path / "journal.msgpack").open("r+b") as journal:
            fcntl.flock(journal, kind)
            with ptrarray.open(path) as store:
                assert store["a"].tolist() == [1]
                store.refresh()
