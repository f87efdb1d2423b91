"""The model of a disk, `power`, measured against a real one: does it know each state that is found?

A workload is recorded twice at once: at the seam of I/O, as the model takes it, and on the disk. What
a power cut has left there is looked for among the states that the model gives for the same moment.
"""

from __future__ import annotations

import os
import random
from bisect import bisect_right
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from ptrarray.storage.system import files
from ptrarray.storage.system.files import File
from tests.support.crash_workloads import WORKLOADS, allocate, masked_large
from tests.support.disk import (
    BLOCK_NBYTES,
    ROOT,
    SECTOR_NBYTES,
    Disk,
    Op,
    Resize,
    Sync,
    Write,
    read_tree,
)
from tests.support.disk_trials import OnDisk, Trial
from tests.support.power import home
from tests.support.recorder import Counter
from tests.support.recording import record
from tests.support.shards_unflushed import filled_late
from tests.support.shards_workloads import (
    WORKLOADS as SHARDS_WORKLOADS,
)
from tests.support.shards_workloads import (
    fill_what_others_replace,
    fill_while_others_roll_over,
)
from tests.support.story import Story, Tree, Workload, booted, repeatable

MOST_NAME_OPS = 12  # pending ones of a folder, of which all subsets are tried


@dataclass
class Both:
    """What a workload did at the seam, and how long the record of the disk was after each step.

    Attributes
    ----------
    before : Disk
        What was there.
    log : list of Op
        What was done.
    at : list of int
        How many records the disk had when each was done; when it had returned, of a sync.
    """

    before: Disk
    roles: dict[int, str]
    log: list[Op]
    at: list[int]


class _Marked(list[Op]):
    """A log that notes how long the record of the disk is."""

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self._counter = counter
        self.at: list[int] = []

    def append(self, op: Op) -> None:
        super().append(op)
        self.at.append(self._counter.n)

    def returned(self) -> None:
        """Note that the last, a sync, has returned."""
        self.at[-1] = self._counter.n


class MeasuredTrial(Trial):
    """A workload of the model, of which it is asked whether the model knows what is left."""

    def __init__(self, name: str, workload: Workload) -> None:
        super().__init__(name)
        self._workload = workload

    def tell(self, story: Story, rng: random.Random) -> None:
        recording = story.recording
        assert isinstance(recording, OnDisk)
        assert recording.counter is not None
        tell = partial(told_both, self._workload, story.path.parent, recording.counter)
        recording.kept = story.commit(tell, None)

    def allowed(self, story: Story, cut: int) -> Hashable:
        return cut

    def problem(self, root: Path, story: Story, cut: int, goes_on: int | None) -> str | None:
        assert isinstance(story.recording, OnDisk)
        return unknown(story.recording.kept, cut, read_tree(root))


def told_both(workload: Workload, root: Path, counter: Counter) -> Both:
    """Do what a workload does, with all syncs, on a disk."""
    real_sync = File.sync
    with booted(1), repeatable(), record(root) as recording, pytest.MonkeyPatch.context() as patch:
        log = _Marked(counter)
        recording.log = log
        note_sync, note_directory = File.sync, files.sync_directory

        def sync(self: File) -> None:
            note_sync(self)
            real_sync(self)
            log.returned()

        def sync_directory(path: str | Path) -> None:
            note_directory(path)
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
            log.returned()

        patch.setattr(File, "sync", sync)
        patch.setattr(files, "sync_directory", sync_directory)
        workload(Story(recording))
    return Both(recording.before, recording.roles, [*log], log.at)


def unknown(both: Both, cut: int, tree: Tree) -> str | None:
    """Say what the model does not know of a state that was found; None if it knows it.

    Parameters
    ----------
    both : Both
        What was done.
    cut : int
        How many records the disk had at the power cut.
    tree : Tree
        What was found.
    """
    return _States(both, cut).unknown(ROOT, "", tree)


class _States:
    """All states that the model gives for a moment.

    Of a file, each byte that no pending operation touches is as it was at the last sync; a write
    may have left anything where it was. Of a folder, each pending name may have changed or not.
    """

    def __init__(self, both: Both, cut: int) -> None:
        # What was under way may have been done: one operation, or the two of a move.
        n_done = bisect_right(both.at, cut)
        self._disk, self._roles = both.before.copy(), both.roles
        self._pending: dict[int, list[Op]] = {}
        for number, op in enumerate(both.log[: n_done + 2]):
            if not isinstance(op, Sync):
                self._pending.setdefault(home(op), []).append(op)
            elif number < n_done:
                for done in self._pending.pop(op.node, []):
                    self._disk.apply(done)

    def unknown(self, folder: int, prefix: str, tree: Tree) -> str | None:
        here = {path.removeprefix(prefix) for path in tree if path.startswith(prefix)}
        found = {name for name in here if "/" not in name}
        problems = [
            self._unknown_below(names, prefix, tree)
            for names in self._names(folder)
            if names.keys() == found
        ]
        if not problems:
            return f"names {sorted(found)} in {prefix or 'the folder'}"
        return None if None in problems else problems[0]

    def _names(self, folder: int) -> Iterator[dict[str, int]]:
        pending = self._pending.get(folder, [])[-MOST_NAME_OPS:]
        certain = self._pending.get(folder, [])[:-MOST_NAME_OPS]
        for are_kept in product((True, False), repeat=len(pending)):
            disk = Disk()
            disk.names[folder] = dict(self._disk.names[folder])
            for op, is_kept in [
                *((op, True) for op in certain),
                *zip(pending, are_kept, strict=True),
            ]:
                if is_kept:
                    disk.apply(op)
            yield disk.names[folder]

    def _unknown_below(self, names: dict[str, int], prefix: str, tree: Tree) -> str | None:
        for name, node in names.items():
            raw = tree[prefix + name]
            if (raw is None) != (node in self._disk.names):
                return f"{prefix}{name} is no file, or is one"
            problem = (
                self.unknown(node, f"{prefix}{name}/", tree)
                if raw is None
                else self._unknown_file(node, raw)
            )
            if problem:
                return problem if raw is None else f"{prefix}{name}: {problem}"
        return None

    def _unknown_file(self, node: int, raw: bytes) -> str | None:
        durable, pending = self._disk.bytes[node], self._pending.get(node, [])
        sizes, touched = {len(durable)}, bytearray(max(len(raw), len(durable)))
        for op in pending:
            sizes |= {size for before in sizes for size in _sizes(op, before)}
            start, end = _reach(
                op, len(touched), is_journal=self._roles[node].startswith("journal")
            )
            touched[start:end] = b"\1" * max(0, min(end, len(touched)) - start)
        if len(raw) not in sizes:
            return f"{len(raw)} bytes, not {sorted(sizes)}"
        known = bytes(durable).ljust(len(raw), b"\0")
        wrong = [at for at, byte in enumerate(raw) if byte != known[at] and not touched[at]]
        return f"bytes {wrong[0]} to {wrong[-1]} were not written" if wrong else None


def _sizes(op: Op, before: int) -> set[int]:
    """Return the sizes that an operation may leave of a file."""
    if isinstance(op, Resize):
        after = max(before, op.nbytes) if op.grows_only else op.nbytes
        return {after, min(after, -(-before // BLOCK_NBYTES) * BLOCK_NBYTES)}  # whole, or in part
    assert isinstance(op, Write)
    end = op.start + len(op.raw)
    torn = range(-(-max(before, op.start) // SECTOR_NBYTES) * SECTOR_NBYTES, end, SECTOR_NBYTES)
    return {max(before, end), *torn}


def _reach(op: Op, nbytes: int, *, is_journal: bool) -> tuple[int, int]:
    """Return the bytes that an operation may leave as anything."""
    if isinstance(op, Resize):
        return min(op.nbytes, nbytes), nbytes
    assert isinstance(op, Write)
    start, end = op.start, op.start + len(op.raw)
    if is_journal and end <= 2 * BLOCK_NBYTES:
        return start // BLOCK_NBYTES * BLOCK_NBYTES, -(-end // BLOCK_NBYTES) * BLOCK_NBYTES
    return start, end


# What is written to a mapping comes to the log later than it may come to the disk.
_MAPPED = (
    allocate,
    masked_large,
    filled_late,
    fill_what_others_replace,
    fill_while_others_roll_over,
)
MEASURED = {
    f"{prefix}{workload.__name__}": MeasuredTrial(f"{prefix}{workload.__name__}", workload)
    for prefix, workloads in (("", WORKLOADS), ("shards-", SHARDS_WORKLOADS))
    for workload in workloads
    if workload not in _MAPPED
}
