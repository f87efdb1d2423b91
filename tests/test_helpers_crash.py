"""The power is cut, or a process killed, as Series are written and their helper arrays dropped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import pytest

import ptrarray
from ptrarray.frames.series import describe
from ptrarray.storage.shards import helpers, upkeep
from ptrarray.storage.writing.target import WritableStore
from ptrarray.writer import close_leaving
from tests.support.disk import memory_directory
from tests.support.story import Judge, Story, essence, tell
from tests.test_crash import QUICK, SOME, check_restarts, n_alike, some_or_all, violations

pd = pytest.importorskip("pandas")

DAYS = pd.DatetimeIndex(["2020-01-01", "2020-01-05", "2020-01-06"], name="day")
LEVEL = pd.Series([1, 2, 3], index=DAYS, name="level", dtype="i4")
OTHER = LEVEL.set_axis(["x", "y", "z"])


@pytest.fixture
def judge() -> Iterator[Judge]:
    with TemporaryDirectory(dir=memory_directory()) as name:
        yield Judge(Path(name) / "states", boot=9, go_on_every=SOME)


def put(story: Story, writer: ptrarray.PointerArrayWriter, **series: Any) -> None:
    kept = {name: describe(value) for name, value in series.items()}
    after = {name: essence(one.values, {"pandas": one.about}) for name, one in kept.items()}
    story.commit(lambda: writer.update(series), story.now | after)


def keep_series(story: Story) -> None:
    """Write Series, delete one, and drop what only that needed, with nothing else flushed."""
    writer = story.create()
    put(story, writer, a=LEVEL)
    story.flush(writer)
    put(story, writer, b=OTHER, c=OTHER * 2)
    story.flush(writer)
    story.delete(writer, "a")
    close_leaving(writer, 1 << 20)  # the journal, with what is not on the disk
    upkeep.drop_unneeded(story.path)
    story.promise()
    with ptrarray.append(story.path) as writer:
        put(story, writer, d=LEVEL)


@some_or_all
def test_power_cut(every: int, judge: Judge, tmp_path: Path) -> None:
    story = tell(keep_series, tmp_path / "world")
    assert next(violations(story, judge, QUICK, every), None) is None
    assert judge.n_states > 100


class Hasty(WritableStore):
    """A store that does not wait for the disk."""

    def flush(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("module", "name", "hasty"), [(helpers, "WritableStore", Hasty), (upkeep, "flush", id)]
)
def test_each_flush_is_needed(
    judge: Judge,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    name: str,
    hasty: Any,
) -> None:
    """Without it, some power cut leaves a reference to what is not there."""
    whole = tell(keep_series, tmp_path / "whole")
    monkeypatch.setattr(module, name, hasty)
    story = tell(keep_series, tmp_path / "world")
    monkeypatch.undo()
    first = n_alike(story.recording, whole.recording)
    problem = next(violations(story, judge, QUICK, first=first), None)
    assert problem is not None
    assert "refers to no helper array" in problem


@some_or_all
def test_killed_between_any_two_operations(every: int, judge: Judge, tmp_path: Path) -> None:
    check_restarts(tell(keep_series, tmp_path / "world"), judge, every)
