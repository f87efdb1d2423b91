"""Without descriptors, room on the disk or rights, the error names the path, and nothing is lost."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import numpy as np
import pytest

import ptrarray
from tests.support.checks import open_descriptors
from tests.support.disk import materialise, read_tree
from tests.support.failing import BEFORE, LARGE, B, caught, check_named, prepared, read_all
from tests.support.faults import SYNCS, injected
from tests.support.mounts import mounted
from tests.support.story import Content, look, with_attrs

NOBODY = 65534


# descriptors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["open", "append", "verify", "checkpoint", "compact"])
def test_no_descriptor_left(call: str, tmp_path: Path) -> None:
    """Let the system itself refuse one descriptor after another."""
    materialise(prepared(), tmp_path / "root")
    path = tmp_path / "root" / "store.ptr"
    for n_free in range(50):
        with free_descriptors(n_free):
            error = caught(lambda _: getattr(ptrarray, call)(path), None)
        if error is None:
            break
        assert error.errno == errno.EMFILE
        check_named(error, str(path))
    assert 0 < n_free < 49
    assert look(path) == BEFORE


@contextmanager
def free_descriptors(n_free: int) -> Iterator[None]:
    """Let this process open only so many more files."""
    gc.collect()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(n_free):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)


# full disks ---------------------------------------------------------------------------------------


def fill_up(path: Path) -> list[str]:
    """Write until there is no room, then a little; return what was acknowledged."""
    there: list[str] = []
    writer = ptrarray.append(path)
    for size in (LARGE, B):
        for n in range(10_000):
            name = f"{len(size)}/{n}"
            try:
                writer[name] = size
            except OSError as error:
                check_named(error, str(path))
                break
            there.append(name)
    for call in (writer.flush, writer.close):
        with suppress(OSError):
            call()
    return there


def check_filled(path: Path, there: list[str]) -> None:
    assert len(there) > 2
    with ptrarray.open(path) as store:
        assert sorted(store) == sorted(there)
        store.verify()
    with ptrarray.append(path) as writer:
        writer["more"] = LARGE
        writer.flush()
    ptrarray.checkpoint(path)
    with ptrarray.open(path) as store:
        assert sorted(store) == sorted([*there, "more"])
        store.verify()


def test_largest_file(tmp_path: Path) -> None:
    path = tmp_path / "store.ptr"
    ptrarray.create(path, dtype="i4").close()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        there = fill_up(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    check_filled(path, there)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of one megabyte."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as folder:
        yield folder


def test_full_disk(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    path = small_disk / "store.ptr"
    ptrarray.create(path, dtype="i4").close()
    there = fill_up(path)
    for call in (ptrarray.checkpoint, ptrarray.compact):
        with suppress(OSError):
            call(path)
    with pytest.raises(OSError, match="No space"):
        ptrarray.create(small_disk / "other.ptr", dtype="i4", mode="x")
    assert sorted(p.name for p in small_disk.iterdir()) == ["ballast", "store.ptr"]
    ballast.unlink()
    check_filled(path, there)


def test_allocate_on_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "store.ptr"
    with ptrarray.create(path, dtype="i4") as writer:
        with pytest.raises(OSError, match="No space") as caught, writer.allocate("a", 10**6):
            pytest.fail("the block began without room for its rows")
        check_named(caught.value, str(path))
        writer["b"] = B
    assert look(path) == with_attrs({"b": B.tobytes()}, {})


@pytest.mark.parametrize("kind", ["plain", "masked", "shards"])
def test_repair_on_a_full_disk(kind: str, small_disk: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"masked": kind == "masked"}
    options |= {"shard_size": "500kB"} if kind == "shards" else {}
    damaged, to = tmp_path / "damaged.ptr", small_disk / "repaired.ptr"
    with ptrarray.create(damaged, dtype="i4", **options) as writer:
        for i in range(4):
            writer[f"a{i}"] = np.ma.masked_less(np.arange(100_000), 1000 * i).filled(7)
    ballast = small_disk / "ballast"
    for n_free in (0, 5_000, 20_000, 50_000, 900_000):
        ballast.write_bytes(bytes(900_000 - n_free))
        with pytest.raises(OSError, match="No space"):
            ptrarray.repair(damaged, to)
        assert os.listdir(small_disk) == ["ballast"]  # noqa: PTH208


def outgrown(path: Path, **options: Any) -> Content:
    """Make a store whose journal is to be folded when a writer is closed."""
    writer = ptrarray.create(path, dtype="i4", **options)
    for i in range(300):
        writer[f"a{i}"] = [i]
    writer.flush()
    return look(path)


def fail(before: Callable[[], object] = bool) -> NoReturn:
    before()
    raise RuntimeError("mine")


def test_closing_on_a_full_disk(small_disk: Path) -> None:
    """What is optional waits for a disk with room, and hides nothing."""
    path, ballast = small_disk / "store.ptr", small_disk / "ballast"
    content = outgrown(path)
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    with ptrarray.append(path):
        pass
    with pytest.raises(RuntimeError, match="mine"), ptrarray.append(path):
        fail()
    with ptrarray.append(path) as writer, pytest.raises(OSError, match="No space"):
        writer["large"] = LARGE
    assert look(path) == content
    with pytest.raises(OSError, match="No space"):
        ptrarray.checkpoint(path)  # which was asked for
    ballast.unlink()
    ptrarray.append(path).close()
    assert look(path) == content
    assert (path / "journal.msgpack").stat().st_size < 10_000


@pytest.mark.parametrize("shard_size", [None, "4kB"])
def test_what_fails_in_closing_is_a_note_on_the_error_of_the_block(
    shard_size: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "store.ptr"
    outgrown(path, shard_size=shard_size)
    with injected() as faults:
        faults.arm(1, errno.EIO, is_lasting=True, only=SYNCS)
        ptrarray.append(path).close()  # all of it is on the disk, and the index can wait
        faults.disarm()
        writer = ptrarray.append(path)
        writer["late"] = [1]
        faults.arm(1, errno.EIO, is_lasting=True, only=SYNCS)
        # Rows that are committed cannot be brought to the disk: that must be known.
        with pytest.raises(OSError, match="Input/output"):
            writer.close()
        faults.disarm()
        with pytest.raises(RuntimeError, match="mine") as raised, ptrarray.append(path):
            fail(lambda: faults.arm(1, errno.EIO, is_lasting=True, only=SYNCS))
        faults.disarm()
        assert "Input/output" in raised.value.__notes__[0]
        del raised
    gc.collect()
    assert open_descriptors(path) == []


def test_leftovers_that_cannot_be_removed_stop_nobody(tmp_path: Path) -> None:
    path = tmp_path / "store.ptr"
    content = outgrown(path)
    (path / "index.msgpack.new").write_bytes(b"of a killed process")
    for call in ("unlink", "listdir"):
        with injected() as faults:
            faults.arm(1, errno.EACCES, is_lasting=False, only=[call])
            with ptrarray.append(path) as writer:
                writer["a0"] = [0]
            assert faults.failed == {call}
    ptrarray.append(path).close()
    assert look(path) == content
    assert not (path / "index.msgpack.new").exists()


# rights -------------------------------------------------------------------------------------------


def run_as_nobody(path: Path, results: Any) -> None:
    """Try everything as somebody who may only read; tell what happened."""
    if os.geteuid() == 0:
        os.setuid(NOBODY)
    calls: dict[str, Callable[[], object]] = {
        "append": lambda: ptrarray.append(path),
        "create": lambda: ptrarray.create(path.with_name("other.ptr"), dtype="i4"),
        "replace": lambda: ptrarray.create(path, dtype="i4", mode="w"),
        "checkpoint": lambda: ptrarray.checkpoint(path),
        "compact": lambda: ptrarray.compact(path),
        "verify": lambda: ptrarray.verify(path),
        "read": lambda: read_all(path),
    }
    for name, call in calls.items():
        try:
            call()
            results.send((name, None))
        except BaseException as error:  # noqa: BLE001 - for the parent to judge
            results.send((name, error))
    results.close()


@pytest.mark.parametrize("rights", ["directory", "files"])
def test_store_that_may_only_be_read(rights: str) -> None:
    """A store of somebody else, and a read-only directory: read it, and write nothing."""
    with TemporaryDirectory() as name:
        root = Path(name) / "root"
        materialise(prepared(), root)
        path = root / "store.ptr"
        for place in (root.parent, root, path):
            place.chmod(0o755 if os.geteuid() == 0 else 0o555)
        for file in path.iterdir():
            file.chmod(0o644 if os.geteuid() == 0 or rights == "directory" else 0o444)
        before = read_tree(root)
        errors = told_by_nobody(path)
        for place in (root.parent, root, path):
            place.chmod(0o755)
        assert read_tree(root) == before
    assert errors.pop("read") is None
    assert errors.pop("verify") is None
    for call, error in errors.items():
        if os.geteuid() == 0 or rights == "files" or call == "create":
            assert isinstance(error, PermissionError), (call, error)
            check_named(error, str(path.with_name("other.ptr") if call == "create" else path))


def told_by_nobody(path: Path) -> dict[str, BaseException | None]:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run_as_nobody, args=(path, sender))
    process.start()
    sender.close()
    errors = {}
    with suppress(EOFError):
        while True:
            name, error = receiver.recv()
            errors[name] = error
    process.join()
    assert len(errors) == 7
    return errors
