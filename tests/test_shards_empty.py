"""Arrays without rows where shards meet: where they begin, and what a name given to them gets."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, PointerArray, PointerArrayWriter
from ptrarray.storage.shards.opened import load_any
from ptrarray.views.arrays import positions_of
from tests.support.checks import check_same
from tests.support.shards import Array, Arrays

pytestmark = pytest.mark.usefixtures("no_syncs")

LAYOUTS: dict[str, dict[str, Any]] = {
    "shaped": {"dtype": "i4", "row_shape": None},
    "mixed": {},
    "mixed and masked": {"masked": True},
}
# Of each shard. Masks and lengths make the data of no shard end where an array of the next could begin.
SHARDS: list[Arrays] = [
    {"a": np.arange(10, dtype="i4").reshape(5, 2), "last of a": np.zeros((0, 2), "i4")},
    {"alone": np.zeros((0, 4), "i4")},
    {"first of b": np.zeros((7, 0), "i4"), "b": np.arange(3, dtype="i4")},
    {},
    {"c": np.arange(5, dtype="i4"), "last of c": np.zeros((3, 0, 2), "i4")},
]
ARRAYS: Arrays = {name: array for shard in SHARDS for name, array in shard.items()}
EMPTY = [name for name, array in ARRAYS.items() if not array.size]


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> dict[str, Any]:
    return LAYOUTS[request.param]


@pytest.fixture(params=["checkpointed", "journal"])
def path(tmp_path: Path, request: pytest.FixtureRequest, layout: dict[str, Any]) -> Path:
    """Return the path of a store of these shards."""
    for number, arrays in enumerate(SHARDS):
        with ptrarray.create(tmp_path / f"{number}.ptr", **layout) as writer:
            for name, array in arrays.items():
                writer[name] = array
    path = tmp_path / "all.ptr"
    sources = [tmp_path / f"{number}.ptr" for number in range(len(SHARDS))]
    ptrarray.join(path, sources, progress=False)
    if request.param == "journal":  # in the shards before the last, too
        with ptrarray.append(path) as writer:
            for name in ("last of a", "b"):
                writer.rename(name, "other")
                writer.rename("other", name)
            writer["later"] = np.zeros((0, 6), "i4")
    return path


def check_starts(store: PointerArray) -> None:
    """Check that starts rise, and are those of the pointers, however these are asked for."""
    names = list(store)
    starts, ends = store.starts.tolist(), store.ends.tolist()
    assert all(before <= after for before, after in pairwise(starts))
    assert starts[0] == 0
    assert [store.pointers[name] for name in names] == list(zip(starts, ends, strict=True))
    assert list(dict(store.pointers.items()).values()) == list(zip(starts, ends, strict=True))
    assert [array.shape for array in store.values()] == [store[name].shape for name in names]


def test_starts_rise(path: Path) -> None:
    with ptrarray.open(path) as store:
        check_starts(store)
        for name, array in ARRAYS.items():
            check_same(store[name], array)


@pytest.mark.parametrize("times", [1, 60], ids=["few", "as a whole"])
def test_many_are_found_where_they_begin(path: Path, times: int) -> None:
    opened = load_any(path, "r")
    texts = list(opened.snapshot.texts())
    names = [text.encode() for text in texts] * times
    pointers = np.stack([opened.snapshot.starts, opened.snapshot.ends], axis=1)
    check_same(opened.snapshot.find_all(names), np.tile(pointers, (times, 1)))
    assert positions_of(opened, texts * times).tolist() == [*range(len(texts))] * times


def shape_in(store: PointerArray | PointerArrayWriter, name: str) -> tuple[Any, ...]:
    array: Array = store[name]
    return (*array.shape, array.dtype.str)


@pytest.mark.parametrize("name", EMPTY)
def test_a_name_given_to_an_array_without_rows(path: Path, tmp_path: Path, name: str) -> None:
    """Where several begin at one row, the first in data order counts, as in a store without shards."""
    with ptrarray.open(path) as store:
        pointer = store.pointers[name]
        same = [each for each in store if store.pointers[each] == pointer]
    with ptrarray.append(path) as writer:
        assert writer.pointers[name] == pointer
        writer.point("new", *pointer)
        assert shape_in(writer, "new") == shape_in(writer, same[0])
    with ptrarray.open(path) as store:
        assert shape_in(store, "new") == shape_in(store, same[0])
        assert store.pointers["new"] == pointer
        check_starts(store)
    ptrarray.verify(path)


def test_each_of_its_own_where_no_others_begin(tmp_path: Path, layout: dict[str, Any]) -> None:
    path, wanted = tmp_path / "all.ptr", {}
    with ptrarray.create(path, shard_size=400, **layout) as writer:
        for n in range(30):
            writer[f"n{n}"] = np.arange(10 + n, dtype="i4")
            wanted[f"e{n}"] = writer[f"e{n}"] = np.zeros((0, n), "i4")
        for name in wanted:
            writer.point(f"new {name}", *writer.pointers[name])
    with ptrarray.open(path) as store:
        assert len(store.shards) > 5
        check_starts(store)
        for name, array in wanted.items():
            check_same(store[f"new {name}"], array)


def test_rows_that_are_no_array_without_rows(path: Path) -> None:
    with ptrarray.append(path) as writer:
        n_rows = writer.pointers["c"].end
        for start in (1, n_rows + 1, n_rows + 1000):
            if start == 1 and writer.layout == "shaped":
                continue
            with pytest.raises(BadInputError):
                writer.point("new", start, start)
        assert "new" not in writer
