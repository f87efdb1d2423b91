"""Writers, a checkpointer, a compactor and readers on one store, killed at random moments."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import ptrarray
from tests.support import kill_workers

N_KILLS, N_KILLS_SLOW = 50, 3000
N_WRITERS = 3
LONGEST_LIFE_SECONDS = 0.08
CHECK_EVERY = 25  # kills


class Role(NamedTuple):
    """What a process does until it is killed, and with what."""

    target: Callable[..., Any]
    arguments: tuple[Any, ...]


class Crew:
    """Processes at work on a store; each that is killed is followed by another.

    Attributes
    ----------
    n_killed : Counter of str
        How often each kind of process was killed.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.path = folder / "store.ptr"
        self.seed = seed
        self.n_killed: Counter[str] = Counter()
        self._logs = [folder / f"writer{who}.log" for who in range(N_WRITERS)]
        self._context: Any = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.support.kill_workers"])
        self._roles = [
            *(
                Role(kill_workers.write_until_killed, (self.path, seed, who, log))
                for who, log in enumerate(self._logs)
            ),
            Role(kill_workers.checkpoint_until_killed, (self.path,)),
            Role(kill_workers.compact_until_killed, (self.path,)),
            Role(kill_workers.read_until_killed, (self.path, seed, N_WRITERS)),
        ]
        self._processes: list[BaseProcess] = []

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self._processes = [self._started(role) for role in self._roles]
        try:
            yield
        finally:
            codes = [process.exitcode for process in self._processes]
            for process in self._processes:
                process.kill()
                process.join()
        assert codes == [None] * len(codes), "somebody ended by itself"

    def wait_for_a_change_of_each(self) -> None:
        """Wait until all writers have begun; the test's timeout says for how long."""
        while not all(map(kill_workers.acknowledged, self._logs)):
            time.sleep(0.01)

    def _started(self, role: Role) -> BaseProcess:
        process: BaseProcess = self._context.Process(target=role.target, args=role.arguments)
        process.start()
        return process

    def kill(self, at: int) -> None:
        """Kill one process, which must be at work, and start one in its place."""
        process, role = self._processes[at], self._roles[at]
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"{role.target.__name__} ended by itself"
        self.n_killed[role.target.__name__] += 1
        self._processes[at] = self._started(role)

    def check(self) -> list[int]:
        """Check the store as it is now; return how many changes of each writer are there."""
        logged = [kill_workers.acknowledged(log) for log in self._logs]
        parts = kill_workers.Parts(self.seed)
        with ptrarray.open(self.path) as store:
            store.verify()
            return [parts.find(store, who, logged[who]) for who in range(N_WRITERS)]

    def check_all_killed(self) -> list[int]:
        """Check, with nobody at work, that just what was acknowledged is there."""
        found = self.check()
        logged = [kill_workers.acknowledged(log) for log in self._logs]
        # The last change may have been made and not logged.
        assert all(n <= k <= n + 1 for n, k in zip(logged, found, strict=True))
        ptrarray.compact(self.path)
        assert self.check() == found
        names = {entry.name for entry in self.path.iterdir()}
        assert len(names) == 3
        assert {"index.msgpack", "journal.msgpack"} < names
        return found


def kill_at_random(folder: Path, seed: int, n_kills: int) -> tuple[Crew, list[int]]:
    rng = random.Random(seed)
    crew = Crew(folder, seed)
    ptrarray.create(crew.path, dtype="i8").close()
    with crew.at_work():
        crew.wait_for_a_change_of_each()
        for n in range(n_kills):
            time.sleep(rng.uniform(0, LONGEST_LIFE_SECONDS))  # the moment is what is random
            crew.kill(rng.randrange(N_WRITERS + 3))
            if n % CHECK_EVERY == 0:
                crew.check()
    return crew, crew.check_all_killed()


def test_kills(tmp_path: Path) -> None:
    crew, n_changes = kill_at_random(tmp_path, seed=1, n_kills=N_KILLS)
    assert crew.n_killed.total() == N_KILLS
    assert len(crew.n_killed) == 4
    assert sum(n_changes) > 0  # a busy machine may leave one of them no time


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_kills(tmp_path: Path) -> None:
    crew, n_changes = kill_at_random(tmp_path, seed=2, n_kills=N_KILLS_SLOW)
    assert crew.n_killed.total() == N_KILLS_SLOW
    assert min(n_changes) > N_KILLS_SLOW / 10
