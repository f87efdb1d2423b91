"""Readers of a store elsewhere in threads, after forks, in pools, and when Ctrl-C comes."""

from __future__ import annotations

import signal
import threading
import time
import weakref
from _thread import start_new_thread
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.storage.remote.threads import Begun, Threads
from tests.support import remote_workers as workers
from tests.support.fault_server import Exchange, FaultServer, serving

pytest.importorskip("obstore")

N_ARRAYS = 60
TOTAL = sum(n * n for n in range(N_ARRAYS))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    folder = tmp_path_factory.mktemp("served")
    with ptrarray.create(folder / "s.ptr", dtype="i4") as writer:
        writer.write({str(n): np.full(n, n) for n in range(N_ARRAYS)})
    with serving(folder) as server:
        yield server


@pytest.fixture
def url(server: FaultServer) -> str:
    server.arm()
    return server.url + "/s.ptr"


def test_a_child_of_a_fork_reads_with_threads_of_its_own(url: str) -> None:
    assert set(workers.run(workers.forked, url)) == {str(TOTAL)}


def test_a_loop_goes_on_in_the_child_of_a_fork(url: str) -> None:
    first, *rest = map(int, workers.run(workers.forked_in_the_middle, url))
    assert rest == [TOTAL - first] * 2


def test_a_fork_while_threads_read(url: str) -> None:
    assert workers.run(workers.forked_while_threads_read, url) == [str(TOTAL)] * 6


def test_workers_of_pools_read(url: str) -> None:
    assert workers.run(workers.pools, url) == [str(TOTAL)] * 6


def test_ending_in_the_middle_of_answers(url: str) -> None:
    for _ in range(2):
        assert workers.run(workers.ends_in_the_middle, url) == [str(TOTAL)]


def test_threads_end_with_their_work(url: str) -> None:
    assert workers.run(workers.leaves_no_threads, url) == ["0"]


@pytest.mark.parametrize("is_half", [False, True])
def test_ctrl_c_ends_what_never_comes(server: FaultServer, url: str, is_half: bool) -> None:
    with ptrarray.open(url):
        n_to_open = len(server.asked)
    is_asked = threading.Event()

    def stall(it: Exchange) -> None:
        if is_half:
            it.half()
        is_asked.set()
        it.stall()

    server.arm(stall, n_to_open + 1, 1)
    process = workers.start(workers.interrupted, url)
    assert is_asked.wait(workers.TIMEOUT_SECONDS)
    time.sleep(0.1)  # until the answer is waited for; earlier it is an easier case
    since = time.monotonic()
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=workers.TIMEOUT_SECONDS)
    assert said.split() == ["interrupted", str(TOTAL)]
    assert process.returncode == 0
    assert time.monotonic() - since < 15  # and 20 seconds is how long an answer is waited for


def test_many_threads_share_a_reader(url: str) -> None:
    with ptrarray.open(url) as store, ThreadPoolExecutor(16) as threads:
        names = [str(n % N_ARRAYS) for n in range(400)]
        for name, array in zip(names, threads.map(store.__getitem__, names), strict=True):
            assert array.tolist() == [int(name)] * int(name)


# Threads --------------------------------------------------------------------------------------------


def test_as_many_calls_as_allowed_are_under_way() -> None:
    now, most, lock = [0], [0], threading.Lock()

    def call(number: int) -> int:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.002)
        with lock:
            now[0] -= 1
        return number

    threads = Threads(3)
    begun = [threads.begin(partial(call, number)) for number in range(30)]
    assert [one.result() for one in begun] == [*range(30)]
    assert most[0] == 3


def test_an_urgent_call_is_the_next() -> None:
    order, go_on = list[str](), threading.Event()
    threads = Threads(1)
    begun: list[Begun[Any]] = [threads.begin(go_on.wait)]
    begun += [threads.begin(partial(order.append, "later")) for _ in range(3)]
    begun += [threads.begin(partial(order.append, "urgent"), is_urgent=True)]
    go_on.set()
    for one in begun:
        one.result()
    assert order == ["urgent", "later", "later", "later"]


def test_calls_of_calls_wait_for_no_thread() -> None:
    threads = Threads(1)

    def outer() -> int:
        return sum(threads.begin(partial(int, number)).result() for number in range(5))

    assert threads.begin(outer).result() == 10


def test_a_system_without_threads_has_the_caller_make_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("ptrarray.storage.remote.threads.start_new_thread", refuse)
    assert Threads(4).begin(partial(int, "7")).result() == 7


def test_threads_that_wait_are_called_before_others_are_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = list[Any]()

    def start(*call: Any) -> None:
        started.append(call)
        start_new_thread(*call)

    monkeypatch.setattr("ptrarray.storage.remote.threads.start_new_thread", start)
    threads = Threads(8)
    for number in range(50):
        assert threads.begin(partial(int, number)).result() == number
        while not threads._n_idle:
            time.sleep(0.0001)
    assert len(started) == 1
    go_on = threading.Event()
    begun = [threads.begin(go_on.wait) for _ in range(20)]
    assert len(started) == 8
    go_on.set()
    assert all(one.result() for one in begun)


def test_threads_end_when_there_was_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptrarray.storage.remote.threads._IDLE_SECONDS", 0.0005)
    threads = Threads(3)
    for n_rounds in range(200):  # also while they are about to end
        begun = [threads.begin(partial(int, number)) for number in range(n_rounds % 7)]
        assert [one.result() for one in begun] == [*range(n_rounds % 7)]
        time.sleep(0.0005 * (n_rounds % 3))
    while threads._n_threads:
        time.sleep(0.001)
    assert threads._n_idle == 0


def test_an_error_keeps_nothing_alive() -> None:
    class Room(SimpleNamespace):
        pass

    room = Room()
    reference = weakref.ref(room)

    def fail(_: Room) -> None:
        raise ValueError("no")

    begun = Threads(1).begin(partial(fail, room))
    with suppress(ValueError):  # which no report has to keep
        begun.result()
    del begun, room
    for _ in range(1000):  # until the thread has ended
        if reference() is None:
            break
        time.sleep(0.001)
    assert reference() is None
