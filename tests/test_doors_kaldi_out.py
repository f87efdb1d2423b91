"""Exporting to archives of kaldi: kaldi's own code reads what was in the store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray import convert
from ptrarray.convert import Failure, Report
from ptrarray.convert.escape import unescape, word
from tests.support.imports import check_content, content

pytest.importorskip("kaldi_native_io")
from tests.support.kaldi import binary, by_kaldi, read, run

RNG = np.random.default_rng(3)
NAN = np.frombuffer(b"\1\2\xc0\x7f", "<f4")[0]
ARRAYS: dict[str, dict[str, Any]] = {
    "FloatMatrix": {
        "m": np.array([[NAN, -0.0], [np.inf, 1e-45]], "f4"),
        "one": RNG.random((1, 3), np.float32),
        "none": np.empty((0, 0), "f4"),
    },
    "DoubleMatrix": {"fortran": np.asfortranarray(RNG.random((3, 4)))},
    "FloatVector": {"v": RNG.random(5, np.float32), "empty": np.empty(0, "f4")},
    "DoubleVector": {"big": RNG.random(4).astype(">f8")},
    "Int32Vector": {"i": np.array([-(1 << 31), 4, (1 << 31) - 1], "i4"), "no": np.empty(0, "i4")},
}
ALL = {key: array for arrays in ARRAYS.values() for key, array in arrays.items()}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def fill(path: Path, arrays: dict[str, Any], **settings: Any) -> Path:
    with ptrarray.create(path, **settings) as writer:
        writer.write(arrays)
    return path


def export(store: Path, out: Path) -> Report:
    return convert.to_kaldi(store, out, progress=False)


@pytest.mark.parametrize("kind", ARRAYS)
def test_kaldi_reads_the_same(store: Path, tmp_path: Path, kind: str) -> None:
    arrays = ARRAYS[kind]
    assert export(fill(store, arrays), tmp_path / "out") == Report(converted=len(arrays))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "arrays.ark",
        "arrays.scp",
    ]
    for suffix in ("ark", "scp"):
        found = read(tmp_path / "out" / f"arrays.{suffix}", kind)
        for key, array in arrays.items():
            native = array.astype(array.dtype.newbyteorder("="))
            assert found[key].shape == array.shape
            if array.size:
                assert found[key].astype(native.dtype).tobytes() == native.tobytes()


@pytest.mark.parametrize("kind", ["FloatMatrix", "DoubleMatrix", "FloatVector", "Int32Vector"])
def test_bytes_are_those_of_kaldi(store: Path, folder: Path, tmp_path: Path, kind: str) -> None:
    by_kaldi(folder, "arrays", ARRAYS[kind])
    assert run(folder / "arrays.scp", store).ok
    assert export(store, tmp_path / "out").ok
    theirs, ours = folder / "arrays.ark", tmp_path / "out" / "arrays.ark"
    assert sorted(ours.read_bytes()) == sorted(theirs.read_bytes())
    with ptrarray.open(store) as opened:
        data = b"".join(f"{k} ".encode() + binary(a) for k, a in opened.items())
    assert ours.read_bytes() == data
    expected = theirs.with_suffix(".scp").read_text().replace(str(folder), str(tmp_path / "out"))
    if list(ARRAYS[kind]) == list(read(ours, kind)):
        assert ours.with_suffix(".scp").read_text() == expected


def test_there_and_back(store: Path, tmp_path: Path) -> None:
    assert export(fill(store, ALL), tmp_path / "out").ok
    assert run(tmp_path / "out", tmp_path / "t.ptr").ok
    check_content(
        tmp_path / "t.ptr", {k: a.astype(a.dtype.newbyteorder("<")) for k, a in ALL.items()}
    )


def test_what_is_widened(store: Path, tmp_path: Path) -> None:
    """Where kaldi has no such kind, and another has all values.

    kaldiio 2.18.1 raises for all of these, and leaves the key in the archive, which ends there.
    """
    arrays = {
        "half": np.array([1.5, np.inf, 6e-8], "f2"),
        "half, two": np.array([[1.5]], ">f2"),
        "long": np.array([-(1 << 31), (1 << 31) - 1], ">i8"),
        "bool": np.array([True, False]),
        "byte": np.array([255], "u1"),
        "image": np.array([[0, 255]], "u1"),
        "flags": np.array([[True]]),
        "ids": np.array([[1 << 24, -(1 << 24)]], "i8"),
        "large ids": np.array([[1 << 53, -(1 << 53)]], "i8"),
        "none": np.empty((0, 0), "i8"),
    }
    report = export(fill(store, arrays), tmp_path / "out")
    assert report.converted == len(arrays)
    assert report.failures == []
    assert [note.removesuffix(", no value changed") for note in sorted(report.notes)] == [
        "1 array of >f2 with two axes is written as float32",
        "1 array of >i8 with one axis is written as int32",
        "1 array of bool with one axis is written as int32",
        "1 array of bool with two axes is written as float32",
        "1 array of float16 with one axis is written as float32",
        "1 array of int64 with two axes is written as float64",
        "1 array of uint8 with one axis is written as int32",
        "1 array of uint8 with two axes is written as float32",
        "2 arrays of int64 with two axes are written as float32",
    ]
    assert run(tmp_path / "out", tmp_path / "t.ptr").ok
    found = content(tmp_path / "t.ptr")
    for name, array in arrays.items():
        expected = "f4" if array.dtype.kind == "f" or array.ndim == 2 else "i4"
        assert found[name].dtype == ("f8" if name == "large ids" else expected)
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape


REFUSED = {
    "0-d": (np.array(1.5), "0 axes"),
    "3-d": (np.zeros((1, 2, 3)), "3 axes"),
    "too long": (np.array([1 << 31]), "int32"),
    "too short": (np.array([-(1 << 31) - 1]), "int32"),
    "too large": (np.array([[(1 << 53) + 1]]), "float64"),
    "largest": (np.array([[(1 << 64) - 1]], "u8"), "float64"),
    # kaldiio 2.18.1 writes these, and kaldi does not read an archive where one is (Matrix::Read).
    "no rows": (np.zeros((0, 5), "f4"), "without elements"),
    "no columns": (np.zeros((5, 0), "f4"), "without elements"),
    "complex": (np.zeros(2, "c8"), "complex64"),
    "text": (np.array(["a"]), "<U1"),
    "dates": (np.array([0], "M8[s]"), "datetime64"),
    "records": (np.zeros(2, "i4,f4"), "f0"),
}
if np.dtype("g").itemsize > 8:
    REFUSED["long double"] = np.zeros(2, "g"), str(np.dtype("g"))


def test_what_kaldi_cannot_hold(store: Path, tmp_path: Path) -> None:
    arrays = {name: array for name, (array, _) in REFUSED.items()}
    report = export(fill(store, {**arrays, **ALL}), tmp_path / "out")
    assert report.converted == len(ALL)
    assert {name for name, _ in report.failures} == set(REFUSED)
    for name, problem in report.failures:
        assert REFUSED[name][1] in problem
    # And the archive is whole without them.
    assert run(tmp_path / "out" / "arrays.ark", tmp_path / "t.ptr").converted == len(ALL)


NAMES = ("a b", "", "%", "a%20b", "tab\there", "nbsp\xa0", "\x1c", "a/b//c", "zwölf", "\u3000", "-")


def test_names(store: Path, tmp_path: Path) -> None:
    """Keys have no white space, as `str.split` of kaldiio and `isspace` of kaldi know it."""
    arrays = {name: np.array([n], "f4") for n, name in enumerate(NAMES)}
    out = tmp_path / "o [0:1] ut"
    assert export(fill(store, arrays), out).ok
    keys = set(read(out / "arrays.ark", "FloatVector"))
    assert {"a%20b", "%", "%25", "a%2520b", "a/b//c", "zwölf", "nbsp%C2%A0"} <= keys
    assert all(key.split() == [key] for key in keys)
    for suffix in ("ark", "scp"):
        assert run(out / f"arrays.{suffix}", tmp_path / f"{suffix}.ptr").ok
        check_content(tmp_path / f"{suffix}.ptr", arrays)


@given(st.text("ab%/\\ \t\n\xa0\u3000\x1cü.20"))
def test_names_come_back(name: str) -> None:
    key = word(name)
    assert key.split() == [key]
    assert re.search(r"\s", key) is None
    assert unescape(key) == name


def test_masks_and_metadata(store: Path, tmp_path: Path) -> None:
    with ptrarray.create(store, masked=True) as writer:
        writer.write({"a": np.ma.masked_less(np.arange(3.0), 1)}, meta={"a": {"rate": 8000}})
        writer.write({"b": np.ma.masked_less(np.arange(4.0).reshape(2, 2), 1)})
    report = export(store, tmp_path / "out")
    assert report.ok
    assert "metadata of 1 array is not kept in archives of kaldi" in report.notes
    assert run(tmp_path / "out", tmp_path / "t.ptr").ok
    check_content(
        tmp_path / "t.ptr",
        {
            "a": np.arange(3.0),
            "a/.mask": np.array([1, 0, 0], "i4"),
            "b": np.arange(4.0).reshape(2, 2),
            "b/.mask": np.array([[1, 0], [0, 0]], "f4"),
        },
    )


def test_nothing_is_replaced(store: Path, tmp_path: Path) -> None:
    fill(store, ALL)
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError):
        export(store, tmp_path / "out")
    with pytest.raises(ValueError, match="line break"):
        export(store, tmp_path / "o\nut")


def test_an_empty_store(store: Path, tmp_path: Path) -> None:
    assert export(fill(store, {}), tmp_path / "out") == Report()
    assert run(tmp_path / "out" / "arrays.scp", tmp_path / "t.ptr") == Report()
    assert run(tmp_path / "out" / "arrays.ark", tmp_path / "t.ptr") == Report()


def test_rows_of_one_dtype(store: Path, tmp_path: Path) -> None:
    features = {f"u{i}": RNG.random((i, 4), np.float32) for i in range(1, 4)}
    fill(store, {**features, "u0": features["u1"][:0]}, dtype="f4", row_shape=4)
    report = export(store, tmp_path / "out")
    shape = "its shape is (0, 4), and kaldi knows none without elements"
    assert report.failures == [Failure("u0", shape)]
    found = read(tmp_path / "out" / "arrays.scp", "FloatMatrix")
    assert found.keys() == features.keys()
