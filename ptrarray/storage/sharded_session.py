"""What a writing process holds of a store of shards: the last shard, and what the others have."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock as ThreadLock
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from ptrarray.errors import BadInputError, CorruptStoreError, StoreError, StoreNotFoundError
from ptrarray.format import journal as layout
from ptrarray.format.index import IndexHeader
from ptrarray.format.shards import Notes, Replaced, decode_notes, without_notes
from ptrarray.names import hash_all
from ptrarray.storage import transactions
from ptrarray.storage.create import create_store
from ptrarray.storage.journal import Journal
from ptrarray.storage.session import Expected, Locked, Session, already_there
from ptrarray.storage.sharded_snapshot import Finder, ShardedSnapshot, is_in
from ptrarray.storage.shards import Marker, next_index, remove_leftovers
from ptrarray.storage.snapshot import Snapshot, open_snapshot

_ATTEMPTS = 100
# Names that may be in two shards, until the older copies are deleted and all is flushed.
_REPLACED_LIMIT = 64
_REPLACED_NBYTES = 2**22  # of such names in one call
_OPEN_LIMIT = 4  # older shards that are kept open for writing
_ENTRY_NBYTES = 45  # of index or journal, for each array, besides its name

Found = dict[int, list[bytes]]  # names by the number of the shard that has them


class Last(NamedTuple):
    """The last shard, open for writing."""

    number: int
    session: Session


class Shards:
    """A store of shards opened for writing by this process.

    The lock of the last shard is the lock of the store: whoever holds it, and
    sees that there is no later shard, may add names, and nobody else may. So
    what was once read of an older shard can only tell of too many names,
    unless the last shard's notes say that one was added there.

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

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        self.directory = directory
        self.pid = os.getpid()
        self._durable = durable
        self._mutex = ThreadLock()
        # At most one session a shard, as two would wait for each other's lock.
        self._sessions: WeakValueDictionary[int, Session] = WeakValueDictionary()
        self._used: list[Session] = []  # of older shards, kept for the next call
        self._begin_with_last()
        self.notes = Notes()
        self._notes_version: tuple[int, int] | None = None
        self._older: list[Snapshot] = []
        self._finder = Finder(())

    def _begin_with_last(self) -> None:
        for _ in range(_ATTEMPTS):
            self.marker = Marker(self.directory)
            try:
                self.last = self._open_from(self.marker.count() - 1)
                return
            except (StoreNotFoundError, CorruptStoreError):
                if self.marker.is_in_place():
                    raise
        raise StoreError(f"{self.path} is replaced again and again", path=self.path)

    def _open_from(self, number: int) -> Last:
        """Open the last shard; at least this one is there."""
        while self.marker.has_shard(number + 1):
            number += 1
        return Last(number, self._open_shard(number))

    def _open_shard(self, number: int) -> Session:
        session = self._sessions.get(number)
        if session is None:
            session = Session(self.marker.shard(number), durable=self._durable)
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

    def locked(self) -> Locked:
        """Hold the store's lock during a ``with`` block, knowing all that is committed."""
        return Locked(self)

    def lock(self) -> None:
        """Take the store's lock, and learn what others committed."""
        while True:
            last = self.last
            self._lock_shard(last.session)
            try:
                if last is self.last and not self.marker.has_shard(last.number + 1):
                    self._look()
                    return
            except BaseException:
                last.session.unlock()
                raise
            # Not while holding the lock of an older shard, which a writer that has the last
            # one's may wait for.
            last.session.unlock()
            self._move_on(last)

    def _lock_shard(self, session: Session) -> None:
        try:
            session.lock()
        except StoreNotFoundError:
            self._check_in_place()
            raise

    def unlock(self) -> None:
        """Let go of the store's lock."""
        self.last.session.unlock()

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

    def _look(self) -> None:
        """Learn what others noted about older shards since the last look. Under the lock."""
        self._check_in_place()
        number, session = self.last
        if not number or session.attrs_version == self._notes_version:
            return
        notes = decode_notes(session.attrs, session.path)
        if self._notes_version is None or notes.changed != self.notes.changed:
            self.read_older()
        self.notes, self._notes_version = notes, session.attrs_version

    def read_older(self) -> None:
        """Read all shards but the last as they are now. Under the lock."""
        known = self._older
        self._older = [
            known[number].refreshed()
            if number < len(known)
            else open_snapshot(self.marker.shard(number))
            for number in range(self.last.number)
        ]
        self._finder = Finder(self._older)

    def reread(self, number: int) -> Snapshot:
        """Read one older shard as it is now. Under the lock."""
        snapshot = self._older[number].refreshed()
        if snapshot is not self._older[number]:
            self._older = [*self._older[:number], snapshot, *self._older[number + 1 :]]
            self._finder = Finder(self._older)
        return snapshot

    # what is there -------------------------------------------------------------------------

    def where(self, names: Sequence[bytes], hashes: array[int], but: int = -1) -> Found:
        """Shards that have some of the names, and which; one may be left out. Under the lock."""
        found = self._where_older(names, hashes, but) if self.last.number else {}
        if but != self.last.number:
            there = self.last.session.existing(names, hashes)
            if there:
                found[self.last.number] = there
        return found

    def _where_older(self, names: Sequence[bytes], hashes: array[int], but: int) -> Found:
        if len(names) == 1 and self._finder.which(names[0]) < 0:
            return {}
        found: Found = {}
        wanted = np.frombuffer(hashes, np.uint32)
        for number, known in enumerate(self._older):
            there = np.flatnonzero(is_in(known, names, wanted)) if number != but else ()
            if len(there):
                now = self.reread(number)  # it may have been deleted since
                found[number] = [names[at] for at in there.tolist() if now.find(names[at]) is not None]
        return {number: some for number, some in found.items() if some}

    def which(self, name: bytes) -> int:
        """Return the number of the shard that has the array of a name, or -1. Under the lock."""
        found = self.where([name], hash_all([name])).keys()
        outdated = {old for old, new, replaced in self.notes.replaced if replaced == name}
        return max(found - outdated or found, default=-1)

    def check_new(self, names: Sequence[bytes], hashes: array[int]) -> None:
        """Raise `DuplicateNameError` if any of the names is there. Under the lock."""
        found = self.where(names, hashes)
        if found:
            there = {name for some in found.values() for name in some}
            raise already_there([name for name in names if name in there], len(names), self.path)

    def snapshot(self) -> ShardedSnapshot:
        """Return all that is committed now. Under the lock; good until the next change."""
        self.read_older()
        return ShardedSnapshot(self.marker, [*self._older, self.last.session.snapshot()])

    def older(self, number: int) -> Snapshot:
        """Return an older shard as it was last read."""
        return self._older[number]

    def rows_before(self, number: int) -> int:
        """Rows of all shards before one, as they were last read."""
        return sum(shard.n_rows for shard in self._older[:number])

    # shards --------------------------------------------------------------------------------

    def fits(self, expected: Expected) -> bool:
        """Tell whether the last shard has room for what is to be written. Under the lock."""
        session = self.last.session
        layout = session.layout
        nbytes = sum(map(len, expected.names)) + _ENTRY_NBYTES * len(expected.names)
        nbytes += layout.aligned(expected.n_rows) * (layout.width + layout.mask_width)
        if used_nbytes(session) + nbytes <= self.marker.header.shard_nbytes:
            return True
        return not session.state.n_reserved and not len(session.snapshot())

    def add_shard(self) -> None:
        """Make the next shard, which is the last from then on. Under the lock.

        It begins with the user's attrs as they are now, since it may be opened alone.
        """
        self.settle()
        remove_leftovers(self.marker)
        number, session = self.last
        first = self.reread(0) if number else session
        header = next_index(session.header, without_notes(first.attrs))
        create_store(self.marker.shard(number + 1), header)

    def open_shard(self, number: int) -> Session:
        """Return a shard open for writing. Under the lock."""
        session = self._open_shard(number)
        if session is not self.last.session:
            others = [used for used in self._used if used is not session]
            self._used = [*others, session][-_OPEN_LIMIT:]
        return session

    # notes ---------------------------------------------------------------------------------

    def note(self, notes: Notes) -> None:
        """Put notes into the last shard's attrs. Under the lock."""
        session = self.last.session
        session.commit([self.noting(notes)])
        self.noted(notes)

    def noting(self, notes: Notes, n_more: int = 0) -> tuple[Sequence[int], bytes]:
        """Return the record that puts notes into the last shard's attrs."""
        session = self.last.session
        attrs = without_notes(session.attrs) | notes.encode()
        return (), layout.encode_attrs(attrs, session.state.seed, n_more)

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
            self.open_shard(number).flush()
        doomed: Found = {}
        for old, new, name in self.notes.replaced:
            if self._has(old, name) and self._has(new, name):
                doomed.setdefault(old, []).append(name)
        for number, names in doomed.items():
            session = self.open_shard(number)
            transactions.delete(session, list(dict.fromkeys(names)))
            session.flush()
        self.note(self.notes._replace(replaced=()))

    def _has(self, number: int, name: bytes) -> bool:
        session = self.open_shard(number)
        with session.locked():
            return bool(session.existing([name], hash_all([name])))

    # changes -------------------------------------------------------------------------------

    def delete(self, name: bytes) -> None:
        """Delete a name, wherever it is."""
        with self.locked():
            found = self.where([name], hash_all([name]))
            if not found:
                raise transactions.unknown(name.decode(), self.path)
            # The array that is to be seen goes last, or an outdated one could come back.
            visible = self.which(name)
            for number in sorted(found, key=lambda number: (number == visible, number)):
                transactions.delete(self.open_shard(number), [name])

    def clear(self) -> None:
        """Delete every name there is, shard by shard."""
        with self.locked():
            self.settle()
            for number in range(self.last.number + 1):
                transactions.delete_all(self.open_shard(number))

    def flush(self) -> None:
        """Wait until all that is committed is on the disk."""
        with self.locked():
            self.settle()
            number, session = self.last
        for older in range(number):
            if not is_flushed(self.marker.shard(older)):
                with self.locked():
                    self.open_shard(older).flush()
        session.flush()

    def close(self) -> None:
        """Settle what this process has begun, fold grown journals, and close the files."""
        try:
            if self.notes.replaced:
                with self.locked():
                    self.settle()
        except CorruptStoreError:
            raise
        except StoreError:
            pass  # removed or replaced by now: not this one's to look after
        finally:
            for session in (*self._used, self.last.session):
                session.close()


def used_nbytes(session: Session) -> int:
    """Bytes that a shard has on the disk, or will have when claimed rows are written."""
    width = session.layout.width + session.layout.mask_width
    records_nbytes = session.state.committed_end - layout.RECORDS_START
    return session.state.n_reserved * width + session.index.nbytes + records_nbytes


def is_flushed(directory: Path) -> bool:
    """Tell whether all commits of a shard are known to be on the disk."""
    with Journal(directory, writable=False) as journal:
        state = journal.read_header()
    return state.synced_end >= state.committed_end


class Room:
    """Takes the place of a session for one call: that of the shard the call writes to.

    Transactions lock, look for names and commit through it. The lock is the
    store's, names are looked for in all shards, and rows are those of one
    shard, chosen when the lock is first taken.

    Parameters
    ----------
    shards : Shards
        The store.
    number : int, optional
        The shard, if it is not to be chosen. Then under the lock.

    Attributes
    ----------
    number : int
        The shard; -1 until it is chosen.
    """

    def __init__(self, shards: Shards, number: int = -1) -> None:
        self._shards = shards
        self._session = shards.open_shard(number) if number >= 0 else None
        self._expected = Expected((), array("I"), 0, False)
        self.number = number
        self.pid = shards.pid
        self.path = shards.path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session or self._shards.last.session, name)

    def expect(self, expected: Expected) -> None:
        """Hear what is about to be written."""
        self._expected = expected

    def locked(self) -> Locked:
        """Hold the store's lock, and that of the shard, during a ``with`` block."""
        return Locked(self)

    def lock(self) -> None:
        """Take the store's lock, and that of the shard; first choose it."""
        shards = self._shards
        if self._session is None:
            self.number, self._session = self._choose()
            return
        shards.lock()
        try:
            if self.number != shards.last.number:
                self._session.lock()
        except BaseException:
            shards.unlock()
            raise

    def _choose(self) -> Last:
        """Take the store's lock, and return the last shard with room for what is expected."""
        shards = self._shards
        while True:
            shards.lock()
            try:
                last = shards.last
                if shards.fits(self._expected):
                    return last
                shards.add_shard()
            except BaseException:
                shards.unlock()
                raise
            shards.unlock()
            with suppress(StoreError, OSError):  # it is full, and others will open it
                last.session.checkpoint_if_grown()

    def unlock(self) -> None:
        """Let go of both locks."""
        assert self._session is not None
        if self.number != self._shards.last.number:
            self._session.unlock()
        self._shards.unlock()

    def check_new(self, names: Sequence[bytes], hashes: array[int]) -> None:
        """Raise `DuplicateNameError` if any of the names is there, in any shard."""
        self._shards.check_new(names, hashes)

    def commit(self, records: Sequence[tuple[Sequence[int], bytes]], n_reserved: int = 0) -> None:
        """Commit records to the shard, and note what they replace in others."""
        assert self._session is not None
        shards, session = self._shards, self._session
        replaced = self._replaced()
        if self.number != shards.last.number:
            # Made while this call was writing its rows, or these are rows of an older shard.
            notes = Notes(shards.notes.changed + 1, (*shards.notes.replaced, *replaced))
            shards.note(notes)
            session.commit(records, n_reserved)
            shards.reread(self.number)
        elif replaced:
            notes = shards.notes._replace(replaced=(*shards.notes.replaced, *replaced))
            session.commit([shards.noting(notes, len(records)), *records], n_reserved)
            shards.noted(notes)
        else:
            session.commit(records, n_reserved)
        if len(shards.notes.replaced) > _REPLACED_LIMIT:
            with suppress(OSError):  # it is committed; the next one tries again
                shards.settle()

    def _replaced(self) -> list[Replaced]:
        """Return which of the names expected are in other shards."""
        shards, expected = self._shards, self._expected
        if not expected.overwrite or not shards.last.number:
            return []
        names = set(expected.names)
        if any(replaced.name in names for replaced in shards.notes.replaced):
            shards.settle()
        found = shards.where(expected.names, expected.hashes, but=self.number)
        if sum(len(name) for some in found.values() for name in some) > _REPLACED_NBYTES:
            raise BadInputError(
                f"names of more than {_REPLACED_NBYTES} bytes are in other shards of {self.path}, "
                "too many to be replaced in one call: use several",
                path=self.path,
                expected=_REPLACED_NBYTES,
            )
        return [
            Replaced(number, self.number, name) for number, some in found.items() for name in some
        ]
