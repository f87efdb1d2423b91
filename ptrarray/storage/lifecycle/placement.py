"""Putting a finished store in its place, or in that of another one, in one step."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ptrarray.errors import StoreExistsError
from ptrarray.storage.lifecycle.create import put_in_place, renamed
from ptrarray.storage.store.index import write_index
from ptrarray.storage.store.recovery import remove_leftovers
from ptrarray.storage.store.snapshot import open_snapshot
from ptrarray.storage.system import files
from ptrarray.storage.writing.session import Session


def place(building: Path, directory: Path, *, replace: bool) -> None:
    """Move a store that was built beside its place to where it belongs.

    Parameters
    ----------
    building : Path
        A store on the same file system that nobody else knows of, on the
        disk. If a store is replaced, some of its files are left for the
        caller to remove.
    directory : Path
        Where it is to be.
    replace : bool
        Whether a store may be there, which is then replaced: processes that
        read it keep its content until they refresh.

    Raises
    ------
    StoreExistsError
        If anything is there that is not to be replaced.
    """
    try:
        put_in_place(building, directory)
    except StoreExistsError:
        if not replace:
            raise
        _replace(building, directory)
    else:
        files.sync_directory(directory.parent)


def _replace(building: Path, directory: Path) -> None:
    snapshot = open_snapshot(building)
    session = Session(directory)
    try:
        with session.locked():
            header = renamed(snapshot.header, session.header.generation + 1)
            moves = [(snapshot.header.data_file, header.data_file)]
            if snapshot.header.mask_file is not None and header.mask_file is not None:
                moves.append((snapshot.header.mask_file, header.mask_file))
            try:
                for old, new in moves:
                    files.replace(building / old, directory / new)
                # The new index must not reach the disk before the files it names.
                files.sync_directory(directory)
            except BaseException:
                for _, new in moves:
                    files.unlink(directory / new)
                raise
            session.announce()
            write_index(directory, header, snapshot.overlay.folded())
            session.settle()
            with suppress(OSError):  # the next writer removes them
                remove_leftovers(directory, header)
    finally:
        session.release()
