"""Shards with their rows mapped: what an open reader of a store of shards stands on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np

from ptrarray.format.index import corrupt
from ptrarray.format.layouts import MIXED
from ptrarray.rows.chained import ChainedRows
from ptrarray.rows.masked import with_mask
from ptrarray.rows.types import AnyRows, Array, Int64s
from ptrarray.storage.shards.marker import is_sharded
from ptrarray.storage.shards.snapshot import ShardedSnapshot, open_shards
from ptrarray.storage.store.opened import Closed, State, load
from ptrarray.storage.store.snapshot import Snapshot, open_snapshot
from ptrarray.storage.system.advice import Source
from ptrarray.storage.system.mapping import Backend, Mode

Ranges = list[tuple[int, int]]


class ShardedState:
    """A state of each shard, and what they are together; as a `State`.

    Attributes
    ----------
    snapshot : ShardedSnapshot
        Names and pointers.
    shards : tuple of State
        Of each shard.
    layout : Layout
        What the arrays are made of.
    is_plain : bool
        Whether an array is nothing but a slice of `rows`.
    data, rows : ndarray or Rows, shape (n_rows, *row_shape)
        The flat array, mapped, without and with its mask.
    """

    def __init__(self, snapshot: ShardedSnapshot, shards: Iterable[State]) -> None:
        self.snapshot = snapshot
        self.shards = tuple(shards)
        self.layout = snapshot.layout
        self.is_plain = self.layout.is_plain
        self.data = _chained([shard.data for shard in self.shards])
        is_masked = self.layout.masked and self.layout.kind != MIXED
        self.rows = with_mask(*self.parts()) if is_masked else self.data
        self._columns: tuple[Int64s, Int64s] | None = None

    def array_at(self, place: int) -> Array:
        """Return the array that the snapshot has located, a view."""
        place, number = divmod(place, len(self.shards))
        return self.shards[number].array_at(place)

    def parts(self) -> tuple[AnyRows, AnyRows]:
        """Return data and mask of the flat array, in a store with masks that is not mixed."""
        return self.data, _chained([shard.parts()[1] for shard in self.shards])

    @cached_property
    def sources(self) -> list[Source]:
        """The files that arrays are read from, to tell the system what comes."""
        return [
            source._replace(first_row=first_row)
            for shard, first_row in zip(self.shards, self.snapshot.first_rows, strict=False)
            for source in shard.sources
        ]

    def columns(self) -> tuple[Int64s, Int64s]:
        """Return starts and ends of all arrays, made sure once to lie in the flat array."""
        if self._columns is None:
            starts, ends = [], []
            for shard, first_row in zip(self.shards, self.snapshot.first_rows, strict=False):
                local = shard.columns()
                starts.append(local[0] + first_row)
                ends.append(local[1] + first_row)
            self._columns = np.concatenate(starts), np.concatenate(ends)
        return self._columns


def _chained(parts: Sequence[AnyRows]) -> AnyRows:
    return parts[0] if len(parts) == 1 else ChainedRows(parts)


def open_state(directory: Path, mode: Mode, backend: Backend = "mmap") -> State | ShardedState:
    """Open a store or a store of shards for reading."""
    if is_sharded(directory):
        return _load_shards(open_shards(directory, backend), mode, ())
    return load(open_snapshot(directory, backend), mode)


def open_any(directory: Path) -> Snapshot | ShardedSnapshot:
    """Read the names and pointers of a store or a store of shards."""
    return open_shards(directory) if is_sharded(directory) else open_snapshot(directory)


def refreshed(state: State | ShardedState | Closed, mode: Mode) -> State | ShardedState:
    """Return what the store is now."""
    if not isinstance(state, ShardedState):
        return load(state.snapshot.refreshed(), mode, state)
    snapshot = state.snapshot.refreshed()
    if snapshot is state.snapshot:
        return state
    is_same = snapshot.marker is state.snapshot.marker
    return _load_shards(snapshot, mode, state.shards if is_same else ())


def load_any(
    snapshot: Snapshot | ShardedSnapshot, mode: Mode, previous: State | ShardedState | None
) -> State | ShardedState:
    """Map the rows of a snapshot, or go on with the mapping of the previous state."""
    if isinstance(snapshot, ShardedSnapshot):
        known = previous.shards if isinstance(previous, ShardedState) else ()
        return _load_shards(snapshot, mode, known)
    return load(snapshot, mode, previous if isinstance(previous, State) else None)


def _load_shards(snapshot: ShardedSnapshot, mode: Mode, known: Sequence[State]) -> ShardedState:
    """Map the rows of all shards; of a later snapshot where a data file was replaced meanwhile."""
    while True:
        with suppress(FileNotFoundError):  # the store was replaced
            states = [
                _load_shard(shard, mode, known[number] if number < len(known) else None)
                for number, shard in enumerate(snapshot.shards)
            ]
            if all(
                state.snapshot is shard
                for state, shard in zip(states, snapshot.shards, strict=True)
            ):
                return ShardedState(snapshot, states)
            known = states
        later = snapshot.refreshed()
        if later is snapshot:
            raise corrupt(str(snapshot.directory), "has a shard without its data file")
        snapshot = later


def _load_shard(shard: Snapshot, mode: Mode, previous: State | None) -> State:
    if previous is not None and previous.snapshot is shard:
        return previous
    return load(shard, mode, previous)


def parts_of(state: State | ShardedState | Closed) -> tuple[State, ...]:
    """Return the states of the stores that a state is of."""
    match state:
        case ShardedState():
            return state.shards
        case State():
            return (state,)
    return (state.shards,)  # raises that it was closed


def divided(state: State | ShardedState | Closed, ranges: Ranges) -> list[tuple[State, Ranges]]:
    """Return which ranges of rows lie in each of the stores that a state is of."""
    parts = []
    first = 0
    for part in parts_of(state):
        last = first + part.snapshot.n_rows
        inside = [
            (max(start, first) - first, min(end, last) - first)
            for start, end in ranges
            if start < last and first < end
        ]
        if inside:
            parts.append((part, inside))
        first = last
    return parts
