"""The power is cut at any moment of a `dump`: the old object is there, or the new one whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

import ptrarray
from tests.support.disk import Disk, materialise, memory_directory
from tests.support.nested import assert_same
from tests.support.power import Effort, outcomes, rebuilt
from tests.support.recording import Recording, Site, record
from tests.support.story import Tree, booted, repeatable, without_syncs
from tests.test_crash import n_alike

NAME = "object.ptr"
EFFORT = Effort(exhaustive_ops=2, n_samples=1, n_special=1, n_around=0)
OLD = {"old": np.arange(5), "text": "old"}
NEW = {"new": [np.arange(10), np.ma.masked_array([1, 2], [True, False])], "text": "x" * 70_000}


def recorded(root: Path, mode: str, omit: Callable[[Site], bool] = lambda _: False) -> Recording:
    """Record a dump, in mode w over an older one."""
    root.mkdir(exist_ok=True)
    with booted(1), repeatable(), without_syncs():
        if mode == "w":
            ptrarray.dump(OLD, root / NAME)
        with record(root, omit) as recording:
            ptrarray.dump(NEW, root / NAME, mode=mode)
    return recording


def violations(recording: Recording, mode: str, place: Path, first: int = 0) -> Iterator[str]:
    """Cut the power after each step from the first on, and yield what should not be."""

    @cache
    def found(state: tuple[tuple[str, bytes | None], ...]) -> str:
        return look(dict(state), place)

    log, before = recording.log, "old" if mode == "w" else "nothing"
    for cut in range(first, len(log) + 1):
        allowed = {"new"} if cut == len(log) else {before, "new"}
        for fates in outcomes(recording, cut, EFFORT):
            disk = rebuilt(recording, cut, fates)
            problem = found(tuple(disk.tree().items()))
            if problem not in allowed:
                yield f"{problem} after {cut} of {len(log)} operations, {fates}"
            shared = files_with_two_names(disk, problem)
            if shared:
                yield f"{shared} are the same after {cut} of {len(log)} operations, {fates}"


def files_with_two_names(disk: Disk, content: str) -> list[str]:
    """Return the paths of a file that two stores have, or that the new store has and something else."""
    stores = {str(Path(path).parent) for path in disk.tree() if path.endswith("/index.msgpack")}
    for paths in disk.paths().values():
        owners = [str(Path(path).parent) for path in paths]
        is_used = content == "new" and NAME in owners
        if len(paths) > 1 and (is_used or stores.issuperset(owners)):
            return paths
    return []


def look(tree: Tree, place: Path) -> str:
    """Say what a state of the directory holds, and find out whether one can go on from it."""
    with TemporaryDirectory(dir=place) as name, booted(2), without_syncs():
        path = Path(name) / "world" / NAME
        materialise(tree, path.parent)
        content, expected = "nothing", None
        if path.exists():
            try:
                expected = ptrarray.load(path)
                ptrarray.verify(path)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
                return f"{type(error).__name__}: {error}"
            content = "old" if "old" in expected else "new"
            assert_same({"old": OLD, "new": NEW}[content], expected)
        again: Any = [1, np.arange(3)]
        ptrarray.dump(again, path, mode="w")
        assert_same(again, ptrarray.load(path))
        # Whoever builds there next removes what was being built.
        assert [entry.name for entry in path.parent.iterdir()] == [NAME]
        return content


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Return a directory in memory if there is one: a state is a few small files."""
    with TemporaryDirectory(dir=memory_directory()) as name:
        yield Path(name)


@pytest.mark.parametrize("mode", ["x", "w"])
def test_power_cut(mode: str, tmp_path: Path, place: Path) -> None:
    recording = recorded(tmp_path, mode)
    assert len(recording.log) > 20
    assert next(violations(recording, mode, place), None) is None


@pytest.mark.parametrize(
    ("mode", "function"),
    [("x", "put_in_place"), ("w", "place"), ("w", "place.<locals>.move"), ("w", "switch_over")],
)
def test_each_sync_is_needed(mode: str, function: str, tmp_path: Path, place: Path) -> None:
    def is_omitted(site: Site) -> bool:
        is_placing = any(caller.endswith("create.place") for caller in site.callers)
        return site.function == function and (is_placing or function == "place")

    recording = recorded(tmp_path / "without", mode, is_omitted)
    assert any(map(is_omitted, recording.sites))
    # Up to the sync that is left out, the same is on the disk as in `test_power_cut`.
    first = n_alike(recording, recorded(tmp_path / "whole", mode))
    assert next(violations(recording, mode, place, first), None) is not None
