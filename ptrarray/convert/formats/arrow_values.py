"""A column of Arrow as arrays: lists of any kind, lists in lists, and tensors, with what is null."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from ptrarray.bridges.from_arrow import dtype_of, is_list, nulls_of, spans_of, values_of
from ptrarray.bridges.incoming import Column
from ptrarray.bridges.structures import Field
from ptrarray.errors import BadInputError, import_extra
from ptrarray.rows.ragged import gather
from ptrarray.rows.types import Array, Bools, Int64s

TENSOR = "arrow.fixed_shape_tensor"
_UNKNOWN = -1  # how long the lists are in a list that has none
_IRREGULAR = -2
_NULL = "it is null, which is no array: leave such rows out, or make them empty lists"
_NULL_INSIDE = "a list in it is null: it has no length"
_LENGTHS = "the lists in it have several lengths, so it is no array"
_NOTHING_INSIDE = (
    "it has no lists in it, and nothing says how long they would be: say so by row_shape="
)


def import_pyarrow(module: str = "pyarrow") -> Any:
    """Return pyarrow, or a module of it.

    Raises
    ------
    ImportError
        That says how to install it.
    """
    what = "Arrow and Parquet need pyarrow: pip install 'ptrarray[parquet]'"
    return import_extra(module, what)


class Tensor(NamedTuple):
    """The shape of tensors of Arrow.

    Attributes
    ----------
    stored : tuple of int
        As they lie in memory.
    axes : tuple of int
        Which of those is each axis of the array.
    """

    stored: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return tuple(self.stored[axis] for axis in self.axes)

    def laid(self, values: Array, n: int) -> Array:
        """Return so many tensors that lie end to end as an array of arrays."""
        whole = values.reshape(n, *self.stored)
        return whole.transpose(0, *(axis + 1 for axis in self.axes))


class Form(NamedTuple):
    """What the arrays of a column are made of.

    Attributes
    ----------
    n_nested : int
        Axes behind the first that are lists of any length.
    inner : tuple of int
        How long those are where a list has none, `_UNKNOWN` where nothing says so.
    tensor : Tensor or None
        What each array is, or each row of one.
    is_whole : bool
        Whether each array is a tensor.
    """

    n_nested: int = 0
    inner: tuple[int, ...] = ()
    tensor: Tensor | None = None
    is_whole: bool = False


def form_of(field: Field, declared: Any, row_shape: Any = None) -> Form | None:
    """Return what the arrays of a column are made of, None if it has none.

    Parameters
    ----------
    field : Field
        Its type.
    declared : pyarrow.Field
        The same, with what only pyarrow knows of it.
    row_shape : tuple of int or anything
        What the caller said of rows.
    """
    if not is_list(field):
        return None
    if field.extension == TENSOR:
        tensor = _tensor(declared.type)
        is_known = tensor is not None and bool(tensor.stored) and _is_plain(field)
        return Form(tensor=tensor, is_whole=True) if is_known else None
    n_nested, inner = 0, field.children[0]
    while is_list(inner) and not inner.format.startswith("+w:") and not inner.extension:
        n_nested, inner = n_nested + 1, inner.children[0]
    if inner.extension == TENSOR and not n_nested:
        tensor = _tensor(declared.type.value_type)
        return Form(tensor=tensor) if tensor is not None and _is_plain(inner) else None
    if inner.format != "n" and not _is_plain(inner):
        return None
    return Form(n_nested, _known(n_nested, declared, row_shape))


def _is_plain(field: Field) -> bool:
    """Tell whether items are numbers, moments and the like, or lists of one size of those."""
    if field.extension.endswith("variable_shape_tensor"):
        return False
    if field.format.startswith("+w:"):
        inner = field.children[0]
        return inner.extension != TENSOR and _is_plain(inner)
    with suppress(BadInputError):
        dtype_of(field)
        return True
    return False


def _tensor(kind: Any) -> Tensor | None:
    """Return the shape of tensors, None if nobody knows in which order their axes are.

    Of a permutation that is not its own inverse, pyarrow 26 writes the inverse, and reads something
    else than either.
    """
    shape = tuple(kind.shape)
    axes = tuple(kind.permutation or range(len(shape)))
    is_own_inverse = all(axes[axis] == at for at, axis in enumerate(axes))
    return Tensor(shape, axes) if is_own_inverse else None


def _known(n_nested: int, declared: Any, row_shape: Any) -> tuple[int, ...]:
    """Return how long lists in lists are by what was said: by the caller, or by Hugging Face."""
    if isinstance(row_shape, int):
        row_shape = (row_shape,)
    if isinstance(row_shape, tuple) and len(row_shape) >= n_nested:
        return row_shape[:n_nested]
    said = getattr(declared.type, "shape", None)  # where the library is imported
    raw = (declared.metadata or {}).get(b"ARROW:extension:metadata")
    with suppress(ValueError, TypeError, LookupError):
        said = json.loads(raw)[0] if raw else said
    lengths = list(said)[1:] if isinstance(said, list | tuple) else []
    if len(lengths) != n_nested or not all(type(n) is int and n >= 0 for n in lengths):
        return (_UNKNOWN,) * n_nested
    return tuple(lengths)


class Piece(NamedTuple):
    """Arrays of one column that lie end to end.

    Attributes
    ----------
    rows : ndarray of int64
        Which rows of the batch they are.
    values : ndarray
        Masked if anything in them is null.
    offsets : ndarray of int64
        Array ``i`` is ``values[offsets[i]:offsets[i + 1]]``.
    """

    rows: Int64s
    values: Array
    offsets: Int64s


class Arrays(NamedTuple):
    """What a column has: its arrays, those alike together, and what is none of them.

    Attributes
    ----------
    pieces : iterator of Piece
        Its arrays.
    problems : dict from int to str
        Rows that are no array, and why.
    """

    pieces: Iterator[Piece]
    problems: dict[int, str]


class _Spans(NamedTuple):
    """Where the values of arrays lie, and how long their axes are but for those of one size."""

    starts: Int64s
    ends: Int64s
    lengths: Int64s
    inner: Int64s  # shape (n, n_nested)

    def chosen(self, rows: Int64s) -> _Spans:
        return _Spans(*(column[rows] for column in self))


def arrays_of(column: Column, form: Form, left_out: Iterable[int] = ()) -> Arrays:
    """Return the arrays of a column.

    Parameters
    ----------
    column : Column
        Of lists or tensors.
    form : Form
        What its arrays are made of.
    left_out : iterable of int
        Rows that are not asked for.

    Raises
    ------
    BadInputError
        For a column that makes no sense.
    """
    problems: dict[int, str] = {}
    spans, inner = _spans(column, form, problems)
    values = values_of(inner)
    if form.tensor is not None and form.is_whole:
        n, rest = column.length, form.tensor.shape[1:]
        values = form.tensor.laid(values, n).reshape(int(spans.lengths.sum()), *rest)
    elif form.tensor is not None:
        values = form.tensor.laid(values, len(values))
    if isinstance(values, np.ma.MaskedArray):
        values = _filled(values)
    rows = np.delete(np.arange(column.length), sorted({*problems, *left_out}))
    for row in left_out:
        problems.pop(row, None)
    return Arrays(_pieces(values, spans, rows), problems)


def _spans(column: Column, form: Form, problems: dict[int, str]) -> tuple[_Spans, Column]:
    """Return where the arrays lie in the values of a column, and these."""
    nulls = nulls_of(column)
    if nulls is not None:
        problems |= dict.fromkeys(np.flatnonzero(nulls).tolist(), _NULL)
    inner, starts, ends, _ = spans_of(column)
    n = column.length
    if form.is_whole and form.tensor is not None:
        length = form.tensor.shape[0]
        starts = np.arange(n, dtype=np.int64) * length
        lengths = np.full(n, length, np.int64)
        return _Spans(starts, starts + length, lengths, np.empty((n, 0), np.int64)), inner
    lengths = ends - starts
    shapes = np.empty((n, form.n_nested), np.int64)
    for axis in range(form.n_nested):
        nulls = inner.nulls()
        if nulls is not None:
            _add(problems, _any(nulls, starts, ends), _NULL_INSIDE)
        inner, _, _, offsets = spans_of(inner)
        if offsets is None:
            raise BadInputError(
                f"column {column.field.name!r:.80} has list views in lists that do not lie end to "
                "end: cast it to lists",
                name=column.field.name,
            )
        shapes[:, axis] = _common(np.diff(offsets), starts, ends, form.inner[axis])
        starts, ends = offsets[starts], offsets[ends]
    _add(problems, (shapes == _IRREGULAR).any(1), _LENGTHS)
    _add(problems, (shapes == _UNKNOWN).any(1), _NOTHING_INSIDE)
    return _Spans(starts, ends, lengths, shapes), inner


def _add(problems: dict[int, str], is_bad: Bools, what: str) -> None:
    for row in np.flatnonzero(is_bad).tolist():
        problems.setdefault(row, what)


def _any(flags: Bools, starts: Int64s, ends: Int64s) -> Bools:
    """Tell in which ranges any flag is set."""
    counts = np.concatenate([[0], np.cumsum(flags)])
    return np.asarray(counts[ends] > counts[starts])


def _common(lengths: Int64s, starts: Int64s, ends: Int64s, known: int) -> Int64s:
    """Return how long the lists are in each of several ranges of lists."""
    found = np.full(len(starts), known, np.int64)
    filled = np.flatnonzero(ends > starts)
    if len(filled):
        edges = np.stack([starts[filled], ends[filled]], 1).reshape(-1)
        padded = np.append(lengths, 0)  # so that the last end is a position, too
        least, most = (np.ufunc.reduceat(op, padded, edges)[::2] for op in (np.minimum, np.maximum))
        found[filled] = np.where(least == most, least, _IRREGULAR)
    return found


def _filled(values: np.ma.MaskedArray[Any, Any]) -> Array:
    """Return values with nothing of anybody's under nulls; of times, which have one, NaT."""
    data, nulls = np.array(np.ma.getdata(values)), np.ma.getmaskarray(values)
    is_time = values.dtype.kind in "mM"
    data[nulls] = np.array("NaT", data.dtype) if is_time else np.zeros((), data.dtype)
    return data if is_time or not nulls.any() else np.ma.MaskedArray(data, nulls)


def _pieces(values: Array, spans: _Spans, rows: Int64s) -> Iterator[Piece]:
    if isinstance(values, np.ma.MaskedArray):
        nulls = np.zeros(len(values), np.bool_)
        mask = np.ma.getmaskarray(values).reshape(len(values), -1)
        np.logical_or.reduce(mask, axis=1, out=nulls)
        has_nulls = _any(nulls, spans.starts, spans.ends)[rows]
        yield from _alike(np.ma.getdata(values), spans, rows[~has_nulls])
        yield from _alike(values, spans, rows[has_nulls])
    else:
        yield from _alike(values, spans, rows)


def _alike(values: Array, spans: _Spans, rows: Int64s) -> Iterator[Piece]:
    """Yield arrays of some rows, those together of which rows have one shape."""
    if len(rows) < len(spans.starts):
        spans = spans.chosen(rows)
    if not len(rows):
        return
    if (spans.inner == spans.inner[:1]).all():
        yield _piece(values, spans, rows)
        return
    _, which = np.unique(spans.inner, axis=0, return_inverse=True)
    order = np.argsort(which.reshape(-1), kind="stable")
    edges = np.flatnonzero(np.diff(which.reshape(-1)[order])) + 1
    for some in np.split(order, edges):
        yield _piece(values, spans.chosen(some), rows[some])


def _piece(values: Array, spans: _Spans, rows: Int64s) -> Piece:
    shape = (int(spans.lengths.sum()), *spans.inner[0].tolist(), *values.shape[1:])
    starts, ends = spans.starts, spans.ends
    if (starts[1:] == ends[:-1]).all():
        some = values[starts[0] : ends[-1]]
    else:
        some = gather(values, starts, ends).values
    offsets = np.concatenate([[0], np.cumsum(spans.lengths)])
    return Piece(rows, some.reshape(shape), offsets)
