"""Memory that callers give for a result: whether it fits, before anything is written to it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.rows.types import Array


def fitting(
    out: Any, n_rows: int, dtype: np.dtype[Any], row_shape: tuple[int, ...], *, masked: bool
) -> Array:
    """Return the first rows of what a caller gives for a result.

    Parameters
    ----------
    out : Any
        What is given.
    n_rows, dtype, row_shape, masked
        What the result has; if it is masked, the mask is written, too.

    Returns
    -------
    ndarray, shape (n_rows, *row_shape)
        A view of `out`; a masked array on its data and its mask if it is one.

    Raises
    ------
    BadInputError
        If `out` has another dtype or other rows, is shorter, not C-contiguous or
        read-only, or is masked where the result is not, or the other way round.

    Examples
    --------
    >>> fitting(np.zeros(5, "f4"), 3, np.dtype("f4"), (), masked=False)
    array([0., 0., 0.], dtype=float32)
    """
    parts = _parts(out)
    is_right = (
        len(parts) == 1 + masked
        and parts[0].dtype == dtype
        and parts[0].ndim == 1 + len(row_shape)
        and parts[0].shape[1:] == row_shape
        and len(parts[0]) >= n_rows
        and not any(part.shape != parts[0].shape or _wrong(part) for part in parts)
    )
    if is_right:
        view: Array = out[:n_rows]
        return view
    shape = ", ".join(map(str, (f"at least {n_rows}", *row_shape)))
    kind = "masked array with a mask of its own" if masked else "array"
    expected = f"a writable C-contiguous {kind}, {dtype} of shape ({shape})"
    found = _described(out, parts)
    raise BadInputError(f"out is {found}; expected {expected}", found=found, expected=expected)


def _parts(out: Any) -> list[Array]:
    """Return the data and, if there is one, the mask of an array; nothing of anything else."""
    if not isinstance(out, np.ndarray):
        return []
    mask = [np.asarray(out.mask)] if isinstance(out, np.ma.MaskedArray) else []
    return [np.ma.getdata(out), *mask]


def _wrong(part: Array) -> str:
    """Return what keeps memory from being written to as one block."""
    if not part.flags.c_contiguous:
        return ", not C-contiguous"
    return "" if part.flags.writeable else ", read-only"


def _described(out: Any, parts: list[Array]) -> str:
    if not parts:
        return f"a {type(out).__name__}"
    data, *masks = parts
    kind = "a masked array, " if masks else ""
    wrong = next(filter(None, map(_wrong, parts)), "")
    if any(mask.shape != data.shape for mask in masks):
        wrong = ", without a mask of its own"
    return f"{kind}{data.dtype} of shape {data.shape}{wrong}"
