"""Shards made of the files of other stores: linked or copied, with names and deletions of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ptrarray.errors import BadInputError, StoreError
from ptrarray.format import journal as journal_format
from ptrarray.format.entries import Entries, RaggedColumn
from ptrarray.format.index import IndexHeader
from ptrarray.format.journal import HashedRecord
from ptrarray.format.names import NAME_LIMIT_NBYTES, hash_all
from ptrarray.format.shards import Notes, without_notes
from ptrarray.rows.copying import copy_ranges, in_blocks
from ptrarray.storage.shards.marker import is_sharded
from ptrarray.storage.shards.session import Shards
from ptrarray.storage.shards.sources import Source
from ptrarray.storage.store import index, journal
from ptrarray.storage.store.blocks import Contents, Sizes
from ptrarray.storage.store.index import Index, write_index
from ptrarray.storage.store.overlay import Overlay
from ptrarray.storage.store.recovery import fresh_header
from ptrarray.storage.store.snapshot import StoreSnapshot
from ptrarray.storage.system import files
from ptrarray.storage.system.files import File
from ptrarray.storage.system.lock import whole
from ptrarray.storage.system.rights import Rights, writable
from ptrarray.storage.writing.session import Session

How = Literal["move", "link", "copy"]


class NewShard(NamedTuple):
    """A shard that is being made of a store.

    Attributes
    ----------
    store : Source
        The store.
    number : int
        Which of its shards.
    header : IndexHeader
        What its index says, or will when the source is sealed.
    directory : Path
        Where it is made.
    prefix : bytes
        What all names are to begin with.
    how : {'move', 'link', 'copy'}
        Whether files are linked where they can be.
    """

    store: Source
    number: int
    header: IndexHeader
    directory: Path
    prefix: bytes
    how: How

    @property
    def source(self) -> StoreSnapshot:
        """What it is made of."""
        return self.store.shards[self.number]

    @property
    def has_new_index(self) -> bool:
        """Whether its index is written anew, and not that of the source."""
        return bool(self.prefix) or (self.how == "copy" and not is_finished(self.source))

    @property
    def names(self) -> StoreSnapshot:
        """The names that it has, as it is made. Once it was begun."""
        if not self.has_new_index:
            return self.source
        own = Index(self.directory)
        return StoreSnapshot(self.directory, own, Overlay(own, journal_format.RECORDS_START))


def header_of(source: StoreSnapshot) -> IndexHeader:
    """Return what the index of a store will say when it is sealed."""
    generation = source.header.generation + (not is_finished(source))
    attrs = without_notes(source.attrs)
    n_rows = source.n_rows
    n_reserved = max(source.header.n_reserved, source.header.layout.aligned(n_rows))
    header = replace(source.header, n_rows=n_rows, n_reserved=n_reserved, attrs=attrs)
    return replace(header, generation=generation, sealed=True)


def is_finished(store: StoreSnapshot) -> bool:
    """Whether a store is sealed, and its index says all."""
    nothing_since = store.overlay.end_byte == journal_format.RECORDS_START
    return bool(store.header.sealed) and nothing_since and not store.overlay.entries


def begin(shard: NewShard, memory: int) -> None:
    """Make the directory of a shard, and in it the index if that is not the source's."""
    source = shard.source.directory
    files.make_directory(shard.directory, _rights(source))
    if shard.has_new_index:
        columns = _columns(shard.source)
        _check_prefix(columns.names, shard.prefix, str(source))
        sizes = Sizes.of(columns)
        sizes = sizes._replace(names=sizes.names + sizes.n_arrays * len(shard.prefix))
        blocks = _prefixed(shard.source, columns, shard.prefix)
        contents = Contents.hashed(sizes, blocks, shard.directory, memory)
        write_index(shard.directory, shard.header, contents, _rights(source / index.FILE_NAME))
        shard.source.index.forget()


def _rights(path: Path) -> Rights | None:
    """Return the rights that what is made of a file has: those of a store that is read-only would be no use."""
    found = files.rights(path)
    return None if found is None else writable(found)


def _columns(source: StoreSnapshot) -> Entries:
    """Return all that a store has, but for hashes; where it has no journal, as it is mapped."""
    if source.overlay.entries:
        return source.overlay.folded()
    own, no_hashes = source.index, np.broadcast_to(np.uint32(0), len(source))
    columns = own.starts, own.ends, own.crcs, own.pointed, own.infos, own.metas
    return Entries(own.sound_names(), no_hashes, *columns)


def _check_prefix(names: RaggedColumn, prefix: bytes, path: str) -> None:
    longest = int(np.diff(names.ends, prepend=0).max(initial=0))
    if prefix and longest + len(prefix) > NAME_LIMIT_NBYTES:
        raise BadInputError(
            f"a name of {path} has more than {NAME_LIMIT_NBYTES} bytes with the prefix {prefix[:80]!r}",
            path=path,
            found=prefix.decode(),
            expected=NAME_LIMIT_NBYTES,
        )


def _prefixed(source: StoreSnapshot, columns: Entries, prefix: bytes) -> Iterator[Entries]:
    """Yield columns block by block, with what all names begin with, and their hashes."""
    for block in in_blocks(0, columns.n_names):
        some = columns.part(block)
        old, n_more = some.names, len(prefix)
        # As if the prefix lay before all names: by turns it, and one of them.
        starts, ends = np.zeros(2 * len(old), np.int64), np.full(2 * len(old), n_more)
        starts[1::2], ends[1::2] = old.starts + n_more, old.ends + n_more
        offsets = np.concatenate([[0], np.cumsum(ends - starts)])
        joined = np.concatenate([np.frombuffer(prefix, np.uint8), old.joined])
        names = RaggedColumn(offsets[2::2].copy(), copy_ranges(joined, starts, ends, offsets))
        yield some._replace(names=names, hashes=np.array(hash_all(names), np.uint32))
        source.index.pass_on()


def begin_journal(shard: NewShard) -> int:
    """Make the journal of a shard, or make it anew; return where its first record comes."""
    path = shard.directory / journal.FILE_NAME
    files.unlink(path)
    with File(path, files.MAKE, _rights(shard.source.directory / journal.FILE_NAME)):
        return journal_format.RECORDS_START


def delete_names(shard: NewShard, names: Sequence[bytes], at: int) -> int:
    """Write records that delete names to a byte of a journal; return where they end."""
    seed = fresh_header(shard.header, files.boot_id()).seed
    return _written(shard, journal_format.encode_delete(names, seed), at)


def finish_journal(shard: NewShard, notes: Notes, at: int) -> None:
    """Write notes behind all other records of a journal, and commit these."""
    fresh = fresh_header(shard.header, files.boot_id())
    if notes != Notes():
        attrs = shard.header.attrs | notes.encode()
        at = _written(shard, [((), journal_format.encode_attrs(attrs, fresh.seed))], at)
    fresh = fresh._replace(committed_end=at, synced_end=at)
    with File(shard.directory / journal.FILE_NAME, files.CHANGE) as file:
        file.pwrite(journal_format.encode_fresh(fresh), 0)


def _written(shard: NewShard, records: Iterable[HashedRecord], at: int) -> int:
    with File(shard.directory / journal.FILE_NAME, files.CHANGE) as file:
        for _, record in records:
            file.pwrite(bytes(record), at)
            at += len(record)
    return at


@whole
def take_files(source: Source, shards: Sequence[NewShard], memory: int) -> None:
    """Give shards the files of their source, and seal that where its files are linked.

    Raises
    ------
    StoreError
        If the source is not as it was when it was looked at.
    """
    if shards[0].how == "copy":
        for shard in shards:
            _copy(shard)
    elif not is_sharded(source.directory):
        with closing(Session(source.directory)) as session:
            _link(session, shards[0], memory)
    else:
        with closing(Shards(source.directory)) as store, store.locked():
            check_count(store, source)
            for shard in shards:
                _link(store.open_shard(shard.number), shard, memory)


def _files(shard: NewShard) -> list[str]:
    own = [] if shard.has_new_index else [index.FILE_NAME]
    return [*own, *shard.header.files]


def _copy(shard: NewShard) -> None:
    source = shard.source
    try:
        for name in _files(shard):
            files.copy(source.directory / name, shard.directory / name)
    except FileNotFoundError as error:  # it was compacted, or removed
        raise _changed(str(source.directory)) from error
    if source.refreshed() is not source:
        raise _changed(str(source.directory))


@whole
def _link(session: Session, shard: NewShard, memory: int) -> None:
    with session.locked():
        check_unchanged(session, shard.source, shard.source.version)
        session.checkpoint(memory, sealed=True)
        for name in _files(shard):
            files.link_or_copy(session.directory / name, shard.directory / name)


def check_unchanged(session: Session, source: StoreSnapshot, version: tuple[int, ...]) -> None:
    """Raise `StoreError` if a store is another one than when it was looked at. Under its lock."""
    header = session.header
    is_same = header.store_id == source.header.store_id
    if not is_same or (header.generation, session.journal_header.committed_end) != version:
        raise _changed(session.path)


def check_count(store: Shards, source: Source) -> None:
    """Raise `StoreError` if a store has got more shards since it was looked at. Under its lock."""
    if store.last.number + 1 != len(source.shards):
        raise _changed(store.path)


def _changed(path: str) -> StoreError:
    return StoreError(
        f"{path} was changed while it was being joined: close its writers, and join again",
        path=path,
    )


def bring_to_disk(shards: Iterable[NewShard]) -> None:
    """Wait until shards are on the disk, all of them made."""
    for shard in shards:
        with File(shard.directory / journal.FILE_NAME) as file:
            file.sync()
        files.sync_directory(shard.directory)
