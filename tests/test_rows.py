"""Rows of every kind answer as numpy does of one array: mapped, read, of shards, and with masks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import ptrarray
from ptrarray import PointerArray
from ptrarray.rows.chained import ChainedRows
from ptrarray.rows.copying import copy_ranges
from ptrarray.rows.masked import MaskedRows
from tests.support.checks import check_same_elements
from tests.support.strategies import indices

Array = NDArray[Any]
Kinds = dict[str, PointerArray]

ROW_SHAPES = [(), (3,), (2, 3), (0,)]
LENGTHS = [3, 0, 5, 1, 2, 6]
SHARD_ROWS = 6


@pytest.fixture(scope="module", params=ROW_SHAPES, ids=str)
def row_shape(request: pytest.FixtureRequest) -> tuple[int, ...]:
    shape: tuple[int, ...] = request.param
    return shape


@pytest.fixture(scope="module")
def whole(row_shape: tuple[int, ...]) -> Array:
    shape = (sum(LENGTHS), *row_shape)
    return np.arange(np.prod(shape), dtype=">i4").reshape(shape)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "masked"])
def stores(
    request: pytest.FixtureRequest, whole: Array, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Array, Kinds]]:
    """All rows as one array, and stores of them by what their rows are."""
    folder = tmp_path_factory.mktemp("rows")
    rows: Any = np.ma.MaskedArray(whole, whole % 4 == 1) if request.param else whole
    options: Any = {"dtype": whole.dtype, "row_shape": whole.shape[1:], "masked": request.param}
    shard_nbytes = SHARD_ROWS * max(1, whole[:1].nbytes)
    for name, size in (("one", None), ("shards", shard_nbytes)):
        with ptrarray.create(folder / name, shard_size=size, **options) as writer:
            for n, part in enumerate(np.split(rows, np.cumsum(LENGTHS)[:-1])):
                writer[f"a{n}"] = part
    opened = {
        f"{name} {backend}": ptrarray.open(folder / name, backend=backend)
        for name in ("one", "shards")
        for backend in ("mmap", "pread")
    }
    yield rows, opened
    for store in opened.values():
        store.close()


def test_rows_of_these_stores_are_of_every_kind(stores: tuple[Array, Kinds]) -> None:
    """Or the tests below would test less."""
    rows, opened = stores
    n_shards = len(opened["shards mmap"].shards)
    assert n_shards > 3 or not rows.nbytes
    kinds = {name: type(store._opened.rows).__name__ for name, store in opened.items()}
    many = "ChainedRows" if n_shards > 1 else None
    if isinstance(rows, np.ma.MaskedArray):
        assert kinds["one mmap"] == "MaskedArray"
        assert kinds["one pread"] == kinds["shards pread"] == "MaskedRows"
        assert kinds["shards mmap"] == ("MaskedRows" if many else "MaskedArray")
    else:
        assert kinds["one mmap"] == "ndarray"
        assert kinds["one pread"] == "PreadRows"
        assert kinds["shards mmap"] == (many or "ndarray")
        assert kinds["shards pread"] == (many or "PreadRows")


@given(data=st.data())
def test_any_index_gives_what_numpy_gives(stores: tuple[Array, Kinds], data: st.DataObject) -> None:
    rows, opened = stores
    key = data.draw(indices(rows.shape))
    try:
        wanted = rows[key]
    except Exception as error:  # noqa: BLE001 - whatever numpy raises
        for store in opened.values():
            with pytest.raises(type(error)):
                store[key]
        return
    for name, store in opened.items():
        found = store[key]
        assert type(found) is type(wanted), name
        check_same_elements(np.ma.asanyarray(found), np.ma.asanyarray(wanted))


@given(data=st.data())
def test_many_ranges_are_copied_as_from_one_array(
    stores: tuple[Array, Kinds], data: st.DataObject
) -> None:
    rows, opened = stores
    bound = st.integers(0, len(rows))
    pairs = data.draw(st.lists(st.tuples(bound, bound).map(sorted), max_size=60))
    starts, ends = np.array(pairs, np.int64).reshape(-1, 2).T
    offsets = np.append(0, np.cumsum(ends - starts))
    for store in opened.values():
        found = copy_ranges(store._opened.rows, starts, ends, offsets)
        assert found.flags.writeable
        assert len(found) == offsets[-1]
        for (start, end), (first, last) in zip(pairs, pairwise(offsets), strict=True):
            check_same_elements(found[first:last], rows[start:end])


@given(data=st.data())
def test_masked_rows_in_memory_are_those_of_a_masked_array(
    whole: Array, data: st.DataObject
) -> None:
    rows, mask = MaskedRows(whole, whole % 4 == 1), np.ma.MaskedArray(whole, whole % 4 == 1)
    key = data.draw(indices(whole.shape))
    try:
        wanted = mask[key]
    except Exception as error:  # noqa: BLE001 - whatever numpy raises
        with pytest.raises(type(error)):
            rows[key]
        return
    assert type(rows[key]) is type(wanted)
    check_same_elements(np.ma.asanyarray(rows[key]), np.ma.asanyarray(wanted))


@pytest.mark.parametrize("key", [0, -1, "x", ["y", "x"], slice(None, None, -1), [2, 0], (1, ...)])
def test_fields_have_masks_of_their_own(key: Any) -> None:
    data = np.array([(1, 0.5), (2, 1.5), (3, 2.5)], [("x", "i4"), ("y", "f8")])
    mask = np.array([(0, 1), (1, 1), (0, 0)], [("x", "?"), ("y", "?")])
    chained = ChainedRows([data[:2], data[2:]]), ChainedRows([mask[:2], mask[2:]])
    wanted = np.ma.MaskedArray(data, mask)[key]
    for rows in (MaskedRows(data, mask), MaskedRows(*chained)):
        assert type(rows[key]) is type(wanted)
        assert rows[key].tolist() == wanted.tolist()


def test_a_slice_of_one_part_is_a_view_whatever_its_step() -> None:
    parts = [np.arange(3), np.arange(5), np.empty(0, int), np.arange(2)]
    rows = ChainedRows(parts)
    for key in (slice(3, 8), slice(7, 3, -2), slice(4, 8, 3), (slice(3, 6), None), slice(3, 3)):
        assert not rows[key].size or np.shares_memory(rows[key], parts[1])
    masked = MaskedRows(rows, ChainedRows([part > 1 for part in parts]))
    found = masked[3:8]
    found[0] = np.ma.masked
    assert np.shares_memory(found.data, parts[1])
    assert masked[3] is np.ma.masked  # the mask was a view, too


def test_what_is_rows_says_what_an_array_does(whole: Array) -> None:
    chained = ChainedRows([whole[:4], whole[4:]])
    for rows in (chained, MaskedRows(chained, chained)):
        for name in ("dtype", "shape", "ndim", "itemsize", "size", "nbytes"):
            assert getattr(rows, name) == getattr(whole, name)
        assert len(rows) == len(whole)
