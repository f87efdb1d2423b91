"""Stores of each layout, and what their arrays are compared by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import ptrarray

Array = NDArray[Any]


def same(found: Any, wanted: Array) -> bool:
    """Tell whether two arrays are equal in all that a user can see of them."""
    return (
        found.dtype == wanted.dtype
        and found.shape == wanted.shape
        and found.tobytes() == wanted.tobytes()
        and (found.ndim < 2 or not found.size or found.flags.fnc == wanted.flags.fnc)
    )


def filled(path: Path, arrays: Mapping[str, Any], **options: Any) -> Path:
    with ptrarray.create(path, **options) as writer:
        writer.write(arrays)
    return path


LAYOUTS: dict[str, dict[str, Any]] = {
    "rows": {"dtype": "f8"},
    "shaped": {"dtype": "f8", "row_shape": None},
    "mixed": {},
}
