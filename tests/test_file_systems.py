"""What some file systems do otherwise: on the real ones where they can be mounted."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from errno import EINVAL, EIO, ENODEV, ENOLCK, ENOMEM, ENOSPC, ENOSYS, EOPNOTSUPP
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import StoreError
from ptrarray.storage.store import opened
from ptrarray.storage.system import files, lock, mapping
from tests.support.checks import check_same_elements, unchanged
from tests.support.failing import check_named
from tests.support.mounts import btrfs, mounted, overlay
from tests.support.processes import FORK, TIMEOUT_SECONDS

# layers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("same", [True, False], ids=["one disk", "two disks"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_a_store_of_a_lower_layer_that_is_copied_up(
    tmp_path: Path, backend: Any, mode: Any, masked: bool, same: bool
) -> None:
    """The system makes a copy at the first opening for writing; mappings show the old file."""
    if backend == "pread" and mode == "r+":
        return
    lower = tmp_path / "lower"
    lower.mkdir()
    if same:
        check_copied_up(tmp_path, lower, mode, backend, masked=masked)
    else:
        with mounted(lower, "-t", "tmpfs", "tmpfs"):
            check_copied_up(tmp_path, lower, mode, backend, masked=masked)


def check_copied_up(folder: Path, lower: Path, mode: Any, backend: Any, *, masked: bool) -> None:
    with ptrarray.create(lower / "a.ptr", dtype="i4", rows=100, masked=masked) as writer:
        writer["a"] = [1, 2]
    with (
        overlay(folder / "layers", lower) as merged,
        ptrarray.open(merged / "a.ptr", mode=mode, backend=backend) as store,
    ):
        assert store["a"].tolist() == [1, 2]
        for n in range(3):
            with ptrarray.append(merged / "a.ptr") as writer:
                writer[f"b{n}"] = np.ma.masked_equal([n, 9], 9) if masked else [n, 9]
                writer.write({f"c{n}": [n] * 3}, start=90 - 3 * n)
                assert writer["a"].tolist() == [1, 2]
                store.refresh()
                assert store[f"b{n}"].tolist() == [n, None if masked else 9]
                assert store[f"c{n}"].tolist() == [n] * 3
            if n == 1:
                ptrarray.checkpoint(merged / "a.ptr")
                store.refresh()
        store.verify()
        if mode == "r+":
            return
        ptrarray.compact(merged / "a.ptr")
        store.refresh()
        store.verify()
        assert store["a"].tolist() == [1, 2]


@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_rows_are_mapped_once_more_after_the_first_commit(
    path: Path, monkeypatch: pytest.MonkeyPatch, backend: Any
) -> None:
    ptrarray.create(path, dtype="i4", rows=100).close()
    n_mapped = 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal n_mapped
        n_mapped += 1
        return real(*arguments, **options)

    name = "map_rows" if backend == "mmap" else "open_rows"
    real = getattr(opened, name)
    monkeypatch.setattr(opened, name, counted)
    found = []
    with ptrarray.open(path, backend=backend) as store, ptrarray.append(path) as writer:
        for name in "abc":
            writer[name] = [1]
            store.refresh()
            assert store[name].tolist() == [1]
            found.append(n_mapped)
        ptrarray.checkpoint(path)
        store.refresh()
    assert [*found, n_mapped] == [2] * 4


# full disks ---------------------------------------------------------------------------------------

N_BYTES = 12 << 20


def fill_up(folder: Path, n_left: int) -> None:
    """Write until a disk is full, but for so many bytes."""
    (folder / "left").write_bytes(os.urandom(n_left))
    with suppress(OSError), (folder / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(os.urandom(1 << 20))
            os.fsync(file.fileno())
    (folder / "left").unlink()
    os.sync()


def allocate_and_fill(path: Path, results: Any) -> None:
    try:
        with ptrarray.append(path) as writer, writer.allocate("a", N_BYTES) as rows:
            for value in (1, 2):  # the second time, the first has reached the disk
                rows[:] = value
                os.sync()
        results.send(None)
    except OSError as error:
        results.send(error)


@pytest.mark.slow
@pytest.mark.parametrize(("n_left", "is_enough"), [(0, False), (16 << 20, False), (28 << 20, True)])
def test_allocate_on_a_full_btrfs(tmp_path: Path, n_left: int, is_enough: bool) -> None:
    """A page that was changed needs room beside what was set aside for it."""
    with btrfs(tmp_path / "disk", 300 << 20) as disk:
        path = disk / "a.ptr"
        ptrarray.create(path, dtype="u1").close()
        fill_up(disk, n_left)
        receiver, sender = FORK.Pipe(duplex=False)
        process = FORK.Process(target=allocate_and_fill, args=(path, sender))
        process.start()
        process.join(TIMEOUT_SECONDS)
        assert process.exitcode == 0
        error = receiver.recv()
        (disk / "ballast").unlink()
        with ptrarray.open(path) as store:
            store.verify()
            assert list(store) == ["a"] * is_enough
    assert (error is None) == is_enough
    if error is not None:
        assert error.errno == ENOSPC
        check_named(error, str(path))


class WithoutAllocation:
    """The module `os` on a system that cannot set bytes of a disk aside."""

    def __init__(self, code: int) -> None:
        self.code = code

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def posix_fallocate(self, *_: int) -> None:
        raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize("code", [EOPNOTSUPP, EINVAL, ENOSYS])
@pytest.mark.parametrize("masked", [False, True])
def test_no_bytes_can_be_set_aside(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int, masked: bool
) -> None:
    monkeypatch.setattr(files, "os", WithoutAllocation(code))
    with ptrarray.create(path, dtype="i4", masked=masked) as writer:
        with writer.allocate("a", 1000) as rows:
            assert not rows.any()
            assert (path / "data.bin").stat().st_blocks * 512 >= 4000
            rows[:] = 7
        with pytest.raises(ZeroDivisionError), writer.allocate("b", 5) as rows:
            rows[:] = 1 // 0
        with writer.allocate("b", 3) as rows:
            assert not rows.any()
        assert writer["a"].sum() == 7000
    ptrarray.dump({"x": np.arange(5)}, path.with_name("b.ptr"))
    assert ptrarray.load(path.with_name("b.ptr"))["x"].tolist() == [0, 1, 2, 3, 4]


# locks --------------------------------------------------------------------------------------------


class WithoutLocks:
    """The module `fcntl` on a file system whose `flock` is missing, or keeps nobody out."""

    def __init__(self, code: int) -> None:
        self.code = code

    def __getattr__(self, name: str) -> Any:
        return getattr(fcntl, name)

    def flock(self, *_: int) -> None:
        if self.code:
            raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize("code", [0, EOPNOTSUPP, EINVAL, ENOSYS, ENOLCK])
@pytest.mark.parametrize("shard_size", [None, "1MB"])
def test_a_lock_that_does_not_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int, shard_size: str | None
) -> None:
    with ptrarray.create(path, dtype="i4", shard_size=shard_size) as writer:
        writer["a"] = [1]
    monkeypatch.setattr(lock, "fcntl", WithoutLocks(code))
    why = os.strerror(code) if code else "the same lock twice"
    calls: list[Callable[[], object]] = [
        lambda: ptrarray.append(path),
        lambda: ptrarray.compact(path),
        lambda: ptrarray.create(path, dtype="i4", mode="a", shard_size=shard_size),
        lambda: ptrarray.create(path, dtype="i4", mode="w", shard_size=shard_size),
    ]
    with unchanged(path):
        for call in calls:
            with pytest.raises(StoreError, match=rf"{path}.*{why}.*local disk"):
                call()
        with ptrarray.open(path) as store:
            assert store["a"].tolist() == [1]
            store.verify()
    other = path.with_name("other.ptr")
    with pytest.raises(StoreError, match=rf"other.ptr.*{why}.*local disk"):
        ptrarray.create(other, dtype="i4", shard_size=shard_size)
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_an_error_of_a_lock_names_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ptrarray.create(path, dtype="i4").close()
    monkeypatch.setattr(lock, "fcntl", WithoutLocks(EIO))
    with pytest.raises(OSError, match="Input/output") as caught:
        ptrarray.append(path)
    assert caught.value.filename == str(path / "journal.msgpack")


# mappings -----------------------------------------------------------------------------------------


class WithoutMappings:
    """The module `mmap` where files cannot be mapped, or none of more than some bytes."""

    def __init__(self, code: int, limit: int = -1) -> None:
        self.code = code
        self.limit = limit

    def __getattr__(self, name: str) -> Any:
        return getattr(mmap, name)

    def mmap(self, fd: int, nbytes: int, **options: Any) -> mmap.mmap:
        if nbytes > self.limit:
            raise OSError(self.code, os.strerror(self.code))
        return mmap.mmap(fd, nbytes, **options)


KINDS: list[dict[str, Any]] = [
    {"dtype": "M8[s]"},
    {"dtype": "i4", "row_shape": 2, "shard_size": 20_000},
    {"dtype": "f4", "row_shape": None, "masked": True},
    {"masked": True},
    {},
]
VALUES = np.arange(2000).reshape(-1, 2)


def stored(facts: dict[str, Any]) -> np.ndarray[Any, Any]:
    dtype = np.dtype(facts.get("dtype", "i2"))
    values = VALUES if facts.get("row_shape", ()) != () or "dtype" not in facts else VALUES[:, 0]
    values = values.astype(dtype)
    return np.ma.masked_equal(values, 4) if facts.get("masked") else values


@pytest.mark.parametrize("facts", KINDS, ids=str)
@pytest.mark.parametrize(
    "double", [WithoutMappings(ENODEV), WithoutMappings(ENOMEM, 5_000)], ids=["none", "large"]
)
def test_files_that_cannot_be_mapped(
    path: Path, monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], double: WithoutMappings
) -> None:
    """Everything works but a reader that is to map; that one says what to do."""
    monkeypatch.setattr(mapping, "mmap", double)
    array = stored(facts)
    where = {} if "dtype" in facts else {"dtype": array.dtype}
    shape = array.shape if facts.get("row_shape", ()) is None or not facts.get("dtype") else 1000
    with ptrarray.create(path, **facts) as writer:
        for n in range(3):
            writer[f"a{n}"] = array
        with writer.allocate("b", shape, **where) as rows:
            rows[:] = array
        with suppress(ZeroDivisionError), writer.allocate("c", shape, **where) as rows:
            rows[:] = 1 // 0
        for name in ("a1", "b"):
            check_same_elements(writer[name], array)
        assert list(writer) == ["a0", "a1", "a2", "b"]
        writer["a0"] = array
        del writer["a2"]
    for call in (ptrarray.verify, ptrarray.checkpoint, ptrarray.compact, ptrarray.verify):
        call(path)
    with pytest.raises(OSError, match='backend="pread"') as caught:
        ptrarray.open(path)
    assert str(caught.value.filename).startswith(str(path))
    with ptrarray.open(path, backend="pread") as store:
        assert sorted(store) == ["a0", "a1", "b"]
        check_same_elements(store["b"], array)
    assert ptrarray.repair(path, path.with_name("repaired.ptr")) == []
    if "shard_size" not in facts:
        ptrarray.pack(path, path.with_name("a.tar"))
        ptrarray.unpack(path.with_name("a.tar"), path.with_name("unpacked.ptr"))
    for mode in ("x", "w"):
        ptrarray.dump({"x": array}, path.with_name("d.ptr"), mode=mode)
        check_same_elements(ptrarray.load(path.with_name("d.ptr"))["x"], array)
    ptrarray.create(path, mode="w", **facts).close()
    ptrarray.verify(path)
