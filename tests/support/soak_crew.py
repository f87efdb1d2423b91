"""All processes of a soak: started, watched, and some of them killed and started again."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

import ptrarray
from tests.support import soak_objects, soak_reading, soak_upkeep, soak_writing
from tests.support.servers import Nginx
from tests.support.soak_counting import Counts, sparse
from tests.support.soak_role import KEPT, Site, work
from tests.support.soak_watching import Room, Taken, room, taken
from tests.support.viewing import Viewed

ROOT = Path(__file__).parents[2]
SAMPLES = 5  # in a window
_TICKS = os.sysconf("SC_CLK_TCK")


class Post(NamedTuple):
    """What some process is to do.

    Attributes
    ----------
    rate : float
        Calls a second, of those of a writer.
    mortal : bool
        Whether it is killed now and then, and another takes its place.
    """

    make: Any
    rate: float
    start: str = "fork"
    mortal: bool = False


def posts(remote_url: str | None, viewer_url: str) -> dict[str, Post]:
    writing, reading = soak_writing.writing, soak_reading.reading
    found = {
        "writer of plain": Post(writing("plain", 0), 1),
        "mortal writer of plain": Post(writing("plain", 1), 1, mortal=True),
        "writer of masked": Post(writing("masked", 2), 1, "spawn"),
        "mortal writer of masked": Post(writing("masked", 3), 1, mortal=True),
        "writer of shards": Post(writing("shards", 4), 1),
        "mortal writer of shards": Post(writing("shards", 5), 1, mortal=True),
        "reader of plain": Post(reading("plain"), 1.5, "spawn"),
        "reader of masked": Post(reading("masked"), 1.5),
        "reader of shards": Post(reading("shards"), 1.5),
        "opener": Post(soak_reading.Opening, 0.5),
        "mortal opener": Post(soak_reading.Opening, 0.5, mortal=True),
        "checkpointer": Post(soak_upkeep.Checkpointing, 0.1),
        "compactor": Post(soak_upkeep.Compacting, 0.03),
        "mortal compactor": Post(soak_upkeep.Compacting, 0.03, mortal=True),
        "editor": Post(soak_upkeep.Editing, 0.2),
        "forker": Post(soak_upkeep.Forking, 0.05),
        "objects": Post(soak_objects.Objects, 0.1),
        "yardstick": Post(soak_upkeep.Measuring, 1),
        "joiner": Post(soak_objects.Joining, 0.1),
        "browser": Post(partial(soak_objects.Viewing, viewer_url), 0.1),
    }
    if remote_url is not None:
        found["remote reader"] = Post(partial(soak_objects.Remote, remote_url), 0.5, "spawn")
    return found


class Crew:
    """Everything at once.

    Parameters
    ----------
    folder : Path
        Where all of it lies; there is nothing yet.
    rate : float
        Calls a second of each writer, to which all others keep.
    kill_seconds : float
        A process is killed about as often; 0 for at each look.
    """

    def __init__(self, folder: Path, seed: int, rate: float, kill_seconds: float) -> None:
        self._site, self._seed, self._rate = Site(folder), seed, rate
        self._kill_seconds, self._rng = kill_seconds, random.Random(seed)
        self._processes: dict[str, BaseProcess] = {}
        self._others: dict[str, subprocess.Popen[bytes]] = {}
        self._posts: dict[str, Post] = {}
        self._stack = ExitStack()
        self._ended_ticks = 0
        self.n_kills = 0

    def __enter__(self) -> Self:
        self._site.make()
        with self._stack as stack:
            nginx = stack.enter_context(_nginx(self._site.folder))
            # The reader finds a store there at once, which another then makes anew.
            ptrarray.create(self._site.path("published"), dtype="i8").close()
            url = nginx.publish(self._site.path("published"))
            viewer = Viewed(self._site.path("plain"), "--interval=0.5")
            command = ["watch", "--json", "--interval=0.5", self._site.path("masked")]
            watch = subprocess.Popen(
                [sys.executable, "-m", "ptrarray", *map(str, command)],
                stdout=subprocess.DEVNULL,
                cwd=ROOT,
            )
            self._others = {"nginx": nginx.process, "viewer": viewer.process, "watch": watch}
            for process in (viewer.process, watch):
                stack.callback(_end, process)
            self._posts = posts(url, viewer.url)
            for name in self._posts:  # before its process does
                Counts(self._counts(name))
            self._processes = {name: self._started(name) for name in self._posts}
            self._stack = stack.pop_all()
        self._wait_until_all_have_begun()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.join()
        self._stack.close()

    def _started(self, name: str) -> BaseProcess:
        post = self._posts[name]
        context: Any = multiprocessing.get_context(post.start)
        arguments = (post.make, self._site, name, self._seed, post.rate * self._rate)
        process: BaseProcess = context.Process(target=work, args=arguments)
        process.start()
        return process

    def _wait_until_all_have_begun(self) -> None:
        while not self._wrong() and not all(
            Counts(self._counts(name)).counted.any() for name in self._posts
        ):
            time.sleep(0.2)

    def _counts(self, name: str) -> Path:
        return self._site.notes / f"{name}.counts"

    # watching -------------------------------------------------------------------------------------

    def windows(self, seconds: float, n_windows: int) -> Iterator[dict[str, Any]]:
        """Yield what there was in one stretch of time after the other, until something is wrong."""
        began = time.monotonic()
        next_kill = began + self._kill_seconds
        before, number = 0, 0
        while number < n_windows:
            found = _Window()
            for sample in range(SAMPLES):
                at = began + seconds * (number + (sample + 1) / SAMPLES)
                time.sleep(max(at - time.monotonic(), 0))
                self._sample(found)
                if time.monotonic() > next_kill:
                    next_kill += self._kill_seconds
                    self._kill()
            counted = self._counted()
            wrong = self._wrong()
            yield {
                "seconds": time.monotonic() - began,
                "processes": found.processes,
                "rooms": found.rooms,
                "calls": sparse(counted - before),
                "kills": self.n_kills,
                "cpu_seconds": self._cpu_seconds(),
                "wrong": wrong,
            }
            before = counted
            if wrong:
                return
            # What a busy machine has made late is not made up for.
            number = max(number + 1, int((time.monotonic() - began) / seconds))

    def _pids(self) -> dict[str, int]:
        pids = {name: process.pid or 0 for name, process in self._processes.items()}
        others = {name: process.pid for name, process in self._others.items()}
        return {**pids, **others, "watching all": os.getpid()}

    def _sample(self, found: _Window) -> None:
        for name, pid in self._pids().items():
            one = taken(pid)
            if one is not None:
                found.add_process(name, pid, one)
        for path in sorted(self._site.stores.iterdir()):
            if path.suffix == ".ptr" and path.name != "unpacked.ptr":
                found.add_room(path.stem, room(path))
        found.add_room("all", room(self._site.stores))

    def _kill(self) -> None:
        name = self._rng.choice([name for name, post in self._posts.items() if post.mortal])
        process = self._processes[name]
        if process.exitcode is None:
            self._ended_ticks += _ticks(process.pid or 0)
            process.kill()
            process.join()
            process.close()
            self.n_kills += 1
            self._processes[name] = self._started(name)

    def _counted(self) -> Any:
        all_of_them = (Counts(self._counts(name)).counted for name in self._posts)
        return sum(all_of_them, start=np.int64(0))

    def _wrong(self) -> dict[str, str]:
        """Return what processes have written down, and those that have ended without."""
        wrong = self._site.wrong()
        for name, process in self._processes.items():
            if process.exitcode is not None:
                wrong.setdefault(name, f"ended with {process.exitcode}")
        for name, other in self._others.items():
            if other.poll() is not None:
                wrong[name] = f"ended with {other.returncode}"
        return wrong

    def _cpu_seconds(self) -> float:
        living = sum(_ticks(pid) for pid in self._pids().values())
        return (self._ended_ticks + living) / _TICKS

    def end(self) -> dict[str, str]:
        """End all in good order, look at what they have left, and return what is wrong."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.join(600)
        wrong = self._wrong_at_the_end()
        for name in (*KEPT, "edited", "joined", "tables", "published", "forked"):
            path = self._site.path(name)
            try:
                if path.exists():
                    ptrarray.verify(path)
            except ptrarray.CorruptStoreError as error:
                wrong[name] = f"{error}: {error.damage[:5]}"
        return wrong

    def _wrong_at_the_end(self) -> dict[str, str]:
        wrong = self._site.wrong()
        for name, process in self._processes.items():
            if process.exitcode not in (0, None, -signal.SIGTERM):  # which it may get as it begins
                wrong.setdefault(name, f"ended with {process.exitcode}")
            elif process.exitcode is None:
                wrong[name] = "does not end"
        return wrong


class _Window:
    """What was sampled in one window."""

    def __init__(self) -> None:
        self.processes: dict[str, dict[str, Any]] = {}
        self.rooms: dict[str, dict[str, list[int]]] = {}

    def add_process(self, name: str, pid: int, one: Taken) -> None:
        if self.processes.get(name, {}).get("pid") != pid:
            self.processes[name] = {"pid": pid, **{what: [] for what in Taken._fields}}
        for what, n in one._asdict().items():
            self.processes[name][what].append(n)

    def add_room(self, name: str, one: Room) -> None:
        has = self.rooms.setdefault(name, {what: [] for what in Room._fields})
        for what, n in one._asdict().items():
            has[what].append(n)


def _ticks(pid: int) -> int:
    """Return what a process and its children that have ended took of processors."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15]))
    return 0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()


@contextmanager
def _nginx(folder: Path) -> Iterator[Nginx]:
    place = folder / "nginx"
    place.mkdir()
    with Nginx(place, "access_log off;") as server:
        yield server
