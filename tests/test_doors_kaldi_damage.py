"""Damaged and forged archives of kaldi: errors of their entries, in bounded memory, and nothing else."""

from __future__ import annotations

import io
import multiprocessing
import os
import struct
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray import BadInputError, convert
from ptrarray.convert import Report
from ptrarray.convert.formats.kaldi import from_kaldi
from ptrarray.convert.formats.kaldi_ark import Ark, end_of_compressed

pytest.importorskip("kaldi_native_io")
from tests.support.kaldi import METHODS, ark, binary, compressed, integer, scp

pytestmark = pytest.mark.usefixtures("limits")

RNG = np.random.default_rng(2)
ARRAYS: dict[str, Any] = {
    "m": RNG.random((2, 3), np.float32),
    "d": RNG.random((1, 2)),
    "v": RNG.random(3, np.float32),
    "i": np.array([1, -2, 3], np.int32),
    "w": RNG.random(2),
}
TEXT = b"t [ 1 2 3 ]\nx [\n 1 2\n 3 4 ]\nn 7 8 9\n"


@pytest.fixture(autouse=True)
def _quick(no_syncs: None) -> None:
    """Thousands of stores are made here, none of which outlives its test."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An archive of all that is read, compressed matrices and text among it."""
    folder = tmp_path_factory.mktemp("small")
    data = ark(**{key: binary(array) for key, array in ARRAYS.items()})
    for method in METHODS[:3]:
        compressed(folder, "c", {method: RNG.random((3, 2), np.float32)}, method)
        data += (folder / "c.ark").read_bytes()
    return data + TEXT


def imported(path: Path, store: Path) -> tuple[Report, dict[str, Any]]:
    report = from_kaldi(path, store, progress=False, processes=1)
    if not store.exists():
        return report, {}
    with ptrarray.open(store) as opened:
        return report, {name: array.copy() for name, array in opened.items()}


def same(found: dict[str, Any], whole: dict[str, Any]) -> bool:
    """Tell whether each array is the whole one of its name."""
    return all(
        key in whole and array.dtype == whole[key].dtype and array.tobytes() == whole[key].tobytes()
        for key, array in found.items()
    )


def test_cut_off_at_every_byte(small: bytes, memory: Path) -> None:
    """What is whole comes in, in its order; then there is one failure, or the end of an entry."""
    path = memory / "x.ark"
    path.write_bytes(small)
    report, whole = imported(path, memory / "whole.ptr")
    assert report == Report(converted=len(ARRAYS) + 3 + 3)
    n_before, n_clean = 0, 0
    for n in range(1, len(small)):
        path.write_bytes(small[:n])
        report, found = imported(path, memory / f"{n}.ptr")
        assert same(found, whole)
        assert n_before <= len(found) <= n_before + 1, n
        assert len(report.failures) <= 1
        n_before = len(found)
        n_clean += report.ok
    # Behind each entry that is not the last; and before the end of lines that a bracket has ended.
    assert n_clean == len(whole) - 1 + 2


def test_cut_off_behind_a_list(small: bytes, memory: Path) -> None:
    """By an .scp each entry is whole or a failure."""
    entries = {key: binary(array) for key, array in ARRAYS.items()}
    lines = scp(memory / "x.ark", entries, memory / "x.ark")
    (memory / "x.scp").write_bytes(lines)
    data = (memory / "x.ark").read_bytes()
    for n in range(1, len(data), 3):
        (memory / "x.ark").write_bytes(data[:n])
        report, found = imported(memory / "x.scp", memory / f"{n}.ptr")
        assert len(found) + len(report.failures) == len(ARRAYS)
        assert same(found, ARRAYS)


@given(st.data())
def test_bytes_that_are_others(
    small: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever they are, there is a report, and what it has not refused is an array."""
    folder = tmp_path_factory.mktemp("other")
    changed = bytearray(small)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(small) - 1))
        changed[at] = data.draw(st.integers(0, 255))
    (folder / "x.ark").write_bytes(changed)
    report, found = imported(folder / "x.ark", folder / "s.ptr")
    assert report.converted == len(found)
    assert report.failures or len(found) >= len(ARRAYS) - 1


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_anything(tmp_path_factory: pytest.TempPathFactory, entries: bytes, lines: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "x.ark").write_bytes(b"a " + entries)
    imported(folder / "x.ark", folder / "s.ptr")
    (folder / "x.scp").write_bytes(f"a {folder}/x.ark:2\n".encode() + lines)
    imported(folder / "x.scp", folder / "t.ptr")


LARGE = (1 << 31) - 1
FORGED = {
    "rows": b"\0BFM " + integer(LARGE) + integer(3),
    "columns": b"\0BDM " + integer(3) + integer(LARGE),
    "both": b"\0BDM " + integer(LARGE) + integer(LARGE),
    "negative rows": b"\0BFM " + integer(-3) + integer(3),
    "negative both": b"\0BFM " + integer(-1) + integer(-1),
    # kaldiio 2.18.1 reads the rest of the file for it, silently (`read_matrix_or_vector`).
    "negative length": b"\0BFV " + integer(-1),
    "length": b"\0BDV " + integer(LARGE),
    "no rows of many": b"\0BFM " + integer(0) + integer(LARGE),
    "many rows of none": b"\0BFM " + integer(LARGE) + integer(0),
    "sizes of numbers": b"\0BFM \10" + integer(1)[1:] + integer(1),
    "integers": b"\0B" + integer(LARGE),  # kaldiio 2.18.1 asks for 8 GB
    "negative integers": b"\0B" + integer(-7),
    "very negative integers": b"\0B" + integer(-LARGE),
    "very negative length": b"\0BDV " + integer(-LARGE),
    "compressed": b"\0BCM " + struct.pack("<ffii", 0, 1, LARGE, 3),
    "compressed 2": b"\0BCM2 " + struct.pack("<ffii", 0, 1, LARGE, LARGE),
    "compressed 3": b"\0BCM3 " + struct.pack("<ffii", 0, 1, -5, -5),
    "compressed none": b"\0BCM " + struct.pack("<ffii", 0, 1, 0, LARGE),
    # kaldi_native_io 1.23.0 quotes such a tag, and raises UnicodeDecodeError.
    "compressed as something": b"\0BCM2\xb3" + struct.pack("<ffii", 0, 1, 1, 1) + bytes(2),
    "blob": b"NPY\10" + b"\xff" * 8,
    "blob of no length": b"NPY\0",
    "blob of a long length": b"AUDIO\xff" + b"\xff" * 40,
    "wav": b"RIFF\xfe\xff\xff\xffWAVE",
}


@pytest.mark.parametrize("name", FORGED)
def test_forged(folder: Path, tmp_path: Path, name: str) -> None:
    """A number too large is an error before memory is taken for it."""
    data = ark(good=binary(ARRAYS["m"]), forged=FORGED[name] + b"x" * 60)
    (folder / "x.ark").write_bytes(data)
    at = len(data) - 60 - len(FORGED[name])
    (folder / "x.scp").write_text(f"good {folder}/x.ark:5\nforged {folder}/x.ark:{at}\n")
    for suffix in (".ark", ".scp"):
        tracemalloc.start()
        report, found = imported(folder / f"x{suffix}", tmp_path / f"{suffix}.ptr")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.keys() == {"good"}
        is_sound = suffix == ".scp" and name in ("wav", "blob of a long length")
        assert bool(report.failures) == (not is_sound)
        assert peak < 1 << 25


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<f8', 'fortran_order'",
    ],
)
def test_npy_with_a_forged_header(folder: Path, tmp_path: Path, header: str) -> None:
    written = header.encode().ljust(117) + b"\n"
    blob = b"\x93NUMPY\1\0" + struct.pack("<H", len(written)) + written + bytes(8)
    entry = b"NPY\2" + struct.pack("<H", len(blob)) + blob
    (folder / "x.ark").write_bytes(ark(a=entry, b=binary(ARRAYS["v"])))
    report = convert.from_kaldi(folder, tmp_path / "s.ptr", progress=False)
    assert report.converted == 1
    assert ["no array of numpy" in failure.problem for failure in report.failures] == [True]


def test_a_matrix_that_is_changed_by_nobody(folder: Path, tmp_path: Path) -> None:
    """A byte of a header's tag makes it something else, and never another array."""
    whole = binary(ARRAYS["m"])
    for at in range(15):
        for value in (0, 1, 4, 66, 70, 86, 255):
            if whole[at] == value:
                continue
            (folder / "m").write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            (folder / "x.scp").write_text(f"m {folder}/m\n")
            store = tmp_path / f"{at}-{value}.ptr"
            _, found = imported(folder / "x.scp", store)
            if found:  # fewer rows or columns, a matrix read as a vector: kaldi has no checksums
                assert at in (3, 6, 11)


def test_compressed_beyond_what_kaldi_counts() -> None:
    """kaldi_native_io 1.23.0 counts the bytes of a compressed matrix in an int (`DataSize`), unchecked."""
    flat = np.broadcast_to(np.uint8(0), 1 << 40)
    for tag, n, m in (
        (b"CM", LARGE, 1),
        (b"CM", LARGE - 23, 1),
        (b"CM2", 1 << 30, 1),
        (b"CM3", 1 << 20, 1 << 19),
    ):
        header: Any = b"\0B" + tag + b" " + struct.pack("<ffii", 0, 1, n, m)
        with pytest.raises(BadInputError, match="more than the 2 GiB"):
            end_of_compressed(Ark("x", header, flat), 0)
    header = b"\0BCM3 " + struct.pack("<ffii", 0, 1, LARGE - 16, 1)
    assert end_of_compressed(Ark("x", header, flat), 0) == LARGE + len(b"\0BCM3 ")


def test_an_archive_where_an_array_of_numpy_should_be(folder: Path, tmp_path: Path) -> None:
    """numpy would unpack it, and a small one can be a large one."""
    blob = io.BytesIO()
    np.savez_compressed(blob, a=np.zeros(1 << 20))
    size = struct.pack("<H", len(blob.getvalue()))
    (folder / "x.ark").write_bytes(ark(a=b"NPY\2" + size + blob.getvalue(), b=binary(ARRAYS["v"])))
    report, found = imported(folder / "x.ark", tmp_path / "s.ptr")
    assert found.keys() == {"b"}
    assert "is no array of numpy" in report.failures[0].problem


def test_a_text_that_goes_on_for_long_is_not_looked_through(folder: Path, tmp_path: Path) -> None:
    (folder / "x.ark").write_bytes(b"k " + b"[" * (1 << 23) + b"]\n")
    (folder / "x.scp").write_text(f"k {folder}/x.ark:9\n")
    tracemalloc.start()
    report, _ = imported(folder / "x.scp", tmp_path / "s.ptr")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "neither a header nor numbers" in report.failures[0].problem
    assert peak < 1 << 22


@pytest.mark.parametrize("name", ["x.ark", "x.scp"])
def test_a_pipe_is_no_file(folder: Path, tmp_path: Path, name: str) -> None:
    """Nobody may ever write into it."""
    os.mkfifo(folder / name)
    report, _ = imported(folder / name, tmp_path / "s.ptr")
    assert "is not there, or no file" in report.failures[0].problem


def test_a_path_that_is_not_utf_8(folder: Path, tmp_path: Path) -> None:
    arrays = {f"u{i}": RNG.random((3, 2), np.float32) for i in range(6)}
    compressed(folder, "c", arrays, METHODS[0])
    _, expected = imported(folder / "c.ark", tmp_path / "s.ptr")
    other = os.fsencode(folder) + b"/\xe9.ark"
    (folder / "c.ark").rename(os.fsdecode(other))
    lines = (folder / "c.scp").read_bytes().replace(os.fsencode(folder / "c.ark"), other)
    (folder / "c.scp").write_bytes(lines)
    for path in (os.fsdecode(other), folder / "c.scp"):
        report, found = imported(Path(path), tmp_path / f"{len(os.fspath(path))}.ptr")
        assert (report.failures, len(found)) == ([], 6)
        assert same(found, expected)


@pytest.mark.parametrize("given", ["[0:1]", "[0:1,0:0]", "[:,0:0]"])
def test_a_range_of_integers(folder: Path, tmp_path: Path, given: str) -> None:
    (folder / "x.ark").write_bytes(ark(i=binary(ARRAYS["i"])))
    (folder / "x.scp").write_text(f"i {folder}/x.ark:2{given}\n")
    report, _ = imported(folder / "x.scp", tmp_path / "s.ptr")
    assert "a range, which kaldi knows of floats only" in report.failures[0].problem


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), RuntimeError()])
def test_without_room_for_a_list_they_are_read_one_by_one(
    folder: Path, tmp_path: Path, problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressed(folder, "c", {f"u{i}": RNG.random((3, 2), np.float32) for i in range(6)}, METHODS[0])

    def fails(**_: Any) -> None:
        raise problem

    monkeypatch.setattr("ptrarray.convert.formats.kaldi_others.NamedTemporaryFile", fails)
    report, found = imported(folder / "c.ark", tmp_path / "s.ptr")
    assert (report.failures, len(found)) == ([], 6)


def test_a_disk_that_is_full(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a worker process, which answers with what failed and nothing else."""

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ptrarray.convert.sink.Sink.write", fails)
    for name in "xy":
        (folder / f"{name}.ark").write_bytes(ark(a=binary(ARRAYS["v"])))
    fork = multiprocessing.get_context("fork")
    with (
        ProcessPoolExecutor(2, fork) as executor,
        pytest.raises(ptrarray.TaskError, match="No space left on device"),
    ):
        from_kaldi(folder, tmp_path / "s.ptr", progress=False, executor=executor)
