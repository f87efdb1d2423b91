"""The stores of ``tests/golden-bad``: good ones, among them a published one, with something wrong under right checksums."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack
import numpy as np

import ptrarray
from ptrarray.format import journal as journal_format
from ptrarray.format.index import VERSION

Change = Callable[[Path], None]


def base(path: Path) -> None:
    """Make the store that is then damaged: two arrays in the index, one in the journal."""
    with ptrarray.create(path, dtype="<i2") as writer:
        writer.write({"a": [1, 2, 3], "b": [4]})
    ptrarray.checkpoint(path)
    writer = ptrarray.append(path)
    writer["c"] = [5]
    writer.flush()


def masked_base(path: Path) -> None:
    """Make one of arrays with infos, masks and metadata, all in the index."""
    with ptrarray.create(path, masked=True) as writer:
        grid = np.ma.MaskedArray(np.arange(6, dtype="<i2").reshape(2, 3), np.eye(2, 3) == 1)
        writer.write({"a": grid, "b": np.ones(2, "<f4")}, meta={"a": {"k": 1}})
    ptrarray.checkpoint(path)


def published(path: Path) -> None:
    """Have the numbers of each array side by side in the index, too, and write since."""
    with ptrarray.create(path) as writer:
        arrays = {"grid": np.arange(6, dtype="<i2").reshape(2, 3), "é": np.ones(2, "<f4")}
        writer.write({**arrays, "none": np.empty(0, "<f8")}, meta={"é": {"n": 1}})
    ptrarray.publish(path)
    writer = ptrarray.append(path)
    writer["late"] = np.array([7], "<i4")
    writer.flush()


def published_base(path: Path) -> None:
    """Make one whose index has the numbers of each array side by side, too."""
    base(path)
    ptrarray.publish(path)


def overwrite(file: Path, start_byte: int, raw: bytes) -> None:
    content = bytearray(file.read_bytes())
    content[start_byte : start_byte + len(raw)] = raw
    file.write_bytes(content)


def _bytes(file: str, start_byte: int, raw: bytes) -> Change:
    return lambda path: overwrite(path / file, start_byte, raw)


def _cut(file: str, nbytes: int) -> Change:
    def cut(path: Path) -> None:
        (path / file).write_bytes((path / file).read_bytes()[:nbytes])

    return cut


def _without(file: str) -> Change:
    return lambda path: (path / file).unlink()


def _first(content: bytes) -> dict[str, Any]:
    """Return the first object of a msgpack stream."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(content)
    fields: dict[str, Any] = unpacker.unpack()
    return fields


def _header(**changes: object) -> Change:
    """Change the header of the index, with the right checksum; `None` leaves a key out."""

    def change(path: Path) -> None:
        file = path / "index.msgpack"
        content = file.read_bytes()
        fields = {**_first(content), **changes}
        _write_header(file, content, {k: v for k, v in fields.items() if v is not None})

    return change


def _write_header(file: Path, content: bytes, fields: dict[str, object]) -> None:
    first = min(start for _, start, _, _ in _first(content)["columns"].values())
    fields.pop("crc")  # which comes last, after keys that are added
    covered = msgpack.packb({**fields, "crc": 0xFFFF_FFFF})[:-5]
    head = covered + b"\xce" + crc32(covered).to_bytes(4, "big")
    assert len(head) <= first - 5
    file.write_bytes(head.ljust(first - 5, b"\xc0") + content[first - 5 :])


def _column(name: str, **changes: object) -> Change:
    """Change the place of a column, with the right checksum; without changes leave it out."""

    def change(path: Path) -> None:
        file = path / "index.msgpack"
        content = file.read_bytes()
        fields = _first(content)
        place = dict(zip(("type", "start", "nbytes", "crc"), fields["columns"][name], strict=True))
        if changes:
            fields["columns"][name] = list((place | changes).values())
        else:
            del fields["columns"][name]
        _write_header(file, content, fields)

    return change


def _column_bytes(name: str, start_byte: int, raw: bytes, *, honest: bool = False) -> Change:
    """Change what is in a column, with the right checksum, or `honest` with the old one."""

    def change(path: Path) -> None:
        file = path / "index.msgpack"
        _, start, nbytes, _ = _first(file.read_bytes())["columns"][name]
        overwrite(file, start + start_byte, raw)
        if not honest:
            content = file.read_bytes()[start : start + nbytes]
            _column(name, crc=crc32(content))(path)

    return change


def _item(column: str, item: bytes) -> Change:
    """Put another item in the place of the first array's, with columns that fit it."""

    def change(path: Path) -> None:
        file = path / "index.msgpack"
        content = file.read_bytes()
        fields = _first(content)
        found = {n: content[at : at + size] for n, (_, at, size, _) in fields["columns"].items()}
        ends = np.frombuffer(found[f"{column}_end"], "<u8")
        found[column] = item + found[column][ends[0] :]
        found[f"{column}_end"] = (ends + len(item) - ends[0]).tobytes()
        at, body = 2048, b""
        for name, raw in found.items():
            fields["columns"][name] = [fields["columns"][name][0], at, len(raw), crc32(raw)]
            body = body.ljust(at - 2048, b"\xc0") + b"\xc6" + len(raw).to_bytes(4, "big") + raw
            at += -(-(len(raw) + 5) // 64) * 64
        covered = msgpack.packb({**fields, "crc": 0xFFFF_FFFF})[:-5]
        head = covered + b"\xce" + crc32(covered).to_bytes(4, "big")
        file.write_bytes(head.ljust(2043, b"\xc0") + body)

    return change


def _info(**fields: object) -> Change:
    return _item("info", msgpack.packb(fields))


def _meta(meta: object) -> Change:
    return _item("meta", msgpack.packb(meta))


def _journal_header(**changes: Any) -> Change:
    """Change both header slots of the journal, with the right checksum."""

    def change(path: Path) -> None:
        file = path / "journal.msgpack"
        for at in (0, journal_format.SLOT_NBYTES):
            header = journal_format.decode_slot(file.read_bytes()[at:])
            assert header is not None
            overwrite(file, at, header._replace(**changes).encode())

    return change


def _zeros_committed(path: Path) -> None:
    """Advance the committed end over zeros: the CRC-32 of nothing is zero, too."""
    file = path / "journal.msgpack"
    end = len(file.read_bytes())
    file.write_bytes(file.read_bytes() + bytes(64))
    _journal_header(committed_end=end + 64, synced_end=end + 64)(path)


def _all(*changes: Change) -> Change:
    def change(path: Path) -> None:
        for each in changes:
            each(path)

    return change


BAD_STORES: dict[str, Change] = {
    "not-ours": _header(format="other"),
    "not-msgpack": _bytes("index.msgpack", 0, b"\x93NUMPY\x01\x00"),
    "newer-version": _header(version=VERSION + 1),
    "header-damaged": _bytes("index.msgpack", 60, b"\xff"),
    "header-cut": _cut("index.msgpack", 100),
    "index-empty": _cut("index.msgpack", 0),
    "index-cut": _cut("index.msgpack", 700),
    "index-missing": _without("index.msgpack"),
    "dtype-objects": _header(dtype="|O"),
    "dtype-objects-nested": _header(dtype=[["a", "<i2"], ["b", [["c", "|O"]]]]),
    "dtype-evaluated": _header(dtype="2i2, (3,)i2"),
    "row-shape-negative": _header(row_shape=[-1]),
    "row-shape-large": _header(row_shape=[2**62, 0]),
    "row-shape-deep": _header(row_shape=[1] * 64),
    "rows-too-many": _header(n_rows=2**62),
    "rows-of-nothing": _header(row_shape=[0], n_rows=2**62),
    "arrays-too-many": _header(n_arrays=2**61),
    "attrs-list": _header(attrs=[1]),
    "key-missing": _header(generation=None),
    "data-file-outside": _header(data_file="../data.bin"),
    "columns-overlapping": _column("end", start=512),
    "column-unaligned": _column("end", start=577),
    "column-negative": _column("names", nbytes=-64),
    "column-missing": _column("crc"),
    "column-type": _column("start", type="<f8"),
    "column-damaged": _column_bytes("names", 0, b"x", honest=True),
    "pointer-outside": _column_bytes("end", 0, b"\xff\xff"),
    "pointer-reversed": _column_bytes("start", 8, b"\x09"),
    "name-outside": _column_bytes("name_end", 0, b"\xff\xff"),
    "table-outside": _column_bytes("slot", 0, b"\x00" * 40),
    "data-cut": _cut("data.bin", 6),
    "data-missing": _without("data.bin"),
    "journal-missing": _without("journal.msgpack"),
    "journal-other-store": _journal_header(store_id=b"0" * 16),
    "journal-later": _journal_header(generation=99),
    "journal-headless": _all(
        _bytes("journal.msgpack", 20, b"\xff"), _bytes("journal.msgpack", 4096 + 20, b"\xff")
    ),
    "journal-cut": _cut("journal.msgpack", 8192 + 20),
    "record-damaged": _bytes("journal.msgpack", 8192 + 30, b"\xff"),
    "record-zeros": _zeros_committed,
    "layout-unknown": _header(layout="other"),
    "sealed-number": _header(sealed=1),
    "layout-mixed-of-ints": _header(layout="mixed"),
    "layout-shaped-rows": _header(layout="shaped", row_shape=[2]),
}

_NESTED: Any = "<i2"
for _ in range(20):
    _NESTED = [["x", _NESTED]]

BAD_MASKED_STORES: dict[str, Change] = {
    "mask-outside": _header(mask_file="../mask.bin"),
    "mask-is-data": _header(mask_file="data.bin"),
    "mask-of-nothing": _header(layout="shaped", dtype=[["", "|V4"]]),
    "mask-missing": _without("mask.bin"),
    "mask-cut": _cut("mask.bin", 40),
    "info-alone": _column("info_end"),
    "info-end-alone": _column("info"),
    "meta-alone": _column("meta_end"),
    "info-end-short": _column("info_end", nbytes=8),
    "meta-end-long": _column("meta_end", nbytes=24),
    "info-outside": _column_bytes("info_end", 0, b"\xff\xff"),
    "meta-outside": _column_bytes("meta_end", 8, b"\xff\xff"),
    "info-no-map": _item("info", msgpack.packb([1])),
    "info-empty-msgpack": _item("info", b"\xc1"),
    "info-large": _info(shape=[12], more=bytes(2**16)),
    "info-objects": _info(dtype="|O", shape=[2, 3]),
    "info-objects-nested": _info(dtype=[["a", [["b", "|O"]]]]),
    "info-nested": _info(dtype=_NESTED),
    "info-no-width": _info(dtype="|S0"),
    "info-mask-wider": _info(dtype=[["a", "|u1"], ["b", "|S0"]], shape=[12]),
    "info-dtype-too-wide": _info(dtype="<f8"),
    "info-shape-other": _info(dtype="<i2", shape=[2, 2]),
    "info-shape-huge": _info(dtype="<i2", shape=[2**62, 2**62, 2**62]),
    "info-shape-of-nothing": _info(dtype="<i2", shape=[0, 2**62, 2**62]),
    "info-shape-negative": _info(dtype="<i2", shape=[-2, -3]),
    "info-shape-deep": _info(dtype="<i2", shape=[2, 3] + [1] * 63),
    "info-shape-text": _info(dtype="<i2", shape="23"),
    "info-order": _info(dtype="<i2", shape=[2, 3], order="Q"),
    "info-fill-value-short": _info(dtype="<i2", shape=[2, 3], fill_value=b"\0"),
    "info-fill-value-long": _info(dtype="<i2", shape=[2, 3], fill_value=b"\0" * 4),
    "info-fill-value-text": _info(dtype="<i2", shape=[2, 3], fill_value="ab"),
    "meta-list": _meta([1, 2]),
    "meta-keys": _meta({1: 2}),
    "meta-bytes-keys": _meta({b"k": 2}),
    "meta-cut": _item("meta", b"\x82\xa1k\x01"),
    "meta-two": _item("meta", b"\x80\x80"),
    "meta-nested": _item("meta", b"\x81\xa1k" * 5000 + b"\x01"),
    "meta-endless": _item("meta", b"\x81\xa1k" + b"\xdd\xff\xff\xff\xff" * 100),
}

BAD_PUBLISHED_STORES: dict[str, Change] = {
    "entry-short": _column("entry", nbytes=56),
    "entry-type": _column("entry", type="<u8"),
    "entry-damaged": _column_bytes("entry", 8, b"\x09", honest=True),
}
