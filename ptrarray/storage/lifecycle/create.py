"""Making a store: whole and in one step, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ptrarray.errors import BadInputError, CorruptStoreError, StoreExistsError
from ptrarray.format import journal as journal_format
from ptrarray.format.entries import Entries
from ptrarray.format.index import STORE_ID_NBYTES, IndexHeader
from ptrarray.format.journal import PUT, encode_records
from ptrarray.format.layouts import Layout
from ptrarray.storage.store import index, journal
from ptrarray.storage.store.blocks import Contents
from ptrarray.storage.store.content import Content
from ptrarray.storage.store.index import write_index
from ptrarray.storage.store.recovery import fresh_header, remove_leftovers
from ptrarray.storage.system import files
from ptrarray.storage.system.building import new_directory, put_in_place
from ptrarray.storage.system.files import File
from ptrarray.storage.system.lock import check_new_lock, whole
from ptrarray.storage.system.rights import Rights, give_rights
from ptrarray.storage.writing.session import Session

Columns = Entries | Contents  # of an index: in memory, or block by block
Fill = Callable[[Content], Columns]
Make = Callable[[IndexHeader], Columns]


def new_header(layout: Layout, n_rows: int, attrs: dict[str, Any]) -> IndexHeader:
    """Return the facts of a new store without arrays.

    Raises
    ------
    BadInputError
        If so many rows do not fit in a file.
    """
    limit = layout.row_limit
    if not 0 <= n_rows <= limit:
        raise BadInputError(
            f"rows must be from 0 to {limit}, which is what fits in a file, not {n_rows}",
            found=n_rows,
            expected=limit,
        )
    return IndexHeader(
        generation=1,
        store_id=files.random_bytes(STORE_ID_NBYTES),
        data_file="data.bin",
        dtype=layout.dtype,
        row_shape=layout.row_shape,
        n_arrays=0,
        n_rows=n_rows,
        n_reserved=0,
        n_homes=0,
        attrs=attrs,
        kind=layout.kind,
        mask_file="mask.bin" if layout.masked else None,
    )


def create_store(
    directory: Path,
    header: IndexHeader,
    fill: Fill | None = None,
    like: Path | None = None,
    own_file: str = journal.FILE_NAME,
    inside: Callable[[Path], object] = lambda _: None,
) -> None:
    """Make a new store, on the disk; it appears at its path all at once.

    Parameters
    ----------
    directory : Path
        Where.
    header : IndexHeader
        Its facts.
    fill : callable, optional
        Given the data and the mask file, open and sized, writes the rows of a
        store that is to begin with some, and returns the columns of its index.
    like : Path, optional
        A store whose rights it gets, and all of its files those of one of its files.
    own_file : str
        Which one.
    inside : callable, optional
        Makes what is in its directory beside, given where that is built.

    Raises
    ------
    StoreExistsError
        If anything is at the path.
    """
    folder = own = None
    if like is not None:
        folder, own = files.rights(like), files.rights(like / own_file)
    with new_directory(directory, taken, folder) as building:
        make_files(building, header, fill, own)
        inside(building)


def make_files(
    directory: Path,
    header: IndexHeader,
    fill: Fill | None = None,
    own: Rights | None = None,
    *,
    sync: bool = True,
) -> Columns:
    """Make the files of a new store in an empty directory, on the disk; else as `create_store`.

    Without `sync` this waits for no disk. Then the arrays are in the journal, as those of a writer
    that has not flushed: after a power cut all of them are there, or none. Returns the columns.
    """
    columns = indexed = write_content(directory, header, fill, [own] if own else (), sync=sync)
    fresh, records = fresh_header(header, files.boot_id()), b""
    if not sync:
        assert isinstance(columns, Entries)  # who waits for no disk has all of it in memory
        records = b"".join(bytes(record) for _, record in encode_records(PUT, columns, fresh.seed))
        fresh = fresh._replace(committed_end=fresh.committed_end + len(records))
        header, indexed = replace(header, n_rows=0, n_reserved=0), Entries.of()
    with File(directory / journal.FILE_NAME, files.MAKE, own) as file:
        file.pwrite(journal_format.encode_fresh(fresh) + records, 0)
        check_new_lock(file)
        if sync:
            file.sync()
    write_index(directory, header, indexed, own, sync=sync)
    return columns


def taken(directory: Path) -> StoreExistsError:
    """Return the error for a path that is taken."""
    what = "exists: open it with append(), or choose another path"
    if files.leads_nowhere(directory):
        what = "is a link that leads nowhere: remove it, or choose another path"
    return StoreExistsError(f"{directory} {what}", path=str(directory))


def replace_store(directory: Path, header: IndexHeader, fill: Fill | None = None) -> None:
    """Put a new store in the place of one that is there, in one step; else as `create_store`.

    Processes that read the old one keep its content until they refresh;
    writers that have it open get an error at their next step.
    """
    _replace(
        directory, header, lambda old, header: write_content(directory, header, fill, old.rights)
    )


def place(
    building: Path,
    header: IndexHeader,
    columns: Columns,
    directory: Path,
    *,
    overwrite: bool,
    sync: bool = True,
) -> None:
    """Move a store that was built beside its place to where it belongs.

    Parameters
    ----------
    building : Path
        A store on the same file system that nobody else knows of, on the
        disk. If a store is replaced, some of its files are left for the
        caller to remove.
    header : IndexHeader
        What `make_files` was given for it.
    columns : Entries or Contents
        What that returned.
    directory : Path
        Where it is to be.
    overwrite : bool
        Whether a store may be there, which is then replaced as by `replace_store`.
    sync : bool
        Whether to wait for the disk. What is replaced is never lost, so that always waits.

    Raises
    ------
    StoreExistsError
        If anything is there that is not to be replaced.
    """
    try:
        put_in_place(building, directory, taken, sync=sync)
    except StoreExistsError:
        if not overwrite:
            raise
    else:
        return
    # Until both directories are synced, a file that is moved may be in both of them after a power
    # cut. It must not be a file of two stores then, nor have two names when an index names it.
    files.unlink(building / index.FILE_NAME)
    files.sync_directory(building)

    def move(replaced: Content, new_header: IndexHeader) -> Columns:
        rights = replaced.rights
        for old, new in zip(header.files, new_header.files, strict=True):
            with File(building / old) as file:
                file.sync()
            give_rights(building / old, files.stat(building / old), rights[0])
            files.replace(building / old, directory / new)
            rights = rights[-1:]
        files.sync_directory(building)
        return columns

    _replace(directory, header, move)


@whole
def _replace(
    directory: Path, header: IndexHeader, make: Callable[[Content, IndexHeader], Columns]
) -> None:
    session = Session(directory)
    try:
        with session.locked():
            switch_over(session, header, partial(make, session.content))
    finally:
        session.release()


# A store goes over to new files in this order, so that wherever a process is killed or the power
# is cut, all of the old files are in use, or all of the new ones:
#
# 1. What killed processes left is removed, so that the names of the next generation are free.
# 2. The new files are made under these names, and synced. Nobody reads them, as no index names
#    them. If anything fails up to here, they are removed, and nothing was done.
# 3. The directory is synced: the new index must not reach the disk before the files it names.
# 4. The journal announces the next generation. From here on nothing is taken back, since the
#    new index may be in place, and another process may have read it: the next writer looks
#    which index is there, and brings the journal up to that one.
# 5. The new index is written beside the old one, synced, renamed over it, and the directory
#    synced. The rename is the one step from old to new.
# 6. The journal begins anew. Its records are of the old generation, and void since the rename;
#    if this process is killed before, the next writer does this.
# 7. The old files are removed. Readers keep what they have mapped; what cannot be removed, the
#    next writer removes.


def switch_over(session: Session, header: IndexHeader, make: Make) -> None:
    """Let a store have new files, and an index of the next generation. Under the lock.

    Parameters
    ----------
    session : Session
        The store. Notices the new files when it is locked the next time.
    header : IndexHeader
        What the new index says, but for the names of files and the generation.
    make : callable
        Given that header with new names, makes these files, on the disk, and
        returns the columns of the index.
    """
    directory, generation = session.directory, session.header.generation + 1
    mask_file = None if header.mask_file is None else f"mask.{generation}.bin"
    data_file = f"data.{generation}.bin"
    header = replace(header, generation=generation, data_file=data_file, mask_file=mask_file)
    remove_leftovers(directory, session.header)
    try:
        columns = make(header)
        files.sync_directory(directory)
    except BaseException:
        with suppress(OSError):  # the next writer removes them
            remove_leftovers(directory, session.header)
        raise
    try:
        session.put_index(header, columns)
    except BaseException:
        with suppress(OSError, CorruptStoreError):  # the next writer removes them
            if (
                index.Index(directory, checked=False).header.generation < generation
            ):  # none is in place
                remove_leftovers(directory, session.header)
        raise
    session.settle()
    with suppress(OSError):  # the next writer removes them
        remove_leftovers(directory, header)


def write_content(
    directory: Path,
    header: IndexHeader,
    fill: Fill | None,
    like: Sequence[Rights],
    *,
    sync: bool = True,
) -> Columns:
    """Make the data file, and the mask file: holes as long as the rows asked for, and filled."""
    with Content(directory, header, files.MAKE, like) as content:
        content.truncate(header.n_rows)
        columns: Columns = Entries.of() if fill is None else fill(content)
        if sync:
            content.sync()
    return columns
