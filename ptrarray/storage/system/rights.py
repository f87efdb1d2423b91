"""Who may read and write what is made: modes, and rights that are those of another file."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from stat import S_IMODE

Rights = os.stat_result  # what tells the mode, owner and group of a file


def first_mode(like: Rights, mode: int) -> int:
    """Return with which mode to make what gets the rights of another: never more than these allow.

    Whoever opens a file in the moment before it has its own mode may read all that is written later.
    """
    return mode & _without_group(like.st_mode) & S_IMODE(like.st_mode)


def _without_group(mode: int) -> int:
    """Return a mode for another group, which gets no more than everybody."""
    mode = S_IMODE(mode)
    return mode & ~0o70 | (mode & 0o7) << 3


def give_rights(file: str | Path | int, found: Rights, like: Rights) -> None:
    """Give a new file the mode of another, and owner and group where that is allowed.

    A group that is not the same gets no more than everybody. What a file system does not keep
    is left as it is.
    """
    mode = S_IMODE(like.st_mode)
    if (found.st_uid, found.st_gid) != (like.st_uid, like.st_gid) and not _give_owner(file, like):
        mode = _without_group(mode)
    if mode != S_IMODE(found.st_mode):
        with suppress(OSError):
            os.chmod(file, mode)  # noqa: PTH101 which may be a descriptor


def writable(like: Rights) -> Rights:
    """Return the rights of a file for a copy of it, which its owner may write to in any case."""
    return os.stat_result((like.st_mode | 0o200, *like[1:]))


def _give_owner(file: str | Path | int, like: Rights) -> bool:
    """Give a file an owner and a group, or a group only; return whether it has the group now."""
    for owner in (like.st_uid, -1):
        with suppress(OSError):
            os.chown(file, owner, like.st_gid)
            return True
    return False
