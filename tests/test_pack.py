"""Packs: the same store in one file, whatever carries it, and nothing that is not one."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray import (
    BadInputError,
    CorruptStoreError,
    PointerArray,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
)
from ptrarray.cli import main
from ptrarray.format import tar
from ptrarray.storage.system import compressors, files
from tests.support.checks import check_store, digests, open_descriptors, root_base, unchanged
from tests.support.faults import CALLS, injected
from tests.support.story import without_syncs
from tests.test_format_doc import tables

Array = NDArray[Any]
COMPRESSIONS = (None, "gz", "bz2", "xz", "zst")
NAME = "zwölf.ptr"
RECORD = 10240


@pytest.fixture(autouse=True)
def _sparing_the_disk() -> Iterator[None]:
    with without_syncs():
        yield


def make(path: Path, n_arrays: int = 20) -> dict[str, Array]:
    """Make a store with holes, an index and a journal; return what is in it, in order."""
    rng = np.random.default_rng(n_arrays)
    arrays = {f"ärray {i}": rng.random((i % 7, 3)).astype("f4") for i in range(n_arrays)}
    with ptrarray.create(path, dtype="f4", row_shape=(3,), rows=5000, attrs={"k": [1]}) as writer:
        writer.write(arrays | {"gone": np.ones((50, 3))})
    ptrarray.checkpoint(path)
    with ptrarray.append(path) as writer:
        del writer["gone"]
        writer.write({"later": np.full((9, 3), 7)})
        start, _ = writer.pointers["later"]
        writer.point("part", start + 2, start + 5)
    with ptrarray.open(path) as store:
        return {name: array.copy() for name, array in store.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make(tmp_path / NAME)
    return tmp_path / NAME


@pytest.fixture
def arrays(path: Path) -> dict[str, Array]:
    with ptrarray.open(path) as store:
        return {name: array.copy() for name, array in store.items()}


def packed(path: Path, compression: str | None = None) -> bytes:
    buffer = io.BytesIO()
    ptrarray.pack(path, buffer, compression)
    return buffer.getvalue()


def check_same_store(path: Path, arrays: dict[str, Array]) -> None:
    with ptrarray.open(path) as store:
        check_store(store, arrays, in_order=True)
        assert dict(store.attrs) == {"k": [1]}


# there and back ----------------------------------------------------------------------------


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_two_packs_in_one_handle(
    path: Path, arrays: dict[str, Array], tmp_path: Path, compression: str | None
) -> None:
    other = make(tmp_path / "other.ptr", 3)
    buffer = io.BytesIO()
    ptrarray.pack(path, buffer, compression)
    ptrarray.pack(tmp_path / "other.ptr", buffer, compression)
    file = tmp_path / "both"
    file.write_bytes(b"before" + buffer.getvalue() + b"after")
    buffer = io.BytesIO(file.read_bytes())
    for handle in (buffer, file.open("rb")):
        with handle:
            assert handle.read(6) == b"before"
            ptrarray.unpack(handle, tmp_path / "one")
            ptrarray.unpack(handle, tmp_path / "two")
            assert handle.read() == b"after"
        check_same_store(tmp_path / "one", arrays)
        check_same_store(tmp_path / "two", other)
        shutil.rmtree(tmp_path / "one")
        shutil.rmtree(tmp_path / "two")


@pytest.mark.parametrize("extension", ["tar", "tar.gz", "TGZ", "tbz2", "tar.bz2", "xz", "zst"])
def test_extension_chooses(
    path: Path, arrays: dict[str, Array], tmp_path: Path, extension: str
) -> None:
    target = tmp_path / f"a.{extension}"
    ptrarray.pack(path, target)
    codec = compressors.recognised(target.read_bytes()[:6])
    assert (codec.name if codec else "tar") in extension.lower().replace("tgz", "gz")
    ptrarray.unpack(target, tmp_path / "b.ptr")
    check_same_store(tmp_path / "b.ptr", arrays)
    ptrarray.pack(path, tmp_path / "c.xz", "gz")
    assert (tmp_path / "c.xz").read_bytes().startswith(b"\x1f\x8b")


class OnlyWrite:
    """A handle that takes a part at a time, and tells how much."""

    def __init__(self, at_most: int) -> None:
        self.at_most, self.raw = at_most, bytearray()

    def write(self, piece: memoryview) -> int:
        self.raw += piece[: self.at_most]
        return len(piece[: self.at_most])


class OnlyRead:
    """A handle that gives a few bytes at a time."""

    def __init__(self, raw: bytes, at_most: int) -> None:
        self.raw, self.at_most = raw, at_most

    def read(self, nbytes: int) -> bytes:
        piece = self.raw[: min(nbytes, self.at_most)]
        self.raw = self.raw[len(piece) :]
        return piece


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_handle_that_can_nothing_else(
    path: Path, arrays: dict[str, Array], tmp_path: Path, compression: str | None
) -> None:
    sink = OnlyWrite(777)
    ptrarray.pack(path, sink, compression)
    assert bytes(sink.raw) == packed(path, compression)
    source = OnlyRead(bytes(sink.raw) + b"after", 3)
    ptrarray.unpack(source, tmp_path / "b.ptr")
    check_same_store(tmp_path / "b.ptr", arrays)
    if compression is None:
        assert source.raw == b"after"


def test_handle_that_tells_nothing(path: Path) -> None:
    pieces: list[bytes] = []

    class Silent:
        def write(self, piece: memoryview) -> None:
            pieces.append(bytes(piece))

    ptrarray.pack(path, Silent())
    assert b"".join(pieces) == packed(path)


@pytest.mark.parametrize("buffering", [0, -1])
@pytest.mark.parametrize("compression", [None, "gz"])
def test_socket_and_pipe(
    path: Path,
    arrays: dict[str, Array],
    tmp_path: Path,
    compression: str | None,
    buffering: Any,
) -> None:
    ours, theirs = socket.socketpair()
    near, far = os.pipe()
    pairs = [
        (ours.makefile("wb", buffering), theirs.makefile("rb", buffering)),
        (os.fdopen(far, "wb", buffering), os.fdopen(near, "rb", buffering)),
    ]
    for at, (sink, source) in enumerate(pairs):
        with source, sink:

            def send(sink: Any = sink) -> None:
                ptrarray.pack(path, sink, compression)
                sink.flush()
                ptrarray.pack(path, sink)
                sink.close()

            sender = threading.Thread(target=send)
            sender.start()
            if at == 0:
                ours.close()
            for name in ("x", "y") if buffering or compression is None else ("x",):
                ptrarray.unpack(source, tmp_path / f"{name}{at}")
                check_same_store(tmp_path / f"{name}{at}", arrays)
            while source.read(1 << 16):
                pass
            sender.join()
    theirs.close()


def test_tar_program(path: Path, arrays: dict[str, Array], tmp_path: Path) -> None:
    program = shutil.which("tar")
    if program is None:
        pytest.skip("needs tar")
    ptrarray.pack(path, tmp_path / "a.tar")
    listed = subprocess.run(
        [program, "tf", tmp_path / "a.tar"], capture_output=True, check=True, text=True
    )
    assert listed.stdout.splitlines()[0].endswith("/index.msgpack")
    assert (len(listed.stdout.splitlines()), listed.stderr) == (3, "")
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [program, "xf", tmp_path / "a.tar", "-C", tmp_path / "out"], capture_output=True, check=True
    )
    assert done.stderr == b""
    check_same_store(tmp_path / "out" / NAME, arrays)
    ptrarray.unpack(tmp_path / "a.tar", tmp_path / "b.ptr")
    assert digests(tmp_path / "b.ptr") == digests(tmp_path / "out" / NAME)
    with ptrarray.append(tmp_path / "out" / NAME) as writer:
        writer["more"] = np.zeros((1, 3))
    ptrarray.verify(tmp_path / "out" / NAME)


def test_python_reads_it(path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(path))) as archive:
        assert archive.getnames() == [
            f"{NAME}/{file}" for file in ("index.msgpack", "journal.msgpack", "data.bin")
        ]
        facts = {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in archive.getmembers()}
    assert facts == {(0, 0, 0, "", 0o644)}


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("arcname", ["a.ptr", ".", "", "home/" + "long" * 40 + "/ä.ptr"])
def test_archive_by_another_program(
    path: Path, arrays: dict[str, Array], tmp_path: Path, kind: int, arcname: str
) -> None:
    if kind == tarfile.USTAR_FORMAT and len(arcname) > 100:
        pytest.skip("a name too long for it")
    with tarfile.open(tmp_path / "own.tar", "w", format=kind) as archive:
        for file in path.iterdir() if not arcname else [path]:
            archive.add(file, arcname or file.name)
    check_same_store(tmp_path / "own.tar", arrays)
    ptrarray.unpack(tmp_path / "own.tar", tmp_path / "b.ptr")
    check_same_store(tmp_path / "b.ptr", arrays)


def test_archive_that_was_never_flushed(
    path: Path, arrays: dict[str, Array], tmp_path: Path, monkeypatch: Any
) -> None:
    """On another machine, what the journal tells of is looked at as after a power cut."""
    with tarfile.open(tmp_path / "own.tar", "w") as archive:
        archive.add(path, NAME)
    monkeypatch.setattr(files, "boot_id", lambda: b"another machine!")
    check_same_store(tmp_path / "own.tar", arrays)


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz", "zst"])
def test_compressed_in_several_streams(
    path: Path, arrays: dict[str, Array], tmp_path: Path, compression: str
) -> None:
    """Parallel compressors write one stream after the other."""
    raw = packed(path)
    cut = b""
    for at in range(0, len(raw), 3000):
        compressor = compressors.named(compression).compressor()
        cut += compressor.compress(raw[at : at + 3000]) + compressor.flush()
    ptrarray.unpack(io.BytesIO(cut), tmp_path / "b.ptr")
    check_same_store(tmp_path / "b.ptr", arrays)


# what is in it -----------------------------------------------------------------------------


def test_same_content_same_bytes(path: Path, tmp_path: Path, monkeypatch: Any) -> None:
    raw = packed(path)
    monkeypatch.setattr(files, "boot_id", lambda: b"on another day !")
    assert len(raw) % RECORD == 0
    ptrarray.pack(path, tmp_path / "a.tar")
    assert (tmp_path / "a.tar").read_bytes() == raw
    ptrarray.checkpoint(path)
    assert packed(path) == raw
    ptrarray.compact(path)
    assert packed(path) == raw
    assert packed(tmp_path / "a.tar") == raw, "a pack of the pack"
    (tmp_path / "again").mkdir()
    make(tmp_path / "again" / NAME)
    assert packed(tmp_path / "again" / NAME) == raw
    for compression in COMPRESSIONS:
        assert packed(path, compression) == packed(path, compression)
    with ptrarray.append(path) as writer:
        writer.attrs["k"] = [2]
    assert packed(path) != raw


@pytest.mark.parametrize("n_arrays", [0, 1])
def test_store_with_nothing_in_it(tmp_path: Path, n_arrays: int) -> None:
    with ptrarray.create(tmp_path / "e.ptr", dtype="M8[s]", row_shape=(0,), rows=9) as writer:
        writer.write({str(i): np.zeros((0, 0), "M8[s]") for i in range(n_arrays)})
    ptrarray.pack(tmp_path / "e.ptr", tmp_path / "e.tar")
    ptrarray.unpack(tmp_path / "e.tar", tmp_path / "f.ptr")
    for place in ("e.tar", "f.ptr"):
        with ptrarray.open(tmp_path / place) as store:
            assert (len(store), store.shape, store.dtype.str) == (n_arrays, (0, 0), "<M8[s]")
            store.verify()


def test_large_arrays_go_in_pieces(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {f"{i}": rng.integers(0, 255, n, np.uint8) for i, n in enumerate((1, 9 << 20, 3))}
    with ptrarray.create(tmp_path / "a.ptr", dtype="u1") as writer:
        writer.write(arrays)
        writer.point("p", 5, 5 << 20)
        writer.point("q", 100, (9 << 20) + 2)
    sizes: list[int] = []

    class Sink:
        def write(self, piece: memoryview) -> None:
            sizes.append(len(piece))

    ptrarray.pack(tmp_path / "a.ptr", Sink())
    assert max(sizes) == 4 << 20
    ptrarray.pack(tmp_path / "a.ptr", tmp_path / "a.tar")
    with ptrarray.open(tmp_path / "a.tar") as store:
        store.verify()
        for name, array in arrays.items():
            assert np.array_equal(store[name], array)


def assorted(kind: str) -> dict[str, Any]:
    """Return arrays for a layout, as they are to be read back."""
    rng = np.random.default_rng(1)
    flat = {f"f{i}": rng.integers(1, 9, (i, 2), np.int16) for i in range(9)}
    if kind == "rows":
        return flat
    shaped = {f"s{i}": rng.integers(1, 9, (2,) * i, np.int16) for i in range(4)}
    shaped["fortran"] = np.asfortranarray(rng.integers(1, 9, (3, 4), np.int16))
    if kind == "shaped":
        return flat | shaped
    mixed = {"f8": rng.random(7), "text": np.array(["ä", "bcd"]), "scalar": np.array(1 + 2j)}
    return flat | shaped | mixed | {"fields": np.zeros(3, [("x", "f4"), ("y", ">i8", (2,))])}


def hidden(array: Array) -> Any:
    """Mask a part of an array."""
    if array.dtype.names is not None:
        return array
    mask = np.resize([True, False, False], array.shape)
    return np.ma.MaskedArray(array, mask, hard_mask=True)


LAYOUTS: dict[str, dict[str, Any]] = {
    "rows": {"dtype": "i2", "row_shape": (2,)},
    "shaped": {"dtype": "i2", "row_shape": None},
    "mixed": {},
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", LAYOUTS)
def test_layouts_masks_and_metadata(tmp_path: Path, kind: str, masked: bool) -> None:
    arrays = assorted(kind)
    if masked:
        arrays |= {name: hidden(arrays[name]) for name in list(arrays)[2::2]}
    path = tmp_path / "a.ptr"
    with ptrarray.create(path, **LAYOUTS[kind], masked=masked) as writer:
        for i, (name, array) in enumerate(arrays.items()):
            gone = np.full((40 + i, 2), 7, "i2")
            writer.write({f"gone {i}": np.ma.MaskedArray(gone, True) if masked else gone})
            writer.write({name: array}, meta={name: {"at": [name, 1.5]}})
        writer.point("again", *writer.pointers["f5"])
        for i in range(len(arrays)):
            del writer[f"gone {i}"]
    raw = packed(path)
    (tmp_path / "a.tar").write_bytes(raw)
    ptrarray.unpack(tmp_path / "a.tar", tmp_path / "b.ptr")
    ptrarray.compact(path)
    assert packed(path) == raw
    files = {"data.bin", "index.msgpack", "journal.msgpack"} | ({"mask.bin"} if masked else set())
    assert {file.name for file in (tmp_path / "b.ptr").iterdir()} == files
    with ptrarray.open(path) as original:
        for place in ("a.tar", "b.ptr"):
            with ptrarray.open(tmp_path / place) as store:
                check_same_arrays(store, original, arrays)


def check_same_arrays(store: PointerArray, original: PointerArray, arrays: dict[str, Any]) -> None:
    """Check that a pack holds what a compacted store does."""
    store.verify()
    assert (store.layout, store.masked) == (original.layout, original.masked)
    assert (store.dtype, store.nbytes) == (original.dtype, original.nbytes)
    assert list(store) == list(original)
    assert dict(store.pointers) == dict(original.pointers)
    assert store.meta["again"] == {}
    for name, array in arrays.items():
        assert store.meta[name] == {"at": [name, 1.5]}
        check_equal(store[name], array, masked=store.masked)
        assert store[name].ctypes.data % 64 == 0 or store.layout != "mixed"


def check_equal(found: Any, expected: Any, *, masked: bool) -> None:
    assert isinstance(found, np.ma.MaskedArray) == masked
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert np.array_equal(np.ma.getdata(found), np.ma.getdata(expected))
    assert np.array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(expected))
    if isinstance(expected, np.ma.MaskedArray):
        assert found.hardmask == expected.hardmask
        assert found.fill_value == expected.fill_value


def test_more_than_8_gib(tmp_path: Path) -> None:
    """Sizes that the classic header has no room for, in a file that is almost all hole."""
    nbytes, name = 9 << 30, "a.ptr"
    with ptrarray.create(tmp_path / name, dtype="u1", rows=nbytes, masked=True) as writer:
        writer.write({"last": [5, 6]}, start=nbytes - 2)
        writer.flush()
    with (tmp_path / "a.tar").open("wb") as pack:
        for file in ("index.msgpack", "journal.msgpack", "data.bin", "mask.bin"):
            size = (tmp_path / name / file).stat().st_size
            pack.write(tar.header(name, file, size))
            start = pack.tell()
            pack.truncate(start + size + tar.padding(size))
            with (tmp_path / name / file).open("rb") as source:
                first = max(0, size - (1 << 20))  # before, there is nothing but hole
                source.seek(first)
                pack.seek(start + first)
                pack.write(source.read())
            pack.seek(start + size + tar.padding(size))
        pack.write(tar.trailer(pack.tell()))
    with ptrarray.open(tmp_path / "a.tar") as store:
        assert store["last"].tolist() == [5, 6]
        assert store.shape == (nbytes,)
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert [member.size for member in archive.getmembers()][2:] == [nbytes, nbytes]


# read in place -----------------------------------------------------------------------------


def test_in_place_is_as_the_store(path: Path, arrays: dict[str, Array], tmp_path: Path) -> None:
    ptrarray.pack(path, tmp_path / "a.tar")
    with unchanged(tmp_path), ptrarray.open(tmp_path / "a.tar") as store:
        check_store(store, arrays, in_order=True)
        assert store.path == str(tmp_path / "a.tar")
        assert dict(store.attrs) == {"k": [1]}
        living = np.concatenate([a for n, a in arrays.items() if n != "part"])
        np.testing.assert_allclose(np.sum(store, axis=0), living.sum(axis=0), rtol=1e-4)
        np.testing.assert_array_equal(store.reduce(np.maximum), living.max(axis=0))
        assert store.reduce_each(np.add).shape == (len(arrays), 3)
        assert store.rows.ctypes.data % 64 == 0
        assert type(store["later"]) is np.ndarray
        assert isinstance(root_base(store["later"]), np.memmap)
        again = pickle.loads(pickle.dumps(store))
        check_store(again, arrays, in_order=True)
        assert len(open_descriptors(tmp_path)) <= 4  # two mappings each
        before = store["later"]
        store.refresh()
        assert before.base is store["later"].base
        with pytest.raises(ValueError, match="read-only"):
            before[0] = 0


def test_joblib_ships_it_by_reference(path: Path, tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    ptrarray.pack(path, tmp_path / "a.tar")
    rows = ptrarray.open(tmp_path / "a.tar").rows
    reducer = joblib._memmapping_reducer
    base = reducer._get_backing_memmap(rows)
    assert base.filename == str(tmp_path / "a.tar")
    rebuild, arguments = reducer._reduce_memmap_backed(rows, base)
    assert np.array_equal(rebuild(*arguments), rows)


def test_read_not_mapped(path: Path, arrays: dict[str, Array], tmp_path: Path) -> None:
    ptrarray.pack(path, tmp_path / "a.tar")
    with ptrarray.open(tmp_path / "a.tar", backend="pread") as store:
        check_store(store, arrays, in_order=True)
        store.refresh()
        assert store["later"][0, 0] == 7


def test_shards_are_packed_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    arrays = {f"{i}": np.arange(100) for i in range(9)}
    with ptrarray.create(path, dtype="i4", shard_size=1000) as writer:
        for name, array in arrays.items():
            writer[name] = array
    with unchanged(tmp_path), pytest.raises(BadInputError, match="shard-00000"):
        ptrarray.pack(path, tmp_path / "a.tar")
    found: list[str] = []
    for shard in sorted(path.glob("shard-*")):
        ptrarray.pack(shard, tmp_path / "shard.tar", overwrite=True)
        with ptrarray.open(tmp_path / "shard.tar") as store:
            found += store
    assert sorted(found) == sorted(arrays)


def test_mode_c(path: Path, tmp_path: Path) -> None:
    ptrarray.pack(path, tmp_path / "a.tar")
    with unchanged(tmp_path), ptrarray.open(tmp_path / "a.tar", "c") as store:
        store["later"][0] = -1
        assert store["later"][0, 0] == -1


def test_replaced_while_it_is_read(path: Path, arrays: dict[str, Array], tmp_path: Path) -> None:
    """A pack put in place of one that is open: the one that is open stays as it is."""
    ptrarray.pack(path, tmp_path / "a.tar")
    with ptrarray.open(tmp_path / "a.tar") as store:
        make(tmp_path / "small.ptr", 1)
        ptrarray.pack(tmp_path / "small.ptr", tmp_path / "a.tar", overwrite=True)
        check_store(store, arrays, in_order=True)
        store.refresh()
        check_store(store, arrays, in_order=True)
        ptrarray.pack(store.path, store.path, overwrite=True)  # on itself
        check_store(store, arrays, in_order=True)
    assert len(ptrarray.open(tmp_path / "a.tar")) == 3


@pytest.mark.parametrize("call", ["snapshot.Journal", "opened.map_rows"])
def test_replaced_while_it_is_opened(
    path: Path, tmp_path: Path, monkeypatch: Any, call: str
) -> None:
    """The parts of a pack that was opened are never those of the one put in its place."""
    small = make(tmp_path / "small.ptr", 1)
    ptrarray.pack(path, tmp_path / "a.tar")
    module, name = call.split(".")
    real = getattr(import_module(f"ptrarray.storage.store.{module}"), name)
    calls = []

    def late(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) == 1:
            ptrarray.pack(tmp_path / "small.ptr", tmp_path / "b.tar")
            (tmp_path / "b.tar").replace(tmp_path / "a.tar")
        return real(*arguments, **options)

    monkeypatch.setattr(f"ptrarray.storage.store.{call}", late)
    check_same_store(tmp_path / "a.tar", small)
    assert len(calls) > 1


@pytest.mark.parametrize(
    "change",
    [
        lambda pack: ptrarray.open(pack, "r+"),
        ptrarray.append,
        ptrarray.checkpoint,
        ptrarray.compact,
        lambda pack: ptrarray.repair(pack, pack.with_name("repaired")),
    ],
)
def test_changes_are_refused(path: Path, tmp_path: Path, change: Callable[[Path], object]) -> None:
    ptrarray.pack(path, tmp_path / "a.tar")
    with unchanged(tmp_path), pytest.raises(BadInputError, match=r"a pack.*unpack\("):
        change(tmp_path / "a.tar")
    ptrarray.pack(path, tmp_path / "a.tar.xz")
    with unchanged(tmp_path), pytest.raises(StoreError, match=r"compressed \(xz\).*unpack\("):
        change(tmp_path / "a.tar.xz")
    (tmp_path / "text").write_text("text")
    with unchanged(tmp_path), pytest.raises(StoreNotFoundError, match="no pack"):
        change(tmp_path / "text")
    assert not (tmp_path / "repaired").exists()


@pytest.mark.parametrize("mode", ["x", "w", "a"])
def test_create_spares_packs(path: Path, tmp_path: Path, mode: str) -> None:
    ptrarray.pack(path, tmp_path / "a.tar")
    with unchanged(tmp_path), pytest.raises(StoreExistsError):
        ptrarray.create(tmp_path / "a.tar", dtype="f4", row_shape=(3,), mode=mode)


# while others write, and what is damaged -----------------------------------------------------


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


# hostile and damaged archives ----------------------------------------------------------------


def check_refused(
    raw: bytes, folder: Path, *, in_place: bool = True, why: str | None = None
) -> None:
    """Check that bytes are taken for no pack, in place or as a stream, and leave nothing."""
    (folder / "bad.tar").write_bytes(raw)
    before = digests(folder.parent)
    with pytest.raises(CorruptStoreError) as raised:
        ptrarray.unpack(folder / "bad.tar", folder / "out.ptr")
    assert raised.value.path == str(folder / "bad.tar")
    assert ".new" not in str(raised.value)
    with pytest.raises(CorruptStoreError):
        ptrarray.unpack(io.BytesIO(raw), folder / "out.ptr")
    if in_place:
        with pytest.raises(StoreError, match=why):
            ptrarray.verify(folder / "bad.tar")
    assert digests(folder.parent) == before
    assert [file.name for file in folder.iterdir()] == ["bad.tar"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


Change = Callable[[list[tarfile.TarInfo]], object]


def archive_of(
    path: Path, change: Callable[[list[tarfile.TarInfo]], object], **options: Any
) -> bytes:
    """Pack a store by Python, its members changed."""
    buffer = io.BytesIO()
    contents: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(packed(path))) as archive:
        members = archive.getmembers()
        for member in members:
            file = archive.extractfile(member)
            assert file is not None
            contents[Path(member.name).name] = file.read()
    change(members)
    with tarfile.open(fileobj=buffer, mode="w", **options) as archive:
        for member in members:
            raw = contents.get(Path(member.name).name, b"x" * 99)
            if member.isreg() and member.size == len(contents.get(Path(member.name).name, b"")):
                archive.addfile(member, io.BytesIO(raw))
            else:
                archive.addfile(member, io.BytesIO(raw + bytes(member.size)))
    return buffer.getvalue()


def set_member(at: int, **facts: Any) -> Change:
    def change(members: list[tarfile.TarInfo]) -> None:
        for key, value in facts.items():
            setattr(members[at], key, value)

    return change


def extra(name: str, **facts: Any) -> Change:
    def change(members: list[tarfile.TarInfo]) -> None:
        members.append(tarfile.TarInfo(name))
        set_member(-1, **facts)(members)

    return change


def below(folder: str) -> Change:
    def change(members: list[tarfile.TarInfo]) -> None:
        for member in members:
            member.name = folder + member.name

    return change


HOSTILE: dict[str, Change] = {
    "no index": lambda members: members.pop(0),
    "no journal": lambda members: members.pop(1),
    "no data": lambda members: members.pop(2),
    "nothing": lambda members: members.clear(),
    "twice": lambda members: members.append(members[0]),
    "two data files": extra(f"{NAME}/data.7.bin"),
    "something else": extra(f"{NAME}/setup.py"),
    "another directory": extra("other/data.bin"),
    "two directories": set_member(1, name="other/journal.msgpack"),
    "a directory below": extra(f"{NAME}/below/data.bin"),
    "outside": below("../"),
    "outside and back": below("a/../"),
    "absolute": below("/tmp/"),
    "file outside": extra("../../etc/passwd"),
    "link": set_member(2, type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0),
    "hard link": set_member(2, type=tarfile.LNKTYPE, linkname=f"{NAME}/index.msgpack", size=0),
    "device": set_member(2, type=tarfile.CHRTYPE, devmajor=1, devminor=3, size=0),
    "pipe": set_member(2, type=tarfile.FIFOTYPE, size=0),
    "sparse": set_member(2, type=tarfile.GNUTYPE_SPARSE),
    "directory for a file": set_member(2, type=tarfile.DIRTYPE, size=0),
    "directory with bytes": extra(f"{NAME}/", type=tarfile.DIRTYPE, size=512),
    "data too short": set_member(2, size=24),
    "index too short": set_member(0, size=600),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archive(path: Path, folder: Path, kind: str) -> None:
    raw = archive_of(path, HOSTILE[kind], format=tarfile.GNU_FORMAT)
    check_refused(raw, folder)


@pytest.mark.parametrize(
    "headers",
    [
        {"size": "12"},
        {"size": "-1"},
        {"size": "9" * 4000},
        {"size": "x"},
        {"path": "../data.bin"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
        {"path": "x" * 70_000},
    ],
    ids=lambda headers: str(headers)[:30],
)
def test_hostile_extended_header(path: Path, folder: Path, headers: dict[str, str]) -> None:
    change = set_member(2, pax_headers=headers)
    check_refused(archive_of(path, change, format=tarfile.PAX_FORMAT), folder)


def test_extended_headers_without_end(path: Path, folder: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type = tarfile.XHDTYPE
    check_refused(info.tobuf() * 5 + packed(path), folder)
    (folder / "good.tar").write_bytes(info.tobuf() * 4 + packed(path))
    ptrarray.verify(folder / "good.tar")
    (folder / "good.tar").unlink()
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**40
    check_refused(info.tobuf(tarfile.GNU_FORMAT) + bytes(5000), folder)
    info.type, info.size = tarfile.XHDTYPE, 512
    for record in (b"600 a=b\n", b"0 a=b\n", b"-5 a=b\n", b"1", b"5 \xff=b\n", b"99"):
        check_refused(info.tobuf() + record.ljust(512, b"\0") + bytes(2048), folder)


@pytest.mark.parametrize("size", [2**63 - 1, 2**62, 2**70])
def test_forged_size(path: Path, folder: Path, size: int) -> None:
    raw = packed(path)
    at = raw.index(b"data.bin") - len(NAME.encode()) - 1
    info = tarfile.TarInfo(f"{NAME}/data.bin")
    info.size = size
    forged = raw[:at] + info.tobuf(tarfile.GNU_FORMAT) + raw[at + 512 :]
    check_refused(forged, folder)


def test_every_cut(path: Path, folder: Path) -> None:
    raw = packed(path)
    end = len(raw.rstrip(b"\0"))
    end += -end % 512 + 1024  # of the archive; the rest is padding
    edges = {at + by for at in range(0, end, 512) for by in (-1, 0, 1)}
    for at in sorted((edges | set(range(0, end, 171))) & set(range(end))):
        if at < 512:  # nothing tells that it was one
            (folder / "bad.tar").write_bytes(raw[:at])
            with pytest.raises(StoreError):
                ptrarray.open(folder / "bad.tar")
            with pytest.raises(CorruptStoreError):
                ptrarray.unpack(io.BytesIO(raw[:at]), folder / "out.ptr")
            continue
        check_refused(raw[:at], folder, why=f"has {at} bytes, at least .* are needed")
    for at in range(end, len(raw), 512):
        (folder / "bad.tar").write_bytes(raw[:at])
        ptrarray.unpack(folder / "bad.tar", folder / "out.ptr")
        shutil.rmtree(folder / "out.ptr")
        ptrarray.verify(folder / "bad.tar")


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz", "zst"])
def test_every_cut_of_a_compressed_one(path: Path, folder: Path, compression: str) -> None:
    raw = packed(path, compression)
    for at in [*range(0, len(raw), 97), *range(len(raw) - 12, len(raw))]:
        check_refused(raw[:at], folder, in_place=False)


def test_every_flip(path: Path, arrays: dict[str, Array], tmp_path: Path) -> None:
    raw = packed(path)
    n_refused = 0
    flips = range(0, len(raw), 61)
    for at in flips:
        flipped = bytearray(raw)
        flipped[at] ^= 0x10
        (tmp_path / "bad.tar").write_bytes(flipped)
        try:
            with ptrarray.open(tmp_path / "bad.tar") as store:
                store.verify()
                assert {name: array.tobytes() for name, array in store.items()} == {
                    name: array.tobytes() for name, array in arrays.items()
                }
        except StoreError:
            n_refused += 1
    assert len(flips) // 20 < n_refused < len(flips)  # much is padding


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz", "zst"])
def test_flips_of_a_compressed_one(
    path: Path, arrays: dict[str, Array], tmp_path: Path, compression: str
) -> None:
    raw = packed(path, compression)
    for at in range(0, len(raw), 211):
        flipped = bytearray(raw)
        flipped[at] ^= 0x10
        try:
            ptrarray.unpack(io.BytesIO(flipped), tmp_path / "out.ptr")
        except CorruptStoreError:
            assert not (tmp_path / "out.ptr").exists()
            continue
        check_same_store(tmp_path / "out.ptr", arrays)  # a flag of the container
        shutil.rmtree(tmp_path / "out.ptr")


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz", "zst"])
def test_stream_that_never_ends(path: Path, tmp_path: Path, compression: str) -> None:
    """A few bytes that grow without end behind the archive are not waited for."""
    compressor = compressors.named(compression).compressor()
    raw = compressor.compress(packed(path))
    zeros = bytes(1 << 20)
    for _ in range(16):
        raw += compressor.compress(zeros)
    with pytest.raises(CorruptStoreError, match="goes on behind the end"):
        ptrarray.unpack(io.BytesIO(raw + compressor.flush()), tmp_path / "b.ptr")


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz", "zst"])
def test_a_few_bytes_grow_bit_by_bit(compression: str) -> None:
    codec = compressors.named(compression)
    compressor = codec.compressor()
    raw = compressor.compress(bytes(40 << 20)) + compressor.flush()
    sizes = [len(piece) for piece in compressors.Inflater(codec).feed(raw)]
    assert (sum(sizes), max(sizes) <= 32 << 20) == (40 << 20, True)


def test_xz_that_asks_for_memory(path: Path, folder: Path) -> None:
    raw = bytearray(packed(path, "xz"))
    nbytes = (raw[12] + 1) * 4  # of the block's header
    raw[raw.index(b"\x21\x01", 12) + 2] = 40  # a dictionary of 4 GiB
    raw[12 + nbytes - 4 : 12 + nbytes] = crc32(raw[12 : 12 + nbytes - 4]).to_bytes(4, "little")
    check_refused(bytes(raw), folder, in_place=False, why="emory")


def test_not_a_tar(folder: Path) -> None:
    for raw in (b"", b"x", b"text" * 999, bytes(99999), gzip.compress(b"text" * 999)):
        check_refused(raw, folder)


# refusals, failures and kills ----------------------------------------------------------------


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


def test_target_that_comes_meanwhile(path: Path, tmp_path: Path, monkeypatch: Any) -> None:
    real = files.link

    def link(new: Path, target: Path) -> None:
        target.write_text("precious")
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
        (("a.tar.lz4",), "a compression that packs do not have"),
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


def test_zstd_of_the_package(path: Path, monkeypatch: Any) -> None:
    """Python 3.14 has its own, which is tried first; both read each other's streams."""
    zstandard = pytest.importorskip("zstandard")
    raw = packed(path, "zst")

    def only_package(name: str) -> Any:
        if name != "zstandard":
            raise ModuleNotFoundError(name)
        return zstandard

    monkeypatch.setattr(compressors, "import_module", only_package)
    inflater = compressors.Inflater(compressors.named("zst"))
    assert b"".join(inflater.feed(raw)) == packed(path)
    assert packed(path, "zst").startswith(compressors.named("zst").magic)


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
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(at)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        check=False,
    )
    assert process.returncode == -signal.SIGKILL
    for place in tmp_path.iterdir():
        if place.name.startswith("."):
            assert place.suffix == ".new"
        else:
            check_same_store(place, arrays)
    assert not (tmp_path / "b.ptr").exists()


# command line --------------------------------------------------------------------------------


def test_command_line(path: Path, arrays: dict[str, Array], tmp_path: Path, capsys: Any) -> None:
    def run(*arguments: object) -> int:
        return main([str(argument) for argument in arguments])

    assert run("pack", path, tmp_path / "a.tar") == 0
    assert run("pack", path, tmp_path / "b", "--compression", "bz2") == 0
    assert (tmp_path / "b").read_bytes().startswith(b"BZh")
    assert run("pack", path, tmp_path / "a.tar") == 1
    assert "overwrite" in capsys.readouterr().err
    assert run("pack", path, tmp_path / "a.tar", "--overwrite") == 0
    assert run("unpack", tmp_path / "b", tmp_path / "b.ptr") == 0
    assert run("verify", tmp_path / "a.tar") == 0
    assert run("compact", tmp_path / "a.tar") == 1
    assert run("info", tmp_path / "a.tar") == 0
    check_same_store(tmp_path / "b.ptr", arrays)


def test_command_line_in_a_pipe(path: Path, arrays: dict[str, Array], tmp_path: Path) -> None:
    command = f"{sys.executable} -m ptrarray"
    done = subprocess.run(
        f"{command} pack {path} - --compression gz | {command} unpack - {tmp_path / 'b.ptr'}",
        shell=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"", b"")
    check_same_store(tmp_path / "b.ptr", arrays)


def test_writer_of_an_unpacked_store(path: Path, tmp_path: Path) -> None:
    raw = packed(path)
    ptrarray.unpack(io.BytesIO(raw), tmp_path / "b.ptr")
    with ptrarray.append(tmp_path / "b.ptr") as writer:
        n_rows = max(end for _, end in writer.pointers.values())
        assert writer.write({"new": np.ones((2, 3))}) == (n_rows, n_rows + 2)
    ptrarray.verify(tmp_path / "b.ptr")
    assert packed(tmp_path / "b.ptr") != raw


def test_unpacked_twice_at_one_place(path: Path, tmp_path: Path) -> None:
    """Stores made of one pack have one id; a reader must not mix them."""
    raw, place = packed(path), tmp_path / "b.ptr"
    stores = []
    for value in (1, 2):
        ptrarray.unpack(io.BytesIO(raw), place)
        with ptrarray.append(place) as writer:
            writer["new"] = np.full((3, 3), value)
        stores.append(ptrarray.open(place))
        stores[0].refresh()
        assert stores[0]["new"][0, 0] == value
        place.rename(tmp_path / f"moved {value}")


def test_format_page_tells_the_members(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "FORMAT.md").read_text(encoding="utf-8")
    with ptrarray.create(tmp_path / "NAME", dtype="i1", masked=True) as writer:
        writer["a"] = [1]
    with tarfile.open(fileobj=io.BytesIO(packed(tmp_path / "NAME"))) as archive:
        assert archive.getnames() == [member for member, _ in tables(page)["12. Packs"]]
