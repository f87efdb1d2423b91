"""Damaged and forged token files are failures of that file; what is asked for and cannot be is an error."""

from __future__ import annotations

import random
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, StoreExistsError, convert
from ptrarray.convert import Report
from tests.support.megatron_files import GOLDEN, sequences, write_pair

pytestmark = pytest.mark.usefixtures("limits", "no_syncs")
ARRAYS = sequences([[3], [2, 4]])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def run(paths: Any, store: Path, **options: Any) -> Report:
    return convert.from_megatron(paths, store, progress=False, **options)


def problem(path: Path, store: Path, **options: Any) -> str:
    """Return why a file cannot be read, copied or linked; nothing is made of it."""
    found = set()
    for how in ("copy", "link", "move"):
        report = run(path, store, how=how, **options)
        assert (report.converted, len(report.failures)) == (0, 1)
        assert not store.exists()
        found.add(report.failures[0].problem)
    assert len(found) == 1
    return found.pop()


# Damage ---------------------------------------------------------------------------------------------


def test_cut_at_every_byte(folder: Path, store: Path) -> None:
    path = write_pair(folder / "x", ARRAYS, documents=[0, 1, 3], modes=[0, 1, 0])
    raw = path.read_bytes()
    for n in range(len(raw)):
        path.write_bytes(raw[:n])
        report = run(path, store, how="link")
        # Modes are not announced, so without any of them it is a file that has none.
        if n == len(raw) - 3:
            assert report.ok
            shutil.rmtree(store)
        else:
            assert report.failures
            assert not store.exists()
    path.write_bytes(raw)
    for n in range(path.with_suffix(".bin").stat().st_size):
        path.with_suffix(".bin").write_bytes(bytes(n))
        assert run(path, store, how="link").failures


def test_any_byte_changed(folder: Path, store: Path) -> None:
    """Either it is a failure, or what the file says now; never a crash, or rows that are not there."""
    path = write_pair(folder / "x", ARRAYS, documents=[0, 1, 3])
    raw, rng = path.read_bytes(), random.Random(1)
    for at in range(len(raw)):
        forged = bytearray(raw)
        forged[at] ^= rng.randrange(1, 256)
        path.write_bytes(forged)
        for by in ("sequence", "document"):
            report = run(path, store, how="link", by=by)
            if report.ok:
                with ptrarray.open(store) as opened:
                    opened.verify()
                    assert len(opened) <= len(ARRAYS)
                shutil.rmtree(store)


@pytest.mark.parametrize(
    ("at", "raw", "expected"),
    [
        (0, b"MMIDIDY", "it begins with b'MMIDIDY"),
        (0, b"TNTIDX\0\0", "'cached' or 'lazy', which is not read"),  # tokens + 1, in fairseq
        (0, b"HUFFIDX\0", "'huffman', which is not read"),
        (9, struct.pack("<Q", 2), "version 2, expected 1"),
        (17, b"\0", "dtype code 0, expected 1 to 10"),
        (17, b"\xff", "dtype code 255"),
        (18, struct.pack("<Q", 2**63), "sequences and 3 document indices do not have"),
        (18, struct.pack("<Q", 4), "4 sequences and 3 document indices do not have"),
        (26, struct.pack("<Q", 2**63), "document indices do not have: it was cut off"),
        (26, struct.pack("<Q", 2), "document indices do not have"),
        # megatron-core 0.16.1 takes all to the end of the .bin, as numpy's `frombuffer` does for -1.
        (34, struct.pack("<i", -1), "sequence 0 has a length of -1"),
        (34, struct.pack("<i", 2**31 - 1), "which do not lie in the 36 bytes of its .bin"),
        # It reads these as values that nobody wrote, or fails by ValueError.
        (46, struct.pack("<q", 1), "or not at a multiple of 4"),
        (46, struct.pack("<q", -4), "sequence 0 is at 3 elements of 4 bytes from byte -4"),
        (62, struct.pack("<q", 2**63 - 4), "sequence 2 is at 4 elements"),
        (70, struct.pack("<q", 1), "do not rise from 0 to its 3 sequences"),
        (78, struct.pack("<q", 9), "do not rise from 0 to its 3 sequences"),
        (86, struct.pack("<q", 2), "do not rise from 0 to its 3 sequences"),
    ],
)
def test_forged(at: int, raw: bytes, expected: str, folder: Path, store: Path) -> None:
    path = write_pair(folder / "x", ARRAYS, documents=[0, 1, 3])
    forged = bytearray(path.read_bytes())
    forged[at : at + len(raw)] = raw
    path.write_bytes(forged)
    assert expected in problem(path, store)


def test_other_files_beside_a_bad_one(folder: Path, store: Path) -> None:
    write_pair(folder / "a", ARRAYS)
    write_pair(folder / "b", ARRAYS).with_suffix(".bin").unlink()
    (folder / "c.idx").write_bytes(b"")
    report = run(folder, store, processes=1)
    assert report.converted == 3
    assert [Path(failure.source).name for failure in report.failures] == ["b.idx", "c.idx"]
    assert "its .bin cannot be read" in report.failures[0].problem
    assert "it begins with b''" in report.failures[1].problem


def test_documents_whose_sequences_lie_apart(folder: Path, store: Path) -> None:
    path = write_pair(folder / "x", ARRAYS, pointers=[0, 20, 4], documents=[0, 1, 3])
    assert "import by='sequence'" in problem(path, store, by="document")


def test_a_file_that_is_not_finalized(folder: Path, store: Path) -> None:
    # IndexedDatasetBuilder makes the .bin first; without `finalize` there is no .idx.
    (folder / "x.bin").write_bytes(b"1234")
    with pytest.raises(BadInputError, match="no files to import"):
        run(folder, store)


# What cannot be linked ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"dtype": "i8"}, {"row_shape": 2}, {"masked": True}, {"shard_size": "1MB"}, {"convert": abs}],
)
def test_options_that_change_values(options: Any, folder: Path, store: Path) -> None:
    path = write_pair(folder / "x", ARRAYS)
    with pytest.raises(BadInputError, match=f"cannot have {next(iter(options))}: use how='copy'"):
        run(path, store, how="link", **options)
    assert not store.exists()


def test_words_that_are_none(folder: Path, store: Path) -> None:
    path = write_pair(folder / "x", ARRAYS)
    for option in ("how", "by", "origin"):
        with pytest.raises(BadInputError, match=option):
            run(path, store, **{option: "other"})
    with pytest.raises(TypeError, match="unexpected keyword argument 'sort'"):
        run(path, store, how="link", sort=True)


def test_several_files(store: Path) -> None:
    with pytest.raises(BadInputError, match=r"13 files are to become .* ptrarray.join"):
        run(GOLDEN, store, how="link")


def test_a_store_that_is_there(folder: Path, store: Path) -> None:
    path = write_pair(folder / "x", ARRAYS)
    ptrarray.create(store, dtype="i4").close()
    for how in ("link", "move"):
        with pytest.raises(StoreExistsError, match="is not of"):
            run(path, store, how=how)
    assert path.with_suffix(".bin").exists()
    path = write_pair(folder / "y", ARRAYS, documents=[0, 1, 3])
    other = store.with_name("other.ptr")
    assert run(path, other, how="link").ok
    with pytest.raises(StoreExistsError, match="is not of"):
        run(path, other, how="link", by="document")


def test_another_file_system(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_pair(folder / "x", ARRAYS)

    def link(source: Any, target: Any) -> None:
        raise OSError(18, "Invalid cross-device link", str(source), None, str(target))

    monkeypatch.setattr("ptrarray.storage.system.files.link", link)
    assert "use how='copy'" in problem_of_link(path, store)
    assert sorted(entry.name for entry in store.parent.iterdir()) == [folder.name]


def problem_of_link(path: Path, store: Path) -> str:
    report = run(path, store, how="link")
    assert not store.exists()
    return report.failures[0].problem


# What a store does not give -------------------------------------------------------------------------


def refused(store: Path, match: str) -> None:
    with pytest.raises(BadInputError, match=match):
        convert.to_megatron(store)
    assert not list(store.rglob("*.idx"))


@pytest.mark.parametrize(
    "options",
    [{"dtype": "u4"}, {"dtype": ">i4"}, {"dtype": "i4", "row_shape": 2}, {}, {"dtype": "f2"}],
)
def test_stores_of_other_rows(options: Any, store: Path) -> None:
    ptrarray.create(store, **options).close()
    refused(store, "expected scalars of u1, i1, <i2, <i4, <i8, <f8, <f4, <u2")


def test_stores_that_are_no_one_file(store: Path) -> None:
    ptrarray.create(store, dtype="i4", masked=True).close()
    refused(store, "it keeps masks")
    shutil.rmtree(store)
    ptrarray.create(store, dtype="i4", shard_size="1MB").close()
    refused(store, "split into shards")
    shutil.rmtree(store)
    ptrarray.create(store, dtype="i4").close()
    refused(store, "it has no rows")
    pack = store.with_suffix(".tar")
    ptrarray.pack(store, pack, progress=False)
    refused(pack, "it is a pack")


def test_stores_with_holes(store: Path) -> None:
    with ptrarray.create(store, dtype="i4") as writer:
        writer.write({"0": [1, 2], "1": [3], "2": [4]})
        del writer["1"]
    refused(store, "do not lie end to end: compact it first")
    ptrarray.compact(store)
    assert convert.to_megatron(store).converted == 2
    with ptrarray.append(store) as writer:
        writer.point("again", 0, 1)
    with pytest.raises(BadInputError, match="or arrays share rows"):
        convert.to_megatron(store)


def test_stores_that_are_longer(store: Path) -> None:
    with ptrarray.create(store, dtype="i4", rows=9) as writer:
        writer["0"] = [1]
    refused(store, "has 36 bytes, and the last array ends at byte 4")


def test_another_place(store: Path) -> None:
    with ptrarray.create(store, dtype="i4") as writer:
        writer["0"] = np.arange(3)
    with pytest.raises(BadInputError, match=r"has to be .*data\.idx"):
        convert.to_megatron(store, store.with_name("x.idx"))
    assert convert.to_megatron(store, store / "data.idx").converted == 1
