"""Copies of arrays that wait to be written: as numpy's, in memory that is used again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.jobs import copies as module
from ptrarray.jobs.batches import Group
from ptrarray.jobs.copies import copies
from tests.support.engines import Carrier

ARRAYS: dict[str, Any] = {
    "c": np.arange(24.0).reshape(2, 3, 4),
    "fortran": np.arange(6, dtype="f4").reshape(2, 3, order="F"),
    "transposed": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    "reversed": np.arange(9)[::-2],
    "scalar": np.array(7, "i2"),
    "empty": np.empty((3, 0), "i8"),
    "big-endian": np.arange(3, dtype=">u4"),
    "text": np.array(["a", "bcd"]),
    "record": np.zeros(3, [("a", "i1"), ("b", "f8")]),
    "time": np.array(["2020-01-01", "NaT"], "M8[D]"),
    "masked": np.ma.masked_array([1, 2], [True, False]),
}


def test_copies_are_as_those_of_numpy() -> None:
    with copies(1 << 20) as room:
        found = room.copied(Group(0, ARRAYS)).arrays
        for name, array in ARRAYS.items():
            copy, expected = found[name], array.copy(order="K")
            assert (copy.dtype, copy.shape, copy.strides) == (
                expected.dtype,
                expected.shape,
                expected.strides,
            )
            assert type(copy) is type(expected)
            assert copy.tobytes() == expected.tobytes()
            assert not np.shares_memory(copy, array)
            assert copy.flags.aligned


@pytest.mark.parametrize("limit_nbytes", [0, 100, 1 << 24])
def test_no_more_than_the_limit_waits(limit_nbytes: int) -> None:
    with copies(limit_nbytes) as room:
        n_waiting = 0
        for n in range(3000):
            group = Group(n, {"a": np.full(10_000 * (limit_nbytes > 100) + n % 3, n % 256, "u1")})
            if not room.has_room(group):
                assert n_waiting + group.nbytes > limit_nbytes
                room.clear()
                n_waiting = 0
            n_waiting += group.nbytes
            assert room.copied(group).arrays["a"].tolist()[:1] in ([], [n % 256])


def test_memory_is_used_again_and_by_nobody_else_meanwhile() -> None:
    module._unused.clear()
    with copies(100) as one, copies(100) as other:
        first, second = one._memory, other._memory
        assert first is not second
    with copies(100) as again:
        assert again._memory is second  # who ended first; of the other nothing is kept
    assert len(module._unused) == 1


def test_a_function_that_fills_another_store(path: Path, tmp_path: Path) -> None:
    """In the same thread, while arrays wait."""

    def work(n: int) -> Any:
        inner = {f"{n} {i}": i for i in range(9)}
        ptrarray.fill(
            tmp_path / "inner.ptr", ones, inner, dtype="i8", executor=Carrier(), progress=False
        )
        return np.arange(n)

    with ThreadPoolExecutor(1) as threads:
        tasks = {f"n{n}": n for n in range(20)}
        ptrarray.fill(path, work, tasks, dtype="i8", executor=threads, progress=False)
    with ptrarray.open(path) as store, ptrarray.open(tmp_path / "inner.ptr") as other:
        assert all(store[f"n{n}"].tolist() == list(range(n)) for n in range(20))
        assert len(other) == 180
        assert {int(array.sum()) - len(array) for array in other.values()} == {0}


def ones(n: int) -> Any:
    return np.ones(n, "i8")
