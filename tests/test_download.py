"""Downloading whole stores: every kind, byte for byte; killed, replaced, damaged, without room."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import (
    BadInputError,
    CorruptStoreError,
    RemoteError,
    StoreChangedError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
)
from ptrarray.storage.lifecycle import fetching
from tests.support.checks import digests
from tests.support.fault_server import FaultServer, serving
from tests.support.faults import CALLS, injected
from tests.support.joined import LAYOUTS, files_of, held, make
from tests.support.mounts import mounted
from tests.support.prepared import python

pytest.importorskip("obstore")
pytestmark = pytest.mark.usefixtures("no_syncs")
pd = pytest.importorskip("pandas")

PIECE_NBYTES = 1 << 10


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PIECE_NBYTES", PIECE_NBYTES)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A store of some dozen pieces, with masks and a helper array, in a folder of its own."""
    folder = tmp_path / "there"
    folder.mkdir()
    rng = np.random.default_rng(0)
    with ptrarray.create(folder / "a.ptr", masked=True) as writer:
        writer.write({f"n{i}": rng.random(80 * i) for i in range(8)})
        writer.write({"masked": np.ma.MaskedArray(rng.random(300), rng.random(300) < 0.5)})
        writer.series("series", pd.Series([1.5, 2.5], index=["a", "b"]))
    return folder / "a.ptr"


@pytest.fixture
def server(source: Path) -> Iterator[FaultServer]:
    with serving(source.parent) as server:
        yield server


def beside(path: Path) -> list[str]:
    """Return what is left of earlier downloads to a path."""
    return [name.name for name in path.parent.iterdir() if name.name.startswith(f".{path.name}")]


# every kind ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "sharded", "packed"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout(tmp_path: Path, layout: str, kind: str) -> None:
    path, copy = tmp_path / "a.ptr", tmp_path / "copy.ptr"
    content = make(path, layout, "k", **({"shard_size": 400} if kind == "sharded" else {}))
    if kind == "packed":
        ptrarray.pack(path, tmp_path / "a.tar")
        path = tmp_path / "a.tar"
    with serving(tmp_path) as server:
        ptrarray.download(f"{server.url}/{path.name}", copy)
    assert held(copy) == content
    assert (
        copy.read_bytes() == path.read_bytes() if path.is_file() else digests(copy) == digests(path)
    )
    assert not beside(copy)


def test_shards_with_a_catalog_and_helpers(tmp_path: Path) -> None:
    path, copy = tmp_path / "a.ptr", tmp_path / "copy.ptr"
    with ptrarray.create(path, shard_size=2000) as writer:
        for number in range(6):
            writer.write({f"{number}": np.arange(200.0)})
        writer.series("series", pd.Series([1.5], index=["a"]))
    ptrarray.compact(path)
    names = set(files_of(path))
    assert {"catalog.msgpack", "shards.msgpack", "helpers.ptr/index.msgpack"} <= names
    with serving(tmp_path) as server:
        ptrarray.download(f"{server.url}/a.ptr", copy, parallel=3)
    assert digests(copy) == digests(path)
    with ptrarray.append(copy) as writer:
        writer["more"] = np.arange(3.0)
    assert ptrarray.open(copy).series("series").index.tolist() == ["a"]


@pytest.mark.parametrize("n_shards", [1, 8, 9])
@pytest.mark.parametrize("has_catalog", [False, True])
def test_any_number_of_shards(tmp_path: Path, n_shards: int, has_catalog: bool) -> None:
    path, copy = tmp_path / "a.ptr", tmp_path / "copy.ptr"
    with ptrarray.create(path, dtype="i4", shard_size=4000) as writer:
        for number in range(n_shards):
            writer.write({f"{number}": np.arange(800)})
    (path / "catalog.msgpack").unlink(missing_ok=True)
    if has_catalog:
        ptrarray.checkpoint(path)
    assert len(ptrarray.open(path).shards) == n_shards
    with serving(tmp_path) as server:
        ptrarray.download(f"{server.url}/a.ptr", copy)
    assert digests(copy) == digests(path)
    for number in range(n_shards - 1):
        tree = {f"a.ptr/{name}": raw for name, raw in files_of(path).items()}
        tree = {name: raw for name, raw in tree.items() if f"-{number:05d}.ptr" not in name}
        missing = pytest.raises(CorruptStoreError, match=f"shard-{number:05d}.ptr is missing")
        with serving(tree) as server, missing:
            ptrarray.download(f"{server.url}/a.ptr", tmp_path / "b.ptr")
        with serving(tree) as server, missing:
            ptrarray.open(f"{server.url}/a.ptr")


def test_an_empty_store(tmp_path: Path) -> None:
    ptrarray.create(tmp_path / "a.ptr", dtype="f4", masked=True).close()
    with serving(tmp_path) as server:
        ptrarray.download(f"{server.url}/a.ptr", tmp_path / "copy.ptr")
    ptrarray.download((tmp_path / "a.ptr").as_uri(), tmp_path / "other.ptr")
    for copy in ("copy.ptr", "other.ptr"):
        assert digests(tmp_path / copy) == digests(tmp_path / "a.ptr")


def test_a_file_url(source: Path, tmp_path: Path) -> None:
    ptrarray.download(source.as_uri(), tmp_path / "copy.ptr")
    assert digests(tmp_path / "copy.ptr") == digests(source)


def test_few_requests(server: FaultServer, source: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(fetching, "PIECE_NBYTES", 4 << 20)
    ptrarray.download(f"{server.url}/a.ptr", tmp_path / "copy.ptr")
    n_files = len(files_of(source))
    # Of each file its bytes, and once more whether it is still the same; and whether there are
    # an index and one of helper arrays.
    assert len(server.asked) == 2 * n_files + 2


# killed and resumed -------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
import ptrarray
from ptrarray.storage.lifecycle import fetching
from ptrarray.storage.system.files import File

fetching.PIECE_NBYTES = 1 << 10
n_left, write = int(sys.argv[3]), File.pwrite

def killed(self, raw, start_byte):
    global n_left
    n_left -= 1
    if n_left < 0:
        write(self, raw[: len(raw) // 2], start_byte)
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, raw, start_byte)

File.pwrite = killed
ptrarray.download(sys.argv[1], sys.argv[2], parallel=4)
"""


def test_killed_again_and_again(server: FaultServer, source: Path, tmp_path: Path) -> None:
    copy, url = tmp_path / "copy.ptr", f"{server.url}/a.ptr"
    n_runs = 0
    while not copy.exists():
        assert n_runs < 30
        code = python("-c", KILLED, url, copy, str(32 + n_runs % 2)).returncode
        assert code == (0 if copy.exists() else -9)
        n_runs += 1
    assert n_runs > 3
    assert digests(copy) == digests(source)
    assert not beside(copy)
    sizes = [len(raw) for raw in files_of(source).values()]
    n_pieces = sum(-(-size // PIECE_NBYTES) for size in sizes)
    # A killed process loses what was under way, and asks what there is.
    assert len(server.asked) <= n_pieces + n_runs * (4 + 2 * len(sizes) + 4)


def interrupted(monkeypatch: pytest.MonkeyPatch, n_left: int) -> None:
    """Have Ctrl-C come when so many pieces are there."""

    def count(self: Any, nbytes: int) -> None:
        nonlocal n_left
        n_left -= 1
        if not n_left:
            raise KeyboardInterrupt

    monkeypatch.setattr(fetching.Fetching, "_count", count)


def test_what_is_there_is_not_asked_for_again(
    server: FaultServer, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, url = tmp_path / "copy.ptr", f"{server.url}/a.ptr"
    with monkeypatch.context() as patch:
        interrupted(patch, 20)
        with pytest.raises(KeyboardInterrupt):
            ptrarray.download(url, copy)
    assert len(beside(copy)) == 1
    server.arm()
    ptrarray.download(url, copy)
    n_resumed = len(server.asked)
    assert digests(copy) == digests(source)
    shutil.rmtree(copy)
    server.arm()
    ptrarray.download(url, copy)
    assert len(server.asked) >= n_resumed + 10
    assert not beside(copy)


def test_what_was_noted_is_not_believed(
    server: FaultServer, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut may leave notes of pieces that never reached the disk, and half a note."""
    copy, url = tmp_path / "copy.ptr", f"{server.url}/a.ptr"
    with monkeypatch.context() as patch:
        interrupted(patch, 25)
        with pytest.raises(KeyboardInterrupt):
            ptrarray.download(url, copy)
    (left,) = beside(copy)
    for file in (tmp_path / left / "copy.ptr").rglob("*"):
        if file.is_file():
            raw = bytearray(file.read_bytes())
            raw[::1500] = bytes(len(raw[::1500]))
            file.write_bytes(raw + b"more")
    notes = tmp_path / left / "notes"
    damaged = b'\n{"a": 1}\n\xff\n[1, 2]\nnull\n[[], 0, 1, "", 2]\n["a", {}, 1, "", 2]\n'
    notes.write_bytes(notes.read_bytes()[:-20] + damaged + b"[" * 100_000)
    ptrarray.download(url, copy)
    assert digests(copy) == digests(source)


def test_files_of_before_are_not_in_the_copy(
    server: FaultServer, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, url = tmp_path / "copy.ptr", f"{server.url}/a.ptr"
    with monkeypatch.context() as patch:
        interrupted(patch, 30)
        with pytest.raises(KeyboardInterrupt):
            ptrarray.download(url, copy)
    with ptrarray.append(source) as writer:
        del writer["n5"]
    ptrarray.compact(source)
    ptrarray.download(url, copy)
    assert digests(copy) == digests(source)


def test_without_resuming_nothing_is_kept(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, url = tmp_path / "copy.ptr", f"{server.url}/a.ptr"
    with monkeypatch.context() as patch:
        interrupted(patch, 20)
        with pytest.raises(KeyboardInterrupt):
            ptrarray.download(url, copy)
        assert beside(copy)
        interrupted(patch, 20)
        with pytest.raises(KeyboardInterrupt):
            ptrarray.download(url, copy, resume=False)
    assert not beside(copy)


def test_what_was_left_of_another_url_goes(
    server: FaultServer, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.ptr"
    with monkeypatch.context() as patch:
        interrupted(patch, 20)
        with pytest.raises(KeyboardInterrupt):
            ptrarray.download(f"{server.url}/a.ptr", copy)
    shutil.copytree(source, source.with_name("b.ptr"))
    ptrarray.download(f"{server.url}/b.ptr", copy)
    assert not beside(copy)


def test_one_at_a_time(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, url, seen = tmp_path / "copy.ptr", f"{server.url}/a.ptr", []

    def count(self: Any, nbytes: int) -> None:
        with pytest.raises(StoreError, match="downloaded by another process") as caught:
            ptrarray.download(url, copy)
        seen.append(caught.value)

    monkeypatch.setattr(fetching.Fetching, "_count", count)
    ptrarray.download(url, copy)
    assert seen
    ptrarray.verify(copy)


# replaced and damaged -----------------------------------------------------------------------------


class Replaced(Mapping[str, bytes]):
    """Files that are others from the n-th request on."""

    def __init__(self, before: Mapping[str, bytes], after: Mapping[str, bytes], at: int) -> None:
        self.before, self.after, self.n_left = before, after, at

    def __getitem__(self, name: str) -> bytes:
        self.n_left -= 1
        return (self.before if self.n_left > 0 else self.after)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.before)

    def __len__(self) -> int:
        return len(self.before)


# The normal run has the change come at one request in so many, the slow run at each.
@pytest.mark.parametrize("every", [2, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["rows", "mixed, masked", "sharded", "with a hole"])
def test_replaced_meanwhile(tmp_path: Path, kind: str, every: int) -> None:
    """At each request: all of one, all of the other, or an error that says so."""
    trees = []
    for key in ("one", "two"):
        (tmp_path / key).mkdir()
        options = {"shard_size": 400} if kind == "sharded" else {}
        layout = kind if kind in LAYOUTS else "rows"
        make(tmp_path / key / "a.ptr", layout, "k", **options)
        trees.append(files_of(tmp_path / key))
    if kind == "with a hole":
        ptrarray.compact(tmp_path / "two" / "a.ptr")
        trees[1] = files_of(tmp_path / "two")
    copy, n_changed, at = tmp_path / "copy.ptr", 0, 0
    while True:
        at += every * (5 if kind == "sharded" else 1)  # which takes ten times as many requests
        files = Replaced(trees[0], trees[1], at)
        with serving(files) as server:
            error = caught(lambda: ptrarray.download(f"{server.url}/a.ptr", copy))
        if error is not None:
            assert isinstance(error, StoreChangedError)
            assert "download it again" in str(error)
            assert not copy.exists()
            n_changed += 1
            continue
        found = {f"a.ptr/{name}": raw for name, raw in files_of(copy).items()}
        shutil.rmtree(copy)
        assert found in trees
        if files.n_left > 0:
            assert found == trees[0]
            break
    assert n_changed > 5


def test_damage_is_found(source: Path, tmp_path: Path) -> None:
    """What `verify` finds in the copy, so that nothing damaged has the name of a store."""
    copy, n_damaged = tmp_path / "copy.ptr", 0
    tree = {f"a.ptr/{name}": raw for name, raw in files_of(source).items()}
    for name, raw in tree.items():
        for at in np.random.default_rng(len(raw)).integers(0, len(raw), 4).tolist():
            damaged = raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :]
            shutil.copytree(source, copy)
            (copy / name.partition("/")[2]).write_bytes(damaged)
            error = caught(lambda: ptrarray.verify(copy))
            shutil.rmtree(copy)
            with serving(tree | {name: damaged}) as server:
                found = caught(lambda: ptrarray.download(f"{server.url}/a.ptr", copy))
            if error is None:
                assert found is None
                shutil.rmtree(copy)
                continue
            assert isinstance(found, CorruptStoreError)
            assert str(found).startswith(f"what came of {server.url}/a.ptr is damaged")
            assert str(tmp_path) not in str(found)
            assert not copy.exists()
            assert not beside(copy)
            n_damaged += 1
    assert n_damaged > 5


def caught(call: Callable[[], object]) -> StoreError | None:
    try:
        call()
    except StoreError as error:
        return error
    return None


def test_a_file_is_missing(source: Path, tmp_path: Path) -> None:
    tree = {f"a.ptr/{name}": raw for name, raw in files_of(source).items()}
    for name in tree:
        if name.startswith("a.ptr/helpers") or name == "a.ptr/index.msgpack":
            continue
        others = {one: raw for one, raw in tree.items() if one != name}
        missing = pytest.raises(CorruptStoreError, match=f"{name} is missing")
        with serving(others) as server, missing:
            ptrarray.download(f"{server.url}/a.ptr", tmp_path / "copy.ptr")
        assert not beside(tmp_path / "copy.ptr")


# refused ------------------------------------------------------------------------------------------


def test_refused(server: FaultServer, tmp_path: Path) -> None:
    copy = tmp_path / "copy.ptr"
    with pytest.raises(StoreNotFoundError, match=r"no store at http\S+/b.ptr"):
        ptrarray.download(f"{server.url}/b.ptr", copy)
    with pytest.raises(BadInputError, match="is no URL"):
        ptrarray.download(str(tmp_path), copy)
    for parallel in (0, -1, 1.5):
        with pytest.raises(BadInputError, match="parallel must be"):
            ptrarray.download(f"{server.url}/a.ptr", copy, parallel=parallel)  # type: ignore[arg-type]
        with pytest.raises(BadInputError, match="parallel must be"):
            ptrarray.open(f"{server.url}/a.ptr", parallel=parallel)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"nowhere/copy\.ptr"):
        ptrarray.download(f"{server.url}/a.ptr", tmp_path / "nowhere" / "copy.ptr")
    server.arm(lambda it: it.send(403, {}))
    with pytest.raises((RemoteError, StoreNotFoundError)):
        ptrarray.download(f"{server.url}/a.ptr", copy)
    assert not beside(copy)
    server.arm()
    copy.mkdir()
    with pytest.raises(StoreExistsError, match=r"copy.ptr exists"):
        ptrarray.download(f"{server.url}/a.ptr", copy)
    assert not server.asked


# the disk -----------------------------------------------------------------------------------------


def test_a_full_disk(source: Path, tmp_path: Path) -> None:
    with ptrarray.append(source) as writer:
        writer["large"] = np.random.default_rng(0).random(60_000)
    options = ("-t", "tmpfs", "-o", "size=200k", "tmpfs")
    with serving(source.parent) as server, mounted(tmp_path / "small", *options) as folder:
        copy = folder / "copy.ptr"
        with pytest.raises(OSError, match=r"No space left.*copy.ptr/[a-z]+\.bin") as caught:
            ptrarray.download(f"{server.url}/a.ptr", copy, resume=False)
        assert caught.value.errno == errno.ENOSPC
        assert not list(folder.iterdir())
        with pytest.raises(OSError, match="No space left"):
            ptrarray.download(f"{server.url}/a.ptr", copy)
        assert len(beside(copy)) == 1
        subprocess.run(["mount", "-o", "remount,size=2m", str(folder)], check=True)
        ptrarray.download(f"{server.url}/a.ptr", copy)
        assert digests(copy) == digests(source)


def each_failure(only: str, call: Callable[[], object], after: Callable[[], object]) -> None:
    """Have the first, second, … system call of a kind fail, until so many are not made."""
    for n in range(1, 300):
        with injected() as faults:
            faults.arm(n, CALLS[only][0], is_lasting=False, only=(only,))
            try:
                call()
            except OSError:
                assert faults.n_failed
            finally:
                faults.disarm()
        after()
        if not faults.n_failed:
            return
    raise AssertionError("it does not pass in the end")


@pytest.mark.parametrize(
    "only",
    ["pwrite", "open", "fdatasync", "ftruncate", "posix_fallocate", "replace", "mkdir", "flock"],
)
def test_each_system_call_fails(
    source: Path, tmp_path: Path, only: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "PIECE_NBYTES", 8 << 10)
    tree = {f"a.ptr/{name}": raw for name, raw in files_of(source).items()}
    copy, content = tmp_path / "copy.ptr", held(source)
    with serving(tree) as server:

        def after() -> None:
            if copy.exists():  # whole, or not at all
                assert held(copy) == content
                shutil.rmtree(copy)
            assert len(beside(copy)) <= 1

        each_failure(only, lambda: ptrarray.download(f"{server.url}/a.ptr", copy), after)
    assert not beside(copy)
