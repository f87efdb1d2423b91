"""Hostile, cut and damaged archives are refused, and leave nothing behind."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

import ptrarray
from ptrarray import CorruptStoreError, StoreError
from ptrarray.storage.system import compressors
from tests.support.checks import digests
from tests.support.packs import NAME, Array, check_same_store, make, packed, stored

pytestmark = pytest.mark.usefixtures("limits", "no_syncs")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make(tmp_path / NAME)
    return tmp_path / NAME


@pytest.fixture
def arrays(path: Path) -> dict[str, Array]:
    return stored(path)


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


# made to harm -------------------------------------------------------------------------------------

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


# cut and flipped ----------------------------------------------------------------------------------


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


def test_not_a_tar(folder: Path) -> None:
    for raw in (b"", b"x", b"text" * 999, bytes(99999), gzip.compress(b"text" * 999)):
        check_refused(raw, folder)


# that grow ----------------------------------------------------------------------------------------


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
