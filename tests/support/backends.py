"""Marks for tests that use the fixture ``backend``."""

from __future__ import annotations

import pytest

# What is about views on a mapping, or about changes through them.
mapped = pytest.mark.parametrize("backend", ["mmap"], indirect=True)
all_modes = pytest.mark.parametrize(
    ("backend", "mode"),
    [("mmap", "r"), ("mmap", "r+"), ("mmap", "c"), ("pread", "r"), ("pread", "c")],
    indirect=["backend"],
)
