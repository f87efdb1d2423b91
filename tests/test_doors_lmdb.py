"""Databases of LMDB, written by the library itself, and damaged."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray.convert import from_lmdb
from ptrarray.convert.formats.lmdb_pages import Pages, pages_of
from ptrarray.errors import BadInputError
from tests.support.command_line import Run

pytestmark = pytest.mark.usefixtures("limits")

lmdb = pytest.importorskip("lmdb")


def make(
    path: Path, pairs: Mapping[bytes, Any], database: bytes | None = None, **flags: Any
) -> Path:
    """Make an environment, or add to one; a path with a suffix is a file."""
    is_folder = not path.suffix
    with lmdb.open(str(path), subdir=is_folder, map_size=1 << 26, max_dbs=8) as environment:
        handle = environment.open_db(database, **flags) if database or flags else None
        with environment.begin(write=True, db=handle) as transaction:
            for key, value in pairs.items():
                for one in value if isinstance(value, list) else [value]:
                    transaction.put(key, one if isinstance(one, bytes) else one.tobytes())
    (path / "lock.mdb" if is_folder else Path(f"{path}-lock")).unlink()
    return path


def come(path: Any, store: Path, values: Any = "<f4", **options: Any) -> Any:
    return from_lmdb(path, store, values=values, progress=False, verify=True, **options)


def read(store: Path) -> dict[str, Any]:
    with ptrarray.open(store) as opened:
        return {name: np.array(array) for name, array in opened.items()}


def problems(report: Any) -> dict[str, str]:
    return {source.rpartition(":")[2]: problem for source, problem in report.failures}


@pytest.mark.parametrize("name", ["made", "made.lmdb"])
def test_values_come_bit_for_bit(tmp_path: Path, name: str) -> None:
    pairs = {
        b"empty": np.zeros(0, "f4"),
        b"odd key": np.arange(3, dtype="f4"),  # values are not aligned behind a key of odd length
        "ü".encode(): np.array([np.nan, -0.0], "f4"),
        b"k\0null": np.arange(2, dtype="f4"),
        b"large": np.arange(2_000_000, dtype="f4"),
        b"k" * 511: np.arange(1, dtype="f4"),
    }
    environment = make(tmp_path / name, pairs)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    report = come(environment, tmp_path / "s.ptr")
    assert (report.converted, report.failures) == (len(pairs), [])
    found = read(tmp_path / "s.ptr")
    assert {k.decode(): v.tobytes() for k, v in pairs.items()} == {
        k: v.tobytes() for k, v in found.items()
    }
    shutil.rmtree(tmp_path / "s.ptr")
    assert sorted(path.name for path in tmp_path.rglob("*")) == before  # no lock file is made


def test_values_of_rows_and_other_dtypes(tmp_path: Path) -> None:
    environment = make(
        tmp_path / "made", {b"a": np.arange(6, dtype=">i2"), b"b": np.zeros(0, ">i2")}
    )
    assert come(environment, tmp_path / "s.ptr", ">i2", values_shape=(3,)).ok
    found = read(tmp_path / "s.ptr")
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (found["a"].dtype, found["b"].shape) == (np.dtype(">i2"), (0, 3))
    options = {"values_shape": 3, "dtype": "f8", "row_shape": 3}
    assert come(environment, tmp_path / "rows.ptr", ">i2", **options).ok
    assert read(tmp_path / "rows.ptr")["a"].dtype == np.dtype("f8")
    assert come(environment, tmp_path / "b.ptr", "bfloat16").ok
    assert str(read(tmp_path / "b.ptr")["a"].dtype) == "bfloat16"


@pytest.mark.parametrize(
    ("values", "shape"), [("O", ()), ("f4", (0,)), ("V0", ()), ("nothing", ())]
)
def test_values_that_no_store_has(tmp_path: Path, values: Any, shape: Any) -> None:
    with pytest.raises(BadInputError):
        come(tmp_path / "made", tmp_path / "s.ptr", values, values_shape=shape)


def test_what_is_no_array(tmp_path: Path) -> None:
    pairs: dict[bytes, Any] = {
        b"a": np.arange(4, dtype="f4"),
        b"b\xff": b"1234",
        b"c": b"12345",
        b"d": pickle.dumps(list(range(100)), 4)[:-1] + b"N0.",  # no multiple
        b"e": b"\x93NUMPY\1\0",
        b"f": pickle.dumps([1, 2, 3], 2),
        b"__len__": b"abcd",
    }
    n_more = -len(pickle.dumps(b"x" * 99, 4)) % 4
    pairs[b"g"] = pickle.dumps(b"x" * (99 + n_more), 4)
    environment = make(tmp_path / "made", pairs)
    report = come(environment, tmp_path / "s.ptr", skip=["__len__"])
    assert report.converted == 1
    found = problems(report)
    assert sorted(found) == ["0x62ff", "c", "d", "e", "f", "g"]
    assert "no UTF-8" in found["0x62ff"]
    assert "5 bytes" in found["c"]
    assert ".npy" in found["e"]
    assert "pickle" in found["f"]
    assert "pickle" in found["g"]
    assert "keys are skipped, as was said" in report.notes[0]
    assert come(environment, tmp_path / "bytes.ptr", "u1").converted == 7  # bytes of anything


def test_numbers_that_begin_like_files(tmp_path: Path) -> None:
    pairs = {b"%d" % i: b"\x80\4\x95" + bytes([i]) * 12 + b"." for i in range(100)}
    pairs[b"n"] = b"\x93NUM" * 4
    report = come(make(tmp_path / "made", pairs), tmp_path / "s.ptr")
    assert (report.converted, report.failures) == (101, [])


def test_named_databases(tmp_path: Path) -> None:
    environment = make(tmp_path / "made", {b"main": np.arange(12, dtype="f4")})  # 48 bytes, too
    make(environment, {b"x": np.arange(3, dtype="f4")}, b"train")
    make(environment, {}, b"none")
    make(environment, {b"y": np.arange(30_000, dtype="f4")}, b"large")
    report = come(environment, tmp_path / "s.ptr")
    # To a cursor of the main database, they are values of 48 bytes (liblmdb 0.9.36).
    assert list(read(tmp_path / "s.ptr")) == ["main"]
    assert "3 databases of their own are in it" in report.notes[0]
    assert come(environment, tmp_path / "t.ptr", database="train").converted == 1
    assert come(environment, tmp_path / "n.ptr", database="none").converted == 0
    assert come(environment, tmp_path / "l.ptr", database="large").converted == 1
    assert read(tmp_path / "l.ptr")["y"].tolist() == list(range(30_000))
    for other in ("main", "gone"):
        report = come(environment, tmp_path / "t.ptr", database=other)
        assert "there are large, none, train" in report.failures[0].problem


def test_several_values_a_key(tmp_path: Path) -> None:
    environment = make(tmp_path / "made", {b"k": [b"two2", b"one1"]}, b"ds", dupsort=True)
    report = come(environment, tmp_path / "s.ptr", database="ds")
    assert (report.converted, len(report.failures)) == (0, 1)
    assert "dupsort" in report.failures[0].problem


def test_keys_that_are_integers(tmp_path: Path) -> None:
    # A database of such takes keys of 4, 8 and even 3 bytes at once (liblmdb 0.9.36).
    values = {struct.pack("@I", 256): b"1234", struct.pack("@Q", 7): b"5678", b"abc": b"abcd"}
    environment = make(tmp_path / "made", values, b"ik", integerkey=True)
    report = come(environment, tmp_path / "s.ptr", "S4", database="ik")
    assert {k: v.tolist() for k, v in read(tmp_path / "s.ptr").items()} == {
        "256": [b"1234"],
        "7": [b"5678"],
    }
    assert [*problems(report)] == ["abc"]


def test_many_of_all_sizes_and_again(tmp_path: Path) -> None:
    pairs = {b"%05d" % i: np.full(i % 700, i, "f4") for i in range(5_000)}
    environment = make(tmp_path / "made", pairs)
    assert come(environment, tmp_path / "s.ptr").converted == 5_000
    again = come(environment, tmp_path / "s.ptr")
    assert (again.converted, again.skipped, again.failures) == (0, 5_000, [])
    found = read(tmp_path / "s.ptr")
    assert all(found[key.decode()].tobytes() == value.tobytes() for key, value in pairs.items())


def test_folders_and_files_below_a_folder(tmp_path: Path) -> None:
    for name in ("train", "test.lmdb", "deep"):
        place = tmp_path / "in" / ("a" if name == "deep" else "") / name
        place.parent.mkdir(parents=True, exist_ok=True)
        make(place, {b"x": np.arange(2, dtype="f4")})
    report = come(tmp_path / "in", tmp_path / "s.ptr", processes=2)
    assert (report.converted, report.failures) == (3, [])
    assert sorted(read(tmp_path / "s.ptr")) == ["deep/x", "test/x", "train/x"]


def test_an_environment_without_anything(tmp_path: Path) -> None:
    report = come(make(tmp_path / "made", {}), tmp_path / "s.ptr")
    assert (report.converted, report.failures) == (0, [])


WRITER = """
import lmdb, sys
environment = lmdb.open(sys.argv[1], map_size=1 << 22)
with environment.begin(write=True) as transaction:
    for i in range(10):
        transaction.put(b"%03d" % i, b"old!" * 10)
print("ready", flush=True)
sys.stdin.readline()
"""


def test_beside_a_writer(tmp_path: Path) -> None:
    # Read without a lock, liblmdb ended the process when the writer went on (0.9.36).
    made = tmp_path / "made"
    command = [sys.executable, "-c", WRITER, str(made)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        assert come(made, tmp_path / "s.ptr").converted == 10
        writer.communicate("\n")
    assert (made / "lock.mdb").exists()


ADDING = """
import lmdb, sys
with lmdb.open(sys.argv[1], map_size=1 << 26) as environment:
    with environment.begin(write=True) as transaction:
        transaction.put(b"new", b"new!" * 10)
"""


@pytest.mark.parametrize("n_rows", [10, 100_000])
def test_what_comes_while_pages_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_rows: int
) -> None:
    made = make(tmp_path / "made", {b"%d" % i: np.full(n_rows, i, "f4") for i in range(5)})
    (made / "lock.mdb").touch()
    checked = Pages.databases

    def beside(pages: Pages) -> Any:
        subprocess.run([sys.executable, "-c", ADDING, str(made)], check=True)
        return checked(pages)

    monkeypatch.setattr(Pages, "databases", beside)
    report = from_lmdb(made, tmp_path / "s.ptr", values="<f4", progress=False)
    assert (report.converted, report.failures) == (5, [])
    assert {k: v.tolist() for k, v in read(tmp_path / "s.ptr").items()} == {
        str(i): [i] * n_rows for i in range(5)
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    made = make(tmp_path / "made", {b"x": b"1234"})
    (made / "lock.mdb").touch()
    (made / "lock.mdb").chmod(0o400)
    made.chmod(0o500)
    try:
        assert come(made, tmp_path / "s.ptr").converted == 1
    finally:
        made.chmod(0o700)


def test_open_in_this_process(tmp_path: Path) -> None:
    made = make(tmp_path / "made", {b"x": b"1234"})
    with lmdb.open(str(made)):
        report = come(made, tmp_path / "s.ptr")
    # Since 2.0 the library refuses this.
    assert report.ok or "already open" in report.failures[0].problem


PAGE = 4096


@pytest.mark.parametrize(
    ("place", "at", "kind", "value", "problem"),
    [
        ("node", 0, "<I", 1 << 31, "does not end in the file"),
        ("node", 4, "<H", 0, "does not end on its page"),
        ("node", 4, "<H", 4, "does not end on its page"),  # of several values, in a sub-page
        ("small", 4, "<H", 2, "a database in it is not described"),
        ("node", 6, "<H", 500, "does not end on its page"),
        ("node", 6, "<H", 512, "a key does not end on its page"),
        ("node", 11, "<Q", 1 << 40, "it refers to page"),
        ("node", 11, "<Q", (1 << 64) - 2, "it refers to page"),
        ("node", 11, "<Q", 1, "it refers to page"),
        ("root", 10, "<H", 0x22, "a page of keys is none"),
        ("root", 10, "<H", 1, "it refers to page"),
        ("root", 12, "<H", 0xFFFE, "more than it has room for"),
        ("root", 12, "<H", 16, "a page of keys has none"),
        ("root", 16, "<H", 0xFFFE, "a key is not on its page"),
        ("root", 16, "<H", 8, "a key is not on its page"),
    ],
)
def test_what_the_check_of_pages_finds(
    tmp_path: Path, place: str, at: int, kind: str, value: int, problem: str
) -> None:
    # Only in memory, and given to the check alone: it stands before what trusts all this.
    pairs = {b"a": b"1234", b"big": b"y" * 5000, b"c": b"1234"}
    pages = pages_in_memory(make(tmp_path / "x.mdb", pairs))
    raw = pages.raw.reshape(-1).data
    root = pages.main.root * PAGE
    node = bytes(raw).index(b"big", root) - 8
    small = bytes(raw).index(b"a1234", root) - 8
    start = {"root": root, "node": node, "small": small}[place]
    assert pages.databases() == {}
    struct.pack_into(kind, raw, start + at, value)
    with pytest.raises(BadInputError, match=problem):
        pages.databases()


def test_pages_that_are_there_twice(tmp_path: Path) -> None:
    path = make(tmp_path / "x.mdb", {b"%03d" % i: b"x" * 1000 for i in range(12)})
    pages = pages_in_memory(path)
    raw = pages.raw.reshape(-1)
    root = pages.main.root * PAGE
    first, second = (root + struct.unpack_from("<H", raw, root + at)[0] for at in (16, 18))
    raw[second : second + 4] = raw[first : first + 4]
    with pytest.raises(BadInputError, match="refers to a page twice"):
        pages.databases()


def pages_in_memory(path: Path) -> Pages:
    """Return a copy of the pages of an environment as of its last transaction."""
    raw = path.read_bytes()
    pages = pages_of(str(path), max(struct.unpack_from("<Q", raw, at + 144)[0] for at in (0, PAGE)))
    assert pages is not None
    return pages._replace(raw=np.array(pages.raw))


def test_bytes_that_are_no_bool(tmp_path: Path) -> None:
    made = make(tmp_path / "made", {b"a": b"\0\1", b"b": b"\0\2", b"c": b"", b"d": b"\1"})
    report = come(made, tmp_path / "s.ptr", "?")
    assert sorted(read(tmp_path / "s.ptr")) == ["a", "c", "d"]
    assert problems(report) == {"b": "it has bytes other than 0 and 1, which no bool has"}


def test_one_key_to_skip(tmp_path: Path) -> None:
    made = make(tmp_path / "made", {b"a": b"1234", b"b": b"1234", b"ab": b"1"})
    report = come(made, tmp_path / "s.ptr", skip="ab")
    assert (report.converted, report.failures, len(report.notes)) == (2, [], 1)


def test_convert_may_change_what_it_gets(tmp_path: Path) -> None:
    def doubled(array: Any) -> Any:
        array *= 2
        return array

    made = make(tmp_path / "made", {b"a": np.arange(3, dtype="f4"), b"b": np.ones(2, "f4")})
    report = come(made, tmp_path / "s.ptr", convert=doubled)
    assert (report.converted, report.failures) == (2, [])
    assert read(tmp_path / "s.ptr")["a"].tolist() == [0, 2, 4]


@pytest.mark.parametrize("raw", [b"", b"\0" * 5000, b"x" * 70_000])
def test_no_environment(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "x.mdb").write_bytes(raw)
    report = come(tmp_path / "x.mdb", tmp_path / "s.ptr")
    assert "no environment of LMDB" in report.failures[0].problem


def test_on_the_command_line(tmp_path: Path, run: Run) -> None:
    made = make(tmp_path / "made", {b"a": np.arange(6, dtype="f4"), b"n": b"1", b"m": b"2"})
    store = tmp_path / "s.ptr"
    options = ["--values", "<f4", "--values-shape", "3", "--skip", "n", "--skip", "m"]
    code, out, errors = run("import", "lmdb", made, store, *options)
    assert (code, out.splitlines()[-1], errors) == (0, f"{store}: 1 converted", "")
    assert read(store)["a"].shape == (2, 3)
    for wrong in ([], [*options[:3], "any"]):
        with pytest.raises(SystemExit, match="2"):
            run("import", "lmdb", made, store, *wrong)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).map(str.encode),
        st.integers(0, 3000).map(lambda n: np.arange(n, dtype="u2")),
        max_size=40,
    )
)
def test_there_is_all(tmp_path_factory: pytest.TempPathFactory, pairs: dict[bytes, Any]) -> None:
    folder = tmp_path_factory.mktemp("x")
    report = come(make(folder / "made", pairs), folder / "s.ptr", "u2")
    assert (report.converted, report.failures) == (len(pairs), [])
    if pairs:
        found = read(folder / "s.ptr")
        assert {name: array.tolist() for name, array in found.items()} == {
            key.decode(): value.tolist() for key, value in pairs.items()
        }
