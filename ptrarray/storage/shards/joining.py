"""Stores made shards of one store, whose rows stay where they are.

So that a process may be killed anywhere:

1. Each store is looked at (`sources`), and nothing is done if one is not fit for it, or if two have
   a name.
2. Beside the joined store, shards are made of their files (`linked`). A store is sealed first, under
   its lock: no rows are added to it from then on, for its data file is not its own any more.
3. Helper arrays of all stores are brought together.
4. A new store appears with all of its shards by one rename. To one that is there they are added
   one by one, each of them whole, while nobody else can write to it.
5. Only now stores go that are to be moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

from ptrarray.errors import BadInputError, DuplicateNameError, StoreError, StoreExistsError
from ptrarray.format import journal as journal_format
from ptrarray.format import metadata
from ptrarray.format.entries import Entry
from ptrarray.format.helpers import FOLDER
from ptrarray.format.shards import Notes, Replaced, decode_notes, shard_name
from ptrarray.progress import bar
from ptrarray.rows.types import Array
from ptrarray.storage.lifecycle.create import taken
from ptrarray.storage.shards import catalog, linked
from ptrarray.storage.shards.create import new_marker, write_marker
from ptrarray.storage.shards.doubles import find_doubles
from ptrarray.storage.shards.helpers import HelperWriter, Meta
from ptrarray.storage.shards.linked import How, NewShard
from ptrarray.storage.shards.marker import Marker, is_sharded
from ptrarray.storage.shards.session import Shards
from ptrarray.storage.shards.snapshot import ShardedSnapshot, open_shards
from ptrarray.storage.shards.sources import (
    Source,
    check_alike,
    check_apart,
    check_removable,
    read_source,
)
from ptrarray.storage.store import journal
from ptrarray.storage.store.journal import Journal
from ptrarray.storage.store.opened import load
from ptrarray.storage.store.snapshot import StoreSnapshot, open_snapshot
from ptrarray.storage.system import files
from ptrarray.storage.system.building import beside, directory_beside, put_in_place
from ptrarray.storage.system.files import File, check_system
from ptrarray.storage.system.lock import lock_whole, whole
from ptrarray.storage.writing.session import Session

_NAMES_LISTED = 1000  # of those that are there twice
_REPLACED_NBYTES = 2**22  # names that may be replaced in shards that are there
_HELPERS_NBYTES = 1 << 24  # helper arrays that are copied at a time


class Plan(NamedTuple):
    """How stores are joined.

    Attributes
    ----------
    how : {'move', 'link', 'copy'}
        What becomes of the stores, and of their files.
    prefixes : tuple of bytes
        Of each store, what its names are to begin with.
    duplicates : {'error', 'first', 'last'}
        Which of several arrays of one name is kept.
    memory : int
        Bytes that finding such names may take.
    shard_nbytes : int
        Size of the shards that later writes make, if the store is a new one.
    progress : bool
        Whether to show a bar.
    """

    how: How
    prefixes: tuple[bytes, ...]
    duplicates: str
    memory: int
    shard_nbytes: int
    progress: bool


def join(directory: Path, sources: Sequence[Source], plan: Plan) -> None:
    """Make one store of several, or add them to a store of shards that is there.

    Raises
    ------
    StoreExistsError
        If anything else is at the path.
    DuplicateNameError
        If two have a name, and duplicates are an error.
    """
    if files.leads_nowhere(directory):
        raise taken(directory)
    directory = files.resolved(directory)
    _join(directory, sources, plan)
    if plan.duplicates != "error":
        _fold_grown(Marker(directory))
    catalog.renew(directory, plan.memory // 2)  # beside what this process has taken by now


def _fold_grown(marker: Marker) -> None:
    """Fold journals that delete many names. Nothing depends on it, and so what fails is no error."""
    try:
        for number in range(marker.count()):
            with Journal(marker.shard(number), writable=False) as found:
                header = found.read_header()
            if header.committed_end > journal_format.RECORDS_START:
                Session(files.no_link(marker.shard(number))).close()
    except StoreError:
        pass  # replaced by now
    except OSError as error:  # a full disk, say
        check_system(error)


def _join(directory: Path, sources: Sequence[Source], plan: Plan) -> None:
    check_apart(directory, sources)
    check_alike(sources, str(sources[0].directory), sources[0].layout, sources[0].attrs)
    if plan.how == "move":
        check_removable(sources)
    if plan.how != "copy":
        sources = list(map(_settled, sources))
    if not is_sharded(directory):
        if files.exists(directory):
            raise taken(directory)
        try:
            _make(directory, sources, plan)
        except StoreExistsError:
            if not is_sharded(directory):
                raise
        else:
            return
        # Somebody has made it just now. The sources may be sealed by now.
        sources = [read_source(source.directory) for source in sources]
    _add(directory, sources, plan)


def _settled(source: Source) -> Source:
    """Bring a source to where none of its names is in two of its shards, as after a kill."""
    notes = decode_notes(source.shards[-1].attrs, str(source.directory))
    if not notes.replaced or not is_sharded(source.directory):  # a copy of a shard has some, too
        return source
    with closing(Shards(source.directory)) as store:
        store.flush()
    return read_source(source.directory)


def _make(directory: Path, sources: Sequence[Source], plan: Plan) -> None:
    """Make a new store of stores."""
    with directory_beside(directory) as building:
        shards = _begun(building, sources, plan, ())
        _write_journals(shards, (), plan)
        _take_files(shards, plan)
        write_marker(building, new_marker(sources[0].layout, plan.shard_nbytes))
        with closing(HelperWriter(building)) as helpers:
            _keep_helpers(helpers, sources)
        put_in_place(building, directory, taken)
    _remove_moved(sources, plan)


def _begun(
    building: Path, sources: Sequence[Source], plan: Plan, known: Sequence[StoreSnapshot]
) -> list[NewShard]:
    """Begin a shard for each that sources have, and that is not among those known."""
    shards: list[NewShard] = []
    there = {shard.header.store_id for shard in known}
    for source, prefix in zip(sources, plan.prefixes, strict=True):
        for number, found in enumerate(source.shards):
            if found.header.store_id not in there:
                header, place = linked.header_of(found), building / shard_name(1, len(shards))
                shards.append(NewShard(source, number, header, place, prefix, plan.how))
    for shard in shards:
        linked.begin(shard, plan.memory)
    return shards


def _take_files(shards: Sequence[NewShard], plan: Plan) -> None:
    """Give all shards the files of their sources, and wait until they are on the disk."""
    with bar(total=len(shards), unit=" stores", progress=plan.progress) as counter:
        for _, group in groupby(shards, lambda shard: shard.store.directory):
            own = list(group)
            linked.take_files(own[0].store, own, plan.memory)
            counter.update(len(own))
    linked.bring_to_disk(shards)


# names that several have --------------------------------------------------------------------------


def _write_journals(shards: Sequence[NewShard], known: Sequence[StoreSnapshot], plan: Plan) -> None:
    """Make the journals of new shards, behind others that are there.

    They delete names that another store has, too, and note which names of others they replace.
    """
    stores = [*known, *(shard.names for shard in shards)]
    ends = dict(enumerate(map(linked.begin_journal, shards), len(known)))
    replaced: list[Replaced] = []
    for doubles in find_doubles(stores, plan.memory):
        if plan.duplicates == "error" and doubles:
            raise _doubled(doubles, stores)
        for number, names in _losers(doubles, plan.duplicates).items():
            if number in ends:
                shard = shards[number - len(known)]
                ends[number] = linked.delete_names(shard, names, ends[number])
            else:
                replaced += [Replaced(number, max(doubles[name]), name) for name in names]
        _check_few(replaced, known)
    for number, shard in enumerate(shards, len(known)):
        # Each has the notes of those before it, which it takes the place of as the last.
        notes = Notes(replaced=tuple(one for one in replaced if one.new <= number))
        linked.finish_journal(shard, notes, ends[number])


def _losers(doubles: dict[bytes, list[int]], kept: str) -> dict[int, list[bytes]]:
    losers: dict[int, list[bytes]] = {}
    for name, numbers in doubles.items():
        for number in numbers[1:] if kept == "first" else numbers[:-1]:
            losers.setdefault(number, []).append(name)
    return losers


def _doubled(found: dict[bytes, list[int]], stores: Sequence[StoreSnapshot]) -> DuplicateNameError:
    names = tuple(name.decode() for name in islice(found, _NAMES_LISTED))
    first, second, *_ = (str(stores[number].directory) for number in next(iter(found.values())))
    some = ", ".join(repr(name)[:80] for name in names[:3]) + ", …" * (len(names) > 3)
    return DuplicateNameError(
        f"names are in several stores, in {first} and {second} for one: {some}; "
        'duplicates="first" or "last" keeps one of each, prefix= makes them different',
        path=second,
        names=names,
    )


def _check_few(replaced: Sequence[Replaced], known: Sequence[StoreSnapshot]) -> None:
    if sum(len(one.name) for one in replaced) > _REPLACED_NBYTES:
        path = str(known[0].directory.parent)
        raise BadInputError(
            f"names of more than {_REPLACED_NBYTES} bytes are in {path} already, too many to be "
            "replaced in one step: join fewer stores at a time, or delete them first",
            path=path,
            expected=_REPLACED_NBYTES,
        )


# to a store that is there -------------------------------------------------------------------------


def _add(directory: Path, sources: Sequence[Source], plan: Plan) -> None:
    """Add stores to a store of shards that is there."""
    with closing(Shards(directory)) as store:
        store.flush()
        before = open_shards(directory)
        first = Source(directory, before.shards)
        check_alike(sources, str(directory), first.layout, first.attrs)
        _check_known(sources, before, plan)
        with directory_beside(directory, files.rights(directory)) as building:
            shards = _begun(building, sources, plan, before.shards)
            _write_journals(shards, before.shards, plan)
            _take_files(shards, plan)
            with closing(HelperWriter(directory)) as helpers:
                _keep_helpers(helpers, sources)
                _put_behind(store, before, shards, plan)
        _remove_moved(sources, plan)
        try:
            store.flush()
        except StoreError:
            pass  # replaced by now
        except OSError as error:  # what is left to do is noted
            check_system(error)


def _check_known(sources: Sequence[Source], before: ShardedSnapshot, plan: Plan) -> None:
    """Raise `BadInputError` if the store has one of the sources already.

    Unless that is all that was left to do when somebody who moved it was killed: to remove it.
    """
    ids = [shard.header.store_id for shard in before.shards]
    for source, prefix in zip(sources, plan.prefixes, strict=True):
        for found in source.shards:
            if found.header.store_id not in ids:
                continue
            number = ids.index(found.header.store_id)
            # A name that it lost to another that is still to be joined may be there only, as yet.
            others = [
                (other, begin)
                for store, begin in zip(sources, plan.prefixes, strict=True)
                for other in store.shards
                if other.header.store_id not in ids and plan.duplicates == "last"
            ]
            if plan.how != "move" or not _has_all(
                before.shards, number, found, prefix, plan.duplicates, others
            ):
                known = before.shards[number].directory
                raise BadInputError(
                    f"{found.directory} is in {before.directory} already, as {known.name}: leave it "
                    "out, and remove it if it is not needed any more",
                    path=str(found.directory),
                    found=str(known),
                )


def _has_all(
    shards: Sequence[StoreSnapshot],
    number: int,
    source: StoreSnapshot,
    prefix: bytes,
    duplicates: str,
    others: Sequence[tuple[StoreSnapshot, bytes]],
) -> bool:
    """Tell whether a store has all arrays of a source, as it has them, in the shard made of it.

    Or what took the place of some when it was joined: of their names, the first or the last.
    """
    rivals = {"error": (), "first": shards[:number], "last": shards[number + 1 :]}[duplicates]
    all_rivals = [*((rival, b"") for rival in rivals), *others]
    return linked.is_finished(source) and all(
        _has_entry(shards[number], entry)
        or any(_has_name(rival, entry.name, begin) for rival, begin in all_rivals)
        for entry in (
            source.index.entry(position, prefix + source.index.name(position))
            for position in range(len(source))
        )
    )


def _has_name(store: StoreSnapshot, name: bytes, prefix: bytes) -> bool:
    return name.startswith(prefix) and store.find(name.removeprefix(prefix)) is not None


def _has_entry(shard: StoreSnapshot, entry: Entry) -> bool:
    address = shard.locate(entry.name)
    return address is not None and shard.entry(address, entry.name) == entry


@whole
def _put_behind(
    store: Shards, before: ShardedSnapshot, shards: Sequence[NewShard], plan: Plan
) -> None:
    """Have shards follow the last one of a store. Nobody can write to it meanwhile."""
    with ExitStack() as stack:
        stack.enter_context(store.locked())
        store.prepare_next()
        now = before.refreshed()
        if now is not before:
            prefixes = tuple(shard.prefix for shard in shards)
            of_each = plan._replace(how="link", prefixes=prefixes)
            # Of a store of several shards, an interrupted join may have left some here before.
            new = [Source(shard.store.directory, [shard.source]) for shard in shards]
            _check_known(new, now, of_each)
            _write_journals(shards, now.shards, plan)
            linked.bring_to_disk(shards)
        held: File | None = None
        for number, shard in enumerate(shards, len(now.shards)):
            # From the rename on, this lock is the store's.
            lock = stack.enter_context(File(shard.directory / journal.FILE_NAME, files.CHANGE))
            lock_whole(lock)
            files.replace(shard.directory, store.marker.shard(number))
            files.sync_directory(store.directory)
            if held is not None:
                held.close()
            held = lock


# helper arrays, and what is left of stores that were moved -----------------------------------------


def _keep_helpers(writer: HelperWriter, sources: Sequence[Source]) -> None:
    """Keep the helper arrays of all sources, on the disk, before a store refers to them."""
    for source in sources:
        if files.is_directory(source.directory / FOLDER):
            for some in _helpers(source.directory / FOLDER):
                writer.keep(some)


def _helpers(directory: Path) -> Iterator[dict[str, tuple[Array, Meta]]]:
    """Yield helper arrays with their metadata, some megabytes at a time."""
    opened = load(open_snapshot(directory), "r")
    some: dict[str, tuple[Array, Meta]] = {}
    nbytes = 0
    for position, name in enumerate(opened.snapshot.texts()):
        address = opened.snapshot.locate_position(position)
        array = opened.array_at(address)
        some[name] = array, metadata.decode(opened.snapshot.meta_at(address))
        nbytes += array.nbytes
        if nbytes > _HELPERS_NBYTES:
            yield some
            some, nbytes = {}, 0
    yield some


def _remove_moved(sources: Sequence[Source], plan: Plan) -> None:
    """Remove the sources whose arrays are all on the disk by now, if they are to be moved.

    None is ever seen in part: they get other names first, on the disk. If one has to stay, as
    somebody changed it meanwhile, those before it go.
    """
    if plan.how == "move":
        doomed: list[Path] = []
        try:
            doomed.extend(map(_set_aside, sources))
        finally:
            for parent in {directory.parent for directory in doomed}:
                files.sync_directory(parent)
            for directory in doomed:
                files.remove_tree(directory)


@whole
def _set_aside(source: Source) -> Path:
    """Rename a source, if nobody changed it meanwhile; return what it is called then."""
    doomed = beside(source.directory)
    if is_sharded(source.directory):
        store = Shards(source.directory)
        try:
            with store.locked():
                linked.check_count(store, source)
                _check_left([*map(store.open_shard, range(len(source.shards)))], source)
                files.replace(source.directory, doomed)
        finally:
            store.release()
        return doomed
    session = Session(source.directory)
    try:
        with session.locked():
            _check_left([session], source)
            files.replace(source.directory, doomed)
    finally:
        session.release()
    return doomed


def _check_left(sessions: Sequence[Session], source: Source) -> None:
    for session, found in zip(sessions, source.shards, strict=True):
        generation = linked.header_of(found).generation
        linked.check_unchanged(session, found, (generation, journal_format.RECORDS_START))
