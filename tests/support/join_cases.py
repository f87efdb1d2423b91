"""Joins of stores of which the power is cut, and the judge of what is left."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pytest

import ptrarray
from ptrarray.storage.shards import joining
from tests.support.disk import materialise, memory_directory, read_tree
from tests.support.story import Tree, alone, booted, look, without_syncs

SOURCES = ("x.ptr", "y.ptr", "z.ptr")
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


@cache
def right(case: Case) -> tuple[dict[str, Arrays | None], Arrays | None]:
    """Return what is in each store before a join, and in the joined one after it."""
    with TemporaryDirectory(dir=memory_directory()) as name, without_syncs():
        root = Path(name) / "right"
        materialise(prepared(case.kind), root)
        before = {source: arrays(root / source) for source in SOURCES}
        case.join(root)
        return before, arrays(case.path(root))


class Judge:
    """Checks each different state of a directory once: nothing is lost, and the join can be repeated."""

    def __init__(self, case: Case, place: Path, boot: int) -> None:
        self._case, self._place, self._boot = case, place, boot
        self._known: set[int] = set()
        self._before, self.after = right(case)

    def check(self, tree: Tree) -> None:
        key = hash(tuple(tree.items()))
        if key not in self._known:
            self._known.add(key)
            root = self._place / f"state{len(self._known)}"
            materialise(tree, root)
            self.check_at(root)
            shutil.rmtree(root)

    def check_at(self, root: Path, *, is_done: bool = False) -> None:
        """Check a directory; the join had returned if it is done."""
        with booted(self._boot), without_syncs(), alone():
            self._check(root, is_done)

    def _check(self, root: Path, is_done: bool) -> None:
        path = self._case.path(root)
        joined = arrays(path)
        assert joined == self.after or not is_done
        if self._case.kind not in THERE:  # all or nothing
            assert joined in (None, self.after)
        left = {name: arrays(root / name) for name in SOURCES}
        assert not (is_done and self._case.how == "move" and any(left.values()))
        for name, found in left.items():
            # Whole where it was, or in the joined store.
            assert found == self._before[name] or (found is None and self._case.how == "move")
        if self._case.how == "move":
            with suppress_last(left):
                self._case.join(root)
            joined = arrays(path)
            assert joined == self.after
            assert not [name for name in SOURCES if (root / name).exists()]
        if path.exists():
            with ptrarray.append(path) as writer:
                writer["extra"] = ints(5, 5)
            assert arrays(path) == (joined or {}) | {"extra": ints(5, 5).tobytes()}


def suppress_last(left: dict[str, Arrays | None]) -> suppress:
    """Where all has moved, there is nothing to be joined any more."""
    is_all = all(found is None for found in left.values())
    return suppress(*[ptrarray.BadInputError] * is_all)


def arrays(path: Path) -> Arrays | None:
    found = look(path)
    return None if found is None else {n: raw for n, raw in found.items() if n[:1] != "\0"}
