"""Stores of every kind to restart a machine with, and what must be there afterwards."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray import PointerArrayWriter
from ptrarray.storage.system.files import File
from tests.support.checks import check_same_elements
from tests.support.story import booted, hidden

Array = NDArray[Any]
Values = dict[str, Array]

STORES: dict[str, dict[str, Any]] = {
    "rows": {"dtype": "i4"},
    "masked": {"dtype": "f8", "masked": True},
    "shaped": {"dtype": "f4", "row_shape": None, "masked": True},
    "mixed": {"dtype": None, "masked": True},
    "shards": {"dtype": "f8", "shard_size": "6kB"},
}


def value(kind: str, n: int) -> Array:
    if kind in ("masked", "mixed"):
        return hidden((n % 7 + 1,), n)
    if kind == "shaped":
        return np.ma.MaskedArray(np.full((n % 3 + 1, 2), n, "f4"), n % 2 == 0)
    return np.full(n % 7 + 1, n, STORES[kind]["dtype"])


def fill(writer: PointerArrayWriter, kind: str, prefix: str, n_arrays: int) -> Values:
    """Commit arrays one by one; return them."""
    arrays = {f"{prefix}{n}": value(kind, n) for n in range(n_arrays)}
    for name, array in arrays.items():
        writer[name] = array
    return arrays


def check(path: Path, expected: Values) -> None:
    """Check what is there on another boot, before a writer comes, after it, and after the next."""
    expected = {**expected}
    for boot in (2, 3):
        with booted(boot):
            for backend in ("mmap", "pread"):
                check_content(path, expected, backend)
            with ptrarray.append(path) as writer:
                new = next(iter(expected.values()))
                writer[f"after {boot}"] = expected[f"after {boot}"] = new
            check_content(path, expected, "mmap")


def check_content(path: Path, expected: Values, backend: Any) -> None:
    with ptrarray.open(path, backend=backend) as store:
        assert sorted(store) == sorted(expected)
        for name, array in expected.items():
            check_same_elements(store[name], array)


def ended(*objects: Any) -> None:
    """Let writers go as they do when their process ends without closing them."""
    for writer in objects:
        writer._opened.release()
    gc.collect()


def count_syncs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    syncs: list[str] = []
    monkeypatch.setattr(File, "sync", lambda file: syncs.append(file.path))
    return syncs
