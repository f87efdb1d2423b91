"""A store of four arrays to be read, and what others do to it meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ptrarray
from ptrarray import PointerArray

Array = NDArray[Any]
ARRAYS = {"b": [1, 2, 3], "": [], "a": [4, 5], "größe\n\0": [6]}


def make_four(path: Path) -> Path:
    """Make a store of four arrays, half of them in the journal."""
    with ptrarray.create(path, dtype="i4", attrs={"rate": 16000}) as writer:
        writer.write({name: ARRAYS[name] for name in list(ARRAYS)[:2]})
        ptrarray.checkpoint(path)
        writer.write({name: ARRAYS[name] for name in list(ARRAYS)[2:]})
    return path


def arrays(**changes: list[int]) -> dict[str, Array]:
    return {name: np.array(value, "i4") for name, value in {**ARRAYS, **changes}.items()}


def handed_out(store: PointerArray) -> dict[str, Array]:
    """Everything that is a view."""
    return {
        "by name": store["b"],
        "get": store.get("b", np.empty(0)),
        "items": dict(store.items())["b"],
        "values": next(iter(store.values())),
        "by position": store.arrays[0],
        "rows": store.rows,
        "slice": store[0:3],
        "asarray": np.asarray(store),
    }


def change_all(path: Path) -> None:
    """Do everything to a store that a writer can do."""
    with ptrarray.append(path) as writer:
        writer["b"] = [7]
        del writer["a"]
        writer["new"] = np.arange(10_000)
        writer.point("twice", 0, 2)
        writer.attrs["rate"] = 1
        ptrarray.checkpoint(path)
        writer["newer"] = [8]


def replace(path: Path) -> None:
    with ptrarray.create(path, dtype="f8", mode="w") as writer:
        writer["other"] = [0.5]


def compact_with_a_hole(path: Path) -> None:
    with ptrarray.append(path) as writer:
        del writer["a"]
    ptrarray.compact(path)
