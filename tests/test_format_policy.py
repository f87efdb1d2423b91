"""What a reader and a writer do with what a later release may have written: docs/FORMAT.md, section 15."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack
import numpy as np
import pytest

import ptrarray
from ptrarray.format import catalog, index, journal, shards
from ptrarray.nested import persistence
from release import checkout, golden
from tests.support.checks import unchanged
from tests.support.forging import forge_slots, lay_out, unpack_index

TESTS = Path(__file__).parent
FORMAT = (TESTS.parent / "docs" / "FORMAT.md").read_text(encoding="utf-8")
SHARDS = TESTS / "golden-shards"
HELD = {"a": [1, 2], "b": [3]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.ptr"
    with ptrarray.create(path, dtype="<i2") as writer:
        writer.write(HELD)
    ptrarray.checkpoint(path)
    return path


def later(path: Path, columns: dict[str, bytes] | None = None, **fields: Any) -> None:
    """Put an index in place, by rename, that has more in it, or another version."""
    header, found = unpack_index((path / "index.msgpack").read_bytes())
    for name, column in (columns or {}).items():
        header["columns"][name] = ["|u1", 0, 0, 0]
        found[name] = column
    new = path / "index.msgpack.new"
    new.write_bytes(lay_out(header | fields, found))
    new.rename(path / "index.msgpack")


def upgrade(path: Path) -> None:
    """Do what a checkpoint of a later release would that writes version 2."""
    raw = (path / "journal.msgpack").read_bytes()
    header = journal.decode_slot(raw)
    assert header is not None
    later(path, version=2, generation=header.generation + 1)
    forged = forge_slots(raw, (0, 1), generation=header.generation + 1)
    (path / "journal.msgpack").write_bytes(forged)


def held(path: Path) -> dict[str, Any]:
    with ptrarray.open(path) as store:
        store.verify()
        return {name: array.tolist() for name, array in store.items()}


# Of the same version ------------------------------------------------------------------------------


def test_keys_and_columns_of_an_index_are_ignored_and_go_with_the_next_one(path: Path) -> None:
    later(path, {"later": b"x" * 100}, later={"any": [1, None]})
    assert held(path) == HELD
    with ptrarray.append(path) as writer:
        writer["c"] = [4]
    header, _ = unpack_index((path / "index.msgpack").read_bytes())
    assert "later" in header
    ptrarray.checkpoint(path)
    header, columns = unpack_index((path / "index.msgpack").read_bytes())
    assert "later" not in {*header, *columns}
    assert held(path) == {**HELD, "c": [4]}


def test_keys_of_an_info_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "mixed.ptr"
    with ptrarray.create(path) as writer:
        writer["a"] = np.array([1.5, 2.5], "<f8")
    ptrarray.checkpoint(path)
    header, columns = unpack_index((path / "index.msgpack").read_bytes())
    info = msgpack.unpackb(columns["info"]) | {"later": 1}
    columns["info"] = msgpack.packb(info)
    columns["info_end"] = len(columns["info"]).to_bytes(8, "little")
    (path / "index.msgpack").write_bytes(lay_out(header, columns))
    assert held(path) == {"a": [1.5, 2.5]}
    ptrarray.checkpoint(path)
    assert held(path) == {"a": [1.5, 2.5]}


def test_files_that_nobody_knows_are_left_alone(path: Path) -> None:
    (path / "later.msgpack").write_bytes(b"x")
    with ptrarray.append(path) as writer:
        writer["c"] = [4]
    ptrarray.compact(path)
    assert (path / "later.msgpack").read_bytes() == b"x"
    assert held(path) == {**HELD, "c": [4]}


def rewrite_map(file: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change the map that a file is, with the right checksum."""
    fields = change(msgpack.unpackb(file.read_bytes()))
    packed = msgpack.packb({**fields, "crc": 0xFFFF_FFFF})[:-5]
    file.write_bytes(packed + b"\xce" + crc32(packed).to_bytes(4, "big"))


def test_keys_of_a_marker_of_shards_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "three.ptr"
    shutil.copytree(SHARDS / "three.ptr", path)
    expected = held(path)
    rewrite_map(path / "shards.msgpack", lambda fields: {"later": 1, **fields})
    assert held(path) == expected


def test_keys_of_the_attr_of_an_object_are_ignored(tmp_path: Path) -> None:
    ptrarray.dump([1, {"a": 2}], tmp_path / "o.ptr")
    with ptrarray.append(tmp_path / "o.ptr") as writer:
        writer.attrs[persistence.ATTR] = {**writer.attrs[persistence.ATTR], "later": 1}
    assert ptrarray.load(tmp_path / "o.ptr") == [1, {"a": 2}]


@pytest.mark.filterwarnings("ignore:arrays of float14_of_later are read")
def test_a_name_of_a_dtype_that_nobody_knows_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "named.ptr"
    with ptrarray.create(path, dtype="|V2") as writer:
        writer["a"] = np.zeros(2, "|V2")
    ptrarray.checkpoint(path)
    later(path, dtype_names="float14_of_later")
    with ptrarray.append(path) as writer:
        writer["b"] = np.zeros(1, "|V2")
    ptrarray.checkpoint(path)
    header, _ = unpack_index((path / "index.msgpack").read_bytes())
    assert header["dtype_names"] == "float14_of_later"
    assert held(path) == {"a": [b"\0\0"] * 2, "b": [b"\0\0"]}


# Of a later version ---------------------------------------------------------------------------------


def test_a_store_of_a_later_version_is_refused_by_all_and_not_changed(path: Path) -> None:
    upgrade(path)
    calls: list[Callable[[], object]] = [
        lambda: ptrarray.open(path),
        lambda: ptrarray.append(path),
        lambda: ptrarray.checkpoint(path),
        lambda: ptrarray.compact(path),
        lambda: ptrarray.verify(path),
        lambda: ptrarray.pack(path, path.with_suffix(".tar")),
    ]
    for call in calls:
        with unchanged(path), pytest.raises(ptrarray.CorruptStoreError, match=r"version 2.*newer"):
            call()


def test_who_has_a_store_open_that_gets_a_later_version_neither_harms_it_nor_reads_it_wrongly(
    path: Path,
) -> None:
    writer = ptrarray.append(path)
    with ptrarray.open(path) as store:
        writer["c"] = [4]
        store.refresh()
        ptrarray.checkpoint(path)
        upgrade(path)
        calls: list[Callable[[], object]] = [
            lambda: writer.write({"d": [5]}),
            lambda: writer.delete(["a"]),
            store.refresh,
            writer.close,
        ]
        for call in calls:
            with unchanged(path), pytest.raises(ptrarray.CorruptStoreError, match="version 2"):
                call()
        found = {name: array.tolist() for name, array in store.items()}
        assert found == {**HELD, "c": [4]}


def put_record(path: Path, body: list[Any]) -> None:
    """Commit and flush a record."""
    file = path / "journal.msgpack"
    raw = file.read_bytes()
    header = journal.decode_slot(raw)
    assert header is not None
    packed = msgpack.packb(body)
    seed = crc32(header.store_id + header.generation.to_bytes(8, "little"))
    record = crc32(packed, seed).to_bytes(4, "little") + packed
    raw = raw[: header.committed_end] + b"\xc6" + len(record).to_bytes(4, "big") + record
    file.write_bytes(forge_slots(raw, (0, 1), committed_end=len(raw), synced_end=len(raw)))


@pytest.mark.parametrize("body", [[9, 0, b""], [3, 0, {}, b"more"], [2, 0, b"", b"", b"", b"more"]])
def test_a_record_that_nobody_knows_is_refused(path: Path, body: list[Any]) -> None:
    put_record(path, [3, 0, {"rate": 1}])
    with ptrarray.open(path) as store:
        assert store.attrs == {"rate": 1}
    put_record(path, body)
    for call in (ptrarray.open, ptrarray.append, ptrarray.checkpoint):
        with unchanged(path), pytest.raises(ptrarray.CorruptStoreError):
            call(path)


def test_a_catalog_of_a_later_version_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "catalogued.ptr"
    shutil.copytree(SHARDS / "catalogued.ptr", path)
    expected = held(path)
    header, columns = unpack_index((path / "catalog.msgpack").read_bytes())
    header["version"] = catalog.VERSION + 1
    (path / "catalog.msgpack").write_bytes(lay_out(header, columns))
    with ptrarray.open(path) as store:
        assert {name: array.tolist() for name, array in store.items()} == expected
        assert list(map(store.__contains__, expected)) == [True] * len(expected)


# What the page says ---------------------------------------------------------------------------------


def test_the_page_has_each_number() -> None:
    said = FORMAT.split("\n## 15. ")[1]
    numbers = {
        "the index": index.VERSION,
        "the marker of shards": shards.VERSION,
        "the catalog": catalog.VERSION,
        "an object of `dump`": persistence.VERSION,
    }
    for what, number in numbers.items():
        assert f"| {what} |" in said
        (row,) = (line for line in said.splitlines() if line.startswith(f"| {what} |"))
        assert row.endswith(f"| {number} |")
    assert f"`{journal.MAGIC.decode()}`" in said


def test_golden_files_of_every_release_are_there() -> None:
    assert golden.faults(TESTS, checkout.changelog(TESTS.parent)) == []
