"""Groups of arrays that wait to be committed together."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy.typing as npt

from ptrarray.errors import BadInputError, DuplicateNameError
from ptrarray.format.helpers import Helper
from ptrarray.writer import PointerArrayWriter, keep_helpers, store_of

Value = TypeVar("Value")

BATCH_NBYTES = 1 << 24
_BATCH_GROUPS = 1 << 12
# A batch goes to one shard whole. By such a part of one, shards come out even.
_SHARD_PART = 8


class Group(NamedTuple):
    """Arrays that are committed together or not at all.

    Attributes
    ----------
    label : object
        What the caller calls them.
    arrays : mapping from str to ndarray
        By name.
    metas : mapping from str to mapping
        Metadata of some of them.
    helpers : mapping from str to Helper
        Helper arrays that they need.
    """

    label: Any
    arrays: Mapping[str, npt.NDArray[Any]]
    metas: Mapping[str, Mapping[str, Any]] = {}
    helpers: Mapping[str, Helper] = {}

    @property
    def nbytes(self) -> int:
        """Bytes in all."""
        return _nbytes_of(self.arrays)


def _nbytes_of(arrays: Mapping[str, npt.NDArray[Any]]) -> int:
    return sum([array.nbytes for array in arrays.values()])  # a list is faster than a generator


def _merged(parts: Iterable[Mapping[str, Value]]) -> dict[str, Value]:
    merged: dict[str, Value] = {}
    for part in parts:
        if part:  # many have no helpers, or metadata
            merged.update(part)
    return merged


def _raise(_: Group, error: Exception) -> None:
    raise error


class Batches:
    """Commits groups of arrays many at a time; if a batch is refused, group by group.

    Parameters
    ----------
    writer : PointerArrayWriter
        Of the store.
    refused : callable, optional
        Called with each group that is refused, and the error; without it, the error is raised.
    errors : tuple of exception types
        What counts as refused; anything else ends the call.
    without : callable, optional
        Given a group and names that are in the store already, returns what is left of it to be
        written, None if that is nothing, or the group itself if it is refused for them.
    limit_nbytes : int, optional
        Groups wait until they have so many bytes, or fewer if shards are small.

    Attributes
    ----------
    limit_nbytes : int
        That of this store; a larger group is committed at once.
    n_groups, n_arrays, nbytes : int
        Committed so far.
    """

    def __init__(
        self,
        writer: PointerArrayWriter,
        refused: Callable[[Group, Exception], object] = _raise,
        *,
        errors: tuple[type[Exception], ...] = (BadInputError, DuplicateNameError),
        without: Callable[[Group, Container[str]], Group | None] = lambda group, there: group,
        limit_nbytes: int | None = None,
    ) -> None:
        self._writer = writer
        store_of(writer).expect_flush()  # every job ends with one
        self._refused = refused
        self._errors = errors
        self._without = without
        self._waiting: list[Group] = []
        self._names: set[str] = set()
        self._waiting_nbytes = 0
        limit_nbytes = BATCH_NBYTES if limit_nbytes is None else limit_nbytes
        shard_nbytes = store_of(writer).limit_nbytes or limit_nbytes * _SHARD_PART
        self.limit_nbytes = min(limit_nbytes, shard_nbytes // _SHARD_PART)
        self.n_groups = self.n_arrays = self.nbytes = 0

    def add(self, group: Group) -> None:
        """Take a group; write what waits before if it is enough or has one of its names."""
        nbytes = group.nbytes
        is_full = self._waiting_nbytes + nbytes > self.limit_nbytes
        if (
            is_full
            or len(self._waiting) == _BATCH_GROUPS
            or not self._names.isdisjoint(group.arrays)
        ):
            self.write()
        self._waiting.append(group)
        self._names.update(group.arrays)
        self._waiting_nbytes += nbytes
        if nbytes > self.limit_nbytes:
            self.write()

    def write(self) -> None:
        """Commit what waits; if that is refused, group by group to find out which one it is."""
        waiting, self._waiting = self._waiting, []
        self._names, self._waiting_nbytes = set(), 0
        try:
            self._commit(waiting)
            return
        except self._errors as error:
            if len(waiting) == 1:
                self._refused(waiting[0], error)
                return
        for group in waiting:
            try:
                self._commit([group])
            except self._errors as error:
                self._refused(group, error)

    def _commit(self, groups: list[Group]) -> None:
        """Commit groups, less what `without` takes out of the list."""
        keep_helpers(self._writer, _merged(group.helpers for group in groups))
        while groups:
            arrays = _merged(group.arrays for group in groups)
            metas = _merged(group.metas for group in groups)
            try:
                self._writer.write(arrays, meta=metas or None)
            except DuplicateNameError as error:
                there = frozenset(error.names)
                left = [self._without(group, there) for group in groups]
                if all(now is group for now, group in zip(left, groups, strict=True)):
                    raise
                groups[:] = [group for group in left if group is not None]
            else:
                self.n_groups += len(groups)
                self.n_arrays += len(arrays)
                self.nbytes += _nbytes_of(arrays)
                return
