"""Indexes whose pointers are out of order or share rows, under checksums that are right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray.storage.lifecycle import intact
from ptrarray.storage.store import pointers as checking
from tests.support import forging
from tests.support.damage import INDEX

pytestmark = pytest.mark.usefixtures("limits")


def with_pointers(path: Path, starts: list[int], ends: list[int]) -> None:
    """Give the arrays of an index other pointers, under right checksums."""
    header, columns = forging.unpack_index((path / INDEX).read_bytes())
    columns |= {"start": np.array(starts, "<u8").tobytes(), "end": np.array(ends, "<u8").tobytes()}
    (path / INDEX).write_bytes(forging.lay_out(header, columns))


def zeros(path: Path, **pointed: tuple[int, int]) -> None:
    """Make a store of zeros, whose checksums depend on lengths alone."""
    with ptrarray.create(path, dtype="u1") as writer:
        writer.write({"a": [0] * 3, "b": [0] * 2, "empty": []})
        for name, pointer in pointed.items():
            writer.point(name, *pointer)
    ptrarray.checkpoint(path)


@pytest.mark.parametrize(
    ("pointed", "starts", "ends"),
    [({}, [0, 3, 1], [3, 5, 1]), ({}, [3, 2, 5], [5, 2, 5]), ({"p": (4, 5)}, [0, 3, 2, 5], [3, 5, 3, 5])],
    ids=["an empty array", "an empty array in front", "a pointed one"],
)  # fmt: skip
def test_starts_that_fall(
    pointed: dict[str, tuple[int, int]], starts: list[int], ends: list[int], path: Path
) -> None:
    """An index has arrays in the order of their rows, also those without rows of their own."""
    zeros(path, **pointed)
    with_pointers(path, starts, ends)
    with pytest.raises(ptrarray.CorruptStoreError, match="that is out of order") as raised:
        ptrarray.verify(path)
    (found,) = raised.value.damage
    assert (found.file, found.start) == (str(path / INDEX), min(starts[1:]))
    for change in (ptrarray.compact, pack, write_and_checkpoint, reduce_all):
        before = (path / INDEX).read_bytes()
        with pytest.raises(ptrarray.CorruptStoreError, match="out of order"):
            change(path)
        assert (path / INDEX).read_bytes() == before


@pytest.mark.parametrize("limit", [1, 1 << 20])
def test_starts_that_fall_are_put_in_order(
    limit: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the rows that they lead to are, by chance, like their own."""
    monkeypatch.setattr(intact, "_BLOCK_NBYTES", limit)
    with ptrarray.create(path, dtype="u1") as writer:
        writer.write({"a": [0] * 3, "b": [0] * 2, "c": [0] * 2})
    ptrarray.checkpoint(path)
    with_pointers(path, [0, 3, 1], [3, 5, 3])
    assert ptrarray.repair(path, path.with_name("repaired.ptr")) == []
    ptrarray.verify(path.with_name("repaired.ptr"))
    with ptrarray.open(path.with_name("repaired.ptr")) as store:
        assert {name: len(store[name]) for name in store} == {"a": 3, "c": 2, "b": 2}


def write_and_checkpoint(path: Path) -> None:
    with ptrarray.append(path) as writer:
        writer["new"] = [0]
    ptrarray.checkpoint(path)


def pack(path: Path) -> None:
    ptrarray.pack(path, path.with_name("a.tar"))


def reduce_all(path: Path) -> None:
    with ptrarray.open(path) as store:
        store.reduce(np.add)


@pytest.mark.parametrize(
    ("start", "problem"), [(3, None), (2, "runs into"), (1, "runs into")], ids=str
)
def test_rows_that_two_arrays_have(start: int, problem: str | None, path: Path) -> None:
    """Arrays may touch; to share a row, one of them must have been pointed there."""
    zeros(path)
    with_pointers(path, [0, start, 5], [3, start + 2, 5])
    if problem is None:
        ptrarray.verify(path)
    else:
        with pytest.raises(ptrarray.CorruptStoreError, match=f"array 'b'.*{problem} rows of the"):
            ptrarray.verify(path)


STARTS = st.one_of(st.integers(0, 9), st.integers(-1, 9))
SIZES = st.one_of(st.integers(0, 3), st.integers(-1, 3))


@example([(0, 1), (5, 1), (4, 1)], False, 12, 2)
@settings(max_examples=300)
@given(
    st.lists(st.tuples(STARTS, SIZES), max_size=7),
    st.booleans(),
    st.sampled_from([3, 12]),
    st.sampled_from([1, 2, 99]),
)
def test_columns_checked_in_blocks(
    pointers: list[tuple[int, int]], in_order: bool, n_rows: int, block: int
) -> None:
    """Blocks of any size find what is wrong with two columns, also where one block meets the next."""
    pointers = sorted(pointers) if in_order else pointers
    starts, sizes = np.array(pointers, np.int64).reshape(-1, 2).T
    ends = starts + sizes
    is_sound = (starts >= 0) & (sizes >= 0) & ((ends <= n_rows) | (sizes == 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checking, "BLOCK", block)
        if is_sound.all() and (np.sort(starts) == starts).all():
            assert checking.check_columns("a", starts, ends, n_rows) == ends.max(initial=0)
        else:
            with pytest.raises(ptrarray.CorruptStoreError):
                checking.check_columns("a", starts, ends, n_rows)
