"""Chunks of tasks and their reports as bytes: engines carry them and need not understand them.

An engine that looks into what it carries may refuse it (a masked array has no hash), take two calls
that are equal for one, or break when an exception of somebody else's cannot be unpickled.
"""

from __future__ import annotations

import pickle
import secrets
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing.reduction import ForkingPickler
from typing import Any

from ptrarray.errors import BadInputError
from ptrarray.jobs.worker import Failure, Job, Report, Task, summarize
from ptrarray.storage.system import files

# What engines have, to send functions of notebooks and scripts, which workers cannot import.
_BY_VALUE = ("cloudpickle", "joblib.externals.cloudpickle", "ray.cloudpickle")


@dataclass(frozen=True)
class Packed:
    """A job and a chunk of its tasks.

    Attributes
    ----------
    key : str
        Unlike that of any other, in this run or another one.
    host : bytes or None
        Boot id of the only machine where it may run.
    job, chunk : bytes
        Pickled.
    """

    key: str
    host: bytes | None
    job: bytes
    chunk: bytes

    def __dask_tokenize__(self) -> str:
        return self.key


class Packer:
    """Packs the chunks of one job for an executor.

    Parameters
    ----------
    job : Job
        What is to be done with each chunk.
    executor : concurrent.futures.Executor
        That will carry them.
    any_host : bool
        Whether they may run on other machines than this one.
    """

    def __init__(self, job: Job, executor: Executor, *, any_host: bool) -> None:
        # That of multiprocessing also packs what is shared with processes of this machine.
        forks = isinstance(executor, ProcessPoolExecutor)
        self._dumps: Callable[[Any], Any] = ForkingPickler.dumps if forks else _dumps
        self._job = job
        self._host = None if any_host else files.boot_id()
        self._run = secrets.token_hex(8)
        self._numbers = count()
        self._packed_job: bytes | None = None

    def pack(self, chunk: list[Task]) -> Packed:
        """Pack a chunk; raises whatever pickling raises."""
        if self._packed_job is None:
            self._packed_job = bytes(self._dumps(self._job))
        key = f"{self._run}-{next(self._numbers)}"
        return Packed(key, self._host, self._packed_job, bytes(self._dumps(chunk)))


def work_packed(packed: Packed) -> bytes:
    """Do a chunk, in a worker; the answer is for `unpacked`."""
    try:
        if packed.host not in (None, files.boot_id()):
            return pickle.dumps((None, None))
        job: Job = pickle.loads(packed.job)
        report = job.run(pickle.loads(packed.chunk))
    except Exception as error:  # noqa: BLE001 what an engine carried might not arrive
        text = "".join(traceback.format_exception(error))
        report = Report(0, 0, 0, 0.0, Failure(None, error, summarize(error), text))
    if report.failure is None:
        return pickle.dumps((report, None))
    packed_error = None
    with suppress(Exception):  # whatever its own __reduce__ may raise
        packed_error = _dumps(report.failure.error)
    failure = report.failure._replace(error=None)
    return pickle.dumps((report._replace(failure=failure), packed_error))


def unpacked(answer: bytes, path: str) -> Report:
    """Return the report of a chunk of tasks that write to a store.

    Raises
    ------
    BadInputError
        It ran on another machine.
    """
    report: Report | None
    report, packed_error = pickle.loads(answer)
    if report is None:
        raise BadInputError(
            f"the executor runs on other machines than this one, and {path} may only be written "
            'on one: with parts="host", each of them writes a part, and these are joined',
            path=path,
            found="another machine",
            expected="this machine",
        )
    if report.failure is None or packed_error is None:
        return report
    with suppress(Exception):  # whatever its own __init__ may raise
        error = pickle.loads(packed_error)
        if isinstance(error, BaseException):
            return report._replace(failure=report.failure._replace(error=error))
    return report


def _dumps(value: Any) -> bytes:
    module = next((sys.modules[name] for name in _BY_VALUE if name in sys.modules), pickle)
    dumped: bytes = module.dumps(value)
    return dumped
