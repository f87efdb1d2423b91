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
from typing import Any

import pytest

import ptrarray
from tests.support.disk import materialise, read_tree
from tests.support.failing import BEFORE, LARGE, B, caught, check_named, prepared, read_all
from tests.support.mounts import mounted
from tests.support.story import look, with_attrs

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
