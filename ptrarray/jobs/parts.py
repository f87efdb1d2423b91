"""Chunks of tasks whose arrays go to a part of the store: one of this machine, or of this worker.

An engine may lose a worker with the answers that it has given, and run its tasks again, elsewhere or
in the same part, while the first copy is still at it. So a task is done when a part has its
arrays, whoever wrote them, and a copy of it that comes later has nothing to write.
"""

from __future__ import annotations

import platform
import re
import secrets
from collections.abc import Container, Mapping
from contextlib import suppress
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ptrarray.errors import DuplicateNameError, StoreExistsError, StoreNotFoundError
from ptrarray.format.layouts import Layout
from ptrarray.jobs.batches import BATCH_NBYTES, Batches, Group
from ptrarray.jobs.worker import JOURNAL_NBYTES, FillJob, Report, Task, compute, fail, without
from ptrarray.joining import part, part_path
from ptrarray.reader import PointerArray, open_readable
from ptrarray.storage.system import files
from ptrarray.writer import PointerArrayWriter, append, close_leaving, store_of

Each = Literal["host", "worker"]

KEY = "fill-"  # what the keys of these parts begin with


class PartJob(NamedTuple):
    """The job of `fill` in parts: call a function for each task, and write to a part of its own.

    Attributes
    ----------
    job : FillJob
        Of the store that the parts are of.
    named : bool
        Whether each task has the name of its array. Then a name that a part has is that of a task
        which was done, whatever its array is.
    run_id : str
        Part of the keys of all parts of a run: no run writes to the parts of another one.
    each : {'host', 'worker'}
        Whose the parts are.
    settings : mapping
        What parts are made with.
    home : bytes
        Boot id of the machine that will join the parts.
    """

    job: FillJob
    named: bool
    run_id: str
    each: Each
    settings: Mapping[str, Any]
    home: bytes

    @property
    def path(self) -> str:
        """The store."""
        return self.job.path

    def run(self, chunk: list[Task]) -> Report:
        """Compute the arrays of a chunk and write them to the part, up to the first that fails."""
        key = self.key()
        waiting = _PartBatches(self, key)
        report = compute(self.job.function, chunk, _layout(self, key), waiting)
        return report._replace(more=Written(key, waiting.n_arrays))

    def key(self) -> str:
        """Return the key of the part of this machine or process."""
        machine = re.sub("[^A-Za-z0-9-]", "-", platform.node())
        key = f"{KEY}{self.run_id}-{machine}-{files.boot_id()[:4].hex()}"
        return key if self.each == "host" else f"{key}-{_own_token(files.process_id())}"


class Written(NamedTuple):
    """What a chunk has come to.

    Attributes
    ----------
    key : str
        Of the part.
    n_arrays : int
        Arrays that the part did not have before.
    """

    key: str
    n_arrays: int


@cache
def _own_token(_: int) -> str:
    """Return what no other process has; it is asked with its id, as a fork has what was cached."""
    return secrets.token_hex(4)


class _PartBatches:
    """As `Batches`, with the part open only while it is written to.

    A task may take hours, and whoever joins the parts waits for no worker that was given up.
    """

    def __init__(self, job: PartJob, key: str) -> None:
        self._job = job
        self._key = key
        self._waiting: list[Group] = []
        self._waiting_nbytes = 0
        self.limit_nbytes = BATCH_NBYTES
        self.n_arrays = self.nbytes = 0

    def add(self, group: Group) -> None:
        """Take the arrays of a task, and write when there are enough."""
        self._waiting.append(group if self._job.named else self._new(group))
        self._waiting_nbytes += group.nbytes
        if self._waiting_nbytes > self.limit_nbytes:
            self.write()

    def _new(self, group: Group) -> Group:
        """Return the arrays that are not in the store yet."""
        store = _store(self._job.path, self._job.run_id)
        there = [name for name in group.arrays if name in store] if store else []
        if there and not self._job.job.resume:
            what = f"{there[0]!r} is in {self._job.path} already"
            error = DuplicateNameError(what, path=self._job.path, names=tuple(there))
            self.write()
            fail(group, error)
        return without(group, there)

    def write(self) -> None:
        """Commit what waits."""
        waiting, self._waiting, self._waiting_nbytes = self._waiting, [], 0
        if not waiting:
            return
        writer = _opened(self._job, self._key)
        left_out = without if self._job.named else partial(_without_same, writer)
        batches = Batches(writer, fail, errors=(Exception,), without=left_out)
        try:
            for group in waiting:
                batches.add(group)
            batches.write()
        finally:
            self.n_arrays += batches.n_arrays
            self.nbytes += batches.nbytes
            _close(writer, self._job)


def _without_same(writer: PointerArrayWriter, group: Group, there: Container[str]) -> Group:
    """Return a group less the arrays that are there with the same content; itself if there are none.

    Those of this task, then, in all likelihood. Others of the same name are another task's.
    """

    def is_there(name: str) -> bool:
        array: Any = np.ma.asanyarray(group.arrays[name])
        if writer.layout != "mixed":
            array = array.astype(writer.dtype)
        return is_same(array, group.metas.get(name, {}), writer[name], writer.meta[name])

    return without(group, [name for name in group.arrays if name in there and is_there(name)])


def is_same(one: Any, meta: Any, other: Any, other_meta: Any) -> bool:
    """Tell whether two arrays are the same, bit by bit where nothing is masked, and their metadata."""
    first, second = np.ma.asanyarray(one), np.ma.asanyarray(other)
    if (first.dtype, first.shape, meta) != (second.dtype, second.shape, other_meta):
        return False
    masked = np.ma.getmaskarray(first)
    if not np.array_equal(masked, np.ma.getmaskarray(second)):
        return False
    bits = [np.ma.getdata(array)[~masked].tobytes() for array in (first, second)]
    return bits[0] == bits[1]


@lru_cache(maxsize=16)
def _layout_of(place: Path) -> Layout:
    writer = append(place)
    try:
        return store_of(writer).layout
    finally:
        close_leaving(writer, JOURNAL_NBYTES)


def _layout(job: PartJob, key: str) -> Layout:
    """Return what the arrays of a part have to be, and make the part if it is not there."""
    place = part_path(job.path, key)
    try:
        return _layout_of(place)
    except StoreNotFoundError:
        _close(_opened(job, key), job)
        return _layout_of(place)


def _opened(job: PartJob, key: str) -> PointerArrayWriter:
    """Open the part for writing, made where it is not there yet."""
    place = part_path(job.path, key)
    with suppress(StoreNotFoundError):
        return append(place)
    # Made by another worker meanwhile, it may be sealed by now, if nobody waits for this one. Going
    # on with it would open it again, under the hands of whoever joins it.
    with suppress(StoreExistsError):
        return part(job.path, key, mode="x", **job.settings)
    return append(place)


def _close(writer: PointerArrayWriter, job: PartJob) -> None:
    """Close a part without sealing it: other chunks will come."""
    try:
        if files.boot_id() != job.home:  # whoever joins it cannot have this machine's memory synced
            writer.flush()
    finally:
        close_leaving(writer, JOURNAL_NBYTES)


@lru_cache(maxsize=1)
def _store(path: str, _: str) -> PointerArray | None:
    """Return the store as it was when a run began; None if there was none."""
    with suppress(StoreNotFoundError):
        return open_readable(path)
    return None
