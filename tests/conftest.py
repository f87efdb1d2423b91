"""Hypothesis profiles: ``dev`` looks elsewhere each time, ``ci`` at the same cases each time."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

import ptrarray

# A shell has its jobs in the background ignore Ctrl-C, and all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The disk decides how long a step takes, so no step has a deadline.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(params=["mmap", "pread"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test once for each backend: what it opens without naming one has this one."""
    name: str = request.param
    monkeypatch.setattr(ptrarray.open, "__defaults__", ("r", name))
    return name


collect_ignore = ["fuzz_atheris.py"]  # a program of its own, with a package of its own
