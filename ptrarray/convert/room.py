"""Memory for one piece of a file after the other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ptrarray.rows.types import Array

# What is read of a file in one go, and handed on together.
PIECE_NBYTES = 1 << 23


class Room:
    """Memory that is used again: what was handed out last is good until more is.

    The system clears fresh memory page by page, which takes as long as reading a file into it.
    """

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def rows(self, n: int, row_shape: tuple[int, ...] = (), dtype: Any = np.uint8) -> Array:
        """Return room for so many rows, with anything in it."""
        dtype = np.dtype(dtype)
        nbytes = n * math.prod(row_shape) * dtype.itemsize
        if nbytes > len(self._memory):
            self._memory = np.empty(0, np.uint8)  # before there is more
            self._memory = np.empty(nbytes, np.uint8)
        return np.ndarray((n, *row_shape), dtype, self._memory)
