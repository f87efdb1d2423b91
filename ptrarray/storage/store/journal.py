"""The journal as an object: its lock, its header and its records."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Self

from ptrarray.errors import CorruptStoreError, StoreError
from ptrarray.format import journal as journal_format
from ptrarray.format.index import corrupt
from ptrarray.format.journal import (
    Changes,
    Frame,
    HashedRecord,
    JournalHeader,
    LongRecord,
    Notice,
)
from ptrarray.format.names import NAME_LIMIT_NBYTES
from ptrarray.format.singles import changes_in
from ptrarray.storage.system import files
from ptrarray.storage.system.files import File
from ptrarray.storage.system.lock import Lock, check_lock
from ptrarray.storage.system.mapping import CannotMapError, MappedBytes, map_file
from ptrarray.storage.system.parts import open_part

FILE_NAME = "journal.msgpack"

# A slot that is not whole is read again, for its writer may have been interrupted in the middle.
_ATTEMPTS = 5
_PAUSE_SECONDS = 0.001
_SMALL_NBYTES = 1 << 16
# Of records that are read together; a longer one is read alone.
_BLOCK_NBYTES = 1 << 20


class Journal:
    """The open journal of a store.

    The file is made with the store and stays for its life, so that a lock on
    it is a lock on the store.

    Parameters
    ----------
    directory : Path
        The store.
    writable : bool
        Whether records will be appended.

    Attributes
    ----------
    path : str
        Path of the file.
    lock : Lock
        The store's lock.
    version : tuple of int
        Other numbers when the file has changed, as of its opening.
    identity : Identity
        Tells the file from another one.
    """

    def __init__(self, directory: Path, *, writable: bool) -> None:
        self.directory = directory
        file: Any  # one that lies elsewhere is only read
        if writable:
            file = File(f"{directory}/{FILE_NAME}", files.CHANGE)
        else:
            file, _ = open_part(directory, FILE_NAME)
        self._file: File = file
        self.path = self._file.path
        self.lock = Lock(self._file)
        self.version = self._file.version
        self._live: MappedBytes = b""
        self.identity = self._file.identity
        self._nbytes = self._file.opened_nbytes  # as of the last look
        self._written = b""  # the live slot as this process left it
        self._header: JournalHeader

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, which also drops the lock."""
        self._file.close()

    def begin(self) -> None:
        """Make sure that the lock keeps others out, and map the live slot. Under the lock."""
        # Of a file opened for it, because a mapping keeps its file open, even in the
        # child of a fork, and with it would keep our lock.
        with File(self.path) as file:
            check_lock(self._file, file)
            with suppress(CannotMapError):  # then it is read at each look
                self._live = map_file(file, journal_format.SLOT_NBYTES)

    def read_header(self) -> JournalHeader:
        """Read both header slots and join what they say.

        A reader holds no lock, and may read the first slot while it is
        rewritten. The second is whole then, but has fewer commits.
        """
        for _ in range(_ATTEMPTS):
            raw = self._file.pread(journal_format.RECORDS_START, 0)
            if journal_format.decode_slot(raw[: journal_format.SLOT_NBYTES]) is not None:
                break
            time.sleep(_PAUSE_SECONDS)
        return journal_format.decode_header(raw, self.path)

    def look(self) -> JournalHeader:
        """Read the slot that each commit rewrites, at the price of one stat. Under the lock.

        Raises
        ------
        FileNotFoundError
            If the journal was removed, or moved with its store.
        StoreError
            If there is another one at the path.
        """
        stat = files.stat(self.path)
        if (stat.st_ino, stat.st_dev) != self.identity:
            raise StoreError(
                f"{self.directory} was moved or replaced since this writer opened it: open it anew",
                path=str(self.directory),
            )
        self._nbytes = stat.st_size
        if self._live and stat.st_size >= journal_format.RECORDS_START:
            raw = self._live[: journal_format.LIVE_NBYTES]
            if raw == self._written:  # nobody else was here
                return self._header
            header = journal_format.decode_slot(raw)
            if header is not None:
                return header
        return self.read_header()

    def write_header(self, header: JournalHeader) -> None:
        """Rewrite the slot that each commit rewrites. Under the lock."""
        self._write((), 0, header)

    def append(
        self, header: JournalHeader, records: Sequence[HashedRecord], n_reserved: int
    ) -> JournalHeader:
        """Commit records: from the return on, every process sees them. Under the lock.

        Rows up to `n_reserved` become reserved with them.
        """
        end = start = header.committed_end
        if self._nbytes > end:
            # A record that was never committed must not stand in for one that is, should
            # a power cut take that before it is on the disk.
            self._file.truncate(end)
            self._file.sync()
            self._nbytes = end
        for _, record in records:
            end += len(record)
        header = JournalHeader(
            header.store_id,
            files.boot_id(),
            header.generation,
            end,
            header.synced_end,
            max(n_reserved, header.n_reserved),
        )
        self._write(records, start, header)
        return header

    def _write(self, records: Sequence[HashedRecord], at: int, header: JournalHeader) -> None:
        """Write records from a byte on, and then the header that commits them."""
        raw = header.encode()
        for _, record in records:
            self._nbytes = max(self._nbytes, at + len(record))  # even if it fails half way
            if isinstance(record, LongRecord):
                at = self._file.pwritev(record.pieces, at)
            else:
                self._file.pwrite(record, at)
                at += len(record)
        # Until this write, a torn append lies past the committed end, where
        # nobody looks and the next append overwrites it.
        self._file.pwrite(raw, 0)
        self._written, self._header = raw, header

    def sync(self, header: JournalHeader, synced_end: int) -> JournalHeader:
        """Wait until all records are on the disk, and note up to where the rows are, too.

        Under the lock.
        """
        self._file.sync()
        header = header._replace(synced_end=synced_end)
        # Only now that the first slot is on the disk may the second be at risk.
        # It vouches for no more than what is on the disk.
        self._file.pwrite(
            header._replace(committed_end=synced_end).encode(), journal_format.SLOT_NBYTES
        )
        self._file.sync()
        self.write_header(header)
        return header

    def recover(self, header: JournalHeader) -> JournalHeader:
        """Take up a journal after a power cut, with what survived. Under the lock.

        What did not survive must not come back at the next power cut, and
        what did must not be lost then, so one slot is changed after the other. The rows
        are on the disk by now.
        """
        header = header._replace(synced_end=header.committed_end)
        self._file.truncate(header.committed_end)
        self._file.sync()  # where only the boot id has changed, records may be in memory alone
        live = journal_format.decode_slot(self._file.pread(journal_format.LIVE_NBYTES, 0))
        is_needed = (
            live is not None
            and live.generation == header.generation
            and live.committed_end >= header.committed_end
        )
        for slot_start in (
            (journal_format.SLOT_NBYTES, 0) if is_needed else (0, journal_format.SLOT_NBYTES)
        ):
            self._file.pwrite(header.encode(), slot_start)
            self._file.sync()
        return header

    def reset(self, header: JournalHeader) -> None:
        """Begin a new generation without records. Under the lock."""
        boot_id = files.boot_id()
        self.write_header(header._replace(boot_id=boot_id))
        self._file.truncate(journal_format.RECORDS_START)
        if header.boot_id != boot_id:
            # A power cut may have taken the first slot and left records of this generation:
            # the next one must not stand in for what is committed now.
            self._file.sync()

    def frames(self, header: JournalHeader, start_byte: int) -> Iterator[Frame]:
        """Yield the committed records from `start_byte` on.

        Raises
        ------
        CorruptStoreError
            If one is damaged; also if a checkpoint has reset the journal
            meanwhile, which the header then tells.
        """
        for at, raw in self._blocks(header, start_byte):
            yield from journal_format.frames(raw, at, header.seed, self.path)

    def notices(self, header: JournalHeader, start_byte: int) -> Iterator[Notice]:
        """Yield what a writer notes of the committed records; raises as `frames`."""
        return chain.from_iterable(
            journal_format.notices(raw, at, header.seed, self.path)
            for at, raw in self._blocks(header, start_byte)
        )

    def pieces(self, header: JournalHeader, start_byte: int) -> Iterator[tuple[Changes, int]]:
        """Yield what the committed records from `start_byte` on change, piece by piece.

        Each with the byte where it ends: of a record, or of shorter ones of a megabyte together.
        Raises as `frames`.
        """
        for at, raw in self._blocks(header, start_byte):
            yield changes_in(raw, at, header.seed, self.path), at + len(raw)

    def _blocks(self, header: JournalHeader, start_byte: int) -> Iterator[tuple[int, bytes]]:
        """Read what is committed from a byte on; yield whole records, and where they begin."""
        at, end = start_byte, header.committed_end
        if end < at:
            what = f"ends at byte {end}, and has ended at {at}"
            raise corrupt(self.path, f"{what}: it was put back to an earlier state")
        if end - at > _SMALL_NBYTES and self._file.nbytes < end:
            raise self._cut_short(self._file.nbytes, end)
        while at < end:
            raw = self._read(at, min(end, at + _BLOCK_NBYTES), end)
            if at + len(raw) < end:
                nbytes = journal_format.whole_nbytes(raw)
                if nbytes:
                    raw = raw[:nbytes]
                else:
                    nbytes = journal_format.frame_nbytes(
                        raw[: journal_format.FRAME_PREFIX_NBYTES], at, self.path
                    )
                    raw = self._read(at, min(end, at + nbytes), end)
            yield at, raw
            at += len(raw)

    def _read(self, start_byte: int, end_byte: int, end: int) -> bytes:
        """Read some bytes, of those that are committed up to a byte."""
        raw = self._file.pread(end_byte - start_byte, start_byte)
        if start_byte + len(raw) < end_byte:
            raise self._cut_short(start_byte + len(raw), end)
        return raw

    def _cut_short(self, found: int, end: int) -> CorruptStoreError:
        return corrupt(self.path, f"ends at byte {found}, before {end}: it is cut short")

    def some_names(
        self, record_at: int, positions: Sequence[int]
    ) -> tuple[int, list[bytes]] | None:
        """Read a few names of a long record, and its kind, and no more of it.

        Nothing of it is compared with the record's checksum, so whoever asks has to compare names
        with their hashes. None where it is packed otherwise than here.
        """
        head = journal_format.head_of(
            self._file.pread(journal_format.HEAD_NBYTES, record_at).ljust(64, b"\0")
        )
        if head is None or not 0 <= max(positions) < head.n_names:
            return None
        prefix = self._file.pread(1, record_at + head.names_at).ljust(1, b"\0")[0]
        names_at = record_at + head.names_at + journal_format.bin_prefix_nbytes(prefix)
        names = []
        for position in positions:
            before = 8 * bool(position)  # where the name before ends, this one begins
            ends_at = record_at + head.ends_at + 8 * position - before
            ends = self._file.pread(8 + before, ends_at)
            start, end = (
                int.from_bytes(ends[:before], "little"),
                int.from_bytes(ends[before:], "little"),
            )
            if not start <= end <= start + NAME_LIMIT_NBYTES:
                return None
            names.append(self._file.pread(end - start, names_at + start))
        return head.kind, names

    def has(self, record: LongRecord, start_byte: int) -> bool:
        """Tell by length and checksum whether a record that was encoded here lies at a byte."""
        head = record.pieces[0]
        return self._file.pread(len(head), start_byte) == head

    def changes(self, header: JournalHeader, start_byte: int) -> Changes:
        """Return what the committed records from `start_byte` on change; raises as `frames`."""
        return journal_format.decode_all(self.frames(header, start_byte), self.path)

    def frames_until_damage(self, header: JournalHeader, start_byte: int) -> Iterator[Frame]:
        """Yield records from `start_byte` on, up to the first that is damaged."""
        end = max(start_byte, min(header.committed_end, self._file.nbytes))
        with suppress(CorruptStoreError):
            yield from self.frames(header._replace(committed_end=end), start_byte)

    def frame_at(self, header: JournalHeader, start_byte: int) -> Frame:
        """Read the one record that begins at `start_byte`."""
        prefix = self._file.pread(journal_format.FRAME_PREFIX_NBYTES, start_byte)
        nbytes = journal_format.frame_nbytes(prefix, start_byte, self.path)
        raw = self._file.pread(min(nbytes, header.committed_end - start_byte), start_byte)
        # To its end, as what interrupts a generator that is dropped before gets lost.
        (frame,) = journal_format.frames(raw, start_byte, header.seed, self.path)
        return frame
