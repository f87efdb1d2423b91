"""Views are plain arrays on the mapped file that take no descriptors and change no file."""

from __future__ import annotations

import operator
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import PointerArray
from tests.support.backends import here, mapped
from tests.support.checks import check_store, open_descriptors, root_base, unchanged
from tests.support.reading import arrays, handed_out, make_four

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def path(path: Path) -> Path:
    return make_four(path)


@mapped
def test_views_are_plain_arrays_on_a_memmap(store: PointerArray, path: Path) -> None:
    for array in handed_out(store).values():
        assert type(array) is np.ndarray
        base = root_base(array)
        assert isinstance(base, np.memmap)
        assert Path(str(base.filename)) == path / "data.bin"
        assert np.shares_memory(array, store.rows)


@mapped
def test_rows_begin_at_a_multiple_of_64_bytes(store: PointerArray) -> None:
    assert store.rows.ctypes.data % 64 == 0


@mapped
def test_views_are_read_only(store: PointerArray) -> None:
    for array in handed_out(store).values():
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True


@here
def test_ten_thousand_arrays_take_no_more_descriptors(tmp_path: Path) -> None:
    path = tmp_path / "many.ptr"
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({str(n): [n] for n in range(10_000)})
    before = open_descriptors(path)
    store = ptrarray.open(path)
    with_reader = open_descriptors(path)
    held = [store[str(n)] for n in range(10_000)]
    held += list(store.values())
    assert open_descriptors(path) == with_reader
    assert len(with_reader) - len(before) <= 2
    assert sum(int(array[0]) for array in held) == 2 * sum(range(10_000))
    del held
    store.close()
    assert open_descriptors(path) == before


def test_a_read_changes_no_file(path: Path) -> None:
    with unchanged(path), ptrarray.open(path) as store:
        check_store(store, arrays())
        store.refresh()
        pickle.loads(pickle.dumps(store)).close()


def test_reads_from_a_store_that_is_read_only(path: Path) -> None:
    for file in (*path.iterdir(), path):
        file.chmod(0o555 if file.is_dir() else 0o444)
    try:
        with ptrarray.open(path) as store:
            check_store(store, arrays())
    finally:
        path.chmod(0o755)


class Whole:
    def __index__(self) -> int:
        return 1


def test_a_position_may_be_any_whole_number(store: PointerArray) -> None:
    positions: list[Any] = [np.array(1), np.array(-1, "i1"), np.uint64(2), Whole()]
    for position in positions:
        np.testing.assert_array_equal(
            store.arrays[position], store.arrays[operator.index(position)]
        )
    others: list[Any] = [np.array(True), np.array(1.0), True, np.True_, 1.0, None]
    for other in others:
        with pytest.raises(IndexError, match="arrays are indexed by an int"):
            store.arrays[other]
