"""Names that look like paths, on their way out and back, and archives with members that lie elsewhere."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.convert.report import Report
from tests.support.checks import digests

pytestmark = pytest.mark.usefixtures("no_syncs")

QUIET: dict[str, Any] = {"progress": False}
PATHS = ["../x", "../../x", "/etc/x", "a/../../b", "a/../b", "C:\\x", "..\\x", "\\\\host\\x", "~"]
PATHS += ["", ".", "..", "a.", "a..", "a ", " ", "A", "a", "a/", "/", "//", "~root/x", "$HOME"]
PATHS += ["a\0b", "x\n", "x\r\n", "a\tb", "\u202e", "é", "e\u0301", "%2e%2e/x", "%", "%%", "-rf"]
PATHS += ["--help", "| cat", "cat |", "a:b", "CON", "nul", "__metadata__", "__x__", ".ptrarray"]
PATHS += ["a/.mask", "shard-00000.ptr", "data.bin", "arrays.ark", "y/" * 40]
LONG = "x" * 3000
# By kind: what is written and read by, the library for it, and names that it says it cannot have.
FORMATS: dict[str, tuple[str, str, str, set[str]]] = {
    "npz": ("to_npz", "from_npz", "numpy", set()),
    "npy": ("to_npy", "from_npy", "numpy", {LONG}),
    "pickles": ("to_pickles", "from_pickles", "numpy", {LONG}),
    "kaldi": ("to_kaldi", "from_kaldi", "numpy", set()),
    "webdataset": ("to_webdataset", "from_webdataset", "numpy", set()),
    "h5": ("to_h5", "from_h5", "h5py", set()),
    "safetensors": ("to_safetensors", "from_safetensors", "safetensors", {"__metadata__"}),
    "parquet": ("to_parquet", "from_parquet", "pyarrow", set()),
    "arrow": ("to_arrow", "from_arrow", "pyarrow", set()),
}


def fill(path: Path, names: list[str]) -> Path:
    with ptrarray.create(path, dtype="f4") as writer:
        writer.write({name: np.full(2, at, "f4") for at, name in enumerate(names)})
    return path


def values(path: Path) -> dict[str, float]:
    with ptrarray.open(path) as store:
        return {name: float(array[0]) for name, array in store.items()}


@contextmanager
def only_in(folder: Path, root: Path) -> Iterator[None]:
    """Check that of all that is in `root`, a ``with`` block changes only what is in a folder of it."""

    def elsewhere() -> dict[str, Any]:
        found = digests(root)
        inside = str(folder.relative_to(root))
        return {path: digest for path, digest in found.items() if not path.startswith(inside)}

    before = elsewhere()
    yield
    assert elsewhere() == before


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder that paths with some ``..`` lead out of, into others that are looked at."""
    place = tmp_path / "one" / "two" / "three"
    place.mkdir(parents=True)
    return place


@pytest.mark.parametrize("kind", FORMATS)
def test_names_that_look_like_paths_go_out_and_come_back(
    tmp_path: Path, place: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, back, library, refused = FORMATS[kind]
    pytest.importorskip(library)
    monkeypatch.chdir(place)
    store = fill(tmp_path / "s.ptr", [*PATHS, LONG])
    with only_in(place / "out", tmp_path):
        report = getattr(convert, to)(store, place / "out", **QUIET)
    assert {failure.source for failure in report.failures} == refused
    with only_in(place / "back.ptr", tmp_path):
        options = {"processes": 1} if kind in ("npy", "pickles") else {}
        report = getattr(convert, back)(place / "out", place / "back.ptr", **QUIET, **options)
    assert report.ok
    expected = values(store)
    assert values(place / "back.ptr") == {
        name: value for name, value in expected.items() if name not in refused
    }


TOOLS = {
    "unzip": ("npz", ["unzip", "-q", "-o", "{}", "-d", "unpacked"]),
    "zipfile": ("npz", [sys.executable, "-m", "zipfile", "-e", "{}", "unpacked"]),
    "tar": ("webdataset", ["tar", "-xf", "{}", "-C", "unpacked"]),
    "tarfile": ("webdataset", [sys.executable, "-m", "tarfile", "-e", "{}", "unpacked"]),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_what_unpacks_an_export_stays_in_its_folder(
    tmp_path: Path, place: Path, tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, command = TOOLS[tool]
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {tool}")
    monkeypatch.chdir(place)
    getattr(convert, FORMATS[kind][0])(fill(tmp_path / "s.ptr", PATHS), place / "out", **QUIET)
    (place / "unpacked").mkdir()
    with only_in(place / "unpacked", tmp_path):
        subprocess.run([part.format("out") for part in command], check=True, capture_output=True)
    found = [path for path in (place / "unpacked").rglob("*") if path.is_file()]
    assert len(found) == len(PATHS)
    assert not any(path.is_symlink() for path in (place / "unpacked").rglob("*"))


# archives of others -------------------------------------------------------------------------------


def npy(value: int) -> bytes:
    file = io.BytesIO()
    np.save(file, np.full(2, value, "f4"))
    return file.getvalue()


OUTSIDE = [
    "../up.npy",
    "../../up.npy",
    "{root}/absolute.npy",
    "a/../../b.npy",
    "C:\\x.npy",
    "./d.npy",
]


def tar_of(path: Path, root: Path) -> dict[str, float]:
    """Write an archive with members of every kind; return which arrays are in it."""
    expected: dict[str, float] = {}
    with tarfile.open(path, "w") as archive:
        for at, pattern in enumerate(OUTSIDE):
            name = pattern.format(root=root)
            info = tarfile.TarInfo(name)
            info.size = len(npy(at))
            info.mode = 0o6777
            archive.addfile(info, io.BytesIO(npy(at)))
            expected[name.removesuffix(".npy")] = at
        for kind, name in (
            (tarfile.SYMTYPE, "link.npy"),
            (tarfile.CHRTYPE, "null.npy"),
            (tarfile.BLKTYPE, "disk.npy"),
            (tarfile.FIFOTYPE, "pipe.npy"),
            (tarfile.DIRTYPE, "../folder"),
        ):
            info = tarfile.TarInfo(name)
            info.type = kind
            info.linkname = str(root / "kept.npy")
            info.devmajor, info.devminor = 1, 3
            archive.addfile(info)
        for name, target in (("hard.npy", "../up.npy"), ("lost.npy", str(root / "kept.npy"))):
            info = tarfile.TarInfo(name)
            info.type = tarfile.LNKTYPE
            info.linkname = target
            archive.addfile(info)
    expected["hard"] = expected["../up"]
    return expected


def zip_of(path: Path, root: Path) -> dict[str, float]:
    """Write a zip with members outside, a link of its own kind, and two of one name."""
    expected: dict[str, float] = {}
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")  # of the two
        for at, pattern in enumerate(OUTSIDE):
            name = pattern.format(root=root)
            archive.writestr(name, npy(at))
            expected[name.removesuffix(".npy")] = at
        link = zipfile.ZipInfo("link.npy")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, str(root / "kept.npy"))
        for at in (7, 8):
            archive.writestr("twice.npy", npy(at))
    return expected


def read_tar(path: Path, store: Path) -> Report:
    return convert.from_tar(path, store, **QUIET)


def read_webdataset(path: Path, store: Path) -> Report:
    return convert.from_webdataset(path, store, **QUIET)


def read_npz(path: Path, store: Path) -> Report:
    return convert.from_npz(path, store, **QUIET)


ARCHIVES: dict[str, tuple[Callable[[Path, Path], dict[str, float]], Callable[..., Report]]] = {
    "tar": (tar_of, read_tar),
    "webdataset": (tar_of, read_webdataset),
    "npz": (zip_of, read_npz),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_members_elsewhere_are_arrays_by_these_names(
    tmp_path: Path, place: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is unpacked, so they lead nowhere; links to files of this machine are not followed."""
    monkeypatch.chdir(place)
    (tmp_path / "kept.npy").write_bytes(npy(99))
    make, read = ARCHIVES[kind]
    expected = make(place / "archive", tmp_path)
    with only_in(place / "s.ptr", tmp_path):
        report = read(place / "archive", place / "s.ptr")
    found = values(place / "s.ptr")
    assert 99 not in found.values()
    assert found.pop("twice", 7) in (7, 8)
    if kind == "webdataset":  # which takes a key up to the first dot of its last part
        assert {*found.values()} <= {*expected.values()}
    else:
        assert found == expected
    assert report.failures or report.notes
    said = " ".join([*report.notes, *(f"{one.source} {one.problem}" for one in report.failures)])
    assert "link" in said
    assert kind != "npz" or "twice" in said


def test_a_pack_has_the_files_of_a_store_and_no_others(tmp_path: Path, place: Path) -> None:
    """Whatever its members are called, there is a store, or nothing."""
    store = fill(place / "s.ptr", ["a"])
    for name in (
        "../x",
        "/x",
        "s.ptr/../x",
        "s.ptr/notes",
        "s.ptr/a/data.bin",
        "s.ptr/journal.msgpack",
    ):
        ptrarray.pack(store, place / "a.tar", overwrite=True)
        with tarfile.open(place / "a.tar", "a") as archive:
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"new"))
        with only_in(place / "a.tar", tmp_path), pytest.raises(ptrarray.CorruptStoreError):
            ptrarray.unpack(place / "a.tar", place / "b.ptr")
        (place / "a.tar").unlink()
