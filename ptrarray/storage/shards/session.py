"""What a writing process holds of a store of shards: the last shard, and what the others have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock as ThreadLock
from typing import NamedTuple, Self
from weakref import WeakValueDictionary

from ptrarray.errors import CorruptStoreError, StoreError, StoreNotFoundError
from ptrarray.format import journal as journal_format
from ptrarray.format.entries import total_nbytes
from ptrarray.format.index import IndexHeader
from ptrarray.format.journal import HashedRecord
from ptrarray.format.names import Hashes, hash_all
from ptrarray.format.shards import Notes, decode_notes, without_notes
from ptrarray.storage.lifecycle.create import create_store, new_header
from ptrarray.storage.shards.catalog import Catalog, open_catalog, renew
from ptrarray.storage.shards.finder import NO_ROW, Finder, placed
from ptrarray.storage.shards.marker import Marker, check_descriptors, remove_leftovers
from ptrarray.storage.shards.snapshot import ShardedSnapshot, read_shard
from ptrarray.storage.store.absent import already_there, never_at_rest
from ptrarray.storage.store.held import Held
from ptrarray.storage.store.journal import Journal
from ptrarray.storage.store.snapshot import StoreSnapshot
from ptrarray.storage.system import files
from ptrarray.storage.system.files import SyncError
from ptrarray.storage.system.lock import whole
from ptrarray.storage.writing.session import Session
from ptrarray.storage.writing.target import Expected

_ATTEMPTS = 100
_OPEN_LIMIT = 4  # older shards that are kept open for writing
_CATALOG_PART = 1 / 4  # names that the catalog does not have: more, and it is made anew
_ENTRY_NBYTES = 45  # of index or journal, for each array, besides its name

Found = dict[int, list[bytes]]  # names by the number of the shard that has them


class Last(NamedTuple):
    """The last shard, open for writing."""

    number: int
    session: Session
    next_path: str  # where there is nothing as long as it is the last


class Shards:
    """A store of shards opened for writing by this process.

    The lock of the last shard is the lock of the store: whoever holds it, and
    sees that there is no later shard, may add names, and nobody else may. So
    what was once read of an older shard can only have too many names,
    unless the last shard's notes say that one was added there.

    At any time at most one shard has commits that are not on the disk, so that a power cut takes
    none without those that came after it: see `commit_to`.

    Parameters
    ----------
    directory : Path
        The store.
    durable : bool
        Whether each commit waits until it is on the disk.

    Attributes
    ----------
    marker : Marker
        The store's marker.
    last : Last
        The last shard, as far as is known; for certain under the lock.
    notes : Notes
        What the last shard notes about the others, as of the last look.
    """

    @whole
    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        self.directory = directory
        self.pid = files.process_id()
        self._durable = durable
        self._expects_flush = False
        self._mutex = ThreadLock()
        # At most one session a shard, as two would wait for each other's lock.
        self._sessions: WeakValueDictionary[int, Session] = WeakValueDictionary()
        self._used: list[Session] = []  # of older shards, kept for the next call
        self._begin_with_last()
        self.notes = Notes()
        self._notes_version: tuple[int, int] | None = None
        self._older: list[Held | StoreSnapshot] = []
        self._knows_older = False
        self._has_grown = False  # whether this process has made a shard
        self._finder: Finder | None = None  # of older shards, made when a name is looked for
        self._catalog: Catalog | None = None

    def _begin_with_last(self) -> None:
        for _ in range(_ATTEMPTS):
            self.marker = Marker(self.directory)
            try:
                self.last = self._open_from(self.marker.count() - 1)
                return
            except (StoreNotFoundError, CorruptStoreError):
                if self.marker.is_in_place():
                    raise
        raise never_at_rest(self.directory)

    def _open_from(self, number: int) -> Last:
        """Open the last shard; at least this one is there."""
        while self.marker.has_shard(number + 1):
            number += 1
        return Last(number, self._open_shard(number), str(self.marker.shard(number + 1)))

    def _open_shard(self, number: int) -> Session:
        session = self._sessions.get(number)
        if session is None:
            place = files.no_link(self.marker.shard(number))
            session = Session(place, durable=self._durable)
            if self._expects_flush:
                session.expect_flush()
            self._sessions[number] = session
        return session

    @property
    def path(self) -> str:
        """The store's path, for messages."""
        return str(self.directory)

    @property
    def header(self) -> IndexHeader:
        """Facts that all shards share."""
        return self.last.session.header

    # the lock ------------------------------------------------------------------------------

    def locked(self) -> Self:
        """Hold the store's lock during a ``with`` block, knowing all that is committed."""
        return self

    def lock(self) -> None:
        """Take the store's lock, and learn what others committed."""
        while True:
            last = self.last
            try:
                last.session.lock()
            except StoreNotFoundError:
                self._check_in_place()
                raise
            try:
                if last is self.last and not files.exists(last.next_path):
                    self._look()
                    return
            except BaseException:
                last.session.unlock()
                raise
            # Not while holding the lock of an older shard, which a writer that has the last
            # one's may wait for.
            last.session.unlock()
            self._move_on(last)

    def unlock(self, *_: object) -> None:
        """Let go of the store's lock."""
        self.last.session.unlock()

    __enter__, __exit__ = lock, unlock

    def _move_on(self, last: Last) -> None:
        """Go on with a later shard, unless another thread has."""
        with self._mutex:
            if self.last is last:
                self.last, self._notes_version = self._open_from(last.number + 1), None

    def _check_in_place(self) -> None:
        if not self.marker.is_in_place():
            raise StoreError(
                f"{self.path} was replaced by another store, moved or removed since this writer "
                "opened it: open it anew",
                path=self.path,
            )

    @contextmanager
    def while_in_place(self) -> Iterator[None]:
        """Say of a store that was replaced that it was, and not what is missing of the old one."""
        try:
            yield
        except (CorruptStoreError, StoreNotFoundError):
            self._check_in_place()
            raise

    def _look(self) -> None:
        """Learn what others noted about older shards since the last look. Under the lock."""
        self._check_in_place()
        number, session, _ = self.last
        if not number:
            return
        if session.attrs_version != self._notes_version:
            notes = decode_notes(session.attrs, session.path)
            if self._notes_version is None or notes.changed != self.notes.changed:
                self.forget_older()
            self.notes, self._notes_version = notes, session.attrs_version
        if not self._knows_older:
            self.read_older()

    def read_older(self) -> None:
        """Read all shards but the last as they are now. Under the lock."""
        try:
            self._older = [
                read_shard(self.marker, number, self._older) for number in range(self.last.number)
            ]
        except OSError as error:
            check_descriptors(error, self.marker, self.last.number + 1)
            raise
        self._finder, self._knows_older = None, True

    def forget_older(self) -> None:
        """Have older shards be read again at the next look. Under the lock."""
        self._knows_older, self._catalog = False, None

    def reread(self, number: int) -> Held | StoreSnapshot:
        """Read one older shard as it is now. Under the lock."""
        snapshot = read_shard(self.marker, number, self._older)
        if snapshot is not self._older[number]:
            self._older = [*self._older[:number], snapshot, *self._older[number + 1 :]]
            self._finder = None
        return snapshot

    # what is there -------------------------------------------------------------------------

    def _finder_of_older(self) -> Finder:
        if self._finder is None:
            self._catalog = self._catalog or open_catalog(self.marker, None)
            self._finder = Finder(self._older, self._catalog)
        return self._finder

    def where(self, names: Sequence[bytes], hashes: Hashes, but: int = -1) -> Found:
        """Return the names that are there, by shard; one shard may be left out. Under the lock."""
        found = self._where_older(names, hashes, but) if self.last.number else {}
        if but != self.last.number:
            there = self.last.session.existing(names, hashes)
            if there:
                found[self.last.number] = there
        return found

    def _where_older(self, names: Sequence[bytes], hashes: Hashes, but: int) -> Found:
        # What was read may have names that were deleted since, but lacks none.
        if len(names) == 1:
            hits = self._finder_of_older().find_all(names[0], len(self._older))
            known = {number: [names[0]] for number, _ in hits if number != but}
        else:
            known = {
                number: [names[at] for at in there.tolist()]
                for number, there in self._finder_of_older().where(names, hashes).items()
                if number != but
            }
        found: Found = {}
        for number, some in known.items():
            now = self.reread(number) if some else None
            there = [name for name in some if now and now.complete().find(name) is not None]
            if there:
                found[number] = there
        return found

    def find(self, name: bytes) -> tuple[int, int] | None:
        """Pointer of a name, or None. Under the lock."""
        found = self.where([name], hash_all([name])).keys()
        outdated = {old for old, new, other in self.notes.replaced if other == name}
        if not found:
            return None
        number = max(found - outdated or found)
        snapshot = self._older[number].complete() if number < self.last.number else None
        pointer = (snapshot or self.last.session.snapshot()).find(name)
        if pointer is None:
            return None
        last_row = NO_ROW if number == self.last.number else self.rows_before(number + 1)
        return placed(pointer, self.rows_before(number), last_row)

    @property
    def version(self) -> tuple[int, ...]:
        """Numbers that change with every commit to any shard. Under the lock."""
        # Those to older shards are noted in the last one.
        return self.last.number, *self.last.session.version

    def check_new(self, names: Sequence[bytes], hashes: Hashes) -> None:
        """Raise `DuplicateNameError` if any of the names is there. Under the lock."""
        found = self.where(names, hashes)
        if found:
            there = {name for some in found.values() for name in some}
            raise already_there([name for name in names if name in there], len(names), self.path)

    def snapshot(self) -> ShardedSnapshot:
        """Return all that is committed now. Under the lock; good until the next change."""
        self.read_older()
        return ShardedSnapshot(self.marker, [*self._older, self.last.session.snapshot()])

    def rows_before(self, number: int) -> int:
        """Rows of all shards before one, as they were last read."""
        return sum(shard.n_rows for shard in self._older[:number])

    # shards --------------------------------------------------------------------------------

    def lock_with_space(self, expected: Expected) -> Last:
        """Take the store's lock, and return the last shard, with space for what is expected.

        Makes the next shard where there is none.
        """
        flushed = None
        while True:
            self.lock()
            last = self.last
            try:
                if self._fits(expected):
                    return last
                if last is flushed:
                    self._add_shard()
            except BaseException:
                self.unlock()
                raise
            self.unlock()
            if last is flushed:
                self._move_on(last)  # first, as a session whose sync has failed takes no lock
                with suppress(StoreError, OSError):  # it is full; what fails is seen in use
                    last.session.checkpoint_if_grown()
            else:
                # Most of it without the lock, so that others wait only for what is left.
                self._flush_last(last.session)
                flushed = last

    def _fits(self, expected: Expected) -> bool:
        """Tell whether the last shard has space for what is to be written. Under the lock."""
        session = self.last.session
        if session.is_sealed:
            return False
        layout, header = session.layout, session.journal_header
        # Rows that are claimed take their bytes when they are written.
        n_rows = header.n_reserved + layout.aligned(expected.n_rows)
        nbytes = n_rows * (layout.width + layout.mask_width)
        nbytes += session.index.nbytes + header.committed_end - journal_format.RECORDS_START
        nbytes += total_nbytes(expected.names) + _ENTRY_NBYTES * len(expected.names)
        if nbytes <= self.marker.header.shard_nbytes:
            return True
        return not header.n_reserved and not len(session.snapshot())

    def _add_shard(self) -> None:
        """Make the next shard, which is the last from then on. Under the lock.

        It begins with the user's attrs as they are now, since it may be opened alone.
        """
        self.prepare_next()
        number, session, _ = self.last
        first = self.reread(0) if number else session
        header = new_header(session.layout, 0, without_notes(first.attrs))
        create_store(self.marker.shard(number + 1), header, like=first.directory)
        self._has_grown = True

    def prepare_next(self) -> None:
        """Bring all shards to where another one may follow the last. Under the lock."""
        self.settle()
        # The notes of the next shard say of none that it has unflushed commits.
        self._flush_noted()
        self._flush(self.last.number)
        remove_leftovers(self.marker)

    def open_shard(self, number: int) -> Session:
        """Return a shard open for writing. Under the lock."""
        session = self._open_shard(number)
        if session is not self.last.session:
            others = [used for used in self._used if used is not session]
            self._used = [*others, session][-_OPEN_LIMIT:]
        return session

    # commits, and notes about them -----------------------------------------------------------

    def commit_to(
        self,
        number: int,
        records: Sequence[HashedRecord],
        n_reserved: int = 0,
        notes: Notes | None = None,
    ) -> None:
        """Commit records to a shard, and with them notes. Under the lock, and that of the shard.

        Flushes the shard that has commits which are not on the disk, should it be another one.
        While that is an older shard, it is noted. So whoever commits to the last one flushes
        that, and ends the note in the same commit; and whoever commits to the older one again
        knows that the last one has nothing to flush, though it is not looked at.
        """
        before, notes = self.notes, notes or self.notes
        if number == self.last.number:
            self._flush_noted()
            notes = notes._replace(unflushed=None)
            if notes == before:
                self.last.session.commit(records, n_reserved)
                return
            # In one commit, as a process may be killed between two.
            self.last.session.commit([self.noting(notes, len(records)), *records], n_reserved)
            self.noted(notes)
            return
        if before.unflushed != number:
            self._flush(self.last.number if before.unflushed is None else before.unflushed)
        notes = notes._replace(unflushed=number)
        if notes != before:
            self.note(notes)
        if notes.replaced != before.replaced:
            # The note must not be lost at a power cut when the array is not.
            self._flush(self.last.number)
        self.open_shard(number).commit(records, n_reserved)

    def _flush(self, number: int) -> None:
        """Flush a shard, unless all of it is on the disk. Under the lock."""
        if not self._is_flushed(number):
            self.open_shard(number).flush()

    def _is_flushed(self, number: int) -> bool:
        """Tell whether all commits of a shard are known to be on the disk."""
        with self.while_in_place():
            try:
                with Journal(self.marker.shard(number), writable=False) as journal:
                    header = journal.read_header()
            except FileNotFoundError as error:
                raise self.marker.missing(number) from error
        return header.synced_end >= header.committed_end

    def _flush_last(self, session: Session) -> None:
        """Flush what was the last shard under the lock, by now without it."""
        with self.while_in_place():
            session.flush()

    def _flush_noted(self) -> None:
        """Flush the older shard that is noted to have unflushed commits, if any."""
        if self.notes.unflushed is not None:
            self._flush(self.notes.unflushed)

    def note(self, notes: Notes) -> None:
        """Put notes into the last shard's attrs. Under the lock."""
        session = self.last.session
        session.commit([self.noting(notes)])
        self.noted(notes)

    def announce_change(self) -> None:
        """Have all writers read older shards again. Under the lock."""
        if self.last.number:
            self.note(self.notes._replace(changed=self.notes.changed + 1))
            self.read_older()

    def noting(self, notes: Notes, n_more: int = 0) -> HashedRecord:
        """Return the record that puts notes into the last shard's attrs."""
        session = self.last.session
        attrs = without_notes(session.attrs) | notes.encode()
        return (), journal_format.encode_attrs(attrs, session.seed, n_more)

    def noted(self, notes: Notes) -> None:
        """Take notice of notes that were committed here."""
        self.notes, self._notes_version = notes, self.last.session.attrs_version

    def settle(self) -> None:
        """Delete arrays that were replaced by ones in other shards. Under the lock.

        A deletion must not reach the disk before what took its place, nor the
        end of the note before the deletion.
        """
        if not self.notes.replaced:
            return
        for number in sorted({replaced.new for replaced in self.notes.replaced}):
            self._flush(number)
        # All of them: who deleted some may have been killed before they were on the disk.
        doomed: Found = {replaced.old: [] for replaced in self.notes.replaced}
        for old, new, name in self.notes.replaced:
            if self._has(old, name) and self._has(new, name):
                doomed[old].append(name)
        for number, names in doomed.items():
            session = self.open_shard(number)
            with session.locked():
                some = list(dict.fromkeys(names))
                if some:  # these are seen by nobody, and need no order
                    session.commit(journal_format.encode_delete(some, session.seed))
            self._flush(number)
        self.note(self.notes._replace(replaced=()))

    def settle_if(self, names: Sequence[bytes]) -> None:
        """Settle if an outdated array has one of the names. Under the lock."""
        if self.notes.replaced:
            wanted = set(names)
            if any(replaced.name in wanted for replaced in self.notes.replaced):
                self.settle()

    def _has(self, number: int, name: bytes) -> bool:
        session = self.open_shard(number)
        with session.locked():
            return bool(session.existing([name], hash_all([name])))

    # the store as a whole ------------------------------------------------------------------

    def expect_flush(self) -> None:
        """Have the disk take rows while more are written, as somebody will wait for all of them."""
        self._expects_flush = True
        for session in {self.last.session, *self._sessions.values()}:
            session.expect_flush()

    @whole
    def flush(self) -> None:
        """Wait until all that is committed is on the disk."""
        with self.locked():
            self.settle()
            number, session, _ = self.last
        for older in range(number):
            if not self._is_flushed(older):
                with self.locked():
                    self._flush(older)
        self._flush_last(session)

    @whole
    def close(self, least_nbytes: int = 0) -> None:
        """Settle what this process has begun, fold grown journals, and close the files."""
        with ExitStack() as stack:  # each session is closed, whatever becomes of the others
            for session in {self.last.session, *self._sessions.values()}:
                stack.callback(self._close_one, session, least_nbytes)
            try:
                if self.notes.replaced:
                    with self.locked():
                        self.settle()
            except (CorruptStoreError, SyncError):
                raise
            except StoreError:
                pass  # removed or replaced by now: not this one's to look after
            except OSError as error:  # what is noted, the next one settles
                files.check_system(error)
        if self._has_grown:
            renew(self.directory, least_part=_CATALOG_PART)

    def _close_one(self, session: Session, least_nbytes: int) -> None:
        try:
            session.close(least_nbytes)
        except CorruptStoreError:  # of a store that was replaced, files are removed by now
            if self.marker.is_in_place():
                raise

    def release(self) -> None:
        """Close the files."""
        for session in {self.last.session, *self._sessions.values()}:
            session.release()
