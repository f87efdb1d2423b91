"""Columns of Arrow as arrays of numpy: lists as values and where each begins, text, and plain values.

Nothing is cast by anybody else: lists are read from their offsets, which are checked against the
values there are before anything is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.bridges.incoming import Array, Bools, Column, opened
from ptrarray.bridges.structures import LIMIT, NUMBERS, UNITS, Field
from ptrarray.errors import BadInputError

Int64s = npt.NDArray[np.int64]

_UTC = {"", "UTC", "utc", "Etc/UTC", "Z", "+00:00", "GMT"}
_LISTS = {"+l": "i4", "+L": "i8"}
_VIEWS = {"+vl": "i4", "+vL": "i8"}
_TEXTS = {"u": "i4", "U": "i8", "z": "i4", "Z": "i8"}
_VIEW_NBYTES, _INLINE_NBYTES = 16, 12
NOTHING = np.empty((0,))  # of no dtype in particular


class Lists(NamedTuple):
    """Lists as numpy has them.

    Attributes
    ----------
    values : ndarray, shape (n, *row_shape)
        Read-only, on the memory of Arrow where the dtype has the same bytes; masked where any
        value is null.
    starts, ends : ndarray of int64
        List ``i`` is ``values[starts[i]:ends[i]]``.
    offsets : ndarray of int64 or None
        Both at once, where the lists lie end to end.
    """

    values: Array
    starts: Int64s
    ends: Int64s
    offsets: Int64s | None


def all_lists(x: Any) -> list[Lists]:
    """Return the lists that an object hands over, or those of its only column, in one or more pieces.

    Raises
    ------
    BadInputError
        As `lists_of`.
    """
    field, columns = _list_columns(x)
    dtype, shape = row_of(field)
    like = NOTHING if dtype is None else np.empty((0, *shape), dtype)
    zeros = np.zeros(1, np.int64)
    return [lists_of(column) for column in columns] or [Lists(like, zeros[1:], zeros[1:], zeros)]


def _list_columns(x: Any) -> tuple[Field, Iterator[Column]]:
    field, columns = opened(x)
    if field.format != "+s":
        return field, columns
    if len(field.children) != 1:
        names = ", ".join(repr(child.name) for child in field.children)
        raise BadInputError(
            f"a table with columns {names:.200}; expected one of lists: select it",
            found=len(field.children),
            expected=1,
        )
    return field.children[0], map(_only, columns)


def _only(column: Column) -> Column:
    check_no_nulls(column, "row")
    return column.child(0, column.start, column.length)


def is_list(field: Field) -> bool:
    """Tell whether the items of a column are lists."""
    kind = field.format
    return kind in _LISTS or kind in _VIEWS or kind.startswith("+w:")


def is_text(field: Field) -> bool:
    """Tell whether the items of a column are text."""
    return field.format in ("u", "U", "vu")


def lists_of(column: Column, like: Array = NOTHING) -> Lists:
    """Return a column of lists, none of them null.

    Parameters
    ----------
    column : Column
        Of lists of any kind.
    like : ndarray
        Rows like those that lists of nulls are of, which have no type.

    Raises
    ------
    BadInputError
        If they are no lists, if the offsets do not fit the values, for a null
        list, and for values of a type that no dtype has.
    """
    row_of(column.field)
    check_no_nulls(column, "list")
    inner, starts, ends, offsets = spans_of(column)
    return Lists(values_of(inner, like), starts, ends, offsets)


def spans_of(column: Column) -> tuple[Column, Int64s, Int64s, Int64s | None]:
    """Return what is in lists, as much as is needed; where each begins and ends; both at once."""
    kind = column.field.format
    if kind in _VIEWS:
        inner, starts, sizes = _views(column, _VIEWS[kind])
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        if (starts == offsets[:-1])[sizes > 0].all():  # end to end all the same
            return inner, offsets[:-1], offsets[1:], offsets
        return inner, starts, starts + sizes, None
    if kind in _LISTS:
        offsets = offsets_of(column, 1, _LISTS[kind])
    else:
        size, end = _size(column.field), column.start + column.length
        if end * size > LIMIT:
            raise _astray(column, f"{end} lists of {size}")
        offsets = np.arange(column.start, end + 1) * size
    first, last = int(offsets[0]), int(offsets[-1])
    inner = column.child(0, first, last - first)
    if first:
        offsets = offsets - first
    return inner, offsets[:-1], offsets[1:], offsets


def _views(column: Column, width: str) -> tuple[Column, Int64s, Int64s]:
    """Return what is in lists of which each says where it begins, and its size."""
    starts, sizes = (
        column.buffer(at, width, column.start, column.length).astype(np.int64, copy=False)
        for at in (1, 2)
    )
    nulls = column.nulls()
    if nulls is not None:
        sizes = np.where(nulls, 0, sizes)
    n_values = column.child(0, 0, 0).raw.length
    is_astray = (sizes < 0) | ((sizes > 0) & ((starts < 0) | (starts > n_values - sizes)))
    if is_astray.any():
        at = int(is_astray.argmax())
        raise _astray(column, f"list {at} has {sizes[at]} values from {starts[at]} on", n_values)
    some = sizes > 0
    first = int(starts.min(initial=n_values, where=some))
    last = int((starts + sizes).max(initial=first, where=some))
    starts = np.where(some, starts - first, 0)
    return column.child(0, first, last - first), starts, sizes


def row_of(field: Field) -> tuple[np.dtype[Any] | None, tuple[int, ...]]:
    """Return dtype and shape of the rows in a list; no dtype if they are all null."""
    if not is_list(field):
        raise BadInputError(
            f"column {field.name!r:.80} is of {field!s:.80}; expected lists, one for each array: "
            "group the rows by name first",
            name=field.name,
            found=str(field),
            expected="lists",
        )
    for tensor in (field, field.children[0]):
        if tensor.extension.endswith("_shape_tensor"):  # flat, its shape being in its metadata
            raise _unlike(tensor, "lists of lists: make them of its storage, and its shape")
    inner = replace(field.children[0], name=field.name)  # errors name the column, not "item"
    if inner.format.startswith("+w:"):
        dtype, shape = row_of(inner)
        return dtype, (_size(inner), *shape)
    if is_list(inner):
        raise _unlike(field, "lists of one length in lists, as fixed_size_list")
    return None if inner.format == "n" else dtype_of(inner), ()


def offsets_of(column: Column, at: int, width: str) -> Int64s:
    """Return the offsets in a buffer, which are one more than there are items."""
    n = column.length
    if not n:
        return np.zeros(1, np.int64)  # the buffer may be missing
    offsets: Int64s = column.buffer(at, width, column.start, n + 1).astype(np.int64, copy=False)
    falls = offsets[1:] < offsets[:-1]
    if offsets[0] < 0 or falls.any():
        where = int(falls.argmax())
        what = f"offset {offsets[where]} is followed by {offsets[where + 1]}"
        raise _astray(column, what if falls.any() else f"offset {offsets[0]} is negative")
    return offsets


def check_no_nulls(column: Column, what: str) -> None:
    """Raise `BadInputError` for the first item that is null."""
    nulls = nulls_of(column)
    if nulls is not None:
        raise BadInputError(
            f"column {column.field.name!r:.80} has a null at {int(nulls.argmax())}, where a {what} "
            "is expected",
            name=column.field.name,
            found="null",
            expected=what,
        )


def values_of(column: Column, like: Array = NOTHING) -> Array:
    """Return values as an array, masked where any is null."""
    values, nulls = _parts(column, like)
    return values if nulls is None else np.ma.MaskedArray(values, nulls)


def _parts(column: Column, like: Array) -> tuple[Array, Bools | None]:
    """Return values, and which of them are null."""
    kind = column.field.format
    if kind.startswith("+w:"):
        return _rows(column, _size(column.field), like)
    nulls = column.nulls()
    if kind == "n":
        values = np.zeros((column.length, *like.shape[1:]), like.dtype)
        return values, None if nulls is None else np.ones(values.shape, np.bool_)
    return _plain(column), nulls


def _rows(column: Column, size: int, like: Array) -> tuple[Array, Bools | None]:
    """Return lists of one size as rows that have an axis more."""
    n = column.length
    inner, masked = _parts(column.child(0, column.start * size, n * size), like)
    if inner.ndim > 60:
        raise _unlike(column.field, "lists nested less deep")
    shape = (n, size, *inner.shape[1:])
    nulls, masked = column.nulls(), None if masked is None else masked.reshape(shape)
    if nulls is not None:
        mask = np.zeros(shape, np.bool_) if masked is None else masked
        mask[nulls] = True
        masked = mask
    return inner.reshape(shape), masked


def _plain(column: Column) -> Array:
    """Return values of one width as they lie in memory, but for bits and days."""
    kind = column.field.format
    dtype = dtype_of(column.field)
    if kind == "b":
        return column.bits(1)
    lies = np.dtype("i4") if kind == "tdD" else dtype
    values = column.buffer(1, lies, column.start, column.length)
    return values.astype(np.int64).view(dtype) if kind == "tdD" else values


def dtype_of(field: Field) -> np.dtype[Any]:
    """Return the dtype that has the values of a type of Arrow.

    Raises
    ------
    BadInputError
        If there is none.
    """
    kind, _, rest = field.format.partition(":")
    if field.dictionary is not None:
        raise _unlike(field, "values, not numbers that stand for them")
    if kind in NUMBERS:
        return np.dtype(NUMBERS[kind])
    if kind == "w" and rest.isdecimal() and 0 < int(rest) < 2**31:
        return np.dtype(f"S{rest}")
    if kind in ("tdD", "tdm"):
        return np.dtype("M8[D]" if kind == "tdD" else "M8[ms]")
    if kind[:2] in ("ts", "tD") and kind[2:] in UNITS:
        if kind[:2] == "ts" and rest not in _UTC:
            raise _unlike(field, "moments in UTC, or without a time zone")
        return np.dtype(f"{'M8' if kind[1] == 's' else 'm8'}[{UNITS[kind[2:]]}]")
    raise _unlike(field, "numbers, bools, moments, durations or bytes of one width")


def _size(field: Field) -> int:
    """Return how many items each list of a column has."""
    digits = field.format[len("+w:") :]
    if not digits.isdecimal() or int(digits) > 2**31:
        raise _unlike(field, "a size")
    return int(digits)


# text and plain values ---------------------------------------------------------------------------


def texts_of(column: Column) -> list[str]:
    """Return text of any kind, item by item; what stands for a null is any.

    Raises
    ------
    BadInputError
        If the column has something else, or text that is not UTF-8.
    """
    return _items(column, is_text=True)


def _items(column: Column, *, is_text: bool) -> list[Any]:
    """Return text or bytes of any kind, item by item."""
    kind = column.field.format
    if column.field.dictionary is not None:
        return _looked_up(column, partial(_items, is_text=is_text))
    if kind in ("vu", "vz"):
        return _viewed(column, is_text=is_text)
    if kind not in _TEXTS:
        raise _unlike(column.field, "text")
    offsets = offsets_of(column, 1, _TEXTS[kind])
    first, last = int(offsets[0]), int(offsets[-1])
    raw = column.buffer(2, np.uint8, first, last - first).tobytes()
    bounds = (offsets - first).tolist()
    return _cut(column, raw, pairwise(bounds), is_text=is_text)


def _cut(
    column: Column, raw: bytes, spans: Iterable[tuple[int, int]], *, is_text: bool
) -> list[Any]:
    """Cut bytes that lie end to end, and decode them if they are text."""
    if is_text and raw.isascii():  # where a character is a byte
        text = raw.decode("ascii")
        return [text[start:end] for start, end in spans]
    items = [raw[start:end] for start, end in spans]
    return _decoded(column, items) if is_text else items


def _decoded(column: Column, items: list[bytes]) -> list[str]:
    try:
        return [item.decode() for item in items]
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"column {column.field.name!r:.80} has text that is not UTF-8: {error.object!r:.80}",
            name=column.field.name,
            found=error.reason,
            expected="UTF-8",
        ) from None


def _chosen(column: Column) -> tuple[Column, Int64s]:
    """Return items of a dictionary, as much as is needed, and which of them each one is.

    Those of nulls are the first.
    """
    kind = column.field.format
    if kind not in tuple("cCsSiIlL"):
        raise _unlike(column.field, "integers")
    indices = column.buffer(1, NUMBERS[kind], column.start, column.length)
    nulls, items = column.nulls(), column.dictionary()
    used = indices if nulls is None else indices[~nulls]
    if not len(used):
        return items.part(0, 0), np.zeros(column.length, np.int64)
    low, high = int(used.min()), int(used.max())
    if low < 0 or high >= items.length:
        raise _astray(column, f"items from {low} to {high}", items.length)
    indices = indices if nulls is None else np.where(nulls, low, indices)
    return items.part(low, high + 1), indices.astype(np.int64) - low


def nulls_of(column: Column) -> Bools | None:
    """Tell which items are null, be it that what they stand for is; None if none is."""
    nulls = column.nulls()
    if column.field.dictionary is None:
        return nulls
    items, positions = _chosen(column)
    hidden = items.nulls()
    if hidden is None:
        return nulls
    hidden = hidden[positions]
    return hidden if nulls is None else hidden | nulls


def _looked_up(column: Column, values_of: Callable[[Column], list[Any]]) -> list[Any]:
    """Return what is in a dictionary for each item; anything for nulls."""
    items, positions = _chosen(column)
    values = values_of(items) or [None]
    return [values[at] for at in positions.tolist()]


def _viewed(column: Column, *, is_text: bool) -> list[Any]:
    """Return text that lies in its views, or in one of several buffers."""
    n, n_more = column.length, column.n_buffers - 3
    views = column.buffer(1, np.uint8, column.start * _VIEW_NBYTES, n * _VIEW_NBYTES)
    if n_more < 0:
        raise _astray(column, f"{column.n_buffers} buffers for text in views")
    sizes = column.buffer(2 + n_more, np.int64, 0, n_more).tolist()
    lengths, _, which, starts = views.view(np.int32).reshape(n, 4).T
    nulls = column.nulls()
    lengths = lengths if nulls is None else np.where(nulls, 0, lengths)
    is_far = lengths > _INLINE_NBYTES
    is_there = (which >= 0) & (which < n_more) & (starts >= 0)
    limits = np.array([*sizes, 0], np.int64)[np.where(is_far & is_there, which, -1)]
    is_astray = (lengths < 0) | (is_far & (~is_there | (starts > limits - lengths)))
    if is_astray.any():
        at = int(is_astray.argmax())
        raise _astray(column, f"text {at} has {lengths[at]} bytes from {starts[at]} on")
    buffers = [
        memoryview(column.buffer(2 + at, np.uint8, 0, size)) for at, size in enumerate(sizes)
    ]
    near = views.tobytes()
    begins = np.where(is_far, starts, np.arange(n) * _VIEW_NBYTES + 4)
    spans = zip(begins.tolist(), (begins + lengths).tolist(), strict=True)
    if not is_far.any():
        return _cut(column, near, spans, is_text=is_text)
    sources = np.where(is_far, which, -1).tolist()
    items = [
        bytes(buffers[source][start:end]) if source >= 0 else near[start:end]
        for source, (start, end) in zip(sources, spans, strict=True)
    ]
    return _decoded(column, items) if is_text else items


def plain_values(column: Column) -> list[Any]:
    """Return items as values of Python; None for nulls.

    Raises
    ------
    BadInputError
        For types of which msgpack has none.
    """
    kind = column.field.format
    values: list[Any]
    if column.field.dictionary is not None:
        values = _looked_up(column, plain_values)
    elif kind == "n":
        values = [None] * column.length
    elif kind in NUMBERS:
        values = _plain(column).tolist()
    elif kind in _TEXTS or kind in ("vu", "vz"):
        values = _items(column, is_text=is_text(column.field))
    elif is_list(column.field):
        values = _plain_lists(column)
    elif kind == "+s":
        values = _plain_structs(column)
    else:
        raise _unlike(column.field, "numbers, bools, text, bytes, and lists and structs of those")
    nulls = column.nulls()
    if nulls is None:
        return values
    return [None if is_null else value for value, is_null in zip(values, nulls, strict=True)]


def _plain_lists(column: Column) -> list[Any]:
    """Return lists as those of Python."""
    inner, starts, ends, _ = spans_of(column)
    items = plain_values(inner)
    return [items[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def _plain_structs(column: Column) -> list[Any]:
    """Return structures as dicts."""
    names = [field.name for field in column.field.children]
    if len(set(names)) < len(names):
        raise _unlike(column.field, f"fields with names of their own, not {names!r:.80}")
    values: list[Any] = [{} for _ in range(column.length)]
    for at, name in enumerate(names):
        items = plain_values(column.child(at, column.start, column.length))
        for value, item in zip(values, items, strict=True):
            value[name] = item
    return values


# what is wrong -------------------------------------------------------------------------------------


def _unlike(field: Field, expected: str) -> BadInputError:
    return BadInputError(
        f"column {field.name!r:.80} is of {field!s:.80}; expected {expected}",
        name=field.name,
        found=str(field),
        expected=expected,
    )


def _astray(column: Column, what: str, n: int | None = None) -> BadInputError:
    there = "" if n is None else f", where there are {n}"
    return BadInputError(
        f"Arrow data that makes no sense: in column {column.field.name!r:.80} of "
        f"{column.field!s:.80}, {what}{there}",
        name=column.field.name,
        found=what,
        expected=n,
    )
