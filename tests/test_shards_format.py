"""docs/FORMAT.md tells of shards what the code does, and enough to read them without it."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack
import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray.format import shards as layout
from ptrarray.storage.shards import target
from tests.support.checks import unchanged
from tests.test_format_doc import TEXT, tables
from tests.test_golden import Reader

pytestmark = pytest.mark.usefixtures("limits")

GOLDEN = Path(__file__).parent / "golden-shards"
README = (GOLDEN / "README.md").read_text("utf-8")


def read_shards(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read a store of shards as the document says, with nothing of ptrarray."""
    raw = (path / "shards.msgpack").read_bytes()
    marker = msgpack.unpackb(raw)
    assert (marker["format"], marker["version"]) == ("ptrarray-shards", 1)
    assert marker["crc"] == crc32(raw[:-5])
    part = f".{marker['generation']}" if marker["generation"] > 1 else ""
    shards: list[Reader] = []
    while (shard := path / f"shard{part}-{len(shards):05d}.ptr").exists():
        shards.append(Reader(shard))
    notes = shards[-1].attrs.get("ptrarray-shards", {}) if len(shards) > 1 else {}
    for old, new, name in notes.get("replaced", []):
        if max(old, new) < len(shards) and name.encode() in shards[new].pointers:
            shards[old].pointers.pop(name.encode(), None)
    arrays: dict[str, NDArray[Any]] = {}
    for one in shards:
        assert one.header["dtype"] == marker["dtype"]
        arrays |= {name: found.array for name, found in one.arrays().items()}
    return arrays, shards[0].attrs


def expected(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    section = README.split(f"## {name}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(.*)` \| `(.*)` \|$", section, re.MULTILINE)
    arrays = {ast.literal_eval(key): value for key, value in rows}
    attrs = ast.literal_eval(re.findall("attrs=(.*)", section)[0])
    return {
        key: eval(value, {"list": list, "range": range}) for key, value in arrays.items()
    }, attrs


def names() -> list[str]:
    return re.findall(r"^## (.*)$", README, re.MULTILINE)


def test_every_golden_store_is_described() -> None:
    assert {path.name for path in GOLDEN.glob("*.ptr")} == set(names())


@pytest.mark.parametrize("name", names())
def test_golden_stores_read_right(name: str) -> None:
    arrays, attrs = expected(name)
    with unchanged(GOLDEN / name), ptrarray.open(GOLDEN / name) as store:
        assert list(store) == list(arrays)
        assert {key: array.tolist() for key, array in store.items()} == arrays
        assert store.attrs == attrs
        store.verify()
    found, found_attrs = read_shards(GOLDEN / name)
    assert {key: array.tolist() for key, array in found.items()} == arrays
    assert found_attrs == attrs


@pytest.mark.parametrize("name", names())
def test_golden_stores_can_be_written_to(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    shutil.copytree(GOLDEN / name, path)
    arrays, _ = expected(name)
    with ptrarray.append(path) as writer:
        again = next(iter(arrays))
        writer[again] = np.zeros((2, *(writer.row_shape or ())), writer.dtype)
        writer.flush()
    with ptrarray.open(path) as store:
        assert sorted(store) == sorted(arrays)
        for key, values in arrays.items():
            assert np.array_equal(
                store[key], np.zeros_like(store[again]) if key == again else values
            )
        store.verify()
        assert sum(len(ptrarray.open(shard)) for shard in store.shards) == len(arrays)


def test_marker() -> None:
    fields = msgpack.unpackb((GOLDEN / "three.ptr" / "shards.msgpack").read_bytes())
    documented = tables(TEXT)["Marker"]
    assert [key for key, _, _ in documented] == list(fields)
    kinds = {"str": str, "int": int, "bin": bytes, "array": list, "bool": bool}
    for key, kind, _ in documented:
        assert type(fields[key]) in [kinds[one] for one in kind.split(" or ")]
    meanings = {key: meaning for key, _, meaning in documented}
    assert meanings["format"] == f"`{layout.FORMAT}`".strip("`")
    assert meanings["version"].endswith(f"`{layout.VERSION}`")


def test_notes() -> None:
    notes = layout.Notes(3, (layout.Replaced(0, 2, "é".encode()),))
    attrs = notes.encode()
    assert attrs == {"ptrarray-shards": {"changed": 3, "replaced": [[0, 2, "é"]]}}
    assert layout.decode_notes(attrs, "here") == notes
    assert [key for key, _, _ in tables(TEXT)["Notes"]] == [*attrs[layout.NOTES_KEY], "unflushed"]
    assert f"`{layout.NOTES_KEY}`" in TEXT
    assert f"more than {target.REPLACED_LIMIT}" in " ".join(TEXT.split())
    assert layout.Notes().encode() == {}
    unflushed = notes._replace(unflushed=1)
    assert unflushed.encode() == {"ptrarray-shards": attrs["ptrarray-shards"] | {"unflushed": 1}}
    assert layout.decode_notes(unflushed.encode(), "here") == unflushed


@pytest.mark.parametrize(
    "noted",
    [
        5,
        {},
        {"changed": 1},
        {"changed": "x", "replaced": []},
        {"changed": 1, "replaced": [[1, 2]]},
        {"changed": 1, "replaced": [[1, 2, 3]]},
        {"changed": 1, "replaced": [["a", 2, "b"]]},
        {"changed": 1, "replaced": [], "unflushed": "x"},
        {"changed": 1, "replaced": [], "unflushed": -1},
    ],
)
def test_notes_that_make_no_sense_are_refused(noted: Any, tmp_path: Path) -> None:
    path = tmp_path / "store.ptr"
    shutil.copytree(GOLDEN / "three.ptr", path)
    with ptrarray.append(path / "shard-00002.ptr") as writer:
        writer.attrs["ptrarray-shards"] = noted
    with pytest.raises(ptrarray.CorruptStoreError, match=r"shard-00002.ptr has attrs"):
        ptrarray.open(path)
    with ptrarray.append(path) as writer, pytest.raises(ptrarray.CorruptStoreError):
        writer.write({"x": [1]})


CHANGES: list[dict[str, Any]] = [
    {"format": "ptrarray"},
    {"version": 2},
    {"store_id": b"short"},
    {"store_id": "0123456789abcdef"},
    {"generation": 0},
    {"generation": -1},
    {"generation": 1.0},
    {"shard_nbytes": 0},
    {"shard_nbytes": 2**63},
    {"layout": "round"},
    {"masked": 1},
    {"dtype": "O"},
    {"dtype": None},
    {"row_shape": [-1]},
    {"row_shape": 5},
    {"layout": "shaped"},
    {"masked": True},
    {"dtype": "<f4"},
    {"row_shape": [1]},
]


@pytest.mark.parametrize("changes", CHANGES, ids=repr)
def test_markers_that_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "store.ptr"
    shutil.copytree(GOLDEN / "three.ptr", path)
    marker = path / "shards.msgpack"
    fields = msgpack.unpackb(marker.read_bytes())
    packed = msgpack.packb({**fields, **changes, "crc": 0xFFFF_FFFF})[:-5]
    marker.write_bytes(packed + b"\xce" + crc32(packed).to_bytes(4, "big"))
    with pytest.raises(ptrarray.CorruptStoreError):
        ptrarray.open(path)


@pytest.mark.parametrize("key", ["store_id", "generation", "layout", "dtype", "row_shape"])
def test_a_marker_without_a_key_is_refused(key: str, tmp_path: Path) -> None:
    path = tmp_path / "store.ptr"
    shutil.copytree(GOLDEN / "three.ptr", path)
    fields = msgpack.unpackb((path / "shards.msgpack").read_bytes())
    del fields[key]
    packed = msgpack.packb({**fields, "crc": 0xFFFF_FFFF})[:-5]
    (path / "shards.msgpack").write_bytes(packed + b"\xce" + crc32(packed).to_bytes(4, "big"))
    for use in (ptrarray.open, ptrarray.append, ptrarray.verify):
        with pytest.raises(ptrarray.CorruptStoreError):
            use(path)
