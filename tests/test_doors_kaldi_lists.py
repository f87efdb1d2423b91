"""Importing by an .scp of kaldi: offsets, ranges, paths, commands, and several processes."""

from __future__ import annotations

import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptrarray import convert
from ptrarray.convert import Report
from tests.support.imports import check_content, content

kaldi = pytest.importorskip("kaldi_native_io")
from tests.support.kaldi import METHODS, binary, by_kaldi, compressed, integer, read, run, scp

RNG = np.random.default_rng(1)
MATRIX = RNG.random((10, 6), np.float32)
VECTOR = RNG.random(10)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def problems(report: Report) -> dict[str, str]:
    """Return what failed, by key."""
    return {failure.source.rpartition(":")[2]: failure.problem for failure in report.failures}


def lines(folder: Path, *which: str) -> Path:
    """Write an .scp whose lines name what is in `folder`, and have ranges or anything else."""
    path = folder / "x.scp"
    path.write_text("".join(f"k{i} {line}\n" for i, line in enumerate(which)))
    return path


# Ranges -------------------------------------------------------------------------------------------


@pytest.fixture
def ranged(folder: Path) -> str:
    """A matrix; what names it."""
    (folder / "m.ark").write_bytes(b"key " + binary(MATRIX))
    return f"{folder}/m.ark:4"


def test_ranges_include_their_ends(folder: Path, store: Path, ranged: str) -> None:
    """As in kaldi (`ParseMatrixRangeSpecifier` of kaldi-holder.cc), which reads the same."""
    meant = {
        "[0:0]": MATRIX[:1],
        "[3:5]": MATRIX[3:6],
        "[0:9]": MATRIX,
        "[:,2:4]": MATRIX[:, 2:5],
        "[3:5,0:0]": MATRIX[3:6, :1],
        "[:,:]": MATRIX,
        "[4:4,:]": MATRIX[4:5],
        "[:]": MATRIX,
    }
    path = lines(folder, *(ranged + one for one in meant))
    assert run(path, store) == Report(converted=len(meant))
    expected = {f"k{i}": array for i, array in enumerate(meant.values())}
    check_content(store, expected)
    path.write_text(path.read_text().replace("[:]", "[0:9]"))
    for key, array in read(path, "FloatMatrix").items():
        np.testing.assert_array_equal(array, expected[key])


def test_rows_that_are_not_there(folder: Path, store: Path, ranged: str) -> None:
    """A range may end up to three rows too late, and is cut off, as in kaldi, with a word.

    kaldiio 2.18.1 cuts any range off silently, and gives no rows for [20:30] and [5:3].
    """
    path = lines(folder, *(f"{ranged}[{one}]" for one in ("8:10", "8:12", "8:13", "10:11")))
    report = run(path, store)
    assert problems(report) == {
        "k2": "its range of rows is 8 to 13, of 10 that there are",
        "k3": "its range of rows is 10 to 11, of 10 that there are",
    }
    cut = "ranges end behind the last row, and are cut off there, as by kaldi"
    assert report.notes == [f"2 {cut}: {path}:k0, …"]
    check_content(store, {"k0": MATRIX[8:], "k1": MATRIX[8:]})
    path.write_text(f"a {ranged}[8:13]\n")
    with pytest.raises(RuntimeError):
        read(path, "FloatMatrix")


# Which kaldiio 2.18.1 takes for something: `parse_arkpath` and `_parse_slice` of utils.py.
ODD = (
    "5:3",
    "-3:-1",
    "-3:5",
    "3",
    "0:8:2",
    ",1:2",
    " 0:3 ",
    "0:",
    ":3",
    "",
    "0:3,",
    "x",
    "0:1][0:1",
)


@pytest.mark.parametrize("odd", ODD)
def test_ranges_that_are_none(folder: Path, store: Path, ranged: str, odd: str) -> None:
    report = run(lines(folder, f"{ranged}[{odd}]"), store)
    assert "its range" in problems(report)["k0"] or "is not there" in problems(report)["k0"]
    assert not store.exists()


def test_columns_that_are_not_there(folder: Path, store: Path, ranged: str) -> None:
    report = run(lines(folder, f"{ranged}[:,5:6]", f"{ranged}[0:3,6:6]"), store)
    assert problems(report) == {
        "k0": "its range of columns is 5 to 6, of 6 that there are",
        "k1": "its range of columns is 6 to 6, of 6 that there are",
    }


@pytest.mark.parametrize("method", METHODS)
def test_ranges_of_what_is_compressed(folder: Path, store: Path, method: str) -> None:
    compressed(folder, "c", {"key": MATRIX}, method)
    path = lines(folder, f"{folder}/c.ark:4[2:4]", f"{folder}/c.ark:4[:,1:2]")
    assert run(path, store) == Report(converted=2)
    whole = read(folder / "c.ark", "FloatMatrix")["key"]
    check_content(store, {"k0": whole[2:5], "k1": whole[:, 1:3]})


def test_ranges_of_others(folder: Path, store: Path) -> None:
    (folder / "v").write_bytes(binary(VECTOR))
    (folder / "t").write_text("[ 1 2 3 ]\n")
    (folder / "i").write_bytes(binary(np.arange(5, dtype="i4")))
    which = ("v[2:3]", "v[8:12]", "v[:,0:0]", "t[1:2]", "i[0:1]")
    report = run(lines(folder, *(f"{folder}/{one}" for one in which)), store)
    assert problems(report) == {
        "k2": "its range has columns, and it is a vector",
        "k4": "it has a range, which kaldi knows of floats only",
    }
    check_content(store, {"k0": VECTOR[2:4], "k1": VECTOR[8:], "k3": np.array([2, 3], np.float32)})


# Commands -----------------------------------------------------------------------------------------


def test_no_command_is_run(folder: Path, store: Path) -> None:
    """Also of those that show their bar only when an offset or a range is taken off.

    kaldiio 2.18.1 runs all but the first two by a shell (`open_like_kaldi` of utils.py).
    """
    mark = folder / "mark"
    command = f"touch {mark}"
    odd = [f"|{command}", f"| {command}", f"{command} |", f"{command}|", f"{command} |:3"]
    odd += [f"{command} |[0:1]", f"{command} |:3[0:1]", f"{command} | [0:1]", f"{command}\t|\t"]
    report = run(lines(folder, *odd), store)
    assert len(report.failures) == len(odd)
    assert all("which is not run" in failure.problem for failure in report.failures)
    assert not mark.exists()


def test_names_that_look_like_something_else(folder: Path, store: Path) -> None:
    """Those that kaldi would take for a command, standard input or options are files here."""
    names = ("touch mark|", "| touch mark", "-", "t,x", "x:7", "y[0:1]", "a b", "gunzip -c z |")
    compressed(folder, "c", {"key": MATRIX[:1]}, METHODS[1])
    for name in names:
        (folder / name).mkdir()
        shutil.copy(folder / "c.ark", folder / name)
    path = lines(folder, *(f"{folder}/{name}/c.ark:4" for name in names))
    assert run(path, store) == Report(converted=len(names))
    for name in ("|", "-"):
        lines(folder, name)
        assert len(run(path, store).failures) == 1


# Paths --------------------------------------------------------------------------------------------


def test_relative_paths(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They begin where one is, as in kaldi and kaldiio, and not beside the .scp; or at a root."""
    (folder / "below").mkdir()
    (folder / "below" / "v").write_bytes(binary(VECTOR))
    path = lines(folder, "below/v")
    assert list(problems(run(path, store))) == ["k0"]
    assert run(path, store, root=folder) == Report(converted=1)
    monkeypatch.chdir(folder)
    assert run("x.scp", store) == Report(skipped=1)
    check_content(store, {"k0": VECTOR})


def test_files_that_cannot_be_read(folder: Path, store: Path) -> None:
    os.mkfifo(folder / "pipe")  # nobody writes there: who opens it waits
    (folder / "empty").touch()
    (folder / "v").write_bytes(binary(VECTOR))
    which = (
        "none",
        "pipe",
        "empty",
        ".",
        "v:5000",
        "v:999999999999999999",
        "v:9999999999999999999",
    )
    report = run(lines(folder, *(f"{folder}/{one}" for one in which), "\0"), store)
    assert sorted(problems(report)) == [f"k{i}" for i in range(8)]
    assert "is not there" in problems(report)["k0"]
    assert "no file" in problems(report)["k1"]
    assert "the file ends before" in problems(report)["k4"]


def test_lines_as_they_are_written(folder: Path, store: Path) -> None:
    (folder / "v").write_bytes(binary(VECTOR))
    v = f"{folder}/v".encode()
    written = [b"a " + v, b"", b"  \t", b"b\t" + v, b" c   " + v + b":0 \r", b"d " + v + b":000"]
    (folder / "x.scp").write_bytes(b"\n".join([*written, b"\xff " + v, b"e", "ü ".encode() + v]))
    report = run(folder / "x.scp", store)
    assert {failure.problem for failure in report.failures} == {
        "its key is not UTF-8",
        "its line in the .scp names no file: ''",
    }
    check_content(store, dict.fromkeys("abcdü", VECTOR))


def test_a_line_without_end(folder: Path, store: Path) -> None:
    (folder / "x.scp").write_bytes(b"a" * 3_000_000)
    assert len(run(folder / "x.scp", store).failures) == 1
    assert not store.exists()


# Parts --------------------------------------------------------------------------------------------


def large(folder: Path, n: int) -> dict[str, Any]:
    """Write two archives, and an .scp of more than one part that names both in any order."""
    lengths = RNG.integers(0, 5, n)
    arrays = {
        f"{i:06}-{'x' * (i % 40)}": RNG.random((k, 3), np.float32) for i, k in enumerate(lengths)
    }
    keys = list(arrays)
    written = b""
    for name, some in (("a", keys[::2]), ("b", keys[1::2])):
        entries = {key: binary(arrays[key]) for key in some if len(arrays[key])}
        written += scp(folder / f"{name}.ark", entries, folder / f"{name}.ark")
    shuffled = written.splitlines()
    random.Random(0).shuffle(shuffled)
    (folder / "x.scp").write_bytes(b"\n".join(shuffled))
    return {key: array for key, array in arrays.items() if len(array)}


def test_several_processes_read_one_list(folder: Path, store: Path) -> None:
    arrays = large(folder, 4000)
    report = run(folder / "x.scp", store, processes=2)
    assert report == Report(converted=len(arrays))
    check_content(store, arrays)


def test_every_line_is_in_one_part(folder: Path, store: Path, tmp_path: Path) -> None:
    arrays = large(folder, 3000)
    with ThreadPoolExecutor(2) as executor:
        report = convert.from_kaldi(
            folder / "x.scp", store, progress=False, executor=executor, dtype="f4", row_shape=3
        )
    assert report == Report(converted=len(arrays))
    check_content(store, arrays)


def test_what_is_large_is_cut_by_its_data(folder: Path, store: Path) -> None:
    """An .scp of few lines has parts, too, where those are of large files; cut anywhere."""
    with (folder / "big").open("wb") as file:
        file.write(binary(VECTOR))
        file.truncate(1 << 29)  # with holes: nothing is read of it
    n_path = len(f"{folder}/big")
    for n in range(n_path - 4, n_path + 5):  # parts end before, at and behind the ends of lines
        path = lines(folder, *([f"{folder}/big", "x" * n] * 4))
        report = convert.from_kaldi(path, store, progress=False, processes=1, name=f"{n}/{{key}}")
        assert (report.converted, len(report.failures)) == (4, 4)


# Integers -----------------------------------------------------------------------------------------


def test_vectors_of_integers_among_others(folder: Path, store: Path) -> None:
    """Those with an element that is none are found, and the others come in."""
    good = {f"g{i}": np.arange(i, dtype="i4") for i in range(5)}
    entries = {key: binary(array) for key, array in good.items()}
    pairs = b"\0B" + integer(2) + integer(1) + b"\10" + bytes(4)
    (folder / "x.scp").write_bytes(
        scp(
            folder / "x.ark", {**entries, "pairs": pairs, "last": binary(VECTOR)}, f"{folder}/x.ark"
        )
    )
    for suffix in (".scp", ".ark"):
        report = run(folder / f"x{suffix}", store)
        assert list(problems(report)) == ["pairs"]
        assert "no vector of integers" in problems(report)["pairs"]
    check_content(store, {**good, "last": VECTOR})


def test_lists_by_kaldi(folder: Path, store: Path) -> None:
    arrays = {f"u{i}": RNG.random((i, 3), np.float32) for i in range(1, 9)}
    by_kaldi(folder, "x", arrays)
    assert run(folder / "x.scp", store) == Report(converted=8)
    assert content(store).keys() == arrays.keys()
