"""The face that a store shows to whoever changes it: as a whole, and during one call."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from ptrarray.format.index import IndexHeader
from ptrarray.format.journal import HashedRecord
from ptrarray.format.layouts import Layout
from ptrarray.format.names import Hashes
from ptrarray.storage.store.opened import Opened, OpenedStore, load, load_readable
from ptrarray.storage.store.snapshot import Snapshot
from ptrarray.storage.system.mapping import CannotMapError
from ptrarray.storage.writing.session import Session


class Expected(NamedTuple):
    """What is about to be written.

    Attributes
    ----------
    names : sequence of bytes
        Encoded names.
    hashes : sequence of int
        CRC-32 of each name.
    n_rows : int
        Rows they take together.
    overwrite : bool
        Whether names may be there already.
    """

    names: Sequence[bytes]
    hashes: Hashes
    n_rows: int
    overwrite: bool


class Part(Protocol):
    """One store, alone or of several, for a call that changes what is in it."""

    def locked(self) -> AbstractContextManager[Session]:
        """Hold the lock during a ``with`` block, and give the store."""

    def commit(self, records: Sequence[HashedRecord], n_reserved: int = 0) -> None:
        """Commit records to the store, as `Session.commit`. Under the lock.

        Of several stores, never but by this: commits in different ones keep their order.
        """


class Target(Part, Protocol):
    """Where one call writes: rows go to one store, whose names are unique among several.

    The store is chosen when the lock is taken for the first time, and stays the same.
    """

    @property
    def first_row(self) -> int:
        """First row of the store that the rows go to. Once it was locked."""

    @property
    def version(self) -> tuple[int, ...]:
        """Numbers that change with every commit. Under the lock."""

    def check_new(self, names: Sequence[bytes], hashes: Hashes) -> None:
        """Raise `DuplicateNameError` if any of the names is there. Under the lock."""

    def expect(self, expected: Expected) -> None:
        """Go on with what is expected as it is known now, in the store chosen. Without the lock."""


class Writable(Protocol):
    """A store open for writing: what a `PointerArrayWriter` stands on.

    Of one store, or of several that are written as one. Each of these, too, is
    a `Session`.

    Attributes
    ----------
    directory : Path
        The store.
    pid : int
        The process that opened it.
    """

    directory: Path
    pid: int

    @property
    def path(self) -> str:
        """The store's path, for messages."""

    @property
    def header(self) -> IndexHeader:
        """Facts of the store, or of one of several."""

    @property
    def layout(self) -> Layout:
        """What its arrays are made of."""

    @property
    def limit_nbytes(self) -> int | None:
        """Bytes that each of several stores has at the most; None where there is no limit."""

    def locked(self) -> AbstractContextManager[object]:
        """Hold the store's lock during a ``with`` block, knowing all that is committed."""

    def snapshot(self) -> Snapshot:
        """Return all that is committed now. Under the lock; good until the next change."""

    def opened(self, previous: Opened | None) -> Opened:
        """Return `snapshot` with its rows mapped, as a reader has it. Under the lock.

        Goes on with the mapping of what was returned before, if it can.
        """

    def find(self, name: bytes) -> tuple[int, int] | None:
        """Pointer of a name, or None. Under the lock."""

    def target(self, expected: Expected) -> Target:
        """Return where to write what is expected."""

    def target_at(self, start: int, end: int, expected: Expected) -> tuple[Target, int, int]:
        """Return where to write about these rows, and their range there. Under the lock."""

    def target_of(self, name: bytes, expected: Expected) -> Target:
        """Return where to write about the array of a name, which is there. Under the lock."""

    def plannable(self) -> Session:
        """Return the store in which callers may choose rows.

        Raises
        ------
        BadInputError
            If there is none.
        """

    def having(self, names: list[bytes]) -> list[tuple[Part, list[bytes]]]:
        """Return which of several stores have which of the names. Under the lock.

        Of two that have a name, the last is the one in which it is seen. One store need not
        look whether it has them.
        """

    def store_of_attrs(self) -> Part:
        """Return the store that has the user's attrs. Under the lock."""

    def expect_flush(self) -> None:
        """Have the disk take rows while more are written, as somebody will wait for all of them."""

    def flush(self) -> None:
        """Wait until all that is committed is on the disk."""

    def close(self, least_nbytes: int = 0) -> None:
        """Fold a journal that has outgrown the index, and so many bytes; close the files."""


class WritableStore(Session):
    """One store as `Writable`, and as the `Target` of each call."""

    first_row = 0
    limit_nbytes: int | None = None

    def opened(self, previous: Opened | None) -> OpenedStore:
        """Return `snapshot` with its rows mapped. Under the lock."""
        try:
            return load(self.snapshot(), "r", previous)
        except CannotMapError:
            return load_readable(self.directory)

    def find(self, name: bytes) -> tuple[int, int] | None:
        """Pointer of a name, or None. Under the lock."""
        return self.snapshot().find(name)

    def target(self, expected: Expected) -> Target:
        """Return the store itself."""
        return self

    def expect(self, expected: Expected) -> None:
        """Do nothing: what is replaced is in the store itself."""

    def target_at(self, start: int, end: int, expected: Expected) -> tuple[Target, int, int]:
        """Return the store itself, and the same range."""
        return self, start, end

    def target_of(self, name: bytes, expected: Expected) -> Target:
        """Return the store itself."""
        return self

    def plannable(self) -> Session:
        """Return the store itself."""
        return self

    def having(self, names: list[bytes]) -> list[tuple[Part, list[bytes]]]:
        """Return the store itself with all of the names."""
        return [(self, names)] if names else []

    def store_of_attrs(self) -> Part:
        """Return the store itself."""
        return self
