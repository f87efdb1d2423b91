"""Arrays that lie end to end in a column of a file, and tables that say something of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from ptrarray.convert.formats.h5_values import decoded
from ptrarray.convert.found import Many
from ptrarray.convert.room import PIECE_NBYTES
from ptrarray.errors import BadInputError
from ptrarray.rows.copying import cut
from ptrarray.rows.types import Array, Int64s

# With this much more for each array, a piece has at most 65,536 of them.
_ARRAY_NBYTES = 1 << 7
_ROW_NBYTES = 1 << 10  # of a table, that is still metadata
_ATTRIBUTE_NBYTES = 1 << 8

REPEATED = (
    "tables have ids that repeat or are empty: arrays are numbered, ids are in their metadata"
)
LONG = "attributes of more than 256 bytes are not kept with every array"


class Column(NamedTuple):
    """Many arrays end to end.

    Attributes
    ----------
    read : callable
        Returns a range of rows.
    row_nbytes : int
        Bytes of one.
    offsets : ndarray of int64
        Of the arrays, one more than there are; never decrease.
    """

    read: Callable[[int, int], Array]
    row_nbytes: int
    offsets: Int64s


def pieces(
    column: Column, keys: Sequence[str], metas: Sequence[Mapping[str, Any]]
) -> Iterator[Many]:
    """Yield all arrays of a column, in ranges of rows that end where an array ends."""
    offsets = column.offsets
    for low, high in cut(sizes_of(column), PIECE_NBYTES):
        first, last = int(offsets[low]), int(offsets[high])
        rows = column.read(first, last)
        yield Many(keys[low:high], rows, offsets[low : high + 1] - first, metas[low:high])


def sizes_of(column: Column) -> Int64s:
    """Return about how many bytes each array takes."""
    sizes: Int64s = np.diff(column.offsets) * column.row_nbytes + _ARRAY_NBYTES
    return sizes


def offsets_of(counts: Array, total: int, what: str) -> Int64s:
    """Return where arrays of so many rows begin and end.

    Parameters
    ----------
    counts : ndarray, shape (n,)
        Of any dtype, as a file has it.
    total : int
        Rows that there are.
    what : str
        What messages call the counts.

    Raises
    ------
    BadInputError
        If they are no counts of these rows.
    """
    _check_integers(counts, what)
    if len(counts) and (counts.min() < 0 or counts.max() > total):
        at = int(np.flatnonzero((counts < 0) | (counts > total))[0])
        raise BadInputError(
            f"{what}[{at}] is {counts[at]}: expected 0 to {total}, the rows that there are"
        )
    found = sum(counts.tolist())
    if found != total:
        raise BadInputError(f"{what} add up to {found} rows, and there are {total}")
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def offsets_between(ends: Array, total: int, what: str) -> Int64s:
    """Return the offsets of arrays that end there, after the checks of `offsets_of`."""
    _check_integers(ends, what)
    # Cast first: the difference of two of uint8 is one of them again.
    if len(ends) and int(ends.max()) > total:
        raise BadInputError(f"{what} has the end {ends.max()}, and there are {total} rows")
    offsets: Int64s = np.concatenate([[0], ends.astype(np.int64)])
    steps = np.diff(offsets)
    if len(steps) and steps.min() < 0:
        at = int(np.flatnonzero(steps < 0)[0])
        raise BadInputError(f"{what}[{at}] is {ends[at]}, which is before what ends there")
    if offsets[-1] != total:
        raise BadInputError(f"{what} ends at row {offsets[-1]}, and there are {total}")
    return offsets


def _check_integers(numbers: Array, what: str) -> None:
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        shape = "" if numbers.ndim == 1 else f" of shape {numbers.shape}"
        raise BadInputError(f"{what} is {numbers.dtype}{shape}: expected integers in a row")


def listed(rows: Array) -> list[Any] | None:
    """Return the rows of a column of a table as metadata has them; None if it has no such.

    Examples
    --------
    >>> listed(np.array([b"ab", b"c"])), listed(np.array([[b"a", b"b"], [b"c", b""]]))
    (['ab', 'c'], ['ab', 'c'])
    >>> listed(np.array([[1, 2], [3, 4]], "i2")), listed(np.array([1j]))
    ([[1, 2], [3, 4]], None)
    """
    if rows.dtype == "S1" and rows.ndim == 2 and rows.shape[1]:
        rows = np.ascontiguousarray(rows).view(f"S{rows.shape[1]}")[:, 0]
    if rows.dtype.kind in "SO" and rows.ndim == 1:
        texts = rows.tolist()
        return _decoded(texts) if set(map(type, texts)) <= {bytes} else None
    is_small = rows.dtype.itemsize * int(np.prod(rows.shape[1:])) <= _ROW_NBYTES
    if rows.dtype.kind not in "biuf" or rows.dtype.itemsize > 8 or not is_small:
        return None
    found: list[Any] = rows.tolist()
    return found


def _decoded(texts: list[bytes]) -> list[str]:
    """Return text, by a loop in C where all is UTF-8."""
    try:
        return list(map(bytes.decode, texts))
    except UnicodeDecodeError:
        return list(map(decoded, texts))


def ids(values: Sequence[Any]) -> list[str] | None:
    """Return values as parts of names, if they tell arrays apart.

    Examples
    --------
    >>> ids([7, 3]), ids(["a ", "b"]), ids([7, 3, 3])
    (['7', '3'], ['a', 'b'], None)
    """
    if values and isinstance(values[0], str):
        texts = list(map(str.rstrip, values, repeat("\0 ")))
    else:
        texts = list(map(str, values))
    return texts if all(texts) and len(set(texts)) == len(texts) else None


def short(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that every array of a column can keep."""
    return {
        key: value for key, value in attributes.items() if len(repr(value)) <= _ATTRIBUTE_NBYTES
    }


def metas_of(
    table: Mapping[str, list[Any]], attributes: Mapping[str, Any], name: str, n_arrays: int
) -> Sequence[dict[str, Any]]:
    """Return the metadata of each array of a column: its row of a table, and what is said of all.

    Parameters
    ----------
    table : dict from str to list
        Columns by name.
    attributes : dict
        Of the column; one that is called like a column of the table gets its name before it.
    name : str
        Of the column.
    n_arrays : int
        Of them all.

    Examples
    --------
    >>> metas_of({"id": [1, 2]}, {"id": "x", "unit": "m"}, "depth", 2)
    [{'depth.id': 'x', 'unit': 'm', 'id': 1}, {'depth.id': 'x', 'unit': 'm', 'id': 2}]
    """
    same = {f"{name}.{key}" if key in table else key: value for key, value in attributes.items()}
    if not table:
        return [same] * n_arrays if same else ()
    keys = [*table]
    rows = zip(*table.values(), strict=True)
    return [{**same, **dict(zip(keys, row, strict=True))} for row in rows]
