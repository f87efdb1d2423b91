"""Something that happens between two system calls of the package, as if another process had done it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

READING_CALLS = ("open", "pread", "stat", "fstat", "close")
CHANGING_CALLS = ("open", "pwrite", "pwritev", "ftruncate", "replace")


@contextmanager
def before_call(
    monkeypatch: pytest.MonkeyPatch,
    n_calls_before: int,
    interfere: Callable[[], None],
    calls: Collection[str],
    may_now: Callable[[], bool] = lambda: True,
) -> Iterator[list[str]]:
    """Do something before the system call after so many, as soon as it may; list the call if there was one."""
    names, interfered = itertools.count(), list[str]()

    def interrupted(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **more: Any) -> Any:
            if not interfered and next(names) >= n_calls_before and may_now():
                interfered.append(call.__name__)
                interfere()
            return call(*arguments, **more)

        return run

    with monkeypatch.context() as patch:
        for name in calls:
            patch.setattr(
                f"ptrarray.storage.system.files.os.{name}", interrupted(getattr(os, name))
            )
        yield interfered
