"""Engines that have no `concurrent.futures.Executor` of their own, as one.

For `ptrarray.fill` and all else that takes an executor. dask, mpi4py and loky have theirs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from ptrarray.errors import import_extra

__all__ = ["RayExecutor"]

Result = TypeVar("Result")


class RayExecutor(Executor):
    """Runs calls as tasks of Ray.

    Parameters
    ----------
    max_workers : int, optional
        Calls that Ray is given at a time; the others wait here, where they can be cancelled. By
        default as many as the CPUs of the cluster allow, as it is now.
    **options
        As for ``ray.remote``: ``num_cpus=``, ``max_retries=``, ``runtime_env=``, …

    Raises
    ------
    ImportError
        Ray is not installed.

    Notes
    -----
    Ray is started, or connected to, where the program has not done so. It runs a call again when
    the process or the machine that had it is lost, ``max_retries`` times.

    The futures are those of a thread pool: `cancel` takes back a call that waits, and not one that
    was given to Ray. They raise what the function raised. An exception that cannot be unpickled here
    is one of Ray's, with its traceback as text. `shutdown` leaves Ray as it is.

    Examples
    --------
    >>> from ptrarray.executors import RayExecutor
    >>> with RayExecutor() as executor:  # doctest: +SKIP
    ...     ptrarray.fill("all.ptr", features, paths, executor=executor, parts="host")
    """

    def __init__(self, max_workers: int | None = None, **options: Any) -> None:
        self._ray = import_extra("ray", "RayExecutor needs Ray: pip install 'ptrarray[ray]'")
        if not self._ray.is_initialized():
            self._ray.init()
        self._call = self._ray.remote(**options)(_call) if options else self._ray.remote(_call)
        self._max_workers = max_workers or self._n_cpus() // (options.get("num_cpus") or 1) or 1
        self._threads = ThreadPoolExecutor(int(self._max_workers), "ray")

    def _n_cpus(self) -> int:
        return int(self._ray.cluster_resources().get("CPU", 1))

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Have Ray call a function, as `concurrent.futures.Executor.submit`."""
        return self._threads.submit(self._run, fn, args, kwargs)

    def _run(self, fn: Callable[..., Result], args: Any, kwargs: Any) -> Result:
        result = self._call.remote(fn, *args, **kwargs)
        while not self._ray.wait([result], timeout=1)[0]:
            if not threading.main_thread().is_alive():  # Ctrl-C: the program should not wait
                self._ray.cancel(result)
        try:
            value: Result = self._ray.get(result)
        except self._ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from error
        return value

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, as `concurrent.futures.Executor.shutdown`."""
        self._threads.shutdown(wait, cancel_futures=cancel_futures)


def _call(fn: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    return fn(*args, **kwargs)
