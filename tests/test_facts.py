"""What is told of open stores, compared with the stores: facts, lengths, holes, first arrays."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray import PointerArray
from ptrarray.views import facts as module
from ptrarray.views.facts import facts, first, lengths
from tests.support.any_layout import KINDS, array_of
from tests.support.backends import here

SMALL = {"_WHOLE": 4, "_RUNS": 3, "_RUN": 2, "_FEW_STORES": 1, "_FEW_RUNS": 2, "_LONG_RUN": 3}
CHANGES = st.lists(st.tuples(st.sampled_from("wdop"), st.integers(0, 9)), max_size=25)


def changed(path: Path, kind: str, changes: list[tuple[str, int]], limit: int | None) -> None:
    """Write, delete, overwrite and point, in a store that is checkpointed in between."""
    with ptrarray.create(path, shard_size=limit, **KINDS[kind]) as writer:
        for number, (what, at) in enumerate(changes):
            names = list(writer)
            if what == "w":
                writer[f"{number}"] = array_of(kind, at)
            elif what == "d" and names:
                del writer[names[at % len(names)]]
            elif what == "o" and names:
                writer.write({names[at % len(names)]: array_of(kind, at)}, overwrite=True)
            elif what == "p" and names and kind == "rows":
                start, end = writer.pointers[names[at % len(names)]]
                writer.point(f"{number}", start, max(start, end - at % 2))
            if number == len(changes) // 2:
                ptrarray.checkpoint(path)


def holes_of(store: PointerArray, kind: str) -> int:
    """Return how many rows no array has, row by row; what fills up to the next start is an array's."""
    is_free, alignment = np.ones(store.shape[0], np.bool_), 64 if "mixed" in kind else 1
    for start, end in store.pointers.values():
        is_free[start : -(-end // alignment) * alignment] = False
    return int(is_free.sum())


@settings(max_examples=40)
@given(st.sampled_from(sorted(KINDS)), CHANGES, st.sampled_from([None, 4096]))
@example("masked mixed", [("w", 0), ("w", 0), ("w", 0), ("w", 1), ("w", 0)], None)
def test_lengths_and_holes_are_those_of_the_store(
    kind: str, changes: list[tuple[str, int]], limit: int | None
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.ptr"
        changed(path, kind, changes, limit)
        store = ptrarray.open(path)
        found = lengths(store)
        assert found.rows.tolist() == store.lengths.tolist()
        assert (found.n_arrays, found.n_hole_rows) == (len(store), holes_of(store, kind))
        assert not found.is_sample
        with pytest.MonkeyPatch.context() as patch:
            for name, value in SMALL.items():
                patch.setattr(module, name, value)
            some = lengths(ptrarray.open(path))
        assert some.n_arrays == len(store)
        assert set(some.rows.tolist()) <= set(store.lengths.tolist())
        assert len(some.rows) <= max(6, len(store)) or not some.is_sample
        assert 0 <= (some.n_hole_rows or 0) <= store.shape[0]
        assert not some.n_hole_rows or found.n_hole_rows


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_only_written_or_is_compacted_has_no_holes(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    with ptrarray.create(path, **KINDS[kind]) as writer:
        for number in range(9):
            writer[f"{number}"] = array_of(kind, number)
    assert lengths(ptrarray.open(path)).n_hole_rows == 0
    with ptrarray.append(path) as writer:
        del writer["3"], writer["8"]
    assert lengths(ptrarray.open(path)).n_hole_rows
    ptrarray.compact(path)
    assert lengths(ptrarray.open(path)).n_hole_rows == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [None, 4096])
def test_first_arrays_are_those_of_the_store(
    kind: str, limit: int | None, backend: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.ptr"
    changed(path, kind, [("w", number) for number in range(20)], limit)
    store = ptrarray.open(path)
    found = list(first(store, 8))
    assert [one.name for one in found] == store.names[:8]
    for one in found:
        expected: Any = store[one.name]
        values: Any = one.values
        assert type(values) is type(expected)
        assert (one.dtype, one.shape, one.why) == (expected.dtype, expected.shape, "")
        np.testing.assert_array_equal(np.ma.getdata(values), np.ma.getdata(expected))
        np.testing.assert_array_equal(np.ma.getmaskarray(values), np.ma.getmaskarray(expected))
    assert len(list(first(store, 100))) == 20


@here
@pytest.mark.parametrize("masked", [False, True])
def test_of_large_arrays_there_are_rows_of_them(masked: bool, backend: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    rows: Any = np.arange(400_000).reshape(-1, 4)
    rows = np.ma.masked_equal(rows, 8) if masked else rows
    with ptrarray.create(path, dtype="i8", row_shape=(4,), masked=masked) as writer:
        writer["before"], writer["rows"] = rows[:3], rows
    one = list(first(ptrarray.open(path), 2))[1]
    values: Any = one.values
    assert (one.shape, one.why) == (rows.shape, "a sample")
    assert 200_000 < values.nbytes <= 1 << 18
    assert isinstance(values, np.ma.MaskedArray) == masked
    at = np.ma.getdata(values)[:, 0] // 4
    assert (np.diff(at) > 0).all()
    assert (at[0], at[-1]) == (0, len(rows) - 1)
    np.testing.assert_array_equal(np.ma.getdata(values), np.ma.getdata(rows)[at])
    np.testing.assert_array_equal(np.ma.getmaskarray(values), np.ma.getmaskarray(rows)[at])


def test_of_large_arrays_of_any_order_little_is_read(tmp_path: Path) -> None:
    large = np.arange(600_000.0).reshape(1000, 600)
    with ptrarray.create(tmp_path / "a.ptr") as writer:
        writer["fortran"], writer["photo"] = np.asfortranarray(large), large.astype("u1")
        writer["wide"] = large.reshape(2, -1)
    fortran, photo, wide = first(ptrarray.open(tmp_path / "a.ptr"), 3)
    assert (fortran.shape, fortran.why) == ((1000, 600), "a sample")
    assert fortran.values is not None
    assert fortran.values.flags.f_contiguous or fortran.values.shape[1] < 40
    np.testing.assert_array_equal(np.diff(fortran.values[:, 0]), 600)
    assert (photo.why, photo.values is not None and photo.values.shape) == ("", (1000, 600))
    assert (wide.why, wide.values is not None and wide.values.shape) == (
        "the first of 2 rows",
        (1, 300_000),
    )


def test_facts_are_plain_values(tmp_path: Path) -> None:
    with ptrarray.create(
        tmp_path / "a.ptr", dtype="f4", row_shape=(3,), attrs={"a": b""}
    ) as writer:
        writer["x"] = np.zeros((5, 3))
        del writer["x"]
        writer["y"] = np.zeros((2, 3))
    assert facts(ptrarray.open(tmp_path / "a.ptr")) == {
        "path": str(tmp_path / "a.ptr"),
        "arrays": 1,
        "rows": 7,
        "dtype": "<f4",
        "row_shape": [3],
        "nbytes": 84,
        "generation": 1,
        "attrs": {"a": b""},
    }
