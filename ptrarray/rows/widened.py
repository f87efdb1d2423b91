"""The narrow dtypes that ml_dtypes adds to numpy, and rows of them as rows of numpy's own."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ptrarray.rows.copying import copy_ranges
from ptrarray.rows.masked import MaskedRows
from ptrarray.rows.types import AnyRows, Array, Int64s, Rows

LIBRARY = "ml_dtypes"

_WIDE = {"int": "i1", "uint": "u1", "complex": "c8", "bcomplex": "c8"}


def is_named(dtype: np.dtype[Any]) -> bool:
    """Tell whether a dtype is one that ml_dtypes has added to numpy."""
    return dtype.isbuiltin == 2 and dtype.type.__module__ == LIBRARY


def wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of numpy that holds all values of a narrow one, and any other as it is.

    Examples
    --------
    >>> wide(np.dtype("f2"))
    dtype('float16')
    """
    if not is_named(dtype):
        return dtype
    family = re.match("[a-z]+", dtype.type.__name__)
    return np.dtype(_WIDE.get(family[0] if family else "", "f4"))


class WideRows(Rows):
    """Rows of a narrow dtype, each handed out in one that numpy can sum, compare and mask."""

    def __init__(self, rows: AnyRows) -> None:
        self._rows = rows
        self.dtype, self.shape = wide(rows.dtype), rows.shape

    def __getitem__(self, key: Any) -> Any:
        """Return what numpy gives for this index, cast."""
        return self._rows[key].astype(self.dtype)

    def copy_ranges(
        self, starts: Int64s, ends: Int64s, offsets: Int64s, out: Array | None = None
    ) -> Array:
        """Copy ranges of rows end to end, cast."""
        narrow = copy_ranges(self._rows, starts, ends, offsets)
        if out is None:
            return narrow.astype(self.dtype)
        out[...] = narrow
        return out


def widened(rows: AnyRows) -> AnyRows:
    """Return rows of a narrow dtype in a wide one, masked if they are; others as they are."""
    if not is_named(rows.dtype):
        return rows
    if isinstance(rows, np.ma.MaskedArray):
        return MaskedRows(WideRows(np.ma.getdata(rows)), np.ma.getmaskarray(rows))
    if isinstance(rows, MaskedRows):
        return MaskedRows(WideRows(rows.data), rows.mask)
    return WideRows(rows)
