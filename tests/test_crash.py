"""The power is cut, or every process killed, after each single step of a workload."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import ptrarray
from tests.support.crash_workloads import (
    WORKLOADS,
    another_boot_id,
    change_in_place,
    checkpoint,
    delete,
    flush_beside_another,
    go_on,
    in_rounds,
    ints,
    killed_in_delete,
    look_past_changes,
    refused,
)
from tests.support.disk import DROPPED, Fate, Fates, Resize, Write, memory_directory
from tests.support.power import Effort, outcomes, rebuild
from tests.support.recording import Recording, Site
from tests.support.story import (
    NAME,
    Judge,
    Story,
    Workload,
    tell,
    verdict,
)

# Fewer do not notice each sync that is left out, below.
NORMAL = Effort(exhaustive_ops=5, n_samples=3, n_special=1, n_around=0)
QUICK = Effort(exhaustive_ops=2, n_samples=1, n_special=1, n_around=0)
THOROUGH = Effort(exhaustive_ops=10, n_samples=400, n_special=100, n_around=4)
# Going on takes longer than all else. States of neighbouring cuts differ in one operation, so what it
# meets after one of them, it meets after many; the slow tests, and those of kills, go on after each.
# Fates alternate in twos: this is odd, so that each of them is gone on from.
SOME = 9
# States after a first power cut that are gone on from, for each workload.
N_SECOND_CUTS = [1, pytest.param(8, marks=pytest.mark.slow)]
# The normal run has one outcome in so many, and one kill; the slow run has all. Cuts have different numbers of
# outcomes, so of each cut it meets others. Where a sync is left out, all are tried until one shows it.
EVERY = 3
EVERY_IN_ROUNDS = 23  # for of what that leaves unsynced there are ten times as many outcomes
some_or_all = pytest.mark.parametrize("every", [EVERY, pytest.param(1, marks=pytest.mark.slow)])
each_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.__name__)

# the power is cut ---------------------------------------------------------------------------------


def violations(
    story: Story, judge: Judge, effort: Effort, every: int = 1, first: int = 0
) -> Iterator[str]:
    """Cut the power at each point of a story, and yield what breaks a promise.

    Of all outcomes of the cuts from the first on, one in so many is tried, and others in other stories.
    """
    cuts = range(first, len(story.recording.log) + 1)
    tried = ((cut, fates) for cut in cuts for fates in outcomes(story.recording, cut, effort))
    for cut, fates in islice(tried, len(cuts) % every, None, every):
        tree = rebuild(story.recording, cut, fates)
        problem = verdict(story, partial(judge.content, tree), story.durable(cut))
        if problem:
            yield f"{problem}\n{describe(story, cut, fates)}"


def n_alike(recording: Recording, whole: Recording) -> int:
    """Return where what lacks a sync begins to differ: a promise can be broken from there on."""
    pairs = enumerate(zip(recording.log, whole.log, strict=False))
    n_both = min(len(recording.log), len(whole.log))
    return next((at for at, (one, other) in pairs if one != other), n_both)


def describe(story: Story, cut: int, fates: Fates) -> str:
    """Tell what was done up to a cut, and what became of it."""
    log, roles = story.recording.log, story.recording.roles
    lines = [f"cut after {cut} operations, the last:"]
    for at in range(max(0, min([cut - 8, *fates])), cut):
        op = log[at]
        what = f"Write({op.start}, {len(op.raw)} b)" if isinstance(op, Write) else repr(op)
        lines.append(f"  {at} {roles.get(op.node, op.node)} {what} {fates.get(at, '')}")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a directory in memory if there is one: a state is a few small files."""
    with TemporaryDirectory(dir=memory_directory()) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def judge(place: Path) -> Judge:
    return Judge(place / "states", boot=9, go_on_every=SOME)


all_workloads = pytest.mark.parametrize(
    "workload", [*WORKLOADS, another_boot_id, flush_beside_another], ids=lambda w: w.__name__
)


@all_workloads
def test_power_cut(workload: Workload, judge: Judge) -> None:
    story = told(workload)
    before = judge.n_states
    every = EVERY_IN_ROUNDS if workload is in_rounds else EVERY
    assert next(violations(story, judge, NORMAL, every), None) is None
    assert judge.n_states - before > len(story.recording.log)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@all_workloads
def test_power_cut_thoroughly(workload: Workload, place: Path) -> None:
    story = told(workload)
    thorough = Judge(place / f"thorough-{workload.__name__}", boot=9)
    assert next(violations(story, thorough, THOROUGH), None) is None


@pytest.fixture
def looks_past_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what was changed through a mapping be anything, as no checksum is right before a flush."""
    monkeypatch.setattr("tests.support.story.look", look_past_changes)


@some_or_all
@pytest.mark.usefixtures("looks_past_changes")
def test_power_cut_while_rows_are_changed(every: int, place: Path) -> None:
    story = told(change_in_place)
    judge = Judge(place / f"changed-{every}", boot=9, go_on_every=SOME)
    assert next(violations(story, judge, NORMAL, every), None) is None


@pytest.mark.usefixtures("looks_past_changes")
def test_leaving_out_a_sync_while_rows_are_changed_is_noticed(place: Path, tmp_path: Path) -> None:
    judge = Judge(place / "changed-unsynced", boot=9, go_on_every=SOME)
    first = told(change_in_place)
    callers = {"storage.writing.transactions.kind_of_put", "storage.writing.session.bring_to_disk"}
    sites = [site for site in first.recording.sites if callers & {*site.callers}]
    assert callers <= {caller for site in sites for caller in site.callers}
    for n, left_out in enumerate(sites):
        if left_out.file == "data":
            story = tell(change_in_place, tmp_path / str(n), omit=left_out.__eq__)
            found = violations(
                story, judge, NORMAL, first=n_alike(story.recording, first.recording)
            )
            assert next(found, None) is not None, left_out


# after the first power cut ------------------------------------------------------------------------


@pytest.mark.parametrize("n_cuts", N_SECOND_CUTS)
@each_workload
def test_second_power_cut(workload: Workload, n_cuts: int, place: Path, tmp_path: Path) -> None:
    first = told(workload)
    cuts = range(len(first.recording.log) * 3 // 4, len(first.recording.log) + 1)
    states = [(cut, fates) for cut in cuts for fates in outcomes(first.recording, cut, QUICK)]
    judge = Judge(place / f"second-{n_cuts}-{workload.__name__}", boot=3, go_on_every=SOME)
    for at, (cut, fates) in enumerate(random.Random(1).sample(states, n_cuts)):
        tree = rebuild(first.recording, cut, fates)
        if f"{NAME}/index.msgpack" not in tree:
            continue  # the cut came before there was a store
        story = tell(go_on, tmp_path / f"world{at}", before=tree, boot=2)
        problem = next(violations(story, judge, QUICK, EVERY if n_cuts == 1 else 1), None)
        assert problem is None, f"{problem}\nafter a first {describe(first, cut, fates)}"


def test_power_cut_after_a_write_that_was_refused(place: Path) -> None:
    """Which wrote nothing, so that what was there is there."""
    judge = Judge(place / "refused", boot=3)
    assert next(violations(told(refused), judge, NORMAL, EVERY), None) is None


@some_or_all
@pytest.mark.parametrize("is_torn", [False, True], ids=["lost commit", "torn reset"])
def test_power_cut_after_one_that_left_old_records(is_torn: bool, every: int, place: Path) -> None:
    story = told_after_a_torn_reset() if is_torn else told_after_a_cut()
    judge = Judge(place / f"after-{is_torn}-{every}", boot=3)
    assert next(violations(story, judge, NORMAL, every), None) is None


# processes are killed -----------------------------------------------------------------------------


@some_or_all
@each_workload
def test_kill_between_any_two_operations(workload: Workload, every: int, place: Path) -> None:
    story = told(workload)
    judge = Judge(place / f"killed-{every}-{workload.__name__}", boot=1)
    log = story.recording.log
    for cut in range(len(log) % every, len(log) + 1, every):
        lasts = [op for op in log[:cut][-1:] if isinstance(op, Write)]
        for fates in [{}, *({cut - 1: Fate("head", len(op.raw) // 2)} for op in lasts)]:
            tree = rebuild(story.recording, cut, fates)
            # What was torn has not returned, but its commit had begun.
            problem = verdict(
                story, partial(judge.content, tree), story.returned(cut - len(fates), cut)
            )
            assert problem is None, f"{problem}\n{describe(story, cut, fates)}"


@some_or_all
@each_workload
def test_restart_between_any_two_operations(workload: Workload, every: int, judge: Judge) -> None:
    """All that was written is there, under another boot id."""
    check_restarts(told(workload), judge, every)


@some_or_all
@pytest.mark.usefixtures("looks_past_changes")
def test_restart_while_rows_are_changed(every: int, place: Path) -> None:
    judge = Judge(place / f"changed-restart-{every}", boot=9)
    check_restarts(told(change_in_place), judge, every)


def check_restarts(story: Story, judge: Judge, every: int) -> None:
    n_ops = len(story.recording.log)
    for cut in range(n_ops % every, n_ops + 1, every):
        tree = rebuild(story.recording, cut, {})
        problem = verdict(story, partial(judge.content, tree), story.returned(cut, cut))
        assert problem is None, f"{problem}\n{describe(story, cut, {})}"


@some_or_all
@pytest.mark.parametrize("n_more", range(1, 5))
@pytest.mark.parametrize("kind", ["write", "delete"])
def test_power_cut_after_a_kill(
    kind: str, n_more: int, every: int, judge: Judge, tmp_path: Path
) -> None:
    """What a killed writer left behind must not stand in for what others write later."""

    def workload(story: Story) -> None:
        writer = story.create()
        story.write(writer, a=ints(3), b=ints(3, 1))
        story.flush(writer)
        doomed = ptrarray.append(story.path)
        if kind == "write":
            story.killed(lambda: doomed.write({"c": ints(3)}), n_more)
        else:
            story.killed(lambda: doomed.__delitem__("a"), n_more)
        story.write(writer, d=ints(3, 2))
        story.delete(writer, "b")
        story.write(writer, e=ints(0))

    story = tell(workload, tmp_path / "world")
    assert next(violations(story, judge, NORMAL, every), None) is None


# no sync is there for nothing ---------------------------------------------------------------------


@cache
def told(workload: Workload, omitted: Site | None = None) -> Story:
    """Record a workload, as if one sync were not in the code."""
    with TemporaryDirectory(dir=memory_directory()) as name:
        return tell(workload, Path(name) / "world", omit=lambda site: site == omitted)


@cache
def told_after_a_cut(omitted: Site | None = None) -> Story:
    """Record what is done to a store of which a power cut took one of several commits."""
    first = told(delete)
    n_ops = len(first.recording.log)
    # Before the last commit, a deletion, come its rows' and its record's writes.
    tree = rebuild(first.recording, n_ops, {n_ops - 5: DROPPED})
    with TemporaryDirectory(dir=memory_directory()) as name:
        root = Path(name) / "world"
        return tell(go_on, root, omit=lambda site: site == omitted, before=tree, boot=2)


@cache
def told_after_a_torn_reset(omitted: Site | None = None) -> Story:
    """Record what is done to a store whose journal lost its header, but not what was behind."""
    first = told(checkpoint).recording
    resets = [at for at, op in enumerate(first.log) if isinstance(op, Resize)]
    # Of the new generation's first commit, rows and record are there.
    tree = rebuild(first, resets[-1] + 3, {resets[-1] - 1: Fate("head", 43)})
    with TemporaryDirectory(dir=memory_directory()) as name:
        root = Path(name) / "world"
        return tell(go_on, root, omit=lambda site: site == omitted, before=tree, boot=2)


N_PARTS = 6  # of the syncs that are left out
TELLERS: list[Callable[[Site | None], Story]] = [
    *(partial(told, workload) for workload in (*WORKLOADS, killed_in_delete, another_boot_id)),
    told_after_a_cut,
    told_after_a_torn_reset,
]


@cache
def sync_sites() -> list[Site]:
    """Return all places that the workloads sync at, by the functions that lead there."""
    return sorted({site for teller in TELLERS for site in teller(None).recording.sites})


# Which sites there are is known when the workloads are told, which takes too long while tests are collected.
@pytest.mark.parametrize("part", range(N_PARTS))
def test_leaving_out_a_sync_is_noticed(part: int, judge: Judge) -> None:
    assert len(sync_sites()) > 40
    for site in sync_sites()[part::N_PARTS]:
        tellers = [teller for teller in TELLERS if site in teller(None).recording.sites]
        assert any(is_noticed(teller(site), teller(None), judge) for teller in tellers), site


def is_noticed(story: Story, whole: Story, judge: Judge) -> bool:
    found = violations(story, judge, NORMAL, first=n_alike(story.recording, whole.recording))
    return next(found, None) is not None
