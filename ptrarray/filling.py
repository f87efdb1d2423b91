"""Run a function over tasks in many processes; each writes its arrays for itself.

The parent cuts the tasks into chunks and keeps a few of them under way. A worker opens the store,
or a part of it that belongs to its machine or to itself, computes a chunk's arrays, writes them and
answers with counts: arrays never travel back. Parts are joined in the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any

from numpy.typing import DTypeLike

from ptrarray.errors import BadInputError, DuplicateNameError
from ptrarray.intake.choices import check_choice
from ptrarray.intake.paths import absolute
from ptrarray.jobs.gathering import gather, running, take_up
from ptrarray.jobs.parts import Each, PartJob
from ptrarray.jobs.run import count_workers, prepare, run_job
from ptrarray.jobs.worker import FillJob, Task
from ptrarray.reader import open_readable as open_store
from ptrarray.storage.system import files
from ptrarray.writer import append

PARTS = ("host", "worker")


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
    parts: Each | None = None,
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
        Run in this one, which stays open, instead of in processes of its own: a pool of threads
        or processes, or an engine's, as of dask, Ray (`ptrarray.executors.RayExecutor`),
        mpi4py or loky. What does not tell how many workers it has needs `processes`.
    parts : {'host', 'worker'}, optional
        Where the executor runs on several machines. Each machine, or each worker, writes a part
        of its own, under ``PATH.parts/``, and all are joined in the end, as by `join`. The store
        is one of shards then, and what is there already must be.

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
        Another `dtype` or `row_shape` than the store's, or `processes` below one. The executor
        runs on other machines than this one, and `parts` is not set; they wrote nothing.
    StoreExistsError
        With `parts`: an interrupted run has left some, and `resume` is not set.

    Notes
    -----
    Tasks travel in chunks of about 0.2 s of work, two a worker, and small arrays of a chunk are
    committed together. Memory in a worker: 16 MB plus the arrays of one task. After Ctrl-C the
    workers are ended at once; what was committed stays.

    With `parts`, a task is done when a part has its arrays. One that an engine runs twice is in
    the result once: of a mapping, the array that was first; of an iterable, arrays that are not the
    same each time are a `DuplicateNameError` in the end, as two tasks may have given them one
    name. Nothing is joined before all tasks are done. With ``resume=True``, parts of an
    interrupted run are joined first; what was in a part that was lost is done again. What other
    machines answer is on their disk by then.

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
    job = FillJob(place, function, resume)
    run = partial(run_job, n_workers=n_workers, executor=executor, progress=progress)
    others = {"attrs": attrs, "masked": masked}
    if parts is not None:
        check_choice("parts", parts, PARTS, place)
        if rows:
            what = "rows beforehand in parts, which choose their own: leave out `rows` or `parts`"
            raise BadInputError(f"{rows} {what}", path=place, found=rows, expected=0)
        kind = {"dtype": dtype, "row_shape": row_shape, **others}
        joining: dict[str, Any] = {"progress": progress}
        joining |= {} if shard_size is None else {"shard_size": shard_size}
        return _fill_parts(job, tasks, parts, run, kind, joining)
    prepare(place, dtype, row_shape, {**others, "rows": rows, "shard_size": shard_size})
    with open_store(place) as store:
        total = _count_new(store, tasks, resume, place)
        n_arrays = run(job, _each_task(store, tasks, resume), total=total)
    with append(place) as writer:
        writer.flush()
    return n_arrays


def _fill_parts(
    job: FillJob,
    tasks: Mapping[str, Any] | Iterable[Any],
    parts: Each,
    run: Callable[..., int],
    kind: dict[str, Any],
    joining: dict[str, Any],
) -> int:
    """Have parts of the store filled, and join them."""
    take_up(job.path, resume=job.resume, **joining)
    with running(job.path, kind) as gathered:
        store = gathered.store
        total = _count_new(store, tasks, job.resume, job.path)
        part_job = PartJob(
            job, total is not None, gathered.run_id, parts, gathered.settings, files.boot_id()
        )
        each_task = _each_task(store, tasks, job.resume)
        run(part_job, each_task, total=total, seen=gathered.note, any_host=True)
        names = (task.name for task in _each_task(store, tasks, job.resume))
        return gather(gathered, total, names, **joining)


def _count_new(
    store: Mapping[str, Any], tasks: Mapping[str, Any] | Iterable[Any], resume: bool, path: str
) -> int | None:
    """Count the names still to be written, if tasks have names; without `resume` all of them."""
    if not isinstance(tasks, Mapping):
        return None
    there = [name for name in tasks if name in store] if len(store) else []
    if there and not resume:
        shown = ", ".join(map(repr, there[:3])) + (", ..." if len(there) > 3 else "")
        raise DuplicateNameError(
            f"{len(there)} of {len(tasks)} names are in {path} already: {shown}; "
            "resume=True skips them",
            path=path,
            names=tuple(there),
        )
    return len(tasks) - len(there)


def _each_task(
    store: Mapping[str, Any], tasks: Mapping[str, Any] | Iterable[Any], resume: bool
) -> Iterator[Task]:
    if not isinstance(tasks, Mapping):
        return (Task(None, argument) for argument in tasks)
    return (Task(*item) for item in tasks.items() if not (resume and item[0] in store))
