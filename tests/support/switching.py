"""A thread that changes things all the time, beside what is tried."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def changing(change: Callable[[int], None]) -> Iterator[None]:
    """Have another thread call `change` with 0, 1, 2 and so on, and threads take turns often."""
    stop = threading.Event()

    def run() -> None:
        number = 0
        while not stop.is_set():
            change(number)
            number += 1

    before, thread = sys.getswitchinterval(), threading.Thread(target=run)
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)
