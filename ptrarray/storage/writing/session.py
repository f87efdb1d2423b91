"""What a writing process holds of a store: its lock, its names, and the next rows.

Why one lock and a look are enough
----------------------------------
All writers of a store lock one file, its journal, which is never replaced. Whoever has the lock
*looks*: compares the journal's header with the one that it knows. Mostly they are the same, and
nobody has committed since. Else there are records in between, which are read when a name is looked
for, or, where the header has another generation, an index that was put in place meanwhile, which is
read at once. From then on the writer knows, or can know, all that is committed, and nobody can
commit but itself until it lets go of the lock. So whether a name is there, and which row is the
next, is decided once and stays right up to the commit. A thread that takes the lock again while it
has it need not look again.

The kernel drops the lock of a process that dies. So nothing that a writer does under the lock may
be half done for the next one to find:

- *Rows* are written before the record that names them. Of a writer killed between the two, rows
  are left that no array has; the next append writes them anew, or they stay a hole.
- *A commit* appends its records behind the end that the journal's header names, then rewrites the
  header. Killed before that, it leaves bytes that nobody reads, and that the next commit cuts off.
  The header is written by one call, and has a checksum, for readers look at it without the lock.
- *A checkpoint* announces the next generation in the journal's header, renames a new index over
  the old one, and begins the journal anew with the index's generation. Killed before the rename,
  it leaves a file that the next one to open the store for writing removes. Killed after, it leaves
  records of a generation before that of the index, which nobody reads. Either way the next one to
  take the lock sees the announcement, and settles it.

Without a sync none of these reaches the disk in any order that could be relied on. Hence what a
power cut left is judged by checksums (`ptrarray.storage.store.recovery`), and a sync that failed
is the last thing a session does: the system may take what it could not write for written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from ptrarray.errors import (
    BadInputError,
    ClosedStoreError,
    CorruptStoreError,
    StoreError,
)
from ptrarray.format import journal as journal_format
from ptrarray.format.entries import Entries
from ptrarray.format.index import IndexHeader
from ptrarray.format.journal import ATTRS, HashedRecord, JournalHeader, LongRecord
from ptrarray.format.layouts import Layout
from ptrarray.format.names import Hashes
from ptrarray.storage.store.absent import already_there, not_found, sealed_error
from ptrarray.storage.store.blocks import Contents
from ptrarray.storage.store.content import Content
from ptrarray.storage.store.index import Index, write_index
from ptrarray.storage.store.journal import Journal
from ptrarray.storage.store.merging import MEMORY_NBYTES, beside, fold_all
from ptrarray.storage.store.overlay import Overlay
from ptrarray.storage.store.pointers import check_index
from ptrarray.storage.store.recovery import remove_leftovers, settle
from ptrarray.storage.store.snapshot import StoreSnapshot
from ptrarray.storage.system.files import CHANGE, File, SyncError, check_system, process_id
from ptrarray.storage.system.lock import whole
from ptrarray.storage.system.writeback import WriteBack
from ptrarray.storage.writing.kept import KeptRecords
from ptrarray.storage.writing.recent import RecentNames
from ptrarray.storage.writing.recorded import look_up
from ptrarray.storage.writing.space import Space, belongs

# close() folds the journal when it has outgrown one part in so many of the index.
_CHECKPOINT_PART = 4
# Each reader has as much in memory and a third more, each writer that looks for names a sixth of it.
# See docs/ARCHITECTURE.md, "A long journal", for what a smaller or larger limit costs.
_JOURNAL_LIMIT_NBYTES = 1 << 28

# In the place of a journal's header, where what is known of the store has to be read anew.
_UNKNOWN = JournalHeader(b"", b"", 0, 0, 0, 0)


class Session:
    """A store opened for writing by this process.

    Each method that changes the store takes its lock, looks at what others
    committed meanwhile, and does all of its work or nothing.

    Parameters
    ----------
    directory : Path
        The store.
    durable : bool
        Whether each commit waits until it is on the disk.

    Attributes
    ----------
    index : Index
        The index as of the last look.
    journal_header : JournalHeader
        The journal's header as of the last look. Set when all else is known that goes with it,
        so that whatever an interrupt left out is made up for at the next look.
    seed : int
        What the checksums of its records go on from.
    content : Content
        The data file, and the mask file if there is one.
    layout : Layout
        What its arrays are made of.
    row_limit : int
        Rows that a file can hold at the most.
    is_sealed : bool
        Whether no rows are added to the store, for its data file may be that of another, too.
    """

    index: Index
    content: Content
    layout: Layout
    row_limit: int
    is_sealed: bool
    journal_header: JournalHeader
    seed: int
    _noted_end: int  # byte up to which names and attrs of the journal are known

    @whole
    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        self.directory = directory
        self.pid = process_id()
        self._durable = durable
        self._writeback = WriteBack() if durable else None
        self._store_id: bytes | None = None
        self._sync_failure: OSError | None = None
        try:
            self._journal = Journal(directory, writable=True)
            with self._journal.lock:
                self._journal.begin()
                self._attach()
                with suppress(OSError):  # the next writer removes them
                    remove_leftovers(directory, self.header)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise not_found(directory) from error

    @property
    def path(self) -> str:
        """The store's path, for messages."""
        return str(self.directory)

    @property
    def header(self) -> IndexHeader:
        """Facts of the store."""
        return self.index.header

    @property
    def data(self) -> File:
        """The data file."""
        return self.content.data

    # the lock, and what others did ---------------------------------------------------------

    def locked(self) -> Self:
        """Hold the store's lock during a ``with`` block, knowing all that is committed.

        Gives the session itself. May be nested.
        """
        return self  # a context manager of its own would be three calls more

    def lock(self) -> Self:
        """Take the store's lock, and learn what others committed."""
        if self.content.data.fd < 0:
            raise self._closed()
        is_first = self._journal.lock.__enter__()
        try:
            if self._sync_failure is not None:
                raise self._not_on_disk(self._sync_failure)
            if is_first or self.journal_header is _UNKNOWN:  # or nothing can have changed
                header = self._journal.look()
                if header is not self.journal_header or header.next_generation:
                    self._catch_up(header)
        except FileNotFoundError as error:
            self.unlock()
            raise not_found(self.directory) from error
        except BaseException:
            self.unlock()
            raise
        return self

    def unlock(self, *_: object) -> None:
        """Let go of the store's lock."""
        self._journal.lock.__exit__()

    __enter__, __exit__ = lock, unlock

    def check_open(self) -> None:
        """Raise `ClosedStoreError` if `close` was called."""
        if self.content.data.fd < 0:
            raise self._closed()

    def _closed(self) -> StoreError:
        return ClosedStoreError(f"{self.path} was closed here", path=self.path)

    def _not_on_disk(self, failure: OSError) -> StoreError:
        # The system may take what it could not write for written now.
        return StoreError(
            f"{self.path} could not be brought to the disk ({failure.strerror}), and what was "
            "committed since the last flush may be lost at a power cut: open it anew",
            path=self.path,
        )

    def _catch_up(self, header: JournalHeader) -> None:
        """Learn what others committed before they left this header."""
        known = self.journal_header
        is_same = header.generation == known.generation and header.store_id == self._store_id
        if not is_same or header.next_generation:
            self._attach()
        else:
            # What they committed is noted when somebody asks: names that are replaced need not be
            # looked up, and writers that take turns would wait for it.
            self._noted_end = min(self._noted_end, header.committed_end)
            self.journal_header = header

    def _attach(self) -> None:
        """Take up the index that is in place, and bring the journal up to it."""
        self.journal_header = _UNKNOWN  # until all of it is known
        index = Index(self.directory)
        if self._store_id not in (None, index.header.store_id):
            raise StoreError(
                f"{self.path} was replaced by another store since this writer opened it: "
                "open it anew",
                path=self.path,
            )
        self.index, self._store_id = index, index.header.store_id
        self.content = Content(self.directory, index.header, CHANGE)
        self.content.writeback = self._writeback
        self.layout = self.content.layout
        self.is_sealed = bool(index.header.sealed)
        self.row_limit = self.layout.row_limit
        self.content.check_size(index.header.n_rows)
        self._recent, self._kept = RecentNames(), KeptRecords()
        self._attrs_at = 0  # byte of the record that last replaced the attrs
        self._space: Space | None = None
        self._snapshot: StoreSnapshot | None = None
        header = self.settle(index)
        self.content.hold_for_writing()
        self.seed = header.seed
        self._noted_end = journal_format.RECORDS_START
        self._note(header)
        self.journal_header = header

    def settle(self, index: Index | None = None) -> JournalHeader:
        """Bring the journal up to the index that is in place. Under the lock."""
        with self.syncing():
            return settle(self._journal, (index or Index(self.directory)).header)

    @contextmanager
    def syncing(self) -> Iterator[None]:
        """Let a failed sync be the last thing this session did."""
        try:
            yield
        except SyncError as error:
            self._sync_failure = error
            raise

    def _note(self, header: JournalHeader) -> None:
        """Take notice of the records that have not been noted. Under the lock."""
        start_byte = self._noted_end
        if start_byte == header.committed_end:
            return
        for record_at, kind, hashes in self._journal.notices(header, start_byte):
            self._recent.add(hashes, record_at)
            if kind == ATTRS:
                self._attrs_at = record_at
        if self._space is not None:
            self._note_space(header, start_byte)
        self._noted_end = header.committed_end

    def _note_space(self, header: JournalHeader, start_byte: int) -> None:
        """Take notice of the rows of records. Should this fail, `are_free` begins anew."""
        space, self._space = self._space, None
        if space is not None:
            for changes, _ in self._journal.pieces(header, start_byte):
                space.note(changes.records)
        self._space = space

    def snapshot(self) -> StoreSnapshot:
        """Return all that is committed now. Under the lock; good until the next change."""
        known, end = self._snapshot, self.journal_header.committed_end
        if known is not None and known.overlay.end_byte == end:
            return known
        self._snapshot = None  # should this be interrupted, the next one begins anew
        start_byte = journal_format.RECORDS_START
        overlay = Overlay(self.index, start_byte) if known is None else known.overlay
        if overlay.end_byte < end:
            overlay.extend_by(self._journal.pieces(self.journal_header, overlay.end_byte))
        self._snapshot = snapshot = StoreSnapshot(self.directory, self.index, overlay)
        return snapshot

    def lay_over(self, record: HashedRecord, start_byte: int, name: bytes) -> None:
        """Learn what a record has deleted that this session committed just now. Under the lock.

        The next snapshot need not read it back. Any other commit since then is read as ever.
        """
        known, end = self._snapshot, self.journal_header.committed_end
        if known is None or (known.overlay.end_byte, end - len(record[1])) != (start_byte,) * 2:
            return
        self._snapshot = None  # as in `snapshot`
        known.overlay.delete(name, record[0][0], end)
        self._snapshot = StoreSnapshot(self.directory, self.index, known.overlay)

    @property
    def attrs(self) -> dict[str, Any]:
        """The attrs as of now, read without the names. Under the lock."""
        self._note(self.journal_header)
        if not self._attrs_at:
            return self.header.attrs
        attrs: dict[str, Any] = self._journal.frame_at(self.journal_header, self._attrs_at).fields[
            0
        ]
        return attrs

    @property
    def attrs_version(self) -> tuple[int, int]:
        """Two numbers that change whenever the attrs do. Under the lock."""
        self._note(self.journal_header)
        return self.header.generation, self._attrs_at

    def sound_snapshot(self) -> StoreSnapshot:
        """Return `snapshot` after a look at all of the index, as what is wrong must not be copied.

        Raises
        ------
        CorruptStoreError
            If a column does not match its checksum, or a pointer leads nowhere or is out of order.
        """
        self.index.check()
        snapshot = self.snapshot()
        snapshot.check_pointers()
        return snapshot

    # names ---------------------------------------------------------------------------------

    def existing(self, names: Sequence[bytes], hashes: Hashes) -> list[bytes]:
        """Return those of `names` that are there. Under the lock.

        Looks names up in the index in one go; reads a name of the journal
        only where its hash is the same.
        """
        self._note(self.journal_header)
        if len(names) == 1:
            in_index = [0] if self.index.find(names[0]) >= 0 else []
            doubtful = [0] if any(self._recent.records(hashes[0])) else []
        else:
            wanted = np.asarray(hashes, np.uint32)
            in_index = (self.index.find_many(names, wanted) >= 0).nonzero()[0].tolist()
            doubtful = self._recent.seen(hashes).tolist()
        if not in_index and not doubtful:
            return []
        unknown: dict[int, dict[bytes, int]] = {}
        for at in doubtful:
            unknown.setdefault(hashes[at], {})[names[at]] = at
        recorded = look_up(unknown, self._recent, self._journal, self.journal_header)
        is_there = dict.fromkeys(in_index, True) | {
            at: self.snapshot().find(names[at]) is not None if there is None else there
            for at, there in recorded.items()
        }
        return [names[at] for at in sorted(is_there) if is_there[at]]

    @property
    def version(self) -> tuple[int, ...]:
        """Numbers that change with every commit. Under the lock."""
        return self.journal_header.generation, self.journal_header.committed_end

    def check_new(self, names: Sequence[bytes], hashes: Hashes) -> None:
        """Raise `DuplicateNameError` if any of the names is there. Under the lock."""
        there = self.existing(names, hashes)
        if there:
            raise already_there(there, len(names), self.path)

    # changes -------------------------------------------------------------------------------

    def commit(self, records: Sequence[HashedRecord], n_reserved: int = 0) -> None:
        """Commit records, each with the hashes of its names. Under the lock.

        The rows they name must have been written, and the rows up to
        `n_reserved` become reserved with them.
        """
        if self.journal_header is _UNKNOWN:  # a checkpoint failed since the lock was taken
            self._catch_up(self._journal.look())
        start_byte = self.journal_header.committed_end
        # A failed sync ends this session here, too.
        try:
            header = self._journal.append(self.journal_header, records, n_reserved)
        except SyncError as error:
            self._sync_failure = error
            raise
        # What fails from here on must not make the commit look as if it had failed.
        if self._noted_end == start_byte:  # else they are noted with those of others before
            self._note_own(records, header)
        self.journal_header = header
        if self._durable:
            with self.syncing():
                self.content.sync()
                self.journal_header = self._journal.sync(header, header.committed_end)
        if header.committed_end > _JOURNAL_LIMIT_NBYTES:
            # The next commit tries again; what is too large for an index stays here.
            with suppress(OSError, BadInputError):
                self.checkpoint()

    def _note_own(self, records: Sequence[HashedRecord], header: JournalHeader) -> None:
        """Take notice of records that were committed here, without reading them back."""
        at = start_byte = self._noted_end
        for hashes, record in records:
            self._recent.add(hashes, at)
            if isinstance(record, LongRecord):
                self._kept.add(record, at)
            elif len(hashes) != 1 and journal_format.kind_of(record) == ATTRS:
                self._attrs_at = at
            at += len(record)
        if self._space is not None:
            with suppress(OSError):
                self._note_space(header, start_byte)
        self._noted_end = at

    def rows_at(self, start: int | None, n_rows: int) -> tuple[int, int]:
        """Return the rows from `start` on, or the next ones if it is None. Under the lock.

        Raises
        ------
        BadInputError
            If no array may begin there, they do not fit in a file, or none are added any more.
        """
        self.check_grows()
        alignment = self.layout.alignment
        if start is None:
            start = -(-self.journal_header.n_reserved // alignment) * alignment
        elif start % alignment:
            raise BadInputError(
                f"start {start} is no multiple of {alignment}, where arrays of "
                f"{self.path} may begin",
                path=self.path,
                found=start,
                expected=alignment,
            )
        end = start + n_rows
        if end > self.row_limit:
            raise BadInputError(
                f"rows {start} to {end} of {self.layout.width} bytes do not fit in a file: "
                f"{self.path}",
                path=self.path,
                found=end,
                expected=self.row_limit,
            )
        if self.layout.masked:
            self.content.extend_masks(self.index.header.n_rows)
        return start, end

    def check_grows(self) -> None:
        """Raise `BadInputError` if no rows are added to the store any more. Under the lock."""
        if self.is_sealed:
            raise sealed_error(self.path)

    def set_reserved(self, n_reserved: int) -> None:
        """Move the end of the reserved rows. Under the lock."""
        header = self.journal_header._replace(n_reserved=n_reserved)
        self._journal.write_header(header)
        self.journal_header = header

    def are_free(self, start: int, end: int) -> bool:
        """Tell whether none of these rows belongs to an array. Under the lock."""
        self._note(self.journal_header)
        if self._space is None:
            space = Space(self.index)
            start_byte = journal_format.RECORDS_START
            for changes, _ in self._journal.pieces(self.journal_header, start_byte):
                space.note(changes.records)
            self._space = space
        if not self._space.may_belong(start, end):
            return True
        if belongs(self.snapshot(), start, end):
            return False
        # They belonged to an array that was deleted or replaced. Before they are
        # written to, that must be on the disk, or a power cut could bring it back.
        self.flush()
        return True

    def sync_rows(self) -> None:
        """Wait until rows that were written, be they committed or not, are on the disk."""
        with self.syncing():
            self.content.sync()

    def expect_flush(self) -> None:
        """Have the disk take rows while more are written, as somebody will wait for all of them."""
        self._writeback = self.content.writeback = self._writeback or WriteBack()

    @whole
    def flush(self) -> None:
        """Wait until all that is committed is on the disk."""
        with self.locked():
            header, content = self.journal_header, self.content
        # Commits of all processes up to here have written their rows before.
        with self.syncing():
            content.sync()
        with self.locked(), self.syncing():
            # A checkpoint meanwhile has brought all of it to the disk.
            if self.journal_header.generation == header.generation:
                self.journal_header = self._journal.sync(self.journal_header, header.committed_end)

    @whole
    def checkpoint(
        self, memory: int = MEMORY_NBYTES, *, sealed: bool | None = None, entry: bool = False
    ) -> None:
        """Fold the journal into a new index; nothing to do if it is empty.

        In a process that has done nothing yet, that takes no more than so many bytes of memory.
        With `sealed`, the index says from then on whether rows are added to the store. With
        `entry`, it has numbers side by side, too, until the next checkpoint.
        """
        with self.locked():
            known = self.journal_header
            sealed = self.header.sealed if sealed is None else sealed
            is_same = sealed is self.header.sealed and entry <= ("entry" in self.index.columns)
            if known.committed_end == journal_format.RECORDS_START and is_same:
                return
            # The index must not reach the disk before the rows it names. After a flush, all are there.
            if known.synced_end < known.committed_end:
                self.sync_rows()
            columns, facts = self._folded(memory)
            if entry:
                columns = columns._replace(sizes=columns.sizes.with_entry())
            facts |= {"sealed": sealed, "generation": self.header.generation + 1}
            header = replace(self.header, n_reserved=self.journal_header.n_reserved, **facts)
            self.put_index(header, columns)
            self._attach()

    def _folded(self, memory: int) -> tuple[Contents, dict[str, Any]]:
        """Fold the journal into the columns of the index, and rows and attrs. Under the lock."""
        facts: dict[str, Any] = {"n_rows": self.header.n_rows, "attrs": self.header.attrs}
        # To have room for the columns; should this fail, they are read again when somebody asks.
        self._snapshot = None
        self._noted_end, self._recent = journal_format.RECORDS_START, RecentNames()
        check_index(self.index)
        records = self._kept.records(self._journal, self.journal_header, facts)
        return fold_all(self.index, records, self.directory, memory), facts

    def whole_index(self, memory: int) -> tuple[Index, IndexHeader]:
        """Return an index with the journal folded in that is in no place, and its header. Under the lock.

        The one that is in place, where the journal is empty. Both are looked at as by `checkpoint`.
        """
        if self.journal_header.committed_end == journal_format.RECORDS_START:
            check_index(self.index)
            return self.index, self.header
        contents, facts = self._folded(memory)
        header = replace(self.header, **facts)
        return beside(self.directory, header, contents), header

    def put_index(self, header: IndexHeader, columns: Entries | Contents) -> None:
        """Put an index of the next generation in place, to be settled next. Under the lock.

        Should this process be killed, or fail, before or after it is in place, the next
        writer settles it: the journal says that there may be one.
        """
        self._journal.write_header(self.journal_header._replace(next_generation=header.generation))
        with self.syncing():
            write_index(self.directory, header, columns)

    @whole
    def close(self, least_nbytes: int = 0) -> None:
        """Checkpoint if the journal has outgrown the index, and close the files.

        What is wrong with the store is an error, and what is committed and cannot be brought
        to the disk. Else all of it is in the journal, for the next one to try.
        """
        try:
            if self._sync_failure is None:
                self.checkpoint_if_grown(least_nbytes)
        except (CorruptStoreError, SyncError):
            raise
        except StoreError:
            pass  # removed or replaced by now: not this one's to look after
        except OSError as error:  # a full disk, say
            check_system(error)
        finally:
            self.release()

    @whole
    def checkpoint_if_grown(self, least_nbytes: int = 0) -> None:
        """Checkpoint if the journal has outgrown a part of the index, and so many bytes."""
        with self.locked():
            nbytes = self.journal_header.committed_end - journal_format.RECORDS_START
            if nbytes > max(self.index.nbytes / _CHECKPOINT_PART, least_nbytes):
                self.checkpoint()

    def release(self) -> None:
        """Close the files."""
        self._journal.close()
        self.content.close()


@whole
def bring_to_disk(directory: Path) -> None:
    """Wait until all that is committed to a store is on the disk, and known to be.

    From then on the mask file has a byte for each element.
    """
    session = Session(directory)
    try:
        with session.locked():
            if not session.is_sealed:
                session.content.extend_masks(session.index.header.n_rows)
            if session.journal_header.synced_end < session.journal_header.committed_end:
                session.flush()
    finally:
        session.release()
