"""Files of bigarray into stores: what they held, and what hostile ones are refused for."""

from __future__ import annotations

import errno
import marshal
import os
import pickle
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray import BadInputError, CorruptStoreError, StoreExistsError
from ptrarray.bigarray import MmapArray, PointerArray
from ptrarray.convert.bigarray import convert as bigarray
from ptrarray.convert.bigarray.convert import from_bigarray
from ptrarray.convert.bigarray.header import OldHeader, RefusedHeaderError, read_header
from ptrarray.convert.bigarray.index import RefusedIndexError, read_index
from ptrarray.convert.report import Failure
from ptrarray.format.layouts import Layout
from ptrarray.storage.system import files
from ptrarray.storage.system.transfer import transfer
from tests.support.bigarray_files import BY_BIGARRAY, FOLDER, file_of, header
from tests.support.checks import check_store
from tests.support.faults import injected

UNNAMED = "rows/0000000000000000"
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


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return tmp_path / "new.ptr"


def check(path: Path, expected: dict[str, Any]) -> None:
    with ptrarray.open(path) as store:
        check_store(store, expected)


# stored files -------------------------------------------------------------------------------------


def test_every_stored_file_is_read_here() -> None:
    assert {file.name for file in FOLDER.iterdir()} == {"README.md", *GOOD, *BAD}


@pytest.mark.parametrize("name", GOOD)
def test_golden(name: str, new: Path) -> None:
    before = (FOLDER / name).read_bytes()
    report = from_bigarray(FOLDER / name, new)
    assert report.converted == len(GOOD[name])
    assert report.ok == (name != "troubled")
    assert report.notes == [NO_INDEX] * (name == "flat")
    check(new, GOOD[name])
    assert list(ptrarray.open(new)) == list(GOOD[name])
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
        check(tmp_path / f"{name}.ptr", GOOD[name])


# what becomes of rows and names -------------------------------------------------------------------


def test_what_bigarray_took_without_a_word(new: Path) -> None:
    report = from_bigarray(FOLDER / "troubled", new)
    overlap = "its rows {} overlap rows {} of {!r}: one was written over the other"
    assert dict(report.failures) == {
        "(int) 5": "a name must be a str, not int: 5",
        "(bytes) b'raw'": "a name must be a str, not bytes: b'raw'",
        "(tuple) (1, 'x')": "a name must be a str, not tuple: (1, 'x')",
        "\ud800": r"name '\ud800' cannot be encoded as UTF-8: surrogates not allowed",
        "under": overlap.format("8 to 12", "10 to 14", "over"),
        "over": overlap.format("10 to 14", "8 to 12", "under"),
    }
    with ptrarray.append(new) as writer:
        writer.point("by hand", 8, 10)
        assert writer["by hand"].tolist() == [4, 4], "rows of names that failed are there"
        assert writer.write({"next": [1]}) == (20, 21), "and are not written over"


@pytest.mark.parametrize(
    "pointer", [(0, 4), (-1, 2), (2, 1), (0, 2**70), (-(2**70), 1), (0.0, 1.0), (True, 2)]
)
def test_a_pointer_out_of_the_rows(pointer: Any, old: Path, new: Path) -> None:
    old.write_bytes(file_of(index={"a": pointer, "b": (1, 3)}))
    report = from_bigarray(old, new)
    problem = f"its pointer is not a pair of rows from 0 to 3 but {pointer!r}"
    assert (report.converted, report.failures) == (1, [Failure("a", problem)])
    check(new, {"b": np.zeros(2, int)})


@pytest.mark.parametrize("pointer", [(0,), (0, 1, 2), (), 3, None, "ab", {"a": (0, 1)}])
def test_what_is_no_pointer(pointer: Any, old: Path, new: Path) -> None:
    old.write_bytes(file_of(index={"a": pointer}))
    assert [failure.source for failure in from_bigarray(old, new).failures] == ["a"]
    check(new, {})


def test_a_name_that_is_there_twice(old: Path, new: Path) -> None:
    twice = pickle.dumps({"a": (0, 1), "b": (1, 2)}, 2).replace(b"\x01\0\0\0b", b"\x01\0\0\0a")
    old.write_bytes(file_of(raw=twice))
    assert from_bigarray(old, new).converted == 1
    assert ptrarray.open(new).pointers["a"] == (1, 2), "the last word counts, as in the pickle"
    twice = pickle.dumps({"a": (0, 1), "b": (1, 9)}, 2).replace(b"\x01\0\0\0b", b"\x01\0\0\0a")
    old.write_bytes(file_of(raw=twice))
    report = from_bigarray(old, new, mode="w")
    assert [failure.source for failure in report.failures] == ["a"]
    check(new, {})


def test_a_long_name(old: Path, new: Path) -> None:
    old.write_bytes(file_of(index={"x" * 70_000: (0, 1), "é" * 30_000: (1, 2)}))
    report = from_bigarray(old, new)
    assert list(ptrarray.open(new)) == ["é" * 30_000]
    assert "has 70000 bytes in UTF-8" in report.failures[0].problem


def test_rows_without_bytes(old: Path, new: Path) -> None:
    old.write_bytes(file_of("f4", (7, 0), {"a": (0, 7)}))
    from_bigarray(old, new)
    assert ptrarray.open(new)["a"].shape == (7, 0)


@pytest.mark.parametrize("index", [{}, {"none": (0, 0)}])
def test_no_rows(index: Any, old: Path, new: Path) -> None:
    old.write_bytes(file_of("f4", (0, 2), index))
    from_bigarray(old, new)
    check(new, {name: np.empty((0, 2), "f4") for name in index})


@pytest.mark.parametrize("dtype", ["|b1", "<U5", "|S3", "<M8[ns]", ">i2", "<c16", "|V7", "float16"])
def test_dtypes(dtype: str, old: Path, new: Path) -> None:
    old.write_bytes(file_of(dtype, (3, 2), {"a": (1, 3)}))
    from_bigarray(old, new)
    check(new, {"a": np.zeros((2, 2), dtype)})


def test_the_classes_of_bigarray_read_it(new: Path) -> None:
    from_bigarray(FOLDER / "planned", new)
    x = PointerArray(new)
    assert x.indices == {name: tuple(x.indices[name]) for name in GOOD["planned"]}
    assert (x.shape, int(np.sum(x))) == ((14,), 25)
    assert MmapArray(new).tolist() == x.tolist()


# where it goes ------------------------------------------------------------------------------------


def test_a_store_that_is_there(new: Path) -> None:
    with ptrarray.create(new, dtype="i4") as writer:
        writer["kept"] = [1, 2]
    reader = ptrarray.open(new)
    with pytest.raises(StoreExistsError):
        from_bigarray(FOLDER / "named", new)
    check(new, {"kept": np.array([1, 2], "i4")})
    from_bigarray(FOLDER / "named", new, mode="w")
    check(new, GOOD["named"])
    assert reader["kept"].tolist() == [1, 2], "who has it open keeps what it was"
    assert {file.name for file in new.iterdir()} >= {"index.msgpack", "journal.msgpack"}
    assert len(list(new.iterdir())) == 3


@pytest.mark.parametrize("mode", ["x", "w"])
def test_anything_else_at_the_path(mode: str, old: Path, new: Path) -> None:
    old.write_bytes((FOLDER / "named").read_bytes())
    with pytest.raises(StoreExistsError):
        from_bigarray(old, old, mode=mode)
    new.mkdir()
    with pytest.raises(StoreExistsError):
        from_bigarray(old, new, mode=mode)
    new.rmdir()
    ptrarray.create(new, dtype="i4", shard_size=1000).close()
    with pytest.raises(StoreExistsError):
        from_bigarray(old, new, mode=mode)
    check(new, {})
    assert old.read_bytes() == (FOLDER / "named").read_bytes()


@pytest.mark.parametrize("mode", ["a", "r", None])
def test_refuses_other_modes(mode: Any, new: Path) -> None:
    with pytest.raises(BadInputError, match="is not one of 'x', 'w'"):
        from_bigarray(FOLDER / "named", new, mode=mode)
    assert not new.exists()


def test_no_file(old: Path, new: Path) -> None:
    with pytest.raises(FileNotFoundError):
        from_bigarray(old, new)
    with pytest.raises(CorruptStoreError, match="not a regular file"):
        from_bigarray(old.parent, new)
    assert not new.exists()


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_disk(is_there: bool, code: int, old: Path, new: Path) -> None:
    converted = {"a": np.zeros(1 << 16, "u1")}
    old.write_bytes(file_of("u1", (1 << 16,), {"a": (0, 1 << 16)}))
    n_failed, at = 1, 0
    while n_failed:
        at += 1
        if is_there:
            ptrarray.create(new, dtype="i4", mode="w").close()
        before = sorted(old.parent.rglob("*"))
        with injected() as faults:
            faults.arm(at, code, is_lasting=False, only=["copy_file_range", "pwrite", "pwritev"])
            with suppress(OSError):
                from_bigarray(old, new, mode="w")
            n_failed = faults.n_failed
        if n_failed and not is_there:
            assert sorted(old.parent.rglob("*")) == before
        elif n_failed:
            ptrarray.append(new).close()  # which removes what was left over
            assert len(list(new.iterdir())) == 3
            check(new, converted if "a" in ptrarray.open(new) else {})
    assert at > 3
    check(new, converted)


def test_a_disk_that_is_full_leaves_nothing_beside_the_store(old: Path, new: Path) -> None:
    old.write_bytes(file_of(index={"a": (0, 3)}))
    ptrarray.create(new, dtype="i4").close()
    before = sorted(new.iterdir())
    with injected() as faults:
        faults.arm(1, errno.ENOSPC, is_lasting=True, only=["copy_file_range"])
        with pytest.raises(OSError, match="No space left"):
            from_bigarray(old, new, mode="w")
    assert sorted(new.iterdir()) == before


# how the rows are copied --------------------------------------------------------------------------


def big_file(path: Path, n_rows: int) -> np.ndarray[Any, Any]:
    """Write a file whose rows lie after a hole of their size."""
    rows = np.random.default_rng(3).integers(0, 2**60, n_rows)
    hollow = file_of(shape=(0,), index={"hole": (0, n_rows), "rows": (n_rows, 2 * n_rows)})
    start, tail = hollow[:504], hollow[504:]
    start = header(marshal.dumps(["int64", (2 * n_rows,)])).ljust(504, b"\0")
    with path.open("wb") as file:
        file.write(start)
        file.seek(504 + 8 * n_rows)
        file.write(rows.tobytes() + tail)
    return rows


def test_rows_do_not_pass_through_python(old: Path, new: Path) -> None:
    big_file(old, 2**19)
    tracemalloc.start()
    try:
        from_bigarray(old, new)
        peak_nbytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_nbytes < 2**20


def test_holes_stay_holes(old: Path, new: Path) -> None:
    rows = big_file(old, 2**19)
    if old.stat().st_blocks * 512 > 6 * 2**20:
        pytest.skip("this file system has no holes")
    from_bigarray(old, new)
    assert (new / "data.bin").stat().st_blocks * 512 < 6 * 2**20
    check(new, {"hole": np.zeros(2**19, np.int64), "rows": rows})


def test_a_hole_at_the_end_stays_one(old: Path, new: Path) -> None:
    n_rows = 2**19
    old.write_bytes(header(marshal.dumps(["int64", (n_rows,)])).ljust(504, b"\0") + bytes([7]))
    os.truncate(old, 504 + 8 * n_rows)
    if old.stat().st_blocks * 512 > 2**20:
        pytest.skip("this file system has no holes")
    from_bigarray(old, new)
    assert (new / "data.bin").stat().st_blocks * 512 < 2**20
    check(new, {UNNAMED: np.array([7] + [0] * (n_rows - 1))})


@pytest.mark.parametrize("code", [errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, None])
def test_where_the_system_does_not_copy(
    code: int | None, old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = big_file(old, 1000)

    def refuse(*_: int) -> int:
        assert code is not None
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    if code is None:
        monkeypatch.delattr(os, "copy_file_range")
    from_bigarray(old, new)
    check(new, {"hole": np.zeros(1000, np.int64), "rows": rows})


def test_where_the_system_does_not_tell_of_holes(
    old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = big_file(old, 1000)
    monkeypatch.setattr(files.File, "data_from", lambda self, start, end: (start, end))
    from_bigarray(old, new)
    check(new, {"hole": np.zeros(1000, np.int64), "rows": rows})


def test_a_file_that_is_cut_meanwhile(
    old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big_file(old, 1000)

    def cut_before(*arguments: Any, **options: Any) -> None:
        os.truncate(old, 10_000)
        transfer(*arguments, **options)

    monkeypatch.setattr(bigarray, "transfer", cut_before)
    with pytest.raises(CorruptStoreError, match="ended at byte 10000 while it was read"):
        from_bigarray(old, new)
    assert list(old.parent.iterdir()) == [old]


def test_progress(new: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from_bigarray(FOLDER / "named", new, progress=True)
    assert "48.0/48.0" in capsys.readouterr().err


# against a plain model ----------------------------------------------------------------------------

names = st.text(max_size=8) | st.integers(-(2**70), 2**70) | st.binary(max_size=4) | st.none()
pairs = st.tuples(st.integers(-(2**70), 2**70), st.integers(0, 100))


@given(
    st.dictionaries(names, pairs | st.integers(-(2**120), 2**120), max_size=20), st.integers(3, 5)
)
def test_an_index_is_what_pickle_reads(index: dict[Any, Any], protocol: int) -> None:
    assert read_index(memoryview(pickle.dumps(index, protocol))) == list(index.items())


@given(st.dictionaries(st.text(max_size=300), pairs, max_size=20))
def test_an_index_of_protocol_2_is_what_pickle_reads(index: dict[Any, Any]) -> None:
    assert read_index(memoryview(pickle.dumps(index, 2))) == list(index.items())


@pytest.mark.parametrize("code", [b"\x85", b"\x86", b"\x87", b"t", b"s", b"u", b"h\x07", b"q\0"])
def test_an_index_that_takes_what_is_not_there(code: bytes) -> None:
    with pytest.raises(RefusedIndexError):
        read_index(memoryview(b"\x80\x04" + code + b"K\x01}."))
    with pytest.raises(RefusedIndexError):
        read_index(memoryview(b"\x80\x04}\x8c\x01a\x87K\x01s."))


@given(st.binary(max_size=60))
def test_any_bytes_are_an_index_or_refused(raw: bytes) -> None:
    try:
        items = read_index(memoryview(raw))
    except RefusedIndexError:
        return
    assert all(len(item) == 2 for item in items)


@given(
    st.sampled_from(["float32", "<U5", ">i8", "bool", "complex128", "|S3", "<M8[ns]"]),
    st.lists(
        st.sampled_from([0, 1, 80, 255, 2**20]) | st.integers(0, 2**33), min_size=1, max_size=5
    ),
    st.integers(0, 4),
)
def test_a_header_is_what_marshal_reads(dtype: str, shape: list[int], version: int) -> None:
    raw = header(marshal.dumps([dtype, tuple(shape)], version)).ljust(502, b"\0")
    found = read_header(raw)
    wanted = Layout("rows", np.dtype(dtype), tuple(shape[1:]), masked=False)
    width = wanted.dtype.itemsize
    start = -(-502 // width) * width
    end = start + width * int(np.prod(shape, dtype=object))
    assert found == OldHeader(wanted, shape[0], start, end)


@given(st.data())
def test_any_header_is_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(header(marshal.dumps(["float32", (80, 80, 80)])).ljust(502, b"\0"))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(8, 60))
        raw[at] = data.draw(st.integers(0, 255) | st.sampled_from(b"r\xe9\xdb()i"))
    try:
        found = read_header(bytes(raw))
    except RefusedHeaderError:
        return
    assert found.n_rows >= 0


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), max_size=8))
def test_overlaps_are_those_of_the_plain_rule(ranges: list[tuple[int, int]]) -> None:
    pointers = sorted((start, start + n) for start, n in ranges)
    starts, ends = np.array(pointers, np.int64).reshape(-1, 2).T
    found = {at for pair in bigarray._overlaps(starts, ends) for at in pair}
    assert found == {
        i
        for i, (start, end) in enumerate(pointers)
        for j, (other, other_end) in enumerate(pointers)
        if i != j and max(start, other) < min(end, other_end)
    }
    for a, b in bigarray._overlaps(starts, ends):
        assert max(starts[a], starts[b]) < min(ends[a], ends[b])


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_file_is_converted_or_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    raw = bytearray((FOLDER / data.draw(st.sampled_from(list(GOOD)))).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, 60) | st.integers(500, len(raw) - 1))
        raw[min(at, len(raw) - 1)] = data.draw(st.integers(0, 255))
    del raw[data.draw(st.just(len(raw)) | st.integers(0, len(raw))) :]
    (folder / "old").write_bytes(raw)
    try:
        report = from_bigarray(folder / "old", folder / "new.ptr")
    except CorruptStoreError:
        assert os.listdir(folder) == ["old"]  # noqa: PTH208
        return
    with ptrarray.open(folder / "new.ptr") as store:
        store.verify()
        assert len(store) == report.converted
