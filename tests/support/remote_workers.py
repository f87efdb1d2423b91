"""Processes that read a store elsewhere: they fork, are interrupted, or end in the middle.

Each is started as ``python -m tests.support.remote_workers NAME URL``; what it writes is its result.
"""

from __future__ import annotations

import _thread
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import ptrarray
from ptrarray.reader import remote_path
from ptrarray.storage.remote import threads
from ptrarray.storage.remote.options import Remote
from tests.support.prepared import python

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 60.0


def start(worker: Callable[..., None], url: str) -> subprocess.Popen[str]:
    """Start a process that makes a call."""
    command = [sys.executable, "-X", "faulthandler", "-m", __name__, worker.__name__, url]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def run(worker: Callable[..., None], url: str) -> list[str]:
    """Have a process make a call; return the lines it wrote."""
    done = python("-m", __name__, worker.__name__, url)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout.split()


def in_child(call: Callable[[], object]) -> None:
    """Make a call in the child of a fork, and wait for it."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            call()
            status = 0
        finally:
            if status:
                traceback.print_exc()
            sys.stdout.flush()
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def say(*results: object) -> None:
    sys.stdout.write(" ".join(map(str, results)) + "\n")


def total(store: ptrarray.PointerArray) -> int:
    return int(sum(array.sum() for array in store.take([*store])))


def forked(url: str) -> None:
    """Read here, in a child, in its child, and here again, with the same reader and with others."""
    with ptrarray.open(url) as store:
        say(total(store))

        def read() -> None:
            say(total(store))
            store.refresh()
            say(total(ptrarray.open(url)))
            with ThreadPoolExecutor(8) as threads:
                say(sum(threads.map(lambda name: store[name].sum(), store)))

        def read_and_fork() -> None:
            read()
            in_child(read)

        in_child(read_and_fork)
        in_child(read)
        say(total(store))


def forked_in_the_middle(url: str) -> None:
    """Go on in a child with a loop that has asked ahead in its parent."""
    with ptrarray.open(url, parallel=2) as store:
        arrays = iter(store.arrays)
        say(int(next(arrays).sum() + next(arrays).sum() + next(arrays).sum()))
        in_child(lambda: say(int(sum(array.sum() for array in arrays))))
        say(int(sum(array.sum() for array in arrays)))


def forked_while_threads_read(url: str) -> None:
    """Fork again and again while other threads read."""
    store, is_over = ptrarray.open(url), threading.Event()
    total(store)  # as Python waits in the child for what another thread was importing at the fork

    def read() -> None:
        while not is_over.is_set():
            total(store)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _ in range(5):
        in_child(lambda: say(total(store)))
    is_over.set()
    for reader in readers:
        reader.join()
    say(total(store))


def _total_at(url_or_store: Any) -> int:
    is_url = isinstance(url_or_store, str)
    return total(ptrarray.open(url_or_store) if is_url else url_or_store)


def pools(url: str) -> None:
    """Hand readers to the workers of pools, which are started in each way."""
    with ptrarray.open(url) as store:
        for method in ("fork", "spawn", "forkserver"):
            with multiprocessing.get_context(method).Pool(2) as pool:
                say(*pool.map(_total_at, [store, url]))


def interrupted(url: str) -> None:
    """Read what never comes until there is a Ctrl-C, and then what does, with the same reader."""
    store = ptrarray.open(url, parallel=1)
    try:
        total(store)
    except KeyboardInterrupt:
        say("interrupted")
    say(total(store))


def ends_in_the_middle(url: str) -> None:
    """End while many answers are under way."""
    transfer = remote_path(url, Remote()).transfer
    for _ in range(200):
        transfer.begin(partial(transfer.read, "s.ptr/data.bin", 0, 4000, None))
    store = ptrarray.open(url)
    say(total(store))
    next(iter(store.arrays))


def leaves_no_threads(url: str) -> None:
    """Read, let go of readers, and say what is left of them."""
    threads._IDLE_SECONDS = 0.01
    for _ in range(5):
        store = ptrarray.open(url)
        total(store)
    del store
    gc.collect()
    end = time.monotonic() + TIMEOUT_SECONDS
    while _thread._count() and time.monotonic() < end:
        time.sleep(0.01)
    say(_thread._count())


if __name__ == "__main__":
    warnings.filterwarnings(
        "ignore", "This process", DeprecationWarning
    )  # that it forks with threads
    globals()[sys.argv[1]](sys.argv[2])
