"""An object as a stream: the pack of its store, written from where its arrays are, and read back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ptrarray.errors import BadInputError, CorruptStoreError
from ptrarray.format import index as index_format
from ptrarray.format import journal as journal_format
from ptrarray.format import tar
from ptrarray.format.checksum import crc32
from ptrarray.format.entries import Entries, RaggedColumn
from ptrarray.format.index import Column, IndexHeader, corrupt
from ptrarray.format.infos import mask_of
from ptrarray.format.layouts import MIXED
from ptrarray.nested.arrays import views
from ptrarray.nested.contents import Contents
from ptrarray.rows.types import Array, UInt8s, UInt32s
from ptrarray.storage.lifecycle.packing import Member, Write, first_members, write_members
from ptrarray.storage.store.pointers import check_columns
from ptrarray.storage.system.compressors import Codec
from ptrarray.storage.system.streams import Exact, Source, compressing

# What the store is called inside: always the same, so that equal objects are equal bytes.
FOLDER = "object.ptr"
# Memory that is taken before as many bytes have come, since a size may be forged.
_ROOM_NBYTES = 1 << 24
_PICKLED = b"\x80"  # what pickles begin with, those of joblib among them


class Stored(NamedTuple):
    """What a store has, in memory.

    Attributes
    ----------
    where : str
        What it is called in messages.
    attrs : dict
        Of the store.
    arrays : dict
        Arrays by name.
    """

    where: str
    attrs: dict[str, Any]
    arrays: dict[str, Array]


def write_stream(contents: Contents, write: Write, codec: Codec | None) -> None:
    """Write an object as a pack; its arrays are read twice, first for their checksums.

    Raises
    ------
    BadInputError
        If the object changes meanwhile. What was written then is taken for damaged.
    """
    finish = None
    if codec is not None:
        write, finish = compressing(codec, write)
    header = contents.header
    members = first_members(header, contents.entries(contents.put_data(lambda _: None)))
    members.append(Member(tar.DATA, header.n_rows, contents.put_data))
    if header.mask_file is not None:
        members.append(Member(tar.MASK, contents.mask_nbytes, contents.put_masks))
    write_members(FOLDER, members, write)
    if finish is not None:
        finish()


def read_stream(source: Source) -> Stored:
    """Read a store from a pack, all of it checked.

    Raises
    ------
    EOFError
        If there is nothing.
    BadInputError
        For a pickle, and for a store that `dump` did not write.
    CorruptStoreError
        For anything else that is no pack, or one that is damaged or cut short.
    """
    where, archive = source.where, Exact(source)
    head = archive.look(len(_PICKLED))
    if not head:
        raise EOFError(f"{where} has nothing more to load")
    if head == _PICKLED:
        raise BadInputError(
            f"{where} is a pickle, perhaps of joblib, and load runs no code: "
            "ptrarray.convert.from_joblib or from_pickles imports it",
            path=where,
            found="a pickle",
            expected="what dump wrote",
        )
    files: dict[str, UInt8s] = {}
    for member in tar.members(archive.exactly, where):
        files[_role(member.name)] = _content(archive, member.nbytes)
        archive.exactly(tar.padding(member.nbytes))
    archive.finish()
    return _stored(files, where)


def _role(name: str) -> str:
    """Return what a file is, which may have a number in its name."""
    return f"{name.split('.')[0]}.{name.rsplit('.')[-1]}"


def _content(archive: Exact, nbytes: int) -> UInt8s:
    """Read a file into memory, which grows as its bytes come."""
    content = np.empty(min(nbytes, _ROOM_NBYTES), np.uint8)
    at = 0
    while at < nbytes:
        if at == len(content):
            content.resize(min(nbytes, 2 * at), refcheck=False)
        archive.fill(memoryview(content)[at:])
        at = len(content)
    return content


def _stored(files: dict[str, UInt8s], where: str) -> Stored:
    """Return what a store has whose files were read, all of it checked."""
    raw = memoryview(files[tar.INDEX])
    header, columns = index_format.decode(raw, where)
    if header.kind != MIXED:
        raise BadInputError(f"{where} is a pack of a store that dump did not write", path=where)
    _check_journal(files[tar.JOURNAL], header, where)
    entries = _entries(raw, columns, where)
    check_columns(where, entries.starts, entries.ends, header.n_rows)
    data = _rows(files, tar.DATA, header.n_rows, where)
    mask = None
    if header.mask_file is not None:
        n_bytes = len(files.get(tar.MASK, ()))
        n_bytes = header.layout.n_mask_rows(header.n_rows, n_bytes)  # of one byte, as it is mixed
        mask = _rows(files, tar.MASK, n_bytes, where)
    arrays = views(entries, header.layout, data, mask, where)
    if len(arrays) < entries.n_names:
        raise corrupt(where, "has a name twice")
    _check_sums(entries, header, data, mask, where)
    return Stored(where, header.attrs, arrays)


def _check_journal(raw: UInt8s, header: IndexHeader, where: str) -> None:
    found = journal_format.decode_header(bytes(raw[: journal_format.RECORDS_START]), where)
    if (found.store_id, found.generation) != (header.store_id, header.generation):
        raise corrupt(where, "has a journal of another store")
    if found.committed_end != journal_format.RECORDS_START:
        what = "has arrays that only its journal knows: ptrarray.unpack it, and load that"
        raise CorruptStoreError(f"{where} {what}", path=where)


def _entries(raw: memoryview, columns: dict[str, Column], where: str) -> Entries:
    """Return the columns of an index, compared with their checksums."""
    index_format.check_sums(raw, columns, where)
    found = {name: _column(raw, column) for name, column in columns.items()}
    starts, ends = found["start"].view(np.int64), found["end"].view(np.int64)
    items = {
        name: RaggedColumn(
            found[f"{name}_end" if name != "names" else "name_end"].view(np.int64), found[name]
        )
        for name in ("names", "info")
        if name in found
    }
    for name, column in items.items():
        if not column.is_sound:
            raise corrupt(where, f"has {name} that do not lie in their column")
    n_arrays = len(starts)
    # Nobody looks a name up by its hash, nor asks what `point` made.
    hashes, pointed = np.zeros(n_arrays, np.uint32), np.zeros(n_arrays, np.uint8)
    return Entries(items["names"], hashes, starts, ends, found["crc"], pointed, items.get("info"))


def _column(raw: memoryview, column: Column) -> Array:
    return np.frombuffer(raw[column.start_byte : column.start_byte + column.nbytes], column.type)


def _rows(files: dict[str, UInt8s], name: str, nbytes: int, where: str) -> UInt8s:
    content = files.get(name, np.empty(0, np.uint8))
    if len(content) < nbytes:
        raise corrupt(where, f"has {len(content)} bytes in {name}, of {nbytes}: it is cut short")
    return content[:nbytes]


def _check_sums(
    entries: Entries, header: IndexHeader, data: UInt8s, mask: UInt8s | None, where: str
) -> None:
    """Compare all arrays, and their masks, with their checksums."""
    raw = memoryview(data)
    spans = map(slice, entries.starts.tolist(), entries.ends.tolist())
    found = np.fromiter(map(crc32, map(raw.__getitem__, spans)), np.uint32, entries.n_names)
    if mask is not None:
        _add_masks(found, entries, header, mask)
    for at in np.flatnonzero(found != entries.crcs)[:1].tolist():
        name = entries.names.item(at).decode(errors="backslashreplace")
        sums = f"CRC-32 {found[at]:08x}, its pointer says {entries.crcs[at]:08x}"
        raise corrupt(where, f"is damaged: it has array {name!r:.80} with {sums}")


def _add_masks(found: UInt32s, entries: Entries, header: IndexHeader, mask: UInt8s) -> None:
    """Go on from the checksums of data to those of data and masks."""
    pointers = zip(entries.starts.tolist(), entries.ends.tolist(), strict=True)
    for at, (start, end) in enumerate(pointers):
        info = b"" if entries.infos is None else entries.infos.item(at)
        part = mask_of(header.layout, mask, start, end, info)
        found[at] = crc32(part, int(found[at]))
