"""What is said of a store that is not there, is never at rest, or must not be changed so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ptrarray.errors import (
    BadInputError,
    DuplicateNameError,
    StoreError,
    StoreNotFoundError,
)
from ptrarray.format.index import corrupt
from ptrarray.storage.remote.paths import RemotePath
from ptrarray.storage.store.index import FILE_NAME as INDEX_FILE
from ptrarray.storage.store.journal import FILE_NAME as JOURNAL_FILE
from ptrarray.storage.system import files
from ptrarray.storage.system.parts import why_not

FILE_NAMES = (INDEX_FILE, JOURNAL_FILE)


def never_at_rest(directory: Path) -> StoreError:
    """Return the error for a store that was another one at each look."""
    return StoreError(f"{directory} is replaced again and again", path=str(directory))


def sealed_error(directory: Path | str) -> BadInputError:
    """Return the error for rows that are to be added to a sealed store, or changed in it."""
    return BadInputError(
        f"{directory} is sealed, as one that was closed, joined or linked: its data file may be that of "
        "others, too, so no rows are added to it or changed. Names, metadata and attrs can "
        "be; compact() gives it a data file of its own, which ends this",
        path=str(directory),
        found="sealed",
        expected="a store that grows",
    )


def already_there(names: Sequence[bytes], n_asked: int, path: str) -> DuplicateNameError:
    """Return the error for names that are there already."""
    texts = tuple(name.decode() for name in names)
    some = ", ".join(repr(text)[:80] for text in texts[:3]) + ", …" * (len(texts) > 3)
    return DuplicateNameError(
        f"{len(texts)} of {n_asked} names are in {path} already: {some}; overwrite=True replaces them",
        path=path,
        names=texts,
    )


def not_there(directory: Path) -> StoreError:
    """Return the error for a path where a file of a store was not found, as soon as possible."""
    if isinstance(directory, RemotePath):  # where each look takes a request
        return StoreNotFoundError(f"no store at {directory}", path=str(directory))
    return not_found(directory)


def not_found(directory: Path) -> StoreError:
    """Return the error for a path where a file of a store was not found."""
    is_remote = isinstance(directory, RemotePath)
    if not is_remote and files.is_file(directory):
        return why_not(directory)
    missing = _missing(directory)
    if len(missing) == 1:
        missing = _missing(directory)  # a store may have come, or gone, between two of its files
    if len(missing) == 1:
        return corrupt(str(directory / missing[0]), "is missing")
    why = (
        _nothing_there(directory) if isinstance(directory, RemotePath) else _nothing_here(directory)
    )
    if not missing:
        why = "it has come just now, open it again"
    return StoreNotFoundError(f"no store at {directory}: {why}", path=str(directory))


def _nothing_there(url: RemotePath) -> str:
    if url.name.endswith((".msgpack", ".bin")):
        return f"a store is a folder, and this may be a file of one: open {url.parent}"
    return f"there is no {url / INDEX_FILE}, and no pack of a store"


def _nothing_here(directory: Path) -> str:
    if files.is_directory(directory):
        return f"it is not a store: it has no {' and no '.join(FILE_NAMES)}"
    if files.leads_nowhere(directory):
        return "it is a link that leads nowhere"
    why = "there is no such directory"
    if files.is_directory(directory.parent):
        return why
    return f"{why}, nor the one above it; a URL begins with https:// or the like"


def _missing(directory: Path) -> list[str]:
    return [name for name in FILE_NAMES if not files.is_file(directory / name)]
