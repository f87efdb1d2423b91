"""Rows, lists of rows and text as types and values of Arrow, on the memory that they have."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ptrarray.bridges.capsules import Chunk, array_of, schema_of
from ptrarray.bridges.structures import NUMBERS, UNITS, Field
from ptrarray.errors import BadInputError

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]
UInt8s = npt.NDArray[np.uint8]
ListLayout = Literal["list", "view"]

TEXT = "U"
_LISTS = {"list": "+L", "view": "+vL"}
_FORMATS = {np.dtype(kind): number for number, kind in NUMBERS.items()}
_UNITS = {unit: letter for letter, unit in UNITS.items()}


def format_of(dtype: np.dtype[Any]) -> str | None:
    """Return what Arrow's C interface calls a dtype; None if it has no type for that.

    Examples
    --------
    >>> format_of(np.dtype("f4")), format_of(np.dtype("M8[us]")), format_of(np.dtype("S5"))
    ('f', 'tsu:', 'w:5')
    >>> format_of(np.dtype("c8")), format_of(np.dtype(">f4"))
    (None, None)
    """
    if not dtype.isnative or dtype.names is not None or dtype.isbuiltin == 2:
        return None
    if dtype.kind in "mM":
        unit, count = np.datetime_data(dtype)
        known = _UNITS.get(unit) if count == 1 else None
        return known and (f"ts{known}:" if dtype.kind == "M" else f"tD{known}")
    if dtype.kind in "SV" and dtype.itemsize:
        return f"w:{dtype.itemsize}"
    return _FORMATS.get(dtype)


def rows_field(dtype: np.dtype[Any], row_shape: tuple[int, ...]) -> Field:
    """Return the type of rows: a list of fixed size for each axis of the row shape.

    Raises
    ------
    BadInputError
        If Arrow has none for the dtype.
    """
    kind = format_of(dtype)
    if kind is None:
        raise BadInputError(
            f"Arrow has no type for {dtype!r:.200}",
            found=dtype,
            expected="bool, integers, floats, dates and durations in s, ms, us or ns, or bytes",
        )
    field = Field(kind, "item")
    for length in reversed(row_shape):
        field = Field(f"+w:{length}", "item", (field,))
    return field


def nested_field(item: Field, n_axes: int) -> Field:
    """Return the type of lists in lists that have lengths of their own."""
    for _ in range(n_axes):
        item = lists_field(item, "item")
    return item


def lists_field(item: Field, name: str = "", layout: ListLayout = "list") -> Field:
    """Return the type of lists, of which each has its own length."""
    return Field(_LISTS[layout], name, (item,))


def rows_chunk(values: Array, mask: Bools | None = None) -> Chunk:
    """Return rows as Arrow has them.

    Parameters
    ----------
    values : ndarray, shape (n, *row_shape)
        Of a dtype that Arrow has a type for. Not copied if contiguous, but for bools, of which
        Arrow puts eight in a byte, and durations with nulls among them, which become zero.
    mask : ndarray of bool, the same shape, optional
        True where there is null. Of dates and durations, what is not a time is null, too.
    """
    leaf = np.ascontiguousarray(values).reshape(-1)
    hidden = None if mask is None else mask.reshape(-1)
    if leaf.dtype.kind in "mM":
        is_nat = np.isnat(leaf)
        hidden = is_nat if hidden is None else hidden | is_nat
    valid, n_nulls = valid_bits(hidden)
    if (
        hidden is not None and n_nulls and leaf.dtype.kind == "m"
    ):  # DuckDB multiplies what lies under a null, too
        leaf = np.where(hidden, np.zeros((), leaf.dtype), leaf)
    chunk = Chunk(len(leaf), (valid, raw(leaf)), (), n_nulls)
    for axis in reversed(range(1, values.ndim)):
        chunk = Chunk(math.prod(values.shape[:axis]), (None,), (chunk,))
    return chunk


def masked_chunk(values: Array) -> Chunk:
    """Return rows as `rows_chunk` does, null where they are masked."""
    if isinstance(values, np.ma.MaskedArray):
        return rows_chunk(np.ma.getdata(values), np.ma.getmaskarray(values))
    return rows_chunk(values)


def lists_chunk(rows: Chunk, offsets: Int64s) -> Chunk:
    """Return lists of rows that lie end to end: the first begins at 0, the last ends the rows."""
    return Chunk(len(offsets) - 1, (None, raw(offsets)), (rows,))


def nested_chunk(elements: Chunk, shapes: Int64s) -> Chunk:
    """Return the rows of arrays with shapes of their own, from their elements end to end.

    Parameters
    ----------
    elements : Chunk
        In C order.
    shapes : ndarray of int64, shape (n, ndim)
        Of the arrays. Arrays of 2 x 3 and 1 x 4 elements have rows that begin at 0, 3 and 6.
    """
    for axis in reversed(range(1, shapes.shape[1])):
        lengths = np.repeat(shapes[:, axis], shapes[:, :axis].prod(axis=1))
        elements = lists_chunk(elements, np.append(0, np.cumsum(lengths)))
    return elements


def views_chunk(rows: Chunk, starts: Int64s, lengths: Int64s) -> Chunk:
    """Return lists of rows that may lie anywhere."""
    return Chunk(len(starts), (None, raw(starts), raw(lengths)), (rows,))


def texts_chunk(
    joined: UInt8s, ends: Int64s, valid: UInt8s | None = None, n_nulls: int = 0
) -> Chunk:
    """Return UTF-8, or other bytes, that lie end to end."""
    offsets = np.zeros(len(ends) + 1, np.int64)
    offsets[1:] = ends
    return Chunk(len(ends), (valid, raw(offsets), joined), (), n_nulls)


def struct_field(fields: tuple[Field, ...]) -> Field:
    """Return the type of a table: a structure of its columns."""
    return Field("+s", "", fields)


def struct_chunk(n: int, columns: tuple[Chunk, ...]) -> Chunk:
    """Return some rows of a table."""
    return Chunk(n, (None,), columns)


def lists_capsules(values: Array, offsets: Int64s) -> tuple[Any, Any]:
    """Return rows and offsets as lists of Arrow: capsules of their type and of themselves.

    Parameters
    ----------
    values : ndarray, shape (total, *row_shape)
        Rows of all; masked ones are null.
    offsets : ndarray of int64, shape (n + 1,)
        From 0 to the end of the rows.
    """
    schema = schema_of(lists_field(rows_field(values.dtype, values.shape[1:])))
    chunk = lists_chunk(masked_chunk(values), np.ascontiguousarray(offsets))
    capsules: tuple[Any, Any] = array_of(schema, chunk).__arrow_c_array__()
    return capsules


def valid_bits(hidden: Bools | None) -> tuple[UInt8s | None, int]:
    """Return the bits that tell which values are not null, None if none is; and how many are."""
    n_nulls = 0 if hidden is None else int(np.count_nonzero(hidden))
    if hidden is None or not n_nulls:
        return None, 0
    return np.packbits(~hidden, bitorder="little"), n_nulls


def raw(values: Array) -> UInt8s:
    """Return values along one axis as the bytes that Arrow has of them; copies bools only."""
    return np.packbits(values, bitorder="little") if values.dtype == np.bool_ else values.view("u1")
