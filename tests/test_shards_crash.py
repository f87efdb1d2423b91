"""The power is cut, or every process killed, after each step of what is done to shards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.disk import Fate, Write, memory_directory
from tests.support.effort import one_in
from tests.support.power import outcomes, outcomes_by_file, rebuild
from tests.support.shards_unflushed import UNFLUSHED, full_meanwhile, killed
from tests.support.shards_workloads import WORKLOADS, fill_what_others_replace
from tests.support.story import Judge, Story, Workload, tell, verdict
from tests.test_crash import NORMAL, SOME, describe, some_or_all, told, violations

N_STATES = 10  # of each workload, in the normal run
KILL_EVERY = 29  # operations, in the normal run
each_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.__name__)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with TemporaryDirectory(dir=memory_directory()) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def judge(place: Path) -> Judge:
    return Judge(place / "states", boot=9, go_on_every=SOME)


def some_violations(story: Story, judge: Judge, n_states: int) -> Iterator[str]:
    """Look at some of the states that a power cut can leave, and yield what breaks a promise."""
    rng = random.Random(1)
    n_ops = len(story.recording.log)
    for cut in rng.choices(range(n_ops + 1), k=n_states):
        fates = rng.choice(list(outcomes(story.recording, cut, NORMAL)))
        tree = rebuild(story.recording, cut, fates)
        problem = verdict(story, partial(judge.content, tree), story.durable(cut))
        if problem:
            yield f"{problem}\n{describe(story, cut, fates)}"


@each_workload
def test_power_cut(workload: Workload, judge: Judge) -> None:
    story = told(workload)
    folders = [path for path, raw in story.recording.now.tree().items() if raw is None]
    assert sum(path.startswith("store.ptr/shard") for path in folders) > 1
    assert next(some_violations(story, judge, N_STATES), None) is None


@some_or_all
@pytest.mark.parametrize(
    "workload", [*UNFLUSHED, fill_what_others_replace], ids=lambda w: w.__name__
)
def test_order_of_commits_in_different_shards(workload: Workload, every: int, judge: Judge) -> None:
    """None is there after the first that is gone, whatever shards they are in."""
    check_order(told(workload), judge, every=every)


def check_order(story: Story, judge: Judge, n_last: int = 0, every: int = 1) -> None:
    """Cut the power after each of the last commits; some files are on the disk, others are not."""
    for cut in story.ends_of_commits()[-n_last:]:
        allowed = story.durable(cut)
        if allowed.start <= 1:
            continue  # shards are being made
        tried = outcomes_by_file(story.recording, cut)
        for fates in islice(tried, cut % every, None, every):
            problem = verdict(
                story, partial(judge.content, rebuild(story.recording, cut, fates)), allowed
            )
            assert problem is None, f"{problem}\n{describe(story, cut, fates)}"


def test_order_where_a_shard_is_made(judge: Judge) -> None:
    check_order(told(full_meanwhile), judge)


@pytest.mark.parametrize(
    ("what", "n_more"), one_in(7, product(["adds", "deletes", "settles"], range(2, 12)))
)
def test_order_after_a_kill(what: str, n_more: int, judge: Judge, place: Path) -> None:
    """What a killed writer left unflushed is known to the next one."""
    root = place / f"killed-{what}-{n_more}"
    check_order(tell(partial(killed, n_more=n_more, what=what), root), judge, n_last=4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@each_workload
def test_power_cut_thoroughly(workload: Workload, place: Path) -> None:
    story = told(workload)
    thorough = Judge(place / f"thorough-{workload.__name__}", boot=9)
    assert next(violations(story, thorough, NORMAL), None) is None


def killed_after(story: Story, judge: Judge, cut: int) -> None:
    """Check what is left if all processes are killed after so many operations, or in the last."""
    lasts = [op for op in story.recording.log[:cut][-1:] if isinstance(op, Write)]
    for fates in [{}, *({cut - 1: Fate("head", len(op.raw) // 2)} for op in lasts)]:
        tree = rebuild(story.recording, cut, fates)
        # What was torn has not returned, but its commit had begun.
        problem = verdict(
            story, partial(judge.content, tree), story.returned(cut - len(fates), cut)
        )
        assert problem is None, f"{problem}\n{describe(story, cut, fates)}"


@each_workload
def test_kill_between_operations(workload: Workload, place: Path) -> None:
    story = told(workload)
    judge = Judge(place / f"killed-{workload.__name__}", boot=1, go_on_every=3)
    n_ops = len(story.recording.log)
    for cut in range(n_ops % KILL_EVERY, n_ops + 1, KILL_EVERY):
        killed_after(story, judge, cut)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@each_workload
def test_kill_between_any_two_operations(workload: Workload, place: Path) -> None:
    story = told(workload)
    judge = Judge(place / f"any-killed-{workload.__name__}", boot=1)
    for cut in range(len(story.recording.log) + 1):
        killed_after(story, judge, cut)
