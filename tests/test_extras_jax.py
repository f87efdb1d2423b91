"""jax takes batches and arrays by DLPack, without a copy where it can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from tests.support.layouts import filled

jax: Any = pytest.importorskip("jax")

ARRAYS = {"a": np.ones((3, 4), "f4"), "b": np.arange(8, dtype="f4").reshape(2, 4)}
from_dlpack: Any = jax.numpy.from_dlpack


def shares(found: Any, array: Any) -> bool:
    return bool(found.unsafe_buffer_pointer() == array.ctypes.data)


@pytest.mark.parametrize(
    "options", [{"row_shape": (4,)}, {"row_shape": None}], ids=["rows", "shaped"]
)
def test_batches(tmp_path: Path, options: Any) -> None:
    store = ptrarray.open(filled(tmp_path / "a.ptr", ARRAYS, dtype="f4", **options))
    batch = store.take(["b", "a"])
    for found in (from_dlpack(batch.values), jax.numpy.asarray(batch.values)):
        assert np.array_equal(found, batch.values)
    padded, _ = batch.to_padded()
    assert from_dlpack(padded).shape == (2, 3, 4)


def test_arrays_of_mode_c(tmp_path: Path) -> None:
    """Those that begin at a multiple of 64 bytes are taken as they are, others copied."""
    path = filled(tmp_path / "a.ptr", ARRAYS)  # mixed, where all do
    store = ptrarray.open(path, "c")
    for name, array in ARRAYS.items():
        found = from_dlpack(store[name])
        assert shares(found, store[name])
        assert np.array_equal(found, array)
    part = store["b"][1:]
    assert not shares(from_dlpack(part), part)
    assert np.array_equal(from_dlpack(part), ARRAYS["b"][1:])


def test_arrays_that_are_read_only(tmp_path: Path) -> None:
    store = ptrarray.open(filled(tmp_path / "a.ptr", ARRAYS))
    with pytest.raises(BufferError, match="readonly"):
        from_dlpack(store["a"])
    found = jax.numpy.asarray(store["a"])
    assert not shares(found, store["a"])
    assert np.array_equal(found, ARRAYS["a"])
