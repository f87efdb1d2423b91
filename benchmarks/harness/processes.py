"""Run things in other processes: forked ones that share the arrays, and fresh ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

from benchmarks.engines import AnyEngine
from benchmarks.harness.system import ROOT, settle
from benchmarks.workloads import Source

Steps = Iterator[dict[str, Any]]

_FORK = get_context("fork")
_PATIENCE_SECONDS = 3600


def apart(function: Callable[..., None], *arguments: Any) -> None:
    """Run in a forked process, whose memory goes with it."""
    process = _FORK.Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{function.__module__}.{function.__name__} ended {process.exitcode}")


def together(work: Callable[[Source], None], parts: list[Source]) -> float:
    """Fork a process a part, start them at once; return the seconds until the last is done."""
    barrier = _FORK.Barrier(len(parts))
    pipes = [_FORK.Pipe(duplex=False) for _ in parts]
    processes = [
        _FORK.Process(target=_work, args=(work, part, barrier, ours))
        for part, (_, ours) in zip(parts, pipes, strict=True)
    ]
    for process in processes:
        process.start()
    for _, ours in pipes:
        ours.close()  # so that a worker that dies is an end of file
    times: list[tuple[float, float]] = [theirs.recv() for theirs, _ in pipes]
    for process in processes:
        process.join()
    return max(end for _, end in times) - min(start for start, _ in times)


def _work(work: Callable[[Source], None], part: Source, barrier: Any, answer: Connection) -> None:
    try:
        _ = part.batches, part.names  # what a user has in hand before writing
        settle()
        barrier.wait(_PATIENCE_SECONDS)
        start = perf_counter()
        work(part)
        answer.send((start, perf_counter()))
    except BaseException:
        barrier.abort()
        raise


def environment(engine: AnyEngine | None) -> dict[str, str]:
    """Return the variables of a process that imports the library of an engine."""
    paths = [engine and engine.library_path, ROOT, os.environ.get("PYTHONPATH")]
    python_path = os.pathsep.join(str(path) for path in paths if path)
    return {**os.environ, "PYTHONPATH": python_path, **(engine.environment if engine else {})}


class Fresh:
    """A process that runs a generator function, from one answer to the next.

    The function is given the name of the engine, for `load`, if there is one, and the arguments.
    """

    def __init__(
        self, engine: AnyEngine | None, function: Callable[..., Steps], *arguments: Any
    ) -> None:
        given = [*([type(engine).name] if engine else []), *arguments]
        # With -P, what is in the folder it runs in does not come before `library_path`.
        self._command = [sys.executable, "-P", "-m", "benchmarks.harness.fresh"]
        self._command += [function.__module__, function.__name__, json.dumps(given, default=str)]
        self._process = subprocess.Popen(
            self._command,
            env=environment(engine),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return self._process.pid

    def ask(self) -> None:
        """Let it go one step further."""
        if self._process.stdin:
            self._process.stdin.write("\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Return what it tells of the step it was asked for."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError(f"{' '.join(self._command)} ended {self._process.wait()}")
        result: dict[str, Any] = json.loads(line)
        return result

    def asked(self) -> dict[str, Any]:
        """Let it go one step further, and return what it tells."""
        self.ask()
        return self.answer()

    def end(self) -> None:
        """Close its pipes, on which it ends."""
        self._process.communicate()


def in_fresh(
    engine: AnyEngine | None, function: Callable[..., Steps], *arguments: Any
) -> dict[str, Any]:
    """Return the one answer of a fresh process."""
    process = Fresh(engine, function, *arguments)
    result = process.asked()
    process.end()
    return result
