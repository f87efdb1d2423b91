"""What happens to a chunk of tasks in a worker process: compute, write, answer with counts."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Container, Mapping
from multiprocessing import connection
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from ptrarray.errors import BadInputError
from ptrarray.format.layouts import MIXED, Layout
from ptrarray.intake.batch import from_mapping
from ptrarray.intake.casting import as_array, fit
from ptrarray.jobs.batches import Batches, Group
from ptrarray.jobs.copies import Copies, copies
from ptrarray.views.helpers import Flat, check_values, flattened
from ptrarray.writer import append, close_leaving, store_of

# A journal up to this is left to the end of the run: folding it takes longer than reading it.
JOURNAL_NBYTES = 1 << 18


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
        """Compute the arrays of a chunk and write them, up to the first task that fails."""
        writer = append(self.path)
        try:
            resuming: dict[str, Any] = {"without": without} if self.resume else {}
            batches = Batches(writer, fail, errors=(Exception,), **resuming)
            return compute(self.function, chunk, store_of(writer).layout, batches)
        finally:
            close_leaving(writer, JOURNAL_NBYTES)


class Failure(NamedTuple):
    """A task that failed, as it travels from the worker."""

    i_task: int | None  # in its chunk, where that is known
    error: BaseException | None  # None if it cannot travel
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
    # What a fork shares with its parent is copied page by page where the collector looks at it.
    gc.freeze()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


class TaskFailed(Exception):
    """Its argument is the number of the task in its chunk."""


def fail(group: Group, error: Exception) -> NoReturn:
    """Have the task fail whose arrays are refused."""
    raise TaskFailed(group.label) from error


def without(group: Group, there: Container[str]) -> Group:
    """Return the arrays of a task less those that are there; the same group if none is."""
    left = {name: array for name, array in group.arrays.items() if name not in there}
    if len(left) == len(group.arrays):
        return group
    metas = {name: meta for name, meta in group.metas.items() if name in left}
    return group._replace(arrays=left, metas=metas)


class Waiting(Protocol):
    """Where the arrays of a task wait to be committed, as in `Batches`."""

    n_arrays: int
    nbytes: int

    @property
    def limit_nbytes(self) -> int:
        """Arrays of one task that have more are committed at once."""

    def add(self, group: Group) -> None:
        """Take the arrays of a task."""

    def write(self) -> None:
        """Commit what waits."""


def compute(
    function: Callable[[Any], Any], chunk: list[Task], layout: Layout, waiting: Waiting
) -> Report:
    """Compute the arrays of a chunk and have them written, up to the first task that fails."""
    began = time.perf_counter()
    failure = None
    try:
        with copies(waiting.limit_nbytes) as room:
            for i_task, task in enumerate(chunk):
                _add(_computed(function, i_task, task, layout, waiting), waiting, room)
            waiting.write()
    except TaskFailed as failed:
        failure = _describe(failed)
    seconds = time.perf_counter() - began
    return Report(len(chunk), waiting.n_arrays, waiting.nbytes, seconds, failure)


def _computed(
    function: Callable[[Any], Any], i_task: int, task: Task, layout: Layout, waiting: Waiting
) -> Group:
    """Return the arrays of a task; if it fails, once those before it are committed."""
    try:
        result = function(task.argument)
        values, metas = _apart(_by_name(result) if task.name is None else {task.name: result})
        flat = flattened(values, metas) or Flat(values, metas, {})
        check_values(flat, layout)
        arrays = _fitting(flat.arrays, layout)
    except (Exception, SystemExit) as error:
        waiting.write()
        raise TaskFailed(i_task) from error
    return Group(i_task, arrays, flat.metas, flat.helpers)


def _add(group: Group, waiting: Waiting, room: Copies) -> None:
    """Have the arrays of a task wait: as copies, unless they are so large that they do not."""
    if group.nbytes <= waiting.limit_nbytes:
        if not room.has_room(group):
            waiting.write()
            room.clear()
        group = room.copied(group)
    waiting.add(group)


def _by_name(result: Any) -> Mapping[str, Any]:
    if isinstance(result, Mapping):
        return result
    found = type(result).__name__
    raise BadInputError(
        f"the function returned {found}, expected a mapping from name to array",
        found=found,
        expected="mapping",
    )


def _apart(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return values and metadata by name; the metadata copied, as the function may use it again."""
    arrays, metas = dict(values), {}
    if isinstance(values.get("meta"), Mapping):
        metas = dict(arrays.pop("meta"))
    for name, value in arrays.items():
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Mapping | None):
            arrays[name] = value[0]
            metas |= {} if value[1] is None else {name: value[1]}
    return arrays, copy.deepcopy(metas) if metas else metas


def _fitting(values: Mapping[str, Any], layout: Layout) -> dict[str, NDArray[Any]]:
    """Return the values as arrays that the store takes."""
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


def _checked(name: str, value: Any, layout: Layout) -> NDArray[Any]:
    dtype = None if layout.kind == MIXED else layout.dtype
    array: NDArray[Any] = value if isinstance(value, np.ndarray) else as_array(name, value, dtype)
    from_mapping({name: array}, layout)
    return array


def _describe(failed: TaskFailed) -> Failure:
    error = failed.__cause__ or failed
    text = "".join(traceback.format_exception(error))
    return Failure(failed.args[0], error, summarize(error), text)


def summarize(error: BaseException) -> str:
    """Return the exception as the last line of its traceback would show it."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
