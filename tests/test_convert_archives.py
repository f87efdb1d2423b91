"""Importing from tar: archives that are cut, damaged, end to end, or hold links; files packed alone."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptrarray import convert
from ptrarray.convert import Report
from tests.support.imports import check_content, content

pytestmark = pytest.mark.usefixtures("limits")

BLOCK = 512
ARRAYS = {name: np.full(5, i) for i, name in enumerate("abcd")}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def tar(
    members: dict[str, bytes], *others: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT
) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, raw in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
        for info in others:
            archive.addfile(info)
    return file.getvalue()


def other(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


# Each member takes one block for its header and one for its array.
PLAIN = tar({f"{name}.npy": npy(array) for name, array in ARRAYS.items()})


def run(folder: Path, store: Path) -> Report:
    return convert.from_tar(folder, store, progress=False)


def damaged(raw: bytes, at: int, by: bytes = b"\xff" * 8) -> bytes:
    return raw[:at] + by + raw[at + len(by) :]


# Cut or damaged -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress], ids=["plain", "gz", "bz2"])
@pytest.mark.parametrize(
    ("raw", "names", "problem"),
    [
        (damaged(PLAIN, 0), "bcd", "it is cut off or damaged at byte 0: "),
        (damaged(PLAIN, 2048), "abd", "it is cut off or damaged at byte 2048: "),
        (damaged(PLAIN, 2048, bytes(BLOCK)), "abd", "it is cut off or damaged at byte 2560: "),
        (PLAIN[: 2048 + 100], "ab", "it is cut off or damaged at byte 2048: "),
        (PLAIN[:2048], "ab", "it ends without the mark of an end: is it cut off?"),
        (PLAIN[:4096], "abcd", "it ends without the mark of an end: is it cut off?"),
        (
            PLAIN + tar({"e.npy": npy(0)}),
            "abcde",
            f"it goes on behind its end, at byte {len(PLAIN)}",
        ),
        (
            PLAIN[:4096] + bytes(1024) + b"noise" * 300,
            "abcd",
            "it is cut off or damaged at byte 5120",
        ),
    ],
    ids=["first", "third", "zeros", "in header", "at header", "no end", "two", "noise"],
)
def test_what_is_intact_comes(
    folder: Path, store: Path, raw: bytes, names: str, problem: str, pack: Callable[..., bytes]
) -> None:
    (folder / "x.tar").write_bytes(pack(raw))
    (failure,) = run(folder, store).failures
    assert failure.source == str(folder / "x.tar")
    assert failure.problem.startswith(problem)
    check_content(store, {name: ARRAYS.get(name, np.array(0)) for name in names})


def test_cut_in_an_array(folder: Path, store: Path) -> None:
    (folder / "x.tar").write_bytes(PLAIN[: 2048 + BLOCK + 100])
    whole, third = run(folder, store).failures
    assert whole.problem.startswith("it is cut off or damaged at byte")
    assert third.source == f"{folder / 'x.tar'}:c"
    check_content(store, {name: ARRAYS[name] for name in "ab"})


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_damage_behind_the_header_of_a_long_name(folder: Path, store: Path, form: int) -> None:
    members = {"a.npy": npy(ARRAYS["a"]), "long" * 40: npy(0), "c.npy": npy(ARRAYS["c"])}
    raw = tar(members, form=form)
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        at = archive.getmembers()[1].offset_data - BLOCK
    (folder / "x.tar").write_bytes(damaged(raw, at))
    (failure,) = run(folder, store).failures
    assert failure.problem.startswith("it is cut off or damaged at byte")
    check_content(store, {name: ARRAYS[name] for name in "ac"})


@pytest.mark.parametrize("n_bytes", [0, 5, 1000, 1024, 3000])
def test_what_is_no_archive(folder: Path, store: Path, n_bytes: int) -> None:
    (folder / "x.tar").write_bytes(b"noise" * (n_bytes // 5))
    (failure,) = run(folder, store).failures
    assert failure.problem.startswith("it is no tar archive, or a damaged one: ")


# Links and what is no file ------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
def test_hard_links_have_their_content(
    folder: Path, store: Path, pack: Callable[..., bytes]
) -> None:
    first = tar(
        {"a.npy": npy(np.arange(3)), "b.npy": npy(np.arange(4))},
        other("a2.npy", tarfile.LNKTYPE, "a.npy"),
        other("in/b2.npy", tarfile.LNKTYPE, "b.npy"),
        other("a3.npy", tarfile.LNKTYPE, "a2.npy"),
        other("gone.npy", tarfile.LNKTYPE, "c.npy"),
    )
    again = tar({"a.npy": npy(np.arange(9))}, other("a4.npy", tarfile.LNKTYPE, "a.npy"))
    n_bytes = 8 * BLOCK  # without the mark of its end
    (folder / "x.tar").write_bytes(pack(first[:n_bytes] + again))
    report = run(folder, store)
    assert {failure.source.rpartition(":")[2]: failure.problem for failure in report.failures} == {
        "a": "'a' was there first, from this or another file or import: give names that differ",
        "gone": "it is a link to 'c.npy', which is no file before it",
    }
    expected = {"a": 3, "b": 4, "a2": 3, "in/b2": 4, "a3": 3, "a4": 9}
    check_content(store, {name: np.arange(n) for name, n in expected.items()})
    assert run(folder, store).skipped == len(expected) + 1


def test_links_of_an_archive_that_is_cut(folder: Path, store: Path) -> None:
    raw = tar({"a.npy": npy(np.arange(3))}, other("b.npy", tarfile.LNKTYPE, "a.npy"))
    (folder / "x.tar").write_bytes(raw[: 3 * BLOCK] + PLAIN[: BLOCK + 20])
    assert len(run(folder, store).failures) == 2
    check_content(store, {"a": np.arange(3), "b": np.arange(3)})


def test_what_is_no_file_is_noted(folder: Path, store: Path) -> None:
    others = [
        other("s.npy", tarfile.SYMTYPE, "/etc/passwd"),
        other("t.npy", tarfile.SYMTYPE, "a.npy"),
        other("d", tarfile.DIRTYPE),
        other("f.npy", tarfile.FIFOTYPE),
        other("c.npy", tarfile.CHRTYPE),
    ]
    (folder / "x.tar").write_bytes(tar({"a.npy": npy(1)}, *others))
    report = run(folder, store)
    assert report.ok
    label = folder / "x.tar"
    assert report.notes == [
        f"2 devices, pipes and the like in archives are no arrays: {label}:c.npy, …",
        f"2 symbolic links are not followed: {label}:s.npy, …",
    ]
    check_content(store, {"a": np.array(1)})


def test_sparse_members(folder: Path, store: Path) -> None:
    """As GNU tar writes them, in its own format: an array of which only the end is no hole."""
    array = np.zeros(1 << 16)
    array[-1] = 7
    raw = npy(array)
    parts = [(0, BLOCK), (len(raw) - len(raw) % BLOCK - BLOCK, len(raw) % BLOCK + BLOCK)]
    info = tarfile.TarInfo("a.npy")
    info.size, info.type = sum(n for _, n in parts), tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    for i, (at, n_bytes) in enumerate(parts):
        header[386 + 24 * i : 410 + 24 * i] = b"%011o\0%011o\0" % (at, n_bytes)
    header[483:495] = b"%011o\0" % len(raw)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content = b"".join(raw[at : at + n_bytes] for at, n_bytes in parts)
    (folder / "x.tar").write_bytes(
        header + content.ljust(-(-len(content) // BLOCK) * BLOCK, b"\0") + bytes(1024)
    )
    assert run(folder, store) == Report(converted=1)
    check_content(store, {"a": array})


# Files that are packed or compressed --------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress], ids=["plain", "gz", "bz2"])
def test_compressed_files_in_an_archive(
    folder: Path, store: Path, pack: Callable[[bytes], bytes]
) -> None:
    raw = pickle.dumps(np.arange(3))
    members = {"a.pkl.gz": gzip.compress(raw), "b.pkl.bz2": bz2.compress(raw)}
    members |= {"c.npy.gz": gzip.compress(npy(np.arange(3)))}
    members |= {"d.pkl.zip": zipped("x.pkl"), "e.pkl.tar": tar({"x.pkl": raw})}
    (folder / "x.tar").write_bytes(pack(tar(members)))
    assert run(folder, store).failures == []
    check_content(store, dict.fromkeys("abcde", np.arange(3)))


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, pickle.dumps(np.arange(3)))
    return file.getvalue()


@pytest.mark.parametrize("name", ["x.pkl.zip", "x.pkl.tar", "x.pkl.tar.gz"])
def test_a_file_alone_in_an_archive(folder: Path, store: Path, name: str) -> None:
    raw = tar({"x.pkl": pickle.dumps(np.arange(3))}) if "tar" in name else zipped("x.pkl")
    (folder / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    assert convert.from_pickles(folder, store, progress=False) == Report(converted=1)
    check_content(store, {"x": np.arange(3)})


def test_archives_of_several_files_say_what_they_are(folder: Path, store: Path) -> None:
    (folder / "a.pkl").write_bytes(tar({"x.pkl": b"", "y.pkl": b""}))
    (folder / "b.pkl.zip").write_bytes(zipped("x.pkl", "y.pkl"))
    report = convert.from_pickles(folder, store, progress=False, processes=1)
    assert [failure.problem for failure in report.failures] == [
        "it is a tar archive of 2 files: import tar",
        "it is a zip of 2 files: unzip it, or import npz if they are .npy files",
    ]


def test_zstd(folder: Path, store: Path) -> None:
    zstd = pytest.importorskip("zstandard")
    raw = pickle.dumps(np.arange(3))
    links = [other(f"{i}.npy", tarfile.LNKTYPE, "a.npy") for i in range(2)]
    (folder / "x.pkl.zst").write_bytes(zstd.compress(raw[:9]) + zstd.compress(raw[9:]))
    (folder / "y.pkl.zst").write_bytes(zstd.compress(raw)[:-9])
    (folder / "x.tar.zst").write_bytes(zstd.compress(tar({"a.npy": npy(np.arange(3))}, *links)))
    (failure,) = convert.from_pickles(folder, store, progress=False, processes=1).failures
    assert failure.source == str(folder / "y.pkl.zst")
    assert "ends within a stream of zst" in failure.problem
    assert run(folder, store).ok
    check_content(store, dict.fromkeys(("x", "a", "0", "1"), np.arange(3)))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zlib.compress])
def test_what_is_behind_compressed_data(
    folder: Path, store: Path, compress: Callable[..., bytes]
) -> None:
    one, two = pickle.dumps(np.arange(3)), pickle.dumps(np.arange(4))
    (folder / "x.pkl").write_bytes(compress(one) + compress(two))
    (folder / "y.pkl").write_bytes(compress(one) + b"noise")
    (folder / "z.pkl").write_bytes(compress(one * 99)[:-1])
    report = convert.from_pickles(folder, store, progress=False, processes=1, remove_source=True)
    failed = sorted({Path(failure.source).name.split(":")[0] for failure in report.failures})
    assert failed == ["y.pkl", "z.pkl"]
    assert sorted(path.name for path in folder.iterdir()) == failed
    found = content(store)
    assert found["x/1"].tolist() == [0, 1, 2, 3]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_descriptor_is_left_open(folder: Path, store: Path) -> None:
    (folder / "x.pkl.tar").write_bytes(tar({"x.pkl": pickle.dumps(1)}))
    (folder / "x.pkl.gz").write_bytes(gzip.compress(b"noise"))
    before = descriptors()
    convert.from_pickles([folder / "x.pkl.tar"], store, progress=False)
    convert.from_pickles([folder / "x.pkl.gz"], store, progress=False)
    assert descriptors() <= before
