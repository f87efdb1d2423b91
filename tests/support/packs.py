"""Stores to be packed, and checks of what became of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ptrarray
from tests.support.checks import check_store

Array = NDArray[Any]
COMPRESSIONS = (None, "gz", "bz2", "xz", "zst")
NAME = "zwölf.ptr"


def make(path: Path, n_arrays: int = 20) -> dict[str, Array]:
    """Make a store with holes, an index and a journal; return what is in it, in order."""
    rng = np.random.default_rng(n_arrays)
    arrays = {f"ärray {i}": rng.random((i % 7, 3)).astype("f4") for i in range(n_arrays)}
    with ptrarray.create(path, dtype="f4", row_shape=(3,), rows=5000, attrs={"k": [1]}) as writer:
        writer.write(arrays | {"gone": np.ones((50, 3))})
    ptrarray.checkpoint(path)
    with ptrarray.append(path) as writer:
        del writer["gone"]
        writer.write({"later": np.full((9, 3), 7)})
        start, _ = writer.pointers["later"]
        writer.point("part", start + 2, start + 5)
    return stored(path)


def stored(path: Path) -> dict[str, Array]:
    """Return copies of all arrays of a store, in order."""
    with ptrarray.open(path) as store:
        return {name: array.copy() for name, array in store.items()}


def packed(path: Path, compression: str | None = None, level: int | None = None) -> bytes:
    buffer = io.BytesIO()
    ptrarray.pack(path, buffer, compression, level=level)
    return buffer.getvalue()


def check_same_store(path: Path, arrays: dict[str, Array]) -> None:
    with ptrarray.open(path) as store:
        check_store(store, arrays, in_order=True)
        assert dict(store.attrs) == {"k": [1]}
