"""The power is cut, or every process killed, after each single step of a workload."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

import ptrarray
from tests.support.power import (
    DROPPED,
    Effort,
    Fate,
    Fates,
    Resize,
    Site,
    Write,
    outcomes,
    rebuild,
)
from tests.support.story import (
    ATTRS,
    NAME,
    Judge,
    Story,
    Tree,
    Workload,
    difference,
    essence,
    hidden,
    tell,
    with_attrs,
)

NORMAL = Effort(exhaustive_ops=5, n_samples=3, n_special=1, n_around=0)
QUICK = Effort(exhaustive_ops=2, n_samples=1, n_special=1, n_around=0)
THOROUGH = Effort(exhaustive_ops=10, n_samples=400, n_special=100, n_around=4)
N_SECOND_CUTS = 2  # states after a first power cut that are gone on from, for each workload
LARGE = 20_000  # rows of 4 bytes: written outside the lock


def ints(n: int, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Return `n` numbers that no other call gives."""
    return np.random.default_rng([n, seed]).integers(1, 2**30, n, np.int32)


# workloads ---------------------------------------------------------------------------------


def make(story: Story) -> None:
    story.create(rows=100, attrs={"rate": 16000}).close()


def write_small(story: Story) -> None:
    writer = story.create()
    story.write(writer, a=ints(3), b=ints(0), c=ints(200))
    story.flush(writer)
    story.write(writer, d=ints(4))
    story.write(writer, a=ints(5))
    story.flush(writer)
    story.write(writer, e=ints(6))


def write_large(story: Story) -> None:
    writer = story.create()
    story.write(writer, a=ints(LARGE))
    story.flush(writer)
    story.write(writer, b=ints(LARGE, 1), c=ints(7))
    story.write(writer, a=ints(8))


def delete(story: Story) -> None:
    writer = story.create()
    story.write(writer, a=ints(3), b=ints(4), c=ints(5))
    story.delete(writer, "a")
    story.flush(writer)
    story.delete(writer, "b")
    story.write(writer, b=ints(6))
    story.delete(writer, "c")


def point_and_attrs(story: Story) -> None:
    writer = story.create()
    rows = ints(10)
    story.write(writer, a=rows)
    story.commit(lambda: writer.point("p", 2, 5), story.now | {"p": rows[2:5].tobytes()})
    after = with_attrs(story.now, {"k": [1, 2]})
    story.commit(lambda: writer.attrs.update(k=[1, 2]), after)
    story.flush(writer)
    story.delete(writer, "a")
    story.commit(lambda: writer.point("q", 0, 10), story.now | {"q": rows.tobytes()})


def checkpoint(story: Story) -> None:
    writer = story.create()
    story.write(writer, a=ints(3), b=ints(4))
    ptrarray.checkpoint(story.path)
    story.promise()
    story.write(writer, c=ints(5))
    story.delete(writer, "a")
    story.flush(writer)
    story.write(writer, d=ints(6))
    ptrarray.checkpoint(story.path)
    story.promise()
    story.write(writer, e=ints(7))


def close_and_reopen(story: Story) -> None:
    writer = story.create()
    many: Any = {f"n{i}": ints(2, i) for i in range(40)}
    story.write(writer, None, **many)
    story.close(writer)
    for name in ("x", "y"):
        writer = ptrarray.append(story.path)
        one: Any = {name: ints(3)}
        story.write(writer, None, **one)
        story.close(writer)


def replace(story: Story) -> None:
    writer = story.create(rows=10)
    story.write(writer, a=ints(3))
    story.flush(writer)
    story.write(writer, b=ints(3))
    writer.close()
    writer = story.create(mode="w", rows=20)
    story.write(writer, c=ints(4))
    story.flush(writer)
    story.write(writer, d=ints(5))


def planned(story: Story) -> None:
    writer = story.create(rows=50)
    story.write(writer, start=10, a=ints(3))
    start = writer.reserve(20)
    story.write(writer, b=ints(4))
    story.flush(writer)
    story.write(writer, start=start, c=ints(5))


def reuse_rows(story: Story) -> None:
    """Write where an array was that has been deleted, or replaced."""
    writer = story.create()
    start, _ = story.write(writer, a=ints(6))
    story.write(writer, b=ints(3))
    story.flush(writer)
    story.delete(writer, "a")
    story.write(writer, start=start, c=ints(6, 1))
    story.write(writer, b=ints(2))
    story.write(writer, start=start + 6, d=ints(3, 1))


def allocate(story: Story) -> None:
    writer = story.create()
    rows = ints(3000)

    def fill() -> None:
        with writer.allocate("a", len(rows)) as mapped:
            mapped[...] = rows

    story.commit(fill, story.now | {"a": rows.tobytes()})
    story.write(writer, b=ints(3))
    story.flush(writer)


def two_writers(story: Story) -> None:
    one = story.create()
    two = ptrarray.append(story.path)
    story.write(one, a=ints(3))
    story.write(two, b=ints(4))
    story.flush(one)
    story.write(two, c=ints(5))
    story.write(one, d=ints(6))
    story.flush(two)
    story.write(one, b=ints(7))


def durable(story: Story) -> None:
    """Commits that wait for the disk wait for those of a writer that does not, too."""
    writer = story.create(durable=True)
    careless = ptrarray.append(story.path)
    story.write(writer, a=ints(3))
    story.promise()
    story.write(careless, b=ints(4))
    story.write(writer, a=ints(5))
    story.promise()
    story.write(careless, c=ints(4))
    story.delete(writer, "a")
    story.promise()
    story.write(careless, d=ints(2))


def compact(story: Story) -> None:
    writer = story.create(rows=30)
    story.write(writer, a=ints(30), b=ints(40), c=ints(50))
    rows = ints(40)[5:9].tobytes()
    story.commit(lambda: writer.point("p", 35, 39), story.now | {"p": rows})
    story.flush(writer)
    story.delete(writer, "a")
    ptrarray.compact(story.path)
    story.promise()
    story.write(writer, d=ints(6))
    story.flush(writer)
    story.write(writer, b=ints(7))


# arrays of any dtype and shape, their masks and metadata


def masked(story: Story) -> None:
    """Let rows, masks and metadata each be what a power cut takes, with commits flushed and not."""
    writer = story.create(dtype=None, masked=True, rows=640)
    whole = hidden((3, 5))
    story.write(writer, a=whole, b=np.asfortranarray(whole), meta={"a": {"k": 1}})
    story.flush(writer)
    story.write(writer, c=hidden((9,), 1), d=ints(3), meta={"d": {"k": 2}})
    story.set_meta(writer, "a", {"k": [3]})
    story.write(writer, b=hidden((70,), 1), meta={"b": {"k": 4}})


def masked_reuse(story: Story) -> None:
    """Write where another mask was."""
    writer = story.create(dtype=None, masked=True)
    start, _ = story.write(writer, a=hidden((40,)))
    story.flush(writer)
    story.write(writer, b=hidden((3,)), meta={"b": {"k": 1}})
    story.delete(writer, "a")
    story.write(writer, start=start, c=np.zeros(20), meta={"c": {"k": 2}})
    ptrarray.checkpoint(story.path)
    story.promise()


def masked_large(story: Story) -> None:
    """Write rows and masks outside the lock, and through a mapping."""
    writer = story.create(dtype="f8", row_shape=None, masked=True)
    story.write(writer, a=hidden((100, 90)))
    story.flush(writer)
    story.write(writer, b=np.zeros((100, 90)), c=hidden((2, 2), 1), meta={"c": {"k": 1}})
    rows = hidden((20, 40), 1)

    def fill() -> None:
        with writer.allocate("d", rows.shape) as mapped:
            mapped[...] = rows.data
            mapped[rows.mask] = np.ma.masked

    story.commit(fill, story.now | {"d": essence(np.ma.MaskedArray(rows.data, rows.mask), {})})


def masked_compact(story: Story) -> None:
    """Two writers, one of which waits for the disk at each commit; then all is moved."""
    writer = story.create(durable=True, dtype=None, masked=True)
    careless = ptrarray.append(story.path)
    story.write(careless, a=hidden((30,)), b=hidden((4, 3)), meta={"b": {"k": 1}})
    story.delete(writer, "a")
    story.promise()
    ptrarray.compact(story.path)
    story.promise()
    story.write(careless, b=np.zeros(3), d=hidden((6,)), meta={"d": {"k": 2}})


WORKLOADS: list[Workload] = [
    make,
    write_small,
    write_large,
    delete,
    point_and_attrs,
    checkpoint,
    close_and_reopen,
    replace,
    planned,
    reuse_rows,
    allocate,
    two_writers,
    durable,
    compact,
    masked,
    masked_reuse,
    masked_large,
    masked_compact,
]
each_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.__name__)


# the power is cut --------------------------------------------------------------------------


def violations(story: Story, judge: Judge, effort: Effort) -> Iterator[str]:
    """Cut the power at each point of a story, and yield what breaks a promise."""
    for cut in range(len(story.recording.log) + 1):
        allowed = story.durable(cut)
        for fates in outcomes(story.recording, cut, effort):
            problem = verdict(story, judge, rebuild(story.recording, cut, fates), allowed)
            if problem:
                yield f"{problem}\n{describe(story, cut, fates)}"


def verdict(story: Story, judge: Judge, tree: Tree, allowed: range) -> str | None:
    """Say what is wrong with a state of the directory; None if nothing is."""
    try:
        content = judge.content(tree)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
        return f"{type(error).__name__}: {error}"
    if any(content == story.contents[n] for n in allowed):
        return None
    return f"not the state after {allowed} commits: " + ", ".join(
        difference(content, story.contents[n]) for n in allowed
    )


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


def memory_directory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.fixture(scope="module")
def judge(place: Path) -> Judge:
    return Judge(place / "states", boot=9)


@each_workload
def test_power_cut(workload: Workload, judge: Judge, tmp_path: Path) -> None:
    story = tell(workload, tmp_path / "world")
    before = judge.n_states
    assert next(violations(story, judge, NORMAL), None) is None
    assert judge.n_states - before > len(story.recording.log)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@each_workload
def test_power_cut_thoroughly(workload: Workload, judge: Judge, tmp_path: Path) -> None:
    story = tell(workload, tmp_path / "world")
    assert next(violations(story, judge, THOROUGH), None) is None


# after the first power cut -----------------------------------------------------------------


def go_on(story: Story) -> None:
    """Do what an earlier boot did, in records of the same length."""
    writer = ptrarray.append(story.path)
    for name in sorted(story.now.keys() - {ATTRS})[:1]:
        story.delete(writer, name)
    story.write(writer, x=ints(4, 1))
    story.write(writer, y=ints(3, 1))
    story.flush(writer)
    story.write(writer, z=ints(5, 1))


@each_workload
def test_second_power_cut(workload: Workload, place: Path, tmp_path: Path) -> None:
    first = told(workload)
    cuts = range(len(first.recording.log) * 3 // 4, len(first.recording.log) + 1)
    states = [(cut, fates) for cut in cuts for fates in outcomes(first.recording, cut, QUICK)]
    judge = Judge(place / f"second-{workload.__name__}", boot=3)
    for at, (cut, fates) in enumerate(random.Random(1).sample(states, N_SECOND_CUTS)):
        tree = rebuild(first.recording, cut, fates)
        if f"{NAME}/index.msgpack" not in tree:
            continue  # the cut came before there was a store
        story = tell(go_on, tmp_path / f"world{at}", before=tree, boot=2)
        problem = next(violations(story, judge, QUICK), None)
        assert problem is None, f"{problem}\nafter a first {describe(first, cut, fates)}"


@pytest.mark.parametrize("is_torn", [False, True], ids=["lost commit", "torn reset"])
def test_power_cut_after_one_that_left_old_records(is_torn: bool, place: Path) -> None:
    story = told_after_a_torn_reset() if is_torn else told_after_a_cut()
    judge = Judge(place / f"after-{is_torn}", boot=3)
    assert next(violations(story, judge, NORMAL), None) is None


# processes are killed ----------------------------------------------------------------------


@each_workload
def test_kill_between_any_two_operations(workload: Workload, place: Path, tmp_path: Path) -> None:
    story = tell(workload, tmp_path / "world")
    judge = Judge(place / f"killed-{workload.__name__}", boot=1)
    log = story.recording.log
    for cut in range(len(log) + 1):
        lasts = [op for op in log[:cut][-1:] if isinstance(op, Write)]
        for fates in [{}, *({cut - 1: Fate("head", len(op.raw) // 2)} for op in lasts)]:
            tree = rebuild(story.recording, cut, fates)
            # What was torn has not returned, but its commit had begun.
            problem = verdict(story, judge, tree, story.returned(cut - len(fates), cut))
            assert problem is None, f"{problem}\n{describe(story, cut, fates)}"


@pytest.mark.parametrize("n_more", range(1, 5))
@pytest.mark.parametrize("kind", ["write", "delete"])
def test_power_cut_after_a_kill(kind: str, n_more: int, judge: Judge, tmp_path: Path) -> None:
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
    assert next(violations(story, judge, NORMAL), None) is None


# no sync is there for nothing --------------------------------------------------------------


def killed_in_delete(story: Story) -> None:
    """Leave a record that was never committed where others of the same length will lie."""
    writer = story.create()
    story.write(writer, a=ints(3), b=ints(3, 1))
    story.flush(writer)
    doomed = ptrarray.append(story.path)
    story.killed(lambda: doomed.__delitem__("a"), 1)
    story.delete(writer, "b")


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


TELLERS: list[Callable[[Site | None], Story]] = [
    *(partial(told, workload) for workload in (*WORKLOADS, killed_in_delete)),
    told_after_a_cut,
    told_after_a_torn_reset,
]


def sync_sites() -> dict[str, Site]:
    """Return all places that the workloads sync at, by the functions that lead there."""
    sites = sorted({site for teller in TELLERS for site in teller(None).recording.sites})
    ids: dict[str, Site] = {}
    for site in sites:
        label = " < ".join([f"{site.file} {site.module}.{site.function}", *site.callers])
        same = sum(known.rpartition("#")[0] == label for known in ids)
        ids[f"{label}#{same + 1}"] = site
    return ids


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "site" in metafunc.fixturenames:
        sites = sync_sites()
        metafunc.parametrize("site", sites.values(), ids=sites.keys())


def test_leaving_out_a_sync_is_noticed(site: Site, judge: Judge) -> None:
    stories = (teller(site) for teller in TELLERS if site in teller(None).recording.sites)
    assert any(next(violations(story, judge, NORMAL), None) for story in stories)
