"""Targets that read the bytes of a store's files as the format says, in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack
import numpy as np

from ptrarray.errors import StoreError
from ptrarray.format import index as index_format
from ptrarray.format import journal, shards, tar
from ptrarray.format.entries import Entries
from ptrarray.storage.shards.catalog import Catalog
from ptrarray.storage.store.index import HeldIndex, Index
from tests.support.fuzzing import GOLDEN, TESTS, Target, forged

_SHARDS = TESTS / "golden-shards"


def _read_index(raw: bytes, folder: Path) -> None:
    """Read all of an index: the first byte says which checksums fit, and whether columns are compared."""
    how, content = raw[:1] or b"\0", forged(raw[1:], raw[0] if raw else 0)
    with suppress(StoreError, *index_format.SENSELESS):
        index_format.glance(content[:4096], "fuzz", len(content))
    with suppress(StoreError):
        held = HeldIndex("fuzz", (0, 0), content)
        index = Index(folder, checked=bool(how[0] & 4), held=held)
        _use_index(index)


def _use_index(index: Index) -> None:
    n_arrays = index.header.n_arrays
    names: list[bytes] = [b"", b"a", b"utt1"]
    for position in (0, 1, 2, n_arrays - 1):
        if position < n_arrays:
            with suppress(StoreError):
                names.append(index.name(position))
            with suppress(StoreError):
                index.entry(position, names[-1])
    for name in names:
        with suppress(StoreError):
            at = index.find(name)
            assert at < n_arrays
            assert at < 0 or index.name(at) == name
    for use in (index.check, index.sound_names, index.hashes, index.entries):
        with suppress(StoreError):
            use()
    with suppress(StoreError):
        found = index.find_all(names).tolist()
        assert max(found) < n_arrays
    with suppress(StoreError):
        index.split_names(0, n_arrays)
    with suppress(StoreError):
        list(index.some_names(0, n_arrays, lambda column: column.split(), np.empty(0, np.int64)))


def _indexes() -> list[bytes]:
    stores = (
        "changed",
        "structured",
        "masked-mixed",
        "metadata",
        "mixed",
        "names",
        "sealed",
        "shaped",
    )
    files = [(GOLDEN / f"{name}.ptr" / "index.msgpack").read_bytes() for name in stores]
    return [bytes([how]) + raw for raw in files for how in (1, 3, 7)]


# The journal -------------------------------------------------------------------------------------


def _read_journal(raw: bytes, folder: Path) -> None:
    """Read a journal that is given without what pads it: see `journal_of`."""
    content = journal_of(raw)
    with suppress(StoreError):
        header = journal.decode_header(content[: journal.RECORDS_START], "fuzz")
        journal.is_at_rest(content, header.store_id, header.generation)
        end = min(header.committed_end, len(content))
        _use_records(content[journal.RECORDS_START : end], header.seed)


def _use_records(raw: bytes, seed: int) -> None:
    """Read records one by one, and as a writer looks at them: both have to find the same."""
    frames = list(_until_error(journal.frames(raw, journal.RECORDS_START, seed, "fuzz")))
    notices = list(_until_error(journal.notices(raw, journal.RECORDS_START, seed, "fuzz")))
    assert [(frame.start_byte, frame.kind) for frame in frames] == [one[:2] for one in notices]
    for frame, (_, _, hashes) in zip(frames, notices, strict=True):
        assert frame.hashes().tolist() == list(hashes)
        if frame.kind != journal.ATTRS:
            with suppress(StoreError):
                _check_entries(journal.decode(frame, "fuzz"))
    with suppress(StoreError):
        journal.decode_all(frames, "fuzz")
    assert 0 <= journal.whole_nbytes(raw) <= len(raw)
    head = journal.head_of(raw[: journal.HEAD_NBYTES].ljust(64, b"\0"))
    assert head is None or head.names_at >= 0


def _check_entries(entries: Entries) -> None:
    assert entries.n_names == len(entries.starts) == len(entries.crcs)
    for column in (entries.names, entries.infos, entries.metas):
        if column is not None and len(column):
            lengths = [len(item) for item in column.split()]
            assert np.cumsum(lengths).tolist() == column.ends.tolist()


def _until_error(found: Iterator[Any]) -> Iterator[Any]:
    with suppress(StoreError):
        yield from found


def journal_of(raw: bytes) -> bytes:
    """Return the journal that some bytes stand for.

    The first byte says what is forged: bit 0 the checksums of slots, bit 1 the end that they say, bit 2
    the frames of records. Then come the two slots, without their padding, and the records, of which
    each begins with the 9 bytes of its frame, where only the lowest two of its length count.
    """
    how, raw = raw[0] if raw else 0, raw[1:]
    slots = [raw[: journal.LIVE_NBYTES], raw[journal.LIVE_NBYTES : 2 * journal.LIVE_NBYTES]]
    records, seed = raw[2 * journal.LIVE_NBYTES :], 0
    if how & 1:
        slots = [_sealed_slot(slot, len(records) if how & 2 else None) for slot in slots]
    padded = b"".join(slot.ljust(journal.SLOT_NBYTES, b"\0") for slot in slots)
    if how & 4:
        with suppress(StoreError):
            seed = journal.decode_header(padded, "fuzz").seed
        records = b"".join(_sealed_records(records, seed))
    return padded + records


def _sealed_slot(slot: bytes, records_nbytes: int | None) -> bytes:
    if len(slot) < journal.LIVE_NBYTES:
        return slot
    if records_nbytes is not None:
        end = (journal.RECORDS_START + records_nbytes).to_bytes(8, "little")
        slot = slot[:51] + end + slot[59:]
    return slot[:-4] + crc32(slot[3:-4]).to_bytes(4, "little")


def _sealed_records(raw: bytes, seed: int) -> Iterator[bytes]:
    at = 0
    while at + 9 <= len(raw):
        nbytes = min(int.from_bytes(raw[at + 3 : at + 5], "big"), len(raw) - at - 5)
        body = raw[at + 9 : at + 5 + nbytes]
        yield (
            b"\xc6"
            + (len(body) + 4).to_bytes(4, "big")
            + crc32(body, seed).to_bytes(4, "little")
            + body
        )
        at += 9 + len(body)
    yield raw[at:]


def compact_journal(raw: bytes, how: int) -> bytes:
    """Return what `journal_of` takes for a journal."""
    slots = [raw[at : at + journal.LIVE_NBYTES] for at in (0, journal.SLOT_NBYTES)]
    return b"".join([bytes([how]), *slots, raw[journal.RECORDS_START :]])


def _journals() -> list[bytes]:
    stores = ("changed", "journal", "masked-mixed", "metadata", "example", "killed-checkpoint")
    files = [(GOLDEN / f"{name}.ptr" / "journal.msgpack").read_bytes() for name in stores]
    return [compact_journal(raw, how) for raw in files for how in (0, 7)]


# Shards ------------------------------------------------------------------------------------------


def _read_marker(raw: bytes, folder: Path) -> None:
    """Read the marker of a store of shards; with bit 3 of the first byte, notes in attrs."""
    how = raw[0] if raw else 0
    with suppress(StoreError):
        if how & 8:
            notes = shards.decode_notes(_attrs_of(raw[1:]), "fuzz")
            assert shards.decode_notes(notes.encode(), "fuzz") == notes
        else:
            header = shards.decode(forged(raw[1:], how), "fuzz")
            assert shards.decode(shards.encode(header), "fuzz") == header


def _attrs_of(raw: bytes) -> dict[str, Any]:
    with suppress(ValueError, msgpack.UnpackException):
        attrs = msgpack.unpackb(raw, strict_map_key=True)
        return attrs if isinstance(attrs, dict) else {}
    return {}


def _markers() -> list[bytes]:
    files = [file.read_bytes() for file in sorted(_SHARDS.glob("*/shards.msgpack"))]
    notes = shards.Notes(3, (shards.Replaced(0, 2, b"a"), shards.Replaced(1, 2, b"bc")), 1).encode()
    return [b"\x01" + files[0], b"\x03" + files[-1], b"\x08" + msgpack.packb(notes)]


def _read_catalog(raw: bytes, folder: Path) -> None:
    (folder / "catalog.msgpack").write_bytes(forged(raw[1:], raw[0] if raw else 0))
    with suppress(StoreError):
        catalog = Catalog(folder, "pread")
        for name_hash in (0, 1, 2**31, 2**32 - 1, *catalog.as_table().keys(0, 2**32).tolist()[:4]):
            with suppress(StoreError):
                catalog.find(name_hash & 0xFFFF_FFFF)
        with suppress(StoreError):
            catalog.find_many(np.array([0, 1, 2**31, 2**32 - 1], np.uint32))
        with suppress(StoreError):
            catalog.check()


def _catalogs() -> list[bytes]:
    raw = (_SHARDS / "catalogued.ptr" / "catalog.msgpack").read_bytes()
    return [b"\x01" + raw, b"\x03" + raw]


# Packs -------------------------------------------------------------------------------------------


def _read_members(raw: bytes, folder: Path) -> None:
    """Read the headers of a pack, with their checksums made to fit if the first byte says so."""
    content = with_right_headers(raw[1:]) if raw[:1] == b"\x01" else raw[1:]
    at = 0

    def read(nbytes: int) -> bytes:
        nonlocal at
        if at + nbytes > len(content):
            raise index_format.corrupt("fuzz", "ends")
        at += nbytes
        return content[at - nbytes : at]

    with suppress(StoreError):
        for member in tar.members(read, "fuzz"):
            assert "/" not in member.folder
            assert member.name.count("/") <= 1
            at += member.nbytes + tar.padding(member.nbytes)


def with_right_headers(raw: bytes) -> bytes:
    """Forge the checksum of each block that looks like the header of a member."""
    content = bytearray(raw)
    for at in range(0, len(content) - 511, 512):
        if content[at + 257 : at + 262] == tar.MAGIC:
            content[at + 148 : at + 156] = b" " * 8
            content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])
    return bytes(content)


def _packs() -> list[bytes]:
    files = {
        "index.msgpack": b"i" * 10,
        "journal.msgpack": b"j" * 600,
        "data.bin": b"",
        "mask.bin": b"m",
    }
    raw = b""
    for name, content in files.items():
        raw += tar.header("corpus.ptr", name, len(content)) + content + bytes(-len(content) % 512)
    return [b"\x01" + raw + bytes(1024), b"\x00" + raw]


FORMATS = {
    "index": Target(_read_index, _indexes, ("ptrarray.format", "ptrarray.storage.store.index")),
    "journal": Target(_read_journal, _journals, ("ptrarray.format",)),
    "marker": Target(_read_marker, _markers, ("ptrarray.format",), 1024),
    "catalog": Target(
        _read_catalog, _catalogs, ("ptrarray.format", "ptrarray.storage.shards.catalog")
    ),
    "pack": Target(_read_members, _packs, ("ptrarray.format.tar", "tarfile"), 1 << 13),
}
