"""Tables of Arrow made ready to be written: columns found, nulls refused, cut into batches."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from ptrarray.bridges import from_arrow
from ptrarray.bridges.incoming import Column, opened
from ptrarray.bridges.structures import Field
from ptrarray.errors import BadInputError
from ptrarray.format.layouts import MIXED, ROWS, Layout
from ptrarray.intake.batch import Batch, from_mapping, given_twice
from ptrarray.intake.casting import fit
from ptrarray.intake.choices import listed
from ptrarray.intake.joined import cut_by
from ptrarray.rows.copying import cut
from ptrarray.rows.ragged import gather
from ptrarray.rows.types import Array, Int64s

_PIECE_NBYTES = 1 << 26
_PIECE_ARRAYS = 1 << 16


class Places(NamedTuple):
    """Which columns of a table are what.

    Attributes
    ----------
    names, values : int
        Position of the column.
    metas : mapping from str to int
        Positions of those that are metadata, by key.
    """

    names: int
    values: int
    metas: dict[str, int]


def from_table(
    x: Any, layout: Layout, names: str, values: str, meta: str | Iterable[str] | None
) -> Iterator[Batch]:
    """Return the arrays of a table, batch by batch as it is gone through.

    Raises
    ------
    BadInputError
        At once, if `x` is no table or has other columns; from the iterator, for what the store
        cannot take.
    """
    field, columns = opened(x)
    places = _places(field, names, values, meta)
    return _batches(columns, places, layout)


def _batches(columns: Iterator[Column], places: Places, layout: Layout) -> Iterator[Batch]:
    for column in columns:
        for part in _parts(column, places, layout):
            yield _batch(part, places, layout)
            del part
        del column  # so that it can be released before the next is asked for


def _places(field: Field, names: str, values: str, meta: str | Iterable[str] | None) -> Places:
    """Find the columns, and refuse a table that has others."""
    keys = [] if meta is None else listed(meta)
    if not all(isinstance(key, str) for key in (names, values, *keys)):
        raise BadInputError(
            f"columns are {names!r:.80}, {values!r:.80} and {keys!r:.80}; expected their names",
            found=repr(keys)[:80],
            expected="names of columns",
        )
    found = [child.name for child in field.children] if field.format == "+s" else []
    _check_columns(field, found, names, values, keys)
    metas = {key: found.index(key) for key in keys}
    places = Places(found.index(names), found.index(values), metas)
    _check_types(field.children[places.names], field.children[places.values])
    return places


def _check_columns(
    field: Field, found: list[str], names: str, values: str, keys: list[str]
) -> None:
    """Check that a table has each column that is asked for once, and no others."""
    for name in (names, values, *keys):
        if found.count(name) != 1:
            n_found = found.count(name) or "no"
            raise BadInputError(
                f"Arrow data of {field!s:.200} has {n_found} columns {name!r:.80}; expected a table "
                f"with one of names and one of lists, given as names={names!r:.80} and "
                f"values={values!r:.80}",
                name=name,
                found=found,
                expected=name,
            )
    others = [name for name in found if name not in (names, values, *keys)]
    if others:
        raise BadInputError(
            f"the table has columns {', '.join(map(repr, others)):.200}, too: keep them as metadata "
            f"of the arrays by meta={others!r:.200}, or select the others",
            found=others,
            expected=[names, values],
        )


def _check_types(names: Field, values: Field) -> None:
    """Check that a column has text and one has lists, before anything is read."""
    if not from_arrow.is_text(names.dictionary or names):
        raise BadInputError(
            f"column {names.name!r:.80} is of {names!s:.80}; expected names as text: cast it",
            name=names.name,
            found=str(names),
            expected="text",
        )
    from_arrow.row_of(values)


def _parts(column: Column, places: Places, layout: Layout) -> Iterator[Column]:
    """Cut a table into parts of bounded size, but for an array that is larger."""
    from_arrow.check_no_nulls(column, "row")
    values = column.child(places.values, column.start, column.length)
    dtype, row_shape = from_arrow.row_of(values.field)
    itemsize = max(layout.dtype.itemsize, dtype.itemsize if dtype else 1)
    _, starts, ends, _ = from_arrow.spans_of(values)
    # In floats, as what makes no sense may be too large for integers.
    nbytes = (ends - starts).astype(np.float64) * itemsize * math.prod(row_shape)
    sizes = np.minimum(nbytes, _PIECE_NBYTES).astype(np.int64) + _PIECE_NBYTES // _PIECE_ARRAYS
    for low, high in cut(sizes, _PIECE_NBYTES):
        yield column.part(low, high)


def _batch(column: Column, places: Places, layout: Layout) -> Batch:
    """Make the arrays of one part ready."""

    def child(at: int) -> Column:
        return column.child(at, column.start, column.length)

    names = _names(child(places.names))
    values, offsets = _laid(names, child(places.values), layout)
    metas = None
    if places.metas:
        items = zip(
            *(from_arrow.plain_values(child(at)) for at in places.metas.values()), strict=True
        )
        metas = {name: _meta(places.metas, item) for name, item in zip(names, items, strict=True)}
    if layout.is_plain:
        with suppress(BadInputError):  # which is raised below, of the array that does not fit
            values = fit("values", values, layout.dtype, layout.row_shape)
    arrays = cut_by(names, values, offsets)
    if len(arrays) < len(names):
        raise given_twice(Counter(names).most_common(1)[0][0])
    return from_mapping(arrays, layout, metas)


def _meta(keys: Any, items: Any) -> dict[str, Any]:
    return {key: item for key, item in zip(keys, items, strict=True) if item is not None}


def _names(column: Column) -> list[str]:
    """Return the names in a column."""
    from_arrow.check_no_nulls(column, "name")
    return from_arrow.texts_of(column)


def _laid(names: list[str], column: Column, layout: Layout) -> tuple[Array, Int64s]:
    """Return the values of lists end to end, with nothing null that the store cannot mask."""
    nulls = column.nulls()
    if nulls is not None:
        name = names[int(nulls.argmax())]
        raise BadInputError(
            f"array {name!r:.80} is null: expected a list, be it empty, or no row at all",
            name=name,
            found="null",
            expected="a list",
        )
    has_dtype = layout.kind != MIXED
    row_shape = layout.row_shape if layout.kind == ROWS else ()
    like = np.empty((0, *row_shape), layout.dtype) if has_dtype else from_arrow.NOTHING
    values, starts, ends, offsets = from_arrow.lists_of(column, like)
    if offsets is None:
        values, offsets = (batch := gather(values, starts, ends)).values, batch.offsets
    if isinstance(values, np.ma.MaskedArray):
        values = _without_nulls(names, values, offsets, layout)
    is_opaque = has_dtype and layout.dtype.kind == "V" and layout.dtype.names is None
    if is_opaque and values.dtype == f"S{layout.dtype.itemsize}":
        values = values.view(layout.dtype)  # of one width, be their last bytes zero or not
    return values, offsets


def _without_nulls(
    names: list[str], values: np.ma.MaskedArray[Any, Any], offsets: Int64s, layout: Layout
) -> Array:
    """Return values with zeros, or NaT, in the place of nulls: what was there is nobody's."""
    nulls = np.ma.getmaskarray(values)
    is_time = values.dtype.kind in "mM"
    if nulls.any() and not layout.masked and not is_time:
        row = int(np.argwhere(nulls)[0][0])
        at = int(np.searchsorted(offsets, row, "right")) - 1
        raise BadInputError(
            f"array {names[at]!r:.80} has a null in row {row - offsets[at]}, and the store keeps no "
            "masks: fill the nulls, or write to a store that was made with masked=True",
            name=names[at],
            found="null",
            expected="values",
        )
    data = np.array(np.ma.getdata(values))
    data[nulls] = np.array("NaT", data.dtype) if is_time else np.zeros((), data.dtype)
    return np.ma.MaskedArray(data, nulls) if layout.masked else data
