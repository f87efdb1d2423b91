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
from tests.support.backends import HERE
from tests.support.checks import check_same, check_same_order

pytestmark = pytest.mark.usefixtures("limits")

FOLDER = Path(__file__).parent
GOLDEN = FOLDER / "golden"
BAD = FOLDER / "golden-bad"


# An independent reader ------------------------------------------------------------------------------


class Told(NamedTuple):
    """What an index or a record tells of an array."""

    start: int
    end: int
    crc: int
    info: bytes
    meta: bytes


class Found(NamedTuple):
    start: int
    end: int
    crc: int
    array: npt.NDArray[Any]
    meta: dict[str, Any]


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
        self.layout = self.header.get("layout", "rows")
        numbers = [self.column(name).tolist() for name in ("start", "end", "crc")]
        extras = [
            self.items(name) if name in self.header["columns"] else [b""] * self.header["n_arrays"]
            for name in ("info", "meta")
        ]
        told = map(Told, *numbers, *extras)
        self.pointers = dict(zip(self.items("names", "name_end"), told, strict=True))
        self.check_records()
        n_items = int(np.prod(self.row_shape, dtype=int))
        self.data = memoryview((path / self.header["data_file"]).read_bytes())
        self.mask = None
        if "mask_file" in self.header:
            self.mask = memoryview((path / self.header["mask_file"]).read_bytes())
        self.in_index = list(self.pointers)
        self.width = self.dtype.itemsize * n_items
        self.mask_width = mask_dtype(self.dtype).itemsize * n_items
        self.mask_start = self.header.get("packed_masks", 0)
        self.replay((path / "journal.msgpack").read_bytes())

    def column(self, name: str) -> npt.NDArray[Any]:
        kind, start, nbytes, crc = self.header["columns"][name]
        assert crc32(self.raw[start : start + nbytes]) == crc
        return np.frombuffer(self.raw, kind, nbytes // np.dtype(kind).itemsize, start)

    def check_records(self) -> None:
        """Check that numbers side by side are those of the columns, if the index has them."""
        if "entry" not in self.header["columns"]:
            return
        names = ("start", "end", "name_end", "info_end", "meta_end", "crc")
        columns = [self.column(name) for name in names if name in self.header["columns"]]
        raw = b"".join(
            number.tobytes() for numbers in zip(*columns, strict=True) for number in numbers
        )
        assert self.column("entry").tobytes() == raw

    def items(self, name: str, ends: str = "") -> list[bytes]:
        bounds = [0, *self.column(ends or f"{name}_end").tolist()]
        return [bytes(self.column(name)[a:b]) for a, b in pairwise(bounds)]

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
            pointers = self.pointers_of(fields) if kind in (1, 4, 5, 6) else {}
            # Nothing here runs on the machine that wrote the stores: what was not flushed may be lost.
            if at >= synced_end and kind < 5 and not all(map(self.is_intact, pointers.values())):
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
                self.n_rows, *(end for start, end, *_ in pointers.values() if start < end), 0
            )

    def names_of(self, fields: list[Any]) -> list[bytes]:
        bounds = [0, *np.frombuffer(fields[1], "<u8").tolist()]
        names = [fields[2][a:b] for a, b in pairwise(bounds)]
        assert [crc32(name) for name in names] == np.frombuffer(fields[0], "<u4").tolist()
        return names

    def pointers_of(self, fields: list[Any]) -> dict[bytes, Told]:
        names = self.names_of(fields)
        types = zip(fields[3:6], ("<u8", "<u8", "<u4"), strict=True)
        values = [np.frombuffer(field, kind).tolist() for field, kind in types]
        extras = [[b""] * len(names)] * 2
        if len(fields) > 6:
            bounds = [[0, *np.frombuffer(fields[at], "<u8").tolist()] for at in (6, 8)]
            joined = fields[7], fields[9]
            extras = [
                [raw[a:b] for a, b in pairwise(ends)]
                for raw, ends in zip(joined, bounds, strict=True)
            ]
        return dict(zip(names, map(Told, *values, *extras), strict=True))

    def is_intact(self, told: Told) -> bool:
        if told.start < told.end:
            mask_end = 0 if self.mask is None else self.mask_start + told.end * self.mask_width
            n_bytes = len(self.mask or b"")
            ends_early = n_bytes == self.header.get("packed_masks")
            if told.end * self.width > len(self.data) or (mask_end > n_bytes and not ends_early):
                return False
        return self.crc(told) == told.crc

    def crc(self, told: Told) -> int:
        crc = crc32(self.data[told.start * self.width : told.end * self.width])
        return crc32(self.mask_of(told), crc)

    def dtype_of(self, told: Told) -> np.dtype[Any]:
        info = msgpack.unpackb(told.info) if told.info and self.layout == "mixed" else {}
        dtype: np.dtype[Any] = self.dtype
        return np.dtype(_tupled(info["dtype"])) if "dtype" in info else dtype

    def mask_of(self, told: Told) -> bytes:
        if self.mask is None:
            return b""
        nbytes = (told.end - told.start) * self.mask_width
        if self.layout == "mixed":
            dtype = self.dtype_of(told)
            nbytes = (told.end - told.start) // dtype.itemsize * mask_dtype(dtype).itemsize
        first = self.mask_start + told.start * self.mask_width
        if self.layout == "mixed" and told.info:
            first = msgpack.unpackb(told.info).get("mask_at", first)
        ends_early = len(self.mask) == self.header.get("packed_masks")
        assert ends_early or len(self.mask) >= self.mask_start + self.n_rows * self.mask_width
        return bytes(self.mask[first : first + nbytes]).ljust(nbytes if ends_early else 0, b"\0")

    def array(self, told: Told) -> npt.NDArray[Any]:
        info = msgpack.unpackb(told.info) if told.info else {}
        dtype, shape = self.dtype_of(told), (told.end - told.start, *self.row_shape)
        if self.layout == "mixed":
            shape = (shape[0] // dtype.itemsize,)
        order: Any = "C"
        if self.layout != "rows":
            shape, order = tuple(info.get("shape", shape)), info.get("order", "C")
        raw = self.data[told.start * self.width : told.end * self.width]
        array: npt.NDArray[Any] = np.ndarray(shape, dtype, bytes(raw), order=order)
        if self.mask is None:
            return array
        kind = mask_dtype(dtype)
        mask: Any = np.ndarray(shape, kind, self.mask_of(told), order=order)
        masked = np.ma.MaskedArray(array, mask, hard_mask=info.get("hard_mask", False))
        if "fill_value" in info:
            masked.fill_value = np.frombuffer(info["fill_value"], dtype)[0]
        return masked

    def rows(self) -> npt.NDArray[Any]:
        told = Told(0, self.n_rows, 0, b"", b"")
        found = self.array(told)
        return np.ma.getdata(found) if self.layout == "mixed" else found

    def arrays(self) -> dict[str, Found]:
        """Everything in data order."""
        in_order = sorted(self.pointers.items(), key=lambda item: item[1][0])
        return {
            n.decode(): Found(
                *told[:3], self.array(told), msgpack.unpackb(told.meta) if told.meta else {}
            )
            for n, told in in_order
        }


def mask_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """One byte an element, or one for each field at any depth."""
    if dtype.subdtype is not None:
        inner, shape = dtype.subdtype
        return np.dtype((mask_dtype(inner), shape))
    if dtype.names is None:
        return np.dtype(np.bool_)
    return np.dtype([(name, mask_dtype(dtype[name])) for name in dtype.names])


def _tupled(descr: Any) -> Any:
    if isinstance(descr, str):
        return descr
    return [(name, _tupled(kind), *map(tuple, shape)) for name, kind, *shape in descr]


# What is expected -----------------------------------------------------------------------------------


class Wanted(NamedTuple):
    start: int
    end: int
    array: npt.NDArray[Any]
    meta: dict[str, Any]


class Expected(NamedTuple):
    facts: dict[str, Any]
    arrays: dict[str, Wanted]

    def array(self, values: Any) -> npt.NDArray[Any]:
        """Return an array of the page, which tells dtype and shape itself if it is one."""
        array: npt.NDArray[Any] = values
        if not isinstance(values, np.ndarray):
            dtype, row_shape = np.dtype(self.facts["dtype"]), self.facts["row_shape"] or ()
            array = np.array(values, dtype).reshape(len(values), *row_shape)
        return np.ma.asanyarray(array) if self.facts.get("masked", False) else array

    @property
    def rows(self) -> npt.NDArray[Any]:
        """The flat array, which in a mixed store is told as text of hexadecimal digits."""
        found = self.facts["rows"]
        return np.frombuffer(found, "|u1") if isinstance(found, bytes) else self.array(found)


def value_of(source: str) -> Any:
    """Value of a literal; sums and products, too."""
    words = {
        "dict": dict,
        "array": np.array,
        "fortran": np.asfortranarray,
        "masked": np.ma.MaskedArray,
        "true": True,
        "hexadecimal": bytes.fromhex,
    }
    return eval(
        compile(ast.parse(source, mode="eval"), "README.md", "eval"), {"__builtins__": words}
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
        for name, start, end, values, *meta in table(section):
            array = expected.array(value_of(values))
            metas = value_of(meta[0]) if meta else {}
            expected.arrays[value_of(name)] = Wanted(int(start), int(end), array, metas)
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


def check_same_array(array: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    check_same(array, expected)
    check_same_order(array, expected)


def crc_of(array: npt.NDArray[Any]) -> int:
    """CRC-32 of an array as it lies, and of its mask."""
    order: Any = "F" if array.flags.fnc else "C"
    crc = crc32(np.ma.getdata(array).tobytes(order))
    if not isinstance(array, np.ma.MaskedArray):
        return crc
    return crc32(np.ma.getmaskarray(array).tobytes(order), crc)


def layout_of(expected: Expected) -> tuple[str, bool]:
    return expected.facts.get("layout", "rows"), expected.facts.get("masked", False)


# The lists are whole --------------------------------------------------------------------------------


def test_every_readable_version_has_golden_stores() -> None:
    assert stores_in(GOLDEN) == {f"v{version}" for version in range(1, VERSION + 1)}


def test_every_golden_store_is_there_and_described() -> None:
    assert stores_in(GOLDEN / "v1") == set(EXPECTED)
    assert len(EXPECTED) >= 20


def test_every_bad_store_is_there_and_described() -> None:
    assert stores_in(BAD) == set(REFUSED)
    assert len(REFUSED) >= 75


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
        assert dict(store.pointers) == {n: (s, e) for n, (s, e, *_) in expected.arrays.items()}
        for position, (name, (_, _, array, meta)) in enumerate(expected.arrays.items()):
            check_same_array(store[name], array)
            check_same_array(store.arrays[position], array)
            assert store.meta[name] == meta
        check_same_array(store.rows[:], expected.rows)
        assert (store.layout, store.masked) == layout_of(expected)
        assert dict(store.attrs) == expected.facts["attrs"]
        assert "no such name" not in store
        store.verify()


def test_reads_right_without_this_package(golden: tuple[Path, Expected]) -> None:
    path, expected = golden
    store = Reader(path)
    arrays = store.arrays()
    assert list(arrays) == list(expected.arrays)
    for name, found in arrays.items():
        start, end, array, meta = expected.arrays[name]
        assert (found.start, found.end, found.meta) == (start, end, meta)
        check_same_array(found.array, array)
        assert found.crc == crc_of(array)
    check_same_array(store.rows(), expected.rows)
    assert (store.layout, store.mask is not None) == layout_of(expected)
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
    if path.name == "sealed.ptr":
        with ptrarray.append(copy) as writer, pytest.raises(ptrarray.BadInputError, match="sealed"):
            writer["one more"] = []
        ptrarray.compact(copy)
    with ptrarray.append(copy) as writer:
        assert list(writer) == list(expected.arrays)
        empty = np.empty((0, *(writer.row_shape or ())), writer.dtype)
        start, end = writer.write({"one more": empty})
        assert start == end
    ptrarray.checkpoint(copy)
    with ptrarray.open(copy) as store:
        assert set(store) == {*expected.arrays, "one more"}
        for name, (_, _, array, meta) in expected.arrays.items():
            check_same_array(store[name], array)
            assert store.meta[name] == meta
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


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, backend: str) -> None:
    when, error, message = REFUSED[name]
    before = contents(BAD / name)
    refuse = read_all if when == "on reading" else ptrarray.open
    # What comes from elsewhere is compared with its checksum before anything else.
    pattern = f"{re.escape(message)}|CRC-32" if backend not in HERE else re.escape(message)
    with pytest.raises(getattr(ptrarray, error), match=pattern) as caught:
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
        assert list(store.meta.values())
        assert [name in store for name in store]
        assert "no such name" not in store
