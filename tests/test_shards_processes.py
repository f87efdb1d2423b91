"""Many processes on one store of shards, some of them killed while shards are made."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.storage.shards import session as sharded_session
from tests.support import kill_workers, shard_workers
from tests.support.shard_workers import content
from tests.test_kills import LONGEST_LIFE_SECONDS, N_WRITERS, Crew

SHARD_NBYTES = 200_000
N_PROCESSES = 4
N_ARRAYS = 15
N_KILLS, N_KILLS_SLOW = 25, 1500
TIMEOUT_SECONDS = 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "shared.ptr"
    ptrarray.create(path, dtype="i8", shard_size=SHARD_NBYTES).close()
    return path


def receive(pipe: Any) -> Any:
    assert pipe.poll(TIMEOUT_SECONDS), "nothing was told"
    return pipe.recv()


def kill(process: BaseProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_nothing_is_lost_and_no_name_is_twice(path: Path, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    barrier = context.Barrier(N_PROCESSES)
    pipes, processes = [], []
    for who in range(N_PROCESSES):
        ours, theirs = context.Pipe(duplex=False)
        args = (path, who, N_ARRAYS, barrier, theirs)
        processes.append(context.Process(target=shard_workers.append_own_and_shared, args=args))
        processes[-1].start()
        pipes.append(ours)
    won = Counter(name for pipe in pipes for name in receive(pipe))
    for process in processes:
        process.join(TIMEOUT_SECONDS)
        assert process.exitcode == 0
    assert won == Counter(f"shared/{n}" for n in range(N_ARRAYS))
    names = {
        *won,
        *(n for who in range(N_PROCESSES) for n in shard_workers.own_names(who, N_ARRAYS)),
    }
    with ptrarray.open(path) as store:
        assert sorted(store) == sorted(names)
        for name in names:
            assert np.array_equal(store[name], content(name))
        store.verify()
        assert len(store.shards) > 3
        found = Counter(name for shard in store.shards for name in ptrarray.open(shard))
        assert found == Counter(names)
        for shard in store.shards:
            ptrarray.verify(shard)


def test_a_writer_inherited_by_forks(path: Path) -> None:
    with ptrarray.append(path) as writer:
        writer.write({"parent": content("parent")})
        shard_workers.INHERITED[:] = [writer]
        with multiprocessing.get_context("fork").Pool(2) as pool:
            names = pool.map(shard_workers.append_with_the_inherited, range(30))
        writer.write({"parent again": [1]})
        assert len(writer) == 32
    shard_workers.INHERITED.clear()
    with ptrarray.open(path) as store:
        store.verify()
        for name in names:
            assert np.array_equal(store[name], content(name))


def test_killed_while_it_appends(path: Path) -> None:
    """What was acknowledged is there, each shard opens alone, and others go on."""
    context: Any = multiprocessing.get_context("fork")
    rng = random.Random(4)
    acknowledged = {}
    for who in range(6):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(
            target=shard_workers.append_until_killed, args=(path, who, theirs)
        )
        process.start()
        theirs.close()
        for _ in range(rng.randrange(3, 25)):
            acknowledged[who] = receive(ours)
        kill(process)
        while ours.poll():
            try:
                acknowledged[who] = ours.recv()
            except EOFError:
                break
    with ptrarray.open(path) as store:
        store.verify()
        for who, n in acknowledged.items():
            last = int(store[f"{who}/last"][0])
            assert last in (n, n + 1)
            for k in range(last + 1):
                assert np.array_equal(store[f"{who}/{k}"], content(f"{who}/{k}"))
        assert len(store) == sum(int(store[f"{who}/last"][0]) + 2 for who in acknowledged)
        assert len(store.shards) > 2
        for shard in store.shards:
            ptrarray.verify(shard)


def test_killed_anywhere_while_a_shard_is_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies before, in and after the making of a shard stops nobody."""
    context: Any = multiprocessing.get_context("fork")
    names: list[str] = []

    def write_and_die(at: str, name: str) -> None:
        real = getattr(sharded_session, at)

        def dying(*args: Any, **options: Any) -> Any:
            if name.endswith("after"):
                real(*args, **options)
            os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(sharded_session, at, dying)
        writer = ptrarray.append(path)
        while True:
            writer.write({f"{name}/{len(writer)}": np.zeros(2000, "i8")})

    for at in ("remove_leftovers", "create_store", "new_header"):
        for when in ("before", "after"):
            process = context.Process(target=write_and_die, args=(at, f"{at}/{when}"))
            process.start()
            process.join(TIMEOUT_SECONDS)
            assert process.exitcode == -signal.SIGKILL
            with ptrarray.open(path) as store:
                assert set(names) <= set(store)
                names = list(store)
                store.verify()
    with ptrarray.append(path) as writer:
        for n in range(30):
            writer.write({f"more/{n}": np.zeros(2000, "i8")})
    assert len(ptrarray.open(path)) == len(names) + 30
    assert [entry for entry in path.iterdir() if entry.name.startswith(".")] == []


# writers, a checkpointer, a compactor and readers, killed at random ------------------------------


def kill_at_random(folder: Path, seed: int, n_kills: int) -> tuple[Crew, list[int]]:
    rng = random.Random(seed)
    crew = Crew(folder, seed)
    ptrarray.create(crew.path, dtype="i8", shard_size=SHARD_NBYTES).close()
    with crew.at_work():
        crew.wait_for_a_change_of_each()
        for _ in range(n_kills):
            time.sleep(rng.uniform(0, LONGEST_LIFE_SECONDS))  # the moment is what is random
            crew.kill(rng.randrange(N_WRITERS + 3))
        crew.check()
    found = crew.check()
    logged = [kill_workers.acknowledged(log) for log in crew._logs]
    assert all(n <= k <= n + 1 for n, k in zip(logged, found, strict=True))
    with ptrarray.append(crew.path) as writer:
        writer.flush()
    ptrarray.compact(crew.path)
    assert crew.check() == found
    with ptrarray.open(crew.path) as store:
        assert len(store.shards) > 1
        names = Counter(name for shard in store.shards for name in ptrarray.open(shard))
        assert names == Counter(list(store))
    return crew, found


def test_kills(tmp_path: Path) -> None:
    crew, n_changes = kill_at_random(tmp_path, seed=1, n_kills=N_KILLS)
    assert crew.n_killed.total() == N_KILLS
    assert sum(n_changes) > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_kills(tmp_path: Path) -> None:
    crew, n_changes = kill_at_random(tmp_path, seed=2, n_kills=N_KILLS_SLOW)
    assert crew.n_killed.total() == N_KILLS_SLOW
    assert min(n_changes) > N_KILLS_SLOW / 20
