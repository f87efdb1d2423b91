"""The journal file: two header slots rewritten in place, then records."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import msgpack
import numpy as np
import numpy.typing as npt

from ptrarray.format.checksum import crc32
from ptrarray.format.index import corrupt
from ptrarray.format.names import ends_of

MAGIC = b"ptrjrnl1"
SLOT_NBYTES = 4096
RECORDS_START = 2 * SLOT_NBYTES
RECORD_LIMIT_NAMES = 2**22  # in one record, so that it fits in a msgpack bin

PUT, DELETE, ATTRS, POINT = 1, 2, 3, 4

_SLOT = struct.Struct("<8s16s16sQQQQQI")  # FORMAT.md, journal header
_SLOT_PREFIX = b"\xc5" + (SLOT_NBYTES - 3).to_bytes(2, "big")
_RECORD = struct.Struct(">BI")  # FORMAT.md, record frame: bin 32, length
_FRAME = struct.Struct(">BI4s")  # the same, and the CRC
_BIN32 = 0xC6
# Hashes, name ends, names, starts, ends, CRCs; info ends, infos, meta ends, metas if there are any.
_POINTER_FIELDS: tuple[list[type], ...] = ([bytes] * 6, [bytes] * 10)
_FIELD_TYPES: dict[int, tuple[list[type], ...]] = {
    PUT: _POINTER_FIELDS,
    POINT: _POINTER_FIELDS,
    DELETE: ([bytes] * 3,),  # hashes, name ends, names
    ATTRS: ([dict],),
}
_CRC_NBYTES = 4
# The fields of one name before and after the name itself, as msgpack packs them.
_BEFORE_NAME = struct.Struct("<3B 2BI 2BQ 2B")
_AFTER_NAME = struct.Struct("<2BQ 2BQ 2BI")
_FIXARRAY, _BIN8, _BIN8_LIMIT = 0x90, 0xC4, 256
LIVE_NBYTES = len(_SLOT_PREFIX) + _SLOT.size
FRAME_PREFIX_NBYTES = _RECORD.size


class JournalHeader(NamedTuple):
    """State of a journal: what is committed, what is on the disk, what is reserved."""

    store_id: bytes
    boot_id: bytes  # of the machine, when this was written
    generation: int
    committed_end: int  # byte where the committed records end
    synced_end: int  # byte up to which they are known to be on the disk
    n_reserved: int  # rows reserved at the highest
    next_generation: int = 0  # of an index that is being put in place, or was by a killed process

    def encode(self) -> bytes:
        """Bytes of a header slot, less its padding."""
        raw = _SLOT.pack(MAGIC, *self, 0)[:-_CRC_NBYTES]
        return _SLOT_PREFIX + raw + crc32(raw).to_bytes(_CRC_NBYTES, "little")

    @property
    def seed(self) -> int:
        """CRC that those of the records go on from.

        A record left over from an earlier generation, or from another store,
        does not match it.
        """
        return crc32(self.store_id + self.generation.to_bytes(8, "little"))


def encode_fresh(header: JournalHeader) -> bytes:
    """Return the contents of a journal without records."""
    slot = header.encode().ljust(SLOT_NBYTES, b"\0")
    return slot + slot


def decode_slot(raw: bytes) -> JournalHeader | None:
    """Return the header in a slot, or None if there is none that is whole."""
    if len(raw) < LIVE_NBYTES or not raw.startswith(_SLOT_PREFIX):
        return None
    body = raw[len(_SLOT_PREFIX) : LIVE_NBYTES]
    magic, *fields, crc = _SLOT.unpack(body)
    if magic != MAGIC or crc != crc32(body[:-_CRC_NBYTES]):
        return None
    header = JournalHeader(*fields)
    sane = header.synced_end >= RECORDS_START and RECORDS_START <= header.committed_end < 2**63
    return header if sane and header.n_reserved < 2**63 else None


def decode_header(raw: bytes, where: str) -> JournalHeader:
    """Join what the two slots say.

    The first slot is rewritten by each commit, the second by each flush and
    synced at once. After a power cut the first may be damaged or stale; in
    one generation no end ever moves back, so the larger ones are right.

    Raises
    ------
    CorruptStoreError
        If neither slot is whole.
    """
    slots = [decode_slot(raw[:SLOT_NBYTES]), decode_slot(raw[SLOT_NBYTES:RECORDS_START])]
    found = [slot for slot in slots if slot is not None]
    if not found:
        raise corrupt(where, "has no header that matches its checksum")
    newest = max(found, key=lambda slot: slot.generation)
    same = [s for s in found if (s.generation, s.store_id) == (newest.generation, newest.store_id)]
    committed = max(same, key=lambda slot: slot.committed_end)
    return committed._replace(
        synced_end=max(slot.synced_end for slot in same),
        n_reserved=max(slot.n_reserved for slot in same),
    )


class Record(NamedTuple):
    """One change: names given pointers, names deleted, or new attrs.

    `PUT` tells of rows that were written for the names, `POINT` of rows that
    exist and may have other names, too.
    """

    kind: int
    hashes: npt.NDArray[np.uint32]
    names: list[bytes]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    crcs: npt.NDArray[np.uint32]
    attrs: dict[str, Any]
    infos: list[bytes] | None = None  # of each array, if any has one
    metas: list[bytes] | None = None


class Frame(NamedTuple):
    """A record's bytes, checked but not decoded."""

    start_byte: int
    end_byte: int
    kind: int
    n_more: int  # records of the same commit that follow
    fields: list[Any]

    def hashes(self) -> npt.NDArray[np.uint32]:
        """Hashes of the names it tells of; empty for attrs."""
        raw = self.fields[0] if self.kind != ATTRS else b""
        return np.frombuffer(raw, "<u4")


class Pointed(NamedTuple):
    """Names and what a record gives to each: one entry an array in every column."""

    names: list[bytes]
    hashes: array[int]
    starts: array[int]  # of 64-bit numbers, as the next
    ends: array[int]
    crcs: array[int]
    infos: list[bytes] | None = None  # None where none has one
    metas: list[bytes] | None = None
    name_ends: array[int] | None = None  # if they are known

    def part(self, some: slice) -> Pointed:
        """Return some of the entries."""
        columns: list[Any] = [None if column is None else column[some] for column in self]
        return Pointed(*columns)._replace(name_ends=None)


def encode_put(pointed: Pointed, seed: int) -> list[tuple[array[int], bytes]]:
    """Return the records that give names rows written for them.

    Each comes with the hashes of its names.
    """
    if len(pointed.names) <= RECORD_LIMIT_NAMES:
        return [(pointed.hashes, encode_pointers(PUT, pointed, seed))]
    records = []
    for some, n_more in _parts(len(pointed.names)):
        part = pointed.part(some)
        records.append((part.hashes, encode_pointers(PUT, part, seed, n_more)))
    return records


def encode_pointers(kind: int, pointed: Pointed, seed: int, n_more: int = 0) -> bytes:
    """Return the record of kind `PUT` or `POINT` that gives each name its rows."""
    names, hashes, starts, ends, crcs, infos, metas, name_ends = pointed
    known = ends_of(names) if name_ends is None else name_ends
    fields = [kind, n_more, hashes.tobytes(), known.tobytes(), b"".join(names)]
    fields += [starts.tobytes(), ends.tobytes(), crcs.tobytes()]
    if infos or metas:
        for extras in (infos or [b""] * len(names), metas or [b""] * len(names)):
            fields += [ends_of(extras).tobytes(), b"".join(extras)]
    return _frame(fields, seed)


def encode_put_one(name: bytes, name_hash: int, start: int, end: int, crc: int, seed: int) -> bytes:
    """Return the record of kind `PUT` for one array that has neither info nor metadata.

    The same as `encode_put` gives, in a quarter of the time.
    """
    if len(name) >= _BIN8_LIMIT:
        columns = array("I", [name_hash]), array("Q", [start]), array("Q", [end]), array("I", [crc])
        return encode_pointers(PUT, Pointed([name], *columns), seed)
    hash_and_end = _BIN8, 4, name_hash, _BIN8, 8, len(name)
    before = _BEFORE_NAME.pack(_FIXARRAY + 8, PUT, 0, *hash_and_end, _BIN8, len(name))
    after = _AFTER_NAME.pack(_BIN8, 8, start, _BIN8, 8, end, _BIN8, 4, crc)
    return _framed(before + name + after, seed)


def encode_delete(
    names: list[bytes], hashes: array[int], seed: int
) -> Iterator[tuple[array[int], bytes]]:
    """Yield the records that delete `names`, each with the hashes of its names."""
    for part, n_more in _parts(len(names)):
        some = names[part]
        named = [hashes[part].tobytes(), ends_of(some).tobytes(), b"".join(some)]
        yield hashes[part], _frame([DELETE, n_more, *named], seed)


def _parts(n_names: int) -> Iterator[tuple[slice, int]]:
    """Yield the names that go into each record of a commit, and how many records follow."""
    for at in range(0, n_names, RECORD_LIMIT_NAMES):
        yield slice(at, at + RECORD_LIMIT_NAMES), (n_names - 1 - at) // RECORD_LIMIT_NAMES


def encode_attrs(attrs: dict[str, Any], seed: int, n_more: int = 0) -> bytes:
    """Return the record that replaces the user's attrs."""
    return _frame([ATTRS, n_more, attrs], seed)


def kind_of(record: bytes) -> int:
    """Kind of a record that was encoded here."""
    return record[_RECORD.size + _CRC_NBYTES + 1]  # after the array's own byte


def _frame(fields: list[Any], seed: int) -> bytes:
    return _framed(msgpack.packb(fields), seed)


def _framed(body: bytes, seed: int) -> bytes:
    crc = crc32(body, seed).to_bytes(_CRC_NBYTES, "little")
    return _RECORD.pack(_BIN32, _CRC_NBYTES + len(body)) + crc + body


def frames(raw: bytes, start_byte: int, seed: int, where: str) -> Iterator[Frame]:
    """Yield the records in `raw`, which lies at `start_byte` of the journal.

    Raises
    ------
    CorruptStoreError
        At the first record that is cut short or fails its checksum. What came
        before has been yielded.
    """
    at, view = 0, memoryview(raw)
    try:
        while at < len(raw):
            kind, nbytes, crc = _FRAME.unpack_from(raw, at)
            body_at, end = at + _FRAME.size, at + _RECORD.size + nbytes
            body = view[body_at:end]
            if kind != _BIN32 or end > len(raw) or crc32(body, seed).to_bytes(4, "little") != crc:
                raise ValueError("a checksum that does not match")
            yield Frame(start_byte + at, start_byte + end, *_unpack(body))
            at = end
    except (struct.error, ValueError, KeyError, TypeError, msgpack.UnpackException) as error:
        what = f"has a damaged record at byte {start_byte + at}"
        raise corrupt(where, what) from error


def frame_nbytes(prefix: bytes, start_byte: int, where: str) -> int:
    """Bytes of the record whose first bytes are given."""
    if len(prefix) < _RECORD.size or prefix[0] != _BIN32:
        raise corrupt(where, f"has a damaged record at byte {start_byte}")
    return _RECORD.size + int(_RECORD.unpack(prefix)[1])


def _unpack(body: memoryview) -> tuple[int, int, list[Any]]:
    kind, n_more, *fields = msgpack.unpackb(body, raw=False, strict_map_key=True)
    if type(n_more) is not int or list(map(type, fields)) not in _FIELD_TYPES[kind]:
        raise ValueError("fields of other types")
    if kind != ATTRS and len(fields[0]) % 4:
        raise ValueError("a column of hashes that is cut")
    return kind, n_more, fields


class Told(NamedTuple):
    """The columns of a record as they are: items end to end, and where each ends."""

    hashes: npt.NDArray[np.uint32]
    names: Items
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    crcs: npt.NDArray[np.uint32]
    infos: Items | None = None
    metas: Items | None = None


class Items(NamedTuple):
    """Items of bytes end to end."""

    ends: npt.NDArray[np.int64]
    joined: bytes

    def split(self) -> list[bytes]:
        """Return the items one by one."""
        return [self.joined[i:j] for i, j in pairwise([0, *self.ends.tolist()])]


def decode(frame: Frame, where: str) -> Record:
    """Decode a record, and check that its columns fit together."""
    if frame.kind == ATTRS:
        nothing = np.empty(0, np.int64)
        empty = nothing.astype(np.uint32)
        return Record(ATTRS, empty, [], nothing, nothing, empty, frame.fields[0])
    told = decode_columns(frame, where)
    infos, metas = (None if items is None else items.split() for items in told[5:])
    names = told.names.split()
    return Record(frame.kind, told.hashes, names, *told[2:5], {}, infos, metas)


def decode_columns(frame: Frame, where: str) -> Told:
    """Decode the columns of a record of names, and check that they fit together."""
    hashes, fields = frame.hashes(), frame.fields
    try:
        names = _items(fields[1], fields[2], len(hashes))
        if frame.kind == DELETE:
            nothing = np.empty(0, np.int64)
            return Told(hashes, names, nothing, nothing, nothing.astype(np.uint32))
        starts, ends = np.frombuffer(fields[3], "<i8"), np.frombuffer(fields[4], "<i8")
        crcs = np.frombuffer(fields[5], "<u4")
        if {len(starts), len(ends), len(crcs)} != {len(hashes)}:
            raise ValueError("columns of different lengths")
        if (starts < 0).any() or (starts > ends).any():
            raise ValueError("a range that ends before it begins")
        told = Told(hashes, names, starts, ends, crcs)
        if len(fields) > 6:
            infos = _items(fields[6], fields[7], len(hashes))
            told = told._replace(infos=infos, metas=_items(fields[8], fields[9], len(hashes)))
    except ValueError as error:
        what = f"has a record at byte {frame.start_byte} that makes no sense"
        raise corrupt(where, what) from error
    return told


def _items(raw_ends: bytes, joined: bytes, n_items: int) -> Items:
    """Check that items fit together."""
    ends = np.frombuffer(raw_ends, "<i8")
    if len(ends) != n_items:
        raise ValueError(f"{len(ends)} ends for {n_items} items")
    if n_items and (ends[0] < 0 or (ends[1:] < ends[:-1]).any() or ends[-1] != len(joined)):
        raise ValueError(f"ends that do not fit {len(joined)} bytes")
    return Items(ends, joined)
