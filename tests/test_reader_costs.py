"""What reading costs, in calls of Python functions of the package: counted, not timed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import CodeType

import numpy as np
import pytest

import ptrarray
from ptrarray import PointerArray, native
from tests.support.profiled import PACKAGE, profiled

pytestmark = pytest.mark.usefixtures("no_syncs")
SHARD_NBYTES = 4000


def calls(run: Callable[[], object]) -> list[str]:
    """Return which functions of the package a call runs, each as ``file:name``."""
    found: list[str] = []

    def note(code: CodeType) -> None:
        found.append(f"{Path(code.co_filename).relative_to(PACKAGE)}:{code.co_name}")

    with profiled(note):
        run()
    return found


def opened(path: Path, shard_size: int | None, *, has_journal: bool) -> PointerArray:
    """Open a store of 20 arrays, of which the last few are in the journal, or none."""
    with ptrarray.create(path, dtype="u1", shard_size=shard_size) as writer:
        for n in range(20):
            writer[f"a{n}"] = np.full(1000, n)
        store = ptrarray.open(path)
    if not has_journal:
        ptrarray.checkpoint(path)
        store.refresh()
    _ = (
        [store[name] for name in store],
        store.arrays[0],
    )  # what is made once, when it is first asked for
    return store


def test_counts_calls() -> None:
    assert calls(lambda: None) == []
    assert calls(lambda: ptrarray.Pointer(1, 2).length) == ["rows/pointers.py:length"]


@pytest.mark.parametrize("name", ["a0", "a7", "a19"])
@pytest.mark.parametrize(("has_journal", "limit"), [(False, 3), (True, 5)])
def test_a_lookup(tmp_path: Path, name: str, has_journal: bool, limit: int) -> None:
    store = opened(tmp_path / "a.ptr", None, has_journal=has_journal)
    found = calls(lambda: store[name])
    assert len(found) <= limit, found


@pytest.mark.parametrize("name", ["a0", "a7", "a19"])
# Without the native core, a catalog is looked through step by step.
@pytest.mark.parametrize(("has_journal", "limit"), [(False, 2 if native.core else 18), (True, 11)])
def test_a_lookup_in_shards(tmp_path: Path, name: str, has_journal: bool, limit: int) -> None:
    store = opened(tmp_path / "a.ptr", SHARD_NBYTES, has_journal=has_journal)
    assert len(store.shards) > 3
    found = calls(lambda: store[name])
    assert len(found) <= limit, found


@pytest.mark.parametrize(("shard_size", "limit"), [(None, 2), (SHARD_NBYTES, 15)])
def test_an_array_by_position(tmp_path: Path, shard_size: int | None, limit: int) -> None:
    store = opened(tmp_path / "a.ptr", shard_size, has_journal=False)
    found = calls(lambda: store.arrays[7])
    assert len(found) <= limit, found


@pytest.mark.parametrize(
    ("shard_size", "limit"),
    [(None, 17 if native.core else 38), (SHARD_NBYTES, 194 if native.core else 374)],
)
def test_many_arrays_with_the_calls_of_a_few(
    tmp_path: Path, shard_size: int | None, limit: int
) -> None:
    store = opened(tmp_path / "a.ptr", shard_size, has_journal=False)
    names = list(store)
    out = np.empty(20_000, np.uint8)
    found = calls(lambda: store.take(names))
    assert len(found) <= limit, found
    into = calls(lambda: store.take(names, out))
    assert len(into) <= len(found) + 16, into
    by_position = calls(lambda: store.arrays.take(list(range(20)), out))
    assert len(by_position) <= limit + 16, by_position


@pytest.mark.parametrize("shard_size", [None, SHARD_NBYTES])
def test_arrays_in_order_without_a_call_each(tmp_path: Path, shard_size: int | None) -> None:
    store = opened(tmp_path / "a.ptr", shard_size, has_journal=False)
    n_calls = len(calls(lambda: list(store.values())))
    # Where arrays lie in several shards, each is looked for in a list of rows.
    assert n_calls <= (45 if shard_size is None else 180), n_calls


@pytest.mark.parametrize(("has_journal", "limit"), [(False, 18), (True, 32)])
def test_names_in_order_without_a_call_each(tmp_path: Path, has_journal: bool, limit: int) -> None:
    store = opened(tmp_path / "a.ptr", None, has_journal=has_journal)
    found = calls(lambda: list(store))
    assert len(found) <= limit, found


def test_an_open_store_of_shards_reads_no_shard_that_is_not_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    opened(path, SHARD_NBYTES, has_journal=False).close()

    def asked() -> None:
        with ptrarray.open(path) as store:
            store.refresh()
            assert len(store["a0"]) == 1000

    found = calls(asked)
    n_shards = found.count("storage/store/held.py:hold")
    assert n_shards > 3
    # That of the array, and the last one, which has notes in its journal.
    assert found.count("storage/store/index.py:__init__") == 2
    # Each journal once to open, the last one's aside, and once to refresh.
    # Heads of journals: each once to open and once to refresh, but for the last one's, which is read whole.
    assert found.count("storage/system/files.py:head") == 2 * n_shards - 1
