"""Packs: the same store in one file, and a store again, whatever carries it."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError
from ptrarray.cli import main
from ptrarray.storage.system import compressors, files
from tests.support.checks import digests
from tests.support.packs import COMPRESSIONS, NAME, Array, check_same_store, make, packed, stored

pytestmark = pytest.mark.usefixtures("no_syncs")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make(tmp_path / NAME)
    return tmp_path / NAME


@pytest.fixture
def arrays(path: Path) -> dict[str, Array]:
    return stored(path)


# handles ------------------------------------------------------------------------------------------


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


# other programs -----------------------------------------------------------------------------------


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


# compression --------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz", "zst"])
def test_levels(tmp_path: Path, compression: str) -> None:
    with ptrarray.create(tmp_path / "l.ptr", dtype="u1") as writer:
        writer["a"] = np.random.default_rng(0).integers(0, 9, 100_000).astype("u1").repeat(2)
    codec = compressors.named(compression)
    sizes = [
        len(packed(tmp_path / "l.ptr", compression, level=level))
        for level in (codec.levels[0], codec.level, None, 9)
    ]
    assert sizes[0] > sizes[3]
    assert sizes[1] == sizes[2]
    data = packed(tmp_path / "l.ptr", compression, level=codec.levels[-1])
    ptrarray.unpack(io.BytesIO(data), tmp_path / "m.ptr")
    assert len(ptrarray.open(tmp_path / "m.ptr")["a"]) == 200_000


@pytest.mark.parametrize(
    ("compression", "level", "message"),
    [
        ("gz", 10, "gz has no level 10: expected 0 to 9"),
        ("bz2", 0, "bz2 has no level 0: expected 1 to 9"),
        ("zst", -1, "zst has no level -1"),
        ("xz", True, "xz has no level True"),
        ("xz", "9", "xz has no level '9'"),
        (None, 3, "level 3 without a compression"),
    ],
)
def test_levels_that_are_not_there(
    path: Path, tmp_path: Path, compression: Any, level: Any, message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        ptrarray.pack(path, tmp_path / "a.tar", compression, level=level)
    assert not (tmp_path / "a.tar").exists()


# command line -------------------------------------------------------------------------------------


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
    capsys.readouterr()
    assert run("unpack", tmp_path / "b", "--json", tmp_path / "c.ptr") == 0
    found = {"path": str(tmp_path / "c.ptr"), "arrays": len(arrays)}
    assert json.loads(capsys.readouterr().out) == found
    assert run("pack", path, "--json", tmp_path / "c.gz", "--level", 9) == 0
    found = {"path": str(tmp_path / "c.gz"), "nbytes": (tmp_path / "c.gz").stat().st_size}
    assert json.loads(capsys.readouterr().out) == found
    assert run("pack", path, "-", "--json") == 1
    assert "name a file" in capsys.readouterr().err
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


# stores that were unpacked ------------------------------------------------------------------------


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
