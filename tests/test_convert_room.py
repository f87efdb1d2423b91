"""Memory that pieces of a file use one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptrarray.convert.formats.h5_columns import reader
from ptrarray.convert.room import Room


def test_the_same_memory_until_it_is_too_small() -> None:
    room = Room()
    first = room.rows(100, (3,), ">i4")
    assert (first.shape, first.dtype) == ((100, 3), np.dtype(">i4"))
    assert np.shares_memory(first, room.rows(1))
    assert not np.shares_memory(first, room.rows(10_000))
    assert room.rows(0, (0,)).shape == (0, 0)


@pytest.mark.parametrize("dtype", ["<f8", ">i2", "?", "S3", "<c8", [("a", "<i4")]])
def test_rows_of_hdf5(tmp_path: Path, dtype: Any) -> None:
    h5py = pytest.importorskip("h5py")
    values = np.arange(60).reshape(20, 3).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        item = file.create_dataset("x", data=values, chunks=(7, 2), compression="gzip")
        read = reader(item)
        for first, last in [(0, 20), (3, 9), (5, 5), (19, 20)]:
            rows = read(first, last)
            assert (rows.dtype, rows.tobytes()) == (values.dtype, values[first:last].tobytes())
        assert np.shares_memory(read(0, 2), read(4, 6)) == (values.dtype.kind in "bfic")
