"""What is found in a file, before anybody knows whether a store takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ptrarray.rows.types import Array, Int64s


class Member(NamedTuple):
    """A value in a file that was not read yet.

    Attributes
    ----------
    key : str
        What it is called there; empty if the file is one value.
    load : callable
        Reads it.
    meta : dict
        Metadata that the file has for it.
    to_attrs : bool
        Whether what is no array, and attrs can hold, goes there.
    """

    key: str
    load: Callable[[], Any]
    meta: Mapping[str, Any] = {}
    to_attrs: bool = False


class Many(NamedTuple):
    """Many arrays of a file that lie end to end; their memory is good until the next one is found.

    Attributes
    ----------
    keys : sequence of str
        What they are called there.
    values : ndarray, shape (n, *row_shape)
        Rows of all.
    offsets : ndarray of int64, one more than keys
        Array ``i`` is ``values[offsets[i]:offsets[i + 1]]``.
    metas : sequence of mappings
        Metadata of each; none at all if it is empty.
    """

    keys: Sequence[str]
    values: Array
    offsets: Int64s
    metas: Sequence[Mapping[str, Any]] = ()


class Refused(NamedTuple):
    """One value of a file that is not for a store."""

    key: str
    problem: str


class Noted(NamedTuple):
    """Something in a file that a store does not keep, or not as it is meant.

    Attributes
    ----------
    key : str
        What is called so in the file.
    about : str
        What it is, in the plural, so that a report can count those of all files.
    """

    key: str
    about: str


Found = Member | Many | Refused | Noted


class Kind(NamedTuple):
    """A kind of file.

    Attributes
    ----------
    members : callable
        Yields what is in a file, given its path, and a part of it if there are parts; importable
        in a worker.
    suffixes : tuple of str
        That such files have.
    many : bool
        Whether a file holds many values with names of their own.
    parts : callable, optional
        Given a path, returns what the file can be cut into, each to be read by any process; they
        travel by pickle. It must be quick, and may raise: then ``members`` gets no part, and
        says what is wrong.
    is_one : callable, optional
        Given the path of a folder, tells whether that is one file of this kind.
    beside : tuple of str
        Suffixes of files that are read where those say so, and not by themselves.
    """

    members: Callable[..., Iterator[Found]]
    suffixes: tuple[str, ...]
    many: bool = False
    parts: Callable[[str], Iterable[Any]] | None = None
    is_one: Callable[[str], bool] | None = None
    beside: tuple[str, ...] = ()
