"""After a power cut: which of the commits that were never flushed came through."""

from __future__ import annotations

from zlib import crc32

from ptrarray.errors import CorruptStoreError
from ptrarray.format import journal as layout
from ptrarray.format.index import IndexHeader
from ptrarray.format.journal import Frame, JournalHeader
from ptrarray.storage import files
from ptrarray.storage.files import File
from ptrarray.storage.journal import Journal
from ptrarray.storage.mapping import row_nbytes
from ptrarray.storage.place import open_part

_READ_NBYTES = 1 << 24


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
    try:
        with open_part(log.directory, header.data_file)[0] as data:
            width = row_nbytes(header.dtype, header.row_shape)
            for frame in log.frames_until_damage(state, start):
                if not _is_intact(frame, log.path, data, width):
                    break
                if not frame.n_more:
                    end = frame.end_byte
    except CorruptStoreError:
        pass  # a record that makes no sense ends what survived, too
    return state._replace(committed_end=end)


def _is_intact(frame: Frame, where: str, data: File, width: int) -> bool:
    """Tell whether the rows of all arrays of a record match their checksums."""
    record = layout.decode(frame, where)
    columns = (record.starts.tolist(), record.ends.tolist(), record.crcs.tolist())
    return all(
        crc == rows_crc(data, start, end, width) for start, end, crc in zip(*columns, strict=True)
    )


def rows_crc(data: File, start: int, end: int, width: int) -> int:
    """CRC-32 of rows of a data file, as far as it goes.

    Parameters
    ----------
    data : File
        The data file.
    start, end : int
        Range of rows.
    width : int
        Bytes of one row.
    """
    crc, end_byte = 0, end * width
    for at in range(start * width, end_byte, _READ_NBYTES):
        crc = crc32(data.pread(min(_READ_NBYTES, end_byte - at), at), crc)
    return crc
