"""Damage to a marker or a shard is found, named and repaired."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import ptrarray
from ptrarray import CorruptStoreError, PointerArrayWriter, StoreExistsError, StoreNotFoundError
from ptrarray.storage.shards.finder import Finder
from ptrarray.storage.shards.snapshot import open_shards
from tests.support.checks import check_same, check_store
from tests.support.shards import MARKER, SHARD_NBYTES, Arrays, first_of, ramps, sharded, shards_of

pytestmark = pytest.mark.usefixtures("limits", "no_syncs")


@pytest.fixture
def arrays() -> Arrays:
    return ramps(60)


@pytest.fixture
def writer(path: Path, arrays: Arrays) -> PointerArrayWriter:
    return sharded(path, arrays)


# found --------------------------------------------------------------------------------------------


def test_every_byte_of_the_marker_counts(path: Path, writer: PointerArrayWriter) -> None:
    marker = path / MARKER
    raw = marker.read_bytes()
    for at in range(len(raw)):
        marker.write_bytes(raw[:at] + bytes([raw[at] ^ 0x5A]) + raw[at + 1 :])
        for use in (ptrarray.open, ptrarray.append):
            with pytest.raises(CorruptStoreError):
                use(path)
    for cut in range(len(raw)):
        marker.write_bytes(raw[:cut])
        with pytest.raises(CorruptStoreError):
            ptrarray.open(path)
    marker.write_bytes(raw + b"\0")
    with pytest.raises(CorruptStoreError):
        ptrarray.open(path)


def test_a_missing_shard_is_named(path: Path, writer: PointerArrayWriter, tmp_path: Path) -> None:
    writer.close()
    shutil.move(path / "shard-00001.ptr", tmp_path / "away.ptr")
    for use in (ptrarray.open, ptrarray.verify):
        with pytest.raises(CorruptStoreError, match=r"shard-00001.ptr is missing: put it back"):
            use(path)
    with ptrarray.append(path) as again, pytest.raises(CorruptStoreError, match="missing"):
        again.write({"x": [1]})
    shutil.move(tmp_path / "away.ptr", path / "shard-00001.ptr")
    ptrarray.verify(path)
    for name in shards_of(path):
        shutil.rmtree(path / name)
    with pytest.raises(CorruptStoreError, match=r"shard-00000.ptr is missing"):
        ptrarray.open(path)
    (path / MARKER).unlink()
    with pytest.raises(StoreNotFoundError):
        ptrarray.open(path)


def test_a_shard_of_another_kind_is_refused(path: Path, writer: PointerArrayWriter) -> None:
    writer.close()
    shutil.rmtree(path / "shard-00001.ptr")
    ptrarray.create(path / "shard-00001.ptr", dtype="f8").close()
    with pytest.raises(CorruptStoreError, match="not rows of int32"):
        ptrarray.open(path)


def test_verify_tells_of_damage_in_all_shards(
    path: Path, writer: PointerArrayWriter, arrays: Arrays
) -> None:
    writer.close()
    names = [first_of(path, number) for number in (0, 2)]
    for number in (0, 2):
        with (path / shards_of(path)[number] / "data.bin").open("r+b") as file:
            file.write(b"\xff\xff\xff\xff")
    with pytest.raises(CorruptStoreError) as raised:
        ptrarray.verify(path)
    assert [damage.name for damage in raised.value.damage] == names
    repaired = path.with_name("repaired.ptr")
    assert [damage.name for damage in ptrarray.repair(path, repaired)] == names
    check_store(ptrarray.open(repaired), {n: a for n, a in arrays.items() if n not in names})
    assert ptrarray.open(repaired).shard_nbytes == SHARD_NBYTES


def test_verify_finds_a_name_in_two_shards(path: Path, writer: PointerArrayWriter) -> None:
    writer.close()
    with ptrarray.append(path / "shard-00001.ptr") as alone:  # which nobody should do here
        alone["n0"] = [4]
    store = ptrarray.open(path)
    assert store["n0"].tolist() == [4]
    with pytest.raises(
        CorruptStoreError, match=r"'n0'.* which is in .*shard-00001.ptr, too"
    ) as raised:
        store.verify()
    # It is the older one that nobody sees.
    (damage,) = raised.value.damage
    start, end = ptrarray.open(path / "shard-00000.ptr").pointers["n0"]
    found = (damage.file, damage.name, damage.start, damage.end)
    assert found == (str(path / "shard-00000.ptr"), "n0", start, end)
    with ptrarray.append(path) as again:
        again["n0"] = [5]
    check_same(ptrarray.open(path)["n0"], np.array([5], "i4"))
    ptrarray.verify(path)


def test_a_damaged_name_table_is_told(path: Path, writer: PointerArrayWriter) -> None:
    writer.close()
    ptrarray.checkpoint(path)
    finder = Finder(open_shards(path).shards)
    number, slots, n_homes, entries, one = finder._newest_first[0]
    finder._newest_first[0] = (number, slots[:0], n_homes, entries, one)
    with pytest.raises(IndexError):
        finder.find(b"n0")


# repaired -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["marker", "shard", "index", "first index"])
def test_repair_without_some_of_it(
    path: Path, writer: PointerArrayWriter, arrays: Arrays, lost: str
) -> None:
    writer.close()
    number = 0 if lost == "first index" else 1
    shard = path / shards_of(path)[number]
    gone = set(ptrarray.open(shard)) if lost != "marker" else set()
    if lost == "marker":
        (path / MARKER).write_bytes(b"junk")
    elif lost == "shard":
        shutil.rmtree(shard)
    else:
        (shard / "index.msgpack").write_bytes(b"junk")
    repaired = path.with_name("repaired.ptr")
    left_out = ptrarray.repair(path, repaired)
    assert len(left_out) == 1
    store = ptrarray.open(repaired)
    assert store.attrs == {"rate": 8000}
    check_store(store, {name: array for name, array in arrays.items() if name not in gone})
    with ptrarray.append(repaired) as again:
        again.write({"more": [1]})
    with pytest.raises(StoreExistsError):
        ptrarray.repair(path, repaired)


def test_repair_from_the_last_shard_alone(tmp_path: Path) -> None:
    """What that notes of the others is none of the user's attrs."""
    path = tmp_path / "a.ptr"
    with ptrarray.create(path, dtype="i4", shard_size=1000, attrs={"rate": 8000}) as writer:
        writer["a"] = np.arange(240)
        writer["b"] = np.arange(240)
    for _ in range(2):  # the first one leaves a note that the second one folds
        ptrarray.checkpoint(path)
    first, last = (path / name for name in shards_of(path))
    assert ptrarray.open(last).attrs.keys() > {"rate"}
    (first / "index.msgpack").write_bytes(b"junk")
    ptrarray.repair(path, tmp_path / "repaired.ptr")
    with ptrarray.open(tmp_path / "repaired.ptr") as store:
        assert store.attrs == {"rate": 8000}
        check_store(store, {"b": np.arange(240, dtype="i4")})


def test_repair_of_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError):
        ptrarray.repair(tmp_path / "absent.ptr", tmp_path / "new.ptr")
    empty = tmp_path / "empty.ptr"
    empty.mkdir()
    (empty / MARKER).write_bytes(b"junk")
    with pytest.raises((CorruptStoreError, StoreNotFoundError)):
        ptrarray.repair(empty, tmp_path / "new.ptr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.ptr"]
