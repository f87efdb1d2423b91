"""A store of shards open for writing, and the shard that one call writes to."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Self

from ptrarray.errors import BadInputError
from ptrarray.format.journal import HashedRecord
from ptrarray.format.layouts import Layout
from ptrarray.format.names import Hashes, hash_all
from ptrarray.format.shards import Replaced
from ptrarray.storage.shards.marker import is_sharded
from ptrarray.storage.shards.opened import OpenedShards, load_shards
from ptrarray.storage.shards.session import Shards
from ptrarray.storage.shards.snapshot import open_shards
from ptrarray.storage.store.opened import Opened
from ptrarray.storage.system.mapping import CannotMapError
from ptrarray.storage.writing.session import Session
from ptrarray.storage.writing.target import Expected, Part, Target, Writable, WritableStore

# Names that may be in two shards, until the older copies are deleted and all is flushed.
REPLACED_LIMIT = 64
_REPLACED_NBYTES = 2**22  # of such names in one call


class WritableShards(Shards):
    """A store of shards as `Writable`."""

    @property
    def layout(self) -> Layout:
        """What its arrays are made of."""
        return self.marker.header.layout

    @property
    def limit_nbytes(self) -> int:
        """Bytes that a shard has at the most."""
        return self.marker.header.shard_nbytes

    def opened(self, previous: Opened | None) -> OpenedShards:
        """Return `snapshot` with its rows mapped. Under the lock."""
        try:
            return load_shards(self.snapshot(), "r", previous)
        except CannotMapError:
            return load_shards(open_shards(self.directory, "pread"), "r")

    def target(self, expected: Expected) -> Target:
        """Return where to write what is expected: the last shard, or the one to come."""
        return ShardTarget(self, expected)

    def target_at(self, start: int, end: int, expected: Expected) -> tuple[Target, int, int]:
        """Return the shard that has the rows, and their range in it. Under the lock."""
        snapshot = self.snapshot()
        number, first, last = snapshot.shard_of(start, end)
        first_row, last_row = snapshot.first_rows[number : number + 2]
        if start < end and end > last_row:
            raise BadInputError(
                f"rows {start} to {end} of {self.path} are not in one shard: one ends at {last_row}",
                path=self.path,
                found=(start, end),
                expected=(first_row, last_row),
            )
        return ShardTarget(self, expected, number), first, last

    def target_of(self, name: bytes, expected: Expected) -> Target:
        """Return the shard that has a name, which is there. Under the lock."""
        self.settle_if([name])
        return ShardTarget(self, expected, max(self.where([name], hash_all([name]))))

    def plannable(self) -> NoReturn:
        """Raise `BadInputError`, since shards choose their own rows."""
        raise BadInputError(
            f"{self.path} is split into shards, which choose their own rows: leave out `start`, "
            "and use `allocate` instead of `reserve`",
            path=self.path,
            expected="no rows of the caller's choosing",
        )

    def having(self, names: list[bytes]) -> list[tuple[Part, list[bytes]]]:
        """Return which shards have which of the names. Under the lock.

        A shard that has an array that is seen comes after those that have outdated ones of
        that name, or these could be seen if the first was deleted and the others not.
        """
        self.settle_if(names)
        found = self.where(names, hash_all(names))
        return [(ShardPart(self, number), some) for number, some in sorted(found.items())]

    def store_of_attrs(self) -> Part:
        """Return the first shard. Under the lock."""
        return ShardPart(self, 0)


class ShardPart:
    """A shard as the `Part` that a call changes. The lock is the store's and that of the shard.

    Parameters
    ----------
    shards : Shards
        The store, locked.
    number : int
        The shard.
    """

    def __init__(self, shards: Shards, number: int) -> None:
        self._shards = shards
        self._number = number

    def locked(self) -> Self:
        """Hold both locks during a ``with`` block, and give the shard."""
        return self

    def __enter__(self) -> Session:
        shards = self._shards
        shards.lock()
        try:
            self._session = shards.open_shard(self._number)
            return self._session.lock()
        except BaseException:
            shards.unlock()
            raise

    def __exit__(self, *_: object) -> None:
        self._session.unlock()
        self._shards.unlock()

    def commit(self, records: Sequence[HashedRecord], n_reserved: int = 0) -> None:
        """Commit records to the shard."""
        self._shards.commit_to(self._number, records, n_reserved)


class ShardTarget:
    """A shard as the `Target` of one call of a writer.

    The lock is the store's and that of the shard. Names are looked for in all
    shards, and what a commit replaces in others is noted.

    Parameters
    ----------
    shards : Shards
        The store.
    expected : Expected
        What is to be written.
    number : int, optional
        The shard. By default the last one, after another is made if there is
        no space in it; it is chosen when the lock is taken for the first time.
        If it is given, under the lock.
    """

    def __init__(self, shards: Shards, expected: Expected, number: int = -1) -> None:
        self._shards = shards
        self._expected = expected
        self._number = number
        self._session = shards.open_shard(number) if number >= 0 else None

    def locked(self) -> Self:
        """Hold both locks during a ``with`` block, and give the shard."""
        return self

    def lock(self) -> Session:
        """Take the store's lock, and that of the shard."""
        shards = self._shards
        if self._session is None:
            self._number, self._session, _ = shards.lock_with_space(self._expected)
        else:
            shards.lock()
        try:
            if self._expected.overwrite:
                # Not when records are ready to be committed: it may commit to this shard, too,
                # and fold the journal for which they are.
                shards.settle_if(self._expected.names)
            if self._number != shards.last.number:
                self._session.lock()
        except BaseException:
            shards.unlock()
            raise
        return self._session

    def unlock(self, *_: object) -> None:
        """Let go of both locks."""
        if self._session is not None and self._number != self._shards.last.number:
            self._session.unlock()
        self._shards.unlock()

    __enter__, __exit__ = lock, unlock

    @property
    def first_row(self) -> int:
        """First row of the shard in the store. Once it was locked."""
        return self._shards.rows_before(self._number)

    @property
    def version(self) -> tuple[int, ...]:
        """Numbers that change with every commit to any shard. Under the lock."""
        return self._shards.version

    def check_new(self, names: Sequence[bytes], hashes: Hashes) -> None:
        """Raise `DuplicateNameError` if any of the names is there, in any shard."""
        self._shards.check_new(names, hashes)

    def expect(self, expected: Expected) -> None:
        """Go on with what is expected as it is known now. Without the lock."""
        self._expected = expected

    def commit(self, records: Sequence[HashedRecord], n_reserved: int = 0) -> None:
        """Commit records to the shard, and note what they replace in others."""
        shards = self._shards
        notes, replaced = shards.notes, self._replaced()
        if replaced:
            notes = notes._replace(replaced=(*notes.replaced, *replaced))
        if self._number != shards.last.number:
            # There was another shard made while this call wrote its rows, or these are rows
            # of an older one. That a name comes must be noted before it is there.
            notes = notes._replace(changed=notes.changed + 1)
            shards.forget_older()  # before, as whoever is interrupted must not know less than all
        shards.commit_to(self._number, records, n_reserved, notes)
        if len(shards.notes.replaced) > REPLACED_LIMIT:
            with suppress(OSError):  # all is committed; the next call tries again
                shards.settle()

    def _replaced(self) -> list[Replaced]:
        """Return which of the names expected are in other shards."""
        shards, expected = self._shards, self._expected
        if not expected.overwrite or not shards.last.number:
            return []
        found = shards.where(expected.names, expected.hashes, but=self._number)
        if sum(len(name) for some in found.values() for name in some) > _REPLACED_NBYTES:
            raise BadInputError(
                f"names of more than {_REPLACED_NBYTES} bytes are in other shards of {shards.path}, "
                "too many to be replaced in one call: use several",
                path=shards.path,
                expected=_REPLACED_NBYTES,
            )
        return [
            Replaced(number, self._number, name) for number, some in found.items() for name in some
        ]


def open_writable(directory: Path, *, durable: bool = False) -> Writable:
    """Open a store or a store of shards for writing."""
    kind = WritableShards if is_sharded(directory) else WritableStore
    return kind(directory, durable=durable)
