"""One disk on which several things are done at once, and the power cuts that it goes through.

Each thing runs in a process of its own. One more has the file system write to the disk at odd
moments. All of them know from a shared counter how long the record of the disk is, so that each
promise is noted with the record at which it was made.
"""

from __future__ import annotations

import ctypes
import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from ptrarray.storage.system import files
from ptrarray.storage.system.files import File
from tests.support.apart import DiedError, called, started
from tests.support.cuts import Cut, CutDisk, Span, chosen
from tests.support.disk import read_tree
from tests.support.disk_trials import OnDisk, Trial, is_full
from tests.support.file_systems import FileSystem, RefusedError, fill_up, make, mounted
from tests.support.recorder import Counter, Log, recorded
from tests.support.recording import Site, site_of
from tests.support.story import NAME, Story, booted

GO_ON_EVERY = 3
State = tuple[str, int, Hashable]  # of what is in a trial's folder, and which commits are allowed
_SOME_WRITES = 2  # SYNC_FILE_RANGE_WRITE


class Conditions(NamedTuple):
    """What a disk is like.

    Attributes
    ----------
    fs : FileSystem
        What is on it.
    sector_nbytes : int
        What it writes whole.
    old : bytes
        What lay on it before, again and again; nothing for zeros.
    n_left : int or None
        Bytes that are free; None for all.
    left_out : re.Pattern or None
        Which syncs are not done.
    """

    fs: FileSystem
    sector_nbytes: int = 512
    old: bytes = b""
    n_left: int | None = None
    left_out: re.Pattern[str] | None = None

    def __str__(self) -> str:
        about = f"sectors of {self.sector_nbytes}"
        return about + ", old data" * bool(self.old) + ", full" * (self.n_left is not None)

    @property
    def may_kill(self) -> bool:
        """Whether who fills a mapping may be killed: a full btrfs has no other place for its pages."""
        return self.fs.kind == "btrfs" and self.n_left is not None


@dataclass
class Round:
    """What was done on a disk.

    Attributes
    ----------
    stories : dict of Trial to Story
        Of each thing that was done, what it has been promised.
    sites : dict of Site to None
        Who asked for syncs.
    known : set of State
        What was judged already, and is right.
    """

    conditions: Conditions
    base: Path
    log: Log
    stories: dict[Trial, Story]
    sites: dict[Site, None]
    known: set[State] = field(default_factory=set)


@dataclass
class Findings:
    """What was found after power cuts."""

    n_cuts: int = 0
    n_cached: int = 0
    n_judged: int = 0
    n_different: int = 0
    refused: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    n_by_way: dict[str, int] = field(default_factory=dict)

    def add(self, other: Findings) -> None:
        self.n_cuts += other.n_cuts
        self.n_cached += other.n_cached
        self.n_judged += other.n_judged
        self.n_different += other.n_different
        self.refused += other.refused
        self.losses += other.losses
        for way, n_cuts in other.n_by_way.items():
            self.n_by_way[way] = self.n_by_way.get(way, 0) + n_cuts


# doing it -----------------------------------------------------------------------------------------


def prepared(conditions: Conditions, trials: list[Trial], folder: Path) -> Path:
    """Make a disk with what has to be there before."""
    base, fs, sector = folder / "base.img", conditions.fs, conditions.sector_nbytes
    make(fs, base, sector, conditions.old)
    with mounted(fs, base, folder / "mnt", sector) as root:
        for trial in trials:
            (root / trial.name).mkdir()
            trial.prepare(root / trial.name)
        if conditions.n_left is not None:
            fill_up(root, conditions.n_left)
    return base


def done(
    conditions: Conditions, trials: list[Trial], base: Path, folder: Path, boot: int, seed: int
) -> Round:
    """Do things on a disk, all at once, and record it."""
    work, counter = folder / "work.img", Counter()
    shutil.copyfile(base, work)
    fs, sector = conditions.fs, conditions.sector_nbytes
    with (
        recorded(work, folder / "log", folder / "disk", counter) as disk,
        mounted(fs, disk, folder / "mnt", sector, direct=True) as root,
        _restless(root, seed),
    ):
        calls = [partial(_tell, trial, root, conditions, counter, boot, seed) for trial in trials]
        # All are waited for: none of them may keep the file system in use.
        outcomes = [one.outcome() for one in [*map(started, calls)]]
    results = [outcome.get() for outcome in outcomes]
    work.unlink()
    sites: dict[Site, None] = {}
    for _, some in results:
        sites |= some
    stories = {trial: story for trial, (story, _) in zip(trials, results, strict=True)}
    return Round(conditions, base, Log(folder / "log"), stories, sites)


def _tell(
    trial: Trial, root: Path, conditions: Conditions, counter: Counter, boot: int, seed: int
) -> tuple[Story, dict[Site, None]]:
    rng = random.Random(f"{seed}/{boot}/{trial.name}")
    folder = root / trial.name
    with booted(boot), _noting_syncs(conditions.left_out) as sites:
        recording = OnDisk(folder, counter, rng.getrandbits(32), may_kill=conditions.may_kill)
        story = Story(recording, trial.look(folder / NAME) if boot > 1 else None)
        try:
            trial.tell(story, rng)
        except Exception as error:
            if conditions.n_left is None or not is_full(error):
                raise
    return story, sites


@contextmanager
def _noting_syncs(left_out: re.Pattern[str] | None) -> Iterator[dict[Site, None]]:
    """Note who asks for syncs, and leave out some."""
    sites: dict[Site, None] = {}
    real_sync, real_sync_directory = File.sync, files.sync_directory

    def is_done(file: str) -> bool:
        site = site_of(sys._getframe(2), file)
        sites[site] = None
        return left_out is None or not left_out.search(described(site))

    def sync(self: File) -> None:
        if is_done(Path(self.path).name.split(".")[0]):
            real_sync(self)

    def sync_directory(path: str | Path) -> None:
        if is_done(""):
            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(File, "sync", real_sync)
                real_sync_directory(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(File, "sync", sync)
        patch.setattr(files, "sync_directory", sync_directory)
        yield sites


def described(site: Site) -> str:
    """Return a line about a sync: of what, by whom."""
    return f"{site.file or 'directory'} {site}"


@contextmanager
def _restless(root: Path, seed: int) -> Iterator[None]:
    """Have another process make the file system write what it has, at odd moments."""
    parent, pid = os.getpid(), os.fork()
    if not pid:
        with suppress(BaseException):
            rng, own = random.Random(seed), root / "another"
            own.mkdir(exist_ok=True)
            while os.getppid() == parent:
                time.sleep(rng.random() * 0.01)
                with suppress(OSError):  # what it wanted to write is gone, or the disk is full
                    _stir(root, own, rng)
        os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _stir(root: Path, own: Path, rng: random.Random) -> None:
    what = rng.random()
    if what < 0.5:
        found = [path for path in root.rglob("*") if path.is_file() and path.name != "filler"]
        start, nbytes = rng.choice((0, 0, 4096, 65536)), rng.choice((0, 4096, 65536))
        with rng.choice(found).open("rb") as file:
            libc = ctypes.CDLL(None)
            offsets = ctypes.c_int64(start), ctypes.c_int64(nbytes)
            libc.sync_file_range(file.fileno(), *offsets, _SOME_WRITES)
    elif what < 0.8:
        new = own / "new"
        with new.open("wb") as file:
            file.write(rng.randbytes(rng.choice((10, 5000))))
            if rng.random() < 0.5:
                file.flush()
                os.fsync(file.fileno())
        new.replace(own / f"{rng.randrange(5)}")
    else:
        with File(own, files.DIRECTORY) as directory:
            directory.sync()


# cutting the power --------------------------------------------------------------------------------


def cut_through(told: Round, n_cuts: int, folder: Path, seed: int) -> Iterator[Findings]:
    """Cut the power of a disk so many times; yield what was found after each."""
    rng, conditions = random.Random(seed), told.conditions
    marks = [story.first_and_promises() for story in told.stories.values()]
    promises = sorted(at for _, some in marks for at in some)
    span = Span(min(first for first, _ in marks), len(told.log.records), promises)
    disk = CutDisk(told.log, told.base, folder, conditions.fs, conditions.sector_nbytes)
    for number, cut in enumerate(chosen(told.log, span, n_cuts, rng, conditions.fs)):
        yield _judged(told, disk, cut, number, folder, rng)


def _judged(
    told: Round, disk: CutDisk, cut: Cut, number: int, folder: Path, rng: random.Random
) -> Findings:
    fs, sector = told.conditions.fs, told.conditions.sector_nbytes
    found = Findings(n_cuts=1, n_by_way={cut.way: 1})
    try:
        found.n_cached = disk.rebuild(cut, rng)
        with mounted(fs, disk.image, folder / "cut", sector) as root:
            judged, found.losses = called(partial(_judge, told, root, cut.at, number))
    except RefusedError as error:
        found.refused.append(f"{cut}, {found.n_cached} in the cache: {error}")
        disk.image.unlink()  # nothing can go on from there
        return found
    except DiedError as error:  # of a mapped page that the file system cannot read: SIGBUS
        judged, found.losses = set(), [f"{error} as it judged"]
    told.known |= judged
    found.n_judged, found.n_different = len(told.stories), len(judged)
    about = f"{cut}, {found.n_cached} in the cache, {told.conditions}"
    found.losses = [f"{about}: {problem}" for problem in found.losses]
    return found


def _judge(told: Round, root: Path, cut: int, number: int) -> tuple[set[State], list[str]]:
    """Judge all that is new; return what is right, and what is wrong with the rest."""
    judged, problems = set[State](), list[str]()
    (root / "filler").unlink(missing_ok=True)  # or there was no room to go on
    for at, (trial, story) in enumerate(told.stories.items()):
        try:
            state = _state(trial, root, trial.allowed(story, cut))
            # Going on takes longest: some of them, with a checkpoint and without.
            n_before, is_skipped = divmod(at + number, GO_ON_EVERY)
            problem = state not in told.known and trial.problem(
                root / trial.name, story, cut, None if is_skipped else n_before
            )
        except OSError as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            problems.append(f"{trial.name}: {problem}")
        else:
            judged.add(state)
    return judged - told.known, problems


def _state(trial: Trial, root: Path, allowed: Hashable) -> State:
    return trial.name, hash(tuple(read_tree(root / trial.name).items())), allowed
