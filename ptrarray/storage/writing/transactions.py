"""The changes a writer can make to a store: each is done whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from ptrarray.errors import BadInputError, OverlapError, StoreError, UnknownNameError
from ptrarray.format import journal as layout
from ptrarray.format.attrs import checked
from ptrarray.format.entries import Entry
from ptrarray.format.index import IndexHeader
from ptrarray.format.names import hash_all
from ptrarray.intake.batch import Batch
from ptrarray.rows.pointers import Runs
from ptrarray.storage.writing.session import Expected, Session
from ptrarray.storage.writing.space import Claim

# Up to here, writing rows while holding the lock is cheaper than taking it twice.
_SMALL_NBYTES = 1 << 16
# From here on, in one array and in all, computing checksums in another thread gains more than
# starting it costs.
_LARGE_NBYTES = 1 << 14
_THREAD_NBYTES = 1 << 22


def put(session: Session, batch: Batch, start: int | None, *, overwrite: bool) -> tuple[int, int]:
    """Write arrays end to end and commit them.

    Parameters
    ----------
    session : Session
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
    nbytes = batch.n_rows * session.width
    session.expect(Expected(batch.names, batch.hashes, batch.n_rows, overwrite))
    is_large = nbytes > max(_THREAD_NBYTES, _LARGE_NBYTES * len(batch.names))
    if not is_large:
        _ = batch.crcs  # before the lock is taken
    if start is not None:
        session.check_plannable()
    with session.locked():
        if not overwrite:
            session.check_new(batch.names, batch.hashes)
        if start is None and nbytes <= _SMALL_NBYTES:
            start = session.next_row
            end = _end(session, start, batch.n_rows)
            session.content.write(session.data, batch, start)
            _commit_batch(session, batch, start)
            return start + session.first_row, end + session.first_row
        claim = _claim(session, batch.n_rows, start, batch.names[0] if batch.names else b"")
        checked_version = session.version
    with claim, _given_back_on_error(session, claim, is_append=start is None):
        if is_large:
            _write_and_sum(claim, batch)
        else:
            claim.write(batch)
        with session.locked():
            if not overwrite and session.version != checked_version:
                session.check_new(batch.names, batch.hashes)
            _commit_batch(session, batch, claim.start)
    return claim.start + session.first_row, claim.end + session.first_row


def _write_and_sum(claim: Claim, batch: Batch) -> None:
    """Write the rows in one thread while this one computes their checksums."""
    with ThreadPoolExecutor(1) as pool:
        try:
            writing = pool.submit(claim.write, batch)
        except RuntimeError:  # no more threads: the interpreter is about to exit
            claim.write(batch)
            return
        _ = batch.crcs
        writing.result()


def _commit_batch(session: Session, batch: Batch, start: int) -> None:
    end = start + batch.n_rows if batch.n_rows else 0
    session.content.cover(end)
    session.commit(batch.records(start, session.state.seed), end)


def reserve(session: Session, n_rows: int) -> int:
    """Take rows for somebody to fill later; return the first."""
    session.check_plannable()
    with session.locked():
        start = session.next_row
        session.set_reserved(_end(session, start, session.layout.aligned(n_rows)))
    return start


@contextmanager
def allocated(
    session: Session, name: bytes, n_rows: int, info: bytes = b"", *, overwrite: bool
) -> Iterator[Claim]:
    """Claim rows for a ``with`` block to fill; commit them when it ends well."""
    hashes = hash_all([name])
    session.expect(Expected([name], hashes, n_rows, overwrite))
    with session.locked():
        if not overwrite:
            session.check_new([name], hashes)
        claim = _claim(session, session.layout.aligned(n_rows), None, name)
    with claim, _given_back_on_error(session, claim, is_append=True):
        claim.allocate()
        yield claim
        session.check_open()
        end = claim.start + n_rows
        crc = session.content.crc(claim.start, end, info)
        with session.locked():
            if not overwrite:
                session.check_new([name], hashes)
            entry = Entry(name, claim.start, end, crc, info=info)
            _commit_entries(session, [entry], claim.end)


def point(session: Session, name: bytes, start: int, end: int, *, overwrite: bool) -> None:
    """Give rows that exist one more name."""
    hashes = hash_all([name])
    with session.locked():
        n_rows = session.snapshot().n_rows
        if not 0 <= start <= end <= n_rows:
            raise BadInputError(
                f"cannot point {name.decode()!r:.80} to rows {start} to {end}: "
                f"{session.path} has {n_rows} rows",
                path=session.path,
                name=name.decode(),
                found=(start, end),
                expected=n_rows,
            )
        shard, first_row = session.at_rows(start, end)
        shard.expect(Expected([name], hashes, 0, overwrite))
        start, end = start - first_row, end - first_row
        with shard.locked():
            if not overwrite:
                shard.check_new([name], hashes)
            with Claim(shard.content, start, end, name.decode()):
                crc = shard.content.crc(start, end)
            _commit_entries(shard, [Entry(name, start, end, crc, pointed=1)])


def delete(session: Session, names: list[bytes]) -> None:
    """Delete names; rows that no other name has become holes."""
    with session.locked():
        snapshot = session.snapshot()
        for name in names:
            if snapshot.find(name) is None:
                raise unknown(name.decode(), session.path)
        for shard, some in session.having(names):
            with shard.locked():
                shard.commit(layout.encode_delete(some, shard.state.seed))


def delete_all(session: Session) -> None:
    """Delete every name there is, in one commit."""
    with session.locked():
        delete(session, list(session.snapshot().names()))


def change_attrs(session: Session, change: Callable[[dict[str, Any]], None]) -> None:
    """Let `change` change a copy of the user's attrs, and commit what they are then."""
    with session.locked():
        shard = session.first_shard()
        with shard.locked():
            attrs = dict(shard.snapshot().attrs)
            change(attrs)
            shard.commit([((), layout.encode_attrs(checked(attrs), shard.state.seed))])


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
            raise StoreError(
                f"{session.path} was replaced or compacted since it was opened: changes made "
                "through its arrays are lost",
                path=session.path,
            )
        snapshot = session.snapshot()
        touched = Runs()
        touched.add(*np.array(list(ranges), np.int64).reshape(-1, 2).T)
        renewed: dict[int, list[Entry]] = {}
        for position in np.flatnonzero(
            touched.overlaps_any(snapshot.starts, snapshot.ends)
        ).tolist():
            entry = snapshot.entry(snapshot.located(position), snapshot.name(position))
            crc = session.content.crc(entry.start, entry.end, entry.info)
            if crc != entry.crc:
                renewed.setdefault(entry.pointed, []).append(entry._replace(crc=crc))
        for entries in renewed.values():
            _commit_entries(session, entries)


def set_meta(session: Session, name: bytes, meta: bytes) -> None:
    """Replace the metadata of an array."""
    with session.locked():
        having = session.having([name])
        shard = having[-1][0] if having else session
        with shard.locked():
            snapshot = shard.snapshot()
            place = snapshot.locate(name)
            if place is None:
                raise unknown(name.decode(), session.path)
            _commit_entries(shard, [snapshot.entry(place, name)._replace(meta=meta)])


def _claim(session: Session, n_rows: int, start: int | None, name: bytes) -> Claim:
    """Reserve rows and keep other writers off them. Under the lock."""
    text = name.decode()
    first = session.next_row if start is None else start
    if first % session.layout.alignment:
        raise BadInputError(
            f"start {first} is no multiple of {session.layout.alignment}, where arrays of "
            f"{session.path} may begin",
            path=session.path,
            found=first,
            expected=session.layout.alignment,
        )
    end = _end(session, first, n_rows)
    if start is not None and not session.are_free(first, end):
        raise OverlapError(
            f"rows {first} to {end} for {text!r:.80} run into rows of an array that is in "
            f"{session.path}",
            path=session.path,
            name=text,
            start=first,
            end=end,
        )
    claim = Claim(session.content, first, end, text)
    try:
        if n_rows and end > session.state.n_reserved:
            session.set_reserved(end)
    except BaseException:
        claim.file.close()
        raise
    return claim


@contextmanager
def _given_back_on_error(session: Session, claim: Claim, *, is_append: bool) -> Iterator[None]:
    """Unreserve the rows of a claim that failed, if they are still the last."""
    try:
        yield
    except BaseException:
        # What the caller needs to see is what failed first.
        with suppress(StoreError, OSError), session.locked():
            is_last = is_append and session.state.n_reserved == claim.end
            # An interrupt may have come after the commit.
            if is_last and session.are_free(claim.start, claim.end):
                claim.file.close()  # or the next one to take the rows would find them locked
                session.set_reserved(claim.start)
        raise


def _end(session: Session, start: int, n_rows: int) -> int:
    end = start + n_rows
    if end > session.row_limit:
        raise BadInputError(
            f"rows {start} to {end} of {session.width} bytes do not fit in a file: {session.path}",
            path=session.path,
            found=end,
            expected=session.row_limit,
        )
    return end


def _commit_entries(session: Session, rows: list[Entry], n_reserved: int = 0) -> None:
    """Commit arrays whose rows are there; all of them were pointed to, or none."""
    kind = layout.POINT if rows[0].pointed else layout.PUT
    # Arrays without rows may lie anywhere, and take none.
    n_rows = max((row.end for row in rows if row.start < row.end), default=0)
    records = layout.encode_rows(kind, rows, session.state.seed)
    session.commit(records, max(session.layout.aligned(n_rows), n_reserved))


def unknown(name: object, path: str) -> UnknownNameError:
    """Return the error for a name that is not there."""
    return UnknownNameError(f"no array named {name!r:.80} in {path}", path=path, name=name)
