"""Jobs in worker processes: tasks into chunks, chunks into processes."""

from __future__ import annotations

import multiprocessing
import reprlib
import traceback
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import ExitStack, contextmanager, suppress
from errno import EMFILE, ENFILE, ENOMEM
from functools import partial
from itertools import islice
from typing import Any

from numpy.typing import DTypeLike

from ptrarray.creation import create
from ptrarray.errors import BadInputError, StoreNotFoundError, TaskError
from ptrarray.jobs.batches import BATCH_NBYTES
from ptrarray.jobs.packed import Packer, unpacked, work_packed
from ptrarray.jobs.worker import Failure, Job, Report, Task, become_worker, summarize
from ptrarray.progress import bar
from ptrarray.reductions.blocks import count_cores
from ptrarray.writer import append

_CHUNK_SECONDS = 0.2
_CHUNK_TASKS = 1024
_CHUNKS_PER_WORKER = 2
_GROWTH = 4  # of chunks, as the next tasks may take longer than those that were seen

_Futures = dict[Future[Any], list[Task]]  # of reports, packed or not


def run_job(
    job: Job,
    tasks: Iterator[Task],
    n_workers: int,
    executor: Executor | None,
    *,
    total: int | None,
    progress: bool,
    unit: str = "arrays",
    seen: Callable[[Report], None] | None = None,
    n_first: int = 1,
    any_host: bool = False,
) -> int:
    """Run a job on tasks in worker processes, and return the number of arrays written.

    Parameters
    ----------
    job, tasks
        What to do with what, in chunks.
    n_workers, executor
        As `count_workers` says, and as for `fill`.
    total, progress, unit
        For the bar, which counts arrays if that is the unit, else tasks.
    seen : callable, optional
        Called with the report of each chunk as it ends, but for one that failed as a whole.
    n_first : int
        Tasks of the first chunks, as long as nobody knows how long a task takes.
    any_host : bool
        Whether the executor may run them on other machines than this one.

    Raises
    ------
    TaskError, BadInputError
        As `fill` does.
    """
    under_way: _Futures = {}
    with _pool(n_workers, executor, under_way) as pool:
        running = _Run(job, tasks, pool, under_way, total, n_first, any_host=any_host)
        running.refill(_CHUNKS_PER_WORKER * n_workers)
        with bar(progress=progress, total=total, unit=f" {unit}") as shown:

            def advance(report: Report) -> None:
                if seen is not None and report.more is not None:
                    seen(report)
                if progress:
                    running.show(shown)
                shown.update(report.n_arrays if unit == "arrays" else report.n_tasks)

            return running.finish(_CHUNKS_PER_WORKER * n_workers, advance)


def count_workers(processes: int | None, executor: Executor | None) -> int:
    """Return the number asked for, or that of the cores this process may use.

    One where this process may start no others.
    """
    if processes is not None and processes < 1:
        raise BadInputError(
            f"processes is {processes}, expected at least 1", found=processes, expected=1
        )
    if executor is None and multiprocessing.current_process().daemon:
        return 1
    return processes or _n_workers_of(executor) or count_cores()


def _n_workers_of(executor: Executor | None) -> int | None:
    """Return what an engine says of itself, each in its own words; None if nothing."""
    if client := getattr(executor, "_client", None):  # of dask, whose workers have threads
        return sum(map(int, client.nthreads().values()))
    n_workers: int | None = getattr(executor, "_max_workers", None)
    return n_workers or getattr(executor, "num_workers", None)


def prepare(
    path: str,
    dtype: DTypeLike | None,
    row_shape: tuple[int, ...] | int | None,
    others: dict[str, Any],
) -> None:
    """Create the store, or see that the one that is there fits."""
    if dtype is None:
        with suppress(StoreNotFoundError), append(path) as writer:
            others["masked"] = others["masked"] or writer.masked
            if writer.layout != "mixed":
                dtype, row_shape = writer.dtype, row_shape or writer.row_shape
    create(path, dtype=dtype, row_shape=row_shape, mode="a", **others).close()


@contextmanager
def _pool(
    n_workers: int, executor: Executor | None, under_way: _Futures
) -> Generator[Executor, None, None]:
    """Hand on the executor given, or one whose processes end with the block."""
    with ExitStack() as stack:
        if executor is not None:
            stack.push(partial(_leave_theirs, under_way))
            yield executor
            return
        if multiprocessing.current_process().daemon:
            yield _ThisProcess()
            return
        own = _started(n_workers)
        stack.push(partial(_leave_own, own))
        yield own


class _ThisProcess(Executor):
    """Does what it is given at once: workers of `multiprocessing.Pool` may start no processes."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 the future raises it
            future.set_exception(error)
        return future


def _started(n_workers: int) -> ProcessPoolExecutor:
    try:
        return ProcessPoolExecutor(n_workers, initializer=become_worker)
    except OSError as error:
        if error.errno in (EMFILE, ENFILE, ENOMEM):
            raise
        raise OSError(
            error.errno,
            f"{error.strerror}: worker processes need semaphores, which Linux keeps in /dev/shm. "
            "Make it writable, or pass an executor= of threads, as ThreadPoolExecutor(4)",
        ) from error


def _leave_theirs(under_way: _Futures, kind: type[BaseException] | None, *_: object) -> None:
    """Cancel what has not begun; unless in a hurry, let the rest commit."""
    running = [future for future in under_way if not future.cancel()]
    if kind is None or issubclass(kind, Exception):
        wait(running)


def _leave_own(own: ProcessPoolExecutor, kind: type[BaseException] | None, *_: object) -> None:
    if kind is not None and not issubclass(kind, Exception):
        _end_processes(own)
    try:
        own.shutdown(wait=True, cancel_futures=True)
    except BaseException:
        _end_processes(own)
        raise


def _end_processes(own: ProcessPoolExecutor) -> None:
    """After Ctrl-C: a writer may be killed at any time, so nobody waits for a long task."""
    for process in list((own._processes or {}).values()):
        process.terminate()


class _Run:
    """Keeps chunks under way until all tasks are done or one has failed."""

    def __init__(
        self,
        job: Job,
        tasks: Iterator[Task],
        executor: Executor,
        under_way: _Futures,
        n_left: int | None,
        n_first: int,
        *,
        any_host: bool,
    ) -> None:
        self._job = job
        here = isinstance(executor, ThreadPoolExecutor | _ThisProcess)
        self._packer = None if here else Packer(job, executor, any_host=any_host)
        self._tasks = tasks
        self._executor = executor
        self._under_way = under_way
        self._n_left = n_left
        self._next_n_tasks = n_first
        self._n_arrays = 0
        self._nbytes = 0

    def finish(self, n_chunks: int, advance: Callable[[Report], None]) -> int:
        """Run every task, `n_chunks` at a time, and return the number of arrays written."""
        while self._under_way:
            self._collect(advance)
            self.refill(n_chunks)
        return self._n_arrays

    def refill(self, n_chunks: int) -> None:
        """Submit chunks until so many are under way."""
        while len(self._under_way) < n_chunks:
            n_tasks = self._next_n_tasks
            if self._n_left is not None:  # smaller ones at the end, so that no worker waits long
                n_tasks = max(n_tasks // 4, min(n_tasks, self._n_left // n_chunks), 1)
            chunk = _take_chunk(self._tasks, n_tasks)
            if not chunk:
                return
            if self._n_left is not None:
                self._n_left -= len(chunk)
            try:
                self._under_way[self._submit(chunk)] = chunk
            except BrokenExecutor as error:
                raise self._broken(error) from error

    def show(self, bar: Any) -> None:
        """Show the rate beside the bar."""
        seconds = bar.format_dict["elapsed"]
        bar.set_postfix_str(f"{self._nbytes / 1e6 / max(seconds, 1e-3):,.1f} MB/s", False)

    def _submit(self, chunk: list[Task]) -> Future[Any]:
        if self._packer is None:
            return self._executor.submit(self._job.run, chunk)
        # Packed here, because an executor whose own packing fails may hang when it is shut down
        # (Python 3.11), and one whose unpacking fails is broken.
        try:
            packed = self._packer.pack(chunk)
        except Exception as error:
            raise self._failed_whole(chunk, error, "not sent to a worker, ") from error
        return self._executor.submit(work_packed, packed)

    def _collect(self, advance: Callable[[Report], None]) -> None:
        ended, _ = wait(self._under_way, return_when=FIRST_COMPLETED)
        for future in [future for future in self._under_way if future in ended]:  # in order
            chunk = self._under_way.pop(future)
            report = self._result(future, chunk)
            self._n_arrays += report.n_arrays
            self._nbytes += report.nbytes
            self._next_n_tasks = _fitting(report)
            advance(report)
            if report.failure is not None:
                raise self._failed(chunk, report.failure) from report.failure.error

    def _result(self, future: Future[Any], chunk: list[Task]) -> Report:
        try:
            answer = future.result()
        except BrokenExecutor as error:
            raise self._broken(error) from error
        except Exception as error:
            raise self._failed_whole(chunk, error) from error
        return answer if self._packer is None else unpacked(answer, self._job.path)

    def _failed_whole(self, chunk: list[Task], error: Exception, why: str = "") -> TaskError:
        text = "".join(traceback.format_exception(error))
        return self._failed(chunk, Failure(None, error, why + summarize(error), text))

    def _failed(self, chunk: list[Task], failure: Failure) -> TaskError:
        label, summary = chunk[failure.i_task or 0].label, failure.summary
        if failure.i_task is None and len(chunk) > 1:
            summary = f"{summary} (in one of {len(chunk)} tasks sent together)"
        error = TaskError(
            f"task {reprlib.repr(label)} of {self._job.path} failed: {summary}; what was "
            "committed stays, resume=True goes on from there",
            path=self._job.path,
            task=label,
            worker_traceback=failure.worker_traceback,
        )
        error.add_note(f"where it failed:\n{failure.worker_traceback.rstrip()}")
        return error

    def _broken(self, error: BrokenExecutor) -> TaskError:
        self._under_way.clear()  # they are broken too, and not to be cancelled
        return TaskError(
            f"a worker process filling {self._job.path} died (killed, out of memory, or of an error "
            "that it printed); what was committed stays, resume=True goes on from there",
            path=self._job.path,
            task=None,
            worker_traceback=summarize(error),
        )


def _take_chunk(tasks: Iterator[Task], n_tasks: int) -> list[Task]:
    """Take tasks until there are enough, or their arguments large enough to send."""
    chunk, nbytes = [], 0
    for task in islice(tasks, n_tasks):
        chunk.append(task)
        nbytes += _nbytes(task.argument)
        if nbytes >= BATCH_NBYTES:
            break
    return chunk


def _nbytes(argument: Any) -> int:
    if isinstance(argument, bytes | bytearray | str):
        return len(argument)
    return int(getattr(argument, "nbytes", 0))


def _fitting(report: Report) -> int:
    """Return the tasks of a chunk that would take `_CHUNK_SECONDS`, at most `_GROWTH` times as many."""
    n_tasks = report.n_tasks * _CHUNK_SECONDS / max(report.seconds, 1e-6)
    return max(1, min(int(n_tasks), _GROWTH * report.n_tasks, _CHUNK_TASKS))
