"""Executors as engines are: nothing but bytes passes, each worker may be on a host of its own."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from queue import SimpleQueue
from typing import Any

from ptrarray.storage.system import files

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.support.workers", "ptrarray.filling"])


_real_boot_id = files.boot_id


def become_host(number: int) -> None:
    """Have this process believe that it runs on another machine; with 0, on this one again."""
    other: Any = lambda: bytes([number] * 16)
    files.boot_id = other if number else _real_boot_id


def host_number() -> int:
    """Return the number that this process was given."""
    return files.boot_id()[0]


def _host(number: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, _PROCESSES, become_host, (number,))


class Engine(Executor):
    """Several hosts with a worker each; a call whose worker dies is run again, by another worker.

    Parameters
    ----------
    n_hosts : int
        Each believes that it is a machine of its own.
    copies : {'', 'here', 'elsewhere'}
        Whether each call is run twice, and where. The second answer counts.
    """

    def __init__(self, n_hosts: int = 2, copies: str = "") -> None:
        self._max_workers = n_hosts
        self._copies = copies
        self._threads = ThreadPoolExecutor(n_hosts)
        self._hosts = {number: _host(number) for number in range(1, n_hosts + 1)}
        self._idle: SimpleQueue[int] = SimpleQueue()
        for number in self._hosts:
            self._idle.put(number)

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._threads.submit(self._run, work, args, kwargs)

    def _run(self, work: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        number = self._idle.get()
        try:
            places = [number] * (1 + (self._copies == "here"))
            if self._copies == "elsewhere":
                places = [1 + number % len(self._hosts), number]
            return [self._call(place, work, args, kwargs) for place in places][-1]
        finally:
            self._idle.put(number)

    def _call(self, number: int, work: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        try:
            return self._hosts[number].submit(work, *args, **kwargs).result()
        except BrokenProcessPool:
            self._hosts[number] = _host(number)
            return self._call(number, work, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        for host in self._hosts.values():
            host.shutdown(wait)


class Carrier(Executor):
    """Does what it is given at once, in this process, packed and unpacked as on a wire.

    Attributes
    ----------
    carried : list of bytes
        Calls and results.
    """

    def __init__(self) -> None:
        self.carried: list[bytes] = []

    def carry(self, value: Any) -> Any:
        """Return what arrives of a value."""
        self.carried.append(pickle.dumps(value))
        return pickle.loads(self.carried[-1])

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            call, given, more = self.carry((work, args, kwargs))
            future.set_result(self.carry(call(*given, **more)))
        except Exception as error:  # noqa: BLE001 the future raises it
            future.set_exception(error)
        return future
