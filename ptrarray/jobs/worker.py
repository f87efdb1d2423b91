"""What happens to a chunk of tasks in a worker process: compute, write, answer with counts."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import connection
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ptrarray.errors import BadInputError, DuplicateNameError
from ptrarray.format.layouts import Layout
from ptrarray.intake.batch import from_mapping
from ptrarray.intake.casting import fit
from ptrarray.writer import PointerArrayWriter, append, close_leaving, store_of

BATCH_NBYTES = 1 << 24
# A batch goes to one shard whole. By such a part of one, shards come out even.
_SHARD_PART = 8
# A journal up to this is left to the end of the run: folding it takes longer than reading it.
_JOURNAL_NBYTES = 1 << 18


class Task(NamedTuple):
    """An argument for the function, and the name of the array that it gives."""

    name: str | None  # None where the function itself names its arrays
    argument: Any

    @property
    def label(self) -> Any:
        """What the user calls this task."""
        return self.argument if self.name is None else self.name


class Job(Protocol):
    """What every chunk needs besides its tasks, and what is to be done with them."""

    @property
    def path(self) -> str:
        """The store."""

    def run(self, chunk: list[Task]) -> Report:
        """Do a chunk of tasks, in a worker."""


class FillJob(NamedTuple):
    """The job of `fill`: call a function for each task."""

    path: str
    function: Callable[[Any], Any]
    resume: bool

    def run(self, chunk: list[Task]) -> Report:
        """Compute the arrays of a chunk and write them."""
        return work(self, chunk)


class Failure(NamedTuple):
    """A task that failed, as it travels from the worker."""

    i_task: int
    error: BaseException | None  # None if it cannot be pickled
    summary: str
    worker_traceback: str


class Report(NamedTuple):
    """What a chunk came to."""

    n_tasks: int
    n_arrays: int
    nbytes: int
    seconds: float
    failure: Failure | None
    more: Any = None  # what only this kind of job knows


def become_worker() -> None:
    """Leave Ctrl-C to the parent, and do not outlive it."""
    # A function and not SIG_IGN, which programs started by a task would inherit.
    signal.signal(signal.SIGINT, lambda _signal, _frame: None)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


class _TaskFailed(Exception):
    def __init__(self, i_task: int) -> None:
        super().__init__(i_task)
        self.i_task = i_task


def work(job: FillJob, chunk: list[Task]) -> Report:
    """Compute the arrays of a chunk and write them, up to the first task that fails."""
    began = time.perf_counter()
    failure = None
    writer = append(job.path)
    try:
        batch = _Batch(writer, job.resume)
        for i_task, task in enumerate(chunk):
            _compute(job, i_task, task, batch)
        batch.write()
    except _TaskFailed as failed:
        failure = _describe(failed)
    finally:
        close_leaving(writer, _JOURNAL_NBYTES)
    seconds = time.perf_counter() - began
    return Report(len(chunk), batch.n_arrays, batch.nbytes, seconds, failure)


def work_packed(packed: bytes) -> Report:
    """Run a pickled job on its chunk."""
    job, chunk = pickle.loads(packed)
    report: Report = job.run(chunk)
    return report


def _compute(job: FillJob, i_task: int, task: Task, batch: _Batch) -> None:
    try:
        result = job.function(task.argument)
        arrays = batch.fit(_by_name(result) if task.name is None else {task.name: result})
    except (Exception, SystemExit) as error:
        batch.write()
        raise _TaskFailed(i_task) from error
    batch.add(i_task, arrays)


def _by_name(result: Any) -> Mapping[str, Any]:
    if isinstance(result, Mapping):
        return result
    found = type(result).__name__
    raise BadInputError(
        f"the function returned {found}, expected a mapping from name to array",
        found=found,
        expected="mapping",
    )


def batch_limit_nbytes(writer: PointerArrayWriter) -> int:
    """Return the bytes after which waiting arrays should be committed."""
    shard_nbytes = store_of(writer).limit_nbytes or BATCH_NBYTES * _SHARD_PART
    return min(BATCH_NBYTES, shard_nbytes // _SHARD_PART)


class _Batch:
    """Arrays that wait to be committed together."""

    def __init__(self, writer: PointerArrayWriter, resume: bool) -> None:
        self._writer = writer
        self._resume = resume
        self._limit_nbytes = batch_limit_nbytes(writer)
        self._waiting: dict[int, dict[str, NDArray[Any]]] = {}
        self._names: set[str] = set()
        self._waiting_nbytes = 0
        self.n_arrays = 0
        self.nbytes = 0

    def fit(self, values: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """Return the values as arrays that the store takes."""
        layout = store_of(self._writer).layout
        for name, value in values.items():
            if not (isinstance(value, list | tuple) or hasattr(value, "__array__")):
                found = type(value).__name__
                what = f"the function returned {found} for {name!r}, expected an array"
                raise BadInputError(what, name=name, found=found, expected="array")
        if layout.is_plain:
            kind = layout.dtype, layout.row_shape
            return {name: fit(name, value, *kind) for name, value in values.items()}
        # Of other layouts a batch of one says whether it fits; what is kept is the array itself.
        return {name: _checked(name, value, layout) for name, value in values.items()}

    def add(self, i_task: int, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the arrays of a task, and write if that makes enough."""
        nbytes = sum(array.nbytes for array in arrays.values())
        if not self._names.isdisjoint(arrays) or self._waiting_nbytes + nbytes > self._limit_nbytes:
            self.write()
        if nbytes <= self._limit_nbytes:
            # The function may use its buffer again before these are written.
            arrays = {name: array.copy(order="K") for name, array in arrays.items()}
        self._waiting[i_task] = arrays
        self._names.update(arrays)
        self._waiting_nbytes += nbytes
        if nbytes > self._limit_nbytes:
            self.write()

    def write(self) -> None:
        """Commit what waits; if that is refused, task by task to find out which one it is."""
        waiting, self._waiting = self._waiting, {}
        self._names, self._waiting_nbytes = set(), 0
        try:
            self._commit({k: v for arrays in waiting.values() for k, v in arrays.items()})
            return
        except Exception as error:
            if len(waiting) == 1:
                raise _TaskFailed(*waiting) from error
        for i_task, arrays in waiting.items():
            try:
                self._commit(arrays)
            except Exception as error:
                raise _TaskFailed(i_task) from error

    def _commit(self, arrays: dict[str, NDArray[Any]]) -> None:
        while arrays:
            try:
                self._writer.write(arrays)
            except DuplicateNameError as error:
                if not (self._resume and error.names):
                    raise
                there = set(error.names)
                arrays = {name: array for name, array in arrays.items() if name not in there}
                continue
            self.n_arrays += len(arrays)
            self.nbytes += sum(array.nbytes for array in arrays.values())
            return


def _checked(name: str, value: Any, layout: Layout) -> NDArray[Any]:
    array: NDArray[Any] = np.asanyarray(value)
    from_mapping({name: array}, layout)
    return array


def _describe(failed: _TaskFailed) -> Failure:
    error = failed.__cause__ or failed
    text = "".join(traceback.format_exception(error))
    return Failure(failed.i_task, _portable(error), summarize(error), text)


def _portable(error: BaseException) -> BaseException | None:
    """Return the error if it survives the way to the parent."""
    with suppress(Exception):  # whatever its own __reduce__ and __init__ may raise
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    return None


def summarize(error: BaseException) -> str:
    """Return the exception as the last line of its traceback would show it."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
