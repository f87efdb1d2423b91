"""docs/FORMAT.md and ARCHITECTURE.md say what the code does: tables, limits, bytes, layers."""

from __future__ import annotations

import ast
import re
import struct
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

import ptrarray
from ptrarray.format import attrs, index, infos, journal, names, table
from ptrarray.format.entries import Entries
from ptrarray.intake import batch
from ptrarray.storage.writing import session
from tests.golden import make
from tests.test_layers import FILES as MODULES
from tests.test_layers import FOLDERS, PACKAGE, RANKS, imports, parse

TEXT = (Path(__file__).parent.parent / "docs" / "FORMAT.md").read_text(encoding="utf-8")
EXAMPLE = make.GOLDEN / "example.ptr"
FILES = ("data.bin", "index.msgpack", "journal.msgpack")

Row = tuple[str, ...]
Layout = list[tuple[int, str, str]]  # byte, type and field


# Reading the document -------------------------------------------------------------------------------


def tables(text: str) -> dict[str, list[Row]]:
    """Return the rows of each table, without its two lines of head, by the heading above it."""
    found: dict[str, list[Row]] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            row = tuple(unquoted(cell.strip()).replace("\\|", "|") for cell in cells)
            found.setdefault(heading, []).append(row)
    return {heading: rows[2:] for heading, rows in found.items()}


def unquoted(cell: str) -> str:
    """Return a cell without its backticks if all of it is code."""
    return cell[1:-1] if re.fullmatch("`[^`]*`", cell) else cell


def layout(text: str, heading: str) -> Layout:
    return [(int(byte), kind, field) for byte, kind, field, _ in tables(text)[heading]]


def dumps(text: str) -> dict[str, bytes]:
    """Return the hex dumps of the worked example as bytes."""
    found = re.findall(r"^`(\S+)`:\n\n```\n(.*?)```", text, re.MULTILINE | re.DOTALL)
    return {name: parse_dump(dump) for name, dump in found}


def parse_dump(dump: str) -> bytes:
    raw, line = b"", b""
    repeats = False
    for text in dump.splitlines():
        if text == "*":
            repeats = True
            continue
        start_byte, *numbers = text.split()
        if repeats:
            raw += line * ((int(start_byte, 16) - len(raw)) // 16)
        assert len(raw) == int(start_byte, 16), text
        line, repeats = bytes.fromhex("".join(numbers)), False
        raw += line
    return raw


# Tables of section 3 --------------------------------------------------------------------------------

SIZES = {"u8": 1, "u16 big-endian": 2, "u32 big-endian": 4, "u32": 4, "u64": 8, "bytes": 0}


def size_of(kind: str) -> int:
    counted = re.fullmatch(r"(\d+) bytes", kind)
    return int(counted[1]) if counted else SIZES[kind]


def type_of(code: str, nbytes: int) -> str:
    """Word of the document for a letter of struct."""
    return {"s": f"{nbytes} bytes", "B": "u8", "I": "u32", "Q": "u64"}[code]


def struct_layout(pattern: struct.Struct, fields: tuple[str, ...], start_byte: int) -> Layout:
    """Return byte, type and name of each field of a struct."""
    codes = re.findall(r"(\d*)([a-zA-Z])", pattern.format)
    found = []
    for (digits, code), field in zip(codes, fields, strict=True):
        nbytes = int(digits) if digits else struct.calcsize(f"<{code}")
        found.append((start_byte, type_of(code, nbytes), field))
        start_byte += nbytes
    return found


def coded_header_slot() -> Layout:
    prefix = journal._SLOT_PREFIX
    assert (prefix[0], int.from_bytes(prefix[1:], "big")) == (0xC5, journal.SLOT_NBYTES - 3)
    fields = ("magic", *journal.JournalHeader._fields, "crc")
    padding = f"{journal.SLOT_NBYTES - journal.LIVE_NBYTES} bytes"
    return [
        (0, "u8", "frame"),
        (1, "u16 big-endian", "frame_nbytes"),
        *struct_layout(journal._SLOT, fields, len(prefix)),
        (journal.LIVE_NBYTES, padding, "padding"),
    ]


def coded_record() -> Layout:
    assert journal._RECORD.format == ">BI"
    prefix = journal.FRAME_PREFIX_NBYTES
    crc = journal._CRC_NBYTES
    head = [(0, "u8", "frame"), (1, "u32 big-endian", "nbytes")]
    return [*head, (prefix, "u32", "crc"), (prefix + crc, "bytes", "body")]


def coded_slot() -> Layout:
    built = table.build(np.array([7], np.uint32))
    assert built.dtype == np.uint32
    column = built.ravel().view(np.uint8)[int(np.argmax(built[:, 1] == 0)) * 8 :]
    assert column[:8].tobytes() == struct.pack("<II", 7, 0)
    return [(0, "u32", "hash"), (4, "u32", "position")]


LAYOUTS: dict[str, Callable[[], Layout]] = {
    "Header slot": coded_header_slot,
    "Record": coded_record,
    "Slot of the name table": coded_slot,
}


@pytest.mark.parametrize("heading", LAYOUTS)
def test_layout(heading: str) -> None:
    documented = layout(TEXT, heading)
    assert documented == LAYOUTS[heading]()
    for (byte, kind, _), (next_byte, _, _) in pairwise(documented):
        assert byte + size_of(kind) == next_byte


@pytest.mark.parametrize("heading", LAYOUTS)
def test_an_edited_layout_is_noticed(heading: str) -> None:
    """Were any byte, type or field of a table another, `test_layout` would fail."""
    rows = re.findall(
        r"^\| \d+ \| .* \|$", TEXT.split(f"# {heading}\n")[1].split("\n#")[0], re.MULTILINE
    )
    assert len(rows) == len(LAYOUTS[heading]())
    for row in rows:
        byte, kind, field, meaning = row.strip("| ").split(" | ")
        for edited in (
            f"| {int(byte) + 1} | {kind} | {field} | {meaning} |",
            f"| {byte} | i16 | {field} | {meaning} |",
            f"| {byte} | {kind} | {field}s | {meaning} |",
        ):
            assert layout(TEXT.replace(row, edited), heading) != LAYOUTS[heading]()


def test_constants_in_the_layouts() -> None:
    slot, record, entry = (tables(TEXT)[heading] for heading in LAYOUTS)
    meanings = {row[2]: row[3] for row in slot}
    assert int(meanings["frame_nbytes"]) == journal.SLOT_NBYTES - 3
    assert meanings["magic"].encode() == journal.MAGIC
    assert f"bytes 3 to {journal.LIVE_NBYTES - 4}" in meanings["crc"]
    assert record[0][3].startswith(f"`{journal._BIN32:#x}`")
    assert f"`{table.EMPTY:#x}`" in entry[1][3]
    prose = " ".join(TEXT.split())
    assert f"two header slots of {journal.SLOT_NBYTES} bytes" in prose
    assert f"then from byte {journal.RECORDS_START} the records" in prose
    assert f"begin at a multiple of {index.ALIGNMENT} bytes" in prose
    assert f"{index.STORE_ID_NBYTES} random bytes" in prose
    assert f"`format` is `{index.FORMAT}`" in prose
    assert f"The format of a store, version {index.VERSION}\n" in TEXT
    assert tables(TEXT)["11. History"][-1][0] == str(index.VERSION)


NOT_FACTS = {"format", "version", "columns", "crc"}
MSGPACK_TYPES = {"str": str, "int": int, "bin": bytes, "array": list, "map": dict}


def test_header_map() -> None:
    fields = unpack_first((EXAMPLE / "index.msgpack").read_bytes())
    documented = tables(TEXT)["Header map"]
    assert [key for key, _, _ in documented] == list(fields)
    for key, kinds, _ in documented:
        assert type(fields[key]) in [MSGPACK_TYPES[kind] for kind in kinds.split(" or ")]
    assert {key: meaning for key, _, meaning in documented}["version"].endswith(
        f"`{index.VERSION}`"
    )
    optional = [key for key, _, _ in tables(TEXT)["Optional keys of the header"]]
    assert optional == ["layout", "dtype_names", "mask_file", "packed_masks", "sealed"]
    optional.remove("dtype_names")  # of ml_dtypes, tested with those
    facts = set(index.IndexHeader.__dataclass_fields__) - {"kind", "crc"} | {"layout"}
    assert facts == (fields.keys() - NOT_FACTS) | set(optional)


def test_optional_header_keys(tmp_path: Path) -> None:
    path = tmp_path / "mixed.ptr"
    ptrarray.create(path, masked=True).close()
    fields = unpack_first((path / "index.msgpack").read_bytes())
    assert (fields["layout"], fields["mask_file"]) == ("mixed", "mask.bin")
    assert (fields["dtype"], fields["row_shape"]) == ("|u1", [])
    assert "packed_masks" not in fields
    ptrarray.compact(path)
    assert unpack_first((path / "index.msgpack").read_bytes())["packed_masks"] == 0


def test_info_map(tmp_path: Path) -> None:
    path = tmp_path / "mixed.ptr"
    mask = np.eye(2, 3, dtype=bool, order="F")
    masked = np.ma.MaskedArray(np.eye(2, 3, order="F"), mask, fill_value=7, hard_mask=True)
    with ptrarray.create(path, masked=True) as writer:
        writer["a"] = masked.astype("f4", order="F")
    ptrarray.compact(path)
    raw = (path / "index.msgpack").read_bytes()
    _, start_byte, nbytes, _ = unpack_first(raw)["columns"]["info"]
    found = msgpack.unpackb(raw[start_byte : start_byte + nbytes])
    documented = {key: kind for key, kind, _ in tables(TEXT)["Info of an array"]}
    assert found.keys() == documented.keys() - {"dtype_names"}
    kinds = MSGPACK_TYPES | {"bool": bool}
    for key, value in found.items():
        assert type(value) in [kinds[kind] for kind in documented[key].split(" or ")]


def unpack_first(raw: bytes) -> dict[str, Any]:
    unpacker = msgpack.Unpacker()
    unpacker.feed(raw)
    fields: dict[str, Any] = unpacker.unpack()
    return fields


def test_columns() -> None:
    documented = tables(TEXT)["Columns"]
    required = {column: kind for column, kind, needed, _ in documented if needed == "yes"}
    optional = {column: kind for column, kind, needed, _ in documented if needed == "no"}
    assert list(required.items()) == list(index.COLUMN_TYPES.items())
    assert list(optional.items()) == list(index.OPTIONAL_COLUMN_TYPES.items())


@pytest.mark.parametrize("extra", [(), ("info",), ("meta",), ("info", "meta")])
def test_record_of_an_array(extra: tuple[str, ...]) -> None:
    columns = {*index.COLUMN_TYPES, *extra, *(f"{name}_end" for name in extra)}
    documented = [
        (field, kind)
        for kind, field, when in tables(TEXT)["Record of an array"]
        if when == "always" or when.split("`")[1] in columns
    ]
    dtype = index.entry_dtype(columns)
    assert dtype.names == tuple(field for field, _ in documented)
    assert [f"u{8 * dtype[name].itemsize}" for name in dtype.names] == [k for _, k in documented]
    assert all(dtype[name].str.startswith("<u") for name in dtype.names)
    assert dtype.itemsize == sum(dtype[name].itemsize for name in dtype.names)


KINDS = {
    "put": journal.PUT,
    "delete": journal.DELETE,
    "attrs": journal.ATTRS,
    "point": journal.POINT,
    "put, not judged": journal.PUT_UNJUDGED,
    "point, not judged": journal.POINT_UNJUDGED,
}
# What a record has: two names, the second without rows.
RECORDED: dict[str, Any] = {
    "hashes": [1, 2],
    "name_ends": [1, 3],
    "names": list(b"abc"),
    "starts": [4, 5],
    "ends": [9, 5],
    "crcs": [6, 7],
    "info_ends": [0, 2],
    "infos": list(b"de"),
    "meta_ends": [1, 1],
    "metas": list(b"f"),
}
EXTRAS = ("info_ends", "infos", "meta_ends", "metas")  # only where an array has any


def encoded(kind: str, *, with_extras: bool = False) -> bytes:
    if kind == "attrs":
        return journal.encode_attrs({"rate": 1}, 0)
    starts, ends, crcs, hashes = (RECORDED[key] for key in ("starts", "ends", "crcs", "hashes"))
    extras: Any = ([b"", b"de"], [b"f", b""]) if with_extras else ()
    entries = Entries.of([b"a", b"bc"], starts, ends, crcs, 0, *extras)
    entries = entries._replace(hashes=np.array(hashes, np.uint32))
    if kind == "delete":
        ((_, record),) = journal.encode_records(journal.DELETE, entries, 0)
        return bytes(record)
    return bytes(journal.encode_record(KINDS[kind], entries, 0, n_more=3))


def test_bodies_of_records() -> None:
    rows = tables(TEXT)["Body of a record"]
    kinds = {name: (int(number), fields) for number, name, fields, _ in iter_of_length(rows, 4)}
    types = {field: kind for field, kind, _ in iter_of_length(rows, 3)}
    assert {name: number for name, (number, _) in kinds.items()} == KINDS
    assert set(types) == set(RECORDED)
    for name, (number, documented) in kinds.items():
        kind, n_more, *fields = msgpack.unpackb(encoded(name)[9:])
        assert (kind, n_more) == (number, 3 if "crcs" in documented else 0)
        for field, found in zip(documented.split(", "), fields, strict=True):
            if field == "attrs":
                assert found == {"rate": 1}
            else:
                assert np.frombuffer(found, types[field]).tolist() == RECORDED[field]
    for name in KINDS.keys() - {"delete", "attrs"}:
        fields = msgpack.unpackb(encoded(name, with_extras=True)[9:])[-4:]
        for field, found in zip(EXTRAS, fields, strict=True):
            assert np.frombuffer(found, types[field]).tolist() == RECORDED[field]


def iter_of_length(rows: list[Row], n_cells: int) -> Iterator[Any]:
    """Yield the rows of that of several tables below one heading that has so many columns."""
    return (row for row in rows if len(row) == n_cells and row[0] not in ("field", "---"))


# Limits ---------------------------------------------------------------------------------------------

LIMITS = {
    "name": names.NAME_LIMIT_NBYTES,
    "one column of the index": index.COLUMN_LIMIT_NBYTES,
    "header of the index": index.HEADER_LIMIT_NBYTES,
    "attrs, and metadata of one array": attrs.LIMIT_NBYTES,
    "info of one array": infos.LIMIT_NBYTES,
    "names in one record": journal.RECORD_LIMIT_NAMES,
    "names in one call": batch.NAMES_LIMIT_NBYTES,
    "journal before it is folded in": session._JOURNAL_LIMIT_NBYTES,
    "rows \N{MULTIPLICATION SIGN} width": 2**63,
    "load of the name table": table.LOAD,
}


def test_limits() -> None:
    documented = {}
    for what, limit in tables(TEXT)["10. Limits"]:
        number = re.search(r"[\d.]+", limit)
        assert number is not None
        documented[what] = ast.literal_eval(number[0])
    assert documented == LIMITS


# The worked example ---------------------------------------------------------------------------------


def test_example_is_what_the_code_writes(tmp_path: Path) -> None:
    path = tmp_path / "example.ptr"
    make.write_store(path, make.GOOD_STORES["example"])
    written = {file: (path / file).read_bytes() for file in FILES}
    assert sorted(file.name for file in path.iterdir()) == sorted(FILES)
    assert dumps(TEXT) == written


def test_example_is_the_golden_store() -> None:
    assert dumps(TEXT) == {file: (EXAMPLE / file).read_bytes() for file in FILES}


def test_example_reads_as_it_says(tmp_path: Path) -> None:
    for file, raw in dumps(TEXT).items():
        (tmp_path / file).write_bytes(raw)
    with ptrarray.open(tmp_path) as store:
        assert {name: array.tolist() for name, array in store.items()} == {"é": [4], "b": [5, 6]}
        assert dict(store.pointers) == {"é": (3, 4), "b": (4, 6)}
        assert (store.dtype.str, store.row_shape, dict(store.attrs)) == ("<u2", (), {"rate": 8000})


def test_example_told_in_words() -> None:
    raw = dumps(TEXT)["index.msgpack"]
    fields = unpack_first(raw)
    end = len(msgpack.packb(fields))
    words = re.findall(
        r"ends at byte (\w+),.*?object `(.*?)`: (\w+) is.*?the (\w+)\s", TEXT, re.DOTALL
    )
    (ends_at, objects, crc, covered), *_ = words
    assert raw[int(covered, 16) : int(ends_at, 16)] == bytes.fromhex(objects.replace(" ", ""))
    assert int(crc, 16) == fields["crc"]
    assert int(ends_at, 16) == int(covered, 16) + 5 == end
    assert raw[end : end + 1] == b"\xc0"
    start = '"start": ["{}", {:#x}, {}, {:#x}]'.format(*fields["columns"]["start"])
    assert start in TEXT
    for name in ("generation", "n_arrays", "n_rows", "n_reserved", "n_homes"):
        assert f"{name} {fields[name]}," in TEXT


# The layers in docs/ARCHITECTURE.md -----------------------------------------------------------------


def modules_in(folder: str) -> dict[str, Path]:
    """Return the modules that lie in a folder itself."""
    parent = PACKAGE.joinpath(*folder.split("."))
    return {file.stem: file for file in MODULES if file.parent == parent}


def architecture_tables() -> dict[str, list[Row]]:
    """Return the tables of the page by the first word of their head."""
    lines = (Path(__file__).parent.parent / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^\| ([\w/]+)[^\n]*\n\|[-|]+\n((?:\|[^\n]*\n)+)", lines, re.MULTILINE)
    return {head: tables(f"# {head}\n||\n||\n{body}")[head] for head, body in blocks}


def test_architecture_tells_the_ranks() -> None:
    documented = [
        (int(rank), module.strip("/").replace("/", "."))
        for rank, module, _ in architecture_tables()["rank"]
    ]
    faces = {"__init__", "__main__"}
    coded = {(rank, module) for rank, row in enumerate(RANKS) for module in row - faces}
    assert sorted(documented) == sorted(coded)


WITH_MODULES = {folder for folder in FOLDERS if set(modules_in(folder)) - {"__init__"}}


@pytest.mark.parametrize("folder", sorted(WITH_MODULES))
def test_architecture_tells_the_order_in_folders(folder: str) -> None:
    """Each module of a folder imports only those above it in the table."""
    documented = [module for module, _ in architecture_tables()[folder.replace(".", "/")]]
    files = modules_in(folder)
    assert set(documented) == set(files) - {"__init__"}
    for position, module in enumerate(documented):
        prefix = f"ptrarray.{folder}."
        names = [name for name in imports(parse(files[module])) if name.startswith(prefix)]
        found = {name.removeprefix(prefix).split(".")[0] for name in names}
        assert found & set(files) <= set(documented[:position])
