"""Setting right what a killed process or a power cut left, before a writer begins."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from ptrarray.errors import CorruptStoreError
from ptrarray.format import journal as journal_format
from ptrarray.format.index import IndexHeader, corrupt, is_data_file, is_mask_file
from ptrarray.format.journal import ATTRS, DELETE, UNJUDGED, Frame, JournalHeader
from ptrarray.storage.store.blocks import SCRATCH_FILE_NAME
from ptrarray.storage.store.content import Content
from ptrarray.storage.store.index import NEW_FILE_NAME
from ptrarray.storage.store.journal import Journal
from ptrarray.storage.system import files


def surviving(log: Journal, found: JournalHeader, header: IndexHeader) -> JournalHeader:
    """Return the header of a journal less the commits that a power cut has taken.

    Parameters
    ----------
    log : Journal
        The journal.
    found : JournalHeader
        The header as the journal has it.
    header : IndexHeader
        That of the index it belongs to.

    Returns
    -------
    JournalHeader
        `found` itself, or what it has become, if this machine has been running
        since the last commit, or all was flushed. Else its committed end is
        that of the last commit before the first that is not there whole, record
        and rows: both may reach the disk in any order before a flush.
    """
    if found.committed_end <= found.synced_end or found.boot_id == files.boot_id():
        return found
    with Content(log.directory, header) as content:
        if content.has_writer:
            # The machine has been running since that writer looked at all that was there. Another
            # boot id is that of another container; or the writer has settled what `found` says.
            now = log.read_header()
            return now if now.generation == found.generation else found
        key = found, log.version, *(file.version for file, _ in content.files)
        end = _ENDS.get(key)
        if end is None:
            end = _intact_end(log, found, content)
            if len(_ENDS) == _ENDS_LIMIT:
                _ENDS.clear()
            _ENDS[key] = end
    return found._replace(committed_end=end)


# Where what survived ends, by what was looked at: until a writer comes, every reader asks.
_ENDS: dict[tuple[Any, ...], int] = {}
_ENDS_LIMIT = 1000


def _intact_end(log: Journal, found: JournalHeader, content: Content) -> int:
    """Return the byte where the last commit ends before the first that is not there whole."""
    end = found.synced_end
    with suppress(CorruptStoreError):  # a record that makes no sense ends what survived, too
        for frame in log.frames_until_damage(found, end):
            if not _is_intact(frame, log.path, content):
                break
            if not frame.n_more:
                end = frame.end_byte
    return end


def _is_intact(frame: Frame, where: str, content: Content) -> bool:
    """Return whether the rows of all arrays of a record are there, and match their checksums.

    Not the checksums of rows that views may have changed since.
    """
    if frame.kind == ATTRS:
        return True
    entries = journal_format.decode(frame, where)
    infos = [b""] * entries.n_names if entries.infos is None else entries.infos.split()
    columns = (entries.starts.tolist(), entries.ends.tolist(), infos, entries.crcs.tolist())
    is_judged = frame.kind in UNJUDGED
    # In a mixed store a mask ends before the room that the mask file must have for it.
    return frame.kind == DELETE or all(
        content.holds(start, end) and (not is_judged or content.crc(start, end, info) == crc)
        for start, end, info, crc in zip(*columns, strict=True)
    )


def settle(journal: Journal, header: IndexHeader) -> JournalHeader:
    """Bring a journal up to the index that is in place. Under the lock.

    The second half of a checkpoint, which a killed one leaves to the next
    writer; after a power cut, what survived of the journal.

    Raises
    ------
    CorruptStoreError
        If the two do not belong together.
    """
    found = journal.read_header()
    is_same = found.store_id == header.store_id
    if found.generation > header.generation or (
        found.generation == header.generation and not is_same
    ):
        raise corrupt(journal.path, "does not belong to the index beside it")
    if found.generation == header.generation:
        return _recovered(journal, found, header)
    fresh = fresh_header(header, found.boot_id)
    journal.reset(fresh)
    return fresh


def fresh_header(header: IndexHeader, boot_id: bytes) -> JournalHeader:
    """Return the header of a journal without records, beside a new index."""
    return JournalHeader(
        store_id=header.store_id,
        boot_id=boot_id,
        generation=header.generation,
        committed_end=journal_format.RECORDS_START,
        synced_end=journal_format.RECORDS_START,
        n_reserved=header.n_reserved,
    )


def _recovered(journal: Journal, found: JournalHeader, header: IndexHeader) -> JournalHeader:
    if found.boot_id != files.boot_id():
        with Content(journal.directory, header) as content:
            if not content.has_writer:
                survived = surviving(journal, found, header)
                # If it was only the boot id that changed, some of it may be in memory alone.
                content.sync()
                fresh = survived._replace(boot_id=files.boot_id(), next_generation=0)
                return journal.recover(fresh)
    if found.next_generation:  # a checkpoint was killed before it put its index in place
        found = found._replace(next_generation=0)
        journal.write_header(found)
    return found


def remove_leftovers(directory: Path, header: IndexHeader) -> None:
    """Remove what killed processes began and nobody uses. Under the lock."""
    for name in files.list_directory(directory):
        is_ours = (
            name in (NEW_FILE_NAME, SCRATCH_FILE_NAME) or is_data_file(name) or is_mask_file(name)
        )
        if is_ours and name not in header.files:
            files.unlink(directory / name)
