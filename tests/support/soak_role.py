"""One process of a soak: what it has in common with the others, and the pace that it keeps."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, NoReturn

import ptrarray
from tests.support.soak_content import Gate, Layout, Ledger
from tests.support.soak_counting import Counts

SHARD_SIZE = "400kB"


class Kept(NamedTuple):
    """A store that processes share: how it is made, and who writes to it."""

    layout: Layout
    options: dict[str, Any]
    writers: tuple[int, ...]


KEPT = {
    "plain": Kept(Layout(), {"dtype": "i8"}, (0, 1)),
    "masked": Kept(Layout(mixed=True, masked=True), {"masked": True}, (2, 3)),
    "shards": Kept(Layout(), {"dtype": "i8", "shard_size": SHARD_SIZE}, (4, 5)),
}


class Site:
    """The folder of a soak."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stores, self.notes = folder, folder / "stores", folder / "notes"

    def path(self, name: str) -> Path:
        return self.stores / f"{name}.ptr"

    def make(self) -> None:
        self.stores.mkdir(parents=True)
        self.notes.mkdir()
        Ledger(self.notes / "ledger")
        for name, kept in KEPT.items():
            ptrarray.create(self.path(name), **kept.options).close()

    def ledger(self) -> Ledger:
        return Ledger(self.notes / "ledger")

    def gate(self, name: str) -> Gate:
        return Gate(self.notes / f"{name}.gate")

    def wrong(self) -> dict[str, str]:
        """Return what processes have found wrong, by their names."""
        return {file.stem: file.read_text() for file in self.notes.glob("*.wrong")}


class Role:
    """What a process does again and again.

    Attributes
    ----------
    CALLS : dict from str to float
        What it calls, as the names of its methods without the underscore, and how often.
    """

    CALLS: ClassVar[dict[str, float]] = {}

    def __init__(self, site: Site, name: str, seed: int) -> None:
        self.site, self.name = site, name
        # Not what a life before this one did, nor what another does.
        self.rng = random.Random(f"{seed}/{name}/{os.getpid()}")
        self.counts = Counts(site.notes / f"{name}.counts")
        self._does = [getattr(self, f"_{call}") for call in self.CALLS]

    def call(self) -> None:
        """Call one thing."""
        self.rng.choices(self._does, [*self.CALLS.values()])[0]()

    def close(self) -> None:
        """Let go of all that is open."""

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Note how long a block takes, unless it raises."""
        began = time.perf_counter_ns()
        yield
        self.counts.add(kind, time.perf_counter_ns() - began)

    @contextmanager
    def refusable(self, *errors: type[Exception]) -> Iterator[None]:
        """Note what is refused for a reason that others gave."""
        began = time.perf_counter_ns()
        try:
            yield
        except errors as error:
            if isinstance(error, ptrarray.CorruptStoreError):
                raise
            self.counts.add("refused", time.perf_counter_ns() - began)


def work(make: Any, site: Site, name: str, seed: int, rate: float) -> NoReturn:
    """Be one process until somebody ends it, and write down what was wrong.

    Parameters
    ----------
    rate : float
        Calls a second. What is late is not made up for.
    """
    is_over = False

    def end(*_: object) -> None:
        nonlocal is_over
        is_over = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent, next_at = os.getppid(), time.monotonic()
    try:
        role = make(site, name, seed)
        while not is_over and os.getppid() == parent:
            role.call()
            next_at = max(next_at + 1 / rate, time.monotonic() - 1)
            time.sleep(max(next_at - time.monotonic(), 0))
        role.close()
    except BaseException:  # noqa: BLE001 - whatever it is, the soak is over
        (site.notes / f"{name}.wrong").write_text(traceback.format_exc())
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)
