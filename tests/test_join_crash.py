"""The power is cut, or the process killed, or a call fails, at each step of a join and of a part."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.disk import Link, materialise, memory_directory, read_tree
from tests.support.failing import check_named, n_descriptors
from tests.support.faults import each_way, injected
from tests.support.join_cases import CASES, Case, Judge, arrays, prepared
from tests.support.power import outcomes, rebuild
from tests.support.recording import Recording, record
from tests.support.story import booted, repeatable
from tests.test_crash import NORMAL

N_STATES = 5  # of each case, in the normal run
EVERY = 29  # operations between two kills, in the normal run
SECOND_SHARD = "shard-00005.ptr"  # that of y.ptr, behind those of others and its first
FAILING_EVERY = 61  # calls between two that fail
each_case = pytest.mark.parametrize("case", CASES, ids=str)


@cache
def told(case: Case) -> Recording:
    with TemporaryDirectory(dir=memory_directory()) as name:
        root = Path(name) / "told"
        materialise(prepared(case.kind), root)
        with booted(1), repeatable(), record(root) as recording:
            case.join(root)
    return recording


@pytest.fixture
def place() -> Iterator[Path]:
    with TemporaryDirectory(dir=memory_directory()) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def judge_of() -> Iterator[Callable[[Case], Judge]]:
    """Return the judge of what killed processes, and calls that failed, leave of a case: often the same."""
    with TemporaryDirectory(dir=memory_directory()) as name:
        yield cache(lambda case: Judge(case, Path(name, str(case)), boot=1))


@each_case
def test_power_cut(case: Case, place: Path) -> None:
    recording = told(case)
    judge = Judge(case, place, boot=9)
    rng = random.Random(str(case))
    for cut in rng.choices(range(len(recording.log) + 1), k=N_STATES):
        fates = rng.choice(list(outcomes(recording, cut, NORMAL)))
        judge.check(rebuild(recording, cut, fates))


@each_case
def test_kill(case: Case, judge_of: Callable[[Case], Judge]) -> None:
    recording = told(case)
    judge = judge_of(case)
    first = random.Random(f"kill {case}").randrange(EVERY)
    for cut in range(first, len(recording.log) + 1, EVERY):
        judge.check(rebuild(recording, cut, {}))


def test_kill_between_two_shards_of_a_store(place: Path) -> None:
    """The join is repeated while somebody else writes to the store that has one of them."""
    case = next(case for case in CASES if case.kind == "changed")
    judge = Judge(case, place, boot=1)
    log = told(case).log
    of_store = [at for at, op in enumerate(log) if isinstance(op, Link) and op.name == SECOND_SHARD]
    materialise(prepared(case.kind), place / "killed")
    with booted(1), repeatable(), record(place / "killed") as recording:
        assert recording.kill(partial(case.join, place / "killed"), of_store[-1])
    judge.check_at(place / "killed")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@each_case
def test_each_cut_thoroughly(case: Case, place: Path) -> None:
    recording = told(case)
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
def test_some_failing_calls(
    case: Case, code: int, is_lasting: bool, judge_of: Callable[[Case], Judge], place: Path
) -> None:
    judge = judge_of(case)
    check_failing(case, judge, code, place, is_lasting=is_lasting, every=FAILING_EVERY)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@each_way
@each_case
def test_each_failing_call(case: Case, code: int, is_lasting: bool, place: Path) -> None:
    judge = Judge(case, place, boot=1)
    check_failing(case, judge, code, place, is_lasting=is_lasting, every=1)


def check_failing(
    case: Case, judge: Judge, code: int, place: Path, *, is_lasting: bool, every: int
) -> None:
    """Check that what fails says so, loses nothing, and can be done again."""
    n_before = n_descriptors()
    for n in range(random.Random(f"{case} {code}").randint(1, every), 3000, every):
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
