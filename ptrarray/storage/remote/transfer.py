"""Ranges of objects, asked for until they are there: many at once, and each measured."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from ptrarray.storage.remote.faults import Fault, error_of
from ptrarray.storage.remote.objects import Answer, Objects

Result = TypeVar("Result")

_ATTEMPTS = 6
_FIRST_PAUSE_SECONDS = 0.1


class Facts(NamedTuple):
    """What is known of an object since it was first asked for."""

    nbytes: int
    tag: str | None


class Transfer:
    """Reads ranges of the objects below one URL.

    Parameters
    ----------
    objects : Objects
        Where they lie.
    parallel : int
        Requests that are under way at the most.
    gap_nbytes : int
        Ranges closer together than this are one request.
    """

    def __init__(self, objects: Objects, parallel: int, gap_nbytes: int) -> None:
        self.url = objects.url
        self.parallel, self.gap_nbytes = parallel, gap_nbytes
        self._objects = objects
        self._pid = os.getpid()
        self._pool: ThreadPoolExecutor | None = None

    def read(self, key: str, start: int, end: int, facts: Facts | None) -> Answer:
        """Read a range of an object, which may reach past its end; nothing, if it begins there.

        Parameters
        ----------
        facts : Facts or None
            What the object has to be, if it was read before.
        """
        if facts is not None:
            end = min(end, facts.nbytes)
            if start >= end:
                return Answer(b"", start, *facts)
        for attempt in range(_ATTEMPTS):
            try:
                return self._read_once(key, start, end, facts)
            except Fault as fault:
                if fault.kind == "past":
                    return Answer(b"", start, start, None)
                if fault.kind != "passing" or attempt == _ATTEMPTS - 1:
                    raise error_of(
                        fault, f"{self.url}/{key}" if key else self.url, start, end
                    ) from None
            time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt * random.uniform(0.5, 1))
        raise AssertionError

    def _read_once(self, key: str, start: int, end: int, facts: Facts | None) -> Answer:
        answer = self._client().get(key, start, end, None if facts is None else facts.tag)
        if facts is not None and (answer.nbytes, answer.tag) != facts:
            raise Fault("changed", "its size or ETag is another one")
        if answer.start != start or len(answer.raw) != min(end, answer.nbytes) - start:
            raise Fault("passing", f"{len(answer.raw)} bytes from {answer.start} on came")
        return answer

    def read_all(self, asked: Sequence[Callable[[], Result]]) -> list[Result]:
        """Do several reads at once; returns when all are there."""
        if len(asked) == 1:
            return [asked[0]()]
        return [future.result() for future in [self.begin(one) for one in asked]]

    def begin(self, read: Callable[[], Result]) -> Future[Result]:
        """Begin a read, and do not wait for it."""
        self._client()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.parallel, "ptrarray-remote")
        return self._pool.submit(read)

    def _client(self) -> Objects:
        if self._pid != os.getpid():  # the threads of the parent are not here
            self._objects, self._pool, self._pid = self._objects.fresh(), None, os.getpid()
        return self._objects
