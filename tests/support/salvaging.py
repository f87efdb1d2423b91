"""What is intact of a damaged store, found by looking at one array after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ptrarray.errors import CorruptStoreError, Damage
from ptrarray.format import infos, metadata
from ptrarray.format.checksum import crc32
from ptrarray.format.entries import Entries, Entry
from ptrarray.storage.lifecycle.salvage import read_overlay
from ptrarray.storage.lifecycle.verify import array_damage, running_into
from ptrarray.storage.store.content import Content
from ptrarray.storage.store.index import Index
from ptrarray.storage.store.overlay import Overlay


def wanted(damaged: Path) -> tuple[Entries, list[Damage]]:
    """Return all arrays that are intact, where they are, and what is not."""
    index = Index(damaged, checked=False)
    left_out: list[Damage] = []
    overlay = read_overlay(damaged, index, left_out)
    found = sorted(_arrays(index, overlay, left_out), key=lambda array: array.start)
    with Content(damaged, index.header) as source:
        kept = [array for array in found if _is_intact(array, source, left_out)]
    columns = Entries.of(*zip(*kept, strict=True))
    columns.pointed[running_into(columns.starts, columns.ends, columns.pointed, None)[0]] = 1
    return columns, left_out


def _arrays(index: Index, overlay: Overlay, left_out: list[Damage]) -> Iterator[Entry]:
    """Yield every array whose name is intact."""
    whole = {name for name in index.columns if _is_whole(index, name)}
    left_out += [
        Damage(index.path, f"has a damaged column {column!r}")
        for column in index.columns
        if column not in whole
    ]
    hashes = index.hashes() if "slot" in whole else None
    for position in range(index.header.n_arrays):
        name = _name(index, position)
        is_vouched_for = {"names", "name_end"} <= whole or (
            hashes is not None and name is not None and crc32(name) == hashes[position]
        )
        if name is None or not is_vouched_for:
            left_out.append(Damage(index.path, f"has a damaged name at position {position}"))
        elif name not in overlay.entries:
            yield _indexed(index, position, name, whole)
    yield from (overlay.entry(at, name) for name, at in overlay.entries.items() if at >= 0)


def _indexed(index: Index, position: int, name: bytes, whole: set[str]) -> Entry:
    """Return an array of the index; with a CRC that none has where it cannot be trusted."""
    start, end = int(index.starts[position]), int(index.ends[position])
    doubtful = Entry(name, start, end, crc=-1)
    # Nothing vouches for an empty array then; and without its info an array is only bytes.
    is_bare = start == end and not {"start", "end"} <= whole
    if is_bare or (index.infos is not None and not {"info", "info_end"} <= whole):
        return doubtful
    try:
        info = index.info(position)
        meta = index.meta(position) if {"meta", "meta_end"} <= whole else b""
    except CorruptStoreError:
        return doubtful
    return Entry(
        name, start, end, int(index.crcs[position]), int(index.pointed[position]), info, meta
    )


def _is_whole(index: Index, column: str) -> bool:
    return crc32(index.column(column)) == index.columns[column].crc


def _name(index: Index, position: int) -> bytes | None:
    try:
        return index.name(position)
    except CorruptStoreError:
        return None


def _is_intact(array: Entry, source: Content, left_out: list[Damage]) -> bool:
    problem = _problem(array, source)
    if problem is not None:
        where = (source.data.path, array.name, array.start, array.end)
        left_out.append(array_damage(*where, f"that {problem}"))
    return problem is None


def _problem(array: Entry, source: Content) -> str | None:
    """Say why an array cannot be copied; None if it can."""
    n_bytes = source.data.nbytes
    if not 0 <= array.start <= array.end:
        return "has a damaged pointer"
    if array.start < array.end and array.end * source.layout.width > n_bytes:
        return f"does not lie in the {n_bytes} bytes of its file"
    try:
        infos.check(source.layout, array.end - array.start, array.info)
        metadata.decode(array.meta)
    except ValueError as error:
        return f"has {error}"
    is_same = source.crc(array.start, array.end, array.info) == array.crc
    return None if is_same else "does not match its checksum"
