"""kill -9 of writers, checkpointers, compactors and readers, judged by a log outside the store."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

import ptrarray
from tests.support import kill_workers
from tests.support.kill_workers import content

N_KILLS = 50
N_KILLS_SLOW = 3_000
ROLES: list[Callable[..., None]] = [
    kill_workers.write,
    kill_workers.write,
    kill_workers.read,
    kill_workers.checkpoint,
    kill_workers.compact,
]


class Gang:
    """One process for each role, each begun anew when it was killed."""

    def __init__(self, path: Path, method: str) -> None:
        self.path = path
        self.context = multiprocessing.get_context(method)
        self.processes: list[BaseProcess] = []
        for number in range(len(ROLES)):
            self.log(number).touch()
            self.processes.append(self.start(number))

    def log(self, number: int) -> Path:
        return self.path.parent / f"{number}.log"

    def start(self, number: int) -> BaseProcess:
        version = sum(1 for line in self.lines(number) if line.startswith("begin"))
        arguments = (self.path, self.log(number), number, version)
        process = self.context.Process(target=ROLES[number], args=arguments, daemon=True)  # type: ignore[attr-defined]
        process.start()
        return process  # type: ignore[no-any-return]

    def lines(self, number: int) -> list[str]:
        return self.log(number).read_text().splitlines()

    def wait(self, number: int, n_bytes: int) -> None:
        """Let a process go on until its log has grown by so much."""
        wanted = self.log(number).stat().st_size + n_bytes
        while self.log(number).stat().st_size < wanted:
            assert self.processes[number].is_alive(), f"{ROLES[number].__name__} ended by itself"
            self.processes[number].join(0.001)

    def kill(self, number: int) -> None:
        self.processes[number].kill()
        self.processes[number].join()

    def end(self) -> None:
        for number in range(len(ROLES)):
            self.kill(number)


def check_acknowledged(path: Path, lines: list[str]) -> None:
    """Compare a writer's names with its log; what it had begun last may be done or not."""
    told: dict[str, int | None] = {}
    last: tuple[str, int] | None = None
    for line in lines:
        kind, name, version = line.split()
        if kind == "begin":
            last = (name, int(version))
        else:
            told[name] = int(version) if kind == "there" else None
            last = None
    with ptrarray.open(path) as store:
        for name, known in told.items():
            allowed: list[bytes | None] = [None if known is None else bytes(content(name, known))]
            if last is not None and last[0] == name:
                allowed += [None, bytes(content(*last))]
            found = store.get(name)
            assert (None if found is None else found.tobytes()) in allowed, (name, known, last)


def kill_often(path: Path, method: str, n_kills: int) -> int:
    rng = random.Random(n_kills)
    ptrarray.create(path, dtype="i8").close()
    gang = Gang(path, method)
    n_killed = 0
    try:
        while n_killed < n_kills:
            number = rng.randrange(len(ROLES))
            gang.wait(number, rng.randrange(1, 400) if ROLES[number] is kill_workers.write else 1)
            gang.kill(number)
            n_killed += 1
            if ROLES[number] is kill_workers.write:
                check_acknowledged(path, gang.lines(number))
            gang.processes[number] = gang.start(number)
    finally:
        gang.end()
    for number, role in enumerate(ROLES):
        if role is kill_workers.write:
            check_acknowledged(path, gang.lines(number))
        else:
            assert set(gang.lines(number)) <= {"done"}
    ptrarray.verify(path)
    with ptrarray.append(path) as writer:  # nobody waits for the dead
        writer["after"] = [1, 2, 3]
    ptrarray.verify(path)
    return n_killed


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_kills(method: str, tmp_path: Path) -> None:
    assert kill_often(tmp_path / "killed.ptr", method, N_KILLS // 2) == N_KILLS // 2


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_very_many_kills(tmp_path: Path) -> None:
    assert kill_often(tmp_path / "killed.ptr", "fork", N_KILLS_SLOW) == N_KILLS_SLOW
