"""Copying what is intact of a damaged store into a new one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ptrarray.errors import CorruptStoreError
from ptrarray.format import infos, metadata
from ptrarray.format import journal as journal_format
from ptrarray.format.checksum import crc32
from ptrarray.format.entries import Entries, Entry
from ptrarray.format.helpers import FOLDER
from ptrarray.storage.lifecycle.compaction import without_holes
from ptrarray.storage.lifecycle.create import create_store, new_header, taken
from ptrarray.storage.lifecycle.verify import Damage, array_damage, run_into
from ptrarray.storage.store.blocks import Contents
from ptrarray.storage.store.content import Content
from ptrarray.storage.store.index import Index
from ptrarray.storage.store.journal import Journal
from ptrarray.storage.store.merging import beside
from ptrarray.storage.store.overlay import Overlay
from ptrarray.storage.system import files
from ptrarray.storage.system.building import directory_beside


def salvage(damaged: Path, to: Path, *, progress: bool = False) -> list[Damage]:
    """Copy what is intact into a new store; return what was left out."""
    if files.exists(to):
        raise taken(to)
    index = Index(damaged, checked=False)  # without its header nothing can be made of the rest
    header = index.header
    left_out: list[Damage] = []
    overlay = _overlay(damaged, index, left_out)
    found = sorted(_arrays(index, overlay, left_out), key=lambda array: array.start)
    attrs = header.attrs if overlay.attrs is None else overlay.attrs
    with Content(damaged, header) as source:
        kept = [array for array in found if _is_intact(array, source, left_out)]
        columns = Entries.of(*zip(*kept, strict=True))
        # Damage may have taken away that somebody pointed them there; their rows are intact.
        columns.pointed[run_into(columns.starts, columns.ends, columns.pointed)] = 1
        new = new_header(header.layout, 0, attrs)
        with directory_beside(to) as scratch:
            intact = beside(scratch, new, Contents.of(columns))
        made = without_holes(source, new, intact, progress=progress)
        inside = partial(salvage_helpers, damaged, left_out=left_out, progress=progress)
        create_store(to, *made, inside=inside)
    return left_out


def salvage_helpers(
    damaged: Path, building: Path, *, left_out: list[Damage], progress: bool = False
) -> None:
    """Copy what is intact of the helper arrays of a store into another that is being made."""
    if not files.is_directory(damaged / FOLDER):
        return
    try:
        left_out += salvage(damaged / FOLDER, building / FOLDER, progress=progress)
    except (CorruptStoreError, FileNotFoundError) as error:
        what = f"cannot be read, all helper arrays are left out: {error}"
        left_out.append(Damage(str(damaged / FOLDER), what))


def _overlay(directory: Path, index: Index, left_out: list[Damage]) -> Overlay:
    """Read the journal as far as it goes."""
    overlay = Overlay(index, journal_format.RECORDS_START)
    where = str(directory / "journal.msgpack")
    try:
        with Journal(directory, writable=False) as log:
            found = log.read_header()
            if (found.store_id, found.generation) != (
                index.header.store_id,
                index.header.generation,
            ):
                return overlay
            end = journal_format.RECORDS_START
            for frame in log.frames_until_damage(found, end):
                overlay.extend(journal_format.decode_all([frame], where), frame.end_byte)
                end = frame.end_byte
            if end < found.committed_end:
                lost = f"is damaged at byte {end}: commits after that are left out"
                left_out.append(Damage(where, lost))
    except (CorruptStoreError, FileNotFoundError) as error:
        left_out.append(Damage(where, f"cannot be read: {error}"))
    return overlay


def _arrays(index: Index, overlay: Overlay, left_out: list[Damage]) -> Iterator[Entry]:
    """Yield every array whose name is intact."""
    whole = {name for name in index.columns if _is_whole(index, name)}
    for column in index.columns.keys() - whole:
        left_out.append(Damage(index.path, f"has a damaged column {column!r}"))
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
