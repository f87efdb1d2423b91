"""Checks of what bigarray's classes find at a path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

import ptrarray
from ptrarray.bigarray import PointerArray


def check_names(path: Path, expected: Mapping[str, npt.ArrayLike]) -> None:
    """Check names and rows, and that every checksum is right."""
    x = PointerArray(path)
    assert sorted(x.indices) == sorted(expected)
    for name, array in expected.items():
        start, end = x.indices[name]
        assert np.array_equal(x[name], array)
        assert np.array_equal(x[start:end], array)
    ptrarray.verify(path)
