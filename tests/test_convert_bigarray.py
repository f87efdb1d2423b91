"""Files of bigarray into stores: what they held, and what hostile ones are refused for."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, CorruptStoreError, StoreExistsError
from ptrarray.bigarray import MmapArray, PointerArray
from ptrarray.convert.bigarray.convert import from_bigarray
from ptrarray.convert.report import Failure
from tests.support.bigarray_files import BY_BIGARRAY, FOLDER, UNNAMED, file_of
from tests.support.checks import check_exactly

NO_INDEX = "it has no index: its rows are one array, 'rows/0000000000000000'"
GOOD: dict[str, dict[str, Any]] = {
    "named": {
        "a": np.array([[0, 1], [2, 3]], "f4"),
        "größe": np.array([[4, 5]], "f4"),
        "none": np.empty((0, 2), "f4"),
        "last": np.array([[6, 7], [8, 9], [10, 11]], "f4"),
    },
    "planned": {
        "0/1": np.array([0]),
        "0/2": np.array([0, 1]),
        "5/1": np.array([5]),
        "5/2": np.array([5, 6]),
        "more0": np.array([0]),
        "more1": np.array([1, 1]),
        "more2": np.array([2, 2, 2]),
    },
    "flat": {
        UNNAMED: np.vstack([np.zeros(3), np.arange(9).reshape(3, 3), np.zeros(3)]).astype(">f8")
    },
    "troubled": {"good": np.full(2, 1, "i2"), "beside": np.full(2, 6, "i2")},
}
BAD = {
    "bad-call": "calls for 'posix.mkdir', which is not run",
    "bad-call-in-key": "calls for 'posix.mkdir', which is not run",
    "bad-call-protocol-2": "calls for 'posix.mkdir', which is not run",
    "bad-numpy-name": "calls for 'numpy._core.multiarray.scalar', which is not run",
    "bad-list": "holds the instruction 0x5d at byte 11",
    "bad-memo": "makes no sense at byte 16",
    "bad-end": "makes no sense at byte 24",
    "bad-tail": "ends at byte 25 of 28",
    "bad-tuples": "a tuple of more than plain values",
    "bad-integer": "an integer of 255 bytes",
    "bad-index-cut": "is damaged: its index should have",
    "bad-rows-cut": "is cut short: its rows end at byte 552 of 520",
    "bad-empty": "0 bytes, fewer than the 502 of a header",
    "bad-magic": "begins with b'MMAPDATA'",
    "bad-header-huge": "a header of b'99999999' bytes",
    "bad-header-negative": "a header of b'      -1' bytes",
    "bad-header-nested": "a header with ')' for a dtype",
    "bad-header-pickle": "a header that is no pair",
    "bad-shape-huge": "4611686018427387904 rows, more than a file can hold",
    "bad-shape-negative": "the shape (-3,)",
    "bad-shape-none": "the shape ()",
    "bad-rows-of-nothing": "1180591620717411303424 rows, more than a file can hold",
    "bad-dtype-objects": "holds Python objects",
    "bad-dtype-several": "no dtype for a store: 'i4,(2,)f4'",
    "bad-dtype-unknown": "no dtype for a store: dtype 'str160' is not one numpy knows",
}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return tmp_path / "old"


# stored files -------------------------------------------------------------------------------------


def test_every_stored_file_is_read_here() -> None:
    assert {file.name for file in FOLDER.iterdir()} == {"README.md", *GOOD, *BAD}


@pytest.mark.parametrize("name", GOOD)
def test_golden(name: str, path: Path) -> None:
    before = (FOLDER / name).read_bytes()
    report = from_bigarray(FOLDER / name, path)
    assert report.converted == len(GOOD[name])
    assert report.ok == (name != "troubled")
    assert report.notes == [NO_INDEX] * (name == "flat")
    check_exactly(path, GOOD[name])
    assert list(ptrarray.open(path)) == list(GOOD[name])
    assert (FOLDER / name).read_bytes() == before


@pytest.mark.parametrize("name", BAD)
def test_golden_bad(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorruptStoreError) as caught:
        from_bigarray(FOLDER / name, "new.ptr")
    assert BAD[name] in str(caught.value)
    assert caught.value.path == str(FOLDER / name)
    assert list(tmp_path.iterdir()) == [], "nothing was made or run"


def test_files_that_bigarray_writes_today(tmp_path: Path) -> None:
    pytest.importorskip("bigarray")
    program = (
        "import sys, bigarray; from tests.support.bigarray_files import BY_BIGARRAY\n"
        "for name, write in BY_BIGARRAY.items(): write(bigarray, f'{sys.argv[1]}/{name}')"
    )
    root = FOLDER.parent.parent
    subprocess.run([sys.executable, "-c", program, tmp_path], cwd=root, check=True)
    for name in BY_BIGARRAY:
        from_bigarray(tmp_path / name, tmp_path / f"{name}.ptr")
        check_exactly(tmp_path / f"{name}.ptr", GOOD[name])


# what becomes of rows and names -------------------------------------------------------------------


def test_keys_and_rows_that_a_store_refuses_are_told(path: Path) -> None:
    report = from_bigarray(FOLDER / "troubled", path)
    overlap = "its rows {} overlap rows {} of {!r}: one was written over the other"
    assert dict(report.failures) == {
        "(int) 5": "a name must be a str, not int: 5",
        "(bytes) b'raw'": "a name must be a str, not bytes: b'raw'",
        "(tuple) (1, 'x')": "a name must be a str, not tuple: (1, 'x')",
        "\ud800": r"name '\ud800' cannot be encoded as UTF-8: surrogates not allowed",
        "under": overlap.format("8 to 12", "10 to 14", "over"),
        "over": overlap.format("10 to 14", "8 to 12", "under"),
    }
    with ptrarray.append(path) as writer:
        writer.point("by hand", 8, 10)
        assert writer["by hand"].tolist() == [4, 4], "rows of names that failed are there"
        assert writer.write({"next": [1]}) == (20, 21), "and are not written over"


@pytest.mark.parametrize(
    "pointer", [(0, 4), (-1, 2), (2, 1), (0, 2**70), (-(2**70), 1), (0.0, 1.0), (True, 2)]
)
def test_a_pointer_out_of_the_rows(pointer: Any, old: Path, path: Path) -> None:
    old.write_bytes(file_of(index={"a": pointer, "b": (1, 3)}))
    report = from_bigarray(old, path)
    problem = f"its pointer is not a pair of rows from 0 to 3 but {pointer!r}"
    assert (report.converted, report.failures) == (1, [Failure("a", problem)])
    check_exactly(path, {"b": np.zeros(2, int)})


@pytest.mark.parametrize("pointer", [(0,), (0, 1, 2), (), 3, None, "ab", {"a": (0, 1)}])
def test_what_is_no_pointer(pointer: Any, old: Path, path: Path) -> None:
    old.write_bytes(file_of(index={"a": pointer}))
    assert [failure.source for failure in from_bigarray(old, path).failures] == ["a"]
    check_exactly(path, {})


def test_a_name_that_is_there_twice(old: Path, path: Path) -> None:
    twice = pickle.dumps({"a": (0, 1), "b": (1, 2)}, 2).replace(b"\x01\0\0\0b", b"\x01\0\0\0a")
    old.write_bytes(file_of(raw=twice))
    assert from_bigarray(old, path).converted == 1
    assert ptrarray.open(path).pointers["a"] == (1, 2), "the last word counts, as in the pickle"
    twice = pickle.dumps({"a": (0, 1), "b": (1, 9)}, 2).replace(b"\x01\0\0\0b", b"\x01\0\0\0a")
    old.write_bytes(file_of(raw=twice))
    report = from_bigarray(old, path, mode="w")
    assert [failure.source for failure in report.failures] == ["a"]
    check_exactly(path, {})


def test_a_long_name(old: Path, path: Path) -> None:
    old.write_bytes(file_of(index={"x" * 70_000: (0, 1), "é" * 30_000: (1, 2)}))
    report = from_bigarray(old, path)
    assert list(ptrarray.open(path)) == ["é" * 30_000]
    assert "has 70000 bytes in UTF-8" in report.failures[0].problem


def test_rows_without_bytes(old: Path, path: Path) -> None:
    old.write_bytes(file_of("f4", (7, 0), {"a": (0, 7)}))
    from_bigarray(old, path)
    assert ptrarray.open(path)["a"].shape == (7, 0)


@pytest.mark.parametrize("index", [{}, {"none": (0, 0)}])
def test_no_rows(index: Any, old: Path, path: Path) -> None:
    old.write_bytes(file_of("f4", (0, 2), index))
    from_bigarray(old, path)
    check_exactly(path, {name: np.empty((0, 2), "f4") for name in index})


@pytest.mark.parametrize("dtype", ["|b1", "<U5", "|S3", "<M8[ns]", ">i2", "<c16", "|V7", "float16"])
def test_dtypes(dtype: str, old: Path, path: Path) -> None:
    old.write_bytes(file_of(dtype, (3, 2), {"a": (1, 3)}))
    from_bigarray(old, path)
    check_exactly(path, {"a": np.zeros((2, 2), dtype)})


def test_the_classes_of_bigarray_read_it(path: Path) -> None:
    from_bigarray(FOLDER / "planned", path)
    x = PointerArray(path)
    assert x.indices == {name: tuple(x.indices[name]) for name in GOOD["planned"]}
    assert (x.shape, int(np.sum(x))) == ((14,), 25)
    assert MmapArray(path).tolist() == x.tolist()


# where it goes ------------------------------------------------------------------------------------


def test_a_store_that_is_there(path: Path) -> None:
    with ptrarray.create(path, dtype="i4") as writer:
        writer["kept"] = [1, 2]
    reader = ptrarray.open(path)
    with pytest.raises(StoreExistsError):
        from_bigarray(FOLDER / "named", path)
    check_exactly(path, {"kept": np.array([1, 2], "i4")})
    from_bigarray(FOLDER / "named", path, mode="w")
    check_exactly(path, GOOD["named"])
    assert reader["kept"].tolist() == [1, 2], "who has it open keeps what it was"
    assert {file.name for file in path.iterdir()} >= {"index.msgpack", "journal.msgpack"}
    assert len(list(path.iterdir())) == 3


@pytest.mark.parametrize("mode", ["x", "w"])
def test_anything_else_at_the_path(mode: str, old: Path, path: Path) -> None:
    old.write_bytes((FOLDER / "named").read_bytes())
    with pytest.raises(StoreExistsError):
        from_bigarray(old, old, mode=mode)
    path.mkdir()
    with pytest.raises(StoreExistsError):
        from_bigarray(old, path, mode=mode)
    path.rmdir()
    ptrarray.create(path, dtype="i4", shard_size=1000).close()
    with pytest.raises(StoreExistsError):
        from_bigarray(old, path, mode=mode)
    check_exactly(path, {})
    assert old.read_bytes() == (FOLDER / "named").read_bytes()


@pytest.mark.parametrize("mode", ["a", "r", None])
def test_refuses_other_modes(mode: Any, path: Path) -> None:
    with pytest.raises(BadInputError, match="is not one of 'x', 'w'"):
        from_bigarray(FOLDER / "named", path, mode=mode)
    assert not path.exists()


def test_no_file(old: Path, path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        from_bigarray(old, path)
    with pytest.raises(CorruptStoreError, match="not a regular file"):
        from_bigarray(old.parent, path)
    assert not path.exists()


def test_progress(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from_bigarray(FOLDER / "named", path, progress=True)
    assert "48.0/48.0" in capsys.readouterr().err
