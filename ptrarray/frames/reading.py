"""Series and DataFrames of a store, on its memory: of arrays and the metadata beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from ptrarray.errors import BadInputError, StoreError
from ptrarray.format import metadata
from ptrarray.format.entries import RaggedColumn
from ptrarray.format.helpers import KEY
from ptrarray.format.index import corrupt
from ptrarray.frames.flat import Helpers, NoHelpers, Source
from ptrarray.frames.library import import_pandas
from ptrarray.frames.quick import series_maker
from ptrarray.frames.together import made
from ptrarray.rows.types import Array, Int64s

# What pandas, and numpy, say to parts that do not fit.
_UNFIT = (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError)
# How metadata begin as they are written with a Series; what others changed may begin in any way.
_SERIES = re.compile(rb"[\x81-\x8f]\xa6pandas[\x81-\x8f]\xa4kind\xa6Series").match
_MADE_ONCE = (
    {"shared"},
    {"kind", "start", "stop", "step"},
    {"kind", "start", "stop", "step", "name"},
)
_PLANS = 1024  # descriptions that are remembered
_NAME = b"\xa4name"  # the key of a Series' name, as msgpack has it
# Stands for any name, so that Series with other names have the same plan; and the same in msgpack.
_STANDS_IN, _STAND_IN = "\0", b"\xa1\0"
_KINDS = {"Series": "series", "DataFrame": "frame"}


class Store(Protocol):
    """What is read from: an open store with arrays and metadata by name."""

    @property
    def meta(self) -> Mapping[str, Mapping[str, Any]]:
        """Metadata by name."""

    def __getitem__(self, name: str, /) -> Any:
        """Return an array."""


def to_series(store: Store, name: str) -> Any:
    """Return an array as a pandas Series on the store's memory.

    Parameters
    ----------
    store : PointerArray
        An open store.
    name : str
        Of a Series that was kept, or of any 1-D array, which has the default
        index then.

    Returns
    -------
    pandas.Series
        Its values are a view of the store, not a copy, and read-only unless
        the store is open in another mode; so is an index of numbers.

    Raises
    ------
    UnknownNameError
        A `KeyError`: no array has this name.
    BadInputError
        For a DataFrame, an array that is not 1-D, or one with masked values.

    Notes
    -----
    ``store.series`` does the same, and faster for many.

    Examples
    --------
    >>> to_series({"x": np.array([1.5, 2.5])}, "x")
    0    1.5
    1    2.5
    dtype: float64
    """
    return _read("Series", store, name)


def to_frame(store: Store, name: str) -> Any:
    """Return an array as a pandas DataFrame.

    Parameters
    ----------
    store : PointerArray
        An open store.
    name : str
        Of a DataFrame that was kept, or of any 2-D or structured array.

    Returns
    -------
    pandas.DataFrame
        On the store's memory, not a copy.

    Raises
    ------
    UnknownNameError
        A `KeyError`: no array has this name.
    BadInputError
        For a Series, an array that is no table, or one with masked values.

    Examples
    --------
    >>> to_frame({"x": np.array([[1, 2], [3, 4]])}, "x")
       0  1
    0  1  2
    1  3  4
    """
    return _read("DataFrame", store, name)


def to_pandas(store: Store, name: str) -> Any:
    """Return what was kept under a name: a Series, a DataFrame, or else the array.

    Examples
    --------
    >>> to_pandas({"x": np.array([1, 2])}, "x")
    array([1, 2])
    """
    kind = _about(store, name).get("kind")
    return store[name] if kind is None else _read(kind, store, name)


def _read(kind: str, store: Store, name: str) -> Any:
    helpers = getattr(store, "_helpers", NoHelpers())  # a plain mapping of arrays has none
    return put_on(kind, name, store[name], _about(store, name), helpers)


def _about(store: Any, name: str) -> Mapping[str, Any]:
    meta = getattr(store, "meta", None)  # a plain mapping of arrays has none
    return {} if meta is None else description(meta[name])


def description(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what metadata say of a pandas object; nothing if there is none.

    Examples
    --------
    >>> description({"pandas": {"kind": "Series"}}), description({"pandas": "2.2"})
    ({'kind': 'Series'}, {})
    """
    about = meta.get(KEY)
    return about if isinstance(about, dict) else {}


def put_on(kind: str, name: str, array: Array, about: Mapping[str, Any], helpers: Helpers) -> Any:
    """Return an object of a kind, Series or DataFrame, on an array that is described.

    Raises
    ------
    BadInputError
        If the array is not one, or has masked values.
    """
    found, values = about.get("kind", kind), _unmasked(name, array)
    fields = values.dtype.names
    is_series = kind == "Series"
    # What does not lie under the name as it is may be anything there.
    is_free = bool(about.keys() & {"values", ""})
    fits = is_free or values.ndim == (1 if is_series or fields else 2)
    if kind not in _KINDS or found != kind or not fits:
        raise _not_a(kind, name, values, about)
    parts: dict[str, Any] = {}
    if is_series:
        parts["values"] = values
    else:
        parts[""] = [values[field] for field in fields] if fields else values
        if "columns" not in about:
            n_columns = values.shape[1] if values.ndim > 1 else 0
            parts["columns"] = import_pandas().Index(fields or range(n_columns))
    try:
        return made(kind, parts | Source(values, helpers).parts(about))
    except StoreError:
        raise
    except _UNFIT as error:
        raise _cannot(kind, name, error) from error


def _cannot(kind: str, name: str, error: Exception) -> BadInputError:
    what = f"array {name!r} is described as a {kind} that pandas {import_pandas().__version__}"
    return BadInputError(f"{what} cannot make: {error}", name=name, expected=kind)


def _not_a(kind: str, name: str, values: Array, about: Mapping[str, Any]) -> BadInputError:
    is_known = about.get("kind") in _KINDS
    found = _KINDS[about["kind"]] if is_known else f"{values.dtype} of shape {values.shape}"
    other = "frame" if kind == "Series" else "series"
    what = f"array {name!r} is {found}, not a {kind}: use store.{other}, or to_{other}"
    return BadInputError(what, name=name, found=found, expected=kind)


def _unmasked(name: str, values: Array) -> Array:
    if not isinstance(values, np.ma.MaskedArray):
        return values
    # That of records is of records itself, which know no `any`.
    if any(np.asarray(np.ma.getmask(values)).tobytes()):
        what = "has masked values, which pandas would not see: read store[name]"
        raise BadInputError(f"array {name!r} {what}", name=name)
    data: Array = values.data
    return data


# Many ---------------------------------------------------------------------------------------------


class Column(NamedTuple):
    """What a Series consists of.

    Attributes
    ----------
    values : ndarray or ExtensionArray
        Along one axis.
    index : pandas.Index or None
        None: counted from 0.
    name : hashable
        That of the Series.
    """

    values: Any
    index: Any
    name: Any


class _Plan(NamedTuple):
    """What one description says of all arrays that have it.

    Attributes
    ----------
    about : dict
        The description.
    is_simple : bool
        Whether a Series of it is its array with `index` and `name`.
    length : int or None
        Of the index.
    """

    about: Mapping[str, Any]
    is_simple: bool = False
    index: Any = None
    name: Any = None
    length: int | None = None


class Reading:
    """Makes Series and DataFrames of the arrays of a store, many of which are described alike.

    Parameters
    ----------
    path : str
        The store, for messages.
    helpers : Helpers
        Its helper arrays.
    """

    def __init__(self, path: str, helpers: Helpers) -> None:
        self.helpers = helpers
        # Without a reference to this object, which would keep the mapping.
        self._plan = lru_cache(_PLANS)(partial(_plan_of, path, helpers))
        self._series = import_pandas().Series
        self._counted = import_pandas().RangeIndex.from_range
        self._make = series_maker()

    def series(self, name: str, array: Array, meta: bytes) -> Any:
        """Return an array as a Series, by its metadata as they are kept."""
        plan, index, label = self._planned("Series", name, meta)
        if not plan.is_simple or not _is_column(array, plan.length):
            return put_on("Series", name, array, self._plan(meta).about, self.helpers)
        if array.dtype.kind not in "biufc":
            return self._series(array, index, name=label, copy=False)
        if index is None:
            index = self._counted(range(len(array)))
        return self._make(array, index, label)

    def frame(self, name: str, array: Array, meta: bytes) -> Any:
        """Return an array as a DataFrame, by its metadata as they are kept."""
        plan, *_ = self._planned("DataFrame", name, meta)
        return put_on("DataFrame", name, array, plan.about, self.helpers)

    def column(self, name: str, array: Array, meta: bytes) -> Any:
        """Return a `Column`, which is cheaper than a Series; a DataFrame for one of those."""
        plan, index, label = self._planned("Series", name, meta)
        if plan.is_simple and _is_column(array, plan.length):
            return Column(array, index, label)
        if plan.about.get("kind") == "DataFrame":
            return put_on("DataFrame", name, array, plan.about, self.helpers)
        series = put_on("Series", name, array, self._plan(meta).about, self.helpers)
        content = series.to_numpy() if isinstance(series.dtype, np.dtype) else series.array
        return Column(content, series.index, series.name)

    def _planned(self, kind: str, name: str, meta: bytes) -> tuple[_Plan, Any, Any]:
        """Return a plan, and index and name of the Series, if it is a simple one."""
        # Metadata often end in the name of a Series, and many differ in nothing else.
        last = metadata.split_last(meta, _NAME)
        try:
            if last is not None:
                start, label = last
                plan = self._plan(start + _STAND_IN)
                if plan.is_simple and plan.name == _STANDS_IN and _STAND_IN not in start:
                    return plan, plan.index, label
        except (StoreError, *_UNFIT):  # a word in a longer text, it seems
            pass
        try:
            plan = self._plan(meta)
        except StoreError:
            raise
        except _UNFIT as error:
            raise _cannot(kind, name, error) from error
        return plan, plan.index, plan.name


def _is_column(array: Array, length: int | None) -> bool:
    is_plain = type(array) is np.ndarray and array.ndim == 1
    return is_plain and (length is None or length == len(array))


def _plan_of(path: str, helpers: Helpers, meta: bytes) -> _Plan:
    about = description(_decoded(path, meta))
    kind, name = about.get("kind", "Series"), about.get("name")
    if kind != "Series" or not about.keys() <= {"kind", "name", "index"}:
        return _Plan(about)
    labels, nothing = about.get("index"), Source(np.empty(0), helpers)
    if labels is None:
        return _Plan(about, True, None, nothing.restored(name))
    if not isinstance(labels, dict) or labels.keys() not in _MADE_ONCE:
        return _Plan(about)
    index = nothing.restored(labels)
    is_index = isinstance(index, import_pandas().Index)
    return _Plan(about, is_index, index, nothing.restored(name), len(index) if is_index else None)


def _decoded(path: str, meta: bytes) -> dict[str, Any]:
    try:
        return metadata.decode(meta)
    except ValueError as error:
        raise corrupt(path, f"has {error}") from error


def is_series(path: str, meta: bytes) -> bool:
    """Tell whether metadata as they are kept are those of a Series.

    Examples
    --------
    >>> is_series("a.ptr", metadata.encode("a", {"pandas": {"kind": "Series", "name": "x"}}))
    True
    >>> is_series("a.ptr", metadata.encode("a", {"speaker": "Ann", "pandas": {"kind": "DataFrame"}}))
    False
    """
    return _SERIES(meta) is not None or description(_decoded(path, meta)).get("kind") == "Series"


def find_series(path: str, metas: RaggedColumn) -> Int64s:
    """Return the positions of the metadata that are those of a Series, rising.

    Decodes none that are as they were written. Time for the bytes of all and the number of those
    that are found.

    Examples
    --------
    >>> metas = [{}, {"pandas": {"kind": "Series"}}, {"pandas": {"kind": "DataFrame"}}]
    >>> find_series("a.ptr", RaggedColumn.of([metadata.encode("", meta) for meta in metas]))
    array([1])
    """
    if not metas.is_sound:
        raise corrupt(path, "is damaged: it has metadata that do not lie in their column")
    found = metadata.mentioning(metas, KEY)
    kept = [at for at in found.tolist() if is_series(path, metas.item(at))]
    return np.array(kept, np.int64)
