"""Importing `.npy` and `.npz`: several arrays in a file, Python objects, long headers, what is cut."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.convert import Failure, Report
from ptrarray.convert.formats.npy import _of_npy
from tests.support.imports import check_content

pytestmark = pytest.mark.usefixtures("limits")

SEVERAL = (np.arange(3), np.asfortranarray(np.eye(2)[:, :1]), np.zeros((0, 3), ">f4"), np.array(5))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def npy(*arrays: Any) -> bytes:
    file = io.BytesIO()
    for array in arrays:
        np.save(file, array, allow_pickle=True)
    return file.getvalue()


def run(path: Path, store: Path, **options: Any) -> Report:
    return convert.from_npy(path, store, progress=False, processes=1, **options)


def in_a_tar(raw: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("m.npy")
        info.size = len(raw)
        archive.addfile(info, io.BytesIO(raw))
    return file.getvalue()


WAYS: dict[str, tuple[Callable[[bytes], bytes], Callable[..., Report]]] = {
    "m.npy": (bytes, convert.from_npy),
    "m.npy.gz": (gzip.compress, convert.from_npy),
    "m.npy.z": (zlib.compress, convert.from_npy),
    "m.tar": (in_a_tar, convert.from_tar),
    "m.tar.gz": (lambda raw: gzip.compress(in_a_tar(raw)), convert.from_tar),
}


@pytest.mark.parametrize("way", WAYS)
def test_several_calls_of_save(folder: Path, store: Path, way: str) -> None:
    wrap, function = WAYS[way]
    (folder / way).write_bytes(wrap(npy(*SEVERAL)))
    assert function(folder, store, progress=False) == Report(converted=4)
    check_content(store, {f"m/{i}": array for i, array in enumerate(SEVERAL)})
    assert ptrarray.open(store)["m/1"].flags.f_contiguous


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (b"\0" * 8, "it is no .npy file"),
        (npy(np.arange(9))[:-8], ""),
        (npy(np.arange(9))[:20], "it is cut off in its header"),
        (npy(np.arange(9))[:6], ""),
    ],
    ids=["padding", "array", "header", "magic"],
)
def test_what_is_behind_the_last_is_a_failure(
    folder: Path, store: Path, way: str, more: bytes, problem: str
) -> None:
    wrap, function = WAYS[way]
    (folder / way).write_bytes(wrap(npy(np.arange(3)) + more))
    report = function(folder, store, progress=False)
    (failure,) = report.failures
    assert failure.problem.startswith("what is behind array 1 of it cannot be read: " + problem)
    check_content(store, {"m": np.arange(3)})


def test_a_function_gets_what_could_be_read(folder: Path, store: Path) -> None:
    (folder / "m.npy").write_bytes(npy(np.arange(3)) + b"noise")
    assert len(run(folder, store, convert=np.negative).failures) == 1
    check_content(store, {"m": -np.arange(3)})


def test_several_are_mapped(folder: Path) -> None:
    (folder / "m.npy").write_bytes(npy(np.arange(3), np.arange(4)))
    (member,) = _of_npy(str(folder / "m.npy"))
    assert all(isinstance(array, np.memmap) for array in member.load().values())


# Python objects -----------------------------------------------------------------------------------


def test_ragged_arrays_and_dicts(folder: Path, store: Path) -> None:
    ragged = np.array([np.arange(3), np.eye(2)], object)
    grid = np.empty((2, 1), object)
    grid[:, 0] = [np.arange(2), np.arange(1)]
    values: dict[str, Any] = {"r": ragged, "d": {"a": np.arange(3), "b": {"c": 1.5}}, "g": grid}
    values["numbers"] = np.array([[1, 2.5], [3, 4]], object)
    for name, value in values.items():
        np.save(folder / f"{name}.npy", value, allow_pickle=True)
    np.savez(store.with_name("all.npz"), **values)
    assert run(folder, store) == Report(converted=7)
    expected = {
        "r/0": np.arange(3),
        "r/1": np.eye(2),
        "d/a": np.arange(3),
        "d/b/c": np.array(1.5),
        "g/0/0": np.arange(2),
        "g/1/0": np.arange(1),
        "numbers": np.array([[1, 2.5], [3, 4]]),
    }
    check_content(store, expected)
    place = store.with_name("z.ptr")
    assert convert.from_npz(store.with_name("all.npz"), place, progress=False).ok
    check_content(place, expected)


def test_objects_call_nothing(folder: Path, store: Path) -> None:
    class Traitor:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(folder / "canary"),)

    np.save(folder / "x.npy", np.array([Traitor()], object), allow_pickle=True)
    np.save(folder / "y.npy", np.array([None, np.arange(3)], object), allow_pickle=True)
    evil, none = run(folder, store).failures
    assert "mkdir, which is not on the list" in evil.problem
    assert none == Failure(f"{folder / 'y.npy'}:0", "a NoneType is no array")
    assert not (folder / "canary").exists()
    check_content(store, {"y/1": np.arange(3)})


def test_objects_that_are_cut_off(folder: Path, store: Path) -> None:
    raw = npy(np.array([np.arange(300), 1], object))
    for n_lost in (1, 100, len(raw) - raw.index(b"\n") - 1):
        (folder / "x.npy").write_bytes(raw[:-n_lost])
        (failure,) = run(folder, store).failures
        assert "damaged" in failure.problem or failure.problem == "it is cut off"


# Headers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["field{}", "größe{}", "имя{}", "a\\u00e9'{}"])
@pytest.mark.parametrize("n_fields", [1, 2000])
def test_headers_of_any_length(folder: Path, store: Path, name: str, n_fields: int) -> None:
    """Which of 64 KB and more are of version 2, and of names beyond Latin-1 of version 3."""
    records = np.zeros(2, [(name.format(i), "u1") for i in range(n_fields)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (folder / "x.npy").write_bytes(npy(records))
        (folder / "y.npy.gz").write_bytes(gzip.compress(npy(records)))
    assert run(folder, store).ok
    check_content(store, {"x": records, "y": records})


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (b"\4\0", "it is of version 4.0 of .npy, expected 1 to 3"),
        (b"\2\0\0\0\0\x7f", "its header has 2,130,706,432 bytes, expected 1,048,576 at most"),
        (b"\1\0\x10\0{'descr'", "it is cut off in its header"),
    ],
)
def test_headers_that_are_wrong(folder: Path, store: Path, head: bytes, problem: str) -> None:
    (folder / "x.npy").write_bytes(b"\x93NUMPY" + head)
    assert run(folder, store).failures == [Failure(str(folder / "x.npy"), problem)]


@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_is_cut_off_says_so(folder: Path, store: Path, way: str) -> None:
    wrap, function = WAYS[way]
    (folder / way).write_bytes(wrap(npy(np.arange(9))[:-8]))
    report = function(folder, store, progress=False)
    assert [failure.problem for failure in report.failures] == [
        "it is cut off: 64 of 72 bytes are there"
    ]


def test_of_a_name_that_is_there_twice_the_last_comes(folder: Path, store: Path) -> None:
    """As `numpy.load` has it of a file that was appended to."""
    np.savez(folder / "x.npz", a=np.arange(2), b=np.arange(5))
    again = pytest.warns(UserWarning, match="Duplicate name")
    with again, zipfile.ZipFile(folder / "x.npz", "a") as archive:
        archive.writestr("a.npy", npy(np.arange(3)))
    report = convert.from_npz(folder, store, progress=False)
    assert (report.converted, report.failures) == (2, [])
    assert "written again are left out, but for the last" in report.notes[0]
    with np.load(folder / "x.npz") as found:
        check_content(store, dict(found))
