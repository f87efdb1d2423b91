"""Stored stores: what each must read as, and which must be refused. Read here, never written."""

from __future__ import annotations

import ast
import io
import re
import shutil
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import msgpack
import numpy as np
import numpy.typing as npt
import pytest

import ptrarray
from ptrarray.format.index import VERSION

FOLDER = Path(__file__).parent
GOLDEN = FOLDER / "golden"
BAD = FOLDER / "golden-bad"


# An independent reader ------------------------------------------------------------------------------


class Found(NamedTuple):
    start: int
    end: int
    crc: int
    rows: npt.NDArray[Any]


class Reader:
    """All of a store, read as docs/FORMAT.md says with nothing of ptrarray."""

    def __init__(self, path: Path) -> None:
        self.raw = (path / "index.msgpack").read_bytes()
        head = msgpack.Unpacker(io.BytesIO(self.raw))
        self.header = head.unpack()
        assert (self.header["format"], self.header["version"]) == ("ptrarray", 1)
        assert crc32(self.raw[: head.tell() - 5]) == self.header["crc"]
        self.dtype = np.dtype(_tupled(self.header["dtype"]))
        self.row_shape = tuple(self.header["row_shape"])
        self.attrs, self.n_rows = self.header["attrs"], self.header["n_rows"]
        starts, ends, crcs = (self.column(name).tolist() for name in ("start", "end", "crc"))
        bounds = [0, *self.column("name_end").tolist()]
        names = [bytes(self.column("names")[a:b]) for a, b in pairwise(bounds)]
        self.pointers = dict(zip(names, zip(starts, ends, crcs, strict=True), strict=True))
        width = self.dtype.itemsize * int(np.prod(self.row_shape, dtype=int))
        self.data = memoryview((path / self.header["data_file"]).read_bytes())
        self.in_index = list(self.pointers)
        self.width = width
        self.replay((path / "journal.msgpack").read_bytes())

    def column(self, name: str) -> npt.NDArray[Any]:
        kind, start, nbytes, crc = self.header["columns"][name]
        assert crc32(self.raw[start : start + nbytes]) == crc
        return np.frombuffer(self.raw, kind, nbytes // np.dtype(kind).itemsize, start)

    def find(self, name: bytes) -> int:
        """Position of a name in the index, or -1, by the name table."""
        slots = self.column("slot").reshape(-1, 2)
        at = crc32(name) * self.header["n_homes"] >> 32
        while slots[at, 1] != 0xFFFFFFFF:
            if slots[at, 0] == crc32(name) and self.in_index[slots[at, 1]] == name:
                return int(slots[at, 1])
            at += 1
        return -1

    def replay(self, raw: bytes) -> None:
        slots = [raw[at + 3 : at + 87] for at in (0, 4096)]
        whole = [s[:80] for s in slots if crc32(s[:80]) == int.from_bytes(s[80:], "little")]
        fields = [struct.unpack("<8s16s16sQQQQQ", slot) for slot in whole]
        _, store_id, _, generation, end, *_ = max(fields, key=lambda f: (f[3], f[4]))
        synced_end = max(f[5] for f in fields if f[3] == generation)
        if generation < self.header["generation"]:
            return
        assert (generation, store_id) == (self.header["generation"], self.header["store_id"])
        at, seed, commit = 8192, crc32(store_id + struct.pack("<Q", generation)), []
        while at < end:
            frame, nbytes, crc = *struct.unpack(">BI", raw[at : at + 5]), raw[at + 5 : at + 9]
            body = raw[at + 9 : at + 5 + nbytes]
            assert (frame, crc32(body, seed).to_bytes(4, "little")) == (0xC6, crc)
            kind, n_more, *fields = msgpack.unpackb(body)
            pointers = self.pointers_of(fields) if kind in (1, 4) else {}
            # Nothing here runs on the machine that wrote the stores: what was not flushed may be lost.
            if at >= synced_end and not all(map(self.is_intact, pointers.values())):
                return
            commit.append((kind, fields, pointers))
            if not n_more:
                self.apply(commit)
                commit = []
            at += 5 + nbytes

    def apply(self, commit: list[Any]) -> None:
        for kind, fields, pointers in commit:
            if kind == 3:
                self.attrs = fields[0]
                continue
            for name in self.names_of(fields):
                self.pointers.pop(name, None)
            self.pointers.update(pointers)
            self.n_rows = max(
                self.n_rows, *(end for start, end, _ in pointers.values() if start < end), 0
            )

    def names_of(self, fields: list[Any]) -> list[bytes]:
        bounds = [0, *np.frombuffer(fields[1], "<u8").tolist()]
        names = [fields[2][a:b] for a, b in pairwise(bounds)]
        assert [crc32(name) for name in names] == np.frombuffer(fields[0], "<u4").tolist()
        return names

    def pointers_of(self, fields: list[Any]) -> dict[bytes, tuple[int, int, int]]:
        types = zip(fields[3:], ("<u8", "<u8", "<u4"), strict=True)
        values = [np.frombuffer(field, kind).tolist() for field, kind in types]
        return dict(zip(self.names_of(fields), zip(*values, strict=True), strict=True))

    def is_intact(self, pointer: tuple[int, int, int]) -> bool:
        start, end, crc = pointer
        return crc32(self.data[start * self.width : end * self.width]) == crc

    def rows(self, start: int, end: int) -> npt.NDArray[Any]:
        if start == end or not self.width:
            return np.empty((end - start, *self.row_shape), self.dtype)
        raw = self.data[start * self.width : end * self.width]
        return np.frombuffer(raw, self.dtype).reshape(end - start, *self.row_shape)

    def arrays(self) -> dict[str, Found]:
        """Everything in data order."""
        in_order = sorted(self.pointers.items(), key=lambda item: item[1][0])
        return {n.decode(): Found(*p, self.rows(p[0], p[1])) for n, p in in_order}


def _tupled(descr: Any) -> Any:
    if isinstance(descr, str):
        return descr
    return [(name, _tupled(kind), *map(tuple, shape)) for name, kind, *shape in descr]


# What is expected -----------------------------------------------------------------------------------


class Expected(NamedTuple):
    facts: dict[str, Any]
    arrays: dict[str, tuple[int, int, npt.NDArray[Any]]]

    def array(self, values: Any) -> npt.NDArray[Any]:
        dtype, row_shape = np.dtype(self.facts["dtype"]), self.facts["row_shape"]
        return np.array(values, dtype).reshape(len(values), *row_shape)


def value_of(source: str) -> Any:
    """Value of a literal; sums and products, too."""
    return eval(
        compile(ast.parse(source, mode="eval"), "README.md", "eval"),
        {"__builtins__": {"dict": dict}},
    )


def table(section: str) -> Iterator[list[str]]:
    """Yield the cells of a table's rows, without their backticks."""
    for line in re.findall(r"^\| (`.*) \|$", section, re.MULTILINE):
        cells = re.split(r"(?<!\\) \| ", line)
        yield [cell.strip("`").replace(r"\|", "|") for cell in cells]


def expected_stores() -> dict[str, Expected]:
    text = (GOLDEN / "README.md").read_text(encoding="utf-8")
    stores = {}
    for section in text.split("\n## ")[1:]:
        facts = value_of(f"dict({', '.join(re.findall(r'^    (.*)$', section, re.MULTILINE))})")
        expected = Expected(facts, {})
        for name, start, end, values in table(section):
            array = expected.array(value_of(values))
            expected.arrays[value_of(name)] = (int(start), int(end), array)
        stores[section.split("\n")[0]] = expected
    return stores


def refused_stores() -> dict[str, list[str]]:
    text = (BAD / "README.md").read_text(encoding="utf-8")
    return {name: rest for name, *rest in table(text)}


EXPECTED = expected_stores()
REFUSED = refused_stores()


def stores_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._"}


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def same_bytes(array: npt.NDArray[Any], expected: npt.NDArray[Any]) -> bool:
    return (array.dtype, array.shape, array.tobytes()) == (
        expected.dtype,
        expected.shape,
        expected.tobytes(),
    )


# The lists are whole --------------------------------------------------------------------------------


def test_every_readable_version_has_golden_stores() -> None:
    assert stores_in(GOLDEN) == {f"v{version}" for version in range(1, VERSION + 1)}


def test_every_golden_store_is_there_and_described() -> None:
    assert stores_in(GOLDEN / "v1") == set(EXPECTED)
    assert len(EXPECTED) >= 15


def test_every_bad_store_is_there_and_described() -> None:
    assert stores_in(BAD) == set(REFUSED)
    assert len(REFUSED) >= 35


# Golden stores --------------------------------------------------------------------------------------


@pytest.fixture(params=EXPECTED)
def golden(request: pytest.FixtureRequest) -> Iterator[tuple[Path, Expected]]:
    path = GOLDEN / "v1" / str(request.param)
    before = contents(path)
    yield path, EXPECTED[request.param]
    assert contents(path) == before, "a test wrote to a golden store"


@pytest.mark.usefixtures("backend")
def test_reads_right(golden: tuple[Path, Expected]) -> None:
    path, expected = golden
    with ptrarray.open(path) as store:
        assert list(store) == list(expected.arrays)
        assert dict(store.pointers) == {n: (s, e) for n, (s, e, _) in expected.arrays.items()}
        for position, (name, (_, _, array)) in enumerate(expected.arrays.items()):
            assert same_bytes(store[name], array)
            assert same_bytes(store.arrays[position], array)
        assert same_bytes(store.rows, expected.array(expected.facts["rows"]))
        assert dict(store.attrs) == expected.facts["attrs"]
        assert "no such name" not in store
        store.verify()


def test_reads_right_without_this_package(golden: tuple[Path, Expected]) -> None:
    path, expected = golden
    store = Reader(path)
    arrays = store.arrays()
    assert list(arrays) == list(expected.arrays)
    for name, found in arrays.items():
        start, end, array = expected.arrays[name]
        assert (found.start, found.end) == (start, end)
        assert same_bytes(found.rows, array)
        assert found.crc == crc32(array.tobytes())
    assert same_bytes(store.rows(0, store.n_rows), expected.array(expected.facts["rows"]))
    assert store.attrs == expected.facts["attrs"]


def test_name_table_finds_every_name(golden: tuple[Path, Expected]) -> None:
    store = Reader(golden[0])
    positions = [store.find(name) for name in store.in_index]
    assert positions == list(range(len(store.in_index)))
    assert store.find(b"no such name") == -1


def test_can_be_written_to(golden: tuple[Path, Expected], tmp_path: Path) -> None:
    path, expected = golden
    copy = tmp_path / path.name
    shutil.copytree(path, copy)
    with ptrarray.append(copy) as writer:
        assert list(writer) == list(expected.arrays)
        start, end = writer.write({"one more": expected.array([])})
        assert start == end
    ptrarray.checkpoint(copy)
    with ptrarray.open(copy) as store:
        assert set(store) == {*expected.arrays, "one more"}
        assert all(same_bytes(store[name], a) for name, (_, _, a) in expected.arrays.items())
        store.verify()


def test_index_is_a_msgpack_stream(golden: tuple[Path, Expected]) -> None:
    """A map, and for each column `nil` objects up to a `bin`."""
    raw = (golden[0] / "index.msgpack").read_bytes()
    header, *objects = msgpack.Unpacker(io.BytesIO(raw))
    bins = [item for item in objects if item is not None]
    columns = header["columns"].values()
    assert [bytes] * len(columns) == list(map(type, bins))
    assert bins == [raw[start : start + nbytes] for _, start, nbytes, _ in columns]


def test_journal_is_a_msgpack_stream(golden: tuple[Path, Expected]) -> None:
    """Two `bin` objects of header, and one for each record, up to the committed end."""
    raw = (golden[0] / "journal.msgpack").read_bytes()
    slots = [raw[at : at + 87] for at in (0, 4096)]
    whole = [s for s in slots if crc32(s[3:83]) == int.from_bytes(s[83:], "little")]
    end = max(int.from_bytes(slot[51:59], "little") for slot in whole)
    first, second, *records = msgpack.Unpacker(io.BytesIO(raw[:end]))
    assert (len(first), len(second)) == (4093, 4093)
    assert 8192 + sum(5 + len(record) for record in records) == end
    assert all(type(msgpack.unpackb(record[4:])) is list for record in records)


# Stores to refuse -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    when, error, message = REFUSED[name]
    before = contents(BAD / name)
    refuse = read_all if when == "on reading" else ptrarray.open
    with pytest.raises(getattr(ptrarray, error), match=re.escape(message)) as caught:
        refuse(BAD / name)
    assert type(caught.value).__name__ == error
    assert contents(BAD / name) == before


def test_those_refused_on_reading_open() -> None:
    for name, (when, _, _) in REFUSED.items():
        if when == "on reading":
            ptrarray.open(BAD / name).close()


def read_all(path: Path) -> None:
    with ptrarray.open(path) as store:
        assert list(store.items())
        assert [name in store for name in store]
        assert "no such name" not in store
