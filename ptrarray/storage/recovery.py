"""After a power cut: which of the commits that were never flushed came through."""

from __future__ import annotations

from contextlib import suppress

from ptrarray.errors import CorruptStoreError
from ptrarray.format import journal as layout
from ptrarray.format.index import IndexHeader
from ptrarray.format.journal import Frame, JournalHeader
from ptrarray.storage import files
from ptrarray.storage.content import Content
from ptrarray.storage.journal import Journal


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
