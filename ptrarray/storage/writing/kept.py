"""Long records that a session committed itself, kept so that a checkpoint need not read them back."""

from __future__ import annotations

from ptrarray.format.entries import Entries
from ptrarray.format.journal import (
    RECORDS_START,
    Changes,
    JournalHeader,
    LongRecord,
)
from ptrarray.storage.store.journal import Journal

# Bytes of the records kept. What is not kept takes three times as much when it is read back.
_LIMIT_NBYTES = 1 << 26


class KeptRecords:
    """What this process knows of a journal since the last checkpoint, because it wrote it.

    Knows the records by the bytes at which they begin, which stay the same up to a checkpoint;
    what it lacks is read from the journal. So it may forget whatever it likes.
    """

    def __init__(self) -> None:
        self._records: dict[int, LongRecord] = {}
        self._nbytes = 0

    def add(self, record: LongRecord, start_byte: int) -> None:
        """Keep a record that was committed at a byte of the journal, if there is room."""
        if self._nbytes + len(record) <= _LIMIT_NBYTES:
            self._nbytes += len(record)
            self._records[start_byte] = record

    def changes(self, journal: Journal, header: JournalHeader) -> Changes:
        """Return all that the committed records change, as `Journal.changes`. Under the lock."""
        records: list[Entries] = []
        attrs, at = None, RECORDS_START
        known: list[tuple[int, LongRecord | None]] = [*self._records.items()]
        for start_byte, record in [*known, (header.committed_end, None)]:
            if at < start_byte:  # records of others, or short ones
                between = journal.changes(header._replace(committed_end=start_byte), at)
                records += between.records
                attrs = attrs if between.attrs is None else between.attrs
            if record is not None:
                records.append(record.entries)
                at = start_byte + len(record)
        return Changes(records, attrs)
