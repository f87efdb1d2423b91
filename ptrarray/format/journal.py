"""The journal file: two header slots rewritten in place, then records."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import msgpack
import numpy as np
import numpy.typing as npt

from ptrarray.format.checksum import crc32
from ptrarray.format.entries import DELETED, Entries, Entry, RaggedColumn
from ptrarray.format.index import corrupt

MAGIC = b"ptrjrnl1"
SLOT_NBYTES = 4096
RECORDS_START = 2 * SLOT_NBYTES
RECORD_LIMIT_NAMES = 2**18  # in one record, of which whoever reads it has all in memory

PUT, DELETE, ATTRS, POINT = 1, 2, 3, 4
# The same as PUT and POINT of rows that views may be changing: after a restart their checksums do
# not tell whether a power cut has taken something.
PUT_UNJUDGED, POINT_UNJUDGED = 5, 6
UNJUDGED = {PUT: PUT_UNJUDGED, POINT: POINT_UNJUDGED}

_SLOT = struct.Struct("<8s16s16sQQQQQI")  # FORMAT.md, journal header
_SLOT_BODY = struct.Struct(_SLOT.format[:-1])  # less its CRC
_SLOT_PREFIX = b"\xc5" + (SLOT_NBYTES - 3).to_bytes(2, "big")
_PREFIX_8, _PREFIX_16 = struct.Struct(">BB"), struct.Struct(">BH")
_RECORD = struct.Struct(">BI")  # FORMAT.md, record frame: bin 32, length
_FRAME = struct.Struct(">BI4s")  # the same, and the CRC
_BIN8, _BIN16, _BIN32 = 0xC4, 0xC5, 0xC6
_LONG_NBYTES = 1 << 16  # from here on, a record is written from where its columns are
# Hashes, name ends, names, starts, ends, CRCs; info ends, infos, meta ends, metas if there are any.
_POINTER_FIELDS: tuple[list[type], ...] = ([bytes] * 6, [bytes] * 10)
_FIELD_TYPES: dict[int, tuple[list[type], ...]] = {
    PUT: _POINTER_FIELDS,
    POINT: _POINTER_FIELDS,
    PUT_UNJUDGED: _POINTER_FIELDS,
    POINT_UNJUDGED: _POINTER_FIELDS,
    DELETE: ([bytes] * 3,),  # hashes, name ends, names
    ATTRS: ([dict],),
}
_CRC_NBYTES = 4
# A record of one name as msgpack packs it: up to the name; start, end and CRC; up to the info and
# the metadata each.
_TO_NAME, _NUMBERS = struct.Struct("<3B 2BI 2BQ 2B"), struct.Struct("<2BQ 2BQ 2BI")
_TO_ITEM = struct.Struct("<2BQ 2B")
_FIXARRAY, _BIN8_LIMIT = 0x90, 256
# What stands in them beside kind, hash, sizes and numbers.
_MARKS = _FIXARRAY + 8, 0, _BIN8, 4, _BIN8, 8, _BIN8
_NUMBERS_MARKS = _BIN8, 8, _BIN8, 8, _BIN8, 4
POINTER_KINDS = [*UNJUDGED, *UNJUDGED.values()]
LIVE_NBYTES = len(_SLOT_PREFIX) + _SLOT.size
FRAME_PREFIX_NBYTES = _RECORD.size
RECORD_PREFIX_NBYTES = _FRAME.size  # with the checksum
# At the most, up to the first of a record's hashes.
HEAD_NBYTES = _FRAME.size + 2 + 9 + _RECORD.size
_INT_NBYTES = {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}  # of an int of msgpack that begins so; else 1
_BIN_PREFIXES = {_BIN8: 2, _BIN16: 3, _BIN32: 5}


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
        """Return the bytes of a header slot, less its padding."""
        raw = _SLOT_BODY.pack(MAGIC, *self)
        return _SLOT_PREFIX + raw + crc32(raw).to_bytes(_CRC_NBYTES, "little")

    @property
    def seed(self) -> int:
        """CRC-32 from which those of the records continue.

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
    live, other = decode_slot(raw[:SLOT_NBYTES]), decode_slot(raw[SLOT_NBYTES:RECORDS_START])
    if live is None or other is None:
        one = live or other
        if one is None:
            raise corrupt(where, "has no header that matches its checksum")
        return one
    if (live.generation, live.store_id) != (other.generation, other.store_id):
        return other if other.generation > live.generation else live
    newer = other if other.committed_end > live.committed_end else live
    return newer._replace(
        synced_end=max(live.synced_end, other.synced_end),
        n_reserved=max(live.n_reserved, other.n_reserved),
    )


def is_at_rest(raw: bytes, store_id: bytes, generation: int) -> bool:
    """Tell whether a journal has no records for an index, nor a checkpoint on its way.

    Of its two slots, each has to say so for itself.
    """
    first, second = raw[:SLOT_NBYTES], raw[SLOT_NBYTES:RECORDS_START]
    live = decode_slot(first)
    other = live if first == second else decode_slot(second) or live
    return _has_no_records(live, store_id, generation) and (
        other is live or _has_no_records(other, store_id, generation)
    )


def _has_no_records(slot: JournalHeader | None, store_id: bytes, generation: int) -> bool:
    return (
        slot is not None
        and (slot.store_id, slot.next_generation) == (store_id, 0)
        and (slot.generation, slot.committed_end) <= (generation, RECORDS_START)
    )


class Frame(NamedTuple):
    """A record's bytes, checked but not decoded."""

    start_byte: int
    end_byte: int
    kind: int
    n_more: int  # records of the same commit that follow
    fields: list[Any]

    def hashes(self) -> npt.NDArray[np.uint32]:
        """Return the hashes of its names; none for attrs."""
        raw = self.fields[0] if self.kind != ATTRS else b""
        return np.frombuffer(raw, "<u4")


# What an `Entry` is, and what is given in its place by who makes many.
EntryFields = tuple[bytes, int, int, int, int, bytes, bytes]
# Where a record begins, its kind, and the hashes of its names.
Notice = tuple[int, int, Sequence[int] | npt.NDArray[np.uint32]]
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class LongRecord:
    """A record in pieces, which are written from where they are.

    Attributes
    ----------
    entries : Entries
        What `decode` would return of it.
    pieces : list of memoryview
        Its bytes, in order; as many together as ``len`` says.
    """

    entries: Entries
    pieces: list[memoryview]

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    def __bytes__(self) -> bytes:
        """Return the pieces as one."""
        return b"".join(self.pieces)


# A record, and the hashes of its names as Python's ints, which a memoryview gives.
HashedRecord = tuple[Sequence[int], bytes | LongRecord]


class Changes(NamedTuple):
    """What some records change."""

    records: list[Entries]  # of each that is about names, in order
    attrs: dict[str, Any] | None = None  # the user's, if they are replaced


def encode_records(kind: int, entries: Entries, seed: int) -> list[HashedRecord]:
    """Return the records of one commit: one, unless there are more names than fit in it."""
    n_names = entries.n_names
    if n_names <= RECORD_LIMIT_NAMES:
        return [(memoryview(entries.hashes), encode_record(kind, entries, seed))]
    records: list[HashedRecord] = []
    for at in range(0, n_names, RECORD_LIMIT_NAMES):
        part = entries.part(slice(at, at + RECORD_LIMIT_NAMES))
        record = encode_record(kind, part, seed, (n_names - 1 - at) // RECORD_LIMIT_NAMES)
        records.append((memoryview(part.hashes), record))
    return records


def encode_rows(kind: int, rows: Sequence[Entry], seed: int) -> list[HashedRecord]:
    """Return the records of one commit, each with the hashes of its names."""
    if len(rows) == 1:
        name_hash = crc32(rows[0].name)
        return [((name_hash,), encode_one(kind, rows[0], name_hash, seed))]
    return encode_records(kind, Entries.of(*zip(*rows, strict=True)), seed)


def encode_delete(names: Sequence[bytes], seed: int) -> list[HashedRecord]:
    """Return the records of one commit that deletes names."""
    if len(names) == 1:
        return encode_rows(DELETE, [Entry(names[0])], seed)
    return encode_records(DELETE, Entries.of(names), seed)


def encode_rename(kind: int, entry: Entry, new: bytes, seed: int) -> list[HashedRecord]:
    """Return the records of one commit that gives an array another name."""
    gone = Entries.of([entry.name])
    come = Entries.of(*zip(*[entry._replace(name=new)], strict=True))
    deletion = encode_record(DELETE, gone, seed, n_more=1)
    return [
        (memoryview(gone.hashes), deletion),
        (memoryview(come.hashes), encode_record(kind, come, seed)),
    ]


def encode_record(kind: int, entries: Entries, seed: int, n_more: int = 0) -> bytes | LongRecord:
    """Return the record that gives names rows, or deletes them; in pieces if it is long.

    Parameters
    ----------
    kind : int
        `PUT` if the rows were written for the names, `POINT` if they may have
        other names, too, or what `UNJUDGED` has for these; `DELETE`.
    entries : Entries
        Names, and what they are given unless they are deleted.
    seed : int
        Of the journal: see `JournalHeader.seed`.
    n_more : int
        Records of the same commit that follow.
    """
    names, hashes, starts, ends, crcs, _, infos, metas = entries
    columns: list[npt.NDArray[Any]] = [hashes, names.ends, names.joined]
    if kind != DELETE:
        columns += [starts, ends, crcs]
        if infos is not None or metas is not None:
            for extras in (infos, metas):
                items = RaggedColumn.blank(len(names)) if extras is None else extras
                columns += [items.ends, items.joined]
    # As `msgpack.packb([kind, n_more, *columns])`, but that copies them.
    fields: list[Any] = [bytes([_FIXARRAY + 2 + len(columns), kind]) + msgpack.packb(n_more)]
    for column in columns:
        fields += [_bin_prefix(column.nbytes), column]
    nbytes = sum([column.nbytes for column in columns])
    if nbytes < _LONG_NBYTES:
        return _framed(b"".join(fields), seed)
    pieces = [memoryview(field).cast("B") if len(field) else memoryview(b"") for field in fields]
    crc = seed
    for piece in pieces:
        crc = crc32(piece, crc)
    pointed = np.full(entries.n_names, kind in (POINT, POINT_UNJUDGED), np.uint8)
    head = _RECORD.pack(_BIN32, _CRC_NBYTES + sum(map(len, pieces)))
    pieces.insert(0, memoryview(head + crc.to_bytes(_CRC_NBYTES, "little")))
    return LongRecord(entries._replace(pointed=pointed), pieces)


def _bin_prefix(nbytes: int) -> bytes:
    """Return what msgpack puts before so many bytes."""
    if nbytes < 1 << 8:
        return _PREFIX_8.pack(_BIN8, nbytes)
    return _PREFIX_16.pack(_BIN16, nbytes) if nbytes < 1 << 16 else _RECORD.pack(_BIN32, nbytes)


def encode_one(kind: int, entry: EntryFields, name_hash: int, seed: int) -> bytes:
    """Return the record of one name.

    The same as `encode_record` gives, in a quarter of the time.
    """
    name, start, end, crc, _, info, meta = entry
    nbytes = len(name)
    if nbytes >= _BIN8_LIMIT or len(info) >= _BIN8_LIMIT or len(meta) >= _BIN8_LIMIT:
        entries = Entries.of(*zip(*[entry], strict=True))
        hashes = np.array([name_hash], np.uint32)
        return bytes(encode_record(kind, entries._replace(hashes=hashes), seed))
    n_fields = 5 if kind == DELETE else 12 if info or meta else 8
    array = _FIXARRAY + n_fields
    raw = _TO_NAME.pack(array, kind, 0, _BIN8, 4, name_hash, _BIN8, 8, nbytes, _BIN8, nbytes) + name
    if n_fields > 5:
        raw += _NUMBERS.pack(_BIN8, 8, start, _BIN8, 8, end, _BIN8, 4, crc)
    if n_fields > 8:
        for item in (info, meta):
            raw += _TO_ITEM.pack(_BIN8, 8, len(item), _BIN8, len(item)) + item
    return _framed(raw, seed)


def encode_attrs(attrs: dict[str, Any], seed: int, n_more: int = 0) -> bytes:
    """Return the record that replaces the user's attrs."""
    return _framed(msgpack.packb([ATTRS, n_more, attrs]), seed)


def kind_of(record: bytes) -> int:
    """Return the kind of a record that was encoded here."""
    return record[_RECORD.size + _CRC_NBYTES + 1]  # after the array's own byte


def _framed(body: bytes, seed: int) -> bytes:
    crc = crc32(body, seed).to_bytes(_CRC_NBYTES, "little")
    return _FRAME.pack(_BIN32, _CRC_NBYTES + len(body), crc) + body


def frames(raw: bytes, start_byte: int, seed: int, where: str) -> Iterator[Frame]:
    """Yield the records in `raw`, which lies at `start_byte` of the journal.

    Raises
    ------
    CorruptStoreError
        At the first record that is cut short or fails its checksum. What came
        before has been yielded.
    """
    for start, end, fields in _each(raw, start_byte, seed, where, _unpack):
        yield Frame(start, end, *fields)


def notices(raw: bytes, start_byte: int, seed: int, where: str) -> Iterator[Notice]:
    """Yield of the records in `raw` what a writer takes notice of; raises as `frames`."""
    for start, _, (kind, hashes) in _each(raw, start_byte, seed, where, _notice):
        yield start, kind, hashes


def _each(
    raw: bytes, start_byte: int, seed: int, where: str, read: Callable[[memoryview], Read]
) -> Iterator[tuple[int, int, Read]]:
    """Yield where each record in `raw` begins and ends, and what is read of its body."""
    at, view = 0, memoryview(raw)
    try:
        while at < len(raw):
            kind, nbytes, crc = _FRAME.unpack_from(raw, at)
            body_at, end = at + _FRAME.size, at + _RECORD.size + nbytes
            body = view[body_at:end]
            if kind != _BIN32 or end > len(raw) or crc32(body, seed).to_bytes(4, "little") != crc:
                raise ValueError("a checksum that does not match")
            yield start_byte + at, start_byte + end, read(body)
            at = end
    except (struct.error, ValueError, KeyError, TypeError, msgpack.UnpackException) as error:
        what = f"has a damaged record at byte {start_byte + at}"
        raise corrupt(where, what) from error


def frame_nbytes(prefix: bytes, start_byte: int, where: str) -> int:
    """Return the size in bytes of a record, of which these are the first bytes."""
    if len(prefix) < _RECORD.size or prefix[0] != _BIN32:
        raise corrupt(where, f"has a damaged record at byte {start_byte}")
    return _RECORD.size + int(_RECORD.unpack(prefix)[1])


def ends_of_records(raw: bytes) -> Iterator[int]:
    """Yield where each record ends in some bytes that begin with one, as long as they are there whole."""
    at = 0
    while at + _RECORD.size <= len(raw):
        kind, nbytes = _RECORD.unpack_from(raw, at)
        at += _RECORD.size + nbytes
        if kind != _BIN32 or at > len(raw):
            break
        yield at


def whole_nbytes(raw: bytes) -> int:
    """Return how many of some bytes, which begin with a record, are records that are there whole."""
    end = 0
    for end in ends_of_records(raw):  # noqa: B007
        pass
    return end


class Head(NamedTuple):
    """What the first bytes of a record say, as it is packed here."""

    kind: int
    n_names: int
    ends_at: int  # byte of the record where the ends of its names begin

    @property
    def names_at(self) -> int:
        """Byte of the record where what is before the names begins, of `names_start` bytes."""
        return self.ends_at + 8 * self.n_names


def head_of(raw: bytes) -> Head | None:
    """Return what the first `HEAD_NBYTES` of a record about names say; None if it is packed otherwise."""
    at = _FRAME.size + 2 + _INT_NBYTES.get(raw[_FRAME.size + 2], 1)
    hashes_at = at + _BIN_PREFIXES.get(raw[at], 0)
    if hashes_at == at:
        return None
    nbytes = int.from_bytes(raw[at + 1 : hashes_at], "big")
    if 2 * nbytes >= 1 << 32:  # then the ends of as many names have no room in a record
        return None
    ends_at = hashes_at + nbytes + len(_bin_prefix(2 * nbytes))
    return Head(raw[_FRAME.size + 1], nbytes // 4, ends_at)


def bin_prefix_nbytes(first_byte: int) -> int:
    """Return how many bytes are before those of a bin of msgpack; 0 if it begins with another byte."""
    return _BIN_PREFIXES.get(first_byte, 0)


def _notice(body: memoryview) -> tuple[int, Sequence[int] | npt.NDArray[np.uint32]]:
    """Return the kind of a record, and the hashes of its names."""
    # Writers that take turns read one such record after the other: one name, as `encode_one` packs
    # it. Of these it is known without unpacking that they have the right fields.
    nbytes = len(body) - _TO_NAME.size - _NUMBERS.size
    if 0 <= nbytes < _BIN8_LIMIT:
        array, kind, n_more, a, b, name_hash, c, d, _, e, f = _TO_NAME.unpack_from(body)
        g, h, _, i, j, _, k, l, _ = _NUMBERS.unpack_from(body, len(body) - _NUMBERS.size)
        marks = array, n_more, a, b, c, d, e, f, g, h, i, j, k, l
        if marks == (*_MARKS, nbytes, *_NUMBERS_MARKS) and kind in POINTER_KINDS:
            return kind, (name_hash,)
    kind, _, fields = _unpack(body)
    return kind, np.frombuffer(b"" if kind == ATTRS else fields[0], "<u4")


def _unpack(body: memoryview) -> tuple[int, int, list[Any]]:
    kind, n_more, *fields = msgpack.unpackb(body, raw=False, strict_map_key=True)
    if type(n_more) is not int or list(map(type, fields)) not in _FIELD_TYPES[kind]:
        raise ValueError("fields of other types")
    if kind != ATTRS and len(fields[0]) % 4:
        raise ValueError("a column of hashes that is cut")
    return kind, n_more, fields


def decode(frame: Frame, where: str) -> Entries:
    """Decode a record that is about names, and check that its columns fit together."""
    hashes, fields = frame.hashes(), frame.fields
    n_names = len(hashes)
    try:
        names = _items(fields[1], fields[2], n_names)
        if frame.kind == DELETE:
            rows, zeros = np.full(n_names, DELETED), np.zeros(n_names, np.uint32)
            return Entries(names, hashes, rows, rows, zeros, zeros.astype(np.uint8))
        starts, ends = np.frombuffer(fields[3], "<i8"), np.frombuffer(fields[4], "<i8")
        crcs = np.frombuffer(fields[5], "<u4")
        if {len(starts), len(ends), len(crcs)} != {n_names}:
            raise ValueError("columns of different lengths")
        if ((starts < 0) | (starts > ends)).any():
            raise ValueError("a range that ends before it begins")
        extras = [_items(fields[at], fields[at + 1], n_names) for at in range(6, len(fields), 2)]
    except ValueError as error:
        what = f"has a record at byte {frame.start_byte} that makes no sense"
        raise corrupt(where, what) from error
    pointed = np.full(n_names, frame.kind in (POINT, POINT_UNJUDGED), np.uint8)
    return Entries(names, hashes, starts, ends, crcs, pointed, *extras)


def decode_all(frames: Iterable[Frame], where: str) -> Changes:
    """Decode records of any kind."""
    records, attrs = [], None
    for frame in frames:
        if frame.kind == ATTRS:
            attrs = frame.fields[0]
        else:
            records.append(decode(frame, where))
    return Changes(records, attrs)


def _items(raw_ends: bytes, joined: bytes, n_items: int) -> RaggedColumn:
    """Return items of bytes, when they are as many as they should be, and fill their column."""
    items = RaggedColumn(np.frombuffer(raw_ends, "<i8"), np.frombuffer(joined, np.uint8))
    if len(items) != n_items or not items.is_sound or (n_items and items.ends[-1] != len(joined)):
        raise ValueError(f"{len(items)} ends for {n_items} items in {len(joined)} bytes")
    return items
