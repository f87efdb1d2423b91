"""Histories of processes that share a store, judged by a checker.

Run ``python -m tests.histories --operations N --seed S``; add ``--mixed``, ``--masked`` or ``--shards`` for
other kinds of stores, ``--kill N`` for a kill in every N-th window. Ends with status 1 and a counter-example
if no order of the calls explains what was read.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import ptrarray
from tests.support.history_states import NAMES, Error, State, Store
from tests.support.history_workers import Kind, Log, Worker, serve
from tests.support.linearizing import Operation, Unexplained, minimal
from tests.support.processes import FORK, TIMEOUT_SECONDS

_WRITES = {"write": 8, "delete": 3, "rename": 3, "meta": 2, "attrs": 2, "point": 2, "get": 3}
# For each process how many operations it has in a window, and how often it does what.
ROLES: list[tuple[int, dict[str, int]]] = [
    (150, {**_WRITES, "clear": 1}),
    (150, {**_WRITES, "refresh": 2}),
    (120, {"refresh": 9, "get": 3}),
    (30, {"open": 3, "get": 4, "attrs": 2}),
    (4, {"checkpoint": 3, "compact": 2, "open": 1}),
]

# Operations on one store, then comes another; fewer where shards add up.
_ROUND, _ROUND_OF_SHARDS = 50_000, 2_000


class Histories:
    """Processes at one store, window after window.

    Parameters
    ----------
    share : float
        How long windows are; a window is judged as a whole.
    kill_every : int
        Windows of which in one a process is killed; 0 for never.
    fault : callable, optional
        Called in each process first: breaks something, to see that it is found.
    """

    def __init__(
        self,
        path: Path,
        kind: Kind,
        seed: int,
        *,
        share: float = 1,
        kill_every: int = 0,
        fault: Callable[[], None] | None = None,
    ) -> None:
        self._path, self._kind, self._seed, self._fault = path, kind, seed, fault
        self._rng, self._kill_every, self._share = random.Random(seed), kill_every, share
        self._logs = [Log() for _ in ROLES]
        self._own_log = Log()
        self._reader = Worker(path, kind, len(ROLES), seed, self._own_log, {})
        self._processes: list[tuple[BaseProcess, Any]] = []
        self.n_operations = self.n_kills = 0

    def run(self, n_operations: int) -> Unexplained | None:
        """Run so many operations, or a few more; return the first that cannot be explained."""
        self._kind.create(self._path)
        for who in range(len(ROLES)):
            self._processes.append(self._start(who))
        state, window = self._kind.empty, 0
        try:
            self._begin(window)
            while True:
                operations = self._end(window)
                self.n_operations += len(operations)
                window += 1
                if self.n_operations < n_operations:
                    self._begin(window)  # while this one is judged
                found, state = self._judge(operations, state)
                if found or self.n_operations >= n_operations:
                    break
            if found is None:
                ptrarray.verify(self._path)
            return found
        finally:
            for process, pipe in self._processes:
                pipe.close()
                process.kill()
                process.join()

    def _start(self, who: int) -> tuple[BaseProcess, Any]:
        ours, theirs = FORK.Pipe()
        _, weights = ROLES[who]
        arguments = (self._path, self._kind, who, self._seed, self._logs[who], weights, theirs)
        # What a child of a fork has of these would keep the others waiting for a parent that died.
        not_its = [ours, *(pipe for _, pipe in self._processes)]
        process = FORK.Process(target=serve, args=(*arguments, len(ROLES), not_its, self._fault))
        process.start()
        theirs.close()
        return process, ours

    def _begin(self, window: int) -> None:
        for (_, pipe), (n_operations, _) in zip(self._processes, ROLES, strict=True):
            pipe.send((window, round(n_operations * self._share)))

    def _end(self, window: int) -> list[Operation]:
        """Wait until all are at rest, and read the store: with what was done, what came of it."""
        left = {pipe: who for who, (_, pipe) in enumerate(self._processes)}
        is_kill_due = self._kill_every and window % self._kill_every == self._kill_every - 1
        killed = self._rng.choice(list(left.values())) if is_kill_due else None
        died: list[int] = []
        while left:
            ready: list[Any] = wait(list(left), TIMEOUT_SECONDS)
            if not ready:
                raise TimeoutError(f"in window {window} processes {left.values()} hang")
            for pipe in ready:
                who = left.pop(pipe)
                try:
                    assert pipe.recv() == window
                except EOFError:
                    died.append(who)
            for pipe, who in [*left.items()]:
                if who == killed:
                    self._kill(who)
                    del left[pipe]
        operations = [one for who, log in enumerate(self._logs) for one in log.operations(who)]
        operations = [self._died(one) if one.process in died else one for one in operations]
        self._own_log.clear()
        self._reader.read()
        return operations + self._own_log.operations(len(ROLES))

    def _died(self, operation: Operation) -> Operation:
        """Make an error of what a process did not return from, though nobody killed it."""
        if operation.returned is not None:
            return operation
        process, _ = self._processes[operation.process]
        process.join()
        error = Error("died", f"exit code {process.exitcode}")
        return operation._replace(returned=time.monotonic_ns(), result=error)

    def _kill(self, who: int) -> None:
        process, pipe = self._processes[who]
        process.kill()
        process.join()
        pipe.close()
        self._processes[who] = self._start(who)
        self.n_kills += 1

    def _judge(self, operations: list[Operation], state: State) -> tuple[Unexplained | None, State]:
        """Explain a window; return the state that it ends with, which was read at rest."""
        told = {one.arguments[1:3] for one in operations if one.kind == "point"}
        store = Store(**self._kind.options, told=told)
        found = minimal(operations, state, store.specification)
        return found, State(*operations[-1].result) if found is None else state


def described(found: Unexplained) -> str:
    """Tell a counter-example to people."""
    began = found.culprit.invoked
    lines = [
        "no order explains the operation that is marked. States that were possible when it was called:",
        *(f"    {_told(state)}" for state in found.states),
        "Changes before it, what was open while it was, and microseconds of call and return:",
    ]
    for one in found.operations:
        mark = ">" if one == found.culprit else " "
        called, returned = ((at and (at - began) / 1e3) for at in (one.invoked, one.returned))
        ended = "not yet" if returned is None else f"{returned:.1f}"
        what = one.kind if one.arguments is None else f"{one.kind} {one.arguments}"
        times = f"{called:10.1f} {ended:>10}"
        lines.append(f"{mark} {times}  process {one.process}  {what}: {_told(one.result)}")
    lines.append("States that some order of these leads to, before it returns:")
    return "\n".join([*lines, *(f"    {_told(state)}" for state in found.reached[:20])])


def _told(result: Any) -> str:
    """Tell a result, or a state, to people."""
    if isinstance(result, Error) or not isinstance(result, tuple) or len(result) < 3:
        return repr(result)
    arrays = [
        f"{name}: {has.value} at {has.start}:{has.end} meta {has.meta}"
        for name, has in zip(NAMES, result[0], strict=True)
        if has is not None
    ]
    return f"{{{', '.join(arrays)}}}, attrs {result[1]}, {result[2]} rows"


@contextmanager
def _directory(asked: str | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=asked) as directory:
        yield Path(directory)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mixed", action="store_true", help="arrays of any dtype and shape")
    parser.add_argument("--masked", action="store_true", help="a store with masks")
    parser.add_argument("--shards", action="store_true", help="a store of shards")
    parser.add_argument("--kill", type=int, default=5, metavar="N", help="in every N-th window")
    parser.add_argument("--directory", help="where stores are made")
    asked = parser.parse_args()
    kind, began = Kind(asked.mixed, asked.masked, asked.shards), time.monotonic()
    n_operations = n_kills = 0
    at_once = _ROUND_OF_SHARDS if asked.shards else _ROUND
    found = None
    for seed in count(asked.seed):
        with _directory(asked.directory) as directory:
            path = directory / "shared.ptr"
            histories = Histories(path, kind, seed, kill_every=asked.kill)
            found = histories.run(min(at_once, asked.operations - n_operations))
        n_operations += histories.n_operations
        n_kills += histories.n_kills
        seconds = time.monotonic() - began
        sys.stdout.write(
            f"{n_operations} operations, {n_kills} kills, {seconds:.0f} s, "
            f"{n_operations / seconds:.0f} a second\n"
        )
        sys.stdout.flush()
        if found is not None or n_operations >= asked.operations:
            break
    sys.stdout.write(
        "every one explained\n" if found is None else f"seed {seed}: {described(found)}\n"
    )
    return found is not None


if __name__ == "__main__":
    sys.exit(main())
