"""Exporting to npz, npy, pickles and HDF5: whole or not there, and never outside the target."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray import convert
from ptrarray.convert.escape import MARK, archive_path, file_name, unescape
from ptrarray.convert.report import Report
from ptrarray.errors import BadInputError, StoreNotFoundError
from tests.support.memory import peak_nbytes

EXPORTS = {
    "npz": convert.to_npz,
    "npy": convert.to_npy,
    "pickles": convert.to_pickles,
    "h5": convert.to_h5,
}
IMPORTS = {
    "npz": convert.from_npz,
    "npy": convert.from_npy,
    "pickles": convert.from_pickles,
    "h5": convert.from_h5,
}
# Names that lead somewhere else where they are taken for paths.
HOSTILE = [
    "../up",
    "/etc/passwd",
    "a/../../b",
    ".",
    "..",
    "",
    ".hidden",
    "a/b",
    "a\0b",
    "a\\b",
    "x\n",
]
HOSTILE += ["100%", "%2E", "%", "zwölf", "a//b", "b/", "a/.", "C:\\x", "\u202e"]

kinds = pytest.mark.parametrize("kind", EXPORTS)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "x"


def made(path: Path, arrays: dict[str, Any], meta: Any = None, **settings: Any) -> Path:
    with ptrarray.create(path, **settings) as writer:
        writer.write(arrays, meta=meta)
    return path


def export(kind: str, store: Any, out: Path, **options: Any) -> Report:
    if kind == "h5":
        pytest.importorskip("h5py")
    return EXPORTS[kind](store, out, progress=False, **options)


def back(kind: str, out: Path, **options: Any) -> dict[str, Any]:
    """Import what was exported."""
    if kind in ("npy", "pickles"):
        options = {"processes": 1, **options}
    store = out.parent / "back.ptr"
    assert IMPORTS[kind](out, store, progress=False, **options).ok
    with ptrarray.open(store) as opened:
        return {name: array.copy() for name, array in opened.items()}


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        assert found[name].dtype == np.asarray(array).dtype
        np.testing.assert_array_equal(found[name], array, strict=True)


# Round trips --------------------------------------------------------------------------------------


@kinds
def test_there_and_back(tmp_path: Path, out: Path, kind: str) -> None:
    arrays = {
        "matrix": np.arange(6.0).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "number": np.array(1.5),
        "empty": np.zeros((0, 2), ">i2"),
        "records": np.array([(1, 2.5)], [("x", "i4"), ("y", "f8")]),
        "utt1/word": np.array([True]),
    }
    store = made(tmp_path / "s.ptr", arrays)
    assert export(kind, store, out) == Report(converted=6)
    same(back(kind, out), arrays)


@kinds
def test_an_open_store_and_an_empty_one(tmp_path: Path, out: Path, kind: str) -> None:
    with ptrarray.open(made(tmp_path / "s.ptr", {"a": [1.5]}, dtype="f4")) as opened:
        assert export(kind, opened, out).converted == 1
        assert not opened.closed
    same(back(kind, out), {"a": np.array([1.5], "f4")})
    empty = made(tmp_path / "e.ptr", {})
    assert export(kind, empty, out.with_name("y")) == Report()
    assert out.with_name("y").exists()


@kinds
def test_a_store_of_shards(tmp_path: Path, out: Path, kind: str) -> None:
    arrays = {f"n{i}": np.full(10_000, i) for i in range(20)}
    store = tmp_path / "s.ptr"
    with ptrarray.create(store, shard_size="500KB") as writer:
        for name, array in arrays.items():
            writer[name] = array
    assert export(kind, store, out) == Report(converted=20)
    same(back(kind, out), arrays)


def test_files_as_their_owners_read_them(tmp_path: Path, out: Path) -> None:
    store = made(tmp_path / "s.ptr", {"a/b": np.arange(3)})
    export("npz", store, out.with_suffix(".npz"))
    with np.load(out.with_suffix(".npz")) as archive:
        assert archive["a/b"].tolist() == [0, 1, 2]
    export("npy", store, out)
    assert np.load(out / "a%2Fb.npy").tolist() == [0, 1, 2]
    export("pickles", store, out.with_name("y"))
    array = pickle.loads((out.with_name("y") / "a%2Fb.pkl").read_bytes())
    assert type(array) is np.ndarray
    export("h5", store, out.with_suffix(".h5"))
    with pytest.importorskip("h5py").File(out.with_suffix(".h5")) as file:
        assert file["a%2Fb"][()].tolist() == [0, 1, 2]


def test_flat_h5(tmp_path: Path, out: Path) -> None:
    arrays = {f"n{n}": np.full((n, 2), n, "f4") for n in range(5)}
    store = made(tmp_path / "s.ptr", arrays, dtype="f4", row_shape=(2,))
    with ptrarray.append(store) as writer:
        del writer["n2"]
    assert export("h5", store, out, flat=True).converted == 4
    with pytest.importorskip("h5py").File(out) as file:
        assert sorted(file) == ["ends", "names", "rows", "starts"]
    del arrays["n2"]
    same(back("h5", out), arrays)
    with ptrarray.create(tmp_path / "any.ptr") as writer:
        writer["a"] = 1
    with pytest.raises(BadInputError, match="is mixed; flat is for stores of one dtype"):
        export("h5", tmp_path / "any.ptr", out.with_name("y"), flat=True)
    assert [path.name for path in out.parent.glob("*")] == ["x", "back.ptr"]


def test_pandas_there_and_back(tmp_path: Path, out: Path) -> None:
    pd = pytest.importorskip("pandas")
    series = pd.Series([1.5, 2.5], index=["a", "b"], name="v")
    frame = pd.DataFrame({"a": pd.array([1, None], "Int16"), "b": [1.5, 2.5]})
    folder = tmp_path / "in"
    folder.mkdir()
    series.to_pickle(folder / "s.pkl")
    frame.to_pickle(folder / "f.pkl")
    store = tmp_path / "s.ptr"
    assert convert.from_pickles(folder, store, processes=1, progress=False).converted == 2
    for kind in ("npz", "npy", "h5"):
        assert export(kind, store, out.with_name(kind)).converted == 2
    assert len(np.load(out.with_name("npz")).files) == len(ptrarray.open(store)) == 2
    assert export("pickles", store, out) == Report(converted=2)
    assert sorted(path.name for path in out.iterdir()) == ["f.pkl", "s.pkl"]
    pd.testing.assert_series_equal(pd.read_pickle(out / "s.pkl"), series)
    pd.testing.assert_frame_equal(pd.read_pickle(out / "f.pkl"), frame)


@kinds
def test_masks(tmp_path: Path, out: Path, kind: str) -> None:
    masked = np.ma.MaskedArray([1, 2], [False, True], fill_value=-1)
    store = made(tmp_path / "s.ptr", {"m": masked, "n": [3]}, masked=True)
    report = export(kind, store, out)
    assert report.converted == 2
    found = back(kind, out, masked=True)
    if kind == "pickles":
        assert (found["m"].tolist(), found["m"].fill_value) == ([1, None], -1)
    else:
        assert found["m"].tolist() == [1, 2]
        assert found["m/.mask"].tolist() == [False, True]
        assert "n/.mask" not in found
        assert report.notes == [
            "masks are arrays of their own, NAME/.mask; fill values are not kept"
        ]


@kinds
def test_metadata(tmp_path: Path, out: Path, kind: str) -> None:
    meta = {"a": {"speaker": "Ann", "when": [1, None]}, "b": {"raw": b"\0"}}
    store = made(tmp_path / "s.ptr", {"a": [1], "b": [2], "c": [3]}, meta)
    (note,) = export(kind, store, out).notes
    n_arrays = "1 array" if kind == "h5" else "2 arrays"
    assert note.startswith(f"metadata of {n_arrays} is not kept in")
    found = back(kind, out)
    if kind == "h5":
        with ptrarray.open(out.parent / "back.ptr") as opened:
            assert opened.meta["a"] == meta["a"]
    assert sorted(found) == ["a", "b", "c"]


# Names --------------------------------------------------------------------------------------------


@kinds
def test_no_name_leads_out(tmp_path: Path, out: Path, kind: str) -> None:
    arrays = {name: np.array([i]) for i, name in enumerate(HOSTILE)}
    store = made(tmp_path / "s.ptr", arrays)
    before = {path for path in tmp_path.rglob("*") if path != out}
    assert export(kind, store, out).converted == len(HOSTILE)
    after = {path for path in tmp_path.rglob("*") if path != out and out not in path.parents}
    assert after == before
    if kind in ("npy", "pickles"):
        paths = [path for path in out.iterdir() if path.name != MARK]
        assert len(paths) == len(HOSTILE)
        assert all(path.is_file() and not path.name.startswith(".") for path in paths)
    if kind == "npz":
        with np.load(out) as archive:
            keys = list(archive)
        assert all(part not in ("", ".", "..") for key in keys for part in key.split("/"))
        assert [unescape(key) for key in keys] == HOSTILE
    same(back(kind, out), arrays)


@pytest.mark.parametrize("kind", ["npy", "pickles"])
def test_files_of_an_export_are_known_by_themselves(tmp_path: Path, out: Path, kind: str) -> None:
    export(kind, made(tmp_path / "s.ptr", {"a": [1]}), out.with_name("plain"))
    assert [path.name[:2] for path in out.with_name("plain").iterdir()] == ["a."]
    export(kind, made(tmp_path / "t.ptr", {"a/b": [1], "c": [2]}), out)
    assert sorted(back(kind, out)) == ["a/b", "c"]
    (out / MARK).unlink()  # as if they were somebody else's
    for template, expected in (("{stem}", "a%2Fb"), ("{unquoted}", "a/b")):
        (out.parent / "back.ptr").rename(tmp_path / f"{template}.ptr")
        assert sorted(back(kind, out, name=template)) == [expected, "c"]


def test_names_that_numpy_cannot_tell_apart(tmp_path: Path, out: Path) -> None:
    names = ["c", "c.npy", "c.npy.npy", "d.npy", "e%2Enpy", "%2E"]
    arrays = {name: np.array([i]) for i, name in enumerate(names)}
    export("npz", made(tmp_path / "s.ptr", arrays), out)
    with np.load(out) as archive:
        assert [unescape(key) for key in archive] == names
        assert [archive[key].tolist() for key in archive] == [[i] for i in range(len(names))]
        assert archive["d.npy"].tolist() == [3]
    same(back("npz", out), arrays)


def test_keys_of_others_are_as_they_are(tmp_path: Path, out: Path) -> None:
    arrays: dict[str, Any] = {"a%2Fb": np.array([1])}
    np.savez(out.with_suffix(".npz"), **arrays)
    same(back("npz", out.with_suffix(".npz")), {"a%2Fb": np.array([1])})


@given(st.text())
def test_escaping_is_turned_back(name: str) -> None:
    for escaped in (file_name(name), archive_path(name)):
        assert unescape(escaped) == name
        assert escaped
        assert escaped.isprintable()
        assert "\\" not in escaped
    assert "/" not in file_name(name)
    assert not file_name(name).startswith(".")
    assert not {"", ".", ".."} & set(archive_path(name).split("/"))


@given(st.lists(st.text(), unique=True, max_size=5))
def test_names_stay_different(names: list[str]) -> None:
    assert len(set(map(file_name, names))) == len(names)
    assert len(set(map(archive_path, names))) == len(names)


@pytest.mark.parametrize("kind", ["npy", "pickles"])
def test_a_name_too_long_for_a_file(tmp_path: Path, out: Path, kind: str) -> None:
    store = made(tmp_path / "s.ptr", {"a": [1], "x" * 300: [2], "b": [3]})
    report = export(kind, store, out)
    assert report.converted == 2
    (failure,) = report.failures
    assert failure.source == "x" * 300
    assert "too long" in failure.problem


@pytest.mark.parametrize("kind", ["npy", "pickles"])
@pytest.mark.parametrize("code", [errno.EINVAL, errno.EILSEQ])
def test_a_name_that_a_file_system_refuses(
    tmp_path: Path, out: Path, kind: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As vfat does with colons, and zfs, set so, with what is no UTF-8."""

    def refusing(path: Path, *arguments: Any, **named: Any) -> Any:
        if ":" in path.name:
            raise OSError(code, os.strerror(code), str(path))
        return real(path, *arguments, **named)

    store = made(tmp_path / "s.ptr", {"a": [1], "b:c": [2], "d": [3]})
    real = Path.open
    monkeypatch.setattr(Path, "open", refusing)
    report = export(kind, store, out)
    assert report.converted == 2
    (failure,) = report.failures
    assert failure.source == "b:c"
    assert os.strerror(code) in failure.problem
    assert len([file for file in out.iterdir() if not file.name.startswith(".")]) == 2


# Whole or not there -------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("taken", ["file", "folder", "dangling"])
def test_nothing_is_replaced(tmp_path: Path, out: Path, kind: str, taken: str) -> None:
    store = made(tmp_path / "s.ptr", {"a": [1]})
    if taken == "file":
        out.write_text("precious")
    elif taken == "folder":
        out.mkdir()
    else:
        out.symlink_to("nowhere")
    with pytest.raises(FileExistsError, match="not replaced"):
        export(kind, store, out)
    assert [path.name for path in out.parent.iterdir()] == ["x"]
    if taken == "file":
        assert out.read_text() == "precious"


@kinds
def test_no_folder(tmp_path: Path, out: Path, kind: str) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder to write in"):
        export(kind, made(tmp_path / "s.ptr", {"a": [1]}), out / "x")


@kinds
def test_no_store(tmp_path: Path, out: Path, kind: str) -> None:
    with pytest.raises(StoreNotFoundError):
        export(kind, tmp_path / "none.ptr", out)
    assert list(out.parent.iterdir()) == []


@kinds
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_leaves_nothing(
    tmp_path: Path, out: Path, kind: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made(tmp_path / "s.ptr", {"a": [1], "b": [2], "c": [3]})
    calls = iter(range(9))

    def fail(*arguments: Any, real: Callable[..., Any], **named: Any) -> Any:
        if next(calls) == 1:
            raise error
        return real(*arguments, **named)

    for target in ("numpy.asarray", "ptrarray.convert.formats.pickles.to_pandas"):
        module, _, name = target.rpartition(".")
        real = getattr(__import__(module, fromlist=[name]), name)
        monkeypatch.setattr(target, lambda *a, real=real, **n: fail(*a, real=real, **n))
    with pytest.raises(type(error)):
        export(kind, store, out)
    monkeypatch.undo()
    assert list(out.parent.iterdir()) == []


@kinds
def test_files_have_the_rights_of_others(tmp_path: Path, out: Path, kind: str) -> None:
    """Not those of a temporary file, which only its owner may read."""
    export(kind, made(tmp_path / "s.ptr", {"a": [1]}), out)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    like = tmp_path / ("folder" if out.is_dir() else "file")
    assert out.stat().st_mode == like.stat().st_mode


@kinds
def test_a_store_is_not_read_into_memory(tmp_path: Path, out: Path, kind: str) -> None:
    arrays = {f"n{i}": np.full(200_000, i, "f8") for i in range(20)}
    store = made(tmp_path / "s.ptr", arrays)
    export(kind, made(tmp_path / "small.ptr", {"a": [1]}), out.with_name("small"))  # imports
    assert peak_nbytes(lambda: export(kind, store, out)) < 3 * arrays["n0"].nbytes


def test_dtypes_that_hdf5_has_not(tmp_path: Path, out: Path) -> None:
    store = made(tmp_path / "s.ptr", {"a": [1], "t": np.array(["ab"])})
    report = export("h5", store, out)
    assert report.converted == 1
    assert [failure.source for failure in report.failures] == ["t"]
    assert "HDF5 has no dtype <U2" in report.failures[0].problem
    text = made(tmp_path / "t.ptr", {"t": np.array(["ab"])}, dtype="U2")
    with pytest.raises(BadInputError, match="HDF5 has no dtype <U2"):
        export("h5", text, out.with_name("y"), flat=True)
    assert [path.name for path in out.parent.iterdir()] == ["x"]


DATES = {
    "years": np.array(["2020", "NaT"], "M8[Y]"),
    "tens": np.array([7], "M8[10s]"),
    "spans": np.array([[5], [-1]], ">m8[ns]"),
    "bare": np.array([3]).view("m8"),  # of no unit
    "none": np.zeros((0, 2), "M8[D]"),
    "big": np.array(["2020-01-01", "NaT"], ">M8[D]"),
    "fields": np.array([("2020-01-02", 1, [2, 3])], [("t", "M8[D]"), ("n", "u1"), ("d", "m8[h]", 2)]),
    "padded": np.zeros(2, np.dtype([("n", "u1"), ("t", ">M8[us]")], align=True)),
    "within": np.zeros(2, [("a", [("t", "M8[s]")]), ("b", "f4")]),
}  # fmt: skip


def test_dates_as_integers_of_hdf5(tmp_path: Path, out: Path) -> None:
    h5py = pytest.importorskip("h5py")
    store = made(tmp_path / "s.ptr", DATES, {"years": {"of": "birth"}})
    assert export("h5", store, out) == Report(converted=len(DATES))
    with h5py.File(out) as file:
        assert file["years"].dtype == "<i8"
        assert file["years"][()].tolist() == [50, -(2**63)]
        assert file["big"].dtype == ">i8"
        assert file["big"][()].tolist() == [18262, -(2**63)]
        assert file["years"].attrs["ptrarray_dtype"] == '"<M8[Y]"'
    same(back("h5", out), DATES)
    with ptrarray.open(out.parent / "back.ptr") as opened:
        assert opened.meta["years"] == {"of": "birth"}
        assert opened.meta["spans"] == {}


@pytest.mark.parametrize("name", ["years", "spans", "fields"])
def test_dates_in_one_data_set(tmp_path: Path, out: Path, name: str) -> None:
    dates = DATES[name]
    arrays = {"a": dates, "b": dates[:0], "c": dates[::-1]}
    store = made(tmp_path / "s.ptr", arrays, dtype=dates.dtype, row_shape=dates.shape[1:])
    assert export("h5", store, out, flat=True).converted == 3
    same(back("h5", out), arrays)


@kinds
def test_masked_records(tmp_path: Path, out: Path, kind: str) -> None:
    kinds_of_fields = [("x", "i4"), ("y", "f8", (2,)), ("t", "M8[s]")]
    zeros, no = np.zeros(3, kinds_of_fields), (False, [False, False], False)
    arrays = {
        "all": np.ma.MaskedArray(zeros, [no, (True, [True, True], True), no]),
        "some": np.ma.MaskedArray(zeros, [no, (False, [False, True], False), no]),
        "none": zeros,
        "one": np.ma.MaskedArray(zeros[0], (True, [False, False], False)),
    }
    store = made(tmp_path / "s.ptr", arrays, masked=True)
    assert export(kind, store, out).converted == 4
    found = back(kind, out, masked=True)
    for name, array in arrays.items():
        np.testing.assert_array_equal(np.ma.getdata(found[name]), np.ma.getdata(array))
        mask = np.ma.getmaskarray(array)
        if kind == "pickles":
            np.testing.assert_array_equal(np.ma.getmaskarray(found[name]), mask)
        elif name == "none":
            assert "none/.mask" not in found
        else:
            np.testing.assert_array_equal(np.ma.getdata(found[f"{name}/.mask"]), mask)


def test_file_systems_that_take_two_names_for_one(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptrarray.convert.export.file_name", lambda name: file_name(name).lower())
    report = export("npy", made(tmp_path / "s.ptr", {"a": [1], "A": [2]}), out)
    assert report.converted == 1
    assert [failure.source for failure in report.failures] == ["A"]
    assert np.load(out / "a.npy").tolist() == [1]
