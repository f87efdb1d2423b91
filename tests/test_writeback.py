"""Rows that go to the disk while more are written, and how much one call writes."""

from __future__ import annotations

import ctypes
import os
from collections import Counter
from collections.abc import Callable
from errno import EIO, ENOSPC, ENOSYS, EPERM
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import StoreError, convert
from ptrarray.jobs.batches import Batches, Group
from ptrarray.storage.system import buffers, files, writeback
from ptrarray.storage.system.files import SyncError
from ptrarray.writer import PointerArrayWriter
from tests.test_syscalls import CountingOs

PIECE_NBYTES = writeback.PIECE_NBYTES
LARGE = np.arange(PIECE_NBYTES // 4 + 1000, dtype="f4")

Asked = list[tuple[str, int]]  # base name of the file, and the byte before which


class Asking:
    """The system in place of which it stands: it notes what it is asked, and may fail."""

    def __init__(self) -> None:
        self.asked: Asked = []
        self.error = 0

    def __call__(self, fd: int, start: int, nbytes: int, flags: int) -> int:
        assert (start, flags) == (0, 2)
        self.asked.append((Path(f"/proc/self/fd/{fd}").readlink().name, nbytes))
        ctypes.set_errno(self.error)
        return -1 if self.error else 0


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Asking:
    found = Asking()
    monkeypatch.setattr(writeback, "asking", lambda: found)
    return found


def by_a_job(writer: PointerArrayWriter) -> Callable[[str, Any], object]:
    batches = Batches(writer, limit_nbytes=1 << 20)  # so that what is larger does not wait
    return lambda name, array: batches.add(Group(name, {name: array}))


# When the disk is asked to begin ------------------------------------------------------------------


def test_a_job_asks_and_others_do_not(path: Path, asking: Asking) -> None:
    with ptrarray.create(path, dtype="f4") as writer:
        writer["a"] = LARGE
        writer.write({"b": LARGE, "c": LARGE})
        assert not asking.asked
        write = by_a_job(writer)
        write("d", LARGE)
    assert [name for name, _ in asking.asked] == ["data.bin"]
    ((_, end),) = asking.asked
    assert 3 * LARGE.nbytes < end <= 4 * LARGE.nbytes


def test_not_for_a_little(path: Path, asking: Asking) -> None:
    with ptrarray.create(path, dtype="f4", durable=True) as writer:
        for n in range(20):
            writer[f"a{n}"] = np.arange(50_000)
    assert not asking.asked


def test_what_is_larger_than_a_piece_is_asked_for_while_it_is_written(
    path: Path, asking: Asking
) -> None:
    with ptrarray.create(path, dtype="f4", durable=True) as writer:
        writer.write({"a": np.concatenate([LARGE] * 3), "b": LARGE})
        assert writer["b"].tobytes() == LARGE.tobytes()
    ends = [end for _, end in asking.asked]
    assert len(ends) == 4
    assert ends == sorted(ends)
    ptrarray.verify(path)


def test_an_import(tmp_path: Path, asking: Asking) -> None:
    for n in range(3):
        np.save(tmp_path / f"{n}.npy", LARGE + n)
    convert.from_npy(tmp_path, tmp_path / "a.ptr", processes=1, progress=False)
    assert {name for name, _ in asking.asked} == {"data.bin"}
    with ptrarray.open(tmp_path / "a.ptr") as store:
        for n in range(3):
            assert store[str(n)].tobytes() == (LARGE + n).tobytes()


def test_shards_and_masks(path: Path, asking: Asking) -> None:
    arrays: dict[str, Any] = {f"a{n}": np.ma.masked_equal(LARGE, n) for n in range(3)}
    with ptrarray.create(path, dtype="f4", masked=True, shard_size="12MB") as writer:
        write = by_a_job(writer)
        for name, array in arrays.items():
            write(name, array)
        writer.flush()
    assert [name for name, _ in asking.asked] == ["data.bin"] * 3
    with ptrarray.open(path) as store:
        for name, array in arrays.items():
            found: Any = store[name]
            assert found.filled(-1).tobytes() == array.filled(-1).tobytes()
    ptrarray.verify(path)


# What it says -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shard_size", [None, "1GB"])
@pytest.mark.parametrize("code", [EIO, ENOSPC])
def test_an_error_of_the_disk_is_the_last_thing_a_writer_did(
    path: Path, asking: Asking, code: int, shard_size: Any
) -> None:
    """The system may not say it again, so a flush must not succeed after it."""
    writer = ptrarray.create(path, dtype="f4", shard_size=shard_size)
    writer["a"] = [1, 2]
    write, asking.error = by_a_job(writer), code
    with pytest.raises(SyncError) as failed:
        write("b", LARGE)
    assert failed.value.errno == code
    assert str(failed.value.filename).endswith("data.bin")
    asking.error = 0
    for call in (writer.flush, lambda: writer.write({"c": [3]})):
        with pytest.raises(StoreError, match="could not be brought to the disk"):
            call()
    writer.close()
    with ptrarray.open(path) as store:
        assert list(store) == ["a"]


def test_an_import_fails_with_the_disk(tmp_path: Path, asking: Asking) -> None:
    asking.error = EIO
    np.save(tmp_path / "a.npy", LARGE)
    with pytest.raises(SyncError):
        convert.from_npy(tmp_path / "a.npy", tmp_path / "a.ptr", processes=1, progress=False)


@pytest.mark.parametrize("code", [ENOSYS, EPERM])
def test_a_system_that_cannot_be_asked(path: Path, asking: Asking, code: int) -> None:
    asking.error = code
    with ptrarray.create(path, dtype="f4", durable=True) as writer:
        writer["a"] = LARGE
    ptrarray.verify(path)


def test_a_system_without_such_a_call(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writeback, "asking", lambda: None)
    with ptrarray.create(path, dtype="f4", durable=True) as writer:
        writer["a"] = LARGE
    ptrarray.verify(path)


def test_the_system_takes_the_question(path: Path) -> None:
    """Where there is the call at all, its arguments are as it wants them."""
    with ptrarray.create(path, dtype="f4") as writer:
        writer["a"] = LARGE
        with files.File(path / "data.bin", files.CHANGE) as file:
            writeback.begin(file, LARGE.nbytes)
            ask = writeback.asking()
            assert ask is None or ask(file.fd, 0, LARGE.nbytes, 2) == 0


# How much one call writes -------------------------------------------------------------------------


def test_one_call_writes_no_more_than_a_page_that_is_at_hand(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    class Counting(CountingOs):
        def pwritev(self, fd: int, some: Any, start: int) -> int:
            sizes.append(sum(buffer.nbytes for buffer in some))
            return os.pwritev(fd, some, start)

    limit = buffers.CALL_NBYTES
    rng = np.random.default_rng(1)
    arrays: dict[str, Any] = {
        f"a{n}": rng.random(size) for n, size in enumerate([1, 3 * limit // 8, 0, 70_000, 9])
    }
    arrays["dates"] = rng.integers(0, 9, limit // 4).astype("M8[s]")
    with ptrarray.create(path) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(files, "os", Counting(Counter()))
            writer.write(arrays)
        assert len(sizes) > 4
        assert max(sizes) <= limit
        for name, array in arrays.items():
            assert writer[name].tobytes() == array.tobytes()
    ptrarray.verify(path)


@pytest.mark.parametrize("nbytes", range(13))
def test_first_bytes_and_the_rest_are_all(nbytes: int) -> None:
    whole = [memoryview(raw) for raw in (b"abc", b"", b"defgh", b"ij")]
    one, other = buffers.first(whole, nbytes), buffers.rest(whole, nbytes)
    assert len(b"".join(one)) == min(nbytes, 10)
    assert b"".join([*one, *other]) == b"abcdefghij"
