"""Ragged batches: several arrays of different lengths laid end to end."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ptrarray import native
from ptrarray.errors import BadInputError
from ptrarray.rows.copying import copy_ranges
from ptrarray.rows.lists import array_of
from ptrarray.rows.masked import MaskedRows
from ptrarray.rows.outs import fitting
from ptrarray.rows.portable import made_portable
from ptrarray.rows.types import AnyRows, Array, Bools, Int64s
from ptrarray.rows.widened import wide


class Ragged:
    """Several arrays of different lengths, laid end to end (Arrow's list layout).

    Parameters
    ----------
    values : array_like, shape (total, *row_shape)
        The rows of all arrays, one after the other. Kept, not copied.
    offsets : array_like of int, shape (n_arrays + 1,)
        Array ``i`` is ``values[offsets[i]:offsets[i + 1]]``. Starts at 0 or
        above, never decreases, ends at ``total`` or below. Kept when int64.

    Raises
    ------
    BadInputError
        If the two do not fit together; says what was found and expected.

    Notes
    -----
    In plain Python, without checks and fast paths, this class is::

        class Ragged:
            def __init__(self, values, offsets):
                self.values = values
                self.offsets = offsets

            def __len__(self):
                return len(self.offsets) - 1

            def __getitem__(self, key):
                if isinstance(key, int):
                    position = key + len(self) if key < 0 else key
                    if not 0 <= position < len(self):
                        raise IndexError
                    return self.values[self.offsets[position] : self.offsets[position + 1]]
                if isinstance(key, slice):
                    positions = range(len(self))[key]
                elif all(isinstance(chosen, bool) for chosen in key):
                    positions = [i for i, chosen in enumerate(key) if chosen]
                else:
                    positions = key
                values, offsets = [], [0]
                for position in positions:
                    values.extend(self[position])
                    offsets.append(len(values))
                return Ragged(values, offsets)

            def to_padded(self, fill=0):
                longest = max(self.lengths, default=0)
                padded = [[*array, *[fill] * (longest - len(array))] for array in self]
                mask = [[i < length for i in range(longest)] for length in self.lengths]
                return padded, mask

            @property
            def lengths(self):
                return [end - start for start, end in zip(self.offsets, self.offsets[1:])]

    Equality is identity, as comparing elements would be ambiguous.

    Examples
    --------
    >>> batch = Ragged([1, 2, 3, 4, 5], [0, 2, 2, 5])
    >>> batch
    Ragged(3 arrays, 5 rows of int64)
    >>> batch[0], batch[-1]
    (array([1, 2]), array([3, 4, 5]))
    >>> batch[[2, 0]].values
    array([3, 4, 5, 1, 2])
    """

    __slots__ = ("offsets", "values")

    values: Array
    offsets: Int64s

    def __init__(self, values: npt.ArrayLike, offsets: npt.ArrayLike) -> None:
        # A masked array stays one: its mask belongs to the data.
        values = values if isinstance(values, np.ma.MaskedArray) else array_of(values)
        _check_offsets(values, np.asarray(offsets))
        self.values = values
        self.offsets = np.asarray(offsets, np.int64)

    @classmethod
    def from_arrow(cls, x: Any) -> Ragged:
        """Return the lists of a column of Arrow, as pyarrow, polars, DuckDB or pandas have it.

        Parameters
        ----------
        x : object with ``__arrow_c_stream__`` or ``__arrow_c_array__``
            A column of lists of any kind, or a table that has one column.
            Lists of a fixed size in the lists are rows with axes.

        Returns
        -------
        Ragged
            Of the dtype that has the values. If they are not in several
            pieces, and lie in order, the values are a read-only view on the
            memory of Arrow, which it keeps; but for bools, which Arrow has as
            bits, and days. Masked where a value is null.

        Raises
        ------
        BadInputError
            If `x` is no such column, for a null list, for a type that no dtype
            has, and if offsets do not fit the values.

        Notes
        -----
        What is checked is that the parts of `x` fit each other. A producer that
        gives an address where there is no memory cannot be told from another.

        Examples
        --------
        >>> import pyarrow as pa
        >>> Ragged.from_arrow(pa.array([[1, 2], [], [3]]))
        Ragged(3 arrays, 3 rows of int64)
        """
        from ptrarray.bridges.from_arrow import all_lists

        parts = [
            gather(values, starts, ends) if offsets is None else _ragged(values, offsets)
            for values, starts, ends, offsets in all_lists(x)
        ]
        if len(parts) == 1:
            return parts[0]
        masked = any(isinstance(part.values, np.ma.MaskedArray) for part in parts)
        joined = (np.ma.concatenate if masked else np.concatenate)([part.values for part in parts])
        lengths = np.concatenate([part.lengths for part in parts])
        return _ragged(joined, np.concatenate([[0], np.cumsum(lengths)]))

    def __reduce__(self) -> tuple[Any, ...]:
        return Ragged, (self.values, self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        n_rows = self.offsets[-1] - self.offsets[0]
        shape = f" {self.values.shape[1:]}" if self.values.ndim > 1 else ""
        return f"Ragged({len(self)} arrays, {n_rows} rows of {self.values.dtype}{shape})"

    def _repr_html_(self) -> str:
        """Return lengths and the first arrays as HTML, for notebooks; of many a sample of lengths."""
        from ptrarray.look import html

        return html.safely(self, lambda: html.batch(self.values, self.offsets))

    def __iter__(self) -> Iterator[Array]:
        """Iterate over the arrays, as views of `values`."""
        values = self.values
        return (values[start:end] for start, end in pairwise(self.offsets.tolist()))

    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> Array: ...
    @overload
    def __getitem__(self, key: slice | list[int] | list[bool] | Array) -> Ragged: ...
    def __getitem__(self, key: Any) -> Array | Ragged:
        """Return one array, or several as a `Ragged`.

        An int gives a view of `values`. A slice of step 1 gives a `Ragged` on
        a view of `values`; any other slice, integers in any order (negative
        ones count from the end) or one bool for each array give a copy.
        """
        if isinstance(key, slice):
            return self._slice(key)
        try:
            position = operator.index(key)
        except TypeError:
            positions = _positions(key, len(self))
            return gather(self.values, self.offsets[positions], self.offsets[1:][positions])
        if not -len(self) <= position < len(self):
            raise IndexError(f"array {position} of a Ragged of {len(self)} arrays")
        position %= len(self)
        return self.values[self.offsets[position] : self.offsets[position + 1]]

    def _slice(self, key: slice) -> Ragged:
        start, stop, step = key.indices(len(self))
        if step != 1:
            return gather(self.values, self.offsets[:-1][key], self.offsets[1:][key])
        offsets = self.offsets[start : max(start, stop) + 1]
        # Offsets from 0, so that pickling the slice does not ship the rest.
        return _ragged(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    @property
    def lengths(self) -> Int64s:
        """Number of rows of each array, shape (n_arrays,)."""
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        """Bytes that the rows of the arrays take."""
        return self.values[self.offsets[0] : self.offsets[-1]].nbytes

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]:
        """Return the arrays to a library that knows Arrow: ``large_list``, on the memory of `values`.

        Rows of more than one number are lists of fixed size; what is masked, and what is not a
        time, is null. Copied are only bools, and what `PointerArray.arrow` says. `values` must not
        be changed while somebody has them.

        Raises
        ------
        BadInputError
            If Arrow has no type for the dtype.

        Examples
        --------
        >>> import polars as pl
        >>> pl.Series(Ragged([1, 2, 3], [0, 2, 2, 3])).to_list()
        [[1, 2], [], [3]]
        """
        return _lists(self.values, self.offsets)

    def to_list(self) -> list[Array]:
        """Return the arrays as a list of views of `values`."""
        return list(self)

    def awkward(self) -> Any:
        """Return the arrays as one array of awkward, on the memory of `values` and `offsets`.

        Returns
        -------
        awkward.Array
            Of type ``n * var * float32``, with a dimension more for each axis of a
            row. Masked elements are None.

        Raises
        ------
        BadInputError
            If awkward has nothing like the dtype.
        ImportError
            If awkward is not there: it is the extra ``awkward``.

        Notes
        -----
        Nothing is copied, unless values are not contiguous. What is changed in
        them changes there, too.

        Examples
        --------
        >>> Ragged([1, 2, 3], [0, 2, 2, 3]).awkward()
        <Array [[1, 2], [], [3]] type='3 * var * int64'>
        """
        from ptrarray.bridges import awkward

        return awkward.lists(self.values, self.offsets[:-1], self.offsets[1:])

    def to_padded(self, fill: Any = 0) -> tuple[Array, Bools]:
        """Copy the arrays into one rectangle, the short ones filled up.

        Parameters
        ----------
        fill : scalar
            What stands behind the end of an array. A fill that the dtype would
            change is an error (1.5 for integers, a number for dates); rounding
            to a shorter float is not a change.

        Returns
        -------
        padded : ndarray, shape (n_arrays, longest, *row_shape)
            Of the dtype of `values`. A masked array if `values` is one, with
            the filled elements masked.
        mask : ndarray of bool, shape (n_arrays, longest)
            True where there is data.

        Raises
        ------
        BadInputError
            If the dtype cannot hold `fill`.

        Notes
        -----
        Time and memory O(n_arrays x longest): one long array makes all wide.

        Examples
        --------
        >>> padded, mask = Ragged([1, 2, 3], [0, 2, 2, 3]).to_padded(fill=-1)
        >>> padded
        array([[ 1,  2],
               [-1, -1],
               [ 3, -1]])
        >>> mask.sum(axis=1)
        array([2, 0, 1])
        """
        fill = _representable(fill, self.values.dtype)
        lengths = self.lengths
        mask = np.arange(lengths.max(initial=0)) < lengths[:, np.newaxis]
        rows = self.values[self.offsets[0] : self.offsets[-1]]
        padded = np.full((*mask.shape, *rows.shape[1:]), fill, rows.dtype)
        padded[mask] = np.asarray(rows)
        if not isinstance(rows, np.ma.MaskedArray):
            return padded, mask
        hidden = np.ones(padded.shape, np.bool_)
        hidden[mask] = np.ma.getmaskarray(rows)
        return np.ma.MaskedArray(padded, hidden), mask


def gather(
    rows: AnyRows, starts: npt.ArrayLike, ends: npt.ArrayLike, out: Array | None = None
) -> Ragged:
    """Copy ranges of rows end to end into one `Ragged`.

    Parameters
    ----------
    rows : ndarray or Rows, shape (n_rows, *row_shape)
        Of any dtype without objects; may be memory-mapped.
    starts, ends : array_like of int, shape (n,)
        Array ``i`` of the result is ``rows[starts[i]:ends[i]]``. In any order;
        they may overlap, repeat or be empty.
    out : ndarray, shape (at least total, *row_shape), optional
        Where to copy to, apart from the rows: see `ptrarray.rows.outs.fitting`.

    Returns
    -------
    Ragged
        Its values are one new, contiguous, writable array, or the first rows of
        `out`; masked if the rows are.

    Raises
    ------
    BadInputError
        If a range does not lie within the rows, or `out` does not fit; nothing
        is written then.

    Notes
    -----
    Reads the rows of the ranges once and nothing else. Time O(rows copied + n),
    no Python loop for short ranges. Memory: the result and about a megabyte.

    Examples
    --------
    >>> gather(np.arange(10), [7, 0, 3], [9, 2, 3]).to_list()
    [array([7, 8]), array([0, 1]), array([], dtype=int64)]
    """
    starts, ends = np.asarray(starts, np.int64), np.asarray(ends, np.int64)
    if out is not None:
        n_rows = max(0, int((ends - starts).sum()))
        is_masked = isinstance(rows, np.ma.MaskedArray | MaskedRows)
        out = fitting(out, n_rows, rows.dtype, rows.shape[1:], masked=is_masked)
    if native.core is not None:
        gathered = native.core.gather(rows, starts, ends, out)
        if gathered is not None:
            return _ragged(*gathered)
    lengths = ends - starts
    # One pass: the sign bit is set if any of the three is negative somewhere.
    if np.bitwise_or.reduce(lengths | starts | (len(rows) - ends)) < 0:
        raise _outside(len(rows), starts, ends)
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return _ragged(copy_ranges(rows, starts, ends, offsets, out), offsets)


def end_to_end(arrays: Sequence[Array], out: Array | None = None) -> Ragged | None:
    """Copy arrays into one `Ragged`, masked if one is; None if they do not fit together.

    Its values are a new array, or the first rows of `out`, which has to fit as for `gather`.

    Examples
    --------
    >>> end_to_end([np.array([1, 2]), np.array([3])])
    Ragged(2 arrays, 3 rows of int64)
    """
    if not all(array.ndim for array in arrays) or len({_kind(array) for array in arrays}) > 1:
        return None
    if not arrays:
        return Ragged([] if out is None else out[:0], [0])
    offsets = np.cumsum([0, *map(len, arrays)])
    n_rows, (dtype, row_shape) = int(offsets[-1]), _kind(arrays[0])
    masked = any(isinstance(array, np.ma.MaskedArray) for array in arrays)
    if out is not None:
        values = fitting(out, n_rows, dtype, row_shape, masked=masked)
    else:
        values = np.empty((n_rows, *row_shape), dtype)
        if masked:
            values = np.ma.MaskedArray(values, np.ma.make_mask_none(values.shape, dtype))
    # By itself, numpy makes big-endian numbers native and leaves out padding.
    np.concatenate([np.ma.getdata(array) for array in arrays], out=np.ma.getdata(values))
    if masked:
        masks = [np.ma.getmaskarray(array) for array in arrays]
        np.concatenate(masks, out=np.ma.getmaskarray(values))
    return _ragged(values, offsets)


def kinds_of(arrays: Iterable[Array]) -> str:
    """Return dtypes and shapes of arrays, the first few, for a message.

    Examples
    --------
    >>> kinds_of([np.zeros(3), np.zeros((2, 4), "i4"), np.zeros(3)])
    'float64 (3,), int32 (2, 4)'
    """
    return ", ".join(sorted({f"{array.dtype} {array.shape}" for array in arrays})[:4])


def _kind(array: Array) -> tuple[np.dtype[Any], tuple[int, ...]]:
    return array.dtype, array.shape[1:]


def _lists(values: Array, offsets: Int64s) -> tuple[Any, Any]:
    from ptrarray.bridges.arrow import lists_capsules

    first, last = offsets[0], offsets[-1]
    used = made_portable(values[first:last])
    return lists_capsules(used, offsets - first if first else offsets)


def _ragged(values: Array, offsets: Int64s) -> Ragged:
    """Make a `Ragged` of parts that are known to fit."""
    batch = Ragged.__new__(Ragged)
    batch.values, batch.offsets = values, offsets
    return batch


def _check_offsets(values: Array, offsets: npt.NDArray[Any]) -> None:
    if values.ndim < 1:
        raise BadInputError(
            "values of a Ragged are a scalar; expected at least one axis",
            found=values.ndim,
            expected=1,
        )
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or not len(offsets):
        found = f"{offsets.dtype} of shape {offsets.shape}"
        raise BadInputError(
            f"offsets are {found}; expected integers, one more than there are arrays",
            found=found,
            expected="integers of shape (n_arrays + 1,)",
        )
    # Compared, not subtracted: the difference of unsigned numbers wraps around.
    falls = offsets[1:] < offsets[:-1]
    if falls.any():
        at = int(falls.argmax())
        raise BadInputError(
            f"offsets decrease from {offsets[at]} to {offsets[at + 1]} at array {at}",
            found=int(offsets[at + 1]),
            expected=int(offsets[at]),
        )
    if offsets[0] < 0 or offsets[-1] > len(values):
        raise BadInputError(
            f"offsets go from {offsets[0]} to {offsets[-1]}; "
            f"expected within 0 and {len(values)}, the rows there are",
            found=(int(offsets[0]), int(offsets[-1])),
            expected=(0, len(values)),
        )


def _positions(key: Any, n_arrays: int) -> npt.NDArray[np.intp]:
    """Turn integers or a mask into positions from 0 to n_arrays - 1."""
    chosen = np.asarray(key)
    if chosen.ndim == 1 and chosen.dtype.kind == "b":
        if len(chosen) != n_arrays:
            raise IndexError(f"mask of {len(chosen)} bools; expected one for each of {n_arrays}")
        return np.flatnonzero(chosen)
    if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu"):
        raise IndexError(
            f"index of {chosen.dtype} and shape {chosen.shape}; "
            "expected an int, a slice, or integers or bools along one axis"
        )
    positions = chosen.astype(np.intp)
    outside = (positions < -n_arrays) | (positions >= n_arrays)
    if outside.any():
        raise IndexError(f"array {positions[outside][0]} of a Ragged of {n_arrays} arrays")
    return np.where(positions < 0, positions + n_arrays, positions)


def _outside(n_rows: int, starts: Int64s, ends: Int64s) -> BadInputError:
    position = int(np.argmax((starts < 0) | (ends < starts) | (ends > n_rows)))
    start, end = int(starts[position]), int(ends[position])
    return BadInputError(
        f"range {position} is [{start}, {end}); expected within [0, {n_rows}), "
        "the end not below the start",
        found=(start, end),
        expected=(0, n_rows),
    )


def _representable(fill: Any, dtype: np.dtype[Any]) -> Array:
    """Return the fill as the dtype holds it, or raise if that would change it."""
    found, wanted = np.asarray(fill), wide(dtype)
    if found.ndim == 0 and found.dtype == dtype:
        return found
    if found.ndim == 0 and _comparable(found.dtype.kind, wanted.kind):
        with np.errstate(all="ignore"):  # what overflows is refused below
            held = found.astype(dtype)
        if _unchanged(found, held.astype(wanted)):
            return held
    raise BadInputError(
        f"fill {fill!r} would change in an array of {dtype}; "
        "expected a scalar that this dtype can hold",
        found=fill,
        expected=dtype,
    )


def _comparable(found: str, wanted: str) -> bool:
    """Tell whether values of two kinds of dtype mean the same sort of thing."""
    if wanted in "SUmM":
        return found == wanted
    return found in "biufc" and wanted in "biufc" and (found != "c" or wanted == "c")


def _unchanged(found: Array, held: Array) -> bool:
    if held.dtype.kind in "fc":
        return bool(np.isfinite(found) == np.isfinite(held))
    if held.dtype.kind in "mM":
        return bool(held == found) or bool(np.isnat(found))
    return bool(held.item() == found.item())
