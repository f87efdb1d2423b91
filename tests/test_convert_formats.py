"""Importing npy, npz, joblib, mmappickle, tar and HDF5, against the libraries that write them."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.convert import Report
from tests.support.convert_workers import Traitor, dump
from tests.support.imports import Arrays, check_content, content

ARRAYS: Arrays = {
    "matrix": np.arange(6.0).reshape(2, 3),
    "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big": np.arange(3, dtype=">i2"),
    "empty": np.zeros((0, 3), "f4"),
    "number": np.array(2.5),
    "text": np.array(["ab", "c"]),
    "dates": np.array(["2020", "2021"], "M8[Y]"),
    "records": np.array([(1, 2.5)], [("x", "i4"), ("y", "f8")]),
    "flags": np.array([True, False]),
}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def run(function: Callable[..., Report], paths: Any, store: Path, **options: Any) -> Report:
    return function(paths, store, progress=False, **options)


def only_problem(report: Report) -> str:
    (failure,) = report.failures
    return failure.problem


# npy ----------------------------------------------------------------------------------------------


def test_npy(folder: Path, store: Path) -> None:
    for name, array in ARRAYS.items():
        np.save(folder / f"{name}.npy", array)
    assert run(convert.from_npy, folder, store, processes=1) == Report(converted=len(ARRAYS))
    check_content(store, ARRAYS)
    assert ptrarray.open(store)["columns"].flags.f_contiguous
    assert run(convert.from_npy, folder, store) == Report(skipped=len(ARRAYS))


def test_npy_compressed(folder: Path, store: Path) -> None:
    with gzip.open(folder / "x.npy.gz", "wb") as file:
        np.save(file, ARRAYS["matrix"])
    run(convert.from_npy, folder, store)
    check_content(store, {"x": ARRAYS["matrix"]})


def test_npy_that_is_wrong(folder: Path, store: Path) -> None:
    np.save(folder / "a.npy", np.array([object()]), allow_pickle=True)
    dump(folder / "b.npy", 1)
    np.save(folder / "c.npy", np.arange(100))
    raw = (folder / "c.npy").read_bytes()
    (folder / "c.npy").write_bytes(raw[:-8])
    (folder / "d.npy").touch()
    report = run(convert.from_npy, folder, store, processes=1)
    names = [Path(failure.source).name for failure in report.failures]
    assert names == ["a.npy", "b.npy", "c.npy", "d.npy"]
    assert "object" in report.failures[0].problem
    assert report.failures[1].problem == "it is no .npy file"


# npz ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(folder: Path, store: Path, save: Callable[..., None]) -> None:
    save(folder / "all.npz", **ARRAYS, **{"in/side": np.arange(2)})
    report = run(convert.from_npz, folder / "all.npz", store)
    assert report == Report(converted=len(ARRAYS) + 1)
    check_content(store, ARRAYS | {"in/side": np.arange(2)})


def test_npz_of_several_files(folder: Path, store: Path) -> None:
    for name in ("a", "b"):
        np.savez(folder / f"{name}.npz", x=np.arange(len(name)), y=np.eye(2))
    assert run(convert.from_npz, folder, store, processes=1).converted == 4
    assert sorted(content(store)) == ["a/x", "a/y", "b/x", "b/y"]
    place = store.with_name("b.ptr")
    assert run(convert.from_npz, folder, place, processes=1, name="{key}-{stem}").ok
    assert sorted(content(place)) == ["x-a", "x-b", "y-a", "y-b"]


def test_npz_goes_on(folder: Path, store: Path) -> None:
    with zipfile.ZipFile(folder / "x.npz", "w") as archive:
        archive.writestr("notes.txt", "text")
        with archive.open("a.npy", "w") as member:
            np.save(member, np.arange(3))
        with archive.open("o.npy", "w") as member:
            np.save(member, np.array([object()]), allow_pickle=True)
        with archive.open("b.npy", "w") as member:
            np.save(member, np.arange(4))
    with ptrarray.create(store) as writer:
        writer["a"] = [9]
    report = run(convert.from_npz, folder, store)
    assert (report.converted, report.skipped) == (1, 1)
    assert [failure.source.split(":")[1] for failure in report.failures] == ["notes.txt", "o"]
    check_content(store, {"a": np.array([9]), "b": np.arange(4)})


def test_two_members_of_one_name(folder: Path, store: Path) -> None:
    """Both wait to be committed when the second comes."""
    with tarfile.open(folder / "x.tar", "w") as archive:
        for i in range(2):
            raw, info = npy(np.array([i])), tarfile.TarInfo("a.npy")
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    report = run(convert.from_tar, folder, store)
    assert report.converted == 1
    assert "was there first" in only_problem(report)
    check_content(store, {"a": np.array([0])})


def test_npz_that_is_none(folder: Path, store: Path) -> None:
    (folder / "x.npz").write_bytes(b"PK noise")
    assert "no .npz file" in only_problem(run(convert.from_npz, folder, store))


# joblib -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("compress", [0, "zlib", "gzip", "bz2", "lzma", "xz"])
def test_joblib(folder: Path, store: Path, compress: Any, trust: bool) -> None:
    joblib = pytest.importorskip("joblib")
    values = {**ARRAYS, "deep": [np.arange(3), {"x": np.eye(2)}], "list": [1, 2]}
    how = (compress, 3) if compress else 0
    joblib.dump(values, folder / "x.joblib", compress=how)
    assert run(convert.from_joblib, folder, store, trust=trust).ok
    expected = {f"x/{name}": array for name, array in ARRAYS.items()}
    if trust:  # joblib.load turns them around
        expected["x/big"] = ARRAYS["big"].astype("i2")
    more = {"x/deep/0": np.arange(3), "x/deep/1/x": np.eye(2), "x/list": np.array([1, 2])}
    check_content(store, expected | more)


def test_joblib_of_one_array(folder: Path, store: Path) -> None:
    joblib = pytest.importorskip("joblib")
    for name in ("a", "b"):
        joblib.dump(ARRAYS["columns"], folder / f"{name}.joblib")
    assert run(convert.from_joblib, folder, store, processes=2) == Report(converted=2)
    assert ptrarray.open(store)["a"].flags.f_contiguous
    check_content(store, {"a": ARRAYS["columns"], "b": ARRAYS["columns"]})


@pytest.mark.parametrize("trust", [False, True])
def test_joblib_of_several_calls(folder: Path, store: Path, trust: bool) -> None:
    joblib = pytest.importorskip("joblib")
    with (folder / "x.joblib").open("wb") as file:
        joblib.dump(np.arange(3), file)
        joblib.dump({"a": ARRAYS["columns"]}, file)
    (folder / "y.joblib").touch()
    report = run(convert.from_joblib, folder, store, processes=1, trust=trust)
    assert "empty" in only_problem(report)
    check_content(store, {"x/0": np.arange(3), "x/1/a": ARRAYS["columns"]})


def test_joblib_of_pandas_and_masks(folder: Path, store: Path) -> None:
    joblib, pd = pytest.importorskip("joblib"), pytest.importorskip("pandas")
    series = pd.Series([1.5, 2.5], index=["a", "b"], name="v")
    masked = np.ma.MaskedArray([1, 2], [False, True])
    joblib.dump({"s": series, "f": series.to_frame(), "m": masked}, folder / "x.joblib")
    assert run(convert.from_joblib, folder, store, masked=True).ok
    with ptrarray.open(store) as opened:
        pd.testing.assert_series_equal(convert.to_series(opened, "x/s"), series)
        pd.testing.assert_frame_equal(convert.to_frame(opened, "x/f"), series.to_frame())
        assert opened["x/m"].tolist() == [1, None]


def test_joblib_untrusted_runs_nothing(folder: Path, store: Path, tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    canary = tmp_path / "canary"
    objects = np.array([Traitor(canary)], object)
    for value in (Traitor(canary), {"a": objects}):
        joblib.dump(value, folder / "x.joblib")
        problem = only_problem(run(convert.from_joblib, folder, store))
        assert "_betray, which is not on the list" in problem
    assert not canary.exists()
    run(convert.from_joblib, folder, store, trust=True)
    assert canary.exists()


@pytest.mark.parametrize("n_bytes", [1, 50, 150, 400, 1000])
def test_joblib_that_is_cut_off(folder: Path, store: Path, n_bytes: int) -> None:
    joblib = pytest.importorskip("joblib")
    joblib.dump({"a": np.arange(100.0), "b": np.arange(100)}, folder / "x.joblib")
    raw = (folder / "x.joblib").read_bytes()
    (folder / "x.joblib").write_bytes(raw[:n_bytes])
    problem = only_problem(run(convert.from_joblib, folder, store))
    assert "damaged" in problem


def test_joblib_without_joblib(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("joblib").dump(np.arange(3), folder / "x.joblib")

    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("ptrarray.errors.importlib.import_module", absent)
    assert run(convert.from_joblib, folder, store).ok
    check_content(store, {"x": np.arange(3)})
    place = store.with_name("b.ptr")
    problem = only_problem(run(convert.from_joblib, folder, place, trust=True))
    assert "pip install joblib" in problem


# tar ----------------------------------------------------------------------------------------------


def tar(path: Path, mode: str, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, raw in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return path


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    ("mode", "suffix"), [("w", ""), ("w:gz", ".gz"), ("w:bz2", ".bz2"), ("w:xz", ".xz")]
)
def test_tar(folder: Path, store: Path, mode: str, suffix: str) -> None:
    members = {
        "run/1.pkl": pickle.dumps(np.arange(3)),
        "run/2.pkl": pickle.dumps({"x": 1.5}) + pickle.dumps(np.eye(2)),
        "3.npy": npy(ARRAYS["columns"]),
        "empty.pkl": b"",
        "noise.txt": b"noise",
        "4.pkl": pickle.dumps(4),
    }
    tar(folder / f"x.tar{suffix}", mode, members)
    report = run(convert.from_tar, folder, store)
    assert [failure.source.rpartition(":")[2] for failure in report.failures] == ["empty", "noise"]
    expected = {
        "run/1": np.arange(3),
        "run/2/0/x": np.array(1.5),
        "run/2/1": np.eye(2),
        "3": ARRAYS["columns"],
        "4": np.array(4),
    }
    check_content(store, expected)
    assert run(convert.from_tar, folder, store).skipped == 5


def test_tar_of_several_archives_and_what_is_no_file(folder: Path, store: Path) -> None:
    for name in ("a", "b"):
        tar(folder / f"{name}.tar", "w", {"x.npy": npy(np.arange(2))})
    with tarfile.open(folder / "a.tar", "a") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo(f"kind{kind!r}")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    report = run(convert.from_tar, folder, store, processes=1)
    assert (report.converted, report.ok, len(report.notes)) == (2, True, 2)
    assert sorted(content(store)) == ["a/x", "b/x"]


def test_tar_untrusted_runs_nothing(folder: Path, store: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    tar(folder / "x.tar", "w", {"x.pkl": pickle.dumps(Traitor(canary))})
    assert "not on the list" in only_problem(run(convert.from_tar, folder, store))
    assert not canary.exists()
    assert run(convert.from_tar, folder, store, trust=True).converted == 1


def test_tar_that_is_wrong(folder: Path, store: Path) -> None:
    (folder / "noise.tar").write_bytes(b"noise" * 1000)
    assert "no tar archive" in only_problem(run(convert.from_tar, folder, store))
    path = tar(
        folder / "noise.tar",
        "w:gz",
        {"a.npy": npy(np.arange(2)), "b.npy": npy(np.random.default_rng(0).random(9999))},
    )
    path.write_bytes(path.read_bytes()[:-9000])
    report = run(convert.from_tar, folder, store)
    assert report.converted == 1
    assert report.failures


# HDF5 ---------------------------------------------------------------------------------------------


def test_h5(folder: Path, store: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "x.h5", "w") as file:
        for name in ("matrix", "big", "empty", "number", "records", "flags"):
            file[f"all/{name}"] = ARRAYS[name]
        file["packed"] = np.arange(10)
        file.create_dataset(
            "chunks", data=np.arange(100).reshape(10, 10), chunks=(3, 3), compression="gzip"
        )
        file["packed"].attrs.update({"unit": "m", "scale": np.float32(2), "axes": np.array([1, 2])})
        file["text"] = "text"
        file["none"] = h5py.Empty("f4")
        file["soft"] = h5py.SoftLink("/packed")
        file["outside"] = h5py.ExternalLink("other.h5", "/x")
        file["all/loop"] = file["all"]
        ragged = file.create_dataset("ragged", 2, h5py.vlen_dtype("f4"))
        ragged[0], ragged[1] = [1, 2], [3]
    report = run(convert.from_h5, folder, store)
    assert [(f.source.rpartition(":")[2], f.problem) for f in report.failures] == [
        ("none", "it is empty, without a shape"),
        ("text", "it holds text of variable length"),
    ]
    names = ("matrix", "big", "empty", "number", "records", "flags")
    expected = {f"all/{name}": ARRAYS[name] for name in names}
    more = {
        "packed": np.arange(10),
        "chunks": np.arange(100).reshape(10, 10),
        "ragged/0": np.array([1, 2], "f4"),
        "ragged/1": np.array([3], "f4"),
    }
    check_content(store, expected | more)
    with ptrarray.open(store) as opened:
        assert opened.meta["packed"] == {"unit": "m", "scale": 2.0, "axes": [1, 2]}
        assert opened.meta["chunks"] == {}
    assert run(convert.from_h5, folder, store).skipped == len(expected | more)


def test_h5_does_not_read_other_files(folder: Path, store: Path) -> None:
    h5py = pytest.importorskip("h5py")
    (folder / "secret").write_bytes(b"secret42")
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("a", (8,), "u1", external=[(str(folder / "secret"), 0, 8)])
        layout = h5py.VirtualLayout((2,), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "x", (2,))
        file.create_virtual_dataset("b", layout)
    report = run(convert.from_h5, folder, store)
    assert report.converted == 0
    assert {failure.problem for failure in report.failures} == {"its values are in other files"}


def test_h5_that_is_none(folder: Path, store: Path) -> None:
    pytest.importorskip("h5py")
    (folder / "x.h5").write_bytes(b"noise")
    assert "cannot be opened as HDF5" in only_problem(run(convert.from_h5, folder, store))


def test_h5_without_h5py(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("ptrarray.errors.importlib.import_module", absent)
    with pytest.raises(ImportError, match=r"pip install 'ptrarray\[h5\]'"):
        run(convert.from_h5, folder, store)
    assert not store.exists()
