"""The three layouts: what an array of a store is made of, and where it may begin."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.format import dtypes, named
from ptrarray.rows.widened import LIBRARY

Kind = Literal["rows", "shaped", "mixed"]

ROWS: Kind = "rows"  # one dtype and row shape
SHAPED: Kind = "shaped"  # one dtype, each array its own shape
MIXED: Kind = "mixed"  # each array its own dtype and shape
KINDS = (ROWS, SHAPED, MIXED)
# What the flat array of each consists of, for messages.
UNITS: dict[str, str] = {ROWS: "rows", SHAPED: "elements", MIXED: "bytes"}

# In a mixed store each array begins at a multiple of this, so that views are aligned.
ALIGNMENT_NBYTES = 64


@lru_cache(maxsize=256)
def mask_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of a mask's elements: bool, or one for each field."""
    return np.dtype(np.ma.make_mask_descr(dtype))


def mask_itemsize(dtype: np.dtype[Any]) -> int:
    """Bytes of the mask of one element: one, or one for each field.

    Raises
    ------
    BadInputError
        If they are none, or more than the element has: there would be no room
        for them beside it.

    Examples
    --------
    >>> mask_itemsize(np.dtype("f8")), mask_itemsize(np.dtype("i4,(2,)f8"))
    (1, 3)
    """
    if dtype.names is not None and named.names_in(dtype) is not None:
        raise BadInputError(
            f"dtype {dtype!r:.200} has fields of {LIBRARY}: no masks of them can be kept",
            found=str(dtype)[:200],
            expected="fields of numpy's dtypes",
        )
    nbytes = mask_dtype(dtype).itemsize
    if not 0 < nbytes <= dtype.itemsize:
        raise BadInputError(
            f"dtype {dtype!r:.200} has no fields, or some without width: no masks of them can be kept",
            found=str(dtype)[:200],
            expected="fields of one byte or more",
        )
    return nbytes


@dataclass(frozen=True)
class Layout:
    """What an array of a store is made of.

    Attributes
    ----------
    kind : {'rows', 'shaped', 'mixed'}
        Which of the three layouts.
    dtype : numpy.dtype
        Of the flat array: uint8 in a mixed store.
    row_shape : tuple of int
        Shape of one row of the flat array: ``()`` but for ``rows``.
    masked : bool
        Whether a mask lies beside the data.
    packed_masks : int or None
        Bytes at the beginning of the mask file of a mixed store in which masks lie end to end,
        and not where their rows are; None if none ever did. Two layouts may differ in it.

    Examples
    --------
    >>> Layout("rows", np.dtype("f4"), (80,), masked=False).width
    320
    """

    kind: Kind
    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]
    masked: bool
    packed_masks: int | None = field(default=None, compare=False)

    @cached_property
    def is_plain(self) -> bool:
        """Whether an array is nothing but its rows."""
        return self.kind == ROWS and not self.masked

    @cached_property
    def width(self) -> int:
        """Bytes of one row; zero if the row shape has a zero in it."""
        return self.dtype.itemsize * math.prod(self.row_shape)

    @property
    def mask_dtype(self) -> np.dtype[Any]:
        """Type of a mask's elements: bool, or one for each field."""
        return mask_dtype(self.dtype)

    @cached_property
    def mask_width(self) -> int:
        """Bytes of one row's mask; zero without masks."""
        return self.mask_dtype.itemsize * math.prod(self.row_shape) if self.masked else 0

    @cached_property
    def mask_start(self) -> int:
        """Byte of the mask file where the masks of row 0 begin: after those that lie end to end."""
        return self.packed_masks or 0

    def n_mask_rows(self, n_rows: int, nbytes: int) -> int:
        """Rows of masks in a mask file of so many bytes, where the store has `n_rows`.

        It may end early: then it has those that lie end to end.
        """
        return self.mask_start + (0 if self.ends_early(n_rows, nbytes) else n_rows)

    def ends_early(self, n_rows: int, nbytes: int) -> bool:
        """Tell whether a mask file of so many bytes has only masks that lie end to end.

        Then nothing else is masked. It may reach beyond them, if not to where it would for `n_rows`:
        a power cut may leave a file that was being made longer at any size between (so does XFS).
        """
        packed = self.packed_masks
        return packed is not None and packed <= nbytes < packed + max(n_rows, 1)

    @cached_property
    def alignment(self) -> int:
        """Rows of which each array's start is a multiple."""
        return ALIGNMENT_NBYTES if self.kind == MIXED else 1

    @property
    def row_limit(self) -> int:
        """Rows that a file can hold at the most."""
        return dtypes.row_limit(self.dtype, self.row_shape)

    def aligned(self, n_rows: Any) -> Any:
        """Return row numbers raised to where an array may begin."""
        return -(-n_rows // self.alignment) * self.alignment

    def describe(self) -> str:
        """Return what the store holds, for messages."""
        what = {
            ROWS: f"rows of {self.dtype} {self.row_shape}",
            SHAPED: f"elements of {self.dtype} in arrays of any shape",
            MIXED: "bytes in arrays of any dtype and shape",
        }[self.kind]
        return f"{what}, with masks" if self.masked else what
