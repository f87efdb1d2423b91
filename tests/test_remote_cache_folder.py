"""The folder of a cache: never a wrong byte, whatever is in it, and never more than it may hold."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from errno import ENOSPC, EPERM
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray.storage.remote import cache as cache_module
from ptrarray.storage.remote.cache import Blocks, Cache, Caching
from tests.support.fault_server import serving
from tests.support.mounts import mounted
from tests.support.processes import FORK

WHOLE = np.random.default_rng(0).integers(0, 256, 9999, np.uint8).tobytes()
BLOCK_NBYTES, N_BLOCKS = 64, 4


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a small file consist of many blocks, in many files."""
    monkeypatch.setattr(cache_module, "BLOCK_NBYTES", BLOCK_NBYTES)
    monkeypatch.setattr(cache_module, "_N_BLOCKS", N_BLOCKS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


class Reader:
    """A process, as far as a cache knows; what it asks for comes from `WHOLE`."""

    def __init__(
        self,
        folder: Path,
        limit: int = 1 << 30,
        whole: bytes = WHOLE,
        tag: str = "t",
        url: str = "http://host/a",
    ) -> None:
        self.whole, self.asked = whole, 0
        self.cache = Cache(Caching(str(folder), limit, has_data=True))
        self.blocks: Blocks = self.cache.blocks_of(url, len(whole), tag, whole[:100])

    def read(self, start: int, end: int, *, into: bool = False) -> int:
        """Read some bytes; return how many were asked for."""
        end = min(end, len(self.whole))
        room = memoryview(bytearray(b"?" * (end - start))) if into else None
        asked = []

        def ask(first: int, last: int, to: memoryview) -> None:
            assert room is None or bytes(room) == b"?" * len(room)
            assert first % cache_module.BLOCK_NBYTES == 0
            assert start - first < cache_module.BLOCK_NBYTES > last - end
            to[:] = self.whole[first:last]
            asked.append(last - first)

        came = self.blocks.read(start, end, room, ask)
        assert bytes(came) == self.whole[start:end]
        assert room is None or bytes(room) == self.whole[start:end]
        assert len(asked) < 2
        return sum(asked)

    def read_all(self, size: int = 1000) -> int:
        return sum(self.read(at, at + size) for at in range(0, len(self.whole), size))


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.blocks"))


def n_taken(folder: Path) -> int:
    return sum(512 * one.stat().st_blocks for one in files_of(folder))


# What is kept -------------------------------------------------------------------------------------


def test_what_was_read_is_not_asked_for_again(small: None, folder: Path) -> None:
    assert Reader(folder).read(100, 200) == 192  # from 64 to 256
    assert Reader(folder).read(70, 250) == 0
    assert Reader(folder).read(0, 1000) == 1024
    assert Reader(folder).read(1000, 9999) == 9999 - 1024
    assert [Reader(folder).read_all(), Reader(folder).read(0, 9999)] == [0, 0]
    assert Reader(folder).read(9998, 1 << 60) == Reader(folder).read(9999, 1 << 60) == 0
    assert Reader(folder, tag="other").read(9000, 9999) == 9999 - 8960
    assert Reader(folder, url="http://host/b").read(9000, 9999) == 9999 - 8960
    assert Reader(folder, whole=WHOLE[:-1]).read(9000, 9998) == 9998 - 8960


def test_a_block_is_known_by_its_file_and_its_number(small: None, folder: Path) -> None:
    Reader(folder).read_all()
    files = files_of(folder)
    kept = [file.read_bytes() for file in files]
    for file, raw in zip(files, kept[1:] + kept[:1], strict=True):
        file.write_bytes(raw)
    assert Reader(folder).read_all() == len(WHOLE)
    other = Reader(folder, whole=WHOLE[:100] + bytes(9899), tag="other")
    other.read_all()
    new = sorted(set(files_of(folder)) - set(files))
    for file, raw in zip(new, kept, strict=True):
        file.write_bytes(raw)
    assert other.read_all() == len(WHOLE)


def test_holes_are_one_request(small: None, folder: Path) -> None:
    for at in (3, 4, 9):
        Reader(folder).read(at * 64, at * 64 + 1)
    assert Reader(folder).read(3 * 64, 10 * 64) == 4 * 64  # 5 to 8
    assert Reader(folder).read(0, 12 * 64, into=True) == 12 * 64  # 0 to 2, and 10 and 11


HARM = ("flip", "cut", "remove", "foreign", "longer", "other", "folder", "pipe", "link")
Step = st.one_of(
    st.tuples(st.just("read"), st.integers(0, 9999), st.integers(0, 3000)),
    st.tuples(st.sampled_from(HARM), st.integers(0, 1000), st.integers(0, 5000)),
)


def harm(folder: Path, what: str, which: int, at: int) -> None:
    """Do something to a file of a cache."""
    files = files_of(folder)
    if not files:
        return
    file, other = files[which % len(files)], files[at % len(files)]
    raw, other_raw = (one.read_bytes() if one.is_file() else b"" for one in (file, other))
    if file.is_dir() and not file.is_symlink():
        file.rmdir()
    else:
        file.unlink()
    if what in PUT:
        PUT[what](file)
    elif what != "remove":
        at_byte = at % max(len(raw), 1)
        flipped = raw[:at_byte] + b"flipped"[at % 7 :][:1] + raw[at_byte + 1 :]
        foreign = random.Random(at).randbytes(5000)
        new = {"flip": flipped, "cut": raw[:at], "foreign": foreign, "longer": raw + foreign}
        file.write_bytes((new | {"other": other_raw})[what])


PUT: dict[str, Callable[[Path], None]] = {
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "link": lambda file: file.symlink_to(file.parent.parent / "target"),
}


@given(steps=st.lists(Step, max_size=25), into=st.booleans())
def test_never_a_wrong_byte_whatever_becomes_of_the_files(
    steps: list[Any], into: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any") / "cache"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # what is no file cannot be written to
        patch.setattr(cache_module, "BLOCK_NBYTES", BLOCK_NBYTES)
        patch.setattr(cache_module, "_N_BLOCKS", N_BLOCKS)
        reader = Reader(folder)
        for what, first, second in steps:
            if what == "read":
                reader.read(first, first + second, into=into)
                n_again = reader.read(first, first + second)
                assert n_again == 0 or not all(map(Path.is_file, files_of(folder)))
            else:
                harm(folder, what, first, second)
        assert not (folder.parent / "target").exists()


def test_threads_may_share_it(small: None, folder: Path) -> None:
    reader, failed = Reader(folder), []

    def work(seed: int) -> None:
        numbers = random.Random(seed)
        try:
            for _ in range(150):
                at = numbers.randrange(9999)
                reader.read(at, at + numbers.randrange(500), into=True)
        except BaseException as error:  # noqa: BLE001 the test raises it
            failed.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert reader.read_all() == 0 or Reader(folder).read_all() == 0


# How much -----------------------------------------------------------------------------------------

LARGE = np.random.default_rng(1).integers(0, 256, 40 << 20, np.uint8).tobytes()
SPAN = 4 << 20  # of one file


def test_its_size_is_bounded(folder: Path) -> None:
    limit = 10 << 20
    readers = [Reader(folder, limit, LARGE, tag) for tag in "ab"]
    numbers = random.Random(0)
    for step in range(60):
        at = numbers.randrange(len(LARGE))
        readers[step % 2].read(at, min(at + numbers.randrange(1 << 20), len(LARGE)))
        # Each process may be a share above, and what it writes at once.
        assert n_taken(folder) <= limit + limit // 16 + (1 << 20) + (64 << 10)
    assert n_taken(folder) > limit // 2
    for at in range(0, len(LARGE) - 4096, 1 << 16):
        readers[0].read(at, at + 4096)
        assert n_taken(folder) <= limit + (32 << 10)


def test_a_process_that_keeps_little_sees_what_others_left(folder: Path) -> None:
    for at in range(10):
        Reader(folder, 10 << 20, LARGE).read(at * SPAN, at * SPAN + (2 << 20))
        assert n_taken(folder) <= (10 << 20) + (2 << 20)


def test_what_was_not_used_for_the_longest_time_goes(folder: Path) -> None:
    for number in range(6):
        Reader(folder, 1 << 30, LARGE).read(number * SPAN, number * SPAN + (1 << 20))
    files = sorted(files_of(folder), key=lambda one: int(one.stem.partition("-")[2]))
    for age, file in enumerate(files):  # the first was written last
        os.utime(file, (1e9 - 1000 * age,) * 2)
    reader = Reader(folder, 4 << 20, LARGE)
    assert reader.read(5 * SPAN, 5 * SPAN + 1) == 0  # the oldest, used now
    foreign = folder / "notes.txt"
    foreign.write_bytes(b"n" * (2 << 20))
    os.utime(foreign, (0, 0))
    reader.read(7 * SPAN, 7 * SPAN + 1)  # which makes room
    left = {int(one.stem.partition("-")[2]) for one in files_of(folder)}
    assert left == {0, 1, 5, 7}
    assert foreign.exists()


def test_what_others_keep_there_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Reader(folder, whole=LARGE, tag="another user's").read(0, 8 << 20)
    theirs, unlink = files_of(folder), Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path in theirs:
            raise PermissionError(EPERM, os.strerror(EPERM), str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    Reader(folder, 16 << 20, LARGE).read_all(1 << 20)
    assert set(theirs) < set(files_of(folder))
    assert n_taken(folder) <= 17 << 20


def test_a_limit_below_a_block_keeps_nothing(folder: Path) -> None:
    reader = Reader(folder, 1)
    assert reader.read_all() > 0
    assert reader.read_all() > 0
    assert files_of(folder) == []


# What goes wrong ----------------------------------------------------------------------------------


def test_a_full_disk_is_a_warning_once(tmp_path: Path) -> None:
    with mounted(tmp_path / "full", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as folder:
        reader = Reader(folder, 1 << 30, LARGE[: 8 << 20])
        with pytest.warns(RuntimeWarning, match=r"full.*No space left") as caught:
            assert min(reader.read_all(1 << 19) for _ in range(2)) > 0
        assert len(caught) == 1
        with pytest.warns(RuntimeWarning):
            Reader(folder, 1 << 30, LARGE[: 8 << 20]).read_all(1 << 19)


def test_a_folder_that_is_only_read_is_used(tmp_path: Path) -> None:
    Reader(tmp_path / "cache").read(0, 9999)
    old = files_of(tmp_path / "cache")[0].stat()
    os.utime(files_of(tmp_path / "cache")[0], (1e9, 1e9))
    source = str(tmp_path / "cache")
    with mounted(tmp_path / "only", "--bind", "-o", "ro", source) as only:
        assert Reader(only).read(0, 9999) == 0
        with pytest.warns(RuntimeWarning, match="Read-only"):
            assert Reader(only, tag="other").read(0, 9999) == 9999
    assert old.st_size == files_of(tmp_path / "cache")[0].stat().st_size


@pytest.mark.parametrize("error", [ENOSPC, 5, 122])
def test_any_error_of_the_disk_is_a_warning_once(
    folder: Path, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, calls = Reader(folder), []
    write = os.pwrite

    def fail(fd: int, raw: Any, at: int) -> int:
        calls.append(at)
        if len(calls) > 2:
            raise OSError(error, os.strerror(error))
        return write(fd, raw[: len(raw) // 2 + 1], at)

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.warns(RuntimeWarning, match=os.strerror(error)) as caught:
        assert min(reader.read_all() for _ in range(2)) > 0
    assert len(caught) == 1
    monkeypatch.undo()
    reader.read_all()
    assert reader.read_all() == 0  # there is room again


def test_what_is_no_folder_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        with pytest.warns(RuntimeWarning, match="cannot be kept"):
            assert Reader(folder).read_all() > 0


def test_a_folder_that_is_removed_is_made_again(folder: Path) -> None:
    reader = Reader(folder)
    reader.read_all()
    for file in files_of(folder):
        file.unlink()
    folder.rmdir()
    assert reader.read_all() > 0
    assert reader.read_all() == 0


# Several processes, some of them killed -----------------------------------------------------------


def _killed_at(folder: Path, name: str, n: int) -> None:
    """Fill a cache, and be killed in the middle of the n-th call."""
    call, n_calls = getattr(os, name), 0

    def killed(*given: Any, **named: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls == n:
            if name == "pwrite":
                call(given[0], given[1][: len(given[1]) // 2], given[2])
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*given, **named)

    setattr(os, name, killed)
    # Below what it writes, so that it removes files, too.
    reader = Reader(folder, 30_000)
    for at in range(0, 2000, 500):
        reader.read(at, at + 700)


@pytest.mark.parametrize("name", ["pwrite", "unlink", "open", "mkdir", "scandir"])
def test_killed_at_any_call(small: None, folder: Path, name: str) -> None:
    for n in range(1, 200):
        process = FORK.Process(target=_killed_at, args=(folder, name, n))
        process.start()
        process.join()
        Reader(folder).read(500, 1500)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        if n % 10 == 0:
            for file in files_of(folder):
                file.unlink()
    assert process.exitcode == 0
    assert n > 1
    Reader(folder).read_all()
    assert Reader(folder).read_all() == 0


def _fill(folder: Path, seed: int) -> None:
    numbers, reader = random.Random(seed), Reader(folder, 2 << 20, LARGE[: 8 << 20])
    while True:
        at = numbers.randrange(8 << 20)
        reader.read(at, min(at + numbers.randrange(1 << 18), 8 << 20))


def test_two_processes_fill_it_while_one_is_killed(folder: Path) -> None:
    numbers, reader = random.Random(0), Reader(folder, 2 << 20, LARGE[: 8 << 20])
    for seed in range(12):
        process = FORK.Process(target=_fill, args=(folder, seed))
        process.start()
        for _ in range(numbers.randrange(40)):
            at = numbers.randrange(8 << 20)
            reader.read(at, min(at + numbers.randrange(1 << 18), 8 << 20))
        process.kill()
        process.join()
    assert n_taken(folder) < 4 << 20
    reader.read_all(1 << 19)


OPEN = """
import sys, ptrarray
url, folder = sys.argv[1:]
with ptrarray.open(url, cache={"folder": folder, "data": True}) as store:
    print(sum(int(array.sum()) for array in store.values()), len(list(store)))
"""


def test_a_second_process_asks_for_heads(tmp_path: Path, folder: Path) -> None:
    pytest.importorskip("obstore")
    with ptrarray.create(tmp_path / "s", dtype="i2") as writer:
        writer.write({f"name {n:06}": np.full(20, n % 100, "i2") for n in range(4000)})
    ptrarray.publish(tmp_path / "s")
    with serving(tmp_path) as server:
        said, n_asked = [], []
        for _ in range(2):
            server.arm(at=0, n_times=0)
            command = [sys.executable, "-c", OPEN, f"{server.url}/s", str(folder)]
            said.append(subprocess.run(command, check=True, capture_output=True).stdout)
            n_asked.append([one.headers["range"] for one in server.asked])
    assert said[0] == said[1] == b"3960000 4000\n"
    assert {*n_asked[1]} <= {"bytes=0-65535", "bytes=0-0"}
    assert len(n_asked[1]) <= 4 < len(n_asked[0])


def test_children_of_a_fork_share_it(folder: Path) -> None:
    reader = Reader(folder)
    reader.read(0, 5000)

    def child() -> None:
        os._exit(0 if reader.read(0, 5000) == 0 and reader.read(5000, 9999) == 0 else 1)

    reader.read(5000, 9999)
    process = FORK.Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0
