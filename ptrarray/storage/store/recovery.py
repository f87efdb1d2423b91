"""Setting right what a killed process or a power cut left, before a writer begins."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ptrarray.errors import CorruptStoreError
from ptrarray.format import journal as layout
from ptrarray.format.index import IndexHeader, corrupt, is_data_file, is_mask_file
from ptrarray.format.journal import Frame, JournalHeader
from ptrarray.storage.store.content import Content
from ptrarray.storage.store.index import NEW_FILE_NAME
from ptrarray.storage.store.journal import Journal
from ptrarray.storage.system import files


def surviving(log: Journal, state: JournalHeader, header: IndexHeader) -> JournalHeader:
    """Return the state of a journal less the commits that a power cut has taken.

    Parameters
    ----------
    log : Journal
        The journal.
    state : JournalHeader
        What it says of itself.
    header : IndexHeader
        Of the index it belongs to.

    Returns
    -------
    JournalHeader
        `state` itself if this machine has been running since the last
        commit, or all was flushed. Else its committed end is that of the last
        commit before the first that is not there whole, record and rows:
        both may reach the disk in any order before a flush.
    """
    if state.boot_id == files.boot_id() or state.committed_end <= state.synced_end:
        return state
    end = start = state.synced_end
    with (
        Content(log.directory, header) as content,
        suppress(CorruptStoreError),  # a record that makes no sense ends what survived, too
    ):
        for frame in log.frames_until_damage(state, start):
            if not _is_intact(frame, log.path, content):
                break
            if not frame.n_more:
                end = frame.end_byte
    return state._replace(committed_end=end)


def _is_intact(frame: Frame, where: str, content: Content) -> bool:
    """Tell whether the rows of all arrays of a record are there, and match their checksums."""
    record = layout.decode(frame, where)
    found = record.infos or [b""] * len(record.starts)
    columns = (record.starts.tolist(), record.ends.tolist(), found, record.crcs.tolist())
    # In a mixed store a mask ends before the room that the mask file must have for it.
    return all(
        content.holds(start, end) and content.crc(start, end, info) == crc
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
    state = journal.read_header()
    is_same = state.store_id == header.store_id
    if state.generation > header.generation or (
        state.generation == header.generation and not is_same
    ):
        raise corrupt(journal.path, "does not belong to the index beside it")
    if state.generation == header.generation:
        return _recovered(journal, state, header)
    state = fresh_header(header, state.boot_id)
    journal.reset(state)
    return state


def fresh_header(header: IndexHeader, boot_id: bytes) -> JournalHeader:
    """Return the header of a journal without records, beside a new index."""
    return JournalHeader(
        store_id=header.store_id,
        boot_id=boot_id,
        generation=header.generation,
        committed_end=layout.RECORDS_START,
        synced_end=layout.RECORDS_START,
        n_reserved=header.n_reserved,
    )


def _recovered(journal: Journal, state: JournalHeader, header: IndexHeader) -> JournalHeader:
    if state.boot_id == files.boot_id():
        if state.next_generation:  # a checkpoint was killed before it put its index in place
            state = state._replace(next_generation=0)
            journal.write_header(state)
        return state
    state = surviving(journal, state, header)
    return journal.recover(state._replace(boot_id=files.boot_id(), next_generation=0))


def remove_leftovers(directory: Path, header: IndexHeader) -> None:
    """Remove what killed processes began and nobody uses. Under the lock."""
    for name in files.list_directory(directory):
        is_ours = name == NEW_FILE_NAME or is_data_file(name) or is_mask_file(name)
        if is_ours and name not in header.files:
            files.unlink(directory / name)
