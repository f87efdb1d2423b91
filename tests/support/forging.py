"""Indexes and journals taken apart and put together, by the page that describes the format."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import msgpack
import numpy as np

from tests.support.damage import JOURNAL


def unpack_index(raw: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Take an index apart: its header without the checksum, and its columns."""
    header: dict[str, Any] = next(iter(_unpacker(raw)))
    del header["crc"]
    found = {
        name: raw[start : start + nbytes]
        for name, (_, start, nbytes, _) in header["columns"].items()
    }
    return header, found


def _unpacker(raw: bytes) -> Any:
    unpacker = msgpack.Unpacker(raw=False, max_buffer_size=len(raw) + 1)
    unpacker.feed(raw)
    return unpacker


def pack_index(header: dict[str, Any], found: dict[str, bytes]) -> bytes:
    """Put an index together, its checksum made to match whatever the header says."""
    packed: bytes = msgpack.packb(header | {"crc": 0xFFFF_FFFF})[:-5]
    raw = packed + b"\xce" + crc32(packed).to_bytes(4, "big")
    for name, column in found.items():
        start = header["columns"][name][1]
        raw = raw.ljust(start - 5, b"\xc0") + b"\xc6" + len(column).to_bytes(4, "big") + column
    return raw


def lay_out(header: dict[str, Any], found: dict[str, bytes]) -> bytes:
    """Put an index together with each column where there is room for it."""
    at = 4096
    for name, column in found.items():
        kind = header["columns"][name][0]
        header["columns"][name] = [kind, at, len(column), crc32(column)]
        at += -(-(len(column) + 5) // 64) * 64
    return pack_index(header, found)


SLOT = {"store_id": (11, 16), "boot_id": (27, 16), "generation": (43, 8), "committed_end": (51, 8)}
SLOT |= {"synced_end": (59, 8), "n_reserved": (67, 8), "next_generation": (75, 8)}
SLOT_CRC_AT, SLOT_NBYTES, RECORDS_AT = 83, 4096, 8192


def forge_slots(raw: bytes, slots: tuple[int, ...], **fields: int | bytes) -> bytes:
    """Change fields of the journal's header slots, and their checksums."""
    forged = bytearray(raw)
    for slot in slots:
        base = slot * SLOT_NBYTES
        for name, value in fields.items():
            at, nbytes = SLOT[name]
            piece = value if isinstance(value, bytes) else value.to_bytes(nbytes, "little")
            forged[base + at : base + at + nbytes] = piece
        covered = bytes(forged[base + 3 : base + SLOT_CRC_AT])
        forged[base + SLOT_CRC_AT : base + SLOT_CRC_AT + 4] = crc32(covered).to_bytes(4, "little")
    return bytes(forged)


def slot_field(raw: bytes, name: str) -> bytes:
    at, nbytes = SLOT[name]
    return raw[at : at + nbytes]


def records(raw: bytes) -> list[list[Any]]:
    """Return the bodies of a journal's records."""
    bodies, at = [], RECORDS_AT
    end = int.from_bytes(slot_field(raw, "committed_end"), "little")
    while at < end:
        nbytes = int.from_bytes(raw[at + 1 : at + 5], "big")
        bodies.append(msgpack.unpackb(raw[at + 9 : at + 5 + nbytes]))
        at += 5 + nbytes
    return bodies


def pack_journal(raw: bytes, bodies: list[Any]) -> bytes:
    """Put other records into a journal, all of them committed and on the disk."""
    seed = crc32(slot_field(raw, "store_id") + slot_field(raw, "generation"))
    frames = b"".join(frame(msgpack.packb(body), seed) for body in bodies)
    end = RECORDS_AT + len(frames)
    return forge_slots(raw[:RECORDS_AT] + frames, (0, 1), committed_end=end, synced_end=end)


def frame(body: bytes, seed: int) -> bytes:
    """Put a record together, its checksum begun with what the journal is of."""
    nbytes = (4 + len(body)).to_bytes(4, "big")
    return b"\xc6" + nbytes + crc32(body, seed).to_bytes(4, "little") + body


def with_item(raw: bytes, column: str, item: bytes) -> bytes:
    """Put another info or metadata in the place of the first array's, in an index or a journal."""
    if raw[:1] != b"\xc5":
        header, found = unpack_index(raw)
        found[column], found[f"{column}_end"] = _replaced(
            found[column], found[f"{column}_end"], item
        )
        return lay_out(header, found)
    bodies = records(raw)
    at = 9 if column == "info" else 11  # in the body of a put
    put = next(body for body in bodies if len(body) > 8)
    put[at], put[at - 1] = _replaced(put[at], put[at - 1], item)
    return pack_journal(raw, bodies)


def _replaced(joined: bytes, raw_ends: bytes, item: bytes) -> tuple[bytes, bytes]:
    ends = np.frombuffer(raw_ends, "<i8")
    return item + joined[ends[0] :], (ends + len(item) - ends[0]).tobytes()


def mended(file: str, raw: bytes) -> bytes:
    """Recompute the checksums of a mutated file, where they can be found."""
    try:
        if file == JOURNAL:
            return pack_journal(raw, records(raw)) if len(raw) > RECORDS_AT else raw
        header, found = unpack_index(raw)
        for name in found:
            header["columns"][name][3] = crc32(found[name])
        return pack_index(header, found)
    except Exception:  # noqa: BLE001 - it is beyond mending
        return raw
