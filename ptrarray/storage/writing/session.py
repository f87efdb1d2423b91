"""What a writing process holds of a store: its lock, its names, and the next rows."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ptrarray.errors import (
    BadInputError,
    ClosedStoreError,
    CorruptStoreError,
    DuplicateNameError,
    StoreError,
)
from ptrarray.format import journal as layout
from ptrarray.format.index import IndexHeader, corrupt
from ptrarray.format.journal import ATTRS, DELETE, JournalHeader, Record
from ptrarray.format.layouts import Layout
from ptrarray.storage.store.content import Content
from ptrarray.storage.store.folding import fold
from ptrarray.storage.store.index import Columns, Index, write_index
from ptrarray.storage.store.journal import Journal
from ptrarray.storage.store.overlay import Overlay
from ptrarray.storage.store.recovery import remove_leftovers, settle
from ptrarray.storage.store.snapshot import Snapshot, not_found, outside
from ptrarray.storage.system.files import CHANGE, File, SyncError, process_id
from ptrarray.storage.writing.recent import RecentNames
from ptrarray.storage.writing.space import Space, belongs

# close() folds the journal when it has outgrown one part in so many of the index.
_CHECKPOINT_PART = 4
_JOURNAL_LIMIT_NBYTES = 1 << 30


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
    state : JournalHeader
        The journal's header as of the last look.
    content : Content
        The data file, and the mask file if there is one.
    layout : Layout
        What its arrays are made of.
    width : int
        Bytes of one row.
    row_limit : int
        Rows that a file can hold at the most.
    """

    index: Index
    content: Content
    layout: Layout
    width: int
    row_limit: int
    state: JournalHeader

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        self.directory = directory
        self.pid = process_id()
        self._durable = durable
        self._store_id: bytes | None = None
        self._sync_failure: OSError | None = None
        try:
            self._journal = Journal(directory, writable=True)
            with self._journal.lock:
                self._attach()
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

    def locked(self) -> Locked:
        """Hold the store's lock during a ``with`` block, knowing all that is committed."""
        return Locked(self)

    def lock(self) -> None:
        """Take the store's lock, and learn what others committed."""
        self.check_open()
        self._journal.lock.__enter__()
        try:
            if self._sync_failure is not None:
                raise self._not_on_disk(self._sync_failure)
            if not self._journal.lock.is_nested:  # or nothing can have changed
                self._look()
        except BaseException:
            self.unlock()
            raise

    def check_open(self) -> None:
        """Raise `ClosedStoreError` if `close` was called."""
        if self._journal.closed:
            raise ClosedStoreError(f"{self.path} was closed here", path=self.path)

    def unlock(self) -> None:
        """Let go of the store's lock."""
        self._journal.lock.__exit__()

    def _not_on_disk(self, failure: OSError) -> StoreError:
        # The system may take what it could not write for written now.
        return StoreError(
            f"{self.path} could not be brought to the disk ({failure.strerror}), and what was "
            "committed since the last flush may be lost at a power cut: open it anew",
            path=self.path,
        )

    def _look(self) -> None:
        """Learn what others committed since the last look."""
        try:
            state = self._journal.look()
        except FileNotFoundError as error:
            raise not_found(self.directory) from error
        if state is self.state and not state.next_generation:
            return
        is_same = state.generation == self.state.generation and state.store_id == self._store_id
        if not is_same or state.next_generation:
            self._attach()
        elif state.committed_end > self.state.committed_end:
            self._note(state, self.state.committed_end)
        else:
            self.state = state

    def _attach(self) -> None:
        """Take up the index that is in place, and bring the journal up to it."""
        try:
            index = Index(self.directory)
        except FileNotFoundError as error:
            raise not_found(self.directory) from error
        if self._store_id not in (None, index.header.store_id):
            raise StoreError(
                f"{self.path} was replaced by another store since this writer opened it: "
                "open it anew",
                path=self.path,
            )
        self.index, self._store_id = index, index.header.store_id
        self.layout = index.header.layout
        self.width, self.row_limit = self.layout.width, self.layout.row_limit
        self.content = Content(self.directory, index.header, CHANGE)
        self.content.check_size(index.header.n_rows)
        self._recent = RecentNames()
        self._attrs_at = 0  # byte of the record that last told of attrs
        self._space: Space | None = None
        self._snapshot: Snapshot | None = None
        self._note(self.settle(), layout.RECORDS_START)

    def settle(self) -> JournalHeader:
        """Bring the journal up to the index that is in place. Under the lock."""
        with self._syncing():
            return settle(self._journal, Index(self.directory).header)

    @contextmanager
    def _syncing(self) -> Iterator[None]:
        """Let a failed sync be the last thing this session did."""
        try:
            yield
        except SyncError as error:
            self._sync_failure = error
            raise

    def _note(self, state: JournalHeader, start_byte: int) -> None:
        """Take notice of the records from a byte of the journal on."""
        for frame in self._journal.frames(state, start_byte):
            self._recent.add(frame.hashes(), frame.start_byte)
            if frame.kind == ATTRS:
                self._attrs_at = frame.start_byte
        if self._space is not None:
            self._space.note(self._records(state, start_byte))
        self.state = state

    def _records(self, state: JournalHeader, start_byte: int) -> Iterator[Record]:
        for frame in self._journal.frames(state, start_byte):
            yield layout.decode(frame, self._journal.path)

    def snapshot(self) -> Snapshot:
        """Return all that is committed now; good until the next call."""
        with self.locked():
            if self._snapshot is None:
                overlay = Overlay(self.index, layout.RECORDS_START)
                self._snapshot = Snapshot(self.directory, self.index, overlay)
            overlay, end = self._snapshot.overlay, self.state.committed_end
            if overlay.end_byte < end:
                overlay.extend(list(self._records(self.state, overlay.end_byte)), end)
                self._snapshot = Snapshot(self.directory, self.index, overlay)
            return self._snapshot

    @property
    def attrs(self) -> dict[str, Any]:
        """The attrs as of now, read without the names. Under the lock."""
        if not self._attrs_at:
            return self.header.attrs
        frame = self._journal.frame_at(self.state, self._attrs_at)
        return layout.decode(frame, self._journal.path).attrs

    @property
    def attrs_version(self) -> tuple[int, int]:
        """Two numbers that change whenever the attrs do. Under the lock."""
        return self.header.generation, self._attrs_at

    def sound_snapshot(self) -> Snapshot:
        """Return `snapshot` after a look at all of the index, as what is wrong must not be copied.

        Raises
        ------
        CorruptStoreError
            If a column does not match its checksum, or a pointer leads nowhere.
        """
        self.index.check()
        snapshot = self.snapshot()
        snapshot.check_pointers()
        return snapshot

    # names ---------------------------------------------------------------------------------

    def existing(self, names: Sequence[bytes], hashes: array[int]) -> list[bytes]:
        """Those of `names` that are there. Under the lock.

        Looks names up in the index in one go; decodes a record of the journal
        only where one of its hashes is the same.
        """
        if len(names) == 1:
            in_index = [0] if self.index.find(names[0]) >= 0 else []
            doubtful = [0] if self._recent.records(hashes[0]) else []
        else:
            wanted = np.frombuffer(hashes, np.uint32)
            in_index = np.flatnonzero(self.index.find_many(names, wanted) >= 0).tolist()
            doubtful = self._recent.seen(hashes).tolist()
        if not in_index and not doubtful:
            return []
        is_there = dict.fromkeys(in_index, True) | self._recorded(names, hashes, doubtful)
        return [names[at] for at in sorted(is_there) if is_there[at]]

    def _recorded(
        self, names: Sequence[bytes], hashes: array[int], doubtful: list[int]
    ) -> dict[int, bool]:
        """Tell of which of the doubtful names the journal says that they are there, or not."""
        queries: dict[int, list[int]] = {}
        for at in doubtful:
            for record_at in self._recent.records(hashes[at]):
                queries.setdefault(record_at, []).append(at)
        known: dict[int, bool] = {}
        for record_at in sorted(queries, reverse=True):
            unknown = [at for at in queries[record_at] if at not in known]
            if unknown:
                frame = self._journal.frame_at(self.state, record_at)
                told = set(layout.decode(frame, self._journal.path).names)
                known.update((at, frame.kind != DELETE) for at in unknown if names[at] in told)
        return known

    @property
    def version(self) -> tuple[int, ...]:
        """Numbers that change with every commit. Under the lock."""
        return self.state.generation, self.state.committed_end

    def check_new(self, names: Sequence[bytes], hashes: array[int]) -> None:
        """Raise `DuplicateNameError` if any of the names is there. Under the lock."""
        there = self.existing(names, hashes)
        if there:
            raise already_there(there, len(names), self.path)

    # what a store of shards does otherwise --------------------------------------------------

    first_row = 0  # of this shard in the store
    shard_nbytes: int | None = None  # that it has at the most

    def find(self, name: bytes) -> tuple[int, int] | None:
        """Pointer of a name as of now, or None."""
        return self.snapshot().find(name)

    def expect(self, expected: Expected) -> None:
        """Hear what is about to be written, before the lock is taken."""

    def check_plannable(self) -> None:
        """Raise `BadInputError` if callers must not choose rows."""

    def first_shard(self) -> Session:
        """Return the shard that has the user's attrs. Under the lock."""
        return self

    def having(self, names: list[bytes]) -> list[tuple[Session, list[bytes]]]:
        """Return which shards have which of the names, all there. Under the lock."""
        return [(self, names)] if names else []

    def at_rows(self, start: int, end: int) -> tuple[Session, int]:
        """Return the shard that has the rows, and its first row. Under the lock."""
        return self, 0

    # changes -------------------------------------------------------------------------------

    def commit(self, records: Sequence[tuple[Sequence[int], bytes]], n_reserved: int = 0) -> None:
        """Commit records, each with the hashes of the names it tells of. Under the lock.

        The rows they name must have been written, and the rows up to
        `n_reserved` become reserved with them.
        """
        start_byte = at = self.state.committed_end
        # A failed sync ends this session here, too.
        try:
            self.state = self._journal.append(
                self.state, [record for _, record in records], n_reserved
            )
        except SyncError as error:
            self._sync_failure = error
            raise
        for hashes, record in records:
            self._recent.add(hashes, at)
            if layout.kind_of(record) == ATTRS:
                self._attrs_at = at
            at += len(record)
        # What fails from here on must not make the commit look as if it had failed.
        if self._space is not None:
            try:
                self._space.note(self._records(self.state, start_byte))
            except OSError:
                self._space = None  # made anew when it is needed
        if self._durable:
            with self._syncing():
                self.content.sync()
                self.state = self._journal.sync(self.state, self.state.committed_end)
        if self.state.committed_end > _JOURNAL_LIMIT_NBYTES:
            # The next commit tries again; what is too large for an index stays here.
            with suppress(OSError, BadInputError):
                self.checkpoint()

    @property
    def next_row(self) -> int:
        """Where the next append goes. Under the lock."""
        next_row: int = self.layout.aligned(self.state.n_reserved)
        return next_row

    def set_reserved(self, n_reserved: int) -> None:
        """Move the end of the reserved rows. Under the lock."""
        state = self.state._replace(n_reserved=n_reserved)
        self._journal.write_header(state)
        self.state = state

    def are_free(self, start: int, end: int) -> bool:
        """Tell whether none of these rows belongs to an array. Under the lock."""
        if self._space is None:
            self._space = Space(self.index)
            self._space.note(self._records(self.state, layout.RECORDS_START))
        if not self._space.may_belong(start, end):
            return True
        if belongs(self.snapshot(), start, end):
            return False
        # They belonged to an array that was deleted or replaced. Before they are
        # written to, that must be on the disk, or a power cut could bring it back.
        self.flush()
        return True

    def flush(self) -> None:
        """Wait until all that is committed is on the disk."""
        with self.locked():
            state, content = self.state, self.content
        # Commits of all processes up to here have written their rows before.
        with self._syncing():
            content.sync()
        with self.locked(), self._syncing():
            # A checkpoint meanwhile has brought all of it to the disk.
            if self.state.generation == state.generation:
                self.state = self._journal.sync(self.state, state.committed_end)

    def checkpoint(self) -> None:
        """Fold the journal into a new index; nothing to do if it is empty."""
        with self.locked():
            if self.state.committed_end == layout.RECORDS_START:
                return
            # The index must not reach the disk before the rows it names.
            with self._syncing():
                self.content.sync()
            self.index.check()
            columns, facts = self._folded()
            is_wrong = outside(columns.starts, columns.ends, facts["n_rows"])
            if is_wrong.any():
                at = int(np.argmax(is_wrong))
                start, end = int(columns.starts[at]), int(columns.ends[at])
                what = f"has a pointer to rows {start} to {end} of {facts['n_rows']}"
                raise corrupt(self.index.path, what)
            generation, n_reserved = self.header.generation + 1, self.state.n_reserved
            header = replace(self.header, generation=generation, n_reserved=n_reserved, **facts)
            self.put_index(header, columns)
            self._attach()

    def _folded(self) -> tuple[Columns, dict[str, Any]]:
        """Fold the journal into the columns of the index, and rows and attrs. Under the lock."""
        told, attrs, n_rows = [], self.header.attrs, self.header.n_rows
        for frame in self._journal.frames(self.state, layout.RECORDS_START):
            if frame.kind == layout.ATTRS:
                attrs = frame.fields[0]
                continue
            columns = layout.decode_columns(frame, self._journal.path)
            filled = columns.ends[columns.starts < columns.ends]
            n_rows = max(n_rows, int(filled.max(initial=0)))
            told.append((frame.kind, columns))
        self._snapshot = None  # to have room for the columns
        return fold(self.index, told), {"n_rows": n_rows, "attrs": attrs}

    def put_index(self, header: IndexHeader, columns: Columns) -> None:
        """Put an index of the next generation in place, to be settled next. Under the lock.

        Should this process be killed, or fail, before or after it is in place, the next
        writer settles it: the journal says that there may be one.
        """
        self._journal.write_header(self.state._replace(next_generation=header.generation))
        with self._syncing():
            write_index(self.directory, header, columns)

    def close(self, least_nbytes: int = 0) -> None:
        """Checkpoint if the journal has outgrown the index, and close the files."""
        try:
            if self._sync_failure is None:
                self.checkpoint_if_grown(least_nbytes)
        except CorruptStoreError:
            raise
        except StoreError:
            pass  # removed or replaced by now: not this one's to look after
        finally:
            self.release()

    def checkpoint_if_grown(self, least_nbytes: int = 0) -> None:
        """Checkpoint if the journal has outgrown a part of the index, and so many bytes."""
        with self.locked():
            nbytes = self.state.committed_end - layout.RECORDS_START
            if nbytes > max(self.index.nbytes / _CHECKPOINT_PART, least_nbytes):
                self.checkpoint()

    def release(self) -> None:
        """Close the files."""
        self._journal.close()
        self.content.close()


class Expected(NamedTuple):
    """What is about to be written.

    Attributes
    ----------
    names : sequence of bytes
        Encoded names.
    hashes : array of uint32
        CRC-32 of each name.
    n_rows : int
        Rows they take together.
    overwrite : bool
        Whether names may be there already.
    """

    names: Sequence[bytes]
    hashes: array[int]
    n_rows: int
    overwrite: bool


def already_there(names: Sequence[bytes], n_asked: int, path: str) -> DuplicateNameError:
    """Return the error for names that are there already."""
    texts = tuple(name.decode() for name in names)
    some = ", ".join(repr(text)[:80] for text in texts[:3]) + ", …" * (len(texts) > 3)
    return DuplicateNameError(
        f"{len(texts)} of {n_asked} names are in {path} already: {some}; overwrite=True replaces them",
        path=path,
        names=texts,
    )


class Lockable(Protocol):
    """What can be locked."""

    def lock(self) -> None:
        """Take the lock."""

    def unlock(self) -> None:
        """Let go of it."""


class Locked:
    """The ``with`` block of `Session.locked`; a class, as generators cost twice the time."""

    __slots__ = ("_session",)

    def __init__(self, session: Lockable) -> None:
        self._session = session

    def __enter__(self) -> None:
        self._session.lock()

    def __exit__(self, *_: object) -> None:
        self._session.unlock()
