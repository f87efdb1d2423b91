"""Checking a store of shards: each shard, and that none has a name of another."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ptrarray.errors import CorruptStoreError
from ptrarray.names import hash_all
from ptrarray.storage.sharded_snapshot import ShardedSnapshot
from ptrarray.storage.sharded_state import ShardedState
from ptrarray.storage.state import Closed, State
from ptrarray.storage.verify import Damage, check, damaged


def check_any(state: State | ShardedState | Closed, *, progress: bool = False) -> None:
    """Check all of a store, and raise `CorruptStoreError` with all the damage there is."""
    if not isinstance(state, ShardedState):
        check(state, progress=progress)
        return
    damage: list[Damage] = []
    for shard in state.shards:
        try:
            check(shard, progress=progress)
        except CorruptStoreError as error:
            damage += error.damage
    if not damage:
        damage.extend(_doubled(state.snapshot))
    if damage:
        raise damaged(str(state.snapshot.directory), damage)


def _doubled(snapshot: ShardedSnapshot) -> Iterator[Damage]:
    """Find names that are in several shards, though none of them was replaced."""
    hashes = [np.frombuffer(hash_all(shard.names()), np.uint32) for shard in snapshot.shards]
    unique, counts = np.unique(np.concatenate(hashes), return_counts=True)
    doubtful = unique[counts > 1]
    for number, shard in enumerate(snapshot.shards):
        for position in np.flatnonzero(np.isin(hashes[number], doubtful)).tolist():
            name = shard.name(position)
            newest = snapshot.number_of(name)
            if newest != number:
                start, end = shard.pointer_at(shard.located(position))
                text = name.decode(errors="backslashreplace")
                problem = (
                    f"has array {text!r:.80}, which is in {snapshot.shards[newest].directory}, too"
                )
                yield Damage(str(shard.directory), problem, text, start, end)
