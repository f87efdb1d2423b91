"""Large stores: what a call costs does not grow with them; many, long and far is possible."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError
from tests.support.checks import check_at, open_descriptors
from tests.support.memory import peak_nbytes

# costs --------------------------------------------------------------------------------------------


class Calls:
    """Counts system calls that read or write files, and their bytes."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.n_calls = self.n_bytes = 0
        for name in ("open", "pread", "pwrite", "pwritev", "stat", "fstat"):
            patch.setattr(
                f"ptrarray.storage.system.files.os.{name}", self._counting(getattr(os, name))
            )

    def _counting(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            self.n_calls += 1
            result = call(*arguments, **more)
            if call.__name__ in ("pwrite", "pwritev"):
                self.n_bytes += result
            return result

        return counted


def count(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> tuple[int, int]:
    with monkeypatch.context() as patch:
        calls = Calls(patch)
        work()
    return calls.n_calls, calls.n_bytes


def read_some(path: Path, n_names: int) -> None:
    with ptrarray.open(path) as store:
        for n in range(1000):
            assert store[f"name {n % n_names}"][0] == n % n_names


def test_opening_and_reading_cost_the_same_for_any_number_of_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same calls, and the same memory."""
    costs = []
    for n_names in (10, 50_000):
        path = tmp_path / f"{n_names}.ptr"
        with ptrarray.create(path, dtype="i8") as writer:
            writer.write({f"name {n}": [n] for n in range(n_names)})
        ptrarray.checkpoint(path)
        read = functools.partial(read_some, path, n_names)
        costs.append((count(monkeypatch, read)[0], peak_nbytes(read)))
    (n_calls, nbytes), (n_calls_of_many, nbytes_of_many) = costs
    assert n_calls == n_calls_of_many
    assert abs(nbytes_of_many - nbytes) < 100_000


def test_adding_a_name_costs_the_same_for_any_number_of_names(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same calls, and the same bytes written."""
    with ptrarray.create(path, dtype="i8") as writer:

        def add(first: int) -> Callable[[], None]:
            def work() -> None:
                for n in range(first, first + 100):
                    writer[f"name {n:06}"] = [n]

            return work

        at_first = count(monkeypatch, add(0))
        writer.write({f"many {n}": [n] for n in range(20_000)})
        assert count(monkeypatch, add(1000)) == at_first
        ptrarray.checkpoint(path)
        writer.reserve(0)
        assert count(monkeypatch, add(2000)) == at_first


def test_reading_one_array_of_many_takes_no_system_call(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        writer.write({str(n): [n] for n in range(10_000)})
    with ptrarray.open(path) as store:
        assert count(monkeypatch, lambda: [store[str(n)] for n in range(0, 10_000, 7)]) == (0, 0)


def test_writing_takes_no_memory_of_the_size_of_the_data(path: Path) -> None:
    array = np.zeros(2**23, "i8")  # 64 MiB
    halves = {"a": array[: 2**22], "b": array[2**22 :]}
    with ptrarray.create(path, dtype="i8") as writer:
        # msgpack packed into a buffer of a megabyte before 1.1.
        assert peak_nbytes(lambda: writer.write(halves)) < 2**21
        ragged = functools.partial(writer.write_ragged, ["c", "d"], array, [0, 5, 2**23])
        assert peak_nbytes(ragged) < 2**21


# limits -------------------------------------------------------------------------------------------


def test_seventy_thousand_arrays_take_no_more_descriptors(path: Path) -> None:
    """Held at once, they take as many as one."""
    with ptrarray.create(path, dtype="i4") as writer:
        names = list(map(str, range(70_000)))
        writer.write_ragged(names, np.arange(70_000), np.arange(70_001))
    with ptrarray.open(path) as store:
        first = store["0"]
        before = open_descriptors(path)
        held = [store[name] for name in names]
        assert open_descriptors(path) == before
        assert int(held[-1][0]) == 69_999
        assert first.base is not None


@pytest.mark.parametrize("n_bytes", [255, 256, 5000, 65536])
def test_names_are_as_long_as_65536_bytes(path: Path, n_bytes: int) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        writer["n" * n_bytes] = [1]
        with pytest.raises(BadInputError, match="65537 bytes"):
            writer["n" * 65537] = [2]
    check_at(path, {"n" * n_bytes: [1]})


def test_rows_beyond_31_bits(path: Path) -> None:
    n_rows = 2**31 + 8
    with ptrarray.create(path, dtype="u1", row_shape=0) as writer:
        writer["wide"] = np.zeros((n_rows, 0), "u1")
    with ptrarray.open(path) as store:
        assert store["wide"].shape == (n_rows, 0)
        assert store.lengths.tolist() == [n_rows]
    other = path.with_name("long.ptr")
    with ptrarray.create(other, dtype="u1", rows=2 * n_rows) as writer:
        writer.write({"far": [1, 2]}, start=n_rows)
    with ptrarray.open(other) as store:
        assert store["far"].tolist() == [1, 2]
        assert store[n_rows : n_rows + 3].tolist() == [1, 2, 0]
        assert store.rows[: n_rows + 1][-1] == 1
