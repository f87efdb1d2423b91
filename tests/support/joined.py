"""Stores to be joined, in every layout, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ptrarray
from tests.support.story import essence

Array = NDArray[Any]

LAYOUTS: dict[str, dict[str, Any]] = {
    "rows": {"dtype": "i4"},
    "rows of two": {"dtype": "f4", "row_shape": 2},
    "masked": {"dtype": "i4", "masked": True},
    "shaped": {"dtype": "f8", "row_shape": None},
    "mixed": {},
    "mixed, masked": {"masked": True},
}


def arrays_of(layout: str, key: str) -> dict[str, Any]:
    """Return arrays as a layout takes them, other ones for each key."""
    seed = sum(map(ord, key))
    numbers = np.random.default_rng(seed).integers(1, 1000, 24)
    if layout == "rows of two":
        found: dict[str, Any] = {"a": numbers[:6].reshape(3, 2), "b": numbers[6:8].reshape(1, 2)}
    elif layout in ("shaped", "mixed", "mixed, masked"):
        found = {"a": numbers.reshape(2, 3, 4), "b": np.asfortranarray(numbers[:6].reshape(2, 3))}
    else:
        found = {"a": numbers, "b": numbers[:3]}
    if "masked" in layout:
        found["b"] = np.ma.MaskedArray(found["b"], np.asarray(found["b"]) % 2 == 0)
    if "mixed" in layout:
        found["c"] = np.array(f"text {key}")
    found["empty"] = found["a"][:0]
    dtype = LAYOUTS[layout].get("dtype")
    cast = {n: v if dtype is None else v.astype(dtype) for n, v in found.items()}
    return {f"{key}/{name}": value for name, value in cast.items()}


def make(path: Path, layout: str, key: str, **options: Any) -> dict[str, bytes]:
    """Make a store of a layout; return what it holds."""
    arrays = arrays_of(layout, key)
    with ptrarray.create(path, **LAYOUTS[layout], **options) as writer:
        for name, array in arrays.items():
            writer.write({name: array}, meta={name: {"key": key}})
        del writer[f"{key}/a"]  # a hole, and a journal
        writer.write({f"{key}/a": arrays[f"{key}/a"]})
    return held(path)


def held(path: Path) -> dict[str, bytes]:
    """Return what a store holds, all of it checked."""
    with ptrarray.open(path) as store:
        store.verify()
        return {name: essence(store[name], store.meta[name]) for name in store}


def files_of(path: Path) -> Mapping[str, bytes]:
    """Return the bytes of all files below a path."""
    return {str(file.relative_to(path)): file.read_bytes() for file in _files(path)}


def _files(path: Path) -> Iterator[Path]:
    return (file for file in sorted(path.rglob("*")) if file.is_file())
