"""Long records that a session committed itself, kept so that a checkpoint need not read them back."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Any

from ptrarray.format.entries import Entries, end_to_end
from ptrarray.format.journal import (
    RECORDS_START,
    Changes,
    JournalHeader,
    LongRecord,
)
from ptrarray.storage.store.journal import Journal

# Bytes of the records kept. What is not kept takes twice as much while it is read back.
_LIMIT_NBYTES = 1 << 26


class KeptRecords:
    """What this process knows of a journal since the last checkpoint, because it wrote it.

    Knows records by the bytes at which they begin. What it lacks is read from the journal, so it
    may forget whatever it likes; and what it has is used only where the journal has the same.
    """

    def __init__(self) -> None:
        self._records: dict[int, LongRecord] = {}
        self._nbytes = 0

    def add(self, record: LongRecord, start_byte: int) -> None:
        """Keep a record that was committed at a byte of the journal, if there is room."""
        if self._nbytes + len(record) <= _LIMIT_NBYTES:
            self._nbytes += len(record)
            self._records[start_byte] = record

    def changes(self, journal: Journal, header: JournalHeader) -> Iterator[Changes]:
        """Yield all that the committed records change, some of them at a time. Under the lock."""
        at, end = RECORDS_START, header.committed_end
        # There is another one if an interrupt undid a commit, or the file was put back.
        known: list[tuple[int, LongRecord | None]] = [
            (start_byte, record)
            for start_byte, record in sorted(self._records.items(), key=itemgetter(0))
            if start_byte + len(record) <= end and journal.has(record, start_byte)
        ]
        for start_byte, record in [*known, (end, None)]:
            if at < start_byte:  # records of others, or short ones
                between = header._replace(committed_end=start_byte)
                yield from (changes for changes, _ in journal.pieces(between, at))
            if record is not None:
                yield Changes([record.entries])
                at = start_byte + len(record)

    def records(
        self, journal: Journal, header: JournalHeader, facts: dict[str, Any]
    ) -> Iterator[Entries]:
        """Yield the records that are about names, and note what they change of an index's facts."""
        for changes in self.changes(journal, header):
            if changes.attrs is not None:
                facts["attrs"] = changes.attrs
            if changes.records:
                entries = end_to_end(changes.records)
                facts["n_rows"] = max(facts["n_rows"], entries.n_rows)
                yield entries
