"""Many Series and DataFrames as one DataFrame: end to end, or side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.frames.library import import_pandas
from ptrarray.frames.reading import Column
from ptrarray.rows.types import Int64s


def long(names: Sequence[str], objects: Sequence[Any], label: str = "name") -> Any:
    """Lay objects end to end, one row a value, with their names and indexes as columns.

    Parameters
    ----------
    names : sequence of str
        Of the objects. One may come twice.
    objects : sequence of Column or DataFrame
        A DataFrame has a row for each of its rows, and its own columns.
    label : str
        What the column of names is called.

    Returns
    -------
    pandas.DataFrame
        Names as a categorical, then the index, or each level of it, and the
        values. What an index or level is called where that is not the same in
        all: ``index``, or ``level_0`` and so on; values: ``value``.

    Raises
    ------
    BadInputError
        If two columns would be called the same.

    Notes
    -----
    An index that several objects share is converted once. No loop over rows.

    Examples
    --------
    >>> long(["a", "b"], [Column(np.array([1, 2]), None, None), Column(np.array([3]), None, None)])
      name  index  value
    0    a      0      1
    1    a      1      2
    2    b      0      3
    """
    pandas = import_pandas()
    indexes = [one.index for one in objects]
    lengths = [
        len(one) if isinstance(one, pandas.DataFrame) else len(one.values) for one in objects
    ]
    head = {label: _repeated(names, np.array(lengths, np.int64))}
    for title, column in _labels(indexes, lengths):
        _check(title, head)
        head[title] = column
    if any(isinstance(one, pandas.DataFrame) for one in objects):
        return _beside(head, [_framed(one) for one in objects])
    called = {column.name for column in objects}
    title = called.pop() if len(called) == 1 else None
    title = "value" if title is None else title
    _check(title, head)
    return _frame({**head, title: _joined([column.values for column in objects])})


def _frame(columns: dict[Any, Any]) -> Any:
    pandas = import_pandas()
    parts = {at: _exact(column) for at, column in enumerate(columns.values())}
    frame = pandas.DataFrame(parts, copy=False)
    frame.columns = list(columns)
    return frame


def _exact(values: Any) -> Any:
    """Return a column whose dtype pandas does not infer anew from objects."""
    if not isinstance(values, np.ndarray) or values.dtype != object:
        return values
    return import_pandas().Series(values, dtype=object, copy=False)


def _check(title: Any, titles: Any) -> None:
    if title in titles:
        raise BadInputError(
            f"two columns would be called {title!r:.80}: the names, the index or its levels, and "
            "the values need one each; choose another for the names, with label=, or use "
            "pd.concat(store.series(names))",
            found=title,
        )


def _repeated(names: Sequence[str], lengths: Int64s) -> Any:
    """Return the name of each row, as a categorical."""
    pandas = import_pandas()
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    code = np.min_scalar_type(-len(numbers) - 1)
    codes = np.fromiter(map(numbers.__getitem__, names), code, len(names))
    # Not of text where there are none: an empty list would be of objects.
    categories = pandas.Index(list(numbers), dtype=None if numbers else _text())
    dtype = pandas.CategoricalDtype(categories)
    return pandas.Categorical.from_codes(np.repeat(codes, lengths), dtype=dtype)


def _text() -> Any:
    return import_pandas().Index(["a"]).dtype


# Indexes ------------------------------------------------------------------------------------------


def _labels(indexes: Sequence[Any], lengths: Sequence[int]) -> list[tuple[Any, Any]]:
    """Return the indexes laid end to end: of each level what it is called, and its column."""
    pandas = import_pandas()
    counted = pandas.RangeIndex(
        max((n for index, n in zip(indexes, lengths, strict=True) if index is None), default=0)
    )
    distinct = {id(index): counted if index is None else index for index in indexes}
    first, *others = list(distinct.values()) or [counted]
    together = first.append(others) if others else first
    offsets = np.cumsum([0, *map(len, distinct.values())]).tolist()
    begins = dict(zip(distinct, offsets, strict=False))
    spans = [
        slice(begins[id(index)], begins[id(index)] + n)
        for index, n in zip(indexes, lengths, strict=True)
    ]
    if isinstance(together, pandas.MultiIndex):
        titles = [f"level_{at}" if one is None else one for at, one in enumerate(together.names)]
        # Without names, as pandas takes a number for the name of a level before its place.
        unnamed = together.set_names([None] * together.nlevels)
        levels = [unnamed.get_level_values(at) for at in range(together.nlevels)]
    else:
        levels, titles = [together], ["index" if together.name is None else together.name]
    columns = [_spread(level, spans) for level in levels]
    return list(zip(titles, columns, strict=True))


def _spread(index: Any, spans: list[slice]) -> Any:
    """Return spans of an index laid end to end, as an array of its dtype."""
    if isinstance(index.dtype, np.dtype):
        array = index.to_numpy()
        return np.concatenate([array[span] for span in spans]) if spans else array[:0]
    at = [np.arange(span.start, span.stop) for span in spans]
    return index.array.take(np.concatenate(at) if at else np.empty(0, np.int64))


# Values -------------------------------------------------------------------------------------------


def _joined(parts: Sequence[Any]) -> Any:
    """Lay values end to end, of a dtype that holds those of all as pandas has it."""
    pandas = import_pandas()
    if not parts:
        return np.empty(0)
    kinds = {part.dtype for part in parts}
    if len(kinds) == 1 and all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    series = [_series(Column(part, None, None)) for part in parts]
    together = pandas.concat(series, ignore_index=True)
    return together.to_numpy() if together.dtype == object else together.array


def _kept(values: Any) -> Any:
    """Return the dtype that pandas must not infer from values."""
    return object if values.dtype == object else None


def _series(column: Column, name: Any = None) -> Any:
    values, index = column.values, column.index
    if isinstance(values, np.ndarray) and not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))  # pandas aligns no others
    pandas = import_pandas()
    return pandas.Series(values, index, name=name, dtype=_kept(values), copy=False)


def _framed(one: Any) -> Any:
    """Return a Series as a DataFrame, and a DataFrame as it is."""
    if not isinstance(one, Column):
        return one
    return _series(one).to_frame("value" if one.name is None else one.name)


def _beside(head: dict[Any, Any], frames: list[Any]) -> Any:
    """Return DataFrames laid end to end, behind some columns."""
    pandas = import_pandas()
    body = pandas.concat(frames, ignore_index=True)
    for title in body.columns:
        _check(title, head)
    for at, (title, column) in enumerate(head.items()):
        body.insert(at, title, _exact(column))
    return body


# Side by side -------------------------------------------------------------------------------------


def wide(names: Sequence[str], objects: Sequence[Any]) -> Any:
    """Lay objects side by side, a column a name, rows the union of their indexes.

    Parameters
    ----------
    names : sequence of str
        Of the objects. One may come twice.
    objects : sequence of Column or DataFrame
        With a DataFrame among them, columns have two levels: its name, and
        what it calls them.

    Returns
    -------
    pandas.DataFrame
        As ``pd.concat(objects, axis=1, keys=names)``, with dates in order; empty
        without objects.

    Raises
    ------
    BadInputError
        If pandas has no union of the indexes: labels that come twice, or different kinds.

    Examples
    --------
    >>> wide(["a", "b"], [Column(np.array([1, 2]), None, None), Column(np.array([3]), None, None)])
       a    b
    0  1  3.0
    1  2  NaN
    """
    pandas = import_pandas()
    if not objects:
        return pandas.DataFrame()
    if _are_aligned(objects):
        values = [column.values for column in objects]
        if len({part.dtype for part in values}) == 1 and _is_numbers(values[0]):
            block = np.array(values, values[0].dtype.newbyteorder("="))
            frame = pandas.DataFrame(block.T, index=objects[0].index, copy=False)
        else:
            pairs = {at: _series(column) for at, column in enumerate(objects)}
            frame = pandas.DataFrame(pairs, index=objects[0].index)
        frame.columns = list(names)
        return frame
    series = [_series(one, one.name) if isinstance(one, Column) else one for one in objects]
    # As pandas does by itself up to version 3, and warns that it will not for ever.
    is_sorted = all(isinstance(one.index, pandas.DatetimeIndex) for one in series)
    try:
        return pandas.concat(series, axis=1, keys=list(names), sort=is_sorted)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise BadInputError(
            f"pandas cannot lay these side by side: {error}; how='long' keeps every row as it is",
            found=names,
        ) from error


def _are_aligned(objects: Sequence[Any]) -> bool:
    """Tell whether all objects are Series of one index."""
    if not all(isinstance(one, Column) for one in objects):
        return False
    index, n_rows = objects[0].index, len(objects[0].values)
    return all(one.index is index and len(one.values) == n_rows for one in objects)


def _is_numbers(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind in "biufc"
