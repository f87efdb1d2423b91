"""Executors as engines are: nothing but bytes passes, each worker may be on a host of its own."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from ptrarray.storage.system import files


def become_host(number: int) -> None:
    """Have this process believe that it runs on another machine."""
    files.boot_id = lambda: bytes([number] * 16)


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
