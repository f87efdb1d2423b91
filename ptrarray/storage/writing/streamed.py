"""Batches that come one after the other, each written at once, all of them committed together."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack

from ptrarray.format.entries import Entries, end_to_end, total_nbytes
from ptrarray.format.journal import encode_records
from ptrarray.intake.batch import Batch, check_nbytes, given_twice, pays_a_thread
from ptrarray.storage.system.lock import whole
from ptrarray.storage.writing import transactions
from ptrarray.storage.writing.recent import RecentNames
from ptrarray.storage.writing.session import Session
from ptrarray.storage.writing.space import Claim
from ptrarray.storage.writing.target import Expected, Writable


@whole
def put_all(store: Writable, batches: Iterable[Batch], *, overwrite: bool) -> int:
    """Write batches as they come, and commit them when the last was written.

    Whatever is raised meanwhile, also by who makes the batches, nothing is committed. The lock is
    not held while a batch is made. Rows are reserved batch by batch, so that those of other
    writers may lie between.

    Parameters
    ----------
    store : Writable
        The store. Of several, all goes to the one that is chosen for the first batch.
    batches : iterable of Batch
        The arrays. Of each batch only names and numbers are kept.
    overwrite : bool
        Whether names may be there already.

    Returns
    -------
    int
        Arrays written.

    Raises
    ------
    DuplicateNameError
        As soon as a batch has a name that is there; before all are committed, also if another
        writer has committed one.
    BadInputError
        As soon as a batch has a name that one before it had.
    """
    with ExitStack() as claims:
        written: _Written | None = None
        for batch in batches:
            if written is None:
                written = _Written(store, batch, claims, overwrite=overwrite)
            written.add(batch)
            del batch  # as who makes the next may want its memory
        return 0 if written is None else written.commit()


class _Written:
    """What was written and is to be committed."""

    def __init__(
        self, store: Writable, first: Batch, claims: ExitStack, *, overwrite: bool
    ) -> None:
        expected = Expected(first.names, first.hashes, first.n_rows, overwrite)
        self._target = store.target(expected)
        self._path = store.path
        self._width = store.layout.width
        self._overwrite = overwrite
        self._stack = claims
        self._claims: list[Claim] = []  # one, unless others have reserved rows meanwhile
        self._by_first: dict[int, Entries] = {}  # the batches, by the number of the first name
        self._n_names = 0
        self._recent = RecentNames()  # as if a batch were a record, at the number of its first name
        self._n_rows = 0
        self._nbytes = [0, 0, 0]
        self._checked_version: tuple[int, ...] = ()

    @whole
    def add(self, batch: Batch) -> None:
        """Write a batch."""
        self._check(batch)
        is_large = pays_a_thread(batch.n_rows * self._width, len(batch.names))
        if not is_large:
            _ = batch.crcs  # before the lock is taken
        with self._target.locked() as part:
            start, end = part.rows_at(None, batch.n_rows)
            if not self._overwrite:
                self._target.check_new(batch.names, batch.hashes)
            self._checked_version = self._checked_version or self._target.version
            claim = self._claim(part, start, end, batch.names[0] if batch.names else b"")
        transactions.write_rows(part, claim, batch, start, is_large=is_large)
        entries = batch.entries(start)
        self._recent.add(batch.hashes, self._n_names)
        self._by_first[self._n_names] = entries
        self._n_names += entries.n_names
        self._n_rows += batch.n_rows

    def _check(self, batch: Batch) -> None:
        """Check that all can be committed together."""
        for at in self._recent.seen(batch.hashes).tolist() if self._n_names else ():
            self._check_once(batch.names[at], batch.hashes[at])
        columns = (
            ("names", batch.names),
            ("dtypes and shapes", batch.infos),
            ("metadata", batch.metas),
        )
        for at, (what, items) in enumerate(columns):
            self._nbytes[at] += total_nbytes(items or ())
            check_nbytes(what, self._nbytes[at])

    def _check_once(self, name: bytes, name_hash: int) -> None:
        """Check that no batch had a name, of which one had the hash."""
        for first, position, _ in self._recent.records(name_hash):
            if self._by_first[first].names[position] == name:
                raise given_twice(name.decode()).at(self._path)

    def _claim(self, part: Session, start: int, end: int, name: bytes) -> Claim:
        """Reserve rows, and keep other writers off them. Under the lock."""
        last = self._claims[-1] if self._claims else None
        if last is not None and last.end == start:
            last.grow(end, name.decode())
            if end > part.journal_header.n_reserved:
                part.set_reserved(end)
            return last
        file = None if last is None else last.file
        claim = transactions.claimed(part, start, end, name, is_append=True, file=file)
        self._stack.enter_context(claim)
        self._stack.enter_context(
            transactions.given_back_on_error(self._target, claim, is_append=True)
        )
        self._claims.append(claim)
        return claim

    @whole
    def commit(self) -> int:
        """Commit all batches; return how many arrays they are."""
        entries = end_to_end(list(self._by_first.values()))
        hashes = memoryview(entries.hashes)
        self._target.expect(Expected(entries.names, hashes, self._n_rows, self._overwrite))
        first, end = self._claims[0].start, self._claims[-1].end
        with self._target.locked() as part:
            if not self._overwrite and self._target.version != self._checked_version:
                self._target.check_new(entries.names, hashes)
            # Rows of others between them may have been mapped, and these with them.
            is_apart = len(self._claims) > 1
            kind = transactions.kind_of_put(part, first, end, is_chosen=is_apart)
            records = encode_records(kind, entries, part.seed)
            self._target.commit(records, end if self._n_rows else 0)
            for claim in self._claims:
                claim.release()
        return entries.n_names
