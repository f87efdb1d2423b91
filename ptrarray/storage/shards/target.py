"""What one call of a writer works on: a session, or a room in a store of shards."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from ptrarray.errors import BadInputError, StoreError
from ptrarray.format.names import hash_all
from ptrarray.format.shards import Notes, Replaced
from ptrarray.storage.shards.marker import is_sharded
from ptrarray.storage.shards.session import Committed, Last, Shards
from ptrarray.storage.shards.snapshot import ShardedSnapshot
from ptrarray.storage.writing.session import Expected, Locked, Session

# Names that may be in two shards, until the older copies are deleted and all is flushed.
REPLACED_LIMIT = 64
_REPLACED_NBYTES = 2**22  # of such names in one call

# What transactions find in a session that is the shard's, or the same in all shards.
_OF_THE_SHARD = frozenset(
    [
        "are_free",
        "check_open",
        "content",
        "data",
        "header",
        "layout",
        "row_limit",
        "next_row",
        "set_reserved",
        "state",
        "width",
    ]
)


class Room:
    """Takes the place of a `Session` for one call of a writer, and chooses the shard.

    Transactions lock, look for names and commit through it. The lock is the
    store's, and names are looked for in all shards. What is said to be written
    goes to the last shard, after another is made if it has no room; it is
    chosen when the lock is taken next.

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
        self._expected: Expected | None = None
        self.number = number
        self.directory = shards.directory
        self.path = shards.path
        self.pid = shards.pid

    def __getattr__(self, name: str) -> Any:
        if name not in _OF_THE_SHARD:
            raise AttributeError(f"a store of shards has no {name!r}")
        return getattr(self._session or self._shards.last.session, name)

    def flush(self) -> None:
        """Wait until all that is committed is on the disk."""
        self._shards.flush()

    def close(self, least_nbytes: int = 0) -> None:
        """Close the store."""
        self._shards.close(least_nbytes)

    # the lock ------------------------------------------------------------------------------

    def expect(self, expected: Expected) -> None:
        """Hear what is about to be written, before the lock is taken."""
        self._expected = expected

    def locked(self) -> Locked:
        """Hold the store's lock, and that of the shard, during a ``with`` block."""
        return Locked(self)

    def lock(self) -> None:
        """Take the store's lock, and that of the shard; choose it if there is something to write."""
        shards = self._shards
        if self._session is None and self._expected is not None:
            self.number, self._session, _ = self._choose(self._expected)
            return
        shards.lock()
        if self._session is None or self.number == shards.last.number:
            return
        try:
            self._session.lock()
        except BaseException:
            shards.unlock()
            raise

    def _choose(self, expected: Expected) -> Last:
        """Take the store's lock, and return the last shard with room for what is expected."""
        shards = self._shards
        flushed = None
        while True:
            shards.lock()
            last = shards.last
            try:
                if shards.fits(expected):
                    return last
                if last is flushed:
                    shards.add_shard()
            except BaseException:
                shards.unlock()
                raise
            shards.unlock()
            if last is flushed:
                with suppress(
                    StoreError, OSError
                ):  # it is full; what fails is seen when it is used
                    last.session.checkpoint_if_grown()
            else:
                # Most of it without the lock, so that others wait only for what is left.
                last.session.flush()
                flushed = last

    def unlock(self) -> None:
        """Let go of both locks."""
        if self._session is not None and self.number != self._shards.last.number:
            self._session.unlock()
        self._shards.unlock()

    # what is there -------------------------------------------------------------------------

    @property
    def shard_nbytes(self) -> int | None:
        """Bytes that a shard has at the most."""
        return self._shards.marker.header.shard_nbytes

    @property
    def first_row(self) -> int:
        """First row of the shard in the store."""
        return self._shards.rows_before(self.number)

    def snapshot(self) -> ShardedSnapshot:
        """Return all that is committed now, in all shards."""
        with self._shards.locked():
            return self._shards.snapshot()

    def find(self, name: bytes) -> tuple[int, int] | None:
        """Pointer of a name as of now, or None."""
        with self._shards.locked():
            return self._shards.find(name)

    @property
    def version(self) -> tuple[int, ...]:
        """Numbers that change with every commit. Under the lock."""
        return self._shards.version

    def check_new(self, names: Sequence[bytes], hashes: array[int]) -> None:
        """Raise `DuplicateNameError` if any of the names is there, in any shard."""
        self._shards.check_new(names, hashes)

    def check_plannable(self) -> None:
        """Raise `BadInputError`, since shards choose their own rows."""
        raise BadInputError(
            f"{self.path} is split into shards, which choose their own rows: leave out `start`, "
            "and use `allocate` instead of `reserve`",
            path=self.path,
            expected="no rows of the caller's choosing",
        )

    # shards --------------------------------------------------------------------------------

    def first_shard(self) -> Session:
        """Return the shard that has the user's attrs. Under the lock."""
        return self._shards.open_shard(0)

    def having(self, names: list[bytes]) -> list[tuple[Session, list[bytes]]]:
        """Return which shards have which of the names. Under the lock.

        A shard that has an array that is seen comes after those that have outdated ones of
        that name, or these could be seen if the first was deleted and the others not.
        """
        self._shards.settle_if(names)
        found = self._shards.where(names, hash_all(names))
        return [(self._shards.open_shard(number), some) for number, some in sorted(found.items())]

    def at_rows(self, start: int, end: int) -> tuple[Session, int]:
        """Return the shard that has the rows, and its first row. Under the lock."""
        number, first_row, last_row = self._shards.shard_of_row(start)
        if end > last_row:
            raise BadInputError(
                f"rows {start} to {end} of {self.path} are not in one shard: one ends at {last_row}",
                path=self.path,
                found=(start, end),
                expected=(first_row, last_row),
            )
        return cast(Session, Room(self._shards, number)), first_row

    # changes -------------------------------------------------------------------------------

    def commit(self, records: Sequence[Committed], n_reserved: int = 0) -> None:
        """Commit records to the shard, and note what they replace in others."""
        shards, session = self._shards, self._session
        assert session is not None
        replaced = self._replaced()
        if self.number != shards.last.number:
            # There was another shard made while this call wrote its rows, or these are rows
            # of an older one. That a name comes must be told before it is there.
            changed = shards.notes.changed + 1
            shards.note(Notes(changed, (*shards.notes.replaced, *replaced)))
            if replaced:  # the note must not be lost at a power cut when the array is not
                shards.last.session.flush()
            session.commit(records, n_reserved)
            shards.forget_older()  # reading it could fail, and the commit seem to have failed
        elif replaced:
            # In one commit, or there could be two arrays of a name after a kill.
            notes = shards.notes._replace(replaced=(*shards.notes.replaced, *replaced))
            session.commit([shards.noting(notes, len(records)), *records], n_reserved)
            shards.noted(notes)
        else:
            session.commit(records, n_reserved)
        if len(shards.notes.replaced) > REPLACED_LIMIT:
            with suppress(OSError):  # all is committed; the next call tries again
                shards.settle()

    def _replaced(self) -> list[Replaced]:
        """Return which of the names expected are in other shards."""
        shards, expected = self._shards, self._expected
        if expected is None or not expected.overwrite or not shards.last.number:
            return []
        shards.settle_if(expected.names)
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


def for_call(session: Session | Shards) -> Session:
    """Return what one call of a writer works on."""
    # A room has all of a session that transactions use.
    return session if isinstance(session, Session) else cast(Session, Room(session))


def open_session(directory: Path, *, durable: bool = False) -> Session | Shards:
    """Open a store or a store of shards for writing."""
    if is_sharded(directory):
        return Shards(directory, durable=durable)
    return Session(directory, durable=durable)
