"""Stores made shards of one store: their files get one more name, or are copied.

The rows are not touched, and mostly not read. So that a process may be killed anywhere:

1. Each source is looked at, and nothing is done if one is not fit for it.
2. Beside the store, shards are built: indexes with other names where a prefix is asked for, what
   deletes names that several have, links to the files of the sources. A source is sealed first,
   under its lock: no rows are added to it from then on, for its data file is not its own any more.
3. Helper arrays of all sources are brought together.
4. A new store appears with all of its shards by one rename. To one that is there they are added
   one by one, whole, while its lock is held.
5. Only now sources go that are to be moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from ptrarray.errors import DuplicateNameError, StoreError
from ptrarray.format import journal as journal_format
from ptrarray.format.index import IndexHeader
from ptrarray.format.shards import shard_name, without_notes
from ptrarray.storage.lifecycle.create import taken
from ptrarray.storage.shards.create import new_marker, write_marker
from ptrarray.storage.shards.doubles import find_doubles
from ptrarray.storage.shards.marker import is_sharded
from ptrarray.storage.shards.session import Shards
from ptrarray.storage.shards.sources import Source
from ptrarray.storage.store import index, journal
from ptrarray.storage.store.recovery import fresh_header
from ptrarray.storage.store.snapshot import StoreSnapshot
from ptrarray.storage.system import files
from ptrarray.storage.system.building import beside, directory_beside, put_in_place
from ptrarray.storage.system.files import File
from ptrarray.storage.system.lock import whole
from ptrarray.storage.writing.session import Session

How = Literal["move", "link", "copy"]


class Plan(NamedTuple):
    """How stores are joined.

    Attributes
    ----------
    how : {'move', 'link', 'copy'}
        What becomes of the sources.
    memory : int
        Bytes that this may take beside what is mapped.
    """

    how: How
    memory: int


class _Shard(NamedTuple):
    """A shard that is being built.

    Attributes
    ----------
    source : StoreSnapshot
        The store that it is made of.
    header : IndexHeader
        What its index says, or will when the source is sealed.
    directory : Path
        Where it is built.
    """

    source: StoreSnapshot
    header: IndexHeader
    directory: Path


def join_new(directory: Path, sources: Sequence[Source], plan: Plan, shard_nbytes: int) -> None:
    """Make a new store of stores.

    Raises
    ------
    StoreExistsError
        If anything is at the path.
    DuplicateNameError
        If two of them have a name.
    """
    if files.exists(directory):
        raise taken(directory)
    with directory_beside(directory) as building:
        _build(building, sources, plan)
        write_marker(building, new_marker(sources[0].layout, shard_nbytes))
        put_in_place(building, directory, taken)
    if plan.how == "move":
        for source in sources:
            _remove(source)


def _build(building: Path, sources: Sequence[Source], plan: Plan) -> list[_Shard]:
    """Make a shard of each store in a directory, on the disk."""
    shards: list[_Shard] = []
    for source in sources:
        for found in source.shards:
            target = building / shard_name(1, len(shards))
            files.make_directory(target, files.rights(found.directory))
            shards.append(_Shard(found, _header(found), target))
    _check_doubles([shard.source for shard in shards], plan.memory)
    left = iter(shards)
    for source in sources:
        _take_from(source, list(islice(left, len(source.shards))))
    for shard in shards:
        _make_journal(shard)
    for shard in shards:
        with File(shard.directory / journal.FILE_NAME) as file:
            file.sync()
        files.sync_directory(shard.directory)
    return shards


def _is_finished(store: StoreSnapshot) -> bool:
    """Whether a store is sealed, and its index says all."""
    nothing_since = store.overlay.end_byte == journal_format.RECORDS_START
    return bool(store.header.sealed) and nothing_since and not store.overlay.entries


def _header(store: StoreSnapshot) -> IndexHeader:
    """Return what the index of a store will say when it is sealed."""
    generation = store.header.generation + (not _is_finished(store))
    attrs = without_notes(store.attrs)
    return replace(store.header, generation=generation, sealed=True, attrs=attrs)


def _check_doubles(stores: Sequence[StoreSnapshot], memory: int) -> None:
    for doubles in find_doubles(stores, memory):
        if doubles:
            texts = tuple(name.decode() for name in doubles)
            some = ", ".join(repr(text)[:80] for text in texts[:3]) + ", …" * (len(texts) > 3)
            number, other, *_ = next(iter(doubles.values()))
            path = str(stores[other].directory)
            raise DuplicateNameError(
                f"{len(texts)} names are in several stores, as in {stores[number].directory} and "
                f"{path}: {some}",
                path=path,
                names=texts,
            )


def _make_journal(shard: _Shard) -> None:
    fresh = fresh_header(shard.header, files.boot_id())
    rights = files.rights(shard.source.directory / journal.FILE_NAME)
    with File(shard.directory / journal.FILE_NAME, files.MAKE, rights) as file:
        file.pwrite(journal_format.encode_fresh(fresh), 0)


@whole
def _take_from(source: Source, shards: Sequence[_Shard]) -> None:
    """Seal a source, if it is as it was when it was looked at, and link its files. Under its lock."""
    if not is_sharded(source.directory):
        with closing(Session(source.directory)) as session:
            _link(session, shards[0])
        return
    with closing(Shards(source.directory)) as store, store.locked():
        for number, shard in enumerate(shards):
            _link(store.open_shard(number), shard)


@whole
def _link(session: Session, shard: _Shard) -> None:
    with session.locked():
        version = session.header.generation, session.journal_header.committed_end
        if version != shard.source.version:
            raise StoreError(
                f"{session.path} was changed while it was being joined: close its writers first",
                path=session.path,
            )
        session.checkpoint(sealed=True)
        for name in (index.FILE_NAME, *shard.header.files):
            files.link_or_copy(session.directory / name, shard.directory / name)


def _remove(source: Source) -> None:
    doomed = beside(source.directory)
    files.replace(source.directory, doomed)
    files.remove_tree(doomed)
