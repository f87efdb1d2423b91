"""Stores of shards are checkpointed, compacted, copied and replaced."""

from __future__ import annotations

import errno
import fcntl
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import CorruptStoreError, PointerArrayWriter, StoreError
from ptrarray.cli import main
from ptrarray.format.layouts import ROWS, Layout
from ptrarray.format.shards import ShardsHeader
from ptrarray.storage.lifecycle.create import new_header
from ptrarray.storage.shards import create
from ptrarray.storage.shards.marker import Marker, remove_replaced
from ptrarray.storage.system import files
from ptrarray.storage.writing.session import Session
from tests.support.checks import check_same, check_store
from tests.support.interfering import CHANGING_CALLS, READING_CALLS, before_call
from tests.support.shards import Arrays, fill_one_by_one, first_of, ramps, sharded, shards_of

pytestmark = pytest.mark.usefixtures("no_syncs")


@pytest.fixture
def arrays() -> Arrays:
    return ramps(60)


@pytest.fixture
def writer(path: Path, arrays: Arrays) -> PointerArrayWriter:
    return sharded(path, arrays)


def test_checkpoint_and_compact(path: Path, writer: PointerArrayWriter, arrays: Arrays) -> None:
    other = ptrarray.append(path)
    other.write({"early": [1]})  # it knows how many rows older shards have
    arrays["early"] = np.array([1], "i4")
    reader = ptrarray.open(path)
    for number in range(3):
        name = first_of(path, number)
        del writer[name]
        arrays.pop(name)
    name = first_of(path, 3)
    writer[name] = arrays[name] = np.array([5], "i4")
    ptrarray.checkpoint(path)
    check_store(ptrarray.open(path), arrays)
    before = ptrarray.open(path).nbytes
    ptrarray.compact(path)
    store = ptrarray.open(path)
    check_store(store, arrays)
    assert store.nbytes == sum(array.nbytes for array in arrays.values()) < before
    start, end = other.write({"new": [1, 2, 3]})
    store.refresh()
    assert store.pointers["new"] == (start, end)
    assert len(reader) == 61
    ptrarray.verify(path)
    ptrarray.verify(store)


def test_a_copy_is_the_same_store(path: Path, writer: PointerArrayWriter, arrays: Arrays) -> None:
    writer.close()
    copy = path.with_name("copy.ptr")
    shutil.copytree(path, copy)
    shutil.rmtree(path)
    with ptrarray.append(copy) as again:
        again.write({"more": [1]})
    check_store(ptrarray.open(copy), arrays | {"more": np.array([1], "i4")})


def test_command_line(
    path: Path, writer: PointerArrayWriter, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    writer.close()
    n_shards = len(shards_of(path))
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert f"shards     {n_shards}\n" in out
    assert "shard nbytes  4,000" in out
    assert main(["ls", str(path), "n1?"]) == 0
    assert capsys.readouterr().out.split() == [f"n1{n}" for n in range(10)]
    assert main(["get", str(path), "n40"]) == 0
    assert capsys.readouterr().out.startswith("n40: int32")
    repaired = str(tmp_path / "repaired.ptr")
    for command in (["verify"], ["checkpoint"], ["compact"], ["repair", "--to", repaired]):
        assert main([command[0], str(path), *command[1:]]) == 0
    assert "60 arrays" in capsys.readouterr().out
    shutil.rmtree(path / "shard-00001.ptr")
    assert main(["verify", str(path)]) == 1
    assert "shard-00001.ptr" in capsys.readouterr().out


# replaced -----------------------------------------------------------------------------------------


def test_replacing_a_store(path: Path, writer: PointerArrayWriter, arrays: Arrays) -> None:
    reader = ptrarray.open(path)
    with ptrarray.create(path, dtype="f8", shard_size="1kB", mode="w") as new:
        assert shards_of(path) == ["shard.2-00000.ptr"]
        for n in range(20):
            new.write({f"new{n}": np.full(20, n)})
        assert len(shards_of(path)) > 2
    for use in (lambda: writer.write({"x": [1]}), lambda: writer["n1"], writer.flush):
        with pytest.raises(StoreError, match="replaced"):
            use()
    writer.close()
    for name, array in arrays.items():
        check_same(reader[name], array)
    reader.refresh()
    assert reader.dtype == np.float64
    assert len(reader) == 20
    with ptrarray.create(path, dtype="f8", shard_size="1kB", mode="w"):
        assert shards_of(path) == ["shard.3-00000.ptr"]


def test_replacing_a_store_whose_shards_cannot_be_renamed(
    path: Path, writer: PointerArrayWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where they are mounted from another device, or in a lower layer of an overlay."""
    writer.close()
    replace = files.replace

    def refusing(source: Path, target: Path) -> None:
        if source.name.startswith("shard-"):
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(source))
        replace(source, target)

    monkeypatch.setattr(files, "replace", refusing)
    ptrarray.create(path, dtype="i4", shard_size="1kB", mode="w").close()
    assert shards_of(path) == ["shard.2-00000.ptr"]


def test_a_journal_that_is_folded_before_the_commit_to_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleting what another writer has replaced may fold the journal of the very shard."""
    monkeypatch.setattr("ptrarray.storage.writing.session._JOURNAL_LIMIT_NBYTES", 8200)
    path = path.with_name("new.ptr")
    writer = ptrarray.create(path, dtype="u1", shard_size=20_000)
    other = ptrarray.append(path)
    writer["x"] = np.zeros(10, "u1")
    with writer.allocate("x", 100, overwrite=True) as rows:
        rows[...] = 7
        for name in "ab":
            other[name] = np.zeros(15_000, "u1")
        other["x"] = [1]  # in another shard
    check_store(ptrarray.open(path), {"x": rows, **dict.fromkeys("ab", np.zeros(15_000, "u1"))})


def test_replaced_by_a_process_that_was_killed_then(
    path: Path, writer: PointerArrayWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old shards are there still, and nothing may be lost in them."""
    for name in ("remove_leftovers", "remove_replaced"):
        monkeypatch.setattr(f"ptrarray.storage.shards.create.{name}", lambda marker: None)
    ptrarray.create(path, dtype="i4", shard_size="1kB", mode="w").close()
    assert len(shards_of(path)) > 4
    with pytest.raises(StoreError, match="replaced"):
        writer.write({"x": [1]})
    monkeypatch.undo()
    with ptrarray.append(path) as new:
        fill_one_by_one(new, ramps(20))
    assert all(name.startswith("shard.2-") for name in shards_of(path))
    check_store(ptrarray.open(path), ramps(20))


@pytest.mark.usefixtures("writer")
def test_replaced_again_while_the_shards_before_are_removed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has replaced a store has no lock of the new one, and takes nothing away from the next."""
    half_done, removed = Event(), Event()
    write = create.write_marker

    def written(directory: Path, header: ShardsHeader) -> None:
        if header.generation == 3:  # its shard is in place, and no marker says so
            half_done.set()
            assert removed.wait(60)
        write(directory, header)
        if header.generation == 2:
            others.append(pool.submit(create.replace_any, path, plain, 1000))
            assert half_done.wait(60)

    def removing(marker: Marker) -> None:
        remove_replaced(marker)
        removed.set()

    monkeypatch.setattr(create, "write_marker", written)
    monkeypatch.setattr(create, "remove_replaced", removing)
    plain = new_header(Layout(ROWS, np.dtype("f4"), (), masked=False), 0, {})
    others: list[Future[Any]] = []
    with ThreadPoolExecutor(1) as pool:
        create.replace_any(path, plain, 1000)
        others[0].result(60)
    assert shards_of(path) == ["shard.3-00000.ptr"]
    with ptrarray.append(path) as new:
        new["a"] = [1.5]
    check_store(ptrarray.open(path), {"a": np.array([1.5], "f4")})


def test_replaced_while_views_of_it_are_changed(path: Path, writer: PointerArrayWriter) -> None:
    writer.close()
    store = ptrarray.open(path, "r+")
    store["n1"][...] = 7
    ptrarray.create(path, dtype="i4", shard_size="1kB", mode="w").close()
    for use in (store.flush, store.close):
        with pytest.raises(StoreError, match=f"{path} was replaced .* changes .* are lost"):
            use()


def test_replaced_while_it_is_flushed(
    path: Path, writer: PointerArrayWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = Session.flush

    def late(session: Session) -> None:
        ptrarray.create(path, dtype="i4", shard_size="1kB", mode="w").close()
        monkeypatch.undo()
        flush(session)

    monkeypatch.setattr(Session, "flush", late)
    with pytest.raises(StoreError, match="was replaced by another store"):
        writer.flush()


CALLS = {*READING_CALLS, *CHANGING_CALLS}
UPKEEP: dict[str, Callable[[Path, PointerArrayWriter], object]] = {
    "checkpoint": lambda path, _: ptrarray.checkpoint(path),
    "compact": lambda path, _: ptrarray.compact(path),
    "publish": lambda path, _: ptrarray.publish(path),
    "flush": lambda _, writer: writer.flush(),
    "close": lambda _, writer: writer.close(),
}


@pytest.mark.parametrize("every", [17, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("call", UPKEEP.values(), ids=UPKEEP)
def test_replaced_before_any_system_call_of_its_upkeep(
    call: Callable[[Path, PointerArrayWriter], object],
    every: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is refused as replaced, or done; the store that is there is as it was made."""
    for n_calls_before in count(0, every):
        path = tmp_path / f"{n_calls_before}.ptr"
        with ptrarray.create(path, dtype="i4", shard_size=400) as writer:
            fill_one_by_one(writer, ramps(6))
            writer.write({"n0": [7], "more": [8]}, overwrite=True)
            last = path / shards_of(path)[-1] / "journal.msgpack"

            def replace(path: Path = path) -> None:
                ptrarray.create(path, dtype="i4", shard_size=400, mode="w").close()

            def is_unlocked(last: Path = last) -> bool:  # else whoever replaces it waits
                with last.open("rb") as file, suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return True
                return False

            calls = before_call(monkeypatch, n_calls_before, replace, CALLS, is_unlocked)
            with calls as replaced, suppress(StoreError):
                try:
                    call(path, writer)
                except CorruptStoreError as error:
                    raise AssertionError("a store that was replaced is not damaged") from error
        if not replaced:
            break
        check_store(ptrarray.open(path), {})
    assert n_calls_before > 5
