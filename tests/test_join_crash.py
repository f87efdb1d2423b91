"""The power is cut, or the process killed, or a call fails, at each step of a join and of a part."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pytest

import ptrarray
from ptrarray.storage.shards import joining
from tests.support.disk import materialise, memory_directory, read_tree
from tests.support.failing import check_named, n_descriptors
from tests.support.faults import each_way, injected
from tests.support.power import outcomes, rebuild
from tests.support.recording import Recording, record
from tests.support.story import Tree, alone, booted, look, repeatable, without_syncs
from tests.test_crash import NORMAL

SOURCES = ("x.ptr", "y.ptr", "z.ptr")
N_STATES = 15  # of each case, in the normal run
EVERY = 13  # operations between two kills, in the normal run
FAILING_EVERY = 29  # calls between two that fail
THERE = (
    "there",
    "changed",
)  # kinds of cases where there is a joined store, which may change meanwhile

Arrays = dict[str, bytes]


def ints(n: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.random.default_rng([n, seed]).integers(1, 2**30, n, np.int32)


@cache
def prepared(kind: str) -> Tree:
    """Return the files of three stores, one with shards, and for some of one that is there."""
    with TemporaryDirectory() as name:
        root = Path(name)
        for seed, source in enumerate(SOURCES):
            size = 600 if source == "y.ptr" else None
            with ptrarray.create(
                root / source, dtype="i4", attrs={"k": 1}, shard_size=size
            ) as writer:
                writer.write({f"{source}/a": ints(80, seed)})
                writer.write({f"{source}/b": ints(70, seed), "same": ints(3, seed)}, overwrite=True)
        if kind == "sealed":
            for source in SOURCES:
                ptrarray.join(
                    root / "other.ptr", [root / source], "link", prefix=source, progress=False
                )
            shutil.rmtree(root / "other.ptr")
        (root / "in").mkdir()
        if kind in THERE:
            with ptrarray.create(
                root / "store.ptr", dtype="i4", attrs={"k": 1}, shard_size=600
            ) as writer:
                writer.write({"old": ints(90, 7), "same": ints(2, 8)})
                writer.write({"new": ints(90, 9)})
        return read_tree(root)


class Case(NamedTuple):
    """A join, of stores that are as they were prepared."""

    kind: str
    how: str
    duplicates: str = "last"

    def path(self, root: Path) -> Path:
        """Return where the joined store is."""
        return root / ("in/store.ptr" if self.kind == "elsewhere" else "store.ptr")

    def join(self, root: Path) -> None:
        found = [root / source for source in SOURCES if (root / source).exists()]
        with changing(self.path(root)) if self.kind == "changed" else nullcontext():
            self._join(root, found)

    def _join(self, root: Path, found: list[Path]) -> None:
        ptrarray.join(self.path(root), found, self.how, duplicates=self.duplicates, progress=False)

    def __str__(self) -> str:
        return "-".join(self)


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Have somebody else write to a store when those that are joined to it were looked at."""
    real = joining._take_files

    def take_files(*given: Any) -> None:
        real(*given)
        with ptrarray.append(path) as writer:
            writer.write({"meanwhile": ints(4, 4)}, overwrite=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joining, "_take_files", take_files)
        yield


CASES = [
    Case("plain", "move"),
    Case("plain", "link", "first"),
    Case("plain", "copy"),
    Case("elsewhere", "move"),
    Case("sealed", "move", "first"),
    Case("there", "move"),
    Case("there", "move", "first"),
    Case("there", "link"),
    Case("changed", "move"),
    Case("there", "copy", "first"),
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def told(case: Case, root: Path) -> Recording:
    materialise(prepared(case.kind), root)
    with booted(1), repeatable(), record(root) as recording:
        case.join(root)
    return recording


class Judge:
    """Checks each different state of a directory once: nothing is lost, and the join can be repeated."""

    def __init__(self, case: Case, place: Path, boot: int) -> None:
        self._case, self._place, self._boot = case, place, boot
        self._known: set[int] = set()
        root = place / "right"
        materialise(prepared(case.kind), root)
        self._before = {name: arrays(root / name) for name in SOURCES}
        with without_syncs():
            case.join(root)
        self.after = arrays(case.path(root))
        shutil.rmtree(root)

    def check(self, tree: Tree) -> None:
        key = hash(tuple(tree.items()))
        if key not in self._known:
            self._known.add(key)
            root = self._place / "state"
            materialise(tree, root)
            with booted(self._boot), without_syncs(), alone():
                self._check(root)
            shutil.rmtree(root)

    def _check(self, root: Path) -> None:
        path = self._case.path(root)
        joined = arrays(path)
        if self._case.kind not in THERE:  # all or nothing
            assert joined in (None, self.after)
        left = {name: arrays(root / name) for name in SOURCES}
        for name, found in left.items():
            # Whole where it was, or in the joined store.
            assert found == self._before[name] or (found is None and self._case.how == "move")
        if self._case.how == "move":
            with suppress_last(left):
                self._case.join(root)
            assert arrays(path) == self.after
            assert not [name for name in SOURCES if (root / name).exists()]
        if path.exists():
            with ptrarray.append(path) as writer:
                writer["extra"] = ints(5, 5)
            assert arrays(path) == (arrays(path) or {}) | {"extra": ints(5, 5).tobytes()}


def suppress_last(left: dict[str, Arrays | None]) -> suppress:
    """Where all has moved, there is nothing to be joined any more."""
    is_all = all(found is None for found in left.values())
    return suppress(*[ptrarray.BadInputError] * is_all)


def arrays(path: Path) -> Arrays | None:
    found = look(path)
    return None if found is None else {n: raw for n, raw in found.items() if n[:1] != "\0"}


@pytest.fixture
def place() -> Iterator[Path]:
    with TemporaryDirectory(dir=memory_directory()) as name:
        yield Path(name)


@each_case
def test_power_cut(case: Case, place: Path) -> None:
    recording = told(case, place / "told")
    judge = Judge(case, place, boot=9)
    rng = random.Random(1)
    for cut in rng.choices(range(len(recording.log) + 1), k=N_STATES):
        fates = rng.choice(list(outcomes(recording, cut, NORMAL)))
        judge.check(rebuild(recording, cut, fates))


@each_case
def test_kill(case: Case, place: Path) -> None:
    recording = told(case, place / "told")
    judge = Judge(case, place, boot=1)
    for cut in range(0, len(recording.log) + 1, EVERY):
        judge.check(rebuild(recording, cut, {}))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@each_case
def test_each_cut_thoroughly(case: Case, place: Path) -> None:
    recording = told(case, place / "told")
    judge, killed = Judge(case, place / "cut", boot=9), Judge(case, place / "killed", boot=1)
    rng = random.Random(2)
    for cut in range(len(recording.log) + 1):
        killed.check(rebuild(recording, cut, {}))
        found = list(outcomes(recording, cut, NORMAL))
        for fates in rng.sample(found, min(len(found), 12)):
            judge.check(rebuild(recording, cut, fates))


# the n-th call fails ------------------------------------------------------------------------------


@each_way
@each_case
def test_some_failing_calls(case: Case, code: int, is_lasting: bool, place: Path) -> None:
    check_failing(case, code, place, is_lasting=is_lasting, every=FAILING_EVERY)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@each_way
@each_case
def test_each_failing_call(case: Case, code: int, is_lasting: bool, place: Path) -> None:
    check_failing(case, code, place, is_lasting=is_lasting, every=1)


def check_failing(case: Case, code: int, place: Path, *, is_lasting: bool, every: int) -> None:
    """Check that what fails says so, loses nothing, and can be done again."""
    judge = Judge(case, place, boot=1)
    n_before = n_descriptors()
    for n in range(random.Random(str(case)).randint(1, every), 3000, every):
        root = place / str(n)
        materialise(prepared(case.kind), root)
        with repeatable(), injected() as faults:
            faults.arm(n, code, is_lasting=is_lasting)
            error = caught(partial(case.join, root))
            faults.disarm()
        if error is None:
            assert arrays(case.path(root)) == judge.after
        else:
            check_named(error, str(root))
        judge.check(read_tree(root))
        shutil.rmtree(root)
        if not faults.n_failed:
            break
    assert n_descriptors() == n_before


def caught(call: Callable[[], None]) -> OSError | None:
    try:
        call()
    except OSError as error:
        error.__traceback__ = error.__context__ = error.__cause__ = None  # which hold files
        return error
    return None
