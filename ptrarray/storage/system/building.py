"""Building beside a place, so that what is built appears there whole, or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EEXIST, ENOTDIR, ENOTEMPTY
from pathlib import Path

from ptrarray.storage.system import files
from ptrarray.storage.system.files import File, Rights

Taken = Callable[[Path], Exception]  # makes the error for a path where there is something


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Hand out a path next to another one, of its file system; remove what is there in the end."""
    building = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        yield building
    finally:
        files.remove_tree(building)


@contextmanager
def new_directory(path: Path, taken: Taken, like: Rights | None = None) -> Iterator[Path]:
    """Hand out an empty directory that appears at `path` when the ``with`` block ends.

    With the rights of `like`, if that is given. If the block, or a process, ends otherwise,
    nothing appears. What is in the directory has to be on the disk before, if a power cut is to
    find it there.

    Raises
    ------
    Exception
        The one that `taken` makes, if there is anything at the path.
    """
    if files.exists(path):
        raise taken(path)
    with beside(path) as building:
        files.make_directory(building, like)
        yield building
        put_in_place(building, path, taken)


def put_in_place(building: Path, path: Path, taken: Taken) -> None:
    """Give a directory that was made beside a path its name, on the disk."""
    try:
        files.replace(building, path)
    except OSError as error:
        # Another process was first; a directory with something in it is not replaced.
        if error.errno in (EEXIST, ENOTDIR, ENOTEMPTY):
            raise taken(path) from error
        raise
    files.sync_directory(path.parent)


@contextmanager
def new_file(path: Path, taken: Taken, *, overwrite: bool = False) -> Iterator[File]:
    """Hand out an empty file that appears at `path`, on the disk, when the ``with`` block ends.

    As `new_directory`; with `overwrite`, in the place of a file that is there, with its rights.
    """
    if files.is_directory(path) or (files.exists(path) and not overwrite):
        raise taken(path)
    with beside(path) as building:
        with File(building, files.MAKE, files.rights(path)) as file:
            yield file
            file.sync()
        _name(building, path, taken, overwrite=overwrite)
    files.sync_directory(path.parent)


@contextmanager
def replacing(path: Path, like: Rights | None = None) -> Iterator[File]:
    """Hand out a new file that takes the place of the one at `path` when the ``with`` block ends.

    Atomically, and on the disk, with its rights; with those of `like` if there is none. It has a
    name of its own, so that what a killed process left is found and not added to.
    """
    new = path.with_name(f"{path.name}.new")
    files.unlink(new)
    with File(new, files.MAKE, files.rights(path) or like) as file:
        yield file
        # The rename must not reach the disk before what it names.
        file.sync()
    files.replace(new, path)
    files.sync_directory(path.parent)


def _name(building: Path, path: Path, taken: Taken, *, overwrite: bool) -> None:
    """Give a file that was made beside a path its name."""
    if not overwrite:
        try:
            files.link(building, path)  # which a rename cannot do: fail if something is there
        except FileExistsError:
            raise taken(path) from None
        except OSError:  # a file system without links
            if files.exists(path):
                raise taken(path) from None
        else:
            return
    files.replace(building, path)
