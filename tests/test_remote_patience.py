"""How long a range is asked for, and that nothing hangs where a call was interrupted."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from ptrarray.storage.remote.faults import Fault, Kind, Patience
from ptrarray.storage.remote.threads import Threads
from ptrarray.storage.remote.transfer import Transfer
from tests.support import interrupts
from tests.support.interrupts import Interrupts
from tests.support.remote import FolderObjects


class Clock:
    """A clock that only pauses move on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        monkeypatch.setattr("time.monotonic", lambda: self.seconds)
        monkeypatch.setattr("random.SystemRandom.uniform", lambda self, _, most: most)

    def pauses(self, kinds: list[tuple[Kind, int]], *, has_answered: bool = True) -> list[float]:
        """Return the pauses after faults and so many bytes, up to the one that is the last."""
        patience, pauses = Patience(), list[float]()
        for kind, n_done in kinds:
            pause = patience.pause(Fault(kind, "it"), n_done, has_answered=has_answered)
            if pause is None:
                break
            self.seconds += pause
            pauses.append(pause)
        return pauses


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_pauses_double_until_the_time_is_over(clock: Clock) -> None:
    pauses = clock.pauses([("passing", 0)] * 100)
    assert pauses[:7] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5])
    assert set(pauses[6:]) == {5.0}
    assert 50 < sum(pauses) <= 60


def test_who_never_answered_is_given_up_sooner(clock: Clock) -> None:
    assert 5 < sum(clock.pauses([("passing", 0)] * 100, has_answered=False)) <= 10


def test_pauses_take_no_random_numbers_from_the_caller() -> None:
    """Whoever gave a seed gets the same numbers, whatever other threads wait for."""
    before = random.getstate()
    assert Patience().pause(Fault("passing", "it"), 0, has_answered=True)
    assert random.getstate() == before


@pytest.mark.parametrize("kind", ["missing", "denied", "changed", "past", "refused"])
def test_what_cannot_help_is_not_tried(clock: Clock, kind: Kind) -> None:
    assert clock.pauses([(kind, 0)]) == []


def test_something_else_than_was_asked_for_may_come_twice(clock: Clock) -> None:
    assert len(clock.pauses([("wrong", 0)] * 9)) == 2
    assert len(clock.pauses([("passing", 0), ("wrong", 0), ("passing", 0), ("wrong", 0)] * 2)) == 5


def test_the_time_begins_anew_with_each_byte(clock: Clock) -> None:
    slow: list[tuple[Kind, int]] = [("passing", n_done) for n_done in range(1000)]
    assert len(clock.pauses(slow)) == 1000
    assert clock.seconds == pytest.approx(100)
    again: list[tuple[Kind, int]] = [("passing", n_done % 2) for n_done in range(1000)]
    assert sum(clock.pauses(again)) <= 60  # what was lost and came again is nothing new


def test_a_read_that_is_interrupted_anywhere_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = (*interrupts.OTHERS, "threading.py", "_base.py")  # the latter has what futures are
    monkeypatch.setattr(interrupts, "OTHERS", inner)
    (tmp_path / "x").write_bytes(bytes(range(100)))
    transfer = Transfer(FolderObjects(tmp_path), 1, 0)

    def read() -> None:
        assert bytes(transfer.read("x", 5, 10, None).raw) == bytes(range(5, 10))
        reads = [partial(transfer.read, "x", at, at + 10, None) for at in range(0, 100, 10)]
        assert [answer.start for answer in transfer.read_all(reads)] == [*range(0, 100, 10)]

    counted = Interrupts()
    counted.run(read)
    for step in range(1, counted.n_steps + 1):
        with suppress(RuntimeError):  # of a condition of Python that waits, one step wide
            Interrupts(step).run(read)
        read()
    assert counted.n_steps > 50


def test_calls_that_were_cancelled_are_not_made() -> None:
    threads, go_on, made = Threads(1), threading.Event(), list[int]()
    first = threads.begin(go_on.wait)
    begun = [threads.begin(partial(made.append, number)) for number in range(5)]
    for one in begun[1:]:
        assert one.cancel()
    go_on.set()
    first.result()
    begun[0].result()
    assert threads.begin(partial(len, made)).result() == 1
