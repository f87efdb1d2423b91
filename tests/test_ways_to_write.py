"""All ways to write leave the same bytes, with either checksum."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import ptrarray
from ptrarray.format import checksum
from ptrarray.storage.store.index import Index
from tests.support import strategies
from tests.support.checks import check_store

Array = NDArray[Any]


def write_at_once(writer: ptrarray.PointerArrayWriter, arrays: dict[str, Array]) -> None:
    writer.write(arrays)


def write_one_by_one(writer: ptrarray.PointerArrayWriter, arrays: dict[str, Array]) -> None:
    for name, array in arrays.items():
        writer[name] = array


def write_claimed(writer: ptrarray.PointerArrayWriter, arrays: dict[str, Array]) -> None:
    """Write outside the lock, as large batches are."""
    writer.write(arrays, start=writer.reserve(sum(map(len, arrays.values()))))


def write_claimed_one_by_one(writer: ptrarray.PointerArrayWriter, arrays: dict[str, Array]) -> None:
    for name, array in arrays.items():
        write_claimed(writer, {name: array})


def write_ragged(writer: ptrarray.PointerArrayWriter, arrays: dict[str, Array]) -> None:
    lengths = [len(array) for array in arrays.values()]
    values = [np.empty((0, *(writer.row_shape or ())), writer.dtype), *arrays.values()]
    writer.write_ragged(list(arrays), np.concatenate(values), np.cumsum([0, *lengths]))


def write_allocated(writer: ptrarray.PointerArrayWriter, arrays: dict[str, Array]) -> None:
    for name, array in arrays.items():
        with writer.allocate(name, len(array)) as rows:
            rows[...] = array


def write_cast(writer: ptrarray.PointerArrayWriter, arrays: dict[str, Array]) -> None:
    """Write in the other byte order, which is cast back."""
    writer.write({name: a.astype(a.dtype.newbyteorder()) for name, a in arrays.items()})


WAYS: tuple[Callable[[ptrarray.PointerArrayWriter, dict[str, Array]], None], ...] = (
    write_at_once,
    write_one_by_one,
    write_claimed,
    write_claimed_one_by_one,
    write_ragged,
    write_allocated,
    write_cast,
)


def check_ways(folder: Path, dtype: Any, row_shape: Any, arrays: dict[str, Array]) -> None:
    """Check that all ways to write leave the same rows and the same columns."""
    found = set()
    for way in WAYS:
        path = folder / f"{way.__name__}.ptr"
        with ptrarray.create(path, dtype=dtype, row_shape=row_shape) as writer:
            way(writer, arrays)
        ptrarray.checkpoint(path)
        with ptrarray.open(path) as store:
            check_store(store, arrays, in_order=True)
        index = Index(path)
        found.add(
            (
                (path / "data.bin").read_bytes(),
                *(index.column(name).tobytes() for name in index.columns),
            )
        )
    assert len(found) == 1


@given(
    data=st.data(),
    dtype=st.sampled_from(strategies.PLAIN_DTYPES),
    row_shape=strategies.row_shapes(),
)
def test_all_ways_to_write_are_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    dtype: Any,
    row_shape: tuple[int, ...],
) -> None:
    layout = (np.dtype(dtype), row_shape)
    arrays = data.draw(st.dictionaries(strategies.names(), strategies.arrays(*layout), max_size=4))
    check_ways(tmp_path_factory.mktemp("ways"), *layout, arrays)


def test_all_ways_to_write_much_are_the_same(tmp_path: Path) -> None:
    lengths = [10**5, 0, 1, 2**16 // 8, 2**16 // 8 + 1, 5]
    arrays = {str(n): np.arange(n, dtype="<i8") for n in lengths}
    check_ways(tmp_path, "<i8", (), arrays)


# lists --------------------------------------------------------------------------------------------

BIG = 17_293_822_569_102_704_643  # no float64
LAYOUTS: tuple[dict[str, Any], ...] = (
    {"dtype": "u8", "row_shape": ()},
    {"dtype": "u8", "row_shape": (), "masked": True},
    {"dtype": "u8", "row_shape": None},
    {"dtype": "u8", "row_shape": None, "masked": True},
    {},
    {"masked": True},
    {"dtype": "u8", "row_shape": (), "shard_size": 4096},
)


def check_lists(path: Path, expected: dict[str, list[int]]) -> None:
    with ptrarray.open(path) as store:
        assert {name: array.tolist() for name, array in store.items()} == expected
        assert all(array.dtype == np.uint64 for array in store.values())


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_large_integers_of_lists(path: Path, layout: dict[str, Any]) -> None:
    given: tuple[Any, ...] = ([BIG, 42], (1, BIG), [np.uint64(BIG), 1])
    expected = {"a": [BIG, 42], "b": [1, BIG], "c": [BIG, 1]}
    with ptrarray.create(path, **layout) as writer:
        writer["a"] = given[0]
        writer.write({"b": given[1], "c": given[2]})
        writer.write_ragged(["d", "e"], [BIG, 1, 2], [0, 2, 3])
    ptrarray.fill(
        path, as_it_is, {"f": [BIG, 5], "g": (7, BIG)}, processes=2, progress=False, **layout
    )
    expected |= {"d": [BIG, 1], "e": [2], "f": [BIG, 5], "g": [7, BIG]}
    check_lists(path, expected)


@pytest.mark.parametrize("layout", LAYOUTS[:5], ids=str)
def test_a_series_that_a_function_returns(path: Path, layout: dict[str, Any]) -> None:
    pd = pytest.importorskip("pandas")
    tasks = {"a": pd.Series([1], index=["x"], name="n", dtype="u8")}
    ptrarray.fill(path, as_it_is, tasks, processes=1, progress=False, **layout)
    with ptrarray.open(path) as store:
        dtype = layout.get("dtype", "u8")
        pd.testing.assert_series_equal(store.series("a"), tasks["a"].astype(dtype))


def as_it_is(value: Any) -> Any:
    return value


# checksums ----------------------------------------------------------------------------------------


@given(st.binary(max_size=200), st.integers(0, 2**32 - 1))
def test_checksums_are_zlibs(raw: bytes, crc: int) -> None:
    assert checksum.crc32(raw) == crc32(raw)
    assert checksum.crc32(memoryview(raw), crc) == crc32(raw, crc)


def test_checksums_of_large_arrays_are_zlibs() -> None:
    rows = np.random.default_rng(5).random((300, 777), np.float32)
    assert checksum.crc32(rows) == crc32(rows)
    assert checksum.crc32(rows[1:], 9) == crc32(rows[1:], 9)
    with pytest.raises(ValueError, match="contiguous"):
        checksum.crc32(rows[:, ::2])


WITHOUT = """
import sys
sys.modules["isal"] = None  # as if it were not installed
import zlib, numpy, ptrarray
from ptrarray import native
from ptrarray.format import checksum
assert checksum.crc32 is (native.core or zlib).crc32
ptrarray.verify("fast.ptr")
with ptrarray.create("plain.ptr", dtype="f4", row_shape=(3,)) as writer:
    writer.write({f"a{n}": numpy.ones((n, 3)) for n in range(2000)})
"""


def test_stores_are_the_same_without_the_faster_checksum(tmp_path: Path) -> None:
    arrays = {f"a{n}": np.ones((n, 3), np.float32) for n in range(2000)}
    with ptrarray.create(tmp_path / "fast.ptr", dtype="f4", row_shape=(3,)) as writer:
        writer.write(arrays)
    subprocess.run([sys.executable, "-c", WITHOUT], cwd=tmp_path, check=True)
    ptrarray.verify(tmp_path / "plain.ptr")
    with ptrarray.open(tmp_path / "plain.ptr") as store:
        check_store(store, arrays)
