"""Packing while others write, with damage, bad arguments, failing system calls and kills."""

from __future__ import annotations

import io
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import (
    BadInputError,
    CorruptStoreError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
)
from ptrarray.cli import main
from ptrarray.storage.system import compressors, files
from tests.support.checks import unchanged
from tests.support.faults import CALLS, injected
from tests.support.packs import NAME, Array, check_same_store, make, packed, stored
from tests.support.prepared import python

pytestmark = pytest.mark.usefixtures("limits", "no_syncs")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make(tmp_path / NAME)
    return tmp_path / NAME


@pytest.fixture
def arrays(path: Path) -> dict[str, Array]:
    return stored(path)


# while others write, and what is damaged ----------------------------------------------------------


class Interrupted:
    """A handle that calls something before some of its writes."""

    def __init__(self, calls: dict[int, Callable[[], object]]) -> None:
        self.calls, self.n_writes, self.raw = calls, 0, bytearray()

    def write(self, piece: memoryview) -> None:
        self.calls.get(self.n_writes, lambda: None)()
        self.n_writes += 1
        self.raw += piece


@pytest.mark.parametrize("at", range(0, 24, 4))
def test_writers_go_on(path: Path, arrays: dict[str, Array], tmp_path: Path, at: int) -> None:
    def change() -> None:
        with ptrarray.append(path) as writer:
            writer.write({"ärray 2": np.zeros((2, 3)), "new": np.ones((70, 3))}, overwrite=True)
            del writer["later"]
        ptrarray.compact(path)

    sink = Interrupted({at: change})
    ptrarray.pack(path, sink)
    assert sink.n_writes > at
    (tmp_path / "a.tar").write_bytes(sink.raw)
    check_same_store(tmp_path / "a.tar", arrays)


def overwrite_rows(path: Path) -> None:
    """Delete an array, and put another at its rows."""
    with ptrarray.append(path) as writer:
        start, end = writer.pointers["later"]
        del writer["later"], writer["part"]
        writer.flush()
        writer.write({"other": np.zeros((end - start, 3))}, start=start)


def test_rows_written_anew_meanwhile(path: Path, tmp_path: Path) -> None:
    sink = Interrupted({3: lambda: overwrite_rows(path)})
    with pytest.raises(StoreError, match="pack it again") as raised:
        ptrarray.pack(path, sink)
    assert not isinstance(raised.value, CorruptStoreError)
    ptrarray.pack(path, tmp_path / "a.tar")
    ptrarray.verify(tmp_path / "a.tar")


@pytest.mark.parametrize("compression", [None, "gz"])
def test_damage_is_not_shipped(path: Path, tmp_path: Path, compression: str | None) -> None:
    with ptrarray.open(path) as store:
        at = store.pointers["later"].start * 12 + 40
    with (path / "data.bin").open("r+b") as file:
        file.seek(at)
        file.write(b"\xff")
    buffer = io.BytesIO()
    for target in (tmp_path / "a.tar", buffer):
        with pytest.raises(CorruptStoreError, match="'later'") as raised:
            ptrarray.pack(path, target, compression)
        assert [item.name for item in raised.value.damage] == ["later"]
    assert [file.name for file in tmp_path.iterdir()] == [NAME]
    with pytest.raises(CorruptStoreError, match="cut short"):
        ptrarray.unpack(io.BytesIO(buffer.getvalue()), tmp_path / "b.ptr")


def test_damaged_index_is_not_shipped(tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    names = [f"name {i:06}" for i in range(60_000)]  # too many to be checked when opened
    with ptrarray.create(path, dtype="u1") as writer:
        writer.write_ragged(names, np.zeros(0, "u1"), np.zeros(len(names) + 1, np.int64))
    ptrarray.checkpoint(path)
    raw = bytearray((path / "index.msgpack").read_bytes())
    raw[raw.index(b"name 030000")] ^= 1
    (path / "index.msgpack").write_bytes(raw)
    with pytest.raises(CorruptStoreError, match="'names'"):
        ptrarray.pack(path, tmp_path / "a.tar")
    assert not (tmp_path / "a.tar").exists()


# refusals -----------------------------------------------------------------------------------------


def test_target_that_is_there(path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for target in (tmp_path / "a.tar", path, tmp_path / "link"):
        with unchanged(tmp_path), pytest.raises(StoreExistsError):
            ptrarray.pack(path, target)
    with unchanged(tmp_path), pytest.raises(StoreExistsError, match="is a directory"):
        ptrarray.pack(path, path, overwrite=True)
    ptrarray.pack(path, tmp_path / "a.tar", overwrite=True)
    ptrarray.verify(tmp_path / "a.tar")
    for place in (path, tmp_path / "a.tar", tmp_path / "link"):
        with unchanged(tmp_path), pytest.raises(StoreExistsError):
            ptrarray.unpack(tmp_path / "a.tar", place)


@pytest.mark.parametrize("has_links", [True, False])
def test_target_that_comes_meanwhile(
    path: Path, tmp_path: Path, monkeypatch: Any, has_links: bool
) -> None:
    real = files.link

    def link(new: Path, target: Path) -> None:
        target.write_text("precious")
        if not has_links:
            raise PermissionError(1, "a file system without links")
        real(new, target)

    monkeypatch.setattr(files, "link", link)
    with pytest.raises(StoreExistsError):
        ptrarray.pack(path, tmp_path / "a.tar")
    assert (tmp_path / "a.tar").read_text() == "precious"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.tar", NAME]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((5,), "binary handle to write to, not int"),
        (("a.tar.7z",), "a compression that packs do not have"),
        ((io.StringIO(),), "binary handle to write to, not StringIO"),
        (("a.tar", "rar"), "compression 'rar'"),
        (("a.tar", ["gz"]), "compression"),
        ((io.BytesIO(), 7), "compression 7"),
    ],
)
def test_bad_arguments(
    path: Path, tmp_path: Path, monkeypatch: Any, arguments: Any, match: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with unchanged(tmp_path), pytest.raises(BadInputError, match=match):
        ptrarray.pack(path, *arguments)


def test_bad_sources(path: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="binary handle to read from, not int"):
        ptrarray.unpack(5, tmp_path / "b.ptr")
    with pytest.raises(BadInputError, match="not StringIO"):
        ptrarray.unpack(io.StringIO("x"), tmp_path / "b.ptr")
    with pytest.raises(FileNotFoundError):
        ptrarray.unpack(tmp_path / "missing.tar", tmp_path / "b.ptr")
    with pytest.raises(StoreNotFoundError):
        ptrarray.pack(tmp_path / "missing.ptr", tmp_path / "a.tar")
    with pytest.raises(FileNotFoundError):
        ptrarray.pack(path, tmp_path / "missing" / "a.tar")
    assert [file.name for file in tmp_path.iterdir()] == [NAME]


def test_handle_without_waiting(path: Path) -> None:
    with ptrarray.append(path) as writer:  # more than a pipe holds
        writer["long"] = np.zeros((1 << 18, 3))
    near, far = os.pipe()
    os.set_blocking(far, False)
    with os.fdopen(far, "wb", 0) as sink, os.fdopen(near, "rb"), pytest.raises(BlockingIOError):
        ptrarray.pack(path, sink)


def test_zstd_that_is_missing(path: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def missing(module: str) -> Any:
        raise ModuleNotFoundError(module)

    raw = packed(path, "zst")
    monkeypatch.setattr(compressors, "import_module", missing)
    with unchanged(tmp_path), pytest.raises(ImportError, match=r"ptrarray\[zstd\]"):
        ptrarray.pack(path, tmp_path / "a.zst")
    with unchanged(tmp_path), pytest.raises(ImportError, match=r"ptrarray\[zstd\]"):
        ptrarray.unpack(io.BytesIO(raw), tmp_path / "b.ptr")
    assert main(["pack", str(path), str(tmp_path / "a.zst")]) == 1


# failures and kills -------------------------------------------------------------------------------


def each_failure(only: str, call: Callable[[], object], cleanup: Callable[[], object]) -> int:
    """Let the n-th system call fail, n = 1, 2, …; return how many could."""
    for n in range(1, 2000):
        with injected() as faults:
            faults.arm(n, CALLS[only][0], is_lasting=False, only=(only,))
            try:
                call()
            except OSError:
                assert faults.n_failed
            else:
                if not faults.n_failed:
                    return n
            finally:
                faults.disarm()
        cleanup()
    raise AssertionError("a call that fails so often does not pass in the end")


@pytest.mark.parametrize("only", CALLS)
def test_each_system_call_fails(path: Path, tmp_path: Path, only: str) -> None:
    raw = packed(path)

    def cleanup() -> None:
        names = {file.name for file in tmp_path.iterdir()}
        if only in ("unlink", "fstat"):  # what cannot be removed stays
            names -= {name for name in names if name.endswith(".new")}
        assert names - {"a.tar", "b.ptr"} == {NAME}
        for name in names - {NAME}:
            ptrarray.verify(tmp_path / name)  # whole, if there
        for file in tmp_path.iterdir():
            if file.name != NAME:
                shutil.rmtree(file) if file.is_dir() else file.unlink()

    each_failure(only, lambda: ptrarray.pack(path, tmp_path / "a.tar"), cleanup)
    (tmp_path / "a.tar").unlink()
    each_failure(only, lambda: ptrarray.unpack(io.BytesIO(raw), tmp_path / "b.ptr"), cleanup)


def test_on_the_disk_before_it_has_its_name(path: Path, tmp_path: Path, monkeypatch: Any) -> None:
    calls: list[str] = []

    def noting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            calls.append(name)
            return real(*arguments)

        return call

    for name in ("link", "replace", "sync_directory"):
        monkeypatch.setattr(files, name, noting(name, getattr(files, name)))
    monkeypatch.setattr(files.File, "sync", noting("sync", files.File.sync))
    ptrarray.pack(path, tmp_path / "a.tar")
    assert calls == ["sync", "link", "sync_directory", "sync"]
    calls.clear()
    ptrarray.unpack(tmp_path / "a.tar", tmp_path / "b.ptr")
    directory = ["sync_directory", "sync"]
    assert calls == ["sync"] * 3 + directory + ["replace"] + directory


KILLED = """
import os, signal, sys
import ptrarray
from ptrarray.storage.system.files import File

def dying(real):
    def call(*arguments):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)
    return call

left = int(sys.argv[1])
for name in ("pwritev", "pwrite", "sync"):
    setattr(File, name, dying(getattr(File, name)))
ptrarray.pack("a.ptr", "a.tar")
ptrarray.unpack("a.tar", "b.ptr")
"""


@pytest.mark.parametrize("at", [1, 4, 9, 14, 16, 19, 24])
def test_killed(tmp_path: Path, at: int) -> None:
    arrays = make(tmp_path / "a.ptr", 3)
    assert python("-c", KILLED, str(at), cwd=tmp_path).returncode == -signal.SIGKILL
    for place in tmp_path.iterdir():
        if place.name.startswith("."):
            assert place.suffix == ".new"
        else:
            check_same_store(place, arrays)
    assert not (tmp_path / "b.ptr").exists()


def test_pipes_and_devices_are_not_replaced(tmp_path: Path) -> None:
    ptrarray.create(tmp_path / "s.ptr").close()
    pipe = tmp_path / "pipe.gz"
    os.mkfifo(pipe)
    (tmp_path / "link.gz").symlink_to(pipe)
    for target in (pipe, tmp_path / "link.gz"):
        with unchanged(tmp_path):
            with pytest.raises(StoreExistsError, match="pipe or socket: open it, and pack"):
                ptrarray.pack(tmp_path / "s.ptr", target, overwrite=True)
            with pytest.raises(StoreExistsError, match="pipe or socket: open it, and dump"):
                ptrarray.dump([1], target, mode="w")
    assert pipe.is_fifo()
