"""Array types by name, and what the code asks of rows that do not lie in one array."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]
UInt8s = npt.NDArray[np.uint8]
UInt32s = npt.NDArray[np.uint32]
UInt64s = npt.NDArray[np.uint64]


class Rows(Protocol):
    """Rows that are read as those of an ndarray, and lie elsewhere or are not there yet.

    A class of such rows names this one as its base, sets the attributes and has the two
    methods; the rest follows. Whoever takes rows of any kind takes `AnyRows`, asks of them no
    more than this, and has `ptrarray.rows.copying.copy_ranges` tell the two kinds apart.

    Attributes
    ----------
    dtype : numpy.dtype
        Of the elements.
    shape : tuple of int
        ``(n_rows, *row_shape)``.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __getitem__(self, key: Any) -> Any:
        """Return what numpy gives for an index, of a slice at the least."""

    def copy_ranges(
        self, starts: Int64s, ends: Int64s, offsets: Int64s, out: Array | None = None
    ) -> Array:
        """Copy ranges of rows end to end: see `ptrarray.rows.copying.copy_ranges`."""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.itemsize


AnyRows = Array | Rows
