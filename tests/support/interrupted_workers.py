"""What runs in a process whose timer raises at random moments."""

from __future__ import annotations

import fcntl
import gc
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import ptrarray
from ptrarray.storage.system.files import CHANGE, File
from ptrarray.storage.system.lock import try_lock_range
from tests.support.checks import open_descriptors
from tests.support.interrupts import Interrupt

_WANTED = [False]
_SMALL, _LARGE = np.arange(3, dtype="i4"), np.arange(30_000, dtype="i4")


class Story:
    """A writer that is interrupted again and again, and what it must have written."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.writer = ptrarray.append(path)
        self.random = random.Random(seed)
        self.n_names = 0
        self.expected = {name: self.writer[name].copy() for name in self.writer}
        self.doubtful: dict[str, Any] = {}  # of the call that was interrupted

    def write(self) -> None:
        self._put(_SMALL + self.n_names)

    def write_large(self) -> None:
        self._put(_LARGE + self.n_names)

    def _put(self, array: Any) -> None:
        name = self._new(array)
        self.writer.write({name: array})
        self._done()

    def allocate(self) -> None:
        name = self._new(_SMALL)
        with self.writer.allocate(name, len(_SMALL)) as rows:
            rows[...] = _SMALL
        self._done()

    def replace(self) -> None:
        name = self.random.choice(list(self.expected))
        self.doubtful = {name: self.expected[name] + 1}
        self.writer.update(self.doubtful)
        self._done()

    def delete(self) -> None:
        if len(self.expected) > 20:
            name = self.random.choice(list(self.expected))
            self.doubtful = {name: None}
            del self.writer[name]
            self._done()

    def change_attrs(self) -> None:
        self.writer.attrs["n"] = self.n_names

    def read(self) -> None:
        name = self.random.choice(list(self.expected))
        assert np.array_equal(self.writer[name], self.expected[name]), name

    def open_another(self) -> None:
        ptrarray.append(self.path).close()

    def checkpoint(self) -> None:
        ptrarray.checkpoint(self.path)

    def _new(self, array: Any) -> str:
        self.n_names += 1
        name = f"n{self.n_names}"
        self.doubtful = {name: array}
        return name

    def _done(self) -> None:
        """Take what was doubtful for done."""
        for name, array in self.doubtful.items():
            if array is None:
                self.expected.pop(name, None)
            else:
                self.expected[name] = array
        self.doubtful = {}

    def settle(self) -> None:
        """Look whether the call that was interrupted has done all of its work, or nothing."""
        with ptrarray.open(self.path) as store:
            for name, array in self.doubtful.items():
                now = store.get(name)
                was = self.expected.get(name)
                if not _same(now, was):
                    assert _same(now, array), name
                    self._done()
            assert set(store) == set(self.expected)
        self.doubtful = {}

    @property
    def calls(self) -> list[Callable[[], None]]:
        often = [self.write, self.write_large, self.allocate, self.replace, self.delete]
        return [*often * 3, self.change_attrs, self.read, self.open_another, self.checkpoint]


def _same(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


def interrupted(path: Path, n_interrupts: int, seed: int, results: Any) -> None:
    """Let a timer raise so many times while a writer works; send what was wrong."""
    signal.signal(signal.SIGALRM, _raise)
    story = Story(path, seed)
    wrong: list[str] = []
    for _ in range(n_interrupts):
        call = _until_interrupted(story)
        wrong += [f"{call.__name__}: {what}" for what in _held(path)]
        if wrong:
            break
        story.settle()
        name = story.random.choice(list(story.expected))
        try:
            story.writer.write({name: _SMALL})
        except ptrarray.DuplicateNameError:
            continue
        wrong.append(f"{call.__name__}: {name} was accepted twice")
        break
    story.writer.close()
    gc.collect()
    wrong += [f"open: {name}" for name in open_descriptors(path)]
    results.send((wrong, list(story.expected)))


def _until_interrupted(story: Story) -> Callable[[], None]:
    """Call one thing after the other; return the one that was interrupted."""
    seconds, call = story.random.uniform(1e-5, 3e-3), story.read
    try:
        _WANTED[:] = [True]
        # Again and again, as Python drops what is raised while an object goes.
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
        while True:
            call = story.random.choice(story.calls)
            call()
    except Interrupt as error:
        _WANTED[:] = [False]
        error.__traceback__ = None
        signal.setitimer(signal.ITIMER_REAL, 0)
    return call


def _raise(*_: object) -> None:
    if _WANTED[0]:
        raise Interrupt


def _held(path: Path) -> list[str]:
    """Tell which locks somebody holds."""
    found = []
    for journal in path.rglob("journal.msgpack"):
        with File(journal, CHANGE) as file:
            try:
                fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(f"{journal} is locked")
    gc.collect()
    for data in path.rglob("data*.bin"):
        with File(data, CHANGE) as file:
            if not try_lock_range(file, 0, 2**62):
                found.append(f"rows of {data} are locked")
    return found
