"""Functions in processes of their own, and what is made of how these end."""

from __future__ import annotations

import faulthandler
import os
import random
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support import disk_trials
from tests.support.apart import DiedError, called
from tests.support.disk_rounds import Conditions
from tests.support.disk_trials import OnDisk, RandomTrial, filled_apart
from tests.support.file_systems import FILE_SYSTEMS
from tests.support.recorder import Counter
from tests.support.story import NAME, Story, look

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes can be forked")


def killed_by(number: int) -> None:
    faulthandler.disable()  # it would say much about what is meant
    os.kill(os.getpid(), number)


def fail(error: Exception) -> None:
    raise error


def test_the_value_comes_back() -> None:
    assert called(os.getpid) != os.getpid()


def test_what_is_raised_is_told() -> None:
    with pytest.raises(RuntimeError, match="ValueError: as it was"):
        called(partial(fail, ValueError("as it was")))


def test_who_was_killed_is_told_apart() -> None:
    with pytest.raises(DiedError, match="killed by SIGBUS") as caught:
        called(partial(killed_by, signal.SIGBUS))
    assert caught.value.signal == signal.SIGBUS


@pytest.mark.parametrize(
    "end", [partial(killed_by, signal.SIGBUS), partial(fail, OSError("No space left on device"))]
)
def test_no_room_for_the_pages_of_a_mapping(end: Callable[[], None]) -> None:
    with pytest.raises(OSError, match="No space left"):
        filled_apart(end)


def test_other_ends_of_who_fills_a_mapping_are_faults() -> None:
    with pytest.raises(DiedError, match="SIGSEGV"):
        filled_apart(partial(killed_by, signal.SIGSEGV))
    with pytest.raises(RuntimeError, match="ValueError"):
        filled_apart(partial(fail, ValueError()))


@pytest.mark.parametrize(
    ("fs", "n_left", "may_kill"), [("btrfs", 1, True), ("btrfs", None, False), ("ext4", 1, False)]
)
def test_only_a_full_btrfs_may_kill(fs: str, n_left: int | None, may_kill: bool) -> None:
    assert Conditions(FILE_SYSTEMS[fs], n_left=n_left).may_kill is may_kill


def test_random_calls_go_on_where_the_system_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are allocated are filled by a process that dies, every other time."""
    n_calls = 0

    def sometimes(fill: Callable[[], None]) -> None:
        nonlocal n_calls
        n_calls += 1
        filled_apart(partial(killed_by, signal.SIGBUS) if n_calls % 2 else fill)

    monkeypatch.setattr(disk_trials, "filled_apart", sometimes)
    monkeypatch.setattr(disk_trials, "N_CALLS", 40)
    story = Story(OnDisk(tmp_path, Counter(), 1, may_kill=True))
    RandomTrial("durable").tell(story, random.Random(5))
    assert n_calls > 1
    assert story.contents[-1] == look(tmp_path / NAME)
