"""What a store should be to those who share it: what each operation of a history may do to it, and tell.

A state is what one look at a store tells, so that the two can be compared as they are: for each name
of a small set None or what it has, attrs, and how many rows there are. With it goes what lies in the
holes that names were deleted from, if rows that somebody was told of lie there: `point` may give
these a name again. Where a process was killed it is not known which rows its array got; None
stands for them, and for what lies there, and is equal to anything; so is what a look left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tests.support.linearizing import Operation, Specification

N_NAMES = 6
NAMES = [f"name {n}" for n in range(N_NAMES)]

Value = Any  # what was written, a number; or runs of rows, (what was written, how many)


class Has(NamedTuple):
    """What a name has."""

    value: Value
    start: int | None
    end: int | None
    meta: int


Entries = tuple[Has | None, ...]


class State(NamedTuple):
    entries: Entries
    attrs: int
    n_rows: int | None
    holes: frozenset[tuple[int, int, Value]] = frozenset()


class Error(NamedTuple):
    """What an operation raised: the name of the class, and what it says."""

    name: str
    text: str


def content(value: int, *, mixed: bool, masked: bool) -> Any:
    """Return the array that stands for a number; no two have an element in common."""
    n = 1 + value % 5 if value % 61 else 9_000  # large ones are written outside of the lock
    array: Any = np.full(n, value)
    if mixed and value % 3 == 1:
        array = np.full((n, 2), value, np.float64, order="F")
    elif mixed and value % 3 == 2:
        array = np.full((1, n), value, np.uint64)
    return np.ma.masked_array(array, mask=np.full(array.shape, value % 2 == 1)) if masked else array


def identify(array: Any, *, mixed: bool, masked: bool) -> Value:
    """Return the number that an array stands for, or what its rows have where it is none."""
    if not mixed and not masked and len(array) < 6:  # as below
        (first, *others) = array.tolist()
        if len(others) == first % 5 and first % 61 and others.count(first) == len(others):
            return first
    flat = np.ma.getdata(array).reshape(-1)
    expected = content(int(flat[0]), mixed=mixed, masked=masked)
    if _is_same(array, expected):
        return int(flat[0])
    if masked and not mixed:
        flat = np.where(np.ma.getmaskarray(array) == flat % 2, flat, -1 - flat)
    begins = [0, *(1 + np.flatnonzero(np.diff(flat))).tolist(), len(flat)]
    return tuple((int(flat[start]), end - start) for start, end in pairwise(begins))


def _is_same(array: Any, expected: Any) -> bool:
    if array.dtype != expected.dtype or array.shape != expected.shape:
        return False
    masks = np.ma.getmask(array), np.ma.getmask(expected)
    if masks[1] is not np.ma.nomask and not np.array_equal(*masks):
        return False
    return bool((np.ma.getdata(array) == np.ma.getdata(expected)).all())


class Store:
    """What operations do to a store of one kind.

    Parameters
    ----------
    told : iterable of (int, int)
        Ranges of rows that operations ask `point` for.
    """

    def __init__(self, *, mixed: bool, masked: bool, told: Iterable[tuple[int, int]] = ()) -> None:
        self._is_mixed, self._alignment = mixed, 64 if mixed else 1
        self._is_masked = masked
        self._told = list(told)
        self._lengths: dict[Any, int] = {}
        self._after: dict[str, Callable[[State, Any, Any], Iterable[State]]] = {
            "write": self._write,
            "delete": self._delete,
            "clear": self._clear,
            "rename": self._rename,
            "meta": self._meta,
            "attrs": self._attrs,
            "point": self._point,
            "compact": self._compact,
            "checkpoint": _upkeep,
            "append": _upkeep,
            "close": _upkeep,
            "get": _get,
            "find": _find,
            "read": _read,
        }
        self.specification = Specification(self.after, changes_nothing)

    def after(self, state: State, operation: Operation) -> Iterable[State]:
        """Return the states that an operation with its result may lead to."""
        _, kind, arguments, _, _, result = operation
        return self._after[kind](state, arguments, result)

    # changes ------------------------------------------------------------------------------------

    def _write(self, state: State, arguments: Any, result: Any) -> Iterable[State]:
        names, values, metas, overwrite = arguments
        there = not overwrite and any(state.entries[name] is not None for name in names)
        if isinstance(result, Error):
            return (state,) if there and result.name == "DuplicateNameError" else ()
        if there:
            return ()
        entries, n_rows = list(state.entries), state.n_rows
        start = None if result is None else result
        for name, value, meta in zip(names, values, metas, strict=True):
            end = None if start is None else start + self.length(value)
            entries[name] = Has(value, start, end, meta)
            start = None if end is None else -(-end // self._alignment) * self._alignment
        placed = [entries[name] for name in names]
        if any(_overlaps(old, new) for old in state.entries for new in placed):
            return ()
        ends = [n_rows, *(has.end for has in placed if has)]
        n_rows = None if None in ends else max(end for end in ends if end is not None)
        return (self._changed(state, entries)._replace(n_rows=n_rows),)

    def _delete(self, state: State, names: Any, result: Any) -> Iterable[State]:
        there = all(state.entries[name] is not None for name in names)
        if isinstance(result, Error):
            return (state,) if not there and result.name == "UnknownNameError" else ()
        if not there:
            return ()
        left = [None if name in names else has for name, has in enumerate(state.entries)]
        return (self._changed(state, left),)

    def _clear(self, state: State, _: Any, result: Any) -> Iterable[State]:
        if isinstance(result, Error):
            return ()
        return (self._changed(state, [None] * N_NAMES),)

    def _rename(self, state: State, arguments: Any, result: Any) -> Iterable[State]:
        old, new, overwrite = arguments
        has, there = state.entries[old], state.entries[new]
        is_duplicate = there is not None and old != new and not overwrite
        if isinstance(result, Error):
            unknown = has is None and result.name == "UnknownNameError"
            return (state,) if unknown or (is_duplicate and result.name == _TWICE) else ()
        if has is None or is_duplicate:
            return ()
        entries = list(state.entries)
        entries[old] = None
        entries[new] = has
        return (self._changed(state, entries),)

    def _meta(self, state: State, arguments: Any, result: Any) -> Iterable[State]:
        name, meta = arguments
        has = state.entries[name]
        if isinstance(result, Error):
            return (state,) if has is None and result.name == "UnknownNameError" else ()
        if has is None:
            return ()
        entries = list(state.entries)
        entries[name] = has._replace(meta=meta)
        return (state._replace(entries=tuple(entries)),)

    def _attrs(self, state: State, attrs: int, result: Any) -> Iterable[State]:
        return () if isinstance(result, Error) else (state._replace(attrs=attrs),)

    def _point(self, state: State, arguments: Any, result: Any) -> Iterable[State]:
        name, start, end, overwrite = arguments
        same = [
            has
            for has in state.entries
            if has is not None and (has.start in (start, None) and has.end in (end, None))
        ]
        is_sure = any(has.start is not None for has in same)
        is_beyond = state.n_rows is not None and end > state.n_rows
        is_there = state.entries[name] is not None and not overwrite
        if isinstance(result, Error):
            is_explained = {
                _TWICE: is_there,
                "BadInputError": is_beyond or (self._is_mixed and not is_sure),
                "OverlapError": not is_sure,  # of rows that a large write has taken
            }
            return (state,) if is_explained.get(result.name) else ()
        if is_beyond or is_there or (self._is_mixed and not same):
            return ()
        found = [has._replace(start=start, end=end) for has in same]
        if not is_sure and not self._is_mixed:
            found.append(Has(self._rows(state, start, end), start, end, 0))
        return [self._pointed(state, name, has) for has in found]

    def _pointed(self, state: State, name: int, has: Has) -> State:
        entries = list(state.entries)
        entries[name] = has
        return self._changed(state, entries)

    def _compact(self, state: State, _: Any, result: Any) -> Iterable[State]:
        if isinstance(result, Error):
            is_explained = result.name == "StoreError" and "is filling rows" in result.text
            return (state,) if is_explained else ()
        found: Any = [has for has in state.entries if has is not None]
        if any(has.end is None for has in found):
            unknown = [has and has._replace(start=None, end=None) for has in state.entries]
            return (State(tuple(unknown), state.attrs, None),)
        placed = sorted({(has.start, has.end) for has in found})
        moved: dict[Any, int] = {}
        last = n_holes = 0
        for start, end in placed:
            n_holes += max(0, start - last)
            moved[start] = n_holes
            last = max(last, -(-end // self._alignment) * self._alignment)
        entries = tuple(has and _moved(has, moved[has.start]) for has in state.entries)
        return (State(entries, state.attrs, last - n_holes),)

    # rows ---------------------------------------------------------------------------------------

    def length(self, value: Value) -> int:
        """Rows of what was written."""
        if isinstance(value, tuple):
            return sum(length for _, length in value)
        if value not in self._lengths:
            array = content(value, mixed=self._is_mixed, masked=self._is_masked)
            self._lengths[value] = array.nbytes if self._is_mixed else len(array)
        return self._lengths[value]

    def _changed(self, state: State, entries: Any) -> State:
        """Return a state with other entries; rows that were told of stay known."""
        holes = state.holes
        olds: Any = state.entries if self._told else ()
        for old in olds:
            if old not in entries and self._is_told(old):
                holes |= {(old.start, old.end, old.value)}
        return State(tuple(entries), state.attrs, state.n_rows, holes)

    def _is_told(self, has: Any) -> bool:
        """Tell whether somebody was told of some of an array's rows."""
        if has is None or has.start is None:
            return False
        return any(has.start < end and start < has.end for start, end in self._told)

    def _rows(self, state: State, start: int, end: int) -> Value:
        """Return what lies in some rows, as `identify` tells it of them."""
        placed = [(has.start, has.end, has.value) for has in state.entries if has and has.end]
        runs: list[tuple[int, int]] = []
        for at, last, value in self._pieces([*placed, *state.holes], start, end):
            if at != start:
                return None  # nobody knows what lies there
            if runs and runs[-1][0] == value:
                runs[-1] = (value, runs[-1][1] + last - at)
            else:
                runs.append((value, last - at))
            start = last
        if start < end:
            return None
        value, n_rows = runs[0]
        return value if len(runs) == 1 and self.length(value) == n_rows else tuple(runs)

    def _runs(self, value: Value) -> Iterable[tuple[int, int]]:
        if value is None:
            return ()
        return value if isinstance(value, tuple) else [(value, self.length(value))]

    def _pieces(self, placed: Any, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield rows with one number each that lie end to end in a range, as far as they do."""
        known = []
        for at, _, value in placed:
            for number, n_rows in self._runs(value):
                known.append((at, at + n_rows, number))
                at += n_rows
        while start < end:
            found = [run for run in known if run[0] <= start < run[1]]
            if not found:
                return
            last = min(end, max(run[1] for run in found))
            yield start, last, found[0][2]
            start = last


_TWICE = "DuplicateNameError"


def changes_nothing(operation: Operation) -> bool:
    """Tell whether an operation with this result leaves each state as it is."""
    return isinstance(operation.result, Error) or operation.kind in _READS


_READS = {"get", "find", "read", "checkpoint", "append", "close"}


def _moved(has: Any, n_rows: int) -> Has:
    return Has(has.value, has.start - n_rows, has.end - n_rows, has.meta)


def _overlaps(old: Has | None, new: Has | None) -> bool:
    if old is None or new is None or old.end is None or new.end is None:
        return False
    return old.start < new.end and new.start < old.end  # type: ignore[operator]


def _upkeep(state: State, _: Any, result: Any) -> Iterable[State]:
    return () if isinstance(result, Error) else (state,)


def _get(state: State, name: int, result: Any) -> Iterable[State]:
    has = state.entries[name]
    if isinstance(result, Error):
        return (state,) if has is None and result.name == "UnknownNameError" else ()
    return (state,) if has is not None and has.value in (result, None) else ()


def _find(state: State, name: int, result: Any) -> Iterable[State]:
    has = state.entries[name]
    if has is None or isinstance(result, Error):
        return (state,) if has is None and isinstance(result, Error) else ()
    return (state,) if has.end is None or (has.start, has.end) == result else ()


def _read(state: State, _: Any, result: Any) -> Iterable[State]:
    if state[:3] == result:
        return (state,)
    if isinstance(result, Error) or state.attrs != result[1]:
        return ()
    is_same = None in (state.n_rows, result[2]) or state.n_rows == result[2]
    return (state,) if is_same and all(map(_is_equal, state.entries, result[0])) else ()


def _is_equal(has: Has | None, found: Any) -> bool:
    if has is None or found is None:
        return has is found
    return all(one in (None, other) for one, other in zip(has, found, strict=True))
