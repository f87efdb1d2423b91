"""Files to import that are made up so that they would take memory, or take others with them."""

from __future__ import annotations

import io
import pickle
import pickletools
import tarfile
import zipfile
import zlib
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.convert.formats import joblib
from ptrarray.convert.formats.npy import read_all
from ptrarray.convert.unpickle import guarded
from ptrarray.convert.unpickle.guarded import Guarded
from ptrarray.convert.unpickle.repeated import check_repeats
from ptrarray.errors import BadInputError
from tests.support.memory import peak_nbytes

pytestmark = pytest.mark.usefixtures("limits")

VALUES: list[Any] = [
    [0.5] * 40 + [1, -2, 300, 70_000, -(2**40), 2**900, None, True],
    {str(at): {"a": at, "b": "x" * at, "c": bytes(at)} for at in range(300)},
    [np.arange(100), np.zeros(0), bytearray(b"r\xff\xff\xff\xff" * 60), b"p99999999\n", "p9\nr"],
    [("é" * 300, frozenset("ab"), 2j), {"k": (1, (2, (3,)))}],
]


def npy_of(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def archive_of(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, raw in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return path


# Numbers in pickles ------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("n_buffered", [1, 16, 1 << 16])
def test_what_is_sound_is_read_as_without_a_guard(protocol: int, n_buffered: int) -> None:
    """To its last byte, also in pieces, and with numbers that are looked at one by one."""
    for value in VALUES[: 4 if n_buffered > 1 else 1]:
        raw = pickle.dumps(value, protocol)
        # Not `raw`: a set that is made of another's elements may have them in another order.
        expected = pickle.dumps(pickle.loads(raw), protocol)
        file = io.BufferedReader(io.BytesIO(raw + raw + b"rest"), n_buffered)
        for _ in range(2):
            found: Any = pickle.Unpickler(Guarded(file)).load()
            assert pickle.dumps(found, protocol) == expected
        assert file.read() == b"rest"


@pytest.mark.parametrize("protocol", range(4))
def test_many_numbers_are_no_damage(protocol: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "_FEW", 2)
    value = [str(at) for at in range(1000)]
    raw = pickle.dumps(value, protocol)
    assert pickle.Unpickler(Guarded(io.BufferedReader(io.BytesIO(raw)))).load() == value


def numbered(put: bytes, before: Any) -> bytes:
    """Return a pickle that has an instruction behind a value and those around it."""
    return pickle.dumps(before, 2)[:-1] + b"0]" + put + b"."


@pytest.mark.parametrize("n_buffered", [1, 16, 1 << 16])
@pytest.mark.parametrize("before", [None, VALUES[0], VALUES[1], "p" * 300])
@pytest.mark.parametrize("put", [b"p2000000\n", b"r" + (2_000_000).to_bytes(4, "little")])
def test_a_number_that_is_too_high(put: bytes, before: Any, n_buffered: int) -> None:
    raw = numbered(put, before)
    file = io.BufferedReader(io.BytesIO(raw), n_buffered)
    with pytest.raises(BadInputError, match="it numbers value 2,000,000"):
        pickle.Unpickler(Guarded(file)).load()


@pytest.mark.parametrize("n_buffered", [1, 16, 1 << 16])
@pytest.mark.parametrize("before", [None, VALUES[1]])
@pytest.mark.parametrize("code", [pickle.BINBYTES, pickle.BINBYTES8, pickle.BYTEARRAY8])
def test_a_length_beyond_the_end(code: bytes, before: Any, n_buffered: int, tmp_path: Path) -> None:
    """For which the unpickler would take memory before it reads."""
    length = (1 << 31).to_bytes(4 if code == pickle.BINBYTES else 8, "little")
    raw = b"rest" + pickle.dumps(before)[:-1] + code + length + b"abc."
    path = tmp_path / "a.pkl"
    path.write_bytes(raw)
    with path.open("rb", n_buffered if n_buffered > 1 else 2) as plain:
        for file in (io.BufferedReader(io.BytesIO(raw), n_buffered), plain):
            file.read(4)
            with pytest.raises(
                BadInputError, match=r"it has 2,147,483,65\d bytes where \d+ are left"
            ):
                pickle.Unpickler(Guarded(file)).load()


def test_a_number_that_is_too_high_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "bad.pkl").write_bytes(numbered(b"r" + (2_000_000).to_bytes(4, "little"), None))
    (tmp_path / "good.pkl").write_bytes(pickle.dumps(np.arange(3)))
    report = convert.from_pickles(tmp_path, tmp_path / "s.ptr", processes=1, progress=False)
    assert report.converted == 1
    assert "it numbers value 2,000,000" in report.failures[0].problem
    assert list(ptrarray.open(tmp_path / "s.ptr")) == ["good"]


LENGTHS = {
    pickletools.UP_TO_NEWLINE: 0,
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}


def test_each_instruction_is_known() -> None:
    """One by one, each is passed over or measured: none ends the walk too early."""
    for opcode in pickletools.opcodes:
        code = opcode.code.encode("latin1")
        if code == pickle.STOP:
            continue
        n_bytes = 0 if opcode.arg is None else opcode.arg.n
        argument = bytes(LENGTHS.get(n_bytes, n_bytes))
        if n_bytes == pickletools.UP_TO_NEWLINE:
            argument = b"1\n" * (2 if opcode.name in ("GLOBAL", "INST") else 1)
        walked = Guarded(io.BufferedReader(io.BytesIO(code + argument + b"Np2000000\n.")))
        with pytest.raises(BadInputError, match="numbers value"):
            walked.read(100)


# Lengths -----------------------------------------------------------------------------------------


def test_lengths_that_are_lies_cost_no_memory(tmp_path: Path) -> None:
    header = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (1 << 28,)}
    np.lib.format.write_array_header_1_0(header, about)
    path = tmp_path / "x.joblib"
    path.write_bytes(b"\x80\x05" + pickle.BYTEARRAY8 + (1 << 28).to_bytes(8, "little") + b"abc.")

    def read_npy() -> None:
        with pytest.raises(BadInputError, match="cut off: 3 of 268,435,456 bytes"):
            read_all(io.BufferedReader(io.BytesIO(header.getvalue() + b"abc")))

    def read_joblib() -> None:
        with pytest.raises(BadInputError):
            joblib.read(str(path))

    assert peak_nbytes(read_npy) < 1 << 25
    assert peak_nbytes(read_joblib) < 1 << 25


def test_a_joblib_file_that_ends_in_a_length(tmp_path: Path) -> None:
    path = tmp_path / "x.joblib"
    path.write_bytes(b"\x80\x04\x95abc")
    with pytest.raises(BadInputError, match="no file of joblib, or a damaged one"):
        joblib.read(str(path))


def test_damaged_zlib(tmp_path: Path) -> None:
    raw = bytearray(zlib.compress(pickle.dumps(np.arange(1000))))
    raw[40:60] = bytes(20)
    path = tmp_path / "x.pkl"
    path.write_bytes(raw)
    report = convert.from_pickles(path, tmp_path / "s.ptr", progress=False)
    assert "its compressed data is damaged" in report.failures[0].problem


# One member that is wrong, among others ------------------------------------------------------------


def zip_without_name() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("no-name", npy_of(np.arange(2)))
        archive.writestr("x.npy", npy_of(np.arange(3)))
    return file.getvalue().replace(b"no-name", b"\0o-name")  # which ends there for zipfile


BAD_HEADER = b"\x93NUMPY\x01\x00\x08\x00{'a': (\n "


@pytest.mark.parametrize("bad", [{"b.npy": BAD_HEADER}, {"b.npz": zip_without_name()}])
def test_a_member_that_is_wrong_takes_no_others_with_it(
    bad: dict[str, bytes], tmp_path: Path
) -> None:
    good = npy_of(np.arange(3))
    path = archive_of(tmp_path / "x.tar", {"a.npy": good, **bad, "c.npy": good})
    report = convert.from_webdataset(path, tmp_path / "s.ptr", progress=False)
    assert {"a", "c"} <= set(ptrarray.open(tmp_path / "s.ptr"))
    assert len(report.failures) == 1


def test_a_header_that_is_no_expression_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(BAD_HEADER)
    report = convert.from_npy(tmp_path / "x.npy", tmp_path / "s.ptr", progress=False)
    assert "it has a header that is none of .npy" in report.failures[0].problem


def test_a_shape_below_zero(tmp_path: Path) -> None:
    raw = npy_of(np.arange(3)).replace(b"(3,), ", b"(-3,),")
    (tmp_path / "x.npy").write_bytes(raw)
    report = convert.from_npy(tmp_path / "x.npy", tmp_path / "s.ptr", progress=False)
    assert "shape (-3,)" in report.failures[0].problem


def test_an_encrypted_member(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=np.arange(2))
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    report = convert.from_npz(path, tmp_path / "s.ptr", progress=False)
    assert "it is encrypted" in report.failures[0].problem


SIZES = {"minus one": b"\xff" * 12, "2**87": b"\x80" + b"\x7f" * 11}  # as GNU tar has large numbers


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("size", SIZES)
def test_a_member_of_a_size_that_cannot_be(size: str, kind: bytes, tmp_path: Path) -> None:
    """What can be read behind it is imported."""
    good = npy_of(np.arange(3))
    path = archive_of(tmp_path / "x.tar", {"a.npy": good, "b.npy": good, "c.npy": good})
    raw = bytearray(path.read_bytes())
    at = raw.index(b"b.npy")
    raw[at + 124 : at + 136], raw[at + 156 : at + 157] = SIZES[size], kind
    raw[at + 148 : at + 156] = b" " * 8
    raw[at + 148 : at + 156] = b"%06o\0 " % sum(raw[at : at + 512])
    path.write_bytes(raw)
    report = convert.from_webdataset(path, tmp_path / "s.ptr", progress=False)
    assert set(ptrarray.open(tmp_path / "s.ptr")) == {"a", "c"}
    assert "damaged at byte" in report.failures[0].problem


# Values that are in others again and again --------------------------------------------------------


@pytest.mark.parametrize("kind", [list, tuple, deque, lambda pair: {"a": pair[0], "b": pair[1]}])
def test_values_that_would_never_end(kind: Any, tmp_path: Path) -> None:
    value = kind([np.arange(2), 1.5])
    for _ in range(60):
        value = kind([value, value])
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(value))
    (tmp_path / "good.pkl").write_bytes(pickle.dumps(np.arange(3)))
    report = convert.from_pickles(tmp_path, tmp_path / "s.ptr", processes=1, progress=False)
    assert report.converted == 1
    assert "again and again" in report.failures[0].problem


def test_one_value_under_many_names_is_no_harm() -> None:
    shared = {"window": [1.5, 2.5], "taps": (3, 4)}
    check_repeats({str(at): {"about": shared, "x": [[0.5]]} for at in range(2_000)})
    check_repeats([[0, 1]] * 110_000)
    check_repeats(3)
    array = np.empty(2, object)
    array[:] = [shared, [array.copy()]]
    check_repeats(array)
