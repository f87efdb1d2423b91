"""A step in processes of its own: how long it takes, and how much memory each of them has at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import perf_counter
from types import TracebackType
from typing import Any, NamedTuple, Self

from benchmarks.harness.processes import Fresh
from benchmarks.harness.system import anonymous_kib, peak_kib

SAMPLED_SECONDS = 0.01

Function = Callable[..., Iterator[dict[str, Any]]]


class Cost(NamedTuple):
    """What a step came to.

    Attributes
    ----------
    seconds : float
        By the clock; of several processes, from the first to begin to the last to end.
    private_mb : float
        Memory that the largest of its processes had allocated at most, as sampled.
    resident_mb : float
        The same with pages of mapped files, which others share: what `ru_maxrss` tells.
    """

    seconds: float
    private_mb: float
    resident_mb: float


class Step:
    """Processes that are about to do a step: everything is imported, nothing is done.

    Parameters
    ----------
    function : callable
        A generator function that answers once when it is ready, and once when it is done.
    arguments : tuple
        What it is given; one for each process.
    """

    def __init__(self, function: Function, *arguments: tuple[Any, ...]) -> None:
        self._processes = [Fresh(None, function, *given) for given in arguments]
        for process in self._processes:
            process.asked()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.end()

    def done(self) -> Cost:
        """Let all of them do it at once, and return what it came to."""
        with self._sampled() as peaks:
            began = perf_counter()
            for process in self._processes:
                process.ask()
            answers = [process.answer() for process in self._processes]
            together = perf_counter() - began
        resident = max(peak_kib(process.pid) for process in self._processes)
        seconds = answers[0].get("seconds", together) if len(answers) == 1 else together
        return Cost(seconds, max(peaks) / 1024, resident / 1024)

    @contextmanager
    def _sampled(self) -> Iterator[list[int]]:
        """Look at the memory of the processes again and again; yield the largest of each."""
        over, peaks = Event(), [0] * len(self._processes)

        def sample() -> None:
            while True:
                for at, process in enumerate(self._processes):
                    peaks[at] = max(peaks[at], anonymous_kib(process.pid))
                if over.wait(SAMPLED_SECONDS):
                    return

        thread = Thread(target=sample)
        thread.start()
        try:
            yield peaks
        finally:
            over.set()
            thread.join()


def run(function: Function, *arguments: tuple[Any, ...]) -> Cost:
    """Do a step, and return what it came to."""
    with Step(function, *arguments) as step:
        return step.done()
