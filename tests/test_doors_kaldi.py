"""Importing archives of kaldi that kaldi's own code wrote: what comes in is what it reads."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.convert import Report
from tests.support.command_line import Run
from tests.support.imports import check_content, content

pytest.importorskip("kaldi_native_io")
from tests.support.kaldi import (
    METHODS,
    ark,
    binary,
    by_kaldi,
    compressed,
    integer,
    read,
    run,
)

RNG = np.random.default_rng(0)
NAN = np.frombuffer(b"\1\2\xc0\x7f", "<f4")[0]  # one with more in it than that
SETS: dict[str, dict[str, Any]] = {
    "FloatMatrix": {
        "a": RNG.random((3, 4), np.float32),
        "one": RNG.random((1, 4), np.float32),
        "other": RNG.random((5, 2), np.float32),
        "none": np.empty((0, 0), np.float32),
        "again": RNG.random((7, 4), np.float32),
        "odd": np.array([[NAN, -0.0, np.inf, 1e-45]], np.float32),
    },
    "DoubleMatrix": {"a": RNG.random((3, 4)), "b": np.array([[np.nan, 1e300]])},
    "FloatVector": {"a": RNG.random(9, np.float32), "none": np.empty(0, np.float32)},
    "DoubleVector": {"none": np.empty(0), "a": RNG.random(9)},
    "Int32Vector": {
        "a": np.array([-(1 << 31), 0, 4, (1 << 31) - 1], np.int32),
        "none": np.empty(0, np.int32),
        "b": np.arange(3000, dtype=np.int32),
        "zero": np.zeros(1, np.int32),
    },
}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def problems(report: Report) -> dict[str, str]:
    """Return what failed, by key."""
    return {failure.source.rpartition(":")[2]: failure.problem for failure in report.failures}


@pytest.mark.parametrize("suffix", [".ark", ".scp"])
@pytest.mark.parametrize("kind", SETS)
def test_binary(folder: Path, store: Path, kind: str, suffix: str) -> None:
    arrays = SETS[kind]
    by_kaldi(folder, "x", arrays)
    assert run(folder / f"x{suffix}", store) == Report(converted=len(arrays))
    found = content(store)
    assert {k: (a.dtype, a.shape, a.tobytes()) for k, a in found.items()} == {
        k: (a.dtype, a.shape, a.tobytes()) for k, a in arrays.items()
    }


@pytest.mark.parametrize("suffix", [".ark", ".scp"])
def test_kinds_in_one_archive(folder: Path, store: Path, suffix: str) -> None:
    """kaldi's own writers have an archive each; kaldiio mixes them."""
    arrays = {f"{kind}/{key}": a for kind, some in SETS.items() for key, a in some.items()}
    order = RNG.permutation(list(arrays)).tolist()
    data, lines = b"", ""
    for key in order:
        data += f"{key} ".encode()
        lines += f"{key} {folder}/x.ark:{len(data)}\n"
        data += binary(arrays[key])
    (folder / "x.ark").write_bytes(data)
    (folder / "x.scp").write_text(lines)
    assert run(folder / f"x{suffix}", store) == Report(converted=len(arrays))
    found = content(store)
    assert {k: a.tobytes() for k, a in found.items()} == {k: a.tobytes() for k, a in arrays.items()}
    assert {k: a.shape for k, a in found.items()} == {k: a.shape for k, a in arrays.items()}


@pytest.mark.parametrize("suffix", [".ark", ".scp"])
@pytest.mark.parametrize("method", METHODS)
def test_compressed(folder: Path, store: Path, method: str, suffix: str) -> None:
    """Values are those that kaldi makes of the bytes.

    Those of kaldiio 2.18.1 differ in their last bits (compression_header.py computes in float64),
    and are float32 all the same.
    """
    sizes = [(9, 5), (1, 5), (30, 3), (8, 5)]
    arrays = {f"u{i}": RNG.random(size, np.float32) * 40 for i, size in enumerate(sizes)}
    compressed(folder, "x", arrays, method)
    expected = read(folder / "x.ark", "FloatMatrix")
    assert run(folder / f"x{suffix}", store) == Report(converted=len(arrays))
    check_content(store, expected)


@pytest.mark.parametrize("suffix", [".ark", ".scp"])
def test_behind_a_compressed_matrix_without_elements(
    folder: Path, store: Path, suffix: str
) -> None:
    """kaldi writes a header of 20 bytes for it and reads one of 16 (`CompressedMatrix::Write`).

    kaldi_native_io 1.23.0 takes the rest for a part of the next key: four zeros and "b".
    """
    arrays = {"a": np.empty((0, 0), "f4"), "b": np.ones((1, 2), "f4")}
    compressed(folder, "x", arrays, "kTwoByteAuto")
    assert list(read(folder / "x.ark", "FloatMatrix")) == ["a", "\0\0\0\0b"]
    assert run(folder / f"x{suffix}", store) == Report(converted=2)
    check_content(store, arrays)


# Text ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".ark", ".scp"])
@pytest.mark.parametrize("kind", SETS)
def test_text(folder: Path, store: Path, kind: str, suffix: str) -> None:
    arrays = {k: a for k, a in SETS[kind].items() if k not in ("odd", "b")}
    by_kaldi(folder, "x", arrays, "ark,scp,t")
    expected = read(folder / "x.ark", kind)
    dtype = "f8" if kind.startswith("Double") else "f4"
    assert run(folder / f"x{suffix}", store, text_dtype=dtype) == Report(converted=len(arrays))
    if kind.endswith("Matrix") and "none" in expected:
        expected["none"] = np.empty(0, dtype)  # "[ ]" is what kaldi writes for both
    check_content(store, {k: a.astype(arrays[k].dtype) for k, a in expected.items()})


def test_text_says_nothing_of_its_dtype(folder: Path, store: Path) -> None:
    """Of floats the first number may have no point.

    kaldiio 2.18.1 reads [ 1 2.5 ] as int32 then, or raises (`read_ascii_mat` of matio.py), and a last
    vector of whole numbers with a part of its key before it.
    """
    (folder / "x.ark").write_text("a  [ 1 2.5 ]\nb  [\n  1 2 \n  3 4 ]\n10 7 8\n11 3\n")
    assert run(folder, store) == Report(converted=4)
    expected = {"a": np.array([1, 2.5], "f4"), "b": np.array([[1, 2], [3, 4]], "f4")}
    check_content(store, expected | {"10": np.array([7, 8], "i4"), "11": np.array([3], "i4")})


def test_rows_of_text(folder: Path, store: Path) -> None:
    (folder / "x.ark").write_text("a [ 1 2 ; 3 4 ]\nb [ 1 2 \n 3 4 ]\nc [\n 1 ]\nd [ 1 ]\n")
    assert run(folder, store) == Report(converted=4)
    square = np.array([[1, 2], [3, 4]], "f4")
    one = np.ones((1, 1), "f4")
    check_content(store, {"a": square, "b": square, "c": one, "d": one[0]})


def test_text_of_large_numbers(folder: Path, store: Path) -> None:
    (folder / "x.ark").write_text("a  [ 0.1 1e300 ]\n")
    report = run(folder, store)
    assert "see text_dtype" in problems(report)["a"]
    assert run(folder, store, text_dtype=np.float64) == Report(converted=1)
    check_content(store, {"a": np.array([0.1, 1e300])})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # kaldi_native_io 1.23.0 gives what it can read of the first two, [1, 2] and [1], with a word
        # on stderr (`read_int32_vector` by way of BasicVectorHolder::Read), and no error.
        ("a 1 2.5\n", "other words than whole numbers"),
        ("a 1 99999999999\n", "too large for int32"),
        ("a 1 2", "cut off"),
        ("a 1 two\n", "neither a header nor numbers"),
        ("a [ 1 2", "has no ']'"),
        ("a [ 1 x ]\n", "neither a header nor numbers"),
        ("a [\n 1 2\n 3 ]\n", "kaldi reads nothing"),
        ("a [ 1 2 ; 3 ]\n", "kaldi reads nothing"),
        ("a 3.5\n", "other words than whole numbers"),
    ],
)
def test_text_that_is_none(folder: Path, store: Path, text: str, problem: str) -> None:
    (folder / "x.ark").write_text(text)
    report = run(folder, store)
    assert problem in problems(report)["a"]
    assert not store.exists()


def test_white_space_between_entries_and_behind_keys(folder: Path, store: Path) -> None:
    """kaldi passes over it; kaldiio 2.18.1 makes the newline a part of the key."""
    vector = np.array([1, 2], "f4")
    data = b"a " + binary(vector) + b"\nb\t" + binary(vector) + b"\n\nc \nd\n"
    (folder / "x.ark").write_bytes(data)
    assert run(folder, store) == Report(converted=4)
    none = np.empty(0, "i4")
    check_content(store, {"a": vector, "b": vector, "c": none, "d": none})


# What is none of these ----------------------------------------------------------------------------


def wav(n_bytes: int, padded: bool = False) -> bytes:
    pad = b"\0" if padded else b""
    return b"RIFF" + n_bytes.to_bytes(4, "little") + b"WAVE" + b"x" * (n_bytes - 4) + pad


def test_sounds_are_left_out_with_a_word(folder: Path, store: Path) -> None:
    """Also those of an odd number of bytes, padded or not.

    kaldiio 2.18.1 writes no padding byte and skips one: it reads "fter" or ends there (`read_wav`).
    """
    blob = b"AUDIO\2" + (300).to_bytes(2, "little") + b"f" * 300
    entries = {"w1": wav(44), "w2": wav(45), "w3": wav(45, padded=True), "w4": blob}
    data = ark(**entries, after=binary(np.ones(3, "f4")))
    (folder / "x.ark").write_bytes(data)
    report = run(folder, store)
    assert report == Report(
        converted=1, notes=[f"4 sounds are no arrays, and left out: {folder}/x.ark:w1, …"]
    )
    check_content(store, {"after": np.ones(3, "f4")})


@pytest.mark.parametrize("sound", [wav(44)[:4] + b"\0" * 40, b"fLaC" + b"x" * 50])
def test_behind_a_sound_of_unknown_length(folder: Path, store: Path, sound: bytes) -> None:
    """Nothing can be found there, which is said; by an .scp it is."""
    data = ark(a=binary(np.ones(3, "f4")), w=sound, b=binary(np.zeros(3, "f4")))
    (folder / "x.ark").write_bytes(data)
    report = run(folder, store)
    assert list(problems(report)) == ["w"]
    assert "what is behind it cannot be found" in problems(report)["w"]
    at = {key: data.index(f"{key} ".encode()) + 2 for key in "awb"}
    (folder / "x.scp").write_text("".join(f"{k} {folder}/x.ark:{n}\n" for k, n in at.items()))
    report = run(folder / "x.scp", store)
    assert (report.converted, report.skipped, report.failures) == (1, 1, [])
    check_content(store, {"a": np.ones(3, "f4"), "b": np.zeros(3, "f4")})


class Touches:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._mark}",)


def test_pickles_are_not_read(folder: Path, store: Path) -> None:
    """As kaldiio's WriteHelper(write_function="pickle") writes them; its load_scp unpickles any.

    Nor are those in arrays of objects, which it writes by numpy.
    """
    mark = folder / "mark"
    pickle = f"PKLcos\nsystem\n(S'touch {mark}'\ntR.".encode()
    (folder / "x.ark").write_bytes(ark(a=binary(np.ones(1, "f4")), p=pickle))
    (folder / "x.scp").write_text(f"p {folder}/x.ark:{len(binary(np.ones(1, 'f4'))) + 4}\n")
    assert list(problems(run(folder / "x.ark", store))) == ["p"]
    report = run(folder / "x.scp", store)
    assert "those are not read" in problems(report)["p"]
    blob = io.BytesIO()
    np.save(blob, np.array([Touches(mark)], object), allow_pickle=True)
    size = len(blob.getvalue()).to_bytes(2, "little")
    (folder / "n.ark").write_bytes(ark(n=b"NPY\2" + size + blob.getvalue()))
    report = run(folder / "n.ark", store)
    assert "no array of numpy" in problems(report)["n"]
    assert not mark.exists()


def test_other_tables_of_kaldi(folder: Path, store: Path) -> None:
    """Which begin with the same bytes as vectors of integers do.

    kaldiio 2.18.1 reads a table of single 0s as empty vectors, silently; so do we, as nothing tells.
    """
    of_vectors = b"\0B" + integer(2) + integer(1) + integer(7) + integer(1) + integer(8)
    posterior = b"\0B" + integer(1) + integer(1) + integer(5) + b"\4" + np.float32(1).tobytes()
    single = b"\0B" + integer(300)
    table = {
        "several": of_vectors,
        "posterior": posterior,
        "single": single,
        "zero": b"\0B" + integer(0),
    }
    lines = ""
    for key, entry in table.items():
        (folder / key).write_bytes(entry)
        lines += f"{key} {folder}/{key}\n"
    (folder / "x.scp").write_text(lines)
    found = problems(run(folder / "x.scp", store))
    assert set(found) == {"several", "posterior", "single"}
    assert content(store).keys() == {"zero"}
    (folder / "sparse.ark").write_bytes(ark(s=b"\0BSM " + integer(1)))
    assert "does not say how long it is" in problems(run(folder / "sparse.ark", store))["s"]


# Options and surroundings -------------------------------------------------------------------------


def test_lists_are_taken_of_folders_where_there_are_any(folder: Path, store: Path) -> None:
    by_kaldi(folder, "x", SETS["FloatVector"])
    by_kaldi(folder, "y", SETS["DoubleVector"])
    report = run(folder, store)
    assert report == Report(converted=4, notes=["read where an .scp says so: 2 *.ark"])
    assert sorted(content(store)) == ["x/a", "x/none", "y/a", "y/none"]
    for path in folder.glob("*.scp"):
        path.unlink()
    assert run(folder, store) == Report(skipped=4)


def test_again_does_what_is_missing(folder: Path, store: Path) -> None:
    by_kaldi(folder, "x", SETS["FloatMatrix"])
    with ptrarray.create(store) as writer:
        writer["one"] = SETS["FloatMatrix"]["one"]
    n = len(SETS["FloatMatrix"])
    assert run(folder / "x.ark", store) == Report(converted=n - 1, skipped=1)
    assert run(folder / "x.scp", store) == Report(skipped=n)
    with ptrarray.append(store) as writer:
        writer["a"] = np.zeros((3, 4), "f4")
    report = run(folder / "x.scp", store)
    assert problems(report) == {"a": "'a' is not the same in the store"}


def test_keys_that_come_twice(folder: Path, store: Path) -> None:
    data = [ark(a=binary(np.array([n], "f4"))) for n in range(2)]
    (folder / "x.ark").write_bytes(b"".join(data) + ark(b=binary(np.ones(2, "f4"))))
    report = convert.from_kaldi(folder, store, progress=False)
    assert (report.converted, list(problems(report))) == (2, ["a"])
    check_content(store, {"a": np.array([0], "f4"), "b": np.ones(2, "f4")})


def test_a_store_of_one_dtype(folder: Path, store: Path) -> None:
    arrays = {k: a for k, a in SETS["FloatMatrix"].items() if k != "other"}
    by_kaldi(folder, "x", arrays)
    report = run(folder / "x.scp", store, dtype="f4", row_shape=4)
    assert list(problems(report)) == ["none"]
    assert content(store).keys() == arrays.keys() - {"none"}


def test_options_that_are_none(folder: Path, store: Path) -> None:
    by_kaldi(folder, "x", SETS["FloatVector"])
    with pytest.raises(ValueError, match="text_dtype is int32"):
        run(folder, store, text_dtype="i4")


def test_files_that_are_none(folder: Path, store: Path) -> None:
    (folder / "empty.ark").touch()
    (folder / "gz.ark").write_bytes(b"\x1f\x8b" + bytes(20))
    (folder / "zeros.ark").write_bytes(bytes(100))
    (folder / "long.ark").write_bytes(b"k" * 100_000)
    report = run(
        [folder / f"{name}.ark" for name in ("empty", "gz", "zeros", "long", "none")], store
    )
    assert len(report.failures) == 4
    found = {failure.source.split("/")[-1][:6]: failure.problem for failure in report.failures}
    assert "gunzip it first" in found["gz.ark"]
    assert "goes on for long" in found["long.a"]
    assert "No such file" in found["none.a"] or "not there" in found["none.a"]


def test_on_the_command_line(folder: Path, store: Path, run: Run, monkeypatch: Any) -> None:
    by_kaldi(folder, "x", SETS["FloatVector"], "ark,t")
    (folder / "x.scp").write_text("a x.ark:2\n")
    code, _, err = run(
        "import", "kaldi", folder / "x.scp", store, "--root", folder, "--text-dtype", "f8"
    )
    assert (code, err) == (0, "")
    assert content(store)["a"].dtype == np.float64
    code, _, err = run("export", store, "--to", "kaldi", folder / "out")
    assert (code, err) == (0, "")
    assert read(folder / "out" / "arrays.scp", "DoubleVector").keys() == {"a"}
