"""Run a function over tasks in many processes; each writes its arrays for itself.

The parent cuts the tasks into chunks and keeps a few of them under way. A worker opens the store,
computes a chunk's arrays, writes them and answers with counts: arrays never travel back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from typing import Any

from numpy.typing import DTypeLike

from ptrarray.errors import DuplicateNameError
from ptrarray.intake.paths import absolute
from ptrarray.jobs.run import count_workers, prepare, run_job
from ptrarray.jobs.worker import FillJob, Task
from ptrarray.reader import PointerArray
from ptrarray.reader import open_readable as open_store
from ptrarray.writer import append


def fill(
    path: str | os.PathLike[str],
    function: Callable[[Any], Any],
    tasks: Mapping[str, Any] | Iterable[Any],
    *,
    dtype: DTypeLike | None = None,
    row_shape: tuple[int, ...] | int | None = (),
    attrs: Mapping[str, Any] | None = None,
    rows: int = 0,
    masked: bool = False,
    shard_size: str | int | None = None,
    processes: int | None = None,
    progress: bool = True,
    resume: bool = False,
    executor: Executor | None = None,
) -> int:
    """Write what a function returns for every task, from many processes.

    Parameters
    ----------
    path : str or path-like
        The store. It is created, or appended to if it is there.
    function : callable
        Called with one argument of `tasks`, in a worker process, so it must be importable there
        (as for any process pool, a function at the top level of a module).
    tasks : mapping or iterable
        A mapping from name to argument: the function returns the array of that name. Or an
        iterable of arguments, read as they are needed: the function returns a mapping from
        name to array. In either case it may return ``(array, meta)`` in place of an array,
        with its metadata; and a mapping may have all metadata under ``"meta"``, as a mapping
        from name to metadata.
    dtype, row_shape, attrs, rows, masked, shard_size
        As for `create`. Without `dtype`, a store that is there is taken as it is.
    processes : int, optional
        Number of worker processes; by default one for each core this process may use. In a
        worker of a `multiprocessing.Pool`, which may start no processes, this process does
        the work.
    progress : bool
        Show a bar with arrays/s and MB/s.
    resume : bool
        Skip the names that are there, to go on with a run that was interrupted.
    executor : concurrent.futures.Executor, optional
        Run in this one, which stays open, instead of in processes of its own.

    Returns
    -------
    int
        Number of arrays written.

    Raises
    ------
    TaskError
        A task failed, or a worker process died. Everything committed stays; the same call with
        ``resume=True`` goes on from there.
    DuplicateNameError
        A name of the mapping is there already and `resume` is not set; nothing was started.
    BadInputError
        Another `dtype` or `row_shape` than the store's, or `processes` below one.

    Notes
    -----
    Tasks travel in chunks of about 0.2 s of work, two a worker, and small arrays of a chunk are
    committed together. Memory in a worker: 16 MB plus the arrays of one task. After Ctrl-C the
    workers are ended at once; what was committed stays.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> tasks = {"three": 3, "none": 0, "two": 2}
    >>> with ThreadPoolExecutor(2) as executor:  # np.arange is quick, and threads start faster
    ...     ptrarray.fill("new.ptr", np.arange, tasks, dtype="i8", progress=False,
    ...                   executor=executor)
    3
    """
    place = str(absolute(path))
    n_workers = count_workers(processes, executor)
    others = {"attrs": attrs, "rows": rows, "masked": masked, "shard_size": shard_size}
    prepare(place, dtype, row_shape, others)
    with open_store(place) as store:
        total = _count_new(store, tasks, resume) if isinstance(tasks, Mapping) else None
        job = FillJob(place, function, resume)
        each_task = _each_task(store, tasks, resume)
        n_arrays = run_job(job, each_task, n_workers, executor, total=total, progress=progress)
    with append(place) as writer:
        writer.flush()
    return n_arrays


def _count_new(store: PointerArray, tasks: Mapping[str, Any], resume: bool) -> int:
    """Count the names still to be written; without `resume` that must be all of them."""
    there = [name for name in tasks if name in store] if len(store) else []
    if there and not resume:
        shown = ", ".join(map(repr, there[:3])) + (", ..." if len(there) > 3 else "")
        raise DuplicateNameError(
            f"{len(there)} of {len(tasks)} names are in {store.path} already: {shown}; "
            "resume=True skips them",
            path=store.path,
            names=tuple(there),
        )
    return len(tasks) - len(there)


def _each_task(
    store: PointerArray, tasks: Mapping[str, Any] | Iterable[Any], resume: bool
) -> Iterator[Task]:
    if not isinstance(tasks, Mapping):
        return (Task(None, argument) for argument in tasks)
    return (Task(*item) for item in tasks.items() if not (resume and item[0] in store))
