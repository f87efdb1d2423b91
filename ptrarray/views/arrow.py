"""The arrays of an open store as a table of Arrow: columns on its memory, made batch by batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ptrarray.bridges import arrow
from ptrarray.bridges.arrow import ListLayout
from ptrarray.bridges.capsules import Chunk, library, schema_of, stream_of
from ptrarray.bridges.columns import Column, MixedTypesError, column_of
from ptrarray.bridges.structures import Field
from ptrarray.errors import BadInputError
from ptrarray.format import infos, metadata
from ptrarray.format.entries import RaggedColumn
from ptrarray.format.index import corrupt
from ptrarray.format.layouts import MIXED, ROWS
from ptrarray.format.names import decode
from ptrarray.intake.choices import check_choice, listed
from ptrarray.rows.copying import copy_ranges, cut, in_blocks
from ptrarray.rows.portable import made_portable, portable
from ptrarray.rows.types import AnyRows, Array, Bools, Int64s
from ptrarray.storage.store.opened import Opened, OpenedStore
from ptrarray.views.alike import in_order, shapes_of

# What is copied, or made, in one go; and, of each array, what there is beside its rows.
BATCH_NBYTES = 32 << 20
_ARRAY_NBYTES = 64
# So much without a hole is a batch of its own, that is not copied.
RUN_NBYTES = 4 << 20
DType = np.dtype[Any]


class ArrowTable:
    """The arrays of a store as a table for libraries that know Arrow: what ``store.arrow()`` gives.

    Give it to polars, DuckDB, pyarrow or any other library that takes objects with
    ``__arrow_c_stream__``, as often as wanted. It shows the store as it was open when it was asked
    for, also after `refresh` and `close`.

    Examples
    --------
    >>> import polars as pl
    >>> table = store.arrow()
    >>> table  # doctest: +ELLIPSIS
    <ArrowTable of '...corpus.ptr': 3 arrays, columns name, values>
    >>> pl.DataFrame(table)["values"].list.sum().to_list()
    [6.0, 9.0, 6.0]
    """

    def __init__(
        self,
        opened: Opened,
        dtype: DType,
        chosen: Bools | None,
        layout: ListLayout,
        names: bool,
        meta: Iterable[str] | None,
    ) -> None:
        library()  # or an error, before anything is looked at
        self._opened, self._dtype, self._layout = opened, dtype, layout
        self.path = str(opened.snapshot.directory)
        check_choice("layout", layout, ("list", "view"), self.path)
        self._positions = None if chosen is None else np.flatnonzero(chosen)
        self._shape = _shape_of_rows(opened, self._positions)
        self._has_names = names
        wanted = [] if meta is None else _checked_keys(self.path, listed(meta), names)
        self._metas = _columns(opened, self._positions, wanted)
        self._field = arrow.struct_field(tuple(self._fields()))

    def _fields(self) -> Iterator[Field]:
        if self._has_names:
            yield Field(arrow.TEXT, "name")
        try:
            item = arrow.rows_field(portable(self._dtype), self._shape.row_shape)
            item = arrow.nested_field(item, self._shape.n_nested)
        except BadInputError as error:
            raise _refused(error, self._opened, self._dtype) from error
        yield arrow.lists_field(item, "values", self._layout)
        for column in self._metas:
            yield column.field

    def __repr__(self) -> str:
        columns = ", ".join(field.name for field in self._field.children)
        n_arrays = len(self._opened.snapshot) if self._positions is None else len(self._positions)
        return f"<ArrowTable of {self.path!r}: {n_arrays} arrays, columns {columns}>"

    def __arrow_c_schema__(self) -> Any:
        """Return the types of the columns, as a capsule."""
        return schema_of(self._field).__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Return the table batch by batch, as a capsule.

        Parameters
        ----------
        requested_schema : capsule, optional
            Types that the consumer would like better. It is given the others all the same, which
            the protocol allows, to cast them itself.
        """
        return stream_of(self._field, self._chunks())

    def _chunks(self) -> Iterator[Chunk]:
        first, done = 0, 0
        for store in self._opened.stores:
            last = first + len(store.snapshot)
            positions = None
            if self._positions is not None:
                low, high = np.searchsorted(self._positions, [first, last])
                positions = self._positions[low:high] - first
            part = _Part(store, self._dtype, self._shape, self._layout, positions)
            for low, high in part.batches():
                columns = [part.names(low, high)] if self._has_names else []
                columns.append(part.lists(low, high))
                columns += [column.chunk(done + low, done + high) for column in self._metas]
                yield arrow.struct_chunk(high - low, tuple(columns))
            first, done = last, done + part.n_arrays


class _Shape(NamedTuple):
    """What the arrays of a table have in common.

    Attributes
    ----------
    row_shape : tuple of int
        Their shape but for the first axis; ``()`` if each has its own.
    n_nested : int
        Then, their axes but for the first one; else 0.
    is_turned : bool
        Whether any lies in Fortran order.
    """

    row_shape: tuple[int, ...]
    n_nested: int = 0
    is_turned: bool = False


class _Part:
    """The arrays that a table has of one store.

    Parameters
    ----------
    store : OpenedStore
        The store.
    dtype : dtype
        Of the arrays, as they are kept.
    shape : _Shape
        What they have in common.
    layout : {'list', 'view'}
        What Arrow is given.
    positions : ndarray of int64 or None
        Which arrays; None for all.
    """

    def __init__(
        self,
        store: OpenedStore,
        dtype: DType,
        shape: _Shape,
        layout: ListLayout,
        positions: Int64s | None,
    ) -> None:
        self._store, self._dtype, self._shape, self._positions = store, dtype, shape, positions
        self._is_view = layout == "view"
        starts, ends = store.columns()
        if positions is not None:
            starts, ends = starts[positions], ends[positions]
        self._starts, self._ends, self.n_arrays = starts, ends, len(starts)
        self._rows = store.rows
        kept = store.layout
        self._is_joined = shape.is_turned or (kept.masked and kept.kind == MIXED)
        # Rows of the store in an element, and in a row of the table.
        self._width = dtype.itemsize if kept.kind == MIXED else 1
        self._unit = 1 if kept.kind == ROWS else math.prod(shape.row_shape) * self._width

    def batches(self) -> list[tuple[int, int]]:
        """Return which arrays each batch has: as many as there are where nothing has to be made."""
        starts, ends, width = self._starts, self._ends, self._store.layout.width
        if not len(starts):
            return []
        is_made = (
            self._is_joined
            or self._shape.n_nested
            or self._store.layout.masked
            or portable(self._dtype) != self._dtype
            or self._dtype.kind in "bmM"  # bits, and times that are none
            or not isinstance(self._rows, np.ndarray)
        )
        if self._is_view and self._is_window(starts, ends):
            if not is_made:
                return [(0, len(starts))]
            spans = np.diff(starts, append=ends[-1:])  # the holes, too
        elif is_made:
            spans = ends - starts
        else:
            return _runs(starts, ends, width)
        return cut(spans * width + _ARRAY_NBYTES, BATCH_NBYTES)

    def names(self, low: int, high: int) -> Chunk:
        """Return the names of the arrays ``low <= n < high``."""
        names = self._store.snapshot.name_column
        if self._positions is None:
            some: RaggedColumn = names[low:high]
        else:
            some = names.chosen(self._positions[low:high])
        return arrow.texts_chunk(some.joined, some.ends)

    def lists(self, low: int, high: int) -> Chunk:
        """Return the arrays ``low <= n < high``."""
        starts, ends = self._starts[low:high], self._ends[low:high]
        if self._is_view and self._is_window(starts, ends):
            first = starts[0]
            rows = self._shaped(self._rows[first : ends.max()])
            starts, lengths = starts - first if first else starts, ends - starts
            views = _divided(starts, self._unit), _divided(lengths, self._unit)
            return arrow.views_chunk(self._chunk(rows), *views)
        rows, offsets = self._end_to_end(low, high)
        chunk = self._chunk(rows)
        if self._shape.n_nested:
            shapes, _ = shapes_of(self._store, np.diff(offsets), self._numbers(low, high))
            chunk = arrow.nested_chunk(chunk, shapes)
            offsets = np.append(0, np.cumsum(shapes[:, 0]))
        if self._is_view:
            return arrow.views_chunk(chunk, offsets[:-1], np.diff(offsets))
        return arrow.lists_chunk(chunk, offsets)

    def _end_to_end(self, low: int, high: int) -> tuple[Array, Int64s]:
        """Return rows of the table that some arrays are end to end, and their offsets."""
        starts, ends = self._starts[low:high], self._ends[low:high]
        if not self._is_joined:
            raw, offsets = _end_to_end(self._rows, starts, ends)
            return self._shaped(raw), _divided(offsets, self._unit)
        lengths = _divided(ends - starts, self._width)
        values, first, last = in_order(self._store, self._dtype, lengths, self._numbers(low, high))
        offsets = np.append(first, last[-1]) // math.prod(self._shape.row_shape)
        return values.reshape(-1, *self._shape.row_shape), offsets

    def _is_window(self, starts: Int64s, ends: Int64s) -> bool:
        """Tell whether arrays are rows of the table where they lie, holes between them or not."""
        if self._is_joined or self._shape.n_nested or not isinstance(self._rows, np.ndarray):
            return False
        if portable(self._dtype) != self._dtype:  # what is in a hole need not fit
            return False
        shifts = (starts - starts[0]) % self._unit if self._unit > 1 else starts[:0]
        return not np.any(shifts[starts[: len(shifts)] < ends[: len(shifts)]])

    def _shaped(self, raw: Array) -> Array:
        """Return rows of the store as rows of the table."""
        kind = self._store.layout.kind
        if kind == ROWS:
            return raw
        raw = raw[: len(raw) // self._unit * self._unit]
        rows = raw.view(self._dtype) if kind == MIXED else raw
        return rows.reshape(-1, *self._shape.row_shape)

    def _chunk(self, rows: Array) -> Chunk:
        try:
            return arrow.masked_chunk(made_portable(rows))
        except BadInputError as error:
            raise error.at(str(self._store.snapshot.directory)) from error

    def _numbers(self, low: int, high: int) -> Int64s:
        """Return the positions of the arrays ``low <= n < high`` in the store."""
        return np.arange(low, high) if self._positions is None else self._positions[low:high]


def _divided(numbers: Int64s, unit: int) -> Int64s:
    return numbers if unit == 1 else numbers // unit


def _runs(starts: Int64s, ends: Int64s, width: int) -> list[tuple[int, int]]:
    """Return batches of arrays such that long runs without a hole are batches of their own.

    These need not be copied; of the others, as many are in a batch as may be copied in one go.
    """
    if (ends[:-1] == starts[1:]).all():
        return [(0, len(starts))]
    filled = np.flatnonzero(starts < ends)
    after_holes = filled[1:][starts[filled[1:]] != ends[filled[:-1]]]
    edges = np.concatenate([[0], after_holes, [len(starts)]])
    nbytes = np.concatenate([[0], np.cumsum((ends - starts) * width + _ARRAY_NBYTES)])
    is_long = np.diff(nbytes[edges]) >= RUN_NBYTES
    batches, at = [], 0
    for number in np.flatnonzero(is_long | (len(edges) == 2)).tolist():
        low, high = int(edges[number]), int(edges[number + 1])
        batches += _cut_between(nbytes, at, low)
        batches.append((low, high))
        at = high
    return batches + _cut_between(nbytes, at, len(starts))


def _cut_between(nbytes: Int64s, low: int, high: int) -> list[tuple[int, int]]:
    pieces = cut(np.diff(nbytes[low : high + 1]), BATCH_NBYTES)
    return [(low + first, low + last) for first, last in pieces]


def _end_to_end(rows: AnyRows, starts: Int64s, ends: Int64s) -> tuple[Array, Int64s]:
    """Return rows of arrays end to end, and their offsets: a view if that is how they lie."""
    offsets = np.empty(len(starts) + 1, np.int64)
    if (ends[:-1] == starts[1:]).all():
        offsets[:-1], offsets[-1] = starts, ends[-1]
        offsets -= starts[0]
        return rows[starts[0] : ends[-1]], offsets
    offsets[0] = 0
    np.cumsum(ends - starts, out=offsets[1:])
    is_filled = starts < ends
    first = starts[is_filled.argmax()]
    if (is_filled <= (starts - offsets[:-1] == first)).all():  # empty ones may lie anywhere
        return rows[first : first + offsets[-1]], offsets
    return copy_ranges(rows, starts, ends, offsets), offsets


def _shape_of_rows(opened: Opened, positions: Int64s | None) -> _Shape:
    """Return what the shapes of arrays have in common.

    Raises
    ------
    BadInputError
        If they do not have the same number of axes.
    """
    layout, snapshot = opened.layout, opened.snapshot
    if layout.kind == ROWS:
        return _Shape(layout.row_shape)
    some = snapshot.infos if positions is None else snapshot.infos.chosen(positions)
    first: dict[bytes, int] = {}
    for block in in_blocks(0, len(some) if len(some.joined) else min(1, len(some))):
        for number, raw in enumerate(some[block].split(), block.start):
            first.setdefault(raw, number)
    try:
        found = {infos.decode(raw): number for raw, number in first.items()}
    except ValueError as error:
        raise corrupt(str(snapshot.directory), f"has {error}") from error
    pairs = reversed(found.items())  # of each number of axes, the first
    axes = {1 if info.shape is None else len(info.shape): at for info, at in pairs}
    if len(axes) > 1 or 0 in axes:
        raise _several_axes(opened, positions, axes)
    row_shapes = {() if info.shape is None else info.shape[1:] for info in found} or {()}
    is_turned = any(info.is_fortran for info in found) and 1 not in axes
    row_shape = row_shapes.pop()
    if row_shapes or not math.prod(row_shape):
        return _Shape((), len(row_shape), is_turned)
    return _Shape(row_shape, 0, is_turned)


def _several_axes(opened: Opened, positions: Int64s | None, axes: dict[int, int]) -> BadInputError:
    path = str(opened.snapshot.directory)
    names = _names_at(opened, positions, list(axes.values()))
    found = ", ".join(
        f"{name!r:.80} has {n_axes}" for n_axes, name in zip(axes, names, strict=True)
    )
    return BadInputError(
        f"arrays of {path} are no column of Arrow, of which all have the same number of axes, one or "
        f"more: {found}. Read them one by one",
        path=path,
        found=tuple(axes),
        expected="the same number of axes",
    )


def _names_at(opened: Opened, positions: Int64s | None, numbers: list[int]) -> list[str]:
    """Return the names of some of the arrays of a table."""
    at = numbers if positions is None else positions[numbers].tolist()
    return [decode(opened.snapshot.name(position)) for position in at]


def _refused(error: BadInputError, opened: Opened, dtype: DType) -> BadInputError:
    path = str(opened.snapshot.directory)
    return BadInputError(
        f"{error}, of which arrays of {path} are: write them in another dtype, or give Arrow views "
        "of single arrays",
        **{**error.facts, "path": path, "found": dtype},
    )


def _checked_keys(path: str, keys: list[Any], has_names: bool) -> list[str]:
    """Return keys of metadata, after a look whether each can be a column of its own."""
    for at, key in enumerate(keys):
        if not isinstance(key, str) or "\0" in key or key.encode(errors="replace").decode() != key:
            raise BadInputError(
                f"metadata of {path} are asked for by {key!r:.80}; expected text that can be the name "
                "of a column of Arrow, which has no zero byte: read others from store.meta",
                path=path,
                found=key,
                expected="text",
            )
        if key in ["values", *keys[:at]] or (has_names and key == "name"):
            raise BadInputError(
                f"metadata {key!r:.80} of {path} would be one of two columns of that name: ask for each "
                "key once, for 'name' with names=False, and read 'values' from store.meta",
                path=path,
                name=key,
                found=key,
            )
    return keys


def _columns(opened: Opened, positions: Int64s | None, wanted: list[str]) -> list[Column]:
    """Return columns of what the metadata of arrays have by some keys; None is null.

    Raises
    ------
    BadInputError
        If values of a key are not of one type that Arrow has.
    """
    if not wanted:
        return []
    snapshot = opened.snapshot
    some = snapshot.metas if positions is None else snapshot.metas.chosen(positions)
    values: dict[str, list[Any]] = {key: [] for key in wanted}
    try:
        for block in in_blocks(0, len(some)):
            for raw in some[block].split():
                meta = metadata.decode(raw)
                for key, column in values.items():
                    column.append(meta.get(key))
    except ValueError as error:
        raise corrupt(str(snapshot.directory), f"has {error}") from error
    return [_column(opened, positions, key, column) for key, column in values.items()]


def _column(opened: Opened, positions: Int64s | None, key: str, values: list[Any]) -> Column:
    try:
        return column_of(key, values)
    except MixedTypesError as error:
        names = _names_at(opened, positions, list(error.positions))
        words = [kind.__name__ for kind in error.types]
        if len(set(words)) < len(words):  # integers that no type has all of
            words = [f"int {values[at]}" for at in error.positions]
        found = " and ".join(
            f"{word} for {name!r:.80}" for word, name in zip(words, names, strict=True)
        )
        path = str(opened.snapshot.directory)
        raise BadInputError(
            f"metadata {key!r:.80} of {path} is {found}; a column of Arrow is of one type, and that "
            "bool, int64 or uint64, float, str or bytes, or None for null",
            path=path,
            name=key,
            found=error.types,
            expected="one of bool, int, float, str, bytes",
        ) from error
