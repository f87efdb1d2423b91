"""The machine starts anew after rows were changed in place: nothing committed is lost.

A restart and a power cut look the same to whoever comes after: another boot id, and commits that
were never flushed. Which it was, the checksums of their rows tell, unless somebody has changed the
rows through a mapping.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import PointerArrayWriter
from ptrarray.intake.batch import Batch
from ptrarray.storage.system import lock
from ptrarray.storage.writing.space import Claim
from tests.support.checks import ints
from tests.support.effort import one_in
from tests.support.processes import FORK
from tests.support.restarts import (
    STORES,
    Array,
    Values,
    check,
    check_content,
    count_syncs,
    ended,
    fill,
    value,
)
from tests.support.story import booted

pytestmark = pytest.mark.usefixtures("no_syncs")
each_kind = pytest.mark.parametrize("kind", STORES)


def in_turn(cases: list[Any]) -> list[Any]:
    """Return each kind with each case; the normal run has of each kind every other case, in turn."""
    n = len(cases)
    return one_in(
        2, [(kind, cases[(at + i) % n]) for at, kind in enumerate(STORES) for i in range(n)]
    )


def halve(array: Array) -> None:
    """Change an array in place: every element, and of a masked one the first mask."""
    array[...] = np.ma.getdata(array) / 2 + 1
    if isinstance(array, np.ma.MaskedArray):
        array[:1] = np.ma.masked


def halved(array: Array) -> Array:
    copy = array.copy()
    halve(copy)
    return copy


# a change through r+, then commits, then a restart --------------------------------------------------


def change_and(path: Path, name: str, ending: str, told: Connection) -> None:
    store = ptrarray.open(path, "r+")
    halve(store[name])
    if ending == "flushed":
        store.flush()
        halve(store[name])
    told.send(None)
    if ending == "left":
        os._exit(0)
    signal.pause()


@contextmanager
def changing(path: Path, name: str, ending: str) -> Iterator[None]:
    """Let a process change an array and end, or live until the ``with`` block has."""
    here, there = FORK.Pipe()
    process = FORK.Process(target=change_and, args=(path, name, ending, there))
    process.start()
    assert here.poll(60)
    here.recv()
    if ending != "lives":
        process.kill() if ending != "left" else None
        process.join()
    try:
        yield
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize(("kind", "ending"), in_turn(["killed", "left", "lives", "flushed"]))
def test_commits_after_a_change(path: Path, kind: str, ending: str) -> None:
    with ptrarray.create(path, **STORES[kind]) as writer:
        expected = fill(writer, kind, "base", 1000 if (kind, ending) == ("rows", "killed") else 30)
    writer = ptrarray.append(path)
    writer["a"] = value(kind, 5)
    with changing(path, "a", ending):
        expected |= {"a": halved(value(kind, 5))} | fill(writer, kind, "later", 20)
        if ending == "flushed":
            expected["a"] = halved(expected["a"])
        ended(writer)
        check(path, expected)


def say_more(writer: PointerArrayWriter, _: Values) -> None:
    writer.meta["a"] = {"k": 1}


def say_more_of_a_point(writer: PointerArrayWriter, _: Values) -> None:
    writer.meta["p"] = {"k": 1}


def delete(writer: PointerArrayWriter, expected: Values) -> None:
    del writer["a"], expected["a"]


def replace(writer: PointerArrayWriter, expected: Values) -> None:
    writer["a"] = expected["a"] = expected["base3"]


def change_attrs(writer: PointerArrayWriter, _: Values) -> None:
    writer.attrs["k"] = 1


def point_again(writer: PointerArrayWriter, expected: Values) -> None:
    writer.point("q", *writer.pointers["a"])
    expected["q"] = expected["a"]


@pytest.mark.parametrize(("kind", "then"), in_turn([say_more, delete, replace, change_attrs]))
def test_commits_about_what_was_changed(
    path: Path, kind: str, then: Callable[[PointerArrayWriter, Values], None]
) -> None:
    check_what_comes_then(path, kind, then, is_pointed=False)


@pytest.mark.parametrize("then", [say_more_of_a_point, delete, replace, point_again])
@pytest.mark.parametrize("kind", ["rows", "masked", "shards"])  # elsewhere a point has no shape
def test_commits_about_points_to_what_was_changed(
    path: Path, kind: str, then: Callable[[PointerArrayWriter, Values], None]
) -> None:
    check_what_comes_then(path, kind, then, is_pointed=True)


def check_what_comes_then(
    path: Path,
    kind: str,
    then: Callable[[PointerArrayWriter, Values], None],
    *,
    is_pointed: bool,
) -> None:
    writer = ptrarray.create(path, **STORES[kind])
    expected = fill(writer, kind, "base", 5)
    writer["a"] = value(kind, 4)
    if is_pointed:
        writer.point("p", *writer.pointers["a"])
    with changing(path, "a", "killed"):
        expected["a"] = halved(value(kind, 4))
        if is_pointed:
            expected["p"] = expected["a"]
        then(writer, expected)
        expected |= fill(writer, kind, "later", 3)
        ended(writer)
        check(path, expected)


# what may be changed only while a view lives ---------------------------------------------------------


def append_in_beforehand(writer: PointerArrayWriter) -> None:
    writer["x"] = [1, 2, 3]


def append_large(writer: PointerArrayWriter) -> None:
    writer["x"] = np.full(20_000, 1)


def plan(writer: PointerArrayWriter) -> None:
    writer.write({"x": [1, 2], "y": [3]}, start=90)


def plan_large(writer: PointerArrayWriter) -> None:
    writer.write({"x": np.full(20_000, 1)}, start=1000)


def point(writer: PointerArrayWriter) -> None:
    writer.point("x", 50, 60)


def allocate(writer: PointerArrayWriter) -> None:
    with writer.allocate("x", 4) as rows:
        rows[...] = 1


def write_where_one_was_deleted(writer: PointerArrayWriter) -> None:
    writer.write({"z": [1, 2, 3]}, start=40)
    del writer["z"]
    writer.write({"x": [4, 5]}, start=40)


IN_ROWS = [
    append_in_beforehand,
    append_large,
    plan,
    plan_large,
    point,
    allocate,
    write_where_one_was_deleted,
]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("is_closed", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("commit", IN_ROWS)
def test_commits_in_rows_that_a_view_has(
    path: Path, commit: Callable[[PointerArrayWriter], None], is_closed: bool, masked: bool
) -> None:
    """Rows that were there beforehand may be changed by whoever had them mapped before."""
    ptrarray.create(path, dtype="i4", rows=50_000, masked=masked).close()
    store = ptrarray.open(path, "r+")
    rows: Any = store.rows
    if is_closed:
        store.close()
    del store
    writer = ptrarray.append(path)
    commit(writer)
    rows[...] = 7
    if masked:
        rows[::3] = np.ma.masked
    names = list(writer)
    expected = {name: rows[slice(*writer.pointers[name])].copy() for name in names}
    writer["later"] = expected["later"] = (
        np.ma.array([1, 2], "i4") if masked else np.array([1, 2], "i4")
    )
    ended(writer)
    with booted(2):
        check_content(path, expected, "mmap")


@pytest.mark.parametrize("commit", IN_ROWS)
def test_without_a_view_commits_are_judged(
    path: Path, commit: Callable[[PointerArrayWriter], None]
) -> None:
    """As soon as no view is left: else what a power cut had taken would be there all the same."""
    ptrarray.create(path, dtype="i4", rows=50_000).close()
    view = ptrarray.open(path, "r+").rows[:3]
    del view
    gc.collect()
    writer = ptrarray.append(path)
    writer["before"] = [1]
    commit(writer)
    start, _ = writer.pointers["x"]
    writer["later"] = [1]
    ended(writer)
    data = np.memmap(path / "data.bin", "i4", "r+")
    data[start] += 1
    with booted(2), ptrarray.open(path) as store:
        assert "before" in store
        assert not {"x", "later"} & {*store}


def test_what_a_refresh_brings_may_be_changed(path: Path) -> None:
    ptrarray.create(path, dtype="i4").close()
    with ptrarray.open(path, "r+") as store:
        writer = ptrarray.append(path)
        writer["a"] = [1, 2]
        store.refresh()
        store["a"][...] = 7
        writer["later"] = [3]
        ended(writer)
        check(path, {"a": ints(7, 7), "later": ints(3)})


def test_rows_that_are_not_there_are_missed_without_a_checksum(path: Path) -> None:
    """As if the file system had lost a size."""
    ptrarray.create(path, dtype="i4", rows=10).close()
    rows = ptrarray.open(path, "r+").rows
    writer = ptrarray.append(path)
    writer["before"] = [1]
    writer.write({"x": [1, 2]}, start=50)
    ended(writer)
    os.truncate(path / "data.bin", 40)
    with booted(2):
        assert list(ptrarray.open(path)) == ["before"]
    assert rows[0] == 1


def test_a_file_system_that_cannot_tell_who_lives(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows may then always be changed, and no writer is known to live."""
    monkeypatch.setattr(lock, "_ASK_RANGE_LOCK", -1)
    ptrarray.create(path, dtype="i4", rows=10).close()
    writer = ptrarray.append(path)
    writer["x"] = [1, 2]
    data = np.memmap(path / "data.bin", "i4", "r+")
    data[0] = 7
    with booted(2):
        assert ptrarray.open(path)["x"].tolist() == [7, 2]
    writer.write({"y": [3, 4]}, start=12)
    writer["z"] = [5, 6, 7, 8, 9, 10]  # new rows, which nobody has mapped
    data = np.memmap(path / "data.bin", "i4", "r+")
    data[[12, 16]] = 0
    with booted(2):
        assert {*ptrarray.open(path)} == {"x", "y"}


@pytest.mark.parametrize("is_large", [True, False], ids=["large", "allocated"])
def test_rows_that_a_view_has_before_they_are_committed(
    path: Path, monkeypatch: pytest.MonkeyPatch, is_large: bool
) -> None:
    """For others were committed behind them, while they were written."""
    writer = ptrarray.create(path, dtype="i4")
    stores = []

    def meanwhile() -> None:
        other = ptrarray.append(path)
        other["behind"] = [1]
        ended(other)
        stores.append(ptrarray.open(path, "r+"))

    if is_large:
        claimed = Claim.write

        def write(claim: Claim, batch: Batch, start: int) -> None:
            claimed(claim, batch, start)
            meanwhile()

        monkeypatch.setattr(Claim, "write", write)
        writer["x"] = np.zeros(20_000, "i4")
    else:
        with writer.allocate("x", 20_000):
            meanwhile()
    stores[0].rows[:20_000] = 7
    writer["later"] = [3]
    ended(writer)
    check(path, {"x": np.full(20_000, 7, "i4"), "behind": ints(1), "later": ints(3)})


def test_new_rows_wait_for_no_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody who has rows mapped has them; nor does one more name wait."""
    with ptrarray.create(path, dtype="i4") as writer:
        writer["a"] = [1, 2, 3]
        ptrarray.checkpoint(path)
        syncs = count_syncs(monkeypatch)
        with ptrarray.open(path, "r+") as store:  # all is on the disk
            writer["next"] = [4]
            writer["large"] = np.zeros(20_000, "i4")
            writer.point("p", 0, 2)
            writer.meta["a"] = {"k": 1}
            assert syncs == []
            writer.write({"b": [5]}, start=30_000)
            assert syncs == [str(path / "data.bin")]
            assert store["a"].tolist() == [1, 2, 3]


def test_rows_of_a_deleted_array_that_a_view_has(path: Path) -> None:
    writer = ptrarray.create(path, dtype="i4")
    writer.write({"z": [1, 2, 3], "y": [4]})
    view = ptrarray.open(path, "r+")["z"]
    del writer["z"]
    writer.write({"x": [5, 6]}, start=1)
    view[...] = 7
    writer["later"] = [8]
    ended(writer)
    check(path, {"x": ints(7, 7), "y": ints(4), "later": ints(8)})


def change_when_told(rows: Array, told: Connection) -> None:
    told.recv()
    rows[...] = 7
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_child_of_a_fork_may_change_rows_as_well(path: Path) -> None:
    ptrarray.create(path, dtype="i4", rows=100).close()
    store = ptrarray.open(path, "r+")
    rows = store.rows
    here, there = FORK.Pipe()
    process = FORK.Process(target=change_when_told, args=(rows, there))
    process.start()
    del rows, store
    gc.collect()
    writer = ptrarray.append(path)
    writer["x"] = [1, 2]
    here.send(None)
    process.join()
    writer["later"] = [3]
    ended(writer)
    check(path, {"x": ints(7, 7), "later": ints(3)})
