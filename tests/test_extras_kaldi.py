"""Archives of kaldi as kaldiio writes and reads them: what both know is the same.

Its licence lets it be used for testing only (NTT, "for evaluation"), so nothing else here needs it.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.convert import Report
from tests.support.imports import check_content, content

kaldiio = pytest.importorskip("kaldiio")
from tests.support.kaldi import read, run

RNG = np.random.default_rng(4)
ARRAYS: dict[str, Any] = {
    "matrix": RNG.random((5, 3), np.float32),
    "one": RNG.random((1, 3), np.float32),
    "double": RNG.random((2, 7)),
    "vector": RNG.random(9, np.float32),
    "doubles": RNG.random(9),
    "integers": np.array([-(1 << 31), 0, (1 << 31) - 1], np.int32),
    "fortran": np.asfortranarray(RNG.random((4, 3), np.float32)),
    "strided": RNG.random((8, 6), np.float32)[::2, ::-3],
    "none": np.empty(0, np.float32),
    "nothing": np.empty((0, 0)),
    "no integers": np.empty(0, np.int32),
    "odd": np.array([[np.nan, -0.0, np.inf, 1e-45]], np.float32),
}
KEYS = {key.replace(" ", "-"): array for key, array in ARRAYS.items()}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def save(folder: Path, arrays: dict[str, Any], **how: Any) -> None:
    kaldiio.save_ark(f"{folder}/x.ark", arrays, scp=f"{folder}/x.scp", **how)


@pytest.mark.parametrize("suffix", ["ark", "scp"])
def test_in(folder: Path, store: Path, suffix: str) -> None:
    """Also matrices without elements of a shape that kaldi does not read."""
    arrays = {**KEYS, "no-rows": np.empty((0, 5), "f4"), "no-columns": np.empty((5, 0), "f4")}
    save(folder, arrays)
    assert run(folder / f"x.{suffix}", store) == Report(converted=len(arrays))
    check_content(store, arrays)
    found = content(store)
    assert all(found[key].tobytes() == array.tobytes() for key, array in arrays.items())


def test_out(store: Path, tmp_path: Path) -> None:
    with ptrarray.create(store) as writer:
        writer.write(KEYS)
    assert convert.to_kaldi(store, tmp_path / "out", progress=False).ok
    by_scp = dict(kaldiio.load_scp(f"{tmp_path}/out/arrays.scp").items())
    by_ark = dict(kaldiio.load_ark(f"{tmp_path}/out/arrays.ark"))
    for found in (by_scp, by_ark):
        assert found.keys() == KEYS.keys()
        for key, array in KEYS.items():
            assert (found[key].dtype, found[key].shape) == (array.dtype, array.shape)
            assert found[key].tobytes() == array.tobytes()


def test_bytes_are_the_same(store: Path, folder: Path, tmp_path: Path) -> None:
    with ptrarray.create(store) as writer:
        writer.write(KEYS)
    convert.to_kaldi(store, tmp_path / "out", progress=False)
    with ptrarray.open(store) as opened:
        save(folder, dict(opened.items()))
    assert (tmp_path / "out/arrays.ark").read_bytes() == (folder / "x.ark").read_bytes()
    theirs = (folder / "x.scp").read_text().replace(f"{folder}/x.ark", f"{tmp_path}/out/arrays.ark")
    assert (tmp_path / "out/arrays.scp").read_text() == theirs


@pytest.mark.parametrize("method", range(1, 8))
def test_compressed(folder: Path, store: Path, method: int) -> None:
    """As kaldi reads it: kaldiio 2.18.1 differs in last bits (`uint_to_float` in float64)."""
    arrays = {f"u{i}": RNG.random((i, 4), np.float32) for i in (1, 3, 20)}
    save(folder, arrays, compression_method=method)
    for suffix in ("ark", "scp"):
        assert run(folder / f"x.{suffix}", store).ok
    check_content(store, read(folder / "x.ark", "FloatMatrix"))
    for key, array in kaldiio.load_ark(f"{folder}/x.ark"):
        np.testing.assert_allclose(content(store)[key], array, atol=1e-5)


def test_text(folder: Path, store: Path) -> None:
    """kaldiio 2.18.1 writes vectors of integers as `[ 1 2 ]`, which for kaldi is one of floats."""
    arrays = {k: a for k, a in KEYS.items() if a.size and k not in ("odd", "double", "doubles")}
    save(folder, arrays, text=True)
    assert run(folder / "x.ark", store).ok
    found = content(store)
    for key, array in arrays.items():
        np.testing.assert_allclose(found[key], array, rtol=1e-6)
        assert found[key].dtype == np.float32


def test_entries_by_numpy(folder: Path, store: Path) -> None:
    """`write_function="numpy"` keeps dtypes that kaldi has not, and shapes."""
    arrays = {
        "ids": np.array([[1 << 40, -1]]),
        "image": RNG.integers(0, 255, (2, 3, 4)).astype("u1"),
        "big": np.arange(3, dtype=">i2"),
        "number": np.array(1.5),
        "fortran": np.asfortranarray(RNG.random((3, 4))),
    }
    with kaldiio.WriteHelper(
        f"ark,scp:{folder}/x.ark,{folder}/x.scp", write_function="numpy"
    ) as out:
        for key, array in arrays.items():
            out(key, array)
    for suffix in ("ark", "scp"):
        assert run(folder / f"x.{suffix}", store).ok
    check_content(store, arrays)


def test_pickles_and_sounds(folder: Path, store: Path) -> None:
    with kaldiio.WriteHelper(
        f"ark,scp:{folder}/p.ark,{folder}/p.scp", write_function="pickle"
    ) as out:
        out("a", np.arange(3))
    report = run(folder / "p.scp", store)
    assert ["those are not read" in failure.problem for failure in report.failures] == [True]
    sounds = {key: (8000, RNG.integers(0, 9, 101).astype("u1")) for key in "abc"}
    save(folder, {**sounds, "last": np.ones(3, np.float32)})
    for suffix in ("ark", "scp"):
        report = run(folder / f"x.{suffix}", store)
        assert report.ok
        assert report.notes[0].startswith("3 sounds are no arrays")
    check_content(store, {"last": np.ones(3, np.float32)})


@pytest.mark.filterwarnings("ignore:.*x.ark:pytest.PytestUnraisableExceptionWarning")  # left open
def test_what_kaldiio_refuses_and_what_it_leaves(folder: Path, store: Path, tmp_path: Path) -> None:
    """kaldiio 2.18.1 raises after the key was written (`save_ark`), so the archive is broken."""
    with pytest.raises(ValueError, match="int64"):
        save(folder, {"good": np.ones(2, "f4"), "ids": np.arange(3)})
    report = run(folder / "x.ark", store)
    assert (report.converted, len(report.failures)) == (1, 1)
    with ptrarray.create(tmp_path / "t.ptr") as writer:
        writer.write({"good": np.ones(2, "f4"), "ids": np.arange(3), "cube": np.ones((1, 1, 1))})
    assert len(convert.to_kaldi(tmp_path / "t.ptr", tmp_path / "out", progress=False).failures) == 1
    by_ark = dict(kaldiio.load_ark(f"{tmp_path}/out/arrays.ark"))
    assert {k: a.tolist() for k, a in by_ark.items()} == {"good": [1, 1], "ids": [0, 1, 2]}


def test_ranges(folder: Path, store: Path) -> None:
    matrix = RNG.random((10, 6), np.float32)
    save(folder, {"m": matrix})
    line = (folder / "x.scp").read_text().split()[1]
    ranges = ("[0:3]", "[9:9]", "[:,1:2]", "[2:4,0:5]")
    (folder / "r.scp").write_text("".join(f"{i} {line}{one}\n" for i, one in enumerate(ranges)))
    assert run(folder / "r.scp", store).ok
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_content(store, dict(kaldiio.load_scp(f"{folder}/r.scp").items()))
