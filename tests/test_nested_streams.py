"""Objects in handles and files: several in one, compressed or not, equal to the byte."""

from __future__ import annotations

import bz2
import gzip
import io
import mmap
import os
import pickle
import socket
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray import BadInputError, CorruptStoreError, StoreExistsError, native
from ptrarray.nested import contents
from ptrarray.storage.system import compressors, files
from tests.support.checks import unchanged
from tests.support.effort import one_in
from tests.support.faults import CALLS, injected
from tests.support.nested import MEBI, OBJECTS, assert_same
from tests.support.prepared import python

pytestmark = pytest.mark.usefixtures("no_syncs")

OBJECT: dict[str, Any] = {
    "plain": [np.arange(7.0), np.arange(3), np.zeros((0, 2)), np.array(5)],
    "fortran": np.asfortranarray(np.eye(3)),
    "strided": np.arange(60).reshape(6, 10)[:, ::3],
    "masked": np.ma.masked_array([1, 2, 3], [True, False, False]),
    "large": np.arange(10_000),
    "text": "ü" * 70_000,
    "rest": (1, {"a", None}, b"raw"),
}
CODECS = sorted(compressors.CODECS)
COMPRESSIONS: list[Any] = [None, *CODECS, ("gz", 1), ("gzip", 3), ("zst", 19), True, 5]


def streamed(obj: Any, compress: Any = None) -> bytes:
    buffer = io.BytesIO()
    ptrarray.dump(obj, buffer, compress=compress)
    return buffer.getvalue()


# handles ------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.lists(st.tuples(OBJECTS, st.sampled_from(COMPRESSIONS)), max_size=3))
def test_objects_one_after_the_other(objects: list[tuple[Any, Any]]) -> None:
    buffer = io.BytesIO()
    buffer.write(b"before")
    for obj, compress in objects:
        ptrarray.dump(obj, buffer, compress=compress)
    buffer.seek(len(b"before"))
    for obj, _ in objects:
        assert_same(obj, ptrarray.load(buffer))
    with pytest.raises(EOFError, match="nothing more to load"):
        ptrarray.load(buffer)


@pytest.mark.parametrize(
    ("compress", "inner"),
    one_in(
        2, [(c, (gzip, bz2)[(i + n) % 2]) for i, c in enumerate(COMPRESSIONS) for n in range(2)]
    ),
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_handles_of_many_kinds(tmp_path: Path, compress: Any, inner: Any) -> None:
    """Files, appended to; raw ones; those that compress themselves."""
    for open_ in (open, inner.open):
        for mode in ("wb", "ab"):
            with open_(tmp_path / "a", mode) as file:
                ptrarray.dump(OBJECT, file, compress=compress)
        with open_(tmp_path / "a", "rb") as file:
            assert_same(OBJECT, ptrarray.load(file))
            assert_same(OBJECT, ptrarray.load(file))
            assert file.read() == b""
    with (tmp_path / "b").open("wb", buffering=0) as file:
        ptrarray.dump(OBJECT, file, compress=compress)
        ptrarray.dump(OBJECT, file, compress=compress)
    with (tmp_path / "b").open("rb", buffering=0) as file:
        assert_same(OBJECT, ptrarray.load(file))
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert_same(OBJECT, ptrarray.load(mapped))
            assert_same(OBJECT, ptrarray.load(mapped))


class Short:
    """Takes and gives a few bytes at a time, and can nothing else."""

    def __init__(self) -> None:
        self.raw = bytearray()

    def write(self, piece: memoryview) -> int:
        self.raw += piece[:777]
        return min(777, len(piece))

    def read(self, nbytes: int) -> bytes:
        piece = bytes(self.raw[: min(nbytes, 333)])
        del self.raw[: len(piece)]
        return piece


@pytest.mark.parametrize("compress", COMPRESSIONS, ids=str)
def test_handles_that_write_short(compress: Any) -> None:
    handle = Short()
    ptrarray.dump(OBJECT, handle, compress=compress)
    assert bytes(handle.raw) == streamed(OBJECT, compress)
    assert_same(OBJECT, ptrarray.load(handle))


def send(connection: socket.socket) -> None:
    with connection, connection.makefile("wb") as sink:
        for compress in COMPRESSIONS:
            ptrarray.dump(OBJECT, sink, compress=compress)


def test_sockets_between_processes() -> None:
    ours, theirs = socket.socketpair()
    process = get_context("fork").Process(target=send, args=(theirs,))
    process.start()
    theirs.close()
    with ours, ours.makefile("rb") as source:
        for _ in COMPRESSIONS:
            assert_same(OBJECT, ptrarray.load(source))
        with pytest.raises(EOFError):
            ptrarray.load(source)
    process.join()
    assert process.exitcode == 0


def test_arrays_in_memory_can_be_changed() -> None:
    loaded = ptrarray.load(io.BytesIO(streamed(OBJECT)))
    loaded["large"][0] = 9
    loaded["masked"][0] = 9
    with pytest.raises(BadInputError, match="mode 'r\\+'"):
        ptrarray.load(io.BytesIO(streamed(OBJECT)), "r+")
    swapped = np.arange(3, dtype=">i4")
    assert ptrarray.load(io.BytesIO(streamed([swapped])), native=True)[0].dtype.isnative


# bytes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "obj",
    [OBJECT, None, [np.zeros(2)] * 3, [np.arange(20.0)] * 50],
    ids=["all", "none", "same", "many"],
)
def test_a_stream_is_the_pack_of_the_store(tmp_path: Path, obj: Any) -> None:
    ptrarray.dump(obj, tmp_path / "object.ptr")
    buffer = io.BytesIO()
    ptrarray.pack(tmp_path / "object.ptr", buffer)
    assert streamed(obj) == streamed(obj) == buffer.getvalue()
    ptrarray.unpack(io.BytesIO(streamed(obj, "xz")), tmp_path / "copy.ptr")
    assert_same(obj, ptrarray.load(tmp_path / "copy.ptr"))
    for codec in CODECS:  # by so many bytes is told whether it is an archive after all
        assert len(streamed(obj, codec)) > 262


@pytest.mark.skipif(native.core is None, reason="compares with the native core")
def test_the_core_puts_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    obj = [rng.random(length) for length in rng.integers(0, 900, 400)]
    monkeypatch.setattr(contents, "_STAGE_NBYTES", 1 << 17)
    raw = streamed(obj)
    monkeypatch.setattr(native, "core", None)
    assert streamed(obj) == raw


def test_an_object_that_changes_meanwhile() -> None:
    obj = [np.zeros(1 << 17)]

    class Changing(io.BytesIO):
        def write(self, piece: Any) -> int:
            obj[0][-1] += 1
            return super().write(piece)

    handle = Changing()
    with pytest.raises(BadInputError, match="obj changed while it was being dumped"):
        ptrarray.dump(obj, handle)
    with pytest.raises(CorruptStoreError):
        ptrarray.load(io.BytesIO(handle.getvalue()))


# paths --------------------------------------------------------------------------------------------

EXTENSIONS = [codec.suffix for codec in compressors.CODECS.values()]


@pytest.mark.parametrize("extension", [*EXTENSIONS, "GZ", "tgz"])
def test_an_extension_makes_one_compressed_file(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"model.pkl.{extension}"
    ptrarray.dump(OBJECT, path)
    codec = compressors.recognised(path.read_bytes()[: compressors.MAGIC_NBYTES])
    assert codec is compressors.by_extension(extension)
    assert_same(OBJECT, ptrarray.load(path))
    with unchanged(tmp_path), pytest.raises(StoreExistsError, match="mode='w' to replace it"):
        ptrarray.dump(1, path)
    ptrarray.dump(2, path, mode="w", compress=0)
    assert ptrarray.load(path) == 2
    assert ptrarray.open(path).keys() == {"skeleton"}
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "compress", "kind"),
    [
        ("model", None, "store"), ("model.ptr", False, "store"), ("model.v2", 0, "store"),
        ("model.tar", None, None), ("model.joblib", None, None), ("model.pkl", 0, None),
        ("model", 3, "gz"), ("model.ptr", True, "gz"), ("model.xz", 3, "xz"),
        ("model.xz", ("gz", 3), "gz"), ("model.gz", "zstd", "zst"), ("model.tar", "lz4", "lz4"),
    ],
)  # fmt: skip
def test_what_a_path_becomes(tmp_path: Path, name: str, compress: Any, kind: str | None) -> None:
    path = tmp_path / name
    ptrarray.dump(OBJECT, path, compress=compress)
    assert_same(OBJECT, ptrarray.load(path))
    assert path.is_dir() == (kind == "store")
    if path.is_file():
        codec = compressors.recognised(path.read_bytes()[: compressors.MAGIC_NBYTES])
        assert (codec and codec.name) == kind
        assert (path.read_bytes() == streamed(OBJECT)) == (kind is None)
        assert ptrarray.load(path, "c")["large"].flags.writeable
        with pytest.raises(BadInputError):
            ptrarray.load(path, "r+")


@pytest.mark.parametrize(
    "compress", ["rar", ("gz",), ("gz", 99), ("gz", 3, 1), 77, -1, 1.5, [], ("gz", "3"), {}]
)
def test_compressions_that_are_not_there(tmp_path: Path, compress: Any) -> None:
    with unchanged(tmp_path), pytest.raises(BadInputError):
        ptrarray.dump(1, tmp_path / "a.gz", compress=compress)


def test_files_and_stores_do_not_replace_each_other(tmp_path: Path) -> None:
    ptrarray.dump(1, tmp_path / "a.ptr")
    ptrarray.dump(2, tmp_path / "b.tar")
    with unchanged(tmp_path):
        with pytest.raises(StoreExistsError, match="is a directory"):
            ptrarray.dump(3, tmp_path / "a.ptr", compress="gz", mode="w")
        (tmp_path / "b.tar").rename(tmp_path / "b.ptr")
        with pytest.raises(StoreExistsError, match="not a store"):
            ptrarray.dump(3, tmp_path / "b.ptr", mode="x")
        (tmp_path / "b.ptr").rename(tmp_path / "b.tar")


@pytest.mark.parametrize("only", ["pwritev", "fdatasync"])
@pytest.mark.parametrize("name", ["a.gz", "a.tar", "a.ptr"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, name: str, only: str) -> None:
    if only not in CALLS:
        pytest.skip("no such call here")
    path = tmp_path / name
    ptrarray.dump("old", path)
    for n in range(1, 4):
        with injected() as faults:
            faults.arm(n, CALLS[only][0], is_lasting=False, only=(only,))
            try:
                ptrarray.dump([np.arange(10**5)], path, mode="w")
            except OSError:
                assert faults.n_failed
            else:
                continue
            finally:
                faults.disarm()
        found = ptrarray.load(path)  # the new one where only the directory was not synced
        assert_same("old" if isinstance(found, str) else [np.arange(10**5)], found)
        assert isinstance(found, str) or only == "fdatasync"
        assert [file.name for file in tmp_path.iterdir()] == [name]


KILLED = """
import os, signal, sys
import numpy as np, ptrarray
from ptrarray.storage.system.files import File
left, real = int(sys.argv[1]), File.pwritev
def dying(*arguments):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
File.pwritev = dying
ptrarray.dump([np.arange(10**6)], sys.argv[2], mode="w")
"""


@pytest.mark.parametrize("at", [1, 3, 9])
def test_killed(tmp_path: Path, at: int) -> None:
    path = tmp_path / "a.tar"
    ptrarray.dump("old", path)
    assert python("-c", KILLED, str(at), path).returncode < 0
    assert ptrarray.load(path) == "old"
    ptrarray.dump("new", path, mode="w")
    assert [file.name for file in tmp_path.iterdir()] == ["a.tar"]


def test_without_sync_nothing_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(files.File, "sync", lambda file: calls.append(file.path))
    monkeypatch.setattr(files, "sync_directory", lambda path: calls.append(str(path)))
    for name in ("a.ptr", "a.tar", "a.gz"):
        ptrarray.dump(OBJECT, tmp_path / name, sync=False)
        assert calls == []
        assert_same(OBJECT, ptrarray.load(tmp_path / name))
        ptrarray.verify(tmp_path / name) if name != "a.gz" else None
        ptrarray.dump([1], tmp_path / name, sync=False, mode="w")
        assert calls  # what is replaced is not lost
        calls.clear()
        assert ptrarray.load(tmp_path / name) == [1]


def test_what_a_power_cut_took_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.ptr"
    ptrarray.dump(OBJECT, path, sync=False)
    raw = (path / "data.bin").read_bytes()
    monkeypatch.setattr(files, "boot_id", lambda: b"after the cut 16")
    assert_same(OBJECT, ptrarray.load(path))
    for lost in (bytes(len(raw)), b"", raw[:2000], raw[:500] + bytes(64) + raw[564:]):
        (path / "data.bin").write_bytes(lost)
        with pytest.raises(CorruptStoreError):
            ptrarray.load(path)


# what is no stream, and what is damaged -----------------------------------------------------------


@pytest.mark.parametrize("compress", [None, *CODECS])
def test_every_cut(compress: Any) -> None:
    raw = streamed(OBJECT, compress)
    end = len(raw.rstrip(b"\0")) if compress is None else len(raw)
    for at in [*range(1, end, max(1, end // 60)), end - 1]:
        with pytest.raises((CorruptStoreError, BadInputError)):
            ptrarray.load(io.BytesIO(raw[:at]))


@pytest.mark.parametrize("compress", [None, *CODECS])
def test_flips(compress: Any) -> None:
    raw = streamed(OBJECT, compress)
    for at in range(0, len(raw), max(1, len(raw) // 150)):
        flipped = bytearray(raw)
        flipped[at] ^= 0x10
        try:
            found = ptrarray.load(io.BytesIO(flipped))
        except (CorruptStoreError, BadInputError):
            continue
        assert_same(OBJECT, found)  # in what pads, or a flag of the container


def test_a_forged_size_takes_no_memory() -> None:
    code = """
import io, resource, tarfile
import ptrarray
buffer = io.BytesIO()
ptrarray.dump([1] * 3000, buffer)
raw = buffer.getvalue()
for name in (b"data.bin", b"index.msgpack"):
    at = raw.index(b"object.ptr/" + name)
    info = tarfile.TarInfo("object.ptr/" + name.decode())
    info.size = 2**42
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        ptrarray.load(io.BytesIO(raw[:at] + info.tobuf(tarfile.GNU_FORMAT) + raw[at + 512:]))
    except ptrarray.CorruptStoreError:
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 24 * 1024
    else:
        raise AssertionError
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


MEMORY = """
import resource, sys
import numpy as np, ptrarray
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
ptrarray.dump([1], sys.argv[1] + "first.gz", compress=("gz", 1))
obj = [np.ones(2**22) for _ in range(6)]
before = peak()
with open(sys.argv[1], "wb") as file:
    ptrarray.dump(obj, file)
ptrarray.dump(obj, sys.argv[1] + ".gz", compress=("gz", 1))
print(peak() - before)
"""


def test_memory_of_the_process(tmp_path: Path) -> None:
    """An object of 192 MiB takes a few more to be written to a handle, compressed or not."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "a")]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert int(done.stdout) < 24 * MEBI


def test_pickles_are_refused_with_what_imports_them(tmp_path: Path, joblib: Any) -> None:
    joblib.dump(OBJECT["plain"], tmp_path / "a.joblib")
    joblib.dump(OBJECT["plain"], tmp_path / "a.joblib.gz", compress=("gzip", 3))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([1]))
    for file in tmp_path.iterdir():
        with pytest.raises(BadInputError, match="from_joblib"):
            ptrarray.load(file)
        with file.open("rb") as handle, pytest.raises(BadInputError, match="from_joblib"):
            ptrarray.load(handle)


def test_other_stores_and_files(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "a.ptr", dtype="f4") as writer:
        writer["a"] = [1]
    ptrarray.pack(tmp_path / "a.ptr", tmp_path / "a.tar.gz")
    with pytest.raises(BadInputError, match="dump did not write"):
        ptrarray.load(tmp_path / "a.tar.gz")
    for raw in (b"text", bytes(9999), b"x" * 9999, gzip.compress(b"text")):
        with pytest.raises(CorruptStoreError):
            ptrarray.load(io.BytesIO(raw))
