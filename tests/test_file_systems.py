"""What some file systems do otherwise: on the real ones where they can be mounted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.storage.store import opened
from tests.support.mounts import mounted, overlay

# layers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("same", [True, False], ids=["one disk", "two disks"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_a_store_of_a_lower_layer_that_is_copied_up(
    tmp_path: Path, backend: Any, mode: Any, masked: bool, same: bool
) -> None:
    """The system makes a copy at the first opening for writing; mappings show the old file."""
    if backend == "pread" and mode == "r+":
        return
    lower = tmp_path / "lower"
    lower.mkdir()
    if same:
        check_copied_up(tmp_path, lower, mode, backend, masked=masked)
    else:
        with mounted(lower, "-t", "tmpfs", "tmpfs"):
            check_copied_up(tmp_path, lower, mode, backend, masked=masked)


def check_copied_up(folder: Path, lower: Path, mode: Any, backend: Any, *, masked: bool) -> None:
    with ptrarray.create(lower / "a.ptr", dtype="i4", rows=100, masked=masked) as writer:
        writer["a"] = [1, 2]
    with (
        overlay(folder / "layers", lower) as merged,
        ptrarray.open(merged / "a.ptr", mode=mode, backend=backend) as store,
    ):
        assert store["a"].tolist() == [1, 2]
        for n in range(3):
            with ptrarray.append(merged / "a.ptr") as writer:
                writer[f"b{n}"] = np.ma.masked_equal([n, 9], 9) if masked else [n, 9]
                writer.write({f"c{n}": [n] * 3}, start=90 - 3 * n)
                assert writer["a"].tolist() == [1, 2]
                store.refresh()
                assert store[f"b{n}"].tolist() == [n, None if masked else 9]
                assert store[f"c{n}"].tolist() == [n] * 3
            if n == 1:
                ptrarray.checkpoint(merged / "a.ptr")
                store.refresh()
        store.verify()
        if mode == "r+":
            return
        ptrarray.compact(merged / "a.ptr")
        store.refresh()
        store.verify()
        assert store["a"].tolist() == [1, 2]


@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_rows_are_mapped_once_more_after_the_first_commit(
    path: Path, monkeypatch: pytest.MonkeyPatch, backend: Any
) -> None:
    ptrarray.create(path, dtype="i4", rows=100).close()
    n_mapped = 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal n_mapped
        n_mapped += 1
        return real(*arguments, **options)

    name = "map_rows" if backend == "mmap" else "open_rows"
    real = getattr(opened, name)
    monkeypatch.setattr(opened, name, counted)
    found = []
    with ptrarray.open(path, backend=backend) as store, ptrarray.append(path) as writer:
        for name in "abc":
            writer[name] = [1]
            store.refresh()
            assert store[name].tolist() == [1]
            found.append(n_mapped)
        ptrarray.checkpoint(path)
        store.refresh()
    assert [*found, n_mapped] == [2] * 4
