"""Arrays as arrays of awkward: lists on the memory where the rows lie."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError, import_extra

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]

_MISSING = (
    "arrays of awkward need awkward: pip install 'ptrarray[awkward]', or 'awkward' beside ptrarray"
)


def lists(
    values: Array,
    starts: Int64s,
    ends: Int64s,
    shapes: Int64s | None = None,
    names: tuple[Array, Int64s] | None = None,
) -> Any:
    """Return an array of awkward, whose items are ranges of rows.

    Parameters
    ----------
    values : ndarray, shape (n_rows, *row_shape)
        May be a masked array. Copied only if it is not contiguous.
    starts, ends : ndarray of int64, shape (n,)
        Item ``i`` is ``values[starts[i]:ends[i]]``; in any order, with holes.
    shapes : ndarray of int64, shape (n, ndim), optional
        Of items that have shapes of their own, in C order; then values have
        one axis.
    names : (ndarray of uint8, ndarray of int64), optional
        The names in UTF-8 end to end, and the n + 1 offsets in them.

    Returns
    -------
    awkward.Array
        Of n lists, or of n records of ``name`` and ``values``.

    Raises
    ------
    BadInputError
        If awkward has nothing like the dtype.
    ImportError
        If awkward is not there.
    """
    ak = import_extra("awkward", _MISSING)
    content = _rows(ak, values)
    if shapes is None:
        layout = _list(ak, starts, ends, content)
    else:
        layout = _nested(ak, starts, shapes, content)
    if names is not None:
        layout = ak.contents.RecordArray([_texts(ak, *names), layout], ["name", "values"])
    return ak.Array(layout)


def _list(ak: Any, starts: Int64s, ends: Int64s, content: Any) -> Any:
    Index64 = ak.index.Index64
    return ak.contents.ListArray(Index64(starts), Index64(ends), content)


def _rows(ak: Any, values: Array) -> Any:
    """Return rows: numbers, masked or not, in lists of one length for each axis but the first."""
    shape = values.shape
    content = _numbers(ak, np.ma.getdata(values).reshape(-1))
    if isinstance(values, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(values).reshape(-1).view(np.int8)
        content = ak.contents.ByteMaskedArray(ak.index.Index8(mask), content, valid_when=False)
    for axis in range(len(shape) - 1, 0, -1):
        length = math.prod(shape[:axis])
        content = ak.contents.RegularArray(content, shape[axis], zeros_length=length)
    return content


def _numbers(ak: Any, values: Array) -> Any:
    try:
        return ak.contents.NumpyArray(values)
    except TypeError as error:
        dtype = repr(values.dtype)
        raise BadInputError(
            f"awkward has nothing like {dtype:.200}: {_way_out(values.dtype)}",
            found=dtype[:200],
            expected="a bool, number, date or duration in the byte order of this machine",
        ) from error


def _way_out(dtype: np.dtype[Any]) -> str:
    """Return what to do with arrays of a dtype that awkward lacks."""
    if dtype.names:
        like = f"take one field of a batch of the arrays, as Ragged(batch.values[{dtype.names[0]!r:.80}]"
    elif not dtype.isnative:
        like = "cast a batch of the arrays to the byte order of this machine, as "
        like += f"Ragged(batch.values.astype({dtype.newbyteorder('=').str!r})"
    elif dtype.kind in "SUV" and dtype.isbuiltin != 2:
        return "read the arrays one by one"
    else:
        like = (
            "cast a batch of the arrays to a dtype that it has, as Ragged(batch.values.astype('f8')"
        )
    return like + ", batch.offsets).awkward()"


def _nested(ak: Any, starts: Int64s, shapes: Int64s, content: Any) -> Any:
    """Return lists in lists, one for each axis, of items with shapes of their own.

    The lists of an axis are numbered: of items of 2 x 3 and 1 x 4 elements that begin at 0 and 6, the
    lists of the first axis have the lists 0 to 1 and 2 to 2, which begin at 0, 3 and 6.
    """
    outer = []
    while shapes.shape[1] > 1:
        counts, shapes = shapes[:, 0], shapes[:, 1:]
        owners = np.repeat(np.arange(len(counts)), counts)
        offsets = np.append(0, np.cumsum(counts))
        nth = np.arange(len(owners)) - offsets[owners]
        starts = starts[owners] + nth * shapes.prod(axis=1)[owners]
        shapes = shapes[owners]
        outer.append(offsets)
    if shapes.shape[1]:
        layout = _list(ak, starts, starts + shapes[:, 0], content)
    else:
        layout = content[starts]
    for offsets in reversed(outer):
        layout = ak.contents.ListOffsetArray(ak.index.Index64(offsets), layout)
    return layout


def _texts(ak: Any, joined: Array, offsets: Int64s) -> Any:
    letters = ak.contents.NumpyArray(joined, parameters={"__array__": "char"})
    index = ak.index.Index64(offsets)
    return ak.contents.ListOffsetArray(index, letters, parameters={"__array__": "string"})
