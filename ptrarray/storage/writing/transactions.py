"""The changes a writer can make to a store: each is done whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import numpy as np

from ptrarray.errors import (
    BadInputError,
    OverlapError,
    StoreError,
    UnknownNameError,
)
from ptrarray.format import journal as journal_format
from ptrarray.format.attrs import checked
from ptrarray.format.checksum import crc32
from ptrarray.format.entries import Entry
from ptrarray.format.index import IndexHeader
from ptrarray.format.journal import PUT, HashedRecord
from ptrarray.format.layouts import MIXED
from ptrarray.format.names import hash_all
from ptrarray.intake.batch import Batch, of_one, pays_a_thread
from ptrarray.rows.pointers import Runs
from ptrarray.rows.types import Array
from ptrarray.storage.store.snapshot import Snapshot, locate_found
from ptrarray.storage.system.files import File
from ptrarray.storage.system.lock import whole
from ptrarray.storage.writing.session import Session
from ptrarray.storage.writing.space import Claim
from ptrarray.storage.writing.target import Expected, Target, Writable

Result = TypeVar("Result")

# Up to here, writing rows while holding the lock is cheaper than taking it twice.
_SMALL_NBYTES = 1 << 16


@whole
def put(store: Writable, batch: Batch, start: int | None, *, overwrite: bool) -> tuple[int, int]:
    """Write arrays end to end and commit them.

    Parameters
    ----------
    store : Writable
        The store.
    batch : Batch
        The arrays.
    start : int or None
        First row; None for the next free one.
    overwrite : bool
        Whether names may be there already.

    Returns
    -------
    start, end : int
        Rows taken.

    Raises
    ------
    DuplicateNameError, OverlapError
        Before a byte is written; the first also when another writer commits
        a name while the rows are being written.
    """
    nbytes = batch.n_rows * store.layout.width
    target = store.target(Expected(batch.names, batch.hashes, batch.n_rows, overwrite))
    is_large = pays_a_thread(nbytes, len(batch.names))
    if not is_large and not batch.is_staged:
        _ = batch.crcs  # before the lock is taken
    if start is not None:
        store.plannable()
    with target.locked() as part:
        first, end = part.rows_at(start, batch.n_rows)
        n_reserved = end if batch.n_rows else 0  # arrays without rows take none
        if not overwrite:
            target.check_new(batch.names, batch.hashes)
        if start is None and nbytes <= _SMALL_NBYTES:
            part.content.write(part.content.data, batch, first)
            kind = PUT if first >= part.index.header.n_rows else kind_of_put(part, first, end)
            target.commit(batch.records(first, part.seed, kind), n_reserved)
            first_row = target.first_row
            return first + first_row, end + first_row
        claim = claimed(
            part, first, end, batch.names[0] if batch.names else b"", is_append=start is None
        )
        checked_version = target.version
    with claim, given_back_on_error(target, claim, is_append=start is None):
        write_rows(part, claim, batch, first, is_large=is_large)
        with target.locked() as part:
            if not overwrite and target.version != checked_version:
                target.check_new(batch.names, batch.hashes)
            kind = kind_of_put(part, first, end, is_chosen=start is not None)
            target.commit(batch.records(first, part.seed, kind), n_reserved)
            claim.release()
    return first + target.first_row, end + target.first_row


@whole
def put_one(store: Writable, name: bytes, rows: Array, *, overwrite: bool) -> tuple[int, int]:
    """Write one array that is nothing but rows, as `put` does.

    Where it is small, nothing is made for it but its record.
    """
    nbytes = rows.nbytes
    if not isinstance(store, Session) or nbytes > _SMALL_NBYTES:
        return put(store, of_one(name, rows), None, overwrite=overwrite)
    name_hash, crc, n_rows = crc32(name), crc32(rows), len(rows)
    with store:
        start, end = store.rows_at(None, n_rows)
        if not overwrite:
            store.check_new((name,), (name_hash,))
        if nbytes:
            store.content.data.pwrite(rows, start * store.layout.width, nbytes)
        kind = kind_of_put(store, start, end)
        entry = name, start, end, crc, 0, b"", b""
        record = journal_format.encode_one(kind, entry, name_hash, store.seed)
        store.commit([((name_hash,), record)], end if n_rows else 0)
    return start, end


def write_rows(part: Session, claim: Claim, batch: Batch, start: int, *, is_large: bool) -> None:
    """Write rows that are claimed, before they are committed; without the lock."""
    with part.syncing():
        if is_large:
            _write_and_sum(claim, batch, start)
        else:
            claim.write(batch, start)


def _write_and_sum(claim: Claim, batch: Batch, start: int) -> None:
    """Write the rows in one thread while this one computes their checksums."""
    with ThreadPoolExecutor(1) as pool:
        try:
            writing = pool.submit(claim.write, batch, start)
        except RuntimeError:  # no more threads: the interpreter is about to exit
            claim.write(batch, start)
            return
        _ = batch.crcs
        writing.result()


@whole
def reserve(store: Writable, n_rows: int) -> int:
    """Take rows for somebody to fill later; return the first."""
    with store.plannable().locked() as part:
        start, end = part.rows_at(None, part.layout.aligned(n_rows))
        part.set_reserved(end)
    return start


@contextmanager
def allocated(
    store: Writable, name: bytes, n_rows: int, info: bytes = b"", *, overwrite: bool
) -> Iterator[tuple[Claim, Session]]:
    """Claim rows for a ``with`` block to fill; commit them when it ends well.

    Gives the claim, and the store that the rows are in.
    """
    expected = Expected([name], hash_all([name]), n_rows, overwrite)
    target = store.target(expected)
    claim, part = _taken(target, expected)
    with claim, given_back_on_error(target, claim, is_append=True):
        claim.allocate()
        yield claim, part
        part.check_open()
        crc = part.content.crc(claim.start, claim.start + n_rows, info)
        entry = Entry(name, claim.start, claim.start + n_rows, crc, info=info)
        _filled(target, expected, entry, claim)


@whole
def _taken(target: Target, expected: Expected) -> tuple[Claim, Session]:
    """Claim rows for one array that is expected."""
    with target.locked() as part:
        start, end = part.rows_at(None, part.layout.aligned(expected.n_rows))
        if not expected.overwrite:
            target.check_new(expected.names, expected.hashes)
        return claimed(part, start, end, expected.names[0], is_append=True), part


@whole
def _filled(target: Target, expected: Expected, entry: Entry, claim: Claim) -> None:
    """Commit an array that was expected, and whose rows are filled."""
    with target.locked() as part:
        if not expected.overwrite:
            target.check_new(expected.names, expected.hashes)
        kind = kind_of_put(part, entry.start, claim.end)
        target.commit(*_to_commit(part, kind, [entry], claim.end))
        claim.release()


@whole
def point(store: Writable, name: bytes, start: int, end: int, *, overwrite: bool) -> None:
    """Give rows that exist one more name."""
    hashes = hash_all([name])
    with store.locked():
        n_rows = store.snapshot().n_rows
        beyond = _beyond(store, name, start, end, n_rows)
        # An array without rows may lie anywhere, also where no rows are.
        if not 0 <= start <= end <= max(n_rows, start):
            raise beyond
        expected = Expected([name], hashes, 0, overwrite)
        target, start, end = store.target_at(start, end, expected)
        with target.locked() as part:
            if not overwrite:
                target.check_new([name], hashes)
            same = _pointed_same(part, start, end)
            snapshot = part.snapshot()
            if end > snapshot.n_rows and snapshot.locate_pointer(start, end) is None:
                raise beyond
            with Claim(part.content, start, end, name.decode()):
                crc = part.content.crc(start, end, same.info)
            # What is on the disk, or judged by itself; or written through a mapping, and to be flushed.
            is_judged = not part.content.may_be_changed
            kind = journal_format.POINT if is_judged else journal_format.POINT_UNJUDGED
            entry = same._replace(name=name, start=start, end=end, crc=crc, pointed=1)
            target.commit(*_to_commit(part, kind, [entry]))


def _beyond(store: Writable, name: bytes, start: int, end: int, n_rows: int) -> BadInputError:
    text, path = name.decode(), store.path
    what = f"cannot point {text!r:.80} to rows {start} to {end}: {path} has {n_rows} rows"
    return BadInputError(what, path=path, name=text, found=(start, end), expected=n_rows)


def _pointed_same(part: Session, start: int, end: int) -> Entry:
    """Return what is kept of the array that has exactly these rows; of rows alone, nothing.

    Raises
    ------
    BadInputError
        If there is none, and the rows are bytes: nothing says what they are.
    """
    if part.layout.is_plain and not part.snapshot().has_metas:
        return Entry(b"")
    snapshot = part.snapshot()
    address = snapshot.locate_pointer(start, end)
    if address is not None:
        return snapshot.entry(address, b"")
    if part.layout.kind != MIXED:
        return Entry(b"")
    raise BadInputError(
        f"rows {start} to {end} of {part.path} are no array, and in a store of any dtype nothing "
        "but an array says what dtype and shape its bytes have: give the pointer of one, as in "
        "writer.point(new, *writer.pointers[name]), and take a part of it from what you read",
        path=part.path,
        found=(start, end),
        expected="the pointer of an array",
    )


@whole
def move_name(store: Writable, old: bytes, new: bytes, *, overwrite: bool) -> None:
    """Give an array another name, in one commit. It stays as it is, and where it is."""
    hashes = hash_all([new])
    with store.locked():
        if store.find(old) is None:
            raise unknown(old.decode(), store.path)
        if old == new:
            return
        target = store.target_of(old, Expected([new], hashes, 0, overwrite))
        with target.locked() as part:
            if not overwrite:
                target.check_new([new], hashes)
            snapshot = part.snapshot()
            entry = snapshot.entry(locate_found(snapshot, old), old)
            kind = _kind_again(entry)
            target.commit(journal_format.encode_rename(kind, entry, new, part.seed))


@whole
def delete(store: Writable, names: list[bytes]) -> None:
    """Delete names, which may be given twice; or none of them.

    Rows that no other name has become holes.
    """
    with store.locked():
        _check_there(store.snapshot(), names, store.path)
        _delete(store, list(dict.fromkeys(names)))


def _check_there(snapshot: Snapshot, names: Sequence[bytes], path: str) -> None:
    """Raise `UnknownNameError` for the first name that is not there."""
    if len(names) == 1:
        missing = [] if snapshot.find(names[0]) else [0]
    else:
        starts = snapshot.find_all(names).reshape(-1, 2)[:, 0]
        missing = np.flatnonzero(starts < 0)[:1].tolist()
    for at in missing:
        raise unknown(names[at].decode(), path)


@whole
def _delete(store: Writable, names: list[bytes]) -> None:
    """Delete names that are there. Under the lock."""
    for part, some in store.having(names):
        with part.locked() as session:
            records = journal_format.encode_delete(some, session.seed)
            start_byte = session.journal_header.committed_end
            part.commit(records)
            if len(some) == 1:
                session.lay_over(records[0], start_byte, some[0])


@whole
def delete_all(store: Writable) -> None:
    """Delete every name there is, in one commit."""
    with store.locked():
        _delete(store, list(store.snapshot().names()))


@whole
def change_attrs(store: Writable, change: Callable[[dict[str, Any]], None]) -> None:
    """Let `change` change a copy of the user's attrs, and commit what they are then."""
    with store.locked():
        part = store.store_of_attrs()
        with part.locked() as session:
            attrs = dict(session.snapshot().attrs)
            change(attrs)
            part.commit([((), journal_format.encode_attrs(checked(attrs), session.seed))])


@whole
def renew_checksums(
    session: Session, header: IndexHeader, ranges: Iterable[tuple[int, int]]
) -> None:
    """Commit the checksums anew of all arrays that share rows with `ranges`.

    Parameters
    ----------
    header : IndexHeader
        Of the store as it was when the rows were changed.

    Raises
    ------
    StoreError
        If the data file is another one by now: the changes went to the old.
    """
    with session.locked():
        now = session.header
        if (header.store_id, header.data_file) != (now.store_id, now.data_file):
            raise changes_are_lost(session.path)
        snapshot = session.snapshot()
        touched = Runs()
        touched.add(*np.array(list(ranges), np.int64).reshape(-1, 2).T)
        renewed: dict[int, list[Entry]] = {}
        is_touched = touched.overlaps_any(snapshot.starts, snapshot.ends)
        for position in np.flatnonzero(is_touched).tolist():
            address = snapshot.locate_position(position)
            entry = snapshot.entry(address, snapshot.name(position))
            crc = session.content.crc(entry.start, entry.end, entry.info)
            if crc != entry.crc:
                renewed.setdefault(_kind_again(entry), []).append(entry._replace(crc=crc))
        for kind, entries in renewed.items():
            session.commit(*_to_commit(session, kind, entries))


def changes_are_lost(path: str) -> StoreError:
    """Return the error for changes that went to files which are no longer those of a store."""
    return StoreError(
        f"{path} was replaced or compacted since it was opened: changes made through its arrays "
        "are lost",
        path=path,
    )


@whole
def set_meta(store: Writable, name: bytes, meta: bytes) -> None:
    """Replace the metadata of an array."""
    with store.locked():
        if store.find(name) is None:
            raise unknown(name.decode(), store.path)
        part, _ = store.having([name])[-1]
        with part.locked() as session:
            snapshot = session.snapshot()
            entry = snapshot.entry(locate_found(snapshot, name), name)
            part.commit(*_to_commit(session, _kind_again(entry), [entry._replace(meta=meta)]))


def claimed(
    part: Session,
    start: int,
    end: int,
    name: bytes,
    *,
    is_append: bool,
    file: File | None = None,
) -> Claim:
    """Reserve rows and keep other writers off them, by a file of another claim. Under the lock."""
    text = name.decode()
    if not is_append and not part.are_free(start, end):
        raise OverlapError(
            f"rows {start} to {end} for {text!r:.80} run into rows of an array that is in "
            f"{part.path}",
            path=part.path,
            name=text,
            start=start,
            end=end,
        )
    claim = Claim(part.content, start, end, text, file)
    try:
        if start < end and end > part.journal_header.n_reserved:
            part.set_reserved(end)
    except BaseException:
        claim.file.close()
        raise
    return claim


@contextmanager
def given_back_on_error(target: Target, claim: Claim, *, is_append: bool) -> Iterator[None]:
    """Unreserve the rows of a claim that failed, if they are still the last."""
    try:
        yield
    except BaseException:
        if is_append:
            # What the caller needs to see is what failed first.
            with suppress(StoreError, OSError):
                _give_back(target, claim)
        raise


@whole
def _give_back(target: Target, claim: Claim) -> None:
    """Unreserve the rows of a claim, if they are still the last."""
    with target.locked() as part:
        is_last = part.journal_header.n_reserved == claim.end
        # An interrupt may have come after the commit.
        if is_last and part.are_free(claim.start, claim.end):
            claim.file.close()  # or the next one to take the rows would find them locked
            # After a second Ctrl-C, the thread that writes them may still be at it.
            with Claim(part.content, claim.start, claim.end, ""):
                part.set_reserved(claim.start)


@whole
def asked(store: Writable, ask: Callable[[], Result]) -> Result:
    """Ask for something while holding the lock of a store."""
    with store.locked():
        return ask()


def kind_of_put(part: Session, start: int, end: int, *, is_chosen: bool = False) -> int:
    """Return the kind of record for rows that have been written. Under the lock.

    After a restart their checksum shows whether a power cut has taken them,
    unless somebody changes them through a mapping. So where somebody may, they
    are on the disk before there is a record, and it is not judged by them.
    """
    part.check_grows()  # it may have been sealed while they were written
    # Rows that the store itself chose are new, but for those that it was made with, and those
    # before others that were committed while these were written.
    is_last = not is_chosen and part.journal_header.n_reserved <= end
    is_new = is_last and start >= part.index.header.n_rows
    if is_new or not part.content.may_be_changed:
        return PUT
    part.sync_rows()
    return journal_format.PUT_UNJUDGED


def _kind_again(entry: Entry) -> int:
    """Return the kind of a record about rows that an earlier one, or the index, has already."""
    return journal_format.UNJUDGED[journal_format.POINT if entry.pointed else PUT]


def _to_commit(
    part: Session, kind: int, entries: list[Entry], n_reserved: int = 0
) -> tuple[list[HashedRecord], int]:
    """Return what to commit of arrays, and the rows reserved."""
    # Arrays without rows may lie anywhere, and take none.
    n_rows = max((entry.end for entry in entries if entry.start < entry.end), default=0)
    records = journal_format.encode_rows(kind, entries, part.seed)
    return records, max(part.layout.aligned(n_rows), n_reserved)


def unknown(name: object, path: str) -> UnknownNameError:
    """Return the error for a name that is not there."""
    return UnknownNameError(f"no array named {name!r:.80} in {path}", path=path, name=name)
