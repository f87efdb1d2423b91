"""Building beside a place, so that what is built appears there whole, or not at all.

What is being built is locked, and the lock goes with the process. So whoever builds beside the
same place later finds out what others have left that were killed, or whose power was cut, and
removes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EEXIST, ELOOP, ENOENT, ENOTDIR, ENOTEMPTY
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

from ptrarray.errors import StoreError
from ptrarray.storage.system import files
from ptrarray.storage.system.files import File, SyncError
from ptrarray.storage.system.lock import is_locked_by_others, try_lock_whole
from ptrarray.storage.system.rights import Rights

_ATTEMPTS = 100

Taken = Callable[[Path], Exception]  # makes the error for a path where there is something


def beside(path: Path) -> Path:
    """Return a new path next to another one, of its file system."""
    return path.with_name(f".{path.name}.{files.random_bytes(8).hex()}.new")


@contextmanager
def _built_beside(path: Path, make: Callable[[Path], File]) -> Iterator[tuple[Path, File]]:
    """Hand out what `make` makes next to a path, locked; remove what is there in the end.

    And before, what others have left there. What fails meanwhile names the path itself.
    """
    _remove_leftovers(path)
    building, file = _locked(path, make)
    try:
        with file:
            yield building, file
    except Exception as error:
        _put_name(error, building, path)
        raise
    finally:
        files.remove_tree(building)


def _locked(path: Path, make: Callable[[Path], File]) -> tuple[Path, File]:
    """Make something next to a path and lock it; anew if it was taken for a leftover before that."""
    n_left = _ATTEMPTS
    while True:
        n_left -= 1
        building = beside(path)  # no name is used twice
        try:
            file = make(building)
            # Without locks, nobody can tell what is a leftover. Who waited for one could wait for
            # ever, as everybody who may open what was made can lock it first.
            is_ours = not is_locked_by_others(file) and files.exists(building)
            if is_ours or not n_left:
                return building, file
            file.close()
            files.remove_tree(building)
        except Exception as error:
            files.remove_tree(building)
            is_removed = isinstance(error, FileNotFoundError) and files.is_directory(path.parent)
            if not is_removed or not n_left:
                _put_name(error, building, path)
                raise


def _remove_leftovers(path: Path, but: str = "") -> None:
    """Remove what was being built beside a path by processes that have died."""
    remove_leftovers_in(path.parent, re.escape(path.name), but)


def remove_leftovers_in(directory: Path, names: str, but: str = "") -> None:
    """Remove what was being built in a directory by processes that have died, by a pattern of names."""
    name = re.compile(rf"\.{names}\.[0-9a-f]{{16}}\.new")
    with suppress(OSError):  # a directory that cannot be listed
        for found in filter(name.fullmatch, files.list_directory(directory)):
            with suppress(OSError, StoreError):  # gone by now, or not ours
                if found != but:
                    _remove_unlocked(directory / found)


def _remove_unlocked(path: Path) -> None:
    flags = files.READ | (os.O_DIRECTORY if files.is_directory(path) else 0)
    with File(path, flags) as file, File(path, flags) as other:
        # Where two can have the lock, locks say nothing.
        if try_lock_whole(file) and not try_lock_whole(other):
            files.remove_tree(path)


def _put_name(error: Exception, building: Path, path: Path) -> None:
    """Have an error name the path that was asked for, not where it is being built."""

    def named(value: Any) -> Any:
        return value.replace(str(building), str(path)) if isinstance(value, str) else value

    error.args = tuple(map(named, error.args))
    if isinstance(error, OSError):
        error.filename = named(error.filename)
    if isinstance(error, StoreError):
        error.facts = {fact: named(value) for fact, value in error.facts.items()}
        vars(error).update(error.facts)


@contextmanager
def directory_beside(path: Path, like: Rights | None = None) -> Iterator[Path]:
    """Hand out an empty directory next to a path, locked; remove what is there in the end.

    With the rights of `like`, if that is given.
    """

    def make(building: Path) -> File:
        files.make_directory(building, like)
        return File(building, files.READ | os.O_DIRECTORY)

    with _built_beside(path, make) as (building, _):
        yield building


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
    with directory_beside(path, like) as building:
        yield building
        put_in_place(building, path, taken)


@contextmanager
def resumed(
    path: Path, purpose: bytes, taken: Taken, busy: Taken, *, keep: bool
) -> Iterator[tuple[Path, Path]]:
    """Hand out where to build next to a path, and to note what is there: both outlive the process.

    What is built has to be put in its place inside of the ``with`` block. The next one for the
    same path and purpose finds what it has left, if there are notes, and it is this user's alone.
    Whoever builds something else beside the path removes it.

    Parameters
    ----------
    path : Path
        Where nothing is yet.
    purpose : bytes of length 8
        What it is for.
    taken, busy : callable
        Make the error for a path where there is something; and where another process builds.
    keep : bool
        Whether to begin with what is there, and to leave it where the block fails.

    Yields
    ------
    building, notes : Path
        Where a file or directory is to be made; and a file with notes.
    """
    if files.exists(path):
        raise taken(path)
    directory = path.with_name(f".{path.name}.{purpose.hex()}.new")
    building, notes = directory / path.name, directory / "notes"
    _remove_leftovers(path, directory.name if keep else "")
    try:
        with _locked_again(directory, lambda: busy(path)):
            is_done = False
            try:
                if files.exists(path):  # by whoever had the lock before
                    raise taken(path)
                yield building, notes
                is_done = True
            finally:
                if is_done or not keep or not files.exists(notes):
                    files.remove_tree(directory)
    except Exception as error:
        _put_name(error, building, path)
        _put_name(error, directory, path)
        raise


def _locked_again(directory: Path, busy: Callable[[], Exception]) -> File:
    """Make a directory if it is not there, and lock it; anew if what is there was not made so."""
    for _ in range(_ATTEMPTS):
        is_made = False
        with suppress(FileExistsError):
            files.make_directory(directory)
            is_made = True
        with suppress(FileNotFoundError):  # another process was done with it just now
            file = _locked_there(directory, busy)
            if file is not None and (is_made or _is_own(directory)):
                return file
            # It may lead elsewhere, or have files that are somewhere else, too.
            files.remove_tree(directory)
            if file is not None:
                file.close()
    what = "is another user's, or has links, and cannot be removed: remove it"
    raise StoreError(f"{directory.name} in {directory.parent} {what}", path=str(directory))


def _locked_there(directory: Path, busy: Callable[[], Exception]) -> File | None:
    """Open and lock a directory; returns None if there is something else."""
    try:
        file = File(directory, files.DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in (ELOOP, ENOTDIR):
            return None
        raise
    try:
        if is_locked_by_others(file):
            raise busy()
        if os.path.samestat(file.stat(), os.lstat(directory)):
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    raise FileNotFoundError(ENOENT, "it was replaced", str(directory))


def _is_own(path: Path) -> bool:
    """Tell whether what is at a path, and all that is in it, is this user's and nowhere else.

    So what is written there changes nothing else: there are no links, and no second names of files.
    """
    found = os.lstat(path)
    if found.st_uid != os.geteuid():
        return False
    if S_ISDIR(found.st_mode):
        return all(_is_own(path / name) for name in files.list_directory(path))
    return S_ISREG(found.st_mode) and found.st_nlink == 1


def put_in_place(building: Path, path: Path, taken: Taken, *, sync: bool = True) -> None:
    """Give what was made beside a path its name, on the disk with `sync`."""
    try:
        if files.is_directory(building):
            files.replace(building, path)
        else:
            _name(building, path, taken, overwrite=False)
    except OSError as error:
        # Another process was first; a directory with something in it is not replaced.
        if error.errno in (EEXIST, ENOTDIR, ENOTEMPTY):
            raise taken(path) from error
        raise
    if sync:
        files.sync_directory(path.parent)


@contextmanager
def new_file(
    path: Path,
    taken: Taken,
    *,
    overwrite: bool = False,
    sync: bool = True,
    like: Rights | None = None,
) -> Iterator[File]:
    """Hand out an empty file that appears at `path`, on the disk, when the ``with`` block ends.

    As `new_directory`; with `overwrite`, in the place of a file that is there, with its rights.
    With those of `like`, if that is given, where there is none.
    Without `sync` this waits for no disk, unless it replaces a file, which a power cut must not take.
    """
    if files.is_directory(path) or files.is_special(path) or (files.exists(path) and not overwrite):
        raise taken(path)
    rights = files.rights(path)
    sync = sync or rights is not None
    with _built_beside(path, lambda building: File(building, files.MAKE, rights or like)) as built:
        building, file = built
        yield file
        if sync:
            file.sync()
        _name(building, path, taken, overwrite=overwrite)
    if sync:
        files.sync_directory(path.parent)


@contextmanager
def replacing(path: Path, like: Rights | None = None, *, sync: bool = True) -> Iterator[File]:
    """Hand out a new file that takes the place of the one at `path` when the ``with`` block ends.

    Atomically, and on the disk, with its rights; with those of `like` if there is none. It has a
    name of its own, so that what a killed process left is found and not added to. Without `sync`
    this does not wait for the disk: for a file that nobody knows yet.
    """
    new = path.with_name(f"{path.name}.new")
    files.unlink(new)
    try:
        with File(new, files.MAKE, files.rights(path) or like) as file:
            yield file
            # The rename must not reach the disk before what it names.
            try:
                if sync:
                    file.sync()
            except SyncError as error:  # of a file that nobody knows: nothing that counts is lost
                raise OSError(error.errno, error.strerror, error.filename) from error
    except BaseException:
        with suppress(OSError):  # on a full disk, what could not be written takes room
            files.unlink(new)
        raise
    files.replace(new, path)
    if sync:
        files.sync_directory(path.parent)


def nameless(path: Path) -> File:
    """Make a file that goes when it is closed; it has a name, this one, for a moment only.

    Which is why nobody else may open it, whoever may read the files that it has something of.
    """
    files.unlink(path)
    file = File(path, files.MAKE, mode=0o600)
    try:
        files.unlink(path)
    except BaseException:
        file.close()
        raise
    return file


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


def remove_in_one_step(path: Path) -> None:
    """Remove a directory with all that is in it, in one step for whoever has it open."""
    doomed = beside(path)
    try:
        files.replace(path, doomed)
    except OSError:  # it is mounted there, or in a lower layer of an overlay
        doomed = path
    files.remove_tree(doomed)
