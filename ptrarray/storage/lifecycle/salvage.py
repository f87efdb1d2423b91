"""Copying what is intact of a damaged store into a new one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ptrarray.errors import CorruptStoreError, Damage
from ptrarray.format import journal as journal_format
from ptrarray.format.helpers import FOLDER
from ptrarray.format.journal import Changes, JournalHeader
from ptrarray.storage.lifecycle.compaction import without_holes
from ptrarray.storage.lifecycle.create import create_store, new_header, taken
from ptrarray.storage.lifecycle.intact import Intact
from ptrarray.storage.store.content import Content
from ptrarray.storage.store.index import Index
from ptrarray.storage.store.journal import Journal
from ptrarray.storage.store.merging import MEMORY_NBYTES
from ptrarray.storage.store.overlay import Overlay
from ptrarray.storage.system import files
from ptrarray.storage.system.building import directory_beside


def salvage(
    damaged: Path, to: Path, memory: int = MEMORY_NBYTES, *, progress: bool = False
) -> list[Damage]:
    """Copy what is intact into a new store; return what was left out.

    Takes no more than so many bytes of memory, in a process that has done nothing yet, beside what
    the journal takes, and the damage.
    """
    if files.exists(to):
        raise taken(to)
    index = Index(damaged, checked=False)  # without its header nothing can be made of the rest
    header = index.header
    left_out: list[Damage] = []
    overlay = read_overlay(damaged, index, left_out)
    new = new_header(header.layout, 0, header.attrs if overlay.attrs is None else overlay.attrs)
    with Content(damaged, header) as source:
        with directory_beside(to) as scratch:
            intact = Intact(index, overlay, source, memory)
            kept = intact.index(scratch, new)
        left_out += intact.damage()
        made = without_holes(source, new, kept, progress=progress)
        inside = partial(
            salvage_helpers, damaged, memory=memory, left_out=left_out, progress=progress
        )
        create_store(to, *made, inside=inside)
    return left_out


def salvage_helpers(
    damaged: Path,
    building: Path,
    memory: int,
    *,
    left_out: list[Damage],
    progress: bool = False,
) -> None:
    """Copy what is intact of the helper arrays of a store into another that is being made."""
    if not files.is_directory(damaged / FOLDER):
        return
    try:
        left_out += salvage(damaged / FOLDER, building / FOLDER, memory, progress=progress)
    except (CorruptStoreError, FileNotFoundError) as error:
        what = f"cannot be read, all helper arrays are left out: {error}"
        left_out.append(Damage(str(damaged / FOLDER), what))


def read_overlay(directory: Path, index: Index, left_out: list[Damage]) -> Overlay:
    """Read the journal as far as it goes."""
    overlay = Overlay(index, journal_format.RECORDS_START)
    try:
        with Journal(directory, writable=False) as log:
            found, header = log.read_header(), index.header
            if (found.store_id, found.generation) == (header.store_id, header.generation):
                overlay.extend_by(_changes(log, found, left_out))
    except (CorruptStoreError, FileNotFoundError) as error:
        left_out.append(Damage(str(directory / "journal.msgpack"), f"cannot be read: {error}"))
    return overlay


def _changes(
    log: Journal, header: JournalHeader, left_out: list[Damage]
) -> Iterator[tuple[Changes, int]]:
    """Yield what the records of a journal change, up to the first that is damaged."""
    end = journal_format.RECORDS_START
    try:
        for frame in log.frames_until_damage(header, end):
            yield journal_format.decode_all([frame], log.path), frame.end_byte
            end = frame.end_byte
    except CorruptStoreError as error:
        left_out.append(Damage(log.path, f"cannot be read: {error}"))
        return
    if end < header.committed_end:
        lost = f"is damaged at byte {end}: commits after that are left out"
        left_out.append(Damage(log.path, lost))
