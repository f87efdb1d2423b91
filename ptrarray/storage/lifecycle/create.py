"""Making a store: whole and in one step, or not at all."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptrarray.errors import BadInputError, StoreExistsError
from ptrarray.format import journal as journal_format
from ptrarray.format.entries import Entries
from ptrarray.format.index import STORE_ID_NBYTES, IndexHeader
from ptrarray.format.journal import JournalHeader
from ptrarray.format.layouts import Layout
from ptrarray.storage.store import journal
from ptrarray.storage.store.index import write_index
from ptrarray.storage.store.recovery import remove_leftovers
from ptrarray.storage.system import files
from ptrarray.storage.system.files import File
from ptrarray.storage.writing.session import Session

Fill = Callable[[File], Entries]


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
        store_id=secrets.token_bytes(STORE_ID_NBYTES),
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


def create_store(directory: Path, header: IndexHeader, fill: Fill | None = None) -> None:
    """Make a new store, on the disk; it appears at its path all at once.

    Parameters
    ----------
    directory : Path
        Where.
    header : IndexHeader
        Its facts.
    fill : callable, optional
        Given the data file, open and sized, writes the rows of a store that
        is to begin with some, and returns the columns of its index.

    Raises
    ------
    StoreExistsError
        If anything is at the path.
    """
    if files.exists(directory):
        raise exists(directory)
    building = directory.with_name(f".{directory.name}.{secrets.token_hex(8)}.new")
    files.make_directory(building)
    try:
        columns = _write_data(building, header, fill)
        with File(building / journal.FILE_NAME, files.MAKE) as file:
            file.pwrite(journal_format.encode_fresh(fresh_state(header)), 0)
            file.sync()
        write_index(building, header, columns)
        put_in_place(building, directory)
    except BaseException:
        files.remove_tree(building)
        raise
    files.sync_directory(directory.parent)


def put_in_place(building: Path, directory: Path) -> None:
    """Give a store that was made beside its place its name.

    Raises
    ------
    StoreExistsError
        If something is there by now.
    """
    try:
        files.replace(building, directory)
    except OSError as error:
        # Another process was first; a directory with something in it is not replaced.
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise exists(directory) from error
        raise


def exists(directory: Path) -> StoreExistsError:
    """Return the error for a path that is taken."""
    return StoreExistsError(
        f"{directory} exists: open it with append(), or choose another path", path=str(directory)
    )


def replace_store(directory: Path, header: IndexHeader, fill: Fill | None = None) -> None:
    """Put a new store in the place of one that is there, in one step; else as `create_store`.

    Processes that read the old one keep its content until they refresh;
    writers that have it open are told at their next step.
    """
    session = Session(directory)
    try:
        with session.locked():
            header = renamed(header, session.header.generation + 1)
            try:
                columns = _write_data(directory, header, fill)
            except BaseException:
                with suppress(OSError):  # the next writer removes them
                    remove_leftovers(directory, session.header)
                raise
            # The new index must not reach the disk before the file it names.
            files.sync_directory(directory)
            session.announce()
            write_index(directory, header, columns)
            session.settle()
            with suppress(OSError):  # the next writer removes them
                remove_leftovers(directory, header)
    finally:
        session.release()


def renamed(header: IndexHeader, generation: int) -> IndexHeader:
    """Return the header of a generation that has files of its own."""
    mask_file = None if header.mask_file is None else f"mask.{generation}.bin"
    data_file = f"data.{generation}.bin"
    return replace(header, generation=generation, data_file=data_file, mask_file=mask_file)


def fresh_state(header: IndexHeader) -> JournalHeader:
    """Return the header of a journal without records."""
    return JournalHeader(
        store_id=header.store_id,
        boot_id=files.boot_id(),
        generation=header.generation,
        committed_end=journal_format.RECORDS_START,
        synced_end=journal_format.RECORDS_START,
        n_reserved=header.n_reserved,
    )


def _write_data(directory: Path, header: IndexHeader, fill: Fill | None) -> Entries:
    """Make the data file, and the mask file: holes as long as the rows asked for, and filled."""
    layout = header.layout
    wanted = [(header.data_file, layout.width)]
    if header.mask_file is not None:
        wanted.append((header.mask_file, layout.mask_width))
    for name, width in wanted:
        path = directory / name
        files.unlink(path)  # what a killed process may have left
        with File(path, files.MAKE) as file:
            file.truncate(header.n_rows * width)
            file.sync()
    if fill is None:
        return Entries.of()
    with File(directory / header.data_file, files.CHANGE) as file:
        columns = fill(file)
        file.sync()
    return columns
