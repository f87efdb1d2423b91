"""The tree of exceptions: each carries its facts as fields and survives pickling.

::

    StoreError
    ├── StoreExistsError     (FileExistsError)
    ├── StoreNotFoundError   (FileNotFoundError)
    ├── CorruptStoreError    (ValueError)
    ├── OverlapError         (ValueError)
    ├── BadInputError        (TypeError, ValueError)
    ├── UnknownNameError     (KeyError)
    ├── DuplicateNameError   (KeyError)
    ├── ClosedStoreError     (ValueError)
    ├── RemoteError          (OSError)
    │   └── StoreChangedError
    └── TaskError
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class Damage(NamedTuple):
    """One thing that is wrong with a store.

    Attributes
    ----------
    file : str
        Path of the damaged file.
    problem : str
        What was found and what was expected.
    name : str or None
        The array it is about, if it is about one.
    start, end : int or None
        Rows of that array.
    """

    file: str
    problem: str
    name: str | None = None
    start: int | None = None
    end: int | None = None


class StoreError(Exception):
    """Something is wrong with a store, or with what was asked of it.

    Parameters
    ----------
    message : str
        What was found, what was expected and what to do.
    **facts
        The same as data; each becomes an attribute of the exception.

    Examples
    --------
    >>> error = StoreError("no room for 'a' in x.ptr", path="x.ptr", name="a")
    >>> error.name
    'a'
    >>> import pickle
    >>> pickle.loads(pickle.dumps(error)).path
    'x.ptr'
    """

    path: str | None

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.facts = facts
        for fact, value in facts.items():
            setattr(self, fact, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args[0], self.facts)

    # KeyError would print the repr of the message, OSError an errno.
    __str__ = Exception.__str__


def _rebuild(kind: type[StoreError], message: str, facts: dict[str, Any]) -> StoreError:
    return kind(message, **facts)


class StoreExistsError(StoreError, FileExistsError):
    """The path is taken. Fields: ``path``."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """There is no store at the path. Fields: ``path``."""


class CorruptStoreError(StoreError, ValueError):
    """A file of the store is damaged or is not what it claims to be.

    Fields: ``path`` (the file), ``damage`` (what `verify` found, one
    `ptrarray.Damage` for each finding; empty when found by a read).
    """

    path: str
    damage: tuple[Damage, ...] = ()


class OverlapError(StoreError, ValueError):
    """The rows asked for belong to an array, or a living writer claims them.

    Fields: ``path``, ``name``, ``start``, ``end``.
    """

    name: str
    start: int
    end: int


class BadInputError(StoreError, TypeError, ValueError):
    """An array, name, offset or setting that the store cannot take.

    Fields: ``path`` and, where they apply, ``name``, ``found``, ``expected``.
    """

    path: str | None = None
    name: Any = None
    found: Any = None
    expected: Any = None

    def at(self, path: str) -> BadInputError:
        """Return this error with the store named, too."""
        return BadInputError(f"{self} (for {path})", **{**self.facts, "path": path})


class UnknownNameError(StoreError, KeyError):
    """No array has this name. Fields: ``path``, ``name``."""

    name: str


class DuplicateNameError(StoreError, KeyError):
    """Names to be written are there already. Fields: ``path``, ``names``."""

    names: tuple[str, ...]


class ClosedStoreError(StoreError, ValueError):
    """The reader or writer was closed. Fields: ``path``."""


class RemoteError(StoreError, OSError):
    """A server did not give what was asked of it, or not as it was asked.

    Fields: ``path`` (the URL of the file, without anything secret), ``start`` and ``end`` (the bytes
    that were asked for), ``status`` (the status of the answer, or None if there was none).

    Whatever may pass is over by then, or has lasted for long: connections that break off or say
    nothing, and the statuses 408, 425, 429 and from 500 on, are tried again for a minute without a
    new byte (of a server that never answered, for ten seconds), and what is not what was asked for
    (another range, more or fewer bytes, compressed ones, the whole file, no ETag) three times.

    Examples
    --------
    >>> error = RemoteError("no", path="https://host/a.ptr/data.bin", start=0, end=9, status=403)
    >>> error.status, isinstance(error, OSError)
    (403, True)
    """

    start: int
    end: int
    status: int | None = None


class StoreChangedError(RemoteError):
    """What is read from a server was changed, replaced or removed there since it was opened.

    Nothing of what is there now was read. `refresh` opens it. Fields: as `RemoteError`.
    """


class TaskError(StoreError):
    """A task given to `fill` failed.

    Fields: ``path``, ``task`` (its name or argument), ``worker_traceback``.
    """

    task: Any
    worker_traceback: str


@contextmanager
def after(error: BaseException | None, path: str) -> Iterator[None]:
    """Close a store at the end of a ``with`` block, which may have raised an error of its own.

    That one is what the caller has to see: what fails here becomes a note on it.
    """
    try:
        yield
    except (StoreError, OSError) as failure:
        if error is None:
            raise
        error.add_note(f"then {path} could not be closed: {failure}")


def import_extra(module: str, message: str, kind: type[Exception] = ImportError) -> Any:
    """Return an optional library.

    Raises
    ------
    ImportError
        Or an error of another `kind`, if it is not there: the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise kind(message) from error
